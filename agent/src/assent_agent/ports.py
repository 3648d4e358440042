"""What the agent needs from outside, as promises. Each port says when its calls return, what repeating does, and what
each failure leaves unknown.

Times are nanoseconds of one monotonic clock, that of `MonotonicClock`, whoever stamped them.

Capture hands over raw observations: nothing here decides what may be kept (`core.exclusion`, `core.screens` do), and
`seq` is 0 in all of them: who keeps an observation numbers it. So that a loss between source and record can be told,
sources count what they hand over (`InputHealth.emitted`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from assent.contracts.events import Display, KeyboardMode, KeyEvent, PointerButton, PointerMoved, PointerScrolled
from assent.contracts.ids import Modality
from assent.contracts.wire import Offer
from assent_agent.core.screens import Pixels, WindowView
from assent_agent.core.telling import Kind, Proof

InputEvent = PointerMoved | PointerButton | PointerScrolled | KeyEvent
InputSink = Callable[[InputEvent], None]
ViewSink = Callable[[WindowView], object]

POINTER, KEYBOARD = "pointer", "keyboard"


class CaptureUnavailable(Exception):
    """This desktop cannot be recorded; the message is a plain sentence for the person."""


class ScreenUnavailable(CaptureUnavailable):
    """No picture could be taken: the display is gone or refuses. Whether a later try works is not known."""


class MonotonicClock(Protocol):
    def monotonic_ns(self) -> int:
        """Nanoseconds since some start; never goes back; may stand still while the machine sleeps."""


class WallClock(Protocol):
    def wall_ns(self) -> int:
        """Unix time in nanoseconds, as the machine believes it; may jump."""


@dataclass(frozen=True, slots=True)
class InputHealth:
    """What was observed to happen, by modality. Absent: nothing yet.

    `last_seen_ns`: when an event last arrived (not when it was asked for). `emitted`: events handed to the sink.
    `filtered`: events from before the start or after the stop, not handed over. `stalls`: how often
    events came so late that the system may have dropped others, uncounted. `failure`: why a source that should
    run does not; empty while it does. `resolution_ns`: the precision that its times may claim.
    """

    running: bool = False
    last_seen_ns: Mapping[str, int] = field(default_factory=dict)
    emitted: Mapping[str, int] = field(default_factory=dict)
    filtered: int = 0
    stalls: int = 0
    failure: str = ""
    resolution_ns: int = 1_000_000


class InputSource(Protocol):
    """Pointer and keyboard."""

    def start(self, sink: InputSink, modalities: Collection[str], mode: KeyboardMode) -> None:
        """Begin; returns once events are being observed. Nothing from before the call reaches the sink.

        Only the named modalities (`pointer`, `keyboard`) are observed at all; `keyboard` needs a mode other than `off`
        (ValueError otherwise). The sink is called from the source's own threads, one per modality, and must only stamp
        and enqueue. Times of one modality never go back. Raises CaptureUnavailable, then nothing is observed;
        RuntimeError when already started.
        """

    def stop(self) -> None:
        """End; nothing that happens after the call begins reaches the sink. Returns when the sink will not be called
        any more; what happened before is handed over first, then releases of keys and buttons still down, stamped with
        the time of the call. Repeating does nothing. If the source has failed, what it had not delivered is lost.
        """

    def health(self) -> InputHealth:
        """What is known right now; returns at once, at any time, from any thread."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture. `pixels`: uint8, (height, width, 4), BGRA, physical pixels, writable, the receiver's own; A unused.

    Taken at some moment between `t_ns` and `until_ns`. The pointer is not painted in; it was at `cursor_x, cursor_y`.
    """

    display: Display
    t_ns: int
    until_ns: int
    pixels: Pixels = field(repr=False)
    cursor_x: int = 0
    cursor_y: int = 0


class ScreenSource(Protocol):
    def grab(self, display: Display) -> Frame:
        """Take a picture of one display now; returns when it is complete. May be repeated, from one thread at a time.

        Raises ScreenUnavailable: nothing was taken (also when the display is no longer where `display` says).
        """

    def close(self) -> None:
        """Give back what is held. Repeating does nothing; `grab` afterwards raises ScreenUnavailable."""


class WindowSource(Protocol):
    """All visible windows, their order, which has the keyboard, and the monitors that show them."""

    def start(self, on_view: ViewSink) -> None:
        """Begin; returns after the first view was handed over. Each noticed change hands over a new view, in order of
        time, never from two threads at once. Raises CaptureUnavailable; RuntimeError when already started.
        """

    def view(self) -> WindowView:
        """Ask now: everything that changed before the call is in the answer, which is also handed to `on_view`. Costs
        about one round trip when nothing changed. A fact that cannot be had makes the view not `certain`; a source that
        has failed, or is not started, answers such a view too.
        """

    def stop(self) -> None:
        """End; returns when `on_view` will not be called any more. Repeating does nothing."""


@dataclass(slots=True)
class Capture:
    """The sources of one desktop, chosen to fit together. `close` ends them all; repeating does nothing."""

    input: InputSource
    screen: ScreenSource
    windows: WindowSource
    clock: MonotonicClock

    def close(self) -> None:
        self.input.stop()
        self.windows.stop()
        self.screen.close()


# -- the person's screen ----------------------------------------------------------------------------------------------


class IndicatorState(StrEnum):
    RECORDING = "recording"
    PAUSED = "paused"
    OFF = "off"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """What the indicator shows. Facts that were observed, never what is intended.

    `modalities`: what consent and certificate cover now, in the words of the four modalities. `arrived_s`: for each,
    seconds since something of it last arrived; absent when nothing has. `paused_until`: local time of day, empty for
    "until I resume". `because`: why nothing is recorded, in plain sentences; empty while something is. `switched_off`:
    consent is given, but this device's own switch is off. `locked`: it is the lock that pauses.
    `notice`: what could not be done as the person wished.
    """

    state: IndicatorState
    consented: bool = False
    switched_off: bool = False
    modalities: tuple[str, ...] = ()
    arrived_s: Mapping[str, float] = field(default_factory=dict)
    paused_until: str = ""
    excluded_now: bool = False
    because: str = ""
    held_minutes: int = 0
    locked: bool = False
    notice: str = ""


@dataclass(frozen=True, slots=True)
class ConsentSwitched:
    """The person moved the consent switch. `on`: wants to record here, which takes the consent page unless consent is
    given already; off withdraws."""

    on: bool


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """`seconds` None: until the person resumes."""

    seconds: int | None


@dataclass(frozen=True, slots=True)
class ResumeAsked:
    pass


@dataclass(frozen=True, slots=True)
class ForgetAsked:
    minutes: int


class Page(StrEnum):
    CONSENT = "my consent"
    RECORDINGS = "my recordings"
    ACCESSES = "who accessed"


@dataclass(frozen=True, slots=True)
class PageAsked:
    page: Page


@dataclass(frozen=True, slots=True)
class QuitAsked:
    pass


@dataclass(frozen=True, slots=True)
class Seen:
    """The person has seen what they were told, by ids."""

    ids: tuple[str, ...]


Intention = ConsentSwitched | PauseAsked | ResumeAsked | ForgetAsked | PageAsked | QuitAsked | Seen


@dataclass(frozen=True, slots=True)
class ConsentView:
    """The consent page; it asks its `ConsentDesk` for what it shows. `by_itself`: nobody chose it, the agent asks."""

    by_itself: bool = False


@dataclass(frozen=True, slots=True)
class RecordingsView:
    """How one's own recordings are opened. `held_minutes`: as in `StatusFacts`."""

    held_minutes: int


@dataclass(frozen=True, slots=True)
class Access:
    """One access to the person's data that the custodian told of, or something about their account. `kind` and `proof`:
    as in `core.telling`; `approvals`: how many people signed."""

    day: str
    text: str
    approvals: int
    kind: Kind
    proof: Proof = "none"


@dataclass(frozen=True, slots=True)
class AccessesView:
    """Who accessed, newest first. `as_of`: when the custodian was heard last; None: not since the start, and what was
    told before is all that is known. `folder`: where the proofs are."""

    accesses: tuple[Access, ...]
    as_of: datetime | None
    folder: str = ""


@dataclass(frozen=True, slots=True)
class ToldView:
    """What the person is told without having asked, newest first: beside what they do, never in its way. It stays until
    they say that they have seen it (`Seen` with these `ids`). Empty: nothing any more."""

    accesses: tuple[Access, ...]
    ids: tuple[str, ...]


View = ConsentView | RecordingsView | AccessesView | ToldView


class Indicator(Protocol):
    """What tells the person, all the time, whether they are being recorded."""

    def show(self, facts: StatusFacts) -> None:
        """Show these facts instead of the last ones. Returns at once; may be called from any thread; the same facts
        again change nothing. Whether they are to be seen only `shown()` says.
        """

    def shown(self) -> bool:
        """Is the indicator on screen at this moment, as far as the desktop tells? From any thread, at once. False means
        that nothing may be recorded.
        """

    def open(self, view: View) -> None:
        """Show the person a window with this, in front; one of each kind, so that a later one takes its place. Returns
        at once; from any thread.
        """

    def remove(self) -> None:
        """Take it off the screen and end its event loop. From any thread; repeating does nothing."""


class DeskRefused(Exception):
    """It was not done, or is not known; the message is a plain sentence for the person."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the person ticked. `pairs`: modality and purpose (IRI). `export`: copies outside the protected reader are
    allowed, too.
    """

    pairs: tuple[tuple[Modality, str], ...]
    keyboard_mode: KeyboardMode
    export: bool = False


@dataclass(frozen=True, slots=True)
class Agreed:
    """What is agreed to on this device now, less what was withdrawn. `pairs`: modality and purpose (IRI). `sentences`:
    those of the purposes, by IRI, as they were shown.
    """

    at: datetime
    valid_until: datetime
    pairs: tuple[tuple[Modality, str], ...]
    sentences: Mapping[str, str]
    keyboard_mode: KeyboardMode
    export: bool
    file: str


@dataclass(frozen=True, slots=True)
class Standing:
    """`agreed` None: nothing is. `unconfirmed`: withdrawals that the custodian has not signed for yet. `erased_from`:
    the day from which what was withdrawn last is erased, once that is confirmed. `asks_anew`: what has changed of what
    was agreed to, so that the person is asked again.
    """

    agreed: Agreed | None
    unconfirmed: int = 0
    erased_from: str = ""
    asks_anew: tuple[str, ...] = ()


class ConsentDesk(Protocol):
    """Where consent is given and withdrawn. Every call may take as long as a network does and raises DeskRefused; calls
    come from any thread.
    """

    def standing(self) -> Standing:
        """What is agreed to now. Asks nobody: works offline."""

    def offer(self) -> Offer:
        """What is to be shown before consent, asked of the custodian."""

    def give(self, shown: Offer, chosen: Chosen) -> Standing:
        """Give consent to exactly this, and switch this device on; returns when the receipt is kept here. After
        DeskRefused `standing` says whether it was given.
        """

    def decline(self, *, never: bool) -> None:
        """The person does not agree now; with `never` they do not want to be asked again. Kept on this computer."""

    def withdraw(self) -> Standing:
        """Withdraw all of it; returns when recording has stopped, what was not sent is destroyed, and the withdrawal is
        written down. Works offline. Repeating does nothing more.
        """


# -- secrets ----------------------------------------------------------------------------------------------------------


class SecretsUnavailable(Exception):
    """The place where secrets are kept cannot be used now; the message is a plain sentence for the person."""


class SecretStore(Protocol):
    """Private keys at rest: the keyring of the operating system, or an encrypted file. May be used by several threads.

    Every method raises SecretsUnavailable; then it is not known whether a `put` or `delete` was done, and repeating it
    is safe.
    """

    def get(self, name: str) -> bytes | None:
        """The secret of this name, or None."""

    def put(self, name: str, secret: bytes) -> None:
        """Keep a secret; returns when it is durable. Replaces the one of the same name."""

    def delete(self, name: str) -> None:
        """Forget a secret. It may be gone already."""


# -- time -------------------------------------------------------------------------------------------------------------


class AgentClock(MonotonicClock, WallClock, Protocol):
    """The clocks whose agreement the permission to record depends on."""

    def elapsed_ns(self) -> int:
        """Nanoseconds since some start, with the time that the machine slept: it confirms what the wall clock says."""
