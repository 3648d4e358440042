"""A second device, and a lost laptop: only an opening credential of the person adds a key, or ends one."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from tests.simulators.custodian import PURPOSE, RECIPIENT, CustodianWorld, Member, payload_changed, problem

from assent.contracts.envelope import Envelope, read_unverified, sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.statements import (
    CertificateAnswer,
    Mode,
    News,
    Order,
    Revocation,
    Role,
    RoleCountersignature,
    RoleProposal,
    StreamWanted,
)
from assent.contracts.wire import CertificatesAnswer
from assent_custodian.consent.domain import Use
from assent_custodian.consent.service import ConsentNow
from assent_custodian.keys.models import Stream
from assent_custodian.log.models import QueuedPersonLeaf
from assent_custodian.orders.models import OrderRow, QueuedItem
from assent_server import doctor


def news(member: Member, key: SigningKey | None = None) -> News:
    answer = member.get("/v1/me/news", key=key or member.device)
    assert answer.status_code == 200, answer.text
    told: News = member.world.read(Envelope.from_json(answer.content), News)
    return told


def refusal(member: Member) -> str | None:
    request, _ = member.certificate_request(modalities=(Modality.POINTER,))
    answer = CertificatesAnswer.parse(member.post("/v1/certificates", request, key=member.device).content)
    said: CertificateAnswer = member.world.read(answer.answer, CertificateAnswer)
    return said.refusal


# --- a second device --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["device", "opening"])
def test_an_opening_credential_adds_a_key_to_the_same_person(kim: Member, kind: str) -> None:
    added = kim.add_key(kind)  # type: ignore[arg-type]
    me = kim.get("/v1/me", key=added).json()
    assert me["person"] == kim.person
    assert {c["key_id"]: c["kind"] for c in me["credentials"]}[added.public.id] == kind
    assert len(me["credentials"]) == 3
    with kim.world.custodian.database.reading() as session:
        assert len(session.scalars(select(QueuedPersonLeaf.leaf)).all()) == 5, "founders, Kim, one more"


def test_every_credential_is_told_of_a_new_one(kim: Member) -> None:
    added = kim.add_key()
    for key in (kim.device, added):
        (told,) = news(kim, key).notifications
        assert told.kind == "account"
        assert "was added to your account on 2026-11-23" in told.text
    (message,) = kim.get("/v1/me").json()["messages"]
    assert message["text"] == told.text
    assert kim.world.add_person("Lee").get("/v1/me").json()["messages"] == []


def test_a_device_key_adds_nothing_and_revokes_nothing(kim: Member) -> None:
    _, statement = kim.code()
    assert problem(kim.post("/v1/me/credentials", statement, key=kim.device)) == "forbidden"
    assert problem(kim.revoke(kim.opening, by=kim.device)) == "forbidden"
    assert kim.post("/v1/me/credentials", statement).status_code == 200, "the opening one does"


def test_a_code_adds_one_key_of_its_kind_once(kim: Member) -> None:
    world = kim.world
    code, statement = kim.code("device")
    assert kim.post("/v1/me/credentials", statement).status_code == 200
    text = code.to_text()
    key, other = SigningKey.generate(), SigningKey.generate()
    for keys in ([("opening", key)], [("device", key), ("opening", other)]):
        assert problem(world.post("/v1/enrolments", world.enrolment(text, keys).to_json())) == "refused"
    envelope = world.enrolment(text, [("device", key)])
    assert world.post("/v1/enrolments", envelope.to_json()).status_code == 200
    assert problem(world.post("/v1/enrolments", envelope.to_json())) == "code-invalid"
    again = world.enrolment(text, [("device", other)])
    assert problem(world.post("/v1/enrolments", again.to_json())) == "code-invalid"
    assert problem(kim.post("/v1/me/credentials", statement)) == "conflict"


def test_a_code_ends_after_a_day_and_with_the_key_that_signed_for_it(kim: Member) -> None:
    world = kim.world
    _, late = kim.code(until="2026-11-24T09:00:01Z")
    assert problem(kim.post("/v1/me/credentials", late)) == "malformed"
    other = kim.add_key("opening")
    codes = []
    for key in (kim.opening, other):
        code, statement = kim.code()
        assert kim.post("/v1/me/credentials", statement, key=key).status_code == 200
        codes.append(code.to_text())
    assert kim.revoke(other).status_code == 200
    key = SigningKey.generate()
    ended = world.post("/v1/enrolments", world.enrolment(codes[1], [("device", key)]).to_json())
    assert problem(ended) == "code-invalid"
    world.clock.forward(hours=24, seconds=1)
    expired = world.post("/v1/enrolments", world.enrolment(codes[0], [("device", key)]).to_json())
    assert problem(expired) == "code-invalid"


def test_a_code_that_was_changed_or_is_of_another_person_adds_nothing(kim: Member) -> None:
    _, statement = kim.code("device")
    changed = payload_changed(sign(statement, kim.opening), b'"kind":"device"', b'"kind":"opening"')
    assert problem(kim.world.post("/v1/me/credentials", changed.to_json())) == "signature-invalid"
    lee = kim.world.add_person("Lee")
    code, theirs = lee.code("opening")
    assert lee.post("/v1/me/credentials", theirs).status_code == 200
    key = SigningKey.generate()
    enrolment = kim.world.enrolment(code.to_text(), [("opening", key)])
    assert kim.world.post("/v1/enrolments", enrolment.to_json()).status_code == 200
    assert kim.get("/v1/me", key=key).json()["person"] == lee.person, "it adds to who signed, whoever uses it"
    assert len(kim.get("/v1/me").json()["credentials"]) == 2


def test_a_receipt_given_on_one_device_starts_no_other(kim: Member) -> None:
    kim.consent()
    second = kim.on(kim.add_key())
    assert refusal(kim) is None
    assert refusal(second) == "there is no valid receipt of this device"
    second.consent()
    assert refusal(second) is None, "its own receipt does"
    assert refusal(kim) is None, "and leaves the first device as it was"


# --- a lost laptop ----------------------------------------------------------------------------------------------------


def test_a_revoked_device_signs_nothing_more_and_its_streams_end_at_once(kim: Member) -> None:
    kim.consent()
    second = kim.on(kim.add_key())
    second.consent()
    lost = second.certify((Modality.POINTER, Modality.SCREEN))
    kept = kim.certify((Modality.POINTER,))
    assert kim.revoke(second.device).status_code == 200
    request, _ = second.certificate_request()
    assert problem(second.post("/v1/certificates", request, key=second.device)) == "not-signed-in"
    assert problem(second.get("/v1/me", key=second.device)) == "not-signed-in"
    assert problem(second.send_receipt(kim.receipt(), key=second.device)) == "not-signed-in"
    with kim.world.custodian.database.reading() as session:
        (order,) = session.scalars(select(OrderRow)).all()
        closed = {stream.id: stream.closed for stream in session.scalars(select(Stream))}
        assert session.scalars(select(QueuedItem)).all() == []
    items = kim.world.read(Envelope.from_json(order.envelope), Order).items
    assert {(item.action, item.stream) for item in items} == {("revoke", one.stream) for one, _, _ in lost}
    for item in items:
        assert kim.world.read(item.evidence, Revocation).stream == item.stream
    assert {closed[one.stream] for one, _, _ in lost} == {"revoked"}
    assert closed[kept[0][0].stream] is None, "the other device records on"
    assert refusal(kim) is None


def test_an_urgent_order_takes_nothing_along_that_waits_for_the_night(kim: Member) -> None:
    lee = kim.world.add_person("Lee")
    lee.consent()
    lee.certify()
    lee.withdraw()
    kim.consent()
    mine = {one.stream for one, _, _ in kim.certify()}
    assert kim.revoke(kim.device).status_code == 200
    with kim.world.custodian.database.reading() as session:
        (order,) = session.scalars(select(OrderRow)).all()
        assert len(session.scalars(select(QueuedItem)).all()) == 4
    assert {item.stream for item in read_unverified(Envelope.from_json(order.envelope), Order).items} == mine


def test_a_revoked_device_hears_that_it_is_and_nothing_about_its_person(kim: Member) -> None:
    kim.consent()
    assert news(kim).live
    assert not news(kim).revoked
    assert kim.revoke(kim.device).status_code == 200
    told = news(kim)
    assert (told.revoked, told.live, told.notifications) == (True, (), ())
    assert "was revoked on 2026-11-23" in kim.get("/v1/me").json()["messages"][0]["text"]


def test_a_revoked_device_can_still_withdraw(kim: Member) -> None:
    kim.consent()
    kim.certify()
    kim.revoke(kim.device)
    assert kim.withdraw().status_code == 200
    with kim.world.custodian.database.reading() as session:
        assert {stream.closed for stream in session.scalars(select(Stream))} == {"withdrawn"}


def test_recordings_of_a_lost_device_stay_under_the_consent_of_another(kim: Member) -> None:
    world = kim.world
    kim.consent()
    ((stream, _, _),) = kim.certify((Modality.POINTER,))
    second = kim.on(kim.add_key())
    use = Use(PURPOSE, 1, RECIPIENT, Mode.READER)

    def why_not() -> str | None:
        with world.custodian.database.transaction() as session:
            row = session.get_one(Stream, stream.stream)
            return ConsentNow(session, [row], use, world.clock()).why_not(row)

    assert why_not() is None
    kim.revoke(kim.device)
    assert why_not() == "expired", "no living receipt of this person covers it now"
    second.consent()
    assert why_not() is None
    second.withdraw()
    assert why_not() == "withdrawn"


def test_a_stream_of_a_revoked_device_is_never_extended(kim: Member) -> None:
    kim.consent()
    ((certificate, key, _),) = kim.certify((Modality.POINTER,))
    second = kim.on(kim.add_key())
    second.consent()
    kim.revoke(kim.device)
    want = StreamWanted(
        stream=certificate.stream, stream_key=key.public.text, modality=Modality.POINTER, day=certificate.day
    )  # fmt: skip
    request, _ = second.certificate_request([want])
    answer = CertificatesAnswer.parse(second.post("/v1/certificates", request, key=second.device).content)
    assert answer.certificates == (None,)


def test_the_last_opening_credential_does_not_go_by_accident(kim: Member) -> None:
    refused = kim.revoke(kim.opening)
    assert problem(refused) == "refused"
    assert "last opening key" in refused.json()["detail"]
    other = kim.add_key("opening")
    assert kim.revoke(other).status_code == 200, "not the last"
    assert kim.revoke(other).status_code == 200, "twice is once"
    assert problem(kim.get("/v1/me", key=other)) == "not-signed-in"
    assert kim.revoke(kim.opening, even_last=True).status_code == 200
    assert problem(kim.get("/v1/me")) == "not-signed-in"
    assert kim.get("/v1/me", key=kim.device).status_code == 200


def test_nobody_revokes_a_key_of_somebody_else(lite: CustodianWorld) -> None:
    kim = lite.add_person("Kim")
    for member in (lite.add_person("Lee"), lite.admin, lite.council, lite.dpo, lite.add_person("Sam", Role.STEWARD)):
        assert problem(member.revoke(kim.device)) == "not-found"
    assert problem(kim.revoke(SigningKey.generate())) == "not-found"
    envelope = sign(kim.code()[1], kim.opening)
    assert problem(lite.post("/v1/me/credentials/revocations", envelope.to_json())) == "malformed"
    assert kim.get("/v1/me", key=kim.device).status_code == 200


def test_an_old_revocation_is_refused(lite: CustodianWorld) -> None:
    kim = lite.add_person("Kim")
    from assent.contracts.statements import CredentialRevocation

    envelope = sign(CredentialRevocation(credential=kim.device.public.id, at=lite.now), kim.opening)
    changed = payload_changed(envelope, kim.device.public.id.encode(), kim.opening.public.id.encode())
    assert problem(lite.post("/v1/me/credentials/revocations", changed.to_json())) == "signature-invalid"
    lite.clock.forward(seconds=121)
    assert problem(lite.post("/v1/me/credentials/revocations", envelope.to_json())) == "stale"


def test_the_doctor_says_when_council_or_dpo_could_be_lost_with_one_key_and_when_they_are(lite: CustodianWorld) -> None:
    def said() -> list[str]:
        findings = doctor.Findings()
        with lite.custodian.database.reading() as session:
            doctor.guards(findings, session, lite.custodian)
        return [*(f"FAULT {fault}" for fault in findings.faults), *findings.notes]

    council, dpo = said()
    assert "one single key signs as council" in council and "one single key signs as dpo" in dpo
    second = lite.council.add_key("opening")
    sam = lite.add_person("Sam", Role.DPO)
    lite.clock.forward(hours=25)
    assert said() == [], "a second key, or a second person"
    lite.council.add_key("device")
    assert lite.council.revoke(second).status_code == 200
    assert lite.council.revoke(lite.council.opening, even_last=True).status_code == 200
    (fault,) = said()
    assert fault.startswith("FAULT") and "nobody can sign as council any more" in fault
    lee = lite.add_person("Lee")
    for who in (lite.dpo, sam):
        assert said()[0] == fault
        assert who.revoke(who.opening, even_last=True).status_code == 200
    (fault,) = said()
    assert "neither council nor data-protection officer has a key left" in fault
    assert lee.get("/v1/me").status_code == 200, "people go on"


def test_who_is_the_only_council_and_lost_all_keys_is_replaced_by_admin_and_dpo(lite: CustodianWorld) -> None:
    assert lite.council.revoke(lite.council.opening, even_last=True).status_code == 200
    sam = lite.add_person("Sam")
    proposal = RoleProposal(person=sam.person, role=Role.COUNCIL, action="grant", nonce=new_id(), at=lite.now)
    hash_ = lite.admin.post("/v1/roles", proposal).json()["hash"]
    (shown,) = (one for one in lite.dpo.get("/v1/roles").json()["proposals"] if one["proposal"] == hash_)
    agreed = RoleCountersignature(proposal=hash_, keys=tuple(shown["keys"]), at=lite.now)
    assert lite.dpo.post("/v1/roles/countersignatures", agreed).status_code == 200
    assert sam.get("/v1/me").json()["roles"] == ["council"]
