"""Writing a file so that others see the old one or the whole new one, never a part."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO


@contextmanager
def write_aside(target: str, *, durable: bool = True) -> Iterator[BinaryIO]:
    """A new file beside ``target`` that takes its name when the block ends, and is gone if the block raises.

    ``durable``: the bytes are on the disk before the name changes (see also :func:`sync_directory`).
    """
    directory, base = os.path.split(target)
    # Not tempfile: its files are for their owner only, and chmod would have to guess the umask.
    aside = os.path.join(directory, f".{base[:32]}.{secrets.token_hex(8)}.tmp")
    file = open(aside, "xb")  # noqa: SIM115  closed before the rename, and in any case below
    try:
        yield file
        file.flush()
        if durable:
            os.fsync(file.fileno())
        file.close()
        os.replace(aside, target)
    except BaseException:
        with suppress(OSError):
            file.close()
        with suppress(FileNotFoundError):
            os.unlink(aside)
        raise


def sync_directory(path: str) -> None:
    """Make the names in a directory as durable as the files they name."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
