"""Writing a file so that others see the old one or the whole new one, never a part."""

import errno
import os
import secrets
import tempfile
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


class StagedFile:
    """A file that is written before its name is known, in the directory where it will be.

    Where the file system can do it the file has no name until then, so that not even a crash leaves anything behind.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._aside = ""  # its name, where it must have one
        try:
            if not os.path.isdir("/proc/self/fd"):
                raise OSError(errno.ENOTSUP, "no way to name the file later")
            fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except (OSError, AttributeError):
            self._aside = os.path.join(directory, f".{secrets.token_hex(8)}.tmp")
            fd = os.open(self._aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self.file: BinaryIO = os.fdopen(fd, "w+b", buffering=0)

    def appear(self, target: str, *, durable: bool = True) -> None:
        """Give the file the name ``target``, in its directory; what had that name is gone. It is closed then."""
        if durable:
            os.fsync(self.file.fileno())
        if not self._aside:
            # A link cannot replace a file, so it gets a name of its own first.
            aside = os.path.join(self._directory, f".{secrets.token_hex(8)}.tmp")
            fd = self.file.fileno()
            # With a src_dir_fd, whichever it is, Python calls linkat, which can follow the link to the open file.
            os.link(f"/proc/self/fd/{fd}", aside, src_dir_fd=fd, follow_symlinks=True)
            self._aside = aside
        os.replace(self._aside, target)
        self._aside = ""
        self.file.close()

    def discard(self) -> None:
        """Remove the file, unless it has appeared. May be called twice."""
        with suppress(OSError):
            self.file.close()
        if self._aside:
            with suppress(FileNotFoundError):
                os.unlink(self._aside)
            self._aside = ""


def unnamed_file() -> BinaryIO:
    """A file without a name in the directory for temporary files, to write and read; it goes when it is closed."""
    return tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  the caller closes it


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of ``data`` to an unbuffered file."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


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
