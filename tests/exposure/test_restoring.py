"""Rows 14, 15 and 32: restore drills. Yesterday's backups of either service come back, and nothing that was withdrawn
or erased since opens or is served: the door is shut until log, orders and people's own devices have caught it up.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from httpx2 import Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from tests.exposure.canary import Marker, must_not_leak, search
from tests.exposure.test_people_in_power import recovered
from tests.exposure.test_reading import refusals
from tests.exposure.world import Answer, Ask, Installation, Populated, Recording, installed
from tests.simulators.custodian import Member, problem, with_leaf

from assent.client.receipts import ReceiptFile
from assent.client.transport import Refused
from assent.contracts.envelope import Envelope, read, sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey
from assent.contracts.leaves import Leaf
from assent.contracts.problems import Code
from assent.contracts.statements import (
    ConsentEnding,
    Erasure,
    News,
    Order,
    OrderItem,
    OrderReturned,
    RecoveryStopped,
    Role,
)
from assent.contracts.wire import CertificatesAnswer, RecoveriesView
from assent.reader.auditing import audit
from assent.reader.log_copies import CopyFolder, Live, load_copy, take
from assent_collector import backups as collector_backups
from assent_custodian import backups
from assent_custodian.files import NotReady
from assent_custodian.keys import rotation
from assent_custodian.keys.models import Stream, VaultKey
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.night import run_night
from assent_custodian.orders import service as orders
from assent_custodian.people.models import RecoveryRow, RoleHeld
from assent_custodian.restoring import databases, logs
from assent_custodian.restoring.catching_up import catch_up
from assent_custodian.restoring.models import Restoration
from assent_service import backing_up


def export(populated: Populated, to: Path) -> Path:
    """A copy of the log as an auditor saves it."""
    return copy_log(populated.installation, populated.staff.auditor, to)


def copy_log(installation: Installation, auditor: Member, to: Path) -> Path:
    world, directory = installation.world, installation.world.custodian.directory
    for _ in range(2):  # the second time only the trace of the first is new
        witnesses.submit_head(world.custodian)
        with installation.custodian_as(auditor.opening) as custodian, CopyFolder(to) as copy:
            copy.extend(take(Live(custodian, directory.envelope, copy)))
    return to


def of(populated: Populated, member: Member) -> list[Recording]:
    return [recording for recording in populated.recordings if recording.member is member]


def opens(populated: Populated) -> set[str]:
    """The streams that a new lease of the granted request opens. Raises Refused."""
    job = populated.installation.job(populated.staff.requester, populated.request)
    named = {stream.stream for stream in job.streams}
    shut = refusals(populated.installation, job, [one for one in populated.recordings if one.stream in named])
    assert not shut, shut
    return named


def set_back(populated: Populated, folder: Path, since: Callable[[], object]) -> Path:
    """Make a backup, let happen what happens `since`, and restore it. Returns a copy of the log of just before."""
    world = populated.world
    backup = backups.back_up(world.custodian, folder / "backups")
    since()
    copied = export(populated, folder / "copy")
    world.custodian.close()
    databases.restore(world.settings, backup, over=True, clock=world.clock)
    world.restart()
    return copied


def make_whole(populated: Populated, copied: Path) -> None:
    """Bring the log and the orders that the backup lacks."""
    custodian = populated.world.custodian
    logs.restore_log(custodian, copied)
    catch_up(custodian)
    populated.installation.collector.orders.pull_orders_once()
    assert catch_up(custodian) is None


class Drill:
    """A backup of the custodian from before a withdrawal (`gone`) and an erasure (`erased`), restored."""

    def __init__(self, populated: Populated, folder: Path, *, rotated: bool) -> None:
        self.populated, self.world = populated, populated.world
        self.gone, self.erased, *self.others = populated.people
        self.before = opens(populated)
        self.backup = backups.back_up(self.world.custodian, folder / "backups")
        assert self.gone.withdraw().status_code == 200
        assert self.erased.withdraw(erase="now").status_code == 200
        due = rotation.is_due
        if not rotated:
            rotation.is_due = lambda *_: False
        try:
            assert run_night(self.world.custodian)["orders"] == [1]
        finally:
            rotation.is_due = due
        assert populated.installation.collector.orders.pull_orders_once() == 1
        self.after = opens(populated)
        self.copy = export(populated, folder / "copy")
        self.world.custodian.close()
        databases.restore(self.world.settings, self.backup, over=True, clock=self.world.clock)
        self.world.restart()

    def vault_keys(self, *members: Member) -> set[str]:
        with self.world.custodian.database.reading() as session:
            people = [member.person for member in members]
            return set(
                session.scalars(
                    select(VaultKey.stream).join(Stream, Stream.id == VaultKey.stream).where(Stream.person.in_(people))
                )
            )

    def shut(self) -> Code:
        with pytest.raises(Refused) as refused:
            opens(self.populated)
        assert refused.value.code is not None
        return refused.value.code


@pytest.fixture
def drill(in_use: Populated, tmp_path: Path) -> Drill:
    """The generation of the backup still lives: what was erased since is wrapped in it again."""
    return Drill(in_use, tmp_path, rotated=False)


@pytest.fixture
def either_drill(either: Populated, tmp_path: Path) -> Drill:
    """The same on SQLite and on PostgreSQL."""
    return Drill(either, tmp_path, rotated=False)


def test_row_32_a_restored_custodian_opens_nothing_until_it_has_caught_up(either_drill: Drill) -> None:
    streams = {recording.stream for recording in either_drill.populated.recordings}
    lost = {
        recording.stream
        for one in (either_drill.gone, either_drill.erased)
        for recording in of(either_drill.populated, one)
    }
    assert either_drill.before == streams, "the positive control: before the withdrawal all of it opened"
    assert either_drill.after == streams - lost
    assert either_drill.vault_keys(either_drill.gone, either_drill.erased), (
        "and the backup has the keys of what was erased"
    )

    assert either_drill.shut() is Code.CLOSED
    missing = catch_up(either_drill.world.custodian)
    assert missing is not None and "restore --log" in missing["missing"]
    assert run_night(either_drill.world.custodian)["ran"] is False

    assert logs.restore_log(either_drill.world.custodian, either_drill.copy) > 0
    missing = catch_up(either_drill.world.custodian)
    assert missing is not None and "orders" in missing["missing"]
    assert either_drill.shut() is Code.CLOSED, "the log is whole, and says that there was an order"

    assert either_drill.populated.installation.collector.orders.pull_orders_once() == 0
    assert catch_up(either_drill.world.custodian) is None
    assert either_drill.vault_keys(either_drill.erased) == set(), "what was erased is erased again"
    assert either_drill.shut() is Code.NOT_AVAILABLE, "and nobody was heard yet"

    for member in (*either_drill.others, either_drill.gone, either_drill.erased):
        assert member.restate().status_code == 200
    assert opens(either_drill.populated) == either_drill.after
    assert run_night(either_drill.world.custodian)["generations_destroyed"] == [1]
    assert opens(either_drill.populated) == either_drill.after
    continued = audit(
        load_copy(export(either_drill.populated, either_drill.copy)), either_drill.world.report.root_fingerprint
    )
    assert continued.passed, "the auditor's copy goes on, and says nothing against an honest restore"


def test_row_32_a_lease_from_before_opens_nothing_either(either_drill: Drill) -> None:
    with pytest.raises(Refused) as refused:
        refusals(either_drill.populated.installation, either_drill.populated.job, either_drill.populated.recordings)
    assert refused.value.code in (Code.REFUSED, Code.CLOSED)


def test_row_32_nobody_records_and_everybody_may_still_withdraw(either_drill: Drill) -> None:
    member = either_drill.others[0]
    request, _ = member.certificate_request()
    answer = member.post("/v1/certificates", request, key=member.device)
    assert answer.status_code == 200
    assert '"certificates":[null' in answer.text.replace(" ", "")
    assert member.withdraw(erase="now").status_code == 200
    assert either_drill.vault_keys(member) == set(), "at once, though the log lacks leaves"


def test_row_32_one_persons_device_opens_the_door_for_that_person_alone(drill: Drill) -> None:
    logs.restore_log(drill.world.custodian, drill.copy)
    catch_up(drill.world.custodian)
    drill.populated.installation.collector.orders.pull_orders_once()
    catch_up(drill.world.custodian)
    heard = drill.others[0]
    with pytest.raises(Refused) as refused:
        drill.populated.installation.own_job(heard)
    assert refused.value.code is Code.CLOSED, "not even for themselves"
    assert heard.restate().status_code == 200
    assert drill.populated.installation.own_job(heard).streams
    assert opens(drill.populated) == {recording.stream for recording in of(drill.populated, heard)}
    heard.certify()


def test_row_32_a_lost_device_is_revoked_and_not_waited_for(drill: Drill) -> None:
    member = drill.others[0]
    logs.restore_log(drill.world.custodian, drill.copy)
    catch_up(drill.world.custodian)
    drill.populated.installation.collector.orders.pull_orders_once()
    catch_up(drill.world.custodian)
    with pytest.raises(Refused) as refused:
        drill.populated.installation.own_job(member)
    assert refused.value.code is Code.CLOSED, "the positive control: it is waited for"
    assert member.revoke(member.device).status_code == 200
    assert drill.populated.installation.own_job(member).streams


def test_row_32_what_a_device_no_longer_stands_by_stays_shut_and_is_not_erased(drill: Drill) -> None:
    """Withdrawn with another credential after the backup: the device knows only that nothing is in force."""
    logs.restore_log(drill.world.custodian, drill.copy)
    catch_up(drill.world.custodian)
    drill.populated.installation.collector.orders.pull_orders_once()
    catch_up(drill.world.custodian)
    doubted, *heard = drill.others
    assert doubted.restate(in_force=False, receipt=None).status_code == 200
    for member in heard:
        assert member.restate().status_code == 200
    theirs = {recording.stream for recording in of(drill.populated, doubted)}
    assert opens(drill.populated) == drill.after - theirs
    assert drill.vault_keys(doubted) == theirs
    assert drill.populated.installation.own_job(doubted).streams, "for the person it is there"


def test_row_15_after_a_rotation_a_backup_from_before_opens_nothing_at_all(either: Populated, tmp_path: Path) -> None:
    drill = Drill(either, tmp_path, rotated=True)
    assert drill.shut() is Code.CLOSED
    logs.restore_log(drill.world.custodian, drill.copy)
    drill.populated.installation.collector.orders.pull_orders_once()
    assert catch_up(drill.world.custodian) is None
    for member in (*drill.others, drill.gone, drill.erased):
        assert member.restate().status_code == 200
    assert drill.vault_keys(*either.people) == set()
    heard = drill.others[0]
    heard.certify()
    assert drill.vault_keys(heard), "and recording goes on, under the generation that lives"


@pytest.mark.parametrize("heard", [True, False])
def test_row_32_an_erasure_that_no_order_has_carried_is_handed_in_again_by_the_device(
    either: Populated, tmp_path: Path, heard: bool
) -> None:
    world = either.world
    eraser, *others = either.people
    theirs = {recording.stream for recording in of(either, eraser)}
    assert theirs <= opens(either), "the positive control: before, it opened"
    backup = backups.back_up(world.custodian, tmp_path / "backups")
    erasure = sign(Erasure(person=eraser.person, everything=True, at=world.now), eraser.opening)
    assert world.post("/v1/erasures", with_leaf(erasure)).status_code == 200
    kept = news(eraser).erasures
    assert [envelope.hash for envelope in kept] == [erasure.hash]
    assert news(others[0]).erasures == (), "nobody hears of somebody else's"
    copy = export(either, tmp_path / "copy")
    world.custodian.close()
    databases.restore(world.settings, backup, over=True, clock=world.clock)
    world.restart()
    logs.restore_log(world.custodian, copy)
    assert catch_up(world.custodian) is None
    for member in others:
        assert member.restate().status_code == 200
    assert not theirs & opens(either), "nobody was heard for them"
    if heard:
        for envelope in kept:
            assert world.post("/v1/erasures", with_leaf(envelope)).status_code == 200
        assert eraser.restate().status_code == 200
        with world.custodian.database.reading() as session:
            assert not theirs & set(session.scalars(select(VaultKey.stream)))
    assert not theirs & opens(either)


def test_row_32_once_an_order_carries_it_devices_need_not_keep_an_erasure(in_use: Populated) -> None:
    eraser = in_use.people[0]
    erasure = sign(Erasure(person=eraser.person, everything=True, at=in_use.world.now), eraser.opening)
    assert in_use.world.post("/v1/erasures", with_leaf(erasure)).status_code == 200
    assert news(eraser).erasures
    assert run_night(in_use.world.custodian)["orders"] == [1]
    assert news(eraser).erasures == ()


def test_row_32_a_receipt_given_since_the_backup_comes_back_with_the_salt_that_proves_it(
    in_use: Populated, tmp_path: Path
) -> None:
    world, inst, kim, salt = in_use.world, in_use.installation, in_use.people[0], "5a" * 16
    receipt = sign(kim.receipt(), kim.device)

    def since() -> None:
        with inst.custodian_as(kim.device) as custodian:
            kim.countersigned = custodian.deliver_receipt(receipt, bytes.fromhex(salt))
        run_night(world.custodian)

    copied = set_back(in_use, tmp_path, since)
    logs.restore_log(world.custodian, copied)
    catch_up(world.custodian)
    with inst.custodian_as(kim.opening) as custodian:
        assert receipt.hash not in {row.receipt.hash for row in custodian.receipts().receipts}, "lost"
        assert kim.restate(salt=salt).status_code == 200
        (row,) = (row for row in custodian.receipts().receipts if row.receipt.hash == receipt.hash)
        assert row.salt == salt
        assert ReceiptFile(receipt=row.receipt, salt=row.salt).completed(custodian).proof is not None


def news(member: Member) -> News:
    answer = member.get("/v1/me/news", key=member.device)
    assert answer.status_code == 200, answer.text
    return member.world.read(Envelope.from_json(answer.content), News)


@pytest.mark.parametrize("with_order", [True, False])
def test_row_32_consent_that_the_dpo_ended_since_the_backup_stays_ended(
    either: Populated, tmp_path: Path, with_order: bool
) -> None:
    world, inst = either.world, either.installation
    assert opens(either), "the positive control"

    def since() -> None:
        ending = ConsentEnding(state="terminated", reason="the programme ends", nonce=new_id(), at=world.now)
        assert world.dpo.post("/v1/consent/endings", ending).status_code == 200
        if with_order:
            with world.custodian.database.transaction() as session:
                assert orders.make_orders(session, world.custodian) == [1]
            inst.collector.orders.pull_orders_once()

    make_whole(either, set_back(either, tmp_path, since))
    for member in either.people:
        assert member.restate(in_force=True).status_code == 200, "devices that had not heard of it"
    with pytest.raises(Refused) as refused:
        opens(either)
    assert refused.value.code is Code.NOT_AVAILABLE
    with world.custodian.database.reading() as session:
        assert session.scalars(select(VaultKey)).all(), "and nothing is erased for it"
        assert {stream.closed for stream in session.scalars(select(Stream))} == {"withdrawn" if with_order else "doubt"}


def test_row_32_a_receipt_that_was_given_and_ended_since_the_backup_is_not_live_again(
    in_use: Populated, tmp_path: Path
) -> None:
    """Its device brings it back, and has not heard that the dpo ended it."""
    world, member = in_use.world, in_use.people[0]

    def since() -> None:
        receipt = member.consent()
        ending = ConsentEnding(state="terminated", record=receipt.record, reason="x", nonce=new_id(), at=world.now)
        assert world.dpo.post("/v1/consent/endings", ending).status_code == 200

    make_whole(in_use, set_back(in_use, tmp_path, since))
    for one in in_use.people:
        assert one.restate(in_force=True).status_code == 200
    assert news(member).live == ()
    request, _ = member.certificate_request()
    answer = CertificatesAnswer.parse(member.post("/v1/certificates", request, key=member.device).content)
    assert set(answer.certificates) == {None}
    member.consent()
    member.certify()


def test_row_32_a_first_receipt_given_since_the_backup_is_asked_for_and_nobody_waits_for_it(
    in_use: Populated, tmp_path: Path
) -> None:
    world, giver, lost = in_use.world, in_use.people[0], in_use.people[1]
    late, never = world.add_person("Late"), lost.on(lost.add_key())
    copied = set_back(in_use, tmp_path, late.consent)
    make_whole(in_use, copied)
    assert news(late).restate is True
    assert news(late).live == ()
    assert late.restate().status_code == 200
    assert news(late).restate is None
    assert [live.record for live in news(late).live] == [late.receipts[-1].record]
    late.certify()
    assert giver.restate().status_code == 200
    assert lost.restate().status_code == 200
    assert news(never).restate is True, "the second device has given nothing, before or since"
    assert in_use.installation.own_job(lost).streams, "and the door does not wait for it"


ASKS = {
    Role.ADMIN: "/v1/people",
    Role.COUNCIL: "/v1/recoveries",
    Role.DPO: "/v1/recoveries",
    Role.REQUESTER: "/v1/catalogue",
    Role.STEWARD: "/v1/requests",
    Role.AUDITOR: "/v1/log/entries?start=0&count=1",
}
"""What each role may ask, and nobody without one."""


@pytest.mark.parametrize("role", list(Role))
def test_row_32_who_lost_a_role_since_the_backup_has_lost_it_and_nobody_else(
    role: Role, in_use: Populated, tmp_path: Path
) -> None:
    world = in_use.world
    removed, kept = world.add_person("One", role), world.add_person("Other", role)
    copied = set_back(in_use, tmp_path, lambda: in_use.installation.world.end_role(removed, role))
    with world.custodian.database.reading() as session:
        assert session.scalars(select(RoleHeld.ended).where(RoleHeld.person == removed.person)).one() is None, (
            "the positive control: by the backup they have it"
        )
    for member in (removed, kept):
        assert problem(member.get(ASKS[role])) == "closed", "no role counts while leaves are missing"
    make_whole(in_use, copied)
    assert problem(removed.get(ASKS[role])) == "forbidden"
    assert kept.get(ASKS[role]).status_code == 200


def test_row_32_a_leaf_that_does_not_say_whose_role_it_ended_ends_everybodys(
    in_use: Populated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As versions before wrote it."""
    append = log.append

    def as_before(session: Session, *leaves: Leaf) -> int:
        return append(session, *(leaf.model_copy(update={"roots": {}}) for leaf in leaves))

    def since() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(log, "append", as_before)
            in_use.installation.world.end_role(in_use.staff.steward, Role.STEWARD)

    make_whole(in_use, set_back(in_use, tmp_path, since))
    for steward in in_use.staff.stewards:
        assert problem(steward.get("/v1/requests")) == "forbidden"
    assert in_use.world.admin.get("/v1/roles").status_code == 200, "who can grant it again still can"


def test_row_32_a_key_that_was_revoked_since_the_backup_stays_revoked(either: Populated, tmp_path: Path) -> None:
    world = either.world
    robbed, other = either.people[:2]
    stolen_device, stolen_opening = robbed.device, robbed.opening
    spare = robbed.add_key("opening")

    def since() -> None:
        for key in (stolen_device, stolen_opening):
            assert robbed.revoke(key, by=spare).status_code == 200
        assert either.installation.collector.orders.pull_orders_once() == 1

    copied = set_back(either, tmp_path, since)
    assert robbed.get("/v1/me", key=stolen_opening).status_code == 200, "the positive control: by the backup it counts"
    _, code = robbed.code("opening")
    assert problem(robbed.post("/v1/me/credentials", code)) == "closed", "a thief adds no key meanwhile"
    assert problem(robbed.revoke(spare)) == "closed", "nor ends the one that is left"
    assert problem(robbed.send_receipt(robbed.receipt())) == "closed", "nor consents"
    make_whole(either, copied)
    for key in (stolen_device, stolen_opening):
        assert problem(robbed.get("/v1/me", key=key)) == "not-signed-in"
    request, _ = robbed.certificate_request()
    assert problem(robbed.post("/v1/certificates", request, key=stolen_device)) == "not-signed-in"
    assert either.installation.own_job(robbed, spare).streams, "and a lost device is not waited for"
    for member in either.people[1:]:
        assert member.restate().status_code == 200
    other.certify()
    with world.custodian.database.reading() as session:
        ended = set(session.scalars(select(Stream.closed).where(Stream.credential == stolen_device.public.id)))
        assert ended == {"revoked"}
        assert set(session.scalars(select(Stream.closed).where(Stream.credential == other.device.public.id))) == {None}


def test_row_32_a_revocation_of_the_last_moment_keeps_the_door_shut_until_its_leaf_is_here(
    in_use: Populated, tmp_path: Path
) -> None:
    """Nobody has asked witnesses, or looked at the log, between the answer and the loss of the database."""
    world, robbed = in_use.world, in_use.people[0]
    spare = robbed.add_key("opening")
    copied = export(in_use, tmp_path / "copy")
    backup = backups.back_up(world.custodian, tmp_path / "backups")
    assert robbed.revoke(robbed.device, by=spare).status_code == 200
    world.custodian.close()
    databases.restore(world.settings, backup, over=True, clock=world.clock)
    world.restart()
    with pytest.raises(NotReady, match="bring a newer copy"):
        logs.restore_log(world.custodian, copied)
    missing = catch_up(world.custodian)
    assert missing is not None and "leaves" in missing["missing"]


def test_row_32_every_code_of_before_is_void_since_it_may_have_been_used(in_use: Populated, tmp_path: Path) -> None:
    world, kim = in_use.world, in_use.people[0]
    invited, invitation = world.invitation("Invited")
    assert world.admin.post("/v1/invitations", invitation).status_code == 200
    adding, statement = kim.code("opening")
    assert kim.post("/v1/me/credentials", statement).status_code == 200

    def use() -> list[Response]:
        keys = [("device", SigningKey.generate()), ("opening", SigningKey.generate())]
        return [
            world.post("/v1/enrolments", world.enrolment(code.to_text(), signing).to_json())
            for code, signing in ((invited, keys), (adding, [("opening", SigningKey.generate())]))
        ]

    copied = set_back(in_use, tmp_path, lambda: [answer.raise_for_status() for answer in use()])
    assert [problem(answer) for answer in use()] == ["closed", "closed"]
    make_whole(in_use, copied)
    assert [problem(answer) for answer in use()] == ["code-invalid", "code-invalid"]
    assert world.add_person("Invited anew").get("/v1/me").status_code == 200


def test_row_32_a_founders_code_is_void_if_the_log_says_that_it_was_used(tmp_path: Path) -> None:
    with installed(tmp_path, found=False) as installation:
        world = installation.world
        backup = backups.back_up(world.custodian, tmp_path / "backups")
        for role in (Role.ADMIN, Role.COUNCIL):
            world.founders[role] = world.join(world.report.codes[role], role.value)
        copied = copy_log(installation, world.add_person("Auditor", Role.AUDITOR), tmp_path / "copy")
        world.custodian.close()
        databases.restore(world.settings, backup, over=True, clock=world.clock)
        world.restart()
        logs.restore_log(world.custodian, copied)
        assert catch_up(world.custodian) is None
        answers = {}
        for role, code in world.report.codes.items():
            keys = [("device", SigningKey.generate()), ("opening", SigningKey.generate())]
            answers[role] = world.post("/v1/enrolments", world.enrolment(code, keys).to_json()).status_code
        assert answers == {Role.ADMIN: 403, Role.COUNCIL: 403, Role.DPO: 200}


def test_row_32_a_recovery_that_was_stopped_since_the_backup_stays_stopped(in_use: Populated, tmp_path: Path) -> None:
    world, kim = in_use.world, in_use.people[0]
    recovery, key = recovered(in_use, kim)
    assert kim.withdraw(key=key).status_code == 200, "what the new key may do at once"
    stop = RecoveryStopped(recovery=recovery, at=world.now)
    copied = set_back(
        in_use, tmp_path, lambda: kim.post("/v1/me/recoveries/stops", stop, key=kim.device).raise_for_status()
    )
    with world.custodian.database.reading() as session:
        assert session.get_one(RecoveryRow, recovery).stopped is None, "the positive control: by the backup it runs"
    make_whole(in_use, copied)
    world.clock.forward(days=10)
    assert problem(kim.get("/v1/me", key=key)) == "not-signed-in"
    listed = RecoveriesView.parse(world.council.get("/v1/recoveries").content).recoveries
    assert [one.state for one in listed] == ["stopped"]
    run_night(world.custodian)
    with world.custodian.database.reading() as session:
        theirs = select(VaultKey.stream).join(Stream, Stream.id == VaultKey.stream).where(Stream.person == kim.person)
        assert session.scalars(theirs).all(), "and what it asked to have erased is not"


def test_row_17_a_collector_that_withholds_an_order_keeps_the_door_shut(drill: Drill) -> None:
    logs.restore_log(drill.world.custodian, drill.copy)
    inst = drill.populated.installation

    def withholding(request: Ask, ask: Callable[[], Answer]) -> Answer:
        return ask() if "/v1/orders/" not in str(request.url) else Answer(200, json={"hash": "ab" * 32})

    inst.enemy = withholding
    inst.collector.orders.pull_orders_once()
    for _ in range(3):
        missing = catch_up(drill.world.custodian)
        assert missing is not None and "orders" in missing["missing"]
        assert drill.shut() is Code.CLOSED


@pytest.mark.parametrize("change", ["removed", "forged", "replayed", "evidence swapped"])
def test_row_17_only_orders_that_were_signed_here_are_taken_back(drill: Drill, change: str) -> None:
    world = drill.world
    logs.restore_log(world.custodian, drill.copy)
    inst = drill.populated.installation
    kept: list[bytes] = []

    def listen(request: Ask, ask: Callable[[], Answer]) -> Answer:
        if request.url.path.endswith("/orders/returned"):
            kept.append(request.content)
        return ask()

    inst.enemy = listen
    inst.collector.orders.pull_orders_once()
    assert len(kept) == 1
    order = read(Envelope.from_json(kept[0]), OrderReturned, world.collector_key.public).order
    genuine = Order.model_validate_json(order.payload_bytes)
    match change:
        case "removed":
            changed = genuine.model_copy(update={"number": 2, "previous": order.hash, "items": genuine.items[:1]})
        case "replayed":
            answer = world.post("/v1/orders/returned", kept[0])
            assert answer.status_code == 200, "twice is once"
            return
        case "evidence swapped":
            items = (*genuine.items[1:], replace_evidence(genuine.items[0], genuine.items[1]))
            changed = genuine.model_copy(update={"number": 2, "previous": order.hash, "items": items})
        case _:
            changed = genuine.model_copy(update={"number": 2, "previous": order.hash})
    signed = sign(changed, world.collector_key)
    body = sign(OrderReturned(order=signed), world.collector_key)
    assert problem(world.post("/v1/orders/returned", body.to_json())) == "signature-invalid"


def replace_evidence(item: OrderItem, other: OrderItem) -> OrderItem:
    return item.model_copy(update={"evidence": other.evidence})


@pytest.mark.parametrize("change", ["shorter", "another leaf", "unwitnessed"])
def test_row_15_a_copy_of_the_log_that_is_not_whole_is_refused(drill: Drill, change: str) -> None:
    world = drill.world
    bundle = next(path for path in (drill.copy / "tile" / "entries").rglob("*") if path.is_file())
    match change:
        case "shorter":
            bundle.unlink()
        case "another leaf":
            data = bytearray(bundle.read_bytes())
            data[-5] ^= 1
            bundle.write_bytes(data)
        case _:
            text = (drill.copy / "checkpoint").read_text().splitlines()
            (drill.copy / "checkpoint").write_text("\n".join(text[:-1]) + "\n")
    with pytest.raises(NotReady):
        logs.restore_log(world.custodian, drill.copy)
    assert drill.shut() is Code.CLOSED


def test_row_15_a_database_that_was_only_copied_back_is_found_out(either: Populated, tmp_path: Path) -> None:
    """Nobody ran `restore`: the head that was signed last, or a witness, gives it away."""
    backup = backups.back_up(either.world.custodian, tmp_path / "backups")
    assert either.people[0].withdraw().status_code == 200
    run_night(either.world.custodian)
    either.world.custodian.close()
    checked = backing_up.check(backup, either.world.custodian.statement_key.public, "custodian")
    backing_up.restore_database(checked, either.world.settings.database, lambda _url: None)
    either.world.restart()
    with pytest.raises(Refused) as refused:
        refusals(either.installation, either.job, either.recordings)
    assert refused.value.code is Code.CLOSED, "an open lease from before"
    (either.world.settings.keys / "last-checkpoint").unlink()
    with pytest.raises(Refused) as refused:
        either.installation.job(either.staff.requester, either.request)
    assert refused.value.code is Code.CLOSED, "the witness has seen more"
    with either.world.custodian.database.reading() as session:
        assert session.get_one(Restoration, 1).log_whole is None, "and from now on it is shut for good"


def test_row_14_yesterdays_collector_serves_nothing_that_was_erased_since(either: Populated, tmp_path: Path) -> None:
    inst = either.installation
    settings = inst.collector_settings
    erased, kept = either.people[0], either.people[1]
    folder = collector_backups.back_up(settings, inst.collector.key, either.world.clock, tmp_path / "backups")
    assert erased.withdraw(erase="now").status_code == 200
    run_night(either.world.custodian)
    assert inst.collector.orders.pull_orders_once() == 1
    bodies = len(list((settings.blobs / "days").rglob("*")))
    inst.collector.close()
    collector_backups.restore(settings, folder, over=True)
    assert len(list((settings.blobs / "days").rglob("*"))) > bodies, "what was erased is back on the disk"
    inst = Installation(inst.folder, either.world, database_url=settings.database_url)
    job = inst.job(either.staff.requester, either.request)
    with inst.uploader() as client, pytest.raises(Refused) as refused:
        client.fetch_streams(next(iter(job.tickets.values())), job.signing_key)
    assert refused.value.code is Code.CLOSED, "nothing is handed out before it has caught up"
    assert inst.collector.orders.pull_orders_once() == 1
    inst.collector.orders.pull_orders_once()
    assert len(list((settings.blobs / "days").rglob("*"))) == bodies
    with inst.collector.database.reading() as session:
        left = {row[0] for row in session.connection().exec_driver_sql("SELECT stream FROM streams")}
    assert not left & {recording.stream for recording in of(either, erased)}
    assert left >= {recording.stream for recording in of(either, kept)}
    assert either.marker.text.encode() in inst.plaintext(job), "the positive control: everybody else's is read"
    must_not_leak([folder], either.marker)
    known = Marker(either.recordings[0].stream, either.marker.pattern)
    assert search([folder], known), "the positive control: it was read"
