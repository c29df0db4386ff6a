"""Names and numbers of SOCI (soci-snapshotter ``soci/soci_index.go``), and our own annotations."""

DEFAULT_SPAN_BYTES = 4 << 20
DEFAULT_MIN_LAYER_BYTES = 10 << 20
SOCI_TOOL = "AWS SOCI CLI v0.2"  # what SOCI's own command writes as build tool


class SociType:
    """Media types; the index types are the config type of an index manifest, and its artifact type elsewhere."""

    INDEX_V1 = "application/vnd.amazon.soci.index.v1+json"
    INDEX_V2 = "application/vnd.amazon.soci.index.v2+json"
    PREFETCH = "application/vnd.amazon.soci.prefetch.v1+json"
    ZTOC = "application/octet-stream"


class Annotation:
    """Annotation keys."""

    BUILD_TOOL = "com.amazon.soci.build-tool-identifier"  # SOCI index
    LAYER_DIGEST = "com.amazon.soci.image-layer-digest"  # zTOC descriptor; the only one that readers need
    LAYER_MEDIA_TYPE = "com.amazon.soci.image-layer-mediaType"  # zTOC descriptor
    SPAN_SIZE = "com.amazon.soci.span-size"  # zTOC descriptor
    INDEX_DIGEST = "com.amazon.soci.index-digest"  # image manifest, and its descriptor: the SOCI index (v2)
    IMAGE_MANIFEST_DIGEST = (
        "com.amazon.soci.image-manifest-digest"  # SOCI index descriptor: the image manifest
    )

    SOURCE_DIGEST = "dev.accel.source-digest"  # index and image descriptor: what it was converted from
    OPTIONS = "dev.accel.options"  # SOCI index: short hash of the options it was made with
