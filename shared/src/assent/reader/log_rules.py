"""What must be true of the log's entries, one after the other: the same rules for who verifies and who monitors.

Pure: `LogRules.read` takes the next leaf and says what is wrong with it, or new; `standing` says what is so at a moment
(the programme is halted, a lease was never closed). What it remembers is a small JSON document, so that somebody who
follows the log reads each leaf once. Leaves are read, not believed: their bytes must have been verified before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, ValidationError

from assent.contracts import limits
from assent.contracts.envelope import Envelope, StatementInvalid, read
from assent.contracts.keys import KeyInvalid, PublicKey
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import DRILL_PURPOSE, CollectorReport
from assent.contracts.times import hour_of, parse_day, parse_hour, parse_moment

SKEW = timedelta(seconds=limits.CLOCK_DOUBT_S)
CLOSING_TIME = timedelta(hours=1)
"""How long after its end a lease may stay without its closing before that is said."""

REMEMBERED_DAYS = 2 * limits.REQUEST_DAYS
"""A request that can open nothing any more is remembered so long, in order to say why a lease of it is wrong."""

OVERDUE_LASTS = timedelta(hours=26)
"""The custodian says once a day what is overdue, while it lasts."""

UNREACHABLE_LASTS = timedelta(hours=2)
"""The custodian says once an hour which witness does not answer, while it lasts."""

RECOVERY_DELAY = timedelta(days=7)

REPORT_WITHIN = timedelta(hours=limits.REPORT_OVERDUE_HOURS)
FIRST_REPORT_WITHIN = timedelta(hours=limits.FIRST_REPORT_HOURS)


@dataclass(frozen=True)
class Finding:
    """`kind` is a stable name, `id` is the same whenever the same thing is found. `at`: since when, a moment or day."""

    kind: str
    about: str
    text: str
    at: str

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.about}" if self.about else self.kind


@dataclass(frozen=True)
class Found:
    """What one leaf brought: `wrong` must never be in a log, `news` is worth telling."""

    wrong: tuple[Finding, ...] = ()
    news: tuple[Finding, ...] = ()


class _Remembered(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Request(_Remembered):
    """`ended`: when it was refused, revoked or expired."""

    actor: str | None
    purpose: str
    mode: str
    until: str
    approvals: list[str] = []
    ended: str | None = None


class OpenLease(_Remembered):
    index: int
    until: str


class HaltSeen(_Remembered):
    index: int
    at: str


class Proposal(_Remembered):
    actor: str | None
    auth: str | None
    role: str
    action: str


class UnmaskingAsked(_Remembered):
    """`index`: whose actor. `until`: until when it can be countersigned."""

    actor: str | None
    index: int
    until: str


class RecoverySeen(_Remembered):
    actor: str | None
    countersigned: bool = False
    stopped: bool = False


class Span(_Remembered):
    """Moments between which a lease was open: somebody may have fetched then. `listed`: a report says so, or nobody
    knows.
    """

    since: str
    until: str
    listed: bool = False


class Released(_Remembered):
    """A lease that was closed after keys had been released to it, and of which no report says yet what was fetched."""

    index: int
    since: str
    until: str


class ReportSeen(_Remembered):
    """The collector's last report. `until`: the hour at which it ended. `directory`: the version in force by then."""

    number: int
    until: str
    key: str
    directory: int


class Said(_Remembered):
    """Something that the custodian said itself."""

    index: int
    at: str
    since: str = ""


class Memory(_Remembered):
    """Everything that later leaves are compared with. `size`: how many leaves were read. `order`: the last one, or -1
    where it is lost. `begun`: leaves by which a new log began after others were lost. `first`: when the first entry was
    written. `fetching`, `fetched`: when leases that are open, or were closed, explain a fetch, since the last report.
    """

    size: int = 0
    latest: str = ""
    requests: dict[str, Request] = {}
    leases: dict[str, OpenLease] = {}
    opened: int = 0
    halts: dict[str, HaltSeen] = {}
    resuming: dict[str, list[str]] = {}
    proposals: dict[str, Proposal] = {}
    founded: list[str] = []
    drafts: dict[str, str | None] = {}
    purposes: list[str] = []
    recoveries: dict[str, RecoverySeen] = {}
    unmaskings: dict[str, UnmaskingAsked] = {}
    generation: int = 0
    order: int = 0
    directory_version: int = 0
    directory_hash: str = ""
    directory_at: str = ""
    build: str = ""
    overdue: dict[str, Said] = {}
    unreachable: dict[str, Said] = {}
    begun: list[int] = []
    drill: list[str] = []
    drill_failed: Said | None = None
    first: str = ""
    report: ReportSeen | None = None
    fetching: dict[str, Span] = {}
    fetched: list[Span] = []
    released: list[Released] = []


_moment = lru_cache(maxsize=256)(parse_moment)
_day = lru_cache(maxsize=16)(parse_day)
"""Neighbouring entries have the same time more often than not."""


class LogRules:
    """Reads leaves in order, from the first or from where `memory` ends."""

    def __init__(
        self,
        memory: Memory | None = None,
        *,
        approvals_needed: int = limits.APPROVALS_NEEDED,
        role_delay: timedelta | None = None,
        report_within: timedelta = REPORT_WITHIN,
    ) -> None:
        """`role_delay`: shortest time between the countersignature of a role and its effect; None: not looked at.
        `report_within`: how long after the end of the collector's last report the next one has ended.
        """
        self.memory = memory or Memory()
        self.approvals_needed = approvals_needed
        self._role_delay = role_delay
        self._report_within = report_within
        self.collector: tuple[int, str] | None = None
        """Version of the directory of now, and the collector key that it names; None: not looked at."""
        self._wrong: list[Finding] = []
        self._news: list[Finding] = []
        self._index, self._at = 0, ""
        self._tidied = ""

    def read(self, data: bytes, *, after: datetime | None = None, before: datetime | None = None) -> Found:
        """The next leaf. `after` and `before`: when it was written at the earliest and latest, as witnesses know."""
        memory = self.memory
        self._index, self._at, self._wrong, self._news = memory.size, "", [], []
        memory.size += 1
        try:
            leaf = Leaf.model_validate_json(data)
            self._at = leaf.at
            self._time(leaf, after, before)
            self._leaf(leaf)
        except (ValidationError, ValueError):
            self._bad("unreadable", "cannot be read by this version: get the version that the custodian runs")
        return Found(tuple(self._wrong), tuple(self._news))

    def _bad(self, kind: str, what: str) -> None:
        self._wrong.append(Finding(kind, str(self._index), f"leaf {self._index}: {what}", self._at))

    def _tell(self, kind: str, what: str) -> None:
        self._news.append(Finding(kind, str(self._index), f"leaf {self._index}: {what}", self._at))

    # --- time ---------------------------------------------------------------------------------------------------------

    def _time(self, leaf: Leaf, after: datetime | None, before: datetime | None) -> None:
        """Raises ValueError for a time that is none."""
        if leaf.type is LeafType.PERSON:
            _day(leaf.at)
            return
        at, latest = _moment(leaf.at), self.memory.latest
        early = [_moment(latest)] if latest else []
        if after is not None:
            early.append(after)
        if any(at < moment - SKEW for moment in early):
            self._bad("clock", f"its time, {leaf.at}, is more than five minutes before what was in the log already")
        if before is not None and at > before + SKEW:
            self._bad("clock", f"its time, {leaf.at}, is more than five minutes after a witness countersigned it")
        self.memory.latest = max(latest, leaf.at)
        if not self.memory.first:
            self.memory.first = leaf.at

    # --- entries ------------------------------------------------------------------------------------------------------

    def _leaf(self, leaf: Leaf) -> None:
        match leaf.type:
            case (
                LeafType.PERSON
                | LeafType.CREDENTIAL_REVOKED
                | LeafType.ACCOUNT_ENDED
                | LeafType.LEASE_REFUSED
                | LeafType.AUDIT_VIEWED
                | LeafType.RECALL_DONE
            ):
                pass  # most entries are of these kinds
            case LeafType.REQUEST_SIGNED:
                self._request_signed(leaf)
            case LeafType.GRANT_APPROVED:
                self._approved(leaf)
            case LeafType.GRANT_REFUSED | LeafType.GRANT_REVOKED | LeafType.GRANT_EXPIRED:
                request = self.memory.requests.get(leaf.request or leaf.subject or "")
                if request is not None and leaf.decision != "refused":
                    request.ended = request.ended or leaf.at
            case LeafType.LEASE_OPENED:
                self._lease_opened(leaf)
            case LeafType.LEASE_CLOSED:
                self.memory.leases.pop(leaf.subject or "", None)
                self._fetching_ends(leaf)
            case LeafType.COLLECTOR_REPORT:
                self._report(leaf)
            case LeafType.ROLE_PROPOSED | LeafType.ROLE_CHANGED:
                self._role(leaf)
            case LeafType.PURPOSE_DRAFTED | LeafType.PURPOSE_SIGNED:
                self._purpose(leaf)
            case LeafType.PROGRAMME_HALTED | LeafType.PROGRAMME_RESUME_SIGNED | LeafType.PROGRAMME_RESUMED:
                self._halt(leaf)
            case (
                LeafType.RECOVERY_SIGNED
                | LeafType.RECOVERY_COUNTERSIGNED
                | LeafType.RECOVERY_USED
                | LeafType.RECOVERY_STOPPED
            ):
                self._recovery(leaf)
            case LeafType.DIRECTORY_CHANGED:
                self._directory(leaf)
            case LeafType.AUDIT_UNMASK_ASKED | LeafType.AUDIT_UNMASKED:
                self._unmasking(leaf)
            case LeafType.LOG_OPENED:
                self._log_opened(leaf)
            case LeafType.GENERATION_DESTROYED:
                number = leaf.counts.get("generation", 0)
                if number <= self.memory.generation:
                    self._tell(
                        "generation", f"key generation {number} was destroyed, after {self.memory.generation} was"
                    )
                self.memory.generation = max(number, self.memory.generation)
            case LeafType.ORDER_MADE:
                number, expected = leaf.counts.get("number", 0), self.memory.order + 1
                if self.memory.order >= 0 and number != expected:
                    self._bad("order", f"order {number} to the collector, where {expected} comes next")
                self.memory.order = max(number, self.memory.order)
            case LeafType.DRILL_PASSED | LeafType.DRILL_FAILED:
                self._drill(leaf)
            case LeafType.ERASURE_OVERDUE:
                since = leaf.detail.get("since", "")
                self.memory.overdue[leaf.rule or ""] = Said(index=self._index, at=leaf.at, since=since)
            case LeafType.WITNESS_UNREACHABLE:
                self._unreachable(leaf)
            case LeafType.CONFIG_CHANGED:
                self._tell("config-changed", f"the configuration was changed ({leaf.rule or 'no rule named'})")
            case LeafType.CONSENT_ENDED:
                self._tell("consent-ended", "the data-protection officer ended somebody's consent")
            case LeafType.BOOT:
                build = leaf.detail.get("build", "")
                if self.memory.build and build != self.memory.build:
                    self._tell("boot", f"another version of the custodian was started, {build[:16]}")
                self.memory.build = build

    def _log_opened(self, leaf: Leaf) -> None:
        """Leaves are lost: what they said is unknown, so no request, lease or recovery of before counts any more."""
        memory, counts = self.memory, leaf.counts
        if leaf.auth != "root" or counts.get("kept") != self._index:
            self._bad("log-opened", "a new log begins here, and the root key did not say so")
        memory.begun.append(self._index)
        for request in memory.requests.values():
            request.ended = request.ended or leaf.at
        for recovery in memory.recoveries.values():
            recovery.stopped = True
        memory.leases.clear()
        memory.order = -1
        memory.directory_version = counts.get("version", 0) - 1
        self._tell(
            "log-opened",
            f"a new log begins: {counts.get('lost', 0)} leaves of {leaf.detail.get('former', '')} are lost",
        )

    def _request_signed(self, leaf: Leaf) -> None:
        hash_ = leaf.request or leaf.subject or ""
        if leaf.decision == "refused" or not hash_:
            self._bad("request", "a request that was refused, or names nothing")
            return
        if hash_ in self.memory.requests:
            return  # handed in again after a restore: what was said of it since still holds
        if (hour := hour_of(_moment(leaf.at))) != self._tidied:
            self._tidied = hour
            self._forget_old_requests(leaf.at)
        if self._of_drill(leaf.purpose):
            if leaf.actor not in self.memory.drill:
                self._bad("request", "a request for the purpose of the drill by somebody else than the drill")
        elif leaf.actor in self.memory.drill:
            self._bad("request", "a request for people's recordings by an identity of the drill")
        elif leaf.purpose not in self.memory.purposes:
            self._bad("request", f"a request for a purpose that the council has not signed, {leaf.purpose}")
        self.memory.requests[hash_] = Request(
            actor=leaf.actor, purpose=leaf.purpose or "", mode=leaf.mode or "", until=leaf.until or ""
        )

    def _forget_old_requests(self, now: str) -> None:
        days = timedelta(days=REMEMBERED_DAYS)
        before = (_moment(now) - days).strftime("%Y-%m-%dT%H:%M:%SZ")
        gone = [
            hash_
            for hash_, request in self.memory.requests.items()
            if request.until < (now if self._of_drill(request.purpose) else before)
        ]
        for hash_ in gone:
            del self.memory.requests[hash_]

    @staticmethod
    def _of_drill(purpose: str | None) -> bool:
        """`purpose`: IRI and version, as a request has them."""
        return (purpose or "").rpartition(" ")[0] == DRILL_PURPOSE

    def _drill(self, leaf: Leaf) -> None:
        overdue = leaf.type is LeafType.DRILL_FAILED and leaf.rule == "drill.overdue"
        if leaf.type is LeafType.DRILL_PASSED:
            self.memory.drill_failed = None
        else:
            what = f"no drill has passed since {leaf.detail.get('since', '')}"
            if not overdue:
                what = f"a drill found what must not be: {leaf.detail.get('failed', '')}"
            self.memory.drill_failed = Said(index=self._index, at=leaf.at)
            self._tell("drill-failed", what)
        if not overdue and leaf.actor not in self.memory.drill:
            self._bad("drill", "a drill's result by somebody else than the drill")

    def _approved(self, leaf: Leaf) -> None:
        if leaf.decision == "refused":
            return
        request = self.memory.requests.get(leaf.request or leaf.subject or "")
        if request is None:
            self._bad("approval", "an approval of a request that nobody signed")
        elif leaf.actor is None:
            self._bad("approval", "an approval by nobody")
        elif leaf.actor == request.actor:
            self._bad("approval", "the requester approved the own request")
        elif (leaf.actor in self.memory.drill) is not self._of_drill(request.purpose):
            self._bad("approval", "an identity of the drill approved a request of people, or somebody else the drill's")
        elif request.ended is not None or leaf.at > request.until:
            self._bad("approval", "an approval after the request had ended")
        elif leaf.actor not in request.approvals:
            request.approvals.append(leaf.actor)

    def _lease_opened(self, leaf: Leaf) -> None:
        if leaf.decision == "refused":
            return
        halts = sorted(halt.index for halt in self.memory.halts.values())
        if halts:
            self._bad("lease-halted", f"a lease was opened while the programme was halted by leaf {halts[0]}")
        until = self._until(leaf)
        self.memory.fetching[leaf.subject or str(self._index)] = Span(since=leaf.at, until=until)
        if leaf.mode == "own":
            return
        self.memory.opened += 1
        if leaf.subject is None or leaf.subject in self.memory.leases:
            self._bad("lease-other", "a lease without a name of its own: nobody could tell when it was closed")
        self.memory.leases.setdefault(leaf.subject or str(self._index), OpenLease(index=self._index, until=until))
        request = self.memory.requests.get(leaf.request or "")
        count = len(request.approvals) if request else 0
        if request is None or count < self.approvals_needed:
            self._bad("lease-unapproved", f"a lease with {count} of {self.approvals_needed} approvals")
            return
        if request.ended is not None:
            self._bad("lease-ended", "a lease after its request had been refused or had ended")
        if leaf.at > request.until:
            self._bad("lease-ended", f"a lease after its request had expired on {request.until}")
        if leaf.actor is None or leaf.actor != request.actor:
            self._bad("lease-other", "a lease by somebody else than who asked for it")
        if (leaf.purpose, leaf.mode) != (request.purpose.rpartition(" ")[0], request.mode):
            self._bad("lease-other", "a lease for another purpose or mode than was approved")

    def _until(self, leaf: Leaf) -> str:
        """The lease's end; that of now if it has none that could be read."""
        longest = timedelta(hours=limits.LEASE_HOURS, seconds=limits.SKEW_S)
        try:
            length = _moment(leaf.until or "") - _moment(leaf.at)
        except ValueError:
            self._bad("lease-long", "a lease without an end")
            return leaf.at
        if length > longest:
            self._bad("lease-long", f"a lease until {leaf.until}, longer than {limits.LEASE_HOURS} hours")
        return leaf.until or ""

    def _role(self, leaf: Leaf) -> None:
        subject, role, action = leaf.subject or "", leaf.detail.get("role", ""), leaf.detail.get("action", "")
        if leaf.type is LeafType.ROLE_PROPOSED:
            self.memory.proposals[subject] = Proposal(actor=leaf.actor, auth=leaf.auth, role=role, action=action)
            return
        if leaf.rule == "role.drill":
            if leaf.auth != "operator" or leaf.actor is None or action != "grant":
                self._bad("role", "an identity of the drill that the operator did not make")
            else:
                self.memory.drill.append(leaf.actor)
            self._tell("role-changed", f"an identity of the drill was made (role: {role}); it reaches the drill alone")
            return
        proposal = self.memory.proposals.get(subject)
        if proposal is None or (proposal.role, proposal.action) != (role, action):
            self._bad("role", f"the role {role} was changed ({action}) and nobody had proposed it")
            return
        if leaf.rule == "role.founder":
            if proposal.auth != "root" or role in self.memory.founded or action != "grant":
                self._bad("role", f"a second founder, or one whom the root key did not name, in the role {role}")
            self.memory.founded.append(role)
            self._tell("role-changed", f"a founder joined in the role {role}")
            return
        if leaf.actor is None or leaf.actor == proposal.actor:
            self._bad("role", f"the role {role} was proposed and countersigned by the same person")
        when = leaf.until or leaf.at
        if action == "grant" and self._role_delay is not None:
            delay = _moment(when) - _moment(leaf.at)
            if delay < self._role_delay:
                hours, wanted = (int(some / timedelta(hours=1)) for some in (delay, self._role_delay))
                self._bad("role-early", f"the role {role} counts after {hours} hours, and not after {wanted}")
        verb = "is given" if action == "grant" else "loses"
        self._tell("role-changed", f"somebody {verb} the role {role}, from {when} on")

    def _purpose(self, leaf: Leaf) -> None:
        draft = leaf.subject or ""
        if leaf.type is LeafType.PURPOSE_DRAFTED:
            self.memory.drafts[draft] = leaf.actor
            return
        name = f"{leaf.purpose} {leaf.counts.get('version', 0)}"
        if draft not in self.memory.drafts or leaf.actor is None or self.memory.drafts[draft] == leaf.actor:
            self._bad("purpose", f"the purpose {name} was signed without a draft by somebody else")
            return
        if name not in self.memory.purposes:
            self.memory.purposes.append(name)
        self._tell("purpose-signed", f"the council signed the purpose {name}")

    def _halt(self, leaf: Leaf) -> None:
        if leaf.type is LeafType.PROGRAMME_HALTED:
            self.memory.halts[leaf.subject or str(self._index)] = HaltSeen(index=self._index, at=leaf.at)
            self._tell("halted", "the programme was halted")
            return
        if leaf.type is LeafType.PROGRAMME_RESUME_SIGNED:
            signed = self.memory.resuming.setdefault(leaf.request or "", [])
            if leaf.actor is not None and leaf.actor not in signed:
                signed.append(leaf.actor)
            return
        self.memory.halts.pop(leaf.subject or "", None)
        if len(self.memory.resuming.pop(leaf.subject or "", [])) < 2:
            self._bad(
                "resumed", "the programme was resumed, and council and data-protection officer had not both signed"
            )
        self._tell("resumed", "the programme was resumed")

    def _recovery(self, leaf: Leaf) -> None:
        subject = leaf.subject or ""
        recovery = self.memory.recoveries.get(subject)
        if leaf.type is LeafType.RECOVERY_SIGNED:
            self.memory.recoveries.setdefault(subject, RecoverySeen(actor=leaf.actor))
            return
        if recovery is None:
            self._bad("recovery", "a recovery that nobody signed goes on")
            return
        if leaf.type is LeafType.RECOVERY_STOPPED:
            recovery.stopped = True
            self._tell("recovery", "a recovery was stopped by the person whose account it is")
        elif leaf.type is LeafType.RECOVERY_USED:
            if recovery.stopped or not recovery.countersigned:
                self._bad("recovery", "the code of a recovery was used that was stopped, or not signed by two")
        else:
            recovery.countersigned = True
            if leaf.actor is None or leaf.actor == recovery.actor:
                self._bad("recovery", "a recovery was signed twice by the same person")
            if _moment(leaf.until or leaf.at) - _moment(leaf.at) < RECOVERY_DELAY:
                self._bad(
                    "recovery", f"a recovery counts from {leaf.until} on, which leaves less than 7 days to object"
                )
            self._tell(
                "recovery", f"council and data-protection officer signed a recovery; it counts from {leaf.until}"
            )

    def _unmasking(self, leaf: Leaf) -> None:
        memory, subject, index = self.memory, leaf.subject or "", leaf.counts.get("index", -1)
        if leaf.type is LeafType.AUDIT_UNMASK_ASKED:
            longest = _moment(leaf.at) + timedelta(days=limits.UNMASKING_DAYS)
            until = min(leaf.until or leaf.at, longest.strftime("%Y-%m-%dT%H:%M:%SZ"))
            memory.unmaskings = {name: asked for name, asked in memory.unmaskings.items() if asked.until >= leaf.at}
            memory.unmaskings[subject] = UnmaskingAsked(actor=leaf.actor, index=index, until=until)
            self._tell("unmasked", f"an auditor asks who the actor of leaf {index} is")
            return
        asked = memory.unmaskings.get(subject)
        if asked is None or asked.index != index or leaf.at > asked.until:
            self._bad("unmasked", "somebody was unmasked, and no auditor had asked for that, or too long ago")
        elif leaf.actor is None or leaf.actor == asked.actor:
            self._bad("unmasked", "somebody was unmasked, and the same person asked for it and agreed to it")
        self._tell("unmasked", f"an auditor may learn who the actor of leaf {index} is; both have signed")

    def _directory(self, leaf: Leaf) -> None:
        memory, version = self.memory, leaf.counts.get("version", 0)
        again = (version, leaf.subject) == (memory.directory_version, memory.directory_hash)
        if leaf.auth != "root" or (version != memory.directory_version + 1 and not again):
            self._bad(
                "directory", f"directory {version}, where {memory.directory_version + 1} by the root key comes next"
            )
        if version > memory.directory_version:
            memory.directory_version, memory.directory_hash = version, leaf.subject or ""
            memory.directory_at = leaf.at
        if version > 1:
            self._tell("directory-changed", f"directory {version} came into force; compare what it names with others")

    def _unreachable(self, leaf: Leaf) -> None:
        name = leaf.detail.get("witness", "")
        if leaf.rule == "ahead":
            self._bad("witness-ahead", f"the witness {name} had seen a longer log: this one was shortened")
        self.memory.unreachable[name] = Said(index=self._index, at=leaf.at)

    # --- the collector's reports --------------------------------------------------------------------------------------

    def _fetching_ends(self, leaf: Leaf) -> None:
        memory = self.memory
        span = memory.fetching.pop(leaf.subject or "", None)
        if span is None:
            return
        closed = Span(since=span.since, until=min(span.until, leaf.at))
        if memory.report is not None and leaf.counts.get("released", 0) and not span.listed:
            memory.released.append(Released(index=self._index, since=closed.since, until=closed.until))
        last = memory.fetched[-1] if memory.fetched else None
        if last is not None and last.since <= closed.since <= last.until:
            last.until = max(last.until, closed.until)
        else:
            memory.fetched.append(closed)

    def _report(self, leaf: Leaf) -> None:
        """The collector's own signature counts, not what the custodian wrote around it."""
        memory, last = self.memory, self.memory.report
        try:
            (key,) = leaf.keys
            envelope = Envelope.from_json(leaf.detail["report"])
            report = read(envelope, CollectorReport, PublicKey(key))
            begins, ends = parse_hour(report.since), parse_hour(report.until)
        except (KeyError, KeyInvalid, StatementInvalid, ValueError):
            self._bad("report", "a report that the collector did not sign")
            return
        if leaf.subject != envelope.hash or leaf.counts != report.counts:
            self._bad("report", f"it says something else than report {report.number} of the collector, which it quotes")
        if last is not None and report.number <= last.number:
            self._bad("report-repeated", f"report {report.number} of the collector, which came already")
            return
        number, since = (last.number + 1, last.until) if last is not None else (1, report.since)
        if report.number != number or report.since != since:
            self._bad(
                "report-missing",
                f"report {report.number} of the collector from {report.since} on, where {number} from {since} on comes "
                "next",
            )
        if ends > _moment(leaf.at) + SKEW:
            self._bad("report", f"report {report.number} of the collector is about hours that were not over")
        if 0 <= memory.order < report.orders:
            self._bad("report", f"report {report.number} of the collector: it carried out an order that nobody made")
        self._reporter(key, report.number)
        if report.resumed:
            self._tell("report-resumed", f"the collector goes on with report {report.number} after a restore")
        spans = [span for span in (*memory.fetched, *memory.fetching.values()) if _overlap(span, begins, ends)]
        if (report.listings or report.bodies) and not spans:
            self._bad(
                "fetch-unexplained",
                f"report {report.number} of the collector: something was fetched from {report.since} to "
                f"{report.until}, and no lease was open",
            )
        for span in memory.fetching.values():
            before_any = last is None and _moment(span.since) < begins
            span.listed |= before_any or (bool(report.listings) and _overlap(span, begins, ends))
        self._explain_releases(report, begins, ends)
        memory.report = ReportSeen(
            number=report.number, until=report.until, key=key, directory=memory.directory_version
        )
        memory.fetched = [span for span in memory.fetched if _moment(span.until) >= ends - SKEW]
        memory.fetching = {name: span for name, span in memory.fetching.items() if _moment(span.until) >= ends - SKEW}

    def _reporter(self, key: str, number: int) -> None:
        """Only with a new directory the collector gets another key; what the directory of now names is known."""
        last, version = self.memory.report, self.memory.directory_version
        changed = last is not None and last.directory == version and last.key != key
        if changed or (self.collector is not None and self.collector[0] == version and self.collector[1] != key):
            self._bad("report", f"report {number} of the collector is not signed by the key that the directory names")

    def _explain_releases(self, report: CollectorReport, begins: datetime, ends: datetime) -> None:
        """Whoever has keys released has fetched them, sealed, from the collector."""
        if report.listings:
            self.memory.released = [one for one in self.memory.released if not _overlap(one, begins, ends)]
        for one in [one for one in self.memory.released if _moment(one.until) + SKEW < ends]:
            self.memory.released.remove(one)
            self._tell(
                "released-unfetched",
                f"keys were released to the lease that leaf {one.index} closed, and the collector handed out nothing "
                "meanwhile, it says: ask the requester where the recordings came from",
            )

    # --- what is so at a moment ---------------------------------------------------------------------------------------

    def standing(self, now: datetime, heard: Mapping[str, int] = MappingProxyType({})) -> list[Finding]:
        """What is so at `now` and can end by itself. `heard`: when witnesses countersigned last (POSIX seconds), by the
        names of their keys; one that did since is within reach."""
        return [
            *self._halted(), *self._unclosed(now), *self._overdue(now), *self._out_of_reach(now, heard),
            *self._drill_failed(), *self._collector_silent(now),
        ]  # fmt: skip

    def _halted(self) -> Iterable[Finding]:
        for halt in self.memory.halts.values():
            yield Finding("halted", str(halt.index), f"the programme is halted (leaf {halt.index})", halt.at)

    def _unclosed(self, now: datetime) -> Iterable[Finding]:
        for lease in self.memory.leases.values():
            if _moment(lease.until) + CLOSING_TIME < now:
                text = f"the lease of leaf {lease.index} was never closed: it counts as read in full"
                yield Finding("lease-unclosed", str(lease.index), text, lease.until)

    def _overdue(self, now: datetime) -> Iterable[Finding]:
        for kind, said in self.memory.overdue.items():
            if _moment(said.at) + OVERDUE_LASTS > now:
                yield Finding("overdue", kind, f"{OVERDUE.get(kind, kind)} since {said.since}", said.since or said.at)

    def _drill_failed(self) -> Iterable[Finding]:
        said = self.memory.drill_failed
        if said is not None:
            text = f"the canary drill has not passed since it failed or was overdue (leaf {said.index})"
            yield Finding("drill-failed", str(said.index), text, said.at)

    def _collector_silent(self, now: datetime) -> Iterable[Finding]:
        last, first = self.memory.report, self.memory.first
        if last is not None and parse_hour(last.until) + self._report_within < now:
            text = f"the collector has reported nothing since {last.until}"
            yield Finding("collector-silent", "", text, f"{last.until}:00:00Z")
        elif last is None and first and _moment(first) + FIRST_REPORT_WITHIN < now:
            yield Finding("collector-silent", "", "the collector has never reported what it did", first)

    def _out_of_reach(self, now: datetime, heard: Mapping[str, int]) -> Iterable[Finding]:
        for name, said in self.memory.unreachable.items():
            since = _moment(said.at)
            if since + UNREACHABLE_LASTS > now and heard.get(name, 0) < since.timestamp():
                text = f"the custodian could not reach the witness {name}"
                yield Finding("witness-unreachable", name, text, said.at)


def _overlap(span: Span | Released, begins: datetime, ends: datetime) -> bool:
    """Whether they have a moment in common, as far as clocks may differ."""
    return _moment(span.since) - SKEW < ends and _moment(span.until) + SKEW >= begins


OVERDUE: dict[str, str] = {
    "orders": "the collector has not acknowledged orders to erase",
    "generation": "a key generation that had to go is not destroyed",
    "night": "the custodian's night did not come to its end",
    "recalls": "recipients have not signed that they dropped what was recalled",
}
