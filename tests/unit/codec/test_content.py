"""The plaintext of a segment survives being written; whatever is not whole is refused with one error."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.observations import contents
from tests.strategies.traces import office_trace

from assent.codec.content import decode_content, encode_content, pictures
from assent.codec.frames import FrameEncoder
from assent.codec.limits import DEFAULT_LIMITS, ContentInvalid
from assent.contracts.events import ClockAnchor, Gap, GapReason, ScreenFrame, SegmentContent


def example(**changes: object) -> SegmentContent:
    content = SegmentContent(
        stream="5f0e",
        sequence=3,
        modality="pointer",
        events=office_trace(80),
        anchors=(ClockAnchor(t_ns=5, wall_ns=1_795_000_000_000_000_000),),
        gaps=(Gap(from_ns=5, until_ns=9, reason=GapReason.PAUSED, count=2),),
    )
    return msgspec.structs.replace(content, **changes)


@settings(max_examples=100, deadline=None)
@given(contents)
def test_contents_come_back_as_they_were(content):
    assert decode_content(encode_content(content)) == content


VALID = encode_content(example())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_refused(noise):
    with pytest.raises(ContentInvalid):
        decode_content(noise)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_contents_raise_one_error_or_none(data):
    damaged = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_content(bytes(damaged))
    except ContentInvalid:
        pass


def test_every_cut_and_every_addition_is_found():
    for at in range(len(VALID)):
        with pytest.raises(ContentInvalid):
            decode_content(VALID[:at])
    with pytest.raises(ContentInvalid):
        decode_content(VALID + b"\0")


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"extra": 1},
        {"events": b""},
        {"events": "text"},
        {"gaps": [[0, 0, "curious", 0]]},
        {"gaps": [[0, 0, "paused"]]},
        {"anchors": [[2**63, 0, False]]},
        {"sequence": "3"},
        {"sequence": 3.0},
        {"stream": None},
        {"stream": b"5f0e"},
    ],
    ids=str,
)
def test_an_envelope_of_another_shape_is_refused(change):
    envelope = msgspec.msgpack.decode(VALID)
    decode_content(msgspec.msgpack.encode(envelope))
    with pytest.raises(ContentInvalid):
        decode_content(msgspec.msgpack.encode(envelope | change))


def test_limits_are_kept():
    for limits in (
        replace(DEFAULT_LIMITS, content_bytes=len(VALID) - 1),
        replace(DEFAULT_LIMITS, events=79),
        replace(DEFAULT_LIMITS, event_bytes=100),
        replace(DEFAULT_LIMITS, notes=0),
    ):
        with pytest.raises(ContentInvalid):
            decode_content(VALID, limits)


@pytest.mark.parametrize("change", [{"sequence": 2**63}, {"resolution_ns": 2**64}, {"stream": "\ud800"}], ids=repr)
def test_what_has_no_place_in_the_format_is_refused_when_written(change):
    with pytest.raises(ContentInvalid):
        encode_content(example(**change))


def screen(seqs: tuple[int, ...] = (4, 6), width: int = 20) -> SegmentContent:
    encoder = FrameEncoder()
    for seq in (4, 6):
        encoder.add(np.full((10, 20, 3), seq, dtype=np.uint8), seq=seq)
    events = tuple(ScreenFrame(t_ns=seq, seq=seq, display=0, width=width, height=10) for seq in seqs)
    return example(modality="screen", events=events, frames=encoder.finish())


def test_pictures_come_with_the_events_that_describe_them():
    content = decode_content(encode_content(screen()))
    assert [(event.seq, int(pixels[0, 0, 0])) for event, pixels in pictures(content)] == [(4, 4), (6, 6)]


@pytest.mark.parametrize("content", [screen((4,)), screen((4, 6, 7)), screen((4, 5)), screen(width=21), screen(())])
def test_pictures_and_events_that_do_not_belong_together_are_refused(content):
    with pytest.raises(ContentInvalid):
        list(pictures(content))
