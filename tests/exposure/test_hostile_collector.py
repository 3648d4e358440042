"""Rows 10 and 17: the real collector with its real store, answered for by somebody who wants harm.

Ten people have recorded, each with a text of their own in every segment. Whatever the collector does to what it hands
out, three things hold for every reader, and `check` looks at all of them: under a pseudonym stands nothing but what
that person recorded, in its order and once; what is not whole is said not to be whole; and whoever was not touched is
read in full. Each test also sees that the deed was done, so that none passes because nothing happened.
"""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.exposure.canary import Marker
from tests.exposure.test_laptop import laptop
from tests.exposure.test_people_in_power import entries
from tests.exposure.world import CUSTODIAN, Answer, Ask, Installation, Populated, Recording, Template, populated_copy
from tests.simulators.custodian import Member

from assent.cli.data import _summarise
from assent.client.transport import ClientError
from assent.contracts.envelope import Envelope, sign
from assent.contracts.events import WindowActivated
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.leaves import LeafType
from assent.contracts.problems import Code, Problem
from assent.contracts.segment import FIRST_PREVIOUS, EndRecord, SkipRecord, header_hash
from assent.contracts.statements import Order, OrderDone, OrderItem, Revocation, Stored, StreamCertificate, Tombstone
from assent.contracts.times import hour_of
from assent.contracts.wire import FetchAnswer, FetchBody, FetchedRecord, FetchedSegment, FetchedStream, OrdersAnswer
from assent.reader.jobs import Job
from assent.reader.sessions import Data
from assent.sealing.segments import SignedRecord, sign_record
from assent_agent.runtime.network import Links, Uploader
from assent_collector.orders import OrderInvalid
from assent_custodian import alarms
from assent_custodian.night import run_night

SEGMENTS = 4
JSON, BYTES = {"content-type": "application/json"}, {"content-type": "application/octet-stream"}
PROBLEM = {"content-type": "application/problem+json"}
_PREFIX = struct.Struct(">32sQ")


# --- the collector in enemy hands -------------------------------------------------------------------------------------


@dataclass
class Malicious:
    """Answers in the collector's place, with everything that the collector has. `done` counts what it did.

    `listing` gets the streams that were asked for, and returns what it hands out instead. `bodies` does the same with
    pairs of segment id and body (None: no longer there). `anything` may answer any request to the collector itself.
    """

    installation: Installation
    people: Field | None = None
    listing: Callable[[Malicious, list[FetchedStream]], list[FetchedStream]] | None = None
    bodies: Callable[[Malicious, list[tuple[str, bytes | None]]], list[tuple[str, bytes | None]]] | None = None
    anything: Callable[[Ask], Answer | None] | None = None
    done: int = 0
    served: set[str] = field(default_factory=set)

    def __call__(self, ask: Ask, real: Callable[[], Answer]) -> Answer:
        if ask.url.port != 8402:
            return real()
        if self.anything is not None:
            self.done += 1
            answer = self.anything(ask)
            if answer is not None:
                return answer
            self.done -= 1
        if ask.url.path == "/v1/fetch/streams" and self.listing is not None:
            honest = list(FetchAnswer.parse(real().content).streams)
            changed = FetchAnswer.model_construct(streams=tuple(self.listing(self, list(honest))))
            self.done += list(changed.streams) != honest
            return Answer(200, headers=JSON, content=changed.to_json())
        if ask.url.path == "/v1/fetch/bodies" and self.bodies is not None:
            honest_bodies = _parsed(real().content)
            changed_bodies = self.bodies(self, list(honest_bodies))
            self.done += changed_bodies != honest_bodies
            return Answer(200, headers=BYTES, content=_packed(changed_bodies))
        return real()

    @property
    def field(self) -> Field:
        assert self.people is not None
        return self.people

    def stored(self, stream: str) -> FetchedStream:
        """Anybody's stream, straight from the store: no ticket is needed by whoever is root there."""
        pieces = self.installation.collector.fetches._listing([stream])
        return FetchAnswer.parse(b"".join(pieces)).streams[0]


def _parsed(content: bytes) -> list[tuple[str, bytes | None]]:
    found: list[tuple[str, bytes | None]] = []
    at = 0
    while at < len(content):
        segment, length = _PREFIX.unpack_from(content, at)
        at += _PREFIX.size
        found.append((segment.hex(), content[at : at + length] if length < 2**63 else None))
        at += length if length < 2**63 else 0
    return found


def _packed(bodies: list[tuple[str, bytes | None]]) -> bytes:
    return b"".join(
        _PREFIX.pack(bytes.fromhex(segment), 2**64 - 1 if body is None else len(body)) + (body or b"")
        for segment, body in bodies
    )


def _raw(text: str) -> bytes:
    return base64.b64decode(text)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- ten people, and who reads them -----------------------------------------------------------------------------------


@dataclass
class Field:
    """Ten people with one stream of `SEGMENTS` segments each; what each of them wrote; and a lease on all of it."""

    populated: Populated
    recordings: list[Recording]
    wrote: dict[str, list[str]]
    """By stream."""
    earlier: dict[str, FetchedStream]
    """What the collector would have answered when each stream had one segment."""
    job: Job

    @property
    def installation(self) -> Installation:
        return self.populated.installation

    @contextmanager
    def under(self, collector: Malicious) -> Iterator[Malicious]:
        self.installation.enemy = collector
        try:
            yield collector
        finally:
            self.installation.enemy = None

    def malicious(self, **deeds: Any) -> Malicious:
        return Malicious(self.installation, self, **deeds)

    @contextmanager
    def reading(self, job: Job | None = None, wait: Callable[[float], None] = lambda _: None) -> Iterator[Data]:
        """The lease stays open for the next reader."""
        with (
            self.installation.custodian_as(None) as custodian,
            self.installation.uploader() as collector,
            Data(job or self.job, custodian, collector, self.installation.directory().statement_key, wait=wait) as data,
        ):
            data.lease_closed = True
            yield data

    def read(self, job: Job | None = None) -> Read:
        """Everything that the lease opens, as a reader sees it."""
        waits: list[float] = []
        titles: dict[str, list[str]] = {}
        said: dict[str, set[str]] = {}
        with self.reading(job, waits.append) as data:
            for session in data.sessions():
                (modality,) = session.modalities
                assert modality is Modality.CONTEXT
                events = [recorded.event for recorded in session.events()]
                (coverage,) = session.coverage().streams
                titles[coverage.stream] = [event.title for event in events if isinstance(event, WindowActivated)]
                reasons = {*coverage.not_opened, *(finding.fault.value for finding in coverage.findings)}
                if not coverage.complete:
                    said[coverage.stream] = reasons | {coverage.closed}
            for dropped in data.dropped:
                said.setdefault(dropped.stream.stream, set()).add(dropped.reason)
            for missing in data.missing:
                said.setdefault(missing.stream, set()).add("missing from the collector")
            for empty in data.empty:
                if not empty.complete:
                    reasons = {*empty.not_opened, *(finding.fault.value for finding in empty.findings)}
                    said.setdefault(empty.stream, set()).update(reasons | {empty.closed})
        return Read(titles, said, waits)


@dataclass(frozen=True)
class Read:
    """`titles`: by stream. `said`: what the reader says is wrong, by stream. `waits`: its pauses in seconds."""

    titles: dict[str, list[str]]
    said: dict[str, set[str]]
    waits: list[float]

    def words(self) -> str:
        return " | ".join(sorted({word for words in self.said.values() for word in words}))


@pytest.fixture(scope="module")
def field_(busy: tuple[Populated, Template], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    original, template = busy
    with template.copied(tmp_path_factory.mktemp("hostile-collector")) as installation:
        populated = populated_copy(original, installation)
        populated.world.clock.forward(days=1)
        recordings, wrote, earlier = [], {}, {}
        for member in populated.people:
            recording, texts = _long_stream(installation, member)
            recordings.append(recording)
            wrote[recording.stream] = texts
            first, recording.sealed, end = list(recording.sealed), recording.sealed[:1], recording.end
            recording.end = None
            installation.upload([recording])
            earlier[recording.stream] = Malicious(installation).stored(recording.stream)
            recording.sealed, recording.end = first, end
            installation.upload([recording])
        request = installation.grant(populated.staff, modalities=(Modality.CONTEXT,))
        job = installation.job(populated.staff.requester, request)
        yield Field(populated, recordings, wrote, earlier, job)


def _long_stream(installation: Installation, member: Member) -> tuple[Recording, list[str]]:
    ((certificate, key, envelope),) = member.certify((Modality.CONTEXT,))
    recording, texts = Recording(member, certificate, envelope, key), []
    for number in range(SEGMENTS):
        marker = Marker.new()
        texts.append(marker.text)
        recording.seal(installation.content(certificate, marker, number), hour_of(installation.world.clock()))
    recording.finish()
    return recording, texts


def check(field: Field, read: Read, touched: set[str]) -> None:
    """The three things; see the top of this file."""
    for stream, titles in read.titles.items():
        rest = iter(field.wrote[stream])
        assert all(title in rest for title in titles), "something is there that this person did not record here, so"
    for stream, texts in field.wrote.items():
        if read.titles.get(stream, []) != texts:
            assert read.said.get(stream), "something is missing, and nobody says so"
    for stream, texts in field.wrote.items():
        if stream not in touched:
            assert read.titles[stream] == texts and stream not in read.said, "who was not touched is read in full"


def test_row_17_positive_control_what_every_reader_sees_of_an_honest_collector(field_: Field) -> None:
    with field_.under(field_.malicious(listing=lambda _, streams: streams, bodies=lambda _, bodies: bodies)) as honest:
        read = field_.read()
    assert honest.done == 0
    assert read.titles == field_.wrote
    assert not read.said and not read.waits
    check(field_, read, set())


def test_row_17_positive_control_a_reader_that_is_taken_in_would_be_noticed(field_: Field) -> None:
    """What `check` would say of a reader that shows one person's recording under another's pseudonym, or a part as
    the whole."""
    whole = field_.read()
    one, other = list(field_.wrote)[:2]
    taken_in = [
        {**whole.titles, one: field_.wrote[other]},
        {**whole.titles, one: field_.wrote[one][::-1]},
        {**whole.titles, one: field_.wrote[one][:1] + field_.wrote[one]},
        {**whole.titles, one: field_.wrote[one][:-1]},
        {stream: titles for stream, titles in whole.titles.items() if stream != one},
    ]
    for titles in taken_in:
        with pytest.raises(AssertionError):
            check(field_, Read(titles, {}, []), {one})


# --- listings ---------------------------------------------------------------------------------------------------------


def only(
    change: Callable[[Malicious, FetchedStream], list[FetchedStream]],
) -> Callable[[Malicious, list[FetchedStream]], list[FetchedStream]]:
    """Do it to the first stream that anybody ever asks for, and to no other."""

    def listing(enemy: Malicious, streams: list[FetchedStream]) -> list[FetchedStream]:
        changed = []
        for stream in streams:
            if not enemy.served or stream.stream in enemy.served:
                enemy.served.add(stream.stream)
                changed += change(enemy, stream)
            else:
                changed.append(stream)
        return changed

    return listing


def _with(fetched: FetchedStream, **changes: Any) -> FetchedStream:
    return fetched.model_copy(update=changes)


def _items(stream: FetchedStream, *order: int) -> FetchedStream:
    return _with(stream, items=tuple(stream.items[number] for number in order))


def _neighbour(enemy: Malicious, stream: FetchedStream) -> FetchedStream:
    """Somebody else's stream, of the same day and modality."""
    return enemy.stored(next(name for name in enemy.field.wrote if name != stream.stream))


def _exchange(part: str, *, between: str) -> Callable[[Malicious, FetchedStream], list[FetchedStream]]:
    """One segment gets this part of another: of the next segment, or of the same number of somebody else."""

    def change(enemy: Malicious, stream: FetchedStream) -> list[FetchedStream]:
        items = list(stream.items)
        other = items[2] if between == "segments" else _neighbour(enemy, stream).items[1]
        items[1] = items[1].model_copy(update={part: getattr(other, part)})
        return [_with(stream, items=tuple(items))]

    return change


def _size(length: int) -> Callable[[Malicious, FetchedStream], list[FetchedStream]]:
    def change(_enemy: Malicious, stream: FetchedStream) -> list[FetchedStream]:
        items = list(stream.items)
        items[1] = items[1].model_copy(update={"body_length": length})
        return [_with(stream, items=tuple(items))]

    return change


def _forged_skip(_enemy: Malicious, stream: FetchedStream) -> list[FetchedStream]:
    """ "The person has forgotten the second segment": said by somebody who is not the person's agent."""
    first, second, *rest = stream.items
    assert isinstance(first, FetchedSegment) and isinstance(second, FetchedSegment)
    skip = SkipRecord(
        stream=stream.stream, from_sequence=1, to_sequence=1, previous=header_hash(_raw(first.header)).hex(),
        last_skipped=header_hash(_raw(second.header)).hex(), reason="forgotten",
    )  # fmt: skip
    return [_with(stream, items=(first, _record(sign_record(skip, SigningKey.generate().ed25519)), *rest))]


def _forged_end(_enemy: Malicious, stream: FetchedStream) -> list[FetchedStream]:
    """A stream that is cut off, with an end that looks like one."""
    first = stream.items[0]
    assert isinstance(first, FetchedSegment)
    end = EndRecord(
        stream=stream.stream, next_sequence=1, previous=header_hash(_raw(first.header)).hex(), how="clean"
    )  # fmt: skip
    return [_with(stream, items=(first, _record(sign_record(end, SigningKey.generate().ed25519))))]


def _record(signed: SignedRecord) -> FetchedRecord:
    return FetchedRecord(record=_b64(signed.record), signature=_b64(signed.signature))


def _certificates_of_both(enemy: Malicious, stream: FetchedStream) -> list[FetchedStream]:
    return [_with(stream, certificates=(*stream.certificates, *_neighbour(enemy, stream).certificates))]


def _own_certificate(enemy: Malicious, stream: FetchedStream) -> list[FetchedStream]:
    """Signed with the one key that it has: its own."""
    certificate = StreamCertificate.model_validate_json(stream.certificates[0].payload_bytes)
    longer = certificate.model_copy(update={"record_until": "2027-01-01T00"})
    forged = sign(longer, enemy.installation.world.collector_key)
    return [_with(stream, certificates=(*stream.certificates, forged))]


LISTINGS: dict[str, tuple[Callable[[Malicious, FetchedStream], list[FetchedStream]], str]] = {
    "another person's stream under this name": (
        lambda enemy, s: [_with(_neighbour(enemy, s), stream=s.stream)], "not genuine: a certificate is of another",
    ),
    "another person's segments under this certificate": (
        lambda enemy, s: [_with(s, items=_neighbour(enemy, s).items)], "not genuine: an item is forged",
    ),
    "this person's segments under another's certificate": (
        lambda enemy, s: [_with(s, certificates=_neighbour(enemy, s).certificates)], "not genuine: a certificate",
    ),
    "two people's certificates": (_certificates_of_both, "not genuine: a certificate is of another"),
    "a certificate of its own": (_own_certificate, "not genuine: a certificate is not the custodian's"),
    "another person's sealed key": (_exchange("sealed_key", between="people"), "an item is forged"),
    "another segment's sealed key": (_exchange("sealed_key", between="segments"), "an item is forged"),
    "another person's header": (_exchange("header", between="people"), "an item is forged"),
    "another segment's header": (_exchange("header", between="segments"), "an item is forged"),
    "another person's digest": (_exchange("body_sha256", between="people"), "an item is forged"),
    "another segment's signature": (_exchange("signature", between="segments"), "an item is forged"),
    "one segment of another person among them": (
        lambda enemy, s: [_with(s, items=(*s.items[:2], _neighbour(enemy, s).items[2], *s.items[3:]))], "forged",
    ),
    "the first segment dropped": (lambda _, s: [_items(s, 1, 2, 3, 4)], "missing"),
    "one in the middle dropped": (lambda _, s: [_items(s, 0, 2, 3, 4)], "missing"),
    "the last segment dropped": (lambda _, s: [_items(s, 0, 1, 2, 4)], "missing"),
    "the end dropped": (lambda _, s: [_items(s, 0, 1, 2, 3)], "not closed"),
    "cut off": (lambda _, s: [_items(s, 0, 1)], "not closed"),
    "cut off, with an end of its own": (_forged_end, "an item is forged"),
    "a hole, called forgotten": (_forged_skip, "an item is forged"),
    "yesterday's answer once more": (lambda enemy, s: [enemy.field.earlier[s.stream]], "not closed"),
    "two segments in the other order": (lambda _, s: [_items(s, 0, 2, 1, 3, 4)], "an item is reordered"),
    "a segment twice": (lambda _, s: [_items(s, 0, 1, 1, 2, 3, 4)], "an item is replayed"),
    "the end in the middle": (lambda _, s: [_items(s, 0, 4, 1, 2, 3)], "an item is"),
    "no certificate": (lambda _, s: [_with(s, certificates=())], "there is no certificate"),
    "nothing in it": (lambda _, s: [_with(s, items=())], "not closed"),
    "withheld": (lambda _, s: [], "missing from the collector"),
    "one byte more than it has": (_size(10**4 + 1), "impossible length"),
    "a size of nothing": (_size(0), "impossible length"),
    "a size below nothing": (_size(-1), "impossible length"),
    "a size beyond every memory": (_size(2**62), "impossible length"),
    "twice in one answer": (lambda _, s: [s, s], "not delivered: the collector sent streams twice"),
    "besides, a stream that nobody asked for": (
        lambda enemy, s: [s, _neighbour(enemy, s)], "not delivered: the collector sent streams twice, or streams that",
    ),
}  # fmt: skip


@pytest.mark.parametrize("deed", LISTINGS)
def test_row_17_nothing_that_is_changed_in_a_listing_is_silently_accepted(deed: str, field_: Field) -> None:
    change, expected = LISTINGS[deed]
    with field_.under(field_.malicious(listing=only(change))) as enemy:
        read = field_.read()
    assert enemy.done, "the deed was done"
    check(field_, read, enemy.served)
    assert expected in read.words(), read.words()


CHANGES = st.sampled_from(sorted(LISTINGS))


def test_row_17_nor_is_any_mixture_of_such_changes(field_: Field) -> None:
    """Everybody's streams, each with deeds of its own, one after the other, twenty times."""
    done = 0

    @settings(max_examples=20, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
    @given(st.lists(st.lists(CHANGES, max_size=3), min_size=10, max_size=10))
    def play(plans: list[list[str]]) -> None:
        nonlocal done
        plan = dict(zip(field_.wrote, plans, strict=True))

        def listing(enemy: Malicious, streams: list[FetchedStream]) -> list[FetchedStream]:
            changed = list(streams)
            for stream in streams:
                for deed in plan[stream.stream]:
                    mine = [one for one in changed if one.stream == stream.stream]
                    if mine and len(mine[0].items) == len(stream.items):
                        changed.remove(mine[0])
                        changed += LISTINGS[deed][0](enemy, mine[0])
            return changed

        with field_.under(field_.malicious(listing=listing)) as enemy:
            read = field_.read()
        done += enemy.done
        check(field_, read, {stream for stream, deeds in plan.items() if deeds})

    play()
    assert done > 50


def test_row_17_different_listings_for_different_readers_are_told_from_the_whole(field_: Field) -> None:
    """One reader is shown everything; another, with a lease of their own, a part, as if there were no more."""
    installation = field_.installation
    other = installation.job(field_.populated.staff.requester, field_.job.lease.request)
    second = {ticket.hash for ticket in other.tickets.values()}

    def two_faced(ask: Ask) -> Answer | None:
        if ask.url.path != "/v1/fetch/streams" or FetchBody.parse(ask.content).ticket.hash not in second:
            return None
        answer = FetchAnswer.parse(installation._deliver(ask).content)
        cut = FetchAnswer(streams=tuple(_items(stream, 0, 1, 4) for stream in answer.streams))
        return Answer(200, headers=JSON, content=cut.to_json())

    with field_.under(field_.malicious(anything=two_faced)) as enemy:
        whole, part = field_.read(), field_.read(other)
    assert enemy.done
    assert whole.titles == field_.wrote and not whole.said
    check(field_, part, set(field_.wrote))
    assert set(part.said) == set(field_.wrote)
    assert all("missing" in words for words in part.said.values())


# --- bodies -----------------------------------------------------------------------------------------------------------


def _first(
    change: Callable[[Malicious, list[tuple[str, bytes | None]]], list[tuple[str, bytes | None]]],
) -> Callable[[Malicious, list[tuple[str, bytes | None]]], list[tuple[str, bytes | None]]]:
    """Do it to the stream whose body is asked for first, and to no other."""

    def bodies(enemy: Malicious, asked: list[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
        owner = {segment.id: one.stream for one in enemy.field.recordings for segment in one.sealed}
        stream = owner[asked[0][0]]
        if not enemy.served or stream in enemy.served:
            enemy.served.add(stream)
            return change(enemy, asked)
        return asked

    return bodies


def _others(enemy: Malicious, asked: list[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    """Somebody else's bodies, of the same numbers and sizes."""
    by_id = {segment.id: (one, n) for one in enemy.field.recordings for n, segment in enumerate(one.sealed)}
    changed: list[tuple[str, bytes | None]] = []
    for segment, _ in asked:
        owner, number = by_id[segment]
        other = next(one for one in enemy.field.recordings if one is not owner)
        changed.append((segment, other.sealed[number].body))
    return changed


def _rotated(enemy: Malicious, asked: list[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    bodies = [body for one in enemy.field.recordings for s in one.sealed if s.id == asked[0][0] for body in _own(one)]
    return [(segment, bodies[(bodies.index(body) + 1) % len(bodies)] if body else body) for segment, body in asked]


def _own(recording: Recording) -> list[bytes]:
    return [segment.body for segment in recording.sealed]


BODIES: dict[str, tuple[Callable[[Malicious, list[tuple[str, bytes | None]]], list[tuple[str, bytes | None]]], str]] = {
    "another person's": (_others, "damaged"),
    "those of the next segment": (_rotated, "damaged"),
    "one for all": (
        lambda enemy, asked: [(segment, enemy.field.recordings[5].sealed[3].body) for segment, _ in asked], "damaged",
    ),
    "noise of the right size": (
        lambda _, asked: [(segment, os.urandom(len(body or b""))) for segment, body in asked], "damaged",
    ),
    "gone": (lambda _, asked: [(segment, None) for segment, _ in asked], "not-delivered"),
    "the wrong size": (lambda _, asked: [(segment, (body or b"") + b"x") for segment, body in asked], "not-delivered"),
    "under another id": (lambda _, asked: [(new_id() * 2, body) for _, body in asked], "not-delivered"),
    "one too few": (lambda _, asked: asked[:-1], "not-delivered"),
    "none": (lambda _, asked: [], "not-delivered"),
}  # fmt: skip


@pytest.mark.parametrize("deed", BODIES)
def test_row_17_no_body_is_taken_for_another(deed: str, field_: Field) -> None:
    change, expected = BODIES[deed]
    with field_.under(field_.malicious(bodies=_first(change))) as enemy:
        read = field_.read()
    assert enemy.done, "the deed was done"
    check(field_, read, enemy.served)
    assert expected in read.words(), read.words()


def test_row_17_the_command_counts_streams_of_which_nothing_opens_among_those_that_are_not_whole(
    field_: Field,
) -> None:
    """They are in no session, and would be in no sentence."""
    noise = BODIES["noise of the right size"][0]
    nothing = LISTINGS["nothing in it"][0]
    deeds: list[tuple[dict[str, Any], tuple[int, int, dict[str, int]]]] = [
        ({}, (10, 0, {})),
        ({"bodies": noise}, (0, 0, {"damaged": 10 * SEGMENTS})),
        ({"listing": lambda enemy, streams: [one for s in streams for one in nothing(enemy, s)]}, (0, 10, {})),
    ]
    for deed, (complete, not_closed, not_opened) in deeds:
        with field_.under(field_.malicious(**deed)), field_.reading() as data:
            facts = _summarise(data).as_dict()
        assert facts["streams"]["read"] == 10
        assert (facts["streams"]["complete"], facts["streams"]["not_closed"]) == (complete, not_closed)
        assert facts["segments_not_opened"] == not_opened


# --- answers that are none --------------------------------------------------------------------------------------------


class Endless(httpx2.SyncByteStream):
    """A body that never ends; `given` counts what was taken of it. It gives up where no reader should still read."""

    MOST = 512 * 1024 * 1024

    def __init__(self, piece: bytes) -> None:
        self.piece, self.given = piece, 0

    def __iter__(self) -> Iterator[bytes]:
        while self.given < self.MOST:
            self.given += len(self.piece)
            yield self.piece
        raise AssertionError("somebody reads for ever")


def _problem(code: Code, **members: Any) -> Answer:
    problem = Problem(code, "because I say so", **members)
    return Answer(code.status, headers=PROBLEM, json=problem.as_dict())


def _silent() -> Answer:
    raise httpx2.ConnectError("nobody answers")


ANSWERS: dict[str, Callable[[], Answer]] = {
    "a web page": lambda: Answer(200, headers={"content-type": "text/html"}, content=b"<h1>Sign in</h1>"),
    "somewhere else": lambda: Answer(302, headers={"location": "http://127.0.0.1:1/"}),
    "nothing": lambda: Answer(200, headers=JSON, content=b""),
    "deep nesting": lambda: Answer(200, headers=JSON, content=b'{"streams":' + b"[" * 10**6),
    "a deep problem": lambda: Answer(403, headers=PROBLEM, content=b'{"type":' + b"[" * 200_000),
    "numbers without end": lambda: Answer(200, headers=JSON, content=b'{"next_sequence":1' + b"0" * 10**6 + b"}"),
    "an answer without end": lambda: Answer(200, headers=JSON, stream=Endless(b" " * 2**20)),
    "bytes without end": lambda: Answer(200, headers=BYTES, stream=Endless(bytes(2**20))),
    "a problem without end": lambda: Answer(403, headers=PROBLEM, stream=Endless(b" " * 2**16)),
    "too busy for ten thousand years": lambda: Answer(
        429, headers={**PROBLEM, "retry-after": "9" * 30}, json=Problem(Code.TOO_MANY, "wait").as_dict()
    ),
    "an error": lambda: _problem(Code.INTERNAL),
    "a gateway's error": lambda: Answer(502, headers={"content-type": "text/html"}, content=b"bad gateway"),
    "silence": _silent,
}


@pytest.mark.parametrize("path", ["/v1/fetch/streams", "/v1/fetch/bodies"])
def test_row_17_what_is_no_answer_ends_in_an_account_and_in_bounded_time(path: str, field_: Field) -> None:
    """Each of them to every question of one kind: the reader says of every stream why it is not there."""
    for deed, answer in ANSWERS.items():
        made = answer() if deed not in ("silence",) else None
        endless = made.stream if made is not None and isinstance(made.stream, Endless) else None
        lie = field_.malicious(anything=lambda ask, a=answer: a() if ask.url.path == path else None)
        with field_.under(lie):
            try:
                read = field_.read()
            except ClientError as error:
                assert str(error) and error.retryable, f"{deed}: whoever is asked in vain may say so as a whole"
                continue
        check(field_, read, set(field_.wrote))
        assert set(read.said) == set(field_.wrote), deed
        assert all(0 < wait <= 30 for wait in read.waits), deed
        assert len(read.waits) <= 3 * lie.done / 4, f"{deed}: asked three times more, and then no more"
        assert endless is None or endless.given < Endless.MOST


# --- what an agent believes -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def agent(field_: Field, tmp_path_factory: pytest.TempPathFactory) -> tuple[Uploader, Any, int]:
    """Somebody's agent with four sealed segments that are due to be sent; nothing of it was sent yet."""
    folder = tmp_path_factory.mktemp("agent")
    member, installation = field_.populated.people[4], field_.installation
    spool, certificates = laptop(field_.populated, member, folder / "disk")
    spool.release_hold()
    links = Links(
        installation.directory(), CUSTODIAN, member.device, installation.world.clock,
        custodian_transport=installation.wire, collector_transport=installation.wire,
    )  # fmt: skip
    return Uploader(spool, links, lambda _: None, installation.world.clock, Random(1)), spool, len(certificates)


def _lies(field: Field) -> dict[str, Callable[[Ask], Answer | None]]:
    """What a collector may say to an agent that wants to send, none of which it signed for these segments."""
    world = field.installation.world
    key, stranger = world.collector_key, SigningKey.generate()
    other = field.recordings[0]

    def to_segments(make: Callable[[Ask], Answer]) -> Callable[[Ask], Answer | None]:
        return lambda ask: make(ask) if "/segments/" in ask.url.path else None

    def state(**changes: Any) -> Callable[[Ask], Answer]:
        content = {"next_sequence": 0, "previous": FIRST_PREVIOUS, "ended": False, **changes}
        return lambda ask: Answer(200, headers=JSON, json=content)

    def stored(**changes: Any) -> Callable[[Ask], Answer]:
        def answer(ask: Ask) -> Answer:
            stream = ask.url.path.split("/")[3]
            said = Stored(**{"stream": stream, "kind": "segment", "hash": "ab" * 32, **changes})
            return Answer(200, headers=JSON, content=sign(said, key).to_json())

        return answer

    def revoked(evidence: Envelope | None) -> Callable[[Ask], Answer]:
        members = {} if evidence is None else {"evidence": evidence.model_dump(mode="json")}
        return lambda ask: _problem(Code.REVOKED, **members)

    mine = lambda ask: ask.url.path.split("/")[3]  # noqa: E731
    return {
        **{f"{deed}, to everything": (lambda ask, a=answer: a()) for deed, answer in ANSWERS.items()},
        "I have a million of it": state(next_sequence=10**6, previous="ab" * 32),
        "it has ended": state(next_sequence=1, previous="ab" * 32, ended=True),
        "stored, another segment": to_segments(stored()),
        "stored, another kind": to_segments(stored(kind="end")),
        "stored, in another stream": to_segments(stored(stream=other.stream, hash=other.sealed[0].id)),
        "stored, says a stranger": to_segments(
            lambda ask: Answer(
                200, headers=JSON,
                content=sign(Stored(stream=mine(ask), kind="segment", hash="ab" * 32), stranger).to_json(),
            )
        ),
        "another is stored there": to_segments(lambda ask: _problem(Code.CONFLICT)),
        "too large": to_segments(lambda ask: _problem(Code.TOO_LARGE, limit_bytes=1)),
        "no budget": to_segments(lambda ask: _problem(Code.BUDGET_SPENT, left_bytes=0)),
        "out of order": to_segments(lambda ask: _problem(Code.OUT_OF_ORDER, expected=10**9, previous="ab" * 32)),
        "the certificate is invalid": lambda ask: _problem(Code.CERTIFICATE_INVALID),
        "revoked, just so": revoked(None),
        "revoked, says the collector": lambda ask: revoked(sign(Revocation(stream=mine(ask)), key))(ask),
        "another stream was revoked": revoked(world.custodian.sign(Revocation(stream=other.stream))),
        "another stream was erased": revoked(
            world.custodian.sign(Tombstone(stream=other.stream, hours=()))
        ),
        "erased, says the collector": lambda ask: revoked(sign(Tombstone(stream=mine(ask), hours=()), key))(ask),
        "revoked, and a deep proof of it": lambda ask: Answer(
            Code.REVOKED.status, headers=PROBLEM,
            content=b'{"type":"urn:assent:problem:revoked","title":"x","status":403,"evidence":'
            + b"[" * 900 + b"]" * 900 + b"}",
        ),
    }  # fmt: skip


def test_row_10_whatever_a_collector_says_an_agent_deletes_nothing_that_it_did_not_sign_for(
    agent: tuple[Uploader, Any, int], field_: Field
) -> None:
    uploader, spool, count = agent
    installation = field_.installation

    def there() -> list[tuple[str, bytes]]:
        items = [item for view in spool.streams(installation.world.clock()) for item in view.items]
        return sorted((item.stream, spool.read_segment(item).body) for item in items)

    before = there()
    assert len(before) == count
    for lie, answer in _lies(field_).items():
        with field_.under(field_.malicious(anything=answer)) as enemy:
            batch = uploader.batch()
        assert enemy.done, lie
        assert not batch.succeeded and batch.sentence and batch.sent == 0 and not batch.revoked, lie
        assert "Sending failed" not in batch.sentence, f"{lie}: a fault of ours, not a refusal: {batch.sentence}"
        assert there() == before, lie
    batch = uploader.batch()
    assert batch.succeeded and batch.sent >= count, "the positive control: an honest collector gets them"
    assert there() == []


# --- what the custodian believes, and what it notices -----------------------------------------------------------------


def _acknowledgements(field: Field, number: int, hash_: str) -> dict[str, bytes]:
    key = field.installation.world.collector_key
    return {
        "another order of this number": sign(OrderDone(number=number, order="ab" * 32), key).to_json(),
        "one that was never given": sign(OrderDone(number=number + 7, order=hash_), key).to_json(),
        "signed by somebody else": sign(OrderDone(number=number, order=hash_), SigningKey.generate()).to_json(),
        "unsigned": sign(OrderDone(number=number, order=hash_), key).model_copy(update={"signatures": ()}).to_json(),
    }


def test_row_10_an_order_that_is_held_back_is_an_alarm_and_opens_nothing_meanwhile(in_use: Populated) -> None:
    """The collector neither erases nor says that it did; then it says so of other orders than it got."""
    world, leaver = in_use.world, in_use.people[0]
    theirs = {one.stream for one in in_use.recordings if one.member is leaver}
    assert leaver.withdraw(erase="now").status_code == 200
    run_night(world.custodian)
    assert alarms.sound(world.custodian, None) == [], "the positive control: it has its time"
    (order,) = OrdersAnswer.parse(world.ask(world.collector_key, "GET", "/v1/orders?after=0").content).orders
    stub = Field(in_use, [], {}, {}, in_use.job)
    for lie, body in _acknowledgements(stub, 1, order.hash).items():
        assert world.post("/v1/orders/done", body).status_code in (400, 401, 403, 404, 409, 422), lie
    world.clock.forward(days=world.settings.overdue_days + 1)
    assert "orders" in alarms.sound(world.custodian, None)
    with world.custodian.database.reading() as session:
        assert "orders" in {alarm.kind for alarm in alarms.overdue(session, world.custodian, None)}
    overdue = [leaf for leaf in entries(in_use.staff.auditor) if leaf.type is LeafType.ERASURE_OVERDUE]
    assert {leaf.rule for leaf in overdue} == {"orders"}, "and outsiders can see it"
    job = in_use.installation.job(in_use.staff.requester, in_use.request)
    assert theirs.isdisjoint(one.stream for one in job.streams)
    assert in_use.installation.collector.orders.pull_orders_once() == 1
    world.clock.forward(days=1)
    with world.custodian.database.reading() as session:
        assert "orders" not in {alarm.kind for alarm in alarms.overdue(session, world.custodian, None)}


def test_row_10_an_order_that_the_custodian_did_not_give_is_not_carried_out(in_use: Populated) -> None:
    """Somebody between the two, or a thief of the collector's own key, wants recordings erased."""
    installation, world = in_use.installation, in_use.world
    victim = in_use.recordings[0]
    enemy = SigningKey.generate()

    def order(by: SigningKey, evidence: Envelope, **changes: Any) -> Envelope:
        item = OrderItem(action="erase", stream=victim.stream, hours=(), evidence=evidence)
        content = {"number": 1, "previous": FIRST_PREVIOUS, "day": world.now[:10], "items": (item,), **changes}
        return sign(Order(**content), by)

    def custodian_signed(statement: Any) -> Envelope:
        return world.custodian.sign(statement)

    tombstone = Tombstone(stream=victim.stream, hours=())
    genuine, forged = custodian_signed(tombstone), sign(tombstone, enemy)
    elsewhere = custodian_signed(Tombstone(stream=in_use.recordings[1].stream, hours=()))
    hours = custodian_signed(Tombstone(stream=victim.stream, hours=("2020-01-01T00",)))
    statement_key = world.custodian.statement_key
    attempts = {
        "signed by a stranger": order(enemy, genuine),
        "signed by the collector": order(world.collector_key, genuine),
        "with evidence of nobody's": order(statement_key, forged),
        "with evidence about another stream": order(statement_key, elsewhere),
        "with evidence about other hours": order(statement_key, hours),
        "out of its turn": order(statement_key, genuine, number=2),
        "after another than the last": order(statement_key, genuine, previous="ab" * 32),
    }
    for name, envelope in attempts.items():
        answer = OrdersAnswer(orders=(envelope,)).to_json()

        def forged_answer(ask: Ask, real: Callable[[], Answer], answer: bytes = answer) -> Answer:
            return Answer(200, headers=JSON, content=answer) if ask.url.path == "/v1/orders" else real()

        installation.enemy = forged_answer
        with pytest.raises(OrderInvalid):
            installation.collector.orders.pull_orders_once()
            pytest.fail(name)
        installation.enemy = None
        assert Malicious(installation).stored(victim.stream).items, name
    assert in_use.people[0].withdraw(erase="now").status_code == 200
    run_night(world.custodian)
    assert installation.collector.orders.pull_orders_once() == 1, "the positive control: an order is carried out"
    pieces = b"".join(installation.collector.fetches._listing([victim.stream]))
    assert FetchAnswer.parse(pieces).streams == ()


def test_row_10_a_collector_that_goes_on_taking_what_was_revoked_has_something_that_never_opens(
    in_use: Populated,
) -> None:
    """It holds back the revocation of somebody who withdrew, and takes and hands out their segments as before."""
    installation, member = in_use.installation, in_use.people[1]
    mine = [one for one in in_use.recordings if one.member is member and one.modality is Modality.CONTEXT]
    ((certificate, key, envelope),) = member.certify((Modality.CONTEXT,))
    late = Recording(member, certificate, envelope, key)
    late.seal(installation.content(certificate, in_use.marker), hour_of(in_use.world.clock()))
    assert member.withdraw(erase="now").status_code == 200
    installation.upload([late])
    assert Malicious(installation).stored(late.stream).items, "it took them, and has them"
    pairs = [(segment.header, segment.sealed_key) for one in (*mine, late) for segment in one.sealed]
    with installation.custodian_as(None) as custodian:
        answer, _ = custodian.release(in_use.job.lease.lease, in_use.job.signing_key, pairs)
    assert not answer.sealed and len(answer.refused) == len(pairs)
    stayer = next(one for one in in_use.recordings if one.member is in_use.people[2])
    with installation.custodian_as(None) as custodian:
        answer, _ = custodian.release(
            in_use.job.lease.lease, in_use.job.signing_key, [(stayer.sealed[0].header, stayer.sealed[0].sealed_key)]
        )
    assert answer.sealed, "the positive control"


def test_row_17_tickets_of_two_people_cannot_be_exchanged(field_: Field) -> None:
    """A ticket names streams, and is bound to a job: with another's, a collector gets no signature that it could use,
    and an honest one refuses."""
    installation = field_.installation
    one, other = (installation.own_job(member) for member in field_.populated.people[:2])
    (ticket, *_), (foreign, *_) = one.tickets.values(), other.tickets.values()
    with installation.uploader() as collector:
        assert collector.fetch_streams(ticket, one.signing_key).streams, "the positive control"
        for presented, key in ((foreign, one.signing_key), (ticket, other.signing_key)):
            with pytest.raises(ClientError):
                collector.fetch_streams(presented, key)


def test_the_folder_of_the_malicious_collector_is_the_real_ones(field_: Field, tmp_path: Path) -> None:
    """What it hands out when it is honest is byte for byte what agents sealed."""
    enemy = field_.malicious()
    for recording in field_.recordings:
        stored = enemy.stored(recording.stream)
        headers = [_raw(item.header) for item in stored.items if isinstance(item, FetchedSegment)]
        assert headers == [segment.header for segment in recording.sealed]
        assert len(stored.items) == SEGMENTS + 1
