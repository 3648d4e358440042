"""Room on the disk of an SQLite database for what must not wait until somebody makes room.

A file beside the database takes up so much of the disk that nobody else can. When hardly anything else is free, only
what is urgent is taken, and the file is made shorter by what that needs. When there is room again, it is made anew, and
everything is taken. The length of the file is all the state there is: a process that is killed at any step finds at its
next start what is kept and what is free. The bytes are random, so that no file system keeps them in less room than they
promise.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from assent.client.files import write_all

MIB = 2**20
MARGIN_BYTES = 8 * MIB
"""What an urgent transaction finds free, and nothing else may use up: a withdrawal of a thousand streams, with what
SQLite's write-ahead log takes for it (7 KiB for each)."""


class NoRoom(OSError):
    """Hardly anything is free: only what is urgent is taken."""

    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, "the disk is nearly full, and what is left is kept: make room on it")


class Reserve:
    """`size_bytes` of room that are kept in the file `path`. Whoever calls is the one who writes to the database."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size = size_bytes

    @property
    def kept_bytes(self) -> int:
        """How much of it is there now."""
        with suppress(FileNotFoundError):
            return self._path.stat().st_size
        return 0

    @property
    def is_short(self) -> bool:
        """Whether everything that is not urgent is refused. Changes nothing."""
        lacking = self._size - self.kept_bytes
        return self._free < (lacking + 2 * MARGIN_BYTES if lacking > 0 else MARGIN_BYTES)

    def check(self) -> None:
        """For what is not urgent: make the file whole if it is not. Raises NoRoom when there is no room for both."""
        if self.is_short or not self._make_whole():
            raise NoRoom

    def prepare(self) -> None:
        """When a service starts: make the file whole, or else the room that starting takes.

        Where no database can be it does nothing: who opens that says so.
        """
        if not self._path.parent.is_dir():
            return
        if self.is_short or not self._make_whole():
            self.make_room()

    def make_room(self) -> None:
        """For what is urgent: give up as much as it takes to have `MARGIN_BYTES` free."""
        kept = self.kept_bytes
        if kept and (lacking := MARGIN_BYTES - self._free) > 0:
            self._shorten(max(0, kept - lacking))

    def give_up(self) -> None:
        """Give up all of it: something urgent takes more than `MARGIN_BYTES`."""
        self._shorten(0)

    @property
    def _free(self) -> int:
        return shutil.disk_usage(self._path.parent).free

    def _make_whole(self) -> bool:
        """False when the system will not give that much, whatever it says is free (a quota)."""
        kept = self.kept_bytes
        if kept >= self._size:
            return True
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for at in range(kept, self._size, MIB):
                write_all(handle, os.urandom(min(MIB, self._size - at)))
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, kept)
            return False
        finally:
            os.close(handle)
        return True

    def _shorten(self, length: int) -> None:
        if length >= self.kept_bytes:
            return
        handle = os.open(self._path, os.O_WRONLY)
        try:
            os.ftruncate(handle, length)
            os.fsync(handle)  # some file systems give out again only what they have written down as free
        finally:
            os.close(handle)
