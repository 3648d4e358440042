"""Fetching: ciphertext, against a ticket and its job's signature. Nothing about a ticket is kept; how much leaves is
counted before it does.

A listing is written stream by stream and a body piece by piece, so that memory does not grow with what is asked for.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from assent.contracts.envelope import Envelope, StatementInvalid, read
from assent.contracts.keys import PublicKey
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import FetchRequest, Ticket
from assent.contracts.wire import GONE, FetchBody, FetchedRecord, FetchedSegment, FetchedStream
from assent_collector import rules, store
from assent_collector.blobs import Blobs
from assent_collector.reports import Reports
from assent_collector.store import Item
from assent_collector.trust import Trust
from assent_service.database import Database

PIECE_BYTES = 512 * 1024
_PREFIX = struct.Struct(">32sQ")


@dataclass(frozen=True)
class Body:
    """One body of an answer: where it is, or nowhere."""

    segment: str
    day: str = ""
    blob: str | None = None
    length: int = GONE


class Fetches:
    """Answers tickets. Thread-safe; every method and every step of an iterator blocks on disk and database."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        trust: Trust,
        reports: Reports,
        clock: Callable[[], datetime],
        behind: Path,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._trust = trust
        self._reports = reports
        self._clock = clock
        self._behind = behind

    def streams(self, body: FetchBody) -> Iterator[bytes]:
        """A FetchAnswer in pieces. Raises Problem, before the first piece."""
        ticket, request = self._check(body)
        asked = list(dict.fromkeys(request.streams or ticket.streams))
        here = []
        with self._database.reading() as session:
            for name in asked:
                stream = store.find_stream(session, name)
                if stream is not None and stream.day != ticket.day:
                    raise Problem(Code.TICKET_INVALID, "the ticket names a stream of another day than its own")
                if stream is not None:
                    here.append(name)
        self._reports.handed_out(listings=len(here))
        return self._listing(here)

    def bodies(self, body: FetchBody) -> Iterator[bytes]:
        """The bodies asked for, in pieces. Raises Problem, before the first piece."""
        ticket, request = self._check(body)
        if not request.segments:
            raise Problem(Code.MALFORMED, "the request names no segments")
        with self._database.reading() as session:
            found = store.locate(session, request.segments)
        for stream, day, _, _ in found.values():
            if stream not in ticket.streams or day != ticket.day:
                raise Problem(
                    Code.TICKET_INVALID, "a segment that was asked for is not of the ticket's streams and day"
                )
        wanted = []
        for segment in request.segments:
            if segment in found:
                _, day, blob, length = found[segment]
                wanted.append(Body(segment, day, blob, length))
            else:
                wanted.append(Body(segment))
        self._reports.handed_out(bodies=len(found))
        return self._pieces(wanted)

    def _check(self, body: FetchBody) -> tuple[Ticket, FetchRequest]:
        try:
            ticket = self._trust.read(body.ticket, Ticket)
            request = read(body.request, FetchRequest, PublicKey(ticket.job_signing_key))
        except StatementInvalid as error:
            raise Problem(Code.TICKET_INVALID, str(error)) from error
        rules.check_ticket(ticket, request, self._clock())
        if self._behind.exists():
            raise Problem(Code.CLOSED, "this collector was restored, and has not yet carried out every order since")
        return ticket, request

    def _listing(self, asked: list[str]) -> Iterator[bytes]:
        yield b'{"streams":['
        first = True
        for name in asked:
            with self._database.reading() as session:
                if store.find_stream(session, name) is None:
                    continue
                fetched = FetchedStream(
                    stream=name,
                    certificates=tuple(Envelope.from_json(e) for e in store.find_certificates(session, name)),
                    items=tuple(_fetched(item) for item in store.items_of(session, name)),
                )
            yield (b"" if first else b",") + fetched.to_json()
            first = False
        yield b"]}"

    def _pieces(self, wanted: list[Body]) -> Iterator[bytes]:
        for body in wanted:
            file = self._blobs.open(body.day, body.blob) if body.blob is not None else None
            segment = bytes.fromhex(body.segment)
            if file is None:
                yield _PREFIX.pack(segment, GONE)
                continue
            with file:
                piece = _PREFIX.pack(segment, body.length) + file.read(PIECE_BYTES)
                while piece:
                    yield piece
                    piece = file.read(PIECE_BYTES)


def _fetched(item: Item) -> FetchedSegment | FetchedRecord:
    exact, signature = _b64(item.exact), _b64(item.signature)
    if item.sealed_key is None or item.body_sha256 is None or item.body_length is None:
        return FetchedRecord(record=exact, signature=signature)
    return FetchedSegment(
        header=exact,
        sealed_key=_b64(item.sealed_key),
        body_sha256=item.body_sha256,
        body_length=item.body_length,
        signature=signature,
    )


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
