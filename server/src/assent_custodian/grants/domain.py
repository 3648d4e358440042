"""What becomes of a request: a pure function, so that it can be read and tested without a database.

A request is open until enough distinct stewards approved it, one refused it, or its time ran out. Nobody decides about
their own request, nobody approves twice, and whatever has ended stays ended.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from assent.contracts.limits import APPROVALS_NEEDED, COHORT_FLOOR
from assent.contracts.wire import RequestState


@dataclass(frozen=True)
class Open:
    """Waiting for decisions. `approvals`: who approved so far, by person."""

    requester: str
    expires: datetime
    approvals: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Granted:
    requester: str
    expires: datetime


@dataclass(frozen=True)
class Ended:
    """`how` is final."""

    how: RequestState


State = Open | Granted | Ended


@dataclass(frozen=True)
class Approved:
    """`cohort_size`: people whose consent covers the request at this moment."""

    by: str
    cohort_size: int
    at: datetime


@dataclass(frozen=True)
class Refused:
    by: str
    at: datetime


@dataclass(frozen=True)
class Revoked:
    at: datetime


@dataclass(frozen=True)
class TimePassed:
    at: datetime


Event = Approved | Refused | Revoked | TimePassed


class DecisionRefused(Exception):
    """The decision does not count. `rule` is the id that goes into the log."""

    def __init__(self, rule: str, why: str) -> None:
        super().__init__(why)
        self.rule = rule


def _not_by_requester(state: Open, by: str) -> None:
    if by == state.requester:
        raise DecisionRefused("own-request", "nobody decides about their own request; ask another steward")


def _not_expired(expires: datetime, at: datetime) -> None:
    if at >= expires:
        raise DecisionRefused("expired", "the request has expired; it must be signed anew")


def _open(state: Open, event: Event, wanted: int | None, needed: int, floor: int) -> State:
    match event:
        case Approved(by=by, cohort_size=size, at=at):
            _not_by_requester(state, by)
            _not_expired(state.expires, at)
            if by in state.approvals:
                raise DecisionRefused("approved-twice", "you have approved this request already; another steward must")
            approvals = state.approvals | {by}
            if len(approvals) < needed:
                return Open(state.requester, state.expires, approvals)
            most = size // COHORT_FLOOR * COHORT_FLOOR
            if size < floor or (wanted is not None and not floor <= wanted <= most):
                return Ended("not-available")
            return Granted(state.requester, state.expires)
        case Refused(by=by, at=at):
            _not_by_requester(state, by)
            _not_expired(state.expires, at)
            return Ended("refused")
        case Revoked():
            return Ended("revoked")
        case TimePassed(at=at):
            return Ended("expired") if at >= state.expires else state
        case _:
            assert_never(event)


def _granted(state: Granted, event: Event) -> State:
    match event:
        case Approved() | Refused():
            raise DecisionRefused("already-decided", "the request has been granted already; it can only be revoked")
        case Revoked():
            return Ended("revoked")
        case TimePassed(at=at):
            return Ended("expired") if at >= state.expires else state
        case _:
            assert_never(event)


def _ended(state: Ended, event: Event) -> State:
    match event:
        case Approved() | Refused() | Revoked():
            raise DecisionRefused("ended", f"the request has ended ({state.how}); it must be signed anew")
        case TimePassed():
            return state
        case _:
            assert_never(event)


def step(
    state: State,
    event: Event,
    *,
    wanted: int | None = None,
    needed: int = APPROVALS_NEEDED,
    floor: int = COHORT_FLOOR,
) -> State:
    """Return the next state, or raise DecisionRefused.

    `wanted`: the number of people asked for, None for all. `needed`: approvals by distinct stewards, at least two.
    Fewer than ten people, or a wish for fewer than ten, ends as "not-available" at the last approval, without telling
    anybody how many there were. So does a wish for more than the full tens that there are: where 23 were granted and
    24 were not, asking twice would tell the number. `floor`: these ten; the drill's grants, which reach no people, have
    another.
    """
    if needed < APPROVALS_NEEDED:
        raise ValueError("the number of approvals can only be raised")
    match state:
        case Open():
            return _open(state, event, wanted, needed, floor)
        case Granted():
            return _granted(state, event)
        case Ended():
            return _ended(state, event)
        case _:
            assert_never(state)


def choose(candidates: Sequence[str], wanted: int | None) -> list[str]:
    """The frozen cohort: everybody, or a random choice of `wanted`. Sorted, so that the order says nothing."""
    if wanted is None:
        return sorted(candidates)
    return sorted(secrets.SystemRandom().sample(sorted(candidates), wanted))
