"""One way to talk to databases: synchronous SQLAlchemy, from worker threads.

SQLite runs in WAL mode with full fsync and one writer at a time (a lock between the threads of a process, `BEGIN
IMMEDIATE` between processes); PostgreSQL runs at `READ COMMITTED` with explicit locks where the code needs them, so
that several processes may serve from one database. Nobody waits for another's lock for ever, and a process that stopped
in the middle of a transaction loses it. A session commits before the answer leaves: FastAPI dependencies that use
`transaction` must be declared with `scope="function"`. On a disk that is nearly full, a database with a `Reserve` takes
what is urgent and nothing else.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, LiteralString, TypeVar

from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.orm import Session, sessionmaker

from assent_service.reserve import Reserve

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

BUSY_TIMEOUT_MS = 28_000
"""So long a lock is waited for: less than clients wait for an answer (30 s)."""
ABANDONED_MS = 60_000
"""PostgreSQL ends a transaction in which nothing is asked for so long: its process has stopped, or is out of reach."""
REACHED_WITHIN_S = 10
"""A connection to PostgreSQL is given up when it is not made in this time, or when nothing that was sent arrives."""
VALUES_IN_A_LIST = 500
WORKER_THREADS = 40
"""So many threads answer requests (anyio's default). Beyond so many connections each request opens its own."""


def sqlite_file(url: str) -> Path:
    """The file of an SQLite address. Raises ValueError when it has none: nothing accepted would outlive the process."""
    name = make_url(url).database
    if not name or name == ":memory:":
        raise ValueError("a database in memory forgets everything: name a file, as sqlite:///FILE")
    return Path(name)


def connect_sqlite(url: str) -> sqlite3.Connection:
    """Open the file of an SQLite address. Raises sqlite3.OperationalError.

    One that is not there is not made, but by `migrate`: whoever looks at a wrong place must leave nothing there that a
    restore would take for a database.
    """
    there = f"{sqlite_file(url).absolute().as_uri()}?mode=rw"
    return sqlite3.connect(there, uri=True, timeout=BUSY_TIMEOUT_MS / 1000, check_same_thread=False)


def open_engine(url: str) -> Engine:
    """An engine for `sqlite:///FILE` or `postgresql+psycopg://…`. Opens no connection yet."""
    if url.startswith("sqlite"):
        sqlite_file(url)
        engine = create_engine(url, creator=lambda: connect_sqlite(url), pool_size=WORKER_THREADS)

        @event.listens_for(engine, "connect")
        def _prepare(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # SQLAlchemy's `begin` event below says BEGIN itself
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute("PRAGMA secure_delete=ON")
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection: object) -> None:
            read_only = connection.get_execution_options().get("assent_read_only", False)  # type: ignore[attr-defined]
            connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")  # type: ignore[attr-defined]

        return engine
    engine = create_engine(
        url, pool_pre_ping=True, pool_size=10, max_overflow=10, pool_timeout=BUSY_TIMEOUT_MS / 1000,
        connect_args={"connect_timeout": REACHED_WITHIN_S, "tcp_user_timeout": REACHED_WITHIN_S * 1000},
    )  # fmt: skip

    @event.listens_for(engine, "connect")
    def _limit(connection: psycopg.Connection[Any], _record: object) -> None:
        for name, value in _LIMITS.items():
            connection.execute(f"SET {name} = {value}")
        connection.commit()

    return engine


_LIMITS: Mapping[LiteralString, LiteralString] = {
    "lock_timeout": f"{BUSY_TIMEOUT_MS}",
    "idle_in_transaction_session_timeout": f"{ABANDONED_MS}",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}
"""Of every session with PostgreSQL, in milliseconds and (keepalives) seconds."""

_WAITED_IN_VAIN = {"55P03", "40P01", "40001", "25P03", "53300", "57P01", "57P02", "57P03"}
"""SQLSTATE: lock not available, deadlock, serialization failure, idle in transaction, too many connections, server shut
down, crashed, starting (PostgreSQL, appendix A)."""


def is_busy(error: Exception) -> bool:
    """Whether the same may work later: somebody held a lock for too long, or the database cannot be reached."""
    if isinstance(error, WriterBusy | NoConnectionFree):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return error.orig.sqlite_errorname.startswith("SQLITE_BUSY")
    state = getattr(error.orig, "sqlstate", None)
    no_answer = state is None and isinstance(error, OperationalError)
    return error.connection_invalidated or no_answer or state in _WAITED_IN_VAIN


_FULL = ("disk is full", "disk full", "no space left")
"""What SQLite and PostgreSQL say then."""
NO_ROOM_TO_SHARE = "SQLITE_IOERR_SHMSIZE"
"""What SQLite says when there is no room for the file by which its connections share a write-ahead log."""


def is_full(error: Exception) -> bool:
    """Whether there was no room, in the file system or for the database: what was under way was not stored."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not isinstance(error, DBAPIError) or error.connection_invalidated:  # then nobody knows what was committed
        return False
    if any(phrase in str(error.orig).lower() for phrase in _FULL):
        return True
    if getattr(error.orig, "sqlite_errorname", None) == NO_ROOM_TO_SHARE:
        return True
    # SQLite rolls back by itself then, and SQLAlchemy, which wants to roll back to a savepoint, finds none any more.
    return isinstance(error.__context__, Exception) and is_full(error.__context__)


def batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values, in parts that fit into one `IN (…)` of either database."""
    for start in range(0, len(values), VALUES_IN_A_LIST):
        yield values[start : start + VALUES_IN_A_LIST]


class WriterBusy(Exception):
    """Another transaction of this process held SQLite's one writer for too long; nothing was changed."""


class _Job(Generic[T]):
    """Work that waits to share a transaction, and what became of it."""

    def __init__(self, work: Callable[[Session], T]) -> None:
        self.work = work
        self.done = threading.Event()
        self.result: T | None = None
        self.error: BaseException | None = None

    def run(self, session: Session) -> None:
        try:
            with session.begin_nested():
                self.result = self.work(session)
        except Exception as error:
            self.error = error

    def outcome(self) -> T:
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


class Database:
    """Sessions of one database. `transaction` commits at its end or rolls everything back. Transactions do not nest.

    `reserve`: of an SQLite database, room for what is urgent.
    """

    def __init__(self, url: str, reserve: Reserve | None = None) -> None:
        self.engine = open_engine(url)
        self.reserve = reserve
        self._one_writer = threading.Lock()
        self._waiting: deque[_Job[Any]] = deque()
        self._writing = sessionmaker(self.engine, expire_on_commit=False)
        self._reading = sessionmaker(
            self.engine.execution_options(assent_read_only=True), expire_on_commit=False, autoflush=False
        )

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def transaction(self, *, slow: bool = False, urgent: bool = False) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises. Raises WriterBusy, and NoRoom
        unless it is `urgent`: that begins on a full disk, too, and `make_room` gives it what it takes.

        On SQLite threads queue here, since SQLite itself would make them sleep and try again. On PostgreSQL it is ended
        when nothing is asked for `ABANDONED_MS`, unless it is said to be `slow` between two statements.
        """
        if not self.is_sqlite:
            with self._writing() as session, session.begin():
                if slow:
                    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
                yield session
            return
        if not self._one_writer.acquire(timeout=BUSY_TIMEOUT_MS / 1000):
            raise WriterBusy("another transaction of this process does not end")
        try:
            if not urgent:
                self._check_room()
            with self._writing() as session, session.begin():
                yield session
        except Exception as error:
            if urgent and self.reserve is not None and is_full(error):
                self.reserve.give_up()  # it takes more than others do: asked again, it finds all that there is
            raise
        finally:
            self._one_writer.release()

    def make_room(self) -> None:
        """In a transaction that is urgent, or before it: have some room free, of the reserve if need be."""
        if self.reserve is not None:
            self.reserve.make_room()

    def _check_room(self) -> None:
        """Raises NoRoom. Called by who holds the writer."""
        if self.reserve is not None:
            self.reserve.check()

    def together(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction and return its result once that is committed, as `transaction` does.

        On SQLite, works that wait at the same time share one transaction, and so one fsync. Each has a savepoint: what
        one raises undoes that one only. A commit that fails fails for all of them.
        """
        if not self.is_sqlite:
            with self.transaction() as session:
                return work(session)
        job = _Job(work)
        self._waiting.append(job)
        if not self._one_writer.acquire(timeout=BUSY_TIMEOUT_MS / 1000):
            with suppress(ValueError):
                self._waiting.remove(job)
                raise WriterBusy("another transaction of this process does not end")
            job.done.wait()  # somebody took it along just now
            return job.outcome()
        try:
            if not job.done.is_set():
                self._commit_waiting()
        finally:
            self._one_writer.release()
        return job.outcome()

    def _commit_waiting(self) -> None:
        """Run and commit everything that waits. Called by who holds the writer."""
        jobs: list[_Job[Any]] = []
        while self._waiting:
            jobs.append(self._waiting.popleft())
        try:
            self._check_room()
            with self._writing() as session, session.begin():
                if len(jobs) == 1:  # nobody to protect from it: no savepoint
                    jobs[0].result = jobs[0].work(session)
                else:
                    for job in jobs:
                        job.run(session)
        except Exception as error:
            for job in jobs:
                job.error = job.error or error
        finally:
            for job in jobs:
                job.done.set()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads; on SQLite it does not wait for the writer."""
        with self._reading() as session:
            yield session

    def empty_write_ahead_log(self) -> None:
        """On SQLite, move what was committed into the main file, so that removed rows do not stay readable beside it.

        Does what it can while others read; on PostgreSQL nothing.
        """
        if self.is_sqlite:
            connection = self.engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()

    def close(self) -> None:
        self.engine.dispose()
