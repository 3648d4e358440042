"""The Merkle tree of RFC 6962 §2.1 with SHA-256: roots, inclusion and consistency proofs, and their verification.

The tree itself is kept by whoever runs a log, as hashes of *complete* subtrees: level 0 holds the leaf hashes, and the
hash at (level, index) covers the leaves from `index << level` up to, not including, `(index + 1) << level`. Such a hash
never changes again. Every function that needs the tree takes a callback that looks one of them up, and asks it
O(log size) times, never for a subtree that reaches beyond the stated size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from assent.transparency.errors import ProofInvalid
from assent.transparency.lines import HASH_BYTES

Nodes: TypeAlias = Callable[[int, int], bytes]
"""`nodes(level, index)` returns the 32-byte hash of that complete subtree."""

EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without leaves: SHA-256 of nothing (RFC 6962 §2.1)."""


@dataclass(frozen=True, slots=True)
class Node:
    """The hash of one complete subtree, to be stored at (level, index)."""

    level: int
    index: int
    hash: bytes


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf)."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def append(size: int, leaf_hashes: Iterable[bytes], nodes: Nodes) -> list[Node]:
    """Return every hash that comes into being when `leaf_hashes` follow the first `size` leaves, in order of creation.

    `nodes` is asked for hashes at the right edge of the old tree only. The caller stores all of the result or none.
    """
    created: list[Node] = []
    fresh: dict[tuple[int, int], bytes] = {}
    for position, hash_ in enumerate(leaf_hashes, start=size):
        level, index = 0, position
        created.append(Node(level, index, hash_))
        while index & 1:
            left = fresh.pop((level, index - 1), None) or nodes(level, index - 1)
            hash_ = node_hash(left, hash_)
            level, index = level + 1, index >> 1
            created.append(Node(level, index, hash_))
        fresh[level, index] = hash_
    return created


def root(size: int, nodes: Nodes) -> bytes:
    """The root of the first `size` leaves."""
    return _range_hash(0, size, nodes) if size else EMPTY_ROOT


def root_of_leaves(leaves: Iterable[bytes]) -> bytes:
    """The root of these leaves, all at once and without a stored tree."""
    return root_of_hashes([sha256(b"\x00" + leaf).digest() for leaf in leaves])


def root_of_hashes(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes. A last hash without a partner moves up a level unchanged, as in RFC 6962."""
    if not leaf_hashes:
        return EMPTY_ROOT
    level = leaf_hashes
    while len(level) > 1:
        unpaired = level[-1:] if len(level) % 2 else ()
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
        level.extend(unpaired)
    return level[0]


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """PATH(index, D[0:size]) of RFC 6962 §2.1.1: the sibling hashes from the leaf up. Raises ValueError."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of size {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        split = _split(start, end)
        if index < split:
            path.append(_range_hash(split, end, nodes))
            end = split
        else:
            path.append(_range_hash(start, split, nodes))
            start = split
    path.reverse()
    return path


def consistency_proof(old_size: int, size: int, nodes: Nodes) -> list[bytes]:
    """PROOF(old_size, D[0:size]) of RFC 6962 §2.1.2; empty when `old_size` is 0 or `size`. Raises ValueError."""
    if not 0 <= old_size <= size:
        raise ValueError(f"a tree of size {size} does not contain one of size {old_size}")
    if old_size == 0:
        return []
    proof: list[bytes] = []
    start, end = 0, size
    while old_size != end:
        split = _split(start, end)
        if old_size <= split:
            proof.append(_range_hash(split, end, nodes))
            end = split
        else:
            proof.append(_range_hash(start, split, nodes))
            start = split
    if start:  # the old tree itself is known to the verifier; a part of it is not
        proof.append(_range_hash(start, end, nodes))
    proof.reverse()
    return proof


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> None:
    """Return only if the leaf hash `leaf` is number `index` of the tree (RFC 9162 §2.1.3.2). Raises ProofInvalid."""
    if not 0 <= index < size:
        raise ProofInvalid(f"there is no leaf {index} in a tree of size {size}")
    _check_hashes(leaf, expected_root, *proof)
    position, last, hash_ = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid("the proof is too long")
        if position & 1 or position == last:
            hash_ = node_hash(sibling, hash_)
            while not position & 1:
                position, last = position >> 1, last >> 1
        else:
            hash_ = node_hash(hash_, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise ProofInvalid("the proof is too short")
    if hash_ != expected_root:
        raise ProofInvalid(f"leaf {index} is not in the tree of size {size} that was signed")


def verify_consistency(old_size: int, old_root: bytes, size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Return only if the new tree begins with all of the old one (RFC 9162 §2.1.4.2). Raises ProofInvalid.

    From size 0 the proof is empty and anything follows (C2SP tlog-witness); the root of an empty tree is still checked.
    """
    _check_hashes(old_root, new_root, *proof)
    for tree_size, tree_root in ((old_size, old_root), (size, new_root)):
        if tree_size == 0 and tree_root != EMPTY_ROOT:
            raise ProofInvalid("a tree of size 0 has the root of the empty tree and no other")
    if not 0 <= old_size <= size:
        raise ProofInvalid(f"a tree of size {size} does not contain one of size {old_size}")
    if old_size in (0, size):
        if proof:
            raise ProofInvalid(f"the proof from size {old_size} to {size} is empty, but hashes were given")
        if old_size == size and old_root != new_root:
            raise ProofInvalid(f"two different trees of size {size}")
        return
    if not proof:
        raise ProofInvalid("the proof is too short")
    hashes = list(proof)
    if old_size & (old_size - 1) == 0:  # the old tree is one complete subtree, and its root the proof's first hash
        hashes.insert(0, old_root)
    position, last = old_size - 1, size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_hash = new_hash = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise ProofInvalid("the proof is too long")
        if position & 1 or position == last:
            old_hash = node_hash(sibling, old_hash)
            new_hash = node_hash(sibling, new_hash)
            while not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new_hash = node_hash(new_hash, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise ProofInvalid("the proof is too short")
    if old_hash != old_root or new_hash != new_root:
        raise ProofInvalid(f"the tree of size {size} does not begin with the tree of size {old_size}")


def _split(start: int, end: int) -> int:
    """Where RFC 6962 divides D[start:end]: after the largest power of two that is smaller than its length."""
    return start + (1 << (end - start - 1).bit_length() - 1)


def _range_hash(start: int, end: int, nodes: Nodes) -> bytes:
    """MTH(D[start:end]) for a non-empty range that RFC 6962's division produces.

    Such a range begins at a multiple of its largest complete subtree, so it is a row of complete subtrees of falling
    height, hashed together from the right.
    """
    peaks: list[bytes] = []
    while start < end:
        level = (end - start).bit_length() - 1
        peaks.append(nodes(level, start >> level))
        start += 1 << level
    hash_ = peaks.pop()
    while peaks:
        hash_ = node_hash(peaks.pop(), hash_)
    return hash_


def _check_hashes(*hashes: bytes) -> None:
    if any(len(hash_) != HASH_BYTES for hash_ in hashes):
        raise ProofInvalid(f"every hash has {HASH_BYTES} bytes")
