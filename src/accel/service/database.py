"""The service's own tables, the same on SQLite (one process) and PostgreSQL (many).

What durable workflows need is the engine's and lives apart from these. On SQLite one process owns the files, and its
writers take turns by a lock of that process: SQLite's own waiting starves some of them for seconds.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry

from accel.service.settings import StoreSettings

tables = sa.MetaData()


def _json() -> sa.JSON:
    return sa.JSON(none_as_null=True)


# Incoming events, in the order they were stored. On SQLite in a file of their own, so that nobody makes them wait.
inbox_tables = sa.MetaData()
inbox = sa.Table(
    "inbox",
    inbox_tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("received_at", sa.Double, nullable=False),
    sa.Column("event", _json(), nullable=False),
    sa.Column("handled_at", sa.Double),
    sa.Column("outcome", sa.Text),
    sa.UniqueConstraint("source", "event_id"),
    sa.Index("inbox_open", "handled_at", "id"),
)

# Rules in their order; those of origin "file" are written anew from the configuration at each start.
rules = sa.Table(
    "rules",
    tables,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("spec", _json(), nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
)

# One a source digest and recipe in a repository: ten pushes and fifty tags of it are one job.
jobs = sa.Table(
    "jobs",
    tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False, unique=True),  # of creation, for paging
    sa.Column("registry", sa.Text, nullable=False),
    sa.Column("repository", sa.Text, nullable=False),
    sa.Column("source_digest", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("recipe", _json(), nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("run", sa.Integer, nullable=False, default=1),  # workflow of the job: ID#run
    sa.Column("submitted", sa.Integer, nullable=False, default=0),  # the last run that the engine was given
    sa.Column("attempt", sa.Integer, nullable=False, default=1),  # runs since the last new reason to run
    sa.Column("priority", sa.Integer, nullable=False, default=1),
    sa.Column("worker", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("not_before", sa.Double),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.Column("results", _json()),  # by mode: digest, media type, size
    sa.Column("report", _json()),
    sa.Index("jobs_by_state", "state", "seq"),
    sa.Index("jobs_by_change", "updated_at"),
    sa.Index("jobs_by_repository", "registry", "repository", "state"),
    sa.Index("jobs_by_name", "repository", "seq"),
)

# The tags that a job's result is to have.
targets = sa.Table(
    "targets",
    tables,
    sa.Column("job", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("source_tag", sa.Text, primary_key=True),
    sa.Column("tag", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),  # pending, set, superseded, left
    sa.Column("digest", sa.Text),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.Index("targets_by_digest", "digest"),
)

# How far each layer of a job is.
job_layers = sa.Table(
    "job_layers",
    tables,
    sa.Column("job", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("layer", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("workflow", sa.Text, index=True),  # that makes what was missing; None: all was there
    sa.Column("state", sa.Text, nullable=False),  # waiting, running, then as in LayerReport
    sa.Column("reused", sa.Boolean, nullable=False, default=False),
    sa.Column("comp_size", sa.BigInteger, nullable=False),
    sa.Column("done_bytes", sa.BigInteger, nullable=False, default=0),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("report", _json()),
)

job_log = sa.Table(
    "job_log",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("job", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
)

# Results of layers, kept for all images: by layer digest and all that decides about the bytes made of it.
layer_results = sa.Table(
    "layer_results",
    tables,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("layer", sa.Text, nullable=False),
    sa.Column("output", sa.Text, nullable=False),  # soci, estargz, zstd-chunked
    sa.Column("workflow", sa.Text, index=True),  # that makes it, or made it
    sa.Column("args", _json()),  # of that workflow
    sa.Column("result", _json()),  # None: not there yet, or lost
    sa.Column("comp_size", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Double),
    sa.Column("uses", sa.Integer, nullable=False, default=0),
    sa.Column("updated_at", sa.Double, nullable=False),
)

# Repositories in which the blobs of a result are.
layer_places = sa.Table(
    "layer_places",
    tables,
    sa.Column("key", sa.Text, sa.ForeignKey("layer_results.key", ondelete="CASCADE"), primary_key=True),
    sa.Column("registry", sa.Text, primary_key=True),
    sa.Column("repository", sa.Text, primary_key=True),
)

# Accelerated tags that need something of their source.
dependencies = sa.Table(
    "dependencies",
    tables,
    sa.Column("registry", sa.Text, primary_key=True),
    sa.Column("repository", sa.Text, primary_key=True),
    sa.Column("tag", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("source_tag", sa.Text, nullable=False),
    sa.Column("source_digest", sa.Text, nullable=False),
    sa.Column("keep_tag", sa.Text),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, default="ok"),  # ok, broken
    sa.Column("problem", sa.Text, nullable=False, default=""),
    sa.Column("checked_at", sa.Double),
    sa.Index("dependencies_by_source", "registry", "repository", "source_tag"),
    sa.Index("dependencies_by_state", "state", "registry", "repository", "tag"),
)

# Manifests of needed sources, to put them back should somebody delete them.
kept_manifests = sa.Table(
    "kept_manifests",
    tables,
    sa.Column("registry", sa.Text, primary_key=True),
    sa.Column("repository", sa.Text, primary_key=True),
    sa.Column("source_digest", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("kept_at", sa.Double, nullable=False),  # last needed, or about to be, as far as is known
)

# Events on their way out, one row for each receiver.
deliveries = sa.Table(
    "deliveries",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("job", sa.Text, nullable=False, index=True),
    sa.Column("tag", sa.Text, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # pending, delivered, failed
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_at", sa.Double, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("delivered_at", sa.Double),
    sa.UniqueConstraint("event_id", "endpoint"),
    sa.Index("deliveries_due", "state", "next_at"),
    sa.Index("deliveries_by_state", "state", "id"),
)
delivery_attempts = sa.Table(
    "delivery_attempts",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column(
        "delivery", sa.Integer, sa.ForeignKey("deliveries.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("error", sa.Text, nullable=False, default=""),
    sa.Column("seconds", sa.Double, nullable=False),
)

# Who is alive ("worker/ID"), and who does what only one may do ("leader"); judged by the database's clock.
leases = sa.Table(
    "leases",
    tables,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("beat", sa.Double, nullable=False),
)

# Small facts that must survive: switches ("paused"), when a scan last ended.
facts = sa.Table(
    "facts", tables, sa.Column("name", sa.Text, primary_key=True), sa.Column("value", _json(), nullable=False)
)


# A machine that vanishes must not hold its locks until TCP gives up, which takes hours: the server ends sessions that
# idle in a transaction or do not acknowledge anything, and clients notice a server that is gone.
POSTGRES_CONNECT: dict[str, object] = {
    "options": "-c idle_in_transaction_session_timeout=10s -c tcp_keepalives_idle=3 -c tcp_keepalives_interval=2 "
    "-c tcp_keepalives_count=3 -c tcp_user_timeout=10s",
    "connect_timeout": 10,
    "keepalives_idle": 3,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}


class Database:
    """One database, its tables made. ``read`` and ``write`` give connections in a transaction; safe for threads."""

    def __init__(self, url: str, made: sa.MetaData = tables) -> None:
        self.is_sqlite = url.startswith("sqlite")
        self.engine = _sqlite(url) if self.is_sqlite else _postgres(url)
        self._lock = threading.Lock() if self.is_sqlite else nullcontext()
        self._locks: dict[str, threading.Lock] = {}
        self._locks_lock = threading.Lock()
        with self.write() as connection:
            if not self.is_sqlite:  # two processes that start together would both create the tables
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(4803521)"))
            made.create_all(connection)
            for table in made.tables.values():  # of tables that an earlier version made
                for index in table.indexes:
                    index.create(connection, checkfirst=True)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one state of the database."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that is committed at the end, or undone by an exception."""
        with self._lock, self.engine.begin() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Held by one thread of all processes at a time, for each ``name``."""
        if self.is_sqlite:
            with self._named_lock(name):
                yield
            return
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(key)))
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(key)))

    def _named_lock(self, name: str) -> threading.Lock:
        with self._locks_lock:
            return self._locks.setdefault(name, threading.Lock())

    @property
    def clock(self) -> sa.ColumnElement[float]:
        """The database's own clock, in seconds since 1970."""
        if self.is_sqlite:
            return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)")
        return sa.literal_column("extract(epoch FROM clock_timestamp())", sa.Double)

    def close(self) -> None:
        self.engine.dispose()


def open_database(store: StoreSettings) -> Database:
    """The service's tables, made if they are not there."""
    return Database(database_url(store, "service"))


def open_inbox(store: StoreSettings) -> Database:
    """The table of incoming events, made if it is not there."""
    return Database(database_url(store, "inbox"), inbox_tables)


def database_url(store: StoreSettings, name: str) -> str:
    """URL of a database of the store: PostgreSQL has one for all, an embedded store a file for each ``name``."""
    if store.url is not None:
        return "postgresql+psycopg://" + store.url.get_secret_value().partition("://")[2]
    folder = Path(store.path)
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder.absolute()}/{name}.sqlite"


def _postgres(url: str) -> sa.Engine:
    return sa.create_engine(
        url, pool_size=10, max_overflow=20, pool_pre_ping=True, connect_args=POSTGRES_CONNECT
    )


def _sqlite(url: str) -> sa.Engine:
    engine = sa.create_engine(url, pool_size=10, max_overflow=20, connect_args={"timeout": 60})

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: object, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # we say BEGIN ourselves
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]

    return engine
