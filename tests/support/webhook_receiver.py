"""A receiver of webhooks that remembers what came and answers as it is told.

with WebhookReceiver() as receiver:
    receiver.answers += [503, 200]          # then 204 for ever
    ...
    receiver.received[0].json["type"]
"""

import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class WebhookReceiver:
    """Listens on loopback. An answer is a status, or (status, headers)."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: deque[int | tuple[int, dict[str, str]]] = deque()
        self._came = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # noqa: N802  http.server's name
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, more = outer._answer()
                outer._note(Received(self.path, headers, body))
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def wait_for(self, n: int, timeout_s: float = 30.0) -> list[Received]:
        """The first ``n`` requests, or more; AssertionError if they do not come."""
        with self._came:
            if not self._came.wait_for(lambda: len(self.received) >= n, timeout_s):
                raise AssertionError(f"{len(self.received)} of {n} webhooks came")
            return list(self.received)

    def _answer(self) -> tuple[int, dict[str, str]]:
        answer = self.answers.popleft() if self.answers else 204
        return (answer, {}) if isinstance(answer, int) else answer

    def _note(self, received: Received) -> None:
        with self._came:
            self.received.append(received)
            self._came.notify_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
