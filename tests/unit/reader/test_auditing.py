"""Auditing a copy of a log: what is whole passes, and every way of tampering with it fails with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.reader.world import World

from assent.client.files import write_private
from assent.contracts.keys import fingerprint
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import WitnessEntry
from assent.reader.auditing import (
    SAME_HOST,
    Audit,
    CopyInvalid,
    LogCopy,
    audit,
    check_leases,
    fetch_copy,
    files_of,
    load_copy,
)
from assent.transparency import merkle
from assent.transparency.tiles import (
    EntryBundle,
    HashTile,
    build_bundle,
    build_hash_tile,
    entry_bundles,
    hash_tiles,
)

REQUEST = "ab" * 32
REQUESTER, ONE, TWO = "01" * 32, "02" * 32, "03" * 32


def leaf(kind: LeafType, **fields: Any) -> bytes:
    content = {"type": kind, "at": "2026-11-23T12:00:00Z", "decision": "allowed", "request": REQUEST, **fields}
    return Leaf(**content).to_bytes()


ASKED = leaf(LeafType.REQUEST_SIGNED, actor=REQUESTER)
FIRST = leaf(LeafType.GRANT_APPROVED, actor=ONE)
SECOND = leaf(LeafType.GRANT_APPROVED, actor=TWO)
OPENED = leaf(LeafType.LEASE_OPENED, actor=REQUESTER, mode="reader")
PROPER = [ASKED, FIRST, SECOND, OPENED]


def copy_of(world: World, leaves: list[bytes], *, tiles: bool = True) -> LogCopy:
    world.leaves = list(leaves)
    nodes: dict[tuple[int, int], bytes] = {}
    for node in merkle.append(0, [merkle.leaf_hash(entry) for entry in leaves], lambda level, at: nodes[level, at]):
        nodes[node.level, node.index] = node.hash
    files = {
        **{b.path: build_bundle(leaves[b.leaves.start : b.leaves.stop]) for b in entry_bundles(len(leaves))},
        **{t.path: build_hash_tile(t, lambda level, at: nodes[level, at]) for t in hash_tiles(len(leaves))},
    }
    checkpoint = world.checkpoint().to_bytes()
    return fetch_copy(world.directory_envelope, world.directory_statement.policy, checkpoint, files.get, tiles=tiles)


def audited(world: World, copy: LogCopy, **options: Any) -> Audit:
    return audit(copy, fingerprint(world.root.public.text), **options)


def reasons(outcome: Audit) -> list[str]:
    return [check.text for check in outcome.checks if not check.passed]


@pytest.mark.parametrize("size", [1, 4, 255, 256, 257, 600])
def test_a_whole_log_passes_whatever_its_size(size: int) -> None:
    world = World()
    leaves = [*PROPER, *(leaf(LeafType.BOOT, detail={"n": str(n)}) for n in range(600))][:size]
    outcome = audited(world, copy_of(world, leaves))
    assert outcome.passed, reasons(outcome)
    assert outcome.size == size


def test_a_copy_survives_being_saved(tmp_path: Path) -> None:
    world = World()
    for path, data in files_of(copy_of(world, PROPER)).items():
        write_private(tmp_path / path, data)
    loaded = load_copy(tmp_path)
    assert loaded.leaves == tuple(PROPER)
    assert audited(world, loaded).passed


def test_a_partial_tile_that_was_completed_meanwhile_is_cut_out_of_the_full_one() -> None:
    world = World()
    leaves = [leaf(LeafType.BOOT, detail={"n": str(n)}) for n in range(256)]
    full = copy_of(world, leaves)
    world.leaves = leaves[:100]
    checkpoint = world.checkpoint().to_bytes()
    kept = {path: data for path, data in full.tiles.items() if ".p/" not in path}
    assert set(kept) == {EntryBundle(0).path, HashTile(0, 0).path}
    cut = fetch_copy(world.directory_envelope, full.policy, checkpoint, kept.get, tiles=True)
    outcome = audited(world, cut)
    assert outcome.passed, reasons(outcome)
    assert outcome.size == 100


def test_a_missing_tile_is_said(tmp_path: Path) -> None:
    world = World()
    for path, data in files_of(copy_of(world, PROPER)).items():
        if "entries" not in path:
            write_private(tmp_path / path, data)
    with pytest.raises(CopyInvalid, match="missing"):
        load_copy(tmp_path)
    with pytest.raises(CopyInvalid):
        load_copy(tmp_path / "nowhere")


def test_a_swapped_root_fails_first() -> None:
    world = World()
    outcome = audit(copy_of(world, PROPER), "ab" * 32)
    assert not outcome.passed
    assert len(outcome.checks) == 1


TAMPERED: dict[str, Callable[[World, LogCopy], LogCopy]] = {
    "a changed leaf": lambda _world, copy: _replaced(copy, leaves=(ASKED, FIRST, FIRST, OPENED)),
    "a leaf less": lambda _world, copy: _replaced(copy, leaves=copy.leaves[:-1]),
    "a leaf more": lambda _world, copy: _replaced(copy, leaves=(*copy.leaves, OPENED)),
    "leaves exchanged": lambda _world, copy: _replaced(copy, leaves=(FIRST, ASKED, SECOND, OPENED)),
    "another policy": lambda _world, copy: _replaced(copy, policy="quorum none\n"),
    "a changed tile": lambda _world, copy: _replaced(
        copy, tiles={path: bytes(len(data)) for path, data in copy.tiles.items()}
    ),
    "a file that is no tile": lambda _world, copy: _replaced(copy, tiles={**copy.tiles, "tile/99/x": b""}),
    "a tile beyond the tree": lambda _world, copy: _replaced(copy, tiles={HashTile(0, 7).path: bytes(256 * 32)}),
    "another log's checkpoint": lambda _world, copy: _replaced(copy, checkpoint=World().checkpoint()),
    "another root's directory": lambda _world, copy: _replaced(copy, directory=World().directory_envelope),
}


def _replaced(copy: LogCopy, **changes: Any) -> LogCopy:
    fields = {name: getattr(copy, name) for name in ("directory", "policy", "checkpoint", "leaves", "tiles")}
    return LogCopy(**{**fields, **changes})


@pytest.mark.parametrize("how", TAMPERED)
def test_a_copy_that_was_tampered_with_fails(how: str) -> None:
    world = World()
    honest = copy_of(world, PROPER)
    assert audited(world, honest).passed
    assert reasons(audited(world, TAMPERED[how](world, honest)))


def test_a_checkpoint_without_witnesses_fails() -> None:
    world = World(quorum_met=False)
    assert "quorum" in reasons(audited(world, copy_of(world, PROPER)))[0]


def test_witnesses_of_the_same_host_are_named_as_such() -> None:
    world = World()
    assert audited(world, copy_of(world, PROPER)).warnings == ()
    here = (WitnessEntry(url="http://127.0.0.1:8403", vkey=str(world.witness.verifier)),)
    world.directory_statement = world.directory_statement.model_copy(update={"witnesses": here})
    world.directory_envelope = world.directory(1, witnesses=here)
    assert audited(world, copy_of(world, PROPER)).warnings == (SAME_HOST,)


LEASES: dict[str, tuple[list[bytes], str | None]] = {
    "properly approved": (PROPER, None),
    "no leases": ([ASKED, FIRST], None),
    "own data needs nobody": ([leaf(LeafType.LEASE_OPENED, mode="own")], None),
    "a refused lease": ([leaf(LeafType.LEASE_REFUSED, decision="refused")], None),
    "nobody approved": ([ASKED, OPENED], "0 of 2"),
    "one approved": ([ASKED, FIRST, OPENED], "1 of 2"),
    "one approved twice": ([ASKED, FIRST, FIRST, OPENED], "1 of 2"),
    "the requester approved": ([ASKED, FIRST, leaf(LeafType.GRANT_APPROVED, actor=REQUESTER), OPENED], "1 of 2"),
    "approved too late": ([ASKED, FIRST, OPENED, SECOND], "1 of 2"),
    "another request was approved": (
        [ASKED, FIRST, leaf(LeafType.GRANT_APPROVED, actor=TWO, request="cd" * 32), OPENED],
        "1 of 2",
    ),
    "an approval without an actor": ([ASKED, FIRST, leaf(LeafType.GRANT_APPROVED), OPENED], "1 of 2"),
    "after a revocation": ([ASKED, FIRST, SECOND, leaf(LeafType.GRANT_REVOKED, actor=ONE), OPENED], "ended"),
    "after it expired": ([ASKED, FIRST, SECOND, leaf(LeafType.GRANT_EXPIRED), OPENED], "ended"),
    "a lease of no request": ([leaf(LeafType.LEASE_OPENED, mode="reader", request=None)], "0 of 2"),
    "an entry that cannot be read": ([b"{}"], "cannot be read"),
}


@pytest.mark.parametrize("case", LEASES)
def test_every_lease_needs_two_approvals_before_it_by_other_people(case: str) -> None:
    leaves, reason = LEASES[case]
    failed = [check.text for check in check_leases(leaves, 2) if not check.passed]
    if reason is None:
        assert failed == []
    else:
        assert reason in failed[0]


def test_proof_files_are_checked_against_this_very_log() -> None:
    world = World()
    copy = copy_of(world, PROPER)
    proof = world.proof(2)
    passed = audited(world, copy, proofs=[("good", proof, None), ("with leaf", proof, SECOND)])
    assert passed.passed, reasons(passed)
    for name, data, entry in (
        ("another leaf", proof, FIRST),
        ("damaged", b"nonsense", None),
        ("cut off", proof[:-20], None),
    ):
        assert not audited(world, copy, proofs=[(name, data, entry)]).passed


def test_a_proof_of_another_history_is_found_out() -> None:
    """The log signed two trees of one size: the proof holds in itself, and the log does, and one of them is a lie."""
    world = World()
    world.leaves = [ASKED, FIRST, FIRST, OPENED]
    forged = world.proof(3)
    outcome = audited(world, copy_of(world, PROPER), proofs=[("fork", forged, OPENED)])
    assert "two histories" in reasons(outcome)[0]


def test_a_proof_of_a_longer_log_asks_for_a_newer_copy() -> None:
    world = World()
    world.leaves = [*PROPER, OPENED]
    later = world.proof(4)
    outcome = audited(world, copy_of(world, PROPER), proofs=[("later", later, OPENED), ("unknown", later, None)])
    assert "longer" in reasons(outcome)[0]
    assert "no leaf 4" in reasons(outcome)[1]
