"""Uploads: checked before a byte of the body is read, stored exactly once, answered once a power cut cannot undo it.

The order of a segment's writes: body to a temporary file while it is hashed, digest checked, renamed, file fsynced,
folder fsynced, row committed, answer signed. A crash before the commit leaves a body that no row names, which the sweep
removes; a crash after it leaves a stored segment, and the same segment sent again gets the same answer. As long as it
is in doubt whether the row was committed the body stays, and no answer is given for a body that is not there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope, StatementInvalid, read_unverified, sign
from assent.contracts.keys import SigningKey
from assent.contracts.problems import Code, Problem
from assent.contracts.segment import SkipRecord, record_hash
from assent.contracts.statements import Stored, StreamCertificate
from assent.contracts.wire import RecordBody, StreamState
from assent.sealing.chain import ChainItem, ChainState
from assent.sealing.errors import RecordInvalid
from assent.sealing.segments import SignedRecord, parse_record
from assent_collector import rules, store
from assent_collector.blobs import Blobs, Hook, Incoming, Step, no_hook
from assent_collector.rules import Preamble, Stream
from assent_collector.store import Item
from assent_collector.trust import Trust
from assent_service.database import Database, is_full

_log = structlog.get_logger("assent.collector")


@dataclass(frozen=True)
class Admission:
    """An upload whose preamble was accepted: what will be stored, and the chain before and after it."""

    item: Item
    link: ChainItem
    day: str
    before: ChainState
    after: ChainState


class Receiving:
    """A body on its way in: hashed and written as it comes."""

    def __init__(self, incoming: Incoming) -> None:
        self.incoming = incoming
        self.length = 0
        self._digest = hashlib.sha256()

    def write(self, pieces: Sequence[bytes]) -> None:
        """Raises OSError."""
        for piece in pieces:
            self.length += len(piece)
            self._digest.update(piece)
            self.incoming.write(piece)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class Uploads:
    """Takes certificates, segments and records. Thread-safe; every method blocks on disk and database."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        trust: Trust,
        *,
        key: SigningKey,
        clock: Callable[[], datetime],
        hook: Hook = no_hook,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._trust = trust
        self._key = key
        self._clock = clock
        self._hook = hook

    def register(self, stream: str, envelope: Envelope) -> StreamState:
        """Take a certificate, the first of a stream or an extension, and say where the stream is. Raises Problem."""
        try:
            certificate = self._trust.read(envelope, StreamCertificate)
        except StatementInvalid as error:
            raise Problem(Code.CERTIFICATE_INVALID, f"the custodian did not sign it: {error}") from error
        rules.check_certificate(certificate, stream, self._clock())
        with self._database.transaction() as session:
            store.lock_stream(session, stream)
            rules.check_open(store.find_marks(session, stream))
            for other in store.find_certificates(session, stream)[:1]:
                rules.check_extension(read_unverified(Envelope.from_json(other), StreamCertificate), certificate)
            store.add_certificate(session, certificate, envelope.hash, rules.evidence_json(envelope))
            found = _need(store.find_stream(session, stream))
        chain = found.chain
        return StreamState(
            next_sequence=chain.next_sequence, previous=chain.previous, ended=chain.closed != "not closed"
        )

    def admit(self, preamble: Preamble, content_length: str | None) -> Admission | Envelope:
        """Check everything that can be checked without the body. An answer means that it is stored already.

        Raises Problem.
        """
        claim, segment = preamble.claim, preamble.segment
        item = Item(
            stream=claim.stream,
            number=claim.sequence,
            kind="segment",
            id=rules.segment_id(preamble),
            exact=segment.header,
            signature=segment.signature,
            sealed_key=segment.sealed_key,
            body_sha256=segment.body_sha256.hex(),
            body_length=preamble.body_length,
            hour=claim.hour,
        )
        with self._database.reading() as session:
            stream, after = self._check(session, item, segment.link)
            if after is None and not self._lost(session, item, stream.day):
                return self._answer(item)
        if after is not None:
            rules.check_window(stream, claim)
        rules.check_length(content_length, preamble)
        return Admission(item, segment.link, stream.day, stream.chain, after or stream.chain)

    def begin(self) -> Receiving:
        """Make room for a body. Raises OSError."""
        return Receiving(self._blobs.begin())

    def finish(self, admission: Admission, receiving: Receiving, rest: Sequence[bytes]) -> Envelope:
        """Store what was received, if it is what was announced, and answer. Raises Problem; then nothing is stored, nor
        when a disk was full.

        Anything else that it raises leaves unknown whether it was stored: the same segment may be sent again.
        """
        item, incoming = admission.item, receiving.incoming
        try:
            receiving.write(rest)
            if receiving.length != item.body_length or receiving.sha256 != item.body_sha256:
                raise Problem(Code.BODY_MISMATCH, "the body is not the one that the stream key signed")
            item = replace(item, blob=incoming.keep(admission.day))
        except BaseException:
            incoming.discard()
            raise
        try:
            added = self._database.together(lambda session: self._commit(session, item, admission))
            self._hook(Step.COMMITTED)
        except Exception as error:
            if isinstance(error, Problem) or is_full(error):
                incoming.discard()  # it was refused before the commit: no row names this body, nor ever will
                raise
            # A commit may land after this look, however long after: the body is left to the sweep.
            if not self._stored(item):
                raise
            _log.warning("commit-reported-lost-but-stored", kind=type(error).__name__)
            added = True
        if not added:
            incoming.discard()
        return self._answer(item)

    def record(self, stream: str, number: int, body: RecordBody) -> Envelope:
        """Take a skip or end record. Raises Problem."""
        signed = _signed_record(body)
        try:
            claim = parse_record(signed.record)
        except RecordInvalid as error:
            raise Problem(Code.MALFORMED, f"record: {error}") from error
        place = claim.from_sequence if isinstance(claim, SkipRecord) else claim.next_sequence
        if (claim.stream, place) != (stream, number):
            raise Problem(Code.MALFORMED, "the record is about another place than the address")
        record_id = record_hash(signed.record).hex()
        item = Item(stream, number, claim.kind, record_id, signed.record, signed.signature)
        self._database.together(lambda session: self._add(session, item, signed))
        return self._answer(item)

    def _check(self, session: Session, item: Item, link: ChainItem) -> tuple[Stream, ChainState | None]:
        """The stream, and its chain after this item: None if exactly this item is stored already. Raises Problem."""
        found, marks = store.find_open_stream(session, item.stream)
        rules.check_open(marks)
        stream = _need(found)
        after = rules.follow(stream, link)
        rules.check_open(marks, item.hour)
        if after is None:
            stored = store.find_item(session, item.stream, item.number)
            if stored is None:
                raise rules.out_of_order(stream.chain)
            if not item.same_as(stored):
                raise Problem(Code.CONFLICT, "something else is stored at this place, and stays")
            return stream, None
        rules.check_deadline(stream.upload_until, self._clock())
        rules.check_budget(stream, item.body_length or 0)
        return stream, after

    def _add(self, session: Session, item: Item, link: ChainItem, admission: Admission | None = None) -> bool:
        """Store the item unless it is stored already, body and all; False then. Raises Problem.

        What was admitted is not checked again as long as nobody else has moved the chain.
        """
        store.lock_stream(session, item.stream)
        after: ChainState | None = None
        if admission is not None:
            found, marks = store.find_open_stream(session, item.stream)
            rules.check_open(marks, item.hour)
            stream = _need(found)
            if admission.after != admission.before == stream.chain:
                rules.check_budget(stream, item.body_length or 0)
                after = admission.after
        if after is None:
            stream, after = self._check(session, item, link)
        if after is None:
            if item.blob is None or not self._lost(session, item, stream.day):
                return False
            _log.warning("lost-body-stored-again")
            store.replace_blob(session, item)
            return True
        store.add_item(session, item, after)
        return True

    def _commit(self, session: Session, item: Item, admission: Admission) -> bool:
        self._hook(Step.COMMITTING)
        return self._add(session, item, admission.link, admission)

    def _stored(self, item: Item) -> bool:
        """After a commit that failed: whether it was stored anyway, as far as can be seen now."""
        with self._database.reading() as session:
            stored = store.find_item(session, item.stream, item.number)
        return stored is not None and stored.blob == item.blob

    def _lost(self, session: Session, item: Item, day: str) -> bool:
        """Whether the row of this segment names a body that is not there."""
        stored = store.find_item(session, item.stream, item.number)
        if stored is None or stored.blob is None:
            return False
        body = self._blobs.open(day, stored.blob)
        if body is None:
            return True
        body.close()
        return False

    def _answer(self, item: Item) -> Envelope:
        return sign(Stored(stream=item.stream, kind=item.kind, hash=item.id), self._key)


def _need(stream: Stream | None) -> Stream:
    if stream is None:
        raise Problem(Code.CERTIFICATE_INVALID, "the stream is unknown here: send its certificate first")
    return stream


def _signed_record(body: RecordBody) -> SignedRecord:
    try:
        return SignedRecord(
            base64.b64decode(body.record, validate=True), base64.b64decode(body.signature, validate=True)
        )
    except binascii.Error as error:
        raise Problem(Code.MALFORMED, "record and signature must be base64") from error
