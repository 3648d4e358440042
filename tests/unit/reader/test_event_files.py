"""The file of events goes on where it ends, whatever happened to its last line: no entry twice, none left out."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.unit.reader.leaves import LOG
from tests.unit.reader.ocsf_schema import faults
from tests.unit.reader.test_auditing import boots, files_of, saved
from tests.unit.reader.test_log_entries import proven
from tests.unit.reader.world import World

from assent.client.directory import policy_of
from assent.contracts.keys import fingerprint
from assent.reader.event_files import BEGINNING, write_events
from assent.reader.log_copies import CopyInvalid, load_copy
from assent.reader.log_entries import ProvenLog

ALL = [*LOG, *boots(600)]


def indices(file: Path) -> list[int]:
    lines = file.read_bytes().splitlines(keepends=True)
    assert all(line.endswith(b"\n") and line.startswith(BEGINNING) for line in lines)
    return [json.loads(line)["unmapped"]["tlog"]["index"] for line in lines]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_each_line_is_an_event_and_only_the_owner_may_read_them(file: Path) -> None:
    written = write_events(proven(ALL), file)
    assert (written.added, written.next, written.torn_bytes) == (len(ALL), len(ALL), 0)
    assert indices(file) == list(range(len(ALL)))
    assert [fault for line in file.read_bytes().splitlines()[:60] for fault in faults(json.loads(line))] == []
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_second_run_adds_what_is_new_and_leaves_the_rest_alone(file: Path) -> None:
    world, before = World(), b""
    for size in (1, 3, 51, 300, 300, len(ALL)):
        had = len(before.splitlines())
        written = write_events(proven(ALL[:size], world), file)
        assert (written.added, written.next) == (size - had, size)
        assert file.read_bytes().startswith(before)
        before = file.read_bytes()
        assert indices(file) == list(range(size))
    file.chmod(0o640)
    write_events(proven(ALL, world), file)
    assert file.stat().st_mode & 0o777 == 0o640, "whoever gives others access stays that way"


def cuts(begin: int, end: int) -> list[int]:
    """Where a line is torn: everywhere at its beginning and end, and often between."""
    return sorted({*range(begin, min(begin + 30, end)), *range(begin, end, 31), *range(end - 10, end)})


def test_a_last_line_that_was_torn_is_written_again(file: Path) -> None:
    log = proven(list(LOG))
    write_events(log, file)
    whole = file.read_bytes()
    last = len(whole) - len(whole.splitlines(keepends=True)[-1])
    for cut in cuts(last, len(whole)):
        file.write_bytes(whole[:cut])
        assert write_events(log, file).torn_bytes == cut - last
        assert file.read_bytes() == whole


def test_a_first_line_that_was_torn_is_written_again(file: Path) -> None:
    log = proven(list(LOG[:1]))
    write_events(log, file)
    whole = file.read_bytes()
    for cut in cuts(0, len(whole)):
        file.write_bytes(whole[:cut])
        write_events(log, file)
        assert file.read_bytes() == whole


def test_what_a_power_cut_left_behind_the_last_line_is_cut_off(file: Path) -> None:
    log = proven(list(LOG))
    write_events(log, file)
    whole = file.read_bytes()
    file.write_bytes(whole + bytes(200_000))
    assert write_events(log, file).torn_bytes == 200_000
    assert file.read_bytes() == whole


KILLED = """
import sys
from pathlib import Path
from assent.client.directory import policy_of, verify_directory
from assent.reader.event_files import write_events
from assent.reader.log_copies import load_copy
from assent.reader.log_entries import ProvenLog
folder, file, root = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
copy = load_copy(folder)
write_events(ProvenLog(copy, policy_of(verify_directory(copy.directory, root)).check(copy.checkpoint)), file)
"""


def test_whoever_is_killed_in_the_middle_goes_on_and_ends_with_the_same_file(tmp_path: Path) -> None:
    """kill -9 of a real process, again and again while its file grows; of what came, nothing is twice or missing."""
    world, entries = World(), [*LOG, *boots(6_000)]
    folder = saved(tmp_path / "copy", files_of(world, entries))
    file, undisturbed = tmp_path / "events.jsonl", tmp_path / "undisturbed.jsonl"
    copy = load_copy(folder)
    write_events(ProvenLog(copy, policy_of(world.directory_statement).check(copy.checkpoint)), undisturbed)
    root = fingerprint(world.root.public.text)
    command = [sys.executable, "-c", KILLED, str(folder), str(file), root]
    grown = 0
    for _ in range(3):
        with subprocess.Popen(command) as process:
            while process.poll() is None and (file.stat().st_size if file.exists() else 0) <= grown:
                time.sleep(0.0005)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL, "it was in the middle"
        assert undisturbed.read_bytes().startswith(file.read_bytes())
        grown = file.stat().st_size
    assert 0 < grown < undisturbed.stat().st_size
    subprocess.run(command, check=True)
    assert file.read_bytes() == undisturbed.read_bytes()
    assert indices(file) == list(range(len(entries)))


def test_two_at_once_are_one(file: Path) -> None:
    log = proven(list(LOG))
    write_events(log, file)
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CopyInvalid, match="another process"):
            write_events(log, file)
    write_events(log, file)


@pytest.mark.parametrize("content", [b"name,shoe size\nRika,43\n", b"notes", b"\n", b"{}\n", b'{"metadata":{"x":1}}\n'])
def test_a_file_of_something_else_is_left_alone(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(CopyInvalid, match="holds something else"):
        write_events(proven(list(LOG)), file)
    assert file.read_bytes() == content


def test_a_file_of_another_log_or_of_another_history_is_left_alone(file: Path) -> None:
    write_events(proven(list(LOG)), file)
    before = file.read_bytes()
    with pytest.raises(CopyInvalid, match="bring the copy up to date"):
        write_events(proven(list(LOG[:20])), file)
    with pytest.raises(CopyInvalid, match=f"entry {len(LOG) - 1} of the log is not what"):
        write_events(proven([*LOG[:-1], *boots(3)]), file)
    assert file.read_bytes() == before
    file.write_bytes(before.replace(b'"origin":"assent.test/log"', b'"origin":"other.test/log"'))
    with pytest.raises(CopyInvalid, match="begin a new file"):
        write_events(proven(list(LOG)), file)
    file.write_bytes(before[:-20] + b"\n")
    with pytest.raises(CopyInvalid, match="damaged"):
        write_events(proven(list(LOG)), file)


def test_a_new_file_may_begin_where_the_one_before_ended(file: Path, tmp_path: Path) -> None:
    world = World()
    ended = write_events(proven(ALL[:100], world), file).next
    later = tmp_path / "later.jsonl"
    log = proven(ALL, world)
    write_events(log, later, ended)
    assert indices(file) + indices(later) == list(range(len(ALL)))
    with pytest.raises(CopyInvalid, match="leave out --start"):
        write_events(log, later, 5)
    assert write_events(log, later).added == 0
    with pytest.raises(CopyInvalid, match="there is no entry 9999 yet"):
        write_events(log, tmp_path / "never.jsonl", 9999)
    assert not (tmp_path / "never.jsonl").exists()


def test_a_line_is_on_disk_before_more_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    honest = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            synced.append(os.fstat(descriptor).st_size)
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_events(proven([*LOG, *boots(2500)]), file)
    lines = [file.read_bytes()[:size].count(b"\n") for size in synced]
    assert lines == [1000, 2000, len(LOG) + 2500]
