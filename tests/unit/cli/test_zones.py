"""Times are read and written where somebody is, and always say where that is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
import typer

from assent.cli.zones import Zone

BERLIN = Zone.named("Europe/Berlin")
SUMMER, WINTER = datetime(2026, 7, 1, 12, tzinfo=UTC), datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def in_kathmandu() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Kathmandu"
    time.tzset()
    yield
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


def test_times_have_the_offset_of_their_season() -> None:
    assert BERLIN.shown(SUMMER) == "2026-07-01T14:00:00+02:00"
    assert BERLIN.shown(WINTER) == "2026-11-23T13:00:00+01:00"
    assert Zone.named("UTC").text("2026-11-23T12:00:00Z") == "2026-11-23T12:00:00+00:00"
    assert BERLIN.text("2026-11-23") == "2026-11-23", "a day of the log stays a day"


@pytest.mark.usefixtures("in_kathmandu")
def test_without_a_name_it_is_the_zone_of_this_computer() -> None:
    here = Zone.named(None)
    assert here.shown(WINTER) == "2026-11-23T17:45:00+05:45"
    assert here.parse("2026-11-23") == datetime(2026, 11, 22, 18, 15, tzinfo=UTC)
    assert here.parse("2026-11-23T17:45") == WINTER
    assert here.day(datetime(2026, 11, 22, 18, 15, tzinfo=UTC)) == date(2026, 11, 23)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-23", datetime(2026, 11, 22, 23, tzinfo=UTC)),
        ("2026-11-23T13:00", WINTER),
        ("2026-11-23 13:00:00", WINTER),
        ("2026-11-23T12:00:00Z", WINTER),
        ("2026-11-23T17:45:00+05:45", WINTER),
    ],
)
def test_what_was_typed_is_meant_here_unless_it_says_otherwise(text: str, at: datetime) -> None:
    assert BERLIN.parse(text) == at


def test_the_end_of_a_day_is_the_beginning_of_the_next_also_when_clocks_change() -> None:
    changed = BERLIN.parse("2026-10-25", end=True) - BERLIN.parse("2026-10-25")
    assert changed == timedelta(days=1), "of the clock on the wall"
    lasts = BERLIN.parse("2026-10-25", end=True).astimezone(UTC) - BERLIN.parse("2026-10-25").astimezone(UTC)
    assert lasts == timedelta(hours=25)
    assert BERLIN.parse("2026-11-23T13:00", end=True) == WINTER, "a moment is its own end"


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "23.11.2026", "2026-11-23T25:00", "9999-12-31x"])
def test_what_is_no_time_is_wrong_usage(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="write it as"):
        BERLIN.parse(text)


@pytest.mark.parametrize("name", ["", "Nowhere/Land", "../../etc/passwd", "/etc/passwd", "CEST+99"])
def test_what_is_no_zone_is_wrong_usage(name: str) -> None:
    with pytest.raises(typer.BadParameter, match="no time zone"):
        Zone.named(name)
