"""Container images that start before they are downloaded.

::

    report = accel.convert("docker://registry.example.com/app:1.0")
    with accel.open_image("docker://registry.example.com/app:1.0_accelerated") as image:
        motd = b"".join(image.cat("/etc/motd"))
    assert accel.verify("docker://registry.example.com/app:1.0_accelerated").ok

Importing this package loads nothing else; each name below is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accel.convert import ConvertOptions, ConvertReport, LayerReport, convert
    from accel.errors import AccelError
    from accel.oci import Platform, Reference
    from accel.progress import CancelToken, Progress
    from accel.reader import AcceleratedImage, ExtractOptions, PathInfo, open_image
    from accel.registry.options import HostOptions, RegistryOptions
    from accel.verify import VerifyReport, verify

__all__ = [
    "AccelError",
    "AcceleratedImage",
    "CancelToken",
    "ConvertOptions",
    "ConvertReport",
    "ExtractOptions",
    "HostOptions",
    "LayerReport",
    "PathInfo",
    "Platform",
    "Progress",
    "Reference",
    "RegistryOptions",
    "VerifyReport",
    "convert",
    "open_image",
    "verify",
]

_HOMES = {
    "AccelError": "accel.errors",
    "AcceleratedImage": "accel.reader",
    "CancelToken": "accel.progress",
    "ConvertOptions": "accel.convert",
    "ConvertReport": "accel.convert",
    "ExtractOptions": "accel.reader",
    "HostOptions": "accel.registry.options",
    "LayerReport": "accel.convert",
    "PathInfo": "accel.reader",
    "Platform": "accel.oci",
    "Progress": "accel.progress",
    "Reference": "accel.oci",
    "RegistryOptions": "accel.registry.options",
    "VerifyReport": "accel.verify",
    "convert": "accel.convert",
    "open_image": "accel.reader",
    "verify": "accel.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
