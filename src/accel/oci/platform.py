"""Platforms: what a manifest of an index is for (image-spec «image index», containerd's ``platforms`` package)."""

import platform as _host
import re
from dataclasses import dataclass, replace

from accel.errors import FormatError
from accel.oci.fields import JsonObject, get_text, get_texts

_PART = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_OS_WITH_VERSION = re.compile(r"([A-Za-z0-9_.-]+)\(([A-Za-z0-9_.-]+)\)", re.ASCII)

# Spellings that containerd folds (platforms/database.go): (architecture, variant) or the architecture alone.
_ARCHITECTURES = {
    "i386": ("386", ""),
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
_VARIANTS = {
    ("amd64", "v1"): "",
    ("arm64", "8"): "",
    ("arm64", "v8"): "",
    ("arm64", "v8.0"): "",
    ("arm64", "9"): "v9",
    ("arm64", "9.0"): "v9",
    ("arm64", "v9.0"): "v9",
    ("arm", ""): "v7",
    ("arm", "5"): "v5",
    ("arm", "6"): "v6",
    ("arm", "7"): "v7",
    ("arm", "8"): "v8",
}
_KNOWN_ARCHITECTURES = frozenset(
    {"386", "amd64", "arm", "arm64", "loong64", "ppc64le", "riscv64", "s390x", "wasm"}
)


@dataclass(frozen=True, slots=True)
class Platform:
    """Operating system and machine. Fields are as written in the image; see :meth:`normalized` for comparing."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Platform":
        """From ``os/architecture[/variant]``, ``os(version)/architecture`` or an architecture alone (then Linux).

        The result is normalized. Raises FormatError.
        """
        parts = text.split("/")
        if len(parts) == 1 and cls("linux", text).normalized().architecture in _KNOWN_ARCHITECTURES:
            parts = ["linux", text]
        version = _OS_WITH_VERSION.fullmatch(parts[0])
        os_name, os_version = version.groups() if version else (parts[0], "")
        if len(parts) not in (2, 3) or not all(map(_PART.fullmatch, [os_name, *parts[1:]])):
            raise FormatError(
                f"not a platform (os/architecture[/variant], for example linux/arm64): {text[:200]!r}"
            )
        return cls(os_name, parts[1], parts[2] if len(parts) == 3 else "", os_version).normalized()

    @classmethod
    def from_json(cls, data: JsonObject, where: str = "platform") -> "Platform":
        """From the ``platform`` of a descriptor, or from the top level of an image config. Raises FormatError."""
        return cls(
            get_text(data, "os", where),
            get_text(data, "architecture", where),
            get_text(data, "variant", where),
            get_text(data, "os.version", where),
            get_texts(data, "os.features", where),
        )

    @classmethod
    def host(cls) -> "Platform":
        """The platform whose images run here: always Linux, on this machine's architecture."""
        return cls("linux", _host.machine()).normalized()

    def to_json(self) -> JsonObject:
        """The fields in Go's order; empty optional ones left out."""
        data: JsonObject = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            data["os.version"] = self.os_version
        if self.os_features:
            data["os.features"] = list(self.os_features)
        if self.variant:
            data["variant"] = self.variant
        return data

    def normalized(self) -> "Platform":
        """The same platform in containerd's spelling: x86_64 is amd64, arm64/v8 is arm64, arm is arm/v7, …"""
        os_name = self.os.lower()
        architecture, variant = self.architecture.lower(), self.variant.lower()
        architecture, fixed_variant = _ARCHITECTURES.get(architecture, (architecture, None))
        variant = _VARIANTS.get((architecture, variant), variant) if fixed_variant is None else fixed_variant
        return replace(
            self, os="darwin" if os_name == "macos" else os_name, architecture=architecture, variant=variant
        )

    def matches(self, wanted: "Platform") -> bool:
        """Whether this is what ``wanted`` asks for: same os, architecture and variant once normalized.

        An ``os_version`` in ``wanted`` must be the same or a dotted prefix (10.0.17763 asks for any 10.0.17763.x).
        """
        mine, other = self.normalized(), wanted.normalized()
        if (mine.os, mine.architecture, mine.variant) != (other.os, other.architecture, other.variant):
            return False
        return not other.os_version or f"{mine.os_version}.".startswith(f"{other.os_version}.")

    @property
    def is_unknown(self) -> bool:
        """``unknown/unknown``: not an image to run (BuildKit's attestation manifests)."""
        return self.os == "unknown" or self.architecture == "unknown"

    def __str__(self) -> str:
        os_name = f"{self.os}({self.os_version})" if self.os_version else self.os
        return "/".join(filter(None, (os_name, self.architecture, self.variant)))
