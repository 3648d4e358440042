"""Writes the JSON Schema of receipts and the golden receipt: `python tests/golden/make_receipts.py`.

Both are made from fixed values and fixed keys, so running it again changes nothing unless the format changed. Keys and
names are for tests.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from assent.client.receipts import receipt_of
from assent.contracts.envelope import sign
from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import DPV_RESEARCH, Mode, Receipt
from assent.contracts.wire import PurposeView
from assent_custodian.consent.offer import default_policy

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "docs" / "formats" / "receipt.schema.json"
GOLDEN = Path(__file__).parent / "receipts" / "receipt-1.json"


def key(number: int) -> SigningKey:
    """A key for tests, the same each time."""
    private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    return SigningKey.from_pem(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def schema() -> dict[str, Any]:
    """What every receipt's payload looks like, as it is written (fields that have defaults are written, too)."""
    made = Receipt.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:assent:receipt:1",
        **made,
        "required": list(made["properties"]),
    }


def receipt() -> Receipt:
    """Keyboard and screen, for one purpose."""
    purpose = PurposeView(
        iri="https://example.org/purposes/agents",
        version=2,
        sentence="Train and test models that operate computers as people do.",
        recipients=("our research department",),
        modes=(Mode.READER, Mode.EXPORT),
        terms=(DPV_RESEARCH,),
        draft="d" * 64,
        signed=True,
    )
    made = receipt_of(
        default_policy("Example Ltd", "Works agreement 7", "DPIA 3").offer((purpose,)),
        person="2" * 32,
        previous=FIRST_PREVIOUS,
        at=datetime(2026, 11, 23, 9, 0, tzinfo=UTC),
        pairs=((Modality.KEYBOARD, purpose.iri), (Modality.SCREEN, purpose.iri)),
        keyboard_mode=KeyboardMode.TEXT,
        modes=(Mode.READER,),
    )
    return made.model_copy(update={"record": "1" * 32})


def golden() -> dict[str, Any]:
    device, custodian = key(1), key(2)
    return {
        "comment": "A receipt, signed by a device and counter-signed by a custodian. The keys are for tests.",
        "device_key": device.public.text,
        "statement_key": custodian.public.text,
        "hash": sign(receipt(), device).hash,
        "receipt": json.loads(sign(receipt(), device, custodian).to_json()),
    }


def as_text(made: dict[str, Any]) -> str:
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    SCHEMA.write_text(as_text(schema()), encoding="utf-8")
    GOLDEN.write_text(as_text(golden()), encoding="utf-8")


if __name__ == "__main__":
    main()
