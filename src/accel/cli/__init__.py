"""The command ``accel``: one command a file, each a call into the library and a rendering of what comes back."""

import gc
import sys
from collections.abc import Sequence

from accel.cli.app import run

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line ``args`` (``sys.argv`` without the program by default) and exit."""
    code = run(sys.argv[1:] if args is None else args)
    gc.freeze()  # Python would look through all there is before it leaves: 30 ms, and more after a large layer
    sys.exit(code)
