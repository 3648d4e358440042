"""Growing a tree by its right edge gives the roots of RFC 6962 and the tiles of C2SP tlog-tiles, whatever the steps."""

from __future__ import annotations

import random

import pytest

from assent.transparency import merkle
from assent.transparency.edge import Edge
from assent.transparency.errors import TileInvalid
from assent.transparency.tiles import HashTile, build_hash_tile, hash_tiles

HASHES = [merkle.leaf_hash(number.to_bytes(4, "big")) for number in range(70_000)]


def test_the_root_is_that_of_the_whole_at_every_size_up_to_600() -> None:
    edge = Edge()
    assert edge.root() == merkle.EMPTY_ROOT
    for size in range(1, 601):
        edge.grow([HASHES[size - 1]])
        assert (edge.size, edge.root()) == (size, merkle.root_of_hashes(HASHES[:size]))


@pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 65_535, 65_536, 65_537, 70_000])
def test_the_tiles_that_come_out_are_all_tiles_of_the_tree_whatever_the_steps(size: int) -> None:
    nodes: dict[tuple[int, int], bytes] = {}
    for node in merkle.append(0, HASHES[:size], lambda level, index: nodes[level, index]):
        nodes[node.level, node.index] = node.hash
    expected = {tile: build_hash_tile(tile, lambda level, index: nodes[level, index]) for tile in hash_tiles(size)}
    steps = random.Random(size)
    edge, out, at = Edge(), dict[HashTile, bytes](), 0
    while at < size:
        step = min(size - at, steps.choice([1, 7, 256, 300, 5000]))
        for tile, data in edge.grow(HASHES[at : at + step]):
            assert tile not in out, "each tile comes out once"
            out[tile] = data
        at += step
    out.update(edge.partial_tiles())
    assert out == expected
    assert edge.root() == merkle.root_of_hashes(HASHES[:size])


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_537, 66_000])
def test_it_goes_on_from_partial_tiles(size: int) -> None:
    whole = Edge()
    whole.grow(HASHES[:size])
    partial = dict(whole.partial_tiles())
    again = Edge.from_tiles(size, partial.__getitem__)
    assert again.root() == whole.root()
    apart = again.copy()
    again.grow(HASHES[size : size + 1000])
    assert again.root() == merkle.root_of_hashes(HASHES[: size + 1000])
    assert apart.root() == whole.root(), "a copy does not grow along"


def test_a_partial_tile_of_another_length_is_refused() -> None:
    with pytest.raises(TileInvalid):
        Edge.from_tiles(3, lambda _tile: bytes(32))
