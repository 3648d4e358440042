"""Tiles (C2SP tlog-tiles): the tree in files of 256 hashes, and the leaves in bundles of 256, each fixed once written.

Whoever holds the tiles can compute any proof; whoever holds the entry bundles can compute the whole tree.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import ProofInvalid, TileInvalid
from assent.transparency.lines import HASH_BYTES, MAX_SIZE
from assent.transparency.merkle import Nodes, node_hash, root_of_leaves

TILE_WIDTH = 256
TILE_HEIGHT = 8
MAX_TILE_LEVEL = 63
MAX_LEAF_BYTES = 65_535
"""A leaf's length must fit the 16 bits before it in a bundle."""

_LENGTH = struct.Struct(">H")
_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True)
class HashTile:
    """`width` hashes of complete subtrees of 256^level leaves, from subtree number `index * 256` on."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not 0 <= self.level <= MAX_TILE_LEVEL:
            raise TileInvalid(f"tile levels are 0 to {MAX_TILE_LEVEL}")
        _check_position(self.index, self.width)

    @property
    def path(self) -> str:
        return f"tile/{self.level}/{_position_path(self.index, self.width)}"

    def is_within(self, size: int) -> bool:
        """Whether every hash of this tile is fixed once the tree has `size` leaves."""
        return self.index * TILE_WIDTH + self.width <= size >> TILE_HEIGHT * self.level


@dataclass(frozen=True)
class EntryBundle:
    """The `width` leaves from number `index * 256` on."""

    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        _check_position(self.index, self.width)

    @property
    def path(self) -> str:
        return f"tile/entries/{_position_path(self.index, self.width)}"

    @property
    def leaves(self) -> range:
        """The indices of the leaves in it."""
        return range(self.index * TILE_WIDTH, self.index * TILE_WIDTH + self.width)

    def is_within(self, size: int) -> bool:
        """Whether a tree of `size` leaves has all of these."""
        return self.leaves.stop <= size


def parse_path(path: str) -> HashTile | EntryBundle:
    """Read `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`, without a leading slash. Raises TileInvalid."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise TileInvalid("not the path of a tile")
    index = int(re.sub("[x/]", "", match["index"]))
    width = int(match["width"] or TILE_WIDTH)
    tile = EntryBundle(index, width) if match["level"] == "entries" else HashTile(int(match["level"]), index, width)
    if tile.path != path:  # leading x000 elements, or .p/256
        raise TileInvalid("not the shortest path of this tile")
    return tile


def hash_tiles(size: int) -> Iterator[HashTile]:
    """Every tile that a tree of this size consists of, lowest level first."""
    level = 0
    while hashes := size >> TILE_HEIGHT * level:
        full, rest = divmod(hashes, TILE_WIDTH)
        yield from (HashTile(level, index) for index in range(full))
        if rest:
            yield HashTile(level, full, rest)
        level += 1


def entry_bundles(size: int) -> Iterator[EntryBundle]:
    """Every bundle that the leaves of a tree of this size fill, in order."""
    full, rest = divmod(size, TILE_WIDTH)
    yield from (EntryBundle(index) for index in range(full))
    if rest:
        yield EntryBundle(full, rest)


def build_hash_tile(tile: HashTile, nodes: Nodes) -> bytes:
    """The bytes of a tile that is within the tree: 32 per hash."""
    first = tile.index * TILE_WIDTH
    return b"".join(nodes(TILE_HEIGHT * tile.level, first + offset) for offset in range(tile.width))


def parse_hash_tile(tile: HashTile, data: bytes) -> list[bytes]:
    """The hashes in the bytes of a tile. Raises TileInvalid."""
    if len(data) != tile.width * HASH_BYTES:
        raise TileInvalid(f"a tile of width {tile.width} has {tile.width * HASH_BYTES} bytes, not {len(data)}")
    return [data[start : start + HASH_BYTES] for start in range(0, len(data), HASH_BYTES)]


def build_bundle(leaves: Iterable[bytes]) -> bytes:
    """The bytes of an entry bundle: each leaf after its length in 2 bytes. Raises TileInvalid for a leaf of 64 KiB."""
    parts: list[bytes] = []
    for leaf in leaves:
        if len(leaf) > MAX_LEAF_BYTES:
            raise TileInvalid(f"a leaf has at most {MAX_LEAF_BYTES:,} bytes, not {len(leaf):,}")
        parts += (_LENGTH.pack(len(leaf)), leaf)
    return b"".join(parts)


def parse_bundle(bundle: EntryBundle, data: bytes) -> list[bytes]:
    """The leaves in the bytes of a bundle: exactly `width` of them and nothing after. Raises TileInvalid."""
    leaves: list[bytes] = []
    position = 0
    while position < len(data) and len(leaves) < bundle.width:
        start = position + _LENGTH.size
        if start > len(data):
            raise TileInvalid("the entry bundle is cut off")
        position = start + _LENGTH.unpack_from(data, position)[0]
        if position > len(data):
            raise TileInvalid("the entry bundle is cut off")
        leaves.append(data[start:position])
    if position != len(data) or len(leaves) != bundle.width:
        raise TileInvalid(f"the entry bundle does not hold exactly {bundle.width} leaves")
    return leaves


def nodes_from_tiles(size: int, read: Callable[[HashTile], bytes]) -> Nodes:
    """Look up hashes in the tiles of a tree of `size` leaves, so that a client can compute its own proofs.

    `read` returns a tile's bytes, and is asked once for each tile that is needed. The hashes prove nothing until a
    proof made of them, or the root over them, has been verified against a signed checkpoint. Raises TileInvalid.
    """
    known: dict[HashTile, list[bytes]] = {}

    def nodes(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, TILE_HEIGHT)
        hashes_in_level = size >> TILE_HEIGHT * tile_level
        first = index << height
        tile_index, offset = divmod(first, TILE_WIDTH)
        tile = HashTile(tile_level, tile_index, min(TILE_WIDTH, hashes_in_level - tile_index * TILE_WIDTH))
        if tile not in known:
            known[tile] = parse_hash_tile(tile, read(tile))
        hashes = known[tile][offset : offset + (1 << height)]
        while len(hashes) > 1:
            hashes = [node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
        return hashes[0]

    return nodes


def verify_leaves(leaves: Iterable[bytes], checkpoint: Checkpoint) -> None:
    """Return only if these are all the leaves of a checkpoint, in order. Raises ProofInvalid.

    The caller has verified the checkpoint's signatures.
    """
    everything = list(leaves)
    if len(everything) != checkpoint.size:
        raise ProofInvalid(f"the checkpoint is of {checkpoint.size} leaves, and here are {len(everything)}")
    if root_of_leaves(everything) != checkpoint.root:
        raise ProofInvalid(f"these {checkpoint.size} leaves are not those that were signed")


def _check_position(index: int, width: int) -> None:
    if not 0 <= index <= MAX_SIZE // TILE_WIDTH:
        raise TileInvalid("there is no tile of this index")
    if not 1 <= width <= TILE_WIDTH:
        raise TileInvalid(f"the width of a tile is 1 to {TILE_WIDTH}")


def _position_path(index: int, width: int) -> str:
    path = f"{index % 1000:03d}"
    while index := index // 1000:
        path = f"x{index % 1000:03d}/{path}"
    return path if width == TILE_WIDTH else f"{path}.p/{width}"
