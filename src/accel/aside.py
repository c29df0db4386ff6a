"""Writing a file so that others see the old one or the whole new one, never a part."""

import errno
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
    try:
        file = open(aside, "xb")  # noqa: SIM115  closed before the rename, and in any case below
    except OSError as error:
        error.filename = target  # what the caller asked for; nobody knows the other name
        raise
    try:
        yield file
        file.flush()
        if durable:
            os.fsync(file.fileno())
        file.close()
        os.replace(aside, target)
    except BaseException as error:
        if isinstance(error, OSError) and (error.filename == aside or _is_unnamed_write(error)):
            error.filename, error.filename2 = target, None
        with suppress(OSError):
            file.close()
        with suppress(FileNotFoundError):
            os.unlink(aside)
        raise


def _is_unnamed_write(error: OSError) -> bool:
    # Writing to an open file does not say which; what else the block does names its own files.
    return error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sync_directory(path: str) -> None:
    """Make the names in a directory as durable as the files they name."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
