"""Orders: the custodian's numbered, signed instructions to revoke and erase, carried out once and acknowledged.

An order is believed whole or not at all: its signature, its number, the hash of the order before, and the custodian's
signed evidence for every item. It is carried out in steps that may each be repeated: streams marked closed (from here
on nothing is added to them), bodies removed, rows removed and the order's number set down in one transaction,
acknowledged. After a crash between any two of them it is carried out again from the first, with the same effect.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import structlog

from assent.contracts import limits
from assent.contracts.envelope import Envelope, StatementInvalid, sign
from assent.contracts.keys import SigningKey
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import Order, OrderDone, OrderItem, OrderReturned, Revocation, Tombstone
from assent.contracts.times import add_days, day_of, parse_day
from assent_collector import rules, store
from assent_collector.blobs import ORPHAN_AGE_S, Blobs
from assent_collector.custodian import Custodian
from assent_collector.store import OrderPlace
from assent_collector.trust import Trust
from assent_service.database import Database

MARGIN_DAYS = 1
"""How much longer than the upload deadline a mark is kept."""

UNSEEN_DAYS = limits.UPLOAD_DAYS + 2
"""How long a mark is kept for a stream whose certificate never came here: it was recorded within a day of the order."""

KEPT_AT_ONCE = 10
"""Orders read at once when they are given back."""

TIDY_EVERY_S = 3600.0
STOP_TIMEOUT_S = 5.0

_log = structlog.get_logger("assent.collector")


class OrderInvalid(Exception):
    """This order, or its place in the chain, is not the custodian's. Nothing of it was carried out."""


class OrderStep(StrEnum):
    """The points at which a process can die. Tests stop it at each of them."""

    MARKED = "marked"
    ERASED = "erased"
    COMMITTED = "committed"
    REPORTED = "reported"


OrderHook = Callable[[OrderStep], None]


def no_order_hook(_step: OrderStep) -> None:
    """Nothing is to happen at any step."""


@dataclass(frozen=True)
class CheckedItem:
    """An item whose evidence fits it."""

    item: OrderItem
    evidence_hash: str

    @property
    def erases(self) -> bool:
        return self.item.action == "erase"


class Orders:
    """Pulls and carries out orders. One call at a time per process; replicas may do the same beside it."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        trust: Trust,
        custodian: Custodian,
        *,
        key: SigningKey,
        clock: Callable[[], datetime],
        behind: Path,
        order_days: int,
        hook: OrderHook = no_order_hook,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._trust = trust
        self._custodian = custodian
        self._key = key
        self._clock = clock
        self._behind = behind
        self._order_days = order_days
        self._hook = hook
        self._alone = threading.Lock()

    def pull_orders_once(self) -> int:
        """Fetch, carry out and acknowledge what is new; return how many orders were carried out.

        Raises CustodianUnreachable or OrderInvalid; orders before that stay carried out.
        """
        with self._alone:
            place = self._place()
            if not place.acknowledged:
                self._acknowledge(place)
            carried_out = 0
            answer = self._custodian.orders(place.number)
            if answer.missing_after is not None:
                self._give_back(answer.missing_after)
            for envelope in answer.orders:
                place = self._place()
                order = self._checked(envelope, place)
                if order is None:
                    continue
                place = self._carry_out(order, envelope)
                self._acknowledge(place)
                carried_out += 1
            if carried_out == 0:
                self._caught_up()
            return carried_out

    def _give_back(self, after: int) -> None:
        """Return to the custodian its own orders that it lacks, and say once more that they were carried out."""
        while True:
            with self._database.reading() as session:
                kept = store.kept_above(session, after, KEPT_AT_ONCE)
            for number, text in kept:
                envelope = Envelope.from_json(text)
                self._custodian.returned(sign(OrderReturned(order=envelope), self._key))
                self._custodian.done(sign(OrderDone(number=number, order=envelope.hash), self._key))
                after = number
            if not kept:
                return

    def _caught_up(self) -> None:
        """There is no order that was not carried out: what a restore brought back is erased again."""
        self._behind.unlink(missing_ok=True)

    def _place(self) -> OrderPlace:
        with self._database.reading() as session:
            return store.last_order(session) or OrderPlace(0, FIRST_PREVIOUS, True)

    def _checked(self, envelope: Envelope, place: OrderPlace) -> Order | None:
        """The order if it is the next one, None if it was carried out already. Raises OrderInvalid."""
        try:
            order = self._trust.read(envelope, Order)
            parse_day(order.day)
        except (StatementInvalid, ValueError) as error:
            raise OrderInvalid(f"not an order of the custodian: {error}") from error
        if order.number < place.number:
            return None
        if order.number == place.number:
            if envelope.hash != place.hash:
                raise OrderInvalid(f"there are two orders with number {order.number}")
            return None
        if order.number != place.number + 1:
            raise OrderInvalid(f"order {place.number + 1} is missing before order {order.number}")
        if order.previous != place.hash:
            raise OrderInvalid(f"order {order.number} does not follow the order before it that was carried out here")
        return order

    def _evidence(self, item: OrderItem) -> CheckedItem:
        try:
            if item.action == "revoke":
                revocation = self._trust.read(item.evidence, Revocation)
                fits = revocation.stream == item.stream and not item.hours
            else:
                tombstone = self._trust.read(item.evidence, Tombstone)
                fits = tombstone.stream == item.stream and tombstone.hours == item.hours
        except StatementInvalid as error:
            raise OrderInvalid(f"an item's evidence is not valid: {error}") from error
        if not fits:
            raise OrderInvalid("an item's evidence is about something else")
        return CheckedItem(item, item.evidence.hash)

    def _carry_out(self, order: Order, envelope: Envelope) -> OrderPlace:
        checked = sorted((self._evidence(item) for item in order.items), key=lambda entry: entry.item.stream)
        bodies: list[tuple[str, str]] = []
        with self._database.transaction() as session:
            for entry in checked:
                stream = entry.item.stream
                store.lock_stream(session, stream)
                known = store.find_stream(session, stream)
                keep_until = add_days(known.upload_until, MARGIN_DAYS) if known else add_days(order.day, UNSEEN_DAYS)
                store.add_mark(
                    session,
                    stream,
                    entry.evidence_hash,
                    erased=entry.erases,
                    hours=" ".join(entry.item.hours),
                    evidence=rules.evidence_json(entry.item.evidence),
                    keep_until=keep_until,
                )
                if entry.erases:
                    bodies += store.bodies_of(session, stream, entry.item.hours)
        self._hook(OrderStep.MARKED)
        self._blobs.erase(bodies)
        self._hook(OrderStep.ERASED)
        place = OrderPlace(order.number, envelope.hash, acknowledged=False)
        with self._database.transaction() as session:
            found = store.last_order(session, lock=True)
            for entry in checked:
                if entry.erases and entry.item.hours:
                    store.remove_hours(session, entry.item.stream, entry.item.hours)
                elif entry.erases:
                    store.remove_stream(session, entry.item.stream)
            if found is None or found.number < order.number:
                store.set_last_order(session, place)
            store.keep_order(session, order.number, order.day, envelope.to_json().decode())
        self._database.empty_write_ahead_log()
        self._hook(OrderStep.COMMITTED)
        return place

    def _acknowledge(self, place: OrderPlace) -> None:
        self._custodian.done(sign(OrderDone(number=place.number, order=place.hash), self._key))
        self._hook(OrderStep.REPORTED)
        with self._database.transaction() as session:
            if store.last_order(session, lock=True) == place:
                store.set_last_order(session, OrderPlace(place.number, place.hash, acknowledged=True))

    def tidy(self) -> None:
        """Drop marks whose day has passed, and bodies that no row names."""
        today = day_of(self._clock())
        with self._database.transaction() as session:
            store.forget_marks(session, today)
            store.forget_orders(session, add_days(today, -self._order_days))
        removed = self._blobs.sweep(self._known, ORPHAN_AGE_S)
        if removed:
            _log.info("orphans-removed", count=removed)

    def _known(self, names: list[str]) -> set[str]:
        with self._database.reading() as session:
            return store.known_blobs(session, names)
