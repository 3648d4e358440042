"""The tree: published vectors, every tree of up to 256 leaves, and every kind of damage to a proof."""

from __future__ import annotations

import collections
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.unit.transparency.trees import Definition, StoredTree, numbered_leaves

from assent.transparency import merkle
from assent.transparency.errors import ProofInvalid

# The reference data of the Certificate Transparency project: eight leaves and the root after each.
REFERENCE_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
REFERENCE_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
_96A2 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
_5F08 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
_6B47 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
_BC1A = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
_CA85 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
_0EBC = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
_D37E = REFERENCE_ROOTS[3]
ALL_SIZES = 256


@cache
def stored(size: int) -> StoredTree:
    return StoredTree(numbered_leaves(size))


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert StoredTree().root() == merkle.root_of_leaves([]) == Definition([]).root(0, 0)
    assert merkle.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", range(1, 9))
def test_reference_roots(size: int) -> None:
    leaves = REFERENCE_LEAVES[:size]
    assert StoredTree(leaves).root().hex() == merkle.root_of_leaves(leaves).hex() == REFERENCE_ROOTS[size - 1]


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [
        (0, 1, []),
        (0, 8, [_96A2, _5F08, _6B47]),
        (5, 8, [_BC1A, _CA85, _D37E]),
        (2, 3, [REFERENCE_ROOTS[1]]),
        (1, 5, [REFERENCE_ROOTS[0], _5F08, _BC1A]),
    ],
)
def test_reference_inclusion_proofs(index: int, size: int, path: list[str]) -> None:
    tree = StoredTree(REFERENCE_LEAVES)
    assert [hash_.hex() for hash_ in merkle.inclusion_proof(index, size, tree.nodes)] == path


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [(1, 1, []), (1, 8, [_96A2, _5F08, _6B47]), (6, 8, [_0EBC, _CA85, _D37E]), (2, 5, [_5F08, _BC1A])],
)
def test_reference_consistency_proofs(old: int, new: int, proof: list[str]) -> None:
    tree = StoredTree(REFERENCE_LEAVES)
    assert [hash_.hex() for hash_ in merkle.consistency_proof(old, new, tree.nodes)] == proof


def test_every_root_up_to_256_is_that_of_the_definition() -> None:
    tree, leaves = stored(ALL_SIZES), numbered_leaves(ALL_SIZES)
    definition = Definition(leaves)
    for size in range(ALL_SIZES + 1):
        assert tree.root(size) == merkle.root_of_leaves(leaves[:size]) == definition.root(0, size)


def test_every_inclusion_proof_up_to_256_is_that_of_the_definition_and_verifies() -> None:
    tree, leaves = stored(ALL_SIZES), numbered_leaves(ALL_SIZES)
    definition, leaf_hashes = Definition(leaves), [merkle.leaf_hash(leaf) for leaf in leaves]
    for size in range(1, ALL_SIZES + 1):
        root = tree.root(size)
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, tree.nodes)
            assert proof == definition.path(index, 0, size)
            merkle.verify_inclusion(leaf_hashes[index], index, size, proof, root)


def test_every_consistency_proof_up_to_256_is_that_of_the_definition_and_verifies() -> None:
    tree, definition = stored(ALL_SIZES), Definition(numbered_leaves(ALL_SIZES))
    roots = [tree.root(size) for size in range(ALL_SIZES + 1)]
    for new in range(1, ALL_SIZES + 1):
        merkle.verify_consistency(0, roots[0], new, roots[new], merkle.consistency_proof(0, new, tree.nodes))
        for old in range(1, new + 1):
            proof = merkle.consistency_proof(old, new, tree.nodes)
            assert proof == definition.proof(old, 0, new)
            merkle.verify_consistency(old, roots[old], new, roots[new], proof)


def test_appending_one_by_one_and_many_at_once_make_the_same_tree() -> None:
    at_once, one_by_one, in_bursts = StoredTree(numbered_leaves(100)), StoredTree(), StoredTree()
    for leaf in numbered_leaves(100):
        one_by_one.append(leaf)
    for start in range(0, 100, 7):
        in_bursts.append(*numbered_leaves(100)[start : start + 7])
    assert at_once.table == one_by_one.table == in_bursts.table


def test_appending_reads_only_the_right_edge() -> None:
    tree = StoredTree(numbered_leaves(0b1011))
    tree.reads.clear()
    tree.append(*numbered_leaves(5))
    assert tree.reads == [(0, 0b1010), (1, 0b100), (3, 0)]


def test_a_proof_in_a_large_tree_takes_few_reads() -> None:
    size, old_size, index = 10**9 + 7, 987_654_321, 123_456_789
    of_level = [merkle.leaf_hash(b"the same leaf, a thousand million times")]
    while len(of_level) < 31:
        of_level.append(merkle.node_hash(of_level[-1], of_level[-1]))
    reads: list[tuple[int, int]] = []

    def nodes(level: int, index: int) -> bytes:
        assert (index + 1) << level <= size, "only complete subtrees are asked for"
        reads.append((level, index))
        return of_level[level]

    root, old_root = merkle.root(size, nodes), merkle.root(old_size, nodes)
    path = merkle.inclusion_proof(index, size, nodes)
    proof = merkle.consistency_proof(old_size, size, nodes)
    assert len(reads) < 4 * 2 * size.bit_length()
    merkle.verify_inclusion(of_level[0], index, size, path, root)
    merkle.verify_consistency(old_size, old_root, size, root, proof)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 5), (5, 5), (6, 5)])
def test_there_is_no_proof_for_a_leaf_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="there is no leaf"):
        merkle.inclusion_proof(index, size, stored(8).nodes)
    with pytest.raises(ProofInvalid, match="there is no leaf"):
        merkle.verify_inclusion(bytes(32), index, size, [], bytes(32))


@pytest.mark.parametrize(("old", "new"), [(-1, 5), (6, 5)])
def test_there_is_no_proof_from_a_larger_tree_to_a_smaller_one(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="does not contain"):
        merkle.consistency_proof(old, new, stored(8).nodes)
    with pytest.raises(ProofInvalid, match="does not contain"):
        merkle.verify_consistency(old, bytes(32), new, bytes(32), [])


def damaged(proof: list[bytes]) -> list[list[bytes]]:
    """A proof with each hash altered, dropped, doubled or swapped, and with one more at either end."""
    variants = [[*proof, bytes(32)], [bytes(32), *proof]]
    for place, hash_ in enumerate(proof):
        flipped = bytes([hash_[0] ^ 1]) + hash_[1:]
        variants += [
            [*proof[:place], flipped, *proof[place + 1 :]],
            [*proof[:place], *proof[place + 1 :]],
            [*proof[:place], hash_, *proof[place:]],
            [*proof[:place], hash_[:-1], *proof[place + 1 :]],
        ]
        if place:
            variants.append([*proof[: place - 1], hash_, proof[place - 1], *proof[place + 1 :]])
    return [variant for variant in variants if variant != proof]


def test_no_damaged_inclusion_proof_verifies() -> None:
    tree, leaves = stored(32), numbered_leaves(32)
    for size in range(1, 18):
        root = tree.root(size)
        for index in range(size):
            leaf, proof = merkle.leaf_hash(leaves[index]), merkle.inclusion_proof(index, size, tree.nodes)
            merkle.verify_inclusion(leaf, index, size, proof, root)
            for wrong in damaged(proof):
                with pytest.raises(ProofInvalid):
                    merkle.verify_inclusion(leaf, index, size, wrong, root)
            for other in set(range(size)) - {index}:
                with pytest.raises(ProofInvalid):
                    merkle.verify_inclusion(leaf, other, size, proof, root)
            with pytest.raises(ProofInvalid):
                merkle.verify_inclusion(merkle.leaf_hash(b"another"), index, size, proof, root)
            with pytest.raises(ProofInvalid):
                merkle.verify_inclusion(leaf, index, size, proof, merkle.leaf_hash(b"another"))


def test_no_damaged_consistency_proof_verifies() -> None:
    tree = stored(32)
    for new in range(1, 18):
        for old in range(1, new + 1):
            old_root, new_root, proof = tree.root(old), tree.root(new), merkle.consistency_proof(old, new, tree.nodes)
            merkle.verify_consistency(old, old_root, new, new_root, proof)
            for wrong in damaged(proof):
                with pytest.raises(ProofInvalid):
                    merkle.verify_consistency(old, old_root, new, new_root, wrong)
            for wrong_roots in ((bytes(32), new_root), (old_root, bytes(32))):
                with pytest.raises(ProofInvalid):
                    merkle.verify_consistency(old, wrong_roots[0], new, wrong_roots[1], proof)
            for other in set(range(1, new + 1)) - {old}:
                with pytest.raises(ProofInvalid):
                    merkle.verify_consistency(other, old_root, new, new_root, proof)


def test_a_rewritten_past_has_no_consistency_proof() -> None:
    honest, rewritten = numbered_leaves(20), numbered_leaves(20)
    rewritten[3] = b"something else"
    liar = StoredTree(rewritten)
    with pytest.raises(ProofInvalid, match="does not begin with"):
        merkle.verify_consistency(
            7, merkle.root_of_leaves(honest[:7]), 20, liar.root(), merkle.consistency_proof(7, 20, liar.nodes)
        )


def test_anything_follows_the_empty_tree_and_the_proof_is_empty() -> None:
    root = stored(8).root()
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 8, root, [])
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 0, merkle.EMPTY_ROOT, [])
    with pytest.raises(ProofInvalid, match="is empty, but"):
        merkle.verify_consistency(0, merkle.EMPTY_ROOT, 8, root, [root])
    with pytest.raises(ProofInvalid, match="empty tree"):
        merkle.verify_consistency(0, root, 8, root, [])
    with pytest.raises(ProofInvalid, match="empty tree"):
        merkle.verify_consistency(0, merkle.EMPTY_ROOT, 0, root, [])


def test_two_trees_of_one_size_are_the_same_or_a_contradiction() -> None:
    root = stored(8).root()
    merkle.verify_consistency(8, root, 8, root, [])
    with pytest.raises(ProofInvalid, match="two different trees"):
        merkle.verify_consistency(8, root, 8, bytes(32), [])
    with pytest.raises(ProofInvalid, match="is empty, but"):
        merkle.verify_consistency(8, root, 8, root, [root])


# Proofs right and wrong that were published by others: github.com/transparency-dev/merkle, testdata/ (Apache-2.0), at
# 417fb0c3; a line each, hashes in hexadecimal.
PUBLISHED = [
    json.loads(line) for line in (Path(__file__).parents[2] / "golden" / "merkle-proofs.jsonl").read_text().splitlines()
]
NO_HASHES = "consistency/additional/sizes-are-equal-one-and-proof-is-empty"
"""Valid to its publishers, with roots of 12 bytes. We refuse what is no hash."""


@pytest.mark.parametrize("vector", PUBLISHED, ids=lambda vector: f"{vector['kind']}/{vector['case']}")
def test_published_proofs_hold_or_fail_as_their_publishers_say(vector: dict[str, Any]) -> None:
    proof = [bytes.fromhex(hash_) for hash_ in vector["proof"]]
    name = f"{vector['kind']}/{vector['case']}"
    holds = True
    try:
        if vector["kind"] == "inclusion":
            leaf, root = bytes.fromhex(vector["leaf_hash"]), bytes.fromhex(vector["root"])
            merkle.verify_inclusion(leaf, vector["index"], vector["size"], proof, root)
        else:
            old_root, new_root = bytes.fromhex(vector["old_root"]), bytes.fromhex(vector["new_root"])
            merkle.verify_consistency(vector["old"], old_root, vector["new"], new_root, proof)
    except ProofInvalid:
        holds = False
    assert holds == (vector["valid"] and name != NO_HASHES)


def test_the_published_proofs_are_all_there_and_of_both_kinds() -> None:
    counted = collections.Counter((vector["kind"], vector["valid"]) for vector in PUBLISHED)
    assert counted == {
        ("inclusion", True): 6, ("inclusion", False): 92, ("consistency", True): 6, ("consistency", False): 92,
    }  # fmt: skip
