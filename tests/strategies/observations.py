"""Hypothesis strategies for everything an agent can observe, extremes included."""

from __future__ import annotations

from hypothesis import strategies as st

from assent.contracts.events import (
    ClockAnchor,
    Display,
    DisplaysChanged,
    Event,
    Gap,
    GapReason,
    KeyEvent,
    PointerButton,
    PointerMoved,
    PointerScrolled,
    Rect,
    ScreenFrame,
    SegmentContent,
    WindowActivated,
)

integers = st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300)
texts = st.text(max_size=12)
rects = st.builds(Rect, integers, integers, integers, integers)
displays = st.builds(Display, id=integers, rect=rects, scale=st.floats(allow_nan=False, allow_infinity=False))
_common = {"t_ns": integers, "seq": integers}
_place = {**_common, "x": integers, "y": integers, "display": integers}

events: st.SearchStrategy[Event] = st.one_of(
    st.builds(PointerMoved, **_place),
    st.builds(PointerButton, **_place, button=integers, pressed=st.booleans()),
    st.builds(PointerScrolled, **_place, dx=integers, dy=integers),
    st.builds(KeyEvent, **_common, key=texts, pressed=st.booleans(), code=integers, vk=integers),
    st.builds(
        ScreenFrame,
        **_common,
        display=integers,
        width=integers,
        height=integers,
        binding=st.sampled_from(["before", "after", "periodic"]),
        action=st.none() | st.tuples(texts, integers),
        lag_ns=integers,
        cursor_x=integers,
        cursor_y=integers,
        masked=st.lists(rects, max_size=3).map(tuple),
    ),
    st.builds(WindowActivated, **_common, rect=rects, application=texts, title=texts, excluded=st.booleans()),
    st.builds(DisplaysChanged, **_common, displays=st.lists(displays, max_size=3).map(tuple)),
)

contents: st.SearchStrategy[SegmentContent] = st.builds(
    SegmentContent,
    stream=texts,
    sequence=integers,
    modality=texts,
    events=st.lists(events, max_size=12).map(tuple),
    anchors=st.lists(st.builds(ClockAnchor, t_ns=integers, wall_ns=integers, stepped=st.booleans()), max_size=3).map(
        tuple
    ),
    gaps=st.lists(
        st.builds(Gap, from_ns=integers, until_ns=integers, reason=st.sampled_from(GapReason), count=integers),
        max_size=3,
    ).map(tuple),
    frames=st.binary(max_size=40),
    resolution_ns=integers,
)
