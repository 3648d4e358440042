"""From observations to the drafts of segments: numbered without holes, in order of time, with every gap accounted for.

All modalities of a run close together at every fifth minute of the wall clock (so no segment crosses an hour), when
one of them has grown to 8 MiB, and whenever capture stops. A modality that had nothing to say closes too, so that its
silence is signed as well.

- Numbers: `seq` is given here, from 0 per modality and run, without holes. What was lost before (a queue that ran
  over) or left out on purpose (an excluded window) is a `Gap` with a count.
- Times never go backwards within a modality: an observation stamped earlier than the one before gets that one's time.
- What happened before capture (re)started is not recorded, however late it arrives.
- Keys that are down when a segment ends are released at its end. A modifier that is really still held is pressed
  again at the start of the next segment; the late release of any other key is left out there.
- Each segment begins with a clock anchor, and has another one each minute.

Pure: `Instant`s come with the calls. Not for use by several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from assent.codec.frames import FrameEncoder
from assent.codec.limits import ContentInvalid
from assent.contracts import limits
from assent.contracts.events import (
    ClockAnchor,
    DisplaysChanged,
    Event,
    Gap,
    GapReason,
    KeyClass,
    KeyEvent,
    PointerButton,
    PointerMoved,
    PointerScrolled,
    ScreenFrame,
    SegmentContent,
    WindowActivated,
)
from assent.contracts.ids import Modality
from assent.contracts.times import hour_of

SECOND_NS: Final = 1_000_000_000
RHYTHM_NS: Final = limits.SEGMENT_RHYTHM_S * SECOND_NS
ANCHOR_EVERY_NS: Final = 60 * SECOND_NS

LATE_NS: Final = 500_000_000
"""How long after a boundary observations from before it may still arrive (X RECORD: p99 249 ms)."""

EVENT_BYTES: Final = 8
"""What an event is counted as until it is encoded; the true figure is 1 to 6."""

MAX_EVENTS: Final = 500_000
"""A reader's limit is twice this."""

MODIFIERS: Final = frozenset(
    f"{name}_{side}" for name in ("Shift", "Control", "Alt", "Super", "Meta", "Hyper") for side in "LR"
) | {"ISO_Level3_Shift", KeyClass.MODIFIER.value}


@dataclass(frozen=True)
class Instant:
    """Both clocks read at once, nanoseconds: monotonic, and Unix time."""

    t_ns: int
    wall_ns: int

    @property
    def wall(self) -> datetime:
        return datetime.fromtimestamp(self.wall_ns / SECOND_NS, UTC)


@dataclass(frozen=True, repr=False)
class Draft:
    """A closed segment that only wants its stream and number. It holds plaintext: seal it and let it go.

    `from_ns`, `until_ns`: wall clock; `hour`: the UTC hour in which all of it lies.
    """

    modality: Modality
    hour: str
    from_ns: int
    until_ns: int
    events: tuple[Event, ...]
    anchors: tuple[ClockAnchor, ...]
    gaps: tuple[Gap, ...]
    frames: bytes
    resolution_ns: int

    def content(self, stream: str, sequence: int) -> SegmentContent:
        """The plaintext of the segment at this place."""
        return SegmentContent(
            stream=stream,
            sequence=sequence,
            modality=self.modality.value,
            events=self.events,
            anchors=self.anchors,
            gaps=self.gaps,
            frames=self.frames,
            resolution_ns=self.resolution_ns,
        )

    def __repr__(self) -> str:
        return f"Draft({self.modality}, {len(self.events)} events)"


def modality_of(event: Event) -> Modality:
    """The modality that an observation belongs to."""
    match event:
        case PointerMoved() | PointerButton() | PointerScrolled():
            return Modality.POINTER
        case KeyEvent():
            return Modality.KEYBOARD
        case ScreenFrame():
            return Modality.SCREEN
        case WindowActivated() | DisplaysChanged():
            return Modality.CONTEXT


@dataclass
class _Part:
    """One modality's share of one slot of five minutes."""

    slot: int
    start: Instant
    events: list[Event] = field(default_factory=list)
    anchors: list[ClockAnchor] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    encoder: FrameEncoder | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.events) * EVENT_BYTES + (self.encoder.size_bytes if self.encoder else 0)


@dataclass
class _Track:
    """What is remembered of a modality over the whole run."""

    next_seq: int = 0
    last_t_ns: int = 0
    down: dict[tuple[str, int, int], int] = field(default_factory=dict)
    forgotten: set[tuple[str, int, int]] = field(default_factory=set)
    part: _Part | None = None
    finished: list[tuple[_Part, int]] = field(default_factory=list)


class Recorder:
    """Collects what is observed while capture runs. One per run of streams.

    `new_encoder` makes the encoder of one segment's pictures.
    """

    def __init__(
        self,
        modalities: Iterable[Modality],
        *,
        resolution_ns: int = 1_000_000,
        new_encoder: Callable[[], FrameEncoder] = FrameEncoder,
    ) -> None:
        self._known = {modality: _Track() for modality in modalities}
        self._tracks = dict(self._known)
        self._resolution_ns = resolution_ns
        self._new_encoder = new_encoder
        self._anchor: ClockAnchor | None = None
        self._begun_ns = 0
        self._stopped: tuple[int, GapReason] | None = None
        self._owed: dict[Modality, list[Gap]] = {}

    @property
    def running(self) -> bool:
        return self._anchor is not None

    @property
    def modalities(self) -> frozenset[Modality]:
        return frozenset(self._tracks)

    def only(self, modalities: Iterable[Modality]) -> None:
        """From the next start on, record these modalities. Numbers of the others go on when they come back."""
        if self.running:
            raise RuntimeError("the recorder is running")
        self._tracks = {modality: self._known.setdefault(modality, _Track()) for modality in sorted(modalities)}

    def start(self, now: Instant, *, stepped: bool = False) -> None:
        """Capture begins, or begins again. `stepped`: the wall clock jumped since it stopped."""
        self._anchor = ClockAnchor(now.t_ns, now.wall_ns, stepped)
        self._begun_ns = now.t_ns
        if self._stopped is not None:
            since, reason = self._stopped
            self.missed(None, reason, since, now.t_ns)
            self._stopped = None
        for track in self._tracks.values():
            self._open(track, self._slot(now.t_ns), now)

    def observe(self, event: Event) -> Event | None:
        """Record an observation (anything but a picture); return it as it was written, or None when it was not."""
        track = self._track_for(event)
        if track is None or isinstance(event, ScreenFrame):
            return None
        t_ns = max(event.t_ns, track.last_t_ns)
        part = self._part_at(track, t_ns)
        if isinstance(event, KeyEvent) and not self._keep_key(track, event):
            return None
        written = msgspec.structs.replace(event, t_ns=t_ns, seq=track.next_seq)
        track.next_seq += 1
        track.last_t_ns = t_ns
        part.events.append(written)
        return written

    def picture(self, frame: ScreenFrame, pixels: NDArray[np.uint8], *, keep_unchanged: bool = True) -> bool:
        """Record a picture; `pixels` as `FrameEncoder.add` takes them. Returns whether it was kept.

        A picture beyond the limits of the format is not kept, and counted as dropped.
        """
        track = self._track_for(frame)
        if track is None:
            return False
        t_ns = max(frame.t_ns, track.last_t_ns)
        part = self._part_at(track, t_ns)
        if part.encoder is None:
            part.encoder = self._new_encoder()
        before = part.encoder.frames
        try:
            part.encoder.add(pixels, display=frame.display, seq=track.next_seq, keep_unchanged=keep_unchanged)
        except ContentInvalid:
            self.missed(Modality.SCREEN, GapReason.DROPPED, t_ns, t_ns, 1)
            return False
        if part.encoder.frames == before:
            return False
        part.events.append(msgspec.structs.replace(frame, t_ns=t_ns, seq=track.next_seq))
        track.next_seq += 1
        track.last_t_ns = t_ns
        return True

    def missed(self, modality: Modality | None, reason: GapReason, from_ns: int, until_ns: int, count: int = 0) -> None:
        """Account for what was not recorded (of all modalities when None), monotonic time. Neighbours are joined."""
        for each in self._tracks if modality is None else (modality,):
            if each not in self._tracks:
                continue
            part = self._tracks[each].part
            gaps = part.gaps if part is not None else self._owed.setdefault(each, [])
            gap = Gap(from_ns, max(from_ns, until_ns), reason, count)
            if gaps and gaps[-1].reason is reason and gap.from_ns - gaps[-1].until_ns <= SECOND_NS:
                last = gaps[-1]
                gap = Gap(min(last.from_ns, from_ns), max(last.until_ns, gap.until_ns), reason, last.count + count)
                gaps[-1] = gap
            else:
                gaps.append(gap)

    def tick(self, now: Instant) -> list[Draft]:
        """Close what is due: the slot of five minutes that has passed, or all when one modality has grown too large.

        Observations from before a boundary may arrive for half a second after it.
        """
        if self._anchor is None:
            return []
        if now.t_ns - self._anchor.t_ns >= ANCHOR_EVERY_NS:
            self._anchor = ClockAnchor(now.t_ns, now.wall_ns)
            for track in self._tracks.values():
                if track.part is not None:
                    track.part.anchors.append(self._anchor)
        due = self._slot(now.t_ns - LATE_NS)
        for track in self._tracks.values():
            if track.part is not None and track.part.slot < due:
                self._turn(track, due)
        grown = any(
            track.part is not None
            and (track.part.size_bytes >= limits.CLOSE_SEGMENT_AT or len(track.part.events) >= MAX_EVENTS)
            for track in self._tracks.values()
        )
        if grown:
            for track in self._tracks.values():
                self._finish(track, now.t_ns)
                self._open(track, self._slot(now.t_ns), now)
        return self._drafts(before_slot=None if grown else due)

    def stop(self, now: Instant, reason: GapReason) -> list[Draft]:
        """Capture ends for `reason`: close everything. The gap that begins now is told when capture starts again."""
        if self._anchor is None:
            return []
        for track in self._tracks.values():
            self._finish(track, now.t_ns)
            track.down.clear()
            track.forgotten.clear()
        drafts = self._drafts(before_slot=None)
        for track in self._tracks.values():
            track.part = None
        self._anchor = None
        self._stopped = (now.t_ns, reason)
        return drafts

    # --- inside -----------------------------------------------------------------------------------

    def _track_for(self, event: Event) -> _Track | None:
        if self._anchor is None or event.t_ns < self._begun_ns:
            return None
        return self._tracks.get(modality_of(event))

    def _wall(self, t_ns: int) -> int:
        if self._anchor is None:
            raise RuntimeError("the recorder is not running")
        return self._anchor.wall_ns + t_ns - self._anchor.t_ns

    def _slot(self, t_ns: int) -> int:
        return self._wall(t_ns) // RHYTHM_NS

    def _slot_start(self, slot: int) -> Instant:
        wall_ns = slot * RHYTHM_NS
        return Instant(wall_ns - self._wall(0), wall_ns)

    def _part_at(self, track: _Track, t_ns: int) -> _Part:
        if track.part is None:
            raise RuntimeError("the recorder is not running")
        slot = self._slot(t_ns)
        return self._turn(track, slot) if slot > track.part.slot else track.part

    def _turn(self, track: _Track, slot: int) -> _Part:
        """Go on to a later slot; slots in between are signed as silence."""
        while track.part is not None and track.part.slot < slot:
            start = self._slot_start(track.part.slot + 1)
            held = [key for key in track.down if key[0] in MODIFIERS]
            track.forgotten |= set(track.down) - set(held)
            self._finish(track, start.t_ns)
            part = self._open(track, track.part.slot + 1, start)
            for name, code, vk in held:
                self._synthetic(
                    track, part, start.t_ns, KeyEvent(t_ns=0, seq=0, key=name, pressed=True, code=code, vk=vk)
                )
        if track.part is None:
            raise RuntimeError("the recorder is not running")
        return track.part

    def _open(self, track: _Track, slot: int, start: Instant) -> _Part:
        if self._anchor is None:
            raise RuntimeError("the recorder is not running")
        stepped = self._anchor.stepped and self._anchor.t_ns == start.t_ns
        part = _Part(slot, start, anchors=[ClockAnchor(start.t_ns, start.wall_ns, stepped)])
        modality = next(m for m, t in self._tracks.items() if t is track)
        part.gaps = self._owed.pop(modality, [])
        track.part = part
        track.last_t_ns = max(track.last_t_ns, start.t_ns)
        return part

    def _finish(self, track: _Track, end_ns: int) -> None:
        if track.part is None:
            return
        for (name, code, vk), count in list(track.down.items()):
            up = KeyEvent(t_ns=0, seq=0, key=name, pressed=False, code=code, vk=vk)
            for _ in range(count):
                self._synthetic(track, track.part, end_ns, up)
        track.finished.append((track.part, max(end_ns, track.part.start.t_ns)))

    def _synthetic(self, track: _Track, part: _Part, t_ns: int, event: KeyEvent) -> None:
        track.last_t_ns = max(track.last_t_ns, t_ns)
        self._count_key(track, event)
        part.events.append(msgspec.structs.replace(event, t_ns=track.last_t_ns, seq=track.next_seq))
        track.next_seq += 1

    def _keep_key(self, track: _Track, event: KeyEvent) -> bool:
        """Whether to write a key event: not the release of one that the segment before had to release."""
        key = (event.key, event.code, event.vk)
        if not event.pressed and key in track.forgotten and key not in track.down:
            track.forgotten.discard(key)
            return False
        self._count_key(track, event)
        return True

    def _count_key(self, track: _Track, event: KeyEvent) -> None:
        key = (event.key, event.code, event.vk)
        if event.pressed:
            # Keys with codes repeat while held; classes (mode `shape`, code 0) stand for many keys.
            track.down[key] = 1 if event.code else track.down.get(key, 0) + 1
        elif key in track.down:
            track.down[key] -= 1
            if track.down[key] <= 0:
                del track.down[key]

    def _drafts(self, before_slot: int | None) -> list[Draft]:
        drafts: list[Draft] = []
        for modality, track in self._tracks.items():
            while track.finished and (before_slot is None or track.finished[0][0].slot < before_slot):
                part, end_ns = track.finished.pop(0)
                drafts.append(self._draft(modality, part, end_ns))
        return drafts

    def _draft(self, modality: Modality, part: _Part, end_ns: int) -> Draft:
        start = part.start
        until_ns = min(start.wall_ns + end_ns - start.t_ns, (part.slot + 1) * RHYTHM_NS)
        return Draft(
            modality=modality,
            hour=hour_of(datetime.fromtimestamp(part.slot * limits.SEGMENT_RHYTHM_S, UTC)),
            from_ns=start.wall_ns,
            until_ns=max(until_ns, start.wall_ns),
            events=tuple(part.events),
            anchors=tuple(part.anchors),
            gaps=tuple(part.gaps),
            frames=part.encoder.finish() if part.encoder else b"",
            resolution_ns=self._resolution_ns,
        )
