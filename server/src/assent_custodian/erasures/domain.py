"""What an erasure reaches, what becomes of it, and when it is final: pure.

Final means that nobody can bring it back: the keys and the generation over them are destroyed, the collector has
signed that it deleted, and the last backup that could hold either has expired.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from assent.contracts.ids import Modality
from assent.contracts.statements import Erasure
from assent.contracts.times import add_days, day_of, parse_day, parse_hour, parse_moment

FIRST_DAY = "0000-00-00"
"""Before every day there is."""


class ReachInvalid(ValueError):
    """The erasure does not say one thing, or names a day or an hour that the calendar has not."""


@dataclass(frozen=True)
class Reach:
    """Streams of these modalities, from the first day to the last. `hours`: by day, or None for whole streams."""

    modalities: frozenset[Modality]
    first_day: str
    last_day: str
    hours: Mapping[str, tuple[str, ...]] | None


def reach_of(erasure: Erasure) -> Reach:
    """Raises ReachInvalid. It never reaches beyond the day on which the person signed."""
    by_days = erasure.from_day is not None or erasure.to_day is not None
    if sum((bool(erasure.hours), by_days, erasure.everything)) != 1:
        raise ReachInvalid("an erasure names hours, or a first and a last day, or everything: exactly one of the three")
    modalities = frozenset(erasure.modalities or Modality)
    try:
        signed_on = day_of(parse_moment(erasure.at))
        if erasure.hours:
            by_day: dict[str, set[str]] = {}
            for hour in erasure.hours:
                by_day.setdefault(day_of(parse_hour(hour)), set()).add(hour)
            hours = {day: tuple(sorted(of_day)) for day, of_day in by_day.items() if day <= signed_on}
            return Reach(modalities, min(by_day), min(max(by_day), signed_on), hours)
        if erasure.everything:
            return Reach(modalities, FIRST_DAY, signed_on, None)
        if erasure.from_day is None or erasure.to_day is None:
            raise ReachInvalid("a first and a last day are needed; for one day they are the same")
        if parse_day(erasure.from_day) > parse_day(erasure.to_day):
            raise ReachInvalid("the first day is after the last")
    except ReachInvalid:
        raise
    except ValueError as error:
        raise ReachInvalid("a day or an hour is not one of the calendar") from error
    return Reach(modalities, erasure.from_day, min(erasure.to_day, signed_on), None)


class State(StrEnum):
    """How far an erasure has come. What is `destroyed` opens for nobody; `final`: nobody can bring it back."""

    REQUESTED = "requested"
    DESTROYED = "destroyed"
    FINAL = "final"
    CALLED_OFF = "called-off"


class Event(StrEnum):
    """`destroy`: its keys are destroyed, or the tombstones of its hours signed. `finish`: see `final`. `call-off`: it
    was asked for by a key that came of a recovery, and the recovery was stopped.
    """

    DESTROY = "destroy"
    FINISH = "finish"
    CALL_OFF = "call-off"


STEPS: Mapping[tuple[State, Event], State] = {
    (State.REQUESTED, Event.DESTROY): State.DESTROYED,
    (State.REQUESTED, Event.CALL_OFF): State.CALLED_OFF,
    (State.DESTROYED, Event.FINISH): State.FINAL,
}


def step(state: State, event: Event) -> State:
    """The state after an event. What is not in the table changes nothing: nothing destroyed is called off any more."""
    return STEPS.get((state, event), state)


@dataclass(frozen=True)
class Progress:
    """What has happened of one erasure. `None` among the days means: not yet.

    `generation`: the day on which the KEK generation was destroyed under which its keys were wrapped; `keys` False:
    no key was destroyed (hours of streams that live on), so that there is no such day to wait for.
    `orders`: for each of its tombstones the day on which the collector acknowledged the order that carried it.
    """

    destroyed: str | None
    keys: bool
    generation: str | None
    orders: Iterable[str | None]


@dataclass(frozen=True)
class Final:
    """The days that the final receipt names."""

    keys_destroyed: str | None
    deleted: str
    backups_expired: str


def final(progress: Progress, backup_days: int, today: str, oldest_backup: str | None = None) -> Final | None:
    """The final days, or None while anything is outstanding. Every doubt says that something is.

    `oldest_backup`: the day of the oldest backup that is known to lie there still, whatever was configured.
    """
    if progress.destroyed is None or (progress.keys and progress.generation is None):
        return None
    acknowledged = list(progress.orders)
    if None in acknowledged:
        return None
    deleted = max([progress.destroyed, *(day for day in acknowledged if day is not None)])
    last = max(deleted, progress.generation or deleted)
    if oldest_backup is not None and oldest_backup <= last:
        return None
    expired = add_days(last, backup_days)
    return Final(progress.generation, deleted, expired) if expired <= today else None
