"""The log: in the same transaction as the act, never contradicting itself, and witnessed before anything opens."""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update
from tests.simulators.custodian import CustodianWorld, LocalWitness, TestClock, custodian_world
from tests.simulators.replicas import really_witness

from assent.contracts.keys import SigningKey
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import WitnessEntry
from assent.transparency import merkle
from assent.transparency.checkpoint import Checkpoint, open_checkpoint
from assent.transparency.note import Cosigner, Note, Signature, VerifierKey
from assent.transparency.tiles import verify_leaves
from assent.transparency.witnessing import Submission, build_cosignatures, build_size
from assent_custodian import ceremony
from assent_custodian.background import Background
from assent_custodian.keys.models import Stream
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.log.models import Cosignature, LogEntry, LogHead, LogNode, SignedHead, WitnessState
from assent_custodian.night import last_done
from assent_custodian.people.models import PersonSalt


def leaf(number: int = 0) -> Leaf:
    return Leaf(type=LeafType.CONFIG_CHANGED, at="2026-11-23T09:00:00Z", counts={"number": number})


def append(world: CustodianWorld, count: int = 1) -> int:
    """The index of the last of `count` new leaves, committed."""
    with world.custodian.database.transaction() as session:
        return log.append(session, *(leaf(number) for number in range(count))) + count - 1


def unreachable(world: CustodianWorld) -> list[dict[str, object]]:
    with world.custodian.database.reading() as session:
        rows = session.scalars(select(LogEntry.leaf).where(LogEntry.type == "witness.unreachable"))
        return [json.loads(row) for row in rows]


# --- appending ---


def test_the_checkpoint_is_over_exactly_the_entries_that_there_are(world: CustodianWorld) -> None:
    append(world, 300)
    custodian = world.custodian
    witnesses.submit_head(custodian)
    note = Note.from_bytes(world.client.get("/v1/log/checkpoint").content)
    log_key = VerifierKey.from_text(custodian.directory.directory.log_vkey)
    checkpoint, _ = open_checkpoint(note, [log_key])
    with custodian.database.reading() as session:
        entries = log.entries(session, 0, 10_000)
        assert [index for index, _ in entries] == list(range(log.size(session)))
    verify_leaves([data for _, data in entries], checkpoint)


def test_an_entry_is_rolled_back_with_its_act(world: CustodianWorld) -> None:
    before = append(world)
    with pytest.raises(RuntimeError), world.custodian.database.transaction() as session:
        log.append(session, leaf(), leaf())
        raise RuntimeError
    assert append(world) == before + 1


def test_workers_that_append_at_the_same_time_make_one_unbroken_log(world: CustodianWorld) -> None:
    with world.custodian.database.reading() as session:
        start = log.size(session)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                append(world, 3)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    with world.custodian.database.reading() as session:
        assert log.size(session) == start + 60
        hashes = [merkle.leaf_hash(data) for _, data in log.entries(session, 0, 1000)]
        assert merkle.root_of_hashes(hashes) == merkle.root(start + 60, log.nodes(session))


def test_an_entry_of_64_kib_is_refused(lite: CustodianWorld) -> None:
    with pytest.raises(Problem), lite.custodian.database.transaction() as session:
        log.append(session, Leaf(type=LeafType.CONFIG_CHANGED, at="x", detail={"x": "x" * 65_536}))


def test_actors_are_unlinked_when_their_salt_is_erased(lite: CustodianWorld) -> None:
    kim, lee = lite.add_person("Kim"), lite.add_person("Lee")
    with lite.custodian.database.transaction() as session:
        first = log.actor_ref(session, kim.person)
        assert first == log.actor_ref(session, kim.person) != log.actor_ref(session, lee.person)
        session.execute(delete(PersonSalt).where(PersonSalt.person == kim.person))
        with pytest.raises(Problem):
            log.actor_ref(session, kim.person)


def test_entries_hold_no_names_persons_or_keys(lite: CustodianWorld) -> None:
    lite.add_purpose()
    kim = lite.add_person("Kim Unmistakable")
    kim.consent()
    kim.certify()
    kim.withdraw()
    with lite.custodian.database.reading() as session:
        everything = b"\n".join(data for _, data in log.entries(session, 0, 1000))
    for secret in ("Unmistakable", kim.person, kim.device.public.id, kim.device.public.text, kim.receipts[0].record):
        assert secret.encode() not in everything
    assert b"role.changed" in everything, "the control"


# --- signing ---


def test_a_head_is_signed_once_per_size(world: CustodianWorld) -> None:
    append(world)
    custodian = world.custodian
    notes = set()
    for _ in range(3):
        with custodian.database.transaction() as session:
            notes.add(log.sign_head(session, custodian.log_signer, custodian.head_memory).to_bytes())
    assert len(notes) == 1


def copy_database(source: Path, target: Path) -> None:
    with sqlite3.connect(source) as from_, sqlite3.connect(target) as to:
        from_.backup(to)


def test_a_database_restored_from_before_signs_nothing(lite: CustodianWorld, tmp_path: Path) -> None:
    custodian, live = lite.custodian, lite.settings.data_dir / "custodian.db"
    append(lite)
    copy_database(live, tmp_path / "backup.db")
    append(lite, 5)
    witnesses.submit_head(custodian)
    copy_database(tmp_path / "backup.db", live)
    with pytest.raises(Problem, match="shorter"):
        witnesses.submit_head(custodian)
    with custodian.database.transaction() as session:
        log.append(session, *(leaf(number) for number in range(100, 105)))
    with pytest.raises(Problem, match="contradicts"):
        witnesses.submit_head(custodian)
    index = append(lite, 5)
    with pytest.raises(Problem, match="contradicts"):
        witnesses.require_quorum(custodian, index)


def test_a_damaged_memory_of_the_last_head_signs_nothing(lite: CustodianWorld) -> None:
    append(lite)
    witnesses.submit_head(lite.custodian)
    (lite.settings.keys / "last-checkpoint").write_text("nonsense")
    append(lite)
    with pytest.raises(Problem, match="damaged"):
        witnesses.submit_head(lite.custodian)


# --- witnesses ---


def test_a_quorum_covers_the_entry_and_its_proof_verifies(world: CustodianWorld) -> None:
    index = append(world, 3)
    custodian = world.custodian
    note = witnesses.require_quorum(custodian, index)
    with custodian.database.reading() as session:
        data = log.entry(session, index)
        proof = log.proof(session, index, note)
    assert data is not None
    witnessed = proof.verify(data, custodian.directory.policy)
    assert witnessed.checkpoint.size > index
    assert witnessed.cosigned_at == {"witness-1": int(world.clock().timestamp())}


def test_a_witnessed_entry_is_not_asked_for_twice(lite: CustodianWorld) -> None:
    index = append(lite)
    first = witnesses.require_quorum(lite.custodian, index)
    asked = lite.witness.asked
    assert witnesses.require_quorum(lite.custodian, index) == first
    assert lite.witness.asked == asked


def test_without_a_quorum_there_is_nothing_and_it_is_written_down_once_an_hour(lite: CustodianWorld) -> None:
    lite.witness.silent = True
    index = append(lite)
    for _ in range(3):
        with pytest.raises(Problem) as refused:
            witnesses.require_quorum(lite.custodian, index)
        assert refused.value.code is Code.NO_QUORUM
    assert [entry["rule"] for entry in unreachable(lite)] == ["unreachable"]
    lite.clock.forward(hours=1)
    with pytest.raises(Problem):
        witnesses.require_quorum(lite.custodian, index)
    assert len(unreachable(lite)) == 2
    lite.witness.silent = False
    witnesses.require_quorum(lite.custodian, index)


def test_a_witness_that_remembers_another_size_is_asked_again_with_it(lite: CustodianWorld) -> None:
    append(lite, 3)
    witnesses.submit_head(lite.custodian)
    lite.witness.size = 2
    witnesses.require_quorum(lite.custodian, append(lite))


def test_a_witness_that_has_seen_more_than_there_is_shuts_the_door(lite: CustodianWorld) -> None:
    lite.witness.size = 10_000
    with pytest.raises(Problem) as refused:
        witnesses.require_quorum(lite.custodian, append(lite))
    assert refused.value.code is Code.CLOSED
    assert [entry["rule"] for entry in unreachable(lite)] == ["ahead"]


def test_a_witness_with_another_time_shuts_the_door(lite: CustodianWorld) -> None:
    index = append(lite)
    witness_answer = lite.witness.answer
    real = lite.clock.at

    def late(body: bytes, clock: object) -> tuple[int, bytes]:
        lite.clock.forward(minutes=6)
        answer = witness_answer(body, lite.clock)
        lite.clock.at = real
        return answer

    lite.witness.answer = late  # type: ignore[method-assign, assignment]
    with pytest.raises(Problem) as refused:
        witnesses.require_quorum(lite.custodian, index)
    assert refused.value.code is Code.CLOSED


@pytest.mark.parametrize("answer", [b"", b"nonsense", b"\xe2\x80\x94 someone AAAA\n"])
def test_a_witness_that_talks_nonsense_counts_as_unreachable(lite: CustodianWorld, answer: bytes) -> None:
    lite.witness.answer = lambda _body, _clock: (200, answer)  # type: ignore[method-assign, assignment]
    with pytest.raises(Problem) as refused:
        witnesses.require_quorum(lite.custodian, append(lite))
    assert refused.value.code is Code.NO_QUORUM


@pytest.fixture
def three(lite: CustodianWorld) -> Iterator[tuple[CustodianWorld, list[LocalWitness]]]:
    """Three witnesses, two needed."""
    more = [LocalWitness(lite.clock, f"witness.example/{number}") for number in (2, 3)]
    entries = [lite.witness.entry, *(witness.entry for witness in more)]
    vkey = lite.custodian.directory.directory.log_vkey
    ceremony.sign_directory(
        lite.settings,
        lite.report.root_key_file,
        {"witnesses": tuple(entries), "policy": ceremony.policy_text(vkey, entries, 2)},
        clock=lite.clock,
    )
    yield lite, [lite.witness, *more]
    for witness in more:
        witness.close()


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_one_of_three_witnesses_may_be_silent_and_two_may_not(
    three: tuple[CustodianWorld, list[LocalWitness]], silent: int
) -> None:
    world, all_three = three
    all_three[silent].silent = True
    witnesses.require_quorum(world.custodian, append(world))
    all_three[(silent + 1) % 3].silent = True
    with pytest.raises(Problem):
        witnesses.require_quorum(world.custodian, append(world))


def _line(witness: LocalWitness, text: str) -> bytes:
    return build_cosignatures([witness.cosigner.cosign(text, int(witness.time()))])


def _wrong_signature(witness: LocalWitness, _asked: Submission) -> tuple[int, bytes]:
    verifier = witness.cosigner.verifier
    return 200, build_cosignatures([Signature(verifier.name, verifier.id, (1).to_bytes(8, "big") + bytes(64))])


def _of_another_head(witness: LocalWitness, asked: Submission) -> tuple[int, bytes]:
    right = Checkpoint.from_text(asked.checkpoint.text)
    return 200, _line(witness, Checkpoint(right.origin, right.size, bytes(32)).to_text())


def _of_an_older_head(witness: LocalWitness, asked: Submission) -> tuple[int, bytes]:
    right = Checkpoint.from_text(asked.checkpoint.text)
    return 200, _line(witness, Checkpoint(right.origin, right.size - 1, right.root).to_text())


def _by_a_stranger(witness: LocalWitness, asked: Submission) -> tuple[int, bytes]:
    stranger = Cosigner(witness.cosigner.verifier.name, SigningKey.generate().ed25519)
    return 200, build_cosignatures([stranger.cosign(asked.checkpoint.text, int(witness.time()))])


def _saw_another_history(_witness: LocalWitness, _asked: Submission) -> tuple[int, bytes]:
    return 422, b"the proof does not verify\n"


def _never_the_right_size(_witness: LocalWitness, asked: Submission) -> tuple[int, bytes]:
    return 409, build_size(asked.old_size)


def _a_smaller_size_each_time(_witness: LocalWitness, asked: Submission) -> tuple[int, bytes]:
    return 409, build_size(max(0, asked.old_size - 1))


def _a_larger_size_each_time(_witness: LocalWitness, asked: Submission) -> tuple[int, bytes]:
    return 409, build_size(min(asked.old_size + 1, Checkpoint.from_text(asked.checkpoint.text).size))


def _no_size(_witness: LocalWitness, _asked: Submission) -> tuple[int, bytes]:
    return 409, b"seven\n"


def _without_end(witness: LocalWitness, asked: Submission) -> tuple[int, bytes]:
    return 200, _line(witness, asked.checkpoint.text) * 1000


def _elsewhere(_witness: LocalWitness, _asked: Submission) -> tuple[int, bytes]:
    return 307, b""


def _late(witness: LocalWitness, asked: Submission) -> tuple[int, bytes]:
    time.sleep(2)
    return 200, _line(witness, asked.checkpoint.text)


LIES = (
    _wrong_signature, _of_another_head, _of_an_older_head, _by_a_stranger, _saw_another_history, _never_the_right_size,
    _a_smaller_size_each_time, _a_larger_size_each_time, _no_size, _without_end, _elsewhere, _late,
)  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_witness_that_lies_counts_for_nothing_and_is_named(
    three: tuple[CustodianWorld, list[LocalWitness]],
    lie: Callable[[LocalWitness, Submission], tuple[int, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One of three costs nothing; two of three, and there is no quorum; when they stop lying, there is one again."""
    world, all_three = three
    world.restart(witness_timeout_s=0.5)
    append(world, 20)
    witnesses.submit_head(world.custodian)
    honest = [one.answer for one in all_three]

    def lies(liar: LocalWitness) -> None:
        monkeypatch.setattr(liar, "answer", lambda body, _clock: lie(liar, Submission.from_bytes(body)))

    lies(all_three[0])
    note = witnesses.require_quorum(world.custodian, append(world, 12))
    assert world.custodian.directory.policy.check(note).cosigned_at.keys() == {"witness-2", "witness-3"}
    (named,) = unreachable(world)
    assert (named["rule"], named["detail"]) == ("unreachable", {"witness": "witness.example/one"})
    assert "witness=witness.example/one" in capsys.readouterr().out, "and in the service's own log"
    lies(all_three[1])
    began = time.monotonic()
    with pytest.raises(Problem) as refused:
        witnesses.require_quorum(world.custodian, append(world))
    assert refused.value.code is Code.NO_QUORUM
    assert time.monotonic() - began < 15
    for one, answer in zip(all_three, honest, strict=True):
        monkeypatch.setattr(one, "answer", answer)
    note = witnesses.require_quorum(world.custodian, append(world))
    assert len(world.custodian.directory.policy.check(note).cosigned_at) == 3


def test_one_of_three_that_claims_to_have_seen_more_shuts_no_door(
    three: tuple[CustodianWorld, list[LocalWitness]],
) -> None:
    world, all_three = three
    all_three[2].size = 10_000
    witnesses.require_quorum(world.custodian, append(world))
    assert [entry["rule"] for entry in unreachable(world)] == ["ahead"]
    witnesses.require_quorum(world.custodian, append(world))


@pytest.mark.parametrize("begins", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_a_witness_that_says_a_byte_now_and_then_is_hung_up_on(lite: CustodianWorld, begins: bytes) -> None:
    lite.restart(witness_timeout_s=0.4)
    hung_up = threading.Event()

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.recv(65_536)
            connection.sendall(begins)
            while True:
                time.sleep(0.2)
                connection.sendall(b"a")
        hung_up.set()

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        threading.Thread(target=drip, args=(listening,), daemon=True).start()
        key = VerifierKey.from_text(lite.witness.entry.vkey)
        entry = WitnessEntry(url=f"http://127.0.0.1:{listening.getsockname()[1]}", vkey=str(key))
        began = time.monotonic()
        asked = witnesses._ask(lite.custodian, witnesses.sign_head(lite.custodian), entry, key, 0)
        assert asked.outcome == "unreachable"
        assert time.monotonic() - began < 10
        assert hung_up.wait(10)


def test_a_rewritten_log_gets_no_cosignature_from_a_real_witness(
    lite: CustodianWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has the database and the log's key, and has removed what the custodian remembers."""
    statuses = really_witness(lite, tmp_path / "witness")
    append(lite, 5)
    witnesses.submit_head(lite.custodian)
    with lite.custodian.database.transaction() as session:
        leaves = [data for _, data in log.entries(session, 0, 1000)]
        for table in (LogEntry, LogNode, SignedHead, Cosignature, WitnessState):
            session.execute(delete(table))
        session.execute(update(LogHead).values(size=0))
        log.append_again(session, [("boot", data) for data in [*leaves[:-2], leaves[0], leaves[1]]])
    (lite.settings.keys / "last-checkpoint").unlink()
    with caplog.at_level(logging.WARNING), pytest.raises(Problem) as refused:
        witnesses.require_quorum(lite.custodian, append(lite))
    assert refused.value.code is Code.NO_QUORUM
    assert statuses[-2:] == [409, 422]
    assert "refused a signed checkpoint" in caplog.text, "and the witness keeps it as evidence"


# --- the checkpoint for all ---


def test_everybody_sees_the_newest_witnessed_checkpoint(lite: CustodianWorld) -> None:
    witnesses.require_quorum(lite.custodian, append(lite))
    first = lite.client.get("/v1/log/checkpoint")
    assert first.headers["content-type"] == "text/plain; charset=utf-8"
    append(lite)
    lite.witness.silent = True
    with pytest.raises(Problem):
        witnesses.require_quorum(lite.custodian, append(lite))
    assert lite.client.get("/v1/log/checkpoint").content == first.content
    assert len(Note.from_bytes(first.content).signatures) == 2


def test_a_head_that_was_overtaken_by_another_workers_is_no_shortened_log(
    world: CustodianWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, answer = append(world), world.witness.answer

    def after_another_worker(body: bytes, clock: TestClock) -> tuple[int, bytes]:
        monkeypatch.setattr(world.witness, "answer", answer)
        append(world)
        witnesses.submit_head(world.custodian)
        return answer(body, clock)

    monkeypatch.setattr(world.witness, "answer", after_another_worker)
    witnesses.require_quorum(world.custodian, index)
    assert unreachable(world) == []


def test_the_clock_is_compared_with_the_witness_also_when_somebody_else_had_it_witnessed(
    world: CustodianWorld,
) -> None:
    index = append(world)
    witnesses.submit_head(world.custodian)
    witnesses.require_quorum(world.custodian, index)
    world.clock.forward(minutes=6)
    with pytest.raises(Problem) as caught:
        witnesses.require_quorum(world.custodian, index)
    assert caught.value.code is Code.CLOSED


def test_the_background_has_a_grown_log_witnessed_and_runs_one_night_a_day(tmp_path: Path) -> None:
    with custodian_world(tmp_path) as world:
        background = Background(world.custodian)
        background.turn()
        asked = world.witness.asked
        background.turn()
        assert world.witness.asked == asked, "nothing grew"

        def nights() -> int:
            with world.custodian.database.reading() as session:
                return len(session.scalars(select(LogEntry.index).where(LogEntry.type == "person")).all())

        assert nights() == 0
        world.clock.at = world.clock.at.replace(day=24, hour=1)
        background.turn()
        assert nights() == 0, "it is not time yet"
        world.clock.forward(hours=1)
        background.turn()
        background.turn()
        assert nights() == 64
        Background(world.custodian).turn()
        assert nights() == 64, "a restart does not repeat it"


def test_a_quiet_log_is_countersigned_every_hour_so_that_silence_shows(tmp_path: Path) -> None:
    with custodian_world(tmp_path) as world:
        background = Background(world.custodian)

        def head() -> tuple[int, dict[str, int]]:
            note = Note.from_bytes(world.client.get("/v1/log/checkpoint").content)
            witnessed = world.custodian.directory.policy.check(note)
            assert len(note.signatures) == 2, "the log's, and the witness's last one"
            return witnessed.checkpoint.size, dict(witnessed.cosigned_at)

        background.turn()
        size, first = head()
        world.clock.forward(minutes=59)
        background.turn()
        assert head() == (size, first)
        world.clock.forward(minutes=1)
        background.turn()
        assert head() == (size, {"witness-1": int(world.clock().timestamp())}), "the same head, with a time of now"


def test_a_night_for_which_the_service_was_down_is_run_when_it_is_up(tmp_path: Path) -> None:
    """A custodian that is switched on at nine every morning must erase as well."""
    with custodian_world(tmp_path) as world:
        world.add_purpose()
        (kim,) = world.add_participants(1)
        kim.certify()
        kim.withdraw(erase="after-7-days")
        world.clock.forward(days=7)
        world.restart()
        Background(world.custodian).turn()
        with world.custodian.database.reading() as session:
            assert {stream.erased for stream in session.scalars(select(Stream))} == {"2026-11-30"}
            assert last_done(session) == "2026-11-30"


def test_a_night_that_failed_is_tried_again_after_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with custodian_world(tmp_path) as world:
        background = Background(world.custodian)
        world.clock.forward(days=1)

        def broken(*_: object) -> None:
            raise OSError

        with monkeypatch.context() as patch:
            patch.setattr("assent_custodian.night.erase_due", broken)
            with pytest.raises(OSError):
                background.turn()
        with world.custodian.database.reading() as session:
            assert last_done(session) == "2026-11-23"
        world.clock.forward(minutes=59)
        background.turn()
        with world.custodian.database.reading() as session:
            assert last_done(session) == "2026-11-23", "not at every turn"
        world.clock.forward(minutes=1)
        background.turn()
        with world.custodian.database.reading() as session:
            assert last_done(session) == "2026-11-24"
