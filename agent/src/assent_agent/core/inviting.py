"""Being asked for consent: at most once in 90 days, never again if the person says so, and never while they take part.

What somebody answers to the question stays on this computer: nobody learns who refused. The states are those before a
receipt (DPV: ConsentRequested, ConsentRequestDeferred, ConsentRefused, ConsentGiven); what becomes of a receipt is
`core.consent`'s and the custodian's business.

Pure: every event brings its own time (aware datetimes in UTC).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

INVITE_EVERY = timedelta(days=90)


class Answer(StrEnum):
    """What became of the question so far."""

    REQUESTED = "requested"
    DEFERRED = "deferred"
    REFUSED = "refused"
    GIVEN = "given"


@dataclass(frozen=True)
class Inviting:
    """`asked`: when the person was last asked, or said something about it. `never`: they do not want to be asked."""

    answer: Answer | None = None
    asked: datetime | None = None
    never: bool = False


@dataclass(frozen=True)
class Invited:
    """The agent asks: it shows the offer without being told to."""

    now: datetime


@dataclass(frozen=True)
class PutOff:
    """ "Not now"."""

    now: datetime


@dataclass(frozen=True)
class Declined:
    """ "No"; with `never`, "and do not ask me again"."""

    now: datetime
    never: bool = False


@dataclass(frozen=True)
class Gave:
    """The person agreed."""

    now: datetime


@dataclass(frozen=True)
class TookBack:
    """The person withdrew everything. Whoever has just said no is not asked whether they mean it."""

    now: datetime


InvitingEvent = Invited | PutOff | Declined | Gave | TookBack


def may_invite(state: Inviting, now: datetime) -> bool:
    """Whether the person may be asked now. A clock that went back says nothing about how long ago it was: not now."""
    if state.never or state.answer is Answer.GIVEN:
        return False
    return state.asked is None or now - state.asked >= INVITE_EVERY


def step(state: Inviting, event: InvitingEvent) -> Inviting:
    """The next state. Only agreeing takes back "never"; an invitation that may not be is none."""
    # Not before what is known already: a clock that went back for a while does not make a question older.
    asked = event.now if state.asked is None else max(state.asked, event.now)
    match event:
        case Invited(now):
            return replace(state, answer=Answer.REQUESTED, asked=asked) if may_invite(state, now) else state
        case PutOff():
            # Who takes part and does not like a changed offer goes on having agreed to the old one.
            return state if state.answer is Answer.GIVEN else replace(state, answer=Answer.DEFERRED, asked=asked)
        case Declined(never=never):
            answer = Answer.GIVEN if state.answer is Answer.GIVEN else Answer.REFUSED
            return Inviting(answer, asked, state.never or never)
        case Gave():
            return Inviting(Answer.GIVEN, asked)
        case TookBack():
            return replace(state, answer=Answer.REFUSED, asked=asked)
        case _:
            assert_never(event)
