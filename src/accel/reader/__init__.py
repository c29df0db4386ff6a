"""Accelerated images to look into: ``with open_image("oci:app:1.0_accelerated") as image: image.cat("/etc/motd")``."""

from accel.images import load
from accel.images.open import open_store
from accel.oci import Platform, Reference
from accel.reader.extract import ExtractOptions, ExtractReport
from accel.reader.image import AcceleratedImage, PathInfo
from accel.registry.options import RegistryOptions

__all__ = ["AcceleratedImage", "ExtractOptions", "ExtractReport", "PathInfo", "open_image"]


def open_image(
    reference: Reference | str,
    platform: Platform | str | None = None,
    *,
    registries: RegistryOptions | None = None,
) -> AcceleratedImage:
    """The image that ``reference`` names, for ``platform`` (default: the host's, or the only one).

    Layers without an index are read as a whole when first needed. Raises ``ReferenceSyntaxError``, ``NotFoundError``,
    ``RegistryError``, ``FormatError``.
    """
    where = Reference.parse(reference) if isinstance(reference, str) else reference
    wanted = Platform.parse(platform) if isinstance(platform, str) else platform
    store = open_store(where, registries)
    try:
        image = load(store, where.selector)
        return AcceleratedImage(image, image.pick(wanted))
    except BaseException:
        store.close()
        raise
