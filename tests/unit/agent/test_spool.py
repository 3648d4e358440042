"""The spool loses nothing that was sealed, and never has two segments for one number, wherever it crashes."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.simulators.disk import Crashed, SimulatedDisk, Survives, no_space
from tests.unit.agent.parts import NOON, MemorySecrets, certificate, draft, ns, statement_key, vault

from assent.codec.content import decode_content
from assent.contracts.envelope import read
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent.contracts.statements import StreamCertificate
from assent.sealing.chain import ChainChecker, ChainState
from assent.sealing.segments import SealedSegment, open_body, open_sealed_key, parse_record
from assent_agent.spool.disk import RealDisk
from assent_agent.spool.files import FileDamaged, Position, segment_from_bytes, segment_to_bytes
from assent_agent.spool.spool import Forgotten, Spool, SpoolFull, StreamClosed

FOLDER = Path("/spool")
MINUTE = timedelta(minutes=1)


@dataclass
class Collector:
    """Stores in order what it is sent, and checks it as the real one does."""

    checkers: dict[str, ChainChecker] = field(default_factory=dict)
    segments: dict[tuple[str, int], str] = field(default_factory=dict)
    skipped: set[tuple[str, int]] = field(default_factory=set)
    ended: dict[str, str] = field(default_factory=dict)

    def take(self, spool: Spool, now: datetime, limit: int = 1000) -> None:
        for view in spool.streams(now):
            envelope = spool.announcement(view.stream)
            assert envelope is not None
            key = read(envelope, StreamCertificate, statement_key().public).stream_key
            for item in view.items[: min(view.ready, limit)]:
                found = spool.take(item, now)
                assert found is not None
                self.store(view.stream, key, found)
                spool.stored(item, now)

    def store(self, stream: str, key: str, found: object) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        from assent.contracts.keys import PublicKey

        public = PublicKey(key).load()
        assert isinstance(public, Ed25519PublicKey)
        checker = self.checkers.setdefault(stream, ChainChecker(stream, public))
        if isinstance(found, SealedSegment):
            from assent.sealing.segments import parse_header

            sequence = parse_header(found.header).sequence
            known = self.segments.get((stream, sequence))
            if known is not None:
                assert known == found.id, "two segments for one number"
                return
            checker.accept(found.link)
            self.segments[stream, sequence] = found.id
            return
        record = parse_record(found.record)  # type: ignore[attr-defined]
        if record.kind == "end" and stream in self.ended:
            return
        if record.kind == "skip" and (stream, record.from_sequence) in self.skipped:
            return
        checker.accept(found)  # type: ignore[arg-type]
        if record.kind == "end":
            self.ended[stream] = record.how
        else:
            self.skipped |= {(stream, n) for n in range(record.from_sequence, record.to_sequence + 1)}


@dataclass
class Story:
    """What was promised to the caller up to the crash."""

    sealed: dict[str, tuple[str, int]] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    collector: Collector = field(default_factory=Collector)
    destroying: bool = False


def new_spool(disk: SimulatedDisk, secrets: MemorySecrets, now: datetime = NOON) -> Spool:
    return Spool(FOLDER, secrets, now=now, disk=disk, reserve_bytes=0)


def tell(story: Story, disk: SimulatedDisk, secrets: MemorySecrets, destroy: bool) -> None:
    """A morning: two streams, segments, an upload, forgetting, ending; then perhaps everything is destroyed."""
    spool = new_spool(disk, secrets)
    streams = []
    for modality in (Modality.POINTER, Modality.KEYBOARD):
        key = SigningKey.generate()
        streams.append(spool.open_stream(certificate(key, modality), key, NOON))
    for i in range(4):
        at = NOON + (i + 1) * 5 * MINUTE
        for stream in streams:
            story.sealed[spool.seal(stream, draft(at), at)] = (stream, i)
    story.collector.take(spool, NOON + 26 * MINUTE, limit=1)
    ids = list(story.sealed)
    story.given_up |= {i for i in ids if story.sealed[i][1] >= 2}
    spool.forget(ns(NOON + 12 * MINUTE), ns(NOON + 20 * MINUTE), NOON + 21 * MINUTE)
    at = NOON + 25 * MINUTE
    story.sealed[spool.seal(streams[0], draft(at), at)] = (streams[0], 4)
    if destroy:
        story.destroying = True
        spool.destroy()
        return
    spool.end(streams[0], NOON + 26 * MINUTE)
    story.collector.take(spool, NOON + 60 * MINUTE)


def operations_of(destroy: bool) -> int:
    disk = SimulatedDisk()
    tell(Story(), disk, MemorySecrets(disk.tick), destroy)
    return disk.operations


@pytest.mark.parametrize("destroy", [False, True])
@pytest.mark.parametrize("survives", ["synced", "names", "all"])
def test_a_crash_at_any_operation_loses_nothing_sealed_and_never_gives_a_number_twice(
    survives: Survives, destroy: bool
) -> None:
    total = operations_of(destroy)
    assert total > 60
    for operation in range(total):
        disk, story = SimulatedDisk(), Story()
        secrets = MemorySecrets(disk.tick)
        disk.fail_at(operation)
        with pytest.raises(Crashed):
            tell(story, disk, secrets, destroy)
        disk.crash(survives)
        check_after(story, disk, secrets)


def check_after(story: Story, disk: SimulatedDisk, secrets: MemorySecrets) -> None:
    later = NOON + timedelta(hours=2)
    spool = new_spool(disk, secrets, later)
    there = {
        spool.read_segment(item).id
        for view in spool.streams(later)
        for item in view.items
        if item.name.kind in ("segment", "sending")
    }
    stored = set(story.collector.segments.values())
    for segment, place in story.sealed.items():
        excused = segment in stored or segment in story.given_up or story.destroying
        assert segment in there or excused, place
    assert not any(path.name.endswith((".tmp", ".gone")) for path, _ in disk.files())
    story.collector.take(spool, later + timedelta(hours=1))
    assert spool.streams(later) == ()
    assert list(disk.files()) == []
    assert secrets.kept == {}
    if not story.destroying:
        assert all(checker.state.closed != "not closed" for checker in story.collector.checkers.values())


def test_a_crash_while_recovering_from_a_crash_changes_nothing() -> None:
    for operation in range(0, operations_of(False), 7):
        for second in range(0, 12, 2):
            disk, story = SimulatedDisk(), Story()
            secrets = MemorySecrets(disk.tick)
            disk.fail_at(operation)
            with pytest.raises(Crashed):
                tell(story, disk, secrets, False)
            disk.crash("synced")
            disk.fail_at(second)
            try:
                new_spool(disk, secrets, NOON + timedelta(hours=1))
            except Crashed:
                disk.crash("names")
            disk.fail_at(None)
            check_after(story, disk, secrets)


def test_a_write_that_fails_at_any_operation_keeps_what_was_there_and_leaves_no_doubt() -> None:
    for operation in range(8):
        for stays in (False, True):
            disk = SimulatedDisk()
            secrets = MemorySecrets()
            spool = new_spool(disk, secrets)
            key = SigningKey.generate()
            stream = spool.open_stream(certificate(key), key, NOON)
            first = spool.seal(stream, draft(NOON), NOON)
            disk.fail_at(operation, no_space, stays)
            sealed = [first]
            try:
                sealed.append(spool.seal(stream, draft(NOON + 5 * MINUTE), NOON))
            except SpoolFull:
                pass
            disk.fail_at(None)
            try:
                sealed.append(spool.seal(stream, draft(NOON + 10 * MINUTE), NOON))
            except StreamClosed:
                assert stays
            collector = Collector()
            spool.end(stream, NOON)
            spool.release_hold()
            collector.take(spool, NOON)
            assert list(collector.segments.values()) == sealed
            assert collector.ended[stream] == "clean"


def test_a_nearly_full_disk_takes_nothing_more_and_what_is_spooled_stays() -> None:
    disk, secrets = SimulatedDisk(), MemorySecrets()
    spool = Spool(FOLDER, secrets, now=NOON, disk=disk, reserve_bytes=1000)
    key = SigningKey.generate()
    stream = spool.open_stream(certificate(key), key, NOON)
    spool.seal(stream, draft(NOON), NOON)
    disk.free = 1500
    with pytest.raises(SpoolFull):
        spool.seal(stream, draft(NOON), NOON)
    disk.free = 10**9
    spool.seal(stream, draft(NOON), NOON)
    assert [item.name.text for item in spool.streams(NOON)[0].items] == ["0000000000.segment", "0000000001.segment"]


def test_nothing_on_the_disk_is_plaintext_and_no_time_is_finer_than_the_hour(tmp_path: Path) -> None:
    disk, secrets = SimulatedDisk(), MemorySecrets()
    story = Story()
    tell(story, disk, secrets, False)
    from tests.unit.agent.parts import CANARY

    assert disk.written
    for data in disk.written:
        assert CANARY.to_bytes(5, "little") not in data and str(CANARY).encode() not in data
        assert b"PRIVATE KEY" not in data
    spool = Spool(tmp_path / "spool", secrets, now=NOON, reserve_bytes=0)
    key = SigningKey.generate()
    stream = spool.open_stream(certificate(key), key, NOON)
    spool.seal(stream, draft(NOON + 3 * MINUTE), NOON + 3 * MINUTE)
    spool.end(stream, NOON + 61 * MINUTE)
    files = [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]
    assert len(files) == 3
    for path in files:
        assert path.stat().st_mtime % 3600 == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


def test_the_real_disk_keeps_a_whole_morning(tmp_path: Path) -> None:
    secrets = MemorySecrets()
    spool = Spool(tmp_path, secrets, now=NOON, disk=RealDisk(), reserve_bytes=0)
    key = SigningKey.generate()
    stream = spool.open_stream(certificate(key), key, NOON)
    segment = spool.seal(stream, draft(NOON + 5 * MINUTE), NOON + 5 * MINUTE)
    held = spool.held.get(segment)
    sealed = spool.read_segment(spool.streams(NOON)[0].items[0])
    assert held is not None
    content = decode_content(open_body(sealed.header, sealed.body, held.key))
    assert content == decode_content(
        open_body(sealed.header, sealed.body, open_sealed_key(sealed.sealed_key, sealed.header, vault()))
    )
    assert (content.stream, content.sequence, len(content.events)) == (stream, 0, 3)
    again = Spool(tmp_path, secrets, now=NOON, reserve_bytes=0)
    assert again.held.all() == ()
    collector = Collector()
    again.release_hold()
    collector.take(again, NOON)
    assert collector.ended == {stream: "crashed"}
    assert list(tmp_path.iterdir()) == []


def test_a_held_segment_waits_for_its_hold_and_a_restart_begins_it_anew() -> None:
    disk, secrets = SimulatedDisk(), MemorySecrets()
    spool = new_spool(disk, secrets)
    key = SigningKey.generate()
    stream = spool.open_stream(certificate(key), key, NOON)
    segment = spool.seal(stream, draft(NOON), NOON)
    item = spool.streams(NOON)[0].items[0]
    assert spool.take(item, NOON + 14 * MINUTE) is None
    assert spool.held.get(segment) is not None
    assert spool.streams(NOON + 15 * MINUTE)[0].ready == 1
    assert spool.held.get(segment) is None
    restarted = new_spool(disk, secrets, NOON + 14 * MINUTE)
    assert restarted.streams(NOON + 28 * MINUTE)[0].ready == 0
    assert restarted.streams(NOON + 29 * MINUTE)[0].ready == 2
    assert restarted.take(item, NOON + 29 * MINUTE) is not None


def test_a_segment_whose_upload_was_attempted_is_out_of_reach_for_forgetting() -> None:
    disk, secrets = SimulatedDisk(), MemorySecrets()
    spool = new_spool(disk, secrets)
    key = SigningKey.generate()
    stream = spool.open_stream(certificate(key), key, NOON)
    for i in range(2):
        spool.seal(stream, draft(NOON + i * 5 * MINUTE), NOON)
    spool.release_hold()
    first = spool.streams(NOON)[0].items[0]
    assert spool.take(first, NOON) is not None
    assert spool.forget(0, 2**63, NOON) == Forgotten(1, 1)
    restarted = new_spool(disk, secrets)
    assert restarted.forget(0, 2**63, NOON) == Forgotten(0, 1)
    names = [item.name.text for item in restarted.streams(NOON)[0].items]
    assert names == ["0000000000.sending", "0000000001-0000000001.skip", "0000000002.end"]


def test_after_a_restart_forgetting_takes_whole_hours() -> None:
    disk, secrets = SimulatedDisk(), MemorySecrets()
    spool = new_spool(disk, secrets)
    key = SigningKey.generate()
    stream = spool.open_stream(certificate(key), key, NOON)
    spool.seal(stream, draft(NOON + 10 * MINUTE), NOON)
    spool.seal(stream, draft(NOON + 70 * MINUTE), NOON)
    assert spool.forget(ns(NOON + 20 * MINUTE), ns(NOON + 30 * MINUTE), NOON).segments == 0
    restarted = new_spool(disk, secrets)
    assert restarted.forget(ns(NOON + 20 * MINUTE), ns(NOON + 30 * MINUTE), NOON).segments == 1


def test_destroying_by_modality_leaves_the_others() -> None:
    disk, secrets = SimulatedDisk(), MemorySecrets()
    spool = new_spool(disk, secrets)
    for modality in (Modality.POINTER, Modality.SCREEN):
        key = SigningKey.generate()
        spool.seal(spool.open_stream(certificate(key, modality), key, NOON), draft(NOON), NOON)
    assert spool.destroy(frozenset({Modality.SCREEN})) == 1
    assert [view.modality for view in spool.streams(NOON)] == [Modality.POINTER]
    assert len(secrets.kept) == 1
    assert [held.modality for held in spool.held.all()] == ["pointer"]


@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_a_segment_that_the_disk_damaged_is_reported_as_lost(damaged: int) -> None:
    disk, secrets = SimulatedDisk(), MemorySecrets()
    spool = new_spool(disk, secrets)
    key = SigningKey.generate()
    stream = spool.open_stream(certificate(key), key, NOON)
    for i in range(3):
        spool.seal(stream, draft(NOON + i * 5 * MINUTE), NOON)
    path = FOLDER / stream / f"{damaged:010d}.segment"
    data = bytearray(disk.read(path))
    data[-5] ^= 1
    disk.write(path, bytes(data))
    restarted = new_spool(disk, secrets)
    restarted.release_hold()
    collector = Collector()
    collector.take(restarted, NOON)
    assert collector.skipped == {(stream, damaged)}
    assert len(collector.segments) == 2
    assert collector.checkers[stream].state == ChainState(3, collector.checkers[stream].state.previous, "crashed")


def test_a_certificate_for_another_key_opens_no_stream() -> None:
    from assent.contracts.envelope import StatementInvalid

    spool = new_spool(SimulatedDisk(), MemorySecrets())
    with pytest.raises(StatementInvalid):
        spool.open_stream(certificate(SigningKey.generate()), SigningKey.generate(), NOON)


def test_segment_files_that_are_cut_off_or_grown_are_refused() -> None:
    from assent.contracts.segment import FIRST_PREVIOUS
    from assent.sealing.segments import seal_segment

    key = SigningKey.generate()
    segment, _ = seal_segment(
        content=b"x",
        stream="0" * 32,
        sequence=0,
        previous=FIRST_PREVIOUS,
        hour="2026-11-23T12",
        vault_key=vault().public_key,
        stream_key=key.ed25519,
    )
    data = segment_to_bytes(segment)
    assert segment_from_bytes(data) == segment
    for bad in (data[:-1], data + b"x", data[:20], b"", b"x" + data[1:]):
        with pytest.raises(FileDamaged):
            segment_from_bytes(bad)
    with pytest.raises(FileDamaged):
        Position.from_bytes(b"{}x")
