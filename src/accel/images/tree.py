"""The file tree that an image's layers make together.

Layers are laid over each other from the lowest up, as overlayfs would show them (image-spec «layer», Applying
changesets; names cleaned as the SOCI snapshotter does):

* names are rooted and cleaned: ``./a``, ``/a`` and ``../a`` are all ``a``; symlinks in a name are never followed;
* ``.wh.NAME`` hides NAME of the layers below, ``.wh..wh..opq`` everything its directory had there;
* within a layer the last entry of a name wins; a directory over a directory keeps the children;
* a hard link is another name of the same node, wherever in the tree its target came from.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from accel.errors import NotFoundError
from accel_core.entries import Entry

Kind = Literal["file", "dir", "symlink", "char", "block", "fifo"]

WHITEOUT_PREFIX = b".wh."
OPAQUE_MARKER = b".wh..wh..opq"
_AUFS_PREFIX = (
    b".wh..wh."  # other markers of this kind at the root are aufs' own bookkeeping, no part of the image
)
MAX_NAME_BYTES = (
    4096  # PATH_MAX: no system can create a longer one, and a few would fill the memory with parents
)
_MAX_SYMLINKS = 40  # as Linux

_KINDS: dict[str, Kind] = {
    "0": "file",
    "7": "file",
    "S": "file",
    "2": "symlink",
    "3": "char",
    "4": "block",
    "5": "dir",
    "6": "fifo",
}


@dataclass(slots=True, eq=False)
class Node:
    """One inode: hard links are several names of the same object. ``entry`` is None for a directory nobody listed."""

    kind: Kind
    layer: int
    entry: Entry | None
    children: dict[bytes, "Node"] | None = None
    climbs: bool = False  # the raw name had a ``..``: shown where cleaning puts it, never extracted

    @property
    def size(self) -> int:
        """Bytes of a regular file; 0 for everything else."""
        return self.entry.size if self.entry is not None and self.kind == "file" else 0


@dataclass(frozen=True, slots=True)
class Problem:
    """An entry that could not be placed: which layer (0 is the lowest), its raw name, and why."""

    layer: int
    name: bytes
    what: str


@dataclass(slots=True)
class Tree:
    """The merged tree. Paths are bytes without a leading slash; ``b""`` is the root."""

    root: Node = field(default_factory=lambda: Node("dir", -1, None, {}))
    problems: list[Problem] = field(default_factory=list)

    def find(self, path: bytes, *, follow: bool = True) -> tuple[bytes, Node]:
        """``(path without symlinks, node)``; symlinks resolve inside the tree, as in a container.

        With ``follow`` false the last part may be a symlink itself. Raises ``NotFoundError``.
        """
        node = self.root
        resolved: list[bytes] = []
        ancestors: list[Node] = []
        todo = list(reversed(path.split(b"/")))
        n_symlinks = 0
        while todo:
            part = todo.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if ancestors:
                    node = ancestors.pop()
                    resolved.pop()
                continue
            child = node.children.get(part) if node.children is not None else None
            if child is None:
                raise NotFoundError(f"no such path in the image: {_shown(path)}")
            if child.kind == "symlink" and (follow or any(rest not in (b"", b".") for rest in todo)):
                n_symlinks += 1
                target = child.entry.linkname if child.entry is not None else b""
                if n_symlinks > _MAX_SYMLINKS or len(target) > MAX_NAME_BYTES:
                    raise NotFoundError(f"too many levels of symbolic links: {_shown(path)}")
                if target.startswith(b"/"):
                    node, resolved, ancestors = self.root, [], []
                todo.extend(reversed(target.split(b"/")))
                continue
            ancestors.append(node)
            resolved.append(part)
            node = child
        return b"/".join(resolved), node

    def walk(self, path: bytes = b"", node: Node | None = None) -> Iterator[tuple[bytes, Node]]:
        """Every name below ``node`` (the root by default), itself included, parents first, names sorted."""
        todo = [(path, node or self.root)]
        while todo:
            here, current = todo.pop()
            yield here, current
            if current.children:
                prefix = here + b"/" if here else b""
                names = sorted(current.children, reverse=True)
                todo.extend((prefix + name, current.children[name]) for name in names)


def merge(layers: Sequence[Iterable[Entry]], *, check: Callable[[], None] = lambda: None) -> Tree:
    """The tree of ``layers`` (entry tables, lowest first). ``check`` is called once a layer and may raise."""
    tree = Tree()
    for number, entries in enumerate(layers):
        check()
        _Layer(tree, number).apply(entries)
    return tree


class _Layer:
    """Lays one layer's entries over a tree."""

    def __init__(self, tree: Tree, number: int) -> None:
        self._tree = tree
        self._number = number
        self._unresolved: list[tuple[list[bytes], bool, Entry]] = []  # hard links before their target

    def apply(self, entries: Iterable[Entry]) -> None:
        ordinary: list[tuple[list[bytes], bool, Entry]] = []
        for entry in entries:
            if entry.typeflag == "g":
                continue
            if len(entry.name) > MAX_NAME_BYTES:
                self._report(entry, f"name of {len(entry.name)} bytes")
                continue
            parts, climbs = _clean(entry.name)
            if parts and parts[0].startswith(_AUFS_PREFIX) and parts[0] != OPAQUE_MARKER:
                continue
            if parts and parts[-1].startswith(WHITEOUT_PREFIX):
                self._hide(parts)  # whiteouts only ever hide lower layers, so they all come first
            else:
                ordinary.append((parts, climbs, entry))
        for parts, climbs, entry in ordinary:
            self._place(parts, climbs, entry)
        self._link_late()

    def _hide(self, parts: list[bytes]) -> None:
        *parents, name = parts
        directory = self._lookup(parents)
        if directory is None or directory.children is None:
            return
        if name == OPAQUE_MARKER:
            directory.children.clear()
        else:
            directory.children.pop(name[len(WHITEOUT_PREFIX) :], None)

    def _place(self, parts: list[bytes], climbs: bool, entry: Entry) -> None:
        if entry.typeflag == "1":
            if not self._link(parts, climbs, entry):
                self._unresolved.append((parts, climbs, entry))
            return
        kind = _KINDS.get(entry.typeflag)
        if kind is None:
            self._report(entry, f"unknown entry type {entry.typeflag!r}")
            return
        if not parts:
            if kind == "dir":
                self._tree.root.entry, self._tree.root.layer = entry, self._number
            else:
                self._report(entry, f"a {kind} in place of the root directory")
            return
        *parents, name = parts
        siblings = self._directory(parents)
        old = siblings.get(name)
        if kind == "dir" and old is not None and old.kind == "dir":
            old.entry, old.layer, old.climbs = entry, self._number, climbs
            return
        node = Node(kind, self._number, entry, {} if kind == "dir" else None, climbs=climbs)
        siblings[name] = node

    def _link(self, parts: list[bytes], climbs: bool, entry: Entry) -> bool:
        if len(entry.linkname) > MAX_NAME_BYTES:
            self._report(entry, f"link target of {len(entry.linkname)} bytes")
            return True
        target_parts, _ = _clean(entry.linkname)
        target = self._lookup(target_parts)
        if target is None:
            return False
        if target.kind == "dir" or not parts:
            self._report(
                entry, "hard link to a directory" if parts else "hard link in place of the root directory"
            )
            return True
        *parents, name = parts
        siblings = self._directory(parents)
        target.climbs = target.climbs or climbs
        siblings[name] = target
        return True

    def _link_late(self) -> None:
        # Each round must place at least one link, so chains end and cycles are reported.
        waiting = self._unresolved
        while waiting:
            left = [link for link in waiting if not self._link(*link)]
            if len(left) == len(waiting):
                for _, _, entry in left:
                    self._report(entry, f"hard link to {_shown(entry.linkname)}, which does not exist")
                return
            waiting = left

    def _directory(self, parts: list[bytes]) -> dict[bytes, Node]:
        # Missing parents appear as root:root 0755; anything else in their place is replaced, never followed.
        children = self._tree.root.children
        assert children is not None
        for part in parts:
            node = children.get(part)
            if node is None or node.children is None:
                node = children[part] = Node("dir", self._number, None, {})
            assert node.children is not None
            children = node.children
        return children

    def _lookup(self, parts: list[bytes]) -> Node | None:
        node: Node | None = self._tree.root
        for part in parts:
            if node is None or node.children is None:
                return None
            node = node.children.get(part)
        return node

    def _report(self, entry: Entry, what: str) -> None:
        self._tree.problems.append(Problem(self._number, entry.name[:MAX_NAME_BYTES], what))


def _clean(name: bytes) -> tuple[list[bytes], bool]:
    parts: list[bytes] = []
    climbs = False
    for part in name.split(b"/"):
        if part == b"..":
            climbs = True
            if parts:
                parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return parts, climbs


def _shown(path: bytes) -> str:
    text = path[:200].decode("utf-8", "backslashreplace")
    return text + "…" if len(path) > 200 else text
