"""A tree that grows, of which only the right edge is kept: what is needed in order to go on, and the root.

A log of any length is hashed in one pass, a bundle at a time, and its tiles come out as they fill. What is kept is at
most 255 hashes for each level of tiles, which are exactly the tiles that are not full yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from assent.transparency.merkle import EMPTY_ROOT, root_of_hashes
from assent.transparency.tiles import TILE_HEIGHT, TILE_WIDTH, HashTile, parse_hash_tile

Tile = tuple[HashTile, bytes]


class Edge:
    """The tree of the first `size` leaves."""

    def __init__(self) -> None:
        """The empty tree."""
        self.size = 0
        self._rows: list[list[bytes]] = []  # row L: the hashes of level 8·L that fill no tile yet

    @classmethod
    def from_tiles(cls, size: int, read: Callable[[HashTile], bytes]) -> Edge:
        """The tree of `size` leaves, from its partial tiles. They prove nothing before `root` was compared.

        `read` returns a tile's bytes. Raises TileInvalid, and what `read` raises.
        """
        edge = cls()
        edge.size = size
        while hashes := size >> TILE_HEIGHT * len(edge._rows):
            index, width = divmod(hashes, TILE_WIDTH)
            tile = HashTile(len(edge._rows), index, width) if width else None
            edge._rows.append(parse_hash_tile(tile, read(tile)) if tile else [])
        return edge

    def copy(self) -> Edge:
        """The same tree, to be grown on its own."""
        other = Edge()
        other.size, other._rows = self.size, [list(row) for row in self._rows]
        return other

    def grow(self, leaf_hashes: Sequence[bytes]) -> list[Tile]:
        """Append leaf hashes (32 bytes each); return the tiles that became full, lower levels first."""
        full: list[Tile] = []
        hashes, before, level = list(leaf_hashes), self.size, 0
        self.size += len(hashes)
        while hashes:
            if level == len(self._rows):
                self._rows.append([])
            row = self._rows[level] + hashes
            hashes, index = [], before >> TILE_HEIGHT * (level + 1)
            while len(row) >= TILE_WIDTH:
                some, row = row[:TILE_WIDTH], row[TILE_WIDTH:]
                full.append((HashTile(level, index), b"".join(some)))
                hashes.append(root_of_hashes(some))
                index += 1
            self._rows[level] = row
            level += 1
        return full

    def partial_tiles(self) -> list[Tile]:
        """The tiles that are not full yet, lower levels first. With all full ones they are the tiles of this tree."""
        return [
            (HashTile(level, self.size >> TILE_HEIGHT * (level + 1), len(row)), b"".join(row))
            for level, row in enumerate(self._rows)
            if row
        ]

    def root(self) -> bytes:
        """The root over all leaves (32 bytes)."""
        below: list[bytes] = []
        for row in self._rows:
            if row or below:
                below = [root_of_hashes([*row, *below])]
        return below[0] if below else EMPTY_ROOT
