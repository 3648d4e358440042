"""Bodies, outside the database. A body that `keep` has returned from survives a power cut.

The port is small so that an object store can stand behind it. Names are random and say nothing; the day folder is the
day that the certificate says.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

from assent.client.files import sync
from assent.contracts.ids import new_id
from assent.contracts.times import parse_day

ORPHAN_AGE_S = 3600
"""A body without a row is removed when it is this old: younger ones may belong to an upload that is about to commit."""


class Step(StrEnum):
    """The points of an upload at which a process can die. Tests stop it at each of them."""

    RECEIVING = "receiving"
    RECEIVED = "received"
    RENAMED = "renamed"
    SYNCED = "synced"
    KEPT = "kept"
    COMMITTING = "committing"
    COMMITTED = "committed"


Hook = Callable[[Step], None]
"""Called when a step is reached; whatever it raises, the upload meets there."""


def no_hook(_step: Step) -> None:
    """Nothing is to happen at any step."""


class Incoming(Protocol):
    """A body on its way in. Nobody can read it before `keep`."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes. Raises OSError; ENOSPC among others."""

    def keep(self, day: str) -> str:
        """Make it durable under a fresh random name and return that. Raises OSError: then it may be there or not."""

    def discard(self) -> None:
        """Remove it, whatever state it is in. Repeating does nothing; never raises."""


class Blobs(Protocol):
    """Where bodies are kept. A name is used once and its body never changes."""

    def begin(self) -> Incoming:
        """A new empty body. Raises OSError."""

    def open(self, day: str, name: str) -> BinaryIO | None:
        """The body for reading, None when it is no longer there. Raises OSError."""

    def erase(self, names: Iterable[tuple[str, str]]) -> None:
        """Remove (day, name) durably before returning. Those that are gone already are passed over. Raises OSError."""

    def sweep(self, known: Callable[[list[str]], set[str]], older_than_s: float) -> int:
        """Remove bodies that `known` does not know, if they are old enough. Returns how many."""


class FolderBlobs:
    """Bodies as files `days/<day>/<random name>`, with their times set to midnight of the day.

    Bodies on their way in are in `incoming/<random name of the process>`, whose lock file shows that the process
    lives; the leavings of dead ones are removed when a process starts.
    """

    def __init__(self, root: Path, hook: Hook = no_hook) -> None:
        """Opens (and makes) the folder, and removes what dead processes left. Raises OSError."""
        self._hook = hook
        self._days = root / "days"
        incoming = root / "incoming"
        for folder in (root, self._days, incoming):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._incoming, self._lock = _own_folder(incoming)
        for other in incoming.iterdir():
            if other != self._incoming:
                _remove_if_dead(other)

    def close(self) -> None:
        """Give up what is on its way in. The object is of no more use; closing it again does nothing."""
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._lock.close()

    def begin(self) -> Incoming:
        return _IncomingFile(self._incoming / new_id(), self._days, self._hook)

    def open(self, day: str, name: str) -> BinaryIO | None:
        try:
            return (self._days / day / name).open("rb", buffering=0)
        except FileNotFoundError:
            return None

    def erase(self, names: Iterable[tuple[str, str]]) -> None:
        folders = set()
        for day, name in names:
            folder = self._days / day
            (folder / name).unlink(missing_ok=True)
            folders.add(folder)
        for folder in folders:
            if folder.exists():
                sync(folder)

    def sweep(self, known: Callable[[list[str]], set[str]], older_than_s: float = ORPHAN_AGE_S) -> int:
        limit = time.time() - older_than_s
        removed = 0
        for folder in list(self._days.iterdir()):
            for names in _in_hundreds(_unchanged_since(folder, limit)):
                orphans = set(names) - known(names)
                self.erase((folder.name, name) for name in orphans)
                removed += len(orphans)
        return removed


class _IncomingFile:
    def __init__(self, path: Path, days: Path, hook: Hook) -> None:
        self._path = path
        self._days = days
        self._hook = hook
        self._file: BinaryIO | None = path.open("xb", buffering=0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._file is None:
            raise ValueError("this body was kept or discarded")
        self._hook(Step.RECEIVING)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def keep(self, day: str) -> str:
        if self._file is None:
            raise ValueError("this body was kept or discarded")
        self._hook(Step.RECEIVED)
        midnight = datetime.combine(parse_day(day), datetime.min.time(), UTC).timestamp()
        os.utime(self._file.fileno(), (midnight, midnight))
        folder = self._days / day
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            sync(self._days)
        kept = folder / self._path.name
        self._path.rename(kept)
        self._path = kept
        self._hook(Step.RENAMED)
        os.utime(folder, (midnight, midnight))
        os.fsync(self._file.fileno())  # after the rename, so that a journalling file system writes both at once
        self._file.close()
        self._file = None
        self._hook(Step.SYNCED)
        sync(folder)
        self._hook(Step.KEPT)
        return kept.name

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return  # the sweep comes by


def _own_folder(incoming: Path) -> tuple[Path, BinaryIO]:
    """A new folder and its lock, held. Made anew if a starting process took it for a dead one's meanwhile."""
    while True:
        folder = incoming / new_id()
        folder.mkdir(mode=0o700)
        try:
            lock = (folder / "lock").open("ab")
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "lock").exists():
            return folder, lock
        lock.close()


def _remove_if_dead(folder: Path) -> None:
    """Remove a process's incoming folder if nobody holds its lock."""
    try:
        with (folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except (FileNotFoundError, BlockingIOError):
        return


def _unchanged_since(folder: Path, limit: float) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if entry.stat(follow_symlinks=False).st_ctime <= limit:
                    yield entry.name
            except FileNotFoundError:
                continue  # erased while we looked


def _in_hundreds(names: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for name in names:
        batch.append(name)
        if len(batch) == 100:
            yield batch
            batch = []
    if batch:
        yield batch
