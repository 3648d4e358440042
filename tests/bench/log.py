"""The log: appending one by one and many at once, proofs out of a large tree, and checking the whole of it.

Appending is measured on SQLite with an fsync per transaction, beside bare inserts of the same leaves with the same
fsync; checking beside nothing but the SHA-256 calls of the tree. Each is shown for ten times as many leaves each time.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from assent.contracts.leaves import Leaf, LeafType
from assent.transparency import merkle
from assent.transparency.edge import Edge
from assent.transparency.tiles import TILE_WIDTH
from assent_custodian.log import service as log
from tests.bench._timing import interleaved_ms
from tests.simulators.custodian import CustodianWorld

SIZES = (1_000, 10_000, 100_000, 1_000_000)
BATCH = 1_000
SINGLE = 300
PROOFS = 200
PROMISED_SINGLE_PER_S = 200
PROMISED_BATCHED_PER_S = 10_000
PROMISED_PROOF_MS = 10


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        world = CustodianWorld(Path(folder))
        try:
            bare = _BareTable(Path(folder) / "bare.db")
            rows = _growing(world, bare)
            rows += _checking(world)
            return rows
        finally:
            world.close()


def leaf(number: int) -> Leaf:
    """As large as the entry of a lease; no two alike."""
    return Leaf(
        type=LeafType.LEASE_OPENED, at="2026-11-23T09:00:00Z", actor=f"{number:064x}", auth="opening",
        decision="allowed", subject=f"{number + 1:064x}", request=f"{number + 2:064x}", purpose="urn:purpose:train 1",
        mode="reader", until="2026-11-24T09:00:00Z", counts={"streams": 40, "people": 10},
        keys=(f"{number + 3:064x}",), roots={"streams": f"{number + 4:064x}"},
    )  # fmt: skip


class _BareTable:
    """The leaves in a table of SQLite and nothing else: what an append costs that has no tree."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE entries (number INTEGER PRIMARY KEY, leaf BLOB)")
        self._count = 0

    def append(self, leaves: Sequence[Leaf]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        numbered = [(self._count + offset, one.to_bytes()) for offset, one in enumerate(leaves)]
        self._connection.executemany("INSERT INTO entries VALUES (?, ?)", numbered)
        self._connection.execute("COMMIT")
        self._count += len(leaves)


def _growing(world: CustodianWorld, bare: _BareTable) -> list[dict[str, Any]]:
    rows = []
    _in_turns([[leaf(2 * SIZES[-1] + number) for number in range(10)]], world, bare)  # the first compiles statements
    for size in SIZES:
        missing = size - _size(world)
        parts = [
            [leaf(size - missing + n) for n in range(at, min(at + BATCH, missing))] for at in range(0, missing, BATCH)
        ]
        at = f"log of {size:,} leaves"
        taken, bare_taken = _in_turns(parts, world, bare)
        rows.append(_rate(f"append {BATCH:,} leaves per transaction", missing, taken, bare_taken,
                          PROMISED_BATCHED_PER_S, at))  # fmt: skip
        single = [[leaf(size + number)] for number in range(SINGLE)]
        taken, bare_taken = _in_turns(single, world, bare)
        rows.append(_rate("append one leaf per transaction", SINGLE, taken, bare_taken, PROMISED_SINGLE_PER_S, at))
        rows.append(_proofs(world, at))
    return rows


def _size(world: CustodianWorld) -> int:
    with world.custodian.database.reading() as session:
        return log.size(session)


def _in_turns(parts: Sequence[Sequence[Leaf]], world: CustodianWorld, bare: _BareTable) -> tuple[float, float]:
    """Seconds for appending all parts, each in a transaction of its own; and the same for the bare table."""

    def append(leaves: Sequence[Leaf]) -> None:
        with world.custodian.database.transaction() as session:
            log.append(session, *leaves)

    spent: dict[Callable[[Sequence[Leaf]], None], float] = {append: 0.0, bare.append: 0.0}
    bare_append = next(iter(key for key in spent if key is not append))
    for leaves in parts:
        for do in (append, bare_append):
            began = time.perf_counter()
            do(leaves)
            spent[do] += time.perf_counter() - began
    return spent[append], spent[bare_append]


def _rate(name: str, count: int, taken: float, bare_taken: float, promised: int, at: str) -> dict[str, Any]:
    return {
        "name": f"{name} / bare inserts with the same fsync", "value": round(count / taken), "unit": "leaves/s",
        "baseline": round(count / bare_taken), "ratio": round(bare_taken / taken, 2),
        "target": f"figure >= {promised}", "at": at,
    }  # fmt: skip


def _proofs(world: CustodianWorld, at: str) -> dict[str, Any]:
    """One inclusion proof, looked up in the database; the baseline is checking it."""
    size = _size(world)
    chosen = random.Random(size).sample(range(size), min(PROOFS, size))
    with world.custodian.database.reading() as session:
        nodes = log.nodes(session)
        root = merkle.root(size, nodes)
        began = time.perf_counter()
        proofs = [merkle.inclusion_proof(index, size, nodes) for index in chosen]
        looked_up = (time.perf_counter() - began) / len(chosen) * 1000
        hashes = [nodes(0, index) for index in chosen]
    began = time.perf_counter()
    for index, hash_, proof in zip(chosen, hashes, proofs, strict=True):
        merkle.verify_inclusion(hash_, index, size, proof, root)
    checked = (time.perf_counter() - began) / len(chosen) * 1000
    return {
        "name": "one inclusion proof / checking it", "value": round(looked_up, 2), "unit": "ms",
        "baseline": round(checked, 3), "ratio": round(looked_up / checked, 1),
        "target": f"figure <= {PROMISED_PROOF_MS}", "at": at,
    }  # fmt: skip


def _checking(world: CustodianWorld) -> list[dict[str, Any]]:
    """The leaves of the log as they were handed out, hashed a bundle at a time, as `assent audit verify` does it."""
    rows = []
    with world.custodian.database.reading() as session:
        everything = [data for _, data in log.entries(session, 0, SIZES[-1])]
    for size in SIZES:
        leaves = everything[:size]
        pair = bytes(65)

        def bare(leaves: list[bytes] = leaves, pair: bytes = pair) -> None:
            for one in leaves:
                sha256(b"\x00" + one).digest()
            for _ in range(len(leaves) - 1):
                sha256(pair).digest()

        rounds = 1 if size > SIZES[1] else 5
        bare_ms, verify_ms = interleaved_ms(rounds, bare, partial(_root, leaves))
        rows.append(
            {
                "name": "bare SHA-256 of the tree / verifying all leaves", "value": round(verify_ms, 1), "unit": "ms",
                "baseline": round(bare_ms, 1), "ratio": round(bare_ms / verify_ms, 2),
                "target": "ratio >= 0.7" if size == SIZES[-1] else None, "at": f"{size:,} leaves",
            }
        )  # fmt: skip
    return rows


def _root(leaves: list[bytes]) -> bytes:
    edge = Edge()
    for start in range(0, len(leaves), TILE_WIDTH):
        edge.grow([merkle.leaf_hash(one) for one in leaves[start : start + TILE_WIDTH]])
    return edge.root()


if __name__ == "__main__":
    for row in run():
        print(row)
