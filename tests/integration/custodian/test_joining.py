"""Joining with a code, inviting, and roles that somebody else countersigned."""

from __future__ import annotations

from pathlib import Path

import pytest
from httpx2 import Response
from tests.simulators.custodian import CustodianWorld, custodian_world, payload_changed, problem

from assent.contracts.codes import InvitationCode
from assent.contracts.envelope import sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey, fingerprint
from assent.contracts.statements import Role, RoleCountersignature, RoleProposal
from assent_custodian.people.models import Invitation, PersonName


def fresh_code(world: CustodianWorld, role: Role | None = None) -> str:
    code, invitation = world.invitation("Kim", role)
    assert world.admin.post("/v1/invitations", invitation).status_code == 200
    return code.to_text()


def test_a_person_joins_with_two_keys_and_gets_the_directory(world: CustodianWorld) -> None:
    kim = world.add_person("Kim")
    me = kim.get("/v1/me").json()
    assert me["name"] == "Kim"
    assert me["roles"] == []
    assert {c["key_id"] for c in me["credentials"]} == {kim.device.public.id, kim.opening.public.id}


def test_a_code_works_once(world: CustodianWorld) -> None:
    code = fresh_code(world)
    world.join(code, "Kim")
    key = SigningKey.generate()
    again = world.post("/v1/enrolments", world.enrolment(code, [("device", key)]).to_json())
    assert (again.status_code, problem(again)) == (403, "code-invalid")


def test_the_same_enrolment_replayed_makes_no_second_person(lite: CustodianWorld) -> None:
    envelope = lite.enrolment(fresh_code(lite), [("device", SigningKey.generate())])
    assert lite.post("/v1/enrolments", envelope.to_json()).status_code == 200
    before = len(lite.admin.get("/v1/people").json()["people"])
    assert problem(lite.post("/v1/enrolments", envelope.to_json())) == "code-invalid"
    assert len(lite.admin.get("/v1/people").json()["people"]) == before


def test_an_expired_code_is_refused(lite: CustodianWorld) -> None:
    code = fresh_code(lite)
    lite.clock.forward(days=8)
    answer = lite.post("/v1/enrolments", lite.enrolment(code, [("device", SigningKey.generate())]).to_json())
    assert problem(answer) == "code-invalid"


def test_an_unknown_code_is_refused(lite: CustodianWorld) -> None:
    code = InvitationCode.new("http://127.0.0.1:8401", lite.report.root_fingerprint).to_text()
    answer = lite.post("/v1/enrolments", lite.enrolment(code, [("device", SigningKey.generate())]).to_json())
    assert problem(answer) == "code-invalid"


def test_every_introduced_key_must_sign(lite: CustodianWorld) -> None:
    code = fresh_code(lite)
    device, opening = SigningKey.generate(), SigningKey.generate()
    envelope = lite.enrolment(code, [("device", device), ("opening", opening)])
    removed = envelope.model_copy(update={"signatures": envelope.signatures[:1]})
    assert problem(lite.post("/v1/enrolments", removed.to_json())) == "signature-invalid"
    a, b = envelope.signatures
    swapped = envelope.model_copy(
        update={"signatures": (a.model_copy(update={"sig": b.sig}), b.model_copy(update={"sig": a.sig}))}
    )
    assert problem(lite.post("/v1/enrolments", swapped.to_json())) == "signature-invalid"
    changed = payload_changed(envelope, lite.now.encode(), b"2026-11-23T09:00:01Z")
    assert problem(lite.post("/v1/enrolments", changed.to_json())) == "signature-invalid"
    assert lite.post("/v1/enrolments", envelope.to_json()).status_code == 200, "the code was as good as before"


def test_a_stale_enrolment_is_refused_with_the_custodians_time(lite: CustodianWorld) -> None:
    envelope = lite.enrolment(fresh_code(lite), [("device", SigningKey.generate())])
    lite.clock.forward(seconds=121)
    answer = lite.post("/v1/enrolments", envelope.to_json())
    assert problem(answer) == "stale"
    assert answer.json()["now"] == lite.now


def test_an_enrolment_that_saw_another_directory_is_refused(lite: CustodianWorld) -> None:
    envelope = lite.enrolment(fresh_code(lite), [("device", SigningKey.generate())], directory="0" * 64)
    assert problem(lite.post("/v1/enrolments", envelope.to_json())) == "conflict"


def test_nobody_becomes_an_existing_person(lite: CustodianWorld) -> None:
    kim = lite.add_person("Kim")
    answer = lite.post("/v1/enrolments", lite.enrolment(fresh_code(lite), [("opening", kim.opening)]).to_json())
    assert problem(answer) == "conflict"
    two = lite.enrolment(fresh_code(lite), [("device", SigningKey.generate()), ("device", SigningKey.generate())])
    assert problem(lite.post("/v1/enrolments", two.to_json())) == "malformed"


def test_names_leave_the_invitation_when_it_is_used(lite: CustodianWorld) -> None:
    kim = lite.add_person("Kim")
    with lite.custodian.database.reading() as session:
        assert {row.name for row in session.query(Invitation)} == {None}
        assert session.get_one(PersonName, kim.person).name == "Kim"


def test_invitations_come_from_admins_only_and_end_in_time(lite: CustodianWorld) -> None:
    _, invitation = lite.invitation("Kim")
    for member in (lite.council, lite.dpo, lite.add_person()):
        assert problem(member.post("/v1/invitations", invitation)) == "forbidden"
    assert problem(lite.admin.post("/v1/invitations", invitation, key=lite.admin.device)) == "forbidden"
    _, endless = lite.invitation("Kim", until="2027-11-23T09:00:00Z")
    assert problem(lite.admin.post("/v1/invitations", endless)) == "malformed"
    _, impossible = lite.invitation("Kim", until="2026-13-33T09:00:00Z")
    assert problem(lite.admin.post("/v1/invitations", impossible)) == "malformed"
    assert lite.admin.post("/v1/invitations", invitation).status_code == 200
    assert problem(lite.admin.post("/v1/invitations", invitation)) == "conflict"


# --- roles ---


def proposal(world: CustodianWorld, person: str, role: Role, action: str = "grant") -> RoleProposal:
    return RoleProposal.model_validate(
        {"person": person, "role": role, "action": action, "nonce": new_id(), "at": world.now}
    )


def propose(world: CustodianWorld, person: str, role: Role, action: str = "grant") -> str:
    statement = proposal(world, person, role, action)
    answer = world.admin.post("/v1/roles", statement)
    assert answer.status_code == 200, answer.text
    return sign(statement, world.admin.opening).hash


def test_a_role_starts_after_a_countersignature_and_a_delay(tmp_path: Path) -> None:
    with custodian_world(tmp_path, role_delay_hours=24) as world:
        kim = world.add_person("Kim")
        hash_ = propose(world, kim.person, Role.STEWARD)
        assert kim.get("/v1/me").json()["roles"] == []
        assert world.countersign(hash_).status_code == 200
        assert kim.get("/v1/requests").status_code == 403
        world.clock.forward(hours=23, minutes=59)
        assert kim.get("/v1/me").json()["roles"] == []
        world.clock.forward(minutes=1)
        assert kim.get("/v1/me").json()["roles"] == ["steward"]


def test_an_invited_role_waits_for_its_countersignature(world: CustodianWorld) -> None:
    kim = world.join(fresh_code(world, Role.AUDITOR), "Kim")
    assert kim.get("/v1/me").json()["roles"] == []
    (waiting,) = [p for p in world.dpo.get("/v1/roles").json()["proposals"] if p.get("person") == kim.person]
    assert not waiting["countersigned"]
    assert problem(world.countersign(waiting["proposal"], world.admin)) == "forbidden"
    assert world.countersign(waiting["proposal"], world.dpo).status_code == 200
    assert kim.get("/v1/me").json()["roles"] == ["auditor"]
    assert problem(world.countersign(waiting["proposal"])) == "conflict"


def test_a_role_is_countersigned_for_the_keys_that_were_looked_at(world: CustodianWorld) -> None:
    """The admin invites a name and can hand the code to anybody, or join with it: a signature for a name is none."""
    code, invitation = world.invitation("Ina", Role.STEWARD)
    assert world.admin.post("/v1/invitations", invitation).status_code == 200
    hash_ = sign(invitation, world.admin.opening).hash

    def shown() -> list[str]:
        proposals = world.council.get("/v1/roles").json()["proposals"]
        return next(one for one in proposals if one["proposal"] == hash_).get("keys", [])

    def countersign(*keys: str) -> Response:
        statement = RoleCountersignature(proposal=hash_, keys=keys, at=world.now)
        return world.council.post("/v1/roles/countersignatures", statement)

    expected = SigningKey.generate()
    assert shown() == []
    for keys in ((), (fingerprint(expected.public.text),)):
        assert problem(countersign(*keys)) == "conflict", "nobody has joined"
    ina = world.join(code.to_text(), "Ina")
    key = fingerprint(ina.opening.public.text)
    assert shown() == [key]
    for keys in ((), (fingerprint(expected.public.text),), (key, fingerprint(expected.public.text)), (key, key)):
        assert problem(countersign(*keys)) == "conflict", "these are not Ina's keys"
    assert problem(countersign(fingerprint(ina.device.public.text))) == "conflict", "it is the opening key that acts"
    second = ina.add_key("opening")
    assert problem(countersign(key)) == "conflict", "there is one more that was not looked at"
    assert ina.get("/v1/me").json()["roles"] == []
    assert ina.revoke(second).status_code == 200
    assert countersign(key).status_code == 200, "the positive control"
    assert ina.get("/v1/me").json()["roles"] == ["steward"]
    assert shown() == [], "only what waits is shown with its keys"


def test_nobody_gets_a_role_without_a_key_that_could_act(world: CustodianWorld) -> None:
    code, invitation = world.invitation("Ina", Role.STEWARD)
    assert world.admin.post("/v1/invitations", invitation).status_code == 200
    device = SigningKey.generate()
    answer = world.post("/v1/enrolments", world.enrolment(code.to_text(), [("device", device)]).to_json())
    assert answer.status_code == 200
    assert problem(world.countersign(sign(invitation, world.admin.opening).hash)) == "conflict"


def test_one_person_holds_one_role(lite: CustodianWorld) -> None:
    kim = lite.add_person("Kim", Role.STEWARD)
    assert problem(lite.admin.post("/v1/roles", proposal(lite, kim.person, Role.REQUESTER))) == "refused"
    assert problem(lite.admin.post("/v1/roles", proposal(lite, kim.person, Role.STEWARD))) == "conflict"
    assert problem(lite.admin.post("/v1/roles", proposal(lite, new_id(), Role.STEWARD))) == "not-found"


def test_two_proposals_do_not_make_two_roles(lite: CustodianWorld) -> None:
    kim = lite.add_person("Kim")
    first, second = (propose(lite, kim.person, role) for role in (Role.STEWARD, Role.REQUESTER))
    assert lite.countersign(first).is_success
    assert problem(lite.countersign(second)) == "refused"
    assert kim.get("/v1/me").json()["roles"] == ["steward"]


def test_nobody_countersigns_their_own_role(lite: CustodianWorld) -> None:
    lite.add_person("A second member", Role.COUNCIL)
    hash_ = propose(lite, lite.council.person, Role.COUNCIL, "revoke")
    own = RoleCountersignature(proposal=hash_, at=lite.now)
    assert problem(lite.council.post("/v1/roles/countersignatures", own)) == "refused"
    assert lite.dpo.post("/v1/roles/countersignatures", own).status_code == 200
    assert lite.council.get("/v1/me").json()["roles"] == []


def test_a_revoked_role_ends_at_once(lite: CustodianWorld) -> None:
    kim = lite.add_person("Kim", Role.AUDITOR)
    hash_ = propose(lite, kim.person, Role.AUDITOR, "revoke")
    assert kim.get("/v1/me").json()["roles"] == ["auditor"]
    lite.dpo.post("/v1/roles/countersignatures", RoleCountersignature(proposal=hash_, at=lite.now))
    assert kim.get("/v1/me").json()["roles"] == []
    assert problem(lite.admin.post("/v1/roles", proposal(lite, kim.person, Role.AUDITOR, "revoke"))) == "conflict"


def test_a_role_proposal_replayed_or_swapped_is_refused(lite: CustodianWorld) -> None:
    kim = lite.add_person("Kim")
    envelope = sign(proposal(lite, kim.person, Role.STEWARD), lite.admin.opening)
    assert lite.post("/v1/roles", envelope.to_json()).status_code == 200
    assert problem(lite.post("/v1/roles", envelope.to_json())) == "stale"
    other = payload_changed(sign(proposal(lite, kim.person, Role.STEWARD), lite.admin.opening), b"steward", b"auditor")
    assert problem(lite.post("/v1/roles", other.to_json())) == "signature-invalid"


@pytest.mark.parametrize("missing", [Role.ADMIN, Role.COUNCIL, Role.DPO])
def test_nothing_is_recorded_until_all_three_founders_enrolled(tmp_path: Path, missing: Role) -> None:
    from assent_custodian.people.service import founded

    with custodian_world(tmp_path, found=False) as world:
        for role, code in world.report.codes.items():
            if role is not missing:
                world.founders[role] = world.join(code, role.value)
        with world.custodian.database.reading() as session:
            assert not founded(session, world.clock())
        world.founders[missing] = world.join(world.report.codes[missing], missing.value)
        with world.custodian.database.reading() as session:
            assert founded(session, world.clock())


def test_founders_hold_their_roles_at_once(tmp_path: Path) -> None:
    with custodian_world(tmp_path, role_delay_hours=24) as world:
        for role, member in world.founders.items():
            assert member.get("/v1/me").json()["roles"] == [role.value]
