"""A verifier in another language, with none of our code, reads what we write, and finds every edit of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.simulators.access import AccessWorld
from tests.simulators.custodian import custodian_world
from tests.unit.reader.test_auditing import files_of, saved
from tests.unit.reader.world import World
from tests.unit.transparency.trees import numbered_leaves

from assent.transparency.checkpoint import Checkpoint
from assent.transparency.note import Note
from assent.transparency.tiles import entry_bundles, hash_tiles, parse_bundle
from assent_custodian.log import service as log
from assent_custodian.log import witnesses

VERIFIER = Path(__file__).parent / "verify_log.mjs"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: tests/system-packages.sh")


def verified(folder: Path, *arguments: object) -> dict[str, Any]:
    """What the verifier prints; its exit status must say the same."""
    command = ["node", str(VERIFIER), str(folder), *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if told["ok"] else 1)
    return told


def passes(folder: Path, *arguments: object) -> dict[str, Any]:
    told = verified(folder, *arguments)
    assert told["ok"], told
    return told


def fails(folder: Path, *arguments: object) -> str:
    told = verified(folder, *arguments)
    assert not told["ok"], told
    why: str = told["why"]
    return why


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 1000, 256 * 256 + 5])
def test_logs_of_every_shape_verify(world: World, tmp_path: Path, size: int) -> None:
    told = passes(saved(tmp_path, files_of(world, numbered_leaves(size))))
    origin = Checkpoint.from_text(world.checkpoint().text).origin
    assert told == {"ok": True, "origin": origin, "size": size, "cosigned": ["w1"]}


@pytest.mark.parametrize("before", [1, 2, 255, 256, 300, 511, 512, 600])
def test_a_log_that_grew_begins_with_what_was_signed_before(world: World, tmp_path: Path, before: int) -> None:
    leaves = numbered_leaves(600)
    older = tmp_path / "older"
    older.write_bytes(files_of(world, leaves[:before])["checkpoint"])
    folder = saved(tmp_path / "log", files_of(world, leaves))
    assert passes(folder, "--before", older)["before"] == before
    forked = tmp_path / "forked"
    forked.write_bytes(files_of(world, [*leaves[: before - 1], b"another"])["checkpoint"])
    assert fails(folder, "--before", forked) in (
        f"the log does not begin with the {before} entries of before", "two different logs of 600 entries",
    )  # fmt: skip


Edit = Callable[[dict[str, bytes]], None]


def flipped(path: str, at: int = -1) -> Edit:
    def edit(files: dict[str, bytes]) -> None:
        data = bytearray(files[path])
        data[at] = ord("A") if data[at] != ord("A") else ord("B")  # base64 remains base64
        files[path] = bytes(data)

    return edit


def removed(path: str) -> Edit:
    return lambda files: files.pop(path) and None  # type: ignore[func-returns-value]


def without_the_witness(files: dict[str, bytes]) -> None:
    files["checkpoint"] = b"".join(files["checkpoint"].splitlines(keepends=True)[:-1])


def of_another_log(files: dict[str, bytes]) -> None:
    files["checkpoint"] = files_of(World(), numbered_leaves(600))["checkpoint"]


def of_other_entries(files: dict[str, bytes]) -> None:
    """Every tile and bundle fits every other: it is the checkpoint that does not."""
    others = files_of(World(), [*numbered_leaves(599), b"another"])
    files |= {path: data for path, data in others.items() if path.startswith("tile")}


EDITS: dict[str, tuple[Edit, str]] = {
    "an entry": (flipped("tile/entries/001"), "tile/0/001 is not what the tiles below make it"),
    "the last entry": (flipped("tile/entries/002.p/88"), "tile/0/002.p/88 is not what the tiles below make it"),
    "a length of an entry": (flipped("tile/entries/000", 1), "tile/entries/000"),
    "a leaf hash": (flipped("tile/0/000", 7), "tile/0/000 is not what the tiles below make it"),
    "a hash of a full tile": (flipped("tile/1/000.p/2"), "tile/1/000.p/2 is not what the tiles below make it"),
    "entries and all hashes": (of_other_entries, "these 600 entries are not those that were signed"),
    "a missing tile": (removed("tile/0/001"), "tile/0/001 is missing"),
    "no witness": (without_the_witness, "too few witnesses: none"),
    "a cosignature": (flipped("checkpoint", -10), "a signature of witness.test is not valid"),
    "another log's checkpoint": (of_another_log, "the log did not sign this checkpoint"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_log_does_not_verify(world: World, tmp_path: Path, what: str) -> None:
    edit, why = EDITS[what]
    files = files_of(world, numbered_leaves(600))
    passes(saved(tmp_path / "control", files))
    edit(files)
    assert why in fails(saved(tmp_path / "edited", files))


def test_the_files_that_a_custodian_serves_and_its_proofs_verify(tmp_path: Path) -> None:
    """Fetched tile by tile, as any client of tlog-tiles does it; with the entry of a real lease, and its proof file."""
    with custodian_world(tmp_path) as custodian:
        access = AccessWorld(custodian)
        witnesses.submit_head(custodian.custodian)
        before = tmp_path / "before"
        before.write_bytes(custodian.client.get("/v1/log/checkpoint").content)
        assert access.job().open(access.requester, request=access.grant()).status_code == 200
        note = Note.from_bytes(custodian.client.get("/v1/log/checkpoint").content)
        size = Checkpoint.from_text(note.text).size
        files = {"checkpoint": note.to_bytes(), "policy": custodian.custodian.directory.directory.policy.encode()}
        for tile in (*hash_tiles(size), *entry_bundles(size)):
            files[tile.path] = access.auditor.get(f"/v1/log/{tile.path}").content
        folder = saved(tmp_path / "log", files)
        leaves = [leaf for bundle in entry_bundles(size) for leaf in parse_bundle(bundle, files[bundle.path])]
        opened = next(index for index, leaf in enumerate(leaves) if b'"lease.opened"' in leaf)
        proof = access.auditor.get(f"/v1/log/proof?index={opened}")
        with custodian.custodian.database.reading() as session:
            assert log.entry(session, opened) == leaves[opened]
    for name, data in (("proof", proof.content), ("leaf", leaves[opened]), ("other", leaves[0])):
        (tmp_path / name).write_bytes(data)
    told = passes(folder, "--before", before, "--proof", tmp_path / "proof", "--leaf", tmp_path / "leaf")
    assert told["proof"] == {"index": opened, "size": size} and told["before"] < size
    assert fails(folder, "--proof", tmp_path / "proof", "--leaf", tmp_path / "other") == (
        f"the inclusion proof of entry {opened} does not lead to the root"
    )
