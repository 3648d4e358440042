"""Row 29: identities of the drill touch drill streams only, and nobody else touches those. Each direction is tried."""

from __future__ import annotations

import base64

import pytest
from tests.exposure.test_routes import ROUTES, RULE, Asker, call
from tests.exposure.world import Populated
from tests.simulators.custodian import PURPOSE, RECIPIENT, CustodianWorld, Member, problem
from tests.simulators.drill import DrillPeople, decide, move

from assent.contracts.ids import Modality, new_id, sha256_hex
from assent.contracts.statements import (
    DRILL_PURPOSE,
    Choice,
    ConsentEnding,
    Mode,
    OwnData,
    PurposeDraft,
    PurposeSignature,
    Recovery,
    Role,
    RoleProposal,
    StreamWanted,
)
from assent.contracts.times import moment
from assent.contracts.wire import ReleaseAnswer
from assent.sealing.segments import SealedSegment
from assent_custodian.drills.service import IDENTITIES
from assent_custodian.purposes.models import Purpose
from assent_custodian.roles import DRILL_MAY, Party

KEYS = ("device", "opening")


@pytest.fixture(scope="module")
def drill(populated: Populated) -> DrillPeople:
    """Identities of the drill in an installation in daily use."""
    return DrillPeople(populated.world)


@pytest.fixture
def both(in_use: Populated) -> tuple[Populated, DrillPeople]:
    """The same, for tests that spoil it."""
    return in_use, DrillPeople(in_use.world)


# --- the drill reaches nothing of people ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", IDENTITIES)
def test_row_29_an_identity_of_the_drill_may_what_its_short_table_says(
    name: str, key: str, populated: Populated, drill: DrillPeople
) -> None:
    member, role = drill[name], IDENTITIES[name]
    asker = Asker(name, member.device if key == "device" else member.opening, member.person)
    refused_by_the_drill_alone = 0
    for route in ROUTES:
        rule = RULE[route]
        if not rule.credentials:
            continue
        answer = call(route, populated, asker)
        by_role = bool({Party.PERSON, Party.DRILL, role} & rule.who)
        by_drill = bool({Party.PERSON, Party.DRILL, role} & DRILL_MAY.get(rule.permission, frozenset()))
        if not by_role:
            expected: str | None = "role"
        elif key not in rule.credentials:
            expected = "credential"
        else:
            expected = None if by_drill else "drill"
        found = answer.json().get("rule") if answer.status_code == 403 and problem(answer) == "forbidden" else None
        assert found == expected, f"{route}: {answer.text}"
        refused_by_the_drill_alone += found == "drill"
        if found is None:
            assert answer.status_code not in (401, 500), answer.text
    assert refused_by_the_drill_alone or key == "device", "positive control: the role alone would have allowed it"


def test_row_29_the_drill_decides_nothing_about_peoples_requests(both: tuple[Populated, DrillPeople]) -> None:
    populated, drill = both
    with populated.installation.custodian_as(populated.staff.requester.opening) as custodian:
        open_one = custodian.ask_for_data(populated.installation.request(nonce=new_id())).hash
    for request in (open_one, populated.request):
        for word in ("approve", "refuse", "revoke"):
            assert problem(decide(drill["steward"], request, word, "no")) == "not-found"
        for name in ("steward", "requester"):
            assert problem(drill[name].get(f"/v1/requests/{request}")) == "not-found"
            assert drill[name].get("/v1/requests").json()["requests"] == []
        assert problem(drill.job().open(drill["requester"], request=request)) == "not-found"
    assert populated.installation.decide(populated.staff.steward, open_one, "approve") == "open", "positive control"


def test_row_29_the_drill_asks_for_no_purpose_of_people(both: tuple[Populated, DrillPeople]) -> None:
    _, drill = both
    wish = drill.wish(purpose=PURPOSE, recipient=RECIPIENT)
    assert problem(drill["requester"].post("/v1/requests", wish)) == "refused"
    assert [purpose.iri for purpose in drill.canary.offer().purposes] == [DRILL_PURPOSE]
    choice = Choice(modality=Modality.KEYBOARD, purpose=PURPOSE, purpose_version=1)
    assert problem(drill.canary.send_receipt(drill.canary.receipt(choices=(choice,)))) == "refused"


def test_row_29_a_grant_of_the_drill_reaches_the_drills_streams_and_no_others(
    both: tuple[Populated, DrillPeople],
) -> None:
    populated, drill = both
    job = drill.job()
    assert job.open(drill["requester"], request=drill.grant()).status_code == 200
    assert job.answer is not None
    keyboard = drill.certified[0][0].stream
    assert [leased.stream for leased in job.answer.streams] == [keyboard], "one person is enough, and one modality"
    opened, refused = job.release(drill.recorded)
    assert (set(opened), set(refused.values())) == ({drill.sealed[0].id}, {"not-leased"})
    theirs = [recording.sealed[0] for recording in populated.recordings]
    assert released(job, theirs) == {"not-leased"}
    own = OwnData(from_day=drill.world.now[:10], to_day=drill.world.now[:10], modalities=tuple(Modality))
    job = drill.job()
    assert job.open(drill.canary, own=own).status_code == 200
    assert job.answer is not None
    assert {leased.stream for leased in job.answer.streams} == drill.streams
    assert released(job, theirs) == {"not-leased"}


def released(job: object, sealed: list[SealedSegment]) -> set[str]:
    """The reasons for which all of these were refused."""
    response, _ = job.ask_release(sealed)  # type: ignore[attr-defined]
    answer = ReleaseAnswer.parse(response.content)
    assert base64.b64decode(answer.sealed) == b""
    assert len(answer.refused) == len(sealed)
    return {refusal.reason for refusal in answer.refused}


# --- people reach nothing of the drill --------------------------------------------------------------------------------


def test_row_29_nobody_sees_or_decides_requests_of_the_drill(both: tuple[Populated, DrillPeople]) -> None:
    populated, drill = both
    world, staff = populated.world, populated.staff
    open_one, granted = drill.request(), drill.grant()
    for request in (open_one, granted):
        for member in (staff.requester, staff.steward, world.council, world.dpo):
            assert problem(member.get(f"/v1/requests/{request}")) == "not-found"
            shown = [row["hash"] for row in member.get("/v1/requests").json()["requests"]]
            assert shown == [populated.request], "their own is there: the positive control"
        for word, members in (
            ("approve", staff.stewards),
            ("refuse", staff.stewards),
            ("revoke", (*staff.stewards, world.council, world.dpo)),
        ):
            for member in members:
                assert problem(decide(member, request, word, "no")) == "not-found"
        assert problem(drill.job().open(staff.requester, request=request)) == "not-found"
    assert decide(drill["steward"], open_one).status_code == 200


def test_row_29_no_lease_of_people_opens_a_recording_of_the_drill(both: tuple[Populated, DrillPeople]) -> None:
    populated, drill = both
    with populated.installation.custodian_as(None) as custodian:
        pairs = [(segment.header, segment.sealed_key) for segment in drill.sealed]
        answer, _ = custodian.release(populated.job.lease.lease, populated.job.signing_key, pairs)
        assert (answer.sealed, {refusal.reason for refusal in answer.refused}) == ("", {"not-leased"})
        theirs = populated.recordings[0].sealed[0]
        answer, _ = custodian.release(
            populated.job.lease.lease, populated.job.signing_key, [(theirs.header, theirs.sealed_key)]
        )
        assert answer.sealed, "positive control: the lease opens what it names"
    job = populated.installation.own_job(populated.people[0])
    assert drill.streams.isdisjoint({leased.stream for leased in job.streams})


def test_row_29_nobody_changes_an_identity_of_the_drill(both: tuple[Populated, DrillPeople]) -> None:
    populated, drill = both
    world, now = populated.world, populated.world.now
    until = moment(world.clock().replace(hour=23))
    for name, member in drill.members.items():
        role = RoleProposal(person=member.person, role=Role.STEWARD, action="grant", nonce=new_id(), at=now)
        assert problem(world.admin.post("/v1/roles", role)) == "not-found", name
        recovery = Recovery(person=member.person, code=sha256_hex(name.encode()), nonce=new_id(), at=now, until=until)
        assert problem(world.dpo.post("/v1/recoveries", recovery)) == "not-found"
    listed = world.admin.get("/v1/people").json()["people"]
    assert not {member.person for member in drill.members.values()} & {person["person"] for person in listed}
    assert len(listed) > len(populated.people), "positive control: people are there"
    assert not any("Drill" in str(row) for row in world.admin.get("/v1/roles").json()["proposals"])


def test_row_29_nobody_ends_the_consent_of_the_drill_or_extends_its_streams(
    both: tuple[Populated, DrillPeople],
) -> None:
    populated, drill = both
    world = populated.world
    record = drill.canary.receipts[0].record
    for ending in (
        ConsentEnding(state="terminated", record=record, reason="x", nonce=new_id(), at=world.now),
        ConsentEnding(state="invalidated", record=record, reason="x", nonce=new_id(), at=world.now),
    ):
        assert world.dpo.post("/v1/consent/endings", ending).status_code == 200, "as for a record that does not exist"
    assert [row["state"] for row in drill.canary.get("/v1/me/receipts").json()["receipts"]] == ["given"]
    certificate, key, _ = drill.certified[0]
    wanted = StreamWanted(
        stream=certificate.stream, stream_key=key.public.text, modality=certificate.modality, day=certificate.day
    )
    asked, _ = populated.people[0].certificate_request(streams=[wanted])
    answer = populated.people[0].post("/v1/certificates", asked, key=populated.people[0].device).json()
    assert answer["certificates"] == [None]


def test_row_29_the_purpose_of_the_drill_is_nobody_elses(both: tuple[Populated, DrillPeople]) -> None:
    populated, drill = both
    world = populated.world
    someone = populated.people[0]
    for text in (someone.get("/v1/purposes").text, someone.get("/v1/consent/offer", key=someone.device).text):
        assert PURPOSE in text, "positive control"
        assert DRILL_PURPOSE not in text
    assert DRILL_PURPOSE not in populated.staff.requester.get("/v1/catalogue").text
    draft = PurposeDraft(
        iri=DRILL_PURPOSE, version=2, sentence="x", recipients=("x",), modes=(Mode.READER,), at=world.now
    )
    assert problem(world.admin.post("/v1/purposes", draft)) == "refused"
    with world.custodian.database.reading() as session:
        its_hash = session.get_one(Purpose, (DRILL_PURPOSE, 1)).hash
    signature = PurposeSignature(draft=its_hash, at=world.now)
    assert problem(world.council.post("/v1/purposes/signatures", signature)) == "not-found"
    choice = Choice(modality=Modality.KEYBOARD, purpose=DRILL_PURPOSE, purpose_version=1)
    assert problem(someone.send_receipt(someone.receipt(choices=(choice,)))) == "refused"
    assert problem(populated.staff.requester.post("/v1/requests", drill.wish())) == "refused"


def outcome(world: CustodianWorld, populated: Populated) -> str:
    """What becomes of a request that two stewards approve."""
    with populated.installation.custodian_as(populated.staff.requester.opening) as custodian:
        request = custodian.ask_for_data(populated.installation.request(nonce=new_id())).hash
    for steward in populated.staff.stewards:
        state = populated.installation.decide(steward, request, "approve")
    return state


def test_row_29_the_drill_counts_for_no_cohort_and_no_catalogue(both: tuple[Populated, DrillPeople]) -> None:
    populated, _ = both
    world = populated.world
    tenth: Member = populated.people[9]
    move(tenth, drill=True)
    assert outcome(world, populated) == "not-available", "nine people, and one of the drill"
    move(tenth, drill=False)
    assert outcome(world, populated) == "granted", "positive control: ten people"


def test_row_29_every_permission_of_a_role_is_looked_at_before_the_drills(both: tuple[Populated, DrillPeople]) -> None:
    _, drill = both
    assert drill["auditor"].get("/v1/log/entries").json()["rule"] == "drill", "an auditor's role would do"
    assert drill["steward"].get("/v1/log/entries").json()["rule"] == "role"
    assert drill["auditor"].get("/v1/log/entries", key=drill["auditor"].device).json()["rule"] == "credential"
    move(drill["auditor"], drill=False)
    assert drill["auditor"].get("/v1/log/entries").status_code == 200, "positive control: the guard is what refuses"
