"""The layers of the demo image: tar entries from this machine and made up, and the writer that stores them."""

import hashlib
import io
import os
import shutil
import stat
import subprocess
import sysconfig
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 1 << 20
LARGEST_FILE = 48 * MIB  # larger files are left out: one of them would be most of a layer

STDLIB = sysconfig.get_path("stdlib")
SYSTEM_DIRS = ["/usr/bin", "/usr/sbin", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"]
RUNTIME_DIRS = [STDLIB, "/usr/lib/python3", "/usr/local/lib", "/usr/share/perl", "/usr/lib/node_modules"]
DATA_DIRS = ["/usr/include", "/usr/share/doc", "/usr/share", "/usr/lib/gcc", "/usr/libexec", "/usr/lib", "/opt"]
SKIPPED_NAMES = {"__pycache__", ".git"}

# What BuildKit stores for a step without changes: sha256:4f4fb700ef54…
EMPTY_GZIP = bytes.fromhex("1f8b08000000000000ff621805a360148c5800080000ffff2eafb5ef00040000")

LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as stored."""

    what: str
    media_type: str
    digest: str
    size: int
    diff_id: str
    uncomp_size: int

    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


class LayerWriter:
    """File-like: takes tar bytes and stores them as a blob, digests computed on the way.

    ``compress``: ``zlib`` (in this process, level 6, no name or time in the header), ``pigz`` or ``none``.
    """

    def __init__(self, blobs: Path, what: str, compress: str = "zlib") -> None:
        self._blobs, self._what, self._compress = blobs, what, compress
        self._scratch = blobs / f".{what}.part"
        self._file = self._scratch.open("wb")
        self._tar_digest, self._tar_size = hashlib.sha256(), 0
        self._zlib = zlib.compressobj(6, zlib.DEFLATED, 31) if compress == "zlib" else None
        self._pigz: subprocess.Popen[bytes] | None = None
        if compress == "pigz":
            command = ["pigz", "-6", "--no-name", "--no-time", "--processes", "2"]
            self._pigz = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self._file)

    def write(self, data: bytes) -> int:
        self._tar_digest.update(data)
        self._tar_size += len(data)
        if self._pigz:
            assert self._pigz.stdin is not None
            self._pigz.stdin.write(data)
        else:
            self._file.write(self._zlib.compress(data) if self._zlib else data)
        return len(data)

    def store(self) -> Layer:
        """Finish, give the blob its name, and say what it is."""
        if self._zlib:
            self._file.write(self._zlib.flush())
        if self._pigz:
            self._pigz.communicate()
            if self._pigz.returncode:
                raise OSError(f"pigz ended with {self._pigz.returncode}")
        self._file.close()
        with self._scratch.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = self._scratch.stat().st_size
        self._scratch.replace(self._blobs / digest)
        media_type = LAYER_TAR if self._compress == "none" else LAYER_GZIP
        diff_id = f"sha256:{self._tar_digest.hexdigest()}"
        return Layer(self._what, media_type, f"sha256:{digest}", size, diff_id, self._tar_size)


def files_below(directory: str) -> Iterator[os.DirEntry[str]]:
    """Every directory, file and symlink below ``directory`` in sorted order; what cannot be read is left out."""
    try:
        with os.scandir(directory) as listing:
            entries = sorted(listing, key=lambda e: e.name)
    except OSError:
        return
    for entry in entries:
        if entry.name in SKIPPED_NAMES:
            continue
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(entry.path)


class MachineFiles:
    """Adds files of this machine to layers, every path at most once over all layers."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def add(self, tar: tarfile.TarFile, directories: list[str], wanted_bytes: int) -> None:
        """Add from ``directories`` in turn until the tar holds ``wanted_bytes``."""
        first_of: dict[tuple[int, int], str] = {}
        for directory in directories:
            for entry in files_below(os.path.realpath(directory)):
                if tar.offset >= wanted_bytes:
                    return
                if entry.path not in self._used:
                    self._used.add(entry.path)
                    self._add_one(tar, entry, first_of)

    def _add_one(
        self, tar: tarfile.TarFile, entry: os.DirEntry[str], first_of: dict[tuple[int, int], str]
    ) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
            info = entry_of(entry.path.lstrip("/"), mode=stat.S_IMODE(status.st_mode), mtime=int(status.st_mtime))
            if stat.S_ISLNK(status.st_mode):
                info.type, info.linkname = tarfile.SYMTYPE, os.readlink(entry.path)
            elif stat.S_ISDIR(status.st_mode):
                info.type = tarfile.DIRTYPE
            elif not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
                return
            elif (status.st_dev, status.st_ino) in first_of:
                info.type, info.linkname = tarfile.LNKTYPE, first_of[status.st_dev, status.st_ino]
            else:
                data = Path(entry.path).read_bytes()
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
                if status.st_nlink > 1:
                    first_of[status.st_dev, status.st_ino] = info.name
                return
        except OSError:  # unreadable, or gone since it was listed
            return
        tar.addfile(info)


def open_tar(writer: LayerWriter, tar_format: int) -> tarfile.TarFile:
    """A tar that streams into ``writer``, 1 MiB a time."""
    return tarfile.open(fileobj=writer, mode="w|", bufsize=MIB, format=tar_format)  # type: ignore[call-overload, no-any-return]


def entry_of(name: str, **fields: Any) -> tarfile.TarInfo:
    """A tar entry owned by root; ``fields`` are attributes of TarInfo."""
    info = tarfile.TarInfo(name)
    info.uname = info.gname = "root"
    info.mode, info.mtime = 0o644, 1_700_000_000
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **fields: Any) -> None:
    """Add one made-up entry."""
    tar.addfile(entry_of(name, size=len(data), **fields), io.BytesIO(data))


def add_app(tar: tarfile.TarFile, below: list[tarfile.TarInfo]) -> None:
    """The application layer: changes to the entries ``below`` it, and every kind of entry an image can hold."""
    files = [e for e in below if e.isreg() and 0 < e.size < MIB]
    changed, removed = files[:20], files[20:25]
    for entry in changed:
        add(tar, entry.name, b"changed by the application layer\n" * 40, mode=entry.mode)
    for entry in removed:
        folder, _, name = entry.name.rpartition("/")
        add(tar, f"{folder}/.wh.{name}")
    add(tar, "opt/demo", type=tarfile.DIRTYPE, mode=0o755)
    add(tar, "opt/demo/.wh..wh..opq")
    program = b"".join(b"line %06d of the program\n" % i for i in range(250_000))
    add(tar, "opt/demo/program", program, mode=0o4755)
    add(tar, "opt/demo/also-program", type=tarfile.LNKTYPE, linkname="opt/demo/program", mode=0o4755)
    add(tar, "opt/demo/relative", type=tarfile.SYMTYPE, linkname="program")
    add(tar, "opt/demo/absolute", type=tarfile.SYMTYPE, linkname="/opt/demo/program")
    add(tar, "opt/demo/dangling", type=tarfile.SYMTYPE, linkname="x" * 130)
    add(tar, "opt/demo/empty")
    add(tar, "opt/demo/with space and ünïcödé", b"text\n")
    add(tar, "opt/demo/" + "long-name-" * 11, b"a name over 100 bytes\n")
    add(tar, "opt/demo/" + "/".join(["a-rather-long-directory-name"] * 10) + "/file", b"a path over 255 bytes\n")
    xattrs = {"SCHILY.xattr.user.demo": "from the demo", "SCHILY.xattr.user.empty": ""}
    add(tar, "opt/demo/with-xattrs", b"see my attributes\n", pax_headers=xattrs)
    add(tar, "opt/demo/half-a-second", b"mtime has a fraction\n", mtime=1_700_000_000.5)
    add(tar, "opt/demo/owned-by-a-big-id", b"uid needs more than the octal field\n", uid=3_000_000, gid=3_000_001)
    add(tar, "opt/demo/fifo", type=tarfile.FIFOTYPE)
    add(tar, "opt/demo/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
    add(tar, "opt/demo/twice", b"the first of two\n")
    add(tar, "opt/demo/twice", b"the second of two, the one that counts\n")


def build_layers(blobs: Path, layer_bytes: int) -> tuple[list[Layer], Layer]:
    """Write all layer blobs: those of linux/amd64 from the bottom up, and the uncompressed one."""
    machine = MachineFiles()
    compress = "pigz" if shutil.which("pigz") else "zlib"

    def large(
        what: str, tar_format: int, compress: str, first: list[str], wanted_bytes: int
    ) -> tuple[Layer, list[tarfile.TarInfo]]:
        writer = LayerWriter(blobs, what, compress)
        with open_tar(writer, tar_format) as tar:
            if tar_format == tarfile.GNU_FORMAT:
                add(tar, "var/lib/demo/" + "gnu-long-name-" * 12, b"named by a GNU L record\n")
                add(tar, "var/lib/demo/link", type=tarfile.SYMTYPE, linkname="gnu-long-target-" * 10)
                add(tar, "opt/demo/old", b"hidden by the opaque whiteout of the application layer\n")
                add(tar, "var/lib/demo/big-uid", b"base-256 uid\n", uid=3_000_000)
            machine.add(tar, first + SYSTEM_DIRS + RUNTIME_DIRS + DATA_DIRS, wanted_bytes)
            members = tar.getmembers()
        return writer.store(), members

    # The layer with the system's programs and libraries is the largest one, as in most images.
    small = layer_bytes * 7 // 10
    system, members = large("system", tarfile.PAX_FORMAT, "zlib", SYSTEM_DIRS, 3 * layer_bytes - 2 * small)
    runtime, _ = large("runtime", tarfile.GNU_FORMAT, "zlib", RUNTIME_DIRS, small)
    data, _ = large("data", tarfile.PAX_FORMAT, compress, DATA_DIRS, small)
    writer = LayerWriter(blobs, "app")
    with open_tar(writer, tarfile.PAX_FORMAT) as tar:
        add_app(tar, members)
    app = writer.store()
    writer = LayerWriter(blobs, "plain", "none")
    with open_tar(writer, tarfile.USTAR_FORMAT) as tar:
        add(tar, "etc/platform", b"arm64\n" * 1000)
    return [system, runtime, store_empty(blobs), data, app, app], writer.store()


def store_empty(blobs: Path) -> Layer:
    """The layer of a step that changed nothing: two zero blocks, byte for byte as BuildKit compresses them."""
    (blobs / hashlib.sha256(EMPTY_GZIP).hexdigest()).write_bytes(EMPTY_GZIP)
    digest, diff_id = (f"sha256:{hashlib.sha256(b).hexdigest()}" for b in (EMPTY_GZIP, bytes(1024)))
    return Layer("empty", LAYER_GZIP, digest, len(EMPTY_GZIP), diff_id, 1024)
