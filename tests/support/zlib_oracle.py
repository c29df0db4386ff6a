"""What zlib makes of a gzip buffer: the reference for output, consumed bytes and verdict."""

import zlib
from dataclasses import dataclass
from typing import Literal

MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``whole``: all members end well, ``comp_end`` is where the last one does. ``cut``: more input would be needed."""

    kind: Literal["whole", "cut", "corrupt"]
    data: bytes = b""
    comp_end: int = 0


def zlib_verdict(stream: bytes, max_uncomp_bytes: int = 1 << 30) -> Verdict:
    """Members one after the other until what follows does not begin like one."""
    out, start = [], 0
    while True:
        member = zlib.decompressobj(31)
        try:
            out.append(member.decompress(memoryview(stream)[start:], max_uncomp_bytes))
        except zlib.error:
            return Verdict("corrupt")
        if not member.eof:
            assert not member.unconsumed_tail, "raise max_uncomp_bytes"
            return Verdict("cut")
        start = len(stream) - len(member.unused_data)
        if not stream.startswith(MAGIC, start):
            return Verdict("whole", b"".join(out), start)
