"""Our gzip decoder's verdict in the terms of ``zlib_oracle``."""

from accel_core.errors import FormatError, TruncatedError
from accel_core.layer_scan import inflate_all
from support.zlib_oracle import Verdict


def our_verdict(stream: bytes, piece_bytes: int = 0) -> Verdict:
    """Of ``stream`` fed in pieces of ``piece_bytes`` (0: at once)."""
    try:
        data, comp_end = inflate_all(stream, piece_bytes)
    except TruncatedError:
        return Verdict("cut")
    except FormatError as error:
        return Verdict("corrupt", comp_end=error.comp_offset or 0)
    return Verdict("whole", data, comp_end)
