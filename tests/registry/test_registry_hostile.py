"""Registries that mean harm: nothing may hang, grow without bound, or leave our types of errors."""

import random
import socket
import threading
import time

import pytest

from accel.errors import AccelError, LimitError, RegistryError
from accel.oci import Descriptor
from accel.registry import Credential, Given, HostOptions, RegistryOptions, RegistryStore, TransientError
from support.registry_faults import FakeRegistry

DESC = Descriptor.of(b"x" * 100_000, "x")


class RawServer:
    """Answers every connection with what ``script`` sends, whatever was asked."""

    def __init__(self, script):
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self):
        self._threads[0].start()
        return self

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self._stop.is_set():
                sock.close()
                return
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock):
        with sock:
            try:
                sock.recv(65536)
                for piece in self._script(self._stop):
                    sock.sendall(piece)
            except OSError:
                pass

    def __exit__(self, *_):
        self._stop.set()
        socket.create_connection(("127.0.0.1", int(self.host.partition(":")[2]))).close()
        for thread in self._threads:
            thread.join()
        self._listener.close()


def store_of(host, **changes):
    fixed = {"sleep": lambda s: None, "max_attempts": 2, "read_timeout_s": 0.4, "min_bytes_per_s": 1000}
    return RegistryStore(
        f"{host}/app:v1", RegistryOptions(hosts={host: HostOptions(plain_http=True)}, **(fixed | changes))
    )


def forever(stop, *pieces, pause_s=0.0):
    yield from pieces[:-1]
    while not stop.is_set():
        yield pieces[-1]
        if pause_s:
            time.sleep(pause_s)


OK = b"HTTP/1.1 200 OK\r\n"
SCRIPTS = {
    "silence": lambda stop: (time.sleep(0.8) or b"" for _ in range(1)),
    "garbage": lambda stop: [b"\x00\xff" * 1000 + b"\r\n\r\n"],
    "nothing": lambda stop: [],
    "half a header": lambda stop: [OK + b"Content-Length: 5"],
    "slow headers": lambda stop: forever(stop, OK, b"X: y\r\n", pause_s=0.05),
    "slow status line": lambda stop: forever(stop, b"H", pause_s=0.05),
    "endless headers": lambda stop: forever(stop, OK, b"X: y\r\n"),
    "one endless header": lambda stop: forever(stop, OK + b"X: ", b"y" * 65536),
    "100 Continue for ever": lambda stop: forever(stop, b"HTTP/1.1 100 Continue\r\n\r\n"),
    "endless body": lambda stop: forever(stop, OK + b"Connection: close\r\n\r\n", b"{" * 65536),
    "endless chunks": lambda stop: forever(
        stop, OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"
    ),
    "chunks of one byte": lambda stop: forever(
        stop, OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 999
    ),
    "endless chunk extension": lambda stop: forever(
        stop, OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 65536
    ),
    "endless trailers": lambda stop: forever(
        stop, OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 999
    ),
    "bad chunk size": lambda stop: [OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nxxxxx"],
    "huge chunk size": lambda stop: [OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\nxxxxx"],
    "slow body": lambda stop: forever(stop, OK + b"Content-Length: 100000\r\n\r\n", b"x", pause_s=0.05),
    "negative length": lambda stop: [OK + b"Content-Length: -5\r\n\r\nxxxxx"],
    "huge length": lambda stop: [OK + b"Content-Length: 99999999999999999999\r\n\r\nxxxxx"],
    "two lengths": lambda stop: [OK + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\nxxxxx"],
    "words for a length": lambda stop: [OK + b"Content-Length: lots\r\n\r\nxxxxx"],
    "large document": lambda stop: forever(stop, OK + b"Content-Length: 999999999\r\n\r\n", b" " * 65536),
    "endless 401": lambda stop: forever(
        stop,
        b'HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm="/t"\r\nConnection: close\r\n\r\n',
        b"x" * 65536,
    ),
    "endless error": lambda stop: forever(
        stop, b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n", b"x" * 65536
    ),
    "status 999": lambda stop: [b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"],
    "HTTP/0.9": lambda stop: [b"<html>hello</html>"],
    "newline in a location": lambda stop: [
        b"HTTP/1.1 307 Go\r\nLocation: /a\x0bb\r\nContent-Length: 0\r\n\r\n"
    ],
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
@pytest.mark.parametrize("call", ["get_manifest", "stream", "read_at", "put_blob"])
def test_each_call_ends_soon_and_with_a_typed_error(script, call):
    calls = {
        "get_manifest": lambda s: s.get_manifest("v1"),
        "stream": lambda s: [None for _ in s.blob(DESC).stream()],
        "read_at": lambda s: s.blob(DESC).read_at(5, 500),
        "put_blob": lambda s: s.put_blob(DESC, [b"x" * 100_000]),
    }
    with RawServer(script) as server:
        s = store_of(server.host)
        start = time.monotonic()
        try:
            calls[call](s)
        except AccelError as error:
            assert len(str(error)) < 2000
        else:
            assert call == "put_blob"  # "200 OK" to HEAD is all that it needs to know
        finally:
            assert time.monotonic() - start < 12
            assert s.bytes_fetched < 64 << 20
            s.close()


@pytest.mark.timeout(30)
def test_a_drip_of_bytes_is_a_broken_connection_that_is_resumed():
    data = random.Random(2).randbytes(3000)
    with FakeRegistry() as reg:
        reg.add_blob("app", data)
        reg.fail_next("GET", "/blobs/", drip_s=0.01)
        s = RegistryStore(f"{reg.host}/app", reg.options(read_timeout_s=0.5, min_bytes_per_s=5000))
        assert b"".join(s.blob(Descriptor.of(data, "x")).stream(10)) == data
        assert len(reg.seen("GET", "/blobs/")) == 2
        assert (
            int(reg.seen("GET", "/blobs/")[1].headers["Range"].removeprefix("bytes=").partition("-")[0]) > 0
        )
        s.close()


def test_a_slow_reader_is_not_taken_for_a_slow_sender():
    data = random.Random(2).randbytes(4 << 20)
    with FakeRegistry() as reg:
        reg.add_blob("app", data)
        s = RegistryStore(f"{reg.host}/app", reg.options(read_timeout_s=0.3, min_bytes_per_s=1 << 20))
        got = b""
        for chunk in s.blob(Descriptor.of(data, "x")).stream(1 << 20):
            time.sleep(0.05)  # 0.8 s in all
            got += chunk
        assert got == data and len(reg.requests) == 1
        s.close()


def test_an_unpacked_document_is_bounded_even_when_its_length_is_not_told():
    with FakeRegistry() as reg:
        reg.fail_next(
            "GET", status=200, body=b" " * 9_000_000, headers={"Content-Length": None, "Connection": "close"}
        )
        s = RegistryStore(f"{reg.host}/app", reg.options())
        with pytest.raises((LimitError, RegistryError)):
            s.get_manifest("v1")
        s.close()


def test_messages_hold_no_secrets_whatever_the_registry_says():
    hush = "hush-hush-hush"
    bodies = [
        f'{{"errors":[{{"code":"X","message":"Bearer {hush}"}}]}}',
        f'{{"errors":[{{"code":"X","message":"see https://h/x?sig={hush}"}}]}}',
        f"password={hush}",
        f"\x1b[31mtoken: {hush}",
    ]
    with FakeRegistry(auth="basic") as reg:
        reg.users = {"ada": hush}
        given = Given({reg.host: Credential("ada", hush)})
        s = RegistryStore(f"{reg.host}/app", reg.options(credentials=given))
        for body in bodies:
            reg.fail_next("GET", status=400, body=body.encode())
            with pytest.raises(RegistryError) as raised:
                s.get_manifest("v1")
            chain: BaseException | None = raised.value
            while chain is not None:
                assert "hush" not in f"{chain} {chain!r}" and "\x1b" not in str(chain)
                chain = chain.__cause__
        assert hush not in repr(s.client.options)
        s.close()


def test_a_connection_cut_at_every_byte_of_a_small_answer():
    answer = OK + b"Content-Type: application/json\r\nContent-Length: 14\r\n\r\n" + b'{"tags":["a"]}'
    for cut in range(0, len(answer), 3):
        with RawServer(lambda stop, cut=cut: [answer[:cut]]) as server:
            s = store_of(server.host, max_attempts=1)
            with pytest.raises((TransientError, RegistryError)):
                s.tags()
            s.close()
    with RawServer(lambda stop: [answer]) as server:
        s = store_of(server.host)
        assert s.tags() == ["a"]
        s.close()
