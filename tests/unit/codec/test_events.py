"""Events survive being written, in their order, and take few bytes."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.observations import events, integers
from tests.strategies.traces import dense_trace, office_trace

from assent.codec.columns import Reader, column, fold, text_table, unfold, varint
from assent.codec.events import decode_events, encode_events
from assent.codec.limits import DEFAULT_LIMITS, ContentInvalid
from assent.contracts.events import Display, DisplaysChanged, KeyEvent, PointerMoved, Rect, ScreenFrame


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=25).map(tuple))
def test_every_kind_of_event_comes_back_as_it_was_and_in_order(given_events):
    assert decode_events(encode_events(given_events)) == given_events


@settings(max_examples=100, deadline=None)
@given(st.lists(integers, min_size=1, max_size=40), st.sampled_from([1, 1000, 1_000_000]))
def test_a_column_comes_back_whatever_its_integers(values, step):
    values = [(value * step + 2**63) % 2**64 - 2**63 for value in values]
    data = column(values)
    assert Reader(data).column(len(values)) == values


@given(integers)
def test_folding_keeps_the_sign(value):
    assert unfold(fold(value)) == value
    assert Reader(varint(fold(value))).varint() == fold(value)


@pytest.mark.parametrize("values", [[0, -(2**63)], [-(2**63), 2**63 - 1], [2**63 - 1, -(2**63), 0, -1]])
def test_a_column_survives_the_widest_steps(values):
    assert Reader(column(values)).column(len(values)) == values


@pytest.mark.parametrize(
    ("data", "values"),
    [("10 00 00 06 0c", [0, 3, 6]), ("25 02 c8 01 00 02 02 e4 00 00 00 03", [1, 201, 401, 100_001])],
)
def test_the_examples_of_the_documentation_are_read(data, values):
    assert Reader(bytes.fromhex(data)).column(len(values)) == values


def test_no_events_are_a_few_bytes():
    assert len(encode_events(())) <= 20
    assert decode_events(encode_events(())) == ()


@pytest.mark.parametrize("key", ["é", "漢", "🙂", "a\u0301", "\0", "", "Control_L", "\uffff"])
def test_keys_may_be_any_text(key):
    event = KeyEvent(t_ns=1, seq=0, key=key, pressed=True)
    assert decode_events(encode_events([event])) == (event,)


def test_half_a_character_becomes_the_replacement_character():
    event = KeyEvent(t_ns=1, seq=0, key="a\ud83d", pressed=True)
    assert decode_events(encode_events([event]))[0].key == "a\ufffd"


@pytest.mark.parametrize("x", [2**63, -(2**63) - 1, 2**70, 0.5])
def test_what_is_no_integer_of_64_bits_is_refused_when_written(x):
    with pytest.raises(ContentInvalid):
        encode_events([PointerMoved(t_ns=0, seq=0, x=x, y=0), PointerMoved(t_ns=1, seq=1, x=-1, y=0)])


def test_an_infinite_scale_is_refused_when_written():
    displays = (Display(id=0, rect=Rect(0, 0, 1, 1), scale=float("inf")),)
    with pytest.raises(ContentInvalid):
        encode_events([DisplaysChanged(t_ns=0, seq=0, displays=displays)])


@pytest.mark.parametrize(
    ("trace", "number", "most"),
    [
        (dense_trace(), 13_401, 4.0),
        (dense_trace(stamp_ns=1_000), 13_401, 4.0),
        (dense_trace(stamp_ns=1), 13_401, 4.0),
        (office_trace(), 4_099, 7.0),
    ],
    ids=["1 kHz in ms", "1 kHz in µs", "1 kHz in ns", "office"],
)
def test_recorded_work_takes_few_bytes_and_loses_nothing(trace, number, most):
    data = encode_events(trace)
    assert len(trace) == number
    assert decode_events(data) == trace
    assert len(data) / number <= most


def test_the_traces_are_those_of_a_person():
    for trace in (dense_trace(), office_trace()):
        times = [event.t_ns for event in trace]
        assert times == sorted(times)
    assert dense_trace(500) == dense_trace(500)
    assert dense_trace(500) != dense_trace(500, seed=8)


def test_an_hour_of_office_work_without_screen_stays_under_one_megabyte():
    trace = office_trace()
    hours = (trace[-1].t_ns - trace[0].t_ns) / 3.6e12
    assert len(encode_events(trace)) / hours < 1_000_000


# --- damage


def packed(block: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(block)


def unpacked(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)


VALID = encode_events(office_trace(60))


def test_every_flipped_bit_and_every_cut_is_found():
    decode_events(VALID)
    for at in range(len(VALID)):
        with pytest.raises(ContentInvalid):
            decode_events(VALID[:at])
        damaged = bytearray(VALID)
        damaged[at] ^= 1 << at % 8
        try:
            decode_events(bytes(damaged))
        except ContentInvalid:
            continue
        assert unpacked(bytes(damaged)) == unpacked(VALID), "a flip may pass only where zstd ignores the bit"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(noise):
    for data in (noise, packed(noise)):
        try:
            decode_events(data)
        except ContentInvalid:
            pass


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_block_is_refused_or_read_within_the_limits(data):
    block = bytearray(unpacked(VALID))
    for _ in range(data.draw(st.integers(1, 3))):
        block[data.draw(st.integers(0, min(400, len(block) - 1)))] = data.draw(st.integers(0, 255))
    limits = replace(DEFAULT_LIMITS, events=5_000, event_bytes=100_000)
    try:
        assert len(decode_events(packed(bytes(block)), limits)) <= 5_000
    except ContentInvalid:
        pass


EMPTY = unpacked(encode_events(()))


@pytest.mark.parametrize(
    "data",
    {
        "nothing": b"",
        "no zstd frame": b"assent",
        "more after the frame": VALID + b"\0",
        "a second frame": VALID + packed(b"x"),
        "a skippable frame": b"\x50\x2a\x4d\x18\x04\0\0\0abcd",
        "size not declared": zstandard.ZstdCompressor(write_content_size=False).compress(EMPTY),
        "bytes left over": packed(EMPTY + b"\0"),
        "cut inside": packed(unpacked(VALID)[:-1]),
        "more events than limits allow": packed(varint(2_000_001)),
        "more pictures than limits allow": packed(varint(20_001) + text_table([]) + column([4] * 20_001) + b"\0\0"),
        "more texts than limits allow": packed(varint(0) + varint(2**40)),
        "a text that is not there": packed(varint(0) + varint(1) + column([50]) + b"x"),
        "a text of negative length": packed(varint(0) + varint(2) + column([-1, 1]) + b"x"),
        "a text that is not UTF-8": packed(varint(0) + varint(1) + column([1]) + b"\xff"),
        "an unknown kind": packed(varint(1) + text_table([]) + column([7]) + column([0])),
        "an integer of 80 bits": packed(b"\xff" * 11 + b"\x01"),
        "an integer of 65 bits": packed(b"\xff" * 9 + b"\x02"),
        "an unknown column header": packed(varint(1) + text_table([]) + b"\x08\0"),
        "a column of width 9": packed(varint(1) + text_table([]) + b"\x90\0" + bytes(9)),
        "three differences": packed(varint(1) + text_table([]) + b"\x03\0"),
        "a key type that does not exist": packed(
            varint(1) + text_table([]) + column([3]) + column([0]) + varint(0) + column([0]) * 3
        ),
    }.items(),
    ids=lambda case: case[0],
)
def test_each_kind_of_damage_has_the_one_error(data):
    with pytest.raises(ContentInvalid):
        decode_events(data[1])


@pytest.mark.parametrize("field", ["masked", "displays"])
def test_what_stands_inside_events_is_counted_too(field):
    rects = tuple(Rect(n, 0, 1, 1) for n in range(7))
    events = {
        "masked": ScreenFrame(t_ns=0, seq=0, display=0, width=9, height=9, masked=rects),
        "displays": DisplaysChanged(t_ns=0, seq=0, displays=tuple(Display(id=0, rect=rect) for rect in rects)),
    }
    data = encode_events([events[field]])
    assert decode_events(data, replace(DEFAULT_LIMITS, rectangles=7)) == (events[field],)
    with pytest.raises(ContentInvalid, match="count"):
        decode_events(data, replace(DEFAULT_LIMITS, rectangles=6))


def test_a_zstd_bomb_is_refused_before_it_is_unpacked():
    bomb = packed(bytes(DEFAULT_LIMITS.event_bytes + 1))
    assert len(bomb) < 20_000
    tracemalloc.start()
    with pytest.raises(ContentInvalid):
        decode_events(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
