"""The agent's permission to record, decided in one place.

Recording is permitted only while *every* one of these facts holds: the person gave a receipt and it has not ended; it
covers the modality; a live certificate of the custodian covers the modality; the switch of this device is on; the
indicator is shown; the clock agrees with the custodian's signed time; the programme is not halted; the session is
neither paused nor locked; the sources and the disk work. A fact that is unknown is a fact that does not hold, so a
new state permits nothing.

Withdrawal wins from every state: capture stops, the withdrawal is queued and the spool is destroyed, in this order.
(It is queued before the spool goes, so that a crash in between cannot make a withdrawal unsaid.) Time can end a
permission, never grant one; the end of a timed pause is not consent, it only takes away the pause, and only by a
clock that agrees with the custodian's.

Doubt about a permission stops recording; it does not destroy what is sealed. That a receipt is not live any more may
only mean that it was renewed or has expired: only the custodian's signed word that it ended takes the spool with it.

Pure: every event brings its own time (aware datetimes in UTC).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from assent.contracts import limits
from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Modality

CLOCK_DOUBT = timedelta(seconds=limits.CLOCK_DOUBT_S)


@dataclass(frozen=True)
class HeldReceipt:
    """What the agent must know of the receipt it holds. `choices`: pairs of modality and purpose (IRI)."""

    record: str
    choices: frozenset[tuple[Modality, str]]
    keyboard_mode: KeyboardMode
    valid_from: datetime
    valid_until: datetime

    @property
    def modalities(self) -> frozenset[Modality]:
        """What may be recorded at all under it. `keyboard` only when its mode is not `off`."""
        agreed = {modality for modality, _ in self.choices}
        if self.keyboard_mode is KeyboardMode.OFF:
            agreed.discard(Modality.KEYBOARD)
        return frozenset(agreed)

    def covers_any(self, modalities: frozenset[Modality], purposes: frozenset[str]) -> bool:
        """Would withdrawing this withdraw anything?"""
        return self.without(modalities, purposes) != self

    def without(self, modalities: frozenset[Modality], purposes: frozenset[str]) -> HeldReceipt | None:
        """The receipt less what was withdrawn; None when nothing remains. Two empty sets withdraw all of it."""
        if not modalities and not purposes:
            return None
        rest = frozenset(
            (modality, purpose)
            for modality, purpose in self.choices
            if not ((not modalities or modality in modalities) and (not purposes or purpose in purposes))
        )
        return replace(self, choices=rest) if rest else None


# --- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReceiptGiven:
    """The custodian counter-signed a receipt, or a stored one was read at start."""

    receipt: HeldReceipt
    now: datetime


@dataclass(frozen=True)
class Withdrawn:
    """The person withdrew: everything (two empty sets), or these modalities, or these purposes, of it."""

    modalities: frozenset[Modality] = frozenset()
    purposes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LiveReceiptsTold:
    """The custodian's signed news: which records allow recording now, each with the choices that are left of it."""

    live: Mapping[str, frozenset[tuple[Modality, str]]]


@dataclass(frozen=True)
class ReceiptEnded:
    """The custodian's signed news: this receipt was withdrawn, terminated or invalidated, not replaced or expired."""

    record: str


@dataclass(frozen=True)
class CertificatesHeld:
    """Live certificates by modality: recording must have ended at that moment."""

    until: tuple[tuple[Modality, datetime], ...]
    now: datetime


@dataclass(frozen=True)
class SwitchedOn:
    """The person switched recording on, on this device."""


@dataclass(frozen=True)
class SwitchedOff:
    """The person switched recording off, on this device."""


@dataclass(frozen=True)
class IndicatorShown:
    """The person can see that, and whether, the agent records (a replay shows nothing and captures nothing)."""


@dataclass(frozen=True)
class IndicatorLost:
    """The indicator is gone."""


@dataclass(frozen=True)
class ClockCompared:
    """The custodian's signed time less the wall clock, in seconds."""

    offset_s: float


@dataclass(frozen=True)
class ClockStepped:
    """The wall clock moved by this many seconds more than the monotonic clock did. A timed pause moves with it."""

    step_s: float


@dataclass(frozen=True)
class HaltTold:
    """The custodian's signed news says that the programme is halted, and why."""

    reason: str


@dataclass(frozen=True)
class HaltLifted:
    """The custodian's signed news says that it is not halted (any more)."""


@dataclass(frozen=True)
class DeviceRevoked:
    """The custodian's signed news says that this device's key was revoked. That is for good; nothing is destroyed."""


@dataclass(frozen=True)
class Paused:
    """The person paused, until a moment or (None) until they resume."""

    until: datetime | None


@dataclass(frozen=True)
class Resumed:
    """The person resumed."""


@dataclass(frozen=True)
class HourTold:
    """Whether the person allows being recorded at this hour of their day. None: what they took away cannot be read."""

    allowed: bool | None


@dataclass(frozen=True)
class Locked:
    """The session is locked, or another one is in front."""


@dataclass(frozen=True)
class Unlocked:
    """The session is in front and unlocked."""


@dataclass(frozen=True)
class TroubleBegan:
    """Something without which nothing can be recorded fails: a source, the disk, or the log that watches the others."""

    what: Trouble


@dataclass(frozen=True)
class TroubleEnded:
    what: Trouble


@dataclass(frozen=True)
class Ticked:
    """Time passed."""

    now: datetime


@dataclass(frozen=True)
class Ended:
    """The agent is ending."""


ConsentEvent = (
    ReceiptGiven
    | Withdrawn
    | LiveReceiptsTold
    | ReceiptEnded
    | CertificatesHeld
    | SwitchedOn
    | SwitchedOff
    | IndicatorShown
    | IndicatorLost
    | ClockCompared
    | ClockStepped
    | HaltTold
    | HaltLifted
    | DeviceRevoked
    | Paused
    | HourTold
    | Resumed
    | Locked
    | Unlocked
    | TroubleBegan
    | TroubleEnded
    | Ticked
    | Ended
)


# --- effects --------------------------------------------------------------------------------------


class Why(StrEnum):
    """Why nothing is recorded, the strongest reason first. This is what status says."""

    ENDED = "ended"
    LOG = "log"
    HALTED = "halted"
    REVOKED = "revoked"
    NO_RECEIPT = "no-receipt"
    SWITCHED_OFF = "switched-off"
    PAUSED = "paused"
    NARROWING = "narrowing"
    HOURS = "hours"
    LOCKED = "locked"
    NO_INDICATOR = "no-indicator"
    CLOCK = "clock"
    DISK = "disk"
    SOURCE = "source"
    NO_CERTIFICATE = "no-certificate"


class Trouble(StrEnum):
    LOG = "log"
    DISK = "disk"
    SOURCE = "source"


@dataclass(frozen=True)
class StartCapture:
    """Record these modalities from now on."""

    modalities: frozenset[Modality]
    keyboard_mode: KeyboardMode


@dataclass(frozen=True)
class StopCapture:
    """Record nothing from now on. What was observed before is closed and sealed, but that of the modalities in
    `discard` (None: of all) is thrown away."""

    why: Why
    discard: frozenset[Modality] | None = frozenset()


@dataclass(frozen=True)
class QueueWithdrawal:
    """Write the withdrawal down, so that it is delivered when it can be. Two empty sets: all of the receipt. `record`
    None: of every receipt."""

    record: str | None
    modalities: frozenset[Modality] = frozenset()
    purposes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class DestroySpool:
    """Destroy every stream of these modalities that is still here (None: of all)."""

    modalities: frozenset[Modality] | None = None


@dataclass(frozen=True)
class WantCertificates:
    """Ask the custodian for certificates for these modalities."""

    modalities: frozenset[Modality]


Effect = StartCapture | StopCapture | QueueWithdrawal | DestroySpool | WantCertificates


# --- state ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pause:
    """`until` None: until the person resumes."""

    until: datetime | None


@dataclass(frozen=True)
class ConsentState:
    """All facts that the permission depends on. The defaults are doubts, and permit nothing.

    `clock_sane` None: never compared with the custodian's time. `capturing`: what was last started.
    """

    receipt: HeldReceipt | None = None
    switched_on: bool = False
    indicator: bool = False
    clock_sane: bool | None = None
    halted: str | None = None
    pause: Pause | None = None
    locked: bool = False
    troubles: frozenset[Trouble] = frozenset()
    certificates: tuple[tuple[Modality, datetime], ...] = ()
    ended: bool = False
    revoked: bool = False
    capturing: frozenset[Modality] = frozenset()
    out_of_hours: bool = False
    narrowing_unread: bool = False

    @property
    def certified(self) -> frozenset[Modality]:
        return frozenset(modality for modality, _ in self.certificates)

    @property
    def permitted(self) -> frozenset[Modality]:
        """What may be recorded now. Empty unless every fact holds."""
        if self.why is not None or self.receipt is None:
            return frozenset()
        return self.receipt.modalities & self.certified

    @property
    def why(self) -> Why | None:
        """The strongest reason why nothing may be recorded; None when something may."""
        if self.ended:
            return Why.ENDED
        if Trouble.LOG in self.troubles:
            return Why.LOG
        if self.halted is not None:
            return Why.HALTED
        if self.revoked:
            return Why.REVOKED
        if self.receipt is None:
            return Why.NO_RECEIPT
        reasons = (
            (not self.switched_on, Why.SWITCHED_OFF),
            (self.pause is not None, Why.PAUSED),
            (self.narrowing_unread, Why.NARROWING),
            (self.out_of_hours, Why.HOURS),
            (self.locked, Why.LOCKED),
            (not self.indicator, Why.NO_INDICATOR),
            (self.clock_sane is not True, Why.CLOCK),
            (Trouble.DISK in self.troubles, Why.DISK),
            (Trouble.SOURCE in self.troubles, Why.SOURCE),
            (not self.receipt.modalities & self.certified, Why.NO_CERTIFICATE),
        )
        return next((why for holds, why in reasons if holds), None)


def step(state: ConsentState, event: ConsentEvent) -> tuple[ConsentState, tuple[Effect, ...]]:
    """Return the next state and what the agent must now do, in this order.

    Capture is stopped before anything else is done, and started after everything else. An event that changes no
    permission has no effects. Withdrawing without a receipt still destroys whatever is here.
    """
    if isinstance(event, Withdrawn):
        return _withdrawn(state, event)
    after, effects = _learn(state, event)
    return _settle(state, after, effects)


def _withdrawn(state: ConsentState, event: Withdrawn) -> tuple[ConsentState, tuple[Effect, ...]]:
    if state.receipt is None:
        return _settle(state, state, (DestroySpool(),))
    rest = state.receipt.without(event.modalities, event.purposes)
    queue = QueueWithdrawal(state.receipt.record, event.modalities, event.purposes)
    gone = None if rest is None else state.receipt.modalities - rest.modalities
    destroy = () if gone == frozenset() else (DestroySpool(gone),)
    after = replace(state, receipt=rest, capturing=frozenset())
    if gone is None:
        after = replace(after, certificates=())
    else:
        after = replace(after, certificates=tuple(c for c in state.certificates if c[0] not in gone))
    stop = (StopCapture(after.why or Why.NO_RECEIPT, discard=gone),) if state.capturing else ()
    return _settle(after, after, (*stop, queue, *destroy))


def _learn(state: ConsentState, event: ConsentEvent) -> tuple[ConsentState, tuple[Effect, ...]]:
    match event:
        case ReceiptGiven(receipt, now):
            if not receipt.valid_from <= now + CLOCK_DOUBT or receipt.valid_until <= now or not receipt.modalities:
                return state, ()
            keep = tuple(c for c in state.certificates if c[0] in receipt.modalities)
            if state.receipt is not None and state.receipt.record == receipt.record:
                return replace(state, receipt=receipt, certificates=keep), ()
            # A new receipt needs new streams: what was certified under another one does not count.
            fresh = replace(state, receipt=receipt, certificates=())
            return fresh, (WantCertificates(receipt.modalities),)
        case LiveReceiptsTold(live):
            if state.receipt is None:
                return state, ()
            if state.receipt.record not in live:
                return replace(state, receipt=None, certificates=()), ()
            return _narrowed(state, state.receipt, live[state.receipt.record])
        case ReceiptEnded(record):
            if state.receipt is not None and state.receipt.record != record:
                # What is here may be the newer one's; streams of the older are closed, and go when they are sent.
                return state, ()
            return replace(state, receipt=None, certificates=()), (DestroySpool(),)
        case CertificatesHeld(until, now):
            if state.receipt is None:
                return state, ()
            held = tuple((m, end) for m, end in until if end > now and m in state.receipt.modalities)
            return replace(state, certificates=held), ()
        case SwitchedOn():
            wanted = () if state.receipt is None or state.switched_on else (WantCertificates(state.receipt.modalities),)
            return replace(state, switched_on=True), wanted
        case SwitchedOff():
            return replace(state, switched_on=False), ()
        case IndicatorShown():
            return replace(state, indicator=True), ()
        case IndicatorLost():
            return replace(state, indicator=False), ()
        case ClockCompared(offset_s):
            return replace(state, clock_sane=abs(offset_s) <= limits.CLOCK_DOUBT_S), ()
        case ClockStepped(step_s):
            if abs(step_s) <= 1:
                return state, ()
            pause = state.pause
            if pause is not None and pause.until is not None:
                pause = Pause(pause.until + timedelta(seconds=step_s))
            return replace(state, clock_sane=False, pause=pause), ()
        case HaltTold(reason):
            return replace(state, halted=reason), ()
        case HaltLifted():
            return replace(state, halted=None), ()
        case DeviceRevoked():
            return replace(state, revoked=True), ()
        case HourTold(allowed):
            return replace(state, out_of_hours=allowed is False, narrowing_unread=allowed is None), ()
        case Paused(until):
            return replace(state, pause=Pause(until)), ()
        case Resumed():
            return replace(state, pause=None), ()
        case Locked():
            return replace(state, locked=True), ()
        case Unlocked():
            return replace(state, locked=False), ()
        case TroubleBegan(what):
            return replace(state, troubles=state.troubles | {what}), ()
        case TroubleEnded(what):
            return replace(state, troubles=state.troubles - {what}), ()
        case Ticked(now):
            return _ticked(state, now), ()
        case Ended():
            return replace(state, ended=True), ()
        case Withdrawn():
            raise AssertionError("a withdrawal is handled before everything else")
        case _:
            assert_never(event)


def _narrowed(
    state: ConsentState, receipt: HeldReceipt, left: frozenset[tuple[Modality, str]]
) -> tuple[ConsentState, tuple[Effect, ...]]:
    """The receipt less what was withdrawn elsewhere. Of what has no purpose any more, everything here goes."""
    rest = replace(receipt, choices=receipt.choices & left)
    gone = receipt.modalities - rest.modalities
    held = tuple(c for c in state.certificates if c[0] not in gone)
    return replace(state, receipt=rest, certificates=held), ((DestroySpool(gone),) if gone else ())


def _ticked(state: ConsentState, now: datetime) -> ConsentState:
    after = replace(state, certificates=tuple(c for c in state.certificates if c[1] > now))
    over = state.pause is not None and state.pause.until is not None and state.pause.until <= now
    if over and state.clock_sane is True:  # a clock in doubt ends no pause
        after = replace(after, pause=None)
    if state.receipt is not None and state.receipt.valid_until <= now:
        after = replace(after, receipt=None, certificates=())
    return after


def _settle(
    before: ConsentState, after: ConsentState, effects: tuple[Effect, ...]
) -> tuple[ConsentState, tuple[Effect, ...]]:
    """Bring what is captured in line with what is permitted: stop first, start last."""
    target = after.permitted
    mode_changed = (
        before.receipt is not None
        and after.receipt is not None
        and (
            before.receipt.keyboard_mode is not after.receipt.keyboard_mode
            or before.receipt.record != after.receipt.record
        )
    )
    if target == before.capturing and not (target and mode_changed):
        return replace(after, capturing=target), effects
    discard: frozenset[Modality] | None = frozenset()
    for effect in effects:
        if isinstance(effect, DestroySpool):
            discard = effect.modalities
    stop: tuple[Effect, ...] = ()
    if before.capturing:
        stop = (StopCapture(after.why or Why.NO_CERTIFICATE, discard=discard),)
    start: tuple[Effect, ...] = ()
    if target and after.receipt is not None:
        start = (StartCapture(target, after.receipt.keyboard_mode),)
    return replace(after, capturing=target), (*stop, *effects, *start)
