"""What a former statement key may still prove, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from assent.contracts import statements
from assent.contracts.envelope import Statement, StatementInvalid, sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey
from assent.contracts.rotation import ENDURING, StatementKey, read_lasting
from assent.contracts.statements import (
    CertificateAnswer,
    Enrolled,
    ErasureReceipt,
    FormerKey,
    Lease,
    News,
    Order,
    Receipt,
    Revocation,
    StreamCertificate,
    Ticket,
    Tombstone,
    WithdrawalConfirmed,
)

ENDED = "2026-11-23T12:00:00Z"
NOW, BEFORE, STRANGER = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()
KEY = StatementKey(NOW.public.text, (FormerKey(key=BEFORE.public.text, ended=ENDED),))

IN_TIME: list[tuple[type[Statement], dict[str, Any]]] = [
    (Receipt, {"at": "2026-11-23T12:02:00Z"}),
    (StreamCertificate, {"day": "2026-11-24"}),
    (Lease, {"opened": ENDED}),
    (Ticket, {"until": "2026-11-24T12:00:00Z"}),
    (Order, {"day": "2026-11-23"}),
    (ErasureReceipt, {"day": "2026-11-23"}),
    (Revocation, {}),
    (Tombstone, {}),
    (WithdrawalConfirmed, {}),
]
TOO_LATE: list[tuple[type[Statement], dict[str, Any]]] = [
    (Receipt, {"at": "2026-11-23T12:02:01Z"}),
    (StreamCertificate, {"day": "2026-11-25"}),
    (Lease, {"opened": "2026-11-23T12:00:01Z"}),
    (Ticket, {"until": "2026-11-24T12:00:01Z"}),
    (Order, {"day": "2026-11-24"}),
    (ErasureReceipt, {"day": "2026-11-24"}),
]


def made(kind: type[Statement], fields: dict[str, Any]) -> Statement:
    """A statement of which only the fields that are looked at matter."""
    return kind.model_construct(**fields)


@pytest.mark.parametrize(("kind", "fields"), IN_TIME)
def test_the_rule_lets_pass_what_was_made_before_the_end(kind: type[Statement], fields: dict[str, Any]) -> None:
    assert ENDURING[kind](made(kind, fields), ENDED)


@pytest.mark.parametrize(("kind", "fields"), TOO_LATE)
def test_the_rule_refuses_what_is_newer(kind: type[Statement], fields: dict[str, Any]) -> None:
    assert not ENDURING[kind](made(kind, fields), ENDED)


def test_every_rule_is_tried_and_answers_to_questions_have_none() -> None:
    assert {kind for kind, _ in IN_TIME} == set(ENDURING)
    assert not {News, CertificateAnswer, Enrolled, statements.Directory} & set(ENDURING)


def order(day: str) -> Order:
    return Order(number=1, previous="0" * 64, day=day, items=())


def test_a_former_key_counts_for_what_it_signed_in_its_time() -> None:
    old = sign(order("2026-11-23"), BEFORE)
    assert read_lasting(old, Order, KEY).day == "2026-11-23"
    assert read_lasting(sign(order("2026-12-24"), NOW), Order, KEY).number == 1
    with pytest.raises(StatementInvalid, match="newer than the end"):
        read_lasting(sign(order("2026-11-24"), BEFORE), Order, KEY)


def test_a_key_that_the_directory_does_not_list_counts_for_nothing() -> None:
    for key in (KEY, StatementKey(NOW.public.text), NOW.public):
        with pytest.raises(StatementInvalid):
            read_lasting(sign(order("2026-11-23"), STRANGER), Order, key)
    with pytest.raises(StatementInvalid):
        read_lasting(sign(order("2026-11-23"), BEFORE), Order, StatementKey(NOW.public.text))


def test_a_former_key_answers_no_question() -> None:
    news = News(nonce=new_id(), now=ENDED, live=(), notifications=())
    with pytest.raises(StatementInvalid):
        read_lasting(sign(news, BEFORE), News, KEY)
    assert read_lasting(sign(news, NOW), News, KEY) == news


def test_a_signature_that_is_exchanged_does_not_hold() -> None:
    old, other = sign(order("2026-11-23"), BEFORE), sign(order("2026-11-22"), BEFORE)
    swapped = old.model_copy(update={"signatures": other.signatures})
    with pytest.raises(StatementInvalid):
        read_lasting(swapped, Order, KEY)


def test_others_must_have_signed_as_well() -> None:
    device = SigningKey.generate()
    old = sign(order("2026-11-23"), BEFORE)
    with pytest.raises(StatementInvalid):
        read_lasting(old, Order, KEY, device.public)
    assert read_lasting(old.signed_also_by(device), Order, KEY, device.public).number == 1
