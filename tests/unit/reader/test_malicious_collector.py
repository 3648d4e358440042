"""A collector in enemy hands: it may lose things, and that is seen; nothing that it forges, moves or swaps is opened.

Every test names an attack. `yielded` reads everything that can be read; the positive control is the honest collector.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable

import pytest
from tests.unit.reader.world import DAY, Recording, World

from assent.contracts.envelope import read_unverified, sign
from assent.contracts.events import Event, PointerMoved
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent.contracts.statements import StreamCertificate
from assent.contracts.wire import FetchAnswer, FetchedRecord, FetchedSegment, FetchedStream
from assent.reader.sessions import Data
from assent.sealing.hpke import HybridPrivateKey


def recorded(world: World, modality: Modality = Modality.POINTER, segments: int = 4) -> Recording:
    recording = world.begin(modality)
    for number in range(segments):
        world.segment(recording, (PointerMoved(t_ns=number, seq=number, x=number, y=0),))
    world.end(recording)
    return recording


def yielded(world: World) -> tuple[list[int], Data]:
    with world.data() as data:
        return [r.event.seq for s in data.sessions() for r in s.events()], data


def first_segments(recording: Recording, count: int) -> list[FetchedSegment]:
    return [item for item in recording.items if isinstance(item, FetchedSegment)][:count]


def test_positive_control_an_honest_collector_yields_everything() -> None:
    world = World()
    recorded(world)
    sequences, data = yielded(world)
    assert sequences == [0, 1, 2, 3]
    assert not data.dropped
    assert not data.missing


def reorder(_world: World, recording: Recording) -> None:
    recording.items[0], recording.items[1] = recording.items[1], recording.items[0]


def replay(_world: World, recording: Recording) -> None:
    recording.items.insert(1, recording.items[0])


def swap_sealed_keys(_world: World, recording: Recording) -> None:
    first, second = first_segments(recording, 2)
    recording.items[0] = first.model_copy(update={"sealed_key": second.sealed_key})
    recording.items[1] = second.model_copy(update={"sealed_key": first.sealed_key})


def swap_digests(_world: World, recording: Recording) -> None:
    first, second = first_segments(recording, 2)
    recording.items[0] = first.model_copy(update={"body_sha256": second.body_sha256})


def flip_a_bit_in_the_header(_world: World, recording: Recording) -> None:
    (first,) = first_segments(recording, 1)
    header = base64.b64decode(first.header).replace(b"T09", b"T10")
    recording.items[0] = first.model_copy(update={"header": base64.b64encode(header).decode()})


def forge_the_signature(_world: World, recording: Recording) -> None:
    (first,) = first_segments(recording, 1)
    recording.items[0] = first.model_copy(update={"signature": base64.b64encode(bytes(64)).decode()})


def put_in_another_streams_segment(world: World, recording: Recording) -> None:
    other = world.begin(Modality.POINTER, "p-2")
    world.segment(other, (PointerMoved(t_ns=0, seq=99, x=0, y=0),))
    del world.recordings[other.id]
    recording.items[0] = other.items[0]


def swap_the_certificate_for_another_streams(world: World, recording: Recording) -> None:
    other = world.begin(Modality.POINTER, "p-2")
    del world.recordings[other.id]
    recording.certificate = other.certificate


def sign_a_certificate_with_the_collectors_own_key(world: World, recording: Recording) -> None:
    statement = read_unverified(recording.certificate, StreamCertificate)
    recording.certificate = sign(statement, world.collector_key)


def recertify(world: World, recording: Recording, **changes: object) -> None:
    """With the custodian's own signature: as if it had certified something else under this name."""
    statement = read_unverified(recording.certificate, StreamCertificate)
    recording.certificate = sign(statement.model_copy(update=changes), world.statement)


def swap_the_stream_key(world: World, recording: Recording) -> None:
    recertify(world, recording, stream_key=SigningKey.generate().public.text)


def certify_another_modality(world: World, recording: Recording) -> None:
    recertify(world, recording, modality=Modality.KEYBOARD)


def certify_another_day(world: World, recording: Recording) -> None:
    recertify(world, recording, day="2026-11-19")


def show_a_stale_certificate_that_ended_before(world: World, recording: Recording) -> None:
    recertify(world, recording, record_until=f"{DAY}T09")


def lie_about_the_length(_world: World, recording: Recording) -> None:
    (first,) = first_segments(recording, 1)
    recording.items[0] = first.model_copy(update={"body_length": first.body_length + 1})


def send_no_base64(_world: World, recording: Recording) -> None:
    (first,) = first_segments(recording, 1)
    recording.items[0] = first.model_copy(update={"header": "A"})


def add_a_segment_after_the_end(world: World, recording: Recording) -> None:
    world.segment(recording, (PointerMoved(t_ns=9, seq=9, x=0, y=0),))


def forge_an_end_record(_world: World, recording: Recording) -> None:
    recording.items[-1] = FetchedRecord(
        record=recording.items[-1].record if isinstance(recording.items[-1], FetchedRecord) else "",
        signature=base64.b64encode(bytes(64)).decode(),
    )


ATTACKS: list[Callable[[World, Recording], None]] = [
    reorder,
    replay,
    swap_sealed_keys,
    swap_digests,
    flip_a_bit_in_the_header,
    forge_the_signature,
    put_in_another_streams_segment,
    swap_the_certificate_for_another_streams,
    sign_a_certificate_with_the_collectors_own_key,
    swap_the_stream_key,
    certify_another_modality,
    certify_another_day,
    show_a_stale_certificate_that_ended_before,
    lie_about_the_length,
    send_no_base64,
    add_a_segment_after_the_end,
    forge_an_end_record,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_nothing_of_a_stream_that_was_tampered_with_is_opened(attack: Callable[[World, Recording], None]) -> None:
    world = World()
    target = recorded(world)
    attack(world, target)
    sequences, data = yielded(world)
    assert sequences == []
    assert [d.stream.stream for d in data.dropped] == [target.id]
    assert data.dropped[0].reason.startswith("not genuine")
    assert world.closed == [0], "not even a key was asked for"


def test_a_dropped_segment_is_a_hole_that_is_reported() -> None:
    world = World()
    target = recorded(world)
    del target.items[1]
    with world.data() as data:
        (session,) = data.sessions()
        assert [r.event.seq for r in session.events()] == [0, 2, 3]
        (stream,) = session.coverage().streams
    assert not stream.complete
    assert [(f.fault.value, f.from_sequence, f.to_sequence) for f in stream.findings] == [("missing", 1, 1)]


def test_a_cut_off_end_is_not_closed_never_complete() -> None:
    world = World()
    target = recorded(world)
    del target.items[2:]
    with world.data() as data:
        (session,) = data.sessions()
        assert [r.event.seq for r in session.events()] == [0, 1]
        (stream,) = session.coverage().streams
    assert stream.closed == "not closed"
    assert not stream.complete


def test_a_stream_that_is_withheld_is_listed_as_missing() -> None:
    world = World()
    target = recorded(world)

    def withhold(path: str, body: bytes) -> bytes:
        return FetchAnswer(streams=()).to_json() if path == "/v1/fetch/streams" else body

    world.tamper = withhold
    sequences, data = yielded(world)
    assert sequences == []
    assert [stream.stream for stream in data.missing] == [target.id]


def test_swapped_bodies_do_not_open() -> None:
    world = World()
    target = recorded(world)
    first, second = target.ids()[:2]
    target.bodies[first], target.bodies[second] = target.bodies[second], target.bodies[first]
    sequences, _ = yielded(world)
    assert sequences == [2, 3]


def test_a_body_with_one_flipped_bit_does_not_open() -> None:
    world = World()
    target = recorded(world)
    first = target.ids()[0]
    target.bodies[first] = bytes([target.bodies[first][0] ^ 1]) + target.bodies[first][1:]
    with world.data() as data:
        (session,) = data.sessions()
        assert [r.event.seq for r in session.events()] == [1, 2, 3]
        assert session.coverage().streams[0].not_opened == {"damaged": 1}


def test_a_body_that_is_gone_is_counted() -> None:
    world = World()
    target = recorded(world)
    del target.bodies[target.ids()[3]]
    with world.data() as data:
        (session,) = data.sessions()
        assert [r.event.seq for r in session.events()] == [0, 1, 2]
        assert session.coverage().streams[0].not_opened == {"not-delivered": 1}


@pytest.mark.parametrize("how", ["cut off", "endless", "another id", "another length"])
def test_a_stream_of_bodies_that_lies_yields_nothing_that_was_not_signed(how: str) -> None:
    world = World()
    recorded(world)

    def lie(path: str, body: bytes) -> bytes:
        if path != "/v1/fetch/bodies":
            return body
        match how:
            case "cut off":
                return body[:-1]
            case "endless":
                return body + b"more"
            case "another id":
                return bytes(32) + body[32:]
            case _:
                return body[:32] + struct.pack(">Q", 2**40) + body[40:]

    world.tamper = lie
    sequences, data = yielded(world)
    if how == "endless":
        assert sequences == [0, 1, 2, 3], "what came before the surplus was signed"
    else:
        assert set(sequences) <= {0, 1, 2}
    assert not data.missing


def test_content_that_names_another_place_than_its_header_is_not_yielded() -> None:
    world = World()
    target = world.begin(Modality.POINTER)
    event: tuple[Event, ...] = (PointerMoved(t_ns=0, seq=0, x=0, y=0),)
    world.segment(target, event, content_changes={"sequence": 7})
    world.segment(target, event, content_changes={"stream": "0" * 32})
    world.segment(target, event, content_changes={"modality": "keyboard"})
    sequences, data = yielded(world)
    assert sequences == []
    assert data.empty[0].not_opened == {"misplaced": 3}


def test_streams_that_were_not_asked_for_are_refused() -> None:
    world = World()
    target = recorded(world)

    def add(path: str, body: bytes) -> bytes:
        if path != "/v1/fetch/streams":
            return body
        other = FetchedStream(stream="0" * 32, certificates=(target.certificate,), items=())
        return FetchAnswer(streams=(*FetchAnswer.parse(body).streams, other)).to_json()

    world.tamper = add
    sequences, data = yielded(world)
    assert sequences == []
    assert "not delivered" in data.dropped[0].reason


def test_a_key_sealed_to_another_vault_does_not_open_though_everything_is_signed() -> None:
    """A modified agent: it seals to a key of its own, and signs that."""
    world = World()
    target = world.begin(Modality.POINTER)
    certified = target.vault_key
    target.vault_key = HybridPrivateKey.generate()
    world.segment(target, (PointerMoved(t_ns=0, seq=0, x=0, y=0),))
    target.vault_key = certified
    world.refuse = {target.ids()[0]: "damaged"}  # what the door says of a sealed key that does not open
    sequences, data = yielded(world)
    assert sequences == []
    assert data.dropped[0].reason == "damaged"
