"""How large the index of the layer is, in every format there is a writer for."""

from collections.abc import Iterator
from pathlib import Path

from accel.bench.builders import BUILDERS, GZIDX, GZTOOL, SOCI
from accel.bench.layer import BenchLayer
from accel.bench.report import IndexSize
from accel.errors import UnsupportedError
from accel.indexing import FORMATS, IndexOptions, index_layer

_LABELS = {"soci": SOCI, "gzidx": GZIDX, "gztool": GZTOOL}
_WITHOUT_FILES = {GZIDX, GZTOOL, "bgzip"}


def index_sizes(layer: BenchLayer, folder: Path) -> tuple[list[IndexSize], dict[str, str]]:
    """Sizes, and for each peer that failed why."""
    sizes, failures = list(_own(layer)), {}
    for builder in BUILDERS:
        if builder.peer.version() is None:
            continue
        out = folder / f"{builder.label}.size"
        try:
            builder.export(layer.path, out)
        except Exception as error:  # noqa: BLE001  somebody else's code
            failures[builder.peer.name] = f"{type(error).__name__}: {error}"
            continue
        sizes.append(_size(layer, builder.format, builder.label, out.stat().st_size))
        out.unlink()
    return sizes, failures


def _own(layer: BenchLayer) -> Iterator[IndexSize]:
    """What ``accel index`` writes with default options, in every format that fits the layer."""
    for name in FORMATS:
        label = _LABELS.get(name, name)
        try:
            yield _size(layer, label, "accel", _written(layer, name, IndexOptions()))
        except UnsupportedError:  # bgzip's is for its own layers, for example
            continue
        if name == "soci":
            identical = _written(layer, name, IndexOptions(identical=True))
            yield _size(layer, f"{label}, digest-identical", "accel", identical)


def _written(layer: BenchLayer, name: str, options: IndexOptions) -> int:
    _, pieces = index_layer(str(layer.path), name, options)
    return sum(memoryview(piece).nbytes for piece in pieces)


def _size(layer: BenchLayer, label: str, by: str, n_bytes: int) -> IndexSize:
    share = round(n_bytes / layer.comp_size, 6)
    return IndexSize(label, by, by == "accel", n_bytes, share, entries=label not in _WITHOUT_FILES)
