"""A receipt file proves, without a network, what was agreed to; and nothing when it was touched."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.golden import make_receipts
from tests.simulators.collector import Issuer
from tests.unit.client.test_custodian_client import receipt

from assent.client.directory import policy_of
from assent.client.receipts import ReceiptFile, ReceiptInvalid, blocks, check_receipt, receipt_of
from assent.contracts.envelope import read_unverified, sign
from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent.contracts.statements import DPV_RESEARCH, Directory, Mode, Receipt
from assent.contracts.wire import PurposeView
from assent_custodian.consent.offer import default_policy

SCHEMA = json.loads(make_receipts.SCHEMA.read_text())
PERSON, CUSTODIAN = SigningKey.generate(), SigningKey.generate()
STATEMENT = receipt()
POLICY = policy_of(read_unverified(Issuer().directory(), Directory))
ENEMY = SigningKey.generate()
LIST = {"version": "1", "allow": [], "deny": []}
GOOD = sign(STATEMENT, PERSON, CUSTODIAN)


PAIRS = st.sets(st.tuples(st.sampled_from(Modality), st.sampled_from("abcd")), min_size=1)


@given(PAIRS)
def test_blocks_say_exactly_the_pairs_and_are_one_only_where_everything_is_for_everything(
    pairs: set[tuple[Modality, str]],
) -> None:
    found = blocks(pairs)
    said = [pair for modalities, purposes in found for pair in itertools.product(modalities, purposes)]
    assert sorted(said) == sorted(pairs)
    whole = len(pairs) == len({m for m, _ in pairs}) * len({p for _, p in pairs})
    assert (len(found) == 1) == whole


def _offered(letter: str) -> PurposeView:
    return PurposeView(
        iri=f"urn:purpose:{letter}", version=3, sentence=f"For {letter}.", recipients=(f"{letter}'s",),
        modes=(Mode.READER,), terms=(DPV_RESEARCH,), draft="d" * 64, signed=True,
    )  # fmt: skip


OFFER = default_policy("Example Ltd", "Works agreement 7", "DPIA 3").offer(tuple(_offered(one) for one in "abcd"))


def receipt_for(pairs: set[tuple[Modality, str]], mode: KeyboardMode = KeyboardMode.TEXT) -> Receipt:
    return receipt_of(
        OFFER, person="2" * 32, previous="0" * 64, at=datetime(2026, 11, 23, 9, 0, tzinfo=UTC), keyboard_mode=mode,
        pairs={(modality, f"urn:purpose:{letter}") for modality, letter in pairs}, modes=(Mode.READER,),
    )  # fmt: skip


@given(PAIRS)
def test_a_receipt_states_exactly_the_pairs_and_what_belongs_to_them(pairs: set[tuple[Modality, str]]) -> None:
    made = receipt_for(pairs)
    jsonschema_rs.validator_for(SCHEMA).validate(json.loads(sign(made, PERSON).payload_bytes))
    assert sorted((choice.modality, choice.purpose[-1]) for choice in made.choices) == sorted(pairs)
    assert {choice.purpose_version for choice in made.choices} == {3}
    letters = sorted({letter for _, letter in pairs})
    assert [purpose.sentence for purpose in made.purposes] == [f"For {letter}." for letter in letters]
    assert made.recipients == tuple(f"{letter}'s" for letter in letters), "not those of purposes that nobody chose"
    assert {item.modality for item in made.personal_data} == {modality for modality, _ in pairs}
    recorded = KeyboardMode.TEXT if any(m is Modality.KEYBOARD for m, _ in pairs) else KeyboardMode.OFF
    assert made.keyboard_mode is recorded


@pytest.mark.parametrize("pairs", [set(), {(Modality.POINTER, "a"), (Modality.SCREEN, "z")}], ids=["none", "unknown"])
def test_a_receipt_for_nothing_or_for_what_is_not_offered_cannot_be_made(pairs: set[tuple[Modality, str]]) -> None:
    with pytest.raises(ValueError, match="offered purpose"):
        receipt_for(pairs)


def test_a_counter_signed_receipt_holds() -> None:
    file = ReceiptFile(receipt=GOOD, device_key=PERSON.public.text)
    checked = check_receipt(ReceiptFile.read(file.to_json()), CUSTODIAN.public, STATEMENT.person, POLICY)
    assert checked.statement == STATEMENT
    assert checked.device_key == PERSON.public.id
    assert checked.device_key_checked


def test_a_bare_envelope_is_read_too_and_says_what_was_not_checked() -> None:
    checked = check_receipt(ReceiptFile.read(GOOD.to_json()), CUSTODIAN.public, STATEMENT.person, POLICY)
    assert not checked.device_key_checked
    assert not checked.notice_checked
    assert checked.log_index is None


def test_a_file_as_agents_keep_it_is_read() -> None:
    kept = {"receipt": json.loads(GOOD.to_json()), "salt": "ab" * 16, "application_list": LIST, "newer": 1}
    assert check_receipt(ReceiptFile.read(json.dumps(kept).encode()), CUSTODIAN.public, STATEMENT.person, POLICY)


@pytest.mark.parametrize(
    ("file", "person"),
    [
        (ReceiptFile(receipt=sign(STATEMENT, PERSON)), STATEMENT.person),
        (ReceiptFile(receipt=sign(STATEMENT, CUSTODIAN)), STATEMENT.person),
        (ReceiptFile(receipt=GOOD), "00" * 16),
        (ReceiptFile(receipt=GOOD, device_key=SigningKey.generate().public.text), STATEMENT.person),
        (ReceiptFile(receipt=sign(STATEMENT, PERSON, SigningKey.generate())), STATEMENT.person),
        (ReceiptFile(receipt=sign(STATEMENT, ENEMY, PERSON, CUSTODIAN)), STATEMENT.person),
        (
            ReceiptFile(receipt=sign(STATEMENT, ENEMY, PERSON, CUSTODIAN), device_key=ENEMY.public.text),
            STATEMENT.person,
        ),
    ],
    ids=[
        "not counter-signed",
        "only the custodian",
        "another person",
        "another device key",
        "another custodian",
        "a key that was added",
        "a key that was added and named",
    ],
)
def test_a_receipt_that_does_not_hold_is_refused(file: ReceiptFile, person: str) -> None:
    with pytest.raises(ReceiptInvalid):
        check_receipt(file, CUSTODIAN.public, person, POLICY)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"receipt": 1}'])
def test_something_else_is_no_receipt_file(data: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        ReceiptFile.read(data)
