"""How long does the service take to answer for an event, and does it lose any?

A process of its own sends 500 events a second, whatever the answers do, to a real ``accel serve`` with an embedded
store. Every request is one event as distribution sends it, a push of a tagged manifest; every second one is covered
by a rule, and in a repository of its own. Times count from when an event was due, so a server that stops for a second
is seen in all events of that second. ``queued``: dispatching makes jobs, which nobody runs. ``running``: they run, and
fail and are tried again, as their registry does not answer.
"""

import asyncio
import json
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from measure import Row  # noqa: E402

from support.running_service import HOOK_SECRET, RunningService, free_port  # noqa: E402

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PER_S = 500
SECONDS, TINY_SECONDS = 60, 2


def run(tiny: bool, rounds: int, only: str | None = None) -> Iterator[Row]:
    for case in ("queued", "running"):
        if only in (None, case):
            yield measured(case, TINY_SECONDS if tiny else SECONDS)


def measured(case: str, seconds: int) -> Row:
    registry = {"host": f"127.0.0.1:{free_port()}", "plain_http": True}
    rules = [{"name": "all", "repository": "team/*"}]
    with TemporaryDirectory() as folder:
        with RunningService(Path(folder), registries=[registry], rules=rules) as service:
            if case == "queued":
                service.api("POST", "/pause")
            command = [sys.executable, __file__, str(service.port), str(seconds)]
            sent = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            queued = n_jobs(Path(folder))
        stored = ids_stored(Path(folder))
    missing = set(sent["accepted"]) - stored
    times = sorted(sent["ms"])
    assert not missing, f"{len(missing)} events were accepted and are not in the inbox"
    return Row(
        "service_events", case, f"accel serve, {PER_S}/s for {seconds} s", wall_s=round(sent["seconds"], 3),
        p50_ms=round(statistics.median(times), 3), p99_ms=round(times[len(times) * 99 // 100], 3),
        per_s=round(len(times) / sent["seconds"], 1),
        note=f"max {times[-1]:.1f} ms; {len(times)} sent, {sent['refused']} refused, {len(missing)} missing, "
        f"{queued} jobs at the end",
    )  # fmt: skip


def ids_stored(folder: Path) -> set[str]:
    with sqlite3.connect(folder / "store" / "inbox.sqlite") as connection:
        return {row[0] for row in connection.execute("SELECT event_id FROM inbox")}


def n_jobs(folder: Path) -> int:
    with sqlite3.connect(folder / "store" / "service.sqlite") as connection:
        count: int = connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
        return count


# --- the sender, in its own process -----------------------------------------------------------------------------------


def request(number: int) -> bytes:
    """A push, as registry 2.8 tells of it."""
    digest = f"sha256:{number:064x}"
    repository = f"team/app-{number}" if number % 2 else "other/app"
    event = {
        "id": name(number),
        "timestamp": "2026-11-23T12:11:40.168670529Z",
        "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "size": 503,
            "digest": digest,
            "length": 503,
            "repository": repository,
            "url": f"http://127.0.0.1:5000/v2/{repository}/manifests/{digest}",
            "tag": "v1",
            "references": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 3001389, "digest": digest}
            ],
        },
        "request": {"id": name(number), "addr": "127.0.0.1:45306", "host": "127.0.0.1:5000", "method": "PUT"},
        "actor": {"name": "alice"},
        "source": {"addr": "registry:5000", "instanceID": "e41c8372-14bb-4e5c-8087-cca61693837d"},
    }
    body = json.dumps({"events": [event]}).encode()
    head = (
        "POST /hooks/main HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Go-http-client/1.1\r\n"
        f"Content-Length: {len(body)}\r\nAuthorization: Bearer {HOOK_SECRET}\r\n"
        "Content-Type: application/vnd.docker.distribution.events.v1+json\r\n\r\n"
    )
    return head.encode() + body


def name(number: int) -> str:
    return f"453de56b-187f-4a54-893e-{number:012d}"


@dataclass(slots=True)
class Answer:
    status: int
    ms: float


class Sender:
    """Sends events when they are due, over as many connections as are busy at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []

    async def send(self, number: int, due: float) -> Answer:
        """The answer; status 0 if the server hung up."""
        try:
            status = await self._send(request(number))
        except (ConnectionError, asyncio.IncompleteReadError):
            status = 0
        return Answer(status, 1000 * (time.perf_counter() - due))

    async def _send(self, raw: bytes) -> int:
        reader, writer = await self._connection()
        writer.write(raw)
        head = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next(line for line in head if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head[0].split(b" ")[1])

    async def _connection(self) -> Connection:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def send_all(port: int, seconds: int) -> dict[str, object]:
    sender = Sender(port)
    start = time.perf_counter() + 0.1
    tasks = []
    for number in range(PER_S * seconds):
        due = start + number / PER_S
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(sender.send(number, due)))
    answers = await asyncio.gather(*tasks)
    took = time.perf_counter() - start
    await sender.close()
    return {
        "seconds": took,
        "ms": [answer.ms for answer in answers],
        "accepted": [name(number) for number, answer in enumerate(answers) if answer.status == 202],
        "refused": sum(answer.status != 202 for answer in answers),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(send_all(int(sys.argv[1]), int(sys.argv[2])))))
