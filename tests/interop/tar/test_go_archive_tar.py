"""The scan against Go's archive/tar, the reader that zTOCs are made with: same members, same end, same refusals."""

import io
import random
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accel_core.entries import FLAG_GLOBAL, FLAG_GNU_SPARSE, FLAG_PAX_SPARSE, Entry
from accel_core.errors import FormatError
from accel_core.tar_scan import TarScanner
from support import tar_cases
from support.go_tar import GoArchive, GoTar
from support.tars import BLOCK_BYTES, END, signed_sum, tar_of, unsigned_sum

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]
SPARSE = FLAG_GNU_SPARSE | FLAG_PAX_SPARSE


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoTar]:
    try:
        program = GoTar(tmp_path_factory.mktemp("go"))
    except FileNotFoundError as error:
        pytest.skip(f"cannot ask Go: {error}")
    yield program
    program.close()


def as_go_joins(pax: tuple[tuple[bytes, bytes], ...]) -> list[tuple[bytes, bytes]]:
    """Go turns the repeated records of sparse 0.0 into the one of 0.1, and sorts nothing: its records are a map."""
    repeated = [value for key, value in pax if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")]
    records = {key: value for key, value in pax if key not in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")}
    if repeated:
        records[b"GNU.sparse.map"] = b",".join(repeated)
    return sorted(records.items())


def check_entry(entry: Entry, theirs: dict[str, Any]) -> None:
    if entry.flags & FLAG_GLOBAL:
        # Go fills in little else, and no records at all if one of them has a bad value.
        assert theirs["Typeflag"] == ord("g")
        assert theirs["Pax"] in (as_go_joins(entry.pax), [])
        assert entry.data_offset == -(-theirs["DataOffset"] // BLOCK_BYTES) * BLOCK_BYTES
        return
    ours = {
        "Name": entry.name, "Linkname": entry.linkname, "Uname": entry.uname, "Gname": entry.gname,
        "Typeflag": ord(entry.typeflag), "Size": entry.size, "Mode": entry.mode, "Uid": entry.uid, "Gid": entry.gid,
        "MtimeSec": entry.mtime_s, "MtimeNsec": entry.mtime_ns,
        "Devmajor": entry.devmajor, "Devminor": entry.devminor,
        "Pax": as_go_joins(entry.pax), "DataOffset": entry.data_offset,
    }  # fmt: skip
    if entry.flags & FLAG_PAX_SPARSE:
        theirs = {**theirs, "DataOffset": entry.data_offset}    # Go has read the map of 1.0 by then
    assert ours == theirs


def check_same(go: GoTar, archive: bytes) -> GoArchive:
    theirs = go.read(archive)
    scanner = TarScanner()
    try:
        scanner.feed(archive)
        table = scanner.close()
    except FormatError as error:
        assert theirs.error, f"{error}; Go reads {len(theirs.entries)} entries"
        assert error.uncomp_offset is not None
        return theirs
    for entry, theirs_entry in zip(table, theirs.entries, strict=not theirs.error):
        check_entry(entry, theirs_entry)
    if theirs.error:
        # A sparse map is the one thing we do not read: it is not needed to walk on.
        assert table.all_flags & SPARSE, theirs.error
        assert table[len(theirs.entries)].flags & SPARSE, theirs.error
    else:
        assert scanner.archive_size == theirs.end
    return theirs


@pytest.mark.parametrize("name", tar_cases.LEGAL)
def test_reads_what_go_reads(go: GoTar, name: str) -> None:
    assert check_same(go, tar_cases.LEGAL[name]).error == ""


@pytest.mark.parametrize("name", [*tar_cases.CORRUPT, *tar_cases.TRUNCATED])
def test_refuses_what_go_refuses(go: GoTar, name: str) -> None:
    assert check_same(go, {**tar_cases.CORRUPT, **tar_cases.TRUNCATED}[name]).error != ""


@pytest.mark.parametrize("name", tar_cases.LEGAL)
def test_agrees_on_every_cut_at_and_near_a_block(go: GoTar, name: str) -> None:
    archive = tar_cases.LEGAL[name]
    for block in range(0, min(len(archive), 40 * BLOCK_BYTES) + 1, BLOCK_BYTES):
        for cut in (block - 1, block, block + 1, block + 17):
            check_same(go, archive[: max(cut, 0)])


BASES = [name for name, archive in tar_cases.LEGAL.items() if len(archive) >= BLOCK_BYTES]
# Where bytes decide something: fields, their edges, and values with a meaning.
OFFSETS = [0, 99, 100, 107, 108, 116, 124, 125, 135, 136, 147, 148, 155, 156, 157, 256, 257, 262, 263, 264, 265, 297,
           329, 337, 345, 356, 357, 386, 398, 475, 476, 482, 483, 488, 499, 504, 508, 511]  # fmt: skip
VALUES = [0, 0x20, 0x2D, 0x2F, 0x30, 0x31, 0x37, 0x38, 0x3D, 0x7F, 0x80, 0xBF, 0xC0, 0xFF,
          *b"0123456789SxgLKDMNVAIX =\n"]  # fmt: skip


@given(data=st.data())
@settings(max_examples=3000, derandomize=True, deadline=None, database=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip
def test_agrees_on_changed_headers(go: GoTar, data: st.DataObject) -> None:
    archive = bytearray(tar_cases.LEGAL[data.draw(st.sampled_from(BASES))])
    block = data.draw(st.integers(0, (len(archive) - 1) // BLOCK_BYTES)) * BLOCK_BYTES
    for _ in range(data.draw(st.integers(1, 4))):
        at = block + data.draw(st.sampled_from(OFFSETS) | st.integers(0, BLOCK_BYTES - 1))
        if at < len(archive):
            archive[at] = data.draw(st.sampled_from(VALUES) | st.integers(0, 255))
    header = bytes(archive[block : block + BLOCK_BYTES])
    mended = data.draw(st.sampled_from([unsigned_sum, signed_sum, None]))
    if mended and len(header) == BLOCK_BYTES:
        archive[block + 148 : block + 156] = b"%06o\0 " % (mended(header) & 0o777777)
    check_same(go, bytes(archive))


TYPES = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE]


def test_agrees_on_random_tables_of_the_standard_library(go: GoTar) -> None:
    rng = random.Random(7)
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        for _ in range(20):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w", format=form) as tar:
                for i in range(rng.randrange(30)):
                    parts = ["d" * rng.randrange(1, 40) for _ in range(rng.randrange(1, 4))]
                    info = tarfile.TarInfo("/".join(parts) + str(i))
                    info.type = rng.choice(TYPES)
                    info.linkname = "t" * rng.randrange(99)
                    info.size = rng.randrange(3000) if info.isreg() else 0
                    info.mtime = rng.randrange(1 << 31) + (rng.random() if form == tarfile.PAX_FORMAT else 0)
                    info.uid, info.uname = rng.randrange(1 << 18), rng.choice(["root", "", "nobody"])
                    tar.addfile(info, io.BytesIO(rng.randbytes(info.size)))
            assert check_same(go, out.getvalue()).error == ""


def test_agrees_on_all_members_in_one_archive(go: GoTar) -> None:
    alone = ("end", "nothing follows")  # these would change what comes after them
    cases = [a for name, a in tar_cases.LEGAL.items() if a.endswith(END) and not any(word in name for word in alone)]
    whole = [archive.removesuffix(END) for archive in cases]
    random.Random(3).shuffle(whole)
    theirs = check_same(go, tar_of(*whole))
    assert theirs.error == "" and len(theirs.entries) > 120
