"""The command ``accel``: one command a file, each a call into the library and a rendering of what comes back."""

import sys
from collections.abc import Sequence

from accel.cli.app import run

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line ``args`` (``sys.argv`` without the program by default) and exit."""
    sys.exit(run(sys.argv[1:] if args is None else args))
