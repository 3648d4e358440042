"""Permission to record: stream certificates, each with a fresh vault key, and only where a live receipt covers it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope
from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import KeyInvalid, PublicKey
from assent.contracts.problems import Code, Problem
from assent.contracts.segment import SUITE_A1_XW
from assent.contracts.statements import CertificateAnswer, CertificateRequest, StreamCertificate, StreamWanted
from assent.contracts.times import add_days, day_of, hour_of, moment, parse_day, parse_moment
from assent.contracts.wire import CertificatesAnswer
from assent.sealing.hpke import HybridPrivateKey
from assent_custodian.auth import Asker
from assent_custodian.consent import domain
from assent_custodian.consent import service as consent
from assent_custodian.consent.models import ReceiptRow
from assent_custodian.context import Custodian
from assent_custodian.halting.service import halted
from assent_custodian.keys.models import Generation, Stream, VaultKey
from assent_custodian.people.service import founded
from assent_custodian.restoring import state as restoring

MAX_STREAMS_PER_DAY = 1000
"""Streams of one person and day. An agent that begins a run every two minutes with four modalities needs fewer."""


class Refused(Exception):
    """This stream gets no certificate, and the message says why."""


def certify(session: Session, custodian: Custodian, request: CertificateRequest, asker: Asker) -> CertificatesAnswer:
    """Answer every stream that is wanted, in order: a certificate, or None and a reason in the signed answer."""
    now = custodian.now()
    certificates: list[Envelope | None] = []
    reasons: list[str] = []
    try:
        receipt = _may_record(session, custodian, asker, now)
        covered = consent.recordable(session, custodian, receipt, asker)
    except Refused as refused:
        certificates = [None] * len(request.streams)
        reasons.append(str(refused))
    else:
        for wanted in request.streams:
            try:
                _check_modality(receipt, covered, wanted.modality)
                certificates.append(_one(session, custodian, wanted, receipt, asker))
            except Refused as refused:
                certificates.append(None)
                reasons.append(str(refused))
    answer = CertificateAnswer(
        nonce=request.nonce,
        now=moment(now),
        certificates=tuple(envelope.hash if envelope else None for envelope in certificates),
        refusal="; ".join(dict.fromkeys(reasons))[:500] or None,
    )
    return CertificatesAnswer(answer=custodian.sign(answer), certificates=tuple(certificates))


def _may_record(session: Session, custodian: Custodian, asker: Asker, now: datetime) -> ReceiptRow:
    shut = restoring.why_shut(session, custodian.head_memory)
    if shut is not None:
        raise Refused(shut)
    reason = halted(session)
    if reason is not None:
        raise Refused(f"the programme is halted: {reason[:400]}")
    if not founded(session, now):
        raise Refused("admin, council and data-protection officer have not all enrolled yet")
    receipt = consent.receipt_for_recording(session, asker.credential, now)
    if receipt is None:
        raise Refused("there is no valid receipt of this device")
    return receipt


def _one(session: Session, custodian: Custodian, wanted: StreamWanted, receipt: ReceiptRow, asker: Asker) -> Envelope:
    now = custodian.now()
    until = record_until(wanted.day, now, parse_moment(receipt.valid_until), custodian.settings.certificate_hours)
    _check_stream_key(wanted.stream_key)
    stream = _existing(session, wanted, receipt, asker)
    if stream is None:
        try:
            with session.begin_nested():
                stream = _new(session, custodian, _Wanted(wanted, until, receipt.record, asker))
        except IntegrityError as error:
            stream = _existing(session, wanted, receipt, asker)  # the same request, sent twice, was a moment faster
            if stream is None:
                raise Refused("the stream key is used already") from error
    certificate = StreamCertificate(
        stream=stream.id,
        stream_key=stream.stream_key,
        modality=Modality(stream.modality),
        day=stream.day,
        vault_key=stream.vault_key,
        record_until=max(until, stream.record_until),
        upload_until=stream.upload_until,
        byte_budget=stream.byte_budget,
    )
    envelope = custodian.sign(certificate)
    stream.record_until = certificate.record_until
    stream.certificate = envelope.to_json().decode()
    return envelope


def _check_modality(receipt: ReceiptRow, covered: consent.Recordable, modality: Modality) -> None:
    if not domain.keeps_stream(consent.consent_of(receipt), modality):
        raise Refused(f"the receipt does not cover {modality.value}")
    if not any(choice.modality is modality for choice in covered.left):
        raise Refused(f"what was agreed to has changed ({', '.join(covered.changed)}); the person is asked anew")
    if modality is Modality.KEYBOARD and consent.receipt_of(receipt).keyboard_mode is KeyboardMode.OFF:
        raise Refused("the receipt says that the keyboard is off")


def record_until(day: str, now: datetime, receipt_ends: datetime, hours: int) -> str:
    """The hour at whose beginning recording must have ended: within `hours` from now, within the stream's day, and
    within the receipt. Raises Refused when nothing is left, or the day is neither today nor tomorrow.
    """
    today = day_of(now)
    if day not in (today, add_days(today, 1)):
        raise Refused("a stream is of today or tomorrow (UTC)")
    begins = datetime.combine(parse_day(day), datetime.min.time(), UTC)
    latest = min(now + timedelta(hours=hours), begins + timedelta(days=1), receipt_ends)
    until = latest.replace(minute=0, second=0, microsecond=0)
    if until <= max(begins, now):
        raise Refused("no whole hour is left for this stream; ask again later, or renew the receipt")
    return hour_of(until)


def _check_stream_key(text: str) -> None:
    try:
        PublicKey(text).load()
    except KeyInvalid as error:
        raise Refused("a stream key is not a key") from error
    if not text.startswith("ed25519:"):
        raise Refused("a stream key is an Ed25519 key")


def _existing(session: Session, wanted: StreamWanted, receipt: ReceiptRow, asker: Asker) -> Stream | None:
    """The stream that is to be extended, or that was certified by an answer that got lost. Raises Refused.

    Whose stream an id is, is not told: the reason is the same for one that does not exist.
    """
    stream = session.scalars(select(Stream).where(Stream.stream_key == wanted.stream_key)).one_or_none()
    if stream is None and wanted.stream is None:
        return None
    same = stream is not None and (
        wanted.stream in (None, stream.id)
        and stream.person == asker.person
        and stream.credential == asker.credential
        and stream.record == receipt.record
        and stream.modality == wanted.modality.value
        and stream.day == wanted.day
        and stream.closed is None
        and stream.erased is None
    )
    if not same:
        raise Refused("there is no such stream to extend, or the stream key is used already")
    return stream


@dataclass(frozen=True)
class _Wanted:
    stream: StreamWanted
    until: str
    record: str
    asker: Asker


def _new(session: Session, custodian: Custodian, new: _Wanted) -> Stream:
    wanted, asker = new.stream, new.asker
    count = session.scalar(
        select(func.count()).select_from(Stream).where(Stream.person == asker.person, Stream.day == wanted.day)
    )
    if (count or 0) >= MAX_STREAMS_PER_DAY:
        raise Refused(f"a person has {MAX_STREAMS_PER_DAY} streams a day at most")
    private = HybridPrivateKey.generate()
    generation = current_generation(session)
    stream = Stream(
        id=new_id(),
        person=asker.person,
        record=new.record,
        credential=asker.credential,
        modality=wanted.modality.value,
        day=wanted.day,
        stream_key=wanted.stream_key,
        vault_key=private.public_key.to_text(),
        suite=SUITE_A1_XW,
        record_until=new.until,
        upload_until=add_days(wanted.day, custodian.settings.upload_days),
        byte_budget=custodian.settings.stream_byte_budget,
        certificate="",
        drill=asker.drill,
        closed=None,
        erased=None,
    )
    session.add(stream)
    wrapped = custodian.keks.wrap(generation, {stream.id: private.to_private_bytes()})
    session.add(VaultKey(stream=stream.id, generation=generation, wrapped=wrapped[stream.id]))
    session.flush()
    return stream


def current_generation(session: Session) -> int:
    """The newest KEK generation, held until the transaction ends, so that it is not destroyed meanwhile."""
    found = session.scalars(
        select(Generation.number)
        .where(Generation.destroyed.is_(None))
        .order_by(Generation.number.desc())
        .limit(1)
        .with_for_update(read=True)
    ).first()
    if found is None:
        raise Problem(Code.CLOSED, "there is no KEK generation; restore the key folder or run `assent-server init`")
    return found
