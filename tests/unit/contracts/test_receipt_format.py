"""The format of receipts: a schema that is what the code writes, a golden receipt, and damaged ones."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from tests.golden import make_receipts

from assent.contracts.envelope import Envelope, StatementInvalid, read
from assent.contracts.keys import PublicKey
from assent.contracts.statements import CONSENT_TERMS, Receipt, Terms

GOLDEN: dict[str, Any] = json.loads(make_receipts.GOLDEN.read_text())
SCHEMA: dict[str, Any] = json.loads(make_receipts.SCHEMA.read_text())


def payload() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Envelope.from_json(json.dumps(GOLDEN["receipt"])).payload_bytes)
    return found


def test_the_schema_that_is_published_is_the_one_of_the_code() -> None:
    assert make_receipts.schema() == SCHEMA, "run tests/golden/make_receipts.py, and say in receipt.md what changed"


def test_a_receipt_is_written_today_as_it_was_when_the_format_was_settled() -> None:
    assert make_receipts.golden() == GOLDEN


def test_the_golden_receipt_is_valid_under_the_schema_and_its_signatures_hold() -> None:
    jsonschema_rs.validator_for(SCHEMA).validate(payload())
    envelope = Envelope.from_json(json.dumps(GOLDEN["receipt"]))
    receipt = read(envelope, Receipt, PublicKey(GOLDEN["device_key"]), PublicKey(GOLDEN["statement_key"]))
    assert receipt == make_receipts.receipt()
    assert envelope.hash == GOLDEN["hash"]


@pytest.mark.parametrize("field", sorted(payload()))
def test_a_receipt_without_one_of_its_fields_is_no_receipt(field: str) -> None:
    rest = {name: value for name, value in payload().items() if name != field}
    assert not jsonschema_rs.validator_for(SCHEMA).is_valid(rest)


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": "urn:assent:receipt:2"},
        {"event_state": "https://w3id.org/dpv#ConsentWithdrawn"},
        {"choices": []},
        {"person": "kim"},
        {"valid_until": "tomorrow"},
        {"keyboard_mode": "everything"},
        {"comment": "an unknown field"},
        {"recipients": []},
    ],
    ids=str,
)
def test_code_and_schema_refuse_the_same(change: dict[str, Any]) -> None:
    damaged = {**payload(), **change}
    assert not jsonschema_rs.validator_for(SCHEMA).is_valid(damaged)
    with pytest.raises(ValueError, match="validation error"):
        Receipt.model_validate_json(json.dumps(damaged))


def test_consent_is_never_the_only_lawful_basis_and_a_controller_is_named() -> None:
    terms = payload()["terms"]
    assert len(terms["lawful_basis"]) == 2
    only = [{"term": term, "words": "Consent."} for term in sorted(CONSENT_TERMS)]
    schema = jsonschema_rs.validator_for(SCHEMA)
    assert schema.is_valid({**payload(), "terms": {**terms, "lawful_basis": [*only, terms["lawful_basis"][1]]}})
    for bad in ({**terms, "lawful_basis": only}, {**terms, "parties": []}):
        assert not schema.is_valid({**payload(), "terms": bad})
        with pytest.raises(ValueError, match="validation error"):
            Terms.model_validate_json(json.dumps(bad))
    nobody = [{**party, "role": "https://w3id.org/dpv#DataProcessor"} for party in terms["parties"]]
    assert not schema.is_valid({**payload(), "terms": {**terms, "parties": nobody}})
    with pytest.raises(ValueError, match="controller"):
        Terms.model_validate_json(json.dumps({**terms, "parties": nobody}))


def test_every_field_of_the_schema_is_explained_in_the_document() -> None:
    text = (make_receipts.SCHEMA.parent / "receipt.md").read_text()
    places = {"Receipt": SCHEMA, **SCHEMA["$defs"]}
    missing = [
        f"{n}.{field}" for n, s in places.items() for field in s.get("properties", {}) if f"`{field}`" not in text
    ]
    assert not missing


def test_a_receipt_with_one_flipped_bit_is_refused() -> None:
    text = json.dumps(GOLDEN["receipt"])
    middle = text.index('"payload"') + 200
    other = "A" if text[middle] != "A" else "B"
    envelope = Envelope.from_json(text[:middle] + other + text[middle + 1 :])
    with pytest.raises(StatementInvalid):
        read(envelope, Receipt, PublicKey(GOLDEN["statement_key"]))
