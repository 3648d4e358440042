"""Auditing a copy of a log: what is whole passes, and every way of tampering with it fails with a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.reader.world import World

from assent.client.files import write_private
from assent.contracts.envelope import Envelope
from assent.contracts.keys import fingerprint
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import Directory, WitnessEntry
from assent.contracts.times import moment
from assent.reader.auditing import MAX_SHOWN, SAME_HOST, Audit, audit
from assent.reader.log_copies import CopyInvalid, LogCopy, load_copy
from assent.transparency import merkle
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.lines import to_base64
from assent.transparency.note import Note, Signer
from assent.transparency.tiles import (
    EntryBundle,
    HashTile,
    build_bundle,
    build_hash_tile,
    entry_bundles,
    hash_tiles,
)

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
REQUEST = "ab" * 32
REQUESTER, ONE, TWO = "01" * 32, "02" * 32, "03" * 32
DRAFT, ADMIN, COUNCIL = "d0" * 32, "0a" * 32, "0c" * 32
PURPOSE = "urn:purpose:one"
AT = moment(NOW)


def leaf(kind: LeafType, **fields: Any) -> bytes:
    content = {"type": kind, "at": AT, "decision": "allowed", "request": REQUEST, **fields}
    return Leaf(**content).to_bytes()


def later(**by: float) -> str:
    return moment(NOW + timedelta(**by))


DRAFTED = leaf(
    LeafType.PURPOSE_DRAFTED, actor=ADMIN, subject=DRAFT, request=None, purpose=PURPOSE, counts={"version": 1}
)
PURPOSE_SIGNED = leaf(
    LeafType.PURPOSE_SIGNED, actor=COUNCIL, subject=DRAFT, request=None, purpose=PURPOSE, counts={"version": 1}
)
ASKED = leaf(LeafType.REQUEST_SIGNED, actor=REQUESTER, purpose=f"{PURPOSE} 1", mode="reader", until=later(days=20))
FIRST = leaf(LeafType.GRANT_APPROVED, actor=ONE)
SECOND = leaf(LeafType.GRANT_APPROVED, actor=TWO)
LEASED: dict[str, Any] = {
    "actor": REQUESTER, "mode": "reader", "purpose": PURPOSE, "until": later(hours=24), "subject": "1e" * 32
}  # fmt: skip
OPENED = leaf(LeafType.LEASE_OPENED, **LEASED)
BEFORE = [DRAFTED, PURPOSE_SIGNED]
PROPER = [*BEFORE, ASKED, FIRST, SECOND, OPENED]


def files_of(world: World, leaves: list[bytes]) -> dict[str, bytes]:
    """The files of a copy of a log with these leaves."""
    world.leaves = list(leaves)
    nodes: dict[tuple[int, int], bytes] = {}
    for node in merkle.append(0, [merkle.leaf_hash(entry) for entry in leaves], lambda level, at: nodes[level, at]):
        nodes[node.level, node.index] = node.hash
    return {
        "directory.json": world.directory_envelope.to_json(),
        "policy": world.directory_statement.policy.encode(),
        "checkpoint": world.checkpoint().to_bytes(),
        **bundles_of(leaves),
        **{t.path: build_hash_tile(t, lambda level, at: nodes[level, at]) for t in hash_tiles(len(leaves))},
    }


def bundles_of(leaves: Sequence[bytes]) -> dict[str, bytes]:
    return {b.path: build_bundle(leaves[b.leaves.start : b.leaves.stop]) for b in entry_bundles(len(leaves))}


def copy_of(files: Mapping[str, bytes]) -> LogCopy:
    paths = tuple(path for path in files if path.startswith("tile/"))
    return LogCopy(
        Envelope.from_json(files["directory.json"]), files["policy"].decode(), Note.from_bytes(files["checkpoint"]),
        files.get, paths,
    )  # fmt: skip


def saved(folder: Path, files: Mapping[str, bytes]) -> Path:
    for path, data in files.items():
        write_private(folder / path, data)
    return folder


def audited(world: World, files: Mapping[str, bytes], **options: Any) -> Audit:
    return audit(copy_of(files), fingerprint(world.root.public.text), **options)


def reasons(outcome: Audit) -> list[str]:
    return [check.text for check in outcome.checks if not check.passed]


def boots(count: int) -> list[bytes]:
    return [leaf(LeafType.BOOT, request=None, counts={"n": number}) for number in range(count)]


@pytest.mark.parametrize("size", [1, 4, 255, 256, 257, 600])
def test_a_whole_log_passes_whatever_its_size(size: int) -> None:
    world = World()
    outcome = audited(world, files_of(world, [*PROPER, *boots(600)][:size]))
    assert outcome.passed, reasons(outcome)
    assert outcome.size == size


def test_a_copy_survives_being_saved(tmp_path: Path) -> None:
    world = World()
    loaded = load_copy(saved(tmp_path, files_of(world, PROPER)))
    assert loaded.leaves() == tuple(PROPER)
    assert audit(loaded, fingerprint(world.root.public.text)).passed


def test_a_partial_tile_that_was_completed_meanwhile_is_cut_out_of_the_full_one() -> None:
    world = World()
    leaves = boots(256)
    full = files_of(world, leaves)
    world.leaves = leaves[:100]
    kept = {path: data for path, data in full.items() if ".p/" not in path}
    assert {path for path in kept if path.startswith("tile")} == {EntryBundle(0).path, HashTile(0, 0).path}
    copy = replace(copy_of({**kept, "checkpoint": world.checkpoint().to_bytes()}), paths=None)
    outcome = audit(copy, fingerprint(world.root.public.text))
    assert outcome.passed, reasons(outcome)
    assert outcome.size == 100


def test_a_missing_tile_is_said(tmp_path: Path) -> None:
    world = World()
    whole = files_of(world, PROPER)
    saved(tmp_path, {path: data for path, data in whole.items() if "entries" not in path})
    with pytest.raises(CopyInvalid, match="missing"):
        load_copy(tmp_path)
    with pytest.raises(CopyInvalid):
        load_copy(tmp_path / "nowhere")
    nobody_can_say = replace(copy_of({path: data for path, data in whole.items() if "tile/0" not in path}), paths=None)
    assert "missing" in reasons(audit(nobody_can_say, fingerprint(world.root.public.text)))[0]


def test_a_swapped_root_fails_first() -> None:
    world = World()
    outcome = audit(copy_of(files_of(world, PROPER)), "ab" * 32)
    assert not outcome.passed
    assert len(outcome.checks) == 1


OTHER = leaf(LeafType.GRANT_APPROVED, actor="04" * 32)

TAMPERED: dict[str, tuple[Callable[[World], Mapping[str, bytes]], str]] = {
    "a changed leaf": (
        lambda _world: bundles_of([*PROPER[:4], OTHER, OPENED]),
        "leaf 4 is not the one that was signed",
    ),
    "a leaf less": (lambda _world: {EntryBundle(0, 6).path: build_bundle(PROPER[:-1])}, "exactly 6 leaves"),
    "a leaf more": (lambda _world: {EntryBundle(0, 6).path: build_bundle([*PROPER, OPENED])}, "exactly 6 leaves"),
    "leaves exchanged": (
        lambda _world: bundles_of([*BEFORE, FIRST, ASKED, SECOND, OPENED]),
        "leaf 2 is not the one that was signed",
    ),
    "another policy": (lambda _world: {"policy": b"quorum none\n"}, "not the one in the directory"),
    "a changed tile": (lambda _world: {HashTile(0, 0, 6).path: bytes(32 * 6)}, "does not belong to these leaves"),
    "a file that is no tile": (lambda _world: {"tile/99/x": b""}, "no tile"),
    "a tile beyond the tree": (lambda _world: {HashTile(0, 7).path: bytes(256 * 32)}, "does not belong"),
    "a wrong tile of before": (lambda _world: {HashTile(0, 0, 2).path: bytes(64)}, "does not belong"),
    "a wrong bundle of before": (lambda _world: {EntryBundle(0, 1).path: build_bundle([OPENED])}, "does not belong"),
    "another log's checkpoint": (lambda _world: {"checkpoint": World().checkpoint().to_bytes()}, ""),
    "another root's directory": (lambda _world: {"directory.json": World().directory_envelope.to_json()}, "root key"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_copy_that_was_tampered_with_fails_with_the_reason(how: str) -> None:
    world = World()
    honest = files_of(world, PROPER)
    assert audited(world, honest).passed
    change, reason = TAMPERED[how]
    assert reason in reasons(audited(world, {**honest, **change(world)}))[0]


def test_right_tiles_of_before_are_no_fault() -> None:
    world = World()
    older = files_of(world, PROPER[:3])
    outcome = audited(world, {**older, **files_of(world, PROPER)})
    assert outcome.passed, reasons(outcome)


def test_a_leaf_that_was_changed_in_a_long_log_is_named() -> None:
    world = World()
    leaves = [*PROPER, *boots(700)]
    honest = files_of(world, leaves)
    leaves[515] = OTHER
    outcome = audited(world, {**honest, **bundles_of(leaves)})
    assert reasons(outcome) == ["leaf 515 is not the one that was signed"]


def test_a_checkpoint_without_witnesses_fails() -> None:
    world = World(quorum_met=False)
    assert "quorum" in reasons(audited(world, files_of(world, PROPER)))[0]


def test_witnesses_of_the_same_host_are_named_as_such() -> None:
    world = World()
    assert audited(world, files_of(world, PROPER)).warnings == ()
    here = (WitnessEntry(url="http://127.0.0.1:8403", vkey=str(world.witness.verifier)),)
    world.directory_statement = world.directory_statement.model_copy(update={"witnesses": here})
    world.directory_envelope = world.directory(1, witnesses=here)
    assert audited(world, files_of(world, PROPER)).warnings == (SAME_HOST,)


def test_what_the_entries_must_not_say_is_a_failure_with_the_leaf() -> None:
    world = World()
    outcome = audited(world, files_of(world, [*BEFORE, ASKED, FIRST, OPENED]))
    assert reasons(outcome) == ["leaf 4: a lease with 1 of 2 approvals"]
    outcome = audited(world, files_of(world, [*BEFORE, *[OPENED] * 300]))
    assert len(reasons(outcome)) == MAX_SHOWN + 1, "and not a line for each of thousands"


def test_an_entry_from_after_the_witnesses_signed_is_a_failure() -> None:
    world = World()
    late = leaf(LeafType.AUDIT_VIEWED, at=later(minutes=6))
    assert "five minutes" in reasons(audited(world, files_of(world, [*PROPER, late])))[0]


def test_what_stood_when_the_log_was_witnessed_is_a_warning() -> None:
    world = World()
    halted = leaf(LeafType.PROGRAMME_HALTED, subject="aa" * 32, request=None)
    outcome = audited(world, files_of(world, [*PROPER, halted]))
    assert outcome.passed
    assert outcome.warnings == ("the programme is halted (leaf 6)",)


def test_proof_files_are_checked_against_this_very_log() -> None:
    world = World()
    files = files_of(world, PROPER)
    proof = world.proof(4)
    passed = audited(world, files, proofs=[("good", proof, None), ("with leaf", proof, SECOND)])
    assert passed.passed, reasons(passed)
    for name, data, entry in (
        ("another leaf", proof, FIRST),
        ("damaged", b"nonsense", None),
        ("cut off", proof[:-20], None),
    ):
        assert not audited(world, files, proofs=[(name, data, entry)]).passed


@pytest.mark.parametrize("size", [1, 255, 256, 257, 600])
def test_a_proof_of_a_shorter_log_is_of_this_one(size: int) -> None:
    world = World()
    leaves = boots(700)
    world.leaves = leaves[:size]
    proof = world.proof(size - 1)
    outcome = audited(world, files_of(world, leaves), proofs=[("older", proof, None)])
    assert outcome.passed, reasons(outcome)
    world.leaves = [*leaves[: size - 1], OPENED]
    forged = audited(world, files_of_keeping(world, leaves), proofs=[("older", world.proof(size - 1), OPENED)])
    assert "two histories" in reasons(forged)[0]


BLANK = b"\n\n"


def of_stranger(world: World) -> bytes:
    """A proof that holds, of another organisation's log."""
    stranger = World()
    stranger.log = Signer("elsewhere.test/log", Ed25519PrivateKey.generate())
    stranger.leaves = world.leaves
    return stranger.proof(4)


BAD_PROOFS: dict[str, tuple[Callable[[World, bytes], tuple[bytes, bytes | None]], str]] = {
    "empty": (lambda _world, _proof: (b"", None), "no proof file: a proof begins with c2sp.org/tlog-proof@v1"),
    "not UTF-8": (lambda _world, _proof: (b"\xff\xfe\x00", None), "no proof file"),
    "a checkpoint that is not UTF-8": (
        lambda _world, proof: (proof.partition(BLANK)[0] + BLANK + b"\xff\xfe\n", None),
        "no proof file",
    ),
    "cut off": (lambda _world, proof: (proof[:-20], None), "no proof file"),
    "of another log": (
        lambda world, _proof: (of_stranger(world), None),
        "it is of the log elsewhere.test/log, and this one is assent.test/log",
    ),
    "of another log of that name": (
        lambda world, _proof: (World().proof(0), None),
        "the head in it does not count",
    ),
    "of another leaf": (
        lambda _world, proof: (proof.replace(b"index 4", b"index 3"), None),
        "it does not lead from the leaf of this log to the head that was signed",
    ),
    "beside another leaf": (lambda _world, proof: (proof, FIRST), "it does not lead from the leaf beside it"),
    "of a leaf beyond its own tree": (
        lambda _world, proof: (proof.replace(b"index 4", b"index 400"), None),
        "there is no leaf 400 in this log",
    ),
}


@pytest.mark.parametrize("how", BAD_PROOFS)
def test_a_bad_proof_says_what_is_wrong_with_it_and_does_not_blame_the_log(how: str) -> None:
    world = World()
    files = files_of(world, PROPER)
    change, reason = BAD_PROOFS[how]
    data, entry = change(world, world.proof(4))
    outcome = audited(world, files, proofs=[("mine", data, entry)])
    (said,) = reasons(outcome)
    assert said.startswith("mine: ")
    assert reason in said
    assert not outcome.passed
    assert outcome.log_passed


def test_a_proof_of_two_histories_blames_the_log_also_without_its_leaf() -> None:
    world = World()
    world.leaves = [*PROPER[:4], OTHER, OPENED]
    forged = world.proof(4)
    for entry in (None, OTHER, SECOND):
        outcome = audited(world, files_of(world, PROPER), proofs=[("fork", forged, entry)])
        assert reasons(outcome) == ["fork: it is of another log than this one: two histories were signed"]
        assert not outcome.log_passed


def files_of_keeping(world: World, leaves: list[bytes]) -> dict[str, bytes]:
    """As `files_of`, and the world goes on with the leaves that it had."""
    kept = world.leaves
    files = files_of(world, leaves)
    world.leaves = kept
    return files


def test_a_proof_of_another_history_is_found_out() -> None:
    """The log signed two trees of one size: the proof holds in itself, and the log does, and one of them is a lie."""
    world = World()
    world.leaves = [*PROPER[:4], OTHER, OPENED]
    forged = world.proof(5)
    outcome = audited(world, files_of(world, PROPER), proofs=[("fork", forged, OPENED)])
    assert "two histories" in reasons(outcome)[0]


def test_a_proof_of_a_longer_log_asks_for_a_newer_copy() -> None:
    world = World()
    world.leaves = [*PROPER, OPENED]
    newer = world.proof(6)
    outcome = audited(world, files_of(world, PROPER), proofs=[("later", newer, OPENED), ("unknown", newer, None)])
    assert all("longer log than this copy" in reason for reason in reasons(outcome))
    assert len(reasons(outcome)) == 2
    assert outcome.log_passed, "a copy may be older than a proof"
    rolled_back = audited(world, files_of(world, PROPER), proofs=[("later", newer, None)], newest=True)
    assert reasons(rolled_back) == ["later: 7 leaves were witnessed, and the custodian shows 6: it was rolled back"]
    assert not rolled_back.log_passed, "what the custodian shows now may not"


# --- a log that ended ---


BOOT = [leaf(LeafType.BOOT, request=None, detail={"n": str(n)}) for n in range(12)]


def opening(ended: Directory, **changes: Any) -> bytes:
    """The leaf by which the next log says how the former one ended."""
    (former,) = ended.former_logs
    last = Checkpoint.from_text(Note.from_bytes(former.heads[0].encode()).text)
    content = {
        "counts": {"version": 2, "kept": former.kept, "witnessed": last.size, "lost": last.size - former.kept},
        "detail": {"log": f"{last.origin}/2", "former": last.origin, "root": to_base64(last.root)},
        **changes,
    }
    return leaf(LeafType.LOG_OPENED, request=None, auth="root", **content)


def ended_world(kept: int = 5) -> tuple[World, Mapping[str, bytes], bytes]:
    """A log of 12 leaves that ended with `kept` of them; the copy that somebody made before; a proof of its leaf 8."""
    world = World()
    former = files_of(world, BOOT)
    kept_proof = world.proof(8)
    world.end_log(2, kept=kept)
    return world, former, kept_proof


def test_the_next_log_says_how_many_leaves_of_the_former_one_are_lost() -> None:
    world, _, _ = ended_world()
    outcome = audited(world, files_of(world, [*BOOT[:5], opening(world.directory_statement), *PROPER]))
    assert outcome.passed, reasons(outcome)
    assert "7 leaves of the log assent.test/log are lost" in outcome.warnings[-1]
    assert any("begins with the 5 leaves" in check.text for check in outcome.checks)


@pytest.mark.parametrize(
    "counts", [{"kept": 5, "witnessed": 11, "lost": 6}, {"kept": 5, "witnessed": 12, "lost": 6}, {}]
)
def test_a_first_leaf_that_tells_it_otherwise_than_the_directory_is_found(counts: dict[str, int]) -> None:
    world, _, _ = ended_world()
    outcome = audited(world, files_of(world, [*BOOT[:5], opening(world.directory_statement, counts=counts)]))
    assert "leaf 5 does not say how assent.test/log ended, as the directory does" in reasons(outcome)


@pytest.mark.parametrize("begins", ["changed", "short", "not said"])
def test_a_next_log_that_does_not_begin_with_what_was_kept_is_found(begins: str) -> None:
    world, _, _ = ended_world()
    opened = opening(world.directory_statement)
    leaves, reason = {
        "changed": ([BOOT[0], BOOT[2], *BOOT[2:5], opened], "the first 5 leaves are not those of assent.test/log"),
        "short": ([*BOOT[:4], opened], "the first 5 leaves are not those of assent.test/log"),
        "not said": ([*BOOT[:5]], "there is no leaf 5 by which this log begins"),
    }[begins]
    assert any(said.startswith(reason) for said in reasons(audited(world, files_of(world, leaves))))


def test_a_log_that_begins_anew_without_the_root_is_found() -> None:
    """Otherwise an operator could say so in order to make the rules forget what was approved and ordered."""
    world, _, _ = ended_world()
    stray = opening(world.directory_statement, counts={"version": 2, "kept": 6, "witnessed": 12, "lost": 6})
    leaves = [*BOOT[:5], opening(world.directory_statement), stray]
    assert reasons(audited(world, files_of(world, leaves))) == [
        "leaf 6: a new log begins here, the directory knows nothing of it"
    ]


def test_approvals_of_before_count_for_no_lease_after_it() -> None:
    world = World()
    files_of(world, [*PROPER, *BOOT])
    world.end_log(2, kept=len(PROPER))
    opened = opening(world.directory_statement)
    assert audited(world, files_of(world, [*PROPER, opened])).passed, "the control: the lease of before was approved"
    another = leaf(LeafType.LEASE_OPENED, **{**LEASED, "subject": "2e" * 32})
    outcome = audited(world, files_of(world, [*PROPER, opened, another]))
    assert reasons(outcome) == ["leaf 7: a lease after its request had been refused or had ended"]
    again = [ASKED, FIRST, SECOND, OPENED]
    assert reasons(audited(world, files_of(world, [*PROPER, opened, *again]))), "nor does the request itself"


def test_proofs_of_the_former_log_still_count_and_lost_leaves_are_shown_by_them() -> None:
    world, _, proof = ended_world(kept=5)
    copy = files_of(world, [*BOOT[:5], opening(world.directory_statement), *PROPER])
    outcome = audited(world, copy, proofs=[("mine", proof, BOOT[8])])
    assert outcome.passed, reasons(outcome)
    assert "mine: leaf 8 was in assent.test/log, and is one of those that are lost" in [
        check.text for check in outcome.checks
    ]
    assert reasons(audited(world, copy, proofs=[("mine", proof, None)])) == [
        "mine: leaf 8 is lost; lay it beside the proof, as ….leaf"
    ]
    assert len(reasons(audited(world, copy, proofs=[("mine", proof, BOOT[7])]))) == 1

    world, _, proof = ended_world(kept=9)
    copy = files_of(world, [*BOOT[:9], opening(world.directory_statement)])
    assert audited(world, copy, proofs=[("mine", proof, None)]).passed, "a leaf that was kept"


def test_a_proof_of_more_than_is_quoted_shows_that_leaves_were_dropped() -> None:
    world = World()
    files_of(world, BOOT[:7])
    older = world.checkpoint()
    files_of(world, BOOT)
    proof = world.proof(8)
    world.leaves = BOOT[:7]
    world.end_log(2, kept=5, heads=[older])
    copy = files_of(world, [*BOOT[:5], opening(world.directory_statement)])
    assert audited(world, copy).passed, "the control: by itself it looks whole"
    outcome = audited(world, copy, proofs=[("mine", proof, BOOT[8])])
    (reason,) = reasons(outcome)
    assert reason.startswith("mine: leaves were dropped")
    assert not outcome.log_passed


def test_a_former_copy_shows_what_was_not_lost(tmp_path: Path) -> None:
    world, former, _ = ended_world()
    copy = files_of(world, [*BOOT[:5], opening(world.directory_statement)])
    found = audited(world, copy, former=[("old", copy_of(former))])
    assert reasons(found) == ["old: it has leaves 5 to 11, which are said to be lost: show them around"]
    assert not found.log_passed
    early = World()
    early_copy = files_of(early, BOOT[:4])
    files_of(early, BOOT)
    early.end_log(2, kept=5)
    now = files_of(early, [*BOOT[:5], opening(early.directory_statement)])
    outcome = audited(early, now, former=[("old", copy_of(early_copy))])
    assert outcome.passed, reasons(outcome)
    assert any("all of its 4 leaves" in check.text for check in outcome.checks)
    foreign = audited(early, now, former=[("foreign", copy_of(former))])
    assert (foreign.passed, foreign.log_passed) == (False, True), "of another log: that says nothing about this one"
    assert reasons(audited(early, now, former=[("now", copy_of(now))])) == [
        "now: it is of no log that ended, the directory says"
    ]
