"""Erasures: accepted at once from their person, carried out in the same transaction, followed until they are final.

A withdrawal, what the dpo ended and what is too old are followed in the same way, for each person: from the moment it
counts (`follow`) over the day on which streams are erased (`note_destroyed`) to the end. The night signs the final
receipts. `domain.step` says which state follows which.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Literal

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from assent.contracts import limits
from assent.contracts.envelope import Envelope, read_unverified
from assent.contracts.lists import person_leaf
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Erasure, ErasureReceipt
from assent.contracts.times import add_days
from assent.contracts.wire import ErasuresView, ErasureView, FallenView
from assent_custodian import backups
from assent_custodian.auth import Stated
from assent_custodian.context import Custodian
from assent_custodian.erasures import domain
from assent_custodian.erasures.domain import Event, State
from assent_custodian.erasures.models import ErasureRow, ErasureTombstone
from assent_custodian.keys import erasure as keys
from assent_custodian.keys.models import Generation, Stream, TombstoneRow
from assent_custodian.log import service as log
from assent_custodian.orders.models import OrderRow
from assent_custodian.people.service import one_at_a_time

Kind = Literal["erasure", "withdrawal", "ending", "retention"]


def erase(session: Session, custodian: Custodian, stated: Stated[Erasure]) -> Envelope:
    """Erase what the statement reaches and return the receipt `requested`. Twice is once. Needs no witness.

    Hours get tombstones; of days and of everything the vault keys are destroyed. Raises Problem.
    """
    wish, envelope, asker = stated.statement, stated.envelope, stated.asker
    if wish.person != asker.person:
        raise Problem(Code.REFUSED, "an erasure can only be signed for oneself")
    try:
        reach = domain.reach_of(wish)
    except domain.ReachInvalid as error:
        raise Problem(Code.MALFORMED, str(error)) from error
    one_at_a_time(session, asker.person)
    stored = session.get(ErasureRow, (envelope.hash, asker.person))
    if stored is not None:
        return Envelope.from_json(stored.requested)
    streams = [
        stream for stream in _reached(session, asker.person, reach) if reach.hours is None or stream.day in reach.hours
    ]
    hours = sum(len(of_day) for of_day in reach.hours.values()) if reach.hours is not None else 0
    receipt = follow(
        session,
        custodian,
        person=asker.person,
        of=envelope.hash,
        kind="erasure",
        streams=streams,
        hours=hours,
        erased_from=custodian.today(),
        statement=envelope,
    )
    if reach.hours is None:
        keys.erase(session, custodian, [stream.id for stream in streams])
        tombstones = keys.tombstones_of(session, [stream.id for stream in streams])
    else:
        keys.hold(session, [stream.id for stream in streams])
        tombstones = keys.bury(session, custodian, {stream.id: reach.hours[stream.day] for stream in streams})
    note_destroyed(session, custodian, envelope.hash, asker.person, tombstones, keys_too=reach.hours is None)
    log.queue_person_leaf(session, stated.required_leaf)
    return receipt


def _reached(session: Session, person: str, reach: domain.Reach) -> Sequence[Stream]:
    return session.scalars(
        select(Stream)
        .where(
            Stream.person == person,
            Stream.day >= reach.first_day,
            Stream.day <= reach.last_day,
            Stream.modality.in_([modality.value for modality in reach.modalities]),
            Stream.erased.is_(None),
        )
        .order_by(Stream.id)
    ).all()


def follow(
    session: Session,
    custodian: Custodian,
    *,
    person: str,
    of: str,
    kind: Kind,
    streams: Sequence[Stream],
    erased_from: str,
    hours: int = 0,
    statement: Envelope | None = None,
) -> Envelope:
    """Sign the receipt `requested` for these streams, and remember that a final one is owed."""
    days = sorted({stream.day for stream in streams})
    receipt = custodian.sign(
        ErasureReceipt(
            person=person,
            of=of,
            kind=kind,
            state="requested",
            day=custodian.today(),
            streams=len(streams),
            days=len(days),
            hours=hours,
            first_day=days[0] if days else None,
            last_day=days[-1] if days else None,
            erased_from=erased_from,
            backup_days=custodian.settings.backup_days,
        )
    )
    session.add(
        ErasureRow(
            of=of,
            person=person,
            kind=kind,
            day=custodian.today(),
            statement=statement.to_json().decode() if statement else None,
            requested=receipt.to_json().decode(),
            destroyed=None,
            generation=None,
            final=None,
            called_off=None,
            salt=None,
        )
    )
    return receipt


def erase_past_retention(session: Session, custodian: Custodian) -> int:
    """Erase streams whose day is further back than the retention, with receipts as for every erasure. Returns how many
    there were.

    These receipts are not in the log: they would be as many as people had recorded on that day.
    """
    today = custodian.today()
    last = add_days(today, -custodian.settings.retention_days)
    query = select(Stream).where(Stream.day < last, Stream.erased.is_(None)).order_by(Stream.person, Stream.id)
    old = session.scalars(query).all()
    count = keys.erase(session, custodian, [stream.id for stream in old], reason="retention")
    for person, some in groupby(old, key=lambda stream: stream.person):
        streams, of = list(some), secrets.token_hex(32)
        follow(session, custodian, person=person, of=of, kind="retention", streams=streams, erased_from=today)
        tombstones = keys.tombstones_of(session, [stream.id for stream in streams])
        note_destroyed(session, custodian, of, person, tombstones)
    return count


def note_destroyed(
    session: Session, custodian: Custodian, of: str, person: str, tombstones: Iterable[str], *, keys_too: bool = True
) -> None:
    """What `of` reaches of this person is erased now: these tombstones stand, and (`keys_too`) vault keys were
    destroyed, now or, where something else had reached them, before.

    A withdrawal or an ending of before there were such receipts has none to follow.
    """
    session.flush()
    row = session.get(ErasureRow, (of, person))
    if row is None or not _takes(row, Event.DESTROY):
        return
    wanted = sorted(set(tombstones))
    row.destroyed = custodian.today()
    if keys_too and wanted:
        row.generation = _generation_to_go(session)
    session.add_all(ErasureTombstone(erasure=of, person=person, tombstone=tombstone) for tombstone in wanted)


def _generation_to_go(session: Session) -> int | None:
    """The newest KEK generation under which a key that is destroyed was wrapped. If all of them are gone already: the
    newest that is.
    """
    tainted = select(func.max(Generation.number)).where(Generation.destroyed.is_(None), Generation.tainted)
    gone = select(func.max(Generation.number)).where(Generation.destroyed.is_not(None))
    living = session.scalar(tainted)
    return session.scalar(gone) if living is None else living


def state_of(row: ErasureRow) -> State:
    """How far this has come."""
    if row.called_off is not None:
        return State.CALLED_OFF
    if row.final is not None:
        return State.FINAL
    return State.REQUESTED if row.destroyed is None else State.DESTROYED


def _takes(row: ErasureRow, event: Event) -> bool:
    state = state_of(row)
    return domain.step(state, event) is not state


def call_off(session: Session, custodian: Custodian, of: str, person: str) -> bool:
    """Nothing is erased for `of` any more, and its person gets that signed. Returns whether it was not too late."""
    session.flush()
    row = session.get(ErasureRow, (of, person), with_for_update=True)
    if row is None or not _takes(row, Event.CALL_OFF):
        return False
    row.called_off = _last_receipt(session, custodian, row, State.CALLED_OFF, {})
    return True


def finish(session: Session, custodian: Custodian) -> int:
    """Sign the final receipt of everything that has come to its end, and queue its salted hash for the log."""
    session.flush()
    settings, today, count = custodian.settings, custodian.today(), 0
    oldest = backups.oldest(settings)
    last = add_days(today, -settings.backup_days)
    owed = select(ErasureRow).where(ErasureRow.final.is_(None), ErasureRow.destroyed <= last)
    for row in session.scalars(owed.order_by(ErasureRow.of, ErasureRow.person).with_for_update()).all():
        done = domain.final(_progress(session, row), settings.backup_days, today, oldest)
        if done is None or not _takes(row, Event.FINISH):
            continue
        said = {
            "backup_days": settings.backup_days,
            "keys_destroyed": done.keys_destroyed,
            "deleted": done.deleted,
            "backups_expired": done.backups_expired,
        }
        row.final = _last_receipt(session, custodian, row, State.FINAL, said)
        count += 1
    return count


def _last_receipt(
    session: Session, custodian: Custodian, row: ErasureRow, state: State, said: Mapping[str, object]
) -> str:
    """The receipt with which it ends: signed, and its salted hash queued for the log (not that of a retention)."""
    requested = read_unverified(Envelope.from_json(row.requested), ErasureReceipt)
    changed = {"state": state.value, "day": custodian.today(), **said}
    receipt = custodian.sign(requested.model_copy(update=changed))
    if row.kind != "retention":
        row.salt = secrets.token_bytes(32)
        log.queue_person_leaf(session, person_leaf(row.salt, receipt.hash))
    return receipt.to_json().decode()


def not_ordered(session: Session, person: str) -> tuple[Envelope, ...]:
    """Erasures of this person that would be lost with this database: no order has carried them yet. The newest ones."""
    waits = exists().where(
        ErasureTombstone.erasure == ErasureRow.of,
        ErasureTombstone.person == ErasureRow.person,
        TombstoneRow.hash == ErasureTombstone.tombstone,
        TombstoneRow.ordered.is_(None),
    )
    found = session.scalars(
        select(ErasureRow.statement)
        .where(ErasureRow.person == person, ErasureRow.statement.is_not(None), waits)
        .order_by(ErasureRow.day.desc(), ErasureRow.of)
        .limit(limits.MAX_RESTATED)
    )
    return tuple(Envelope.from_json(statement) for statement in found if statement is not None)


def _progress(session: Session, row: ErasureRow) -> domain.Progress:
    """What has happened of this erasure. An order that was not even made counts as not acknowledged."""
    orders = session.scalars(
        select(OrderRow.done)
        .select_from(ErasureTombstone)
        .outerjoin(TombstoneRow, TombstoneRow.hash == ErasureTombstone.tombstone)
        .outerjoin(OrderRow, OrderRow.number == TombstoneRow.ordered)
        .where(ErasureTombstone.erasure == row.of, ErasureTombstone.person == row.person)
    ).all()
    generation = None
    if row.generation is not None:
        living = select(func.count()).where(Generation.number <= row.generation, Generation.destroyed.is_(None))
        if not session.scalar(living):
            generation = session.scalar(select(Generation.destroyed).where(Generation.number == row.generation))
    return domain.Progress(row.destroyed, row.generation is not None, generation, orders)


def of_person(session: Session, person: str) -> ErasuresView:
    """Everything that was or will be erased of this person; and what fell without a receipt, before there were any for
    it, or by an order that came back after a restore.
    """
    rows = session.scalars(
        select(ErasureRow).where(ErasureRow.person == person).order_by(ErasureRow.day.desc(), ErasureRow.of)
    )
    fallen = session.execute(
        select(TombstoneRow.reason, TombstoneRow.day, func.count(), func.min(Stream.day), func.max(Stream.day))
        .join(Stream, Stream.id == TombstoneRow.stream)
        .where(
            Stream.person == person,
            TombstoneRow.reason.is_not(None),
            ~exists().where(ErasureTombstone.tombstone == TombstoneRow.hash),
        )
        .group_by(TombstoneRow.reason, TombstoneRow.day)
        .order_by(TombstoneRow.day.desc(), TombstoneRow.reason)
    )
    return ErasuresView(
        erasures=tuple(
            ErasureView(
                of=row.of,
                requested=Envelope.from_json(row.requested),
                final=Envelope.from_json(row.final) if row.final else None,
                called_off=Envelope.from_json(row.called_off) if row.called_off else None,
                salt=base64.b64encode(row.salt).decode() if row.salt else None,
            )
            for row in rows
        ),
        fallen=tuple(
            FallenView.model_validate(
                {"reason": reason, "erased": erased, "streams": streams, "first_day": first, "last_day": last}
            )
            for reason, erased, streams, first, last in fallen
        ),
    )
