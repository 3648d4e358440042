"""What was released and then fell is recalled, once a night: from each grant whose leases read it, without a reason.

Withdrawn, erased and too old look the same in a recall, and it names streams only as the leases of that grant did. A
lease under which no key was opened has nothing to recall.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope
from assent.contracts.ids import Modality
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.limits import MAX_ITEMS_PER_RECALL
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Recall, RecallDone, RecallItem, Role
from assent.contracts.times import moment
from assent.contracts.wire import RecallsView, RecallView
from assent_custodian.auth import Stated
from assent_custodian.consent.domain import Granted, Use
from assent_custodian.consent.models import ReceiptRow, WithdrawalRow
from assent_custodian.consent.service import consent_of
from assent_custodian.context import Custodian
from assent_custodian.grants import service as grants
from assent_custodian.grants.models import RequestRow
from assent_custodian.keys.models import Stream, TombstoneRow, not_withdrawn
from assent_custodian.leases.models import LeaseRow, LeaseStream
from assent_custodian.log import service as log
from assent_custodian.people.models import RoleHeld
from assent_custodian.recalls.models import WHOLE, RecalledStream, RecallRow


def issue(session: Session, custodian: Custodian) -> int:
    """Sign recalls of what fell since the last ones. Returns how many."""
    session.flush()
    fallen: dict[str, list[RecallItem]] = defaultdict(list)
    for request, stream, what, hours in [
        *_fallen_streams(session), *_fallen_purposes(session), *_fallen_hours(session)
    ]:  # fmt: skip
        fallen[request].append(RecallItem(stream=stream, hours=hours))
        session.add(RecalledStream(request=request, stream=stream, what=what))
    count = 0
    for request in sorted(fallen):
        items = sorted(fallen[request], key=lambda item: (item.stream, item.hours))
        for start in range(0, len(items), MAX_ITEMS_PER_RECALL):
            part = tuple(items[start : start + MAX_ITEMS_PER_RECALL])
            envelope = custodian.sign(Recall(request=request, day=custodian.today(), items=part))
            session.add(
                RecallRow(
                    hash=envelope.hash,
                    request=request,
                    day=custodian.today(),
                    envelope=envelope.to_json().decode(),
                    done=None,
                    acknowledgement=None,
                )
            )
            count += 1
    return count


_READ = (
    LeaseRow.mode != "own",
    LeaseRow.released > 0,
    LeaseRow.request.in_(select(RequestRow.hash).where(RequestRow.drill.is_(False))),
)
"""Leases under which something left, for others than its person. The drill keeps nothing that could be recalled."""


def _not_recalled() -> ColumnElement[bool]:
    """Of a joined (LeaseRow, LeaseStream): the stream as a whole was not recalled from this request yet."""
    return ~exists().where(
        RecalledStream.request == LeaseRow.request,
        RecalledStream.stream == LeaseStream.stream,
        RecalledStream.what == WHOLE,
    )


def _fallen_streams(session: Session) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """(request, stream, what, hours) of streams that were closed or erased as a whole and not recalled yet.

    One that was closed since its device was lost has not fallen: consent covers it, and later leases read it again.
    """
    rows = session.execute(
        select(LeaseRow.request, LeaseStream.stream)
        .join(LeaseStream, LeaseStream.lease == LeaseRow.id)
        .join(Stream, Stream.id == LeaseStream.stream)
        .where(*_READ, or_(~not_withdrawn(), Stream.erased.is_not(None)), _not_recalled())
        .distinct()
    )
    return [(request, stream, WHOLE, ()) for request, stream in rows]


def _fallen_purposes(session: Session) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """The same of streams that live on for other purposes, and were read for one that was withdrawn since.

    Only withdrawals take choices out of a receipt, so only streams of people who withdrew something are looked at.
    """
    rows = session.execute(
        select(LeaseRow.request, LeaseStream.stream, Stream.record, Stream.modality)
        .join(LeaseStream, LeaseStream.lease == LeaseRow.id)
        .join(Stream, Stream.id == LeaseStream.stream)
        .where(
            *_READ,
            not_withdrawn(),
            Stream.erased.is_(None),
            Stream.person.in_(select(WithdrawalRow.person)),
            _not_recalled(),
        )
        .distinct()
    ).all()
    uses: dict[str, Use] = {}
    left: dict[str, Collection[Granted]] = {}
    fallen: list[tuple[str, str, str, tuple[str, ...]]] = []
    for request, stream, record, modality in rows:
        if request not in uses:
            uses[request] = grants.use_of(grants.read_request(grants.row_of(session, request)))
        if record not in left:
            left[record] = consent_of(session.get_one(ReceiptRow, record)).left
        use = uses[request]
        if Granted(Modality(modality), use.purpose, use.version) not in left[record]:
            fallen.append((request, stream, WHOLE, ()))
    return fallen


def _fallen_hours(session: Session) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """The same of hours under a tombstone, of streams that live on."""
    recalled = exists().where(
        RecalledStream.request == LeaseRow.request,
        RecalledStream.stream == LeaseStream.stream,
        RecalledStream.what.in_((WHOLE, TombstoneRow.hash)),
    )
    rows = session.execute(
        select(LeaseRow.request, LeaseStream.stream, TombstoneRow.hash, TombstoneRow.hours)
        .join(LeaseStream, LeaseStream.lease == LeaseRow.id)
        .join(TombstoneRow, TombstoneRow.stream == LeaseStream.stream)
        .where(*_READ, TombstoneRow.hours != json.dumps(()), ~recalled)
        .distinct()
    )
    return [(request, stream, tombstone, tuple(json.loads(hours))) for request, stream, tombstone, hours in rows]


def _answered_by(person: str, now: datetime) -> ColumnElement[bool]:
    """Of a joined RequestRow: this person answers its recalls, since it is theirs, or its requester is none any more.

    Somebody has to drop what was read: when a requester leaves, that passes on to those who stay.
    """
    requesters = select(RoleHeld.person).where(
        RoleHeld.role == Role.REQUESTER.value, RoleHeld.effective <= moment(now), RoleHeld.ended.is_(None)
    )
    return or_(RequestRow.requester == person, RequestRow.requester.not_in(requesters))


def of_requester(session: Session, person: str, now: datetime) -> RecallsView:
    """Every recall of this requester's grants, and of grants that somebody left behind; open ones first."""
    rows = session.scalars(
        select(RecallRow)
        .join(RequestRow, RequestRow.hash == RecallRow.request)
        .where(_answered_by(person, now))
        .order_by(RecallRow.done.is_not(None), RecallRow.day, RecallRow.hash)
    )
    return RecallsView(
        recalls=tuple(RecallView(recall=Envelope.from_json(row.envelope), done=row.done) for row in rows)
    )


def acknowledge(session: Session, custodian: Custodian, stated: Stated[RecallDone]) -> None:
    """Note, and write into the log, that a recall was carried out. Twice is once. Raises Problem.

    A recall of another requester is not found, as one that does not exist.
    """
    row = session.scalars(
        select(RecallRow)
        .join(RequestRow, RequestRow.hash == RecallRow.request)
        .where(RecallRow.hash == stated.statement.recall, _answered_by(stated.asker.person, custodian.now()))
        .with_for_update(of=RecallRow)
    ).one_or_none()
    if row is None:
        raise Problem(Code.NOT_FOUND, "there is no such recall")
    if row.done is not None:
        return
    row.done = custodian.today()
    row.acknowledgement = stated.envelope.to_json().decode()
    log.append(
        session,
        Leaf(
            type=LeafType.RECALL_DONE,
            at=custodian.moment(),
            actor=log.actor_ref(session, stated.asker.person),
            auth=stated.asker.kind,
            decision="allowed",
            subject=stated.envelope.hash,
            request=row.request,
        ),
    )
