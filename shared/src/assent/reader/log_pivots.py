"""From one thing in the log to everything that belongs to it: from a request to approvals, leases and who was told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from assent.contracts.ids import is_hex
from assent.contracts.leaves import Leaf, LeafType
from assent.reader.log_copies import CopyInvalid
from assent.reader.log_entries import ABOUT_LEASES, ABOUT_REQUESTS, REQUEST_LASTS, Entry, begins
from assent.reader.log_words import SHORT, never_opened, short

KINDS = ("request", "lease", "job")
TOLD_FIRST = "Everyone whose recordings it names was told at once, with the proof"
TOLD_LATER = "Everyone whose recordings it names was told with the digest of that day, with the proof"
TOLD_NOBODY = "Nobody: it never opened, and nothing was read"
TOLD_APPROVERS = "; those who approved were told that it is a first use"


@dataclass(frozen=True)
class Reference:
    """What somebody asks about: `kind` one of KINDS, or empty for whatever has these digits."""

    kind: str
    digits: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """`request:DIGITS`, `lease:DIGITS`, `job:DIGITS` or DIGITS, hexadecimal, 8 at least. Raises ValueError."""
        kind, _, digits = text.strip().lower().rpartition(":")
        if kind and kind not in KINDS:
            raise ValueError(f"{kind!r} is not one of {', '.join(KINDS)}")
        if len(digits) < SHORT or not is_hex(digits):
            raise ValueError(f"write a number, or at least {SHORT} digits of a hash, as 'assent audit list' shows them")
        return cls(kind, digits)


@dataclass(frozen=True)
class LeaseStory:
    """`keys`: how many sealed keys were opened, once the job said so. `told`: who heard of it."""

    lease: str
    opened: Entry
    closed: Entry | None
    told: str

    @property
    def keys(self) -> int | None:
        return self.closed.leaf.counts.get("released", 0) if self.closed is not None else None


@dataclass(frozen=True)
class Story:
    """What belongs together, in order. `request` is empty where it is about no request."""

    request: str
    entries: tuple[Entry, ...]

    @property
    def asked(self) -> Leaf | None:
        return next((one.leaf for one in self.entries if one.leaf.type is LeafType.REQUEST_SIGNED), None)

    @property
    def approvals(self) -> tuple[Entry, ...]:
        return tuple(one for one in self.entries if one.leaf.type is LeafType.GRANT_APPROVED)

    @property
    def state(self) -> str:
        """What became of a request: open, granted, or how it ended; `own` for somebody's own recordings, `never asked`
        where only what was refused names it."""
        own = any(entry.leaf.mode == "own" for entry in self.entries)
        state = "open" if self.asked else "own" if own else "never asked"
        for entry in self.entries:
            match entry.leaf.type:
                case LeafType.GRANT_APPROVED if entry.leaf.rule == "not-available":
                    state = "not-available"
                case LeafType.GRANT_APPROVED if "cohort" in entry.leaf.roots:
                    state = "granted"
                case LeafType.GRANT_REFUSED | LeafType.GRANT_REVOKED | LeafType.GRANT_EXPIRED:
                    state = entry.leaf.type.value.removeprefix("grant.")
                case _:
                    pass
        return state

    @property
    def leases(self) -> tuple[LeaseStory, ...]:
        found: list[LeaseStory] = []
        told_before = False
        for entry in self.entries:
            if entry.leaf.type is not LeafType.LEASE_OPENED:
                continue
            closed = self._closing(entry.leaf.subject)
            if closed is not None and never_opened(closed.leaf):
                told = TOLD_NOBODY
            else:
                told = TOLD_LATER if told_before else TOLD_FIRST
                told += TOLD_APPROVERS if "first" in entry.leaf.detail else ""
                told_before = True
            found.append(LeaseStory(entry.leaf.subject or "", entry, closed, told))
        return tuple(found)

    def _closing(self, lease: str | None) -> Entry | None:
        closings = (one for one in self.entries if one.leaf.type is LeafType.LEASE_CLOSED)
        return next((one for one in closings if one.leaf.subject == lease), None)


def story(newest_first: Iterable[Entry], wanted: Reference) -> Story:
    """Everything that belongs to what is asked about. Reads the whole log. Raises CopyInvalid for none, or several."""
    about: dict[str, list[Entry]] = {}  # by request
    asked: dict[str, datetime] = {}
    requests: set[str] = set()
    apart: list[Entry] = []
    day = ""
    for entry in newest_first:
        leaf = entry.leaf
        if leaf.at[:10] != day:
            day = leaf.at[:10]
            for request in [one for one, at in asked.items() if entry.at < at - REQUEST_LASTS and one not in requests]:
                del asked[request], about[request]
        of_request = leaf.type in ABOUT_REQUESTS and leaf.request is not None
        if of_request:
            about.setdefault(leaf.request or "", []).append(entry)
            if leaf.type is LeafType.REQUEST_SIGNED or leaf.mode == "own":
                asked[leaf.request or ""] = entry.at
        if of_request and _meant(leaf, wanted):
            requests.add(leaf.request or "")
        elif not wanted.kind and (begins(entry.hash, wanted.digits) or begins(leaf.subject, wanted.digits)):
            apart.append(entry)
    if len(requests) == 1:
        request = requests.pop()
        return Story(request, tuple(reversed(about[request])))
    if requests:
        several = ", ".join(sorted(short(one) for one in requests))
        raise CopyInvalid(f"several requests fit ({several}): write more digits")
    if not apart:
        raise CopyInvalid(f"nothing in the log has the digits {wanted.digits}; 'assent audit list' shows what it has")
    return Story("", tuple(reversed(apart)))


def _meant(leaf: Leaf, wanted: Reference) -> bool:
    of_lease = leaf.type in ABOUT_LEASES
    return (
        (wanted.kind in ("", "request") and begins(leaf.request, wanted.digits))
        or (wanted.kind in ("", "lease") and of_lease and begins(leaf.subject, wanted.digits))
        or (wanted.kind in ("", "job") and of_lease and any(begins(key, wanted.digits) for key in leaf.keys))
    )
