"""Rows 9, 15 and 31: after somebody has left, nothing leads from an entry of the log to them any more.

The attacker has the custodian's whole database, every file beside it, a copy of the log, a wish to unmask, and knows
everything that can be known of the person outside: name, id, public keys, receipts. Before they leave the same search
finds them, which is the positive control.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from pathlib import Path

import pytest
from sqlalchemy import inspect, select, text
from tests.exposure.test_people_in_power import entries
from tests.exposure.test_reports import verify
from tests.exposure.test_restoring import make_whole, set_back
from tests.exposure.world import Populated
from tests.simulators.custodian import Member

from assent.client.transport import Refused
from assent.contracts.envelope import sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.lists import list_root, person_leaf
from assent.contracts.problems import Code
from assent.contracts.statements import ConsentEnding, Leaving, Role, Unmasking, UnmaskingCountersignature
from assent.contracts.wire import StatementWithLeaf
from assent_custodian.grants.models import CohortMember, RequestRow
from assent_custodian.leases.models import LeaseRow, LeaseStream
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.night import run_night

SALT = "5a" * 16
LOG = ("log_entries", "log_nodes", "log_head", "log_checkpoints", "log_cosignatures")
PAYLOAD = re.compile(r'"payload": ?"([^"]+)"')


def leave(member: Member, *, by: Member | None = None, key: SigningKey | None = None) -> None:
    statement = Leaving(person=member.person, nonce=new_id(), at=member.world.now)
    answer = (by or member).post("/v1/leavings" if by else "/v1/me/leaving", statement, key=key)
    assert answer.status_code == 200, answer.text


def known(member: Member) -> dict[str, str]:
    """What somebody outside may know of a person."""
    found = {"name": member.name, "person": member.person}
    for kind, one in (("device", member.device), ("opening", member.opening)):
        found |= {f"{kind} key": one.public.text, f"{kind} key's id": one.public.id}
    for receipt in member.receipts:
        found |= {"record": receipt.record, "receipt's hash": sign(receipt, member.device).hash}
    return found


def database(populated: Populated) -> str:
    """Everything that stands in the custodian's database beside the log, envelopes opened, bytes as hexadecimal."""
    engine, found = populated.world.custodian.database.engine, []
    with engine.connect() as connection:
        for table in inspect(engine).get_table_names():
            if table in LOG:
                continue
            for row in connection.execute(text(f'SELECT * FROM "{table}"')):
                for value in row:
                    said = bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)
                    found.append(said)
                    found += [base64.b64decode(part).decode("latin-1") for part in PAYLOAD.findall(said)]
    return "\n".join(found)


def linked(populated: Populated, member: Member) -> set[str]:
    """What of a person the database still has, and by what an entry of the log can be told to be theirs."""
    said, custodian = database(populated), populated.world.custodian
    found = {what for what, value in known(member).items() if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", said)}
    with custodian.database.reading() as session:
        leaves = [Leaf.model_validate_json(data) for _, data in log.entries(session, 0, 10_000)]
    actors, subjects = {leaf.actor for leaf in leaves}, {leaf.subject for leaf in leaves}
    for salt in (bytes.fromhex(word) for word in set(re.findall(r"\b(?:[0-9a-f]{2}){16,64}\b", said))):
        if hmac.new(salt, member.person.encode(), hashlib.sha256).hexdigest() in actors:
            found.add("actor")
        for receipt in member.receipts:
            if person_leaf(salt, sign(receipt, member.device).hash) in subjects:
                found.add("receipt's entry")
    found |= in_lists(populated, member, {root for leaf in leaves for root in leaf.roots.values()})
    assert not [value for value in known(member).values() if value in "".join(map(str, leaves))], "never in the log"
    return found


def in_lists(populated: Populated, member: Member, roots: set[str]) -> set[str]:
    """Which lists of the log they are in, found by trying their id, and those of their streams, beside all others."""
    found, custodian = set(), populated.world.custodian
    streams = {one.stream for one in populated.recordings if one.member.person == member.person}
    with custodian.database.reading() as session:
        for request in session.scalars(select(RequestRow)):
            others = set(session.scalars(select(CohortMember.person).where(CohortMember.request == request.hash)))
            if list_root(request.salt or b"", others | {member.person}) in roots:
                found.add("cohort")
        for lease in session.scalars(select(LeaseRow)):
            others = set(session.scalars(select(LeaseStream.stream).where(LeaseStream.lease == lease.id)))
            if streams and list_root(lease.salt, others | streams) in roots:
                found.add("lease")
    return found


def in_files(populated: Populated, member: Member) -> set[str]:
    """What of a person stands in any file of the custodian: also in pages that a database no longer uses."""
    populated.installation.disconnect()
    data = b"\n".join(
        path.read_bytes() for path in sorted(populated.world.settings.data_dir.rglob("*")) if path.is_file()
    )
    return {
        what
        for what, value in known(member).items()
        if re.search(rb"(?<!\w)%b(?!\w)" % re.escape(value.encode()), data)
    }


def unmask(populated: Populated, leaf: Leaf) -> str:
    """The name behind the actor of this entry, or why there is none."""
    world, auditor = populated.world, populated.staff.auditor
    index = entries(auditor).index(leaf)
    wish = Unmasking(index=index, actor=leaf.actor or "", reason="to see", nonce=new_id(), at=world.now)
    assert auditor.post("/v1/unmaskings", wish).status_code == 200
    signed = UnmaskingCountersignature(unmasking=sign(wish, auditor.opening).hash, at=world.now)
    answer = world.dpo.post("/v1/unmaskings/countersignatures", signed)
    if answer.status_code != 200:
        return str(answer.json()["type"])
    witnesses.submit_head(world.custodian)
    return str(auditor.get(f"/v1/unmaskings/{signed.unmasking}/person").json()["name"])


def participant(populated: Populated) -> Member:
    """Somebody who consents with a salt, records, is read, reads, and whose receipt is in the log."""
    member = populated.people[0]
    receipt = sign(member.receipt(), member.device)
    body = StatementWithLeaf(statement=receipt, leaf=person_leaf(bytes.fromhex(SALT), receipt.hash), salt=SALT)
    assert populated.world.post("/v1/receipts", body.to_json()).status_code == 200
    member.receipts.append(type(member.receipts[0]).model_validate_json(receipt.payload_bytes))
    populated.installation.own_job(member)
    run_night(populated.world.custodian)
    return member


def test_row_31_who_took_part_and_left_is_found_by_nobody_and_the_log_verifies(
    either: Populated, tmp_path: Path
) -> None:
    member, world = participant(either), either.world
    before = linked(either, member)
    assert {"name", "person", "record", "opening key's id", "receipt's entry", "cohort", "lease"} <= before, (
        "the positive control"
    )
    logged = [leaf.to_bytes() for leaf in entries(either.staff.auditor)]
    leave(member)
    assert member.get("/v1/me").json()["type"] == Code.NOT_SIGNED_IN.type, "access ends at once"
    job = either.installation.job(either.staff.requester, either.request)
    theirs = {one.stream for one in either.recordings if one.member is member}
    assert theirs and not theirs & {one.stream for one in job.streams}, "and nothing of theirs opens"
    assert run_night(world.custodian)["leavers_forgotten"] == 1
    assert linked(either, member) == set()
    if world.custodian.database.is_sqlite:
        assert in_files(either, member) == set()
    assert [leaf.to_bytes() for leaf in entries(either.staff.auditor)][: len(logged)] == logged, "the log is the same"
    outcome = verify(either)
    assert outcome.passed, [check.text for check in outcome.checks if not check.passed]
    assert f'"{member.name}"' not in world.admin.get("/v1/people").text
    assert linked(either, either.people[1]), "the others are there as before"


@pytest.mark.parametrize("role", [Role.REQUESTER, Role.STEWARD])
def test_row_09_whose_acts_the_log_holds_is_unlinked_from_them_when_they_have_left(
    role: Role, either: Populated
) -> None:
    """Requests, approvals and leases stay in the log and in the database; whose they were is known to nobody."""
    world, staff = either.world, either.staff
    member = staff.requester if role is Role.REQUESTER else staff.steward
    entry = LeafType.LEASE_OPENED if role is Role.REQUESTER else LeafType.GRANT_APPROVED
    with world.custodian.database.reading() as session:
        actor = log.actor_ref(session, member.person)
    leaf = next(one for one in entries(staff.auditor) if one.type is entry and one.actor == actor)
    assert unmask(either, leaf) == member.name, "the positive control"
    assert {"name", "person", "actor", "opening key's id"} <= linked(either, member), "the positive control"
    told = either.people[0].get("/v1/me/accesses").text
    assert member.name in told, "the positive control"
    statement = Leaving(person=member.person, nonce=new_id(), at=world.now)
    assert member.post("/v1/me/leaving", statement).json()["type"] == Code.CONFLICT.type, "first the role goes"
    either.installation.world.end_role(member, role)
    leave(member, by=world.dpo)
    world.clock.forward(days=8)
    assert run_night(world.custodian)["leavers_forgotten"] == 1
    assert linked(either, member) == set()
    if world.custodian.database.is_sqlite:
        assert in_files(either, member) == set()
    assert unmask(either, leaf) == Code.NOT_AVAILABLE.type
    told = either.people[0].get("/v1/me/accesses").text
    assert member.name not in told and "somebody who has left" in told
    assert verify(either).passed
    other = staff.other_steward
    view = other.get(f"/v1/requests/{either.request}")
    assert view.status_code == 200 and member.name not in view.text, "what they did is there, without them"
    assert view.json()["approvals"] == (2 if role is Role.REQUESTER else 1), "who is no steward counts no more"


def test_row_09_an_account_ends_by_its_person_or_the_dpo_and_by_nobody_else(in_use: Populated) -> None:
    world, member, other = in_use.world, in_use.people[0], in_use.people[1]

    def refused(target: str, by: Member, person: str, key: SigningKey | None = None) -> str:
        answer = by.post(target, Leaving(person=person, nonce=new_id(), at=world.now), key=key)
        assert answer.status_code >= 400
        return str(answer.json()["type"])

    assert refused("/v1/me/leaving", other, member.person) == Code.REFUSED.type
    assert refused("/v1/me/leaving", member, member.person, member.device) == Code.FORBIDDEN.type
    for by in (world.admin, world.council, in_use.staff.auditor, member):
        assert refused("/v1/leavings", by, member.person) == Code.FORBIDDEN.type
    for person in (new_id(), world.dpo.person, world.admin.person):
        assert refused("/v1/leavings", world.dpo, person) != ""
    assert member.get("/v1/me").status_code == 200, "nothing has happened"
    leave(member, by=world.dpo)
    assert refused("/v1/leavings", world.dpo, member.person) == Code.CONFLICT.type
    run_night(world.custodian)
    assert "name" in linked(in_use, member), "seven days pass before what the dpo ended is erased"
    world.clock.forward(days=7)
    run_night(world.custodian)
    assert linked(in_use, member) == set()


def test_row_09_that_somebody_left_is_in_the_log_and_not_who(in_use: Populated) -> None:
    before = len(entries(in_use.staff.auditor))
    leave(in_use.people[0])
    leave(in_use.people[1], by=in_use.world.dpo)
    new = [leaf for leaf in entries(in_use.staff.auditor)[before:] if leaf.type is LeafType.ACCOUNT_ENDED]
    assert [leaf.actor is None for leaf in new] == [True, False], "the dpo's acts have an actor"
    for leaf in new:
        assert set(leaf.model_dump(exclude_none=True, exclude_defaults=True)) <= {
            "type", "at", "actor", "auth", "decision", "subject", "roots",
        }  # fmt: skip


def test_row_09_an_ending_that_names_their_receipt_goes_with_them(in_use: Populated) -> None:
    world, member = in_use.world, in_use.people[0]
    ending = ConsentEnding(
        state="terminated", record=member.receipts[0].record, reason="asked to", nonce=new_id(), at=world.now
    )
    assert world.dpo.post("/v1/consent/endings", ending).status_code == 200
    leave(member)
    assert "record" in linked(in_use, member), "the positive control"
    run_night(world.custodian)
    assert linked(in_use, member) == set()
    world.clock.forward(days=8)
    assert run_night(world.custodian)["ran"]


def test_row_31_a_name_goes_from_messages_as_a_whole_word(in_use: Populated) -> None:
    """Whoever is called as somebody else begins takes nothing of that name away."""
    world = in_use.world
    short = world.add_person("Requ")
    leave(short)
    run_night(world.custodian)
    assert "Rika Requester" in in_use.people[0].get("/v1/me/accesses").text


def test_row_15_whoever_left_since_a_backup_is_forgotten_again_after_its_restore(
    in_use: Populated, tmp_path: Path
) -> None:
    member, stays = in_use.people[:2]

    def since() -> None:
        leave(member)
        run_night(in_use.world.custodian)
        in_use.installation.collector.orders.pull_orders_once()
        assert linked(in_use, member) == set()

    copied = set_back(in_use, tmp_path, since)
    assert "name" in linked(in_use, member), "the positive control: the backup knows them"
    make_whole(in_use, copied)
    assert member.get("/v1/me").json()["type"] == Code.NOT_SIGNED_IN.type
    run_night(in_use.world.custodian)
    assert linked(in_use, member) == set()
    assert stays.get("/v1/me").status_code == 200
    with pytest.raises(Refused):
        in_use.installation.own_job(member)
