"""Whom the collector believes: the root key that its operator configured, and what the directory signed by it says.

The directory is fetched from the custodian's address, checked, and kept on disk, so that the collector can start and
judge certificates while the custodian is away. A version only rises. The address it came from is no evidence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from assent.client.directory import DirectoryRefused, TrustedDirectory
from assent.contracts.envelope import Envelope, S, StatementInvalid
from assent.contracts.problems import Code, Problem
from assent.contracts.rotation import read_lasting
from assent.contracts.statements import Directory
from assent_collector.custodian import Custodian, CustodianUnreachable

REFRESH_EVERY = timedelta(minutes=10)
FIRST_TRY_EVERY = timedelta(seconds=1)
REFRESH_AT_MOST_EVERY = timedelta(seconds=30)
"""A signature that does not fit may mean that keys were rotated: look again, but not more often than this."""

_log = structlog.get_logger("assent.collector")


class Trust:
    """The current directory, and reading statements by its statement key. Safe to use from several threads."""

    def __init__(self, root_fingerprint: str, kept_at: Path, custodian: Custodian, clock: Callable[[], datetime]):
        """Reads what is kept on disk; fetches nothing yet. Raises DirectoryRefused when that is of another root."""
        self._book = TrustedDirectory(root_fingerprint, kept_at)
        self._custodian = custodian
        self._clock = clock
        self._lock = threading.Lock()
        self._looked: datetime | None = None

    @property
    def directory(self) -> Directory:
        """Raises Problem (closed) while there has never been one."""
        if not self._book.known:
            self.refresh(FIRST_TRY_EVERY)
        if not self._book.known:
            raise Problem(Code.CLOSED, "the collector has no directory yet: it cannot reach the custodian")
        return self._book.current

    def refresh(self, if_older_than: timedelta = timedelta(0)) -> None:
        """Fetch the directory unless somebody looked that recently. A failure is logged and leaves the one at hand."""
        with self._lock:
            now = self._clock()
            if self._looked is not None and timedelta(0) <= now - self._looked < if_older_than:
                return
            self._looked = now
            try:
                self._book.accept(self._custodian.directory())
            except CustodianUnreachable as error:
                _log.warning("directory-not-fetched", reason=str(error))
            except DirectoryRefused as error:
                _log.error("directory-refused", reason=str(error))

    def read(self, envelope: Envelope, kind: type[S]) -> S:
        """Read a statement of the custodian, with a newer directory if there is one. Raises StatementInvalid."""
        key = self.directory.statement_key
        try:
            return read_lasting(envelope, kind, self._book.statement_key)
        except StatementInvalid:
            self.refresh(REFRESH_AT_MOST_EVERY)
            if self.directory.statement_key == key:
                raise
        return read_lasting(envelope, kind, self._book.statement_key)
