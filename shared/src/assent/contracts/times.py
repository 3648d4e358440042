"""Times as they are written down: UTC, to the precision that each place may know.

A *day* is `2026-11-23`, an *hour* is `2026-11-23T14`, a *moment* is whole seconds `2026-11-23T14:05:09Z`.
The collector and the custodian keep days; a segment header says an hour; moments stand in statements only.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import StringConstraints

_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_HOUR = rf"{_DAY}T[0-9]{{2}}"
_MOMENT = rf"{_HOUR}:[0-9]{{2}}:[0-9]{{2}}Z"

Day = Annotated[str, StringConstraints(pattern=f"^{_DAY}$")]
Hour = Annotated[str, StringConstraints(pattern=f"^{_HOUR}$")]
Moment = Annotated[str, StringConstraints(pattern=f"^{_MOMENT}$")]


def moment(at: datetime) -> str:
    """Write an aware datetime as whole seconds in UTC. Raises ValueError for a naive one."""
    if at.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_moment(text: str) -> datetime:
    """Read a moment. Raises ValueError when the text is not exactly one."""
    return _read(_MOMENT, text)


def day_of(at: datetime) -> str:
    """The UTC day in which `at` lies."""
    return at.astimezone(UTC).strftime("%Y-%m-%d")


def hour_of(at: datetime) -> str:
    """The UTC hour in which `at` lies."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H")


def parse_day(text: str) -> date:
    """Read a day. Raises ValueError when the text is not exactly one (also for 2026-02-30)."""
    return _read(_DAY, text).date()


def parse_hour(text: str) -> datetime:
    """The first moment of an hour. Raises ValueError when the text is not exactly one."""
    return _read(_HOUR, text)


def add_days(day: str, count: int) -> str:
    """The day `count` days after `day`."""
    return (parse_day(day) + timedelta(days=count)).isoformat()


def _read(pattern: str, text: str) -> datetime:
    if not re.fullmatch(pattern, text):
        raise ValueError(f"{text!r} is not written as {pattern}")
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
