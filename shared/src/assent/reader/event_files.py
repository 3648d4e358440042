"""The log as OCSF events in a file of JSON lines, which other programs follow while it grows.

The file itself says how far it got: its last whole line names its entry. So whoever is killed in the middle of a line,
also with its machine, goes on after the last whole one; the torn rest is cut off, no entry comes twice and none is left
out. A line is on disk before the next thousand are read.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from assent.client.files import sync
from assent.reader.log_copies import AT_ONCE, CopyInvalid
from assent.reader.log_entries import Entry, ProvenLog
from assent.reader.ocsf import event

BEGINNING = b'{"metadata":{"log_name":"'
"""How each line begins."""

BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Written:
    """`next`: the entry that comes next; `added`: lines that this run wrote; `torn_bytes`: of a torn line, cut off."""

    next: int
    added: int
    torn_bytes: int


def write_events(log: ProvenLog, path: Path, start: int | None = None) -> Written:
    """Append the entries that the file lacks. `start`: the first entry of a file that is new; default the log's first.

    The file is made readable for its owner only; whoever gives others access stays that way. Raises CopyInvalid for a
    file that is something else, is of another log, or is being written by somebody else; and as ProvenLog, OSError.
    """
    if start is not None and start > log.size:
        raise CopyInvalid(f"there is no entry {start} yet: {log.size} are witnessed")
    new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CopyInvalid(f"another process writes to {path} just now") from error
        try:
            return _append(log, path, file, start)
        except BaseException:
            if new and file.seek(0, os.SEEK_END) == 0:
                path.unlink()
            raise


def _append(log: ProvenLog, path: Path, file: BinaryIO, start: int | None) -> Written:
    whole = _whole_bytes(file, path)
    torn = file.seek(0, os.SEEK_END) - whole
    first = (start or 0) if whole == 0 else _after(log, path, _last_line(file, whole), start)
    if torn:
        file.truncate(whole)
    file.seek(whole)
    added = 0
    for begin in range(first, log.size, AT_ONCE):
        lines = [_line(log, entry) for entry in log.forwards(begin, begin + AT_ONCE)]
        file.write(b"".join(lines))
        file.flush()
        os.fsync(file.fileno())
        added += len(lines)
    sync(path.parent)
    return Written(first + added, added, torn)


def _line(log: ProvenLog, entry: Entry) -> bytes:
    return json.dumps(event(entry, log.origin, log.size), separators=(",", ":")).encode() + b"\n"


def _whole_bytes(file: BinaryIO, path: Path) -> int:
    """How long the file is up to the end of its last whole line. Raises CopyInvalid for a file that is not ours."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    beginning = file.read(len(BEGINNING))
    if not BEGINNING.startswith(beginning):
        raise CopyInvalid(f"{path} is there already and holds something else; name a new file")
    return _line_end_before(file, size)


def _line_end_before(file: BinaryIO, stop: int) -> int:
    """The position after the last newline before `stop`; 0 when there is none."""
    while stop > 0:
        begin = max(0, stop - BLOCK_BYTES)
        file.seek(begin)
        found = file.read(stop - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        stop = begin
    return 0


def _last_line(file: BinaryIO, whole: int) -> bytes:
    begin = _line_end_before(file, whole - 1)
    file.seek(begin)
    return file.read(whole - begin)


def _after(log: ProvenLog, path: Path, line: bytes, start: int | None) -> int:
    """The entry after the one of this line, which must be in this log. Raises CopyInvalid."""
    if start is not None:
        raise CopyInvalid(f"{path} has entries already: it goes on where it ends, so leave out --start")
    try:
        said = json.loads(line)
        origin, index, raw = (
            said["unmapped"]["tlog"]["origin"],
            int(said["unmapped"]["tlog"]["index"]),
            said["raw_data"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CopyInvalid(f"the last line of {path} is damaged: keep the file, and begin a new one") from error
    if origin != log.origin:
        raise CopyInvalid(f"{path} is of the log {origin}, and this is {log.origin}: begin a new file")
    if not 0 <= index < log.size:
        raise CopyInvalid(
            f"{path} has entry {index}, and this log has {log.size}: bring the copy up to date. If it is the newest "
            "one, entries were taken away: keep the file, it shows which"
        )
    if not log.has(index, str(raw).encode()):
        raise CopyInvalid(f"entry {index} of the log is not what {path} says: keep both, and tell the witnesses")
    return index + 1
