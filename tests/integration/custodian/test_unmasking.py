"""Who a pseudonym of the log is: two people sign, it is written down, the person is told; every doubt is a refusal."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import delete, update
from tests.simulators.custodian import CustodianWorld, Member

from assent.client.accesses import proof_of
from assent.contracts.envelope import Envelope, sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code
from assent.contracts.statements import (
    LeaseRequest,
    News,
    OwnData,
    Role,
    Unmasking,
    UnmaskingCountersignature,
)
from assent.contracts.times import moment
from assent.contracts.wire import AccessesView
from assent.reader.log_rules import LogRules
from assent.sealing.hpke import HybridPrivateKey
from assent.transparency.proof import LogProof
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.people.models import PersonSalt, RoleHeld

REASON = "opened recordings at three in the morning"


class Case:
    """An auditor, the dpo, and an admin whose entries are in the log."""

    def __init__(self, world: CustodianWorld) -> None:
        self.world, self.dpo, self.admin = world, world.dpo, world.admin
        self.auditor = world.add_person("Aki", Role.AUDITOR)
        self.index, self.leaf = self.entry_of(self.admin)

    def leaves(self) -> list[Leaf]:
        with self.world.custodian.database.reading() as session:
            return [Leaf.model_validate_json(data) for _, data in log.entries(session, 0, 10_000)]

    def entry_of(self, member: Member) -> tuple[int, Leaf]:
        with self.world.custodian.database.reading() as session:
            actor = log.actor_ref(session, member.person)
        return next((index, leaf) for index, leaf in enumerate(self.leaves()) if leaf.actor == actor)

    def wish(self, **changes: Any) -> Unmasking:
        content = {
            "index": self.index, "actor": self.leaf.actor, "reason": REASON, "nonce": new_id(), "at": self.world.now,
        }  # fmt: skip
        return Unmasking.model_validate({**content, **changes})

    def ask(self, **changes: Any) -> str:
        wish = self.wish(**changes)
        answer = self.auditor.post("/v1/unmaskings", wish)
        assert answer.status_code == 200, answer.text
        return sign(wish, self.auditor.opening).hash

    def countersign(self, unmasking: str, by: Member | None = None, key: SigningKey | None = None) -> Response:
        statement = UnmaskingCountersignature(unmasking=unmasking, at=self.world.now)
        return (by or self.dpo).post("/v1/unmaskings/countersignatures", statement, key=key)

    def show(self, unmasking: str, by: Member | None = None) -> Response:
        return (by or self.auditor).get(f"/v1/unmaskings/{unmasking}/person")

    def witness(self) -> None:
        witnesses.submit_head(self.world.custodian)

    def messages(self, member: Member) -> str:
        return " ".join(one["text"] for one in member.get("/v1/me").json()["messages"])

    def new(self, since: int) -> list[LeafType]:
        return [leaf.type for leaf in self.leaves()[since:]]


@pytest.fixture
def case(lite: CustodianWorld) -> Case:
    return Case(lite)


def kind(response: Response) -> str:
    assert response.status_code >= 400, response.text
    found: str = response.json()["type"]
    return found


def test_two_sign_and_the_auditor_learns_who_it_is_and_the_person_that_it_was_asked(world: CustodianWorld) -> None:
    case = Case(world)
    before = len(case.leaves())
    unmasking = case.ask()
    assert kind(case.show(unmasking)) == Code.NOT_AVAILABLE.type, "one signature is none"
    assert REASON not in case.messages(case.admin), "and nobody is told of a wish"
    assert case.countersign(unmasking).status_code == 200
    case.witness()
    answer = case.show(unmasking).json()
    assert (answer["person"], answer["name"], answer["actor"]) == (case.admin.person, "Admin", case.leaf.actor)
    assert case.new(before) == [LeafType.AUDIT_UNMASK_ASKED, LeafType.AUDIT_UNMASKED]
    asked, signed = case.leaves()[before:]
    assert asked.actor != signed.actor and asked.subject == signed.subject == unmasking
    assert not [text for text in (REASON, case.admin.person, "Admin") if text in f"{asked}{signed}"]
    told = case.messages(case.admin)
    assert REASON in told and "Aki" in told and "Data-protection officer" in told


def test_the_person_is_told_by_message_and_news_with_proof(case: Case) -> None:
    assert case.countersign(case.ask()).status_code == 200
    case.witness()
    news = case.world.read(Envelope.from_json(case.admin.get("/v1/me/news", key=case.admin.device).content), News)
    assert [REASON in note.text for note in news.notifications].count(True) == 1, "once"
    answer = case.admin.get("/v1/me/accesses")
    (access,) = answer.json()["accesses"]
    leaf = base64.b64decode(access["leaf"])
    LogProof.from_bytes(access["proof"].encode()).verify(leaf, case.world.custodian.directory.policy)
    assert Leaf.model_validate_json(leaf).type is LeafType.AUDIT_UNMASKED
    assert access["notification"]["kind"] == "unmasked"
    assert proof_of(AccessesView.parse(answer.content).accesses[0], case.world.custodian.directory.policy) is not None
    for other in (case.dpo, case.auditor, case.world.council):
        assert REASON not in case.messages(other)


def test_nothing_is_answered_before_witnesses_have_signed_that_it_is_in_the_log(case: Case) -> None:
    case.witness()
    case.world.witness.silent = True
    unmasking = case.ask()
    assert case.countersign(unmasking).status_code == 200
    assert kind(case.show(unmasking)) == Code.NO_QUORUM.type
    case.world.witness.silent = False
    case.witness()
    assert case.show(unmasking).status_code == 200, "the control"


def test_who_did_not_ask_gets_no_answer(case: Case) -> None:
    other = case.world.add_person("Aude", Role.AUDITOR)
    unmasking = case.ask()
    case.countersign(unmasking)
    case.witness()
    assert kind(case.show(unmasking, other)) == kind(case.show("ab" * 32, other)) == Code.NOT_FOUND.type
    for member in (case.dpo, case.admin, case.world.council):
        assert kind(case.show(unmasking, member)) == Code.FORBIDDEN.type
    assert case.show(unmasking).status_code == 200, "the control"


def test_it_expires_unsigned_and_signed(case: Case) -> None:
    late, soon = case.ask(), case.ask()
    case.world.clock.forward(days=6, hours=23)
    assert case.countersign(soon).status_code == 200
    case.world.clock.forward(hours=2)
    case.witness()
    assert kind(case.countersign(late)) == Code.CONFLICT.type
    assert case.show(soon).status_code == 200
    case.world.clock.forward(days=1)
    assert kind(case.show(soon)) == Code.NOT_AVAILABLE.type
    states = {one["unmasking"]: one["state"] for one in case.dpo.get("/v1/unmaskings").json()["unmaskings"]}
    assert states == {late: "expired", soon: "expired"}


def _role_ends(case: Case) -> None:
    with case.world.custodian.database.transaction() as session:
        session.execute(
            update(RoleHeld).where(RoleHeld.person == case.auditor.person).values(ended=moment(case.world.clock()))
        )


def _key_is_revoked(case: Case) -> None:
    spare = case.auditor.add_key("opening")
    assert case.auditor.revoke(case.auditor.opening, by=spare).status_code == 200


def _is_erased(case: Case) -> None:
    with case.world.custodian.database.transaction() as session:
        session.execute(delete(PersonSalt).where(PersonSalt.person == case.admin.person))


DOUBTS: dict[str, Callable[[Case], None]] = {
    "who asked lost the role": _role_ends,
    "the key that asked was revoked": _key_is_revoked,
    "the person was erased": _is_erased,
    "it was countersigned already": lambda case: None,
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_every_doubt_is_a_refusal_and_then_nothing_is_written_down_nor_told(case: Case, doubt: str) -> None:
    unmasking = case.ask()
    DOUBTS[doubt](case)
    if doubt == "it was countersigned already":
        assert case.countersign(unmasking).status_code == 200, "the control"
    before, told = len(case.leaves()), len(case.messages(case.admin))
    assert case.countersign(unmasking).status_code in (403, 409)
    assert case.new(before) == []
    assert len(case.messages(case.admin)) == told


@pytest.mark.parametrize("by", ["auditor", "admin", "council"])
def test_nobody_but_the_dpo_countersigns(case: Case, by: str) -> None:
    member = case.auditor if by == "auditor" else case.world.founders[Role(by)]
    assert kind(case.countersign(case.ask(), member)) == Code.FORBIDDEN.type


def test_it_takes_opening_keys_fresh_signatures_and_a_new_nonce(case: Case) -> None:
    wish = case.wish()
    assert kind(case.auditor.post("/v1/unmaskings", wish, key=case.auditor.device)) == Code.FORBIDDEN.type
    unmasking = case.ask()
    assert kind(case.countersign(unmasking, key=case.dpo.device)) == Code.FORBIDDEN.type
    old = case.wish(at="2026-11-23T08:00:00Z")
    assert kind(case.auditor.post("/v1/unmaskings", old)) == Code.STALE.type
    assert case.auditor.post("/v1/unmaskings", wish).status_code == 200, "the control"
    assert kind(case.auditor.post("/v1/unmaskings", wish)) == Code.STALE.type


def test_the_dpo_signs_nothing_about_the_dpo(case: Case) -> None:
    with case.world.custodian.database.reading() as session:
        actor = log.actor_ref(session, case.dpo.person)
    index = next(number for number, leaf in enumerate(case.leaves()) if leaf.actor == actor)
    assert kind(case.countersign(case.ask(index=index, actor=actor))) == Code.REFUSED.type


def test_only_what_stands_in_an_entry_can_be_asked_for(case: Case) -> None:
    for changes in ({"actor": "ab" * 32}, {"index": 10**6}, {"index": 0}):
        refused = case.auditor.post("/v1/unmaskings", case.wish(**changes))
        assert kind(refused) == Code.NOT_FOUND.type, changes


def test_a_lease_of_ones_own_has_no_name_behind_it(case: Case) -> None:
    """Its actor is made for one time. Nobody learns by this way who takes part; that it is so is said."""
    world = case.world
    world.add_purpose()
    (member,) = world.add_participants(1)
    member.certify()
    day = world.now[:10]
    wanted = LeaseRequest(
        own=OwnData(from_day=day, to_day=day, modalities=tuple(Modality)),
        job_signing_key=SigningKey.generate().public.text,
        job_receiving_key=HybridPrivateKey.generate().public_key.to_text(),
        nonce=new_id(), at=world.now, until=moment(world.clock().replace(hour=10)),
    )  # fmt: skip
    assert member.post("/v1/leases", wanted).status_code == 200
    index, leaf = next((n, leaf) for n, leaf in enumerate(case.leaves()) if leaf.mode == "own")
    unmasking = case.ask(index=index, actor=leaf.actor)
    assert kind(case.countersign(unmasking)) == Code.NOT_AVAILABLE.type
    assert REASON not in case.messages(member)


def test_the_rules_of_the_log_know_both_signatures(case: Case) -> None:
    case.countersign(case.ask())
    leaves = case.leaves()
    asked = next(leaf for leaf in leaves if leaf.type is LeafType.AUDIT_UNMASK_ASKED)
    signed = next(leaf for leaf in leaves if leaf.type is LeafType.AUDIT_UNMASKED)

    def wrong(*read: Leaf) -> list[str]:
        rules = LogRules()
        return [finding.kind for leaf in read for finding in rules.read(leaf.to_bytes()).wrong]

    assert wrong(asked, signed) == []
    assert wrong(signed) == ["unmasked"], "nobody asked"
    assert wrong(asked, signed.model_copy(update={"actor": asked.actor})) == ["unmasked"], "one person alone"
    assert wrong(asked, signed.model_copy(update={"at": "2026-12-01T09:00:00Z"})) == ["unmasked"], "too late"
    assert wrong(asked, signed.model_copy(update={"counts": {"index": 1}})) == ["unmasked"], "another entry"
