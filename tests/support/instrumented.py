"""How often to try what chance decides: a sanitizer takes ten times as long, and faults show in the first inputs."""

import os

SHARE = 5


def fewer(n: int) -> int:
    """``n``, and a fifth of that in a process that runs under a sanitizer."""
    return n // SHARE if "LD_PRELOAD" in os.environ else n
