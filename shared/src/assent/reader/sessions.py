"""Reading under a lease: sessions of pseudonyms, opened in memory, piece by piece.

What is promised:

- Nothing is yielded that was not certified by the custodian, signed by its stream key, in its place in the stream, and
  released under this lease. Nothing plaintext is written anywhere.
- What is not yielded is accounted for: streams that are missing or were dropped, segments that were forgotten, lost,
  refused, damaged or not delivered, events that lie outside the hour of their segment. `Session.coverage` and `Data`
  say so; nothing is ever silently whole.
- A withdrawal or revocation in the middle ends what it concerns and nothing else.
- A collector that is busy or out of reach is waited for once for the whole fetch, and not for ever: `FetchStopped` says
  how far everything was read, and where to go on.
- Memory holds the keys of one person's day, and per modality a few segments as bytes and one as events, however much
  the lease covers and whatever somebody recorded to fill it.

A *session* is what one run of an agent recorded on one UTC day. Streams do not say to which run they belong; those of
one run begin together and share one monotonic clock, and that is how they are put together (`assemble`).
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, Self, TypeVar

import msgspec

from assent.client.collector import CollectorClient
from assent.client.custodian import CustodianClient, from_base64
from assent.client.transport import AnswerInvalid, ClientError, Refused
from assent.codec.content import decode_content, pictures
from assent.codec.frames import Pixels
from assent.codec.limits import ContentInvalid
from assent.contracts import limits
from assent.contracts.events import Event, GapReason, ScreenFrame, SegmentContent
from assent.contracts.ids import Modality
from assent.contracts.keys import PublicKey
from assent.contracts.segment import SkipRecord
from assent.contracts.wire import LeasedStream
from assent.reader.jobs import Job
from assent.reader.patience import ATTEMPTS, FetchStopped, Patience
from assent.reader.timeline import WallClock, sift
from assent.reader.verifying import PendingSegment, StreamRefused, VerifiedStream, verify_stream
from assent.sealing.chain import Closed, Finding
from assent.sealing.errors import SealingError
from assent.sealing.segments import DataKey, check_body, open_body, open_release

GROUP_SEGMENTS: Final = 4
GROUP_BYTES: Final = 8 * 1024 * 1024
"""Segments fetched and decrypted at a time, per modality; one such group is ahead of the reader. They are decoded one
by one: a few bytes can stand for a million events."""

TOGETHER_NS: Final = 5_000_000_000
"""Streams of one run begin within this of each other."""

SAME_CLOCK_NS: Final = 1_000_000_000
"""Clock offsets of one run differ by less than this."""

T = TypeVar("T")


@dataclass(frozen=True)
class Recorded:
    """One event. `at_ns`: Unix time in ns. `event.seq` counts within this session and modality."""

    at_ns: int
    modality: Modality
    event: Event


@dataclass(frozen=True, repr=False)
class Picture:
    """One picture of one display. `pixels`: uint8, shape (height, width, 3), sRGB, physical pixels."""

    at_ns: int
    event: ScreenFrame
    pixels: Pixels

    def __repr__(self) -> str:
        return f"Picture({self.event.width}×{self.event.height})"


@dataclass(frozen=True)
class RecordedGap:
    """Unix times in ns; see `assent.contracts.events.Gap`."""

    modality: Modality
    from_ns: int
    until_ns: int
    reason: GapReason
    count: int


@dataclass(frozen=True)
class StreamCoverage:
    """What there is of one stream, and what there is not.

    `closed`: "clean", "crashed", or "not closed": then nobody can say that nothing is missing at the end. `skips`:
    signed as forgotten or lost. `findings`: numbers that are missing without a signature for it. `not_opened`: counts
    by reason, the custodian's (`withdrawn`, `erased`, …) or ours (`damaged`, `not-delivered`, `misplaced`).
    `outside_window`, `wrong_modality`: events that were dropped.
    """

    stream: str
    modality: Modality
    closed: Closed
    segments: int
    opened: int
    skips: tuple[SkipRecord, ...]
    findings: tuple[Finding, ...]
    not_opened: Mapping[str, int]
    outside_window: int
    wrong_modality: int

    @property
    def complete(self) -> bool:
        """Everything that was recorded and not forgotten is here."""
        return self.closed == "clean" and not self.findings and self.opened == self.segments


@dataclass(frozen=True)
class Coverage:
    """The account of one session: its streams, and the gaps that the agent itself signed, in time order."""

    streams: tuple[StreamCoverage, ...]
    gaps: tuple[RecordedGap, ...]

    @property
    def complete(self) -> bool:
        return all(stream.complete for stream in self.streams)


@dataclass(frozen=True)
class Dropped:
    """A leased stream that was not read, or not to its end, and why."""

    stream: LeasedStream
    reason: str


@dataclass(frozen=True)
class Progress:
    """How far reading is. Streams are counted when they were looked at, segments and bytes when they were opened.
    `waits`: for a collector that is busy or out of reach."""

    streams: int
    streams_total: int
    segments: int
    ciphertext_bytes: int
    waits: bool = False


@dataclass(frozen=True, repr=False)
class _Decrypted:
    """A segment's plaintext, still encoded, or None and the reason."""

    segment: PendingSegment
    plaintext: bytes | None
    reason: str = ""


@dataclass(frozen=True, repr=False)
class OpenedSegment:
    """A segment's content, or None and the reason."""

    segment: PendingSegment
    content: SegmentContent | None
    reason: str = ""


@dataclass
class _Account:
    """What is known so far of one stream; filled as its segments are opened, each once."""

    seen: set[str] = field(default_factory=set)
    opened: int = 0
    not_opened: Counter[str] = field(default_factory=Counter)
    outside_window: int = 0
    wrong_modality: int = 0
    gaps: list[RecordedGap] = field(default_factory=list)


@dataclass(repr=False)
class _Readable:
    """A stream with the keys that were released for it."""

    stream: VerifiedStream
    keys: dict[str, DataKey]
    account: _Account
    clock: WallClock | None = None

    @property
    def modality(self) -> Modality:
        return self.stream.leased.modality

    @property
    def openable(self) -> list[PendingSegment]:
        return [segment for segment in self.stream.segments if segment.id in self.keys]


class Session:
    """One run of one pseudonym on one day. Each method may be called again; it fetches again."""

    def __init__(self, data: Data, pseudonym: str, day: str, streams: Sequence[_Readable]) -> None:
        self._data = data
        self._streams = tuple(streams)
        self.pseudonym = pseudonym
        self.day = day

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return tuple(readable.modality for readable in self._streams)

    @property
    def begins_ns(self) -> int:
        """Unix time in ns of the first clock anchor."""
        return min(readable.clock.first_ns for readable in self._streams if readable.clock is not None)

    def events(self, *modalities: Modality) -> Iterator[Recorded]:
        """Every event of these modalities (all if none is named), merged in time order.

        Pictures are in `frames`; the events that describe them are here too.
        """
        chosen = [readable for readable in self._streams if not modalities or readable.modality in modalities]
        return heapq.merge(
            *(self._events_of(readable) for readable in chosen), key=lambda recorded: recorded.event.t_ns
        )

    def segments(self) -> Iterator[SegmentContent]:
        """The content, segment by segment and modality by modality, without dropped events and without pictures."""
        for readable in self._streams:
            for opened in self._data._opened(readable):
                if opened.content is not None:
                    sifted = sift(opened.content, readable.modality, opened.segment.header.hour)
                    kept = tuple(event for _, event in sifted.events)
                    yield msgspec.structs.replace(opened.content, events=kept, frames=b"")
                    del sifted, kept
                del opened  # the next one is decoded before the loop lets go of this one

    def frames(self) -> Iterator[Picture]:
        """Pictures in time order, decoded one by one."""
        for readable in self._streams:
            if readable.modality is not Modality.SCREEN:
                continue
            for opened in self._data._opened(readable):
                if opened.content is not None:
                    yield from self._pictures(readable, opened.segment, opened.content)
                del opened

    def coverage(self) -> Coverage:
        """The whole account; opens what was not opened yet."""
        for readable in self._streams:
            if len(readable.account.seen) < len(readable.stream.segments):
                for _ in self._data._opened(readable):
                    pass
        gaps = [gap for readable in self._streams for gap in readable.account.gaps]
        return Coverage(
            tuple(_coverage_of(readable) for readable in self._streams), tuple(sorted(gaps, key=lambda g: g.from_ns))
        )

    def _events_of(self, readable: _Readable) -> Iterator[Recorded]:
        for opened in self._data._opened(readable):
            if opened.content is not None:
                for at_ns, event in sift(opened.content, readable.modality, opened.segment.header.hour).events:
                    yield Recorded(at_ns, readable.modality, event)
            del opened

    def _pictures(self, readable: _Readable, segment: PendingSegment, content: SegmentContent) -> Iterator[Picture]:
        times = {
            event.seq: at_ns
            for at_ns, event in sift(content, readable.modality, segment.header.hour).events
            if isinstance(event, ScreenFrame)
        }
        try:
            for event, pixels in pictures(content):
                if event.seq in times:
                    yield Picture(times[event.seq], event, pixels)
        except ContentInvalid:
            readable.account.not_opened["pictures-damaged"] += 1

    def __repr__(self) -> str:
        return f"Session({self.pseudonym}, {self.day}, {', '.join(self.modalities)})"


class Data:
    """What a lease opens. Use it as a context manager: at the end the lease is closed, with the number of segments."""

    def __init__(
        self,
        job: Job,
        custodian: CustodianClient,
        collector: CollectorClient,
        statement_key: PublicKey,
        *,
        progress: Callable[[Progress], None] | None = None,
        wait: Callable[[float], None] | None = None,
    ) -> None:
        """`progress` is called from the reading thread, and from any when waiting begins and ends. `wait` pauses for so
        many seconds, if not as everybody does."""
        self.job = job
        self._custodian = custodian
        self._collector = collector
        self._statement_key = statement_key
        self._progress = progress
        self._wait = wait or time.sleep
        self._patience = Patience(wait, self._report)
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="assent-reader")
        self._lock = threading.Lock()
        self._released = 0
        self._looked_at = 0
        self._segments = 0
        self._bytes = 0
        self._ended: str | None = None
        self.missing: list[LeasedStream] = []
        """Leased streams that the collector does not have."""
        self.dropped: list[Dropped] = []
        """Leased streams that were not read, or not to their end."""
        self.empty: list[StreamCoverage] = []
        """Streams in which nothing was left to open, for instance since all of it was forgotten."""
        self.read_to: tuple[str, str] | None = None
        """Pseudonym and day up to which `sessions` has yielded everything, as far as the collector delivers it."""
        self.lease_closed = False
        """Whether the custodian knows how much was opened. If not, the lease counts as read in full."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the lease: say how many segments were opened. Failing to say so is not an error, see `lease_closed`."""
        self._patience.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if not self.lease_closed:
            try:
                self._custodian.close_lease(self.job.lease.lease, self.job.signing_key, self._released)
                self.lease_closed = True
            except ClientError:
                pass

    @property
    def opened(self) -> int:
        """Keys that were released so far; a segment that is released again counts again, as the custodian counts it."""
        return self._released

    def sessions(self, after: tuple[str, str] | None = None) -> Iterator[Session]:
        """Each session, by pseudonym and day; those behind `after` only. May be iterated again; the accounts begin anew
        then. Pseudonyms are the same in every lease of a grant, so another lease can go on where one ended.

        Raises FetchStopped after the last session when nothing came from the collector any more: what was left is in
        `dropped`, or not delivered in the coverage of the last session.
        """
        self._patience.begin_anew()
        self.read_to = after
        self.missing.clear()
        self.dropped.clear()
        self.empty.clear()
        self._looked_at = 0

        def by(stream: LeasedStream) -> tuple[str, str]:
            return stream.pseudonym, stream.day

        for (pseudonym, day), group in groupby(sorted(self.job.streams, key=by), key=by):
            if after is not None and (pseudonym, day) <= after:
                self._looked_at += sum(1 for _ in group)
                continue
            streams = list(group)
            readable = self._prepare(streams)
            self._looked_at += len(streams)
            self._report()
            for run in assemble(readable):
                yield Session(self, pseudonym, day, run)
            if self._patience.stopped is None:
                self.read_to = pseudonym, day
        if self._patience.stopped is not None:
            raise FetchStopped(self._patience.stopped, self.read_to)

    # --- one person's day ---------------------------------------------------------------------------------------------

    def _prepare(self, streams: Sequence[LeasedStream]) -> list[_Readable]:
        """Fetch, verify and release the streams of one person's day; what cannot be read is listed."""
        ended = self._ended or self._stopped
        if ended is not None:
            self.dropped += [Dropped(stream, ended) for stream in streams]
            return []
        verified = self._verified(streams)
        if self._stopped is not None:  # no key is asked for that opens nothing
            self.dropped += [Dropped(stream.leased, self._stopped) for stream in verified]
            return []
        released, refused = self._release([segment for stream in verified for segment in stream.segments])
        readable = []
        for stream in verified:
            account = _Account()
            mine = {segment.id for segment in stream.segments}
            reasons = Counter(reason for segment, reason in refused.items() if segment in mine)
            account.not_opened.update(reasons)
            account.seen.update(segment for segment in refused if segment in mine)
            one = _Readable(stream, {key: released[key] for key in mine if key in released}, account)
            if reasons and set(reasons) != {"erased"}:
                self.dropped.append(Dropped(stream.leased, ", ".join(sorted(reasons))))
            if self._find_clock(one):
                readable.append(one)
            else:
                self.empty.append(_coverage_of(one))
        return readable

    def _verified(self, streams: Sequence[LeasedStream]) -> list[VerifiedStream]:
        wanted = {stream.stream: stream for stream in streams}
        tickets = {self.job.tickets[name].hash: self.job.tickets[name] for name in wanted}
        verified = []
        found: set[str] = set()
        for ticket_hash, ticket in tickets.items():
            names = [name for name in wanted if self.job.tickets[name].hash == ticket_hash]
            try:
                answer = self._patience.call(
                    lambda ticket=ticket, names=names: self._collector.fetch_streams(  # type: ignore[misc]
                        ticket, self.job.signing_key, names
                    )
                )
            except (Refused, AnswerInvalid, FetchStopped) as error:
                self.dropped += [Dropped(wanted[name], f"not delivered: {error}") for name in names]
                found.update(names)
                continue
            for fetched in answer.streams:
                found.add(fetched.stream)
                try:
                    verified.append(verify_stream(fetched, wanted[fetched.stream], self._statement_key))
                except StreamRefused as error:
                    self.dropped.append(Dropped(wanted[fetched.stream], f"not genuine: {error}"))
        self.missing += [stream for name, stream in wanted.items() if name not in found]
        return verified

    def _release(self, segments: Sequence[PendingSegment]) -> tuple[dict[str, DataKey], dict[str, str]]:
        """The data keys by segment id, and the reasons for those refused."""
        keys: dict[str, DataKey] = {}
        refused: dict[str, str] = {}
        for start in range(0, len(segments), limits.MAX_RELEASE_BATCH):
            batch = segments[start : start + limits.MAX_RELEASE_BATCH]
            if self._ended is None:
                try:
                    opened, reasons = self._release_batch(batch)
                    self._released += len(opened)
                    keys |= opened
                    refused |= reasons
                    continue
                except Refused as error:
                    self._ended = f"the lease ended: {error.problem.detail or error.code.title}"
            refused |= {segment.id: self._ended for segment in batch}
        return keys, refused

    def _release_batch(self, batch: Sequence[PendingSegment]) -> tuple[dict[str, DataKey], dict[str, str]]:
        pairs = [(segment.header_bytes, segment.sealed_key) for segment in batch]
        answer, batch_hash = self._again(
            lambda: self._custodian.release(self.job.lease.lease, self.job.signing_key, pairs)
        )
        sealed, lease_hash = from_base64(answer.sealed), bytes.fromhex(self.job.envelope.hash)
        try:
            # Nothing is sealed when everything was refused.
            opened = open_release(sealed, self.job.receiving_key, lease_hash, batch_hash) if sealed else {}
        except SealingError as error:
            raise AnswerInvalid("the release does not open with this job's key") from error
        keys = {header_id.hex(): key for header_id, key in opened.items()}
        reasons: dict[str, str] = {refusal.segment: refusal.reason for refusal in answer.refused}
        if keys.keys() & reasons.keys() or keys.keys() | reasons.keys() != {segment.id for segment in batch}:
            raise AnswerInvalid("the release is not about the segments asked for")
        return keys, reasons

    def _find_clock(self, readable: _Readable) -> bool:
        """Open segments from the front until one says when it was. False when none does."""
        for segment in readable.openable:
            for decrypted in self._load(readable, [segment]):
                opened = self._decode(readable, decrypted)
                if opened.content is not None and opened.content.anchors:
                    readable.clock = WallClock(opened.content.anchors)
                    return True
        return False

    # --- segments -----------------------------------------------------------------------------------------------------

    def _opened(self, readable: _Readable) -> Iterator[OpenedSegment]:
        """All openable segments in order, decoded one by one; fetched one group ahead of whoever reads them."""
        groups = list(_groups(readable.openable))
        ahead: Future[list[_Decrypted]] | None = None
        try:
            for number in range(len(groups)):
                current = ahead or self._pool.submit(self._load, readable, groups[number])
                following = groups[number + 1 : number + 2]
                ahead = self._pool.submit(self._load, readable, following[0]) if following else None
                for decrypted in current.result():
                    yield self._decode(readable, decrypted)
        finally:
            if ahead is not None:
                ahead.cancel()

    def _load(self, readable: _Readable, segments: Sequence[PendingSegment]) -> list[_Decrypted]:
        """Fetch and decrypt a few segments. What goes wrong with one is said of it, not raised."""
        waiting = list(segments)
        done: list[_Decrypted] = []

        def fetch() -> None:
            wanted = [(segment.id, segment.body_length) for segment in waiting]
            ticket = self.job.tickets[readable.stream.leased.stream]
            for _, body in self._collector.fetch_bodies(ticket, self.job.signing_key, wanted):
                segment = waiting.pop(0)
                done.append(_decrypt(readable, segment, body))
                self._patience.arrived()

        try:
            self._patience.call(fetch, ATTEMPTS)
        except ClientError:
            done += [_Decrypted(segment, None, "not-delivered") for segment in waiting]
        return done

    def _decode(self, readable: _Readable, decrypted: _Decrypted) -> OpenedSegment:
        opened = _decoded(readable, decrypted)
        self._note(readable, opened)
        return opened

    def _note(self, readable: _Readable, opened: OpenedSegment) -> None:
        """Enter a segment into its stream's account, once."""
        account = readable.account
        if opened.segment.id in account.seen:
            return
        account.seen.add(opened.segment.id)
        with self._lock:
            self._segments += 1
            self._bytes += opened.segment.body_length
        self._report()
        if opened.content is None:
            account.not_opened[opened.reason] += 1
            return
        account.opened += 1
        sifted = sift(opened.content, readable.modality, opened.segment.header.hour)
        account.outside_window += sifted.outside_window
        account.wrong_modality += sifted.wrong_modality
        if opened.content.anchors:
            clock = WallClock(opened.content.anchors)
            account.gaps += [
                RecordedGap(readable.modality, clock.at(gap.from_ns), clock.at(gap.until_ns), gap.reason, gap.count)
                for gap in opened.content.gaps
            ]

    @property
    def _stopped(self) -> str | None:
        """Why the collector is asked for nothing more."""
        why = self._patience.stopped
        return None if why is None else f"not delivered: {why}"

    def _report(self, waits: bool = False) -> None:
        if self._progress is not None:
            self._progress(Progress(self._looked_at, len(self.job.streams), self._segments, self._bytes, waits))

    def _again(self, call: Callable[[], T]) -> T:
        """Repeat a call to the custodian that fails for a passing reason."""
        for attempt in range(ATTEMPTS - 1):
            try:
                return call()
            except ClientError as error:
                if not error.retryable:
                    raise
                self._wait(min(30.0, float(error.retry_after_s or 2**attempt)))
        return call()

    def __repr__(self) -> str:
        return f"Data({self.job!r})"


def _decrypt(readable: _Readable, segment: PendingSegment, body: bytes | None) -> _Decrypted:
    if body is None:
        return _Decrypted(segment, None, "not-delivered")
    try:
        check_body(body, segment.body_sha256)
        return _Decrypted(segment, open_body(segment.header_bytes, body, readable.keys[segment.id]))
    except SealingError:
        return _Decrypted(segment, None, "damaged")


def _decoded(readable: _Readable, decrypted: _Decrypted) -> OpenedSegment:
    """The content, if it can be read and says itself that it belongs here."""
    segment = decrypted.segment
    if decrypted.plaintext is None:
        return OpenedSegment(segment, None, decrypted.reason)
    try:
        content = decode_content(decrypted.plaintext)
    except ContentInvalid:
        return OpenedSegment(segment, None, "damaged")
    place = (segment.header.stream, segment.header.sequence, readable.modality)
    if (content.stream, content.sequence, content.modality) != place:
        return OpenedSegment(segment, None, "misplaced")
    return OpenedSegment(segment, content)


def _groups(segments: Sequence[PendingSegment]) -> Iterator[list[PendingSegment]]:
    group: list[PendingSegment] = []
    size = 0
    for segment in segments:
        if group and (len(group) == GROUP_SEGMENTS or size + segment.body_length > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(segment)
        size += segment.body_length
    if group:
        yield group


def _coverage_of(readable: _Readable) -> StreamCoverage:
    stream, account = readable.stream, readable.account
    return StreamCoverage(
        stream=stream.leased.stream,
        modality=readable.modality,
        closed=stream.closed,
        segments=len(stream.segments),
        opened=account.opened,
        skips=stream.skips,
        findings=stream.findings,
        not_opened=dict(account.not_opened),
        outside_window=account.outside_window,
        wrong_modality=account.wrong_modality,
    )


def assemble(streams: Sequence[_Readable]) -> list[list[_Readable]]:
    """Put the streams of one person's day together into runs, in order of time.

    A stream joins a run that lacks its modality and has its clock offset: one that began together with it if there is
    one, otherwise the latest that had begun (the front of the stream is not there then). Else it is a run of its own.
    """
    runs: list[list[_Readable]] = []
    for stream in sorted(streams, key=_begin):
        candidates = [
            run
            for run in runs
            if all(other.modality is not stream.modality for other in run)
            and abs(_offset(run[0]) - _offset(stream)) < SAME_CLOCK_NS
        ]
        together = [run for run in candidates if _begin(stream) - _begin(run[0]) <= TOGETHER_NS]
        if together or candidates:
            (together or candidates)[-1].append(stream)
        else:
            runs.append([stream])
    return runs


def _begin(readable: _Readable) -> int:
    assert readable.clock is not None  # noqa: S101 - only streams with a clock are assembled
    return readable.clock.first_ns


def _offset(readable: _Readable) -> int:
    assert readable.clock is not None  # noqa: S101
    return readable.clock.offset_ns
