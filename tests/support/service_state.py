"""The web application over tables filled by tests, without an engine or a registry.

with FilledService(tmp_path) as service:
    service.job("a", state="running")
    urllib3.request("GET", service.url + "/api/v1/jobs", headers=service.headers)
"""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn

from accel.service.api import ServiceState, create_app
from accel.service.database import job_layers, job_log, jobs, open_database, open_inbox, targets
from accel.service.health import Health
from accel.service.hooks import hook_routes
from accel.service.inbox import Inbox
from accel.service.jobs.control import Jobs
from accel.service.jobs.store import JobStore
from accel.service.metrics import Metrics
from accel.service.model import Recipe, Wanted
from accel.service.outgoing import Deliveries, emit
from accel.service.protect import Protector, Verdict
from accel.service.rules import RuleBook, result_tags
from accel.service.settings import ServiceSettings
from accel.service.state_metrics import StateMetrics
from support.running_service import TOKEN, free_port

READ_TOKEN = "a token that may only read"
LAYER = "sha256:" + "ab" * 32


class NoRegistry(Protector):
    """Every source may go but those that ``needed`` names."""

    needed: dict[str, tuple[str, ...]] = {}

    def check(self, registry: str, repository: str, tag: str | None = None, digest: str | None = None) -> Verdict:
        used_by = self.needed.get(f"{repository}:{tag}" if tag else f"{repository}@{digest}", ())
        return Verdict(not used_by, used_by)


class FilledService:
    """The application under uvicorn in a thread.

    ``cancelled`` are workflows that the engine was told to stop; ``found`` is what the rules want of any image.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.headers = {"Authorization": f"Bearer {TOKEN}"}
        tokens = [
            {"name": "admin", "token": TOKEN, "scope": "admin"},
            {"name": "reader", "token": READ_TOKEN},
        ]
        given = {
            "store": {"path": str(folder / "store")},
            "api": {"listen": f"127.0.0.1:{self.port}", "tokens": tokens},
            "registries": [{"host": "r.example"}],
            "rules": [{"name": "all", "repository": "team/**"}, {"name": "off", "enabled": False}],
        }
        self.settings = ServiceSettings.model_validate(given | settings)
        self.database = open_database(self.settings.store)
        self.events = open_inbox(self.settings.store)
        self.inbox = Inbox(self.events)
        self.store = JobStore(self.database, lambda c, event: emit(c, self.settings.endpoints, event, time.time()))
        self.cancelled: list[str] = []
        self.found: list[Wanted] = []
        self.jobs = Jobs(self.store, self._tags, self.cancelled.append, lambda: None)
        self.protector = NoRegistry(self.database, self.settings.protection, self._no_store, time.time)
        self.rulebook = RuleBook(self.database, self.settings, time.time)
        health = Health(
            self.database, self.events, threads=lambda: {"inbox": self.inbox.is_alive}, engine_started=lambda: True
        )
        self._health = health
        self.state = ServiceState(
            self.settings,
            self.database,
            self.rulebook,
            self.jobs,
            self.protector,
            Deliveries(self.database),
            health,
            Metrics(self.settings, StateMetrics(self.database, self.events)).render,
            hook_routes(self.settings, self.inbox),
            lambda image, pusher: self.found,
            lambda registry, patterns, dry_run: self.found,
            time.time,
            lambda: self.store.is_paused,
        )
        config = uvicorn.Config(
            create_app(self.state), port=self.port, log_config=None, lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.inbox.close()
        self._health.close()
        self.events.close()
        self.database.close()

    @staticmethod
    def _tags(wanted: Wanted) -> tuple[str, ...]:
        return result_tags(wanted.recipe, wanted.tag)

    @staticmethod
    def _no_store(registry: str, repository: str) -> Any:
        raise AssertionError("there is no registry in this test")

    def job(self, name: str = "team/app", *, seed: int = 0, tag: str = "v1", **values: Any) -> str:
        """A job with one tag and one layer, whose columns have ``values``."""
        wanted = Wanted("r.example", name, tag, f"sha256:{seed:064x}", "all", Recipe())
        (job,) = self.store.submit([wanted], self._tags)
        with self.database.write() as connection:
            layer = {"job": job, "layer": LAYER, "position": 0, "comp_size": 1000, "reused": False}
            connection.execute(job_layers.insert().values(**layer, state="running", done_bytes=400))
            connection.execute(
                job_log.insert().values(job=job, at=time.time(), level="info", message="making soci of a layer")
            )
        self.change(job, **values)
        return job

    def change(self, job: str, **values: Any) -> None:
        """Change a job's row, as a worker would."""
        with self.database.write() as connection:
            connection.execute(jobs.update().where(jobs.c.id == job).values(updated_at=time.time(), **values))
            if values.get("state") == "done":
                connection.execute(targets.update().where(targets.c.job == job).values(state="set"))
