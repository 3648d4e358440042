"""Trees for tests: one kept the way a log keeps it, and RFC 6962's definitions written down word by word."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from assent.transparency import merkle


class StoredTree:
    """Complete-subtree hashes in a dictionary, grown by `merkle.append`, with a count of the look-ups."""

    def __init__(self, leaves: Sequence[bytes] = ()) -> None:
        self.table: dict[tuple[int, int], bytes] = {}
        self.size = 0
        self.reads: list[tuple[int, int]] = []
        self.append(*leaves)

    def nodes(self, level: int, index: int) -> bytes:
        self.reads.append((level, index))
        return self.table[level, index]

    def append(self, *leaves: bytes) -> None:
        for node in merkle.append(self.size, [merkle.leaf_hash(leaf) for leaf in leaves], self.nodes):
            assert (node.level, node.index) not in self.table, "a complete subtree is created once"
            self.table[node.level, node.index] = node.hash
        self.size += len(leaves)

    def root(self, size: int | None = None) -> bytes:
        return merkle.root(self.size if size is None else size, self.nodes)


def numbered_leaves(count: int) -> list[bytes]:
    return [f"leaf {number}".encode() for number in range(count)]


class Definition:
    """MTH, PATH and PROOF as RFC 6962 §2.1 defines them, by recursion over the leaves D[start:end]."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._leaves = leaves
        self._roots: dict[tuple[int, int], bytes] = {}

    def root(self, start: int, end: int) -> bytes:
        if (start, end) not in self._roots:
            self._roots[start, end] = self._root(start, end)
        return self._roots[start, end]

    def _root(self, start: int, end: int) -> bytes:
        if start == end:
            return sha256().digest()
        if end - start == 1:
            return sha256(b"\x00" + self._leaves[start]).digest()
        k = start + largest_power_of_two_below(end - start)
        return sha256(b"\x01" + self.root(start, k) + self.root(k, end)).digest()

    def path(self, m: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        k = largest_power_of_two_below(end - start)
        if m < k:
            return [*self.path(m, start, start + k), self.root(start + k, end)]
        return [*self.path(m - k, start + k, end), self.root(start, start + k)]

    def proof(self, m: int, start: int, end: int, whole: bool = True) -> list[bytes]:
        if m == end - start:
            return [] if whole else [self.root(start, end)]
        k = largest_power_of_two_below(end - start)
        if m <= k:
            return [*self.proof(m, start, start + k, whole), self.root(start + k, end)]
        return [*self.proof(m - k, start + k, end, False), self.root(start, start + k)]


def largest_power_of_two_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k
