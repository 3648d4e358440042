"""One data folder for all that work on one PostgreSQL: a custodian on a copy of it is refused.

A copy has every byte of the original, and none of its locks. Each process holds two kinds while it lives: one in the
database, and one on a file in each folder with keys. Whoever finds others in the database and nobody in a folder has a
folder of its own, in which a destroyed key would live on. Both kinds end with their process, and nothing else is kept:
there is nothing that a crash leaves behind, or that a restore or a move to another place would have to put right.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from assent_custodian.files import NotReady
from assent_custodian.settings import Settings
from assent_service.database import open_engine
from assent_service.migrating import DatabaseUnusable

FILE = "in-use"
LOOKS_EVERY_S = 10.0
GONE_WITHIN_S = 45.0
"""So long the database may count a process that is gone, or out of reach (PostgreSQL's keepalives take 30 s)."""

_ENTERING = 0x617373656E7401
"""PostgreSQL advisory lock of those who look around; for the length of a transaction."""
_PRESENT = 0x617373656E7402
"""The same of those who are there; for the length of a session, and shared."""

_log = structlog.get_logger("assent.custodian.presence")


@contextmanager
def present(settings: Settings) -> Iterator[None]:
    """Be there while the block runs. SQLite is for one process: nothing is looked at.

    Raises NotReady when others work on this database with other folders, and DatabaseUnusable. When that is found out
    only later, since PostgreSQL had been out of reach, the process sends itself SIGTERM.
    """
    if not settings.database.startswith("postgresql"):
        yield
        return
    presence = _Presence(settings)
    try:
        presence.enter()
        keeper = threading.Thread(target=presence.stay, name="custodian-presence", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            presence.leave.set()
            keeper.join()
    finally:
        presence.close()


class _Presence:
    """The locks of this process."""

    def __init__(self, settings: Settings) -> None:
        self._engine = open_engine(settings.database)
        self._connection: Connection | None = None
        self._files: Mapping[Path, int] = {
            folder: os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            for folder in {settings.keys, settings.keks}
            if folder.is_dir()
        }
        self.leave = threading.Event()

    def enter(self) -> None:
        """Raises NotReady and DatabaseUnusable."""
        until = time.monotonic() + GONE_WITHIN_S
        try:
            while alone_in := self._look(stays=False):
                if time.monotonic() > until:
                    raise NotReady(_REFUSAL.format(" and ".join(sorted(str(folder) for folder in alone_in))))
                time.sleep(0.2)
        except SQLAlchemyError as error:
            raise DatabaseUnusable.because(error) from error

    def stay(self) -> None:
        """Look again and again: the database forgets whose connection was lost, and somebody may have come since."""
        doubtful_since: float | None = None
        while not self.leave.wait(LOOKS_EVERY_S):
            try:
                alone_in = self._look(stays=True)
            except SQLAlchemyError as error:
                _log.warning("presence-unknown", kind=type(error).__name__)
                self._disconnect()
                continue
            if not alone_in:
                doubtful_since = None
                continue
            doubtful_since = doubtful_since or time.monotonic()
            if time.monotonic() - doubtful_since > GONE_WITHIN_S:
                _log.error("on-another-folder", hint="this custodian ends; its next start says what to do")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def close(self) -> None:
        self._disconnect()
        self._engine.dispose()
        for handle in self._files.values():
            os.close(handle)

    def _look(self, *, stays: bool) -> list[Path]:
        """The folders in which nobody else is, if others are in the database. Is there afterwards if that is none, or
        if it `stays` anyhow. One looks at a time; a process that stops here loses its transaction."""
        if self._connection is None:
            self._connection = self._engine.connect()
        with self._connection.begin():
            self._connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ENTERING})
            others = not self._connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _PRESENT}).scalar()
            alone_in = [folder for folder, handle in self._files.items() if _is_alone(handle)]
            self._connection.execute(text("SELECT pg_advisory_unlock_all()"))
            doubtful = others and bool(alone_in)
            is_there = stays or not doubtful
            if is_there:
                self._connection.execute(text("SELECT pg_advisory_lock_shared(:key)"), {"key": _PRESENT})
            else:
                for handle in self._files.values():
                    fcntl.flock(handle, fcntl.LOCK_UN)
        return alone_in if doubtful else []

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def _is_alone(handle: int) -> bool:
    """Whether nobody else has locked this file (flock(2)). Shares the lock afterwards."""
    alone = False
    with suppress(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    with suppress(BlockingIOError):  # of somebody who stopped while looking: the next look takes it
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return alone


_REFUSAL = (
    "another custodian works on this database, and nobody else in {}: this is a copy of its folder, or the file system "
    "does not show locks to other hosts. Replicas share one data folder: use that one, or stop the other custodian"
)
