"""Giving consent, withdrawing it, and what that does to streams and keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from tests.simulators.custodian import (
    PURPOSE,
    RECIPIENT,
    Member,
    payload_changed,
    problem,
    with_leaf,
)

from assent.contracts.envelope import Envelope, read, sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.statements import (
    DPV_CONSENT,
    AgreedPurpose,
    Choice,
    DataItem,
    LiveReceipt,
    Mode,
    News,
    Notice,
    Receipt,
    Withdrawal,
    WithdrawalConfirmed,
)
from assent.contracts.times import moment
from assent.contracts.wire import ReceiptAnswer, WithdrawalAnswer
from assent_custodian.consent import service as consent
from assent_custodian.consent.domain import Use
from assent_custodian.consent.offer import default_terms
from assent_custodian.keys.models import Stream, TombstoneRow, VaultKey
from assent_custodian.log.models import QueuedPersonLeaf
from assent_custodian.night import run_night
from assent_custodian.orders.models import QueuedItem
from assent_custodian.people.models import Credential

STUDY = "urn:purpose:study"
USE = Use(PURPOSE, 1, RECIPIENT, Mode.READER)


OTHER_TERMS = default_terms("Another Ltd", "Works agreement 7", "DPIA 3", 180)


def choice(modality: Modality, purpose: str = PURPOSE, version: int = 1) -> Choice:
    return Choice(modality=modality, purpose=purpose, purpose_version=version)


def covered(member: Member, use: Use = USE) -> dict[str, str | None]:
    """By modality: why its (one) stream may not be opened now, or None."""
    with member.world.custodian.database.reading() as session:
        streams = session.scalars(select(Stream).where(Stream.person == member.person)).all()
        now = consent.ConsentNow(session, streams, use, member.world.clock())
        return {stream.modality: now.why_not(stream) for stream in streams}


def confirmed(member: Member, **fields: Any) -> WithdrawalConfirmed:
    answer = member.withdraw(**fields)
    assert answer.status_code == 200, answer.text
    found: WithdrawalConfirmed = member.world.read(
        WithdrawalAnswer.parse(answer.content).confirmation, WithdrawalConfirmed
    )
    return found


def count(member: Member, table: Any) -> int:
    with member.world.custodian.database.reading() as session:
        return len(session.scalars(select(table)).all())


# --- giving ---


def test_a_receipt_is_counter_signed_over_the_very_bytes(kim: Member) -> None:
    receipt = kim.receipt()
    answer = ReceiptAnswer.parse(kim.send_receipt(receipt).content).receipt
    assert answer.payload_bytes == receipt.to_bytes()
    assert read(answer, Receipt, kim.device.public, kim.world.custodian.statement_key.public) == receipt
    (view,) = kim.get("/v1/me/receipts").json()["receipts"]
    assert (view["record"], view["state"]) == (receipt.record, "given")


def test_the_same_receipt_again_gets_the_same_answer_even_much_later(kim: Member) -> None:
    body = with_leaf(sign(kim.receipt(), kim.device))
    first = kim.world.post("/v1/receipts", body)
    kim.world.clock.forward(minutes=10)
    assert kim.world.post("/v1/receipts", body).content == first.content
    assert count(kim, QueuedPersonLeaf) == 5, "four enrolments, one receipt"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"notice": Notice(version="1", locale="en", sha256="0" * 64)}, "refused"),
        ({"application_list": "2"}, "refused"),
        ({"redaction_profile": "none"}, "refused"),
        ({"agreement": "another"}, "refused"),
        ({"dpia": "another"}, "refused"),
        ({"statements": ()}, "refused"),
        ({"terms": OTHER_TERMS}, "refused"),
        (
            {"purposes": (AgreedPurpose(iri=PURPOSE, version=1, sentence="Little.", terms=(DPV_CONSENT,)),)},
            "refused",
        ),
        ({"personal_data": (DataItem(modality=Modality.SCREEN, term=DPV_CONSENT, words="Little."),)}, "refused"),
        ({"choices": (choice(Modality.SCREEN, "urn:purpose:other"),)}, "refused"),
        ({"choices": (choice(Modality.SCREEN, version=2),)}, "refused"),
        ({"choices": (choice(Modality.SCREEN), choice(Modality.SCREEN))}, "malformed"),
        ({"recipients": ("vendors",)}, "refused"),
        ({"valid_until": "2027-11-23T09:00:00Z"}, "refused"),
        ({"valid_until": "2026-11-23T08:00:00Z"}, "refused"),
        ({"valid_from": "2026-12-23T09:00:00Z"}, "refused"),
        ({"valid_until": "2026-13-40T09:00:00Z"}, "malformed"),
        ({"at": "2026-11-23T08:57:59Z"}, "stale"),
        ({"previous": "1" * 64}, "conflict"),
        ({"person": "1" * 32}, "refused"),
    ],
)
def test_a_receipt_that_pins_anything_else_than_the_offer_is_refused(
    lee: Member, changes: dict[str, Any], expected: str
) -> None:
    assert problem(lee.send_receipt(lee.receipt(**changes))) == expected
    assert lee.get("/v1/me/receipts").json()["receipts"] == []
    assert lee.send_receipt(lee.receipt()).status_code == 200


def test_only_modes_and_recipients_of_the_purposes_chosen_count(lee: Member) -> None:
    lee.world.add_purpose(STUDY, recipients=("vendors",), modes=(Mode.READER,))
    study_only = (choice(Modality.SCREEN, STUDY),)
    bad = lee.receipt(choices=study_only, recipients=("vendors",), modes=(Mode.EXPORT,))
    assert problem(lee.send_receipt(bad)) == "refused"
    bad = lee.receipt(choices=study_only, recipients=(RECIPIENT,))
    assert problem(lee.send_receipt(bad)) == "refused"
    assert lee.send_receipt(lee.receipt(choices=study_only, recipients=("vendors",))).status_code == 200


def test_nobody_is_asked_for_a_draft_that_the_council_did_not_sign(lee: Member) -> None:
    lee.world.add_purpose(STUDY, signed=False)
    assert [purpose.iri for purpose in lee.offer().purposes] == [PURPOSE]
    answer = lee.send_receipt(lee.receipt(choices=(choice(Modality.SCREEN, STUDY),)))
    assert problem(answer) == "refused"


def test_a_new_version_of_a_purpose_asks_everybody_anew(lee: Member) -> None:
    lee.consent()
    lee.certify()
    lee.world.add_purpose(version=2)
    assert set(covered(lee).values()) == {None}
    assert set(covered(lee, Use(PURPOSE, 2, RECIPIENT, Mode.READER)).values()) == {"withdrawn"}
    assert problem(lee.send_receipt(lee.receipt(choices=(choice(Modality.SCREEN, version=1),)))) == "refused"


def test_consent_is_given_by_the_device_key_of_that_person(lee: Member) -> None:
    other = lee.world.add_person("Other")
    assert problem(lee.send_receipt(lee.receipt(), key=lee.opening)) == "forbidden"
    assert problem(lee.send_receipt(lee.receipt(), key=other.device)) == "refused"
    assert problem(lee.send_receipt(lee.receipt(), key=SigningKey.generate())) == "not-signed-in"


def test_receipts_form_a_chain_per_credential(lee: Member) -> None:
    first = lee.consent()
    again = lee.receipt(previous="0" * 64)
    answer = lee.send_receipt(again)
    assert problem(answer) == "conflict"
    assert answer.json()["expected"] == sign(first, lee.device).hash
    lee.consent()
    assert problem(lee.send_receipt(lee.receipt(record=first.record))) == "conflict"


def test_removed_swapped_and_changed_evidence_of_a_receipt_is_refused(lee: Member) -> None:
    envelope = sign(lee.receipt(), lee.device)
    swapped = sign(lee.receipt(), lee.device)
    forged = envelope.model_copy(update={"signatures": swapped.signatures})
    assert problem(lee.world.post("/v1/receipts", with_leaf(forged))) == "signature-invalid"
    changed = payload_changed(envelope, b'"reader"', b'"export"')
    assert problem(lee.world.post("/v1/receipts", with_leaf(changed))) == "signature-invalid"
    two = envelope.signed_also_by(lee.opening)
    assert problem(lee.world.post("/v1/receipts", with_leaf(two))) == "malformed"
    assert problem(lee.world.post("/v1/receipts", envelope.to_json())) == "malformed", "the salted leaf is missing"
    none = b'{"statement":{"payloadType":"x","payload":"","signatures":[]},"leaf":"' + b"0" * 64 + b'"}'
    assert problem(lee.world.post("/v1/receipts", none)) == "malformed"


# --- withdrawing ---


def test_withdrawing_closes_everything_at_once_and_erases_after_seven_days(kim: Member) -> None:
    kim.consent()
    kim.certify()
    assert set(covered(kim).values()) == {None}
    confirmation = confirmed(kim)
    assert (confirmation.streams, confirmation.erased_from) == (4, "2026-11-30")
    assert set(covered(kim).values()) == {"withdrawn"}
    assert (count(kim, VaultKey), count(kim, TombstoneRow)) == (4, 0)
    kim.world.clock.forward(days=6)
    run_night(kim.world.custodian)
    assert count(kim, VaultKey) == 4, "the person can still open them"
    kim.world.clock.forward(days=1)
    assert run_night(kim.world.custodian)["streams_erased"] == 4
    assert (count(kim, VaultKey), count(kim, TombstoneRow)) == (0, 4)


def test_withdrawing_with_erasure_now_destroys_vault_keys_in_the_same_transaction(kim: Member) -> None:
    kim.consent()
    kim.certify()
    assert confirmed(kim, erase="now").erased_from == "2026-11-23"
    assert (count(kim, VaultKey), count(kim, TombstoneRow), count(kim, QueuedItem)) == (0, 4, 8)
    assert kim.get("/v1/me/receipts").json()["receipts"][0]["state"] == "withdrawn"


def test_a_second_withdrawal_can_hasten_the_erasure_of_the_first(lee: Member) -> None:
    lee.consent()
    lee.certify()
    confirmed(lee)
    lee.world.clock.forward(seconds=1)
    assert confirmed(lee, erase="now").streams == 0
    assert count(lee, VaultKey) == 0


def test_a_withdrawal_is_accepted_whenever_it_arrives_and_counts_once(kim: Member) -> None:
    kim.consent()
    kim.certify()
    body = with_leaf(sign(Withdrawal(person=kim.person, at=kim.world.now), kim.device))
    kim.world.clock.forward(days=3)
    first = kim.world.post("/v1/withdrawals", body)
    assert first.status_code == 200
    kim.consent()
    assert kim.world.post("/v1/withdrawals", body).content == first.content, "a replay"
    assert [r["state"] for r in kim.get("/v1/me/receipts").json()["receipts"]] == ["withdrawn", "given"]


def test_a_withdrawal_is_accepted_without_any_receipt_witness_or_running_programme(lee: Member) -> None:
    lee.world.witness.silent = True
    lee.world.halt("incident")
    assert confirmed(lee).streams == 0
    assert confirmed(lee, record=new_id()).streams == 0


def test_the_opening_credential_and_a_revoked_device_can_withdraw(lee: Member) -> None:
    lee.consent()
    lee.certify()
    with lee.world.custodian.database.transaction() as session:
        session.get_one(Credential, lee.device.public.id).revoked = "2026-11-23"
    assert confirmed(lee, modalities=(Modality.SCREEN,)).streams == 1
    assert confirmed(lee, key=lee.opening).streams == 3


def test_nobody_withdraws_for_somebody_else(lee: Member) -> None:
    other = lee.world.add_person("Other")
    lee.consent()
    lee.certify()
    assert problem(lee.withdraw(key=other.device)) == "refused"
    assert problem(lee.withdraw(key=SigningKey.generate())) == "not-signed-in"
    envelope = sign(Withdrawal(person=lee.person, at=lee.world.now), lee.device)
    forged = payload_changed(envelope, b"after-7-days", b"now")
    assert problem(lee.world.post("/v1/withdrawals", with_leaf(forged))) == "signature-invalid"
    assert set(covered(lee).values()) == {None}


def test_one_modality_can_be_withdrawn(kim: Member) -> None:
    kim.consent()
    kim.certify()
    assert confirmed(kim, modalities=(Modality.SCREEN,)).streams == 1
    assert covered(kim) == {"screen": "withdrawn", "pointer": None, "keyboard": None, "context": None}


def test_a_stream_stays_while_one_of_its_purposes_remains(lee: Member) -> None:
    lee.world.add_purpose(STUDY)
    lee.consent()
    lee.certify()
    assert confirmed(lee, purposes=(PURPOSE,)).streams == 0
    assert set(covered(lee).values()) == {"withdrawn"}
    assert set(covered(lee, Use(STUDY, 1, RECIPIENT, Mode.READER)).values()) == {None}
    lee.world.clock.forward(seconds=1)
    assert confirmed(lee, purposes=(STUDY,)).streams == 4


def test_giving_again_does_not_reopen_what_was_withdrawn(lee: Member) -> None:
    lee.consent()
    lee.certify()
    confirmed(lee)
    lee.world.clock.forward(seconds=1)
    lee.consent()
    assert set(covered(lee).values()) == {"withdrawn"}


@pytest.mark.parametrize("narrowed", [tuple(Modality), (Modality.POINTER,)])
def test_withdrawing_the_newest_receipt_withdraws_from_those_it_replaced(
    kim: Member, narrowed: tuple[Modality, ...]
) -> None:
    kim.consent()
    kim.certify()
    kim.consent(choices=tuple(choice(modality) for modality in narrowed))
    newest = kim.consent()
    assert set(covered(kim).values()) == {None}, "the control"
    assert confirmed(kim, record=newest.record, erase="now").streams == 4
    assert (count(kim, VaultKey), count(kim, TombstoneRow)) == (0, 4)
    assert [one["state"] for one in kim.get("/v1/me/receipts").json()["receipts"]] == ["withdrawn"] * 3
    kim.consent()
    assert set(covered(kim).values()) == {"withdrawn"}


def test_withdrawing_one_modality_of_the_newest_receipt_leaves_the_others_of_those_it_replaced(lee: Member) -> None:
    lee.consent()
    lee.certify()
    newest = lee.consent()
    assert confirmed(lee, record=newest.record, modalities=(Modality.SCREEN,)).streams == 1
    lee.consent()
    assert covered(lee) == {"screen": "withdrawn", "pointer": None, "keyboard": None, "context": None}


def test_withdrawing_a_replaced_receipt_leaves_later_ones_and_those_of_other_devices(lee: Member) -> None:
    first = lee.consent()
    lee.certify()
    lee.consent()
    lee.certify()
    assert confirmed(lee, record=first.record).streams == 4
    assert sorted(one["state"] for one in lee.get("/v1/me/receipts").json()["receipts"]) == ["given", "withdrawn"]


def test_an_expired_receipt_closes_the_door_until_a_new_one_covers_it(lee: Member) -> None:
    lee.consent(valid_until=moment(lee.world.clock() + timedelta(days=2)))
    lee.certify()
    lee.world.clock.forward(days=3)
    assert set(covered(lee).values()) == {"expired"}
    assert lee.get("/v1/me/receipts").json()["receipts"][0]["state"] == "expired"
    assert run_night(lee.world.custodian)["receipts_expired"] == 1
    lee.consent(choices=(choice(Modality.SCREEN),))
    assert covered(lee) == {"screen": None, "pointer": "expired", "keyboard": "expired", "context": "expired"}


def test_withdrawing_after_expiry_still_closes_and_does_not_reopen(lee: Member) -> None:
    lee.consent(valid_until=moment(lee.world.clock() + timedelta(days=2)))
    lee.certify()
    lee.world.clock.forward(days=3)
    assert confirmed(lee).streams == 4
    lee.world.clock.forward(seconds=1)
    lee.consent()
    assert set(covered(lee).values()) == {"withdrawn"}


def test_a_narrower_receipt_narrows_what_was_recorded_before(lee: Member) -> None:
    lee.consent()
    lee.certify()
    lee.consent(choices=(choice(Modality.POINTER),))
    assert covered(lee) == {"screen": "expired", "pointer": None, "keyboard": "expired", "context": "expired"}


@pytest.mark.parametrize(
    "use",
    [
        Use(PURPOSE, 1, RECIPIENT, Mode.EXPORT),
        Use(PURPOSE, 1, "vendors", Mode.READER),
        Use(PURPOSE, 2, RECIPIENT, Mode.READER),
        Use(STUDY, 1, RECIPIENT, Mode.READER),
    ],
)
def test_what_was_not_agreed_to_is_not_covered(lee: Member, use: Use) -> None:
    lee.consent()
    lee.certify()
    assert set(covered(lee).values()) == {None}, "the control"
    assert None not in covered(lee, use).values()


def test_a_receipt_that_was_overtaken_by_its_withdrawal_is_refused(lee: Member) -> None:
    held_back = sign(lee.receipt(), lee.device)
    lee.world.clock.forward(seconds=30)
    confirmed(lee)
    lee.world.clock.forward(seconds=30)
    assert problem(lee.world.post("/v1/receipts", with_leaf(held_back))) == "refused"
    assert lee.send_receipt(lee.receipt()).status_code == 200


def test_a_receipt_that_was_overtaken_in_the_same_second_is_refused(lee: Member) -> None:
    held_back = sign(lee.receipt(), lee.device)
    confirmed(lee)
    assert problem(lee.world.post("/v1/receipts", with_leaf(held_back))) == "refused"
    lee.world.clock.forward(seconds=1)
    assert lee.send_receipt(lee.receipt()).status_code == 200


def test_a_withdrawal_dated_far_in_the_future_bars_nobody_for_ever(kim: Member) -> None:
    receipt = kim.consent()
    held_back = sign(kim.receipt(at=moment(kim.world.clock() + timedelta(seconds=90))), kim.device)
    future = sign(Withdrawal(person=kim.person, at="2999-01-01T00:00:00Z"), kim.device)
    assert kim.world.post("/v1/withdrawals", with_leaf(future)).status_code == 200
    assert problem(kim.world.post("/v1/receipts", with_leaf(held_back))) == "refused", "a fast clock signed it before"
    kim.world.clock.forward(minutes=3)
    kim.consent()
    views = {one["record"]: one["state"] for one in kim.get("/v1/me/receipts").json()["receipts"]}
    assert (views.pop(receipt.record), list(views.values())) == ("withdrawn", ["given"])


# --- news ---


def news(member: Member) -> News:
    answer = member.get("/v1/me/news", key=member.device)
    assert answer.status_code == 200, answer.text
    found: News = member.world.read(Envelope.from_json(answer.content), News)
    return found


def test_news_say_which_receipts_allow_recording_now(lee: Member) -> None:
    assert news(lee).live == ()
    receipt = lee.consent(choices=(choice(Modality.POINTER), choice(Modality.SCREEN)))
    assert news(lee).live == (LiveReceipt(record=receipt.record, left=receipt.choices),)
    assert news(lee).now == lee.world.now
    confirmed(lee, modalities=(Modality.SCREEN,))
    assert news(lee).live == (LiveReceipt(record=receipt.record, left=(choice(Modality.POINTER),)),)
    assert news(lee).ended == ()
    confirmed(lee)
    assert news(lee).live == ()


def test_news_say_which_receipts_of_this_device_ended_and_not_which_were_replaced_or_expired(lee: Member) -> None:
    first = lee.consent()
    second = lee.consent(valid_until=moment(lee.world.clock() + timedelta(days=2)))
    assert news(lee).ended == ()
    lee.world.clock.forward(days=3)
    run_night(lee.world.custodian)
    assert (news(lee).live, news(lee).ended) == ((), ()), "replaced and expired"
    third = lee.consent()
    confirmed(lee, record=first.record)
    assert news(lee).ended == (first.record,)
    confirmed(lee, record=third.record)
    assert set(news(lee).ended) == {first.record, second.record, third.record}, "nothing is left of any"
    states = {one["record"]: one["state"] for one in lee.get("/v1/me/receipts").json()["receipts"]}
    assert states[second.record] == "expired", "an end is final"
    assert news(lee.world.add_person("Other")).ended == ()


def test_news_carry_the_reason_of_a_halt(lee: Member) -> None:
    lee.consent()
    assert news(lee).halted is None
    lee.world.halt("an incident is looked into")
    assert news(lee).halted == "an incident is looked into"
    assert problem(lee.get("/v1/me/news", key=lee.opening)) == "forbidden"
