"""Odd archives by name: what tools of all ages write, and what none should. Readers must agree on every one."""

from support.tars import (
    base256,
    directory,
    file,
    global_pax,
    gnu_sparse,
    hardlink,
    header,
    long_link,
    long_name,
    padded,
    pax,
    record,
    signed_sum,
    special,
    symlink,
    tar_of,
)

ZEROS = bytes(512)
BIG = 8**11  # the first size that octal cannot hold

# Written by pre-1.8 Go: a ustar prefix in a GNU header.
GO_PREFIX = {345: b"very/long/prefix"}

LEGAL: dict[str, bytes] = {
    "nothing": b"",
    "only the end": tar_of(),
    "one zero block": ZEROS,
    "no end": file(b"a", b"x"),
    "end after one zero block": tar_of(file(b"a", b"x"), end=ZEROS),
    "last padding cut off": file(b"a", b"x")[:513],
    "last padding cut short": file(b"a", b"x")[:700],
    "garbage after the end": tar_of(file(b"a", b"x")) + b"garbage" * 1000,
    "another tar after the end": tar_of(file(b"a")) + tar_of(file(b"b")),
    "every type": tar_of(
        file(b"reg", b"data"), hardlink(b"hard", b"reg"), symlink(b"sym", b"reg"),
        header(b"chr", typeflag=b"3", devmajor=5, devminor=1), header(b"blk", typeflag=b"4", devmajor=8),
        directory(b"dir/"), header(b"fifo", typeflag=b"6"),
    ),
    "contiguous file": tar_of(file(b"c", b"data", typeflag=b"7"), file(b"after")),
    "v7": tar_of(*(f(b"a", form="v7") for f in (file, directory)), hardlink(b"b", b"a", form="v7")),
    "v7 with uname where ustar has it": tar_of(file(b"a", form="v7", at={265: b"root"})),
    "nul typeflag": tar_of(file(b"a", b"x", typeflag=b"\0"), file(b"d/", b"", typeflag=b"\0"), file(b"e/")),
    "nul directory with a size": tar_of(header(b"d/", typeflag=b"\0", size=700), file(b"b")),
    "nul typeflag, long name ends in a slash": tar_of(long_name(b"d/"), file(b"x", typeflag=b"\0")),
    "nul typeflag, prefix and no name": tar_of(header(b"", prefix=b"p", typeflag=b"\0", size=3), file(b"b")),
    "plain file with a slash": tar_of(file(b"d/", b"data"), file(b"b")),
    "star": tar_of(file(b"a", b"x", form="star", prefix=b"p" * 131)),
    "star, prefix ends at 131": tar_of(file(b"a", form="star", prefix=b"p" * 131, at={476: b"00000000001\0"})),
    "ustar prefix": tar_of(file(b"n" * 100, b"x", prefix=b"p" * 155)),
    "ustar prefix, no name": tar_of(file(b"", prefix=b"p")),
    "ustar with another version": tar_of(file(b"a", prefix=b"p", at={263: b"\0\0"})),
    "gnu without its version is v7": tar_of(file(b"a", form="gnu", at={263: b"00", 345: b"prefix"})),
    "gnu times": tar_of(file(b"a", form="gnu", at={345: b"00000000001\0", 357: b"00000000002\0"})),
    "gnu times, nonsense after a nul": tar_of(file(b"a", form="gnu", at={345: b"\0nonsense", 357: b"\0nonsense"})),
    "gnu prefix by old Go": tar_of(file(b"a", form="gnu", at=GO_PREFIX)),
    "gnu prefix by old Go, not ASCII": tar_of(file(b"a", form="gnu", at={345: "préfixe/x".encode()})),
    "gnu ctime bad only": tar_of(file(b"a", form="gnu", at={345: b"00000000001\0", 357: b"path/x"})),
    "gnu atime over 64 bits": tar_of(file(b"a", form="gnu", at={345: b"\x80" + b"\xff" * 11})),
    "long name": tar_of(long_name(b"n" * 3000), file(b"n" * 100, b"x"), file(b"after")),
    "long link": tar_of(long_link(b"t" * 600), long_name(b"n" * 600), symlink(b"n" * 100, b"t" * 100)),
    "long name twice": tar_of(long_name(b"first"), long_name(b"second"), file(b"x")),
    "long name taken back": tar_of(long_name(b"first"), special(b"L", b""), file(b"x")),
    "long name, nul first": tar_of(special(b"L", b"\0name"), file(b"x")),
    "long name over PAX path": tar_of(long_name(b"gnu"), pax((b"path", b"pax")), file(b"x")),
    "long name in a ustar header": tar_of(special(b"L", b"long\0"), file(b"x")),
    "long name of exactly one block": tar_of(special(b"L", b"n" * 512), file(b"x")),
    "PAX overrides": tar_of(
        pax(
            (b"path", "é".encode() * 80), (b"linkpath", b"target"), (b"uname", b"u" * 50), (b"gname", b"g" * 50),
            (b"uid", b"5000000000"), (b"gid", b"-7"), (b"mtime", b"1700000000.25"), (b"size", b"4"),
            (b"SCHILY.xattr.user.k", b"\0binary\n=\xff"), (b"comment", b""),
        ),
        file(b"a", b"data", size=0, prefix=b"dropped"),
        file(b"after"),
    ),
    "PAX empty values keep the header's": tar_of(
        pax((b"path", b""), (b"size", b""), (b"mtime", b""), (b"uid", b""), (b"atime", b"")),
        file(b"a", b"data", mtime=3, uid=4),
    ),
    "PAX value, then an empty one": tar_of(pax((b"path", b"first"), (b"path", b"")), file(b"a")),
    "PAX bad value, then a good one": tar_of(pax((b"uid", b"bad"), (b"uid", b"5")), file(b"a")),
    "PAX key again": tar_of(pax((b"k", b"1"), (b"l", b"2"), (b"k", b"3"), (b"k", b"")), file(b"a")),
    "PAX many keys again": tar_of(pax(*((b"k%d" % (i % 37), b"%d" % i) for i in range(200))), file(b"a")),
    "PAX last header counts": tar_of(pax((b"path", b"one"), (b"k", b"v")), pax((b"uid", b"1")), file(b"a")),
    "PAX empty header": tar_of(pax((b"path", b"one")), special(b"x", b""), file(b"a")),
    "PAX header that a bad one would break": tar_of(pax((b"uid", b"bad")), pax(), file(b"a")),
    "PAX length with a sign and zeros": tar_of(special(b"x", b"+0012 k=val\n"), file(b"a")),
    "PAX signed numbers": tar_of(pax((b"uid", b"+5"), (b"gid", b"-0"), (b"mtime", b"+5.5")), file(b"a")),
    "PAX size of a directory": tar_of(pax((b"size", b"-3")), directory(b"d/"), file(b"a")),
    "PAX size makes data": tar_of(pax((b"size", b"600")), header(b"a", size=1), padded(b"x" * 600), file(b"b")),
    "PAX value holds equals and newlines": tar_of(pax((b"k", b"a=b\nc"), (b"1", b"=")), file(b"a")),
    "PAX nul in a value": tar_of(pax((b"comment", b"a\0b"), (b"mtime", b"1")), file(b"a")),
    "PAX nothing follows": tar_of(file(b"a"), pax((b"path", b"lost"))),
    "PAX nothing follows, no end": file(b"a") + pax((b"path", b"lost"))[:-1],
    "PAX long and GNU names nothing follows": long_name(b"lost") + pax((b"path", b"lost")),
    "base-256 size": tar_of(file(b"a", b"data", size=base256(4, 12)), file(b"b")),
    "base-256 everything": tar_of(
        file(
            b"a", mode=base256(0o644, 8), uid=base256(1 << 55, 8), gid=base256(-5, 8), mtime=base256(-1, 12),
            form="gnu", devmajor=base256(7, 8), devminor=base256(-8, 8),
        )
    ),
    "base-256 time before 1970": tar_of(file(b"a", form="gnu", mtime=base256(-(1 << 63), 12))),
    "base-256 greatest time": tar_of(file(b"a", form="gnu", mtime=base256((1 << 63) - 1, 12))),
    "numbers with spaces": tar_of(file(b"a", b"data", size=b"         4 \0", mode=b" 644 \0\0", uid=b"\0\0  7\0 ")),
    "numbers that are blank": tar_of(file(b"a", size=b" " * 12, uid=b"", gid=b"\0 \0 ", mtime=b" \0")),
    "numbers without an end": tar_of(file(b"a", b"data", size=b"000000000004", mode=b"00000644")),
    "numbers with something after a nul": tar_of(file(b"a", b"data", size=b"4\0junk")),
    "size on things without data": tar_of(
        directory(b"d/", size=4096), symlink(b"l", b"t", size=3), hardlink(b"h", b"d", size=BIG),
        directory(b"neg", size=base256(-5, 12)), file(b"a", b"x"),
    ),
    "signed checksum": tar_of(file("é".encode(), checksum=signed_sum)),
    "checksum with spaces only before": tar_of(file(b"a", checksum=lambda b: sum(b[:148]) + 256 + sum(b[156:]))),
    "name fills its field": tar_of(file(b"n" * 100), symlink(b"l" * 100, b"t" * 100)),
    "name not UTF-8": tar_of(file(b"\xff\xfe", uname=b"\x80"), pax((b"path", b"\xff")), file(b"a")),
    "no name": tar_of(file(b"")),
    "mode with type bits": tar_of(file(b"a", mode=0o100755)),
    "unknown types have data": tar_of(*(file(b"a", b"x" * 600, typeflag=bytes([t])) for t in b"8DMNVXAIaz\xff")),
    "same name twice": tar_of(file(b"a", b"1"), file(b"a", b"22")),
    "global header": tar_of(global_pax((b"comment", b"c" * 40)), file(b"a", b"x")),
    "global header says path": tar_of(global_pax((b"mtime", b"1"), (b"uid", b"9")), file(b"a"), file(b"b")),
    "global header with a bad value": tar_of(global_pax((b"mtime", b"bad")), file(b"a")),
    "global header, empty": tar_of(special(b"g", b""), file(b"a")),
    "global header uses up x, L and K": tar_of(
        pax((b"path", b"p")), long_name(b"l"), long_link(b"k"), global_pax((b"k", b"v")), symlink(b"a", b"b")
    ),
    "global header is all": global_pax((b"k", b"v")),
    "global header cut in its padding": global_pax((b"k", b"v"))[:600],
    "GNU sparse": tar_of(gnu_sparse(b"s", [(0, 512), (4096, 512)], 8192, b"x" * 1024), file(b"a")),
    "GNU sparse, all holes": tar_of(gnu_sparse(b"s", [(8192, 0)], 8192, b""), file(b"a")),
    "GNU sparse, one extension": tar_of(
        gnu_sparse(b"s", [(i * 1024, 512) for i in range(25)], 1 << 20, b"x" * (25 * 512)), file(b"a")
    ),
    "GNU sparse, three extensions": tar_of(
        long_name(b"n" * 200), gnu_sparse(b"s", [(i * 1024, 1) for i in range(60)], 1 << 33, b"x" * 60), file(b"a")
    ),
    "PAX sparse 0.0": tar_of(
        pax(
            (b"GNU.sparse.size", b"9000"), (b"GNU.sparse.numblocks", b"2"),
            (b"GNU.sparse.offset", b"0"), (b"GNU.sparse.numbytes", b"5"),
            (b"GNU.sparse.offset", b"8000"), (b"GNU.sparse.numbytes", b"5"),
        ),
        file(b"s", b"x" * 10), file(b"a"),
    ),
    "PAX sparse 0.1": tar_of(
        pax(
            (b"GNU.sparse.size", b"9000"), (b"GNU.sparse.numblocks", b"2"), (b"GNU.sparse.name", b"real"),
            (b"GNU.sparse.map", b"0,5,8000,5"),
        ),
        file(b"s", b"x" * 10), file(b"a"),
    ),
    "PAX sparse 1.0": tar_of(
        pax(
            (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"real"),
            (b"GNU.sparse.realsize", b"9000"),
        ),
        file(b"s", padded(b"2\n0\n5\n8000\n5\n") + b"x" * 10), file(b"a"),
    ),
    "PAX sparse of a version nobody knows": tar_of(
        pax((b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"real")),
        file(b"s", b"x" * 10), file(b"a"),
    ),
    "PAX sparse name alone": tar_of(pax((b"GNU.sparse.name", b"real")), file(b"s", b"x" * 10), file(b"a")),
}  # fmt: skip

for _mtime in (
    b"0", b"1", b"-1", b"0.5", b"-0.5", b"-1.5", b"1.", b"-1.", b"1.000000001", b"1.0000000019", b"-1.000000001",
    b"1.999999999999", b"-0.0000000001", b"12345678901", b"253402300800", b"-62135596801.5", b"9223372036854775807.9",
    b"-9223372036854775808", b"-9223372036854775808.5", b"007.070",
):  # fmt: skip
    LEGAL[f"PAX mtime {_mtime.decode()}"] = tar_of(pax((b"mtime", _mtime)), file(b"a"))

FILE = file(b"a", b"data")
PAX_FILE = pax((b"path", b"p")) + FILE
CORRUPT: dict[str, bytes] = {
    "text": b"not a tar at all".ljust(512, b"."),
    "gzip": b"\x1f\x8b\x08".ljust(1024, b"\0"),
    "checksum wrong": tar_of(file(b"a", checksum=lambda b: sum(b))),
    "checksum no number": tar_of(file(b"a", checksum=b"nonsense")),
    "checksum base-256": tar_of(file(b"a", checksum=b"\x80\0\0\0\0\0\x10\0")),
    "one zero block, then a header": tar_of(FILE, ZEROS, FILE),
    "junk between members": tar_of(FILE, b"junk".ljust(512, b"k"), FILE),
    "negative size": tar_of(header(b"a", size=base256(-1, 12))),
    "negative size of an unknown type": tar_of(header(b"a", size=base256(-1, 12), typeflag=b"D")),
    "negative size that PAX would mend": tar_of(pax((b"size", b"0")), header(b"a", size=base256(-1, 12))),
    "negative size of a nul directory": tar_of(header(b"a/", size=base256(-1, 12), typeflag=b"\0")),
    "negative size of a PAX header": tar_of(header(b"a", size=base256(-1, 12), typeflag=b"x")),
    "PAX size negative": tar_of(pax((b"size", b"-1")), FILE),
    "size over 64 bits": tar_of(header(b"a", size=b"\x80" + b"\xff" * 11)),
    "size no number": tar_of(header(b"a", size=b"12x4")),
    "size with a sign": tar_of(header(b"a", size=b"-4")),
    "size with digits 8 and 9": tar_of(header(b"a", size=b"89")),
    "mode no number": tar_of(header(b"a", mode=b"rw-r--r-")),
    "uid no number": tar_of(header(b"a", uid=b"root")),
    "gid with a space inside": tar_of(header(b"a", gid=b"1 2")),
    "mtime no number": tar_of(header(b"a", mtime=b"now")),
    "devmajor no number": tar_of(header(b"a", devmajor=b"x")),
    "devminor no number": tar_of(header(b"a", devminor=b"x")),
    "star atime no number": tar_of(header(b"a", form="star", at={476: b"x"})),
    "star ctime no number": tar_of(header(b"a", form="star", at={488: b"x"})),
    "sparse in a ustar header": tar_of(header(b"a", typeflag=b"S")),
    "sparse real size no number": tar_of(header(b"a", typeflag=b"S", form="gnu", at={483: b"x"})),
    "sparse real size negative": tar_of(header(b"a", typeflag=b"S", form="gnu", at={483: base256(-1, 12)})),
    "sparse map over 1 MiB": tar_of(
        header(b"a", typeflag=b"S", form="gnu", at={482: b"\1", 483: b"1"}), (bytes(504) + b"\1" + bytes(7)) * 2048
    ),
    "special header over 1 MiB": tar_of(special(b"x", record(b"k", b"v" * (1 << 20))), FILE),
    "long name over 1 MiB": tar_of(special(b"L", b"n" * ((1 << 20) + 1)), FILE),
    "global header broken": tar_of(special(b"g", b"broken"), FILE),
    "PAX sparse on a link": tar_of(
        pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")), symlink(b"a", b"b")
    ),
    "PAX sparse size no number": tar_of(
        pax((b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.size", b"x")), FILE
    ),
    "PAX sparse size negative": tar_of(
        pax((b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.size", b"-1")), FILE
    ),
    "PAX sparse length first": tar_of(pax((b"GNU.sparse.numbytes", b"1")), FILE),
    "PAX sparse offset twice": tar_of(pax((b"GNU.sparse.offset", b"1"), (b"GNU.sparse.offset", b"2")), FILE),
    "PAX sparse offset with a comma": tar_of(pax((b"GNU.sparse.offset", b"1,2")), FILE),
}  # fmt: skip
for _body in (
    b"k=v\n", b"5 k=v\n", b"7 k=v\n", b"6 k=v", b"6 k=v ", b"x k=v\n", b" k=v\n", b"-6 k=v\n", b"5 k=\n5 k=\nrest",
    b"4 =\n", b"5 =v\n", b"5 kv\n", b"99999999999999999999 k=v\n", b"6 k=v\n\n", b"2 \n", b"3 =\n", b"\0" * 6,
    record(b"a\0b", b"v"), record(b"path", b"a\0b"), record(b"linkpath", b"\0"), record(b"uname", b"a\0"),
    record(b"gname", b"\0a"),
):  # fmt: skip
    CORRUPT[f"PAX record {_body!r}"] = tar_of(special(b"x", _body), FILE)
for _key, _value in (
    (b"uid", b"x"), (b"gid", b"1.5"), (b"size", b"0x10"), (b"size", b"9223372036854775808"), (b"size", b" 4"),
    (b"uid", b"-9223372036854775809"), (b"uid", b"+"), (b"gid", b"1_000"), (b"mtime", b".5"), (b"mtime", b"1.5x"),
    (b"mtime", b"1.5.5"), (b"mtime", b"-"), (b"mtime", b"1e9"), (b"atime", b"x"), (b"ctime", b"1.-5"),
    (b"mtime", b"1.00000000000000000x"),
):  # fmt: skip
    CORRUPT[f"PAX {_key.decode()} {_value.decode()}"] = tar_of(pax((_key, _value)), FILE)

TRUNCATED: dict[str, bytes] = {
    "in a header": FILE[:300],
    "in data": FILE[:514],
    "before any data": FILE[:512],
    "in a PAX body": PAX_FILE[:515],
    "before a PAX body": PAX_FILE[:512],
    "in a global body": global_pax((b"k", b"v"))[:514],
    "in the second zero block": FILE + bytes(1000),
    "in a sparse extension": gnu_sparse(b"s", [(i * 512, 1) for i in range(9)], 9999, b"")[:700],
    "before a sparse extension": gnu_sparse(b"s", [(i * 512, 1) for i in range(9)], 9999, b"")[:512],
    "huge size": tar_of(header(b"a", size=base256((1 << 63) - 1024, 12))),
}
