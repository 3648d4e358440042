"""When a person is told of what: the first reading under a request, what happens to their keys and that they were
unmasked at once, everything else once a day. Until they have seen it, again at every start.

Pure: days are UTC, as the custodian writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["lease", "digest", "own", "account", "unmasked"]
"""The first lease under a request, a later one, one's own look, something about one's account, that an auditor learns
whose some entries of the log are."""

Proof = Literal["kept", "wrong", "awaited", "none"]
"""Of an access: its proof is on this computer; what came as proof is none; it is not here yet. Of the rest: none."""

AT_ONCE: frozenset[Kind] = frozenset({"lease", "account", "unmasked"})


@dataclass(frozen=True)
class Told:
    """What the custodian told, and how far it got. `seen`: the person has seen it here."""

    id: str
    day: str
    kind: Kind
    text: str
    approvals: int = 0
    leaf_index: int | None = None
    proof: Proof = "none"
    seen: bool = False


def as_read(told: Iterable[Told]) -> tuple[Told, ...]:
    """Newest first; without messages that were told with an entry of the log, too."""
    told = tuple(told)
    logged = {(one.day, one.text) for one in told if one.kind == "unmasked"}
    return newest_first(one for one in told if one.kind != "account" or (one.day, one.text) not in logged)


def newest_first(told: Iterable[Told]) -> tuple[Told, ...]:
    """In the order in which people read it."""
    return tuple(sorted(told, key=lambda one: (one.day, one.leaf_index or 0, one.id), reverse=True))


def due(told: Iterable[Told], today: str) -> tuple[Told, ...]:
    """What the person is to be shown now, newest first. Later readings of a day wait until it is over, so that they
    come together; a proof that is wrong waits for nothing."""
    return newest_first(
        one for one in told if not one.seen and (one.kind in AT_ONCE or one.proof == "wrong" or one.day < today)
    )
