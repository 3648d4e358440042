"""What a night's rotation costs: every vault key unwrapped, wrapped under the new generation and stored again.

The baseline is the bare AES-GCM unwrap and wrap of as many keys, in memory. Measured is the whole rotation on SQLite,
from the new generation to the destruction of the old one, for ten times as many keys each time: a million within a
minute on one core is promised, and that the time per key does not grow with their number.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import update

from assent_custodian.keys import rotation
from assent_custodian.keys.models import Generation
from tests.bench._population import PRIVATE_KEY_BYTES, populate
from tests.simulators.custodian import CustodianWorld

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
MILLION = 1_000_000
PROMISED_S = 60
BARE_KEYS = 50_000
MAY_GROW = 1.5
"""Time per key may rise so much between the smallest and the largest number: pages of the database fill the cache."""


def run() -> list[dict[str, Any]]:
    """One row per number of keys, and one for the growth."""
    bare_us = _bare_us()
    per_key = {count: _rotate_us(count) for count in COUNTS}
    rows = [_row(count, per_key[count], bare_us) for count in COUNTS]
    largest = COUNTS[-1]
    growth = per_key[largest] / per_key[COUNTS[1]]
    return [
        *rows,
        {
            "name": f"rotation, time per key: {largest:,} keys / {COUNTS[1]:,} keys",
            "value": round(per_key[largest], 2),
            "unit": "µs",
            "baseline": round(per_key[COUNTS[1]], 2),
            "ratio": round(growth, 2),
            "target": f"ratio <= {MAY_GROW}",
            "at": "SQLite",
        },
    ]


def _row(count: int, us: float, bare_us: float) -> dict[str, Any]:
    seconds = us * count / 1e6
    return {
        "name": "rotate every vault key / bare AES-GCM unwrap and wrap",
        "value": round(seconds, 3),
        "unit": "s",
        "baseline": round(bare_us * count / 1e6, 3),
        "ratio": round(us / bare_us, 2),
        "target": f"figure <= {PROMISED_S * count / MILLION:g}" if count >= 100_000 else None,
        "at": f"{count:,} keys, SQLite",
    }


def _bare_us() -> float:
    """Microseconds per key of what cannot be avoided."""
    old, new = AESGCM(secrets.token_bytes(32)), AESGCM(secrets.token_bytes(32))
    bound = b"assent/vault/v1\0" + bytes(34)
    nonce = secrets.token_bytes(12)
    wrapped = [old.encrypt(nonce, secrets.token_bytes(PRIVATE_KEY_BYTES), bound) for _ in range(BARE_KEYS)]
    begin = time.perf_counter()
    for one in wrapped:
        fresh = secrets.token_bytes(12)
        new.encrypt(fresh, old.decrypt(nonce, one, bound), bound)
    return (time.perf_counter() - begin) / BARE_KEYS * 1e6


def _rotate_us(count: int) -> float:
    """Microseconds per key of a rotation."""
    with tempfile.TemporaryDirectory() as folder:
        world = CustodianWorld(Path(folder), found=False)
        try:
            populate(world.custodian, count)
            with world.custodian.database.transaction() as session:
                session.execute(update(Generation).values(tainted=True))
            begin = time.perf_counter()
            destroyed = rotation.rotate(world.custodian)
            taken = time.perf_counter() - begin
        finally:
            world.close()
    if destroyed != []:
        return taken / count * 1e6
    raise RuntimeError("nothing was rotated")


if __name__ == "__main__":
    for row in run():
        print(row)
