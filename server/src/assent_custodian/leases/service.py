"""The one door: a lease is written down and witnessed before it opens, and every sealed key is decided by consent now.

Opening a lease takes three transactions: the nonce is taken; the lease is checked and written into the log (`pending`);
once witnesses signed, it is opened and everyone concerned is told. What becomes of one that was written down:

- `open`, then `closed` by its job; one that is never closed counts as read in full.
- `refused`: no quorum, a halt or a revocation came in between. The log says so, and that nothing was read.
- `lapsed`: nothing came of it, since the service died. It never opens, yet counts as one that was read: the log has it,
  budgets count it, and `settle` tells everyone concerned.

A release takes one short transaction, in which consent is looked at and the count is stored; a withdrawal waits for it
at most.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from assent.contracts import limits
from assent.contracts.envelope import Envelope, StatementInvalid, read, read_unverified
from assent.contracts.ids import Modality, new_id, sha256_hex
from assent.contracts.keys import KeyInvalid, PublicKey, fingerprint
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.lists import BatchInvalid, list_root, unpack_batch
from assent.contracts.problems import Code, Problem
from assent.contracts.segment import SegmentHeader, header_hash
from assent.contracts.statements import Lease, LeaseClosed, LeaseRequest, OwnData, ReleaseRequest, Role, Ticket
from assent.contracts.times import moment, parse_day, parse_moment
from assent.contracts.wire import LeaseAnswer, LeasedStream, RefusalReason, ReleaseAnswer, ReleaseBody, ReleaseRefusal
from assent.sealing.errors import SealingError
from assent.sealing.hpke import HybridPublicKey
from assent.sealing.segments import DataKey, parse_header, seal_release
from assent.transparency.note import Note
from assent_custodian import auth, roles
from assent_custodian.auth import Asker
from assent_custodian.consent.service import ConsentNow
from assent_custodian.context import Custodian
from assent_custodian.grants import service as grants
from assent_custodian.grants.models import CohortMember
from assent_custodian.halting.service import halted
from assent_custodian.keys import erasure, vault
from assent_custodian.keys.models import Stream
from assent_custodian.leases import budgets, domain
from assent_custodian.leases.models import LeaseRefusal, LeaseRow, LeaseStream, RefusedRequest
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.notifications import service as notifications
from assent_custodian.people import notices
from assent_custodian.people import service as people
from assent_custodian.people.models import Credential
from assent_custodian.purposes import service as purposes
from assent_custodian.restoring import state as restoring
from assent_custodian.roles import Permission
from assent_service.database import batches

LONGEST_TEXT = 3900
"""Characters of a notification; names are as long as people write them."""

REFUSALS_EVERY = timedelta(minutes=1)
"""A refusal of one rule to one person is written into the log at most this often."""

SETTLED_AFTER = timedelta(minutes=5)
"""A lease that is still pending so long after it was written down has lapsed: witnesses answer within seconds."""


@dataclass(frozen=True)
class Named:
    """A stream of a lease, and the name under which the job sees its person."""

    stream: Stream
    pseudonym: str


@dataclass(frozen=True)
class Prepared:
    """A lease that is in the log and committed, and not yet open."""

    id: str
    leaf_index: int
    first: budgets.FirstUse | None


def prove(custodian: Custodian, envelope: Envelope) -> tuple[LeaseRequest, Asker]:
    """Whose request this is; takes its nonce, in a transaction of its own. Raises Problem, or StatementInvalid when it
    is not a well-formed request.
    """
    try:
        with custodian.database.transaction() as session:
            statement, asker = auth.proved(session, envelope, LeaseRequest, custodian.now())
        roles.check(Permission.OPEN_LEASES, asker.roles, asker.kind, asker.waits_until, drill=asker.drill)
    except (Problem, StatementInvalid) as refusal:
        _refused_unproved(custodian, envelope, refusal)
        raise
    return statement, asker


def open_lease(custodian: Custodian, wanted: LeaseRequest, envelope: Envelope, asker: Asker) -> LeaseAnswer:
    """Write the lease down, have it witnessed, open it. Raises Problem; without a quorum nothing opens."""
    prepared: Prepared | None = None
    try:
        with custodian.database.transaction() as session:
            prepared = _write_down(session, custodian, wanted, envelope, asker)
        checkpoint = witnesses.require_quorum(custodian, prepared.leaf_index)
        with custodian.database.transaction() as session:
            return _open(session, custodian, prepared, checkpoint)
    except Problem as problem:
        _refused(custodian, asker.person, _rule(problem), wanted.request, prepared)
        raise


def _open(session: Session, custodian: Custodian, prepared: Prepared, checkpoint: Note) -> LeaseAnswer:
    """Open a witnessed lease, tell everyone concerned, and answer. What happened while witnesses signed counts."""
    row = session.get_one(LeaseRow, prepared.id, with_for_update=True)
    if row.state != "pending":
        raise Problem(Code.NO_QUORUM, "the witnesses took too long; ask for a new lease")
    restoring.check_open(session, custodian.head_memory)
    _not_halted(session)
    if row.mode != "own":
        grants.granted_now(session, custodian, row.request, row.person)
    row.state = "open"
    named = _named(session, row)
    _tell(session, custodian, row, named)
    if prepared.first:
        _tell_approvers(session, custodian, row, prepared.first)
    leaf = log.entry(session, prepared.leaf_index)
    if leaf is None:
        raise Problem(Code.INTERNAL, "the lease's entry is missing from the log")
    return LeaseAnswer(
        lease=Envelope.from_json(row.envelope),
        streams=tuple(
            LeasedStream(
                stream=one.stream.id, pseudonym=one.pseudonym, modality=Modality(one.stream.modality),
                day=one.stream.day,
            )
            for one in named
        ),
        salt=base64.b64encode(row.salt).decode(),
        tickets=tuple(_tickets(custodian, row, [one.stream for one in named])),
        leaf=base64.b64encode(leaf).decode(),
        proof=log.proof(session, prepared.leaf_index, checkpoint).to_bytes().decode(),
        dropped=_dropped(session, row, named),
    )  # fmt: skip


def settle(custodian: Custodian) -> int:
    """Let leases lapse of which nothing came, since the service died over them, and tell everyone concerned as if they
    had been read. Returns how many. Run by the background of every worker: twice is once.
    """
    before = custodian.now() - SETTLED_AFTER
    with custodian.database.reading() as session:
        found = session.execute(select(LeaseRow.id, LeaseRow.envelope).where(LeaseRow.state == "pending")).all()
    due = [id_ for id_, envelope in found if parse_moment(_read_lease(envelope).opened) <= before]
    count = 0
    for lease in due:
        with custodian.database.transaction() as session:
            count += _lapse(session, custodian, lease)
    return count


def _lapse(session: Session, custodian: Custodian, lease: str) -> bool:
    row = session.get(LeaseRow, lease, with_for_update=True)
    if row is None or row.state != "pending":
        return False
    row.state = "lapsed"
    _tell(session, custodian, row, _named(session, row))
    leaf = log.entry(session, row.leaf_index)
    first = None if leaf is None else Leaf.model_validate_json(leaf).detail.get("first")
    if first in FIRST_USES:
        _tell_approvers(session, custodian, row, first)
    return True


def _read_lease(envelope: str) -> Lease:
    """What this custodian signed itself."""
    return read_unverified(Envelope.from_json(envelope), Lease)


def _write_down(
    session: Session, custodian: Custodian, wanted: LeaseRequest, envelope: Envelope, asker: Asker
) -> Prepared:
    """All checks of a lease, and its entry in the log. Nothing is opened here."""
    now = custodian.now()
    people.check_founded(session, now)
    restoring.check_open(session, custodian.head_memory)
    _not_halted(session)
    until = _until(wanted, now)
    try:
        PublicKey(wanted.job_signing_key).load()
        seal_release((), HybridPublicKey.from_text(wanted.job_receiving_key), bytes(32), bytes(32))  # can be sealed to
    except KeyInvalid as error:
        raise Problem(Code.MALFORMED, "a key of the job is not a key") from error
    if wanted.job_signing_key == wanted.job_receiving_key:
        raise Problem(Code.REFUSED, "this cannot have a lease", rule="not-a-job")
    purpose: str | None = None
    first: budgets.FirstUse | None = None
    if wanted.own is not None and wanted.request is None:
        if restoring.unheard(session, [asker.person]):
            raise Problem(
                Code.CLOSED, "this custodian was restored; your device has to be heard first", rule="restored"
            )
        streams, mode, subject = _own_streams(session, asker, wanted.own), "own", envelope.hash
        actor = secrets.token_hex(32)
    elif wanted.request is not None and wanted.own is None:
        row, request = grants.granted_now(session, custodian, wanted.request, asker.person)
        if Role.REQUESTER not in asker.roles:
            raise Problem(Code.FORBIDDEN, "this key is not a requester's", rule="not-requester")
        members = set(session.scalars(select(CohortMember.person).where(CohortMember.request == row.hash)))
        wide = grants.streams_for(session, request, custodian.today(), drill=row.drill)
        streams = [stream for stream in wide if stream.person in members]
        consent = ConsentNow(session, streams, grants.use_of(request), now)
        streams = [stream for stream in streams if consent.why_not(stream) is None]
        budgets.check(session, custodian, asker.person, streams)
        first = budgets.first_use(session, asker.person, asker.credential, row.hash)
        mode, subject, purpose = request.mode.value, row.hash, request.purpose
        actor = log.actor_ref(session, asker.person)
    else:
        raise Problem(Code.MALFORMED, "name either a request or your own data", rule="malformed")
    if not streams:
        raise Problem(Code.NOT_AVAILABLE, "there is nothing to read", rule="nothing")
    salt = secrets.token_bytes(16)
    lease = Lease(
        lease=new_id(), request=subject, mode=mode, purpose=purpose, job_signing_key=wanted.job_signing_key,  # type: ignore[arg-type]
        job_receiving_key=wanted.job_receiving_key, streams=list_root(salt, (stream.id for stream in streams)),
        opened=moment(now), until=moment(until),
    )  # fmt: skip
    signed = custodian.sign(lease)
    index = log.append(
        session,
        Leaf(
            type=LeafType.LEASE_OPENED, at=moment(now), actor=actor, auth=asker.kind, decision="allowed",
            subject=signed.hash, request=subject, purpose=purpose, mode=mode, until=lease.until,
            keys=(fingerprint(lease.job_signing_key), fingerprint(lease.job_receiving_key)),
            roots={"streams": lease.streams}, detail={"first": first} if first else {},
        ),
    )  # fmt: skip
    session.add(
        LeaseRow(
            id=lease.lease, request=subject, mode=mode, person=asker.person, credential=asker.credential,
            purpose=purpose, job_signing_key=lease.job_signing_key, job_receiving_key=lease.job_receiving_key,
            envelope=signed.to_json().decode(), hash=signed.hash, salt=salt, until=lease.until, leaf_index=index,
            state="pending", released=0,
        )
    )  # fmt: skip
    session.add_all(LeaseStream(lease=lease.lease, stream=stream.id) for stream in streams)
    return Prepared(lease.lease, index, first)


def _not_halted(session: Session) -> None:
    reason = halted(session)
    if reason is not None:
        raise Problem(Code.CLOSED, f"the programme is halted: {reason}", rule="halted")


def _until(wanted: LeaseRequest, now: datetime) -> datetime:
    try:
        until = parse_moment(wanted.until)
    except ValueError as error:
        raise Problem(Code.MALFORMED, "`until` is not a moment of the calendar", rule="malformed") from error
    if not now < until <= now + timedelta(hours=limits.LEASE_HOURS, seconds=limits.SKEW_S):
        raise Problem(Code.REFUSED, f"a lease ends within {limits.LEASE_HOURS} hours", rule="too-long")
    return min(until, now + timedelta(hours=limits.LEASE_HOURS))


def _own_streams(session: Session, asker: Asker, own: OwnData) -> list[Stream]:
    """One's own streams that still have their key; also closed ones. A key that came of a recovery never opens what was
    recorded before.
    """
    try:
        parse_day(own.from_day), parse_day(own.to_day)
    except ValueError as error:
        raise Problem(Code.MALFORMED, "a day is not one of the calendar", rule="malformed") from error
    return list(
        session.scalars(
            select(Stream).where(
                Stream.person == asker.person,
                Stream.day > (asker.opens_after or ""),
                Stream.day >= own.from_day,
                Stream.day <= own.to_day,
                Stream.modality.in_([modality.value for modality in own.modalities]),
                Stream.erased.is_(None),
            )
        )
    )


def _named(session: Session, row: LeaseRow) -> list[Named]:
    """The lease's streams, of those who have not left, with their pseudonyms, in an order that says nothing."""
    streams = session.scalars(
        select(Stream).join(LeaseStream, LeaseStream.stream == Stream.id).where(LeaseStream.lease == row.id)
    ).all()
    if row.mode == "own":
        return sorted((Named(stream, "you") for stream in streams), key=lambda one: one.stream.id)
    members = {
        member.person: member.pseudonym
        for member in session.scalars(select(CohortMember).where(CohortMember.request == row.request))
    }
    named = (Named(stream, members[stream.person]) for stream in streams if stream.person in members)
    return sorted(named, key=lambda one: one.stream.id)


def _tickets(custodian: Custodian, row: LeaseRow, streams: list[Stream]) -> list[Envelope]:
    """Tickets by day, of a limited number of streams each; own data: one stream each."""
    most = 1 if row.mode == "own" else limits.MAX_STREAMS_PER_TICKET
    tickets = []
    for day in sorted({stream.day for stream in streams}):
        ids = sorted(stream.id for stream in streams if stream.day == day)
        for at in range(0, len(ids), most):
            ticket = Ticket(
                ticket=new_id(), day=day, streams=tuple(ids[at : at + most]), job_signing_key=row.job_signing_key,
                until=row.until,
            )  # fmt: skip
            tickets.append(custodian.sign(ticket))
    return tickets


def _dropped(session: Session, row: LeaseRow, named: list[Named]) -> tuple[str, ...]:
    """Streams that an earlier lease of this grant had and this one has not, sorted."""
    if row.mode == "own":
        return ()
    had = session.scalars(
        select(LeaseStream.stream)
        .join(LeaseRow, LeaseRow.id == LeaseStream.lease)
        .where(
            LeaseRow.request == row.request,
            LeaseRow.leaf_index < row.leaf_index,
            LeaseRow.state.in_(("open", "closed", "ended")),
        )
        .distinct()
    )
    return tuple(sorted(set(had) - {one.stream.id for one in named}))


def _tell(session: Session, custodian: Custodian, row: LeaseRow, named: list[Named]) -> None:
    """Write the notifications of everyone whose streams the lease names: each hears which of their own it was."""
    streams: defaultdict[str, list[Stream]] = defaultdict(list)
    for one in named:
        streams[one.stream.person].append(one.stream)
    if row.mode == "own":
        who, why, approvals = "You", "", 0
    else:
        request = grants.read_request(grants.row_of(session, row.request))
        purpose = purposes.signed_purpose(session, request.purpose, request.purpose_version)
        approvers = sorted(people.name_of(session, person) for person in grants.approvers(session, row.request))
        who, approvals = f"{people.name_of(session, row.person)} ({request.recipient})", len(approvers)
        why = (
            f" What for: {_sentence(purpose.sentence if purpose else request.purpose)}"
            f" Approved by {_together(approvers)}."
        )
    after = LAPSED if row.state == "lapsed" else ""
    texts = {
        person: textwrap.shorten(
            f"{who} opened recordings of yours: {_what(own)}.{why}", LONGEST_TEXT - len(after), placeholder=" …"
        )
        + after
        for person, own in streams.items()
    }
    opening = notifications.Opening(row.request, row.purpose, approvals, row.leaf_index, own=row.mode == "own")
    notifications.tell(session, texts, custodian.today(), opening)


LAPSED = " (The custodian stopped while these were being opened. Nothing was handed over that we know of; it counts.)"

MODALITY_WORDS: dict[str, str] = {
    Modality.POINTER: "mouse", Modality.KEYBOARD: "keyboard", Modality.SCREEN: "screen pictures",
    Modality.CONTEXT: "active window",
}  # fmt: skip


def _what(streams: list[Stream]) -> str:
    """For instance "mouse and keyboard of 2026-11-23"."""
    kinds = {stream.modality for stream in streams}
    days = sorted({stream.day for stream in streams})
    when = days[0] if len(days) == 1 else f"{len(days)} days, {days[0]} to {days[-1]}"
    return f"{_together([words for modality, words in MODALITY_WORDS.items() if modality in kinds])} of {when}"


def _together(names: list[str]) -> str:
    """For instance "Ann, Ben and Cem"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


FIRST_USES: dict[budgets.FirstUse, str] = {
    "requester": "has opened other people's recordings for the first time",
    "key": "has opened other people's recordings with a new key",
    "grant": "has opened recordings under this request for the first time",
}


def _tell_approvers(session: Session, custodian: Custodian, row: LeaseRow, first: budgets.FirstUse) -> None:
    """Those who approved hear that what they approved is used now, and by whom, as long as they can still revoke it."""
    request = grants.row_of(session, row.request)
    if request.drill:
        return
    text = (
        f"{people.name_of(session, row.person)} {FIRST_USES[first]} (request {row.request[:8]}, which you approved). "
        f"If that surprises you: assent data revoke {row.request[:8]}"
    )
    for approver in grants.approvers(session, row.request):
        notices.tell(session, approver, custodian.today(), text)


def _rule(problem: Problem) -> str:
    """By what it was refused, as the log says it."""
    return str(problem.members.get("rule", problem.code.wire))[:32]


def _refused_unproved(custodian: Custodian, envelope: Envelope, refusal: Problem | StatementInvalid) -> None:
    """Write down that a request was refused before it was looked at what it asks for, if somebody's key signed it, also
    one that was revoked. Of what nobody's key signed there is no entry: anybody could fill the log with those.
    """
    if envelope.payloadType != LeaseRequest.payload_type():
        return
    rule = _rule(refusal) if isinstance(refusal, Problem) else Code.MALFORMED.wire
    request = None
    with custodian.database.reading() as session:
        asker = _signer(session, envelope, custodian.now())
    if asker is None:
        return
    if asker.revoked:
        rule = "credential-revoked"
    with suppress(StatementInvalid):
        request = read_unverified(envelope, LeaseRequest).request
    _refused(custodian, asker.person, rule, request, signed=envelope.hash)


def _signer(session: Session, envelope: Envelope, now: datetime) -> Asker | None:
    for revoked_too in (False, True):
        with suppress(Problem, StatementInvalid):
            return auth.signer(session, envelope, now, revoked_too=revoked_too)
    return None


def _refused(
    custodian: Custodian,
    person: str,
    rule: str,
    request: str | None,
    prepared: Prepared | None = None,
    *,
    signed: str | None = None,
) -> None:
    """Write a refusal into the log, at most once a minute for a rule and a person; and, of a lease that was written
    down before, always that it is over and nothing was read.

    `signed`: the hash of a request that can come again, by whoever has a copy of it: for a rule, it is written down
    once. A refusal of one's own data has a one-time actor, as its lease has: another would tell who takes part.
    """
    now = custodian.now()
    with custodian.database.transaction() as session:
        people.one_at_a_time(session, person)
        row = None if prepared is None else session.get_one(LeaseRow, prepared.id, with_for_update=True)
        if row is not None and row.state == "pending":
            row.state = "refused"
            log.append(session, _closed(row, moment(now), rule=rule))
        if signed is not None and session.get(RefusedRequest, (signed, rule)) is not None:
            return
        last = session.get(LeaseRefusal, (person, rule))
        if last is not None and now - parse_moment(last.at) < REFUSALS_EVERY:
            return
        session.merge(LeaseRefusal(person=person, rule=rule, at=moment(now)))
        if signed is not None:
            session.add(RefusedRequest(signed=signed, rule=rule))
        actor = log.actor_ref(session, person) if request else secrets.token_hex(32)
        leaf = Leaf(
            type=LeafType.LEASE_REFUSED, at=moment(now), actor=actor, decision="refused", rule=rule, request=request,
        )  # fmt: skip
        log.append(session, leaf)


def _closed(row: LeaseRow, at: str, *, auth: str | None = None, rule: str | None = None) -> Leaf:
    """The end of a lease; of one's own data without the count, which would tell how much somebody recorded."""
    return Leaf(
        type=LeafType.LEASE_CLOSED, at=at, auth=auth, decision="allowed", rule=rule, subject=row.hash,
        request=row.request, mode=row.mode, counts={} if row.mode == "own" else {"released": row.released},
    )  # fmt: skip


@contextmanager
def _refusals_written_down(custodian: Custodian, lease: str) -> Iterator[None]:
    """A release that is refused as a whole, by a rule and after the job's signature held, stands in the log."""
    try:
        yield
    except Problem as problem:
        if "rule" in problem.members:
            with custodian.database.reading() as session:
                row = session.get_one(LeaseRow, lease)
            _refused(custodian, row.person, _rule(problem), None if row.mode == "own" else row.request)
        raise


# --- release --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """One pair of a batch. `header` is None when its bytes are not a header."""

    segment: str
    header_bytes: bytes
    sealed_key: bytes
    header: SegmentHeader | None

    @property
    def stream(self) -> str:
        """The stream that the header names; empty when there is no header."""
        return self.header.stream if self.header else ""


def release(custodian: Custodian, body: ReleaseBody) -> ReleaseAnswer:
    """Open sealed keys under a lease and seal the data keys to its job, in one message bound to lease and batch.

    What may not open is listed with a reason, and the rest is answered. Raises Problem when nothing may.
    """
    statement = read_unverified(body.statement, ReleaseRequest)
    try:
        batch = base64.b64decode(body.batch, validate=True)
    except binascii.Error as error:
        raise Problem(Code.MALFORMED, "the batch is not base64") from error
    if sha256_hex(batch) != statement.batch:
        raise Problem(Code.BODY_MISMATCH, "the batch is not the one that was signed")
    wanted = _parse(batch, statement.count)
    refused: dict[str, RefusalReason] = {}
    with _refusals_written_down(custodian, statement.lease), custodian.database.transaction() as session:
        row = _live(session, custodian, body.statement, statement)
        facts = _facts(session, custodian, row, {(one.header.stream, one.header.hour) for one in wanted if one.header})
        permitted: list[Wanted] = []
        for one in wanted:
            reason = "damaged" if one.header is None else domain.why_not(one.header, facts.get(one.header.stream))
            if reason is None:
                permitted.append(one)
            else:
                refused[one.segment] = reason
        door = vault.Vault(session, custodian.keks)
        gone = door.take(*sorted({one.stream for one in permitted}))
        refused.update((one.segment, "erased") for one in permitted if one.stream in gone)
        permitted = [one for one in permitted if one.stream not in gone]
        row.released += len(permitted)
        lease_hash, receiving = bytes.fromhex(row.hash), HybridPublicKey.from_text(row.job_receiving_key)
    opened: list[tuple[bytes, DataKey]] = []
    for one in permitted:
        try:
            data_key = door.open_sealed(one.header_bytes, one.sealed_key, one.stream)
        except SealingError:
            refused[one.segment] = "damaged"
            continue
        opened.append((bytes.fromhex(one.segment), data_key))
    sealed = seal_release(opened, receiving, lease_hash, hashlib.sha256(batch).digest()) if opened else b""
    return ReleaseAnswer(
        sealed=base64.b64encode(sealed).decode(),
        refused=tuple(ReleaseRefusal(segment=segment, reason=reason) for segment, reason in refused.items()),
    )


def _parse(batch: bytes, count: int) -> list[Wanted]:
    try:
        pairs = unpack_batch(batch)
    except BatchInvalid as error:
        raise Problem(Code.MALFORMED, str(error)) from error
    if len(pairs) != count:
        raise Problem(Code.MALFORMED, f"the batch holds {len(pairs)} pairs, not {count} as was signed")
    found: dict[str, Wanted] = {}
    for header_bytes, sealed_key in pairs:
        try:
            header: SegmentHeader | None = parse_header(header_bytes)
        except SealingError:
            header = None
        segment = header_hash(header_bytes).hex()
        found[segment] = Wanted(segment, header_bytes, sealed_key, header)
    return list(found.values())


def _live(
    session: Session, custodian: Custodian, envelope: Envelope, statement: ReleaseRequest | LeaseClosed
) -> LeaseRow:
    """The lease that this statement is about, if its job's key signed and it may release at this moment.

    Its row is locked: two releases at once would each add to the count as it was before both, and a closure would
    write down a count without what is being released.
    """
    row = session.get(LeaseRow, statement.lease, with_for_update=True)
    if row is None:  # said as of a lease of another job: whether there is one is for its job to know
        raise auth.not_signed_by_its_key()
    auth.verify(envelope, PublicKey(row.job_signing_key))
    read(envelope, type(statement), PublicKey(row.job_signing_key))
    if row.state != "open":
        raise Problem(Code.REFUSED, f"this lease is not open (it is {row.state})", rule="lease-not-open")
    if isinstance(statement, LeaseClosed):
        return row
    credential = session.get(Credential, row.credential)
    if credential is None or credential.revoked is not None:
        raise Problem(Code.REFUSED, "the credential that opened this lease was revoked", rule="credential-revoked")
    if custodian.now() >= parse_moment(row.until):
        raise Problem(Code.REFUSED, "this lease has ended; open a new one", rule="lease-ended")
    restoring.check_open(session, custodian.head_memory)
    _not_halted(session)
    if row.mode != "own":
        grants.granted_now(session, custodian, row.request, row.person)
    return row


def _facts(
    session: Session, custodian: Custodian, row: LeaseRow, wanted: set[tuple[str, str]]
) -> dict[str, domain.StreamFacts]:
    """What is true now of those of the wanted (stream, hour) pairs whose stream the lease names."""
    ids = sorted({stream for stream, _ in wanted})
    streams: list[Stream] = []
    for some in batches(ids):
        streams += session.scalars(
            select(Stream)
            .join(LeaseStream, LeaseStream.stream == Stream.id)
            .where(LeaseStream.lease == row.id, Stream.id.in_(some))
        )
    consent = None
    if row.mode != "own":
        use = grants.use_of(grants.read_request(grants.row_of(session, row.request)))
        consent = ConsentNow(session, streams, use, custodian.now())
    alive = vault.alive(session, ids)
    buried = erasure.buried_hours(session, ids)
    opens_after = session.get_one(Credential, row.credential).opens_after or ""
    facts = {}
    for stream in streams:
        if consent is not None:
            not_covered = consent.why_not(stream)
        else:
            not_covered = None if stream.person == row.person and stream.day > opens_after else "withdrawn"
        hours = buried.get(stream.id, frozenset())
        facts[stream.id] = domain.StreamFacts(
            day=stream.day,
            suite=stream.suite,
            record_until=stream.record_until,
            erased=stream.erased is not None or stream.id not in alive or hours is None,
            erased_hours=hours or frozenset(),
            not_covered=not_covered,
        )
    return facts


def close(custodian: Custodian, session: Session, envelope: Envelope) -> str:
    """End a lease; returns the statement's hash. Closing twice is closing once."""
    statement = read_unverified(envelope, LeaseClosed)
    row = session.get(LeaseRow, statement.lease, with_for_update=True)
    if row is not None and row.state == "closed":
        auth.verify(envelope, PublicKey(row.job_signing_key))
        return envelope.hash
    row = _live(session, custodian, envelope, statement)
    row.state = "closed"
    log.append(session, _closed(row, custodian.moment(), auth="job"))
    return envelope.hash
