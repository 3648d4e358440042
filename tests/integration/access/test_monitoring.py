"""The log in enemy hands: whoever has the database, the log's key or a witness, is found out by verify or by monitor.

Each attack edits the real database of a custodian that was used, and each has its control: the same log, not edited,
passes. The auditor asks over the real routes, with a real credential.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from copy import copy
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, update
from tests.integration.access.conftest import ON_BOTH
from tests.simulators.access import AccessWorld
from tests.simulators.custodian import LocalWitness, TestClock

from assent.client.custodian import CustodianClient
from assent.contracts.envelope import Envelope, read_unverified, sign
from assent.contracts.keys import SigningKey
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Problem
from assent.contracts.statements import Directory, Role
from assent.reader.auditing import Audit, audit
from assent.reader.log_copies import CopyInvalid, Live, load_copy, take
from assent.reader.monitoring import Look, Monitor, acknowledge
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.note import Cosigner
from assent_custodian import ceremony
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.log.models import Cosignature, LogEntry, LogHead, LogNode, SignedHead, WitnessState


class Auditor:
    """Somebody with an auditor's credential on another machine, with a monitor and `verify`."""

    def __init__(self, access: AccessWorld, folder: Path) -> None:
        self.access, self.world, self.folder = access, access.custodian, folder
        self.enemy: Callable[[httpx2.Request, httpx2.Response], httpx2.Response] = lambda _asked, answer: answer
        self.asked: list[str] = []
        self.clock = self.world.clock

    @property
    def root(self) -> str:
        return self.world.report.root_fingerprint

    def _carry(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url.path)
        headers = {key: value for key, value in request.headers.items() if key == "authorization"}
        answer = self.world.client.request(request.method, request.url.raw_path.decode(), headers=headers)
        return self.enemy(
            request, httpx2.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)
        )

    def client(self) -> CustodianClient:
        directory = self.world.custodian.directory.directory
        return CustodianClient.of(
            directory, self.access.auditor.opening, clock=self.clock, transport=httpx2.MockTransport(self._carry)
        )

    def look(self, *, witnessed: bool = True, role_delay: timedelta | None = None) -> Look:
        """One look, as `assent audit monitor --once` has it: a new process each time."""
        if witnessed:
            self.witness()
        with Monitor(self.folder, self.root, role_delay=role_delay) as monitor, self.client() as client:
            return monitor.look(Live(client, kept=monitor.copy), self.clock())

    def verify(self) -> Audit:
        """`assent audit verify`, of the live log."""
        self.witness()
        with self.client() as client:
            return audit(take(Live(client)), self.root)

    def witness(self) -> None:
        """What the custodian's background does, at least every hour."""
        try:
            witnesses.submit_head(self.world.custodian, again=True)
        except Problem:
            pass


def kinds(look: Look) -> list[str]:
    return [alarm.kind for alarm in look.alarms]


def reasons(outcome: Audit) -> list[str]:
    return [check.text for check in outcome.checks if not check.passed]


@pytest.fixture
def auditor(access: AccessWorld, tmp_path: Path) -> Auditor:
    """A log in which people asked, approved and read; followed so far, without an alarm."""
    request = access.grant()
    job = access.job()
    assert job.open(access.requester, request=request).status_code == 200
    job.release(access.recorded)
    assert job.close(20).status_code == 200
    auditor = Auditor(access, tmp_path / "monitor")
    for _ in range(2):
        look = auditor.look()
        assert (look.complete, look.alarms) == (True, ()), [alarm.text for alarm in look.alarms]
    passed = auditor.verify()
    assert passed.passed, reasons(passed)
    return auditor


class Enemy:
    """Root on the custodian's host: the database, the log's key, and the memory of what was signed."""

    def __init__(self, auditor: Auditor) -> None:
        self.world = auditor.world

    def leaves(self) -> list[bytes]:
        with self.world.custodian.database.reading() as session:
            return [leaf for _, leaf in log.entries(session, 0, 100_000)]

    def edit_only(self, index: int, new: bytes) -> None:
        """Change a row, and hope that nobody recomputes."""
        with self.world.custodian.database.transaction() as session:
            session.execute(update(LogEntry).where(LogEntry.index == index).values(leaf=new))

    def drop_only(self, index: int) -> None:
        with self.world.custodian.database.transaction() as session:
            session.execute(delete(LogEntry).where(LogEntry.index == index))

    def rewrite(self, leaves: list[bytes]) -> None:
        """Another history from the first leaf on, with all hashes right, and everything that was signed forgotten."""
        with self.world.custodian.database.transaction() as session:
            for table in (LogEntry, LogNode, SignedHead, Cosignature, WitnessState):
                session.execute(delete(table))
            session.execute(update(LogHead).values(size=0))
            log.append_again(session, [(Leaf.model_validate_json(leaf).type.value, leaf) for leaf in leaves])
        (self.world.settings.keys / "last-checkpoint").unlink(missing_ok=True)

    def roll_back(self, size: int) -> None:
        """The tables as they were when the log had `size` leaves."""
        self.rewrite(self.leaves()[:size])

    def with_the_witness(self) -> None:
        """The witness signs whatever it is shown from now on."""
        self.world.witness.size = 0

    def without_witnesses(self) -> None:
        self.world.witness.silent = True

    def sign(self) -> None:
        """A signed head, whoever countersigns it."""
        custodian = self.world.custodian
        with custodian.database.transaction() as session:
            log.sign_head(session, custodian.log_signer, custodian.head_memory)


def changed(leaf: bytes) -> bytes:
    assert b'"allowed"' in leaf
    return leaf.replace(b'"allowed"', b'"refused"')


def at(leaves: list[bytes], type_: LeafType) -> int:
    return next(index for index, leaf in enumerate(leaves) if f'"type":"{type_.value}"'.encode() in leaf)


def more(auditor: Auditor, count: int = 3) -> None:
    """Honest use goes on."""
    custodian = auditor.world.custodian
    with custodian.database.transaction() as session:
        log.append(
            session, *(Leaf(type=LeafType.BOOT, at=auditor.world.now, detail={"build": "b"}) for _ in range(count))
        )


# --- the control ------------------------------------------------------------------------------------------------------


@ON_BOTH
def test_an_honest_log_is_followed_without_an_alarm(auditor: Auditor) -> None:
    """Days of use, nights included; the copy verifies by itself all the while, and can bring a lost log back."""
    access = auditor.access
    for _ in range(3):
        more(auditor, 100)
        auditor.world.clock.forward(hours=3)
        job = access.job()
        assert job.open(access.requester, request=access.grant()).status_code == 200
        assert job.close(0).status_code == 200
        look = auditor.look()
        assert (look.complete, kinds(look)) == (True, [])
        assert look.added > 100
        copied = audit(load_copy(auditor.folder), auditor.root)
        assert copied.passed, reasons(copied)
    assert load_copy(auditor.folder).leaves() == tuple(Enemy(auditor).leaves()[: look.size])


def test_only_what_is_new_is_asked_for_and_a_quiet_log_stays_quiet(auditor: Auditor) -> None:
    more(auditor, 600)
    auditor.look()
    auditor.look()
    size = len(Enemy(auditor).leaves())
    auditor.asked.clear()
    for _ in range(5):
        auditor.world.clock.forward(minutes=5)
        assert auditor.look().added <= 2
    assert len(Enemy(auditor).leaves()) <= size + 2, "looking writes no endless ladder of traces"
    assert not {path for path in auditor.asked if "tile" in path}
    more(auditor, 1)
    auditor.asked.clear()
    assert auditor.look().added == 1
    assert [path for path in auditor.asked if "tile" in path or "entries" in path] == ["/v1/log/entries"]


def test_two_monitors_leave_no_more_than_an_entry_for_each_look(auditor: Auditor, tmp_path: Path) -> None:
    """Each sees the trace of the other's look, which is somebody else's."""
    council = Auditor(copy(auditor.access), tmp_path / "council")
    council.access.auditor = auditor.world.council
    council.look()
    before = len(Enemy(auditor).leaves())
    for _ in range(4):
        for one in (auditor, council):
            assert one.look().alarms == ()
    assert before <= len(Enemy(auditor).leaves()) <= before + 8


# --- the database alone -----------------------------------------------------------------------------------------------


@ON_BOTH
@pytest.mark.parametrize("how", ["edited", "dropped", "exchanged"])
def test_entries_that_were_changed_in_the_database_are_named(auditor: Auditor, tmp_path: Path, how: str) -> None:
    """Verify finds it in the live log, and a monitor that begins now does; one that read them before has the true."""
    enemy = Enemy(auditor)
    leaves = enemy.leaves()
    victim = at(leaves, LeafType.GRANT_APPROVED)
    if how == "edited":
        enemy.edit_only(victim, changed(leaves[victim]))
    elif how == "exchanged":
        enemy.edit_only(victim, leaves[victim + 1])
        enemy.edit_only(victim + 1, leaves[victim])
    else:
        enemy.drop_only(victim)
    said = f"leaf {victim} is not the one that was signed" if how != "dropped" else "does not hold exactly"
    assert said in reasons(auditor.verify())[0]

    fresh = Auditor(auditor.access, tmp_path / "fresh").look()
    assert kinds(fresh) == ["missing" if how == "dropped" else "wrong-leaves"]
    assert said in fresh.alarms[0].text
    assert fresh.size == 0, "and nothing of it is taken"

    more(auditor)
    assert auditor.look().complete, "what was read is not asked for again,"
    assert load_copy(auditor.folder).leaves()[: len(leaves)] == tuple(leaves), "and stays as it was here"


@ON_BOTH
def test_a_database_that_was_rolled_back_is_found_at_once(auditor: Auditor) -> None:
    """Yesterday's database, with everything that was signed since forgotten. The witness remembers, and we do."""
    enemy, had = Enemy(auditor), auditor.look().size
    enemy.roll_back(had - 5)
    enemy.without_witnesses()
    enemy.sign()
    look = auditor.look()
    assert (look.complete, look.size) == (False, had)
    assert set(kinds(look)) == {"rolled-back", "not-witnessed"}
    assert any(f"has {had - 5} leaves, and {had} were witnessed before" in alarm.text for alarm in look.alarms)
    assert "quorum" in reasons(auditor.verify())[0]

    auditor.world.witness.silent = False
    enemy.with_the_witness()
    look = auditor.look()
    assert kinds(look) == ["rolled-back"], "also when the witness is in the same hands"
    assert auditor.verify().passed, "which verify alone cannot know: it remembers nothing"


# --- the database and the log's key -----------------------------------------------------------------------------------


@ON_BOTH
@pytest.mark.parametrize("how", ["edited", "dropped", "exchanged"])
@pytest.mark.parametrize("grown", [False, True])
def test_a_rewritten_history_is_another_one_also_with_all_keys(auditor: Auditor, how: str, grown: bool) -> None:
    """All hashes right, signed by the log's key and by the witness. Whoever saw the log before is not deceived."""
    enemy, had = Enemy(auditor), auditor.look().size
    leaves = enemy.leaves()[:had]
    victim = at(leaves, LeafType.AUDIT_VIEWED)
    if how == "edited":
        leaves[victim] = changed(leaves[victim])
    elif how == "exchanged":
        leaves[victim - 1], leaves[victim] = leaves[victim], leaves[victim - 1]
    else:
        del leaves[victim]
    enemy.rewrite([*leaves, *leaves[-1:] * 5] if grown else leaves)
    enemy.with_the_witness()
    look = auditor.look()
    expected = "rolled-back" if how == "dropped" and not grown else "fork"
    assert (look.complete, kinds(look)) == (False, [expected])
    [evidence] = (auditor.folder / "evidence").iterdir()
    assert (evidence / "checkpoint").exists(), "both signed heads are there: anybody can check that one log signed both"
    kept = audit(load_copy(auditor.folder), auditor.root)
    assert kept.passed, "what was seen before is as it was"


@ON_BOTH
def test_a_fork_has_no_witness_and_does_not_continue_what_was_seen(auditor: Auditor) -> None:
    """Two histories from one key: the witness follows the true one, and the monitor is shown another."""
    enemy, had = Enemy(auditor), auditor.look().size
    true = enemy.leaves()
    more(auditor, 300)
    auditor.witness()
    enemy.without_witnesses()  # who would say that they know a longer log
    shown = [*true[:had], *[true[-1]] * 20]
    enemy.rewrite(shown)
    enemy.sign()
    look = auditor.look()
    assert kinds(look) == ["not-witnessed"], "the fork begins after what was seen, and nobody has countersigned it"
    assert look.size == had, "so it is not believed"
    assert "quorum" in reasons(auditor.verify())[0]

    enemy.rewrite([*true[: had - 1], changed(true[had - 1]), *[true[-1]] * 20])
    enemy.sign()
    look = auditor.look()
    assert set(kinds(look)) == {"not-witnessed", "fork"}, "and one that begins before is a second history"


@ON_BOTH
def test_a_lease_that_nobody_approved_is_found_in_a_log_that_is_whole(auditor: Auditor) -> None:
    """Written by the custodian itself, signed and witnessed: no hash is wrong, and it must not stand there."""
    world, leaves = auditor.world, Enemy(auditor).leaves()
    genuine = Leaf.model_validate_json(leaves[at(leaves, LeafType.LEASE_OPENED)])
    forged = genuine.model_copy(update={"request": "ab" * 32, "subject": "cd" * 32})
    with world.custodian.database.transaction() as session:
        index = log.append(session, forged)
    assert reasons(auditor.verify()) == [f"leaf {index}: a lease with 0 of 2 approvals"]
    look = auditor.look()
    assert look.complete
    assert [alarm.id for alarm in look.alarms] == [f"lease-unapproved:{index}"]
    assert [alarm.id for alarm in auditor.look().alarms] == [f"lease-unapproved:{index}"], "it stays"
    assert auditor.look().begun == (), "and is told once"

    with pytest.raises(CopyInvalid, match="no alarm"):
        acknowledge(auditor.folder, "lease-unapproved:1", world.clock())
    acknowledge(auditor.folder, f"lease-unapproved:{index}", world.clock())
    assert auditor.look().alarms == ()
    assert reasons(auditor.verify()), "whoever looks anew sees it as before"


def test_witnesses_that_the_directory_does_not_name_count_for_nothing(auditor: Auditor) -> None:
    world, had = auditor.world, auditor.look().size
    more(auditor)
    stranger = Cosigner("witness.example/stranger", Ed25519PrivateKey.generate())
    namesake = Cosigner(world.witness.cosigner.verifier.name, Ed25519PrivateKey.generate())
    Enemy(auditor).without_witnesses()

    def countersigned(by: Cosigner, *, forged: bool = False) -> None:
        """The newest head, with one line that was written into the database."""
        with world.custodian.database.transaction() as session:
            session.execute(delete(Cosignature))
            note = log.sign_head(session, world.custodian.log_signer, world.custodian.head_memory)
            line = by.cosign(note.text, int(world.clock().timestamp()))
            if forged:
                line = dataclasses.replace(line, data=line.data[:-1] + bytes([line.data[-1] ^ 1]))
            size = Checkpoint.from_text(note.text).size
            session.add(Cosignature(size=size, witness="enemy", line=line.to_line()))

    for cosigner in (stranger, namesake):
        countersigned(cosigner)
        look = auditor.look(witnessed=False)
        assert (look.size, kinds(look)) == (had, ["not-witnessed"])
        assert "quorum" in reasons(auditor.verify())[0]

    countersigned(world.witness.cosigner, forged=True)
    look = auditor.look(witnessed=False)
    assert (look.size, kinds(look)) == (had, ["signature"]), "a line that names a witness and is not by it"

    countersigned(world.witness.cosigner)
    look = auditor.look(witnessed=False)
    assert (look.complete, kinds(look)) == (True, ["signature"]), "the control; and a forgery stays an alarm"


# --- clocks and silence -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [-10, 4, 10])
def test_a_custodian_whose_clock_is_off_is_found_by_the_witnesses_times(auditor: Auditor, minutes: int) -> None:
    """The auditor's clock and the witness's are right."""
    world = auditor.world
    true = TestClock(world.clock())
    auditor.clock = true
    answer = world.witness.answer
    world.witness.answer = lambda body, _clock: answer(body, true)  # type: ignore[method-assign]
    true.forward(minutes=1)
    world.clock.at = true() + timedelta(minutes=minutes)
    with world.custodian.database.transaction() as session:
        index = log.append(session, Leaf(type=LeafType.CONFIG_CHANGED, at=world.now))
    world.clock.at = true()  # the custodian answers, so that only the witness's time tells
    look = auditor.look()
    if minutes == 4:
        assert (look.alarms, auditor.verify().passed) == ((), True)
        return
    assert (look.complete, [alarm.id for alarm in look.alarms]) == (True, [f"clock:{index}"])
    if minutes > 0:
        assert "five minutes after a witness" in reasons(auditor.verify())[0]


def test_a_clock_here_that_is_off_is_named(auditor: Auditor) -> None:
    auditor.clock = lambda: auditor.world.clock() - timedelta(minutes=10)  # type: ignore[assignment]
    more(auditor)
    look = auditor.look()
    assert not look.complete
    assert [alarm.id for alarm in look.alarms] == ["clock:custodian"]
    assert "by 600 seconds" in look.alarms[0].text
    auditor.clock = auditor.world.clock
    look = auditor.look()
    assert (look.complete, look.alarms, [alarm.id for alarm in look.ended]) == (True, (), ["clock:custodian"])


def test_a_witness_with_another_time_is_named(auditor: Auditor) -> None:
    world = auditor.world
    ahead = TestClock(world.clock() + timedelta(minutes=6))
    answer = world.witness.answer
    world.witness.answer = lambda body, _clock: answer(body, ahead)  # type: ignore[method-assign]
    more(auditor)
    assert [alarm.id for alarm in auditor.look().alarms] == ["clock:witness.example/one"]


def test_a_witness_that_went_silent_is_named_and_its_return_ends_the_alarm(auditor: Auditor) -> None:
    world = auditor.world
    last = auditor.look().witnessed["witness.example/one"]
    world.witness.silent = True
    world.clock.forward(hours=2.5)
    assert auditor.look().alarms == ()
    world.clock.forward(hours=1)
    look = auditor.look()
    assert [(alarm.id, alarm.since) for alarm in look.alarms] == [("witness-stale:witness.example/one", last)]
    world.witness.silent = False
    look = auditor.look()
    assert (kinds(look), [alarm.kind for alarm in look.ended]) == ([], ["witness-stale"])


def test_one_silent_witness_of_three_is_named_though_the_quorum_is_met(auditor: Auditor) -> None:
    world = auditor.world
    with ExitStack() as stack:
        others = [LocalWitness(world.clock, f"witness.example/{number}") for number in (2, 3)]
        for other in others:
            stack.callback(other.close)
        entries = (world.witness.entry, *(other.entry for other in others))
        vkey = world.custodian.directory.directory.log_vkey
        changes = {"witnesses": entries, "policy": ceremony.policy_text(vkey, entries, 2)}
        ceremony.sign_directory(world.settings, world.report.root_key_file, changes, clock=world.clock)
        others[1].silent = True
        look = auditor.look()
        assert kinds(look) == []
        assert "directory-changed" in [one.kind for one in look.news]
        world.clock.forward(hours=4)
        more(auditor)
        assert [alarm.id for alarm in auditor.look().alarms] == ["witness-stale:witness.example/3"]


# --- directories, roles, halts ----------------------------------------------------------------------------------------


def test_an_older_or_another_directory_is_refused(auditor: Auditor) -> None:
    world = auditor.world
    old = world.client.get("/v1/directory").content
    ceremony.sign_directory(world.settings, world.report.root_key_file, {"organisation": "Renamed"}, clock=world.clock)
    look = auditor.look()
    assert look.alarms == ()
    assert any("directory 2 came into force" in one.text for one in look.news)

    def serves(data: bytes) -> Callable[[httpx2.Request, httpx2.Response], httpx2.Response]:
        def enemy(asked: httpx2.Request, answer: httpx2.Response) -> httpx2.Response:
            if asked.url.path != "/v1/directory":
                return answer
            return httpx2.Response(200, headers={"content-type": "application/json"}, content=data)

        return enemy

    auditor.enemy = serves(old)
    look = auditor.look()
    assert (look.complete, kinds(look)) == (False, ["directory-refused"])
    assert "older than directory 2" in look.alarms[0].text
    forged = sign(
        read_unverified(Envelope.from_json(old), Directory).model_copy(update={"version": 3}), SigningKey.generate()
    )
    auditor.enemy = serves(forged.to_json())
    assert kinds(auditor.look()) == ["directory-refused"] * 2
    auditor.enemy = lambda _asked, answer: answer
    look = auditor.look()
    assert (look.complete, kinds(look)) == (True, ["directory-refused"] * 2), "what was shown once stays an alarm"


def test_a_directory_that_the_log_does_not_name_is_an_alarm(auditor: Auditor) -> None:
    """The root key's holders signed it, and somebody put it into place without the log."""
    world = auditor.world
    ceremony.sign_directory(world.settings, world.report.root_key_file, {"organisation": "Renamed"}, clock=world.clock)
    leaves = Enemy(auditor).leaves()
    Enemy(auditor).rewrite([leaf for leaf in leaves if b'"version":2' not in leaf])
    Enemy(auditor).with_the_witness()
    assert auditor.look().alarms == (), "it may be on its way"
    world.clock.forward(hours=2)
    more(auditor)
    assert kinds(auditor.look()) == ["directory-unlogged"]


def test_a_role_that_counts_too_early_is_an_alarm(auditor: Auditor) -> None:
    """This custodian was told to wait for nothing, and the council was promised a day."""
    world, auditing = auditor.world, timedelta(hours=24)
    assert auditor.look(role_delay=auditing).alarms == ()
    world.add_person("Another Steward", Role.STEWARD)
    look = auditor.look(role_delay=auditing)
    assert kinds(look) == ["role-early"]
    assert any("somebody is given the role steward" in one.text for one in look.news)


def test_a_halt_stands_and_a_lease_during_it_stays(auditor: Auditor) -> None:
    world, access = auditor.world, auditor.access
    world.halt("something is wrong")
    look = auditor.look()
    assert (kinds(look), [one.kind for one in look.news]) == (["halted"], ["halted"])
    leaves = Enemy(auditor).leaves()
    opened = Leaf.model_validate_json(leaves[at(leaves, LeafType.LEASE_OPENED)])
    with world.custodian.database.transaction() as session:
        log.append(session, opened.model_copy(update={"at": world.now, "subject": "cd" * 32}))
    assert set(kinds(auditor.look())) == {"halted", "lease-halted"}
    world.resume()
    look = auditor.look()
    assert (kinds(look), [alarm.kind for alarm in look.ended]) == (["lease-halted"], ["halted"])
    assert access.job().open(access.requester, request=access.grant()).status_code == 200
    assert kinds(auditor.look()) == ["lease-halted"], "a lease after it is none"


def test_a_lease_that_nobody_closed_is_an_alarm_from_its_end_on(auditor: Auditor) -> None:
    access, world = auditor.access, auditor.world
    assert access.job().open(access.requester, request=access.grant()).status_code == 200
    assert auditor.look().alarms == ()
    world.clock.forward(hours=4)
    [alarm] = auditor.look().alarms
    assert "was never closed: it counts as read in full" in alarm.text
    acknowledge(auditor.folder, alarm.id, world.clock())
    assert auditor.look().alarms == ()


# --- who does not answer ----------------------------------------------------------------------------------------------


def test_what_cannot_be_checked_is_an_alarm(auditor: Auditor) -> None:
    def gone(asked: httpx2.Request, _answer: httpx2.Response) -> httpx2.Response:
        raise httpx2.ConnectError("no route", request=asked)

    def portal(_asked: httpx2.Request, _answer: httpx2.Response) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/html"}, content=b"<html>sign in</html>")

    honest = auditor.enemy
    for enemy, kind in ((gone, "unreachable"), (portal, "no-log")):
        auditor.enemy = enemy
        look = auditor.look()
        assert (look.complete, kinds(look)) == (False, [kind])
        assert look.size > 0, "what was seen is not forgotten"
    auditor.enemy = honest
    look = auditor.look()
    assert (look.complete, kinds(look)) == (True, [])


def test_somebody_without_the_role_learns_nothing_and_is_told(auditor: Auditor, tmp_path: Path) -> None:
    stranger = Auditor(auditor.access, tmp_path / "stranger")
    stranger.access = copy(auditor.access)
    stranger.access.auditor = auditor.access.requester
    look = stranger.look()
    assert (look.complete, look.size, kinds(look)) == (False, 0, ["refused"])
