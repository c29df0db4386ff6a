"""Checkpoints as columns, and checkpoints whose windows stay in the file until they are wanted."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

from accel.errors import FormatError
from accel.formats.compact.header import Header
from accel_core.checkpoints import WINDOW_BYTES, Checkpoints

ROW_BYTES = 1 + 8 + 8 + 4  # bits, comp_offset, uncomp_offset, window
GROUPS_KEPT = 4

_NO_WINDOW, _NEXT_WINDOW = 0, 1  # other codes: 2 + the number of a window that an earlier checkpoint has
_ALL_ZERO = bytes(WINDOW_BYTES)


class LazyCheckpoints(Checkpoints):
    """Checkpoints whose windows are read a group at a time when asked for; ``windows`` reads all of them."""

    __slots__ = ("_n_groups", "_per_group", "_read_group", "_recent_group")

    _n_groups: int
    _per_group: int
    _read_group: Callable[[int], bytes]
    _recent_group: Callable[[int], bytes]

    def __init__(
        self,
        comp_offset: Sequence[int],
        uncomp_offset: Sequence[int],
        bits: bytes,
        rows: Sequence[int],
        *,
        n_groups: int,
        per_group: int,
        read_group: Callable[[int], bytes],
    ) -> None:
        # Frozen, and ``windows`` is no field here: each by hand.
        for name, value in (
            ("comp_offset", comp_offset),
            ("uncomp_offset", uncomp_offset),
            ("bits", bits),
            ("rows", rows),
            ("_n_groups", n_groups),
            ("_per_group", per_group),
            ("_read_group", read_group),
            ("_recent_group", lru_cache(maxsize=GROUPS_KEPT)(read_group)),
        ):
            object.__setattr__(self, name, value)

    def window(self, i: int) -> memoryview:
        """The 32768 bytes before checkpoint ``i``; empty if none are needed."""
        assert self.rows is not None
        row = self.rows[i]
        if row < 0:
            return memoryview(b"")
        group, k = divmod(row, self._per_group)
        return memoryview(self._recent_group(group))[k * WINDOW_BYTES : (k + 1) * WINDOW_BYTES]

    @property
    def windows(self) -> bytes:
        """All windows, read anew."""
        return b"".join(map(self._read_group, range(self._n_groups)))


def pack_checkpoints(points: Checkpoints) -> tuple[bytes, list[memoryview]]:
    """``(columns, windows)``: windows that are all zero are left out, shared ones are there once.

    FormatError for checkpoints that go back.
    """
    codes = array("I")
    windows: list[memoryview] = []
    number: dict[int, int] = {}
    for i in range(len(points)):
        row = i if points.rows is None else points.rows[i]
        window = points.window(i)
        if row in number:
            codes.append(2 + number[row])
        elif window.nbytes == 0 or window == _ALL_ZERO:
            codes.append(_NO_WINDOW)
        else:
            number[row] = len(windows)
            windows.append(window)
            codes.append(_NEXT_WINDOW)
    try:
        steps = [array("Q", _steps(column)) for column in (points.comp_offset, points.uncomp_offset)]
    except OverflowError:
        raise FormatError("this layer index cannot be: its checkpoints do not advance") from None
    return b"".join((bytes(points.bits), *map(_planes, (*steps, codes)))), windows


def parse_checkpoints(
    data: bytes, header: Header
) -> tuple[tuple[int, ...], tuple[int, ...], bytes, tuple[int, ...]]:
    """``(comp_offset, uncomp_offset, bits, rows)`` from the columns. Refuses checkpoints that do not advance."""
    n = header.n_checkpoints
    if len(data) != n * ROW_BYTES:
        raise FormatError(f"{len(data)} bytes for {n}")
    bits, data = data[:n], data[n:]
    comp_offset = tuple(accumulate(_numbers(data[: 8 * n], "Q")))
    uncomp_offset = tuple(accumulate(_numbers(data[8 * n : 16 * n], "Q")))
    rows = tuple(_rows(_numbers(data[16 * n :], "I"), header.n_windows))
    _check_advance(comp_offset, uncomp_offset, bits, header)
    return comp_offset, uncomp_offset, bits, rows


def _check_advance(
    comp_offset: Sequence[int], uncomp_offset: Sequence[int], bits: bytes, header: Header
) -> None:
    last_start, last_uncomp = 0, -1
    for i, (comp, uncomp, n_bits) in enumerate(zip(comp_offset, uncomp_offset, bits, strict=True)):
        start = comp - (n_bits > 0)
        if (
            n_bits > 7
            or not last_start < comp <= header.comp_size
            or not last_uncomp < uncomp <= header.uncomp_size
            or (i == 0 and uncomp != 0)
        ):
            raise FormatError(f"checkpoint {i} ({comp}, {uncomp}, {n_bits} bits) does not follow")
        last_start, last_uncomp = start, uncomp


def _rows(codes: Sequence[int], n_windows: int) -> Iterable[int]:
    n_seen = 0
    for i, code in enumerate(codes):
        if code == _NEXT_WINDOW:
            n_seen += 1
            yield n_seen - 1
        elif code - 2 >= n_seen:
            raise FormatError(f"checkpoint {i} has the window of one that comes later")
        else:
            yield code - 2 if code else -1
    if n_seen != n_windows:
        raise FormatError(f"checkpoints with {n_seen} windows, not {n_windows}")


def _steps(values: Sequence[int]) -> Iterable[int]:
    return (after - before for before, after in pairwise((0, *values)))


def _planes(values: "array[int]") -> bytes:
    """The lowest bytes of all values, then the next ones up."""
    data = values.tobytes()
    return b"".join(data[k :: values.itemsize] for k in range(values.itemsize))


def _numbers(planes: bytes, typecode: str) -> "array[int]":
    values = array(typecode)
    n = len(planes) // values.itemsize
    data = bytearray(len(planes))
    for k in range(values.itemsize):
        data[k :: values.itemsize] = planes[k * n : (k + 1) * n]
    values.frombytes(data)
    return values
