"""A receipt file proves, without a network, what was agreed to; and nothing when it was touched."""

from __future__ import annotations

import json

import pytest
from tests.simulators.collector import Issuer
from tests.unit.client.test_custodian_client import receipt

from assent.client.directory import policy_of
from assent.client.receipts import ReceiptFile, ReceiptInvalid, check_receipt
from assent.contracts.envelope import read_unverified, sign
from assent.contracts.keys import SigningKey
from assent.contracts.statements import Directory

PERSON, CUSTODIAN = SigningKey.generate(), SigningKey.generate()
STATEMENT = receipt()
POLICY = policy_of(read_unverified(Issuer().directory(), Directory))
ENEMY = SigningKey.generate()
LIST = {"version": "1", "allow": [], "deny": []}
GOOD = sign(STATEMENT, PERSON, CUSTODIAN)


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
