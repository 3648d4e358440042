"""Times as they are written down: UTC, to the precision that each place may know.

A *day* is `2026-11-23`, an *hour* is `2026-11-23T14`, a *moment* is whole seconds `2026-11-23T14:05:09Z`.
The collector and the custodian keep days; a segment header says an hour; moments stand in statements only.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import StringConstraints

Day = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Hour = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}$")]
Moment = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]


def moment(at: datetime) -> str:
    """Write an aware datetime as whole seconds in UTC. Raises ValueError for a naive one."""
    if at.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_moment(text: str) -> datetime:
    """Read a moment. Raises ValueError when the text is not exactly one."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def day_of(at: datetime) -> str:
    """The UTC day in which `at` lies."""
    return at.astimezone(UTC).strftime("%Y-%m-%d")


def hour_of(at: datetime) -> str:
    """The UTC hour in which `at` lies."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H")


def parse_day(text: str) -> date:
    """Read a day. Raises ValueError when the text is not exactly one (also for 2026-02-30)."""
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()


def parse_hour(text: str) -> datetime:
    """The first moment of an hour. Raises ValueError when the text is not exactly one."""
    return datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC)


def add_days(day: str, count: int) -> str:
    """The day `count` days after `day`."""
    return (parse_day(day) + timedelta(days=count)).isoformat()
