"""One of three halts the programme; only council and data-protection officer together let it run again."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import select
from tests.simulators.custodian import CustodianWorld, Member, payload_changed, problem

from assent.contracts.envelope import Envelope, read, sign
from assent.contracts.ids import new_id
from assent.contracts.statements import Halt, Resume, Role, RoleCountersignature, RoleProposal
from assent_custodian.halting import service
from assent_custodian.halting.models import HaltRow
from assent_custodian.log.models import LogEntry
from assent_custodian.people.models import Credential

FOUNDERS = (Role.ADMIN, Role.COUNCIL, Role.DPO)


def halt(world: CustodianWorld, reason: str = "an incident") -> Halt:
    return Halt(reason=reason, nonce=new_id(), at=world.now)


def leaves(world: CustodianWorld, type_: str) -> list[dict[str, Any]]:
    with world.custodian.database.reading() as session:
        rows = session.scalars(select(LogEntry.leaf).where(LogEntry.type == type_).order_by(LogEntry.index))
        return [json.loads(row) for row in rows]


def reason(world: CustodianWorld) -> str | None:
    with world.custodian.database.reading() as session:
        return service.halted(session)


def sign_resume(member: Member, halt_hash: str) -> Any:
    return member.post("/v1/halt/resumptions", Resume(halt=halt_hash, at=member.world.now))


@pytest.mark.parametrize("role", FOUNDERS)
def test_each_of_three_halts_alone_and_the_log_proves_it(world: CustodianWorld, role: Role) -> None:
    world.witness.silent = True
    hash_ = world.halt("an incident", world.founders[role])
    assert reason(world) == "an incident"
    (leaf,) = leaves(world, "programme.halted")
    assert (leaf["subject"], leaf["auth"]) == (hash_, "opening")
    with world.custodian.database.reading() as session:
        row = session.get_one(HaltRow, hash_)
    assert read(Envelope.from_json(row.statement), Halt, world.founders[role].opening.public).reason == "an incident"


def test_nobody_else_halts_and_no_device_key_does(lite: CustodianWorld) -> None:
    for member in (lite.add_person(), *(lite.add_person(role.value, role) for role in set(Role) - set(FOUNDERS))):
        assert problem(member.post("/v1/halt", halt(lite))) == "forbidden"
        assert problem(member.get("/v1/halt")) == "forbidden"
    assert problem(lite.dpo.post("/v1/halt", halt(lite), key=lite.dpo.device)) == "forbidden"
    assert reason(lite) is None


def test_a_halt_needs_a_reason(lite: CustodianWorld) -> None:
    with pytest.raises(ValidationError):
        halt(lite, "  ")
    with lite.custodian.database.transaction() as session, pytest.raises(ValidationError):
        service.halt_by_operator(session, lite.custodian, " ")
    envelope = payload_changed(sign(halt(lite, "x"), lite.dpo.opening), b'"reason":"x"', b'"reason":" "')
    assert problem(lite.post("/v1/halt", envelope.to_json())) == "malformed"
    assert problem(lite.dpo.post("/v1/halt", halt(lite, "an\x00incident"))) == "malformed"
    assert reason(lite) is None


def test_one_signature_is_kept_and_changes_nothing_and_two_resume(world: CustodianWorld) -> None:
    hash_ = world.halt("an incident", world.admin)
    assert sign_resume(world.council, hash_).status_code == 200
    assert sign_resume(world.council, hash_).status_code == 200, "signing twice is signing once"
    assert reason(world) == "an incident"
    (standing,) = world.admin.get("/v1/halt").json()["halts"]
    assert (standing["halted_by"], standing["resume_signed"]) == ("Admin", ["council"])
    assert sign_resume(world.dpo, hash_).status_code == 200
    assert reason(world) is None
    (leaf,) = leaves(world, "programme.resumed")
    assert leaf["subject"] == hash_
    signed = {leaf["subject"] for leaf in leaves(world, "programme.resume-signed")}
    assert set(leaf["detail"].values()) <= signed
    assert set(leaf["detail"]) == {"council", "dpo"}
    assert problem(sign_resume(world.dpo, hash_)) == "conflict", "it has ended"


def test_who_signs_at_the_same_moment_is_seen_by_the_other(world: CustodianWorld) -> None:
    hash_ = world.halt("an incident")
    envelopes = [sign(Resume(halt=hash_, at=world.now), member.opening) for member in (world.council, world.dpo)]
    threads = [
        threading.Thread(target=world.post, args=("/v1/halt/resumptions", envelope.to_json())) for envelope in envelopes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reason(world) is None


def test_nobody_but_council_and_dpo_resumes_and_an_operators_halt_needs_them_too(lite: CustodianWorld) -> None:
    with lite.custodian.database.transaction() as session:
        hash_ = service.halt_by_operator(session, lite.custodian, "a fault")
    for member in (lite.admin, lite.add_person(), lite.add_person("Sam", Role.STEWARD)):
        assert problem(sign_resume(member, hash_)) == "forbidden"
    with lite.custodian.database.reading() as session:
        row = session.get_one(HaltRow, hash_)
    assert lite.read(Envelope.from_json(row.statement), Halt).reason == "a fault"
    assert [leaf["auth"] for leaf in leaves(lite, "programme.halted")] == ["operator"]
    sign_resume(lite.council, hash_)
    assert reason(lite) == "a fault"
    sign_resume(lite.dpo, hash_)
    assert reason(lite) is None


def test_every_halt_needs_signatures_of_its_own(lite: CustodianWorld) -> None:
    first = lite.halt("an incident", lite.admin)
    assert problem(lite.admin.post("/v1/halt", halt(lite))) == "conflict", "halted by the same person already"
    lite.clock.forward(seconds=1)
    second = lite.halt("and another", lite.dpo)
    sign_resume(lite.council, first)
    sign_resume(lite.dpo, second)
    assert reason(lite) == "an incident", "two signatures over two halts end neither"
    sign_resume(lite.dpo, first)
    assert reason(lite) == "and another"
    sign_resume(lite.council, second)
    assert reason(lite) is None


def test_statements_that_are_changed_swapped_or_replayed_count_for_nothing(lite: CustodianWorld) -> None:
    envelope = sign(halt(lite), lite.dpo.opening)
    changed = payload_changed(envelope, b"an incident", b"for ever so")
    assert problem(lite.post("/v1/halt", changed.to_json())) == "signature-invalid"
    unsigned = envelope.model_copy(update={"signatures": sign(halt(lite), lite.council.opening).signatures})
    assert problem(lite.post("/v1/halt", unsigned.to_json())) == "signature-invalid"
    assert reason(lite) is None
    assert lite.post("/v1/halt", envelope.to_json()).status_code == 200
    old = sign(Resume(halt=envelope.hash, at=lite.now), lite.council.opening)
    lite.resume()
    assert problem(lite.post("/v1/halt", envelope.to_json())) == "stale", "a halt halts once"
    lite.clock.forward(seconds=30)
    again = lite.halt("an incident")
    assert problem(lite.post("/v1/halt/resumptions", old.to_json())) == "conflict", "of the halt that ended"
    assert problem(lite.post("/v1/halt/resumptions", sign(halt(lite), lite.dpo.opening).to_json())) == "malformed"
    assert problem(sign_resume(lite.dpo, "ab" * 32)) == "not-found"
    late = sign(Resume(halt=again, at=lite.now), lite.council.opening)
    lite.clock.forward(seconds=121)
    assert problem(lite.post("/v1/halt/resumptions", late.to_json())) == "stale"
    assert reason(lite) == "an incident"


def test_a_signature_counts_only_while_its_person_holds_the_role(lite: CustodianWorld) -> None:
    lite.add_person("A second member", Role.COUNCIL)
    hash_ = lite.halt("an incident", lite.admin)
    sign_resume(lite.council, hash_)
    proposal = RoleProposal(
        person=lite.council.person, role=Role.COUNCIL, action="revoke", nonce=new_id(), at=lite.now
    )  # fmt: skip
    assert lite.admin.post("/v1/roles", proposal).status_code == 200
    countersigned = RoleCountersignature(proposal=sign(proposal, lite.admin.opening).hash, at=lite.now)
    assert lite.dpo.post("/v1/roles/countersignatures", countersigned).status_code == 200
    sign_resume(lite.dpo, hash_)
    assert reason(lite) == "an incident"
    (standing,) = lite.dpo.get("/v1/halt").json()["halts"]
    assert standing["resume_signed"] == ["dpo"]


def test_a_signature_counts_only_while_its_credential_does(lite: CustodianWorld) -> None:
    hash_ = lite.halt("an incident", lite.admin)
    sign_resume(lite.council, hash_)
    with lite.custodian.database.transaction() as session:
        session.get_one(Credential, lite.council.opening.public.id).revoked = lite.now[:10]
    sign_resume(lite.dpo, hash_)
    assert reason(lite) == "an incident"
    with lite.custodian.database.transaction() as session:
        session.get_one(Credential, lite.council.opening.public.id).revoked = None
    sign_resume(lite.dpo, hash_)
    assert reason(lite) is None
