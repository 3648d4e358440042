"""Rows 4, 7, 11, 26 and 28: an admin who wants recordings, with everything that an admin may do and nobody else's key.

Invented people, invented stewards, the same name once more, the account of somebody who left, an account of somebody
in power, other words for what was agreed to, another installation: each with what it really gives, and with the same
done as it should be.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.exposure.test_people_in_power import entries, recovered
from tests.exposure.test_reading import refusals
from tests.exposure.test_reports import verify
from tests.exposure.world import Answer, Ask, Installation, Populated, Template, populated_copy
from tests.simulators.custodian import PURPOSE, Member, problem

from assent.client.directory import DirectoryRefused, TrustedDirectory
from assent.client.joining import join
from assent.client.transport import Refused
from assent.contracts.codes import InvitationCode
from assent.contracts.envelope import sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey, fingerprint
from assent.contracts.leaves import LeafType
from assent.contracts.limits import COHORT_FLOOR
from assent.contracts.statements import (
    Decision,
    Mode,
    PurposeDraft,
    PurposeSignature,
    Role,
    RoleCountersignature,
    RoleProposal,
)
from assent.contracts.wire import AccessesView


@pytest.fixture(scope="module")
def firm(busy: tuple[Populated, Template], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Populated]:
    """An installation in daily use, of this file's own: tests add people and requests, and end nobody else's roles."""
    original, template = busy
    with template.copied(tmp_path_factory.mktemp("hostile-admin")) as installation:
        yield populated_copy(original, installation)


def puppet(firm: Populated, name: str, role: Role | None = None) -> Member:
    """Invited by the admin, who keeps the code and joins as that person. Nobody countersigns anything."""
    world = firm.world
    code, invitation = world.invitation(name, role)
    assert world.admin.post("/v1/invitations", invitation).status_code == 200
    return world.join(code.to_text(), name)


def countersign(firm: Populated, name: str) -> Answer:
    """The council agrees to the role that the newest invitation of this name asks for."""
    proposals = firm.world.council.get("/v1/roles").json()["proposals"]
    (pending,) = [one for one in proposals if one["name"] == name and not one["countersigned"]]
    return firm.world.countersign(pending["proposal"])


def approve(firm: Populated, by: Member, request: str) -> Answer:
    decision = Decision(request=request, decision="approve", at=firm.world.now)
    return by.post("/v1/decisions", decision)


# --- invented people --------------------------------------------------------------------------------------------------


def test_row_04_nine_invented_people_and_one_make_a_cohort_and_that_one_is_told(installation: Installation) -> None:
    """The floor counts people and cannot count honest ones: said in the threat model, and so it is. What it takes
    besides are a requester and two stewards; and the one who is real learns who they were."""
    world = installation.world
    staff = installation.staff()
    (real,) = world.add_participants(1)
    real.certify()
    lonely = installation.grant(staff)
    assert staff.requester.get(f"/v1/requests/{lonely}").json()["state"] == "not-available"
    for number in range(COHORT_FLOOR - 1):
        invented = world.add_person(f"Nobody {number}")
        invented.consent()
        invented.certify()
    request = installation.grant(staff)
    job = installation.job(staff.requester, request)
    assert len({stream.pseudonym for stream in job.streams}) == COHORT_FLOOR
    with installation.custodian_as(real.device) as custodian:
        view: AccessesView = custodian.accesses()
    (access,) = view.accesses
    text = access.notification.text
    assert "Rika Requester" in text and "Sam Steward" in text and "Stef Steward" in text
    assert access.proof is not None, "and can prove it"


def test_row_11_invented_stewards_decide_nothing_without_a_signature_of_another_kind(firm: Populated) -> None:
    """A requester and two stewards, all of them the admin; then one of them with the council's signature, which thinks
    that it is somebody. One steward more is still missing."""
    world, installation = firm.world, firm.installation
    requester = puppet(firm, "Rita Puppet", Role.REQUESTER)
    stewards = [puppet(firm, f"Stew Puppet {number}", Role.STEWARD) for number in range(2)]
    assert requester.post("/v1/requests", installation.request()).status_code == 403
    assert countersign(firm, "Rita Puppet").status_code == 200
    with installation.custodian_as(requester.opening) as custodian:
        request = custodian.ask_for_data(installation.request()).hash
    for steward in (*stewards, world.admin, requester):
        assert approve(firm, steward, request).status_code == 403
    assert countersign(firm, "Stew Puppet 0").status_code == 200
    assert approve(firm, stewards[0], request).status_code == 200
    assert approve(firm, stewards[1], request).status_code == 403
    world.clock.forward(seconds=1)
    assert problem(approve(firm, stewards[0], request)) == "conflict", "nor twice"
    with pytest.raises(Refused):
        installation.job(requester, request)
    assert approve(firm, firm.staff.steward, request).status_code == 200, "the positive control: a real second one"
    assert installation.job(requester, request).streams
    changed = [leaf for leaf in entries(firm.staff.auditor) if leaf.type is LeafType.ROLE_CHANGED]
    assert len(changed) >= 2, "and both signatures of the council are in the log"


def test_row_11_a_signature_for_somebody_is_none_for_who_took_their_code(firm: Populated) -> None:
    """The admin keeps the code that was meant for Stella, and joins as her. She is asked for her key."""
    world = firm.world
    thief = puppet(firm, "Stella Robbed", Role.STEWARD)
    stella = SigningKey.generate()
    proposal = invitation_of(firm, "Stella Robbed")

    def countersign_for(key: SigningKey) -> Answer:
        keys = (fingerprint(key.public.text),)
        statement = RoleCountersignature(proposal=proposal, keys=keys, at=world.now)
        return world.council.post("/v1/roles/countersignatures", statement)

    assert countersign_for(stella).status_code == 409
    assert thief.get("/v1/me").json()["roles"] == []
    assert countersign_for(thief.opening).status_code == 200, "the positive control: who does not ask signs for a thief"
    assert thief.get("/v1/me").json()["roles"] == ["steward"]


def test_row_11_what_a_stolen_key_of_the_admin_proposed_is_countersigned_by_nobody_once_it_is_revoked(
    firm: Populated,
) -> None:
    """The admin notices, and revokes it. What lies before the council is the thief's, and looks like the admin's."""
    world = firm.world
    stolen = world.admin.add_key("opening")
    members = []
    for name in ("Theo Thief", "Thea Thief"):
        code, invitation = world.invitation(name, Role.STEWARD)
        assert world.admin.post("/v1/invitations", invitation, key=stolen).status_code == 200
        members.append(world.join(code.to_text(), name))
    assert countersign(firm, "Theo Thief").status_code == 200, "the positive control: who signs in time"
    assert world.admin.revoke(stolen).status_code == 200
    refused = countersign(firm, "Thea Thief")
    assert (problem(refused), refused.json()["rule"]) == ("refused", "proposer")
    assert [member.get("/v1/me").json()["roles"] for member in members] == [["steward"], []]


def test_row_11_invented_council_members_countersign_nothing(firm: Populated) -> None:
    world = firm.world
    council, dpo = puppet(firm, "Connie Puppet", Role.COUNCIL), puppet(firm, "Dora Puppet", Role.DPO)
    victim = puppet(firm, "Stan Puppet", Role.STEWARD)
    proposals = world.admin.get("/v1/roles").json()["proposals"]
    pending = {one["name"]: one["proposal"] for one in proposals if not one["countersigned"]}
    for name in ("Stan Puppet", "Connie Puppet", "Dora Puppet"):
        statement = RoleCountersignature(proposal=pending[name], at=world.now)
        for by in (council, dpo, victim, world.admin):
            assert by.post("/v1/roles/countersignatures", statement).status_code == 403
    draft = PurposeDraft(
        iri="urn:purpose:everything", version=1, sentence="Anything.", recipients=("anybody",), modes=(Mode.READER,),
        at=world.now,
    )  # fmt: skip
    assert world.admin.post("/v1/purposes", draft).status_code == 200
    signature = PurposeSignature(draft=sign(draft, world.admin.opening).hash, at=world.now)
    for by in (council, dpo, world.admin):
        assert by.post("/v1/purposes/signatures", signature).status_code == 403
    assert countersign(firm, "Stan Puppet").status_code == 200, "the positive control: the council does"


def test_row_11_a_sole_admin_who_went_bad_is_ended_without_one(in_use: Populated) -> None:
    """And cannot be rid of those who do it first."""
    world = in_use.world
    for member, role, other in ((world.council, Role.COUNCIL, world.dpo), (world.dpo, Role.DPO, world.council)):
        answer = propose(in_use, member, role, "revoke")
        assert answer.status_code == 200
        assert world.countersign(answer.json()["hash"], other).status_code == 403, "nobody would be left to watch"
    code, invitation = world.invitation("A puppet", Role.STEWARD)
    assert world.admin.post("/v1/invitations", invitation).status_code == 200
    ended = RoleProposal(person=world.admin.person, role=Role.ADMIN, action="revoke", nonce=new_id(), at=world.now)
    answer = world.dpo.post("/v1/roles", ended)
    assert answer.status_code == 200
    assert world.countersign(answer.json()["hash"], world.dpo).status_code == 403, "not by one alone"
    assert world.countersign(answer.json()["hash"]).status_code == 200
    assert world.admin.post("/v1/invitations", world.invitation("Another")[1]).status_code == 403
    late = world.enrolment(code.to_text(), [("opening", SigningKey.generate())])
    assert world.post("/v1/enrolments", late.to_json()).status_code == 403, "nor do codes of before work"
    assert verify(in_use).passed, "and auditors find nothing wrong with it"


# --- roles, stacked and changed ---------------------------------------------------------------------------------------


def propose(firm: Populated, member: Member, role: Role, action: str) -> Answer:
    statement = RoleProposal(person=member.person, role=role, action=action, nonce=new_id(), at=firm.world.now)  # type: ignore[arg-type]
    return firm.world.admin.post("/v1/roles", statement)


def test_row_11_roles_that_wait_at_the_same_time_are_not_stacked(firm: Populated) -> None:
    """All of them proposed before any is countersigned, and one more in an invitation."""
    world = firm.world
    member = puppet(firm, "Stacy Stack", Role.STEWARD)
    hashes = []
    for role in (Role.REQUESTER, Role.AUDITOR, Role.COUNCIL, Role.DPO, Role.ADMIN):
        answer = propose(firm, member, role, "grant")
        assert answer.status_code == 200, "nobody holds anything yet"
        hashes.append(answer.json()["hash"])
    assert countersign_hash(firm, hashes[0]).status_code == 200
    for rest in hashes[1:]:
        assert countersign_hash(firm, rest).status_code in (403, 409)
    assert countersign_hash(firm, invitation_of(firm, "Stacy Stack")).status_code in (403, 409)
    assert member.get("/v1/me").json()["roles"] == ["requester"]
    assert propose(firm, member, Role.STEWARD, "grant").status_code in (403, 409)
    assert world.admin.get("/v1/me").json()["roles"] == ["admin"]
    for role in Role:
        if role is not Role.ADMIN:
            assert propose(firm, world.admin, role, "grant").status_code in (403, 409), "not for oneself either"


def countersign_hash(firm: Populated, proposal: str) -> Answer:
    return firm.world.countersign(proposal)


def invitation_of(firm: Populated, name: str) -> str:
    proposals = firm.world.council.get("/v1/roles").json()["proposals"]
    return str(next(one["proposal"] for one in proposals if one["name"] == name and not one["countersigned"]))


def test_row_11_who_asked_does_not_become_steward_and_approve_it(firm: Populated) -> None:
    """With the council's help even: the role changes hands, who signed the request does not."""
    world, installation = firm.world, firm.installation
    rex = world.add_person("Rex", Role.REQUESTER)
    with installation.custodian_as(rex.opening) as custodian:
        request = custodian.ask_for_data(installation.request()).hash
    installation.world.end_role(rex, Role.REQUESTER)
    answer = propose(firm, rex, Role.STEWARD, "grant")
    assert answer.status_code == 200
    assert countersign_hash(firm, answer.json()["hash"]).status_code == 200
    assert rex.get("/v1/me").json()["roles"] == ["steward"]
    for steward in (rex, *firm.staff.stewards):
        assert approve(firm, steward, request).status_code == 403, "a request of somebody who is no requester any more"
    with pytest.raises(Refused):
        installation.job(rex, request)
    with installation.custodian_as(firm.staff.requester.opening) as custodian:
        other = custodian.ask_for_data(installation.request()).hash
    assert approve(firm, rex, other).status_code == 200, "the positive control: somebody else's"


def test_row_07_nobody_countersigns_a_change_of_their_own_role(firm: Populated) -> None:
    world = firm.world
    for member, role in ((world.council, Role.COUNCIL), (world.dpo, Role.DPO)):
        answer = propose(firm, member, role, "revoke")
        assert answer.status_code == 200
        statement = RoleCountersignature(proposal=answer.json()["hash"], at=world.now)
        assert member.post("/v1/roles/countersignatures", statement).status_code == 403
    for member, role in ((world.council, "council"), (world.dpo, "dpo")):
        assert member.get("/v1/me").json()["roles"] == [role], "the positive control: they are what they were"


# --- somebody who left ------------------------------------------------------------------------------------------------


def test_row_11_the_account_of_somebody_who_left_is_nobodys(in_use: Populated) -> None:
    """They ended all their keys and went. Neither their name, nor an old code, nor the laptop that they handed back
    makes anybody them."""
    world, installation, leaver = in_use.world, in_use.installation, in_use.people[0]
    theirs = [one for one in in_use.recordings if one.member is leaver]
    used, statement = leaver.code("opening")
    assert leaver.post("/v1/me/credentials", statement).status_code == 200
    assert installation.own_job(leaver).streams, "the positive control: there is something to open"
    assert leaver.revoke(leaver.device).status_code == 200
    assert leaver.revoke(leaver.opening, even_last=True).status_code == 200
    again = world.add_person(leaver.name)
    assert again.person != leaver.person
    with pytest.raises(Refused):
        installation.own_job(again)
    code, invitation = world.invitation(leaver.name)
    assert world.admin.post("/v1/invitations", invitation).status_code == 200
    for kind, key in (("device", leaver.device), ("opening", leaver.opening)):
        handed_back = world.enrolment(code.to_text(), [(kind, key)])
        assert problem(world.post("/v1/enrolments", handed_back.to_json())) == "conflict", "a key is never reused"
    late = world.enrolment(used.to_text(), [("opening", SigningKey.generate())])
    assert problem(world.post("/v1/enrolments", late.to_json())) == "code-invalid", "a code ends with its signer's key"
    for key in (leaver.device, leaver.opening):
        assert leaver.get("/v1/me", key=key).status_code == 401
    job = installation.job(in_use.staff.requester, in_use.request)
    assert refusals(installation, job, theirs) == {"not-leased"}, "with their last device their consent is not live"
    others = [one for one in in_use.recordings if one.member is in_use.people[1]]
    assert refusals(installation, job, others) == set(), "the positive control"
    assert leaver.withdraw(key=leaver.opening, erase="now").status_code == 200, "and they can still have it erased"
    assert refusals(installation, in_use.job, theirs) == {"erased"}


# --- recovery ---------------------------------------------------------------------------------------------------------


def test_row_28_the_recovered_account_of_a_steward_or_requester_approves_and_reads_nothing(in_use: Populated) -> None:
    """Council and data-protection officer take over those who decide, instead of those who recorded."""
    installation, world, staff = in_use.installation, in_use.world, in_use.staff
    keys = {member.person: recovered(in_use, member)[1] for member in (staff.requester, *staff.stewards)}
    with installation.custodian_as(staff.requester.opening) as custodian:
        request = custodian.ask_for_data(installation.request()).hash
    for days in (0, 8):
        world.clock.forward(days=days)
        if days:
            with installation.custodian_as(staff.requester.opening) as custodian:
                request = custodian.ask_for_data(installation.request()).hash
        for steward in staff.stewards:
            decision = Decision(request=request, decision="approve", at=world.now)
            answer = steward.post("/v1/decisions", decision, key=keys[steward.person])
            assert answer.status_code in (401, 403), "the role was given before"
        taken = Member(world, staff.requester.person, "Rika", staff.requester.device, keys[staff.requester.person])
        with pytest.raises(Refused):
            installation.job(taken, in_use.request)
        assert taken.post("/v1/requests", installation.request()).status_code in (401, 403)
    for steward in staff.stewards:
        assert approve(in_use, steward, request).status_code == 200, "the positive control: with their own keys"


# --- other words for what was agreed to -------------------------------------------------------------------------------


def test_row_11_other_words_for_a_purpose_cover_nobody_who_agreed_to_the_first(firm: Populated) -> None:
    """Changed in place, widened, or only changed: signed by the council it is another version, which nobody agreed to;
    unsigned it is nothing. What was agreed to goes on to mean what it said."""
    world, installation, staff = firm.world, firm.installation, firm.staff

    def draft(version: int, sentence: str, *recipients: str) -> PurposeDraft:
        return PurposeDraft(
            iri="urn:purpose:rewritten", version=version, sentence=sentence, recipients=recipients,
            modes=(Mode.READER,), at=world.now,
        )  # fmt: skip

    first = draft(1, "To learn where people click.", "research")
    world.add_purpose(
        "urn:purpose:rewritten", 1, sentence=first.sentence, recipients=first.recipients, modes=first.modes
    )
    for number in range(COHORT_FLOOR):
        member = world.add_person(f"Agreed {number}")
        member.consent()
        member.certify()
    asked = {"purpose": "urn:purpose:rewritten", "recipient": "research"}
    request = installation.grant(staff, **asked)
    assert installation.job(staff.requester, request).streams, "the positive control"
    worse = draft(1, "To rate people by how they work.", "management")
    assert problem(world.admin.post("/v1/purposes", worse)) == "conflict", "not in place"
    second = draft(2, "To rate people by how they work.", "research", "management")
    assert world.admin.post("/v1/purposes", second).status_code == 200
    for recipient in ("research", "management"):
        wanted = installation.request(purpose=second.iri, purpose_version=2, recipient=recipient)
        assert staff.requester.post("/v1/requests", wanted).status_code in (403, 409), "a draft is nothing"
    signature = PurposeSignature(draft=sign(second, world.admin.opening).hash, at=world.now)
    assert world.council.post("/v1/purposes/signatures", signature).status_code == 200
    for recipient in ("research", "management"):
        hash_ = installation.grant(staff, purpose=second.iri, purpose_version=2, recipient=recipient)
        assert staff.requester.get(f"/v1/requests/{hash_}").json()["state"] == "not-available"
    told = member.get("/v1/me/accesses", key=member.device).json()["accesses"]
    assert any("where people click" in one["notification"]["text"] for one in told)
    assert not any("rate people" in one["notification"]["text"] for one in told)
    (receipt,) = member.receipts
    rewritten = [one for one in receipt.purposes if one.iri == second.iri]
    assert [(one.version, one.sentence) for one in rewritten] == [(1, first.sentence)], "as the person holds it"
    assert PURPOSE in {one.iri for one in receipt.purposes}


# --- another installation ---------------------------------------------------------------------------------------------


def test_row_11_a_code_of_another_installation_joins_this_one_never(firm: Populated) -> None:
    """The admin has a root key and a directory of their own, with this installation's addresses or with others: who
    has joined here does not follow, and who joins there has nothing here."""
    world, installation = firm.world, firm.installation
    enemy_root, enemy_key = SigningKey.generate(), SigningKey.generate()
    current = world.custodian.directory.directory
    own = sign(
        current.model_copy(
            update={
                "root_key": enemy_root.public.text, "statement_key": enemy_key.public.text,
                "version": current.version + 50,
            }
        ),
        enemy_root,
    )  # fmt: skip
    trusted = TrustedDirectory(fingerprint(current.root_key))
    trusted.accept(world.custodian.directory.envelope)
    with pytest.raises(DirectoryRefused):
        trusted.accept(own)
    assert trusted.current == current, "the positive control: the real one stays"
    code = InvitationCode.new("http://127.0.0.1:8401", fingerprint(enemy_root.public.text))
    with pytest.raises(DirectoryRefused):
        join(code.to_text(), {"device", "opening"}, clock=world.clock, transport=installation.wire)

    def serve_own(ask: Ask, real: object) -> Answer:
        if ask.url.path == "/v1/directory":
            return Answer(200, headers={"content-type": "application/json"}, content=own.to_json())
        return real()  # type: ignore[operator,no-any-return]

    installation.enemy = serve_own
    installation.heard.clear()
    try:
        with pytest.raises(Refused) as refused:
            join(code.to_text(), {"device", "opening"}, clock=world.clock, transport=installation.wire)
    finally:
        installation.enemy = None
    assert refused.value.code.wire == "code-invalid", "it has no place here"
    with pytest.raises(DirectoryRefused):
        installation.collector.trust._book.accept(own)
    assert installation.collector.trust.directory == current, "nor does the collector follow"


def test_row_26_what_an_admin_did_is_in_the_log_before_anything_of_it_counts(firm: Populated) -> None:
    """Each role that was proposed, countersigned and ended, with one actor for one admin."""
    before = len(entries(firm.staff.auditor))
    obedient = firm.world.add_person("Obedient", Role.STEWARD)
    firm.installation.world.end_role(obedient, Role.STEWARD)
    puppet(firm, "Silent", Role.COUNCIL)
    kinds = [
        (leaf.type, leaf.detail.get("role"), leaf.detail.get("action"))
        for leaf in entries(firm.staff.auditor)[before:]
        if leaf.type in (LeafType.ROLE_PROPOSED, LeafType.ROLE_CHANGED)
    ]
    assert kinds == [
        (LeafType.ROLE_PROPOSED, "steward", "grant"), (LeafType.ROLE_CHANGED, "steward", "grant"),
        (LeafType.ROLE_PROPOSED, "steward", "revoke"), (LeafType.ROLE_CHANGED, "steward", "revoke"),
        (LeafType.ROLE_PROPOSED, "council", "grant"),
    ]  # fmt: skip
