"""What zlib makes of a gzip buffer: the reference for output, consumed bytes and verdict."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``whole``: all members end well, ``comp_end`` is where the last one does. ``cut``: more input would be needed.

    For a ``corrupt`` stream ``comp_end`` may say where (0: not known).
    """

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


def disagreement(stream: bytes, verdict: Callable[[bytes], Verdict]) -> str | None:
    """How another decoder's verdict differs from zlib's; None if it does not.

    Where the input ends early, each may see less or more of a fault than the other, and both be right: then what counts
    is that they agree once there is input enough, whatever it is.
    """
    ours, theirs = verdict(stream), zlib_verdict(stream)
    if ours.kind != theirs.kind:
        note = f"{ours.kind} for zlib's {theirs.kind}"
        if "whole" in (ours.kind, theirs.kind):
            return note
        longer = [stream + bytes(400), stream + b"\xff" * 400, stream + b"\xb5" * 400]
        if {verdict(more).kind for more in longer} | {zlib_verdict(more).kind for more in longer} != {"corrupt"}:
            return note
        if ours.kind == "corrupt" and ours.comp_end > len(stream):
            return f"{note}, because of what is not there"
        return None
    if theirs.kind == "whole":
        if ours.comp_end != theirs.comp_end:
            return f"ends at {ours.comp_end}, for zlib at {theirs.comp_end}"
        if ours.data != theirs.data:
            pairs = zip(ours.data, theirs.data, strict=False)
            first = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
            return f"{len(ours.data)} bytes for zlib's {len(theirs.data)}, first difference at {first}"
    return None
