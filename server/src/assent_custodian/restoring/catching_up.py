"""How a restored custodian learns what its backup forgot: from witnesses, from its own orders, from people's devices.

The log comes first, since it says how many orders there were: a collector can withhold orders, but not make the last
one seem an earlier one. Orders that come back are believed by this custodian's own signature. What a device holds is
believed by the person's signature; until it was heard, the door is shut for that person and nothing is erased for it.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope, StatementInvalid, read_unverified
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code, Problem
from assent.contracts.rotation import StatementKey, read_lasting, statement_key_of
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import (
    Order,
    OrderItem,
    OrderReturned,
    Receipt,
    Revocation,
    Standing,
    Tombstone,
    Withdrawal,
)
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import TransparencyError
from assent_custodian import auth
from assent_custodian.auth import Asker, Stated
from assent_custodian.consent import domain
from assent_custodian.consent import service as consent
from assent_custodian.consent.models import ReceiptRow
from assent_custodian.context import Custodian
from assent_custodian.keys import erasure
from assent_custodian.keys.models import Stream, TombstoneRow
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.orders import service as orders
from assent_custodian.orders.models import OrderRow
from assent_custodian.people.models import Credential
from assent_custodian.people.service import one_at_a_time
from assent_custodian.restoring import logs, state
from assent_custodian.restoring.models import Restoration, Unheard


def catch_up(custodian: Custodian) -> dict[str, Any] | None:
    """Go on as far as is possible now. Returns what is still missing; None when the door is open or was never shut.

    On a full disk, too: a custodian that cannot find this out does not start.
    """
    with custodian.database.transaction(urgent=True) as session:
        state.look(session, custodian.head_memory, custodian.today())
        row = session.get(Restoration, 1)
        if row is None or (row.log_whole and row.orders_whole):
            return None
        reach, log_is_whole, size = row.reach, row.log_whole is not None, log.size(session)
    missing = None if log_is_whole else _witness_log(custodian, size, reach)
    with custodian.database.transaction(urgent=True) as session:
        row = session.get_one(Restoration, 1)
        if missing is None:
            row.log_whole = row.log_whole or custodian.today()
            if _has_all_orders(session, row.claimed):
                row.orders_whole = custodian.today()
                return None
            missing = "orders: the collector brings them back by itself, with its next question"
        unheard = session.scalar(select(Unheard.person).where(Unheard.waits).limit(1))
        return {"missing": missing, "devices_unheard": unheard is not None}


def _witness_log(custodian: Custodian, size: int, reach: int) -> str | None:
    """Have the head countersigned again: then the log is whole. Otherwise what is to be done."""
    if size < reach:
        return f"leaves: the log has {size} of at least {reach}; run `assent-server restore --log COPY`"
    try:
        note = witnesses.submit_head(custodian)
        custodian.directory.policy.check(note)
    except Problem as problem:
        return f"leaves: {problem.detail}; run `assent-server restore --log COPY`"
    except TransparencyError:
        return "a quorum of witnesses; it is asked for again by itself"
    if Checkpoint.from_text(note.text).size < reach:
        return "a quorum of witnesses for the whole log"
    return None


def _has_all_orders(session: Session, claimed: int | None) -> bool:
    """Whether the last order that the log knows of is here, and the last one that the collector `claimed`, if it was to
    say. They are chained: with it, all of them are."""
    if claimed is not None and not 0 <= claimed < orders.next_place(session)[0]:
        return False
    newest = log.newest_of_type(session, LeafType.ORDER_MADE, 1)
    if not newest:
        return True
    last = Leaf.model_validate_json(newest[0][1]).counts["number"]
    return session.get(OrderRow, last) is not None


# --- orders -----------------------------------------------------------------------------------------------------------


def take_back(session: Session, custodian: Custodian, envelope: Envelope) -> str:
    """An order of ours that the collector returns: checked as it checked it, carried out here, and kept.

    Twice is once. Returns its hash. Raises Problem for what is not the next order that this custodian signed.
    """
    returned = read_unverified(envelope, OrderReturned).order
    try:
        order = read_lasting(returned, Order, _own_key(custodian))
        for item in order.items:
            _check_evidence(item, custodian)
    except StatementInvalid as error:
        raise Problem(Code.SIGNATURE_INVALID, "this is no order that this custodian signed") from error
    known = session.get(OrderRow, order.number)
    if known is not None:
        if known.hash != returned.hash:
            raise Problem(Code.CONFLICT, "the order of this number is another one")
        return returned.hash
    number, previous = orders.next_place(session)
    if (order.number, order.previous) != (number, previous):
        raise Problem(Code.OUT_OF_ORDER, "this order does not follow the last one here", expected=number)
    if session.get(Restoration, 1) is None:  # we signed it, and do not know it: this database is an old one
        state.begin(session, log.size(session), custodian.today())
    session.add(
        OrderRow(
            number=order.number, hash=returned.hash, envelope=returned.to_json().decode(), day=order.day, done=None,
            acknowledgement=None,
        )
    )  # fmt: skip
    for item in order.items:
        _carry_out(session, custodian, item, order)
    return returned.hash


def _own_key(custodian: Custodian) -> StatementKey:
    """The statement key, and the former ones that the directory lists."""
    return statement_key_of(custodian.directory.directory)


def _check_evidence(item: OrderItem, custodian: Custodian) -> None:
    """Raises StatementInvalid unless this custodian signed the evidence for just this item."""
    key = _own_key(custodian)
    if item.action == "revoke":
        fits = read_lasting(item.evidence, Revocation, key).stream == item.stream and not item.hours
    else:
        tombstone = read_lasting(item.evidence, Tombstone, key)
        fits = (tombstone.stream, tombstone.hours) == (item.stream, item.hours)
    if not fits:
        raise StatementInvalid("the evidence is about something else")


def _carry_out(session: Session, custodian: Custodian, item: OrderItem, order: Order) -> None:
    """Close, bury and destroy once more. Nothing is ordered for it: the collector has done its part."""
    stream = session.get(Stream, item.stream)
    if item.action == "revoke":
        if stream is not None and stream.closed is None:
            stream.closed = "withdrawn"
        return
    tombstone = read_unverified(item.evidence, Tombstone)
    if session.get(TombstoneRow, item.evidence.hash) is None:
        session.add(
            TombstoneRow(
                hash=item.evidence.hash, stream=item.stream, hours=json.dumps(item.hours),
                envelope=item.evidence.to_json().decode(), day=order.day, reason=tombstone.reason,
                ordered=order.number,
            )
        )  # fmt: skip
        session.flush()
    if not item.hours:
        erasure.destroy(session, [item.stream], custodian.today())
        if stream is not None and stream.erased is None:
            stream.erased = order.day


# --- devices ----------------------------------------------------------------------------------------------------------


def restate(session: Session, custodian: Custodian, stated: Stated[Standing]) -> str:
    """What a device holds counts again: its newest receipt, and every withdrawal. Returns the statement's hash.

    A receipt that this custodian countersigned is taken as it is; withdrawals win, as always. Where the device no
    longer stands by the receipt that is the newest here, somebody withdrew it elsewhere: its streams are closed for
    everybody but their person, and nothing is erased.
    """
    standing, asker = stated.statement, stated.asker
    if standing.person != asker.person:
        raise Problem(Code.REFUSED, "a device can only speak for its own person")
    unheard = session.get(Unheard, asker.credential, with_for_update=True)
    if unheard is None:
        return stated.envelope.hash  # heard already, or never asked
    one_at_a_time(session, asker.person)
    if standing.receipt is not None:
        _take_receipt(session, custodian, standing.receipt, standing.salt, asker)
    held = [(read_unverified(held.statement, Withdrawal), held) for held in standing.withdrawals]
    for withdrawal, one in sorted(held, key=lambda pair: pair[0].at):
        by = auth.signer(session, one.statement, custodian.now(), revoked_too=True)
        if by.person != asker.person:
            raise Problem(Code.REFUSED, "a withdrawal of somebody else was handed in")
        consent.withdraw(session, custodian, Stated(withdrawal, one.statement, by, one.leaf))
    session.flush()
    if not standing.in_force:
        _in_doubt(session, asker, custodian.moment())
    session.delete(unheard)
    return stated.envelope.hash


def _take_receipt(session: Session, custodian: Custodian, envelope: Envelope, salt: str | None, asker: Asker) -> None:
    """The newest receipt of this device, if this custodian countersigned it and the device signed it. Else Problem.

    One that is not known here was given since the backup, and may have been ended since: then it is not live.
    """
    credential = session.get_one(Credential, asker.credential)
    try:
        receipt = read_lasting(envelope, Receipt, _own_key(custodian), auth.key_of(credential))
    except StatementInvalid as error:
        raise Problem(
            Code.SIGNATURE_INVALID, "this receipt was not given by this device and countersigned here"
        ) from error
    if receipt.person != asker.person:
        raise Problem(Code.REFUSED, "this receipt is of somebody else")
    if session.scalars(select(ReceiptRow.record).where(ReceiptRow.hash == envelope.hash)).first() is None:
        if session.get(ReceiptRow, receipt.record) is not None:
            raise Problem(Code.CONFLICT, "a receipt of this record exists already")
        row = consent.row_of(receipt, envelope, asker.credential, salt)
        if logs.ended_since(session, receipt):
            row.state = domain.State.EXPIRED.value
        session.add(row)
        session.flush()
    credential.last_receipt = envelope.hash


def _in_doubt(session: Session, asker: Asker, now: str) -> None:
    """This device stands by no receipt: what is live here by it is so no longer. One that has run out is no doubt."""
    newest = session.get_one(Credential, asker.credential).last_receipt
    row = session.scalars(select(ReceiptRow).where(ReceiptRow.hash == newest)).first()
    if newest == FIRST_PREVIOUS or row is None or row.state != domain.State.GIVEN.value or row.valid_until <= now:
        return
    row.state = domain.State.EXPIRED.value
    for stream in session.scalars(
        select(Stream).where(Stream.credential == asker.credential, Stream.closed.is_(None), Stream.erased.is_(None))
    ):
        stream.closed = "doubt"
