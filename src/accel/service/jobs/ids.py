"""Names of jobs and workflows: the same work has the same name, so nothing is asked for twice."""

import hashlib
from dataclasses import asdict

from accel.oci import canonical_json
from accel.service.model import Recipe, Wanted


def job_id(wanted: Wanted) -> str:
    """The job for an image and recipe. Tags do not count: they are the job's targets."""
    recipe = {key: value for key, value in asdict(wanted.recipe).items() if key != "tag"}
    if recipe["min_chunk_bytes"] == Recipe().min_chunk_bytes:
        del recipe["min_chunk_bytes"]  # younger than stores in use, whose jobs keep their names
    facts = [wanted.registry, wanted.repository, wanted.digest, recipe]
    return hashlib.sha256(canonical_json({"job": facts})).hexdigest()[:20]


def run_id(job: str, run: int) -> str:
    """The workflow of a job's ``run``: an ended one cannot be started again, so each has a name of its own."""
    return f"{job}#{run}"


def recipe_from(data: dict[str, object]) -> Recipe:
    """A recipe from its stored JSON. One without ``min_chunk_bytes`` is older than members that chunks share."""
    lists = {key: tuple(value) for key, value in data.items() if isinstance(value, list)}
    return Recipe(**{"min_chunk_bytes": 0, **data, **lists})  # type: ignore[arg-type]
