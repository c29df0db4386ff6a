"""What does the service add to a conversion, and how many does a machine make in a minute?

Images of one layer each, all different, in a real registry on loopback. The bare command converts one after the other,
a process each, with all CPUs; the service gets all of them at once. CPU seconds are of the converting processes
alone, not of the registry and the database. Workers are processes of one thread each on one PostgreSQL.

A round is a few images for each of them in turn; ratios are medians of those of the rounds, as a shared machine is
faster at one minute than at the next.
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from measure import Row, skipped

import data

TESTS = Path(__file__).resolve().parents[1] / "tests"
IMAGES, TINY_IMAGES = 3, 2      # a round
MODES = ("index-only", "full")


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    if shutil.which("docker-registry") is None:
        skipped("service: docker-registry is not installed")
        return
    layer = data.layer("mixed", "gzip-6", tiny)
    if layer is None:
        skipped("service: gzip is not installed")
        return
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))  # the programs that tests start are started here in the same way
    for mode in MODES:
        if only in (None, mode):
            yield from Farm(layer, mode, TINY_IMAGES if tiny else IMAGES).rows(rounds)


class Farm:
    """One case: images, and the ways to convert them all."""

    def __init__(self, layer: Path, mode: str, n_images: int) -> None:
        self._layer = layer
        self._mode = mode
        self._n = n_images

    def rows(self, rounds: int) -> Iterator[Row]:
        ways = {
            "accel convert, one after the other": self._commands,
            "accel serve, embedded store": lambda folder, host: self._service(folder, host, None),
            "1 worker": lambda folder, host: self._service(folder, host, 1),
            "2 workers": lambda folder, host: self._service(folder, host, 2),
        }
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                with ExitStack() as stack:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="accel-bench-")))
                    spent[name].append(way(folder, self._registry(folder, stack)))
        base = next(iter(spent.values()))
        size = self._layer.stat().st_size
        for name, times in spent.items():
            cpu_s, wall_s = (median(column) / self._n for column in zip(*times, strict=True))
            cpu_ratio, wall_ratio = (
                median(own / usual for own, usual in zip(*columns, strict=True))
                for columns in zip(zip(*times, strict=True), zip(*base, strict=True), strict=True)
            )
            yield Row(
                "service", self._mode, name, bytes_in=size, cpu_s=round(cpu_s, 3), wall_s=round(wall_s, 3),
                ratio=round(cpu_ratio, 3), per_s=round(1 / wall_s, 3),
                note=f"{60 / wall_s:.1f} conversions a minute, {wall_ratio:.3f} of the wall time, "
                f"{rounds} rounds of {self._n} images of {size / 1e6:.0f} MB",
            )  # fmt: skip

    def _registry(self, folder: Path, stack: ExitStack) -> Any:
        """A registry with the images, each with a layer of its own: the same, and an empty member more."""
        from accel.oci import MediaType
        from accel.registry import RegistryStore
        from support.images import image, layer_of, put
        from support.registry_docker import DockerRegistry

        (folder / "registry").mkdir()
        registry = stack.enter_context(DockerRegistry(folder / "registry"))
        content = self._layer.read_bytes()
        diff_id = _diff_id(content)
        for i in range(self._n):
            own = content + gzip.compress(b"", mtime=i)
            store = RegistryStore(f"{registry.host}/app{i}:v1", registry.options())
            layer = layer_of(own, MediaType.OCI_LAYER_GZIP, diff_id)
            put(store, image([layer], platform="linux/amd64"), "v1")
            store.close()
        return registry

    def _commands(self, folder: Path, registry: Any) -> tuple[float, float]:
        cpu_s, started = 0.0, time.monotonic()
        for i in range(self._n):
            command = [sys.executable, "-m", "accel", "convert", f"docker://{registry.host}/app{i}:v1", "--mode",
                       self._mode, "--plain-http", registry.host, "--min-layer-size", "0", "--json"]  # fmt: skip
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
                cpu_s += _waited(process)
        return cpu_s, time.monotonic() - started

    def _service(self, folder: Path, registry: Any, n_workers: int | None) -> tuple[float, float]:
        from support.postgres import Postgres
        from support.running_service import RunningService, wait_for

        settings: dict[str, Any] = {
            "registries": [{"host": registry.host, "plain_http": True}],
            "rules": [{"name": "all", "mode": self._mode, "min_layer": 0}],
        }
        with ExitStack() as stack:
            if n_workers is not None:
                settings["store"] = {"url": stack.enter_context(Postgres(folder)).url}
            limits = {"layers": 2} if n_workers is None else {"layers": 0}
            service = RunningService(folder / "service", **settings, limits=limits)
            workers = RunningService(folder / "workers", **settings, limits={"layers": 1, "threads": 1})
            stack.enter_context(service)
            for number in range(n_workers or 0):
                workers.start("worker", str(number))
            stack.callback(workers.stop)
            wanted = max(1, n_workers or 1)
            wait_for(lambda: len(service.api("GET", "/stats")["workers"]) == wanted, "workers")
            busy = workers if n_workers else service
            before, started = busy.cpu_seconds(), time.monotonic()
            service.api("POST", "/backfill", {"registry": registry.host, "repositories": ["**"]})
            # Not often: each answer costs the service some milliseconds.
            wait_for(lambda: service.api("GET", "/stats")["jobs"] == {"done": self._n}, "the images", 600, every_s=0.25)
            return busy.cpu_seconds() - before, time.monotonic() - started


def _waited(process: subprocess.Popen[bytes]) -> float:
    """CPU seconds that a process took, once it has ended well."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def _diff_id(content: bytes) -> str:
    """Full mode checks it: of all the members together."""
    hasher, rest = hashlib.sha256(), content
    while rest:
        member = zlib.decompressobj(31)
        hasher.update(member.decompress(rest))
        rest = member.unused_data
    return f"sha256:{hasher.hexdigest()}"
