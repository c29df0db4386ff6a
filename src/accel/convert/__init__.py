"""Convert an image: ``accel.convert("docker://registry.example.com/app:1.0")``.

::

    source tag ──once──> digest ──> manifests ──> distinct layers ──┬── found again from an earlier run
                                                                    └── scanned, biggest first, a few at a time
    zTOCs ──> SOCI index a platform ──> new manifests ──> destination: blobs, manifests, index, and the tag last

This module is also what ``accel.convert`` calls, see the end.
"""

import sys
import time
from dataclasses import replace
from types import ModuleType

from accel.convert.options import FULL, INDEX_ONLY, ConvertOptions
from accel.convert.report import ConvertReport, LayerReport, OutputReport
from accel.convert.run import Conversion
from accel.convert.targets import ACCELERATED, INDEXED, destination, with_its_tag
from accel.images.open import open_pair
from accel.oci import Reference
from accel.progress import NoProgress, Progress
from accel.registry.options import RegistryOptions
from accel.stores import ImageStore

__all__ = [
    "ACCELERATED",
    "ConvertOptions",
    "ConvertReport",
    "LayerReport",
    "OutputReport",
    "convert",
]


def convert(
    src: Reference | str,
    dest: Reference | str | None = None,
    options: ConvertOptions | None = None,
    *,
    progress: Progress | None = None,
    registries: RegistryOptions | None = None,
) -> ConvertReport:
    """Give the image ``src`` an index and put the result at ``dest`` (default: the same place, TAG_accelerated).

    The source is never changed, and ``dest`` gets its tag only when everything else is there. To stop from another
    thread, pass a :class:`accel.progress.CancelToken` as ``progress``. If no layer can be indexed nothing is written,
    and the report says so.

    Raises ``ReferenceSyntaxError``, ``ConfigError``, ``NotFoundError``, ``RegistryError`` (``AuthError``),
    ``Cancelled``, ``OSError``; for what is wrong with single layers only with ``digest_identical``.
    """
    started = time.monotonic()
    chosen = options or ConvertOptions()
    source = with_its_tag(Reference.parse(src) if isinstance(src, str) else src)
    target = destination(source, Reference.parse(dest) if isinstance(dest, str) else dest, chosen)
    stores = open_pair(source, target, registries)
    try:
        report = _run(stores, source, target, chosen, progress or NoProgress(), started)
    except BaseException:
        _abandon(stores)
        raise
    for store in dict.fromkeys(reversed(stores)):  # the destination first: an archive is published here
        store.close()
    return report


def _run(
    stores: tuple[ImageStore, ImageStore],
    source: Reference,
    target: Reference,
    options: ConvertOptions,
    progress: Progress,
    started: float,
) -> ConvertReport:
    if FULL not in options.modes:
        return Conversion(*stores, source, target, options, progress).run(started)
    from accel.convert.full.run import FullConversion

    report, indexes = FullConversion(*stores, source, target, options, progress).run(started)
    if INDEX_ONLY not in options.modes:
        return report
    beside = target.with_suffix(INDEXED)
    indexed = Conversion(*stores, source, beside, options, progress, known=indexes).run(started)
    return replace(report, index_only=indexed, seconds=time.monotonic() - started)


def _abandon(stores: tuple[ImageStore, ImageStore]) -> None:
    for store in dict.fromkeys(stores):
        discard = getattr(store, "discard", store.close)  # archives: forget what was written
        discard()


class _CallableModule(ModuleType):
    """``accel.convert`` is this module and, called, its function: one name for both."""

    __call__ = staticmethod(convert)


sys.modules[__name__].__class__ = _CallableModule
