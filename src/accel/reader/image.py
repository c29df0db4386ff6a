"""An accelerated image to look into: names, files and bytes, fetching only what is asked for."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from accel.errors import ConfigError, UnsupportedError
from accel.images import Child, Image
from accel.images.soci_lookup import FoundIndex, find_soci_index
from accel.images.toc_layer import find_toc
from accel.images.tree import Kind, Node, Problem, Tree, merge
from accel.oci import Descriptor
from accel.reader.extract import ExtractOptions, Extractor, ExtractReport, open_target
from accel.reader.layers import IndexedLayer, LayerContent, LazyLayer, open_unindexed
from accel_core.entries import FLAG_GNU_SPARSE, FLAG_PAX_SPARSE
from accel_core.entry import Entry


@dataclass(frozen=True, slots=True)
class PathInfo:
    """One name in the image. ``entry`` is the tar entry behind it, None for a directory no layer lists."""

    path: bytes
    kind: Kind
    size: int
    layer: int
    entry: Entry | None

    @property
    def name(self) -> str:
        """The path as text; bytes that are no UTF-8 are escaped."""
        return self.path.decode("utf-8", "backslashreplace")

    @property
    def mode(self) -> int:
        """Permission and set-id bits."""
        return self.entry.mode & 0o7777 if self.entry is not None else 0o755

    @property
    def linkname(self) -> str:
        """Target of a symlink, else empty."""
        if self.entry is None or self.kind != "symlink":
            return ""
        return self.entry.linkname.decode("utf-8", "backslashreplace")


class AcceleratedImage:
    """The merged files of one image. Paths are str or bytes, with or without a leading slash.

    The table of contents is put together when first needed. ``fetched_bytes`` counts layer bytes read so far,
    ``index_bytes`` what the indexes cost. Close it, or use it as a context manager. Not for several threads at once.
    """

    def __init__(self, image: Image, child: Child) -> None:
        assert child.manifest is not None
        self.image = image
        self.child = child
        self.platform = child.platform
        self.manifest = child.manifest
        self.fetched_bytes = 0
        self.soci: FoundIndex | None = find_soci_index(image, child)
        self._ztocs = self.soci.ztocs if self.soci is not None else {}
        self.index_bytes = 0
        self._layers: list[LayerContent] = []
        self._tree: Tree | None = None

    @property
    def tree(self) -> Tree:
        """All layers merged."""
        if self._tree is None:
            # The same layer may be there more than once; it is opened, and what has no index fetched, only once.
            opened = {layer.digest: layer for layer in self.manifest.layers}
            contents = {digest: self._open(layer) for digest, layer in opened.items()}
            self._layers = [contents[layer.digest] for layer in self.manifest.layers]
            self._tree = merge([layer.entries for layer in self._layers])
        return self._tree

    @property
    def problems(self) -> list[Problem]:
        """Entries that have no place in the merged tree."""
        return self.tree.problems

    def ls(self, path: str | bytes = b"", *, recursive: bool = False) -> Iterator[PathInfo]:
        """The names in directory ``path`` sorted, or ``path`` itself if it is none. Raises ``NotFoundError``."""
        resolved, node = self.tree.find(_raw(path))
        if node.children is None:
            return iter([_info(resolved, node)])
        if recursive:
            return (_info(name, below) for name, below in self.tree.walk(resolved, node) if below is not node)
        prefix = resolved + b"/" if resolved else b""
        return (_info(prefix + name, node.children[name]) for name in sorted(node.children))

    def stat(self, path: str | bytes, *, follow: bool = True) -> PathInfo:
        """What is at ``path``. Raises ``NotFoundError``."""
        return _info(*self.tree.find(_raw(path), follow=follow))

    def cat(self, path: str | bytes) -> Iterator[bytes | memoryview]:
        """The content of the regular file at ``path``, a span or less at a time; every span is verified before use.

        Raises ``NotFoundError``, ``ConfigError`` for anything but a file, ``DigestMismatch``, ``FormatError``.
        """
        resolved, node = self.tree.find(_raw(path))
        if node.kind != "file":
            raise ConfigError(f"{_info(resolved, node).name or '/'} is a {node.kind}, not a file")
        return self._content(node)

    def extract(
        self, dest: str | os.PathLike[str], path: str | bytes = b"", options: ExtractOptions | None = None
    ) -> ExtractReport:
        """Write the file, or the content of the directory, at ``path`` into directory ``dest``.

        Never writes outside ``dest`` nor over anything in it. Raises ``ConfigError``, ``OSError`` and as ``cat`` does.
        """
        resolved, node = self.tree.find(_raw(path), follow=False)
        if node.children is None:
            names = iter([(resolved.rpartition(b"/")[2], node)])
        else:
            names = self.tree.walk(b"", node)
        target = open_target(dest)
        try:
            return Extractor(target, self._content, options or ExtractOptions()).extract(names)
        finally:
            os.close(target)

    def close(self) -> None:
        """Release the store."""
        self.image.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _content(self, node: Node) -> Iterator[bytes | memoryview]:
        entry = node.entry
        assert entry is not None
        if entry.flags & (FLAG_GNU_SPARSE | FLAG_PAX_SPARSE):
            raise UnsupportedError(f"{_shown(entry.name)} is stored sparse, which cannot be read in ranges")
        return self._layers[node.layer].read(entry.data_offset, entry.data_offset + entry.size)

    def _open(self, layer: Descriptor) -> LayerContent:
        blob = self.image.store.blob(layer)
        ztoc = self._ztocs.get(layer.digest)
        if ztoc is None or self.soci is None:
            toc = find_toc(blob, layer)
            if toc is None:
                return open_unindexed(blob, layer, self._on_fetch)
            self.index_bytes += toc.fetched_bytes
            return LazyLayer(blob, toc, layer.digest, self._on_fetch)
        index = self.soci.load(ztoc)
        self.index_bytes += ztoc.size
        return IndexedLayer(blob, index, layer.digest, self._on_fetch)

    def _on_fetch(self, n_bytes: int) -> None:
        self.fetched_bytes += n_bytes


def _info(path: bytes, node: Node) -> PathInfo:
    return PathInfo(path, node.kind, node.size, node.layer, node.entry)


def _raw(path: str | bytes) -> bytes:
    return path if isinstance(path, bytes) else os.fsencode(path)


def _shown(name: bytes) -> str:
    return name[:200].decode("utf-8", "backslashreplace")
