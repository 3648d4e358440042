"""Receipts and withdrawals, and `ConsentNow`, the one answer to "may this be opened for that?".

Consent *now* is what the newest receipt of each of the person's credentials says. A newer receipt of the same device
replaces an older one for the future; recordings made under the older one keep needing the older one as well.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope, read_unverified
from assent.contracts.ids import Modality
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.limits import SKEW_S
from assent.contracts.lists import person_leaf
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import (
    AgreedPurpose,
    Choice,
    ConsentEnding,
    LiveReceipt,
    News,
    Notification,
    PurposeDraft,
    Receipt,
    Revocation,
    Withdrawal,
    WithdrawalConfirmed,
)
from assent.contracts.times import add_days, moment, parse_moment
from assent.contracts.wire import NoticeView, ReceiptProof, ReceiptsView, ReceiptView
from assent.transparency.errors import TransparencyError
from assent_custodian import replay
from assent_custodian.auth import Asker, Stated
from assent_custodian.base import add_new
from assent_custodian.consent import domain
from assent_custodian.consent.domain import Consent, Granted, State, Use
from assent_custodian.consent.models import EndingRow, NoticeRow, ReceiptRow, WithdrawalRow
from assent_custodian.consent.offer import OfferPolicy
from assent_custodian.context import Custodian
from assent_custodian.erasures import service as erasures
from assent_custodian.halting.service import halted
from assent_custodian.keys import erasure
from assent_custodian.keys.models import Stream
from assent_custodian.log import service as log
from assent_custodian.orders import service as orders
from assent_custodian.people import notices
from assent_custodian.people.models import Credential, Person
from assent_custodian.people.service import one_at_a_time
from assent_custodian.plain import check_text
from assent_custodian.purposes import service as purposes
from assent_custodian.restoring import state as restoring
from assent_service.database import batches

NotCovered = Literal["withdrawn", "expired"]


# --- giving -----------------------------------------------------------------------------------------------------------


def give(session: Session, custodian: Custodian, stated: Stated[Receipt]) -> Envelope:
    """Check a receipt against what is offered now, store it and counter-sign it. Raises Problem; every doubt refuses.

    The same receipt again gets the same answer: an answer can be lost on the way.
    """
    receipt, envelope, asker, leaf = stated.statement, stated.envelope, stated.asker, stated.required_leaf
    if stated.salt is not None and person_leaf(bytes.fromhex(stated.salt), envelope.hash) != leaf:
        raise Problem(Code.MALFORMED, "the salted hash for the log is not made with this salt")
    stored = session.scalars(select(ReceiptRow).where(ReceiptRow.hash == envelope.hash)).one_or_none()
    if stored is not None and stored.person == asker.person:
        return Envelope.from_json(stored.envelope)
    if len(envelope.signatures) != 1:
        raise Problem(Code.MALFORMED, "a receipt has one signature, the device key's")
    now = custodian.now()
    replay.check_time(receipt.at, now)
    custodian.offer.require_references()
    one_at_a_time(session, asker.person)
    if receipt.person != asker.person:
        raise Problem(Code.REFUSED, "a receipt can only be given for oneself")
    _check_offered(session, custodian, receipt, asker)
    if session.scalar(select(EndingRow.hash).where(EndingRow.notice == receipt.notice.sha256).limit(1)) is not None:
        raise Problem(Code.REFUSED, "consent to this text was ended; nobody can agree to it again")
    if _withdrawn_before(session, receipt):
        raise Problem(Code.REFUSED, "this receipt was withdrawn before it arrived; give a new one")
    credential = session.execute(
        select(Credential).where(Credential.key_id == asker.credential).with_for_update()
    ).scalar_one()
    if receipt.previous != credential.last_receipt:
        raise Problem(
            Code.CONFLICT,
            "this receipt does not name the previous receipt of this credential",
            expected=credential.last_receipt,
        )
    countersigned = envelope.signed_also_by(custodian.statement_key)
    row = row_of(receipt, countersigned, asker.credential, stated.salt)
    add_new(session, row, "a receipt of this record exists already; giving again is a new record")
    credential.last_receipt = envelope.hash
    _keep_notice(session, custodian.offer)
    log.queue_person_leaf(session, leaf)
    return countersigned


def _keep_notice(session: Session, offer: OfferPolicy) -> None:
    """The text that was shown stays, whatever the policy file says later."""
    if session.get(NoticeRow, offer.notice_sha256) is not None:
        return
    row = NoticeRow(sha256=offer.notice_sha256, version=offer.notice_version, locale=offer.locale, text=offer.notice)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return  # somebody else agreed to it in this moment


def _check_offered(session: Session, custodian: Custodian, receipt: Receipt, asker: Asker) -> None:
    """The receipt pins exactly what was offered, agrees to signed purposes only, and ends in time."""
    offer, now = custodian.offer, custodian.now()
    for name in _not_as_offered(offer, receipt):
        raise Problem(Code.REFUSED, f"{name} is not what is offered now; show the person the current offer")
    current = purposes.current(session, drill=asker.drill)
    chosen = []
    for choice in receipt.choices:
        purpose = current.get(choice.purpose)
        if purpose is None or purpose.version != choice.purpose_version:
            raise Problem(Code.REFUSED, "a purpose is not signed by the council, or not its current version")
        chosen.append(purpose)
    if len(set(receipt.choices)) != len(receipt.choices):
        raise Problem(Code.MALFORMED, "a choice stands twice in the receipt")
    _check_shown(receipt, chosen)
    if not set(receipt.recipients) <= {recipient for purpose in chosen for recipient in purpose.recipients}:
        raise Problem(Code.REFUSED, "a recipient class belongs to none of the purposes chosen")
    if not set(receipt.modes) <= {mode for purpose in chosen for mode in purpose.modes}:
        raise Problem(Code.REFUSED, "a mode belongs to none of the purposes chosen")
    try:
        begins, ends = parse_moment(receipt.valid_from), parse_moment(receipt.valid_until)
    except ValueError as error:
        raise Problem(Code.MALFORMED, "valid_from or valid_until is not a moment of the calendar") from error
    if begins > now + timedelta(seconds=SKEW_S) or not now < ends <= begins + timedelta(days=offer.valid_days):
        raise Problem(Code.REFUSED, f"a receipt begins now and ends within {offer.valid_days} days")


def _not_as_offered(offer: OfferPolicy, receipt: Receipt) -> tuple[str, ...]:
    """Which parts of what the receipt pins differ from what is offered now."""
    modalities = {choice.modality for choice in receipt.choices}
    pinned = {
        "notice": (
            (receipt.notice.version, receipt.notice.locale, receipt.notice.sha256),
            (offer.notice_version, offer.locale, offer.notice_sha256),
        ),
        "application_list": (receipt.application_list, offer.application_list.version),
        "redaction_profile": (receipt.redaction_profile, offer.redaction_profile),
        "agreement": (receipt.agreement, offer.agreement),
        "dpia": (receipt.dpia, offer.dpia),
        "statements": (receipt.statements, offer.statements),
        "terms": (receipt.terms, offer.terms),
        "personal_data": (
            receipt.personal_data,
            tuple(item for item in offer.personal_data if item.modality in modalities),
        ),
    }
    return tuple(name for name, (agreed, offered) in pinned.items() if agreed != offered)


def _check_shown(receipt: Receipt, chosen: Sequence[PurposeDraft]) -> None:
    """The receipt repeats its purposes as they were shown, each once and no other."""
    shown = {
        (draft.iri, draft.version): AgreedPurpose(
            iri=draft.iri, version=draft.version, sentence=draft.sentence, terms=draft.terms
        )
        for draft in chosen
    }
    if len(receipt.purposes) != len(shown) or set(receipt.purposes) != set(shown.values()):
        raise Problem(Code.REFUSED, "purposes are not those of the choices, as the council signed them")


def _withdrawn_before(session: Session, receipt: Receipt) -> bool:
    """Whether a withdrawal that counts for this receipt overtook it: doubt (the same second) says that it did.

    One that names no receipt counts for what can have been given before it arrived, whatever moment it states: a
    moment far in the future must not bar this person for ever.
    """
    for row in session.scalars(select(WithdrawalRow).where(WithdrawalRow.person == receipt.person)):
        withdrawal = read_unverified(Envelope.from_json(row.envelope), Withdrawal)
        if withdrawal.record == receipt.record:
            return True
        if withdrawal.record is None and _reach(withdrawal, row) >= receipt.at:
            return True
    return False


def _reach(withdrawal: Withdrawal, row: WithdrawalRow) -> str:
    """The last moment at which a receipt that it overtook can have been signed."""
    if row.received is None:
        return withdrawal.at
    return min(withdrawal.at, moment(parse_moment(row.received) + timedelta(seconds=SKEW_S)))


# --- withdrawing ------------------------------------------------------------------------------------------------------


def withdraw(session: Session, custodian: Custodian, stated: Stated[Withdrawal]) -> Envelope:
    """Close, and have erased, what the withdrawal names. Always accepted from the person; twice is once. No witness.

    A withdrawal that names a receipt takes the same from every earlier receipt of that credential: what the person was
    asked again for and no longer wants, they do not want under the receipt that was replaced either.

    `asker.waits_until`: see `_erase_on`.

    Streams of which no purpose remains are closed in this transaction. With `erase` "now" their vault keys are
    destroyed in it as well, and tombstones stand; otherwise the night run does it after seven days.
    """
    withdrawal, envelope, asker = stated.statement, stated.envelope, stated.asker
    if withdrawal.person != asker.person:
        raise Problem(Code.REFUSED, "a withdrawal can only be signed for oneself")
    one_at_a_time(session, asker.person)
    stored = session.get(WithdrawalRow, envelope.hash)
    if stored is not None:
        return Envelope.from_json(stored.confirmation)
    today = custodian.today()
    event = domain.Withdrew(frozenset(withdrawal.modalities), frozenset(withdrawal.purposes))
    gone: list[Stream] = []
    every = select(ReceiptRow).where(ReceiptRow.person == asker.person).order_by(ReceiptRow.record).with_for_update()
    rows = session.scalars(every).all()
    for row in rows if withdrawal.record is None else _up_to(rows, withdrawal.record):
        consent = _store(row, domain.step(_consent_now(row, custodian.now()), event))
        gone += [
            stream
            for stream in session.scalars(
                select(Stream).where(Stream.record == row.record, Stream.erased.is_(None)).order_by(Stream.id)
            )
            if (not event.modalities or Modality(stream.modality) in event.modalities)
            and not domain.keeps_stream(consent, Modality(stream.modality))
        ]
    closed = _close(session, custodian, gone)
    now_at_once = withdrawal.erase == "now" and asker.waits_until is None
    erase_on = _erase_on(custodian, withdrawal, asker)
    erasures.follow(
        session,
        custodian,
        person=asker.person,
        of=envelope.hash,
        kind="withdrawal",
        streams=gone,
        erased_from=erase_on,
    )
    if now_at_once:
        erase_withdrawn(session, custodian, envelope.hash, asker.person, [stream.id for stream in gone])
    confirmation = custodian.sign(WithdrawalConfirmed(withdrawal=envelope.hash, streams=closed, erased_from=erase_on))
    session.add(
        WithdrawalRow(
            hash=envelope.hash,
            person=asker.person,
            received=custodian.moment(),
            envelope=envelope.to_json().decode(),
            confirmation=confirmation.to_json().decode(),
            streams=json.dumps([stream.id for stream in gone]),
            closed=closed,
            erase_on=erase_on,
            erased=today if now_at_once else None,
        )
    )
    log.queue_person_leaf(session, stated.required_leaf)
    return confirmation


def erase_withdrawn(
    session: Session, custodian: Custodian, withdrawal: str, person: str, streams: Sequence[str]
) -> int:
    """Erase what this withdrawal (its hash) closed. Returns how many streams were erased now."""
    count = erasure.erase(session, custodian, streams)
    erasures.note_destroyed(session, custodian, withdrawal, person, erasure.tombstones_of(session, streams))
    return count


def _erase_on(custodian: Custodian, withdrawal: Withdrawal, asker: Asker) -> str:
    """The day of the erasure. A key that came of a recovery closes at once, but nothing is erased on its word before
    those who had a key before have had their days to stop it.
    """
    today = custodian.today()
    wished = today if withdrawal.erase == "now" else add_days(today, custodian.settings.erase_after_days)
    return wished if asker.waits_until is None else max(wished, add_days(asker.waits_until[:10], 1))


def _up_to(rows: Sequence[ReceiptRow], record: str) -> list[ReceiptRow]:
    """The receipt of this record and, by the chain of `previous`, every earlier one of its credential."""
    by_hash = {row.hash: row for row in rows}
    row = next((row for row in rows if row.record == record), None)
    found: list[ReceiptRow] = []
    while row is not None:
        found.append(row)
        row = by_hash.get(receipt_of(row).previous)
    return found


def end(session: Session, custodian: Custodian, statement: ConsentEnding, envelope: Envelope, asker: Asker) -> None:
    """End the receipts that the dpo names, close their streams, and have them erased after as many days as a
    withdrawal. Until then they open for their person alone. Neither answer nor log say how many there were.

    Everybody concerned gets the erasure receipts that a withdrawal would have given them.
    """
    if statement.notice is not None and statement.record is not None:
        raise Problem(Code.MALFORMED, "name a notice or a record, not both")
    check_text(statement.reason)
    event = domain.EndedByController() if statement.state == "terminated" else domain.DeclaredInvalid()
    erase_on = add_days(custodian.today(), custodian.settings.erase_after_days)
    gone: dict[str, list[Stream]] = {}
    drill = select(Person.id).where(Person.drill.is_(True))
    rows = select(ReceiptRow).where(ReceiptRow.ended_by.is_(None), ReceiptRow.person.not_in(drill))
    rows = rows.order_by(ReceiptRow.record).with_for_update()
    if statement.record is not None:
        rows = rows.where(ReceiptRow.record == statement.record)
    for row in session.scalars(rows).all():
        if statement.notice is not None and receipt_of(row).notice.sha256 != statement.notice:
            continue
        if not consent_of(row).left:
            continue
        _store(row, domain.step(_consent_now(row, custodian.now()), event))
        row.ended_by = envelope.hash
        covered = select(Stream).where(Stream.record == row.record, Stream.erased.is_(None)).order_by(Stream.id)
        streams = session.scalars(covered).all()
        _close(session, custodian, streams, "ended")
        gone.setdefault(row.person, []).extend(streams)
    for person, streams in gone.items():
        erasures.follow(
            session, custodian, person=person, of=envelope.hash, kind="ending", streams=streams, erased_from=erase_on
        )
        notices.tell(session, person, custodian.today(), _told_ended(statement, erase_on))
    session.add(
        EndingRow(
            hash=envelope.hash,
            envelope=envelope.to_json().decode(),
            notice=statement.notice,
            erase_on=erase_on,
            erased=None,
        )
    )
    log.append(
        session,
        Leaf(
            type=LeafType.CONSENT_ENDED,
            at=custodian.moment(),
            actor=log.actor_ref(session, asker.person),
            auth=asker.kind,
            decision="allowed",
            subject=envelope.hash,
            detail={"state": statement.state},
        ),
    )


def _told_ended(statement: ConsentEnding, erase_on: str) -> str:
    by_authority = statement.state == "invalidated"
    why = "since an authority declared it invalid" if by_authority else "by the data-protection officer"
    return (
        f"Your consent was ended for you, {why}. What it covered opens for you alone, and is erased from {erase_on} "
        "on; 'assent me erasures' follows it."
    )


def erase_ended(session: Session, custodian: Custodian) -> int:
    """Erase what ended receipts covered, once it is time."""
    count = 0
    due = select(EndingRow).where(EndingRow.erased.is_(None), EndingRow.erase_on <= custodian.today())
    for ending in session.scalars(due.order_by(EndingRow.hash).with_for_update()):
        by_person: dict[str, list[str]] = {}
        ended = select(ReceiptRow.person, Stream.id).outerjoin(Stream, Stream.record == ReceiptRow.record)
        for person, stream in session.execute(ended.where(ReceiptRow.ended_by == ending.hash)):
            by_person.setdefault(person, []).extend(() if stream is None else (stream,))
        count += erasure.erase(session, custodian, [one for some in by_person.values() for one in some], "ended")
        for person, streams in by_person.items():
            tombstones = erasure.tombstones_of(session, streams)
            erasures.note_destroyed(session, custodian, ending.hash, person, tombstones)
        ending.erased = custodian.today()
    return count


def end_for(session: Session, custodian: Custodian, person: str) -> list[str]:
    """End every receipt of somebody whose account ends, and close their streams. Returns those not erased yet."""
    for row in session.scalars(select(ReceiptRow).where(ReceiptRow.person == person).with_for_update()).all():
        if consent_of(row).left:
            _store(row, domain.step(_consent_now(row, custodian.now()), domain.EndedByController()))
    living = select(Stream).where(Stream.person == person, Stream.erased.is_(None)).order_by(Stream.id)
    streams = session.scalars(living).all()
    _close(session, custodian, streams, "ended")
    return [stream.id for stream in streams]


def _close(
    session: Session,
    custodian: Custodian,
    streams: Iterable[Stream],
    why: Literal["withdrawn", "ended"] = "withdrawn",
) -> int:
    """Close for good, with a signed revocation for the collector, unless a lost device had it revoked already. Returns
    how many were not closed for good before.
    """
    count = 0
    for stream in streams:
        if stream.closed is None:
            orders.queue(session, "revoke", stream.id, custodian.sign(Revocation(stream=stream.id)))
        if stream.closed in (None, "revoked"):
            stream.closed = why
            count += 1
    return count


def expire(session: Session, now: datetime) -> int:
    """Mark receipts whose time is over. Returns how many; whether one is live never depends on this mark."""
    rows = session.scalars(
        select(ReceiptRow)
        .where(ReceiptRow.state == State.GIVEN.value, ReceiptRow.valid_until <= moment(now))
        .with_for_update()
    ).all()
    for row in rows:
        _store(row, domain.step(consent_of(row), domain.RanOut()))
    return len(rows)


# --- asking whether consent covers something --------------------------------------------------------------------------


def live_receipts(session: Session, people: Collection[str], now: datetime) -> list[ReceiptRow]:
    """The newest receipt of each credential of these people, of those that are given and whose time it is."""
    rows: list[ReceiptRow] = []
    wanted = sorted(set(people) - restoring.unheard(session, people))
    for some in batches(wanted):
        rows += session.scalars(
            select(ReceiptRow)
            .join(Credential, Credential.last_receipt == ReceiptRow.hash)
            .where(
                ReceiptRow.person.in_(some),
                Credential.revoked.is_(None),
                ReceiptRow.state == State.GIVEN.value,
                ReceiptRow.valid_from <= moment(now + timedelta(seconds=SKEW_S)),
                ReceiptRow.valid_until > moment(now),
            )
            .order_by(ReceiptRow.record)
            .with_for_update(read=True, of=ReceiptRow)
        )
    return rows


class ConsentNow:
    """What consent says at this moment, in this transaction, about one use of many streams.

    Make a new one for every transaction. It reads the receipts of `streams` once, whatever their number, and holds
    them until the transaction ends: a withdrawal waits for that, and what comes after it sees it.
    """

    def __init__(self, session: Session, streams: Sequence[Stream], use: Use, now: datetime) -> None:
        self._use = use
        purpose = purposes.signed_purpose(session, use.purpose, use.version)
        self._allowed = purpose is not None and use.recipient in purpose.recipients and use.mode in purpose.modes
        people = {stream.person for stream in streams}
        self._live: dict[str, list[tuple[Receipt, Consent]]] = {person: [] for person in people}
        self._records: dict[str, tuple[str, Receipt, Consent]] = {}
        for row in live_receipts(session, people, now):
            read = (receipt_of(row), consent_of(row))
            self._live[row.person].append(read)
            self._records[row.record] = (row.person, *read)
        missing = sorted({stream.record for stream in streams} - set(self._records))
        for some in batches(missing):
            older = select(ReceiptRow).where(ReceiptRow.record.in_(some))
            for row in session.scalars(older.order_by(ReceiptRow.record).with_for_update(read=True)):
                self._records[row.record] = (row.person, receipt_of(row), consent_of(row))

    def why_not(self, stream: Stream) -> NotCovered | None:
        """None if this stream may be opened for the use now: by the receipt under which it was certified *and* by the
        person's consent now. Otherwise why not.

        The purpose itself must be signed by the council and know the recipient class and the mode. A receipt that has
        expired still counts as the one under which a stream was certified; a withdrawn one does not.
        """
        if stream.closed not in (None, "revoked") or stream.erased is not None or stream.record not in self._records:
            return "withdrawn"
        person, receipt, consent = self._records[stream.record]
        modality = Modality(stream.modality)
        if person != stream.person or consent.state not in (State.GIVEN, State.EXPIRED):
            return "withdrawn"
        if not domain.permits(receipt, consent, modality, self._use):
            return "withdrawn"
        live = self._live.get(person, [])
        covered = self._allowed and any(domain.permits(*one, modality, self._use) for one in live)
        return None if covered else "expired"


def receipt_for_recording(session: Session, credential: str, now: datetime) -> ReceiptRow | None:
    """The receipt under which this device may record now: its own newest one. Another device's does not count.

    It is held until the transaction ends, and so is the credential: a withdrawal, or a revocation of the device, that
    waits for that finds the streams certified in it.
    """
    if restoring.is_unheard(session, credential):
        return None
    found = session.scalars(
        select(ReceiptRow)
        .join(Credential, Credential.last_receipt == ReceiptRow.hash)
        .where(
            Credential.key_id == credential,
            Credential.revoked.is_(None),
            ReceiptRow.credential == credential,
            ReceiptRow.state == State.GIVEN.value,
            ReceiptRow.valid_from <= moment(now + timedelta(seconds=SKEW_S)),
            ReceiptRow.valid_until > moment(now),
        )
        .with_for_update(read=True)
    )
    return found.one_or_none()


@dataclass(frozen=True)
class Recordable:
    """What may still be recorded under a receipt, and what has changed of that which its person agreed to.

    A changed text, list or term stops recording; a purpose that has a newer version stops where no other purpose
    remains. What was recorded before stays usable for what was agreed to: only consent for new things is asked anew.
    """

    left: frozenset[Granted]
    changed: tuple[str, ...]


def recordable(session: Session, custodian: Custodian, row: ReceiptRow, asker: Asker) -> Recordable:
    """See `Recordable`; the receipt's time is for the caller to look at."""
    left = consent_of(row).left
    changed = _not_as_offered(custodian.offer, receipt_of(row))
    current = purposes.current(session, drill=asker.drill)
    now = frozenset(
        choice for choice in left if choice.purpose in current and current[choice.purpose].version == choice.version
    )
    if now != left:
        changed = (*changed, "purposes")
    return Recordable(frozenset() if changed not in ((), ("purposes",)) else now, changed)


# --- views ------------------------------------------------------------------------------------------------------------


def receipts(session: Session, person: str, now: datetime) -> ReceiptsView:
    """Every receipt of the person, with its state now."""
    rows = session.scalars(
        select(ReceiptRow).where(ReceiptRow.person == person).order_by(ReceiptRow.valid_from, ReceiptRow.record)
    )
    return ReceiptsView(receipts=tuple(_view(row, now) for row in rows))


def _view(row: ReceiptRow, now: datetime) -> ReceiptView:
    over = row.state == State.GIVEN.value and row.valid_until <= moment(now)
    state = State.EXPIRED.value if over else row.state
    return ReceiptView.model_validate(
        {"record": row.record, "state": state, "receipt": Envelope.from_json(row.envelope), "salt": row.salt}
    )


def notice(session: Session, person: str, sha256: str) -> NoticeView:
    """A text that a receipt of this person names, by its hash. Raises Problem.

    Of others it is not told whether anybody agreed to it: a text that is new for each person who is asked would tell
    who did.
    """
    rows = session.scalars(select(ReceiptRow).where(ReceiptRow.person == person))
    if not any(receipt_of(row).notice.sha256 == sha256 for row in rows):
        raise Problem(Code.NOT_FOUND, "no receipt of yours names a notice of this hash")
    row = session.get(NoticeRow, sha256)
    if row is None:  # a receipt that a device brought back after a restore, of a text of after the backup
        raise Problem(Code.NOT_FOUND, "this custodian was restored and lacks that text; your agent kept it")
    return NoticeView(version=row.version, locale=row.locale, notice=row.text)


def proof(session: Session, custodian: Custodian, person: str, record: str, leaf: str) -> ReceiptProof:
    """The entry of one's own receipt in the log, with its proof once enough witnesses saw it. Raises Problem.

    `leaf` is the salted hash that the device made. Whoever asks must know it: from the device, or by the salt that
    `receipts` tells the person.
    """
    row = session.get(ReceiptRow, record)
    if row is None or row.person != person:
        raise Problem(Code.NOT_FOUND, "you have no such receipt")
    day, today = receipt_of(row).at[:10], custodian.today()
    entries = []
    while day <= today:
        entries.append(Leaf(type=LeafType.PERSON, at=day, subject=leaf).to_bytes())
        day = add_days(day, 1)
    for some in batches(entries):
        found = log.find(session, LeafType.PERSON, some)
        if found is None:
            continue
        index, entry = found
        for checkpoint in log.newest_first(session, above=index):
            with suppress(TransparencyError):
                custodian.directory.policy.check(checkpoint)
                proved = log.proof(session, index, checkpoint).to_bytes().decode()
                return ReceiptProof(leaf=base64.b64encode(entry).decode(), proof=proved)
    return ReceiptProof()


def news(
    session: Session, custodian: Custodian, asker: Asker, nonce: str, notifications: tuple[Notification, ...]
) -> Envelope:
    """What an agent must know: whether to stop, which of the person's receipts allow recording and how far, which of
    this device's ended, and accesses. A revoked credential hears that it is, and nothing about the person.
    """
    now = custodian.now()
    version = custodian.directory.directory.version
    if asker.revoked:
        return custodian.sign(
            News(
                nonce=nonce, now=moment(now), halted=halted(session), live=(), notifications=(), revoked=True,
                directory=version,
            )
        )  # fmt: skip
    live = [(row, recordable(session, custodian, row, asker)) for row in live_receipts(session, [asker.person], now)]
    own = next((found for row, found in live if row.credential == asker.credential), None)
    ended = select(ReceiptRow.record).where(
        ReceiptRow.credential == asker.credential,
        or_(ReceiptRow.state.in_([state.value for state in domain.ENDED]), ReceiptRow.left == _to_json(())),
    )
    return custodian.sign(
        News(
            nonce=nonce,
            now=moment(now),
            halted=halted(session),
            live=tuple(_live(row.record, found.left) for row, found in live if found.left),
            ended=tuple(session.scalars(ended.order_by(ReceiptRow.record))),
            asks_anew=() if own is None else own.changed,
            restate=True if restoring.is_unheard(session, asker.credential) else None,
            erasures=erasures.not_ordered(session, asker.person),
            notifications=notifications,
            directory=version,
        )
    )


def _live(record: str, left: Iterable[Granted]) -> LiveReceipt:
    return LiveReceipt(
        record=record,
        left=tuple(
            Choice(modality=choice.modality, purpose=choice.purpose, purpose_version=choice.version)
            for choice in sorted(left)
        ),
    )


# --- rows and values --------------------------------------------------------------------------------------------------


def row_of(receipt: Receipt, countersigned: Envelope, credential: str, salt: str | None) -> ReceiptRow:
    """A receipt as it is stored when it has just been given."""
    consent = domain.given(receipt)
    return ReceiptRow(
        record=receipt.record,
        person=receipt.person,
        credential=credential,
        hash=countersigned.hash,
        envelope=countersigned.to_json().decode(),
        state=consent.state.value,
        left=_to_json(consent.left),
        valid_from=receipt.valid_from,
        valid_until=receipt.valid_until,
        ended_by=None,
        salt=salt,
    )


def receipt_of(row: ReceiptRow) -> Receipt:
    """The receipt as signed; its signature was checked when it came in."""
    return read_unverified(Envelope.from_json(row.envelope), Receipt)


def consent_of(row: ReceiptRow) -> Consent:
    """State and remaining choices of a row."""
    left = frozenset(Granted(Modality(m), purpose, version) for m, purpose, version in json.loads(row.left))
    return Consent(State(row.state), left)


def _consent_now(row: ReceiptRow, now: datetime) -> Consent:
    """The consent of a row, expired if its time is over, whether or not a night has marked it: an end is final."""
    consent = consent_of(row)
    return domain.step(consent, domain.RanOut()) if row.valid_until <= moment(now) else consent


def _store(row: ReceiptRow, consent: Consent) -> Consent:
    row.state, row.left = consent.state.value, _to_json(consent.left)
    return consent


def _to_json(left: Iterable[Granted]) -> str:
    return json.dumps([[choice.modality.value, choice.purpose, choice.version] for choice in sorted(left)])
