"""One's own data as one ZIP file, to keep or to take elsewhere.

The file is written beside its place as `NAME.part`, mode 0600, and renamed when it is whole and on the disk. A run
that is killed leaves nothing but that part, which the next run removes before it does anything else. Recordings are
written as they are read: a session's events go through line by line, its pictures one by one.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import msgspec
from PIL import Image

from assent.client.files import sync
from assent.reader.sessions import Data, Session

PNG_LEVEL: Final = 1
"""Compression of pictures: little more space than the best, in a fraction of the time."""

README: Final = """\
Your recordings, and what was done with them
============================================

This file is plain: whoever has it can read it. Keep it where you keep letters, and delete it when you are done.

All days and times are UTC. A time in nanoseconds ("at_ns") counts from 1 January 1970.

recordings/DAY/session-N/      one run of the recorder on one day
  events.jsonl                 what was observed, one event a line, in order of time (JSON Lines)
  frames/SEQ.png               pictures of the screen; SEQ is the "seq" of the event of type "frame" that describes it
  coverage.json                what is not there and why: pauses, losses, what you had forgotten or erased
receipts/                      what you agreed to, signed by you and by the custodian
accesses/                      who opened your recordings: accesses.json, and a proof for each entry of the log
erasures/                      what was or will be erased of yours, why, and how far each has come
account.json                   how much is in this file, and streams of yours that could not be read, with the reason

The receipts, proofs and erasure receipts can be checked without us, also offline:

  assent me receipts --verify FILE
  assent me erasures --verify FILE
  assent me accesses --verify FILE
"""


class ArchiveExists(OSError):
    """There is a file of this name, or somebody is writing it. Nothing was changed."""


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which becomes `path` when the block ends without an error, and vanishes when it does not.

    Removes the part that a killed run left. Raises ArchiveExists when `path` exists or another run is writing it.
    """
    if path.exists():
        raise ArchiveExists(f"the file {path.name} exists already; name another one, or remove it")
    part = path.with_name(f"{path.name}.part")
    file = os.fdopen(_own_part(part), "w+b")
    with file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            part.rename(path)  # while it is locked, so that no other run takes it for a leftover
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    sync(path.parent)


def _own_part(part: Path) -> int:
    """A new, empty part, locked; what lay there is removed unless a living run holds it."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        try:
            left = os.open(part, flags)
        except FileNotFoundError:
            pass
        else:
            try:
                fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink(missing_ok=True)
            except BlockingIOError as error:
                raise ArchiveExists(f"the file {part.name} is being written at this moment; wait for it") from error
            finally:
                os.close(left)
        try:
            made = os.open(part, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue  # another run was faster
        fcntl.flock(made, fcntl.LOCK_EX)
        return made


@dataclass
class Written:
    """What went into an archive. `days`: per day sessions and frames; `events`: by modality."""

    sessions: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        return {
            "days": sorted(self.sessions),
            "sessions": self.sessions.total(),
            "events": dict(sorted(self.events.items())),
            "frames": self.frames.total(),
        }


class Archive:
    """Writes one ZIP, which is whole when its block has ended. Every entry is for its owner only (mode 0600) and bears
    `at` as its time.
    """

    def __init__(self, file: BinaryIO, at: tuple[int, int, int, int, int, int]) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, allowZip64=True)
        self._at = at
        self.written = Written()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._zip.fp = None  # it gets no end, and `ZipFile` does not try to write one when it is cleared away
        self._zip.close()

    def add(self, name: str, content: bytes, *, compress: bool = True) -> None:
        """One small file."""
        self._zip.writestr(self._info(name, compress=compress), content)

    def add_readme(self) -> None:
        """How to read all this."""
        self.add("README.txt", README.encode())

    def add_json(self, name: str, value: object) -> None:
        self.add(name, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())

    def add_recordings(self, data: Data) -> None:
        """Every session that the lease opens, with its pictures and the account of what is not there."""
        for session in data.sessions():
            self.written.sessions[session.day] += 1
            self._add_session(f"recordings/{session.day}/session-{self.written.sessions[session.day]}", session)

    def _add_session(self, folder: str, session: Session) -> None:
        with self._zip.open(self._info(f"{folder}/events.jsonl"), "w", force_zip64=True) as lines:
            for recorded in session.events():
                line = {"modality": recorded.modality.value, "at_ns": recorded.at_ns, "event": recorded.event}
                lines.write(msgspec.json.encode(line) + b"\n")
                self.written.events[recorded.modality.value] += 1
        for picture in session.frames():
            png = io.BytesIO()
            Image.fromarray(picture.pixels).save(png, "PNG", compress_level=PNG_LEVEL)
            self.add(f"{folder}/frames/{picture.event.seq:08d}.png", png.getvalue(), compress=False)
            self.written.frames[session.day] += 1
        self.add_json(f"{folder}/coverage.json", _coverage(session))

    def _info(self, name: str, *, compress: bool = True) -> zipfile.ZipInfo:
        info = zipfile.ZipInfo(name, self._at)
        info.external_attr = 0o600 << 16
        info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        return info


def _coverage(session: Session) -> Mapping[str, Any]:
    coverage = session.coverage()
    return {
        "complete": coverage.complete,
        "streams": [
            {
                "modality": stream.modality.value,
                "closed": stream.closed,
                "segments": stream.segments,
                "opened": stream.opened,
                "forgotten_or_lost": sum(skip.to_sequence - skip.from_sequence + 1 for skip in stream.skips),
                "missing_without_a_signature": len(stream.findings),
                "not_opened": dict(stream.not_opened),
                "events_dropped": stream.outside_window + stream.wrong_modality,
            }
            for stream in coverage.streams
        ],
        "gaps": [
            {
                "modality": gap.modality.value,
                "from_ns": gap.from_ns,
                "until_ns": gap.until_ns,
                "reason": gap.reason.value,
                "count": gap.count,
            }
            for gap in coverage.gaps
        ],
    }
