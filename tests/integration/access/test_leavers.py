"""When somebody leaves: what they may, asked for, approved, proposed and opened ends with their role, and what they
leave undone passes on to somebody who stays. What is theirs as a person stays theirs.
"""

from __future__ import annotations

import pytest
from tests.integration.access.conftest import ON_BOTH
from tests.integration.access.test_recalls import acknowledge, night, recalls
from tests.simulators.access import AccessWorld
from tests.simulators.custodian import Member, problem

from assent.contracts.envelope import sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.statements import OwnData, Resume, Role, RoleProposal
from assent.contracts.wire import RequestView


def view(access: AccessWorld, request: str) -> RequestView:
    return RequestView.parse(access.requester.get(f"/v1/requests/{request}").content)


def propose(access: AccessWorld, by: Member, person: Member, role: Role) -> str:
    world = access.custodian
    statement = RoleProposal(person=person.person, role=role, action="grant", nonce=new_id(), at=world.now)
    answer = by.post("/v1/roles", statement)
    assert answer.status_code == 200, answer.text
    return sign(statement, by.opening).hash


def countersign(access: AccessWorld, proposal: str) -> str | None:
    """The name of the problem, if there is one."""
    answer = access.custodian.countersign(proposal)
    return None if answer.is_success else problem(answer)


# --- requests, approvals, leases --------------------------------------------------------------------------------------


@ON_BOTH
def test_what_a_steward_approved_who_left_counts_no_more_and_another_decides(access: AccessWorld) -> None:
    first, second = access.stewards
    request = access.request()
    assert access.decide(first, request).status_code == 200
    access.custodian.end_role(first, Role.STEWARD)
    assert view(access, request).approvals == 0
    assert problem(access.decide(first, request)) == "forbidden"
    assert access.decide(second, request).status_code == 200
    assert view(access, request).state == "open", "one steward of now is one"
    newcomer = access.custodian.add_person("Nia Newcomer", Role.STEWARD)
    assert access.decide(newcomer, request).status_code == 200
    assert view(access, request).state == "granted"
    assert access.job().open(access.requester, request=request).status_code == 200


def test_a_grant_that_lost_a_steward_is_shut_until_others_approve_a_new_request(access: AccessWorld) -> None:
    request = access.grant()
    job = access.job()
    assert job.open(access.requester, request=request).status_code == 200
    access.custodian.end_role(access.stewards[0], Role.STEWARD)
    assert problem(job.ask_release([access.recorded[0].segment])[0]) == "refused"
    newcomer = access.custodian.add_person("Nia Newcomer", Role.STEWARD)
    assert problem(access.decide(newcomer, request)) == "conflict"
    again = access.request()
    for steward in (access.stewards[1], newcomer):
        assert access.decide(steward, again).status_code == 200
    job = access.job()
    assert job.open(access.requester, request=again).status_code == 200
    assert job.release(access.recorded)[0]


def test_an_open_request_of_somebody_who_left_is_approved_by_nobody(access: AccessWorld) -> None:
    request = access.request()
    assert access.decide(access.stewards[0], request).status_code == 200
    access.custodian.end_role(access.requester, Role.REQUESTER)
    refused = access.decide(access.stewards[1], request)
    assert (problem(refused), refused.json()["rule"]) == ("refused", "not-requester")
    assert access.decide(access.stewards[1], request, "refuse", "gone").status_code == 200, "it can be ended"


def test_leases_of_somebody_who_left_release_nothing_and_say_how_much_they_did(access: AccessWorld) -> None:
    request, job = access.grant(), access.job()
    assert job.open(access.requester, request=request).status_code == 200
    assert job.release(access.recorded[:3])[0]
    access.custodian.end_role(access.requester, Role.REQUESTER)
    assert job.ask_release([access.recorded[5].segment])[0].status_code == 403
    assert problem(access.job().open(access.requester, request=request)) == "forbidden"
    assert job.close(3).status_code == 200, "the count is written down all the same"


# --- what passes on ---------------------------------------------------------------------------------------------------


@ON_BOTH
def test_recalls_of_somebody_who_left_pass_on_to_the_requesters_who_stay(access: AccessWorld) -> None:
    world = access.custodian
    heir, steward = world.add_person("Heike Heir", Role.REQUESTER), access.stewards[0]
    job = access.job()
    assert job.open(access.requester, request=access.grant()).status_code == 200
    job.release(access.recorded)
    assert access.people[0].withdraw().status_code == 200
    assert night(access) == 1
    ((recall, _, hash_),) = recalls(access)
    assert recalls(access, heir) == [], "positive control: while its requester is one, it is theirs alone"
    assert problem(acknowledge(access, heir, hash_)) == "not-found"
    world.end_role(access.requester, Role.REQUESTER)
    assert access.requester.get("/v1/recalls").status_code == 403
    assert [found for found, _, _ in recalls(access, heir)] == [recall]
    assert problem(acknowledge(access, steward, hash_)) == "forbidden"
    assert acknowledge(access, heir, hash_).status_code == 200
    assert [done for _, done, _ in recalls(access, heir)] == [world.now[:10]]


def test_what_an_admin_proposed_who_left_is_countersigned_by_nobody(access: AccessWorld) -> None:
    world = access.custodian
    other = world.add_person("Ada Admin", Role.ADMIN)
    mine, theirs = (propose(access, by, access.people[n], Role.AUDITOR) for n, by in enumerate((world.admin, other)))
    world.end_role(other, Role.ADMIN)
    assert countersign(access, theirs) == "refused"
    assert access.people[1].get("/v1/me").json()["roles"] == []
    assert countersign(access, mine) is None, "positive control"
    assert access.people[0].get("/v1/me").json()["roles"] == ["auditor"]
    assert countersign(access, propose(access, world.admin, access.people[1], Role.AUDITOR)) is None, "it passes on"


@pytest.mark.parametrize("how", ["the role ends", "the key is revoked"])
def test_codes_that_an_admin_gave_out_end_with_them(access: AccessWorld, how: str) -> None:
    world = access.custodian
    other = world.add_person("Ada Admin", Role.ADMIN)
    codes = []
    for name, by in (("Kim", other), ("Lou", world.admin)):
        code, invitation = world.invitation(name)
        assert by.post("/v1/invitations", invitation).status_code == 200
        codes.append(code.to_text())
    if how == "the role ends":
        world.end_role(other, Role.ADMIN)
    else:
        spare = other.add_key("opening")
        assert other.revoke(other.opening, by=spare).status_code == 200
    refused = world.post("/v1/enrolments", world.enrolment(codes[0], [("device", other.device)]).to_json())
    assert problem(refused) == "code-invalid"
    assert world.join(codes[1], "Lou").person, "positive control"


def test_a_signature_that_the_programme_may_run_ends_with_its_role(access: AccessWorld) -> None:
    world = access.custodian
    halt = world.halt("something is wrong")
    second = world.add_person("Cleo Council", Role.COUNCIL)
    assert second.post("/v1/halt/resumptions", Resume(halt=halt, at=world.now)).status_code == 200
    world.end_role(second, Role.COUNCIL)
    assert world.dpo.post("/v1/halt/resumptions", Resume(halt=halt, at=world.now)).status_code == 200
    assert world.dpo.get("/v1/halt").json()["halts"], "the dpo alone ends none"
    world.resume()
    assert not world.dpo.get("/v1/halt").json()["halts"]


# --- what stays -------------------------------------------------------------------------------------------------------


def test_who_loses_a_role_stays_a_person_with_everything_that_is_theirs(access: AccessWorld) -> None:
    """And may take part, which says nothing upward: they withdraw, erase and read their own as before."""
    world, steward = access.custodian, access.stewards[0]
    steward.consent()
    mine = access.record(steward)
    world.end_role(steward, Role.STEWARD)
    assert steward.get("/v1/requests").status_code == 403
    own = access.job()
    wish = OwnData(from_day=world.now[:10], to_day=world.now[:10], modalities=tuple(Modality))
    assert own.open(steward, own=wish).status_code == 200
    assert len(own.release(mine)[0]) == len(mine)
    assert steward.withdraw().status_code == 200


def test_revoked_keys_of_somebody_who_left_do_nothing_but_withdraw(access: AccessWorld) -> None:
    steward = access.stewards[0]
    spare = steward.add_key("opening")
    request = access.request()
    assert steward.revoke(steward.opening, by=spare).status_code == 200
    assert problem(access.decide(steward, request)) == "not-signed-in"
    assert steward.withdraw(key=steward.opening).status_code == 200
