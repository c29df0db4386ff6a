"""The step that makes what is missing of one layer."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accel.convert.options import ConvertOptions
from accel.convert.parts import LayerWorkers, convert_layer, estimate
from accel.oci import Descriptor
from accel.service.jobs.budget import Budget
from accel.service.jobs.ids import recipe_from
from accel.service.jobs.layers import LayerStore
from accel.service.jobs.progress import LayerProgress
from accel.service.model import Recipe
from accel.service.stores import Stores

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LayerMaker:
    """Makes layers, several at a time if several threads call it, in the process's memory and disk ``budget``."""

    layers: LayerStore
    stores: Stores
    budget: Budget
    workers: LayerWorkers
    options_of: Callable[[Recipe], ConvertOptions]

    def make(self, workflow: str, args: Json, should_stop: Callable[[], bool]) -> Json:
        """Make the outputs named in ``args`` that have no result yet: what is stored is never made twice."""
        missing = self.layers.missing(args["keys"])
        if not missing:
            return {"made": []}
        registry, name = args["place"]
        layer = Descriptor.from_json(args["layer"])
        options = self.options_of(recipe_from(args["recipe"]))
        progress = LayerProgress(self.layers.database, workflow, should_stop)
        repository = self.stores(registry, name)
        started = time.monotonic()
        try:
            with self.budget.reserve(*estimate(layer, missing, options)):
                made = convert_layer(repository, repository, layer, missing, options, progress, self.workers)
        finally:
            repository.close()
        results = {args["keys"][output]: result.to_json() for output, result in made.items()}
        row = next(iter(made.values())).row.to_json()
        self.layers.store(
            results,
            (registry, name),
            workflow,
            seconds=time.monotonic() - started,
            row=row,
            state=row["state"],
        )
        return {"made": missing}
