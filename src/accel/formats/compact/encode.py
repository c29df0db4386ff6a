"""Layer index to the bytes of a compact index."""

from accel.errors import FormatError
from accel.formats.compact.checkpoints import pack_checkpoints, parse_checkpoints
from accel.formats.compact.header import (
    CHECKPOINTS,
    COLUMN,
    SPAN_DIGESTS,
    WINDOW_BYTES,
    WINDOW_RUNS,
    WINDOWS_PER_GROUP,
    Header,
    pack_header,
    raw_digest,
)
from accel.formats.compact.sections import compress
from accel_core.layer_index import LayerIndex
from accel_core.toc_split import split
from accel_core.window_runs import pack


def encode(index: LayerIndex) -> bytes:
    """The compact index; the same index gives the same bytes (with the same zstd library).

    Windows should be sparse (``accel_core.index(..., sparse_windows=True)``): full ones are kept, but are most of the
    file then. FormatError for an index that contradicts itself; UnsupportedError for digests that are not SHA-256 and
    for more than 4 GiB of anything.
    """
    points, windows = pack_checkpoints(index.checkpoints)
    (n_kinds, n_times, n_records, string_bytes), columns = split(index.entries, index.archive_size)
    header = Header(
        compression=index.compression,
        comp_size=index.comp_size,
        uncomp_size=index.uncomp_size,
        archive_size=index.archive_size,
        span_bytes=index.span_bytes,
        members=index.members,
        trailing_bytes=index.trailing_bytes,
        n_checkpoints=len(index.checkpoints),
        n_windows=len(windows),
        windows_per_group=WINDOWS_PER_GROUP,
        n_entries=len(index.entries),
        n_kinds=n_kinds,
        n_times=n_times,
        n_records=n_records,
        string_bytes=string_bytes,
        digest=index.digest,
        diff_id=index.diff_id,
    )
    wrong = header.wrong()
    if wrong is None and index.span_digests and len(index.span_digests) != header.n_spans:
        wrong = f"{len(index.span_digests)} digests of {header.n_spans} spans"
    if wrong:
        raise FormatError(f"this layer index cannot be: {wrong}")
    parse_checkpoints(points, header)

    raw = [(CHECKPOINTS, points), (SPAN_DIGESTS, b"".join(map(raw_digest, index.span_digests)))]
    raw += [(COLUMN + i, column) for i, column in enumerate(columns)]
    for first in range(0, len(windows), WINDOWS_PER_GROUP):
        runs, kept = pack(b"".join(windows[first : first + WINDOWS_PER_GROUP]))
        raw += [(WINDOW_RUNS, runs), (WINDOW_BYTES, kept)]
    sections = [(kind, compress(data), len(data)) for kind, data in raw if data]
    return pack_header(header, sections) + b"".join(stored for _, stored, _ in sections)
