"""Names and numbers of eStargz and zstd:chunked.

Sources: stargz-snapshotter ``estargz/types.go``, ``estargz/zstdchunked``; containers/storage
``pkg/chunked/internal/minimal/compression.go``.
"""

from collections.abc import Container

TOC_NAME = b"stargz.index.json"  # the tar member that holds the table of contents of an eStargz layer
NO_PREFETCH_LANDMARK = b".no.prefetch.landmark"
PREFETCH_LANDMARK = b".prefetch.landmark"
LANDMARKS = frozenset({NO_PREFETCH_LANDMARK, PREFETCH_LANDMARK})
LANDMARK_CONTENT = b"\x0f"

CHUNK_BYTES = 4 << 20  # of a file in one member or frame, as the reference writers have it
# Several of these before a shared member give each of its chunks an offset of its own.
EMPTY_MEMBER = bytes.fromhex("1f8b08000000000000ff 0300 00000000 00000000")
TOC_TYPE = 1  # "manifest type" of zstd footers and annotations; there is no other

# What readers take into memory: containers/storage falls back to a full pull above it.
MAX_TOC_BYTES = 150 << 20


class Annotation:
    """Annotation keys of layers."""

    TOC_DIGEST = "containerd.io/snapshot/stargz/toc.digest"  # of the JSON; what makes stargz-snapshotter load lazily
    UNCOMP_SIZE = "io.containers.estargz.uncompressed-size"  # of the whole tar; for stargz-store

    # containers/storage (podman, buildah, skopeo, CRI-O), since 1.44. Never beside TOC_DIGEST: pulls then fail.
    CHECKSUM = "io.github.containers.zstd-chunked.manifest-checksum"  # digest of the compressed TOC
    POSITION = "io.github.containers.zstd-chunked.manifest-position"
    TAR_SPLIT_POSITION = "io.github.containers.zstd-chunked.tarsplit-position"

    # The same under the prefix that stargz-snapshotter still writes.
    STARGZ_CHECKSUM = "io.containers.zstd-chunked.manifest-checksum"
    STARGZ_POSITION = "io.containers.zstd-chunked.manifest-position"

    # On an index's entry: prefer this manifest over one without (containers/image).
    PREFER_ZSTD = "io.github.containers.compression.zstd"


_READERS = {Annotation.TOC_DIGEST: "stargz-snapshotter", Annotation.CHECKSUM: "podman"}


def lazy_readers(annotations: Container[str]) -> tuple[str, ...]:
    """Who loads a layer with these annotations lazily."""
    return tuple(reader for key, reader in _READERS.items() if key in annotations)
