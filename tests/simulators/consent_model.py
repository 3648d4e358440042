"""A small model of one person's consent, recordings and erasures, to hold the services against.

Written from the promises, and sharing no code with what it judges: sets of choices, days and hours as text, and lists.
It forgets nothing, also when the custodian is restored from a backup.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from assent.contracts.ids import Modality

SKEW = timedelta(seconds=120)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)

Kinds = frozenset[Modality]
Purposes = frozenset[str]
End = Literal["withdrawn", "expired", "terminated", "invalidated"]


def day(at: datetime) -> str:
    return at.strftime("%Y-%m-%d")


def hour(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H")


@dataclass(eq=False)
class Given:
    """A receipt. `here`: what is left as its own device knows without hearing anything."""

    device: int
    record: str
    at: datetime
    left: set[tuple[Modality, str]]
    here: set[tuple[Modality, str]]
    until: datetime
    end: End | None = None

    def state(self, now: datetime) -> str:
        return self.end or ("expired" if self.until <= now else "given")


@dataclass(eq=False)
class Sealed:
    """A segment. `stored`: the collector has it. `gone`: it had it."""

    id: str
    hour: str
    stored: bool = False
    gone: bool = False


@dataclass(eq=False)
class Made:
    """A stream. `closed`: for good, by whom; or `revoked`, with its device, and consent still decides."""

    stream: str
    receipt: Given
    device: int
    modality: Modality
    day: str
    record_until: str
    upload_until: str
    segments: list[Sealed] = field(default_factory=list)
    closed: str | None = None
    erased: bool = False
    hours: set[str] = field(default_factory=set)
    tombstones: list[Mark] = field(default_factory=list)


@dataclass(eq=False)
class Mark:
    """What the collector is to know. `hours` empty: all of the stream. `order`: None, then the day it was made."""

    made: Made
    erases: bool
    hours: frozenset[str] = frozenset()
    ordered: str | None = None
    carried: str | None = None


@dataclass(eq=False)
class Followed:
    """What is or will be erased, on its way to the final receipt. Days as text; None: not yet.

    `of`: empty for what falls by age. `ended`: the receipt that was ended, of which all streams count in the end.
    """

    of: str
    kind: str
    streams: list[Made]
    erase_on: str
    destroyed: str | None = None
    waits_for_keys: bool = False
    keys_gone: str | None = None
    marks: list[Mark] = field(default_factory=list)
    final: str | None = None
    ended: Given | None = None


@dataclass
class Model:
    """`revoked`, `unheard`, `gave_before`, `lost`: devices. `restored`: from now on the custodian may know less, and
    never more. Who gave something before the backup is waited for; a device that gave nothing is only asked."""

    backup_days: int
    retention_days: int
    receipts: list[Given] = field(default_factory=list)
    streams: list[Made] = field(default_factory=list)
    followed: list[Followed] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    barred: datetime = LONG_AGO
    halted: bool = False
    tainted: bool = False
    rotated: str | None = None
    restored: bool = False
    revoked: set[int] = field(default_factory=set)
    unheard: set[int] = field(default_factory=set)
    gave_before: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    others_since: str | None = None

    @property
    def waited_for(self) -> set[int]:
        """Devices for whose word the door stays shut for everything of this person."""
        return self.unheard & self.gave_before

    # --- what may be ---

    def newest(self, device: int) -> Given | None:
        mine = [receipt for receipt in self.receipts if receipt.device == device]
        return mine[-1] if mine else None

    def live(self, device: int, now: datetime) -> Given | None:
        """The receipt by which this device takes part now."""
        receipt = self.newest(device)
        if receipt is None or device in self.revoked | self.lost or receipt.state(now) != "given":
            return None
        return receipt

    def may_record(self, device: int, modality: Modality, on: str, now: datetime) -> Given | None:
        """The receipt under which a new stream may be certified."""
        receipt = self.live(device, now)
        if receipt is None or self.halted or device in self.unheard:
            return None
        if all(kind is not modality for kind, _ in receipt.left):
            return None
        begins = datetime.fromisoformat(on).replace(tzinfo=UTC)
        latest = min(now + timedelta(hours=24), begins + timedelta(days=1), receipt.until)
        whole = latest.replace(minute=0, second=0, microsecond=0)
        in_time = on in (day(now), day(now + timedelta(days=1))) and whole > max(begins, now)
        return receipt if in_time else None

    def may_extend(self, made: Made, now: datetime) -> bool:
        receipt = self.may_record(made.device, made.modality, made.day, now)
        return receipt is made.receipt and made.closed is None and not made.erased

    def released(self, made: Made, purpose: str, now: datetime) -> bool:
        """Whether others may have this stream: agreed to when it was recorded, and now, and nothing taken since."""
        wanted = (made.modality, purpose)
        lives = [self.live(device, now) for device in {receipt.device for receipt in self.receipts}]
        return (
            any(receipt is not None and wanted in receipt.left for receipt in lives)
            and wanted in made.receipt.left
            and made.receipt.state(now) in ("given", "expired")
            and made.closed in (None, "revoked")
            and not made.erased
            and not self.waited_for
        )

    def why_not(self, made: Made, purpose: str, now: datetime) -> str:
        """Why others may not have it."""
        agreed = (made.modality, purpose) in made.receipt.left and made.receipt.state(now) in ("given", "expired")
        return "expired" if agreed and made.closed in (None, "revoked") else "withdrawn"

    def final(self, one: Followed, today: str) -> bool:
        """Whether nobody can bring it back any more."""
        if one.destroyed is None or (one.waits_for_keys and one.keys_gone is None):
            return False
        if any(mark.carried is None for mark in one.marks):
            return False
        days = [one.destroyed, one.keys_gone or "", *(mark.carried or "" for mark in one.marks)]
        last = datetime.fromisoformat(max(days)) + timedelta(days=self.backup_days)
        return day(last) <= today

    # --- what happens ---

    def give(self, receipt: Given) -> None:
        self.receipts.append(receipt)

    def up_to(self, newest: Given) -> list[Given]:
        """A receipt and the earlier ones of its device."""
        mine = [receipt for receipt in self.receipts if receipt.device == newest.device]
        return mine[: mine.index(newest) + 1]

    def withdraw(
        self, named: list[Given] | None, kinds: Kinds, purposes: Purposes, *, at: datetime, now: datetime, of: str,
        at_once: bool,
    ) -> Followed:  # fmt: skip
        """`named` None: everything. It counts for what was given before it was signed, and before it arrived."""
        if named is None:
            self.barred = max(self.barred, min(at, now + SKEW))
        receipts = list(self.receipts) if named is None else named
        gone: list[Made] = []
        for receipt in receipts:
            if receipt.until <= now and receipt.end is None:
                receipt.end = "expired"
            _take(receipt.left, kinds, purposes)
            if not receipt.left and receipt.end is None:
                receipt.end = "withdrawn"
            for made in self.streams:
                named_too = not kinds or made.modality in kinds
                kept = any(kind is made.modality for kind, _ in receipt.left)
                if made.receipt is receipt and named_too and not kept and not made.erased:
                    gone.append(made)
        self._close(gone, "withdrawn")
        erase_on = day(now) if at_once else day(now + WEEK)
        one = Followed(of, "withdrawal", gone, erase_on)
        self.followed.append(one)
        if at_once:
            self._destroy(one, day(now))
        return one

    def end(self, receipt: Given, how: End, now: datetime, of: str) -> None:
        if not receipt.left:
            return
        if receipt.end is None:
            receipt.end = "expired" if receipt.until <= now else how
        receipt.left.clear()
        gone = [made for made in self.streams if made.receipt is receipt and not made.erased]
        self._close(gone, "ended")
        self.followed.append(Followed(of, "ending", gone, day(now + WEEK), ended=receipt))

    def erase(self, streams: list[Made], hours: dict[str, set[str]] | None, of: str, now: datetime) -> Followed:
        """`hours`: by day; None: whole streams."""
        one = Followed(of, "erasure", streams, day(now))
        self.followed.append(one)
        if hours is None:
            self._destroy(one, day(now))
            return one
        one.destroyed = day(now)
        for made in streams:
            wanted = frozenset(hours[made.day])
            made.hours |= wanted
            same = [mark for mark in made.tombstones if mark.hours == wanted]
            one.marks += same or [self._bury(made, wanted)]
        return one

    def reached(self, first: str, last: str, kinds: Kinds) -> list[Made]:
        """Streams of these days and modalities that are not erased yet."""
        return [
            made
            for made in self.streams
            if first <= made.day <= last and (not kinds or made.modality in kinds) and not made.erased
        ]

    def revoke(self, device: int, now: datetime) -> None:
        """The device's streams accept nothing more, by an order of this moment."""
        self.revoked.add(device)
        self.unheard.discard(device)
        for made in self.streams:
            if made.device == device and made.closed is None and not made.erased and made.upload_until >= day(now):
                made.closed = "revoked"
                self.marks.append(Mark(made, erases=False, ordered=day(now)))

    def night(self, now: datetime) -> None:
        today = day(now)
        for receipt in self.receipts:
            if receipt.until <= now and receipt.end is None:
                receipt.end = "expired"
        for one in self.followed:
            if one.destroyed is None and one.erase_on <= today:
                self._destroy(one, today)
        oldest = day(now - timedelta(days=self.retention_days))
        if self.others_since is not None and self.others_since < oldest:
            self.others_since = None
            self.tainted = True
        old = [made for made in self.streams if made.day < oldest and not made.erased]
        if old:
            self.followed.append(Followed("", "retention", old, today))
            self._destroy(self.followed[-1], today)
        for one in self.followed:
            if one.final is None and self.final(one, today):
                one.final = today
        for mark in self.marks:
            mark.ordered = mark.ordered or today
        if self.tainted:
            self.tainted, self.rotated = False, today
            for one in self.followed:
                if one.waits_for_keys and one.keys_gone is None:
                    one.keys_gone = today

    def pull(self, now: datetime) -> None:
        """The collector carries out every order that there is."""
        for mark in self.marks:
            if mark.ordered is None or mark.carried is not None:
                continue
            mark.carried = day(now)
            for segment in mark.made.segments:
                if mark.erases and segment.stored and (not mark.hours or segment.hour in mark.hours):
                    segment.stored, segment.gone = False, True

    def takes(self, made: Made, at: str | None) -> bool:
        """Whether the collector still takes segments of this hour; of None: of the stream at all."""
        carried = [mark for mark in self.marks if mark.made is made and mark.carried is not None]
        return not any(not mark.hours or at in mark.hours for mark in carried)

    def _close(self, streams: Iterable[Made], why: str) -> None:
        for made in streams:
            if made.closed is None:
                self.marks.append(Mark(made, erases=False))
            if made.closed in (None, "revoked"):
                made.closed = why

    def _destroy(self, one: Followed, today: str) -> None:
        streams = one.streams
        if one.ended is not None:
            streams = [made for made in self.streams if made.receipt is one.ended]
        for made in streams:
            if not made.erased:
                made.erased = self.tainted = True
                self._bury(made, frozenset())
        one.destroyed = today
        one.marks = [mark for made in streams for mark in made.tombstones if not mark.hours]
        one.waits_for_keys = bool(one.marks) and (self.tainted or self.rotated is not None)
        one.keys_gone = None if self.tainted or not one.marks else self.rotated

    def _bury(self, made: Made, hours: frozenset[str]) -> Mark:
        mark = Mark(made, erases=True, hours=hours)
        made.tombstones.append(mark)
        self.marks.append(mark)
        return mark


def _take(left: set[tuple[Modality, str]], kinds: Kinds, purposes: Purposes) -> None:
    """Remove the choices of these modalities for these purposes; empty means all of them."""
    for kind, purpose in set(left):
        if (not kinds or kind in kinds) and (not purposes or purpose in purposes):
            left.discard((kind, purpose))


def take_here(receipt: Given, kinds: Kinds, purposes: Purposes) -> None:
    """What the device that gave this receipt knows at once of a withdrawal of its own."""
    _take(receipt.here, kinds, purposes)
