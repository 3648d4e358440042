"""The last cosigned head of each log: one file per log, replaced whole, under a lock that holds across processes."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from assent.client.files import sync
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import CheckpointInvalid, NoteInvalid
from assent.transparency.merkle import EMPTY_ROOT
from assent.transparency.note import Note

_ORIGIN_HASH = re.compile(r"[0-9a-f]{64}")


class HeadDamaged(Exception):
    """A state file is not what this witness wrote. It cosigns nothing more for that log until a human has looked."""


def _read(path: Path) -> tuple[Note, Checkpoint] | None:
    """What is in a state file, or None if there is none. Raises HeadDamaged, OSError."""
    try:
        note = Note.from_bytes(path.read_bytes())
        return note, Checkpoint.from_text(note.text)
    except FileNotFoundError:
        return None
    except (NoteInvalid, CheckpointInvalid) as error:
        raise HeadDamaged(f"{path} is damaged") from error


def _name_of(origin: str) -> str:
    return sha256(origin.encode()).hexdigest()


class Head:
    """The head of one log, held under its lock by whoever has this object."""

    def __init__(self, origin: str, path: Path) -> None:
        self._origin = origin
        self._path = path

    def read(self) -> Checkpoint:
        """The last cosigned checkpoint; one of size 0 if there is none. Raises HeadDamaged."""
        found = _read(self._path)
        if found is None:
            return Checkpoint(self._origin, 0, EMPTY_ROOT)
        _, checkpoint = found
        if checkpoint.origin != self._origin:
            raise HeadDamaged(f"{self._path} belongs to another log")
        return checkpoint

    def note(self) -> Note | None:
        """The same with the signatures, to be quoted; None if there is none. Raises HeadDamaged."""
        return Note.from_bytes(self._path.read_bytes()) if self.read().size else None

    def replace(self, cosigned: Note) -> None:
        """Return once the new head survives a power cut. After an error, either the old or the new head is in place."""
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(cosigned.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        sync(self._path.parent)


class Heads:
    """All heads in one folder, which belongs to this witness alone."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync(folder.parent)
        self._folder = folder

    def newest(self, origin_hash: str) -> Note | None:
        """The last cosigned head of the log whose name has this SHA-256 (64 lower-case hexadecimal digits), with the
        signatures; None if there is none. Reads no lock: a head is replaced as a whole. Raises HeadDamaged, OSError.
        """
        if not _ORIGIN_HASH.fullmatch(origin_hash):
            return None
        path = self._folder / f"{origin_hash}.checkpoint"
        found = _read(path)
        if found is None:
            return None
        note, checkpoint = found
        if _name_of(checkpoint.origin) != origin_hash:
            raise HeadDamaged(f"{path} belongs to another log")
        return note

    @contextmanager
    def locked(self, origin: str) -> Iterator[Head]:
        """Hold the head of one log. Threads and other processes wait; the lock of a killed process is free."""
        name = _name_of(origin)
        with (self._folder / f"{name}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Head(origin, self._folder / f"{name}.checkpoint")
