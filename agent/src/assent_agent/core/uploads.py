"""When to send, in which order, and what an answer means.

About hourly, with jitter, so that no clock of a network shows whose agent this is; streams in random order, each
stream from its beginning. What fails is tried again later, ever more slowly. A segment is deleted only for the
collector's signature on its id; every other answer, whatever its status code, changes nothing here. "Revoked" counts
only with the custodian's signed word, which destroys what is left of that stream.

Pure: times and random numbers come with the calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Final, TypeVar

RETRY_FIRST: Final = timedelta(seconds=30)
RETRY_MOST: Final = timedelta(hours=1)

T = TypeVar("T")


class Outcome(StrEnum):
    """What became of one attempt to send something."""

    STORED = "stored"
    """The collector signed for it: note it, delete it, go on."""
    REVOKED = "revoked"
    """The custodian signed that the stream is closed: destroy it, go on with the next stream."""
    ERASED = "erased"
    """The custodian signed that this hour of the stream was erased: skip it, go on."""
    LATER = "later"
    """Nobody answered, or the service cannot now: end this batch, try again."""
    STUCK = "stuck"
    """The collector refuses this stream: leave it as it is, tell the person, go on with the next stream."""
    NOT_THE_COLLECTOR = "not-the-collector"
    """Whatever answered does not speak for the collector (a sign-in page, for instance): end this batch, try again."""


@dataclass(frozen=True)
class Schedule:
    """When the next batch is due. `interval` is the mean; each wait is between 0.75 and 1.25 of it."""

    interval: timedelta
    due: datetime
    failures: int = 0


def first(interval: timedelta, now: datetime, random: Random) -> Schedule:
    """The first batch of a run: after a part of the interval, so that starting work does not show as traffic."""
    return Schedule(interval, now + interval * random.uniform(0.25, 1.0))


def after_batch(schedule: Schedule, now: datetime, random: Random, *, succeeded: bool) -> Schedule:
    """The next time. Failures wait 30 s, 60 s, 120 s … up to an hour, each with jitter."""
    if succeeded:
        return replace(schedule, due=now + schedule.interval * random.uniform(0.75, 1.25), failures=0)
    wait = min(RETRY_MOST, RETRY_FIRST * 2 ** min(schedule.failures, 16))
    return replace(schedule, due=now + wait * random.uniform(0.5, 1.5), failures=schedule.failures + 1)


def asked_for(schedule: Schedule, now: datetime) -> Schedule:
    """The person said "send now"."""
    return replace(schedule, due=now, failures=0)


def shuffled(streams: Sequence[T], random: Random) -> list[T]:
    """The streams in random order: the order says nothing about which belong together."""
    order = list(streams)
    random.shuffle(order)
    return order


def overdue(upload_until: str, today: str) -> bool:
    """Whether the collector does not accept this stream any more (days compare as text)."""
    return today > upload_until
