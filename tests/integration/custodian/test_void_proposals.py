"""A role that somebody proposed is countersigned only while they are what they were, by the very key that signed it."""

from __future__ import annotations

from typing import Any, Literal

from tests.simulators.custodian import CustodianWorld, Member, problem

from assent.contracts.envelope import sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey, fingerprint
from assent.contracts.statements import Role, RoleCountersignature, RoleProposal


def propose(
    by: Member,
    member: Member,
    role: Role = Role.STEWARD,
    action: Literal["grant", "revoke"] = "grant",
    key: SigningKey | None = None,
) -> str:
    statement = RoleProposal(person=member.person, role=role, action=action, nonce=new_id(), at=by.world.now)
    answer = by.post("/v1/roles", statement, key=key)
    assert answer.status_code == 200, answer.text
    return sign(statement, key or by.opening).hash


def countersign(world: CustodianWorld, proposal: str, *members: Member, by: Member | None = None) -> str:
    """What becomes of it; signed for the right keys, whether or not they are shown."""
    keys = tuple(sorted(fingerprint(member.opening.public.text) for member in members))
    statement = RoleCountersignature(proposal=proposal, keys=keys, at=world.now)
    answer = (by or world.council).post("/v1/roles/countersignatures", statement)
    return "done" if answer.status_code == 200 else f"{problem(answer)} {answer.json().get('rule', '')}"


def listed(world: CustodianWorld, proposal: str) -> dict[str, Any]:
    shown = world.dpo.get("/v1/roles").json()["proposals"]
    return next(one for one in shown if one["proposal"] == proposal)


def is_offered(world: CustodianWorld, proposal: str) -> bool:
    one = listed(world, proposal)
    assert not one["countersigned"]
    assert not (one.get("void") and one["keys"]), "no keys to compare, either"
    return not one.get("void")


def test_what_a_stolen_key_proposed_falls_with_that_key(world: CustodianWorld) -> None:
    kim, lee = world.add_person("Kim"), world.add_person("Lee")
    stolen = world.admin.add_key("opening")
    theirs, ours = propose(world.admin, kim, key=stolen), propose(world.admin, lee)
    assert is_offered(world, theirs) and is_offered(world, ours)
    assert world.admin.revoke(stolen).status_code == 200
    assert countersign(world, theirs, kim) == "refused proposer"
    assert kim.get("/v1/me").json()["roles"] == []
    assert not is_offered(world, theirs) and is_offered(world, ours)
    assert countersign(world, ours, lee) == "done", "the positive control: by a key that is not revoked"
    assert lee.get("/v1/me").json()["roles"] == ["steward"] and not listed(world, ours).get("void")
    world.clock.forward(seconds=1)
    assert countersign(world, propose(world.admin, kim), kim) == "done", "proposed anew"


def test_what_came_with_an_invitation_falls_with_its_key_also_when_somebody_has_joined(world: CustodianWorld) -> None:
    stolen = world.admin.add_key("opening")
    members = []
    for name, key in (("Kim", stolen), ("Lee", world.admin.opening)):
        code, invitation = world.invitation(name, Role.STEWARD)
        assert world.admin.post("/v1/invitations", invitation, key=key).status_code == 200
        members.append((world.join(code.to_text(), name), sign(invitation, key).hash))
    assert world.admin.revoke(stolen).status_code == 200
    (kim, theirs), (lee, ours) = members
    assert not is_offered(world, theirs) and is_offered(world, ours)
    assert countersign(world, theirs, kim) == "refused proposer"
    assert countersign(world, ours, lee) == "done"
    assert (kim.get("/v1/me").json()["roles"], lee.get("/v1/me").json()["roles"]) == ([], ["steward"])


def test_nor_is_a_role_ended_by_what_a_stolen_key_proposed(lite: CustodianWorld) -> None:
    steward = lite.add_person("Stella", Role.STEWARD)
    stolen = lite.admin.add_key("opening")
    theirs, ours = (
        propose(lite.admin, steward, action="revoke", key=stolen),
        propose(lite.admin, steward, action="revoke"),
    )
    assert lite.admin.revoke(stolen).status_code == 200
    assert countersign(lite, theirs) == "refused proposer"
    assert steward.get("/v1/me").json()["roles"] == ["steward"]
    assert countersign(lite, ours) == "done"


def test_a_role_that_was_lost_and_came_back_revives_nothing(lite: CustodianWorld) -> None:
    kim, other = lite.add_person("Kim"), lite.add_person("Ada", Role.ADMIN)
    lite.clock.forward(seconds=1)
    theirs, ours = propose(other, kim), propose(lite.admin, kim, Role.AUDITOR)
    assert is_offered(lite, theirs)
    lite.end_role(other, Role.ADMIN)
    assert not is_offered(lite, theirs) and countersign(lite, theirs, kim) == "refused proposer"
    lite.clock.forward(seconds=1)
    assert countersign(lite, propose(lite.admin, other, Role.ADMIN), other) == "done"
    assert other.get("/v1/me").json()["roles"] == ["admin"]
    assert not is_offered(lite, theirs) and countersign(lite, theirs, kim) == "refused proposer"
    assert countersign(lite, ours, kim) == "done"


def test_an_admin_who_is_council_now_proposed_as_an_admin_and_not_as_council(lite: CustodianWorld) -> None:
    kim, other = lite.add_person("Kim"), lite.add_person("Ada", Role.ADMIN)
    lite.clock.forward(seconds=1)
    theirs = propose(other, kim, Role.ADMIN)
    lite.end_role(other, Role.ADMIN)
    lite.clock.forward(seconds=1)
    assert countersign(lite, propose(lite.admin, other, Role.COUNCIL), other) == "done"
    assert countersign(lite, theirs, kim, by=lite.dpo) == "refused proposer"
    lite.clock.forward(seconds=1)
    assert countersign(lite, propose(other, kim, Role.ADMIN), kim, by=lite.dpo) == "done", "proposed as council"


def test_what_the_council_proposed_against_an_admin_falls_with_its_key(lite: CustodianWorld) -> None:
    stolen = lite.council.add_key("opening")
    theirs = propose(lite.council, lite.admin, Role.ADMIN, "revoke", key=stolen)
    ours = propose(lite.council, lite.admin, Role.ADMIN, "revoke")
    assert lite.council.revoke(stolen).status_code == 200
    assert countersign(lite, theirs, by=lite.dpo) == "refused proposer"
    assert lite.admin.get("/v1/me").json()["roles"] == ["admin"]
    assert countersign(lite, ours, by=lite.dpo) == "done"


def test_other_keys_come_and_go_and_what_was_countersigned_stays(lite: CustodianWorld) -> None:
    kim, lee = lite.add_person("Kim"), lite.add_person("Lee")
    used, spare = lite.admin.add_key("opening"), lite.admin.add_key("opening")
    waits, done = propose(lite.admin, kim, key=used), propose(lite.admin, lee, key=used)
    for key in (spare, lite.admin.device):
        assert lite.admin.revoke(key).status_code == 200
    assert is_offered(lite, waits) and countersign(lite, done, lee) == "done"
    assert lite.admin.revoke(used).status_code == 200
    assert not is_offered(lite, waits)
    assert lee.get("/v1/me").json()["roles"] == ["steward"], "a countersignature looks once"
    founding = {member.person for member in lite.founders.values()}
    founders = [one for one in lite.dpo.get("/v1/roles").json()["proposals"] if one.get("person") in founding]
    assert len(founders) == 3 and all(one["countersigned"] and not one.get("void") for one in founders)
