"""The collector's routes, one method each. The collector's word counts only where it is signed, and about itself.

"Stored" is believed when the collector's key signed exactly this segment's id or this record's hash. "Revoked" is
believed only with the custodian's signed evidence for this stream; without it the refusal counts for nothing. What is
fetched is ciphertext: `fetch_*` check its form and bounds, the reader checks everything else.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final, Literal, Self, TypeVar

import httpx2

from assent.client.custodian import Clock, to_base64
from assent.client.transport import CHUNK_BYTES, AnswerInvalid, Refused, Transport, now_utc
from assent.contracts import limits
from assent.contracts.envelope import Envelope, Signed, StatementInvalid, read, read_unverified, sign
from assent.contracts.keys import PublicKey, SigningKey, b64url
from assent.contracts.problems import Code
from assent.contracts.rotation import read_lasting, statement_key_of
from assent.contracts.segment import SkipRecord, header_hash, record_hash
from assent.contracts.statements import (
    Directory,
    FetchRequest,
    Revocation,
    Stored,
    StreamCertificate,
    Ticket,
    Tombstone,
)
from assent.contracts.times import moment
from assent.contracts.wire import (
    BODY_SHA256_FIELD,
    GONE,
    HEADER_FIELD,
    SEALED_KEY_FIELD,
    SIGNATURE_FIELD,
    FetchAnswer,
    FetchBody,
    RecordBody,
    StreamState,
)
from assent.sealing.segments import parse_header, parse_record

MAX_LISTING_BYTES: Final = 128 * 1024 * 1024
MAX_BODY_BYTES: Final = limits.MAX_SEGMENT_LENGTH + limits.BODY_OVERHEAD

_LENGTH = struct.Struct(">Q")
M = TypeVar("M", bound=Signed)


class StreamRevoked(Refused):
    """The custodian closed this stream for good; `evidence` is its signed word for it, already checked.

    `hours`: empty when the whole stream is closed, otherwise the hours that are erased (the one just sent among them).
    """

    def __init__(self, refused: Refused, evidence: Envelope, hours: tuple[str, ...]) -> None:
        super().__init__(refused.problem)
        self.evidence = evidence
        self.hours = hours


class CollectorClient:
    """Talks to one collector. No account, cookie or token of a person is ever sent."""

    def __init__(
        self,
        url: str,
        collector_key: PublicKey,
        statement_key: PublicKey,
        *,
        clock: Clock = now_utc,
        timeout_s: float = 60.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """Both keys are from the directory: who may say "stored", and who may say "revoked"."""
        self.transport = Transport(url, timeout_s=timeout_s, transport=transport)
        self._collector_key = collector_key
        self._statement_key = statement_key
        self._clock = clock

    @classmethod
    def of(
        cls,
        directory: Directory,
        *,
        clock: Clock = now_utc,
        timeout_s: float = 60.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> Self:
        """A client for the collector that the directory names."""
        keys = PublicKey(directory.collector_key), statement_key_of(directory)
        return cls(directory.collector_url, *keys, clock=clock, timeout_s=timeout_s, transport=transport)

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the agent ----------------------------------------------------------------------------------------------------

    def announce(self, certificate: Envelope) -> StreamState:
        """Show a stream's certificate (again, or an extension); returns where the collector is in the stream.

        The state is not signed: use it to know what to send next, never to delete anything.
        Raises StreamRevoked, and as `Transport.request`.
        """
        try:
            stream = read_unverified(certificate, StreamCertificate).stream
        except StatementInvalid as error:
            raise ValueError("not a stream certificate") from error
        with self._revocation_of(stream):
            return _parse(
                StreamState, self.transport.request("PUT", f"/v1/streams/{stream}", body=certificate.to_json())
            )

    def send_segment(
        self,
        *,
        header: bytes,
        sealed_key: bytes,
        body: bytes | BinaryIO,
        body_sha256: bytes,
        signature: bytes,
    ) -> Stored:
        """Send one segment; returns only with the collector's signature over its id: now it may be deleted here.

        `body`: bytes, or a binary file that is read once from its current position to its end. Stream and sequence
        number are those of the header. The same segment may be sent again. Raises OutOfOrder, Refused (conflict and
        others), StreamRevoked, Unreachable, AnswerInvalid; HeaderInvalid when `header` is none.
        """
        parsed = parse_header(header)
        length = len(body) if isinstance(body, bytes) else _remaining(body)
        fields = {
            HEADER_FIELD: b64url(header),
            SEALED_KEY_FIELD: b64url(sealed_key),
            BODY_SHA256_FIELD: body_sha256.hex(),
            SIGNATURE_FIELD: b64url(signature),
            "Content-Type": "application/octet-stream",
            "Content-Length": str(length),
        }
        target = f"/v1/streams/{parsed.stream}/segments/{parsed.sequence}"
        content: bytes | Iterator[bytes] = body if isinstance(body, bytes) else _pieces(body)
        with self._revocation_of(parsed.stream, parsed.hour):
            answer = self.transport.request("PUT", target, body=content, headers=fields)
        return self._stored(answer, parsed.stream, "segment", header_hash(header).hex())

    def send_record(self, *, record: bytes, signature: bytes) -> Stored:
        """Send a skip or end record (exact bytes); returns as `send_segment`. Raises RecordInvalid when it is none."""
        parsed = parse_record(record)
        sequence = parsed.from_sequence if isinstance(parsed, SkipRecord) else parsed.next_sequence
        body = RecordBody(record=to_base64(record), signature=to_base64(signature)).to_json()
        with self._revocation_of(parsed.stream):
            answer = self.transport.request("PUT", f"/v1/streams/{parsed.stream}/records/{sequence}", body=body)
        return self._stored(answer, parsed.stream, parsed.kind, record_hash(record).hex())

    def _stored(self, answer: bytes, stream: str, kind: Literal["segment", "skip", "end"], expected: str) -> Stored:
        try:
            stored = read(Envelope.from_json(answer), Stored, self._collector_key)
        except StatementInvalid as error:
            raise AnswerInvalid(f"nothing the collector signed says that this was stored: {error}") from error
        if (stored.stream, stored.kind, stored.hash) != (stream, kind, expected):
            raise AnswerInvalid("the collector signed that it stored something else")
        return stored

    @contextmanager
    def _revocation_of(self, stream: str, hour: str | None = None) -> Iterator[None]:
        """Turn a `revoked` refusal into StreamRevoked if its evidence holds, into AnswerInvalid if not."""
        try:
            yield
        except Refused as refused:
            if refused.code is not Code.REVOKED:
                raise
            evidence, hours = self._evidence(refused, stream, hour)
            raise StreamRevoked(refused, evidence, hours) from refused

    def _evidence(self, refused: Refused, stream: str, hour: str | None) -> tuple[Envelope, tuple[str, ...]]:
        hours: tuple[str, ...] = ()
        try:
            envelope = Envelope.from_json(json.dumps(refused.problem.members.get("evidence")))
            if envelope.payloadType == Tombstone.payload_type():
                tombstone = read_lasting(envelope, Tombstone, self._statement_key)
                closed, hours = tombstone.stream, tombstone.hours
            else:
                closed = read_lasting(envelope, Revocation, self._statement_key).stream
        except StatementInvalid as error:
            raise AnswerInvalid("the collector says revoked without the custodian's word for it") from error
        if closed != stream or (hours and hour not in hours):
            raise AnswerInvalid("the collector says revoked with the custodian's word about something else")
        return envelope, hours

    # --- the reader ---------------------------------------------------------------------------------------------------

    def fetch_streams(self, ticket: Envelope, job_key: SigningKey, streams: Sequence[str] = ()) -> FetchAnswer:
        """Certificates, headers, sealed keys and records of streams of a ticket (all of them if none is named).

        Nothing of it is verified but that no stream is there twice or unasked. What the collector lacks is absent.
        """
        answer = _parse(
            FetchAnswer,
            self.transport.request(
                "POST",
                "/v1/fetch/streams",
                body=self._fetch_body(ticket, job_key, streams=tuple(streams)),
                max_bytes=MAX_LISTING_BYTES,
            ),
        )
        names = [stream.stream for stream in answer.streams]
        asked = set(streams) or set(_ticket_of(ticket).streams)
        if len(set(names)) != len(names) or not asked.issuperset(names):
            raise AnswerInvalid("the collector sent streams twice, or streams that were not asked for")
        return answer

    def fetch_bodies(
        self, ticket: Envelope, job_key: SigningKey, segments: Sequence[tuple[str, int]]
    ) -> Iterator[tuple[str, bytes | None]]:
        """Yield (segment id, body) in the order asked, one at a time; None where the body is no longer there.

        `segments`: up to 64 pairs of segment id (hexadecimal) and the exact length of its body, which bounds memory.
        Raises AnswerInvalid when the answer is cut off, out of order, of another length, or goes on.
        """
        body = self._fetch_body(ticket, job_key, segments=tuple(segment for segment, _ in segments))
        with self.transport.stream("POST", "/v1/fetch/bodies", body=body) as pieces:
            source = _Exactly(pieces)
            for segment, expected in segments:
                if source.read(32).hex() != segment:
                    raise AnswerInvalid("the collector sent another segment than the one asked for")
                (length,) = _LENGTH.unpack(source.read(_LENGTH.size))
                if length == GONE:
                    yield segment, None
                    continue
                if length != expected or length > MAX_BODY_BYTES:
                    raise AnswerInvalid("a body is not as long as its header says")
                yield segment, source.read(length)
            source.end()

    def _fetch_body(
        self, ticket: Envelope, job_key: SigningKey, *, streams: tuple[str, ...] = (), segments: tuple[str, ...] = ()
    ) -> bytes:
        request = FetchRequest(
            ticket=_ticket_of(ticket).ticket, streams=streams, segments=segments, at=moment(self._clock())
        )
        return FetchBody(ticket=ticket, request=sign(request, job_key)).to_json()


class _Exactly:
    """Reads exact numbers of bytes out of pieces of any size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, count: int) -> bytes:
        out = bytearray(self._rest[:count])
        self._rest = self._rest[count:]
        while len(out) < count:
            piece = next(self._pieces, None)
            if piece is None:
                raise AnswerInvalid("the collector's answer is cut off")
            needed = count - len(out)
            out += piece[:needed]
            self._rest = piece[needed:]
        return bytes(out)

    def end(self) -> None:
        if self._rest or next(self._pieces, None):
            raise AnswerInvalid("the collector's answer goes on after its end")


def body_digest(body: BinaryIO) -> bytes:
    """SHA-256 of a file from its current position, which is restored."""
    at = body.tell()
    digest = hashlib.sha256()
    for piece in _pieces(body):
        digest.update(piece)
    body.seek(at)
    return digest.digest()


def _pieces(body: BinaryIO) -> Iterator[bytes]:
    while piece := body.read(CHUNK_BYTES):
        yield piece


def _remaining(body: BinaryIO) -> int:
    at = body.tell()
    end = body.seek(0, io.SEEK_END)
    body.seek(at)
    return end - at


def _ticket_of(envelope: Envelope) -> Ticket:
    try:
        return read_unverified(envelope, Ticket)
    except StatementInvalid as error:
        raise ValueError("not a ticket") from error


def _parse(kind: type[M], data: bytes) -> M:
    try:
        return kind.parse(data)
    except StatementInvalid as error:
        raise AnswerInvalid(f"the collector's answer cannot be read: {error}") from error
