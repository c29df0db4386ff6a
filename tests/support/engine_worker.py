"""A process that works on the workflows of the engine's tests, and what drives it.

    python -m support.engine_worker URL SERVICE_URL EXECUTOR LOG [--ttl S] [--at-once N] …

Every step of a workflow writes a line to LOG before and after it: ``time start|end executor workflow step``.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from accel.errors import RegistryError
from accel.service.database import Database
from accel.service.engine import Context, Engine, Queue, wait_for_database
from accel.service.leases import Leases

Start = Callable[..., Engine]
QUEUES = ("images", "layers")
_HERE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Store:
    """Where the engine's tables are, and those of the service with the leases."""

    url: str
    service_url: str
    log: Path


class Flows:
    """The workflows: an image has layers, by id, and is published when they are made."""

    def __init__(self, engine: Engine, log: Path) -> None:
        self._engine = engine
        self._log = log
        engine.workflow("image")(self.image)
        engine.workflow("layer")(self.layer)
        engine.workflow("fails")(self.fails)
        engine.workflow("deadly")(self.deadly)

    def image(self, context: Context, args: dict[str, Any]) -> dict[str, Any]:
        plan = context.step("plan", self._note, context.id, "plan", args.get("plan_s", 0), ("made",))
        work = {"seconds": args.get("layer_s", 0)}
        layers = [
            context.spawn("layer", name, work, queue="layers", priority=args.get("priority", 1))
            for name in args["layers"]
        ]
        made = [layer.result()["layer"] for layer in layers]
        context.step("publish", self._note, context.id, "publish", args.get("publish_s", 0))
        return {"plan": plan, "layers": made}

    def layer(self, context: Context, args: dict[str, Any]) -> dict[str, Any]:
        context.step("convert", self._note, context.id, "convert", args["seconds"])
        return {"layer": context.id}

    def fails(self, context: Context, args: dict[str, Any]) -> dict[str, Any]:
        return {"step": context.step("break", self._break, args)}

    def deadly(self, context: Context, args: dict[str, Any]) -> dict[str, Any]:
        context.step("die", self._die, context.id)
        return {}

    def _note(self, id: str, step: str, seconds: float, result: Any = None) -> Any:
        self._write("start", id, step)
        time.sleep(seconds)
        self._write("end", id, step)
        return result

    def _break(self, args: dict[str, Any]) -> None:
        message = "".join(map(chr, args.get("characters", [])))  # any, JSON or not
        raise RegistryError(message, status=503, temporary=args.get("temporary", False))

    def _die(self, id: str) -> None:
        self._write("start", id, "die")
        os.kill(os.getpid(), signal.SIGKILL)

    def _write(self, what: str, id: str, step: str) -> None:
        with self._log.open("ab", buffering=0) as log:
            log.write(f"{time.time():.6f} {what} {self._engine.executor_id} {id} {step}\n".encode())


def lines(store: Store, what: str = "start", step: str | None = None) -> list[tuple[float, str, str, str]]:
    """(time, executor, workflow, step) of what the log says started or ended, in order."""
    if not store.log.exists():
        return []
    rows = [line.split(" ") for line in store.log.read_text().splitlines()]
    return [(float(t), e, w, s) for t, kind, e, w, s in rows if kind == what and step in (None, s)]


class Worker:
    """One such process. Left with SIGKILL, unless ``stop`` ended it."""

    def __init__(
        self, store: Store, *, ttl_s: float = 1.5, at_once: int = 20, per_process: int = 10, max_attempts: int = 8
    ) -> None:
        self.name = f"w-{uuid.uuid4().hex[:8]}"
        limits = ["--ttl", str(ttl_s), "--at-once", str(at_once), "--per-process", str(per_process)]
        limits += ["--max-attempts", str(max_attempts)]
        run = [sys.executable, "-m", "support.engine_worker", store.url, store.service_url, self.name, str(store.log)]
        path = os.pathsep.join([str(_HERE), *sys.path])
        self._errors = store.log.with_name(f"{self.name}.stderr")
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                run + limits, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, "PYTHONPATH": path}
            )

    def ready(self) -> Self:
        """Returns when its engine runs."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", self.errors()
        return self

    def signal(self, sign: int) -> None:
        self._process.send_signal(sign)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def errors(self) -> str:
        return self._errors.read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def stop(self) -> int:
        """Asks it to close; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=60)
        self.kill()
        return code

    def __enter__(self) -> Self:
        return self.ready()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.kill()


def until(what: Any, seconds: float = 60.0) -> Any:
    """What ``what()`` gives, once that is true."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return value


def states(engine: Engine, ids: list[str]) -> Mapping[str, str]:
    return {id: outcome.state for id in ids if (outcome := engine.state(id)) is not None}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("service_url")
    parser.add_argument("executor")
    parser.add_argument("log", type=Path)
    parser.add_argument("--ttl", type=float, default=3.0)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--per-process", type=int, default=10)
    parser.add_argument("--max-attempts", type=int, default=8)
    asked = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    wait_for_database(asked.service_url, stop)
    database = Database(asked.service_url)
    leases = Leases(database)
    engine = Engine(
        asked.url, asked.executor, leases, ttl_s=asked.ttl, beat_s=0.5, poll_s=0.1, max_attempts=asked.max_attempts
    )
    Flows(engine, asked.log)
    engine.start([Queue(name, at_once=asked.at_once, per_process=asked.per_process) for name in QUEUES])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    stop.wait()
    engine.close()
    database.close()


if __name__ == "__main__":
    main()
