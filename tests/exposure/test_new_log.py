"""A new log after its newest leaves were lost everywhere: what is known of them, what no longer counts, and who notices
when somebody uses it to drop leaves. With real witnesses over HTTP, one host's worth of real services, and real keys.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.exposure.test_reading import refusals
from tests.exposure.test_restoring import export, opens
from tests.exposure.world import Populated
from tests.integration.custodian.test_recovery import signed_by
from tests.simulators.collector import serving
from tests.simulators.custodian import CustodianWorld, Member, problem

from assent.client.directory import (
    LogContradicted,
    TrustedDirectory,
    directory_facts,
    endings_of,
    kept_policy_of,
)
from assent.client.transport import Refused
from assent.contracts.ids import new_id
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code
from assent.contracts.statements import Directory, Role, RoleProposal, WitnessEntry
from assent.contracts.wire import CertificatesAnswer
from assent.reader.auditing import audit
from assent.reader.log_copies import load_copy
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import TransparencyError
from assent.transparency.note import Note
from assent.transparency.proof import LogProof
from assent.transparency.succession import LeavesDropped
from assent_custodian import backups, ceremony
from assent_custodian.context import Custodian, open_custodian
from assent_custodian.files import NotReady
from assent_custodian.keys import rotation
from assent_custodian.keys.models import Generation, Stream, VaultKey
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.night import run_night
from assent_custodian.orders import service as orders
from assent_custodian.people.models import RecoveryRow, RoleHeld
from assent_custodian.restoring import databases, logs, new_log
from assent_custodian.restoring.catching_up import catch_up
from assent_service.backing_up import BackupFailed
from assent_witness.app import create_app, verifier_key
from assent_witness.heads import Heads
from assent_witness.keys import create_key
from assent_witness.settings import WitnessSettings


class Watcher:
    """A real witness, run by others: its own folder, and the directory as it was served to it."""

    def __init__(self, world: CustodianWorld, folder: Path, name: str) -> None:
        self._world = world
        folder.mkdir()
        create_key(folder / "key.pem")
        self.book = TrustedDirectory(world.report.root_fingerprint, folder / "directory.json")
        self.settings = WitnessSettings(
            name=f"witness.example/{name}", key_path=folder / "key.pem", state_dir=folder / "heads",
            log_keys=self.log_keys_now(),
        )  # fmt: skip
        self.app = create_app(
            self.settings, lambda: world.clock().timestamp(), self.log_keys_now, lambda: endings_of(self.book.current)
        )

    def log_keys_now(self) -> tuple[str, ...]:
        self.book.accept(self._world.custodian.directory.envelope)
        return (self.book.current.log_vkey,)

    def head(self, origin: str) -> Note:
        with Heads(self.settings.state_dir).locked(origin) as head:
            note = head.note()
        assert note is not None
        return note


class Loss:
    """Two witnesses; a backup; then more happens, which the witnesses see and nobody copies; then the disk is lost."""

    def __init__(self, populated: Populated, folder: Path, stack: ExitStack) -> None:
        self.populated, self.world, self.folder = populated, populated.world, folder
        self.watchers = [Watcher(self.world, folder / name, name) for name in ("council", "security")]
        urls = [stack.enter_context(serving(watcher.app)) for watcher in self.watchers]
        entries = [
            WitnessEntry(url=url, vkey=verifier_key(watcher.settings))
            for url, watcher in zip(urls, self.watchers, strict=True)
        ]
        policy = ceremony.policy_text(self.world.custodian.directory.directory.log_vkey, entries)
        self.sign(witnesses=tuple(entries), policy=policy)
        self.origin = self.world.custodian.log_signer.verifier.name
        self.before = opens(populated)
        self.reader = populated.installation.directory()
        self.reader.saw(self.look())
        self.backup = backups.back_up(self.world.custodian, folder / "backups")
        with self.world.custodian.database.reading() as session:
            self.kept = log.size(session)
        populated.installation.own_job(populated.people[0])
        self.early = self.heads()

    def sign(self, **changes: object) -> Directory:
        world = self.world
        return ceremony.sign_directory(world.settings, world.report.root_key_file, changes, clock=world.clock)

    def look(self) -> Note:
        return Note.from_bytes(self.world.client.get("/v1/log/checkpoint").content)

    def go_on(self) -> None:
        """More than the backup has, witnessed: with a lease, so with proof that people hold."""
        self.job = self.populated.installation.own_job(self.populated.people[1])
        self.reader.saw(self.look())

    def lose(self, copy: Path | None = None) -> None:
        """The disk is gone, and with it what no backup has; but not the keys."""
        self.world.custodian.close()
        databases.restore(self.world.settings, self.backup, over=True, clock=self.world.clock)
        self.world.restart()
        if copy is not None:
            logs.restore_log(self.world.custodian, copy)
        assert catch_up(self.world.custodian) is not None
        with self.world.custodian.database.reading() as session:
            self.kept = log.size(session)

    def heads(self) -> list[Note]:
        return [watcher.head(self.origin) for watcher in self.watchers]

    def begin(self, heads: list[Note] | None = None) -> Directory:
        """Export, sign where the root key is, import, start."""
        world = self.world
        unsigned = ceremony.next_directory(world.custodian, {}, heads=heads or self.heads())
        signed = ceremony.sign_offline(unsigned.to_bytes(), world.report.root_key_file)
        published = ceremony.publish(world.custodian, signed)
        world.clock.forward(seconds=31)
        world.restart()
        return published

    def settle(self) -> None:
        """Everything that is waited for by itself."""
        catch_up(self.world.custodian)
        self.populated.installation.collector.orders.pull_orders_once()
        assert catch_up(self.world.custodian) is None
        for member in self.populated.people:
            assert member.restate().status_code == 200

    def leaves(self) -> list[bytes]:
        with self.world.custodian.database.reading() as session:
            return [data for _, data in log.entries(session, 0, 10_000)]


def role_again(loss: Loss, member: Member, role: Role) -> None:
    """An admin proposes it, the council agrees."""
    world = loss.world
    response = world.admin.post(
        "/v1/roles", RoleProposal(person=member.person, role=role, action="grant", nonce=new_id(), at=world.now)
    )
    assert response.status_code == 200, response.text
    assert world.countersign(response.json()["hash"]).status_code == 200


def roles_held(loss: Loss) -> set[str]:
    with loss.world.custodian.database.reading() as session:
        return set(session.scalars(select(RoleHeld.role).where(RoleHeld.ended.is_(None))))


@pytest.fixture
def loss(in_use: Populated, tmp_path: Path) -> Iterator[Loss]:
    with ExitStack() as stack:
        yield Loss(in_use, tmp_path, stack)


@pytest.fixture
def on_either(either: Populated, tmp_path: Path) -> Iterator[Loss]:
    """The same, on SQLite and on PostgreSQL."""
    with ExitStack() as stack:
        yield Loss(either, tmp_path, stack)


def test_row_33_the_door_opens_again_and_everybody_sees_how_many_leaves_are_missing(
    on_either: Loss, tmp_path: Path
) -> None:
    loss = on_either
    loss.go_on()
    world, witnessed = loss.world, Checkpoint.from_text(loss.heads()[0].text)
    assert witnessed.size > loss.kept
    loss.lose()
    with pytest.raises(Refused) as refused:
        opens(loss.populated)
    assert refused.value.code is Code.CLOSED, "the control: without a new log it is shut"

    published = loss.begin()
    facts = dict(directory_facts(published))
    assert facts["former log"] == f"{loss.origin} ended at {witnessed.size} leaves"
    assert facts["  LEAVES LOST"].startswith(f"{witnessed.size - loss.kept};")
    opened = Leaf.model_validate_json(loss.leaves()[loss.kept])
    assert (opened.type, opened.auth) == (LeafType.LOG_OPENED, "root")
    assert opened.counts == {
        "version": published.version, "kept": loss.kept, "witnessed": witnessed.size,
        "lost": witnessed.size - loss.kept,
    }  # fmt: skip

    missing = catch_up(world.custodian)
    assert missing is not None and "orders" in missing["missing"], "witnesses followed; the collector was not heard yet"
    with pytest.raises(Refused) as refused:
        opens(loss.populated)
    assert refused.value.code is Code.CLOSED
    loss.settle()
    with pytest.raises(Refused) as refused:
        loss.populated.installation.own_job(loss.populated.people[0])
    assert refused.value.code is Code.CLOSED, "halted, until council and dpo have signed"
    world.resume()
    own = loss.populated.installation.own_job(loss.populated.people[0])
    assert loss.populated.marker.text.encode() in loss.populated.installation.plaintext(own)
    assert own.witnessed.log.name == f"{loss.origin}/2"
    assert set(own.witnessed.cosigned_at) == {"witness-1", "witness-2"}
    assert run_night(world.custodian)["ran"]

    role_again(loss, loss.populated.staff.auditor, Role.AUDITOR)
    copy = load_copy(export(loss.populated, tmp_path / "copy"))
    kept_proof = LogProof.from_bytes(loss.populated.job.proof)
    lost_proof = LogProof.from_bytes(loss.job.proof)
    outcome = audit(
        copy,
        world.report.root_fingerprint,
        [
            ("of a kept leaf", loss.populated.job.proof, loss.populated.job.leaf),
            ("of a lost leaf", loss.job.proof, loss.job.leaf),
        ],
    )
    assert outcome.passed, outcome.checks
    assert f"{witnessed.size - loss.kept} leaves of the log {loss.origin} are lost" in outcome.warnings[-1]
    assert any("is one of those that are lost" in check.text for check in outcome.checks)
    policy = kept_policy_of(published)
    assert lost_proof.verify(loss.job.leaf, policy).checkpoint.origin == loss.origin, "offline, with the former key"
    with pytest.raises(TransparencyError):
        kept_proof.verify(loss.populated.job.leaf, loss.reader.policy)
    assert loss.reader.accept(world.custodian.directory.envelope) == published, "who saw the newest head accepts it"


def test_row_33_an_order_that_nobody_has_is_lost_with_the_leaves_from_it_on(loss: Loss, tmp_path: Path) -> None:
    """It was made in the last minute: the log names it, and the collector had not fetched it."""
    world, collector = loss.world, loss.populated.installation.collector
    before, gone = export(loss.populated, tmp_path / "before"), loss.populated.people[2]
    assert gone.withdraw().status_code == 200
    with world.custodian.database.transaction() as session:
        assert orders.make_orders(session, world.custodian) == [1]
    newest = export(loss.populated, tmp_path / "newest")
    loss.lose(newest)
    collector.orders.pull_orders_once()
    missing = catch_up(world.custodian)
    assert missing is not None and "orders" in missing["missing"]
    loss.lose(before)
    loss.begin()
    loss.settle()
    world.resume()
    assert loss.populated.installation.own_job(loss.populated.people[0]).streams
    world.clock.forward(days=8)
    assert run_night(world.custodian)["ran"]
    with world.custodian.database.reading() as session:
        erased = set(session.scalars(select(Stream.person).where(Stream.erased.is_not(None))))
    assert erased == {gone.person}, "its device said again what to erase"


def test_row_33_what_the_lost_leaves_may_have_said_does_not_count(loss: Loss) -> None:
    """The backup says that they have roles, grants and consent; perhaps a lost leaf said that they had not."""
    loss.go_on()
    staff, people = loss.populated.staff, loss.populated.people
    world = loss.world
    loss.lose()
    assert {"requester", "steward", "auditor"} <= roles_held(loss), "the control: by the backup they may"
    loss.begin()
    assert roles_held(loss) == {"admin", "council", "dpo"}
    loss.settle()
    world.resume()
    for member in (staff.requester, *staff.stewards):
        assert problem(member.get("/v1/requests")) == "forbidden"
    for member, role in ((staff.requester, Role.REQUESTER), *((one, Role.STEWARD) for one in staff.stewards)):
        role_again(loss, member, role)
    with pytest.raises(Refused) as refused:
        opens(loss.populated)
    assert refused.value.code is Code.REFUSED, "the grant of before has ended"
    with pytest.raises(Refused) as refused:
        refusals(loss.populated.installation, loss.populated.job, loss.populated.recordings)
    assert refused.value.code in (Code.REFUSED, Code.CLOSED), "and so has the lease"
    request, _ = people[0].certificate_request()
    answer = people[0].post("/v1/certificates", request, key=people[0].device)
    assert '"certificates":[null' in answer.text.replace(" ", ""), "nobody records before they agreed anew"

    for member in people:
        member.consent()
    fresh = [one for member in people for one in loss.populated.installation.record(member, loss.populated.marker)]
    again = loss.populated.installation.grant(staff)
    job = loss.populated.installation.job(staff.requester, again)
    assert {stream.stream for stream in job.streams} == {one.stream for one in fresh}, "and nothing from before"
    with world.custodian.database.reading() as session:
        old = {one.stream for one in loss.populated.recordings}
        assert set(session.scalars(select(VaultKey.stream))) >= old, "which is not erased for it"
        assert set(session.scalars(select(Stream.closed).where(Stream.id.in_(old)))) == {"doubt"}


def test_row_33_a_receipt_that_was_given_since_the_backup_is_not_live_again(loss: Loss) -> None:
    """Its device brings it back; a lost leaf may have said that the dpo ended it."""
    member = loss.populated.people[0]
    loss.world.clock.forward(minutes=5)
    member.consent()
    member.certify()
    loss.go_on()
    loss.world.clock.forward(minutes=5)
    loss.lose()
    loss.begin()
    loss.settle()
    loss.world.resume()
    request, _ = member.certificate_request()
    answer = CertificatesAnswer.parse(member.post("/v1/certificates", request, key=member.device).content)
    assert set(answer.certificates) == {None}
    member.consent()
    member.certify()


def test_row_33_leaves_that_somebody_still_has_are_kept(loss: Loss, tmp_path: Path) -> None:
    """An auditor's copy that is too old to make the log whole: what it has is in the log, and does what it says."""
    loss.populated.installation.world.end_role(loss.populated.staff.steward, Role.STEWARD)
    copy = export(loss.populated, tmp_path / "copy")
    size = load_copy(copy).head.size
    loss.go_on()
    before = loss.kept
    loss.lose(copy)
    assert loss.kept == size > before
    assert new_log.lacking(loss.world.custodian) > 0
    with pytest.raises(NotReady, match="newer copy"):
        logs.restore_log(loss.world.custodian, copy)
    loss.begin()
    loss.settle()
    loss.world.resume()
    role_again(loss, loss.populated.staff.auditor, Role.AUDITOR)
    now = load_copy(export(loss.populated, tmp_path / "now"))
    root = loss.world.report.root_fingerprint
    outcome = audit(now, root, former=[("the auditor's", load_copy(copy))])
    assert outcome.passed, outcome.checks
    assert any("all of its" in check.text for check in outcome.checks)


def test_row_33_leaves_that_an_auditor_has_are_not_called_lost(loss: Loss, tmp_path: Path) -> None:
    copy = load_copy(export(loss.populated, tmp_path / "copy"))
    loss.go_on()
    loss.lose()  # and nobody asked the auditor
    loss.begin()
    loss.settle()
    loss.world.resume()
    role_again(loss, loss.populated.staff.auditor, Role.AUDITOR)
    now = load_copy(export(loss.populated, tmp_path / "now"))
    outcome = audit(now, loss.world.report.root_fingerprint, former=[("the auditor's", copy)])
    assert not outcome.passed
    (failed,) = [check.text for check in outcome.checks if not check.passed]
    assert "which are said to be lost" in failed


# --- the attack: an operator drops leaves that somebody holds proof of ------------------------------------------------


@pytest.fixture
def attack(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> Loss:
    """The operator quotes the heads of before the lease, which the witnesses did sign once; the root signs that."""
    loss.go_on()
    loss.lose()
    with pytest.raises(NotReady, match=r"signed .* leaves last, and .* is quoted of it"):
        loss.begin(loss.early)  # our own command does not do it, so theirs is another one
    monkeypatch.setattr(new_log, "_check_newest", lambda *_: None)
    return loss


def test_row_33_a_witness_that_signed_more_countersigns_nothing(attack: Loss, caplog: pytest.LogCaptureFixture) -> None:
    attack.begin(attack.early)
    for _ in range(3):
        attack.world.clock.forward(seconds=31)
        missing = catch_up(attack.world.custodian)
        assert missing is not None and missing["missing"].startswith("a quorum of witnesses")
    assert "leaves were dropped" in caplog.text, "and each witness says so, in its own log"
    for watcher in attack.watchers:
        with Heads(watcher.settings.state_dir).locked(f"{attack.origin}/2") as head:
            assert head.read().size == 0
    with pytest.raises(Refused) as refused:
        opens(attack.populated)
    assert refused.value.code is Code.CLOSED


def test_row_33_a_reader_that_saw_more_refuses_the_directory_and_keeps_the_evidence(
    attack: Loss, tmp_path: Path
) -> None:
    root, path = attack.world.report.root_fingerprint, tmp_path / "reader" / "directory.json"
    reader, stranger = TrustedDirectory(root, path), attack.populated.installation.directory()
    reader.accept(attack.reader.envelope)
    reader.saw(LogProof.from_bytes(attack.job.proof).checkpoint)
    attack.begin(attack.early)
    served = attack.world.custodian.directory.envelope
    assert stranger.accept(served), "the control: who saw nothing has nothing to say against it"
    for _ in range(2):
        with pytest.raises(LogContradicted, match="leaves were dropped"):
            reader.accept(served)
        assert reader.current == attack.reader.current, "the one of before is still used: for withdrawing"
        reader = TrustedDirectory(root, path)  # it does not forget it
        assert reader.contradiction is not None
        assert served.to_json() in path.with_suffix(".contradiction").read_bytes()


def test_row_33_a_proof_that_somebody_kept_gives_it_away_without_a_network(attack: Loss) -> None:
    published = attack.begin(attack.early)
    kept = LogProof.from_bytes(attack.job.proof)
    with pytest.raises(LeavesDropped):
        kept.verify(attack.job.leaf, kept_policy_of(published))
    former = kept_policy_of(attack.reader.current)
    assert kept.verify(attack.job.leaf, former), "the control: under the directory of before it holds"


@pytest.mark.parametrize("made", ["unwitnessed", "one witness only", "of another log", "not signed by the log"])
def test_row_33_what_is_quoted_is_signed_by_the_log_and_a_quorum(loss: Loss, made: str) -> None:
    loss.go_on()
    loss.lose()
    heads = loss.heads()
    match made:
        case "unwitnessed":
            bad = [Note(heads[0].text, heads[0].signatures[:1])]
        case "one witness only":
            bad = heads[:1]
        case "of another log":
            text = heads[0].text.replace(loss.origin, "another.example/log")
            bad = [Note(text, heads[0].signatures)]
        case _:
            bad = [Note(heads[0].text, heads[0].signatures[1:])]
    with pytest.raises(NotReady, match="these heads do not do"):
        ceremony.next_directory(loss.world.custodian, {}, heads=bad)
    assert ceremony.next_directory(loss.world.custodian, {}, heads=heads), "the control"


def test_row_33_a_witness_that_lives_is_quoted(loss: Loss, tmp_path: Path) -> None:
    """With a quorum of one of two, one head would do; but not while the other witness answers."""
    directory = loss.world.custodian.directory.directory
    policy = ceremony.policy_text(directory.log_vkey, directory.witnesses, 1)
    loss.sign(witnesses=directory.witnesses, policy=policy)
    loss.go_on()
    loss.lose()
    heads = loss.heads()
    with pytest.raises(NotReady, match=r"witness\.example/security signed .* and nothing is quoted"):
        ceremony.next_directory(loss.world.custodian, {}, heads=heads[:1])
    gone = loss.world.custodian.directory.directory.witnesses[1]
    asked = witnesses.newest_size

    def one_is_gone(custodian: Custodian, entry: WitnessEntry, head: Note) -> int | None:
        return None if entry == gone else asked(custodian, entry, head)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(witnesses, "newest_size", one_is_gone)
        with pytest.raises(NotReady, match="does not answer"):
            ceremony.next_directory(loss.world.custodian, {}, heads=heads)
        unsigned = ceremony.next_directory(loss.world.custodian, {}, heads=heads[:1])
    said = [value for name, value in directory_facts(unsigned) if name == "  no head of"]
    assert said == ["witness.example/security: if it lives, it countersigns nothing of the next log"]


# --- only where it is needed, and whatever interrupts it --------------------------------------------------------------


def test_a_log_that_is_whole_has_no_successor(loss: Loss) -> None:
    with pytest.raises(NotReady, match="no leaf is missing"):
        ceremony.next_directory(loss.world.custodian, {}, heads=loss.heads())


def test_an_import_that_was_interrupted_is_done_again(on_either: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = on_either
    loss.go_on()
    loss.lose()
    custodian = loss.world.custodian
    unsigned = ceremony.next_directory(custodian, {}, heads=loss.heads())
    signed = ceremony.sign_offline(unsigned.to_bytes(), loss.world.report.root_key_file)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ceremony, "write_file", _interrupt)
        ceremony.publish(custodian, signed)
    loss.world.restart()
    assert catch_up(loss.world.custodian) is not None, "under the directory of before nothing opens"
    size = len(loss.leaves())
    ceremony.publish(loss.world.custodian, signed)
    assert len(loss.leaves()) == size, "twice is once"
    loss.world.clock.forward(seconds=31)
    loss.world.restart()
    loss.settle()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_directory_is_imported_only_for_what_it_was_exported_for(loss: Loss, tmp_path: Path) -> None:
    copy = export(loss.populated, tmp_path / "copy")
    loss.go_on()
    loss.lose()
    custodian = loss.world.custodian
    signed = ceremony.sign_offline(
        ceremony.next_directory(custodian, {}, heads=loss.heads()).to_bytes(), loss.world.report.root_key_file
    )
    logs.restore_log(custodian, copy)
    with pytest.raises(NotReady, match="export, sign and import it again"):
        ceremony.publish(custodian, signed)


def test_a_new_log_is_not_begun_while_the_custodian_runs(loss: Loss) -> None:
    loss.go_on()
    loss.lose()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        running = loss.world.settings.model_copy(update={"port": listening.getsockname()[1]})
        opened = open_custodian(running, loss.world.clock)
        with pytest.raises(BackupFailed, match="stop the service"):
            signed = ceremony.sign_offline(
                ceremony.next_directory(opened, {}, heads=loss.heads()).to_bytes(), loss.world.report.root_key_file
            )
            ceremony.publish(opened, signed)
        opened.close()


def test_a_backup_from_before_is_not_taken_for_the_beginning_of_the_new_log(on_either: Loss) -> None:
    loss = on_either
    loss.go_on()
    loss.lose()
    loss.begin()
    loss.settle()
    loss.world.custodian.close()
    (loss.world.settings.keys / "last-checkpoint").unlink()
    databases.restore(loss.world.settings, loss.backup, over=True, clock=loss.world.clock)
    loss.world.restart()
    missing = catch_up(loss.world.custodian)
    assert missing is not None and "before the new log" in missing["missing"]


def test_a_generation_that_a_lost_leaf_called_destroyed_is_known_by_the_next_one(loss: Loss) -> None:
    """The backup's own key is gone, and the one after it is there: what was wrapped under the first opens no more."""
    custodian = loss.world.custodian
    loss.go_on()
    rotation.rotate(custodian)
    rotation.rotate(custodian)
    assert [custodian.keks.has(number) for number in (1, 2, 3)] == [False, False, True]
    loss.lose()
    loss.begin()
    with loss.world.custodian.database.reading() as session:
        assert session.scalars(select(VaultKey)).all() == []
        living = select(Generation.number).where(Generation.destroyed.is_(None))
        assert session.scalars(living).all() == [3]
    loss.settle()
    loss.world.resume()
    loss.populated.people[0].consent()
    loss.populated.people[0].certify()


def test_a_generation_that_is_only_out_of_reach_is_not_given_up(loss: Loss) -> None:
    loss.go_on()
    loss.lose()
    (kek,) = loss.world.settings.keks.iterdir()
    kek.rename(kek.with_suffix(".elsewhere"))
    heads = loss.heads()
    with pytest.raises(NotReady, match="bring it first"):
        loss.begin(heads)
    assert loss.world.custodian.directory.directory.former_logs == ()
    kek.with_suffix(".elsewhere").rename(kek)
    assert loss.begin(heads)


def test_a_recovery_that_may_have_been_stopped_has_ended(loss: Loss) -> None:
    kim = loss.world.add_person("Kim")
    running, _ = signed_by(kim, loss.world.council, loss.world.dpo)
    loss.backup = backups.back_up(loss.world.custodian, loss.folder / "second")
    loss.go_on()
    loss.lose()
    with loss.world.custodian.database.reading() as session:
        assert session.get_one(RecoveryRow, running).stopped is None, "the control"
    loss.begin()
    with loss.world.custodian.database.reading() as session:
        assert session.get_one(RecoveryRow, running).stopped is not None


def test_logs_end_one_after_the_other(loss: Loss, tmp_path: Path) -> None:
    loss.go_on()
    loss.lose()
    loss.begin()
    loss.settle()
    loss.world.resume()
    loss.backup = backups.back_up(loss.world.custodian, loss.folder / "second")
    loss.populated.installation.own_job(loss.populated.people[0])
    first, loss.origin = loss.origin, f"{loss.origin}/2"
    loss.lose()
    published = loss.begin()
    assert [ending.origin for ending in endings_of(published)] == [first, f"{first}/2"]
    loss.settle()
    loss.world.resume()
    assert loss.populated.installation.own_job(loss.populated.people[0]).witnessed.log.name == f"{first}/3"
    assert loss.reader.accept(loss.world.custodian.directory.envelope) == published, "who saw only the first one"
    role_again(loss, loss.populated.staff.auditor, Role.AUDITOR)
    outcome = audit(load_copy(export(loss.populated, tmp_path / "copy")), loss.world.report.root_fingerprint)
    assert outcome.passed, outcome.checks
    assert sum("it begins with" in check.text for check in outcome.checks) == 2
