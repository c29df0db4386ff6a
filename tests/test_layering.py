"""Imports point down only: the drawing below is what the source does.

::

    cli                                 parse, call, render
     |
    config                              reads files and environment, makes option values
     |
    client                              asks a running service
    service                             queue, call, record
     |
    bench                               accel beside its peers, measured
     |
    convert   reader   verify           one image in, one out | entries, ranges, extract | recompute every claim
    indexing                            one layer in, one index file out
     |
    images                              what a reference leads to: manifests, index, spans, file tree
     |
    formats.*   registry   layout       one target format a module | remote store | store on disk
     |
    stores                              the seam between conversion and where images live
     |
    blobs   aside   members             bytes by range, verified | a file appears whole or not at all | gzip members
     |
    oci                                 values: Digest, Descriptor, Manifest, Index, Reference
     |
    progress   units                    the progress protocol | sizes as people write them
     |
    errors                              the error tree
     |
    accel_core                          compiled; bytes, not images

Rows may be skipped. Neighbours in a row do not know each other.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"

# Top row first; a unit may import itself and any row below its own.
ROWS = [
    {"accel.__main__"},
    {"accel.cli"},
    {"accel.config"},
    {"accel.client", "accel.service"},
    {"accel.bench"},
    {"accel.convert", "accel.reader", "accel.verify", "accel.indexing"},
    {"accel.images"},
    {"accel.formats", "accel.registry", "accel.layout"},
    {"accel.stores"},
    {"accel.blobs", "accel.aside", "accel.members"},
    {"accel.oci"},
    {"accel.progress", "accel.units"},
    {"accel.errors"},
    {"accel_core"},
]
ROW_OF = {unit: row for row, units in enumerate(ROWS) for unit in units}
ROW_OF["accel"] = -1  # accel/__init__.py: the public face, above everything
ONLY_IN_CLI = {"rich", "typer"}


def module_name(path: Path) -> str:
    """Dotted name of a source file; a package's ``__init__`` is the package."""
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit_of(module: str) -> str:
    """The piece of the drawing a module belongs to: ``accel.formats.soci.ztoc`` -> ``accel.formats``."""
    return "accel_core" if module.split(".")[0] == "accel_core" else ".".join(module.split(".")[:2])


def format_of(module: str) -> str | None:
    """``soci`` for ``accel.formats.soci…``; None outside the formats."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["accel", "formats"] and len(parts) > 2 else None


def is_module(name: str) -> bool:
    base = SRC.joinpath(*name.split("."))
    return base.is_dir() or any(base.with_suffix(end).exists() for end in (".py", ".pyi", ".pyx"))


def imports_of(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[str, int]]:
    """(imported module, line) of every import anywhere in the file, functions and TYPE_CHECKING blocks included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            package = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*package, node.module] if node.module else package)
            for alias in node.names:
                below = f"{base}.{alias.name}"
                yield below if is_module(below) else base, node.lineno


def wrong_arrows(source: str, module: str, is_package: bool = False) -> list[str]:
    """Every import of ``source`` that does not point down, as "line: from -> to"."""
    own = unit_of(module)
    wrong = []
    for target, line in imports_of(ast.parse(source), module, is_package):
        if target.split(".")[0] not in ("accel", "accel_core"):
            continue
        other = unit_of(target)
        same_format = format_of(module) in (format_of(target), None) or format_of(target) is None
        down = other in ROW_OF and ROW_OF[other] > ROW_OF[own]
        if not (down or (other == own and same_format)):
            wrong.append(f"{line}: {module} -> {target}")
    return wrong


SOURCES = sorted(SRC.rglob("*.py")) + sorted(SRC.rglob("*.pyi"))
COMPILED = sorted(SRC.rglob("*.pyx")) + sorted(SRC.rglob("*.pxd"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(SRC)))
def test_every_module_has_its_place_and_imports_only_downwards(path: Path) -> None:
    module = module_name(path)
    assert unit_of(module) in ROW_OF, f"{module} is not in the drawing"
    assert wrong_arrows(path.read_text(encoding="utf-8"), module, path.stem == "__init__") == []


@pytest.mark.parametrize("path", COMPILED, ids=lambda p: p.name)
def test_kernels_import_only_kernels(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^\s*(?:from|c?import)\s+accel(?:\.|\s).*$", text, re.MULTILINE) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(SRC)))
def test_only_the_command_line_prints_and_draws(path: Path) -> None:
    module = module_name(path)
    if unit_of(module) == "accel.cli":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    drawing = {target.split(".")[0] for target, _ in imports_of(tree, module, path.stem == "__init__")} & ONLY_IN_CLI
    prints = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert (drawing, prints) == (set(), [])


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("accel.convert.plan", "from accel.oci import Index", 0),
        ("accel.convert.plan", "from .layers import run", 0),
        ("accel.convert.plan", "import accel_core", 0),
        ("accel.oci.manifest", "from accel.blobs import Blob", 1),
        ("accel.reader.files", "from accel import convert", 1),
        ("accel.reader.files", "from ..convert import plan", 1),
        ("accel.registry.client", "import accel.layout.store", 1),
        ("accel.formats.soci.index", "from accel.formats.soci import ztoc", 0),
        ("accel.formats.soci.index", "from accel.formats.estargz import toc", 1),
        ("accel_core.crc", "from accel.errors import AccelError", 1),
        ("accel_core.crc", "def f():\n    import accel", 1),
    ],
)
def test_the_check_itself_sees_upward_and_sideways_arrows(module: str, source: str, wrong: int) -> None:
    assert len(wrong_arrows(source, module)) == wrong
