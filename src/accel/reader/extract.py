"""Files of an image onto disk, never outside the target directory.

Nothing is opened by path: each name is created relative to a descriptor of its parent, and parents are opened one part
at a time without following symlinks (openat with O_NOFOLLOW). So neither the image nor what already lies in the target
can lead a write elsewhere. What exists is never overwritten.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from accel.errors import ConfigError, FormatError
from accel.images.tree import Node
from accel_core.entries import Entry

_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_XATTR_PREFIX = b"SCHILY.xattr."
Content = Callable[[Node], Iterator[bytes | memoryview]]


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """``owner``: keep uid, gid and set-id bits (None: if running as root). ``devices``: create device nodes."""

    owner: bool | None = None
    devices: bool = False
    xattrs: bool = True


@dataclass(slots=True)
class ExtractReport:
    """What was written, and what was not: ``skipped`` holds (path, reason)."""

    n_files: int = 0
    n_bytes: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def skip(self, path: bytes, why: str) -> None:
        self.skipped.append((path.decode("utf-8", "backslashreplace"), why))


class Extractor:
    """Writes nodes below one directory descriptor."""

    def __init__(self, root_fd: int, content: Content, options: ExtractOptions) -> None:
        self._root_fd = root_fd
        self._content = content
        self._options = options
        self._owner = os.geteuid() == 0 if options.owner is None else options.owner
        self.report = ExtractReport()

    def extract(self, names: Iterator[tuple[bytes, Node]]) -> ExtractReport:
        """Create every (relative path, node), parents first as :meth:`accel.images.tree.Tree.walk` gives them.

        Raises ``ConfigError`` for a name that exists already.
        """
        directories: list[tuple[bytes, Node]] = []
        files: dict[Node, list[bytes]] = {}  # all names of each node that is not a directory
        refused: list[bytes] = []
        for path, node in names:
            if node.climbs or any(path.startswith(parent + b"/") for parent in refused):
                self.report.skip(path, "its name in the layer climbs with '..'")
                if node.kind == "dir":
                    refused.append(path)
            elif b"\0" in path or any(len(part) > 255 for part in path.split(b"/")):
                self.report.skip(path, "a name no file system can hold")
                if node.kind == "dir":
                    refused.append(path)
            elif node.kind == "dir":
                if path:  # the target directory itself is the caller's
                    self._make_directory(path)
                    directories.append((path, node))
            else:
                files.setdefault(node, []).append(path)
        for node in sorted(files, key=_stored_order):
            self._write(files[node], node)
        for path, node in reversed(directories):  # children first: writing into a directory changes its mtime
            with self._parent(path) as (parent_fd, name):
                fd = os.open(name, _DIR_FLAGS, dir_fd=parent_fd)
                try:
                    self._attributes(fd, path, node)
                finally:
                    os.close(fd)
        return self.report

    @contextmanager
    def _parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        *parents, name = path.split(b"/")
        fd = os.dup(self._root_fd)
        try:
            for part in parents:
                below = os.open(part, _DIR_FLAGS, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd, name
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ELOOP, errno.ENOTDIR):
                raise ConfigError(f"{_shown(path)} exists already in the target") from error
            raise
        finally:
            os.close(fd)

    def _make_directory(self, path: bytes) -> None:
        with self._parent(path) as (parent_fd, name):
            try:
                os.mkdir(name, 0o700, dir_fd=parent_fd)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
                    raise

    def _write(self, paths: list[bytes], node: Node) -> None:
        first, *others = paths
        with self._parent(first) as (parent_fd, name):
            if not self._create(parent_fd, name, first, node):
                return
            for other in others:
                with self._parent(other) as (other_fd, other_name):
                    os.link(
                        name, other_name, src_dir_fd=parent_fd, dst_dir_fd=other_fd, follow_symlinks=False
                    )
        self.report.n_files += len(paths)

    def _create(self, parent_fd: int, name: bytes, path: bytes, node: Node) -> bool:
        entry = node.entry
        assert entry is not None
        if node.kind == "file":
            self._create_file(parent_fd, name, path, node)
            return True
        if node.kind == "symlink":
            if not entry.linkname or b"\0" in entry.linkname:
                self.report.skip(path, "symlink without a target")
                return False
            os.symlink(entry.linkname, name, dir_fd=parent_fd)
        elif node.kind == "fifo":
            os.mkfifo(name, 0o600, dir_fd=parent_fd)
        elif not self._options.devices or os.geteuid() != 0:
            self.report.skip(path, "device node")
            return False
        else:
            kind = stat.S_IFCHR if node.kind == "char" else stat.S_IFBLK
            try:
                os.mknod(name, kind | 0o600, os.makedev(entry.devmajor, entry.devminor), dir_fd=parent_fd)
            except (OverflowError, PermissionError) as error:
                self.report.skip(path, f"device node: {error}")
                return False
        self._special_attributes(parent_fd, name, path, node)
        return True

    def _create_file(self, parent_fd: int, name: bytes, path: bytes, node: Node) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent_fd)
        try:
            for piece in self._content(node):
                left = memoryview(piece)
                while left:
                    left = left[os.write(fd, left) :]
                self.report.n_bytes += len(piece)
            self._attributes(fd, path, node)
        except BaseException as error:
            if isinstance(error, OSError) and error.filename is None:
                error.filename = _shown(path)
            os.unlink(name, dir_fd=parent_fd)  # a file that is not whole must not be taken for one
            raise
        finally:
            os.close(fd)

    def _attributes(self, fd: int, path: bytes, node: Node) -> None:
        """Owner, mode, xattrs and mtime of an open file or directory (in this order: chown clears set-id bits)."""
        entry = node.entry
        if entry is None:
            os.fchmod(fd, 0o755)
            return
        with self._tolerating(path, "owner"):
            if self._owner:
                os.fchown(fd, entry.uid, entry.gid)
        for key, value in self._xattrs(entry):
            with self._tolerating(path, f"xattr {_shown(key)}"):
                os.setxattr(fd, key, value)
        os.fchmod(fd, self._mode(entry))
        with self._tolerating(path, "mtime"):
            if entry.has_mtime:
                os.utime(fd, ns=_times(entry))

    def _special_attributes(self, parent_fd: int, name: bytes, path: bytes, node: Node) -> None:
        # Symlinks, fifos and devices must not be opened, so they are reached through their parent.
        entry = node.entry
        assert entry is not None
        with self._tolerating(path, "owner"):
            if self._owner:
                os.chown(name, entry.uid, entry.gid, dir_fd=parent_fd, follow_symlinks=False)
        for key, value in self._xattrs(entry):
            with self._tolerating(path, f"xattr {_shown(key)}"):
                os.setxattr(b"/proc/self/fd/%d/%s" % (parent_fd, name), key, value, follow_symlinks=False)
        if node.kind != "symlink":
            os.chmod(name, self._mode(entry), dir_fd=parent_fd)
        with self._tolerating(path, "mtime"):
            if entry.has_mtime:
                os.utime(name, ns=_times(entry), dir_fd=parent_fd, follow_symlinks=False)

    def _mode(self, entry: Entry) -> int:
        # set-id bits say something only together with the owner they were meant for
        return entry.mode & (0o7777 if self._owner else 0o1777)

    def _xattrs(self, entry: Entry) -> Iterator[tuple[bytes, bytes]]:
        if self._options.xattrs:
            for key, value in entry.pax:
                if key.startswith(_XATTR_PREFIX):
                    yield key[len(_XATTR_PREFIX) :], value

    @contextmanager
    def _tolerating(self, path: bytes, what: str) -> Iterator[None]:
        """An attribute this system cannot hold is reported; the file stays."""
        try:
            yield
        except (OSError, OverflowError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
                raise
            self.report.skip(path, f"{what}: {getattr(error, 'strerror', None) or error}")


def open_target(path: str | os.PathLike[str]) -> int:
    """Descriptor of the directory ``path``, created if missing; the caller closes it."""
    try:
        os.mkdir(path)
    except FileExistsError:
        pass
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError:
        raise ConfigError(f"{os.fspath(path)} is not a directory") from None


def _stored_order(node: Node) -> tuple[int, int]:
    # as the bytes lie in the layers: each span is fetched and inflated once.
    entry = node.entry
    if entry is None:
        raise FormatError("only directories come without an entry")
    return node.layer, entry.data_offset


def _times(entry: Entry) -> tuple[int, int]:
    ns = entry.mtime_s * 1_000_000_000 + entry.mtime_ns
    return ns, ns


def _shown(text: bytes) -> str:
    return text[:200].decode("utf-8", "backslashreplace")
