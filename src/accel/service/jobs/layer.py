"""The step that makes what is missing of one layer."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from accel.convert.options import SOCI, ConvertOptions
from accel.convert.parts import LayerWorkers, convert_layer, estimate
from accel.oci import Descriptor
from accel.service.jobs.budget import Budget
from accel.service.jobs.ids import recipe_from
from accel.service.jobs.layers import LayerStore
from accel.service.jobs.progress import LayerProgress
from accel.service.logs import log_context
from accel.service.model import Recipe
from accel.service.stores import Stores

Json = dict[str, Any]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LayerMaker:
    """Makes layers, several at a time if several threads call it, in the process's memory and disk ``budget``."""

    layers: LayerStore
    stores: Stores
    budget: Budget
    workers: LayerWorkers
    options_of: Callable[[Recipe], ConvertOptions]
    turns: threading.Semaphore  # of layers written anew
    # Told of every layer that is made: seconds, bytes of the layer, bytes of what was made of it.
    made: Callable[[float, int, int], None] = lambda seconds, read, written: None

    def make(self, workflow: str, args: Json, should_stop: Callable[[], bool]) -> Json:
        """Make the outputs named in ``args`` that have no result yet: what is stored is never made twice."""
        missing = self.layers.missing(args["keys"])
        if not missing:
            return {"made": []}
        registry, name = args["place"]
        layer = Descriptor.from_json(args["layer"])
        with log_context(job=args["job"], layer=layer.digest, registry=registry, repository=name):
            return self._make(workflow, args, layer, missing, should_stop)

    def _make(
        self,
        workflow: str,
        args: Json,
        layer: Descriptor,
        missing: list[str],
        should_stop: Callable[[], bool],
    ) -> Json:
        registry, name = args["place"]
        options = self.options_of(recipe_from(args["recipe"]))
        progress = LayerProgress(self.layers.database, workflow, should_stop)
        repository = self.stores(registry, name)
        # Writing a layer anew keeps two threads busy by itself: more at once only get into each other's way.
        turn = nullcontext() if missing == [SOCI] else self.turns
        try:
            with turn, self.budget.reserve(*estimate(layer, missing, options)):
                started = time.monotonic()
                _log.info("making %s of a layer of %d bytes", ", ".join(missing), layer.size)
                made = convert_layer(repository, repository, layer, missing, options, progress, self.workers)
                seconds = time.monotonic() - started
        finally:
            repository.close()
        results = {args["keys"][output]: result.to_json() for output, result in made.items()}
        row = next(iter(made.values())).row.to_json()
        self.layers.store(results, (registry, name), workflow, seconds=seconds, row=row, state=row["state"])
        _log.info("kept %s of the layer: %s, %.2f s", ", ".join(missing), row["state"], seconds)
        self.made(seconds, layer.size, sum(result.blob.size for result in made.values() if result.blob))
        return {"made": missing}
