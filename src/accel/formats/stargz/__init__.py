"""eStargz and zstd:chunked: layers whose files are compressed in pieces that can be fetched alone.

::

    eStargz   landmark | headers | file | headers | file … | TOC member | footer       gzip members, one tar
    zstd      headers | file | headers | file …  | TOC | tar-split | footer            zstd frames, the tar as it was

A chunk (at most 4 MiB of a file) is a gzip member or zstd frame of its own; small ones may share a member. eStargz
adds members to the tar, so the diffID changes; in zstd what is added lies in frames that no decompressor shows.

What is written of a layer, given the table of its entries and of its chunks::

    layer_order(entries, prefetch)                      rows of an eStargz layer, landmark included
    estargz_refusal(entries, order.dropped)             why not, "" if fine
    landmark_member(prefetch=…)                         the tar member of the landmark
    estargz_toc(entries, chunks, file_digests, order.rows)    -> toc_member(toc), estargz_end, estargz_annotations

    zstd_refusal(entries)                               why not, for each reader
    TarSplitWriter                                      fed with the tar -> TarSplit
    zstd_toc(entries, chunks, file_digests, tar_split.digest, header_times=…)
    zstd_end(data_end, toc, tar_split)                  -> bytes, containers_annotations(), stargz_annotations()

What a stranger's blob says::

    parse_footer(last bytes, blob size) -> Footer       where the TOC is
    toc_json(footer, its bytes)                         -> JSON
    parse_toc(json, data_end=footer.data_end)           -> Toc: entries, chunks, digests

Nothing here reads or writes; blobs and registries are the caller's.
"""

from accel.formats.stargz.chunks import ChunkTable
from accel.formats.stargz.descriptors import (
    ESTARGZ_LAYER,
    ZSTD_LAYER,
    ZstdEnd,
    estargz_annotations,
    estargz_end,
    zstd_end,
)
from accel.formats.stargz.footer import MAX_FOOTER_BYTES, Extent, Footer, parse_footer
from accel.formats.stargz.landmarks import LANDMARK_DATA_OFFSET, landmark_member, toc_member
from accel.formats.stargz.names import (
    CHUNK_BYTES,
    EMPTY_MEMBER,
    LANDMARKS,
    MAX_TOC_BYTES,
    TOC_NAME,
    Annotation,
    lazy_readers,
)
from accel.formats.stargz.order import Order, layer_order
from accel.formats.stargz.read import Toc, decompress_frame, external_toc_json, parse_toc, toc_json
from accel.formats.stargz.refuse import Refusal, estargz_refusal, toc_size_refusal, zstd_refusal
from accel.formats.stargz.tar_split import TarSplit, TarSplitWriter
from accel.formats.stargz.toc import estargz_toc, zstd_toc
from accel_core.toc_json import NO_PREFETCH, PREFETCH

__all__ = [
    "CHUNK_BYTES",
    "EMPTY_MEMBER",
    "ESTARGZ_LAYER",
    "LANDMARKS",
    "LANDMARK_DATA_OFFSET",
    "MAX_FOOTER_BYTES",
    "MAX_TOC_BYTES",
    "NO_PREFETCH",
    "PREFETCH",
    "TOC_NAME",
    "ZSTD_LAYER",
    "Annotation",
    "ChunkTable",
    "Extent",
    "Footer",
    "Order",
    "Refusal",
    "TarSplit",
    "TarSplitWriter",
    "Toc",
    "ZstdEnd",
    "decompress_frame",
    "estargz_annotations",
    "estargz_end",
    "estargz_refusal",
    "estargz_toc",
    "external_toc_json",
    "landmark_member",
    "layer_order",
    "lazy_readers",
    "parse_footer",
    "parse_toc",
    "toc_json",
    "toc_member",
    "toc_size_refusal",
    "zstd_end",
    "zstd_refusal",
    "zstd_toc",
]
