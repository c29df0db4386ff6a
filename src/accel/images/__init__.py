"""Images as the operations see them: what is behind a reference, its index, its layers' bytes and its merged tree.

::

    open         reference -> store                     spans         layer + index -> any range, verified
    manifests    store -> manifests, platforms          tree          layers' entries -> one file tree
    soci_lookup  image -> its SOCI index, zTOCs         compression   what a blob is; ordinary decoders
    toc_layer    eStargz and zstd:chunked: chunks, verified
    web          a plain URL as a stream
"""

from accel.images.manifests import Child, Image, config_of, load
from accel.images.open import open_pair, open_store
from accel.images.soci_lookup import FoundIndex, find_soci_index, read_soci_index

__all__ = [
    "Child",
    "FoundIndex",
    "Image",
    "config_of",
    "find_soci_index",
    "load",
    "open_pair",
    "open_store",
    "read_soci_index",
]
