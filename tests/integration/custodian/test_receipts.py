"""Receipts as evidence: the text that was shown, the proof of the log, and that a change asks anew."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from tests.simulators.custodian import PURPOSE, RECIPIENT, CustodianWorld, Member, payload_changed, problem

from assent.client.receipts import ReceiptFile, ReceiptInvalid, check_receipt
from assent.contracts.envelope import Envelope, sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import PublicKey, SigningKey
from assent.contracts.lists import person_leaf
from assent.contracts.statements import CertificateAnswer, Choice, ConsentEnding, Mode, News, Role
from assent.contracts.wire import CertificatesAnswer, NoticeView, ReceiptAnswer, ReceiptProof, StatementWithLeaf
from assent_custodian.consent.domain import Use
from assent_custodian.consent.offer import NO_REFERENCE
from assent_custodian.consent.service import ConsentNow
from assent_custodian.keys.models import Stream, VaultKey
from assent_custodian.log.models import LogEntry
from assent_custodian.night import run_night

SALT = "5a" * 16


def change_policy(world: CustodianWorld, **changes: Any) -> None:
    """Edit the policy file, as operators do, and start again."""
    policy = json.loads(world.settings.policy.read_text())
    world.settings.policy.write_text(json.dumps({**policy, **changes}))
    world.restart()


def kept(member: Member, *, night: bool = True) -> ReceiptFile:
    """Give consent with a salt that is known, and make the file that a device keeps."""
    envelope = sign(member.receipt(), member.device)
    body = StatementWithLeaf(statement=envelope, leaf=person_leaf(bytes.fromhex(SALT), envelope.hash))
    answer = member.world.post("/v1/receipts", body.to_json())
    assert answer.status_code == 200, answer.text
    member.previous = envelope.hash
    if night:
        member.world.clock.forward(days=1)
        run_night(member.world.custodian)
    file = ReceiptFile(
        receipt=ReceiptAnswer.parse(answer.content).receipt,
        salt=SALT,
        device_key=member.device.public.text,
        notice=member.offer().notice,
    )
    found = proof(member, file)
    return file.model_copy(update={"leaf": found.leaf, "proof": found.proof})


def record_of(file: ReceiptFile) -> str:
    record: str = json.loads(file.receipt.payload_bytes)["record"]
    return record


def proof(member: Member, file: ReceiptFile) -> ReceiptProof:
    leaf = person_leaf(bytes.fromhex(SALT), file.receipt.hash)
    answer = member.get(f"/v1/me/receipts/{record_of(file)}/proof?leaf={leaf}")
    assert answer.status_code == 200, answer.text
    return ReceiptProof.parse(answer.content)


def checked(member: Member, file: ReceiptFile) -> Any:
    current = member.world.custodian.directory
    return check_receipt(file, PublicKey(current.directory.statement_key), member.person, current.policy)


# --- evidence ---


def test_a_receipt_file_proves_offline_what_was_shown_signed_and_witnessed(kim: Member) -> None:
    found = checked(kim, kept(kim))
    assert found.device_key_checked
    assert found.notice_checked
    assert found.log_index > 0


def test_before_the_night_there_is_no_proof_and_the_receipt_says_so(lee: Member) -> None:
    file = kept(lee, night=False)
    assert (file.leaf, file.proof) == (None, None)
    assert checked(lee, file).log_index is None


def test_a_receipt_that_is_newer_than_the_witnessed_head_has_no_proof_yet(lee: Member) -> None:
    lee.world.witness.silent = True
    file = kept(lee)
    assert file.proof is None
    lee.world.witness.silent = False
    run_night(lee.world.custodian)
    assert proof(lee, file).proof is not None


def test_the_proof_is_for_the_person_alone_and_only_for_who_knows_the_salt(lee: Member) -> None:
    file = kept(lee)
    other = lee.world.add_person("Other")
    leaf = person_leaf(bytes.fromhex(SALT), file.receipt.hash)
    assert problem(other.get(f"/v1/me/receipts/{record_of(file)}/proof?leaf={leaf}")) == "not-found"
    assert problem(lee.get(f"/v1/me/receipts/{new_id()}/proof?leaf={leaf}")) == "not-found"
    unknown = lee.get(f"/v1/me/receipts/{record_of(file)}/proof?leaf={'ab' * 32}")
    assert ReceiptProof.parse(unknown.content) == ReceiptProof()
    assert problem(lee.get(f"/v1/me/receipts/{record_of(file)}/proof?leaf=x")) == "malformed"


def test_the_salt_is_told_to_every_key_of_the_person_and_a_wrong_one_is_refused(lee: Member) -> None:
    envelope = sign(lee.receipt(), lee.device)
    leaf = person_leaf(bytes.fromhex(SALT), envelope.hash)
    for salt in ("00" * 16, SALT[2:], "xy" * 16, ""):
        body = f'{{"statement":{envelope.to_json().decode()},"leaf":"{leaf}","salt":"{salt}"}}'
        assert problem(lee.world.post("/v1/receipts", body.encode())) == "malformed", salt
    assert states(lee) == []
    body = StatementWithLeaf(statement=envelope, leaf=leaf, salt=SALT).to_json()
    first = lee.world.post("/v1/receipts", body)
    assert first.status_code == 200, first.text
    assert lee.world.post("/v1/receipts", body).content == first.content
    second = lee.on(lee.add_key())
    for answer in (lee.get("/v1/me/receipts"), second.get("/v1/me/receipts", key=second.device)):
        assert [row["salt"] for row in answer.json()["receipts"]] == [SALT]
    other = lee.world.add_person("Other")
    assert other.get("/v1/me/receipts").json()["receipts"] == []
    lee.previous = envelope.hash
    lee.consent()
    assert {row.get("salt") for row in lee.get("/v1/me/receipts").json()["receipts"]} == {SALT, None}


DAMAGE: dict[str, Callable[[ReceiptFile, ReceiptFile], dict[str, Any]]] = {
    "another text": lambda file, _: {"notice": f"{file.notice} "},
    "another salt": lambda *_: {"salt": "00" * 16},
    "no salt": lambda *_: {"salt": None},
    "no entry": lambda *_: {"leaf": None},
    "no proof": lambda *_: {"proof": None},
    "the entry of another receipt": lambda _, other: {"leaf": other.leaf},
    "the proof of another receipt": lambda _, other: {"proof": other.proof},
    "the entry and proof of another receipt": lambda _, other: {"leaf": other.leaf, "proof": other.proof},
    "another device key": lambda *_: {"device_key": SigningKey.generate().public.text},
    "the receipt of another time": lambda _, other: {"receipt": other.receipt},
    "an entry that says the same in other bytes": lambda file, _: {
        "leaf": base64.b64encode(json.dumps(json.loads(base64.b64decode(file.leaf or ""))).encode()).decode()
    },
}


def test_a_receipt_file_in_which_anything_was_swapped_removed_or_changed_is_refused(lee: Member) -> None:
    older, file = kept(lee), kept(lee)
    assert checked(lee, file).log_index is not None, "the control"
    for name, damage in DAMAGE.items():
        with pytest.raises(ReceiptInvalid):
            checked(lee, file.model_copy(update=damage(file, older)))
            pytest.fail(name)
    unwitnessed = "".join(line for line in (file.proof or "").splitlines(keepends=True) if "witness" not in line)
    assert unwitnessed != file.proof
    with pytest.raises(ReceiptInvalid, match="proof of the log"):
        checked(lee, file.model_copy(update={"proof": unwitnessed}))


def test_the_text_that_was_agreed_to_is_kept_when_the_policy_changes(kim: Member) -> None:
    receipt = kim.consent()
    shown = kim.offer().notice
    change_policy(kim.world, notice="Something else.", notice_version="2")
    view = NoticeView.parse(kim.get(f"/v1/consent/notices/{receipt.notice.sha256}").content)
    assert (view.notice, view.version, view.locale) == (shown, "1", "en")
    assert problem(kim.get(f"/v1/consent/notices/{'ab' * 32}")) == "not-found"


# --- a change asks anew ---


def news(member: Member) -> News:
    found: News = member.world.read(Envelope.from_json(member.get("/v1/me/news", key=member.device).content), News)
    return found


def refusal(member: Member) -> str:
    request, _ = member.certificate_request()
    answer = CertificatesAnswer.parse(member.post("/v1/certificates", request, key=member.device).content)
    assert answer.certificates == (None,) * len(Modality)
    summary = member.world.read(answer.answer, CertificateAnswer)
    return str(summary.refusal)


CHANGES: dict[str, dict[str, Any]] = {
    "notice": {"notice": "You are recorded in another way.", "notice_version": "2"},
    "application_list": {"application_list": {"version": "2", "allow": ["xterm"], "deny": []}},
    "agreement": {"agreement": "Works agreement 8"},
    "dpia": {"dpia": "DPIA 4"},
    "statements": {"statements": ["Whatever."]},
    "redaction_profile": {"redaction_profile": "nothing"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_what_was_shown_asks_anew_and_nothing_is_recorded_until_then(lee: Member, name: str) -> None:
    lee.consent()
    lee.certify()
    assert news(lee).asks_anew == ()
    change_policy(lee.world, **CHANGES[name])
    assert news(lee).asks_anew == (name,)
    assert news(lee).live == ()
    assert news(lee).ended == (), "what was recorded stays as it was agreed to"
    assert name in refusal(lee)
    lee.consent()
    assert news(lee).asks_anew == ()
    lee.certify()


def test_a_change_of_the_terms_asks_anew(lee: Member) -> None:
    lee.consent()
    terms = json.loads(lee.world.settings.policy.read_text())["terms"]
    change_policy(lee.world, terms={**terms, "storage_locations": ["Elsewhere."]})
    assert news(lee).asks_anew == ("terms",)
    assert "terms" in refusal(lee)


@pytest.mark.parametrize(
    "change", [{"sentence": "Sell what people do."}, {"recipients": (RECIPIENT, "vendors")}], ids=["text", "recipients"]
)
def test_a_new_version_of_a_purpose_is_not_covered_by_the_old_receipt(lee: Member, change: dict[str, Any]) -> None:
    lee.consent()
    lee.certify()
    lee.world.add_purpose(version=2, **change)
    assert news(lee).asks_anew == ("purposes",)
    assert "purposes" in refusal(lee)
    with lee.world.custodian.database.reading() as session:
        streams = session.scalars(select(Stream)).all()
        for version, recipient, expected in (
            (1, RECIPIENT, None),
            (2, RECIPIENT, "withdrawn"),
            (2, "vendors", "withdrawn"),
        ):
            use = Use(PURPOSE, version, recipient, Mode.READER)
            now = ConsentNow(session, streams, use, lee.world.clock())
            assert {now.why_not(stream) for stream in streams} == {expected}
    lee.consent()
    assert news(lee).asks_anew == ()
    lee.certify()


def test_another_purpose_of_the_same_modality_goes_on(lee: Member) -> None:
    lee.world.add_purpose("urn:purpose:study")
    lee.consent()
    lee.world.add_purpose("urn:purpose:study", version=2)
    assert news(lee).asks_anew == ("purposes",)
    assert {choice.purpose for live in news(lee).live for choice in live.left} == {PURPOSE}
    assert len(lee.certify()) == len(Modality)


def test_a_custodian_that_keeps_for_longer_than_it_promised_does_not_start(lee: Member) -> None:
    terms = json.loads(lee.world.settings.policy.read_text())["terms"]
    with pytest.raises(Exception, match="nothing is kept for longer than was promised"):
        change_policy(lee.world, terms={**terms, "retention_days": 30})


# --- nobody takes part without references ---


@pytest.mark.parametrize("missing", [{"agreement": ""}, {"dpia": "  "}, {"agreement": NO_REFERENCE}])
def test_without_works_agreement_and_assessment_nobody_is_invited_enrolled_or_agrees(
    lee: Member, missing: dict[str, str]
) -> None:
    world = lee.world
    code, invitation = world.invitation("Mika")
    assert world.admin.post("/v1/invitations", invitation).status_code == 200, "the control"
    change_policy(world, **missing)
    answer = world.admin.post("/v1/invitations", world.invitation("Nils")[1])
    assert problem(answer) == "refused"
    assert next(iter(missing)) in answer.json()["detail"]
    key = SigningKey.generate()
    answer = world.post("/v1/enrolments", world.enrolment(code.to_text(), [("device", key)]).to_json())
    assert problem(answer) == "refused"
    receipt = lee.receipt(agreement="Works agreement 7", dpia="DPIA 3")
    assert problem(lee.send_receipt(receipt)) == "refused"
    assert world.add_person("Stine", Role.STEWARD).person, "roles are filled before anybody takes part"
    change_policy(world, agreement="Works agreement 7", dpia="DPIA 3")
    world.join(code.to_text(), "Mika").consent()


# --- ended by the controller, or by an authority ---


def ending(world: CustodianWorld, state: str = "terminated", **fields: Any) -> ConsentEnding:
    content = {"state": state, "reason": "the programme ends", "nonce": new_id(), "at": world.now, **fields}
    return ConsentEnding(**content)


def states(member: Member) -> list[str]:
    return [one["state"] for one in member.get("/v1/me/receipts").json()["receipts"]]


@pytest.mark.parametrize("state", ["terminated", "invalidated"])
def test_the_dpo_ends_every_receipt_and_what_they_covered_is_closed_and_then_erased(kim: Member, state: str) -> None:
    world = kim.world
    other = world.add_person("Other")
    receipt = kim.consent()
    other.consent(choices=(Choice(modality=Modality.SCREEN, purpose=PURPOSE, purpose_version=1),))
    kim.certify()
    statement = ending(world, state)
    first = world.dpo.post("/v1/consent/endings", statement)
    assert first.status_code == 200, first.text
    assert problem(world.dpo.post("/v1/consent/endings", statement)) == "stale", "it serves once"
    assert (states(kim), states(other)) == ([state], [state])
    assert news(kim).ended == (receipt.record,)
    assert news(kim).live == ()
    assert "no valid receipt" in refusal(kim)
    assert set(whys(kim)) == {"withdrawn"}
    confirm = kim.withdraw()
    assert confirm.status_code == 200, "a withdrawal is accepted even then"
    assert states(kim) == [state], "an end is final"
    world.clock.forward(days=6)
    assert run_night(world.custodian)["streams_erased"] == 0
    world.clock.forward(days=1)
    run_night(world.custodian)
    with world.custodian.database.reading() as session:
        assert session.scalars(select(VaultKey)).all() == []
    world.clock.forward(seconds=1)
    kim.consent()
    assert set(whys(kim)) == {"withdrawn"}, "a new receipt opens nothing of an ended one"


def whys(member: Member) -> list[str | None]:
    with member.world.custodian.database.reading() as session:
        streams = session.scalars(select(Stream).where(Stream.person == member.person)).all()
        now = ConsentNow(session, streams, Use(PURPOSE, 1, RECIPIENT, Mode.READER), member.world.clock())
        return [now.why_not(stream) for stream in streams]


def test_an_ending_by_notice_ends_those_who_agreed_to_it_and_nobody_can_agree_to_it_again(lee: Member) -> None:
    receipt = lee.consent()
    other = lee.world.add_person("Other")
    change_policy(lee.world, notice="A better text.", notice_version="2")
    other.consent()
    wrong = ending(lee.world, "invalidated", notice=receipt.notice.sha256)
    assert lee.world.dpo.post("/v1/consent/endings", wrong).status_code == 200
    assert (states(lee), states(other)) == (["invalidated"], ["given"])
    lee.consent()
    text = NoticeView.parse(lee.get(f"/v1/consent/notices/{receipt.notice.sha256}").content).notice
    change_policy(lee.world, notice=text, notice_version="1")
    assert problem(lee.send_receipt(lee.receipt())) == "refused"


def test_an_ending_by_record_ends_that_one_and_its_log_entry_says_neither_who_nor_how_many(lee: Member) -> None:
    receipt = lee.consent()
    other = lee.world.add_person("Other")
    other.consent()
    statement = ending(lee.world, record=receipt.record)
    assert lee.world.dpo.post("/v1/consent/endings", statement).json() == {
        "hash": sign(statement, lee.world.dpo.opening).hash
    }
    assert (states(lee), states(other)) == (["terminated"], ["given"])
    with lee.world.custodian.database.reading() as session:
        (leaf,) = session.scalars(select(LogEntry.leaf).where(LogEntry.type == "consent.ended"))
    entry = json.loads(leaf)
    assert entry["detail"] == {"state": "terminated"}
    assert not {"counts", "roots"} & set(entry)
    both = ending(lee.world, record=receipt.record, notice=receipt.notice.sha256)
    assert problem(lee.world.dpo.post("/v1/consent/endings", both)) == "malformed"


def test_nobody_but_the_dpo_ends_the_consent_of_others(lee: Member) -> None:
    lee.consent()
    world = lee.world
    for member in (world.admin, world.council, lee):
        assert problem(member.post("/v1/consent/endings", ending(world))) == "forbidden"
    assert problem(world.dpo.post("/v1/consent/endings", ending(world), key=world.dpo.device)) == "forbidden"
    envelope = sign(ending(world), world.dpo.opening)
    changed = payload_changed(envelope, b"terminated", b"invalidated")
    assert problem(world.post("/v1/consent/endings", changed.to_json())) == "signature-invalid"
    swapped = envelope.model_copy(update={"signatures": sign(ending(world), world.dpo.opening).signatures})
    assert problem(world.post("/v1/consent/endings", swapped.to_json())) == "signature-invalid"
    world.clock.forward(minutes=10)
    assert problem(world.post("/v1/consent/endings", envelope.to_json())) == "stale"
    assert states(lee) == ["given"]
