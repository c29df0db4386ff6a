"""The layer to measure on: a file, the largest gzip layer of an image, or one made of this machine's files."""

import mmap
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from accel.bench.synthetic import write_layer
from accel.blobs import FileBlob, verified
from accel.errors import UnsupportedError
from accel.images import load, open_store
from accel.images.compression import SNIFF_BYTES, sniff
from accel.oci import Descriptor, Platform, Reference
from accel.progress import NoProgress, Progress
from accel.registry.options import RegistryOptions
from accel.stores import ImageStore
from accel_core import index

SYNTHETIC_BYTES, QUICK_BYTES = 128_000_000, 64_000_000  # uncompressed
MAX_UNCOMP_BYTES = 64 << 30
_FILE_ENDINGS = (".gz", ".tgz", ".tar", ".layer")


@dataclass(frozen=True, slots=True)
class BenchLayer:
    """A gzip layer in a file that has been read through once: nothing is wrong with it.

    ``name`` is what the user calls it, ``origin`` where it comes from in a few words.
    """

    path: Path
    name: str
    origin: str
    comp_size: int
    uncomp_size: int
    members: int
    entries: int
    content: memoryview = field(repr=False)

    def to_json(self) -> dict[str, object]:
        kept = ("name", "origin", "comp_size", "uncomp_size", "members", "entries")
        return {name: getattr(self, name) for name in kept}


@contextmanager
def work_folder() -> Iterator[Path]:
    """Where a layer is made or downloaded and index files are written; gone afterwards."""
    with TemporaryDirectory(prefix="accel-bench-") as folder:
        yield Path(folder)


def file_layer(path: str | os.PathLike[str], progress: Progress | None = None) -> BenchLayer:
    """The layer in a file. Raises ``UnsupportedError`` if it is not gzip, ``FormatError``, ``OSError``."""
    return _read_through(Path(path), os.fspath(path), "a file", progress or NoProgress())


def synthetic_layer(folder: Path, n_bytes: int, progress: Progress | None = None) -> BenchLayer:
    """A layer of at most about ``n_bytes`` uncompressed, made of this machine's files in ``folder``."""
    shown = progress or NoProgress()
    path = folder / "synthetic.tar.gz"
    shown.begin("making a layer", n_bytes)
    write_layer(path, n_bytes, lambda done: shown.advance("making a layer", done))
    shown.end("making a layer", "")
    origin = "files of this machine's /usr and Python's library, gzip -6"
    return _read_through(path, "synthetic layer", origin, shown)


def image_layer(
    reference: str,
    folder: Path,
    platform: Platform | None = None,
    *,
    progress: Progress | None = None,
    registries: RegistryOptions | None = None,
) -> BenchLayer:
    """The largest gzip layer of an image, downloaded into ``folder`` unless it is a file already.

    Raises ``ReferenceSyntaxError``, ``NotFoundError``, ``RegistryError``, ``DigestMismatch``, ``UnsupportedError`` if
    no layer is gzip.
    """
    shown = progress or NoProgress()
    where = Reference.parse(reference)
    with closing(open_store(where, registries)) as store:
        image = load(store, where.selector)
        child = image.pick(platform)
        assert child.manifest is not None
        layer = _largest_gzip(store, child.manifest.layers, str(where))
        blob = store.blob(layer)
        if isinstance(blob, FileBlob) and blob.size == os.path.getsize(blob.path):
            path = Path(blob.path)
        else:
            path = folder / layer.digest.replace(":", "-")
            shown.begin("fetching the layer", layer.size)
            with path.open("wb") as file:
                for piece in verified(blob.stream(), layer):
                    file.write(piece)
                    shown.advance("fetching the layer", len(piece))
            shown.end("fetching the layer", "")
        origin = f"largest gzip layer of {where}{f' for {child.platform}' if child.platform else ''}"
        return _read_through(path, layer.digest, origin, shown)


def is_file_name(text: str) -> bool:
    """Whether a command line means a file by ``text``: it is there, or looks like no image."""
    return os.path.exists(text) or text.startswith(("/", "./", "../", "~")) or text.endswith(_FILE_ENDINGS)


def _largest_gzip(store: ImageStore, layers: tuple[Descriptor, ...], where: str) -> Descriptor:
    for layer in sorted(layers, key=lambda layer: -layer.size):
        blob = store.blob(layer)
        if not layer.urls and sniff(blob.read_at(0, min(SNIFF_BYTES, layer.size))) == "gzip":
            return layer
    raise UnsupportedError(f"{where} has no gzip layer: there is nothing to compare gzip decoders on")


def _read_through(path: Path, name: str, origin: str, progress: Progress) -> BenchLayer:
    with path.open("rb") as file:
        kind = sniff(file.read(SNIFF_BYTES))
    if kind not in ("gzip", "empty"):
        raise UnsupportedError(f"{name} is {kind}, not gzip: there is nothing to compare gzip decoders on")
    progress.begin("checking the layer", path.stat().st_size)
    found = index(
        path,
        compression="gzip",
        max_uncomp_bytes=MAX_UNCOMP_BYTES,
        blob=name,
        on_bytes=lambda n_bytes: progress.advance("checking the layer", n_bytes),
    )
    progress.end("checking the layer", "")
    return BenchLayer(
        path,
        name,
        origin,
        found.comp_size,
        found.uncomp_size,
        found.members,
        len(found.entries),
        _mapped(path),
    )


def _mapped(path: Path) -> memoryview:
    """The file's bytes, in the page cache and not a second time in ours.

    Private and writable, though nobody writes: only then will ctypes give an address.
    """
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
