"""One drill: record, open through a grant, try everything that must fail, take everything back, say how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2

from assent.client.collector import CollectorClient
from assent.client.custodian import Clock, CustodianClient, OpenedLease, to_base64
from assent.client.transport import AnswerInvalid, ClientError, Refused, Unreachable, now_utc
from assent.contracts.envelope import Envelope, read_unverified, sign
from assent.contracts.events import KeyEvent
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey, b64url
from assent.contracts.problems import Code
from assent.contracts.segment import EndRecord
from assent.contracts.statements import (
    DRILL_PURPOSE,
    DataRequest,
    Decision,
    DrillResult,
    FetchRequest,
    Mode,
    OwnData,
    Standing,
    StreamCertificate,
    StreamWanted,
    Ticket,
)
from assent.contracts.times import add_days, day_of, hour_of, moment
from assent.contracts.wire import (
    BODY_SHA256_FIELD,
    HEADER_FIELD,
    SEALED_KEY_FIELD,
    SIGNATURE_FIELD,
    AccessesView,
    CertificatesAnswer,
    FetchBody,
    RecordBody,
)
from assent.reader.jobs import Job, open_lease
from assent.reader.sessions import Data
from assent.sealing.hpke import HybridPrivateKey, HybridPublicKey
from assent.sealing.segments import seal_segment, sign_record
from assent_server.drill import surfaces as modes
from assent_server.drill.identities import CANARY, NEIGHBOUR, DrillNotReady, Folder, Identity, Kind, refresh
from assent_server.drill.probes import About, Answer, Things, Wire, authorization, lease_request, probe
from assent_server.drill.promises import COLLECTOR, CUSTODIAN, Outcome, expected, outcome, routes_of
from assent_server.drill.recording import NotCertified, Recorder, Recording, new_marker
from assent_server.drill.results import Progress, Results

QUIET_BEFORE_MIDNIGHT = timedelta(minutes=3)
"""A drill is of one UTC day; it waits for the next when so little of it is left."""

ERASED_AT_COLLECTOR_DAYS = 2
"""A stream that was erased longer ago must be closed at the collector: the night ordered it."""

KEPT_CERTIFICATES = 64

ATTENDED = frozenset({"/v1/leases"})
"""Routes that are not asked by everybody, since each refusal is an entry of the log; `_lease_of_others` asks them."""


_ANEW = "remove identities.json from the folder of the drill, and run it again"


@dataclass(frozen=True)
class Described:
    """The OpenAPI descriptions of both services."""

    custodian: Mapping[str, Any]
    collector: Mapping[str, Any]


class Drill:
    """Runs once. `surfaces`: what lies on this host. `wait`: pauses for so many seconds."""

    def __init__(
        self,
        folder: Folder,
        described: Described,
        surfaces: Sequence[modes.Surface] = (),
        *,
        clock: Clock = now_utc,
        transport: httpx2.BaseTransport | None = None,
        wait: Callable[[float], None] = time.sleep,
        progress: Progress = lambda _text: None,
        skipped: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._described = described
        self._surfaces = surfaces
        self._clock = clock
        self._transport = transport
        self._wait = wait
        self._results = Results(progress, skipped=list(skipped))
        self._members, self._directory = folder.load()
        self._stranger = SigningKey.generate()
        self._marker = new_marker()

    def run(self) -> Results:
        """Raises ClientError when a service cannot be reached, DrillNotReady when the drill cannot be done now. What is
        recorded is taken back in any case, and what was found is stated before this returns, also when the drill broke
        off over an answer that it did not expect: that is as wrong as any.
        """
        self._not_over_midnight()
        refresh(self._directory, self._directory.current.custodian_url, self._transport)
        with ExitStack() as stack:
            self._open_clients(stack)
            halted = self._news()
            try:
                if halted is None:
                    self._whole()
                else:
                    self._while_halted(halted)
            except (Unreachable, DrillNotReady, httpx2.HTTPError):
                raise
            except Exception as error:
                self._results.broke_off(error)
            finally:
                self._take_back()
            self._results.begin("modes of files on this host")
            modes.look(self._surfaces, self._results)
            self._state()
        return self._results

    def _take_back(self) -> None:
        """Withdraw and erase everything. That it is refused is the worst that a drill can find."""
        for recorder in self._recorders.values():
            try:
                recorder.withdraw(erase=True)
            except (Refused, AnswerInvalid) as error:
                self._results.expect("withdrawal.accepted", False, f"{recorder.member} could not withdraw: {error}")
        self._remember_erased()

    def _not_over_midnight(self) -> None:
        now = self._clock()
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), now.tzinfo)
        if midnight - now < QUIET_BEFORE_MIDNIGHT:
            self._wait((midnight - now).total_seconds() + 1)

    def _open_clients(self, stack: ExitStack) -> None:
        current = self._directory.current
        self._custodian = Wire(current.custodian_url, self._transport)
        self._collector = Wire(current.collector_url, self._transport)
        self._job_collector = CollectorClient.of(current, clock=self._clock, transport=self._transport)
        for one in (self._custodian, self._collector, self._job_collector):
            stack.callback(one.close)
        self._recorders = {
            name: Recorder(self._members[name], self._folder, current, self._clock, self._transport)
            for name in (CANARY, NEIGHBOUR)
        }
        for recorder in self._recorders.values():
            stack.callback(recorder.close)
        self._clients = {
            name: CustodianClient.of(current, one.keys["opening"], clock=self._clock, transport=self._transport)
            for name, one in self._members.items()
        }
        for client in self._clients.values():
            stack.callback(client.close)

    def _news(self) -> str | None:
        """For what reason the programme is halted. After a restore each device says again what its person wants: of
        drills that are over, nothing. Raises DrillNotReady when these identities are none any more.
        """
        halted = None
        for recorder in self._recorders.values():
            try:
                news = recorder.custodian.news()
            except Refused as refused:
                if refused.code is Code.NOT_SIGNED_IN:
                    raise DrillNotReady(f"the custodian does not know these identities: {_ANEW}") from refused
                raise
            if news.revoked:
                raise DrillNotReady(f"these identities ended when others were invited: {_ANEW}")
            if news.restate:
                recorder.custodian.restate(
                    Standing(person=recorder.member.person, in_force=False, nonce=new_id(), at=moment(self._clock()))
                )
            halted = news.halted
        return halted

    # --- the whole drill ----------------------------------------------------------------------------------------------

    def _whole(self) -> None:
        canary, neighbour = self._recorders[CANARY], self._recorders[NEIGHBOUR]
        self._results.begin("recording the marker")
        try:
            canary.record(self._marker, (Modality.KEYBOARD, Modality.CONTEXT, Modality.POINTER))
            neighbour.record(new_marker(), (Modality.POINTER,))
        except NotCertified as refused:
            raise DrillNotReady(f"the drill may not record: {refused}") from refused
        self._results.begin("writing into a stream of somebody else")
        self._certificates()
        self._extension()
        for recorder in self._recorders.values():
            recorder.end()
        self._results.begin("through a grant, with too few approvals and with enough")
        request = self._grant()
        if request is None:
            return
        job = self._read(request)
        self._told(request)
        self._results.begin("through leases and keys of others")
        other = self._job(lambda: self._lease("requester", request=request))
        self._doors_of_others(request, job, other)
        self._results.begin("at the collector, without a ticket that counts")
        self._tickets(other)
        self._results.begin("every route, by everybody")
        self._every_route(request, other)
        self._results.begin("after the withdrawal")
        self._after_withdrawal(request, other)
        self._results.begin("after the erasure, at the collector")
        self._erased_before()

    def _while_halted(self, reason: str) -> None:
        """Nothing may be recorded and nothing opened; the rest of the drill waits until the programme runs again."""
        self._results.begin("while the programme is halted")
        self._results.skipped.append(f"everything but this: the programme is halted ({reason})")
        canary = self._recorders[CANARY]
        try:
            canary.record(self._marker, (Modality.KEYBOARD,))
            refused = False
        except (NotCertified, Refused):
            refused = True
        self._results.expect("halt.certificate", refused, "the programme is halted, and yet recording was certified")
        today = day_of(self._clock())
        own = OwnData(from_day=today, to_day=today, modalities=tuple(Modality))
        answer = self._post("/v1/leases", sign(lease_request(self._clock(), own=own), self._key(CANARY)))
        self._results.expect(
            "halt.lease", not answer.done, f"the programme is halted, and yet a lease was opened ({answer})"
        )

    # --- the one grant that succeeds ----------------------------------------------------------------------------------

    def _grant(self) -> str | None:
        """Sign a request, have it approved by two, and try a lease before each. None when it is never granted."""
        now = self._clock()
        wish = DataRequest(
            purpose=DRILL_PURPOSE, purpose_version=1, modalities=(Modality.KEYBOARD,), from_day=day_of(now),
            to_day=day_of(now), mode=Mode.READER, recipient="drill", why="canary drill", nonce=new_id(),
            at=moment(now), expires=moment(now + timedelta(hours=1)),
        )  # fmt: skip
        request = self._clients["requester"].ask_for_data(wish).hash
        state = "open"
        for approvals, steward in enumerate(("steward", "other-steward")):
            answer = self._post(
                "/v1/leases", sign(lease_request(self._clock(), request=request), self._key("requester"))
            )
            self._results.expect(
                "lease.approvals",
                not answer.done and answer.status < 500,
                f"the requester opened a lease with {approvals} approval(s) of 2 ({answer})",
            )
            decision = Decision(request=request, decision="approve", at=moment(self._clock()))
            try:
                state = self._clients[steward].decide(decision).state
            except Refused as refused:
                state = str(refused)
        granted = self._results.expect(
            "grant.succeeds", state == "granted", f"a request that two stewards approved was not granted: {state}"
        )
        return request if granted else None

    def _read(self, request: str) -> Job | None:
        """Read the marker under the grant, in the clear, with every proof checked; closes its lease."""
        try:
            job = self._lease("requester", request=request)
            found = self._typed(job)
        except ClientError as error:
            self._results.expect("grant.succeeds", False, f"the requester could not read under the grant: {error}")
            return None
        mine = {recording.stream for recording in self._recorders[CANARY].recordings[:1]}
        self._results.expect(
            "grant.streams",
            {leased.stream for leased in job.streams} == mine,
            "the lease names other streams than those of the modality and the person that the grant covers",
        )
        self._results.expect(
            "grant.succeeds", found == self._marker, "what was read under the grant is not the marker that was recorded"
        )
        return job

    def _lease(self, who: str, *, request: str | None = None, own: OwnData | None = None) -> Job:
        client = self._clients[who]
        return open_lease(client, self._directory, request=request, own=own, hours=1, clock=self._clock)

    def _job(self, open_: Callable[[], Job]) -> Job | None:
        try:
            return open_()
        except ClientError as error:
            self._results.expect("grant.succeeds", False, f"a lease that is permitted was not opened: {error}")
            return None

    def _typed(self, job: Job) -> str:
        """Every letter that was typed in what the job reads."""
        found = ""
        with Data(job, self._clients["requester"], self._job_collector, self._directory.statement_key) as data:
            for session in data.sessions():
                for recorded in session.events():
                    if isinstance(recorded.event, KeyEvent) and recorded.event.pressed:
                        found += recorded.event.key
        return found

    def _told(self, request: str) -> None:
        """The canary finds the access among its own."""
        answer = self._get("/v1/me/accesses", self._key(CANARY))
        named = set()
        if answer.done:
            named = {access.notification.request for access in AccessesView.parse(answer.body).accesses}
        self._results.expect(
            "told.canary", request in named, "recordings were opened, and the person whose they are was not told"
        )

    # --- everything else fails ----------------------------------------------------------------------------------------

    def _doors_of_others(self, request: str, closed: Job | None, job: Job | None) -> None:
        """Leases by others, leases of others, keys of others, and leases that are over."""
        self._leases_by_others(request)
        canary = self._recorders[CANARY]
        typed, titled, _ = canary.recordings
        if closed is not None:
            self._not_released("release.closed", closed, typed, "a lease that was closed")
        if job is not None:
            self._not_released("release.modality", job, titled, "a grant that covers the keyboard, and not titles")
            self._not_released(
                "release.foreign-key", job, typed, "a lease, by a key that is not its job's", self._stranger
            )
        today = day_of(self._clock())
        neighbours = self._job(
            lambda: self._lease(NEIGHBOUR, own=OwnData(from_day=today, to_day=today, modalities=tuple(Modality)))
        )
        if neighbours is None:
            return
        mine = {recording.stream for recording in self._recorders[NEIGHBOUR].recordings}
        self._results.expect(
            "lease.own-data",
            {leased.stream for leased in neighbours.streams} == mine,
            "a lease for one's own data names streams of somebody else",
        )
        self._not_released("release.foreign-lease", neighbours, typed, "somebody else's lease for their own data")
        self._foreign_ticket(neighbours)

    def _leases_by_others(self, request: str) -> None:
        today = day_of(self._clock())
        own = OwnData(from_day=today, to_day=today, modalities=tuple(Modality))
        for name in ("other-requester", "steward", "auditor", "admin", "council", "dpo", NEIGHBOUR):
            answer = self._post("/v1/leases", sign(lease_request(self._clock(), request=request), self._key(name)))
            self._results.expect(
                "lease.foreign-grant",
                not answer.done and answer.status < 500,
                f"{self._members[name]} opened a lease under the requester's grant ({answer})",
            )
        for name in ("requester", "steward", "auditor", "admin", "council", "dpo"):
            answer = self._post("/v1/leases", sign(lease_request(self._clock(), own=own), self._key(name)))
            self._results.expect(
                "lease.own-data",
                not answer.done and answer.status < 500,
                f"{self._members[name]}, who has recorded nothing, opened a lease for their own data ({answer})",
            )
        for name, key, which in (
            (CANARY, self._members[CANARY].keys["device"], "the device key"),
            ("requester", self._members["requester"].keys["device"], "the requester's device key"),
            ("leaver", self._key("leaver"), "a key that was revoked"),
            ("stranger", self._stranger, "a key that nobody enrolled"),
        ):
            wish = (
                lease_request(self._clock(), own=own)
                if name == CANARY
                else lease_request(self._clock(), request=request)
            )
            answer = self._post("/v1/leases", sign(wish, key))
            promised = Outcome.KEY if name in (CANARY, "requester") else Outcome.NOBODY
            self._compare("lease.key", promised, answer, f"{which} at the door: POST /v1/leases")

    def _not_released(
        self, rule: str, job: Job, recording: Recording, under: str, key: SigningKey | None = None
    ) -> None:
        opened = self._released(job.lease.lease, key or job.signing_key, recording)
        self._results.expect(rule, not opened, f"the custodian opened the canary's recording under {under}")

    def _released(self, lease: str, key: SigningKey, recording: Recording) -> bool:
        """Whether the custodian opens this recording's key under this lease."""
        try:
            answer, _ = self._clients["requester"].release(lease, key, [recording.pair])
        except Refused:
            return False
        return bool(answer.sealed)

    # --- the collector ------------------------------------------------------------------------------------------------

    def _fetches(self, ticket: Envelope, key: SigningKey, **changes: Any) -> list[tuple[str, Answer]]:
        """Ask both routes for the canary's keyboard with this ticket."""
        recording = self._recorders[CANARY].recordings[0]
        found = []
        for route, asked in (
            ("POST /v1/fetch/streams", {"streams": (recording.stream,)}),
            ("POST /v1/fetch/bodies", {"segments": (recording.segment.id,)}),
        ):
            content: dict[str, Any] = {
                "ticket": read_unverified(ticket, Ticket).ticket, "at": moment(self._clock()), **asked, **changes,
            }  # fmt: skip
            body = FetchBody(ticket=ticket, request=sign(FetchRequest(**content), key))
            found.append((route, self._collector.ask("POST", route.partition(" ")[2], body.to_json())))
        return found

    def _no_fetch(self, rule: str, answers: Sequence[tuple[str, Answer]], what: str) -> None:
        for route, answer in answers:
            self._results.expect(
                rule,
                not answer.done and answer.status < 500 and answer.problem is not None,
                f"the collector answered {route} to {what} ({answer})",
            )

    def _tickets(self, job: Job | None) -> None:
        """Forged, exchanged, expired, and none at all; and one that counts, as the positive control."""
        for route in routes_of(self._described.collector):
            if not self._results.expect(
                "route.unknown", route in COLLECTOR, f"the collector has a route of which nothing is promised: {route}"
            ):
                continue
            method, _, path = route.partition(" ")
            stream = self._recorders[CANARY].recordings[0].stream
            target = path.replace("{stream}", stream).replace("{sequence}", "0")
            for body in (b"", b"{}", b"\0"):
                answer = self._collector.ask(method, target, body)
                self._results.expect(
                    "collector.nothing-shown",
                    not answer.done and answer.status < 500 and answer.problem is not None,
                    f"the collector answered {route} to somebody who shows no {COLLECTOR[route]} ({answer})",
                )
        if job is None:
            return
        stream = self._recorders[CANARY].recordings[0].stream
        good = job.tickets[stream]
        for route, answer in self._fetches(good, job.signing_key):
            self._results.expect("ticket.good", answer.done, f"a ticket that counts was refused at {route} ({answer})")
        ticket = read_unverified(good, Ticket)
        forged = ticket.model_copy(update={"job_signing_key": self._stranger.public.text})
        self._no_fetch("ticket.forged", self._fetches(sign(forged, self._stranger), self._stranger), "a forged ticket")
        self._no_fetch(
            "ticket.forged",
            self._fetches(sign(ticket, self._recorders[CANARY].recordings[0].key), job.signing_key),
            "a ticket that a stream key signed",
        )
        self._no_fetch("ticket.stolen", self._fetches(good, self._stranger), "a ticket without its job's key")
        old = moment(self._clock() - timedelta(minutes=10))
        self._no_fetch("ticket.replayed", self._fetches(good, job.signing_key, at=old), "a request of ten minutes ago")
        self._expired()

    def _expired(self) -> None:
        """A lease for two seconds, which are then over: its ticket and its job's key are worth nothing any more."""
        signing, receiving = SigningKey.generate(), HybridPrivateKey.generate()
        today = day_of(self._clock())
        try:
            opened: OpenedLease = self._clients[CANARY].open_lease(
                job_signing_key=signing.public, job_receiving_key=receiving.public_key.to_text(),
                until=self._clock() + timedelta(seconds=3),
                own=OwnData(from_day=today, to_day=today, modalities=(Modality.KEYBOARD,)),
            )  # fmt: skip
        except ClientError as error:
            self._results.expect("grant.succeeds", False, f"the canary could not open its own data: {error}")
            return
        self._wait(4)
        recording = self._recorders[CANARY].recordings[0]
        tickets = [envelope for envelope, ticket in opened.tickets if recording.stream in ticket.streams]
        self._results.expect("lease.own-data", len(tickets) == 1, "a lease for one's own data lacks a ticket for it")
        for ticket in tickets:
            self._no_fetch("ticket.expired", self._fetches(ticket, signing), "a ticket that has ended")
        released = self._released(opened.lease.lease, signing, recording)
        self._results.expect("release.expired", not released, "the custodian opened keys under a lease that has ended")

    def _foreign_ticket(self, neighbours: Job) -> None:
        """The neighbour's own ticket, for the canary's streams and segments."""
        for ticket in set(map(_hashable, neighbours.tickets.values())):
            envelope = Envelope.from_json(ticket)
            self._no_fetch(
                "ticket.foreign", self._fetches(envelope, neighbours.signing_key), "a ticket for somebody else's stream"
            )

    def _certificates(self) -> None:
        """Nobody writes into the canary's stream: not with a certificate of their own making, nor with another key."""
        recording = self._recorders[CANARY].recordings[0]
        known = recording.certificate.statement
        forged = sign(
            StreamCertificate(**{**known.model_dump(), "stream": new_id(), "stream_key": self._stranger.public.text}),
            self._stranger,
        )
        stream = read_unverified(forged, StreamCertificate).stream
        answer = self._collector.ask("PUT", f"/v1/streams/{stream}", forged.to_json())
        self._refused_upload("certificate.forged", answer, "opened a stream on a certificate that nobody signed")
        segment, _ = seal_segment(
            content=b"forged", stream=recording.stream, sequence=1, previous=recording.segment.id,
            hour=hour_of(self._clock()), vault_key=HybridPublicKey.from_text(known.vault_key),
            stream_key=self._stranger.ed25519,
        )  # fmt: skip
        fields = {
            HEADER_FIELD: b64url(segment.header), SEALED_KEY_FIELD: b64url(segment.sealed_key),
            BODY_SHA256_FIELD: segment.body_sha256.hex(), SIGNATURE_FIELD: b64url(segment.signature),
            "Content-Type": "application/octet-stream",
        }  # fmt: skip
        answer = self._collector.ask("PUT", f"/v1/streams/{recording.stream}/segments/1", segment.body, fields)
        self._refused_upload("certificate.stream-key", answer, "took a segment that its stream key did not sign")
        end = EndRecord(stream=recording.stream, next_sequence=1, previous=recording.segment.id, how="clean")
        signed = sign_record(end, self._stranger.ed25519)
        body = RecordBody(record=to_base64(signed.record), signature=to_base64(signed.signature)).to_json()
        answer = self._collector.ask("PUT", f"/v1/streams/{recording.stream}/records/1", body)
        self._refused_upload("certificate.stream-key", answer, "took a record that its stream key did not sign")

    def _extension(self) -> None:
        """The neighbour, who may record the pointer, asks to go on with the canary's stream of it."""
        pointer = self._recorders[CANARY].recordings[2]
        wanted = StreamWanted(
            stream=pointer.stream, stream_key=pointer.key.public.text, modality=Modality.POINTER,
            day=pointer.certificate.statement.day,
        )  # fmt: skip
        try:
            given = any(self._recorders[NEIGHBOUR].custodian.certificates([wanted]).certificates)
        except Refused:
            given = False
        self._results.expect(
            "certificate.foreign-stream", not given, "the neighbour got a certificate for the canary's stream"
        )

    def _refused_upload(self, rule: str, answer: Answer, what: str) -> None:
        refused = not answer.done and answer.status < 500 and answer.problem is not None
        self._results.expect(rule, refused, f"the collector {what} ({answer})")

    # --- every route --------------------------------------------------------------------------------------------------

    def _every_route(self, request: str, job: Job | None) -> None:
        """Every route of the custodian's description, by every identity with either key, and by a stranger."""
        lease = job.lease.lease if job is not None else new_id()
        things = {name: recorder.things for name, recorder in self._recorders.items()}
        about = {
            name: About(one, request, lease, self._directory.envelope.hash) for name, one in things.items()
        }  # fmt: skip
        for route in routes_of(self._described.custodian):
            if not self._results.expect(
                "route.unknown", route in CUSTODIAN, f"the custodian has a route of which nothing is promised: {route}"
            ):
                continue
            if route.partition(" ")[2] in ATTENDED:
                continue
            self._unsigned(route, about[CANARY])
            self._ask_route(route, None, None, about[CANARY])
            for member in self._members.values():
                target = about[NEIGHBOUR if member.name == CANARY else CANARY]
                for kind in member.keys:
                    self._ask_route(route, member, kind, target)

    def _unsigned(self, route: str, about: About) -> None:
        """Without any credential: nothing but the open routes answers."""
        method, _, path = route.partition(" ")
        target = path if method == "POST" else _filled(path, about)
        answer = self._custodian.ask(method, target, b"{}" if method == "POST" else None)
        is_open = "anybody" in CUSTODIAN[route].who
        self._results.expect(
            "role.nobody",
            answer.done is is_open and (answer.done or (answer.status < 500 and answer.problem is not None)),
            f"{route} without any credential: promised {'an answer' if is_open else 'a refusal'}, got {answer}",
        )

    def _ask_route(self, route: str, member: Identity | None, kind: Kind | None, about: About) -> None:
        key = self._stranger if member is None or kind is None else member.keys[kind]
        role = member.role if member is not None else None
        revoked = member is not None and member.revoked
        promised = expected(CUSTODIAN[route], role, kind if member is not None else None, revoked=revoked)
        if promised is Outcome.OPEN and route == "POST /v1/drills":
            return  # it would be believed; the drill's own result goes through here in the end
        answer = probe(self._custodian, route, about, key, self._clock)
        who = "somebody who never enrolled" if member is None else f"{member}, with the {kind} key"
        if revoked:
            who += " that was revoked"
        rule = "role.nobody" if member is None else "role.revoked" if revoked else f"role.{role or 'person'}"
        if not self._compare(rule, promised, answer, f"{who}: {route}"):
            return
        if answer.done and route.startswith("POST"):
            harmless = route == "POST /v1/certificates" and _certifies_nothing(answer)
            self._results.expect(rule, harmless, f"{who}: {route} about somebody else's things was carried out")
        theirs = {"GET /v1/me/receipts/{record}/proof": "receipt"}
        if member is not None and member.name == "other-requester":
            theirs["GET /v1/requests/{hash}"] = "request"
        if route in theirs:
            what = f"{who}: {route} answered about somebody else's {theirs[route]}"
            self._results.expect(rule, not answer.done, what)
        self._tells_nothing(rule, answer, about.things, f"{who}: {route}")

    def _tells_nothing(self, rule: str, answer: Answer, things: Things, what: str) -> None:
        """No answer to anybody else names the streams, the person or the receipt."""
        names = {things.stream, things.person, things.record, self._marker}
        told = [name for name in names if name.encode() in answer.body]
        self._results.expect(rule, not told, f"{what}: the answer names what is somebody else's")

    def _compare(self, rule: str, promised: Outcome, answer: Answer, what: str) -> bool:
        found = outcome(answer.status, answer.problem)
        text = f"{what}: promised '{promised.value}', got '{found.value}' ({answer})"
        return self._results.expect(rule, found is promised, text)

    # --- afterwards ---------------------------------------------------------------------------------------------------

    def _after_withdrawal(self, request: str, job: Job | None) -> None:
        """The canary withdraws while a lease is open: from now on nothing of it opens, to anybody."""
        canary = self._recorders[CANARY]
        typed = canary.recordings[0]
        if job is not None:
            opened = self._released(job.lease.lease, job.signing_key, typed)
            self._results.expect("grant.succeeds", opened, "an open lease released nothing, before the withdrawal")
        canary.withdraw(erase=False)
        if job is not None:
            self._not_released("release.after-withdrawal", job, typed, "a lease from before it was withdrawn")
        self._no_lease("lease.after-withdrawal", "requester", {"request": request}, "the requester opened a lease")
        canary.withdraw(erase=True)
        if job is not None:
            self._not_released("release.after-erasure", job, typed, "a lease from before it was erased")
        today = day_of(self._clock())
        own = OwnData(from_day=today, to_day=today, modalities=tuple(Modality))
        own_data = "the canary opened a lease for its own data"
        self._no_lease("lease.after-erasure", CANARY, {"own": own}, own_data)
        if job is not None:
            self._clients["requester"].close_lease(job.lease.lease, job.signing_key, 1)

    def _no_lease(self, rule: str, who: str, wish: dict[str, Any], what: str) -> None:
        answer = self._post("/v1/leases", sign(lease_request(self._clock(), **wish), self._key(who)))
        as_promised = not answer.done and answer.status < 500
        self._results.expect(rule, as_promised, f"{what} of which all was withdrawn ({answer})")

    def _erased_before(self) -> None:
        """Streams of drills of days ago: by now the collector has its order, and takes nothing for them."""
        today = day_of(self._clock())
        for day, certificate in self._folder.notes.erased:
            if add_days(day, ERASED_AT_COLLECTOR_DAYS) <= today:
                self._results.expect(
                    "erased.collector",
                    self._recorders[CANARY].is_shut_out(certificate),
                    f"a stream that was erased on {day} is still open at the collector: orders are not carried out",
                )

    def _remember_erased(self) -> None:
        """One certificate a day is enough; those that were looked at, or that nobody takes any more, are dropped."""
        notes, today = self._folder.notes, day_of(self._clock())
        kept = [one for one in notes.erased if add_days(one[0], ERASED_AT_COLLECTOR_DAYS) > today]
        recordings = self._recorders[CANARY].recordings
        if recordings and all(day != today for day, _ in kept):
            kept.append((today, recordings[0].certificate.envelope))
        self._folder.notes = notes.model_copy(update={"erased": tuple(kept[-KEPT_CERTIFICATES:])})

    def _state(self) -> None:
        """Sign how it ended."""
        results = self._results
        result = DrillResult(
            tried=max(1, results.tried), wrong=len(results.wrong), failed=results.failed, nonce=new_id(),
            at=moment(self._clock()),
        )  # fmt: skip
        answer = self._post("/v1/drills", sign(result, self._key(CANARY)))
        if not answer.done:
            results.expect("result.stated", False, f"the custodian did not take the result of this drill ({answer})")

    # --- asking -------------------------------------------------------------------------------------------------------

    def _key(self, name: str) -> SigningKey:
        return self._members[name].keys["opening"]

    def _post(self, path: str, envelope: Envelope) -> Answer:
        return self._custodian.ask("POST", path, envelope.to_json())

    def _get(self, target: str, key: SigningKey) -> Answer:
        return self._custodian.ask("GET", target, headers=authorization(key, "GET", target, self._clock()))


def _hashable(envelope: Envelope) -> bytes:
    return envelope.to_json()


def _filled(path: str, about: About) -> str:
    filled = path.replace("{hash}", about.request).replace("{record}", about.things.record)
    return filled.replace("{sha256}", about.things.notice).replace("{path}", "0/000.p/1")


def _certifies_nothing(answer: Answer) -> bool:
    return all(certificate is None for certificate in CertificatesAnswer.parse(answer.body).certificates)
