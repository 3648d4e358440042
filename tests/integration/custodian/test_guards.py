"""Council and data-protection officer watch the admins: together they need no admin against an admin, and the last of
each stays until somebody else can do what they do."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from httpx2 import Response
from tests.simulators.custodian import CustodianWorld, Member, custodian_world, problem

from assent.contracts.envelope import sign
from assent.contracts.ids import new_id
from assent.contracts.problems import Code
from assent.contracts.statements import Role, RoleCountersignature, RoleProposal
from assent_custodian.auth import Asker
from assent_custodian.people.service import countersign


def propose(by: Member, member: Member, role: Role, action: str = "revoke") -> Response:
    world = by.world
    content = {"person": member.person, "role": role, "action": action, "nonce": new_id(), "at": world.now}
    return by.post("/v1/roles", RoleProposal.model_validate(content))


def proposed(by: Member, member: Member, role: Role, action: str = "revoke") -> str:
    answer = propose(by, member, role, action)
    assert answer.status_code == 200, answer.text
    hash_: str = answer.json()["hash"]
    return hash_


def roles_of(member: Member) -> list[str]:
    found: list[str] = member.get("/v1/me").json()["roles"]
    return found


# --- a sole admin -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [(Role.COUNCIL, Role.DPO), (Role.DPO, Role.COUNCIL)])
def test_council_and_dpo_end_a_sole_admin_and_make_another(lite: CustodianWorld, first: Role, second: Role) -> None:
    kim = lite.add_person("Kim")
    one, other = lite.founders[first], lite.founders[second]
    assert lite.countersign(proposed(one, lite.admin, Role.ADMIN), other).status_code == 200
    assert roles_of(lite.admin) == []
    assert problem(lite.admin.post("/v1/invitations", lite.invitation("A friend")[1])) == "forbidden", "at once"
    assert lite.countersign(proposed(one, kim, Role.ADMIN, "grant"), other).status_code == 200
    assert roles_of(kim) == ["admin"]
    assert kim.post("/v1/invitations", lite.invitation("Ina")[1]).status_code == 200, "the positive control"


def test_neither_of_them_is_enough_alone_nor_twice(lite: CustodianWorld) -> None:
    colleague = lite.add_person("A second member", Role.COUNCIL)
    hash_ = proposed(lite.council, lite.admin, Role.ADMIN)
    for by in (lite.council, colleague):
        assert problem(lite.countersign(hash_, by)) == "refused"
    assert roles_of(lite.admin) == ["admin"]
    assert lite.countersign(hash_, lite.dpo).status_code == 200, "the positive control"


def test_they_propose_no_other_role(lite: CustodianWorld) -> None:
    kim, sam = lite.add_person("Kim"), lite.add_person("Sam", Role.STEWARD)
    for by in (lite.council, lite.dpo):
        for role in set(Role) - {Role.ADMIN}:
            assert problem(propose(by, kim, role, "grant")) == "refused"
        assert problem(propose(by, sam, Role.STEWARD)) == "refused"
    for by in (kim, sam):
        assert problem(propose(by, lite.admin, Role.ADMIN)) == "forbidden"
    assert propose(lite.admin, kim, Role.STEWARD, "grant").status_code == 200, "the positive control"


def test_what_they_proposed_counts_only_while_they_are_it(lite: CustodianWorld) -> None:
    colleague = lite.add_person("A second member", Role.COUNCIL)
    hash_ = proposed(colleague, lite.admin, Role.ADMIN)
    lite.end_role(colleague, Role.COUNCIL)
    assert problem(lite.countersign(hash_, lite.dpo)) == "refused"
    assert roles_of(lite.admin) == ["admin"]


def test_an_admin_whom_they_make_waits_like_anybody(tmp_path: Path) -> None:
    with custodian_world(tmp_path, role_delay_hours=24) as world:
        kim = world.add_person("Kim")
        assert world.countersign(proposed(world.dpo, kim, Role.ADMIN, "grant")).status_code == 200
        assert roles_of(kim) == []
        world.clock.forward(hours=24)
        assert roles_of(kim) == ["admin"]


# --- the last one -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.COUNCIL, Role.DPO])
def test_the_last_of_each_stays_until_somebody_else_is_it(lite: CustodianWorld, role: Role) -> None:
    last, other = lite.founders[role], lite.founders[Role.DPO if role is Role.COUNCIL else Role.COUNCIL]
    hash_ = proposed(lite.admin, last, role)
    assert problem(lite.countersign(hash_, other)) == "refused"
    assert roles_of(last) == [role.value]
    kim = lite.add_person("Kim")
    assert lite.countersign(proposed(lite.admin, kim, role, "grant"), other).status_code == 200
    assert lite.countersign(hash_, other).status_code == 200, "the same proposal, now"
    assert (roles_of(last), roles_of(kim)) == ([], [role.value])


def test_a_successor_counts_when_the_delay_is_over_and_with_a_key_that_signs(tmp_path: Path) -> None:
    with custodian_world(tmp_path, role_delay_hours=24) as world:
        kim = world.add_person("Kim")
        hash_ = proposed(world.admin, world.council, Role.COUNCIL)
        assert world.countersign(proposed(world.admin, kim, Role.COUNCIL, "grant"), world.dpo).status_code == 200
        assert problem(world.countersign(hash_, world.dpo)) == "refused", "Kim is not it yet"
        world.clock.forward(hours=24)
        assert kim.revoke(kim.opening, even_last=True).status_code == 200
        assert problem(world.countersign(hash_, world.dpo)) == "refused", "Kim cannot sign any more"
        lou = world.add_person("Lou")
        assert world.countersign(proposed(world.admin, lou, Role.COUNCIL, "grant"), world.dpo).status_code == 200
        world.clock.forward(hours=24)
        assert world.countersign(hash_, world.dpo).status_code == 200, "the positive control"


def test_other_roles_end_without_a_successor(lite: CustodianWorld) -> None:
    for role in (Role.REQUESTER, Role.STEWARD, Role.AUDITOR):
        member = lite.add_person(f"The only {role.value}", role)
        lite.end_role(member, role)
        assert roles_of(member) == []


def test_two_of_two_do_not_go_at_the_same_time(world: CustodianWorld) -> None:
    """Each for the other's sake."""
    second = world.add_person("A second member", Role.COUNCIL)
    hashes = [proposed(world.admin, member, Role.COUNCIL) for member in (world.council, second)]
    first, last = (RoleCountersignature(proposal=hash_, at=world.now) for hash_ in hashes)
    answers: list[int] = []
    thread = threading.Thread(
        target=lambda: answers.append(world.dpo.post("/v1/roles/countersignatures", last).status_code)
    )
    with world.custodian.database.transaction() as session:
        asker = Asker(world.dpo.person, world.dpo.opening.public.id, "opening", frozenset({Role.DPO}), False)
        countersign(session, world.custodian, first, sign(first, world.dpo.opening), asker)
        session.flush()
        thread.start()
        thread.join(timeout=0.5)
    thread.join(timeout=60)
    assert answers == [Code.REFUSED.status]
    assert (roles_of(world.council), roles_of(second)) == ([], ["council"])
