"""The first step of a job: what its image is made of, whether it is worth it, and who makes which layer."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accel.convert.options import ConvertOptions
from accel.convert.parts import ImagePlan, plan_image
from accel.errors import UnsupportedError
from accel.service.jobs.ids import recipe_from
from accel.service.jobs.layers import LayerStore, Wish
from accel.service.jobs.store import JobStore, Row
from accel.service.model import Recipe
from accel.service.stores import Stores

Json = dict[str, Any]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Planner:
    """Makes plans of jobs. ``is_dead`` says whether a workflow of the engine has ended."""

    store: JobStore
    layers: LayerStore
    stores: Stores
    options_of: Callable[[Recipe], ConvertOptions]
    is_dead: Callable[[str], bool]

    def plan(self, job: str, run: int, worker: str) -> Json:
        """``{"wait": [[workflow, arguments], …]}``; ``{"skip": reason}``; or ``{"stale": true}`` for an old run."""
        row = self._begin(job, run, worker)
        if row is None:
            return {"stale": True}
        recipe = recipe_from(row["recipe"])
        repository = self.stores(row["registry"], row["repository"])
        try:
            plan = plan_image(repository, row["source_digest"], self.options_of(recipe))
        except UnsupportedError as error:  # no container image, for example a chart or a signature
            return {"skip": f"unsupported: {error}"}
        finally:
            repository.close()
        reason = reason_to_skip(plan, recipe)
        if reason:
            return {"skip": reason}
        wishes = [
            Wish(layer.descriptor.digest, layer.descriptor.size, layer.keys, layer.descriptor.to_json())
            for layer in plan.layers
        ]
        args = {"job": job, "place": [row["registry"], row["repository"]], "recipe": row["recipe"]}
        args["priority"] = row["priority"]
        waiting = self.layers.claim(job, wishes, args, self.is_dead)
        _log.info("run %d: %d layers, %d of them to be made", run, len(wishes), len(waiting))
        return {"wait": waiting}

    def _begin(self, job: str, run: int, worker: str) -> Row | None:
        """The job's row as it was before it ran; None for an old run."""
        row = self.store.get(job)
        if row is None or row["run"] != run:
            return None
        with self.store.database.write() as connection:
            now = self.store.now()
            if not self.store.update(connection, job, run, state="running", worker=worker, started_at=now):
                return None
            if row["state"] == "queued":
                self.store.emit(connection, job, "started")
        return row


def reason_to_skip(plan: ImagePlan, recipe: Recipe) -> str:
    """Why an image is not converted; "" if it is."""
    if plan.reason:
        return plan.reason
    if plan.comp_size < recipe.min_image_bytes:
        return f"too small: {plan.comp_size} bytes, the rule wants {recipe.min_image_bytes}"
    if recipe.max_image_bytes is not None and plan.comp_size > recipe.max_image_bytes:
        return f"too large: {plan.comp_size} bytes, the rule allows {recipe.max_image_bytes}"
    largest = max((layer.descriptor.size for layer in plan.layers), default=0)
    if recipe.max_layer_bytes is not None and largest > recipe.max_layer_bytes:
        return f"a layer is too large: {largest} bytes, the rule allows {recipe.max_layer_bytes}"
    return ""
