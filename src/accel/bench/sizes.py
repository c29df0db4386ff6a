"""How large the index of the layer is, in every format there is a writer for."""

from collections.abc import Iterator
from pathlib import Path

from accel.bench.builders import BUILDERS, SOCI
from accel.bench.layer import BenchLayer
from accel.bench.report import IndexSize
from accel.formats.soci import SociOptions, build_ztoc
from accel_core import index


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
        n_bytes = out.stat().st_size
        out.unlink()
        with_entries = builder.format == SOCI
        sizes.append(_size(layer, builder.format, builder.label, n_bytes, ours=False, entries=with_entries))
    return sizes, failures


def _own(layer: BenchLayer) -> Iterator[IndexSize]:
    for options in (SociOptions(), SociOptions(identical=True)):
        found = index(
            layer.path,
            compression="gzip",
            placement="soci" if options.identical else "adaptive",
            span_bytes=options.span_bytes,
        )
        ztoc, _ = build_ztoc(found, options)
        name = f"{SOCI}, digest-identical" if options.identical else SOCI
        yield _size(layer, name, "accel", len(ztoc), ours=True, entries=True)


def _size(layer: BenchLayer, name: str, by: str, n_bytes: int, *, ours: bool, entries: bool) -> IndexSize:
    return IndexSize(name, by, ours, n_bytes, round(n_bytes / layer.comp_size, 6), entries)
