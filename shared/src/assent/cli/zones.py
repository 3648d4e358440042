"""Times as people in one place read and write them: ISO 8601, always with the offset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Annotated, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from assent.contracts.times import parse_day, parse_moment

TimeZone: TypeAlias = Annotated[
    str | None,
    typer.Option("--tz", metavar="ZONE", help="Time zone, as Europe/Berlin or UTC; default: that of this computer."),
]


@dataclass(frozen=True)
class Zone:
    """Where whoever reads is. `zone` None: where this computer is."""

    zone: tzinfo | None = None

    @classmethod
    def named(cls, name: str | None) -> Zone:
        """Raises typer.BadParameter."""
        if name is None:
            return cls()
        try:
            return cls(ZoneInfo(name))
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise typer.BadParameter(f"{name!r} is no time zone that this computer knows; write it as Europe/Berlin or "
                                     "UTC") from error  # fmt: skip

    def shown(self, at: datetime) -> str:
        return at.astimezone(self.zone).isoformat(timespec="seconds")

    def text(self, at: str) -> str:
        """A moment as it is written in the log; a day stays what it is."""
        return at if len(at) == len("2026-11-23") else self.shown(parse_moment(at))

    def day(self, at: datetime) -> date:
        return at.astimezone(self.zone).date()

    def begins(self, day: date) -> datetime:
        """The first moment of a day."""
        midnight = datetime(day.year, day.month, day.day)
        return midnight.replace(tzinfo=self.zone) if self.zone is not None else midnight.astimezone()

    def parse(self, text: str, *, end: bool = False) -> datetime:
        """A day or moment that somebody typed; without an offset it is meant here. `end`: a day means its end.

        Raises typer.BadParameter.
        """
        try:
            if len(text) == len("2026-11-23"):
                return self.begins(parse_day(text) + timedelta(days=1 if end else 0))
            at = datetime.fromisoformat(text)
        except (ValueError, OverflowError) as error:
            raise typer.BadParameter(
                f"{text!r} is no time; write it as 2026-11-23, 2026-11-23T14:05 or 2026-11-23T14:05:09+01:00"
            ) from error
        if at.tzinfo is not None:
            return at
        return at.replace(tzinfo=self.zone) if self.zone is not None else at.astimezone()
