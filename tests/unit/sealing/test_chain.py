"""Whatever is done to a stream on its way, it is seen; and only an untouched, ended stream is called complete."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from assent.contracts.ids import new_id
from assent.contracts.segment import (
    FIRST_PREVIOUS,
    EndRecord,
    SegmentHeader,
    SkipRecord,
    header_hash,
    segment_signed_bytes,
)
from assent.sealing.chain import ChainChecker, ChainItem, ChainState, Finding, examine
from assent.sealing.errors import ChainBroken, Fault
from assent.sealing.segments import SegmentLink, SignedRecord, sign_record

STREAM, OTHER_STREAM = new_id(), new_id()
KEY, OTHER_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key()


@dataclasses.dataclass
class Writer:
    """Writes the links of a stream as an agent would, without the bodies."""

    stream: str = STREAM
    key: Ed25519PrivateKey = KEY
    sequence: int = 0
    previous: str = FIRST_PREVIOUS

    def segment(self, salt: bytes = b"") -> SegmentLink:
        header = SegmentHeader(
            stream=self.stream, sequence=self.sequence, previous=self.previous, hour="2026-11-23T14", length=8
        ).to_bytes()
        digest = hashlib.sha256(header + salt).digest()
        self.sequence, self.previous = self.sequence + 1, header_hash(header).hex()
        return SegmentLink(header, digest, digest, self.key.sign(segment_signed_bytes(header, digest, digest)))

    def forgotten(self, count: int) -> SignedRecord:
        """Seals `count` segments, forgets them, and says so."""
        first, before = self.sequence, self.previous
        for _ in range(count):
            self.segment()
        return self._skip(first, before, "forgotten")

    def lost(self, count: int) -> SignedRecord:
        """Loses `count` numbers before there were headers."""
        first = self.sequence
        self.sequence += count
        return self._skip(first, self.previous, "lost")

    def _skip(self, first: int, before: str, reason: str) -> SignedRecord:
        record = SkipRecord(
            stream=self.stream,
            from_sequence=first,
            to_sequence=self.sequence - 1,
            previous=before,
            last_skipped=self.previous,
            reason=reason,  # type: ignore[arg-type]
        )
        return sign_record(record, self.key)

    def end(self, how: str = "clean") -> SignedRecord:
        record = EndRecord(stream=self.stream, next_sequence=self.sequence, previous=self.previous, how=how)  # type: ignore[arg-type]
        return sign_record(record, self.key)


def a_stream() -> list[ChainItem]:
    """Numbers 0, 1, skip 2 to 3 (forgotten), 4, skip 5 (lost), 6, end at 7."""
    writer = Writer()
    return [
        writer.segment(),
        writer.segment(),
        writer.forgotten(2),
        writer.segment(),
        writer.lost(1),
        writer.segment(),
        writer.end(),
    ]


def follow(items: list[ChainItem], state: ChainState | None = None) -> ChainState:
    checker = ChainChecker(STREAM, PUBLIC, state)
    for item in items:
        checker.accept(item)
    return checker.state


def test_a_whole_stream_is_complete_with_its_skips() -> None:
    report = examine(a_stream(), STREAM, PUBLIC)
    assert report.complete
    assert report.closed == "clean"
    assert [header.sequence for header in report.segments] == [0, 1, 4, 6]
    assert [(skip.from_sequence, skip.to_sequence, skip.reason) for skip in report.skips] == [
        (2, 3, "forgotten"),
        (5, 5, "lost"),
    ]
    assert follow(a_stream()).closed == "clean"


def test_a_stream_ended_after_a_crash_says_so() -> None:
    writer = Writer()
    report = examine([writer.segment(), writer.end("crashed")], STREAM, PUBLIC)
    assert (report.complete, report.closed) == (True, "crashed")


def test_a_stream_with_nothing_in_it_can_be_complete_but_not_without_its_end() -> None:
    assert examine([Writer().end()], STREAM, PUBLIC).complete
    report = examine([], STREAM, PUBLIC)
    assert (report.complete, report.closed) == (False, "not closed")
    assert report.findings == (Finding(Fault.CUT_OFF, from_sequence=0),)


@pytest.mark.parametrize("stop", range(8))
def test_the_collector_goes_on_where_it_stopped(stop: int) -> None:
    items = a_stream()
    half = follow(items[:stop])
    again = ChainState(next_sequence=half.next_sequence, previous=half.previous, closed=half.closed)
    assert follow(items[stop:], again) == follow(items)


@pytest.mark.parametrize("stop", range(7))
def test_a_stream_cut_off_anywhere_is_not_closed(stop: int) -> None:
    report = examine(a_stream()[:stop], STREAM, PUBLIC)
    assert (report.complete, report.closed) == (False, "not closed")
    assert report.findings[-1].fault is Fault.CUT_OFF


def _forgeries() -> dict[str, ChainItem]:
    """Items that claim number 1 of the stream after its true number 0."""
    writer = Writer()
    writer.segment()
    place = {"sequence": writer.sequence, "previous": writer.previous}
    true = dataclasses.replace(writer).segment()
    record = dataclasses.replace(writer).lost(1)
    return {
        "segment signed by another key": Writer(key=OTHER_KEY, **place).segment(),  # type: ignore[arg-type]
        "segment of another stream": Writer(stream=OTHER_STREAM, **place).segment(),  # type: ignore[arg-type]
        "segment with another body": dataclasses.replace(true, body_sha256=bytes(32)),
        "segment with another sealed key": dataclasses.replace(true, sealed_sha256=bytes(32)),
        "segment with another header": dataclasses.replace(true, header=true.header.replace(b"T14", b"T15")),
        "segment with a damaged header": dataclasses.replace(true, header=true.header[1:]),
        "segment with no signature": dataclasses.replace(true, signature=b""),
        "skip signed by another key": Writer(key=OTHER_KEY, **place).lost(1),  # type: ignore[arg-type]
        "skip of another stream": Writer(stream=OTHER_STREAM, **place).lost(1),  # type: ignore[arg-type]
        "skip made longer": dataclasses.replace(
            record, record=record.record.replace(b'"to_sequence":1', b'"to_sequence":2')
        ),
        "skip with a damaged record": dataclasses.replace(record, record=b""),
        "end signed by another key": Writer(key=OTHER_KEY, **place).end(),  # type: ignore[arg-type]
        "end of another stream": Writer(stream=OTHER_STREAM, **place).end(),  # type: ignore[arg-type]
        "segment signature on a record": SignedRecord(record.record, true.signature),
    }


@pytest.mark.parametrize("name", _forgeries())
def test_what_the_stream_key_did_not_sign_for_this_stream_is_forged(name: str) -> None:
    first = Writer().segment()
    forgery = _forgeries()[name]
    checker = ChainChecker(STREAM, PUBLIC)
    checker.accept(first)
    before = checker.state
    with pytest.raises(ChainBroken) as broken:
        checker.accept(forgery)
    assert (broken.value.fault, broken.value.expected, broken.value.found) == (Fault.FORGED, 1, None)
    assert checker.state == before
    report = examine([first, forgery], STREAM, PUBLIC)
    assert Finding(Fault.FORGED, position=1) in report.findings
    assert (report.complete, len(report.segments), report.skips) == (False, 1, ())


def _refusals() -> dict[str, tuple[Fault, int, list[ChainItem], ChainItem]]:
    """Fault, number found, items accepted before, item refused."""
    items = a_stream()
    zero, one, skip, four, _, _, end = items
    fork = Writer(sequence=1, previous="f" * 64)
    early_end = Writer(sequence=1, previous=header_hash(zero.header).hex()).end()  # type: ignore[union-attr]
    after_end = Writer(sequence=7, previous=follow(items).previous)
    return {
        "segment before which one is missing": (Fault.MISSING, 1, [], one),
        "skip before which one is missing": (Fault.MISSING, 2, [zero], skip),
        "end before which some are missing": (Fault.MISSING, 7, [zero], end),
        "segment in place of the skip before it": (Fault.MISSING, 4, [zero, one], four),
        "segment again": (Fault.REPLAYED, 1, [zero, one], one),
        "skip again": (Fault.REPLAYED, 2, [zero, one, skip], skip),
        "end again": (Fault.REPLAYED, 7, items, end),
        "segment again after the end": (Fault.REPLAYED, 0, items, zero),
        "another segment with the same number": (Fault.REPLAYED, 0, [zero], Writer().segment(b"other body")),
        "skip over what was accepted": (Fault.REPLAYED, 1, [zero, one], dataclasses.replace(fork).lost(2)),
        "end before what was accepted": (Fault.REPLAYED, 1, [zero, one], early_end),
        "segment with another predecessor": (Fault.UNLINKED, 1, [zero], dataclasses.replace(fork).segment()),
        "skip with another predecessor": (Fault.UNLINKED, 1, [zero], dataclasses.replace(fork).lost(1)),
        "end with another predecessor": (Fault.UNLINKED, 1, [zero], dataclasses.replace(fork).end()),
        "segment after the end": (Fault.AFTER_END, 7, items, dataclasses.replace(after_end).segment()),
        "segment later after the end": (
            Fault.AFTER_END,
            8,
            items,
            dataclasses.replace(after_end, sequence=8).segment(),
        ),
        "skip after the end": (Fault.AFTER_END, 7, items, dataclasses.replace(after_end).lost(1)),
        "another end": (Fault.AFTER_END, 7, items, dataclasses.replace(after_end).end("crashed")),
    }


@pytest.mark.parametrize("name", _refusals())
def test_what_does_not_follow_is_refused_by_name_and_changes_nothing(name: str) -> None:
    fault, found, accepted, refused = _refusals()[name]
    checker = ChainChecker(STREAM, PUBLIC)
    for item in accepted:
        checker.accept(item)
    before = checker.state
    with pytest.raises(ChainBroken) as broken:
        checker.accept(refused)
    assert (broken.value.fault, broken.value.found) == (fault, found)
    assert broken.value.expected == before.next_sequence
    assert checker.state == before
    assert not examine([*accepted, refused], STREAM, PUBLIC).complete


def test_the_report_names_each_thing_that_is_wrong() -> None:
    zero, one, skip, four, lost, six, end = a_stream()
    report = examine([zero, skip, one, one, _forgeries()["segment with no signature"], six, end], STREAM, PUBLIC)
    assert set(report.findings) == {
        Finding(Fault.REORDERED, 1, 1, 2),
        Finding(Fault.REPLAYED, 1, 1, 3),
        Finding(Fault.FORGED, position=4),
        Finding(Fault.MISSING, 4, 5),
    }
    assert report.closed == "clean"
    assert not report.complete
    assert [header.sequence for header in report.segments] == [0, 1, 6]
    whole = examine([zero, one, skip, four, lost, six, end], STREAM, PUBLIC)
    assert whole.complete


def test_two_histories_signed_by_the_same_key_are_seen() -> None:
    zero, one = a_stream()[:2]
    fork = Writer(sequence=1, previous="f" * 64)
    report = examine([zero, fork.segment(), one, fork.end()], STREAM, PUBLIC)
    assert {finding.fault for finding in report.findings} >= {Fault.UNLINKED, Fault.REPLAYED}
    assert not report.complete


# Properties


@st.composite
def streams(draw: st.DrawFn) -> list[ChainItem]:
    writer = Writer()
    parts: dict[str, Callable[[], ChainItem]] = {
        "segment": writer.segment,
        "forgotten": lambda: writer.forgotten(draw(st.integers(1, 3))),
        "lost": lambda: writer.lost(draw(st.integers(1, 3))),
    }
    items = [parts[draw(st.sampled_from([*parts, "segment"]))]() for _ in range(draw(st.integers(1, 8)))]
    return [*items, writer.end(draw(st.sampled_from(["clean", "crashed"])))]


def _forge(item: ChainItem) -> ChainItem:
    return dataclasses.replace(item, signature=bytes([item.signature[0] ^ 1]) + item.signature[1:])


@st.composite
def handled_streams(draw: st.DrawFn) -> tuple[list[ChainItem], list[ChainItem]]:
    """A stream as it was signed, and as it arrived after somebody dropped, moved, repeated, forged or invented."""
    signed = draw(streams())
    arrived = list(signed)
    for operation in draw(st.lists(st.sampled_from(["drop", "swap", "replay", "forge", "invent"]), max_size=4)):
        if not arrived:
            break
        at, to = (draw(st.integers(0, len(arrived) - 1)) for _ in range(2))
        match operation:
            case "drop":
                del arrived[at]
            case "swap":
                arrived[at], arrived[to] = arrived[to], arrived[at]
            case "replay":
                arrived.insert(to, arrived[at])
            case "forge":
                arrived[at] = _forge(arrived[at])
            case _:
                arrived.insert(to, Writer(key=OTHER_KEY, sequence=at).segment())
    return signed, arrived


@settings(max_examples=150, deadline=None)
@given(handled_streams())
def test_a_stream_is_complete_exactly_when_nobody_touched_it(handled: tuple[list[ChainItem], list[ChainItem]]) -> None:
    signed, arrived = handled
    assert examine(arrived, STREAM, PUBLIC).complete == (arrived == signed)


@settings(max_examples=150, deadline=None)
@given(handled_streams())
def test_the_collector_accepts_a_stream_to_its_end_exactly_when_nobody_touched_it(
    handled: tuple[list[ChainItem], list[ChainItem]],
) -> None:
    signed, arrived = handled
    try:
        accepted = follow(arrived).closed != "not closed"
    except ChainBroken:
        accepted = False
    assert accepted == (arrived == signed)


@settings(max_examples=60, deadline=None)
@given(handled_streams())
def test_what_the_collector_accepts_is_always_a_beginning_of_what_was_signed(
    handled: tuple[list[ChainItem], list[ChainItem]],
) -> None:
    signed, arrived = handled
    checker = ChainChecker(STREAM, PUBLIC)
    accepted = []
    for item in arrived:
        try:
            checker.accept(item)
        except ChainBroken:
            continue
        accepted.append(item)
    assert accepted == signed[: len(accepted)]


@settings(max_examples=40, deadline=None)
@given(streams(), st.randoms())
def test_a_shuffled_stream_is_reported_as_reordered_and_as_nothing_else(items: list[ChainItem], random: object) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    report = examine(shuffled, STREAM, PUBLIC)
    assert {finding.fault for finding in report.findings} <= {Fault.REORDERED}
    assert report.complete == (shuffled == items)
    assert report.segments == examine(items, STREAM, PUBLIC).segments
