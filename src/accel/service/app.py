"""The service put together: ``serve`` answers requests and, unless told otherwise, works too; ``work`` only works.

On PostgreSQL any number of both may run. What only one may do (dispatching, scanning, sending, checking) is done by the
one that holds the lease "leader"; if it dies, another one has it a few seconds later.
"""

import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
import uvicorn

from accel.errors import ConfigError, NotFoundError
from accel.oci import Reference
from accel.registry.options import RegistryOptions
from accel.registry.store import RegistryStore
from accel.service.api import ServiceState, create_app, create_probes
from accel.service.catchup import CatchUp
from accel.service.core import Core
from accel.service.database import database_url, open_database, open_inbox
from accel.service.engine import wait_for_database
from accel.service.facts import read_fact, write_fact
from accel.service.health import Health
from accel.service.hooks import hook_routes
from accel.service.inbox import Inbox
from accel.service.job_log import JobLog
from accel.service.jobs.control import Jobs
from accel.service.jobs.dispatch import Dispatcher, Submitter
from accel.service.jobs.ids import job_id
from accel.service.leader import LEADER_TTL_S, Leadership, sole_owner
from accel.service.logs import Redactor, log_context, logging_to, secrets_of
from accel.service.loops import Loop
from accel.service.metrics import Metrics
from accel.service.model import Event, OutEvent, Wanted
from accel.service.outgoing import Deliveries, Sender, emit
from accel.service.protect import Protector
from accel.service.rules import RuleBook, options_of, result_tags
from accel.service.settings import ServiceSettings
from accel.service.state_metrics import StateMetrics
from accel.service.stores import Stores

_log = logging.getLogger(__name__)
_LOOK_S = 0.5  # for events that another process stored, and retries that are due
_PRUNE_S = 3600.0
_SWITCH_S = 0.0001  # for Python's lock: at its 5 ms a thread that computes delays each answer by some of these


class Service:
    """All parts of one process, made but not started."""

    def __init__(self, settings: ServiceSettings, registries: RegistryOptions, stack: ExitStack) -> None:
        self.settings = settings
        wait_for_database(database_url(settings.store, "service"), threading.Event())
        self.database = open_database(settings.store)
        stack.callback(self.database.close)
        self.events = open_inbox(settings.store)
        stack.callback(self.events.close)
        redactor = Redactor(secrets_of(settings))
        job_log = JobLog(self.database, redactor)
        stack.enter_context(logging_to(redactor=redactor, extra=[job_log]))
        self.metrics = Metrics(settings, StateMetrics(self.database, self.events))
        self.rulebook = RuleBook(self.database, settings, time.time)
        self.core = Core(
            settings,
            replace(registries, observe=self.metrics.request),
            self.database,
            emit=self._emit,
            protector=self._make_protector,
            options_of=options_of,
            result_tags=result_tags,
            resolve=self._resolve,
            deleted=lambda event: self.protector.on_delete(event),
            made=lambda seconds, read, written: self.metrics.layer_made(seconds, read=read, written=written),
            reused=lambda saved: self.metrics.layer_reused(saved=saved),
        )
        stack.callback(self.core.close)
        self.loops: list[Loop] = []
        self.submit_now: Callable[[], None] = lambda: None  # wakes a loop, where there is one

    # --- what the parts ask of each other -----------------------------------------------------------------------------

    def _emit(self, connection: sa.Connection, event: OutEvent) -> None:
        emit(connection, self.settings.endpoints, event, time.time())
        if event.type in ("done", "skipped", "failed"):
            self.metrics.conversion(str(event.data.get("mode", "")), event.type)

    def _make_protector(self, stores: Stores) -> Protector:
        self.protector = Protector(self.database, self.settings.protection, stores, time.time, self._alarm)
        return self.protector

    def _alarm(self, job: str, words: str) -> None:
        with log_context(job=job):
            _log.error("an accelerated image has not what it needs: %s", words)

    def _resolve(self, event: Event) -> list[Wanted]:
        """What the rules want of an image whose sender did not say the digest."""
        assert event.tag is not None
        digest = self._digest(event.registry, event.repository, event.tag)
        if digest is None:
            return []
        return self.rulebook.decide(
            event.registry, event.repository, event.tag, digest, event.actor, "event"
        )

    def _digest(self, registry: str, repository: str, tag: str) -> str | None:
        store = self.core.stores(registry, repository)
        try:
            return store.tag_digest(tag)
        finally:
            store.close()

    def tags_of(self, wanted: Wanted) -> Iterable[str]:
        """The tags that a wanted image's results get."""
        return result_tags(wanted.recipe, wanted.tag)

    def look_up(self, image: str, pusher: str | None) -> list[Wanted]:
        """What the rules want of an image as it is now. Raises NotFoundError, ConfigError."""
        reference = Reference.parse(image)
        registry = self.settings.host_of(reference.host) if reference.transport == "docker" else None
        if registry is None or not reference.tag:
            raise ConfigError(f"{image} is no tag of a registry that is configured")
        digest = self._digest(registry, reference.repository, reference.tag)
        if digest is None:
            raise NotFoundError(f"{image}: no such tag")
        return self.rulebook.decide(registry, reference.repository, reference.tag, digest, pusher, "api")

    # --- catching up --------------------------------------------------------------------------------------------------

    def catch_up(self) -> CatchUp:
        return CatchUp(self.settings, self.core.stores, self.core.stores.client, self.rulebook, self._is_done)

    def _is_done(self, wanted: Wanted, store: RegistryStore) -> bool:
        row = self.core.jobs.get(job_id(wanted))
        if row is None:
            return False
        if row["state"] in ("queued", "running", "paused", "skipped", "failed", "cancelled"):
            return True  # failed: it was tried as often as is allowed; somebody must look
        results = {result["digest"] for result in (row["results"] or {}).values()}
        return all(store.tag_digest(tag) in results for tag in self.tags_of(wanted))

    def backfill(self, registry: str, patterns: tuple[str, ...], dry_run: bool) -> list[Wanted]:
        """What is missing in repositories; submitted unless it is a dry run."""
        host = self.settings.host_of(registry) or registry
        return self._catch(self.catch_up().look(host, patterns, "backfill"), dry_run)

    def _catch(self, missing: Iterator[Wanted], dry_run: bool = False) -> list[Wanted]:
        found: list[Wanted] = []
        for one in missing:
            found.append(one)
            if not dry_run:  # at once: what comes later may fail
                self.core.jobs.submit([one], self.tags_of)
                self.submit_now()
        return found

    def scan(self) -> None:
        """Look through the registries whose time has come."""
        for one in self.settings.registries:
            if one.scan is None or not one.scan.repositories:
                continue
            name = f"scanned {one.host}"
            if time.time() - float(read_fact(self.database, name) or 0) < one.scan.every_s:
                continue
            found = self._catch(self.catch_up().scan(one.host))
            _log.info("scanned %s: %d images were missing", one.host, len(found))
            write_fact(self.database, name, time.time())

    # --- threads ------------------------------------------------------------------------------------------------------

    def lead(self, inbox: Inbox, sender: Sender) -> Leadership:
        """The loops that one process runs for all, to be started."""
        dispatcher = Dispatcher(inbox, self.core.jobs, self.rulebook, self.core.engine, self.tags_of)
        submitter = Submitter(self.core.jobs, self.core.engine, window=4 * self.settings.limits.jobs + 100)
        leadership = Leadership(lambda: self.core.leases.hold("leader", self.core.worker, LEADER_TTL_S))
        may = leadership.is_held
        submit_loop = Loop("submit", submitter.run_once, _LOOK_S, may)
        self.submit_now = submit_loop.wake

        def dispatch() -> int:
            started = time.monotonic()
            n_events = dispatcher.run_once()
            if n_events:
                self.submit_now()
                # Who sends events waits for an answer, nobody for this: it takes half of the time at most.
                time.sleep(min(time.monotonic() - started, _LOOK_S))
            return n_events

        self.dispatch_loop = Loop("dispatch", dispatch, _LOOK_S, may)
        self.loops = [
            self.dispatch_loop,
            submit_loop,
            Loop("send", sender.run_due, _LOOK_S, may),
            Loop("reconcile", submitter.reconcile, 30.0, may),
            Loop("scan", self.scan, 10.0, may),
            Loop("sweep", self.protector.sweep, 60.0, may),
            Loop("prune", lambda: self._prune(inbox), _PRUNE_S, may),
        ]
        return leadership

    def _prune(self, inbox: Inbox) -> None:
        before = time.time() - self.settings.limits.keep_history_s
        self.core.jobs.prune(before)
        inbox.prune(before)
        Deliveries(self.database).prune(before)
        # Ids of workflows are free again then: long after the last event that could mean the same work.
        self.core.engine.prune(2 * self.settings.limits.keep_history_s)


def serve(settings: ServiceSettings, registries: RegistryOptions) -> None:
    """Answer requests and work, until a signal ends it."""
    sys.setswitchinterval(_SWITCH_S)
    with ExitStack() as stack:
        stack.enter_context(sole_owner(settings.store))
        service = Service(settings, registries, stack)
        inbox = stack.enter_context(Inbox(service.events, arrived=lambda: service.dispatch_loop.wake()))
        sender = Sender(service.database, settings.endpoints, count=service.metrics.delivery)  # type: ignore[arg-type]
        stack.callback(sender.close)
        leadership = service.lead(inbox, sender)
        jobs = Jobs(
            service.core.jobs, service.tags_of, service.core.engine.cancel, service.submit_now
        )
        loops = [*service.loops, leadership.loop]
        health = Health(
            service.database,
            service.events,
            threads=lambda: {loop.name: loop.is_alive for loop in loops} | {"inbox": inbox.is_alive},
            engine_started=lambda: service.core.engine.is_running,
            folders=[settings.store.path] if settings.store.url is None else [],
        )
        stack.callback(health.close)
        service.core.start(works=settings.limits.layers > 0)
        for loop in loops:
            loop.start()
            stack.callback(loop.stop)
        state = ServiceState(
            settings,
            service.database,
            service.rulebook,
            jobs,
            service.protector,
            Deliveries(service.database),
            health,
            service.metrics.render,
            hook_routes(settings, inbox, service.metrics.event),  # type: ignore[arg-type]
            service.look_up,
            service.backfill,
            time.time,
            lambda: service.core.jobs.is_paused,
        )
        gc.collect()
        gc.freeze()  # what is here now stays: to look through it again and again would hold up answers
        _log.info("listening on %s", settings.api.listen)
        _server(create_app(state), settings.api.listen).run()
        _log.info("ending")


@contextmanager
def _answering(app: Any, listen: str) -> Iterator[None]:
    """Answers requests in a thread of its own."""
    server = _server(app, listen)
    thread = threading.Thread(target=server.run, name="accel-answer")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _server(app: Any, listen: str) -> uvicorn.Server:
    host, _, port = listen.rpartition(":")
    config = uvicorn.Config(
        app,
        host=host.strip("[]"),
        port=int(port),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=3,
        limit_concurrency=1000,
        server_header=False,
    )
    return uvicorn.Server(config)


def work(settings: ServiceSettings, registries: RegistryOptions) -> None:
    """Work on jobs that servers queued, until a signal ends it. Raises ConfigError without a shared store."""
    if settings.store.url is None:
        raise ConfigError("workers share a PostgreSQL store: name store.url, or let `accel serve` work alone")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with ExitStack() as stack:
        service = Service(settings, registries, stack)
        health = Health(
            service.database,
            service.events,
            threads=dict,
            engine_started=lambda: service.core.engine.is_running,
        )
        stack.callback(health.close)
        service.core.start(works=True)
        if settings.api.worker_listen is not None:
            stack.enter_context(_answering(create_probes(health, service.metrics.render), settings.api.worker_listen))
        _log.info("working as %s", service.core.worker)
        ended.wait()
        _log.info("ending")
