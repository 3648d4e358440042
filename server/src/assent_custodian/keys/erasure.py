"""Erasing: vault keys destroyed, tombstones signed, erase orders queued, in one transaction.

Destroyed means that the row is gone; the night run then destroys the KEK generation under which it was wrapped, so that
no backup of the database opens it either.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from assent.contracts.statements import Tombstone
from assent_custodian.context import Custodian
from assent_custodian.keys.models import Generation, Stream, TombstoneRow, VaultKey
from assent_custodian.orders import service as orders
from assent_service.database import batches

Reason = Literal["retention", "ended"]
"""Why something falls without its person's wish. None: the person wished it."""


def erase(session: Session, custodian: Custodian, streams: Iterable[str], reason: Reason | None = None) -> int:
    """Erase whole streams. Those that are erased already are left as they are. Returns how many were erased now."""
    count = 0
    wanted = sorted(set(streams))
    for some in batches(wanted):
        living = session.scalars(select(Stream).where(Stream.id.in_(some), Stream.erased.is_(None))).all()
        destroy(session, [stream.id for stream in living], custodian.today())
        for stream in living:
            stream.erased = custodian.today()
        bury(session, custodian, {stream.id: () for stream in living}, reason)
        count += len(living)
    return count


def destroy(session: Session, streams: Sequence[str], today: str) -> None:
    """Destroy the vault keys of these streams, and mark the generations for rotation."""
    if not streams:
        return
    session.flush()
    hold(session, streams)
    session.execute(delete(VaultKey).where(VaultKey.stream.in_(streams)))
    clean = (Generation.destroyed.is_(None), Generation.tainted.is_(False))
    session.execute(update(Generation).where(*clean).values(tainted=True, tainted_since=today))


def hold(session: Session, streams: Sequence[str]) -> None:
    """Wait until no release of these streams is under way; new ones wait until this transaction ends.

    In the order in which everybody else locks them, so that nobody waits in a circle.
    """
    for some in batches(sorted(streams)):
        ordered = select(VaultKey.stream).where(VaultKey.stream.in_(some)).order_by(VaultKey.stream)
        session.execute(ordered.with_for_update())


def bury(
    session: Session, custodian: Custodian, graves: Mapping[str, tuple[str, ...]], reason: Reason | None = None
) -> list[str]:
    """Sign a tombstone for each stream, or for the hours of it (none: all), and order the collector to erase.

    Returns their hashes. The same tombstone again orders nothing again.
    """
    session.flush()
    hashes: list[str] = []
    wanted = sorted(graves)
    told = reason if reason == "retention" else None  # the collector learns no more than the day tells it anyway
    for some in batches(wanted):
        signed = {
            envelope.hash: (stream, envelope)
            for stream in some
            for envelope in [custodian.sign(Tombstone(stream=stream, hours=graves[stream], reason=told))]
        }
        there = set(session.scalars(select(TombstoneRow.hash).where(TombstoneRow.hash.in_(signed))))
        for hash_, (stream, envelope) in signed.items():
            if hash_ in there:
                continue
            session.add(
                TombstoneRow(
                    hash=hash_,
                    stream=stream,
                    hours=json.dumps(graves[stream]),
                    envelope=envelope.to_json().decode(),
                    day=custodian.today(),
                    reason=reason,
                    ordered=None,
                )
            )
            orders.queue(session, "erase", stream, envelope, graves[stream])
        hashes += signed
    session.flush()
    return hashes


def tombstones_of(session: Session, streams: Sequence[str]) -> list[str]:
    """The tombstones of those of these streams that are erased as a whole, whatever erased them."""
    session.flush()
    found: list[str] = []
    for some in batches(streams):
        found += session.scalars(
            select(TombstoneRow.hash).where(TombstoneRow.stream.in_(some), TombstoneRow.hours == json.dumps(()))
        )
    return found


def buried_hours(session: Session, streams: Sequence[str]) -> dict[str, frozenset[str] | None]:
    """By stream: the hours under a tombstone, or None for the whole stream. Streams without any are absent."""
    found: dict[str, frozenset[str] | None] = {}
    for some in batches(streams):
        rows = session.execute(select(TombstoneRow.stream, TombstoneRow.hours).where(TombstoneRow.stream.in_(some)))
        for stream, text in rows:
            hours = frozenset(json.loads(text))
            before = found.get(stream, frozenset())
            found[stream] = None if before is None or not hours else before | hours
    return found
