"""Rows 7 to 9, 11, 25, 26, 28 and 31: stewards, auditors, admins, witnesses and bosses, alone and together."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.exposure.canary import Named as Bytes
from tests.exposure.canary import must_not_leak
from tests.exposure.test_collector import dump, words
from tests.exposure.world import Answer, Ask, Installation, Populated
from tests.simulators.custodian import LocalWitness, Member, problem

from assent.client.transport import Refused
from assent.contracts.codes import InvitationCode
from assent.contracts.envelope import sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.lists import list_root
from assent.contracts.problems import Code
from assent.contracts.statements import (
    Decision,
    OwnData,
    Recovery,
    RecoveryCountersignature,
    RecoveryStopped,
    Role,
    RoleCountersignature,
    RoleProposal,
)
from assent.contracts.times import moment
from assent.contracts.wire import AccessesView, LogEntries
from assent.reader.jobs import open_lease
from assent.transparency.proof import LogProof
from assent_custodian import ceremony
from assent_custodian.log import service as log
from assent_custodian.night import run_night

# --- row 7: one steward -----------------------------------------------------------------------------------------------


def test_row_07_one_steward_cannot_approve_alone_however_often(installation: Installation) -> None:
    staff = installation.staff()
    for member in installation.world.add_participants(10):
        member.certify()
    with installation.custodian_as(staff.requester.opening) as custodian:
        hash_ = custodian.ask_for_data(installation.request()).hash
    assert installation.decide(staff.steward, hash_, "approve") == "open"
    installation.world.clock.forward(seconds=5)
    with pytest.raises(Refused) as refused:
        installation.decide(staff.steward, hash_, "approve")
    assert refused.value.code is Code.CONFLICT
    with pytest.raises(Refused):
        installation.job(staff.requester, hash_)
    with pytest.raises(Refused):
        installation.job(staff.steward, hash_)


def test_row_07_what_a_stolen_key_approved_ends_with_that_key(in_use: Populated) -> None:
    steward, requester = in_use.staff.steward, in_use.staff.requester
    spare = steward.add_key("opening")
    assert in_use.installation.job(requester, in_use.request).streams, "the positive control"
    assert steward.revoke(steward.opening, by=spare).status_code == 200
    with pytest.raises(Refused) as refused:
        in_use.installation.job(requester, in_use.request)
    assert refused.value.problem.members["rule"] == "approvals"


def test_row_07_nobody_is_requester_and_steward_and_nobody_holds_two_roles(installation: Installation) -> None:
    world, staff = installation.world, installation.staff()
    for member, role in ((staff.steward, Role.REQUESTER), (staff.requester, Role.STEWARD), (world.admin, Role.STEWARD)):
        proposal = RoleProposal(person=member.person, role=role, action="grant", nonce=new_id(), at=world.now)
        response = world.admin.post("/v1/roles", proposal)
        assert response.status_code in (403, 409), response.text
    response = staff.steward.post("/v1/requests", installation.request())
    assert response.status_code == 403


def test_row_07_a_steward_sees_the_request_and_nothing_of_whom_it_concerns(populated: Populated) -> None:
    view = populated.staff.steward.get(f"/v1/requests/{populated.request}").json()
    assert set(view) == {
        "hash", "state", "requester", "approvals", "approvals_needed", "statement", "decisions",
    }  # fmt: skip
    text = json.dumps(view) + base64.b64decode(view["statement"]["payload"]).decode()
    for member in populated.people:
        assert member.person not in text and member.name not in text
    for recording in populated.recordings:
        assert recording.stream not in text


# --- row 8: steward and requester together ----------------------------------------------------------------------------


def test_row_08_everybody_concerned_is_told_although_the_collector_drops_everything(in_use: Populated) -> None:
    def silent(ask: Ask, real: Any) -> Answer:
        return Answer(503) if ask.url.port == 8402 else real()

    installation = in_use.installation
    installation.enemy = silent
    hash_ = installation.grant(in_use.staff)
    installation.job(in_use.staff.requester, hash_)
    policy = installation.directory().policy
    for member in in_use.people:
        with installation.custodian_as(member.device) as custodian:
            assert [note.request for note in custodian.news().notifications].count(hash_) == 1
            view: AccessesView = custodian.accesses()
        (access,) = [access for access in view.accesses if access.notification.request == hash_]
        assert access.leaf is not None and access.proof is not None
        leaf = base64.b64decode(access.leaf)
        LogProof.from_bytes(access.proof.encode()).verify(leaf, policy)
        assert Leaf.model_validate_json(leaf).request == hash_, "the person can prove it to anybody"


def test_row_08_two_insiders_are_not_enough_for_two_signatures(installation: Installation) -> None:
    """Requester and one steward; a key of the requester's as a second steward; the same person in another place."""
    staff = installation.staff()
    for member in installation.world.add_participants(10):
        member.certify()
    with installation.custodian_as(staff.requester.opening) as custodian:
        hash_ = custodian.ask_for_data(installation.request()).hash
    installation.decide(staff.steward, hash_, "approve")
    for key in (staff.requester.opening, staff.requester.device, staff.steward.device, SigningKey.generate()):
        decision = Decision(request=hash_, decision="approve", at=installation.world.now)
        assert staff.steward.post("/v1/decisions", decision, key=key).status_code in (401, 403)
    with pytest.raises(Refused):
        installation.job(staff.requester, hash_)
    installation.decide(staff.other_steward, hash_, "approve")
    assert installation.job(staff.requester, hash_).streams, "the positive control: a third person is enough"


# --- row 9: the auditor -----------------------------------------------------------------------------------------------


def entries(member: Member) -> list[Leaf]:
    """The whole log, as this member may read it."""
    found: list[Leaf] = []
    while True:
        answer = LogEntries.parse(member.get(f"/v1/log/entries?start={len(found)}&count=1000").content)
        if not answer.entries:
            return found
        found += [Leaf.model_validate_json(base64.b64decode(entry.leaf)) for entry in answer.entries]
        if len(found) >= answer.size:
            return found


def test_row_09_the_log_names_nobody_and_no_stream(in_use: Populated) -> None:
    in_use.people[0].withdraw(erase="now")
    run_night(in_use.world.custodian)
    text = "\n".join(leaf.to_bytes().decode() for leaf in entries(in_use.staff.auditor))
    assert in_use.request in text, "the positive control: what is there is found"
    for recording in in_use.recordings:
        assert recording.stream not in text
        assert recording.certificate.stream_key not in text
    for member in (*in_use.people, *in_use.world.founders.values(), in_use.staff.requester, in_use.staff.steward):
        assert member.person not in text
        assert not re.search(rf"\b{re.escape(member.name)}\b", text) or member.name in {role.value for role in Role}
        assert member.device.public.id not in text and member.opening.public.id not in text
        assert not [receipt.record for receipt in member.receipts if receipt.record in text]
    must_not_leak([Bytes("log", text.encode())], in_use.marker)


def test_row_09_what_people_sign_is_padded_so_that_nobody_can_count_it(in_use: Populated) -> None:
    before = [leaf for leaf in entries(in_use.staff.auditor) if leaf.type is LeafType.PERSON]
    run_night(in_use.world.custodian)
    busy = [leaf for leaf in entries(in_use.staff.auditor) if leaf.type is LeafType.PERSON]
    assert (len(busy) - len(before)) % 64 == 0
    in_use.world.clock.forward(days=1)
    in_use.people[0].withdraw()
    run_night(in_use.world.custodian)
    one_left = [leaf for leaf in entries(in_use.staff.auditor) if leaf.type is LeafType.PERSON]
    in_use.world.clock.forward(days=1)
    run_night(in_use.world.custodian)
    nobody = [leaf for leaf in entries(in_use.staff.auditor) if leaf.type is LeafType.PERSON]
    assert len(one_left) - len(busy) == len(nobody) - len(one_left) == 64, "a night with and without look the same"
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", leaf.at) for leaf in nobody)
    shapes = {frozenset(leaf.model_dump(exclude_defaults=True)) for leaf in nobody}
    assert shapes == {frozenset({"type", "at", "subject"})}


def test_row_09_opening_or_failing_to_open_ones_own_data_names_nobody(in_use: Populated) -> None:
    installation, takes_part, does_not = in_use.installation, in_use.people[0], in_use.world.add_person("Idle")
    installation.own_job(takes_part)
    with pytest.raises(Refused):
        installation.own_job(does_not)
    with in_use.world.custodian.database.reading() as session:
        actors = {log.actor_ref(session, member.person) for member in (*in_use.people, does_not)}
    named = [leaf for leaf in entries(in_use.staff.auditor) if leaf.actor in actors]
    assert not named, f"{[leaf.type.value for leaf in named]} say who takes part, or does not"
    own = [leaf for leaf in entries(in_use.staff.auditor) if leaf.mode == "own"]
    installation.own_job(takes_part)
    again = [leaf for leaf in entries(in_use.staff.auditor) if leaf.mode == "own"]
    assert len({leaf.actor for leaf in again}) == len(again) == len(own) + 1, "an actor of its own each time"


def test_row_09_how_many_keys_a_lease_opened_is_told_and_falls_with_a_withdrawal(in_use: Populated) -> None:
    """What the row admits: the figure is exact."""

    def opened() -> int:
        before = len(entries(in_use.staff.auditor))
        installation = in_use.installation
        assert installation.plaintext(installation.job(in_use.staff.requester, in_use.request))
        (closed,) = [one for one in entries(in_use.staff.auditor)[before:] if one.type is LeafType.LEASE_CLOSED]
        return closed.counts["released"]

    everybody = opened()
    assert everybody == sum(len(recording.sealed) for recording in in_use.recordings)
    in_use.people[0].withdraw()
    assert everybody - opened() == sum(
        len(recording.sealed) for recording in in_use.recordings if recording.member is in_use.people[0]
    )


def test_row_09_reading_the_log_is_in_the_log(populated: Populated) -> None:
    entries(populated.staff.auditor)
    views = [leaf for leaf in entries(populated.world.council) if leaf.type is LeafType.AUDIT_VIEWED]
    with populated.world.custodian.database.reading() as session:
        auditor = log.actor_ref(session, populated.staff.auditor.person)
    assert auditor in {leaf.actor for leaf in views}


# --- row 11: the admin who invites ------------------------------------------------------------------------------------


def test_row_11_an_admin_alone_makes_no_steward(installation: Installation) -> None:
    world = installation.world
    code, invitation = world.invitation("A friend", Role.STEWARD)
    assert world.admin.post("/v1/invitations", invitation).status_code == 200
    friend = world.join(code.to_text(), "A friend")
    assert friend.get("/v1/me").json()["roles"] == []
    proposals = world.admin.get("/v1/roles").json()["proposals"]
    (pending,) = [one for one in proposals if not one["countersigned"]]
    countersignature = RoleCountersignature(proposal=pending["proposal"], at=world.now)
    for member in (world.admin, friend):
        assert member.post("/v1/roles/countersignatures", countersignature).status_code == 403
    world.clock.forward(days=10)
    decision = Decision(request="ab" * 32, decision="approve", at=world.now)
    assert friend.post("/v1/decisions", decision).status_code == 403, "and time does not change it"


def test_row_11_an_admin_who_invites_the_same_name_again_gets_a_stranger(in_use: Populated) -> None:
    member = in_use.people[0]
    assert in_use.installation.own_job(member).streams, "positive control: there is something to open"
    again = in_use.world.add_person(member.name)
    assert again.person != member.person
    with pytest.raises(Refused) as refused:
        in_use.installation.own_job(again)
    assert refused.value.code is Code.NOT_AVAILABLE
    _, code = member.code("opening")
    assert in_use.world.admin.post("/v1/me/credentials", code).status_code == 200, "a key of the admin's own"
    assert len(member.get("/v1/me").json()["credentials"]) == 2


# --- row 28: recovery of an account by those in power -----------------------------------------------------------------


def recovered(in_use: Populated, member: Member) -> tuple[str, SigningKey]:
    """Council and dpo recover this account together; returns the recovery and the key that they get."""
    world = in_use.world
    code = InvitationCode.new("http://127.0.0.1:8401", world.report.root_fingerprint, "opening")
    until = moment(world.clock() + timedelta(days=21))
    statement = Recovery(person=member.person, code=code.secret_hash, nonce=new_id(), at=world.now, until=until)
    assert world.dpo.post("/v1/recoveries", statement).status_code == 200
    hash_ = sign(statement, world.dpo.opening).hash
    accepted = RecoveryCountersignature(recovery=hash_, at=world.now)
    assert world.council.post("/v1/recoveries/countersignatures", accepted).status_code == 200
    key = SigningKey.generate()
    enrolment = world.enrolment(code.to_text(), [("opening", key)])
    assert world.post("/v1/enrolments", enrolment.to_json()).status_code == 200
    return hash_, key


def test_row_28_a_recovered_key_never_opens_what_was_there_before(in_use: Populated) -> None:
    member = in_use.people[0]
    _, key = recovered(in_use, member)
    for days in (0, 8, 100):
        in_use.world.clock.forward(days=days)
        today = in_use.world.now[:10]
        own = OwnData(from_day="2026-01-01", to_day=today, modalities=tuple(Modality))
        with pytest.raises(Refused), in_use.installation.custodian_as(key) as custodian:
            open_lease(custodian, in_use.installation.directory(), own=own, clock=in_use.world.clock)
        with in_use.installation.custodian_as(member.opening) as custodian:
            opened = open_lease(custodian, in_use.installation.directory(), own=own, clock=in_use.world.clock)
        assert opened.streams, "the positive control: the person's own key opens them"


def test_row_28_everybody_concerned_is_told_and_one_old_key_ends_it(in_use: Populated) -> None:
    member = in_use.people[0]
    hash_, key = recovered(in_use, member)
    told = member.get("/v1/me", key=member.device).json()
    assert any(message["text"].startswith("ALARM") for message in told["messages"])
    stopped = RecoveryStopped(recovery=hash_, at=in_use.world.now)
    assert member.post("/v1/me/recoveries/stops", stopped, key=member.device).status_code == 200
    assert problem(member.get("/v1/me", key=key)) == "not-signed-in"


def test_row_28_an_admin_has_no_part_in_it_and_one_signature_starts_nothing(in_use: Populated) -> None:
    world, member = in_use.world, in_use.people[0]
    until = moment(world.clock() + timedelta(days=21))
    for by, status in ((world.admin, 403), (in_use.staff.steward, 403), (world.dpo, 200)):
        code = InvitationCode.new("http://127.0.0.1:8401", world.report.root_fingerprint, "opening")
        statement = Recovery(person=member.person, code=code.secret_hash, nonce=new_id(), at=world.now, until=until)
        assert by.post("/v1/recoveries", statement).status_code == status
        enrolment = world.enrolment(code.to_text(), [("opening", SigningKey.generate())])
        assert problem(world.post("/v1/enrolments", enrolment.to_json())) == "code-invalid"


def test_row_11_a_role_begins_only_after_its_delay(tmp_path: Any) -> None:
    from tests.exposure.world import installed

    with installed(tmp_path, role_delay_hours=24) as installation:
        world = installation.world
        steward = world.add_person("Sam", Role.STEWARD)
        assert steward.get("/v1/requests").status_code == 403
        world.clock.forward(hours=23)
        assert steward.get("/v1/requests").status_code == 403
        world.clock.forward(hours=1)
        assert steward.get("/v1/requests").status_code == 200


def test_row_11_inviting_somebody_again_makes_another_person_with_nothing(in_use: Populated) -> None:
    world, victim = in_use.world, in_use.people[0]
    twin = world.add_person(victim.name)
    assert twin.person != victim.person
    assert twin.get("/v1/me/receipts").json()["receipts"] == []
    with pytest.raises(Refused):
        in_use.installation.own_job(twin)
    code, invitation = world.invitation("Thief")
    assert world.admin.post("/v1/invitations", invitation).status_code == 200
    stolen = world.enrolment(code.to_text(), [("device", victim.device)])
    assert problem(world.post("/v1/enrolments", stolen.to_json())) == "conflict", (
        "a key that is enrolled stays whose it is"
    )


def test_row_11_a_code_works_once_and_in_time(installation: Installation) -> None:
    world = installation.world
    code, invitation = world.invitation("Kim")
    assert world.admin.post("/v1/invitations", invitation).status_code == 200
    kim = world.join(code.to_text(), "Kim")
    again = world.enrolment(code.to_text(), [("device", SigningKey.generate())])
    assert problem(world.post("/v1/enrolments", again.to_json())) == "code-invalid"
    late_code, late = world.invitation("Late")
    assert world.admin.post("/v1/invitations", late).status_code == 200
    world.clock.forward(days=8)
    late_enrolment = world.enrolment(late_code.to_text(), [("device", SigningKey.generate())])
    assert problem(world.post("/v1/enrolments", late_enrolment.to_json())) == "code-invalid"
    assert kim.get("/v1/me").status_code == 200


def test_row_11_the_custodian_stores_no_code_that_somebody_could_use(installation: Installation) -> None:
    world = installation.world
    code, invitation = world.invitation("Kim")
    assert world.admin.post("/v1/invitations", invitation).status_code == 200
    text = json.dumps(dump(world.settings.data_dir / "custodian.db"), default=lambda value: value.hex())
    assert code.secret_hash in text
    assert code.secret_hex not in text and InvitationCode.from_text(code.to_text()).secret_hex == code.secret_hex


# --- row 25: witnesses ------------------------------------------------------------------------------------------------


def test_row_25_without_a_quorum_nothing_opens_and_withdrawing_goes_on(in_use: Populated) -> None:
    in_use.world.witness.silent = True
    with pytest.raises(Refused) as refused:
        in_use.installation.job(in_use.staff.requester, in_use.request)
    assert refused.value.code is Code.NO_QUORUM
    with pytest.raises(Refused):
        in_use.installation.own_job(in_use.people[0])
    assert in_use.people[0].withdraw().status_code == 200, "a withdrawal never waits for a witness"
    assert in_use.people[1].get("/v1/me/accesses").json()["accesses"].__len__() == 1, (
        "nobody was told of a lease that never was"
    )
    in_use.world.witness.silent = False
    job = in_use.installation.job(in_use.staff.requester, in_use.request)
    assert job.streams, "the positive control"


def test_row_25_one_witness_of_two_cannot_block_when_one_is_enough(installation: Installation) -> None:
    world = installation.world
    second = LocalWitness(world.clock, "witness.example/two")
    try:
        witnesses = (world.witness.entry, second.entry)
        policy = ceremony.policy_text(world.custodian.directory.directory.log_vkey, witnesses, 1)
        root_key = world.settings.data_dir / "root" / "root.key"
        changes = {"witnesses": witnesses, "policy": policy}
        ceremony.sign_directory(world.settings, root_key, changes, clock=world.clock)
        member = world.add_participants(1)[0]
        member.certify()
        world.witness.silent = True
        job = installation.own_job(member)
        assert job.streams
        assert len(job.witnessed.cosigned_at) == 1
    finally:
        second.close()


def test_row_25_a_witness_sees_a_size_and_a_hash_and_no_entry(in_use: Populated) -> None:
    seen: list[bytes] = []
    witness = in_use.world.witness
    original = witness.answer

    def listening(body: bytes, clock: Any) -> tuple[int, bytes]:
        seen.append(body)
        return original(body, clock)

    witness.answer = listening  # type: ignore[method-assign]
    try:
        in_use.installation.job(in_use.staff.requester, in_use.request)
    finally:
        witness.answer = original  # type: ignore[method-assign]
    assert seen
    told = b"".join(seen)
    for word in (in_use.request, *(member.person for member in in_use.people), "lease"):
        assert word.encode() not in told


# --- row 26: an order from the top ------------------------------------------------------------------------------------


def test_row_26_everybody_but_the_stewards_together_opens_nothing(in_use: Populated) -> None:
    """Admin, council, dpo, auditor and requester obey; the two stewards do not."""
    world, staff, installation = in_use.world, in_use.staff, in_use.installation
    with installation.custodian_as(staff.requester.opening) as custodian:
        hash_ = custodian.ask_for_data(installation.request()).hash
    for member in (world.admin, world.council, world.dpo, staff.auditor, staff.requester):
        decision = Decision(request=hash_, decision="approve", at=world.now)
        assert member.post("/v1/decisions", decision).status_code == 403
        with pytest.raises(Refused):
            installation.job(member, hash_)
    with pytest.raises(ValueError, match="approvals_needed"):
        type(world.settings)(data_dir=world.settings.data_dir, approvals_needed=1)


def test_row_26_access_leaves_a_trail_that_outsiders_signed(in_use: Populated) -> None:
    trail = [leaf for leaf in entries(in_use.world.council) if leaf.request == in_use.request]
    kinds = [leaf.type for leaf in trail]
    assert kinds == [
        LeafType.REQUEST_SIGNED, LeafType.GRANT_APPROVED, LeafType.GRANT_APPROVED, LeafType.LEASE_OPENED,
    ]  # fmt: skip
    approvals = [leaf for leaf in trail if leaf.type is LeafType.GRANT_APPROVED]
    assert len({leaf.actor for leaf in approvals}) == 2
    assert in_use.job.witnessed.cosigned_at, "before a key was released"


def test_row_26_new_stewards_for_the_occasion_are_in_the_log_before_they_can_sign(installation: Installation) -> None:
    world = installation.world
    before = len(entries(world.council))
    world.add_person("Obedient", Role.STEWARD)
    new = [
        leaf for leaf in entries(world.council)[before:] if leaf.type in (LeafType.ROLE_PROPOSED, LeafType.ROLE_CHANGED)
    ]
    assert [leaf.type for leaf in new] == [LeafType.ROLE_PROPOSED, LeafType.ROLE_CHANGED]
    assert {leaf.detail["role"] for leaf in new} == {"steward"}


# --- row 31: auditor and collector join what they hold ----------------------------------------------------------------

TOKEN = re.compile(r"[0-9a-f]{16,}|[A-Za-z0-9_-]{22,}")


def tokens(text: str) -> set[str]:
    return set(TOKEN.findall(text))


def test_row_31_the_log_and_the_collectors_dump_have_no_name_in_common(in_use: Populated) -> None:
    in_use.people[0].withdraw(erase="now")
    run_night(in_use.world.custodian)
    in_use.installation.collector.orders.pull_orders_once()
    logged = "\n".join(leaf.to_bytes().decode() for leaf in entries(in_use.staff.auditor))
    stored = words(in_use)
    assert in_use.recordings[0].stream in tokens(stored) and in_use.request in tokens(logged), "the positive control"
    keys = {in_use.world.collector_key.public.text, in_use.world.custodian.statement_key.public.text}
    common = {token for token in tokens(logged) & tokens(stored) if not any(token in key for key in keys)}
    assert common == set()


def test_row_31_salted_roots_are_not_guessed_from_what_the_collector_holds(in_use: Populated) -> None:
    leaf = next(leaf for leaf in entries(in_use.staff.auditor) if leaf.type is LeafType.LEASE_OPENED)
    streams = sorted(leased.stream for leased in in_use.job.streams)
    assert leaf.roots["streams"] == list_root(_salt(in_use), streams), "the positive control: with the salt it fits"
    held = [token.encode() for token in tokens(words(in_use))]
    salts = {b"", bytes(16), *held, *(bytes.fromhex(t.decode()) for t in held if _is_hex(t))}
    guesses = [streams, [], *([stream] for stream in streams)]
    assert not [1 for salt in salts for guess in guesses if list_root(salt, guess) in leaf.roots.values()]


def _salt(populated: Populated) -> bytes:
    with closing(sqlite3.connect(populated.world.settings.data_dir / "custodian.db")) as connection:
        found: bytes = connection.execute("SELECT salt FROM leases").fetchone()[0]
        return found


def _is_hex(token: bytes) -> bool:
    return re.fullmatch(rb"([0-9a-f]{2})+", token) is not None


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.binary(min_size=16, max_size=16), st.lists(st.sampled_from([new_id() for _ in range(6)]), unique=True))
def test_row_31_a_root_says_nothing_about_its_list_without_the_salt(salt: bytes, items: list[str]) -> None:
    assert list_root(salt, items) == list_root(salt, items[::-1])
    assert list_root(salt, items) != list_root(salt[::-1] + b"x", items)


def test_row_31_hours_of_leases_and_of_streams_do_not_single_anybody_out(in_use: Populated) -> None:
    """What both have in common are days. Ten people record on each day that a grant may name."""
    logged = [leaf for leaf in entries(in_use.staff.auditor) if leaf.type is LeafType.LEASE_OPENED]
    assert all(not leaf.counts for leaf in logged), "a lease does not say how many streams it has"
    days = {one.certificate.day for one in in_use.recordings}
    for day in days:
        assert len({one.member.person for one in in_use.recordings if one.certificate.day == day}) >= 10
