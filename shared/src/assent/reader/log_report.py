"""What happened in a time, for people: what was read by whom under which approvals, what was refused, what changed, and
whether that is more than usual.

Pure: `Reporting` takes all entries of a log in order, also those of before the time in question, since approvals,
baselines and the rules of `log_rules` need them; `report` then says what it has seen, as sections of named values that
can be printed, or handed on as JSON. The canary drill's own requests and leases are counted apart: nobody's recordings
are in them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from statistics import median
from types import MappingProxyType

from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import DRILL_PURPOSE
from assent.contracts.times import parse_moment
from assent.reader.log_entries import Entry
from assent.reader.log_rules import REMEMBERED_DAYS, Finding, LogRules
from assent.reader.log_words import FIRST_USES, collector_refused, never_opened, sentence, short, who

BASELINE_WEEKS = 4
"""So many of the same weekday before a day are its baseline."""

UNUSUAL_TIMES = 2
"""More than so many times the largest day of the baseline is unusual; and whatever is seen of somebody first."""

Value = str | int | bool | None
Row = Mapping[str, Value]

DayOf = Callable[[datetime], date]
Show = Callable[[str], str]
"""A moment as the log has it, as whoever reads wants it."""


@dataclass(frozen=True)
class Section:
    """`columns`: (name, heading). `empty`: what is said where there are no rows."""

    name: str
    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    empty: str


@dataclass
class Asked:
    """A request, and what became of it."""

    index: int
    leaf: Leaf
    approvals: dict[str, Entry] = field(default_factory=dict)


@dataclass
class Opened:
    """A lease. `closed`: how many keys were released, when its job said so; else it counts as read in full."""

    entry: Entry
    request: str
    approvals: tuple[Entry, ...] = ()
    asked: Leaf | None = None
    closed: Entry | None = None


@dataclass(frozen=True)
class Use:
    """How much of something somebody did on one day. `baseline`: the same weekday in the weeks before, as far as the
    log goes back; empty when it does not."""

    day: date
    actor: str
    what: str
    number: int
    baseline: tuple[int, ...]

    @property
    def unusual(self) -> str:
        """Why it is, or nothing."""
        if not self.baseline:
            return ""
        if not any(self.baseline):
            return "new"
        return "high" if self.number > UNUSUAL_TIMES * max(self.baseline) else ""


MEASURES = {
    "leases": "leases opened",
    "keys": "sealed keys opened",
    "refusals": "leases and releases refused",
    "entries": "entries of the log seen",
}

CHANGES = frozenset(
    {
        LeafType.CONFIG_CHANGED, LeafType.DIRECTORY_CHANGED, LeafType.BOOT, LeafType.LOG_OPENED,
        LeafType.PURPOSE_DRAFTED, LeafType.PURPOSE_SIGNED, LeafType.PROGRAMME_HALTED,
        LeafType.PROGRAMME_RESUME_SIGNED, LeafType.PROGRAMME_RESUMED, LeafType.GENERATION_DESTROYED,
    }
)  # fmt: skip

ACCOUNTS = frozenset(
    {
        LeafType.ROLE_PROPOSED, LeafType.ROLE_CHANGED, LeafType.CREDENTIAL_REVOKED, LeafType.RECOVERY_SIGNED,
        LeafType.RECOVERY_COUNTERSIGNED, LeafType.RECOVERY_USED, LeafType.RECOVERY_STOPPED, LeafType.CONSENT_ENDED,
        LeafType.AUDIT_UNMASK_ASKED, LeafType.AUDIT_UNMASKED, LeafType.ACCOUNT_ENDED,
    }
)  # fmt: skip

DECISIONS = frozenset(
    {
        LeafType.REQUEST_SIGNED, LeafType.GRANT_APPROVED, LeafType.GRANT_REFUSED, LeafType.GRANT_REVOKED,
        LeafType.GRANT_EXPIRED, LeafType.RECALL_DONE,
    }
)  # fmt: skip

TROUBLE = frozenset({LeafType.DRILL_FAILED, LeafType.ERASURE_OVERDUE, LeafType.WITNESS_UNREACHABLE})


class Reporting:
    """Reads a log from its first entry on, and remembers what a report about [start, end) needs."""

    def __init__(self, start: datetime, end: datetime, day_of: DayOf) -> None:
        self.start, self.end, self._day_of = start, end, day_of
        self.size = 0
        self.first_day: date | None = None
        self._today: date | None = None
        self.wrong: list[Finding] = []
        self._rules = LogRules()
        self._requests: dict[str, Asked] = {}
        self._leases: dict[str, Opened] = {}
        self._within: list[Entry] = []
        self._drill: Counter[str] = Counter()
        self._uses: dict[tuple[str, str], Counter[date]] = defaultdict(Counter)
        self._names: dict[str, str] = {}

    def read(self, entry: Entry) -> None:
        """The next entry."""
        leaf = entry.leaf
        self.size = entry.index + 1
        wrong = self._rules.read(entry.data).wrong
        if leaf.type is LeafType.PERSON:
            return  # who did what for themselves is nobody's to count
        at = entry.at
        within, day = self.start <= at < self.end, self._day_of(at)
        self.wrong += wrong if within else ()
        if self.first_day is None:
            self.first_day = day
        if day != self._today:
            self._today = day
            self._forget(at)
        if leaf.actor is not None and entry.actor_name:
            self._names[leaf.actor] = entry.actor_name
        drill = self._remember(entry)
        if drill:
            self._drill[leaf.type.value] += within
            return
        self._count(entry, day)
        if within and leaf.mode != "own":
            self._within.append(entry)

    def _forget(self, now: datetime) -> None:
        """Requests and leases that ended long ago, and are none of the time in question."""
        long_ago = now - timedelta(days=REMEMBERED_DAYS)

        def stays(leaf: Leaf) -> bool:
            return parse_moment(leaf.until or leaf.at) >= long_ago

        self._requests = {hash_: one for hash_, one in self._requests.items() if stays(one.leaf)}
        self._leases = {
            name: one for name, one in self._leases.items() if one.entry.at >= self.start or stays(one.entry.leaf)
        }

    def _remember(self, entry: Entry) -> bool:
        """Requests, approvals and leases; returns whether the entry is of the drill, and its result is none that
        somebody must hear of."""
        leaf, request = entry.leaf, entry.leaf.request or ""
        match leaf.type:
            case LeafType.REQUEST_SIGNED:
                self._requests.setdefault(request, Asked(entry.index, leaf))
            case LeafType.GRANT_APPROVED if request in self._requests and leaf.actor is not None:
                self._requests[request].approvals.setdefault(leaf.actor, entry)
            case LeafType.LEASE_OPENED if leaf.mode != "own":
                asked = self._requests.get(request)
                approvals = tuple(asked.approvals.values()) if asked else ()
                self._leases[leaf.subject or str(entry.index)] = Opened(
                    entry, request, approvals, asked.leaf if asked else None
                )
            case LeafType.LEASE_CLOSED if leaf.subject in self._leases:
                self._leases[leaf.subject or ""].closed = entry
            case _:
                pass
        if leaf.actor in self._rules.memory.drill and leaf.type is not LeafType.DRILL_FAILED:
            return True
        known = self._requests.get(request)
        purpose = known.leaf.purpose if known else leaf.purpose
        return (purpose or "").split(" ")[0] == DRILL_PURPOSE

    def _count(self, entry: Entry, day: date) -> None:
        leaf = entry.leaf
        if leaf.mode == "own" or (leaf.type is LeafType.LEASE_REFUSED and leaf.request is None):
            return
        match leaf.type:
            case LeafType.LEASE_OPENED:
                self._use(leaf.actor, "leases", day, 1)
            case LeafType.LEASE_REFUSED:
                self._use(leaf.actor, "refusals", day, 1)
            case LeafType.AUDIT_VIEWED:
                self._use(leaf.actor, "entries", day, leaf.counts.get("entries", 0))
            case LeafType.LEASE_CLOSED:
                opened = self._leases.get(leaf.subject or "")
                if opened is not None:
                    by, when = opened.entry.leaf.actor, self._day_of(opened.entry.at)
                    self._use(by, "keys", when, leaf.counts.get("released", 0))
            case _:
                pass

    def _use(self, actor: str | None, what: str, day: date, number: int) -> None:
        if actor is not None and number:
            self._uses[actor, what][day] += number

    # --- what it has seen ---------------------------------------------------------------------------------------------

    def uses(self) -> list[Use]:
        """What was done on the days in question, compared with the same weekdays of the weeks before."""
        first, last = self._day_of(self.start), self._day_of(self.end - timedelta(seconds=1))
        return [
            Use(day, actor, what, number, self._baseline(days, day))
            for (actor, what), days in sorted(self._uses.items())
            for day, number in sorted(days.items())
            if first <= day <= last
        ]

    def _baseline(self, days: Counter[date], day: date) -> tuple[int, ...]:
        before = [day - timedelta(weeks=weeks) for weeks in range(1, BASELINE_WEEKS + 1)]
        return tuple(days[one] for one in before if self.first_day is not None and one >= self.first_day)

    def sections(
        self, show: Show, now: datetime, heard: Mapping[str, int] = MappingProxyType({})
    ) -> tuple[Section, ...]:
        """The report. `show`: how times are written; `now`: at which what stands is judged; `heard`: as
        `LogRules.standing` has it."""
        return (
            self._standing(show, now, heard),
            self._reads(show, now),
            self._events("decisions", "Requests and decisions", DECISIONS, show, "Nobody asked for anything."),
            self._refused(show),
            self._first_uses(show),
            self._events("trouble", "Failed drills, overdue erasures, silent witnesses", TROUBLE, show, "None."),
            self._events("accounts", "Roles, keys, recoveries, unmasking", ACCOUNTS, show, "None was changed."),
            self._events("changes", "Configuration, purposes, halts, versions", CHANGES, show, "Nothing was changed."),
            self._looks(show),
            self._volume(),
            self._drills(),
        )

    def _of(self, *types: LeafType) -> list[Entry]:
        return [entry for entry in self._within if entry.leaf.type in types]

    def _who(self, leaf: Leaf) -> str:
        return who(leaf, self._names.get(leaf.actor or ""))

    def _standing(self, show: Show, now: datetime, heard: Mapping[str, int]) -> Section:
        """What must not be in a log, of that time; and what is so now."""
        rows = [("wrong", finding) for finding in self.wrong] + [
            ("stands", finding) for finding in self._rules.standing(now, heard)
        ]
        return Section(
            "alarms",
            "What must not be, and what is so now",
            (("state", "state"), ("since", "since"), ("text", "what")),
            tuple({"state": state, "since": show(one.at) if one.at else "", "text": one.text} for state, one in rows),
            "Nothing: every entry of that time may stand where it stands.",
        )

    def _reads(self, show: Show, now: datetime) -> Section:
        rows: list[Row] = []
        for entry in self._of(LeafType.LEASE_OPENED):
            opened = self._leases[entry.leaf.subject or str(entry.index)]
            asked = opened.asked or entry.leaf
            approved = [f"{self._who(one.leaf)} {show(one.leaf.at)}" for one in opened.approvals]
            rows.append(
                {
                    "index": entry.index,
                    "at": show(entry.leaf.at),
                    "who": self._who(entry.leaf),
                    "recipient": asked.detail.get("recipient", ""),
                    "purpose": asked.purpose,
                    "what": asked.detail.get("modalities", ""),
                    "days": asked.detail.get("days", ""),
                    "mode": entry.leaf.mode,
                    "approved_by": ", ".join(approved),
                    "request": short(opened.request),
                    "lease": short(entry.leaf.subject),
                    "keys": opened.closed.leaf.counts.get("released", 0) if opened.closed else None,
                    "ended": self._ended(opened, show, now),
                }
            )
        columns = (
            ("index", "entry"), ("at", "opened"), ("who", "by"), ("recipient", "as"), ("purpose", "for"),
            ("what", "what"), ("days", "days"), ("mode", "mode"), ("approved_by", "approved by"),
            ("request", "request"), ("lease", "lease"), ("keys", "keys opened"), ("ended", "ended"),
        )  # fmt: skip
        return Section("reads", "What was read, by whom, under which approvals", columns, tuple(rows), "Nothing.")

    def _ended(self, opened: Opened, show: Show, now: datetime) -> str:
        if opened.closed is not None:
            closed = opened.closed.leaf
            return f"never opened ({closed.rule}): nothing was read" if never_opened(closed) else show(closed.at)
        until = opened.entry.leaf.until or opened.entry.leaf.at
        return "not closed: counts as read in full" if parse_moment(until) < now else f"open until {show(until)}"

    def _refused(self, show: Show) -> Section:
        rows: tuple[Row, ...] = tuple(
            {
                "index": entry.index,
                "at": show(entry.leaf.at),
                "who": self._who(entry.leaf),
                "rule": entry.leaf.rule,
                "request": short(entry.leaf.request),
                "text": sentence(entry.leaf, entry.actor_name),
            }
            for entry in self._within
            if entry.leaf.type in (LeafType.LEASE_REFUSED, LeafType.GRANT_REFUSED)
            or collector_refused(entry.leaf)
            or (entry.leaf.decision == "refused" and entry.leaf.type not in (*TROUBLE, *ACCOUNTS))
        )
        columns = (
            ("index", "entry"), ("at", "at"), ("who", "who"), ("rule", "rule"), ("request", "request"), ("text", "what")
        )  # fmt: skip
        return Section("refused", "What was refused", columns, rows, "Nothing.")

    def _first_uses(self, show: Show) -> Section:
        rows: tuple[Row, ...] = tuple(
            {
                "index": entry.index,
                "at": show(entry.leaf.at),
                "who": self._who(entry.leaf),
                "request": short(entry.leaf.request),
                "first": FIRST_USES.get(entry.leaf.detail["first"], entry.leaf.detail["first"]),
            }
            for entry in self._of(LeafType.LEASE_OPENED)
            if "first" in entry.leaf.detail
        )
        columns = (("index", "entry"), ("at", "at"), ("who", "who"), ("request", "request"), ("first", "what is new"))
        return Section("first_uses", "What was used for the first time", columns, rows, "Nothing.")

    def _events(self, name: str, title: str, types: frozenset[LeafType], show: Show, empty: str) -> Section:
        rows: tuple[Row, ...] = tuple(
            {
                "index": entry.index,
                "at": show(entry.leaf.at),
                "type": entry.leaf.type.value,
                "text": sentence(entry.leaf, entry.actor_name),
            }
            for entry in self._of(*types)
        )
        columns = (("index", "entry"), ("at", "at"), ("type", "kind"), ("text", "what"))
        return Section(name, title, columns, rows, empty)

    def _looks(self, show: Show) -> Section:
        looks: dict[str, list[Entry]] = defaultdict(list)
        for entry in self._of(LeafType.AUDIT_VIEWED):
            looks[self._who(entry.leaf)].append(entry)
        rows: tuple[Row, ...] = tuple(
            {
                "who": actor,
                "looks": len(entries),
                "entries": sum(entry.leaf.counts.get("entries", 0) for entry in entries),
                "first": show(entries[0].leaf.at),
                "last": show(entries[-1].leaf.at),
            }
            for actor, entries in sorted(looks.items())
        )
        columns = (
            ("who", "who"), ("looks", "looks"), ("entries", "entries seen"), ("first", "first"), ("last", "last")
        )  # fmt: skip
        return Section("looks", "Who looked at the log", columns, rows, "Nobody.")

    def _volume(self) -> Section:
        rows: tuple[Row, ...] = tuple(
            {
                "day": use.day.isoformat(),
                "who": self._names.get(use.actor, "") or short(use.actor),
                "what": MEASURES[use.what],
                "number": use.number,
                "baseline": f"{median(use.baseline):g}" if use.baseline else None,
                "largest": max(use.baseline, default=None),
                "weeks": len(use.baseline),
                "unusual": use.unusual,
            }
            for use in sorted(self.uses(), key=lambda use: (use.day, use.what, use.actor))
        )
        columns = (
            ("day", "day"), ("who", "who"), ("what", "what"), ("number", "number"), ("baseline", "usual"),
            ("largest", "largest"), ("weeks", "weeks"), ("unusual", "unusual"),
        )  # fmt: skip
        title = f"How much, beside the same weekday of the {BASELINE_WEEKS} weeks before"
        return Section("volume", title, columns, rows, "Nothing to count.")

    def _drills(self) -> Section:
        rows: tuple[Row, ...] = tuple(
            {"type": kind, "number": number} for kind, number in sorted(self._drill.items()) if number
        )
        return Section(
            "drill", "Entries of the canary drill alone", (("type", "kind"), ("number", "number")), rows, "None."
        )


def markdown(title: str, facts: Sequence[str], sections: Sequence[Section]) -> str:
    """A report as Markdown: a heading, facts, and a table for each section. No value can break out of its cell."""
    lines = [f"# {_cell(title)}", ""]
    lines += [f"- {_cell(fact)}" for fact in facts]
    for section in sections:
        lines += ["", f"## {_cell(section.title)}", ""]
        if not section.rows:
            lines.append(_cell(section.empty))
            continue
        lines.append("| " + " | ".join(heading for _, heading in section.columns) + " |")
        lines.append("|" + " --- |" * len(section.columns))
        lines += ["| " + " | ".join(_cell(row[name]) for name, _ in section.columns) + " |" for row in section.rows]
    return "\n".join(lines) + "\n"


def _cell(value: Value) -> str:
    text = "" if value is None else str(value)
    plain = "".join(character if character.isprintable() else "·" for character in text)
    return "".join(f"\\{character}" if character in "\\|`*_[]<>#" else character for character in plain)
