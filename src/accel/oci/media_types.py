"""Media types of manifests, configs and layers (image-spec «media types», distribution «schema 2»)."""


class MediaType:
    """Names for the media types; plain strings, so unknown ones fit beside them."""

    OCI_INDEX = "application/vnd.oci.image.index.v1+json"
    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
    OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
    OCI_EMPTY = "application/vnd.oci.empty.v1+json"
    OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
    OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
    OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
    OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    OCI_FOREIGN_GZIP = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    OCI_FOREIGN_ZSTD = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"

    DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
    DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
    DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
    DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
    DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"  # seen, never specified
    DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
    DOCKER_FOREIGN_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

    DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
    DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

    OCTET_STREAM = "application/octet-stream"


INDEX_TYPES = frozenset({MediaType.OCI_INDEX, MediaType.DOCKER_LIST})
MANIFEST_TYPES = frozenset({MediaType.OCI_MANIFEST, MediaType.DOCKER_MANIFEST})
SCHEMA1_TYPES = frozenset({MediaType.DOCKER_SCHEMA1, MediaType.DOCKER_SCHEMA1_SIGNED})

# All four, always: registries convert or refuse what the client does not name.
MANIFEST_ACCEPT = ", ".join([*sorted(INDEX_TYPES), *sorted(MANIFEST_TYPES)])

_FOREIGN_PREFIXES = (MediaType.OCI_FOREIGN, MediaType.DOCKER_FOREIGN)
_LAYER_PREFIXES = (MediaType.OCI_LAYER, MediaType.DOCKER_LAYER, *_FOREIGN_PREFIXES)


def essence(media_type: str) -> str:
    """The media type in lower case without parameters (``; charset=…``): what Content-Type headers compare by."""
    return media_type.partition(";")[0].strip().lower()


def is_layer(media_type: str) -> bool:
    """Whether this is a file system layer, in any compression, foreign ones included."""
    return media_type.startswith(_LAYER_PREFIXES)


def is_foreign_layer(media_type: str) -> bool:
    """Whether the layer may live elsewhere only (descriptor ``urls``): Windows base layers, "nondistributable"."""
    return media_type.startswith(_FOREIGN_PREFIXES)
