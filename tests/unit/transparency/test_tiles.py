"""Tiles: the specification's worked examples, paths and bytes in both directions, and proofs made from tiles alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transparency.trees import StoredTree, numbered_leaves

from assent.transparency import merkle
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import ProofInvalid, TileInvalid
from assent.transparency.tiles import (
    EntryBundle,
    HashTile,
    build_bundle,
    build_hash_tile,
    entry_bundles,
    hash_tiles,
    nodes_from_tiles,
    parse_bundle,
    parse_hash_tile,
    parse_path,
    verify_leaves,
)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (HashTile(0, 1234067), "tile/0/x001/x234/067"),
        (HashTile(0, 0), "tile/0/000"),
        (HashTile(1, 999, 1), "tile/1/999.p/1"),
        (HashTile(2, 1000, 255), "tile/2/x001/000.p/255"),
        (HashTile(63, 0, 1), "tile/63/000.p/1"),
        (EntryBundle(0), "tile/entries/000"),
        (EntryBundle(1234067, 12), "tile/entries/x001/x234/067.p/12"),
    ],
)
def test_paths_in_both_directions(tile: HashTile | EntryBundle, path: str) -> None:
    assert tile.path == path
    assert parse_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/data/000",
        "tile/0/x000/000",
        "tile/0/x000/001",
        "tile/0/001/234",
        "tile/0/x001/x234",
        "tile/0/x001/x234/x067",
        "tile/0/X001/000",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000.p/1/",
        "tile/0/000\n",
        "tile/0/٠٠٠",
        "tile/0/../0/000",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(TileInvalid):
        parse_path(path)


@pytest.mark.parametrize(
    ("level", "index", "width"), [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 2**56, 1), (0, 0, 0), (0, 0, 257)]
)
def test_a_tile_that_has_no_path_cannot_be_named(level: int, index: int, width: int) -> None:
    with pytest.raises(TileInvalid):
        HashTile(level, index, width)


def test_the_tiles_of_a_tree_of_70000_are_those_of_the_specification() -> None:
    tiles = list(hash_tiles(70_000))
    full = [tile for tile in tiles if tile.width == 256]
    assert [sum(tile.level == level for tile in full) for level in range(3)] == [273, 1, 0]
    assert [tile for tile in tiles if tile.width < 256] == [
        HashTile(0, 273, 112),
        HashTile(1, 1, 17),
        HashTile(2, 0, 1),
    ]


def test_a_tree_of_256_has_one_full_tile_and_one_partial_above() -> None:
    assert list(hash_tiles(256)) == [HashTile(0, 0), HashTile(1, 0, 1)]
    assert list(entry_bundles(256)) == [EntryBundle(0)]


def test_an_empty_tree_has_no_tiles() -> None:
    assert list(hash_tiles(0)) == []
    assert list(entry_bundles(0)) == []


def test_bundles_cover_every_leaf_once() -> None:
    leaves = [index for bundle in entry_bundles(1000) for index in bundle.leaves]
    assert leaves == list(range(1000))


def test_a_tile_is_within_a_tree_exactly_when_all_its_hashes_are_fixed() -> None:
    assert HashTile(0, 1, 44).is_within(300)
    assert not HashTile(0, 1, 45).is_within(300)
    assert HashTile(0, 1, 43).is_within(300), "tiles of earlier checkpoints stay"
    assert HashTile(1, 0, 1).is_within(256)
    assert not HashTile(1, 0, 1).is_within(255)
    assert EntryBundle(1, 44).is_within(300)
    assert not EntryBundle(1, 45).is_within(300)
    for size in (1, 255, 256, 257, 70_000):
        assert all(tile.is_within(size) for tile in hash_tiles(size))
        assert all(bundle.is_within(size) for bundle in entry_bundles(size))


def test_higher_tiles_hold_the_roots_of_full_tiles_below() -> None:
    leaves = numbered_leaves(600)
    tree = StoredTree(leaves)
    hashes = parse_hash_tile(HashTile(1, 0, 2), build_hash_tile(HashTile(1, 0, 2), tree.nodes))
    assert hashes == [merkle.root_of_leaves(leaves[:256]), merkle.root_of_leaves(leaves[256:512])]
    last = HashTile(0, 2, 88)
    assert parse_hash_tile(last, build_hash_tile(last, tree.nodes)) == [merkle.leaf_hash(leaf) for leaf in leaves[512:]]
    assert len(build_hash_tile(HashTile(0, 0), tree.nodes)) == 8192


@pytest.mark.parametrize("size", [0, 31, 33, 64 + 1, 96])
def test_a_hash_tile_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(TileInvalid):
        parse_hash_tile(HashTile(0, 0, 2), bytes(size))


def test_a_client_can_make_every_proof_from_tiles_alone() -> None:
    tree = StoredTree(numbered_leaves(66_000))
    for size in (1, 255, 256, 257, 511, 600, 65_536, 66_000):
        files = {tile: build_hash_tile(tile, tree.nodes) for tile in hash_tiles(size)}
        reads: list[HashTile] = []

        def read(tile: HashTile, files: dict[HashTile, bytes] = files, reads: list[HashTile] = reads) -> bytes:
            reads.append(tile)
            return files[tile]

        nodes = nodes_from_tiles(size, read)
        assert merkle.root(size, nodes) == tree.root(size)
        for index in {0, size // 3, size - 1}:
            assert merkle.inclusion_proof(index, size, nodes) == merkle.inclusion_proof(index, size, tree.nodes)
            assert merkle.consistency_proof(index + 1, size, nodes) == merkle.consistency_proof(
                index + 1, size, tree.nodes
            )
        assert len(reads) == len(set(reads))


def test_a_short_tile_from_the_network_is_refused() -> None:
    with pytest.raises(TileInvalid):
        merkle.root(10, nodes_from_tiles(10, lambda _: bytes(31)))


def test_a_bundle_is_length_prefixed_big_endian() -> None:
    assert build_bundle([b"", b"ab", b"x" * 258]) == b"\x00\x00" + b"\x00\x02ab" + b"\x01\x02" + b"x" * 258


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20))
def test_bundles_survive_their_bytes(leaves: list[bytes]) -> None:
    assert parse_bundle(EntryBundle(3, len(leaves)), build_bundle(leaves)) == leaves


def test_a_leaf_of_64_kib_is_refused_and_one_byte_less_is_not() -> None:
    assert parse_bundle(EntryBundle(0, 1), build_bundle([bytes(65_535)])) == [bytes(65_535)]
    with pytest.raises(TileInvalid, match="65,535"):
        build_bundle([bytes(65_536)])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x00\x01",
        b"\x00\x01a",
        b"\x00\x01a\x00",
        b"\x00\x01a\x00\x02b",
        b"\x00\x01a\x00\x01bc",
        b"\0" * 6,
    ],
)
def test_a_bundle_with_too_little_or_too_much_is_refused(data: bytes) -> None:
    assert parse_bundle(EntryBundle(0, 2), b"\x00\x01a\x00\x01b") == [b"a", b"b"]
    with pytest.raises(TileInvalid):
        parse_bundle(EntryBundle(0, 2), data)


def test_all_leaves_together_are_checked_against_a_checkpoint() -> None:
    leaves = numbered_leaves(300)
    checkpoint = Checkpoint("log.example", 300, StoredTree(leaves).root())
    verify_leaves(leaves, checkpoint)
    verify_leaves([], Checkpoint("log.example", 0, merkle.EMPTY_ROOT))
    for wrong in (leaves[:-1], [*leaves, b"more"]):
        with pytest.raises(ProofInvalid, match="of 300 leaves"):
            verify_leaves(wrong, checkpoint)
    leaves[17], leaves[18] = leaves[18], leaves[17]
    with pytest.raises(ProofInvalid, match="not those that were signed"):
        verify_leaves(leaves, checkpoint)
