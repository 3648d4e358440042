"""Consent as a state and what is left of it: pure, and it can only shrink.

A receipt is given once. From then on events end it or take choices away; nothing adds any. The ends are final: giving
again is a new receipt. Even after an end, a withdrawal still takes choices away, so that what an expired receipt
covered does not reopen under a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias, assert_never

from assent.contracts.ids import Modality
from assent.contracts.statements import Mode, Receipt


class State(StrEnum):
    GIVEN = "given"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    TERMINATED = "terminated"
    INVALIDATED = "invalidated"


ENDED = frozenset({State.WITHDRAWN, State.TERMINATED, State.INVALIDATED})
"""What a receipt in one of these states covered opens for nobody but its person. An expired one can be renewed."""


@dataclass(frozen=True, order=True)
class Granted:
    """One choice that was agreed to."""

    modality: Modality
    purpose: str
    version: int


@dataclass(frozen=True)
class Consent:
    """The state of one receipt, and the choices in it that were not taken away."""

    state: State
    left: frozenset[Granted]


@dataclass(frozen=True)
class Withdrew:
    """The person withdraws. Empty means all; both given means these modalities for these purposes."""

    modalities: frozenset[Modality] = frozenset()
    purposes: frozenset[str] = frozenset()

    def takes(self, choice: Granted) -> bool:
        return (not self.modalities or choice.modality in self.modalities) and (
            not self.purposes or choice.purpose in self.purposes
        )


@dataclass(frozen=True)
class RanOut:
    """`valid_until` has come."""


@dataclass(frozen=True)
class EndedByController:
    """The controller ends the programme for this receipt."""


@dataclass(frozen=True)
class DeclaredInvalid:
    """An authority has declared the receipt invalid."""


Event: TypeAlias = Withdrew | RanOut | EndedByController | DeclaredInvalid


def given(receipt: Receipt) -> Consent:
    """The beginning of every receipt."""
    return Consent(State.GIVEN, frozenset(Granted(c.modality, c.purpose, c.purpose_version) for c in receipt.choices))


def step(consent: Consent, event: Event) -> Consent:
    """The consent after an event. Choices never grow, and an end is never left."""
    match event:
        case Withdrew():
            left = frozenset(choice for choice in consent.left if not event.takes(choice))
            ended = consent.state is State.GIVEN and not left
            return Consent(State.WITHDRAWN if ended else consent.state, left)
        case RanOut():
            return replace(consent, state=State.EXPIRED) if consent.state is State.GIVEN else consent
        case EndedByController():
            return _ended(consent, State.TERMINATED)
        case DeclaredInvalid():
            return _ended(consent, State.INVALIDATED)
        case _:
            assert_never(event)


def _ended(consent: Consent, state: State) -> Consent:
    return Consent(state if consent.state is State.GIVEN else consent.state, frozenset())


def keeps_stream(consent: Consent, modality: Modality) -> bool:
    """Whether any purpose remains for streams of this modality. When none does, they are closed and erased."""
    return any(choice.modality is modality for choice in consent.left)


@dataclass(frozen=True)
class Use:
    """What somebody wants to do with a recording."""

    purpose: str
    version: int
    recipient: str
    mode: Mode


def permits(receipt: Receipt, consent: Consent, modality: Modality, use: Use) -> bool:
    """Whether this receipt, as far as it is left, agreed to this use. Its time is for the caller to look at."""
    return (
        Granted(modality, use.purpose, use.version) in consent.left
        and use.recipient in receipt.recipients
        and use.mode in receipt.modes
    )
