"""Row 21: an agent that was changed by the person who runs it, with keys and certificates that are quite in order.

It may fill its own streams with anything. Nobody else may notice more of that than a line in an account: the collector
and the custodian stay up, everybody else's recordings are read in full, and what a reader spends on it in memory and
time is bounded, however few bytes ask for more.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zstandard
from tests.exposure.canary import Marker, Named, search
from tests.exposure.test_laptop import put, vault_key
from tests.exposure.world import Installation, Populated, Recording, Template, populated_copy
from tests.simulators.custodian import problem

from assent.client.transport import Refused
from assent.codec.columns import column, fold, text_table, varint
from assent.codec.content import decode_content, encode_content, pictures
from assent.codec.frames import FrameEncoder
from assent.codec.limits import DEFAULT_LIMITS, ContentInvalid
from assent.contracts.envelope import Envelope, sign
from assent.contracts.events import (
    ClockAnchor,
    Event,
    Gap,
    GapReason,
    KeyEvent,
    PointerMoved,
    Rect,
    ScreenFrame,
    SegmentContent,
    WindowActivated,
)
from assent.contracts.ids import Modality
from assent.contracts.keys import SMALL_ORDER, SigningKey, b64url
from assent.contracts.segment import SEAL_TAG, EndRecord, SkipRecord, header_hash, segment_signed_bytes
from assent.contracts.statements import StreamWanted
from assent.contracts.times import hour_of
from assent.contracts.wire import (
    BODY_SHA256_FIELD,
    HEADER_FIELD,
    SEALED_KEY_FIELD,
    SIGNATURE_FIELD,
    FetchedRecord,
    FetchedSegment,
    FetchedStream,
    LeasedStream,
)
from assent.reader.archive import Archive
from assent.reader.summary import Summary
from assent.reader.verifying import StreamRefused, verify_stream
from assent.sealing import hpke
from assent.sealing.hpke import HybridPublicKey
from assent.sealing.segments import DataKey, SealedSegment, SignedRecord, seal_segment, sign_record
from assent_collector.rules import SIGNATURE_BYTES

EXTREMES = (-(2**63), 2**63 - 1, 0)
MOST_SECONDS = 120
"""Of a whole reading, on a machine that does other things too."""

MANY = 25_000
"""Events in each of eight small segments in a row."""

MOST_BYTES = 50 * 1024**2
"""More resident memory than before a reading: enough for two such segments as events, not for eight."""


# --- contents ---------------------------------------------------------------------------------------------------------


def packed(block: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(block)


def envelope(**changes: Any) -> bytes:
    """An envelope of content as the format has it, its fields as told."""
    fields = {
        "v": 1, "stream": "0" * 32, "sequence": 0, "modality": "pointer", "resolution_ns": 1,
        "events": packed(varint(0) + text_table([])), "anchors": [(0, 0, False)], "gaps": [], "frames": b"",
    }  # fmt: skip
    return msgspec.msgpack.encode({**fields, **changes})


def undeclared(size: int) -> bytes:
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=False).compressobj()
    return b"".join(compressor.compress(bytes(1 << 20)) for _ in range(size >> 20)) + compressor.flush()


def many_events(count: int) -> bytes:
    """So many moves of the pointer in about a hundred bytes: columns in which nothing differs take none."""
    return packed(varint(count) + text_table([]) + (b"\0" + varint(0)) * 6 + varint(0))


def hours_of_moving() -> bytes:
    """Pictures of 8192 × 8192, each moved onto itself sixteen times."""
    side = varint(8192)
    record = (
        b"\x01" + varint(1) + varint(fold(0)) + side + side + varint(16) + (varint(0) * 2 + side * 2 + b"\0\0") * 16
    )
    return packed(b"\x01" + (record + b"\0") * 20_000 + b"\0")


@dataclass(frozen=True)
class Place:
    """Where a segment will stand, so that a content may say the truth about it, or a lie."""

    stream: str
    sequence: int
    modality: str
    wall_ns: int

    def content(self, events: tuple[Event, ...], **changes: Any) -> bytes:
        fields: dict[str, Any] = {
            "stream": self.stream, "sequence": self.sequence, "modality": self.modality, "events": events,
            "anchors": (ClockAnchor(t_ns=0, wall_ns=self.wall_ns),),
        }  # fmt: skip
        return encode_content(SegmentContent(**{**fields, **changes}))

    def raw(self, **changes: Any) -> bytes:
        fields = {"stream": self.stream, "sequence": self.sequence, "modality": self.modality}
        return envelope(**{**fields, "anchors": [(0, self.wall_ns, False)], **changes})


def moves(*times: int) -> tuple[Event, ...]:
    return tuple(PointerMoved(t_ns=t, seq=n, x=n, y=n) for n, t in enumerate(times))


def picture(*frames: ScreenFrame) -> bytes:
    encoder = FrameEncoder()
    for frame in frames:
        encoder.add(np.zeros((4, 4, 3), dtype=np.uint8), display=frame.display, seq=frame.seq)
    return encoder.finish()


HOUR_NS = 3600 * 10**9
FRAME = ScreenFrame(t_ns=0, seq=0, display=0, width=4, height=4)

HONEST = "honest"
DAMAGED: dict[str, Callable[[Place], bytes]] = {
    "nothing": lambda at: b"",
    "rubbish": lambda at: bytes(range(256)) * 10,
    "deep nesting": lambda at: b"\x91" * 200_000,
    "a gigabyte of events": lambda at: at.raw(events=packed(bytes(1 << 28))),
    "a gigabyte that does not say so": lambda at: at.raw(events=undeclared(1 << 28)),
    "a billion events": lambda at: at.raw(events=many_events(10**9)),
    "one event more than is read": lambda at: at.raw(events=many_events(DEFAULT_LIMITS.events + 1)),
    "a billion texts": lambda at: at.raw(events=packed(varint(0) + varint(10**9) + column([0]))),
    "a text that is longer than everything": lambda at: at.raw(
        events=packed(varint(0) + varint(1) + column([2**62]) + b"x")
    ),
    "many anchors": lambda at: at.raw(anchors=[(0, 0, False)] * (DEFAULT_LIMITS.notes + 1)),
    "an unknown gap": lambda at: at.raw(gaps=[(0, 0, "because", 0)]),
    "a field more": lambda at: at.raw(person="somebody"),
    "a field of another kind": lambda at: at.raw(sequence="0"),
    "a number beyond 64 bits": lambda at: at.raw(sequence=2**63),
    "another version": lambda at: at.raw(v=2),
    "an event of no kind": lambda at: at.raw(
        events=packed(varint(1) + text_table([]) + column([7]) + column([0]))
    ),
    "a scale that is no number": lambda at: at.raw(
        events=packed(
            varint(1) + text_table([]) + column([6]) + column([0]) + varint(0) + column([0]) + column([1])
            + column([0]) * 5 + column([0x7FF8 << 48])
        )
    ),
}  # fmt: skip
"""Contents that cannot be read: the reader says "damaged"."""

MISPLACED: dict[str, Callable[[Place], bytes]] = {
    "of another stream": lambda at: at.content(moves(0), stream="ab" * 16),
    "of another number": lambda at: at.content(moves(0), sequence=at.sequence + 1),
    "of another modality": lambda at: at.content(moves(0), modality="keyboard"),
    "of no stream": lambda at: at.content(moves(0), stream=""),
}
"""Contents that say themselves that they belong elsewhere."""

EMPTIED: dict[str, Callable[[Place], bytes]] = {
    "typed keys": lambda at: at.content((KeyEvent(t_ns=0, seq=0, key="s", pressed=True),)),
    "titles of windows": lambda at: at.content(
        (WindowActivated(t_ns=0, seq=0, rect=Rect(0, 0, 1, 1), title="secret"),)
    ),
    "pictures": lambda at: at.content((FRAME,), frames=picture(FRAME)),
    "an hour earlier": lambda at: at.content(moves(-HOUR_NS)),
    "an hour later": lambda at: at.content(moves(HOUR_NS)),
    "the beginning and the end of time": lambda at: at.content(moves(*EXTREMES[:2])),
    "yesterday, by the clock on the wall": lambda at: at.content(
        moves(0), anchors=(ClockAnchor(t_ns=0, wall_ns=at.wall_ns - 24 * HOUR_NS),)
    ),
    "no clock at all": lambda at: at.content(moves(0), anchors=()),
    "a clock beyond every calendar": lambda at: at.content(
        moves(0), anchors=(ClockAnchor(t_ns=-(2**63), wall_ns=2**63 - 1),)
    ),
    "gaps beyond every calendar": lambda at: at.content(
        (),
        gaps=tuple(
            Gap(from_ns=a, until_ns=b, reason=GapReason.PAUSED, count=2**63 - 1) for a in EXTREMES for b in EXTREMES
        ),
    ),
}
"""Contents that can be read, of which no event may be there: of a modality or of times that nobody agreed to."""

ODD: dict[str, Callable[[Place], bytes]] = {
    "numbers at their limits": lambda at: at.content(
        tuple(PointerMoved(t_ns=0, seq=s, x=x, y=y, display=s) for s in EXTREMES for x in EXTREMES for y in EXTREMES)
    ),
    **{f"many events, {number}": lambda at: at.raw(events=many_events(MANY)) for number in range(8)},
}
"""Contents that are allowed, and cost as much as can be."""


@dataclass
class Hostile:
    """Nine people as they should be, and one whose agent was changed, all of one grant."""

    populated: Populated
    recording: Recording
    names: list[str]
    """Which content each segment has, by number."""

    @property
    def installation(self) -> Installation:
        return self.populated.installation


@pytest.fixture(scope="module")
def hostile(busy: tuple[Populated, Template], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    original, template = busy
    with template.copied(tmp_path_factory.mktemp("hostile-agent")) as installation:
        populated = populated_copy(original, installation)
        ((certificate, key, signed),) = populated.people[0].certify((Modality.POINTER,))
        recording = Recording(populated.people[0], certificate, signed, key)
        names = [HONEST, *DAMAGED, *MISPLACED, *EMPTIED, *ODD]
        contents = {HONEST: lambda at: at.content(moves(0, 1)), **DAMAGED, **MISPLACED, **EMPTIED, **ODD}
        wall_ns = int(installation.world.clock().timestamp()) * 10**9
        for number, name in enumerate(names):
            at = Place(certificate.stream, number, certificate.modality.value, wall_ns)
            recording.seal(contents[name](at), hour_of(installation.world.clock()))
        recording.finish()
        installation.upload([recording])
        yield Hostile(populated, recording, names)


class Resident:
    """How much memory this process takes at most while a block runs, in bytes more than before."""

    def __enter__(self) -> Resident:
        self.before, self.most = self._now(), 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, self._now() - self.before)

    @staticmethod
    def _now() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_row_21_what_one_person_recorded_to_do_harm_is_a_line_in_the_account_and_nothing_to_the_others(
    hostile: Hostile,
) -> None:
    """Nine people's recordings in full, the tenth's as far as they are any; in bounded memory and time."""
    installation, mine = hostile.installation, hostile.recording.stream
    job = installation.job(hostile.populated.staff.requester, hostile.populated.request)
    opened: dict[str, int] = {}
    theirs: list[tuple[int, set[type]]] = []
    summary, account = Summary(), None
    began = time.monotonic()
    with Resident() as memory, installation.reading(job) as data:
        for session in data.sessions():
            for content in session.segments():
                summary.add(session.pseudonym, content)
                if content.stream == mine:
                    theirs.append((len(content.events), {type(event) for event in content.events}))
                    assert not content.frames
                del content  # the next one is decoded before the loop lets go of this one
            for stream in session.coverage().streams:
                opened[stream.stream] = stream.opened
                if stream.stream == mine:
                    account = stream
                else:
                    assert stream.complete
        assert not data.dropped and not data.missing and not data.empty
    assert time.monotonic() - began < MOST_SECONDS
    assert memory.most < MOST_BYTES
    others = [one for one in hostile.populated.recordings if one.stream != mine]
    assert all(opened[one.stream] == len(one.sealed) for one in others), "everybody else is read in full"
    assert account is not None and account.closed == "clean" and not account.findings
    assert account.not_opened == {"damaged": len(DAMAGED), "misplaced": len(MISPLACED)}
    assert account.opened == 1 + len(EMPTIED) + len(ODD)
    assert account.wrong_modality == 3
    assert account.outside_window == 7
    assert len(theirs) == account.opened and theirs[0][0] == 2
    assert all(kinds <= {PointerMoved} for _, kinds in theirs), (
        "no key, title or picture came out of a pointer's stream"
    )
    assert summary.as_dict()["events_total"] >= 8 * MANY, "and what is allowed is read"


def test_row_21_a_person_takes_all_of_it_home_in_an_archive_that_can_be_read(hostile: Hostile) -> None:
    """Coverage, gaps beyond every calendar and numbers at their limits: everything that is written down."""
    job = hostile.installation.own_job(hostile.populated.people[0])
    file = BytesIO()
    with hostile.installation.reading(job) as data, Archive(file, (2026, 1, 1, 0, 0, 0)) as archive:
        archive.add_recordings(data)
    with zipfile.ZipFile(file) as opened:
        accounts = [json.loads(opened.read(name)) for name in opened.namelist() if name.endswith("coverage.json")]
    damaged = sum(stream["not_opened"].get("damaged", 0) for account in accounts for stream in account["streams"])
    assert damaged == len(DAMAGED)


def test_row_21_hours_of_work_in_a_picture_are_refused() -> None:
    """As far as a reader with less patience goes with it; it would have gone on for most of a day."""
    place = Place("0" * 32, 0, "screen", 0)
    frames = tuple(msgspec.structs.replace(FRAME, seq=seq, width=8192, height=8192) for seq in range(20_000))
    bomb = place.content(frames, frames=hours_of_moving())
    assert len(bomb) < 40_000
    patience = replace(DEFAULT_LIMITS, work_pixels=2**28)
    began = time.monotonic()
    with pytest.raises(ContentInvalid):
        list(pictures(decode_content(bomb, patience), patience))
    assert time.monotonic() - began < MOST_SECONDS
    assert DEFAULT_LIMITS.work_pixels <= 2**35
    assert len(list(pictures(decode_content(place.content((FRAME,), frames=picture(FRAME)))))) == 1, "the control"


# --- forks, and two plaintexts for one ciphertext ---------------------------------------------------------------------


def fetched(recording: Recording, *items: SealedSegment | SignedRecord, certificates: Any = None) -> FetchedStream:
    """What a collector that helps would hand out."""
    return FetchedStream(
        stream=recording.stream,
        certificates=certificates or (recording.envelope,),
        items=tuple(_item(item) for item in items),
    )


def _item(item: SealedSegment | SignedRecord) -> FetchedSegment | FetchedRecord:
    if isinstance(item, SignedRecord):
        return FetchedRecord(record=_b64(item.record), signature=_b64(item.signature))
    return FetchedSegment(
        header=_b64(item.header), sealed_key=_b64(item.sealed_key), body_sha256=item.body_sha256.hex(),
        body_length=len(item.body), signature=_b64(item.signature),
    )  # fmt: skip


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
def forking(hostile: Hostile) -> Recording:
    """A stream of its own, of which nothing was sent."""
    ((certificate, key, signed),) = hostile.populated.people[1].certify((Modality.POINTER,))
    recording = Recording(hostile.populated.people[1], certificate, signed, key)
    now = hour_of(hostile.populated.world.clock())
    for number in range(3):
        recording.seal(b"the first story %d" % number, now)
    recording.finish()
    return recording


def another(recording: Recording, sequence: int, previous: str, content: bytes = b"another story") -> SealedSegment:
    segment, _ = seal_segment(
        content=content, stream=recording.stream, sequence=sequence, previous=previous,
        hour=json.loads(recording.sealed[0].header)["hour"], vault_key=vault_key(recording),
        stream_key=recording.key.ed25519,
    )  # fmt: skip
    return segment


def test_row_21_two_stories_of_one_stream_are_refused_by_the_collector_and_by_the_reader(
    hostile: Hostile, forking: Recording
) -> None:
    """Two segments of one number, two ends, an end and more: each signed as it should be. With a collector that helps,
    the reader refuses the stream as a whole."""
    installation, statement_key = hostile.installation, hostile.installation.directory().statement_key
    first, second, third = forking.sealed
    assert forking.end is not None
    fork = another(forking, 1, first.id)
    other_end = sign_record(
        EndRecord(stream=forking.stream, next_sequence=2, previous=fork.id, how="clean"), forking.key.ed25519
    )
    hole = sign_record(
        SkipRecord(
            stream=forking.stream, from_sequence=1, to_sequence=1, previous=first.id, last_skipped=second.id,
            reason="forgotten",
        ),
        forking.key.ed25519,
    )  # fmt: skip
    leased = LeasedStream(
        stream=forking.stream, pseudonym="p", modality=forking.modality, day=forking.certificate.day
    )  # fmt: skip
    whole = verify_stream(fetched(forking, first, second, third, forking.end), leased, statement_key)
    assert whole.closed == "clean" and not whole.findings, "the positive control"
    stories: dict[str, tuple[SealedSegment | SignedRecord, ...]] = {
        "two segments of one number": (first, second, fork, third, forking.end),
        "the other one first": (first, fork, second, third, forking.end),
        "another, and what followed the first": (first, fork, third, forking.end),
        "two ends": (first, fork, other_end, forking.end),
        "an end, and more": (first, fork, other_end, third),
        "forgotten, and there": (first, second, hole, third, forking.end),
    }
    for story, items in stories.items():
        with pytest.raises(StreamRefused):
            verify_stream(fetched(forking, *items), leased, statement_key)
            pytest.fail(story)
    installation.upload([forking])
    for segment, sequence in ((fork, 1), (another(forking, 3, third.id), 3)):
        assert problem(put(hostile.populated, forking, segment, sequence)) == "conflict"
    for record in (other_end, hole):
        with installation.uploader() as collector, pytest.raises(Refused):
            collector.send_record(record=record.record, signature=record.signature)


def test_row_21_no_second_certificate_says_anything_else_than_the_first(hostile: Hostile, forking: Recording) -> None:
    installation, world = hostile.installation, hostile.populated.world
    member = hostile.populated.people[1]
    wanted = StreamWanted(
        stream_key=forking.certificate.stream_key, modality=Modality.KEYBOARD, day=forking.certificate.day,
        stream=forking.stream,
    )  # fmt: skip
    request, _ = member.certificate_request(streams=[wanted])
    assert member.post("/v1/certificates", request, key=member.device).json()["certificates"] == [None]
    other_key = SigningKey.generate().public.text
    changes: dict[str, dict[str, Any]] = {
        "another modality": {"modality": Modality.KEYBOARD}, "another key": {"stream_key": other_key},
        "another day": {"day": "2026-12-31"}, "another vault": {"vault_key": hostile.recording.certificate.vault_key},
    }  # fmt: skip
    statement_key = installation.directory().statement_key
    leased = LeasedStream(
        stream=forking.stream, pseudonym="p", modality=forking.modality, day=forking.certificate.day
    )  # fmt: skip
    with installation.uploader() as collector:
        collector.announce(forking.envelope)
    for change, fields in changes.items():
        certificate = forking.certificate.model_copy(update=fields)
        own = sign(certificate, forking.key)
        target = f"/v1/streams/{forking.stream}"
        answer = installation.collector_client.put(target, content=own.to_json())
        assert answer.status_code == 403, change
        # Were it signed by the custodian, by a fault there: still nobody takes both.
        by_fault = world.custodian.sign(certificate)
        answer = installation.collector_client.put(target, content=by_fault.to_json())
        assert answer.status_code == 403, change
        with pytest.raises(StreamRefused):
            both = fetched(forking, *forking.sealed, certificates=(forking.envelope, by_fault))
            verify_stream(both, leased, statement_key)


def test_row_21_one_ciphertext_has_one_plaintext_whoever_is_sent_which_key(hostile: Hostile) -> None:
    """The agent seals another data key beside a body than the one that made it, and signs that: the door opens it, and
    the body does not open with it. For what the body commits to is its key."""
    installation, member = hostile.installation, hostile.populated.people[2]
    ((certificate, key, signed),) = member.certify((Modality.POINTER,))
    recording = Recording(member, certificate, signed, key)
    place = Place(certificate.stream, 0, "pointer", int(installation.world.clock().timestamp()) * 10**9)
    honest = recording.seal(place.content(moves(0, 1)), hour_of(installation.world.clock()))
    sealed = hpke.seal(
        DataKey.generate().to_bytes(), HybridPublicKey.from_text(certificate.vault_key),
        SEAL_TAG + header_hash(honest.header),
    )  # fmt: skip
    signature = key.ed25519.sign(
        segment_signed_bytes(honest.header, hashlib.sha256(sealed).digest(), honest.body_sha256)
    )
    recording.sealed = [replace(honest, sealed_key=sealed, signature=signature)]
    recording.finish()
    installation.upload([recording])
    job = installation.own_job(member)
    with installation.reading(job) as data:
        sessions = list(data.sessions())
        assert sessions, "the positive control: the others of this person are read"
        assert [(one.stream, one.not_opened) for one in data.empty] == [(recording.stream, {"damaged": 1})]


# --- keys -------------------------------------------------------------------------------------------------------------


def small_keys() -> list[str]:
    return [f"ed25519:{b64url(point)}" for point in sorted(SMALL_ORDER)]


class Universal:
    """ "Signs" with a key of small order: one signature, which the library alone takes for good over many messages."""

    def __init__(self, text: str) -> None:
        self.public = type(SigningKey.generate().public)(text)

    def sign(self, _message: bytes) -> bytes:
        return bytes([1]) + bytes(SIGNATURE_BYTES - 1)


def test_row_21_a_key_with_which_anybody_could_sign_is_taken_for_nothing(hostile: Hostile) -> None:
    """As device key, opening key, key of a stream, and key of a job."""
    installation, world, member = hostile.installation, hostile.populated.world, hostile.populated.people[3]
    for text in small_keys():
        enemy: Any = Universal(text)
        for kind in ("device", "opening"):
            code, statement = member.code(kind)  # type: ignore[arg-type]
            assert member.post("/v1/me/credentials", statement).status_code == 200
            enrolment = world.enrolment(code.to_text(), [(kind, enemy)])
            assert world.post("/v1/enrolments", enrolment.to_json()).status_code in (400, 401, 403, 422)
        wanted = StreamWanted(stream_key=text, modality=Modality.POINTER, day=world.now[:10])
        request, _ = member.certificate_request(streams=[wanted])
        answer = member.post("/v1/certificates", request, key=member.device).json()
        assert answer["certificates"] == [None]
        certificate = hostile.recording.certificate.model_copy(update={"stream": "cd" * 16, "stream_key": text})
        by_fault = world.custodian.sign(certificate)
        assert (
            installation.collector_client.put(
                f"/v1/streams/{certificate.stream}", content=by_fault.to_json()
            ).status_code
            == 403
        )
    assert member.certify((Modality.POINTER,)), "the positive control"


def test_row_21_a_sealed_key_of_small_order_is_damaged_and_harms_no_other_of_its_batch(hostile: Hostile) -> None:
    """X25519 points with which no secret can be agreed (RFC 7748 §6.1), and ciphertexts of nothing."""
    honest = hostile.populated.recordings[0].sealed[0]
    mlkem, rest = honest.sealed_key[:1088], honest.sealed_key[1120:]
    assert len(honest.sealed_key) == 1088 + 32 + len(rest)
    points = [
        bytes(32),
        b"\1" + bytes(31),
        bytes.fromhex("ec" + "ff" * 30 + "7f"),
        bytes.fromhex("ed" + "ff" * 30 + "7f"),
    ]
    header = hostile.recording.sealed[0].header
    job = hostile.installation.job(hostile.populated.staff.requester, hostile.populated.request)
    for sealed in (*(mlkem + point + rest for point in points), bytes(1168), b"\xff" * 1168, b"", b"x" * 5000):
        with hostile.installation.custodian_as(None) as custodian:
            answer, _ = custodian.release(
                job.lease.lease, job.signing_key, [(header, sealed), (honest.header, honest.sealed_key)]
            )
        assert [refusal.reason for refusal in answer.refused] == ["damaged"]
        assert answer.sealed


# --- the wrong person, the wrong time, and rubbish everywhere ---------------------------------------------------------


def test_row_21_a_certificate_for_another_person_is_not_to_be_had(hostile: Hostile) -> None:
    """Asked for with one's own device, in every way in which a request could mean somebody else's stream."""
    member, victim = hostile.populated.people[4], hostile.populated.people[5]
    ((theirs, _, _),) = victim.certify((Modality.POINTER,))
    own = SigningKey.generate().public.text
    for changes in (
        {"stream_key": theirs.stream_key, "stream": theirs.stream},
        {"stream_key": theirs.stream_key},
        {"stream_key": own, "stream": theirs.stream},
    ):
        wanted = StreamWanted(**{"modality": Modality.POINTER, "day": theirs.day, **changes})
        request, _ = member.certificate_request(streams=[wanted])
        answer = member.post("/v1/certificates", request, key=member.device).json()
        assert answer["certificates"] == [None]
    request, _ = victim.certificate_request()
    assert member.post("/v1/certificates", request, key=victim.opening).status_code in (401, 403)
    forged = Envelope.from_json(sign(request, member.device).to_json())
    renamed = forged.model_copy(
        update={
            "signatures": tuple(one.model_copy(update={"keyid": victim.device.public.id}) for one in forged.signatures)
        }
    )
    assert hostile.populated.world.post("/v1/certificates", renamed.to_json()).status_code == 401
    assert member.certify((Modality.POINTER,)), "the positive control"


def test_row_21_no_certificate_reaches_beyond_what_was_agreed_to(hostile: Hostile) -> None:
    """A receipt that ends in three hours; a person who stopped one modality; one who stopped everything."""
    world = hostile.populated.world
    brief = world.add_person("Brief")
    ends = world.clock() + timedelta(hours=3)
    brief.consent(valid_until=ends.strftime("%Y-%m-%dT%H:%M:%SZ"))
    for certificate, _, _ in brief.certify():
        until = datetime.fromisoformat(f"{certificate.record_until}:00:00+00:00")
        assert world.clock() < until <= ends
    assert brief.withdraw(modalities=(Modality.KEYBOARD,)).status_code == 200
    request, _ = brief.certificate_request()
    answer = brief.post("/v1/certificates", request, key=brief.device).json()
    got = {m: c is not None for m, c in zip(Modality, answer["certificates"], strict=True)}
    assert got == {m: m is not Modality.KEYBOARD for m in Modality}
    assert brief.withdraw().status_code == 200
    request, _ = brief.certificate_request()
    answer = brief.post("/v1/certificates", request, key=brief.device)
    assert answer.status_code == 200 and set(answer.json()["certificates"]) == {None}


def test_row_21_segments_of_hours_that_no_certificate_names_are_not_opened_though_a_collector_helps(
    hostile: Hostile, forking: Recording
) -> None:
    statement_key = hostile.installation.directory().statement_key
    leased = LeasedStream(
        stream=forking.stream, pseudonym="p", modality=forking.modality, day=forking.certificate.day
    )  # fmt: skip
    until = datetime.fromisoformat(f"{forking.certificate.record_until}:00:00+00:00")
    job = hostile.installation.job(hostile.populated.staff.requester, hostile.populated.request)
    for at in (until, until + timedelta(hours=5), until - timedelta(days=2), until + timedelta(days=30)):
        segment, _ = seal_segment(
            content=b"x", stream=forking.stream, sequence=0, previous="0" * 64, hour=hour_of(at),
            vault_key=vault_key(forking), stream_key=forking.key.ed25519,
        )  # fmt: skip
        with pytest.raises(StreamRefused, match="outside the time"):
            verify_stream(fetched(forking, segment), leased, statement_key)
        mine, _ = seal_segment(
            content=b"x", stream=hostile.recording.stream, sequence=0, previous="0" * 64, hour=hour_of(at),
            vault_key=vault_key(hostile.recording), stream_key=hostile.recording.key.ed25519,
        )  # fmt: skip
        with hostile.installation.custodian_as(None) as custodian:
            answer, _ = custodian.release(job.lease.lease, job.signing_key, [(mine.header, mine.sealed_key)])
        assert not answer.sealed and len(answer.refused) == 1, "and the door does not open their keys"


RUBBISH: tuple[Any, ...] = (
    "", "x" * 100_000, "\0", "\ud800", -1, 2**63, 2**200, 1.5, True, None, [], {}, [[]] * 1000, {"a": {"b": {}}},
)  # fmt: skip


def test_row_21_rubbish_in_any_field_of_what_an_agent_sends_the_collector_is_refused(
    hostile: Hostile, forking: Recording
) -> None:
    """Header, fields, records, certificates: every field, every kind of rubbish, signed by the stream's own key."""
    installation = hostile.installation
    client = installation.collector_client
    with installation.uploader() as collector:
        collector.announce(forking.envelope)
    good = forking.sealed[0]
    header = json.loads(good.header)
    assert forking.end is not None
    for field in header:
        for value in RUBBISH:
            if header[field] == value and type(header[field]) is type(value):
                continue
            raw = json.dumps({**header, field: value}, separators=(",", ":")).encode()
            digest = hashlib.sha256(good.sealed_key).digest()
            signature = forking.key.ed25519.sign(segment_signed_bytes(raw, digest, good.body_sha256))
            answer = put(hostile.populated, forking, replace(good, header=raw[:3000], signature=signature), 0)
            assert 400 <= answer.status_code < 500, (field, value)
    record = json.loads(forking.end.record)
    for field in record:
        for value in RUBBISH:
            raw = json.dumps({**record, field: value}, separators=(",", ":")).encode()
            signature = forking.key.ed25519.sign(raw)
            body = {"record": _b64(raw), "signature": _b64(signature)}
            answer = client.put(f"/v1/streams/{forking.stream}/records/3", json=body)
            assert 400 <= answer.status_code < 500, (field, value)
    for target in ("segments/-1", "segments/99999999999", "segments/x", "records/1e9", "segments/0/x", ""):
        answer = client.put(f"/v1/streams/{forking.stream}/{target}", content=b"x" * 1000)
        assert 400 <= answer.status_code < 500, target
    installation.upload([forking])


def test_row_21_what_is_sent_without_end_is_not_taken_and_leaves_nothing(hostile: Hostile) -> None:
    """No length, a length that is a lie, and a budget that is spent: refused before the bytes are kept."""
    installation, member = hostile.installation, hostile.populated.people[6]
    ((certificate, key, signed),) = member.certify((Modality.POINTER,))
    recording = Recording(member, certificate, signed, key)
    segment = recording.seal(b"x" * 1000, hour_of(installation.world.clock()))
    with installation.uploader() as collector:
        collector.announce(signed)
    folder = installation.collector_settings.blobs
    before = {path for path in folder.rglob("*") if path.is_file()}
    fields = {
        HEADER_FIELD: b64url(segment.header), SEALED_KEY_FIELD: b64url(segment.sealed_key),
        BODY_SHA256_FIELD: segment.body_sha256.hex(), SIGNATURE_FIELD: b64url(segment.signature),
    }  # fmt: skip
    target = f"/v1/streams/{recording.stream}/segments/0"

    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield bytes(2**20)

    answers = [
        installation.collector_client.put(target, content=endless(), headers=fields),
        installation.collector_client.put(
            target, content=segment.body + bytes(2**20), headers=fields
        ),
        installation.collector_client.put(target, content=b"", headers=fields),
    ]  # fmt: skip
    assert all(400 <= answer.status_code < 500 for answer in answers)
    assert {path for path in folder.rglob("*") if path.is_file()} == before
    installation.upload([recording])
    assert {path for path in folder.rglob("*") if path.is_file()} > before, "the positive control"


def test_row_21_a_modified_agent_makes_no_log_and_no_backup_hold_what_it_sends_in_clear(in_use: Populated) -> None:
    """It sends what it saw instead of ciphertext, as the body of a segment that is signed as it should be: that is its
    own recording in the collector's objects, and nowhere else."""
    marker = Marker.new()
    member = in_use.people[0]
    ((certificate, key, signed),) = member.certify((Modality.CONTEXT,))
    recording = Recording(member, certificate, signed, key)
    honest = recording.seal(b"x" * 900, hour_of(in_use.world.clock()))
    plain = (in_use.installation.content(certificate, marker) * 20)[: len(honest.body)].ljust(len(honest.body), b"\0")
    digest = hashlib.sha256(plain).digest()
    signature = key.ed25519.sign(
        segment_signed_bytes(honest.header, hashlib.sha256(honest.sealed_key).digest(), digest)
    )
    recording.sealed = [replace(honest, body=plain, body_sha256=digest, signature=signature)]
    in_use.installation.upload([recording])
    objects = in_use.installation.collector_settings.blobs
    assert search([objects], marker), "the positive control: it is there, by its own doing"
    elsewhere = [
        path for path in in_use.installation.folder.rglob("*") if path.is_file() and objects not in path.parents
    ]
    assert not search([Named(str(path), path.read_bytes()) for path in elsewhere], marker)
    with in_use.installation.reading(in_use.installation.own_job(member)) as data:
        list(data.sessions())
        assert [one.not_opened for one in data.empty if one.stream == recording.stream] == [{"damaged": 1}]
