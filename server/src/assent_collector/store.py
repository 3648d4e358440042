"""Reads and writes the collector's rows. Every function works inside the transaction of its session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row, Select, bindparam, delete, exists, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from assent.contracts.statements import StreamCertificate
from assent.sealing.chain import ChainState
from assent_collector.models import certificates, items, kept_orders, marks, orders, streams
from assent_collector.rules import Mark, Stream

Kind = Literal["segment", "skip", "end"]

_NAMED = streams.c.stream == bindparam("name")
_FIND_STREAM = select(streams).where(_NAMED)
_FIND_MARKED_STREAM = select(streams, exists().where(marks.c.stream == streams.c.stream).label("marked")).where(_NAMED)
_ADD_ITEM = insert(items)
_MOVE_ON = (
    update(streams)
    .where(_NAMED)
    .values(
        next_sequence=bindparam("next_sequence"),
        previous=bindparam("previous"),
        closed=bindparam("closed"),
        bytes_stored=streams.c.bytes_stored + bindparam("added"),
    )
)


@dataclass(frozen=True)
class Item:
    """A segment or record as stored. The last five are None for records."""

    stream: str
    number: int
    kind: Kind
    id: str
    exact: bytes
    signature: bytes
    sealed_key: bytes | None = None
    body_sha256: str | None = None
    body_length: int | None = None
    hour: str | None = None
    blob: str | None = None

    def same_as(self, other: Item) -> bool:
        """Whether it is the same upload; where the body is kept does not matter."""
        return (self.id, self.sealed_key, self.body_sha256) == (other.id, other.sealed_key, other.body_sha256)


@dataclass(frozen=True)
class OrderPlace:
    """The last order that was carried out."""

    number: int
    hash: str
    acknowledged: bool


def lock_stream(session: Session, stream: str) -> None:
    """Until the transaction ends, nobody else adds to or closes this stream. (SQLite has one writer anyway.)"""
    if session.get_bind().dialect.name == "postgresql":
        key = int.from_bytes(bytes.fromhex(stream[:16]), "big", signed=True)
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def find_stream(session: Session, stream: str) -> Stream | None:
    row = session.execute(_FIND_STREAM, {"name": stream}).one_or_none()
    return None if row is None else _stream(row)


def find_open_stream(session: Session, stream: str) -> tuple[Stream | None, list[Mark]]:
    """The stream and its marks, in one query as long as there are none: this is asked twice per segment."""
    row = session.execute(_FIND_MARKED_STREAM, {"name": stream}).one_or_none()
    marked = [] if row is not None and not row.marked else find_marks(session, stream)
    return (None if row is None else _stream(row)), marked


def find_marks(session: Session, stream: str) -> list[Mark]:
    found = session.execute(select(marks.c.erased, marks.c.hours, marks.c.evidence).where(marks.c.stream == stream))
    return [Mark(row.erased, tuple(row.hours.split()), row.evidence) for row in found]


def find_certificates(session: Session, stream: str) -> list[str]:
    """Envelopes, the first certificate first."""
    return list(
        session.scalars(
            select(certificates.c.envelope)
            .where(certificates.c.stream == stream)
            .order_by(certificates.c.record_until, certificates.c.hash)
        )
    )


def add_certificate(session: Session, certificate: StreamCertificate, hash_: str, envelope: str) -> None:
    """Store it, and let the stream have what its certificates allow together. Repeating changes nothing."""
    known = find_stream(session, certificate.stream)
    if known is None:
        session.execute(
            insert(streams).values(
                stream=certificate.stream,
                stream_key=certificate.stream_key,
                modality=certificate.modality.value,
                day=certificate.day,
                record_until=certificate.record_until,
                upload_until=certificate.upload_until,
                byte_budget=certificate.byte_budget,
                bytes_stored=0,
                next_sequence=ChainState().next_sequence,
                previous=ChainState().previous,
                closed=ChainState().closed,
            )
        )
    else:
        session.execute(
            update(streams)
            .where(streams.c.stream == certificate.stream)
            .values(
                record_until=max(known.record_until, certificate.record_until),
                upload_until=max(known.upload_until, certificate.upload_until),
                byte_budget=max(known.byte_budget, certificate.byte_budget),
            )
        )
    values = {
        "stream": certificate.stream,
        "hash": hash_,
        "record_until": certificate.record_until,
        "envelope": envelope,
    }
    insert_once(session, certificates, values)


def find_item(session: Session, stream: str, number: int) -> Item | None:
    query = select(items).where(items.c.stream == stream, items.c.number == number)
    row = session.execute(query).one_or_none()
    return None if row is None else _item(row)


def add_item(session: Session, item: Item, after: ChainState) -> None:
    """Store the next item of a stream and move its chain on."""
    session.execute(_ADD_ITEM, item.__dict__)
    values = {
        "next_sequence": after.next_sequence,
        "previous": after.previous,
        "closed": after.closed,
        "name": item.stream,
        "added": item.body_length or 0,
    }
    session.execute(_MOVE_ON, values)


def replace_blob(session: Session, item: Item) -> None:
    """Let the stored segment name another body, the same bytes under a new name."""
    place = (items.c.stream == item.stream, items.c.number == item.number)
    session.execute(update(items).where(*place).values(blob=item.blob))


def items_of(session: Session, stream: str) -> Iterator[Item]:
    """All items of a stream, in their order."""
    for row in session.execute(select(items).where(items.c.stream == stream).order_by(items.c.number)):
        yield _item(row)


def locate(session: Session, segments: Sequence[str]) -> dict[str, tuple[str, str, str, int]]:
    """(stream, day, blob, body length) of those of these segment ids that are stored."""
    query = (
        select(items.c.id, items.c.stream, streams.c.day, items.c.blob, items.c.body_length)
        .join(streams, streams.c.stream == items.c.stream)
        .where(items.c.id.in_(segments), items.c.kind == "segment")
    )
    return {row.id: (row.stream, row.day, row.blob, row.body_length) for row in session.execute(query)}


def known_blobs(session: Session, names: Sequence[str]) -> set[str]:
    return set(session.scalars(select(items.c.blob).where(items.c.blob.in_(names))))


# --- orders ---------------------------------------------------------------------------------------


def add_mark(
    session: Session, stream: str, evidence_hash: str, *, erased: bool, hours: str, evidence: str, keep_until: str
) -> None:
    """Repeating changes nothing."""
    values = {
        "stream": stream,
        "evidence_hash": evidence_hash,
        "erased": erased,
        "hours": hours,
        "evidence": evidence,
        "keep_until": keep_until,
    }
    insert_once(session, marks, values)


def bodies_of(session: Session, stream: str, hours: Sequence[str]) -> list[tuple[str, str]]:
    """(day, blob) of all segments of a stream, or of those in these hours."""
    query = (
        select(streams.c.day, items.c.blob)
        .join(streams, streams.c.stream == items.c.stream)
        .where(items.c.stream == stream, items.c.kind == "segment")
    )
    if hours:
        query = query.where(items.c.hour.in_(hours))
    return [(row.day, row.blob) for row in session.execute(query)]


def remove_stream(session: Session, stream: str) -> None:
    """Everything but the marks."""
    for table in (items, certificates, streams):
        session.execute(delete(table).where(table.c.stream == stream))


def remove_hours(session: Session, stream: str, hours: Sequence[str]) -> None:
    session.execute(delete(items).where(items.c.stream == stream, items.c.hour.in_(hours)))


def forget_marks(session: Session, today: str) -> None:
    """Drop the marks whose day has passed."""
    session.execute(delete(marks).where(marks.c.keep_until < today))


def last_order(session: Session, *, lock: bool = False) -> OrderPlace | None:
    query: Select[Any] = select(orders).where(orders.c.place == 1)
    row = session.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else OrderPlace(row.number, row.hash, row.acknowledged)


def set_last_order(session: Session, place: OrderPlace) -> None:
    values = {"number": place.number, "hash": place.hash, "acknowledged": place.acknowledged}
    if last_order(session) is None:
        session.execute(insert(orders).values(place=1, **values))
    else:
        session.execute(update(orders).where(orders.c.place == 1).values(**values))


def keep_order(session: Session, number: int, day: str, envelope: str) -> None:
    """Repeating changes nothing."""
    insert_once(session, kept_orders, {"number": number, "day": day, "envelope": envelope})


def kept_above(session: Session, number: int, most: int) -> list[tuple[int, str]]:
    """(number, envelope) of kept orders above `number`, `most` at most, in their order."""
    query = select(kept_orders.c.number, kept_orders.c.envelope).where(kept_orders.c.number > number)
    return [(row.number, row.envelope) for row in session.execute(query.order_by(kept_orders.c.number).limit(most))]


def forget_orders(session: Session, before: str) -> None:
    """Drop kept orders of days before this one."""
    session.execute(delete(kept_orders).where(kept_orders.c.day < before))


def _stream(row: Row[Any]) -> Stream:
    return Stream(
        stream=row.stream,
        stream_key=row.stream_key,
        modality=row.modality,
        day=row.day,
        record_until=row.record_until,
        upload_until=row.upload_until,
        byte_budget=row.byte_budget,
        bytes_stored=row.bytes_stored,
        chain=ChainState(row.next_sequence, row.previous, row.closed),
    )


def _item(row: Row[Any]) -> Item:
    return Item(**row._mapping)


def insert_once(session: Session, table: Any, values: dict[str, Any]) -> None:
    """Repeating changes nothing: the first row of a key stays."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    session.execute(dialect.insert(table).values(**values).on_conflict_do_nothing())
