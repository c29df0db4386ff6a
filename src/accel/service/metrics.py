"""What the service tells Prometheus.

Counters and histograms are of this process; gauges that describe the database are the same in every process of a farm,
so ask for their ``max``, not their sum. Labels come from closed sets (modes, outcomes, configured names), never from
what a stranger sent: anything else counts as ``other``.
"""

import itertools
import platform
from collections.abc import Collection
from importlib.metadata import version
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from accel.service.settings import ServiceSettings

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, that nobody asks for

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Conversion = Literal["done", "skipped", "failed", "cancelled", "superseded"]
Received = Literal["stored", "repeated", "ignored", "refused", "malformed", "failed"]
Delivery = Literal["delivered", "retried", "failed"]

_MODES = ("index-only", "full", "both")
_STORE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)  # a registry gives up after 1 s
_LAYER_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one process. ``state`` adds what is read from the database at each scrape."""

    def __init__(self, settings: ServiceSettings, state: Collector | None = None) -> None:
        self._sources = {source.name for source in settings.sources}
        self._hosts = {registry.host for registry in settings.registries}
        self.registry = CollectorRegistry()
        self._count_work()
        self._count_traffic()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        build = Info("accel_build", "What runs here.", registry=self.registry)
        build.info({"version": version("accel"), "python": platform.python_version()})
        if state is not None:
            self.registry.register(state)
        self._begin_at_zero()

    def render(self) -> bytes:
        """Everything as Prometheus text, of :data:`CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def conversion(self, mode: str, outcome: Conversion) -> None:
        """An image is through."""
        both = "index-only" in mode and "full" in mode
        self._conversions.labels("both" if both else _known(mode, _MODES), outcome).inc()

    def layer_made(self, seconds: float, *, read: int, written: int) -> None:
        """A layer was converted here, from ``read`` bytes of it to ``written`` bytes of blobs."""
        self._layers.labels("made").inc()
        self._layer_seconds.observe(seconds)
        self._read.inc(read)
        self._written.inc(written)

    def layer_reused(self, *, saved: int) -> None:
        """A layer of ``saved`` bytes needed no work: its result was there."""
        self._layers.labels("reused").inc()
        self._saved.inc(saved)

    def event(self, source: str, outcome: Received, seconds: float | None = None) -> None:
        """An event came; ``seconds``: how long it took to store it, if it was."""
        self._events.labels(_known(source, self._sources), outcome).inc()
        if seconds is not None:
            self._store_seconds.observe(seconds)

    def delivery(self, outcome: Delivery) -> None:
        """One of our events was sent, or tried."""
        self._deliveries.labels(outcome).inc()

    def request(self, host: str, status: int | None, seconds: float) -> None:
        """A request to a registry was answered with ``status`` (None: not at all). For the registry client to call."""
        host = _known(host, self._hosts)
        klass = f"{status // 100}xx" if status is not None and 100 <= status < 600 else "none"
        self._requests.labels(host, klass).inc()
        self._request_seconds.labels(host).observe(seconds)

    def _count_work(self) -> None:
        self._conversions = self._counter("accel_conversions", "Images that are through.", "mode", "outcome")
        self._layers = self._counter("accel_layer_results", "Results of layers, made or found.", "outcome")
        self._read = self._counter("accel_layer_read_bytes", "Bytes of layers read to convert them.")
        self._written = self._counter("accel_layer_written_bytes", "Bytes of blobs made of layers.")
        self._saved = self._counter("accel_layer_saved_bytes", "Bytes of layers whose result was there already.")
        self._layer_seconds = self._histogram(
            "accel_layer_duration_seconds", "Time to convert one layer.", buckets=_LAYER_BUCKETS
        )

    def _count_traffic(self) -> None:
        self._events = self._counter("accel_events_received", "Events that senders posted.", "source", "outcome")
        self._store_seconds = self._histogram(
            "accel_event_store_duration_seconds", "Time to store events, before the answer.", buckets=_STORE_BUCKETS
        )
        self._deliveries = self._counter("accel_deliveries", "Attempts to deliver our events.", "outcome")
        self._requests = self._counter("accel_registry_requests", "Requests to registries.", "host", "status")
        self._request_seconds = self._histogram(
            "accel_registry_request_duration_seconds", "Time until the answer.", "host", buckets=_REQUEST_BUCKETS
        )

    def _begin_at_zero(self) -> None:
        """Series that may come, so that the first failure is seen as an increase."""
        for mode, outcome in itertools.product(_MODES, get_args(Conversion)):
            self._conversions.labels(mode, outcome)
        for source, outcome in itertools.product(self._sources, get_args(Received)):
            self._events.labels(source, outcome)
        for outcome in get_args(Delivery):
            self._deliveries.labels(outcome)
        for outcome in ("made", "reused"):
            self._layers.labels(outcome)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, what, labels, registry=self.registry, buckets=buckets)


def _known(value: str, allowed: Collection[str]) -> str:
    return value if value in allowed else "other"
