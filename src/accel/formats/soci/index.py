"""The SOCI index: a manifest whose layers are the zTOCs of one platform's image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from accel.errors import FormatError
from accel.formats.soci.names import Annotation, SociType
from accel.formats.soci.options import SociOptions
from accel.oci import (
    EMPTY_JSON,
    Descriptor,
    Manifest,
    MediaType,
    Platform,
    canonical_json,
    digest_of,
    sorted_map,
)

_VERSIONS = {SociType.INDEX_V1: 1, SociType.INDEX_V2: 2}
_TYPES = {version: media_type for media_type, version in _VERSIONS.items()}


@dataclass(frozen=True, slots=True)
class SociIndex:
    """A parsed SOCI index and its bytes, which readers insist on in exactly this form (:attr:`is_canonical`).

    ``subject`` is the image manifest of a version 1 index; a version 2 index is found from the image manifest instead.
    """

    version: int
    ztocs: tuple[Descriptor, ...]
    subject: Descriptor | None
    annotations: Mapping[str, str] = field(hash=False)
    digest: str
    raw: bytes = field(repr=False)

    @classmethod
    def parse(cls, raw: bytes) -> "SociIndex":
        """From the bytes of the manifest. Raises FormatError if it is none of SOCI's."""
        manifest = Manifest.parse(raw)
        version = _VERSIONS.get(manifest.config.media_type)
        if version is None:
            raise FormatError(f"not a SOCI index: its config has type {manifest.config.media_type!r}")
        ztocs = tuple(layer for layer in manifest.layers if layer.media_type == SociType.ZTOC)
        for ztoc in ztocs:
            if Annotation.LAYER_DIGEST not in ztoc.annotations:
                raise FormatError(f"SOCI index: zTOC {ztoc.digest} does not say which layer it is of")
        return cls(version, ztocs, manifest.subject, manifest.annotations, manifest.digest, manifest.raw)

    @property
    def tool(self) -> str:
        """The build tool identifier; free text."""
        return self.annotations.get(Annotation.BUILD_TOOL, "")

    @property
    def artifact_type(self) -> str:
        """How descriptors call this kind of manifest."""
        return _TYPES[self.version]

    @property
    def is_canonical(self) -> bool:
        """Whether the bytes are what SOCI's reader writes of the index; if not, it refuses the index."""
        return canonical_json(_go_form(Manifest.parse(self.raw))) == self.raw

    def ztoc_of(self, layer_digest: str) -> Descriptor | None:
        """The zTOC of a layer; None if the layer is not indexed."""
        return next((z for z in self.ztocs if z.annotations[Annotation.LAYER_DIGEST] == layer_digest), None)

    def descriptor(self, *, platform: Platform | None = None, image_digest: str = "") -> Descriptor:
        """The index as an entry of an OCI index or a referrers list; ``image_digest`` names its image manifest."""
        annotations = {Annotation.IMAGE_MANIFEST_DIGEST: image_digest} if image_digest else {}
        return Descriptor(
            MediaType.OCI_MANIFEST,
            self.digest,
            len(self.raw),
            annotations=annotations,
            platform=platform,
            artifact_type=self.artifact_type,
        )


def ztoc_descriptor(
    ztoc: bytes, layer: Descriptor, options: SociOptions, *, span_bytes: int | None = None
) -> Descriptor:
    """The descriptor of a zTOC of ``layer``. ``span_bytes`` is what it was made with, if not the options' own."""
    annotations = {
        Annotation.LAYER_DIGEST: layer.digest,
        Annotation.LAYER_MEDIA_TYPE: layer.media_type,
        Annotation.SPAN_SIZE: str(options.span_bytes if span_bytes is None else span_bytes),
    }
    return Descriptor.of(ztoc, SociType.ZTOC, annotations=annotations)


def soci_index(
    ztocs: Sequence[Descriptor], options: SociOptions, *, subject: Descriptor | None = None
) -> SociIndex:
    """The index of ``ztocs``, which are in the order of the image's layers.

    With ``subject`` (the image manifest) it is of version 1, without of version 2. The config blob is ``{}`` and must
    be pushed too. Raises ValueError without zTOCs: SOCI's own tools never write such an index.
    """
    if not ztocs:
        raise ValueError("a SOCI index needs at least one zTOC")
    annotations = {Annotation.BUILD_TOOL: options.tool}
    if not options.identical:
        annotations[Annotation.OPTIONS] = options.fingerprint
    config_type = SociType.INDEX_V2 if subject is None else SociType.INDEX_V1
    bare_subject = None if subject is None else Descriptor(subject.media_type, subject.digest, subject.size)
    data = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": Descriptor(config_type, digest_of(EMPTY_JSON), len(EMPTY_JSON)).to_json(),
        "layers": [replace(ztoc, platform=None, artifact_type="").to_json() for ztoc in ztocs],
    }
    if bare_subject:
        data["subject"] = bare_subject.to_json()
    return SociIndex.parse(canonical_json(data | {"annotations": sorted_map(annotations)}))


def _go_form(manifest: Manifest) -> dict[str, object]:
    """What Go writes for the fields that SOCI keeps of an index when it decodes one."""
    data = {"schemaVersion": 2, "mediaType": MediaType.OCI_MANIFEST}
    known = manifest.to_json()
    return data | {key: known[key] for key in ("config", "layers", "subject", "annotations") if key in known}
