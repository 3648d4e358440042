"""Power cuts, full disks and lost answers: what was acknowledged is there, and nothing is there twice."""

from __future__ import annotations

import errno
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session
from tests.simulators.collector import Recording, World, client_of, put, serving_collector, upload

from assent.client.transport import Refused, Unreachable
from assent.contracts.envelope import Envelope, read
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Stored
from assent_collector.app import open_collector
from assent_collector.blobs import Step
from assent_collector.orders import OrderStep

_STEPS = list(Step)
_AFTER_COMMIT = {Step.COMMITTED}
PROCESS = [sys.executable, "-m", "tests.simulators.collector_process"]


def _id(envelope: Envelope, world: World) -> str:
    return read(envelope, Stored, world.issuer.collector_key.public).hash


def _failing_once(step: Step, error: Exception) -> Callable[[Step], None]:
    left = [error]

    def hook(reached: Step) -> None:
        if reached is step and left:
            raise left.pop()

    return hook


@pytest.mark.parametrize("step", _STEPS)
def test_a_failure_at_any_step_stores_all_or_nothing(world: World, step: Step) -> None:
    recording = Recording()
    world.register(recording)
    first = recording.segment(b"first")
    put(world.collector.uploads, first)
    segment = recording.segment(b"x" * 2_000_000)
    world.restart(hook=_failing_once(step, RuntimeError("as if the machine hiccuped")))
    if step in _AFTER_COMMIT:  # reported lost, but stored: the collector looks, and says so
        assert _id(put(world.collector.uploads, segment), world) == segment.id
    else:
        with pytest.raises(RuntimeError):
            put(world.collector.uploads, segment)
        # a failure around the commit leaves the body to the sweep: the row may still appear
        assert len(world.files()) == (2 if step is Step.COMMITTING else 1)
    assert _id(put(world.collector.uploads, segment), world) == segment.id
    assert _id(put(world.collector.uploads, first), world) == first.id
    world.collector.blobs.sweep(world.collector.orders._known, older_than_s=-1)
    assert len(world.files()) == 2


@pytest.mark.parametrize("step", [Step.RECEIVING, Step.RECEIVED, Step.SYNCED, Step.RENAMED, Step.KEPT])
def test_a_full_disk_stores_nothing_and_says_so(world: World, step: Step) -> None:
    recording = Recording()
    world.register(recording)
    segment = recording.segment()
    world.restart(hook=_failing_once(step, OSError(errno.ENOSPC, "No space left on device")))
    with serving_collector(world) as url, client_of(world, url) as agent, pytest.raises(Refused) as caught:
        upload(agent, segment)
    assert caught.value.code is Code.STORAGE_FULL
    assert world.files() == []
    world.restart()
    assert _id(put(world.collector.uploads, segment), world) == segment.id


def test_a_full_database_stores_nothing_and_says_so(lite: World) -> None:
    recording = Recording()
    lite.register(recording)
    with lite.collector.database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    segments = [recording.segment() for _ in range(60)]

    @event.listens_for(lite.collector.database.engine, "checkout")
    def _small(connection: object, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages + 2}")  # type: ignore[attr-defined]

    stored = []
    with serving_collector(lite) as url, client_of(lite, url) as agent, pytest.raises(Refused) as caught:
        for segment in segments:
            upload(agent, segment)
            stored.append(segment)
    assert caught.value.code is Code.STORAGE_FULL
    assert len(lite.files()) == len(stored)
    lite.restart()
    for segment in segments:
        assert _id(put(lite.collector.uploads, segment), lite) == segment.id
    assert len(lite.kept()) == 60


def test_a_commit_that_fails_is_answered_with_a_failure(lite: World) -> None:
    recording = Recording()
    lite.register(recording)
    segment = recording.segment()

    def refuse(_connection: object) -> None:
        raise RuntimeError("the commit failed")

    event.listen(lite.collector.database.engine, "commit", refuse)
    with pytest.raises(RuntimeError):
        put(lite.collector.uploads, segment)
    event.remove(lite.collector.database.engine, "commit", refuse)
    assert _id(put(lite.collector.uploads, segment), lite) == segment.id
    assert lite.collector.blobs.sweep(lite.collector.orders._known, older_than_s=-1) == 1
    assert len(lite.kept()) == 1


def test_a_commit_that_lands_after_its_failure_was_reported_finds_its_body(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Recording()
    world.register(recording)
    segment = recording.segment()
    late: list[Callable[[Session], object]] = []

    def lose_the_connection(work: Callable[[Session], object]) -> None:
        late.append(work)
        raise ConnectionError("the server closed the connection")

    with monkeypatch.context() as patched:
        patched.setattr(world.collector.database, "together", lose_the_connection)
        with pytest.raises(ConnectionError):
            put(world.collector.uploads, segment)
    world.collector.database.together(late[0])
    world.collector.orders.tidy()
    assert [path.read_bytes() for path in world.kept()] == [segment.body]
    assert _id(put(world.collector.uploads, segment), world) == segment.id
    assert len(world.kept()) == 1


def test_a_stored_segment_whose_body_is_gone_is_stored_again_before_it_is_answered(world: World) -> None:
    recording = Recording()
    world.register(recording)
    first, second = recording.segment(b"first"), recording.segment(b"second")
    put(world.collector.uploads, first)
    world.kept()[0].unlink()
    put(world.collector.uploads, second)
    assert _id(put(world.collector.uploads, first), world) == first.id
    assert sorted(path.read_bytes() for path in world.kept()) == sorted([first.body, second.body])
    assert world.collector.blobs.sweep(world.collector.orders._known, older_than_s=-1) == 0


# --- processes that are killed --------------------------------------------------------------------


def hand_over(world: World) -> Path:
    """Let another process open this world's folder."""
    assert world.collector.trust.directory.version == 1  # it is on disk now
    world.collector.close()
    folder = world.settings.data_dir
    (folder / "settings.json").write_text(world.settings.model_dump_json())
    return folder


@contextmanager
def process(folder: Path, step: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*PROCESS, str(folder), "serve", step, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == "listening\n"
            yield running, f"http://127.0.0.1:{port}"
        finally:
            running.kill()


@pytest.mark.parametrize("step", _STEPS)
def test_a_process_killed_at_any_step_recovers(lite: World, step: Step) -> None:
    recording = Recording()
    lite.register(recording)
    segment = recording.segment(b"x" * 2_000_000)
    folder = hand_over(lite)
    with process(folder, step.value) as (running, url), client_of(lite, url) as client:
        with pytest.raises(Unreachable):
            upload(client, segment)
        assert running.wait(20) == -signal.SIGKILL
    lite.restart()
    assert all("days" in path.parts for path in lite.files())  # what was on its way in is gone
    if step is Step.COMMITTED:
        assert len(lite.kept()) == 1
    assert _id(put(lite.collector.uploads, segment), lite) == segment.id
    lite.collector.blobs.sweep(lite.collector.orders._known, older_than_s=-1)
    assert len(lite.files()) == 1
    following = recording.segment()
    assert _id(put(lite.collector.uploads, following), lite) == following.id


def test_a_process_killed_in_mid_upload_recovers(lite: World) -> None:
    recording = Recording()
    lite.register(recording)
    segment = recording.segment(bytes(4_000_000))
    folder = hand_over(lite)
    with process(folder, "none") as (running, url), client_of(lite, url) as client, pytest.raises(Unreachable):
        client.send_segment(
            header=segment.header,
            sealed_key=segment.sealed_key,
            body=_KillsHalfway(segment.body, running),  # type: ignore[arg-type]
            body_sha256=segment.body_sha256,
            signature=segment.signature,
        )
    lite.restart()
    assert lite.files() == []
    assert _id(put(lite.collector.uploads, segment), lite) == segment.id


class _KillsHalfway:
    """A body whose reader has the server killed when half of it was read."""

    def __init__(self, body: bytes, process: subprocess.Popen[str]) -> None:
        self._body, self._at, self._process = body, 0, process

    def seek(self, offset: int, whence: int = 0) -> int:
        return len(self._body) if whence == 2 else offset

    def tell(self) -> int:
        return 0

    def read(self, count: int) -> bytes:
        if self._at > len(self._body) // 2:
            self._process.kill()
            self._process.wait(20)
        piece = self._body[self._at : self._at + count]
        self._at += len(piece)
        return piece


@pytest.mark.parametrize("step", list(OrderStep))
def test_an_order_interrupted_at_any_step_is_carried_out_once(lite: World, step: OrderStep) -> None:
    recording, other = Recording(), Recording()
    for one in (recording, other):
        lite.register(one)
        put(lite.collector.uploads, one.segment())
    lite.book.order(lite.issuer.erase(recording.stream), lite.issuer.revoke(other.stream))
    folder = hand_over(lite)
    orders = [json.loads(envelope.to_json()) for envelope in lite.book.orders_]
    (folder / "orders.json").write_text(json.dumps(orders))
    killed = subprocess.run([*PROCESS, str(folder), "pull", step.value], check=False)
    assert killed.returncode == -signal.SIGKILL
    again = subprocess.run([*PROCESS, str(folder), "pull", "none"], check=False)
    assert again.returncode == 0
    acknowledged = (folder / "acknowledged.txt").read_text().split()
    assert set(acknowledged) == {"1"}  # twice is once
    lite.restart()
    assert lite.collector.orders.pull_orders_once() == 0
    assert len(lite.kept()) == 1
    for one in (recording, other):
        with pytest.raises(Problem) as caught:
            put(lite.collector.uploads, one.segment())
        assert caught.value.code is Code.REVOKED


def test_orphans_are_swept_only_when_old_and_unknown(lite: World) -> None:
    recording = Recording()
    lite.register(recording)
    put(lite.collector.uploads, recording.segment())
    orphan = lite.kept()[0].with_name("f" * 32)
    orphan.write_bytes(b"orphan")
    lite.collector.orders.tidy()
    assert orphan.exists()
    assert lite.collector.blobs.sweep(lite.collector.orders._known, older_than_s=-1) == 1
    assert not orphan.exists()
    assert len(lite.kept()) == 1


def test_leavings_of_a_dead_process_go_and_those_of_a_living_one_stay(lite: World, tmp_path: Path) -> None:
    incoming = lite.settings.blobs / "incoming"
    dead = incoming / ("d" * 32)
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "body").write_bytes(b"half")
    living = lite.collector.uploads.begin()
    living.write([b"half"])
    second = World(lite.issuer, lite.book, lite.clock, lite.settings, lite.collector)

    second.collector = open_collector(lite.settings, lite.clock, lite.book)
    assert not dead.exists()
    assert len(lite.files()) == 1
    second.collector.close()
