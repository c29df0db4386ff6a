"""Starts a private PostgreSQL (Debian package postgresql) on loopback, with its data below a folder.

with Postgres(tmp_path) as server:
    psycopg.connect(server.url)
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import pytest
from psycopg import sql

_PROGRAMS = "/usr/lib/postgresql"
_START_S = 30.0


def require_postgres() -> Path:
    """The folder of the newest server's programs (15 or later); without one the test is skipped, or fails if
    ACCEL_REQUIRE_POSTGRES is "1"."""
    found = [path.parent for path in Path(_PROGRAMS).glob("*/bin/initdb") if int(path.parts[-3]) >= 15]
    if not found:
        missing = "no PostgreSQL server from 15 on is installed (Debian package postgresql)"
        if os.environ.get("ACCEL_REQUIRE_POSTGRES") == "1":
            pytest.fail(f"{missing}, but ACCEL_REQUIRE_POSTGRES=1")
        pytest.skip(missing)
    return max(found, key=lambda programs: int(programs.parent.name))


class Postgres:
    """One server of its own, at ``url``. It may be stopped hard and started again.

    ``host``: an address of this machine besides loopback, for clients in its /24.
    """

    def __init__(self, folder: Path, *, host: str = "127.0.0.1") -> None:
        self._host = host
        self._programs = require_postgres()
        # Debian's server does not run as root, and its user must reach the folder, which pytest's is not.
        self._user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp()) if self._user else folder
        self._data = self._folder / "postgres"
        self._log = self._folder / "postgres.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = self._url("postgres")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self._user:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        make = ["initdb", "-D", str(self._data), "-U", "accel", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        subprocess.run(self._command(*make), check=True, stdout=subprocess.DEVNULL, cwd="/", **self._as_user())
        if self._host != "127.0.0.1":
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {self._host.rpartition('.')[0]}.0/24 trust\n")
        self.start()
        return self

    def start(self) -> None:
        """Runs the server; returns when it answers."""
        addresses = ",".join({"127.0.0.1", self._host})
        options = {  # synchronous_commit stays on: what was said to be stored outlives a crash of the server
            "port": self._port, "listen_addresses": addresses, "unix_socket_directories": "", "fsync": "off",
            "full_page_writes": "off", "max_connections": 200, "shared_buffers": "16MB",
        }  # fmt: skip
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            run = self._command("postgres", "-D", str(self._data), *settings)
            self._process = subprocess.Popen(run, stdout=log, stderr=log, cwd="/", **self._as_user())
        deadline = time.monotonic() + _START_S
        ready = self._command("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port))
        while subprocess.run(ready, cwd="/").returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start: {self._log.read_text()}")
            time.sleep(0.05)

    def database(self, name: str) -> str:
        """The URL of a new, empty database."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self._url(name)

    def stop(self, sign: int = signal.SIGINT) -> None:
        """Ends the server: SIGINT cuts its clients off, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait(timeout=30)
            self._process = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder if self._user else self._data, ignore_errors=True)

    def _url(self, name: str) -> str:
        return f"postgresql://accel@{self._host}:{self._port}/{name}"

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [str(self._programs / program), *arguments]

    def _as_user(self) -> dict[str, object]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
