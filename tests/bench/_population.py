"""Streams and vault keys by the hundred thousand, written straight into a custodian's database.

They belong to people whom nobody knows, and their public keys are left out, so that a million fit on any disk; what
is measured beside them does not look at either.
"""

from __future__ import annotations

import secrets

from sqlalchemy import insert

from assent.contracts.ids import Modality
from assent_custodian.context import Custodian
from assent_custodian.keys.certifying import current_generation
from assent_custodian.keys.models import Stream, VaultKey

PRIVATE_KEY_BYTES = 96
STREAMS_PER_PERSON = 100
_BATCH = 10_000


def populate(custodian: Custodian, count: int) -> None:
    """Add `count` streams of today with a wrapped vault key each, `STREAMS_PER_PERSON` to a person."""
    day, modalities = custodian.today(), [modality.value for modality in Modality]
    for start in range(0, count, _BATCH):
        with custodian.database.transaction() as session:
            generation = current_generation(session)
            streams: list[dict[str, object]] = []
            private: dict[str, bytes] = {}
            for number in range(start, min(start + _BATCH, count)):
                stream = secrets.token_hex(16)
                if number % STREAMS_PER_PERSON == 0 or not streams:
                    person = secrets.token_hex(16)
                streams.append(
                    {
                        "id": stream, "person": person, "record": person, "credential": person, "day": day,
                        "modality": modalities[number % len(modalities)], "stream_key": f"ed25519:{stream}",
                        "vault_key": "", "suite": "A1-XW", "record_until": f"{day}T23", "upload_until": day,
                        "byte_budget": 1, "certificate": "", "drill": False, "closed": None, "erased": None,
                    }
                )  # fmt: skip
                private[stream] = secrets.token_bytes(PRIVATE_KEY_BYTES)
            wrapped = custodian.keks.wrap(generation, private)
            session.execute(insert(Stream), streams)
            session.execute(
                insert(VaultKey),
                [{"stream": stream, "generation": generation, "wrapped": data} for stream, data in wrapped.items()],
            )
