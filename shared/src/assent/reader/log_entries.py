"""Entries of a witnessed log, each shown to be in it before anybody sees it; and those of them that somebody asks for.

`ProvenLog` reads entries from a copy or from the custodian, compares every one with the hashes of the tree, and these
with the root that witnesses signed. What cannot be shown to be in the log is a `Contradiction`, and nothing of it is
handed out. `select` walks backwards and stops as early as it can, so that little of a long log is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from assent.contracts import limits
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.times import parse_day, parse_moment
from assent.reader.log_copies import AT_ONCE, Contradiction, CopyInvalid, LogCopy
from assent.reader.log_rules import SKEW
from assent.transparency import merkle
from assent.transparency.errors import TransparencyError
from assent.transparency.policy import Witnessed
from assent.transparency.proof import LogProof
from assent.transparency.tiles import (
    TILE_WIDTH,
    EntryBundle,
    HashTile,
    nodes_from_tiles,
    parse_bundle,
    parse_hash_tile,
)

Leaves = Callable[[int, int], Sequence[tuple[bytes, str | None]]]
"""Leaves `start` up to, not including, `stop`: exact bytes, and the actor's name where somebody may know it."""

TILES_KEPT = 8


@dataclass(frozen=True)
class Entry:
    """One entry. `actor_name` comes from whoever served it and is proved by nothing. `witnessed`: it was compared with
    what witnesses signed; else it is too new for that."""

    index: int
    data: bytes
    leaf: Leaf
    actor_name: str | None = None
    witnessed: bool = True

    @property
    def hash(self) -> str:
        """The leaf hash, in hexadecimal digits."""
        return merkle.leaf_hash(self.data).hex()

    @property
    def at(self) -> datetime:
        """When it was written; of `person` entries, the beginning of their day."""
        if self.leaf.type is LeafType.PERSON:
            return datetime.combine(parse_day(self.leaf.at), datetime.min.time(), UTC)
        return parse_moment(self.leaf.at)


def entry_of(index: int, data: bytes, name: str | None = None, *, witnessed: bool = True) -> Entry:
    """Raises CopyInvalid for an entry that is of a later version, or none."""
    try:
        entry = Entry(index, data, Leaf.model_validate_json(data), name, witnessed)
        entry.at  # noqa: B018 - it raises
    except (ValidationError, ValueError) as error:
        raise CopyInvalid(
            f"entry {index} cannot be read by this version: install the one that the custodian runs"
        ) from error
    return entry


def leaves_of(copy: LogCopy) -> Leaves:
    """The leaves of a copy. Reading raises CopyInvalid."""

    def read(start: int, stop: int) -> list[tuple[bytes, str | None]]:
        found: list[tuple[bytes, str | None]] = []
        for number in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH)):
            first = number * TILE_WIDTH
            bundle = EntryBundle(number, min(TILE_WIDTH, copy.head.size - first))
            try:
                leaves = parse_bundle(bundle, copy.bytes_of(bundle))
            except TransparencyError as error:
                raise Contradiction("missing", f"{bundle.path}: {error}") from error
            found += [(leaf, None) for leaf in leaves[max(0, start - first) : stop - first]]
        return found

    return read


class ProvenLog:
    """A log of which each entry is compared with what was witnessed. All of it may raise Contradiction, CopyInvalid."""

    def __init__(self, copy: LogCopy, witnessed: Witnessed, leaves: Leaves | None = None) -> None:
        """`witnessed`: what the copy's checkpoint proves. `leaves`: where they come from, if not from the copy."""
        self.witnessed = witnessed
        self.size = witnessed.checkpoint.size
        self.origin = witnessed.checkpoint.origin
        self._copy = copy
        self._leaves = leaves or leaves_of(copy)
        self._nodes = nodes_from_tiles(self.size, copy.bytes_of)
        self._tiles: dict[int, list[bytes]] = {}

    def forwards(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Entries from `start` on, in order."""
        end = self.size if stop is None else min(stop, self.size)
        for first in range(start, end, AT_ONCE):
            yield from self._read(first, min(first + AT_ONCE, end))

    def backwards(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """The same, the newest first."""
        end = self.size if stop is None else min(stop, self.size)
        while end > start:
            first = max(start, end - AT_ONCE)
            yield from reversed(self._read(first, end))
            end = first

    def entry(self, index: int) -> Entry:
        """Raises CopyInvalid when there is none."""
        if not 0 <= index < self.size:
            raise CopyInvalid(f"there is no entry {index}: {self.size} are witnessed, the first is 0")
        return self._read(index, index + 1)[0]

    def has(self, index: int, data: bytes) -> bool:
        """Whether these bytes are entry `index`. Asks for hashes alone: that is no look at an entry."""
        return 0 <= index < self.size and merkle.leaf_hash(data) == self._hash(index)

    def proof(self, index: int) -> LogProof:
        """The proof file of an entry, under the checkpoint that was witnessed."""
        return LogProof(index, tuple(self._path(index, self._nodes)), self._copy.checkpoint)

    def _read(self, start: int, stop: int) -> list[Entry]:
        found = self._leaves(start, stop)
        if len(found) != stop - start:
            raise Contradiction("missing", f"entries {start} to {stop - 1} were asked for, and not all of them came")
        entries = []
        for index, (data, name) in enumerate(found, start):
            if merkle.leaf_hash(data) != self._hash(index):
                raise Contradiction("wrong-leaves", f"entry {index} is not the one that was signed")
            entries.append(entry_of(index, data, name))
        return entries

    def _hash(self, index: int) -> bytes:
        """The leaf hash of an entry, of which was shown that the root is made of it."""
        number, place = divmod(index, TILE_WIDTH)
        if number not in self._tiles:
            if len(self._tiles) >= TILES_KEPT:
                self._tiles.pop(next(iter(self._tiles)))
            self._tiles[number] = self._proven(number)
        return self._tiles[number][place]

    def _proven(self, number: int) -> list[bytes]:
        """The leaf hashes of one tile. The path of its first leaf is made of all the others, and of the rest of the
        tree, so it leads to the root only if all of them are right."""
        first = number * TILE_WIDTH
        tile = HashTile(0, number, min(TILE_WIDTH, self.size - first))
        try:
            hashes = parse_hash_tile(tile, self._copy.bytes_of(tile))

            def nodes(level: int, index: int) -> bytes:
                start, stop = (index << level) - first, (index + 1 << level) - first
                if start >= 0 and stop <= len(hashes):
                    return merkle.root_of_hashes(hashes[start:stop])
                return self._nodes(level, index)

            path = self._path(first, nodes)
            merkle.verify_inclusion(hashes[0], first, self.size, path, self.witnessed.checkpoint.root)
        except TransparencyError as error:
            raise Contradiction("wrong-leaves", f"{tile.path} is not of the tree that was signed: {error}") from error
        return hashes

    def _path(self, index: int, nodes: merkle.Nodes) -> list[bytes]:
        return merkle.inclusion_proof(index, self.size, nodes)


# --- which ones -------------------------------------------------------------------------------------------------------

ABOUT_REQUESTS = frozenset(
    {
        LeafType.REQUEST_SIGNED, LeafType.GRANT_APPROVED, LeafType.GRANT_REFUSED, LeafType.GRANT_REVOKED,
        LeafType.GRANT_EXPIRED, LeafType.LEASE_OPENED, LeafType.LEASE_CLOSED, LeafType.LEASE_REFUSED,
        LeafType.RECALL_DONE,
    }
)  # fmt: skip
"""Entries whose `request` is a request for other people's recordings (or, with mode `own`, for one's own)."""

ABOUT_LEASES = frozenset({LeafType.LEASE_OPENED, LeafType.LEASE_CLOSED})

ROLE_ACTS: Mapping[str, frozenset[LeafType]] = {
    "requester": frozenset({LeafType.REQUEST_SIGNED, LeafType.LEASE_OPENED, LeafType.RECALL_DONE}),
    "steward": frozenset({LeafType.GRANT_APPROVED, LeafType.GRANT_REFUSED, LeafType.GRANT_REVOKED}),
    "auditor": frozenset({LeafType.AUDIT_VIEWED, LeafType.AUDIT_UNMASK_ASKED}),
    "admin": frozenset({LeafType.PURPOSE_DRAFTED, LeafType.ROLE_PROPOSED, LeafType.PROGRAMME_HALTED}),
    "council": frozenset(
        {
            LeafType.PURPOSE_SIGNED, LeafType.ROLE_PROPOSED, LeafType.ROLE_CHANGED, LeafType.GRANT_REVOKED,
            LeafType.AUDIT_VIEWED, LeafType.PROGRAMME_HALTED, LeafType.PROGRAMME_RESUME_SIGNED,
            LeafType.RECOVERY_SIGNED, LeafType.RECOVERY_COUNTERSIGNED,
        }
    ),
    "dpo": frozenset(
        {
            LeafType.ROLE_PROPOSED, LeafType.ROLE_CHANGED, LeafType.CONSENT_ENDED, LeafType.GRANT_REVOKED,
            LeafType.PROGRAMME_HALTED, LeafType.AUDIT_UNMASKED, LeafType.ACCOUNT_ENDED,
            LeafType.PROGRAMME_RESUME_SIGNED, LeafType.RECOVERY_SIGNED, LeafType.RECOVERY_COUNTERSIGNED,
        }
    ),
}  # fmt: skip
"""What each role writes into the log. The log has no roles beside its actors: this is what only that role may do, alone
or with the others that stand here with it."""

REQUEST_LASTS = timedelta(days=limits.REQUEST_DAYS + limits.LEASE_HOURS / 24 + 1)
"""How far before an entry the request that it is about stands at most."""


@dataclass(frozen=True)
class Wanted:
    """Which entries. What is not given is not looked at. Hashes, keys and actors may be given by their first digits.

    `start`, `end`: moments, the second excluded. `purpose`: a part of the IRI. `role`: entries that only this role
    writes, and those by which somebody gets or loses it. `purpose`, `modality` and `job` also find entries that do not
    say so themselves: they are about a request, or a lease, that does.
    """

    start: datetime | None = None
    end: datetime | None = None
    kinds: frozenset[LeafType] = frozenset()
    decision: str | None = None
    actor: str | None = None
    role: str | None = None
    request: str | None = None
    lease: str | None = None
    job: str | None = None
    purpose: str | None = None
    modality: str | None = None

    @property
    def is_everything(self) -> bool:
        return self == Wanted()

    def is_before(self, entry: Entry) -> bool:
        """Whether everything before this entry is too old, also what is about a request of before."""
        if self.start is None or entry.leaf.type is LeafType.PERSON:
            return False
        more = REQUEST_LASTS if self.purpose or self.modality or self.job else timedelta(0)
        return entry.at < self.start - SKEW - more

    def fits(self, entry: Entry) -> bool:
        """Whether an entry fits by what it says itself; `purpose`, `modality` and `job` apart."""
        leaf = entry.leaf
        lasts = timedelta(days=1) if leaf.type is LeafType.PERSON else timedelta(seconds=1)
        return (
            (self.start is None or entry.at + lasts > self.start)
            and (self.end is None or entry.at < self.end)
            and (not self.kinds or leaf.type in self.kinds)
            and (self.decision is None or self.decision == leaf.decision)
            and begins(leaf.actor, self.actor)
            and (self.role is None or _of_role(entry, self.role))
            and begins(leaf.request if leaf.type in ABOUT_REQUESTS else None, self.request)
            and begins(leaf.subject if leaf.type in ABOUT_LEASES else None, self.lease)
        )

    def by_purpose(self, leaf: Leaf) -> bool:
        return self.purpose is None or self.purpose.lower() in (leaf.purpose or "").lower()

    def by_request(self, signed: Leaf) -> bool:
        """Whether a request has the purpose and modality."""
        modalities = signed.detail.get("modalities", "").split()
        return self.by_purpose(signed) and (self.modality is None or self.modality in modalities)

    def by_job(self, opened: Leaf) -> bool:
        return self.job is None or any(begins(key, self.job) for key in opened.keys)


def begins(text: str | None, digits: str | None) -> bool:
    """Whether a hash, key or pseudonym of an entry has these first digits; None asks for none."""
    return digits is None or (text is not None and text.startswith(digits))


def _of_role(entry: Entry, role: str) -> bool:
    leaf = entry.leaf
    if leaf.type in (LeafType.ROLE_PROPOSED, LeafType.ROLE_CHANGED) and leaf.detail.get("role") == role:
        return True
    by_somebody = leaf.actor is not None and leaf.auth == "opening" and leaf.mode != "own"
    return by_somebody and leaf.type in ROLE_ACTS.get(role, frozenset())


def select(newest_first: Iterable[Entry], wanted: Wanted, count: int | None = None) -> list[Entry]:
    """The entries that fit, in their order in the log; the last `count` of them. Reads no further back than it must."""
    found: list[Entry] = []
    asked: dict[str, list[Entry]] = {}  # fit, if their request does
    opened: dict[str, list[Entry]] = {}  # fit, if their lease does
    of_request = wanted.modality is not None or wanted.purpose is not None

    def offer(entry: Entry) -> None:
        """It fits by itself and by its job; what is left is its request."""
        leaf = entry.leaf
        about = leaf.request if leaf.type in ABOUT_REQUESTS and leaf.mode != "own" else None
        if leaf.type is LeafType.REQUEST_SIGNED or not of_request:
            if not of_request or wanted.by_request(leaf):
                found.append(entry)
        elif about is not None:
            asked.setdefault(about, []).append(entry)
        elif wanted.modality is None and leaf.purpose is not None and wanted.by_purpose(leaf):
            found.append(entry)

    for entry in newest_first:
        leaf = entry.leaf
        if wanted.is_before(entry):
            break
        if wanted.job is not None and leaf.type is LeafType.LEASE_OPENED:
            waiting = opened.pop(leaf.subject or "", [])
            for one in waiting if wanted.by_job(leaf) else ():
                offer(one)
        if wanted.fits(entry):
            if wanted.job is None or (leaf.type is LeafType.LEASE_OPENED and wanted.by_job(leaf)):
                offer(entry)
            elif leaf.type is LeafType.LEASE_CLOSED:
                opened.setdefault(leaf.subject or "", []).append(entry)
        if leaf.type is LeafType.REQUEST_SIGNED:
            waiting = asked.pop(leaf.request or "", [])
            found += waiting if wanted.by_request(leaf) else ()
        if count is not None and len(found) >= count and not asked and not opened:
            break
    found.sort(key=lambda entry: entry.index)
    return found if count is None else found[-count:]
