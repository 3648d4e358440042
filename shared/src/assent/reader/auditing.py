"""Checking a whole log without believing whoever keeps it: leaves, root, signatures, witnesses, who approved what.

`audit` looks at a copy (`log_copies.LogCopy`) and answers with a list of checks, each passed or failed with a reason.
It reads the leaves once, a bundle at a time, and keeps what later leaves are compared with. The only thing taken on
trust is the fingerprint of the root key. What must be true of the entries is said in `log_rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from pydantic import ValidationError

from assent.client.directory import (
    DirectoryRefused,
    KeptPolicy,
    kept_policy_of,
    origin_of,
    policy_of,
    verify_directory,
)
from assent.client.transport import is_loopback
from assent.contracts import limits
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import Directory
from assent.reader.log_copies import Contradiction, CopyInvalid, LogCopy, blame, cut
from assent.reader.log_rules import Finding, LogRules
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.edge import Edge
from assent.transparency.errors import OriginUnknown, TransparencyError
from assent.transparency.lines import to_base64
from assent.transparency.merkle import EMPTY_ROOT, leaf_hash
from assent.transparency.note import Note
from assent.transparency.policy import Witnessed
from assent.transparency.proof import LogProof
from assent.transparency.succession import Ending, LeavesDropped
from assent.transparency.tiles import TILE_WIDTH, EntryBundle, HashTile, build_bundle, parse_path

SAME_HOST = "witnessed by the same host only"

MAX_SHOWN = 100
"""Findings that are listed one by one."""

Proof = tuple[str, bytes, bytes | None]
"""Name, proof file, and the leaf, or None to take the log's."""


@dataclass(frozen=True)
class Check:
    """One thing that was checked. `text` says what, or, if it failed, what is wrong.

    `of_log`: whether the log is to blame if it failed, and not a file that was compared with it.
    """

    passed: bool
    text: str
    of_log: bool = True


@dataclass(frozen=True)
class Audit:
    """The outcome. `warnings` are true and unflattering, and no failure."""

    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    size: int

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def log_passed(self) -> bool:
        """Whether the log is what it should be, whatever was compared with it."""
        return all(check.passed for check in self.checks if check.of_log)


def audit(
    copy: LogCopy,
    root_fingerprint: str,
    proofs: Iterable[Proof] = (),
    *,
    former: Iterable[tuple[str, LogCopy]] = (),
    newest: bool = False,
    approvals_needed: int = limits.APPROVALS_NEEDED,
) -> Audit:
    """Check everything that a copy lets one check. `former`: copies, by name, of logs that ended before this one.
    `newest`: whether this is the log as the custodian has it now, and not a copy that may be older than a proof.

    1. the root key with this fingerprint signed the directory, and the policy is the directory's;
    2. the log signed the checkpoint and enough witnesses countersigned it;
    3. the leaves are exactly those of the checkpoint, and the tiles are made of them;
    4. each leaf may follow those before it: every lease came after enough approvals of its request by distinct people
       other than the requester, and the other rules of `log_rules`;
    5. where a log ended before it, this one begins with what was kept, and says how many leaves are lost;
    6. each proof is of a tree that this log contains, or of one that ended, as far as is quoted of it;
    7. a former copy has nothing else than this log, and nothing that is said to be lost.

    Raises CopyInvalid when a part is missing, and what reading the copy raises.
    """
    checks: list[Check] = []
    warnings: list[str] = []
    try:
        directory = verify_directory(copy.directory, root_fingerprint)
        checks.append(Check(True, f"directory {directory.version} is signed by the root key"))
        policy, kept_policy = policy_of(directory), kept_policy_of(directory)
    except DirectoryRefused as error:
        return Audit((Check(False, str(error)),), (), 0)
    checks.append(
        Check(True, "the witness policy is the directory's")
        if copy.policy == directory.policy
        else Check(False, "the witness policy is not the one in the directory")
    )
    try:
        witnessed = policy.check(copy.checkpoint)
    except TransparencyError as error:
        return Audit((*checks, Check(False, str(error))), (), 0)
    head = witnessed.checkpoint
    checks.append(Check(True, f"the checkpoint of size {head.size} is signed and witnessed by quorum"))
    if same_host(directory, witnessed.cosigned_at):
        warnings.append(SAME_HOST)
    rules = LogRules(approvals_needed=approvals_needed)
    rules.collector = (directory.version, directory.collector_key)
    entries = _Entries(rules, _latest(witnessed), policy.heard(witnessed))
    tiles = _Tiles(copy, head.size)
    kept = [_KeptProof(*proof, kept_policy) for proof in proofs]
    begun = _Beginnings(directory, kept_policy.endings)
    before = [_FormerCopy(*one, kept_policy) for one in former]
    try:
        _read_all(copy, head, entries, tiles, [*kept, *before, begun])
    except Contradiction as error:
        return Audit((*checks, Check(False, str(error))), tuple(warnings), 0)
    checks.append(Check(True, f"the {head.size} leaves are exactly those that were signed"))
    checks.append(tiles.check())
    checks += entries.checks()
    checks += begun.checks(entries.begun)
    checks += [proof.check(head, newest) for proof in kept]
    checks += [one.check() for one in before]
    return Audit(tuple(checks), (*warnings, *entries.warnings(), *begun.warnings()), head.size)


def same_host(directory: Directory, cosigned: Iterable[str]) -> bool:
    """Whether nobody but this very host witnessed: every witness of the directory is at a loopback address."""
    return bool(list(cosigned)) and all(is_loopback(witness.url) for witness in directory.witnesses)


def _latest(witnessed: Witnessed) -> datetime | None:
    """When the last witness countersigned; None when the policy asks for none."""
    times = witnessed.cosigned_at.values()
    return datetime.fromtimestamp(max(times), UTC) if times else None


class _Passed(Protocol):
    """Takes from the leaves what it needs, while they pass by once."""

    def pass_by(self, edge: Edge, start: int, leaves: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        """These leaves come next; `edge` is the tree before them."""


def _read_all(copy: LogCopy, head: Checkpoint, entries: _Entries, tiles: _Tiles, kept: Sequence[_Passed]) -> None:
    """One pass over the leaves. What was gathered counts when this returns. Raises Contradiction, CopyInvalid."""
    edge = Edge()
    for start, leaves in copy.bundles():
        hashes = [leaf_hash(leaf) for leaf in leaves]
        for proof in kept:
            proof.pass_by(edge, start, leaves, hashes)
        tiles.compare(edge.grow(hashes))
        tiles.compare([(EntryBundle(start // TILE_WIDTH, len(leaves)), build_bundle(leaves))])
        entries.read(leaves)
    tiles.compare(edge.partial_tiles())
    if (edge.size, edge.root()) != (head.size, head.root):
        raise blame(copy)


class _Entries:
    """What the rules say about the leaves."""

    def __init__(self, rules: LogRules, witnessed: datetime | None, heard: Mapping[str, int]) -> None:
        self._rules = rules
        self._heard = heard
        self._witnessed = witnessed
        self._wrong: list[Finding] = []
        self._count = 0

    def read(self, leaves: Iterable[bytes]) -> None:
        for leaf in leaves:
            wrong = self._rules.read(leaf, before=self._witnessed).wrong
            self._count += len(wrong)
            self._wrong += wrong[: MAX_SHOWN - len(self._wrong)]

    @property
    def begun(self) -> list[int]:
        """Leaves by which a log began after others were lost."""
        return self._rules.memory.begun

    def checks(self) -> list[Check]:
        if self._wrong:
            more = self._count - len(self._wrong)
            said = [Check(False, finding.text) for finding in self._wrong]
            return [*said, Check(False, f"and {more} more of this kind")] if more else said
        opened, needed = self._rules.memory.opened, self._rules.approvals_needed
        return [
            Check(True, f"all leases ({opened}) came after {needed} approvals by different people")
            if opened
            else Check(True, "nobody has opened other people's recordings"),
            Check(True, "roles, purposes, halts, recoveries, orders and directories follow from one another"),
            *self._reports(),
        ]

    def _reports(self) -> list[Check]:
        last = self._rules.memory.report
        if last is None:
            return []
        return [
            Check(True, f"the collector's reports ({last.number}) have no gap, and leases explain what was fetched")
        ]

    def warnings(self) -> list[str]:
        """What was so when the log was witnessed."""
        if self._witnessed is None:
            return []
        return [finding.text for finding in self._rules.standing(self._witnessed, self._heard)[:MAX_SHOWN]]


class _Tiles:
    """Compares the tiles that a copy has with those that the leaves make. A folder may lack hash tiles."""

    def __init__(self, copy: LogCopy, size: int) -> None:
        self._copy = copy
        self._wrong = ""
        self._checked = 0
        self._held: dict[tuple[int, int], list[HashTile | EntryBundle]] | None = None
        if copy.paths is not None:
            self._held = {}
            for path in copy.paths:
                self._hold(path, size)

    def _hold(self, path: str, size: int) -> None:
        assert self._held is not None  # noqa: S101 - the caller has just made it
        try:
            tile = parse_path(path)
        except TransparencyError:
            self._wrong = "the copy has a file that is no tile"
            return
        if tile.is_within(size):
            self._held.setdefault(_place(tile), []).append(tile)
        elif isinstance(tile, HashTile):
            self._wrong = self._wrong or f"{path} does not belong to these leaves"

    def compare(self, made: Iterable[tuple[HashTile | EntryBundle, bytes]]) -> None:
        """`made`: tiles as the leaves make them, none narrower than one of the same place that the copy has."""
        for tile, data in made:
            held = [tile] if self._held is None else self._held.get(_place(tile), [])
            for one in held:
                if isinstance(one, EntryBundle) and one == tile:
                    continue  # the leaves came from it
                try:
                    if self._copy.bytes_of(one) != cut(data, one):
                        self._wrong = self._wrong or f"{one.path} does not belong to these leaves"
                except CopyInvalid as error:
                    self._wrong = self._wrong or str(error)
                self._checked += isinstance(one, HashTile)

    def check(self) -> Check:
        if self._wrong:
            return Check(False, self._wrong)
        return Check(True, f"the hash tiles ({self._checked}) are made of these leaves")


def _place(tile: HashTile | EntryBundle) -> tuple[int, int]:
    return (tile.level if isinstance(tile, HashTile) else -1, tile.index)


def _root_within(edge: Edge, size: int, hashes: Sequence[bytes]) -> bytes | None:
    """The root of the first `size` leaves, if that tree ends within these, the next ones; `edge` is the tree before."""
    if not edge.size < size <= edge.size + len(hashes):
        return None
    apart = edge.copy()
    apart.grow(hashes[: size - edge.size])
    return apart.root()


def _ended(policy: KeptPolicy, note: Note) -> tuple[Ending, int] | None:
    """How the log of this head ended, and how many of its leaves are in the log of now; None if it did not end."""
    origin = Checkpoint.from_text(note.text).origin
    for number, ending in enumerate(policy.endings):
        if ending.origin == origin:
            return ending, min(one.kept for one in policy.endings[number:])
    return None


class _Beginnings:
    """Each log that ended: its first leaves are here as they were, and the next one says how many are missing."""

    def __init__(self, directory: Directory, endings: Sequence[Ending]) -> None:
        self._endings = endings
        after = [*(ending.origin for ending in endings), origin_of(directory)][1:]
        # Where a later log kept fewer leaves, that by which this one began is lost, too.
        self._here = [
            (ending, after[number])
            for number, ending in enumerate(endings)
            if all(ending.kept < later.kept for later in endings[number + 1 :])
        ]
        self._roots: dict[int, bytes] = {0: EMPTY_ROOT}
        self._first: dict[int, bytes] = {}

    def pass_by(self, edge: Edge, start: int, leaves: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        for ending, _ in self._here:
            for size in (ending.kept, *(head.size for head in ending.heads)):
                root = _root_within(edge, size, hashes)
                if root is not None:
                    self._roots[size] = root
            if start <= ending.kept < start + len(leaves):
                self._first[ending.kept] = leaves[ending.kept - start]

    def checks(self, begun: Sequence[int]) -> list[Check]:
        """`begun`: the leaves that say that a log begins with them."""
        known = {ending.kept for ending, _ in self._here}
        strangers = [
            Check(False, f"leaf {index}: a new log begins here, the directory knows nothing of it")
            for index in begun
            if index not in known
        ]
        return [self._check(*one) for one in self._here] + strangers

    def _check(self, ending: Ending, after: str) -> Check:
        kept, last = ending.kept, ending.last
        for head in (Checkpoint(ending.origin, kept, ending.kept_root), *ending.heads):
            if head.size <= kept and self._roots.get(head.size) != head.root:
                return Check(False, f"the first {head.size} leaves are not those of {ending.origin}, which ended")
        try:
            opened = Leaf.model_validate_json(self._first.get(kept, b""))
        except ValidationError:
            return Check(False, f"there is no leaf {kept} by which this log begins")
        counts = {"kept": kept, "witnessed": last.size, "lost": ending.lost}
        detail = {"log": after, "former": ending.origin, "root": to_base64(last.root)}
        said = {name: opened.counts.get(name) for name in counts}
        if opened.type is not LeafType.LOG_OPENED or (said, opened.detail) != (counts, detail):
            return Check(False, f"leaf {kept} does not say how {ending.origin} ended, as the directory does")
        return Check(
            True, f"it begins with the {kept} leaves that were kept of {ending.origin}, and says how many are lost"
        )

    def warnings(self) -> list[str]:
        return [
            f"{ending.lost} leaves of the log {ending.origin} are lost: it had {ending.last.size}, and the first "
            f"{ending.kept} were kept. Nobody knows what the others said"
            for ending in self._endings
        ]


class _FormerCopy:
    """A copy of a log that ended, held by somebody who made it in time."""

    def __init__(self, name: str, copy: LogCopy, policy: KeptPolicy) -> None:
        self._name = name
        self._copy = copy
        self._error = ""
        self._dropped = False
        self._common = 0
        self._root: bytes | None = EMPTY_ROOT
        try:
            self._head = policy.check(copy.checkpoint).checkpoint
            ended = _ended(policy, copy.checkpoint)
        except TransparencyError as error:
            self._error, self._dropped = str(error), isinstance(error, LeavesDropped)
            return
        if ended is None:
            self._error = "it is of no log that ended, the directory says"
        else:
            self._common = min(ended[1], self._head.size)

    def pass_by(self, edge: Edge, start: int, leaves: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        self._root = _root_within(edge, self._common, hashes) or self._root

    def check(self) -> Check:
        """Raises CopyInvalid when a part of it is missing."""
        if self._error:
            return Check(False, f"{self._name}: {self._error}", of_log=self._dropped)
        edge, common = Edge(), EMPTY_ROOT
        for _, leaves in self._copy.bundles():
            hashes = [leaf_hash(leaf) for leaf in leaves]
            common = _root_within(edge, self._common, hashes) or common
            edge.grow(hashes)
        if edge.root() != self._head.root:
            return Check(False, f"{self._name}: its leaves are not those that were signed", of_log=False)
        if common != self._root:
            return Check(False, f"{self._name}: it has other leaves than this log: two histories were signed")
        if self._head.size > self._common:
            lost = f"leaves {self._common} to {self._head.size - 1}"
            return Check(False, f"{self._name}: it has {lost}, which are said to be lost: show them around")
        return Check(True, f"{self._name}: all of its {self._common} leaves are in this log")


class _KeptProof:
    """A proof file, and what is needed of the log in order to check it."""

    def __init__(self, name: str, data: bytes, leaf: bytes | None, policy: KeptPolicy) -> None:
        self._name = name
        self._leaf = leaf
        self._here: bytes | None = None
        self._policy = policy
        self._root: bytes | None = EMPTY_ROOT
        self._error = ""
        try:
            self._proof: LogProof | None = LogProof.from_bytes(data)
            self._head = Checkpoint.from_text(self._proof.checkpoint.text)
        except TransparencyError as error:
            self._proof, self._error = None, str(error)

    def pass_by(self, edge: Edge, start: int, leaves: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        if self._proof is None:
            return
        if start <= self._proof.index < start + len(leaves):
            self._here = leaves[self._proof.index - start]
        self._root = _root_within(edge, self._head.size, hashes) or self._root

    def check(self, head: Checkpoint, newest: bool) -> Check:
        """When every leaf of the log of this head has passed by."""
        if self._proof is None:
            return self._bad(f"it is no proof file: {self._error}")
        try:
            signed = self._policy.check(self._proof.checkpoint).checkpoint
        except LeavesDropped as error:
            return Check(False, f"{self._name}: {error}")
        except OriginUnknown:
            return self._bad(f"it is of the log {self._head.origin}, and this one is {head.origin}")
        except TransparencyError as error:
            return self._bad(f"the head in it does not count: {error}")
        ended = _ended(self._policy, self._proof.checkpoint)
        comparable = ended is None or signed.size <= ended[1]
        if ended is None and signed.size > head.size:
            if newest:
                text = f"{signed.size} leaves were witnessed, and the custodian shows {head.size}: it was rolled back"
                return Check(False, f"{self._name}: {text}")
            return self._bad("it is of a longer log than this copy; fetch a newer one")
        if comparable and signed.root != self._root:
            return Check(False, f"{self._name}: it is of another log than this one: two histories were signed")
        lost = ended is not None and self._proof.index >= ended[1]
        return self._check_leaf(self._proof, lost=lost, comparable=comparable)

    def _check_leaf(self, proof: LogProof, *, lost: bool, comparable: bool) -> Check:
        """That its head counts is known."""
        index = proof.index
        leaf = self._leaf if lost or self._leaf is not None else self._here
        if leaf is None:
            missing = f"leaf {index} is lost; lay it beside the proof, as ….leaf"
            return self._bad(missing if lost else f"there is no leaf {index} in this log")
        try:
            proof.verify(leaf, self._policy)
        except TransparencyError as error:
            beside = "the leaf beside it" if self._leaf is not None else "the leaf of this log"
            return self._bad(f"it does not lead from {beside} to the head that was signed: {error}")
        if lost:
            return Check(
                True, f"{self._name}: leaf {index} was in {self._head.origin}, and is one of those that are lost"
            )
        if comparable:
            return Check(True, f"{self._name}: leaf {index} is in this log")
        if leaf != self._here:  # the trees cannot be compared any more; the leaves can
            return Check(False, f"{self._name}: this log has another leaf there: two histories were signed")
        return Check(True, f"{self._name}: this leaf was in {self._head.origin}, and is in this log")

    def _bad(self, text: str) -> Check:
        return Check(False, f"{self._name}: {text}", of_log=False)
