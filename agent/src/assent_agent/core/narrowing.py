"""What the person takes away from what they agreed to: applications, monitors, and hours of the day.

It can only make less be recorded, it needs nobody, and it stays on this computer: nothing that is sent says which
application or monitor was taken away, nor that it was an hour, and not a pause, in which nothing was recorded.

Pure: moments come with the call, in the time of the person's own clock on the wall.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time

from assent_agent.core import monitors as monitor_words
from assent_agent.core.monitors import Chosen

NARROWING_UNREADABLE = (
    "Your own list of what you took away (narrowing.json) cannot be read, so nothing is recorded until it can. "
    "'assent-agent consent narrow --clear' begins a new one: take away again there what you do not want recorded."
)


class NarrowingInvalid(ValueError):
    """These are no hours; says how they are written."""


@dataclass(frozen=True)
class Narrowing:
    """`applications`: never recorded, whatever the employer's list says. `hours`: recorded only from the first to the
    second time of the day (the second is no longer in it; they may go over midnight); None: at any hour. `monitors`:
    which may be recorded; None: all of them.
    """

    applications: frozenset[str] = frozenset()
    hours: tuple[time, time] | None = None
    monitors: Chosen | None = None

    def within(self, local: datetime) -> bool:
        """Whether the person allows being recorded at this hour of their day."""
        if self.hours is None:
            return True
        begin, end = self.hours
        now = local.time()
        return begin <= now < end if begin < end else now >= begin or now < end

    def words(self) -> tuple[str, ...]:
        """What was taken away, for the person, one line each; empty when nothing was."""
        lines = []
        if self.applications:
            lines.append(f"You took these applications away: {', '.join(sorted(self.applications))}.")
        if self.hours is not None:
            lines.append(f"You are recorded only at these hours: {hours_text(self.hours)}.")
        if self.monitors is not None:
            lines.append(f"You are recorded {monitor_words.words(self.monitors)}.")
        return tuple(lines)


def hours_of(text: str) -> tuple[time, time]:
    """Read `9:00-17:30`. Raises NarrowingInvalid."""
    found = re.fullmatch(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)", text.strip())
    try:
        if found is None:
            raise ValueError
        begin, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
    except ValueError as error:
        raise NarrowingInvalid("hours are written like 9:00-17:30") from error
    if begin == end:
        raise NarrowingInvalid("the first and the last hour are the same; leave hours out to be recorded at any")
    return begin, end


def hours_text(hours: tuple[time, time]) -> str:
    """As `hours_of` reads it."""
    return "-".join(each.strftime("%H:%M") for each in hours)
