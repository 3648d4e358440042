"""Makes orders of what waits, hands them out, and notes that they were carried out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope, read_unverified
from assent.contracts.ids import new_id
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code, Problem
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import Order, OrderDone, OrderItem, Revocation
from assent_custodian.context import Custodian
from assent_custodian.keys.models import TombstoneRow
from assent_custodian.log import service as log
from assent_custodian.orders.models import OrderRow, QueuedItem

MAX_ITEMS = 1000
"""Items of one order. A night with more makes more orders."""

ORDERS_PER_ANSWER = 10


def queue(
    session: Session,
    action: Literal["revoke", "erase"],
    stream: str,
    evidence: Envelope,
    hours: tuple[str, ...] = (),
) -> None:
    """Add an item to the next order. Its place there is random."""
    session.add(
        QueuedItem(
            id=new_id(),
            action=action,
            stream=stream,
            hours=json.dumps(hours),
            evidence=evidence.to_json().decode(),
        )
    )


def revoke_now(session: Session, custodian: Custodian, streams: Iterable[str]) -> list[int]:
    """Orders to accept nothing more of these streams, at once: for a lost device. Returns their numbers.

    What else waits goes on waiting for the night, where it is mixed over people.
    """
    rows = [
        QueuedItem(
            id=new_id(),
            action="revoke",
            stream=stream,
            hours="[]",
            evidence=custodian.sign(Revocation(stream=stream)).to_json().decode(),
        )
        for stream in streams
    ]
    return _make(session, custodian, sorted(rows, key=lambda row: row.id))


def make_orders(session: Session, custodian: Custodian) -> list[int]:
    """Turn everything that waits into orders, mixed over people, numbered and chained. Returns their numbers."""
    session.flush()
    waiting = list(session.scalars(select(QueuedItem).order_by(QueuedItem.id).with_for_update()))
    numbers = _make(session, custodian, waiting)
    for row in waiting:
        session.delete(row)
    session.flush()
    return numbers


def _make(session: Session, custodian: Custodian, waiting: list[QueuedItem]) -> list[int]:
    """Number, chain and sign orders of these items. The log's head is locked meanwhile: one numbers at a time."""
    numbers: list[int] = []
    if waiting:
        log.append(session)
    for start in range(0, len(waiting), MAX_ITEMS):
        rows = waiting[start : start + MAX_ITEMS]
        number, previous = next_place(session)
        items = tuple(
            OrderItem.model_validate(
                {
                    "action": row.action,
                    "stream": row.stream,
                    "hours": tuple(json.loads(row.hours)),
                    "evidence": Envelope.from_json(row.evidence),
                }
            )
            for row in rows
        )
        envelope = custodian.sign(Order(number=number, previous=previous, day=custodian.today(), items=items))
        session.add(
            OrderRow(
                number=number,
                hash=envelope.hash,
                envelope=envelope.to_json().decode(),
                day=custodian.today(),
                done=None,
                acknowledgement=None,
            )
        )
        carried = [item.evidence.hash for item in items if item.action == "erase"]
        session.execute(update(TombstoneRow).where(TombstoneRow.hash.in_(carried)).values(ordered=number))
        session.flush()
        # Only the number: the hash would be the one name that log and collector have in common.
        made = Leaf(type=LeafType.ORDER_MADE, at=custodian.moment(), auth="operator", counts={"number": number})
        log.append(session, made)
        numbers.append(number)
    return numbers


def next_place(session: Session) -> tuple[int, str]:
    """Number and `previous` of the next order."""
    last = session.execute(select(OrderRow.number, OrderRow.hash).order_by(OrderRow.number.desc()).limit(1)).first()
    return (last.number + 1, last.hash) if last else (1, FIRST_PREVIOUS)


def after(session: Session, number: int) -> tuple[Envelope, ...]:
    """Orders above `number`, in order, a few at a time."""
    rows = select(OrderRow.envelope).where(OrderRow.number > number).order_by(OrderRow.number)
    return tuple(Envelope.from_json(row) for row in session.scalars(rows.limit(ORDERS_PER_ANSWER)))


def acknowledge(session: Session, custodian: Custodian, envelope: Envelope) -> None:
    """Note the collector's signed word that an order was carried out. Twice is once. Raises Problem.

    It carries orders out in their order, and each names the one before: its word for one is its word for all before it.
    So what was acknowledged after a backup that was restored is known again with the next order.
    """
    done = read_unverified(envelope, OrderDone)
    row = session.get(OrderRow, done.number)
    if row is None:
        raise Problem(Code.NOT_FOUND, "there is no order of this number")
    if row.hash != done.order:
        raise Problem(Code.CONFLICT, "the order of this number is another one")
    outstanding = select(OrderRow).where(OrderRow.number <= done.number, OrderRow.done.is_(None))
    for earlier in session.scalars(outstanding.order_by(OrderRow.number).with_for_update()).all():
        earlier.done = custodian.today()
        earlier.acknowledgement = envelope.to_json().decode()


def open_orders(session: Session) -> int:
    """How many orders the collector has not acknowledged."""
    return session.scalar(select(func.count()).select_from(OrderRow).where(OrderRow.done.is_(None))) or 0
