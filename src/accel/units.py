"""Words that people write numbers in."""

import re

_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size_of(text: str) -> int | None:
    """Bytes from ``4194304``, ``4M``, ``4MiB``: K, M, G and T are powers of 1024. None for what is no size."""
    match = _SIZE.fullmatch(text.strip())
    return int(match[1]) * _UNITS[match[2].upper()] if match is not None else None
