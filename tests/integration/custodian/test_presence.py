"""A custodian on a copy of the data folder is refused while others work on the database, and for no other reason,
whatever was killed, stopped or disconnected before. Processes of their own, on a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

_SERVE = """
import os, signal, sys, time
from sqlalchemy import event
from assent_custodian import presence
from assent_custodian.settings import Settings
from assent_server.failures import failures
from assent_service import database

presence.GONE_WITHIN_S, presence.LOOKS_EVERY_S = float(sys.argv[1]), 0.2
statements, killed_at = 0, int(sys.argv[2])

def counted(*_):
    global statements
    statements += 1
    if statements == killed_at:
        os.kill(os.getpid(), signal.SIGKILL)

def open_engine(url):
    engine = database.open_engine(url)
    event.listen(engine, "after_cursor_execute", counted)
    return engine

presence.open_engine = open_engine
with failures(presence.NotReady, presence.DatabaseUnusable):
    with presence.present(Settings()):
        print("in", flush=True)
        time.sleep(600)
"""
STATEMENTS = 4
"""Of one look."""


class Process:
    """One that is there, or tries to be. `folder`: its data folder, `keks`: where its key-encryption keys lie."""

    def __init__(
        self, url: str, folder: Path, keks: Path | None = None, *, patience_s: float = 1, killed_at: int = 0
    ) -> None:
        environment = {
            **os.environ,
            "ASSENT_CUSTODIAN_DATABASE_URL": url,
            "ASSENT_CUSTODIAN_DATA_DIR": str(folder),
            "ASSENT_CUSTODIAN_KEK_DIR": str(keks or folder / "kek"),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(patience_s), str(killed_at)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def is_in(self) -> bool:
        """Waits until it is in, or has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline() == "in\n"

    def refusal(self) -> str:
        """Waits until it has ended with 1."""
        _, error = self.process.communicate(timeout=60)
        assert self.process.returncode == 1
        return error

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def end(self, sign: signal.Signals = signal.SIGKILL) -> int:
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(sign)
        self.process.communicate(timeout=60)
        return self.process.returncode


Start = Callable[..., Process]


@pytest.fixture
def start(postgres_url: str) -> Iterator[Start]:
    started: list[Process] = []

    def begin(folder: Path, keks: Path | None = None, **options: float) -> Process:
        started.append(Process(postgres_url, folder, keks, **options))  # type: ignore[arg-type]
        return started[-1]

    yield begin
    for one in started:
        one.end()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "custodian"
    for name in ("keys", "kek"):
        (made / name).mkdir(parents=True, mode=0o700)
    return made


def copied(folder: Path) -> Path:
    """A copy to the byte, with whatever lies in it."""
    return shutil.copytree(folder, folder.with_name("copy"))


def disconnect_all(url: str) -> None:
    """As a restart of PostgreSQL does."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_on_one_folder_any_number_may_work(start: Start, folder: Path) -> None:
    begun = [start(folder) for _ in range(3)]  # at the same moment
    assert all(one.is_in() for one in begun)
    assert (folder / "keys" / "in-use").stat().st_mode & 0o777 == 0o600


def test_on_a_copy_nobody_may_work_while_others_do(start: Start, folder: Path) -> None:
    original = start(folder)
    assert original.is_in()
    copy = copied(folder)
    first, second = (
        start(copy),
        start(copy),
    )  # nor does one of them make the other believe that it is at the right place
    for refused in (first, second):
        said = refused.refusal()
        assert "another custodian works on this database" in said
        assert str(copy / "keys") in said and str(copy / "kek") in said
    assert not original.has_ended()
    assert start(folder).is_in(), "the positive control"


def test_one_folder_of_keys_that_is_a_copy_is_enough(start: Start, folder: Path) -> None:
    assert start(folder).is_in()
    shutil.copytree(folder / "kek", folder.with_name("kek-copy"))
    said = start(folder, folder.with_name("kek-copy")).refusal()
    assert "kek-copy" in said and str(folder / "keys") not in said


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_when_nobody_works_any_more_any_folder_will_do(start: Start, folder: Path, sign: signal.Signals) -> None:
    """It was moved to another disk, or put back after one broke: nothing is in the way, and nothing to be put right."""
    original = start(folder)
    assert original.is_in()
    original.end(sign)
    copy = copied(folder)
    assert start(copy, patience_s=30).is_in()
    assert "another custodian" in start(folder).refusal(), "and now it is the former place that is refused"


@pytest.mark.parametrize("step", range(1, STATEMENTS + 1))
def test_who_is_killed_while_looking_is_in_nobodys_way(start: Start, folder: Path, step: int) -> None:
    killed = start(folder, killed_at=step)
    assert not killed.is_in()
    assert killed.process.wait(timeout=60) == -signal.SIGKILL
    copy = copied(folder)
    there = start(copy, patience_s=30)
    assert there.is_in()
    assert start(copy, killed_at=step).process.wait(timeout=60) == -signal.SIGKILL
    assert start(folder).refusal()
    assert not there.has_ended()


def test_a_look_has_as_many_statements_as_are_tried(start: Start, folder: Path) -> None:
    assert not start(folder, killed_at=STATEMENTS).is_in()
    late = start(folder, killed_at=STATEMENTS + 1)
    assert late.is_in(), "that is in its second look"


def test_who_stands_still_still_works_there(start: Start, folder: Path) -> None:
    original = start(folder)
    assert original.is_in()
    original.process.send_signal(signal.SIGSTOP)
    assert start(folder).is_in()
    assert start(copied(folder)).refusal()


def test_who_lost_the_database_is_there_again_before_long(start: Start, folder: Path, postgres_url: str) -> None:
    original = start(folder)
    assert original.is_in()
    disconnect_all(postgres_url)
    time.sleep(2)  # several looks
    assert not original.has_ended()
    assert start(copied(folder)).refusal()


def test_who_came_meanwhile_with_a_copy_does_not_work_beside_it_for_long(
    start: Start, folder: Path, postgres_url: str
) -> None:
    original = start(folder)
    assert original.is_in()
    copy = copied(folder)
    original.process.send_signal(signal.SIGSTOP)
    disconnect_all(postgres_url)
    other = start(copy)
    assert other.is_in(), "nobody can know yet"
    original.process.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 60
    while not original.has_ended() and not other.has_ended():
        assert time.monotonic() < deadline, "two folders are at work"
        time.sleep(0.05)
    ended, left = (original, other) if original.has_ended() else (other, original)
    assert ended.process.wait(timeout=60) == -signal.SIGTERM
    time.sleep(3)
    assert not left.has_ended()


def test_on_sqlite_nothing_is_looked_at(folder: Path) -> None:
    first, second = Process("", folder), Process("", folder)
    try:
        assert first.is_in() and second.is_in()
        assert not (folder / "keys" / "in-use").exists()
    finally:
        first.end(), second.end()
