"""One layer in, one index file out, whatever comes in and however it comes."""

from pathlib import Path

import pytest

from accel.errors import Cancelled, ConfigError, FormatError, UnsupportedError
from accel.indexing import FORMATS, IndexOptions, index_layer
from accel.progress import CancelToken
from support.gzip_member import bgzf
from support.images import random_tar

TAR = random_tar(3, 30, 20_000)
BLOB = bgzf(TAR)
ALL = pytest.mark.parametrize("format", FORMATS)


def index_file(source: str | bytes, format: str, piece_bytes: int = 1 << 20) -> bytes:
    pieces = source
    if isinstance(source, bytes):
        pieces = (source[start : start + piece_bytes] for start in range(0, len(source), piece_bytes))
    return b"".join(index_layer(pieces, format, IndexOptions(span_bytes=100_000), name="it")[1])


@ALL
def test_the_index_of_a_layer_does_not_depend_on_how_it_comes(format: str, tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(BLOB)
    expected = index_file(str(tmp_path / "layer"), format)
    for piece_bytes in (1 << 20, 50_000, 777, 5):
        assert index_file(BLOB, format, piece_bytes) == expected


@ALL
def test_errors_name_the_layer(format: str) -> None:
    with pytest.raises(FormatError) as raised:
        index_file(BLOB[:-40], format)
    assert raised.value.blob == "it"


@ALL
def test_indexing_can_be_cancelled(format: str) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        index_layer([BLOB], format, progress=token)


def test_options_must_fit_the_format() -> None:
    with pytest.raises(ConfigError, match="soci, accel"):
        index_layer([BLOB], "none")
    for format in set(FORMATS) - {"soci"}:
        with pytest.raises(ConfigError, match="soci tool"):
            index_layer([BLOB], format, IndexOptions(identical=True))
        if format != "accel":       # that holds the table of contents of a plain tar, too
            with pytest.raises(UnsupportedError):
                index_layer([TAR], format)
