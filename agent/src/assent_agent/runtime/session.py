"""One stretch of capture: from its start to the next stop, what the sources say is judged and handed to the recorder.

Source threads only append to queues; everything is decided in `pump`, in the thread of the agent's owner. What may not
be kept never reaches the recorder: it is counted as a gap, and gone.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from assent.contracts.events import (
    Display,
    DisplaysChanged,
    GapReason,
    KeyboardMode,
    KeyEvent,
    PointerButton,
    PointerMoved,
    PointerScrolled,
    Rect,
    ScreenFrame,
    WindowActivated,
)
from assent.contracts.ids import Modality
from assent_agent.core.exclusion import Policy
from assent_agent.core.framing import Framing, Taken
from assent_agent.core.monitors import Refused, refused
from assent_agent.core.recorder import Recorder
from assent_agent.core.screens import (
    LINGER_NS,
    Access,
    Dropped,
    InputGate,
    Pixels,
    Views,
    WindowView,
    activated,
    examine,
    layout,
    pointer_access,
)
from assent_agent.ports import Capture, CaptureUnavailable, Frame, InputEvent, ScreenUnavailable
from assent_agent.settings import AgentSettings

MAX_WAITING: Final = 200_000
"""Events in the queue between source and owner; beyond, they are dropped and counted."""

MAX_GRABS: Final = 4
UNDECIDED_NS: Final = 500_000_000
"""An event that cannot be judged for so long is excluded."""

ACTIVE_NS: Final = 2_000_000_000
"""So long after the last input the screen is looked at as while working."""

KEPT_OUT_EVERY_NS: Final = 10_000_000_000
"""How often coverage counts the pictures that were not taken of monitors that were taken away."""

_REASONS: Final = {Access.EXCLUDED: GapReason.EXCLUDED, Access.LOCKED: GapReason.LOCKED}


@dataclass(frozen=True)
class _Grab:
    before: WindowView
    frame: Frame
    after: WindowView


@dataclass(frozen=True)
class _Picture:
    """What the ring holds: masked pixels, and what a `ScreenFrame` says beside them."""

    pixels: Pixels
    masked: tuple[Rect, ...]
    display: Display
    cursor: tuple[int, int]


class Session:
    """Runs the sources of `capture` from `start` to `stop`. Used by one thread, the agent's owner."""

    def __init__(self, capture: Capture, rules: Policy, settings: AgentSettings) -> None:
        self.capture = capture
        self.arrived_ns: dict[Modality, int] = {}
        self.locked = False
        self.excluded_now = False
        self.failure = ""
        self.refused: Refused | None = None
        self._rules = rules
        self._settings = settings
        self._views = Views()
        self._framing: Framing[_Picture] = Framing(periodic_ns=int(settings.periodic_frame_s * 1e9))
        self._gates = {Modality.POINTER: InputGate(), Modality.KEYBOARD: InputGate()}
        self._view_in: deque[WindowView] = deque()
        self._inputs: deque[InputEvent] = deque()
        self._pending: deque[InputEvent] = deque()
        self._grabs: deque[_Grab] = deque()
        self._kept_out: deque[int] = deque()
        self._kept_out_told_ns = 0
        self._displays: tuple[Display, ...] | None = None
        self._dropped: dict[Modality, int] = {}
        self._last_input_ns = 0
        self._last_context: WindowActivated | None = None
        self._pictures: dict[int, tuple[int, Pixels]] = {}
        self._pointer_display = 0
        self._modalities: frozenset[Modality] = frozenset()
        self._halt = threading.Event()
        self._looker: threading.Thread | None = None
        self._started = False

    def start(self, modalities: frozenset[Modality], mode: KeyboardMode, recorder: Recorder) -> None:
        """Begin. Raises CaptureUnavailable; then nothing is observed."""
        self._modalities = modalities
        try:
            self.capture.windows.start(self._view_in.append)
            self._started = True
            if Modality.SCREEN in modalities and not self.capture.windows.view().monitors:
                raise ScreenUnavailable("It is not known which monitors there are.")
            self._take_views(recorder)
            names = [m.value for m in (Modality.POINTER, Modality.KEYBOARD) if m in modalities]
            if names:
                wanted = mode if Modality.KEYBOARD in modalities else KeyboardMode.OFF
                self.capture.input.start(self._sink, names, wanted)
        except CaptureUnavailable:
            self._stop_sources()
            raise
        if Modality.SCREEN in modalities:
            self._looker = threading.Thread(target=self._look, name="screen", daemon=True)
            self._looker.start()

    def stop(self, recorder: Recorder | None) -> None:
        """End: nothing that happens from now on is recorded. With a recorder, what happened before still is."""
        self._stop_sources()
        if recorder is not None:
            self.pump(recorder, final=True)
        self._framing.clear()
        self._views.forget()
        for waiting in (self._inputs, self._pending, self._grabs, self._view_in, self._kept_out):
            waiting.clear()
        self._pictures.clear()

    def _stop_sources(self) -> None:
        self._halt.set()
        self.capture.input.stop()
        if self._looker is not None:
            self._looker.join(5)
            self._looker = None
        if self._started:
            try:
                self.capture.windows.view()
            finally:
                self.capture.windows.stop()
                self._started = False

    # --- threads of the sources -------------------------------------------------------------------

    def _sink(self, event: InputEvent) -> None:
        """Called by the source's own threads: enqueue, nothing else."""
        if len(self._inputs) >= MAX_WAITING:
            modality = Modality.KEYBOARD if isinstance(event, KeyEvent) else Modality.POINTER
            self._dropped[modality] = self._dropped.get(modality, 0) + 1
            return
        self._last_input_ns = event.t_ns
        self._inputs.append(event)

    def _look(self) -> None:
        """Look at the screen until told to stop: often while the person works, rarely while not."""
        busy_s = self._settings.frame_interval_ms / 1000
        idle_s = self._settings.idle_frame_interval_ms / 1000
        while True:
            active = self.capture.clock.monotonic_ns() - self._last_input_ns < ACTIVE_NS
            if self._halt.wait(busy_s if active else idle_s):
                return
            if len(self._grabs) >= MAX_GRABS:
                continue
            before = self.capture.windows.view()
            monitors = layout(before, self._rules)
            if monitors is None or monitors.kept_out:
                self._kept_out.append(before.t_ns)
            for display in () if monitors is None else monitors.displays:
                try:
                    frame = self.capture.screen.grab(display)
                    after = self.capture.windows.view()
                    self._grabs.append(_Grab(before, frame, after))
                    before, self.failure = after, ""
                except ScreenUnavailable as error:
                    self.failure = str(error)

    # --- the owner's thread -----------------------------------------------------------------------

    def pump(self, recorder: Recorder, *, final: bool = False) -> None:
        """Judge what has arrived and hand on what may be kept. `final`: nothing more will come."""
        self._pending.extend(self._take_inputs())
        if self._pending and not final:
            self.capture.windows.view()
        self._take_views(recorder)
        while self._grabs:
            self._judge_grab(self._grabs.popleft(), recorder)
        self._account_kept_out(recorder, final)
        self._judge_inputs(recorder, final)
        for modality, count in list(self._dropped.items()):
            if count:
                now_ns = self.capture.clock.monotonic_ns()
                self._dropped[modality] -= count
                recorder.missed(modality, GapReason.DROPPED, now_ns, now_ns, count)

    def _take_inputs(self) -> list[InputEvent]:
        taken = []
        while self._inputs:
            taken.append(self._inputs.popleft())
        return taken

    def _take_views(self, recorder: Recorder) -> None:
        while self._view_in:
            view = self._view_in.popleft()
            latest = self._views.latest
            if latest is not None and view.t_ns < latest.t_ns:
                continue
            if not self._add_view(view):
                continue
            self.locked = view.locked
            self._take_monitors(view, recorder)
            told = activated(view, self._rules)
            self.excluded_now = told.excluded
            if self._last_context is None or _facts(told) != _facts(self._last_context):
                self._last_context = told
                if recorder.observe(told) is not None:
                    self.arrived_ns[Modality.CONTEXT] = view.t_ns

    def _take_monitors(self, view: WindowView, recorder: Recorder) -> None:
        """`context` tells of the monitors that may be recorded, and of no others."""
        monitors = layout(view, self._rules)
        self.refused = refused(view.monitors, settled=view.settled, chosen=self._rules.monitors)
        if monitors is not None and monitors.displays != self._displays:
            self._framing.clear()  # its pictures are of the displays of before
            self._displays = monitors.displays
            recorder.observe(DisplaysChanged(t_ns=view.t_ns, seq=0, displays=monitors.displays))

    def _account_kept_out(self, recorder: Recorder, final: bool) -> None:
        """Count the looks at the screen that saw less than all of it: by points in time, since meanwhile other
        monitors were recorded."""
        now_ns = self.capture.clock.monotonic_ns()
        if self._kept_out and (final or now_ns - self._kept_out_told_ns >= KEPT_OUT_EVERY_NS):
            count, last_ns = len(self._kept_out), self._kept_out[-1]
            for _ in range(count):
                self._kept_out.popleft()
            self._kept_out_told_ns = now_ns
            recorder.missed(Modality.SCREEN, GapReason.EXCLUDED, last_ns, last_ns, count)

    def _add_view(self, view: WindowView) -> bool:
        try:
            return self._views.add(view)
        except ValueError:
            return False

    def _judge_inputs(self, recorder: Recorder, final: bool) -> None:
        now_ns = self.capture.clock.monotonic_ns()
        waiting: deque[InputEvent] = deque()
        undecided: set[Modality] = set()
        while self._pending:
            event = self._pending.popleft()
            modality = Modality.KEYBOARD if isinstance(event, KeyEvent) else Modality.POINTER
            if modality in undecided:
                waiting.append(event)
                continue
            access = self._views.access(event, self._rules)
            if access is Access.PENDING:
                if not final and now_ns - event.t_ns < UNDECIDED_NS:
                    undecided.add(modality)
                    waiting.append(event)
                    continue
                access = Access.EXCLUDED
            self._judged(event, modality, access, recorder, now_ns)
        self._pending = waiting

    def _judged(self, event: InputEvent, modality: Modality, access: Access, recorder: Recorder, now_ns: int) -> None:
        reason = _REASONS.get(access)
        if reason is not None and recorder.running:
            recorder.missed(modality, reason, event.t_ns, event.t_ns, 1)
        if access is Access.ALLOWED:
            event = self._placed(event)
        for kept in self._gates[modality].step(event, access):
            written = recorder.observe(kept)
            if written is None:
                continue
            self.arrived_ns[modality] = now_ns
            self._act(written, modality, recorder)

    def _placed(self, event: InputEvent) -> InputEvent:
        """With monitors taken away, those that are left count from 0."""
        if isinstance(event, KeyEvent) or self._rules.monitors is None:
            return event
        views = self._views.between(event.t_ns, event.t_ns)
        monitors = layout(views[-1], self._rules) if views else None
        display = 0 if monitors is None else monitors.display_at(event.x, event.y)
        return msgspec.structs.replace(event, display=display)

    def _act(self, event: object, modality: Modality, recorder: Recorder) -> None:
        """Bind pictures to what was just recorded, if pictures are recorded."""
        if Modality.SCREEN not in self._modalities:
            return
        match event:
            case PointerButton(pressed=True):
                self._pointer_display = event.display
                bound = self._framing.action("press", (modality.value, event.seq), event.t_ns, event.display)
            case PointerScrolled():
                self._pointer_display = event.display
                bound = self._framing.action("scroll", (modality.value, event.seq), event.t_ns, event.display)
            case PointerMoved():
                self._pointer_display = event.display
                return
            case KeyEvent(pressed=True):
                bound = self._framing.action("key", (modality.value, event.seq), event.t_ns, self._pointer_display)
            case _:
                return
        for each in bound:
            self._keep(each.taken, each.binding, each.action, each.lag_ns, recorder)

    def _judge_grab(self, grab: _Grab, recorder: Recorder) -> None:
        frame = grab.frame
        recent = self._views.between(frame.t_ns - LINGER_NS, frame.until_ns)
        if recent is None:
            recorder.missed(Modality.SCREEN, GapReason.EXCLUDED, frame.t_ns, frame.until_ns, 1)
            return
        seen = examine(
            frame.pixels, frame.display.rect, self._rules, before=grab.before, after=grab.after, recent=recent
        )
        self.arrived_ns[Modality.SCREEN] = frame.until_ns
        if isinstance(seen, Dropped):
            reason = GapReason.LOCKED if seen is Dropped.LOCKED else GapReason.EXCLUDED
            recorder.missed(Modality.SCREEN, reason, frame.t_ns, frame.until_ns, 1)
            return
        number, pixels = self._fingerprint(frame.display.id, seen.pixels)
        at = (frame.cursor_x, frame.cursor_y)
        told = all(pointer_access(view, self._rules, *at) is Access.ALLOWED for view in (grab.after, *recent))
        picture = _Picture(pixels, seen.masked, frame.display, at if told else (0, 0))
        taken = Taken(frame.display.id, frame.t_ns, frame.until_ns, number.to_bytes(8, "big"), picture)
        for each in self._framing.taken(taken):
            self._keep(each.taken, each.binding, each.action, each.lag_ns, recorder)

    def _fingerprint(self, display: int, pixels: Pixels) -> tuple[int, Pixels]:
        """A number that changes with the picture; an equal picture shares the memory of the one before."""
        number, last = self._pictures.get(display, (0, None))
        if (
            last is not None
            and last.shape == pixels.shape
            and np.array_equal(last.view(np.uint32), np.ascontiguousarray(pixels).view(np.uint32))
        ):
            return number, last
        self._pictures[display] = (number + 1, pixels)
        return number + 1, pixels

    def _keep(
        self, taken: Taken[_Picture], binding: str, action: tuple[str, int] | None, lag_ns: int, recorder: Recorder
    ) -> None:
        picture = taken.picture
        frame = ScreenFrame(
            t_ns=taken.begun_ns,
            seq=0,
            display=picture.display.id,
            width=picture.pixels.shape[1],
            height=picture.pixels.shape[0],
            binding=binding,  # type: ignore[arg-type]
            action=action,
            lag_ns=lag_ns,
            cursor_x=picture.cursor[0],
            cursor_y=picture.cursor[1],
            masked=picture.masked,
        )
        recorder.picture(frame, picture.pixels, keep_unchanged=binding != "periodic")


def _facts(event: WindowActivated) -> tuple[Rect, str, str, bool]:
    """What an active window is, apart from when."""
    return event.rect, event.application, event.title, event.excluded
