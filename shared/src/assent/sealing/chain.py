"""The chain of a stream: what is missing, out of order, repeated, forged or cut off is seen, and said.

`ChainChecker` takes the items of one stream one by one and refuses the first that does not follow; it can go on
from where it was left, so the collector uses it upload by upload. `examine` takes all items that there are, goes on
after a fault, and reports every one; the reader uses it. A stream is complete when nothing is wrong and an end record
says that nothing follows. Without an end record it is "not closed", never complete.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, assert_never

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assent.contracts.keys import SignatureInvalid
from assent.contracts.segment import (
    FIRST_PREVIOUS,
    EndRecord,
    SegmentHeader,
    SkipRecord,
    chain_after_skip,
    header_hash,
)
from assent.sealing.errors import ChainBroken, Fault, HeaderInvalid, RecordInvalid
from assent.sealing.segments import SegmentLink, SignedRecord, verify_link, verify_record

ChainItem = SegmentLink | SignedRecord
Claim = SegmentHeader | SkipRecord | EndRecord
Closed = Literal["clean", "crashed", "not closed"]


@dataclass(frozen=True)
class ChainState:
    """How far a stream was followed: the next number, the hash that the next item must name, and how it closed."""

    next_sequence: int = 0
    previous: str = FIRST_PREVIOUS
    closed: Closed = "not closed"


class ChainChecker:
    """Follows one stream, strictly in order. An item that is refused changes nothing."""

    def __init__(self, stream: str, stream_key: Ed25519PublicKey, state: ChainState | None = None) -> None:
        """Begin at `state`, or at the start of the stream."""
        self._stream = stream
        self._stream_key = stream_key
        self._state = state or ChainState()

    @property
    def state(self) -> ChainState:
        """Where the next item must continue. Store it, and a new checker goes on from there."""
        return self._state

    def accept(self, item: ChainItem) -> Claim:
        """Take the next item and return what it says. Raises ChainBroken with what is wrong with it."""
        step = _verified(item, self._stream, self._stream_key)
        if step is None:
            raise ChainBroken(Fault.FORGED, expected=self._state.next_sequence, found=None)
        self._state = _follow(self._state, step)
        return step.claim


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `from_sequence` to `to_sequence` (inclusive) are the numbers concerned, where known.

    `position` is the place of the item among those given, None when the finding is about items that are not there.
    """

    fault: Fault
    from_sequence: int | None = None
    to_sequence: int | None = None
    position: int | None = None


@dataclass(frozen=True)
class ChainReport:
    """What there is of a stream. `segments`: the headers in their order; `skips`: what was forgotten or lost."""

    closed: Closed
    segments: tuple[SegmentHeader, ...]
    skips: tuple[SkipRecord, ...]
    findings: tuple[Finding, ...]

    @property
    def complete(self) -> bool:
        """Every number up to the end record is here, in order, or signed as forgotten or lost."""
        return not self.findings and self.closed != "not closed"


def examine(items: Iterable[ChainItem], stream: str, stream_key: Ed25519PublicKey) -> ChainReport:
    """Report everything that is wrong with the items of one stream, given in the order in which they were found."""
    findings: list[Finding] = []
    known: set[ChainItem] = set()
    steps: list[tuple[int, _Step]] = []
    highest = (-1, False)
    for position, item in enumerate(items):
        step = _verified(item, stream, stream_key)
        if step is None:
            findings.append(Finding(Fault.FORGED, position=position))
            continue
        if item in known:
            findings.append(Finding(Fault.REPLAYED, step.number, step.number, position))
            continue
        known.add(item)
        if step.place < highest:
            findings.append(Finding(Fault.REORDERED, step.number, step.number, position))
        highest = max(highest, step.place)
        steps.append((position, step))

    claims: list[Claim] = []
    state = ChainState()
    for position, step in sorted(steps, key=lambda entry: entry[1].place):
        try:
            state = _follow(state, step)
        except ChainBroken as broken:
            if broken.fault is Fault.MISSING:
                findings.append(Finding(Fault.MISSING, broken.expected, step.number - 1))
            else:
                findings.append(Finding(broken.fault, step.number, step.number, position))
                if broken.fault is not Fault.UNLINKED:
                    continue
            state = step.after
        claims.append(step.claim)
    if state.closed == "not closed":
        findings.append(Finding(Fault.CUT_OFF, from_sequence=state.next_sequence))
    return ChainReport(
        closed=state.closed,
        segments=tuple(claim for claim in claims if isinstance(claim, SegmentHeader)),
        skips=tuple(claim for claim in claims if isinstance(claim, SkipRecord)),
        findings=tuple(findings),
    )


@dataclass(frozen=True)
class _Step:
    """A verified item: what it says, its number, and the state of a chain that ends with it."""

    claim: Claim
    number: int
    after: ChainState

    @property
    def place(self) -> tuple[int, bool]:
        """By number; an end record comes behind a segment that took the same one."""
        return self.number, isinstance(self.claim, EndRecord)


def _verified(item: ChainItem, stream: str, stream_key: Ed25519PublicKey) -> _Step | None:
    """None when the item is malformed, of another stream, or not signed by the stream key."""
    try:
        if isinstance(item, SegmentLink):
            header = verify_link(item, stream_key)
            after = ChainState(header.sequence + 1, header_hash(item.header).hex())
            step = _Step(header, header.sequence, after)
        else:
            record = verify_record(item, stream_key)
            match record:
                case SkipRecord():
                    after = ChainState(record.to_sequence + 1, chain_after_skip(record))
                    step = _Step(record, record.from_sequence, after)
                case EndRecord():
                    after = ChainState(record.next_sequence, record.previous, record.how)
                    step = _Step(record, record.next_sequence, after)
                case _:
                    assert_never(record)
    except (HeaderInvalid, RecordInvalid, SignatureInvalid):
        return None
    return step if step.claim.stream == stream else None


def _follow(state: ChainState, step: _Step) -> ChainState:
    """The state after `step`. Raises ChainBroken when it does not continue `state`."""
    ended = state.closed != "not closed"
    fault: Fault | None = None
    if step.number < state.next_sequence or state == step.after:
        fault = Fault.REPLAYED
    elif ended:
        fault = Fault.AFTER_END
    elif step.number > state.next_sequence:
        fault = Fault.MISSING
    elif step.claim.previous != state.previous:
        fault = Fault.UNLINKED
    if fault is not None:
        raise ChainBroken(fault, expected=state.next_sequence, found=step.number)
    return step.after
