"""What the person takes away: hours of the day, as a clock on the wall tells them."""

from __future__ import annotations

from datetime import datetime, time

import pytest

from assent_agent.core.narrowing import Narrowing, NarrowingInvalid, hours_of, hours_text


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("9:00-17:30", ["09:00", "12:00", "17:29"], ["08:59", "17:30", "23:00", "00:00"]),
        ("22:00-6:00", ["22:00", "23:59", "00:00", "05:59"], ["06:00", "12:00", "21:59"]),
    ],
)
def test_hours_begin_with_the_first_and_end_before_the_last_also_over_midnight(
    hours: str, inside: list[str], outside: list[str]
) -> None:
    narrowing = Narrowing(hours=hours_of(hours))
    for text in (*inside, *outside):
        at = datetime.combine(datetime(2026, 11, 26), time.fromisoformat(text))
        assert narrowing.within(at) is (text in inside), text
    assert Narrowing().within(datetime(2026, 11, 26, 3))


@pytest.mark.parametrize("text", ["", "9-17", "9:00", "25:00-26:00", "9:61-10:00", "9:00-9:00", "9:00-17:30 and more"])
def test_what_is_no_range_of_hours_is_refused_with_an_example_or_a_reason(text: str) -> None:
    with pytest.raises(NarrowingInvalid, match=r"9:00-17:30|the same"):
        hours_of(text)


def test_hours_are_written_as_they_are_read() -> None:
    assert hours_text(hours_of("9:05-17:30")) == "09:05-17:30"
    assert hours_of(hours_text(hours_of("22:00-6:00"))) == hours_of("22:00-6:00")
