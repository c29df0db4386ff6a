"""A threaded HTTP(S) server on loopback whose answers are values, so that faults can edit them."""

import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    """What came in. ``body`` is whatever was read of it."""

    method: str
    target: str
    headers: Any
    body: bytes = b""
    server: str = ""
    status: int | None = None  # what was answered; None: nothing

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {k: v[0] for k, v in parse_qs(urlsplit(self.target).query, keep_blank_values=True).items()}

    def __str__(self) -> str:
        return f"{self.server} {self.method} {self.target} -> {self.status}"


@dataclass
class Answer:
    """What goes out. ``Content-Length`` is that of ``body`` unless set in ``headers`` (None: no such header)."""

    status: int
    headers: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None  # close the connection after so many bytes of the body
    drop: bool = False  # close it without an answer
    drip_s: float = 0.0  # send byte by byte with this pause


Respond = Callable[[Request, "BodySource"], Answer]


class BodySource:
    """The body of a request, read when asked for."""

    def __init__(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self._handler = handler
        self._done = False

    def read(self, at_most: int | None = None) -> bytes:
        """All of it, or its first bytes, after which the connection is of no more use."""
        if self._done:
            return b""
        self._done = True
        headers, rfile = self._handler.headers, self._handler.rfile
        if "chunked" in headers.get("Transfer-Encoding", ""):
            return self._chunked(rfile)
        length = int(headers.get("Content-Length") or 0)
        if at_most is not None and at_most < length:
            self._handler.close_connection = True
            length = at_most
        return rfile.read(length)

    @staticmethod
    def _chunked(rfile: Any) -> bytes:
        body = b""
        while size := int(rfile.readline().split(b";")[0], 16):
            body += rfile.read(size)
            rfile.readline()
        rfile.readline()
        return body


class LoopbackServer:
    """Serves ``respond`` on 127.0.0.1 at a free port, until :meth:`close`, which joins all its threads."""

    def __init__(
        self, name: str, respond: Respond, log: list[Request], tls: ssl.SSLContext | None = None
    ) -> None:
        self.name = name
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = _server(self, respond, log, tls)
        self.port: int = self._server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            for sock in self._sockets:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self._server.server_close()

    def opened(self, sock: socket.socket) -> None:
        with self._lock:
            self._sockets.add(sock)

    def closed(self, sock: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(sock)


def _server(
    owner: LoopbackServer, respond: Respond, log: list[Request], tls: ssl.SSLContext | None
) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer_any(self) -> None:
            request = Request(self.command, self.path, self.headers, server=owner.name)
            log.append(request)
            source = BodySource(self)
            answer = respond(request, source)
            source.read()
            request.status = None if answer.drop else answer.status
            if answer.drop:
                self.close_connection = True
                return
            self.send_answer(answer)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer_any

        def send_answer(self, answer: Answer) -> None:
            self.send_response(answer.status)
            headers = {"Content-Length": str(len(answer.body))} | answer.headers
            for name, value in headers.items():
                for one in value if isinstance(value, list) else [value]:
                    if one is not None:
                        self.send_header(name, str(one))
            self.end_headers()
            if self.command == "HEAD":
                return
            body = answer.body
            if answer.cut_after is not None:
                body = body[: answer.cut_after]
                self.close_connection = True
            if answer.drip_s:
                for i in range(len(body)):
                    self.wfile.write(body[i : i + 1])
                    time.sleep(answer.drip_s)
            else:
                self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = False
        block_on_close = True
        request_queue_size = 64

        def finish_request(self, request: Any, client_address: Any) -> None:
            if tls is not None:
                request = tls.wrap_socket(request, server_side=True)
            owner.opened(request)
            try:
                super().finish_request(request, client_address)
            finally:
                owner.closed(request)
                if tls is not None:
                    request.close()

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that went away in the middle is part of the play."""

    return Server(("127.0.0.1", 0), Handler)
