"""The working part of the service in one process: jobs, and the engine that runs them."""

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from accel.convert.options import ConvertOptions
from accel.convert.parts import LayerWorkers
from accel.registry.options import RegistryOptions
from accel.service.database import Database, database_url
from accel.service.engine import ENDED, Engine, Queue
from accel.service.jobs.budget import Budget
from accel.service.jobs.failures import describe
from accel.service.jobs.layer import LayerMaker
from accel.service.jobs.layers import LayerStore
from accel.service.jobs.plan import Planner
from accel.service.jobs.publish import JobPublisher, Protector
from accel.service.jobs.store import Emit, JobStore
from accel.service.jobs.workflow import Workflows
from accel.service.leases import Leases
from accel.service.model import Event, Recipe, Wanted
from accel.service.settings import LimitSettings, ServiceSettings
from accel.service.stores import Stores
from accel_core import n_cpus

Json = dict[str, Any]
_MAX_DEATHS = 20  # of processes that had a workflow; most are innocent and were only there
_SMALL_AT_ONCE = 8  # questions to registries that events ask


class Core:
    """Opens everything that works on jobs; ``start`` begins to work, if ``works``, else it only submits."""

    def __init__(
        self,
        settings: ServiceSettings,
        registries: RegistryOptions,
        database: Database,
        *,
        emit: Emit,
        protector: Callable[[Stores], Protector],
        options_of: Callable[[Recipe, int], ConvertOptions],
        result_tags: Callable[[Recipe, str], Iterable[str]],
        resolve: Callable[[Event], list[Wanted]],
        deleted: Callable[[Event], list[Json]],
        made: Callable[[float, int, int], None] = lambda seconds, read, written: None,
        reused: Callable[[int], None] = lambda saved: None,
    ) -> None:
        self.settings = settings
        self.database = database
        # An embedded store has one process at a time: the next one takes up at once what the last one left.
        unique = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.worker = "embedded" if database.is_sqlite else unique
        self.leases = Leases(database)
        self.stores = Stores(settings, registries)
        self.jobs = JobStore(database, emit)
        self.layers = LayerStore(database, self.jobs.now, reused)
        self.protector = protector(self.stores)
        self.engine = Engine(
            database_url(settings.store, "engine"),
            self.worker,
            self.leases,
            describe=describe,
            poll_s=settings.limits.poll_s,
            max_attempts=_MAX_DEATHS,
        )
        limits = settings.limits
        threads = limits.threads or n_cpus()
        self._workers = LayerWorkers(threads)

        def options(recipe: Recipe) -> ConvertOptions:
            return options_of(recipe, threads)

        self.workflows = Workflows(
            self.jobs,
            Planner(self.jobs, self.layers, self.stores, options, self._is_dead),
            LayerMaker(
                self.layers,
                self.stores,
                Budget(limits.memory, limits.disk),
                self._workers,
                options,
                threading.Semaphore(max(1, threads // 2)),
                made,
            ),
            JobPublisher(self.jobs, self.layers, self.stores, self.protector, options, result_tags),
            resolve,
            deleted,
            limits.attempts,
            limits.backoff_s,
            self.worker,
        )
        self.workflows.register(self.engine)

    def _is_dead(self, workflow: str) -> bool:
        outcome = self.engine.state(workflow)
        return outcome is not None and outcome.state in ENDED

    def start(self, *, works: bool) -> None:
        """Waits for the engine's database if it has to."""
        self.engine.start(queues(self.settings.limits) if works else ())

    def close(self) -> None:
        """Let running steps stop, and hand on what is left."""
        self.engine.close()
        self._workers.close()
        self.stores.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def queues(limits: LimitSettings) -> tuple[Queue, ...]:
    """What a working process works on."""
    return (
        Queue("images", at_once=limits.jobs, per_process=limits.jobs),
        Queue("layers", per_process=limits.layers),
        Queue("small", per_process=_SMALL_AT_ONCE),
    )
