"""From a signed request to a released key, and everything that must stop on the way."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from httpx2 import Response
from tests.integration.access.conftest import ON_BOTH
from tests.simulators.access import AccessWorld, Job, Recorded
from tests.simulators.custodian import Member, problem

from assent.contracts.envelope import Envelope, sign
from assent.contracts.ids import Modality, new_id, sha256_hex
from assent.contracts.keys import SigningKey, b64url
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.lists import list_root, pack_batch
from assent.contracts.statements import (
    DataRequest,
    Decision,
    Mode,
    News,
    OwnData,
    ReleaseRequest,
    Role,
    RoleCountersignature,
    RoleProposal,
    Ticket,
)
from assent.contracts.wire import AccessesView, CatalogueView, LogEntries, ReleaseBody, RequestView
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.note import Note
from assent.transparency.proof import LogProof
from assent.transparency.tiles import EntryBundle, entry_bundles, parse_bundle, verify_leaves
from assent_custodian.grants import service as grants
from assent_custodian.keys import erasure
from assent_custodian.leases import domain
from assent_custodian.leases import service as leases_service
from assent_custodian.leases.models import LeaseRow
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.restoring import state as restoring


def leaves(access: AccessWorld) -> list[dict[str, Any]]:
    answer = access.auditor.get("/v1/log/entries?start=0&count=1000")
    assert answer.status_code == 200, answer.text
    return [json.loads(base64.b64decode(entry.leaf)) for entry in LogEntries.parse(answer.content).entries]


def own(access: AccessWorld) -> OwnData:
    day = access.custodian.now[:10]
    return OwnData(from_day=day, to_day=day, modalities=(Modality.POINTER, Modality.KEYBOARD))


# --- the way it should go -----------------------------------------------------------------------------------


@ON_BOTH
def test_two_approvals_open_everything_that_was_asked_for_and_everybody_is_told(access: AccessWorld) -> None:
    request = access.grant()
    job = access.job()
    assert job.open(access.requester, request=request).status_code == 200
    assert job.answer is not None
    streams = {one.stream for one in job.answer.streams}
    assert streams == {one.certificate.stream for one in access.recorded}
    assert len({one.pseudonym for one in job.answer.streams}) == 10
    assert job.lease.streams == list_root(base64.b64decode(job.answer.salt), streams)
    policy = access.custodian.custodian.directory.policy
    LogProof.from_bytes(job.answer.proof.encode()).verify(base64.b64decode(job.answer.leaf), policy)

    keys, refused = job.release(access.recorded)
    assert refused == {}
    assert keys == {one.segment.id: one.data_key.to_bytes() for one in access.recorded}

    for member in access.people:
        view = AccessesView.parse(member.get("/v1/me/accesses").content)
        assert len(view.accesses) == 1
        told = view.accesses[0]
        assert told.notification.kind == "lease"
        assert told.notification.text == (
            "Rafa (internal research) opened recordings of yours: mouse and keyboard of 2026-11-23. "
            "What for: Train models to use a computer. Approved by Stine and Sven."
        )
        assert told.proof is not None and told.leaf is not None
        LogProof.from_bytes(told.proof.encode()).verify(base64.b64decode(told.leaf), policy)
        news = access.custodian.read(_envelope(member.get("/v1/me/news", key=member.device)), News)
        assert [one.id for one in news.notifications] == [told.notification.id]
    bystander = access.custodian.add_person("Bystander")
    assert AccessesView.parse(bystander.get("/v1/me/accesses").content).accesses == ()

    assert job.close(len(keys)).status_code == 200
    types = [leaf["type"] for leaf in leaves(access)]
    order = ["request.signed", "grant.approved", "grant.approved", "lease.opened", "lease.closed"]
    assert [one for one in types if one in order] == order


def _envelope(response: Any) -> Envelope:
    assert response.status_code == 200, response.text
    return Envelope.from_json(response.content)


def test_later_leases_of_a_day_are_gathered_into_one_message(access: AccessWorld) -> None:
    request = access.grant()
    for _ in range(3):
        assert access.job().open(access.requester, request=request).status_code == 200
    person = access.people[0]
    news = access.custodian.read(_envelope(person.get("/v1/me/news", key=person.device)), News)
    assert sorted(one.kind for one in news.notifications) == ["digest", "lease"]
    assert "2 times" in next(one.text for one in news.notifications if one.kind == "digest")
    view = AccessesView.parse(person.get("/v1/me/accesses").content)
    assert len({one.notification.leaf_index for one in view.accesses}) == 3
    assert all(one.proof is not None for one in view.accesses)


def test_news_is_bounded_and_the_list_of_accesses_is_not(access: AccessWorld) -> None:
    request = access.grant()
    assert access.job().open(access.requester, request=request).status_code == 200
    person = access.people[0]
    access.custodian.clock.forward(days=31)
    news = access.custodian.read(_envelope(person.get("/v1/me/news", key=person.device)), News)
    assert news.notifications == ()
    assert len(AccessesView.parse(person.get("/v1/me/accesses").content).accesses) == 1


def test_tickets_name_streams_of_one_day_and_nothing_about_lease_or_person(access: AccessWorld) -> None:
    request = access.grant()
    job = access.job()
    job.open(access.requester, request=request)
    assert job.answer is not None
    for envelope in job.answer.tickets:
        ticket = access.custodian.read(envelope, Ticket)
        assert set(ticket.streams) <= {one.stream for one in job.answer.streams}
        assert ticket.job_signing_key == job.signing.public.text
        text = envelope.payload_bytes.decode()
        assert job.lease.lease not in text and request not in text
        assert all(member.person not in text for member in access.people)


# --- requests and decisions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"purpose": "urn:purpose:other"}, "refused"),
        ({"purpose_version": 2}, "refused"),
        ({"recipient": "somebody else"}, "refused"),
        ({"mode": Mode.EXPORT}, "refused"),
        ({"people": 3}, "not-available"),
        ({"from_day": "2026-11-24", "to_day": "2026-11-23"}, "refused"),
        ({"from_day": "2024-01-01"}, "refused"),
        ({"from_day": "2026-02-30"}, "malformed"),
        ({"expires": "2027-12-31T00:00:00Z"}, "refused"),
        ({"expires": "2026-11-22T00:00:00Z"}, "refused"),
        ({"at": "2026-11-23T08:00:00Z"}, "stale"),
        ({"storage": "somewhere"}, "refused"),
    ],
)
def test_a_request_that_goes_too_far_is_refused(access: AccessWorld, changes: dict[str, Any], expected: str) -> None:
    response = access.requester.post("/v1/requests", access.wish(**changes))
    assert problem(response) == expected
    assert access.requester.get("/v1/requests").json() == {"requests": []}


def test_a_request_that_names_a_person_is_not_well_formed(access: AccessWorld) -> None:
    payload = json.loads(access.wish().to_bytes()) | {"person": access.people[0].person}

    class Naming(DataRequest):
        person: str

    assert (
        problem(access.requester.post("/v1/requests", Naming.model_validate_json(json.dumps(payload)))) == "malformed"
    )


def test_the_same_request_sent_again_changes_nothing_and_the_same_nonce_is_not_taken_twice(access: AccessWorld) -> None:
    statement = access.wish()
    assert access.requester.post("/v1/requests", statement).status_code == 200
    assert problem(access.requester.post("/v1/requests", statement)) == "stale"


def test_nobody_approves_for_themselves(access: AccessWorld) -> None:
    request = access.request()
    assert problem(access.decide(access.requester, request)) == "forbidden"


@ON_BOTH
def test_one_steward_alone_opens_nothing_however_often(access: AccessWorld) -> None:
    request = access.request()
    assert access.decide(access.stewards[0], request).status_code == 200
    access.custodian.clock.forward(seconds=2)
    assert problem(access.decide(access.stewards[0], request)) == "conflict"
    assert problem(access.job().open(access.requester, request=request)) == "refused"


def test_a_refusal_needs_a_reason_is_shown_and_is_final(access: AccessWorld) -> None:
    request = access.request()
    assert problem(access.decide(access.stewards[0], request, "refuse")) == "malformed"
    assert access.decide(access.stewards[0], request, "refuse", "too broad").status_code == 200
    view = RequestView.parse(access.requester.get(f"/v1/requests/{request}").content)
    assert view.state == "refused"
    assert view.decisions[0].reason == "too broad"
    assert problem(access.decide(access.stewards[1], request)) == "conflict"


def test_the_statement_is_shown_byte_for_byte_as_it_was_signed(access: AccessWorld) -> None:
    statement = access.wish()
    access.requester.post("/v1/requests", statement)
    envelope = sign(statement, access.requester.opening)
    view = RequestView.parse(access.stewards[0].get(f"/v1/requests/{envelope.hash}").content)
    assert view.statement == envelope


def test_other_requesters_do_not_see_a_request(access: AccessWorld) -> None:
    request = access.request()
    other = access.custodian.add_person("Rina", Role.REQUESTER)
    assert problem(other.get(f"/v1/requests/{request}")) == "not-found"
    assert other.get("/v1/requests").json() == {"requests": []}
    assert problem(access.job().open(other, request=access.grant())) == "not-found"


def test_council_and_dpo_revoke_and_do_not_approve(access: AccessWorld) -> None:
    request = access.grant()
    job = access.job()
    job.open(access.requester, request=request)
    assert problem(access.decide(access.custodian.dpo, access.request())) == "forbidden"
    assert access.decide(access.custodian.council, request, "revoke", "stop").status_code == 200
    assert problem(job.ask_release([access.recorded[0].segment])[0]) == "refused"
    assert problem(access.job().open(access.requester, request=request)) == "refused"


@ON_BOTH
def test_nine_people_are_not_available_and_nobody_learns_how_many(access: AccessWorld) -> None:
    assert access.people[0].withdraw().status_code == 200
    request = access.request()
    access.decide(access.stewards[0], request)
    response = access.decide(access.stewards[1], request)
    assert RequestView.parse(response.content).state == "not-available"
    assert "9" not in json.dumps(
        [leaf for leaf in leaves(access) if leaf.get("request") == request and "counts" in leaf]
    )
    assert problem(access.job().open(access.requester, request=request)) == "refused"


def test_after_the_grant_a_lease_goes_on_with_who_remains(access: AccessWorld) -> None:
    request = access.grant()
    assert access.job().open(access.requester, request=request).status_code == 200
    access.people[0].withdraw()
    job = access.job()
    assert job.open(access.requester, request=request).status_code == 200
    assert job.answer is not None
    assert len({one.pseudonym for one in job.answer.streams}) == 9
    gone = {one.certificate.stream for one in access.recorded if one.owner is access.people[0]}
    assert set(job.answer.dropped) == gone, "named, and without a reason"
    again = access.job()
    assert again.open(access.requester, request=request).status_code == 200
    assert again.answer is not None
    assert set(again.answer.dropped) == gone, "of any earlier lease, not of the last one alone"


def test_who_joins_after_the_grant_is_not_in_it(access: AccessWorld) -> None:
    request = access.grant()
    late = access.custodian.add_person("Late")
    late.consent()
    recorded = access.record(late)
    job = access.job()
    job.open(access.requester, request=request)
    keys, refused = job.release(recorded)
    assert keys == {}
    assert set(refused.values()) == {"not-leased"}


@ON_BOTH
def test_a_random_choice_has_the_size_asked_for(access: AccessWorld) -> None:
    for number in range(3):
        member = access.custodian.add_person(f"More {number}")
        member.consent()
        access.record(member)
    request = access.grant(people=10)
    job = access.job()
    job.open(access.requester, request=request)
    assert job.answer is not None
    assert len({one.pseudonym for one in job.answer.streams}) == 10


def test_pseudonyms_differ_between_grants(access: AccessWorld) -> None:
    names = []
    for _ in range(2):
        job = access.job()
        job.open(access.requester, request=access.grant())
        assert job.answer is not None
        names.append({one.pseudonym for one in job.answer.streams})
    assert not names[0] & names[1]


# --- leases -------------------------------------------------------------------------------------------------


@ON_BOTH
def test_without_a_witness_no_lease_and_the_log_shows_the_attempt(access: AccessWorld) -> None:
    request = access.grant()
    access.custodian.witness.silent = True
    job = access.job()
    assert problem(job.open(access.requester, request=request)) == "no-quorum"
    assert AccessesView.parse(access.people[0].get("/v1/me/accesses").content).accesses == ()
    access.custodian.witness.silent = False
    found = leaves(access)
    assert "lease.opened" in [leaf["type"] for leaf in found]
    assert [leaf["rule"] for leaf in found if leaf["type"] == "lease.refused"] == ["no-quorum"]
    assert job.open(access.requester, request=request).status_code == 200


@ON_BOTH
def test_a_lease_that_never_opened_is_closed_in_the_log_and_costs_no_budget(access: AccessWorld) -> None:
    """Every one of them, though refusals are written down once a minute: else each would count as read in full."""
    first = access.custodian.now[:10]
    access.custodian.clock.forward(days=1)
    for member in access.people:
        access.record(member)
    request, other = access.grant(from_day=first, to_day=first), access.grant()
    access.custodian.restart(recorded_days_per_day=10)
    access.custodian.witness.silent = True
    for _ in range(2):
        assert problem(access.job().open(access.requester, request=request)) == "no-quorum"
    access.custodian.witness.silent = False
    found = leaves(access)
    opened = [leaf["subject"] for leaf in found if leaf["type"] == "lease.opened"]
    closed = [leaf for leaf in found if leaf["type"] == "lease.closed"]
    assert [leaf["subject"] for leaf in closed] == opened
    assert [(leaf["rule"], leaf["counts"]) for leaf in closed] == [("no-quorum", {"released": 0})] * 2
    assert access.job().open(access.requester, request=other).status_code == 200
    assert access.job().open(access.requester, request=request).json()["rule"] == "days-per-day", "the control"


def test_a_withdrawal_needs_no_witness(access: AccessWorld) -> None:
    access.custodian.witness.silent = True
    assert access.people[0].withdraw(erase="now").status_code == 200


@ON_BOTH
def test_while_a_lease_waits_for_a_witness_nobody_else_waits(
    access: AccessWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A witness that is slow holds up leases only; what was withdrawn meanwhile does not open under them."""
    request, job, world = access.grant(), access.job(), access.custodian
    asked, go_on, answer = threading.Event(), threading.Event(), world.witness.answer

    def slowly(body: bytes, clock: Any) -> tuple[int, bytes]:
        asked.set()
        go_on.wait(20)
        return answer(body, clock)

    world.restart(witness_timeout_s=25)
    monkeypatch.setattr(world.witness, "answer", slowly)
    opened: list[Response] = []
    lease = threading.Thread(target=lambda: opened.append(job.open(access.requester, request=request)))
    lease.start()
    assert asked.wait(20)
    assert access.people[0].withdraw().status_code == 200
    assert access.people[1].withdraw(erase="now").status_code == 200
    assert opened == [], "the lease still waits"
    go_on.set()
    lease.join(timeout=60)
    assert opened[0].status_code == 200
    found, refused = job.release(access.recorded)
    withdrawn = {one.segment.id for one in access.recorded if one.owner in access.people[:2]}
    assert set(refused) == withdrawn and len(withdrawn) == 4
    assert len(found) == len(access.recorded) - 4


@ON_BOTH
def test_a_lease_request_counts_once_and_only_freshly(access: AccessWorld) -> None:
    request = access.grant()
    wish = access.job().wish(request=request)
    assert access.requester.post("/v1/leases", wish).status_code == 200
    assert problem(access.requester.post("/v1/leases", wish)) == "stale"
    late = access.job().wish(request=request)
    access.custodian.clock.forward(seconds=121)
    assert problem(access.requester.post("/v1/leases", late)) == "stale"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"until": "2026-11-25T09:00:00Z"}, "refused"),
        ({"until": "2026-11-23T08:59:00Z"}, "refused"),
        ({"request": "0" * 64}, "not-found"),
        ({"request": None}, "malformed"),
        ({"job_receiving_key": "a1-xw:" + b64url(b"\xff" * 1216)}, "malformed"),
    ],
)
def test_a_lease_that_goes_too_far_is_refused(access: AccessWorld, changes: dict[str, Any], expected: str) -> None:
    request = access.grant()
    assert problem(access.job().open(access.requester, **{"request": request, **changes})) == expected


def test_a_device_key_opens_no_lease(access: AccessWorld) -> None:
    wish = access.job().wish(own=own(access))
    person = access.people[0]
    assert problem(person.post("/v1/leases", wish, key=person.device)) == "forbidden"


def test_a_lease_ends(access: AccessWorld) -> None:
    job = access.job()
    job.open(access.requester, request=access.grant())
    access.custodian.clock.forward(hours=2, seconds=1)
    assert problem(job.ask_release([access.recorded[0].segment])[0]) == "refused"


@ON_BOTH
def test_a_closed_lease_releases_nothing_and_closing_twice_is_closing_once(access: AccessWorld) -> None:
    job = access.job()
    job.open(access.requester, request=access.grant())
    assert job.close(0).status_code == 200
    assert job.close(0).status_code == 200
    assert problem(job.ask_release([access.recorded[0].segment])[0]) == "refused"


def test_a_requester_who_is_one_no_more_reads_nothing(access: AccessWorld) -> None:
    request = access.grant()
    job = access.job()
    job.open(access.requester, request=request)
    access.custodian.clock.forward(seconds=1)
    proposal = RoleProposal(
        person=access.requester.person, role=Role.REQUESTER, action="revoke", nonce=new_id(), at=access.custodian.now
    )
    assert access.custodian.admin.post("/v1/roles", proposal).status_code == 200
    hash_ = sign(proposal, access.custodian.admin.opening).hash
    countersigned = RoleCountersignature(proposal=hash_, at=access.custodian.now)
    access.custodian.council.post("/v1/roles/countersignatures", countersigned)
    assert job.ask_release([access.recorded[0].segment])[0].status_code == 403
    assert access.job().open(access.requester, request=request).status_code in (403, 404)


def test_a_release_that_is_refused_is_written_down(access: AccessWorld) -> None:
    job = access.job()
    request = access.grant()
    job.open(access.requester, request=request)
    job.close(0)
    assert problem(job.ask_release([access.recorded[0].segment])[0]) == "refused"
    refused = [leaf for leaf in leaves(access) if leaf["type"] == "lease.refused"]
    assert [(leaf["rule"], leaf["request"]) for leaf in refused] == [("lease-not-open", request)]


def test_days_to_come_are_in_no_lease(access: AccessWorld) -> None:
    """A stream that was certified ahead, for tomorrow, is nothing that a grant of today's could have meant."""
    from assent_custodian.keys.models import Stream

    request = access.grant(to_day="2026-11-30")
    ahead = access.recorded[0].certificate.stream
    with access.custodian.custodian.database.transaction() as session:
        session.get_one(Stream, ahead).day = "2026-11-24"
    job = access.job()
    job.open(access.requester, request=request)
    assert job.answer is not None
    assert ahead not in {one.stream for one in job.answer.streams}
    assert len(job.answer.streams) == len(access.recorded) - 1


def test_everybody_is_told_which_of_their_own_recordings_were_opened(access: AccessWorld) -> None:
    """Not what was asked for: who takes something back, or had recorded less, reads that."""
    first = access.custodian.now[:10]
    access.custodian.clock.forward(days=2)
    access.record(access.people[1])
    request = access.grant(from_day=first)
    assert access.people[0].withdraw(modalities=(Modality.KEYBOARD,)).status_code == 200
    assert access.job().open(access.requester, request=request).status_code == 200
    texts = [
        AccessesView.parse(member.get("/v1/me/accesses").content).accesses[0].notification.text
        for member in access.people[:3]
    ]
    assert "of yours: mouse of 2026-11-23. " in texts[0]
    assert "of yours: mouse and keyboard of 2 days, 2026-11-23 to 2026-11-25. " in texts[1]
    assert "of yours: mouse and keyboard of 2026-11-23. " in texts[2]


def test_long_names_make_a_shorter_message_and_no_failure(access: AccessWorld) -> None:
    from assent_custodian.people.models import PersonName

    with access.custodian.custodian.database.transaction() as session:
        for row in session.query(PersonName):
            row.name = (row.name + " ") * 80
    request = access.grant()
    access.job().open(access.requester, request=request)
    with access.custodian.custodian.database.transaction() as session:
        session.get_one(PersonName, access.requester.person).name = "R" * 500
    response = access.people[0].get("/v1/me/news", key=access.people[0].device)
    assert response.status_code == 200, response.text


@ON_BOTH
def test_refusals_are_written_down_but_cannot_flood_the_log(access: AccessWorld) -> None:
    request = access.request()
    for _ in range(3):
        access.job().open(access.requester, request=request)
    refused = [leaf for leaf in leaves(access) if leaf["type"] == "lease.refused"]
    assert [leaf["rule"] for leaf in refused] == ["not-granted"]


# --- release ------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(access: AccessWorld) -> Job:
    job = access.job()
    assert job.open(access.requester, request=access.grant()).status_code == 200
    return job


@ON_BOTH
def test_withdrawal_in_the_middle_of_a_pull_shuts_the_door_for_that_person_alone(
    access: AccessWorld, opened: Job
) -> None:
    first = access.recorded[:2]
    assert len(opened.release(first)[0]) == 2
    access.people[0].withdraw()
    keys, refused = opened.release(access.recorded)
    assert {refused[one.segment.id] for one in first} == {"withdrawn"}
    assert len(keys) == 18


def test_withdrawing_one_modality_shuts_that_one(access: AccessWorld, opened: Job) -> None:
    access.people[0].withdraw(modalities=(Modality.KEYBOARD,))
    keys, refused = opened.release(access.recorded[:2])
    shut = next(one for one in access.recorded[:2] if one.certificate.modality is Modality.KEYBOARD)
    assert refused == {shut.segment.id: "withdrawn"}
    assert len(keys) == 1


@ON_BOTH
def test_releases_at_the_same_time_are_all_counted_and_a_closure_waits_for_them(
    access: AccessWorld, opened: Job
) -> None:
    database, lease = access.custodian.custodian.database, opened.lease.lease

    def during_a_release_of(count: int, act: Callable[[], object]) -> None:
        with database.transaction() as session:
            row = session.get_one(LeaseRow, lease, with_for_update=True)
            thread = threading.Thread(target=act)
            thread.start()
            thread.join(timeout=0.5)
            assert thread.is_alive(), "it waits for the release under way"
            row.released += count
        thread.join(timeout=60)

    during_a_release_of(5, lambda: opened.release(access.recorded[:2]))
    during_a_release_of(3, lambda: opened.close(10))
    (closed,) = [leaf for leaf in leaves(access) if leaf["type"] == "lease.closed"]
    assert closed["counts"] == {"released": 10}


@ON_BOTH
def test_erased_at_once_opens_for_nobody(access: AccessWorld, opened: Job) -> None:
    person = access.people[0]
    person.withdraw(erase="now")
    assert set(opened.release(access.recorded[:2])[1].values()) == {"erased"}
    assert problem(access.job().open(person, own=own(access))) == "not-available"


def test_only_the_jobs_key_gets_an_answer(access: AccessWorld, opened: Job) -> None:
    response, _ = opened.ask_release([access.recorded[0].segment], key=SigningKey.generate())
    assert problem(response) == "signature-invalid"
    response, _ = opened.ask_release([access.recorded[0].segment], key=access.requester.opening)
    assert problem(response) == "signature-invalid"


def test_a_batch_that_was_not_signed_is_refused(access: AccessWorld, opened: Job) -> None:
    batch = pack_batch([(access.recorded[0].segment.header, access.recorded[0].segment.sealed_key)])
    other = pack_batch([(access.recorded[1].segment.header, access.recorded[1].segment.sealed_key)])
    statement = sign(ReleaseRequest(lease=opened.lease.lease, batch=sha256_hex(batch), count=1), opened.signing)
    body = ReleaseBody(statement=statement, batch=base64.b64encode(other).decode())
    assert problem(access.custodian.post("/v1/leases/releases", body.to_json())) == "body-mismatch"
    wrong_count = sign(ReleaseRequest(lease=opened.lease.lease, batch=sha256_hex(batch), count=2), opened.signing)
    body = ReleaseBody(statement=wrong_count, batch=base64.b64encode(batch).decode())
    assert problem(access.custodian.post("/v1/leases/releases", body.to_json())) == "malformed"


def test_a_sealed_key_under_another_header_does_not_open(access: AccessWorld, opened: Job) -> None:
    """What a collector in enemy hands would try: the right lease, a swapped sealed key."""
    first, second = access.recorded[0].segment, access.recorded[1].segment
    keys, refused = _release(opened, [replace(first, sealed_key=second.sealed_key), second])
    assert refused == {first.id: "damaged"}
    assert set(keys) == {second.id}


def test_a_header_of_another_stream_does_not_open(access: AccessWorld, opened: Job) -> None:
    one = access.recorded[0].segment
    forged = replace(one, header=one.header.replace(access.recorded[0].certificate.stream.encode(), new_id().encode()))
    assert set(_release(opened, [forged])[1].values()) == {"not-leased"}


def test_rubbish_headers_are_listed_and_the_rest_is_answered(access: AccessWorld, opened: Job) -> None:
    one = access.recorded[0].segment
    keys, refused = _release(opened, [replace(one, header=b"{}"), one])
    assert list(refused.values()) == ["damaged"]
    assert set(keys) == {one.id}


def _release(job: Job, segments: list[Any]) -> tuple[dict[str, bytes], dict[str, str]]:
    return job.release([Recorded(None, None, segment, None) for segment in segments])  # type: ignore[arg-type]


def test_a_halt_shuts_the_door_for_everybody(access: AccessWorld, opened: Job) -> None:
    access.custodian.halt("a breach is suspected")
    response, _ = opened.ask_release([access.recorded[0].segment])
    assert problem(response) == "closed"
    assert "a breach is suspected" in response.json()["detail"]
    assert problem(access.job().open(access.people[0], own=own(access))) == "closed"


# --- own data -----------------------------------------------------------------------------------------------


@ON_BOTH
def test_a_person_opens_their_own_recordings_and_no_others_also_after_withdrawing(access: AccessWorld) -> None:
    person = access.people[0]
    person.withdraw()
    job = access.job()
    assert job.open(person, own=own(access)).status_code == 200
    assert job.answer is not None
    assert {one.pseudonym for one in job.answer.streams} == {"you"}
    keys, refused = job.release(access.recorded)
    assert set(keys) == {one.segment.id for one in access.recorded[:2]}
    assert set(refused.values()) == {"not-leased"}
    tickets = [access.custodian.read(envelope, Ticket) for envelope in job.answer.tickets]
    assert all(len(ticket.streams) == 1 for ticket in tickets)


@ON_BOTH
def test_a_key_that_is_destroyed_while_its_release_is_checked_is_refused_alone(
    access: AccessWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL the night may destroy a key after the release looked at the stream and before it takes the key."""
    person = access.people[0]
    job = access.job()
    assert job.open(person, own=own(access)).status_code == 200
    mine = access.recorded[:2]
    with access.custodian.custodian.database.transaction() as session:
        erasure.erase(session, access.custodian.custodian, [mine[0].certificate.stream])
    monkeypatch.setattr(domain, "why_not", lambda *_args: None)  # as it was seen a moment before
    keys, refused = job.release(mine)
    assert set(keys) == {mine[1].segment.id}
    assert refused == {mine[0].segment.id: "erased"}


def test_opening_ones_own_data_does_not_say_in_the_log_who_did(access: AccessWorld) -> None:
    person = access.people[0]
    actors = []
    for _ in range(2):
        access.job().open(person, own=own(access))
    actors = [leaf["actor"] for leaf in leaves(access) if leaf.get("mode") == "own"]
    assert len(set(actors)) == 2
    view = AccessesView.parse(person.get("/v1/me/accesses").content)
    assert {one.notification.kind for one in view.accesses} == {"own"}


def test_another_persons_id_cannot_be_named_in_own_data(access: AccessWorld) -> None:
    assert "person" not in OwnData.model_fields
    stranger = access.custodian.add_person("Stranger")
    assert problem(access.job().open(stranger, own=own(access))) == "not-available"


# --- catalogue and audit ------------------------------------------------------------------------------------


@ON_BOTH
def test_the_catalogue_counts_in_tens_and_does_not_move_with_one_person(access: AccessWorld) -> None:
    view = CatalogueView.parse(access.requester.get("/v1/catalogue").content)
    counts = {entry.modality: entry.people for entry in view.entries}
    assert counts == {Modality.POINTER: 10, Modality.KEYBOARD: 10, Modality.SCREEN: 0, Modality.CONTEXT: 0}
    access.people[0].withdraw()
    again = CatalogueView.parse(access.requester.get("/v1/catalogue").content)
    assert again == view
    access.custodian.clock.forward(days=8)
    later = CatalogueView.parse(access.requester.get("/v1/catalogue").content)
    assert {entry.people for entry in later.entries} == {0}
    assert {entry.from_day for entry in later.entries} == {None}


@ON_BOTH
def test_seeing_the_log_is_in_the_log(access: AccessWorld) -> None:
    before = len(leaves(access))
    after = leaves(access)
    assert len(after) == before + 1
    assert after[-1]["type"] == "audit.viewed"


@ON_BOTH
def test_a_look_at_nothing_but_ones_own_looks_leaves_none_and_every_other_one_does(access: AccessWorld) -> None:
    """Also at what was seen before: whoever has an auditor's key today leaves a trace, whatever its owner has read."""
    council = access.custodian.council

    def size() -> int:
        with access.custodian.custodian.database.reading() as session:
            return log.size(session)

    def look(by: Member, path: str) -> int:
        """How many entries it leaves."""
        before = size()
        answer = by.get(path)
        assert answer.status_code == 200, answer.text
        return size() - before

    def entries(start: int, count: int) -> str:
        return f"/v1/log/entries?start={start}&count={count}"

    def bundle(width: int) -> str:
        return f"/v1/log/tile/{EntryBundle(0, width).path.removeprefix('tile/')}"

    first = size()
    assert look(access.auditor, entries(0, first)) == 1
    assert look(access.auditor, entries(first, 10)) == 0, "nothing but the trace of the look before"
    assert look(access.auditor, entries(first, 10)) == 0
    assert look(access.auditor, entries(first + 1, 10)) == 0, "nothing at all"
    assert look(access.auditor, entries(0, first + 1)) == 1, "the same again, and the trace"
    assert look(access.auditor, entries(first - 1, 2)) == 1
    assert look(access.auditor, bundle(first + 1)) == 1
    assert look(access.auditor, entries(0, 1)) == 1
    assert look(council, entries(first, 1)) == 1, "the look of somebody else"
    own = size()
    assert look(council, entries(own - 1, 1)) == 0
    assert look(access.auditor, entries(own - 1, 1)) == 1
    assert look(access.auditor, "/v1/log/proof?index=0") == 0, "hashes are no entries"
    assert look(access.auditor, "/v1/log/tile/0/000.p/1") == 0
    assert leaves(access)[first]["counts"] == {"start": 0, "entries": first}


@ON_BOTH
def test_tiles_and_proofs_verify_against_the_checkpoint(access: AccessWorld) -> None:
    access.job().open(access.requester, request=access.grant())
    note = Note.from_bytes(access.custodian.client.get("/v1/log/checkpoint").content)
    checkpoint = Checkpoint.from_text(note.text)
    found: list[bytes] = []
    for bundle in entry_bundles(checkpoint.size):
        response = access.auditor.get(f"/v1/log/{bundle.path}")
        assert response.status_code == 200, response.text
        found += parse_bundle(bundle, response.content)
    verify_leaves(found, checkpoint)
    proof = access.auditor.get("/v1/log/proof?index=1")
    LogProof.from_bytes(proof.content).verify(found[1], access.custodian.custodian.directory.policy)
    assert problem(access.auditor.get("/v1/log/proof?index=100000")) == "not-found"
    assert problem(access.auditor.get("/v1/log/tile/0/x999/000")) == "not-found"
    assert problem(access.auditor.get("/v1/log/tile/../../secret")) in ("not-found", "signature-invalid")


@ON_BOTH
def test_full_tiles_are_kept_for_ever_partial_ones_for_an_hour_and_checkpoints_not_at_all(access: AccessWorld) -> None:
    world, auditor = access.custodian, access.auditor
    with world.custodian.database.transaction() as session:
        log.append(session, *(Leaf(type=LeafType.CONFIG_CHANGED, at=world.now) for _ in range(2 * 256)))

    def ask(path: str, tag: str | None = None, key: SigningKey | None = None) -> Response:
        fields = {"Authorization": world.authorization(key or auditor.opening, "GET", path)}
        return world.client.get(path, headers=fields | ({} if tag is None else {"If-None-Match": tag}))

    def size() -> int:
        with world.custodian.database.reading() as session:
            return log.size(session)

    for path, kept in (
        ("/v1/log/tile/0/000", "private, max-age=31536000, immutable"),
        ("/v1/log/tile/entries/001", "private, max-age=31536000, immutable"),
        ("/v1/log/tile/0/000.p/255", "private, max-age=3600"),
        ("/v1/log/tile/1/000.p/2", "private, max-age=3600"),
        ("/v1/log/tile/entries/000.p/7", "private, max-age=3600"),
        ("/v1/log/checkpoint", "no-cache"),
    ):
        first = ask(path)
        assert (first.status_code, first.headers["cache-control"]) == (200, kept), path
        before = size()
        for named in (first.headers["etag"], f'"other", W/{first.headers["etag"]}', "*"):
            again = ask(path, named)
            assert (again.status_code, again.content) == (304, b"")
            assert (again.headers["cache-control"], again.headers["etag"]) == (kept, first.headers["etag"])
        assert size() == before, "nothing was shown, so nothing is written down"
        other = ask(path, '"other"')
        assert (other.status_code, other.content) == (200, first.content)
        assert size() == before + ("entries" in path), "the control"
    tag = ask("/v1/log/tile/0/000").headers["etag"]
    refused = ask("/v1/log/tile/0/000", tag, access.requester.opening)
    assert (refused.status_code, refused.headers["cache-control"]) == (403, "no-store"), "also to whoever has the tag"
    assert ask("/v1/log/tile/entries/009").headers["cache-control"] == "no-store", "what is not there yet may come"


def test_decisions_of_somebody_who_is_no_steward_now_do_not_count(access: AccessWorld) -> None:
    request = access.grant()
    access.custodian.clock.forward(seconds=1)
    proposal = RoleProposal(
        person=access.stewards[0].person, role=Role.STEWARD, action="revoke", nonce=new_id(), at=access.custodian.now
    )
    access.custodian.admin.post("/v1/roles", proposal)
    hash_ = sign(proposal, access.custodian.admin.opening).hash
    access.custodian.dpo.post(
        "/v1/roles/countersignatures", RoleCountersignature(proposal=hash_, at=access.custodian.now)
    )
    assert problem(access.job().open(access.requester, request=request)) == "refused"


@ON_BOTH
def test_an_expired_grant_opens_nothing_and_the_night_writes_it_down(access: AccessWorld) -> None:
    request = access.grant()
    access.custodian.clock.forward(days=21)
    assert problem(access.job().open(access.requester, request=request)) == "refused"
    custodian = access.custodian.custodian
    with custodian.database.transaction() as session:
        assert grants.expire_due(session, custodian) == 1
    with custodian.database.transaction() as session:
        assert grants.expire_due(session, custodian) == 0
    assert "grant.expired" in [leaf["type"] for leaf in leaves(access)]


def test_a_decision_about_nothing_is_not_found(access: AccessWorld) -> None:
    statement = Decision(request="0" * 64, decision="approve", at=access.custodian.now)
    assert problem(access.stewards[0].post("/v1/decisions", statement)) == "not-found"


@ON_BOTH
def test_what_is_revoked_while_the_witnesses_sign_does_not_open(
    access: AccessWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    require, request, job = witnesses.require_quorum, access.grant(), access.job()

    def slowly(*arguments: Any) -> Any:
        note = require(*arguments)
        assert access.decide(access.stewards[1], request, "revoke", "not this").status_code == 200
        return note

    with monkeypatch.context() as patched:
        patched.setattr(witnesses, "require_quorum", slowly)
        refused = job.open(access.requester, request=request)
    assert (problem(refused), refused.json()["rule"]) == ("refused", "not-granted")
    assert access.people[0].get("/v1/me/accesses").json()["accesses"] == []
    (closed,) = [leaf for leaf in leaves(access) if leaf["type"] == "lease.closed"]
    assert (closed["rule"], closed["counts"]) == ("not-granted", {"released": 0})


@ON_BOTH
def test_what_a_restore_finds_under_way_does_not_open_and_still_everybody_is_told(
    access: AccessWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A witness may say, over another lease, that this database was restored from before."""
    require, request, custodian = witnesses.require_quorum, access.grant(), access.custodian.custodian

    def dies(*_: Any) -> Any:
        raise RuntimeError("the machine lost its power")

    def restored(*arguments: Any) -> Any:
        note = require(*arguments)
        with custodian.database.transaction() as session:
            restoring.begin(session, log.size(session) + 1, custodian.today())
        return note

    for way, expected in ((dies, 500), (restored, 503)):
        with monkeypatch.context() as patched:
            patched.setattr(witnesses, "require_quorum", way)
            assert access.job().open(access.requester, request=request).status_code == expected
    access.custodian.clock.forward(minutes=6)
    assert leases_service.settle(custodian) == 2, "the log cannot take that one of them was refused: it counts, too"
    assert len(AccessesView.parse(access.people[0].get("/v1/me/accesses").content).accesses) == 2


@pytest.mark.parametrize("own", [False, True])
def test_a_halt_while_the_witnesses_sign_leaves_the_lease_shut(
    access: AccessWorld, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    """No lease, no ticket, nobody told that something was opened; and one more refusal in the log."""
    require, world, kim = witnesses.require_quorum, access.custodian, access.people[0]

    def slowly(*arguments: Any) -> Any:
        world.halt("an incident")
        return require(*arguments)

    day = world.now[:10]
    who = kim if own else access.requester
    wish: dict[str, Any] = (
        {"own": {"from_day": day, "to_day": day, "modalities": tuple(Modality)}} if own else {"request": access.grant()}
    )
    with monkeypatch.context() as patched:
        patched.setattr(witnesses, "require_quorum", slowly)
        assert problem(access.job().open(who, **wish)) == "closed"
    assert kim.get("/v1/me/accesses").json()["accesses"] == []
    world.resume()
    world.clock.forward(seconds=1)
    assert access.job().open(who, **wish).status_code == 200, "the positive control"
