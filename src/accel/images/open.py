"""From a reference to the store it names."""

from accel.oci import Reference
from accel.registry.options import RegistryOptions
from accel.stores import ImageStore


def open_store(reference: Reference, registries: RegistryOptions | None = None) -> ImageStore:
    """The registry repository, layout or archive that ``reference`` names; the caller closes it.

    Raises ``NotFoundError`` for an archive that is not there, ``FormatError`` for one that is none.
    """
    match reference.transport:
        case "docker":
            from accel.registry import RegistryStore

            return RegistryStore(reference, registries)
        case "oci":
            from accel.layout import LayoutStore

            return LayoutStore(reference.path)
        case "oci-archive":
            from accel.layout import OciArchiveStore

            return OciArchiveStore(reference.path)
        case "docker-archive":
            from accel.layout import DockerArchiveStore

            return DockerArchiveStore(reference.path)
    raise AssertionError(reference.transport)


def open_pair(
    src: Reference, dest: Reference, registries: RegistryOptions | None = None
) -> tuple[ImageStore, ImageStore]:
    """Stores to read ``src`` from and write ``dest`` to: the same object if they are in the same place.

    Two repositories of one registry share their connections and tokens.
    """
    if src.location == dest.location:
        store = open_store(src, registries)
        return store, store
    if src.transport == dest.transport == "docker" and src.host == dest.host:
        from accel.registry import RegistryStore

        source = RegistryStore(src, registries)
        return source, RegistryStore(dest, registries, client=source.client)
    source_store = open_store(src, registries)
    try:
        return source_store, open_store(dest, registries)
    except BaseException:
        source_store.close()
        raise
