"""Finding content that was scrolled. A guess: whoever uses it compares afterwards, so a wrong one costs only bytes."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Packed = NDArray[np.uint32]

MIN_TILES: Final = 24
"""Changes smaller than this are not worth the search."""

_SAMPLE: Final = 4
"""Every fourth pixel of a row is looked at."""

_MIN_ROWS: Final = 24
"""So many distinct rows must have moved by the same distance."""


class Move(NamedTuple):
    """The rectangle at x, y shows what was at x - dx, y - dy. Pixels."""

    x: int
    y: int
    width: int
    height: int
    dx: int
    dy: int


def find_scroll(before: Packed, now: Packed, dirty: list[int], tile: int) -> Move | None:
    """The vertical scroll that explains most of the changed tiles, if one does.

    `before`, `now`: one integer per pixel, shape (height, width), same shape. `dirty`: places of changed tiles, row by
    row. Each row of pixels of each column of tiles gets a number; numbers that occur once in both pictures vote.
    """
    if len(dirty) < MIN_TILES:
        return None
    height, width = now.shape
    columns = -(-width // tile)
    per_column = Counter(place % columns for place in dirty)
    wanted = sorted(column for column, count in per_column.items() if count >= max(per_column.values()) / 2)
    top = min(dirty) // columns * tile
    bottom = min(height, (max(dirty) // columns + 1) * tile)
    old = _row_numbers(before[top:bottom], wanted, tile)
    new = _row_numbers(now[top:bottom], wanted, tile)
    votes: Counter[int] = Counter()
    for column in range(0, len(wanted), 2):
        votes.update(_shifts(old[:, column], new[:, column]))
    votes.pop(0, None)
    if not votes:
        return None
    dy, support = votes.most_common(1)[0]
    if support < _MIN_ROWS:
        return None
    rows = bottom - top
    first, last = max(0, dy), min(rows, rows + dy)
    agrees = new[first:last] == old[first - dy : last - dy]
    moved = agrees & (new[first:last] != old[first:last])
    good = np.flatnonzero(moved.sum(axis=0) >= _MIN_ROWS)
    if good.size == 0:
        return None
    left, right = int(good[0]), int(good[-1])
    lines = np.flatnonzero(moved[:, left : right + 1].any(axis=1))
    x = wanted[left] * tile
    y, end = first + int(lines[0]), first + int(lines[-1]) + 1
    return Move(x, top + y, min(width, (wanted[right] + 1) * tile) - x, end - y, 0, dy)


def _row_numbers(picture: Packed, columns: list[int], tile: int) -> NDArray[np.uint64]:
    """A number for each row of pixels in each column of tiles, shape (rows, columns): equal rows, equal numbers."""
    weights = np.random.default_rng(1).integers(1, 2**63, size=tile // _SAMPLE, dtype=np.uint64)
    strips = []
    for column in columns:
        strip = picture[:, column * tile : (column + 1) * tile : _SAMPLE]
        strips.append(strip @ weights[: strip.shape[1]])
    return np.stack(strips, axis=1)


def _shifts(old: NDArray[np.uint64], new: NDArray[np.uint64]) -> list[int]:
    """How far each row that is unlike all others of its picture has moved."""
    old_values, old_rows, old_counts = np.unique(old, return_index=True, return_counts=True)
    new_values, new_rows, new_counts = np.unique(new, return_index=True, return_counts=True)
    _, in_old, in_new = np.intersect1d(
        old_values[old_counts == 1], new_values[new_counts == 1], assume_unique=True, return_indices=True
    )
    distances: list[int] = (new_rows[new_counts == 1][in_new] - old_rows[old_counts == 1][in_old]).tolist()
    return distances
