"""What the collector accepts, decided without a database, a network or a clock of its own.

Every doubt is a refusal. A refusal says what is wrong and what comes next; it changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assent.contracts import limits
from assent.contracts.envelope import Envelope
from assent.contracts.ids import is_hex
from assent.contracts.keys import KeyInvalid, PublicKey, b64url_bytes
from assent.contracts.problems import Code, Problem
from assent.contracts.segment import SegmentHeader, header_hash
from assent.contracts.statements import FetchRequest, StreamCertificate, Ticket
from assent.contracts.times import day_of, parse_day, parse_hour, parse_moment
from assent.contracts.wire import BODY_SHA256_FIELD, HEADER_FIELD, SEALED_KEY_FIELD, SIGNATURE_FIELD
from assent.sealing.chain import ChainChecker, ChainItem, ChainState
from assent.sealing.errors import ChainBroken, Fault, HeaderInvalid
from assent.sealing.segments import SEALED_KEY_BYTES, SealedSegment, body_size, parse_header

SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class Stream:
    """What is known of a stream: what its certificates allow together, and where its chain is."""

    stream: str
    stream_key: str
    modality: str
    day: str
    record_until: str
    upload_until: str
    byte_budget: int
    bytes_stored: int
    chain: ChainState


@dataclass(frozen=True)
class Mark:
    """The custodian's signed word that a stream, or hours of it, is closed. `hours` empty: all of it."""

    erased: bool
    hours: tuple[str, ...]
    evidence: str


@dataclass(frozen=True)
class Preamble:
    """What comes before a body, in its one exact form. Signature and place are not checked yet."""

    claim: SegmentHeader
    segment: SealedSegment
    """With an empty body."""

    @property
    def body_length(self) -> int:
        """Exactly how many bytes must follow."""
        return body_size(self.claim.length)


def read_preamble(fields: Mapping[str, str], stream: str, sequence: int) -> Preamble:
    """Read a segment's HTTP fields. Raises Problem (malformed, too-large)."""
    header = _base64url(fields, HEADER_FIELD)
    sealed_key = _base64url(fields, SEALED_KEY_FIELD)
    signature = _base64url(fields, SIGNATURE_FIELD)
    digest = fields.get(BODY_SHA256_FIELD, "")
    if len(digest) != 64 or not is_hex(digest):
        raise Problem(Code.MALFORMED, f"{BODY_SHA256_FIELD} must be 64 lower-case hexadecimal digits")
    if len(sealed_key) != SEALED_KEY_BYTES:
        raise Problem(Code.MALFORMED, f"{SEALED_KEY_FIELD} must hold {SEALED_KEY_BYTES} bytes")
    if len(signature) != SIGNATURE_BYTES:
        raise Problem(Code.MALFORMED, f"{SIGNATURE_FIELD} must hold {SIGNATURE_BYTES} bytes")
    try:
        claim = parse_header(header)
    except HeaderInvalid as error:
        raise Problem(Code.MALFORMED, f"{HEADER_FIELD}: {error}") from error
    if (claim.stream, claim.sequence) != (stream, sequence):
        raise Problem(Code.MALFORMED, f"{HEADER_FIELD} is about another segment than the address")
    if claim.length > limits.MAX_SEGMENT_LENGTH:
        limit = limits.MAX_SEGMENT_LENGTH
        raise Problem(Code.TOO_LARGE, f"a segment has {limit} padded bytes at most", limit_bytes=limit)
    return Preamble(claim, SealedSegment(header, sealed_key, b"", bytes.fromhex(digest), signature))


def check_length(declared: str | None, preamble: Preamble) -> None:
    """Content-Length must be there and say what the header says. Raises Problem."""
    if declared is None:
        raise Problem(Code.LENGTH_REQUIRED, "send Content-Length; chunked transfer is not taken")
    if declared != str(preamble.body_length):
        detail = f"the header announces a body of {preamble.body_length} bytes, Content-Length another"
        raise Problem(Code.BODY_MISMATCH, detail, expected_bytes=preamble.body_length)


def check_open(marks: Iterable[Mark], hour: str | None = None) -> None:
    """Raises Problem (revoked, with evidence) if the whole stream is closed, or the hour, if one is given."""
    for mark in marks:
        if not mark.hours or hour in mark.hours:
            what = "this hour of the stream was erased" if mark.hours else "the stream was closed by the custodian"
            raise Problem(Code.REVOKED, what, evidence=json.loads(mark.evidence))


def check_certificate(certificate: StreamCertificate, stream: str, now: datetime) -> None:
    """Whether a certificate (its signature was checked) may open this stream now. Raises Problem."""
    if certificate.stream != stream:
        raise Problem(Code.CERTIFICATE_INVALID, "the certificate is for another stream than the address")
    try:
        parse_day(certificate.day)
        parse_day(certificate.upload_until)
        parse_hour(certificate.record_until)
        stream_key(certificate.stream_key)
    except (ValueError, KeyInvalid) as error:
        raise Problem(Code.CERTIFICATE_INVALID, "the certificate names a day, hour or key that is none") from error
    check_deadline(certificate.upload_until, now)


def check_extension(known: StreamCertificate, other: StreamCertificate) -> None:
    """All certificates of a stream agree on what it is. Raises Problem."""
    fields = ("stream_key", "modality", "day", "suite", "vault_key")
    if any(getattr(known, field) != getattr(other, field) for field in fields):
        raise Problem(Code.CERTIFICATE_INVALID, "the certificate contradicts an earlier one of this stream")


def check_deadline(upload_until: str, now: datetime) -> None:
    """Segments and records are taken through the day `upload_until`, by the collector's own clock. Raises Problem."""
    if day_of(now) > upload_until:
        raise Problem(Code.CERTIFICATE_INVALID, f"uploads of this stream ended with {upload_until}")


def check_window(stream: Stream, claim: SegmentHeader) -> None:
    """The hour lies in the certificate's day and before the hour when recording must have ended. Raises Problem."""
    if not claim.hour.startswith(stream.day + "T"):
        raise Problem(Code.CERTIFICATE_INVALID, f"this stream may hold the day {stream.day} only")
    if claim.hour >= stream.record_until:
        raise Problem(Code.CERTIFICATE_INVALID, f"recording had to end before the hour {stream.record_until}")


def check_budget(stream: Stream, body_length: int) -> None:
    """Raises Problem when the body does not fit into what is left."""
    left = stream.byte_budget - stream.bytes_stored
    if body_length > left:
        raise Problem(Code.BUDGET_SPENT, f"{left} bytes of the stream's budget are left", left_bytes=left)


def follow(stream: Stream, item: ChainItem) -> ChainState | None:
    """The chain after this item; None when its place is taken already. The signature is checked either way.

    Raises Problem (signature-invalid, out-of-order, conflict).
    """
    checker = ChainChecker(stream.stream, stream_key(stream.stream_key), stream.chain)
    try:
        checker.accept(item)
    except ChainBroken as broken:
        if broken.fault is Fault.REPLAYED:
            return None
        raise _problem_of(broken, stream.chain) from broken
    return checker.state


def out_of_order(chain: ChainState) -> Problem:
    """Says what comes next."""
    detail = f"number {chain.next_sequence} comes next"
    return Problem(Code.OUT_OF_ORDER, detail, expected=chain.next_sequence, previous=chain.previous)


def _problem_of(broken: ChainBroken, chain: ChainState) -> Problem:
    match broken.fault:
        case Fault.FORGED:
            return Problem(Code.SIGNATURE_INVALID, "the stream key did not sign this, or it is of another stream")
        case Fault.MISSING:
            return out_of_order(chain)
        case Fault.AFTER_END:
            return Problem(Code.CONFLICT, "the stream has ended")
        case _:
            detail = "it names another predecessor than the one stored"
            return Problem(Code.CONFLICT, detail, expected=chain.next_sequence, previous=chain.previous)


def check_ticket(ticket: Ticket, request: FetchRequest, now: datetime) -> None:
    """Whether this ticket serves this request now; both signatures were checked. Raises Problem."""
    if request.ticket != ticket.ticket:
        raise Problem(Code.TICKET_INVALID, "the request is for another ticket")
    try:
        ends, asked = parse_moment(ticket.until), parse_moment(request.at)
    except ValueError as error:
        raise Problem(Code.MALFORMED, "a moment in it does not exist") from error
    if now >= ends:
        raise Problem(Code.TICKET_INVALID, "the ticket has ended; open a new lease")
    if abs(now - asked) > timedelta(seconds=limits.SKEW_S):
        detail = f"the request is more than {limits.SKEW_S} seconds old or early"
        raise Problem(Code.STALE, detail)
    if not set(request.streams) <= set(ticket.streams):
        raise Problem(Code.TICKET_INVALID, "the ticket does not name every stream that was asked for")


def stream_key(text: str) -> Ed25519PublicKey:
    """Raises KeyInvalid for anything but an Ed25519 key."""
    key = PublicKey(text).load()
    if not isinstance(key, Ed25519PublicKey):
        raise KeyInvalid("a stream key is an Ed25519 key")
    return key


def segment_id(preamble: Preamble) -> str:
    return header_hash(preamble.segment.header).hex()


def evidence_json(envelope: Envelope) -> str:
    return envelope.to_json().decode()


def _base64url(fields: Mapping[str, str], name: str) -> bytes:
    text = fields.get(name)
    if text is None:
        raise Problem(Code.MALFORMED, f"the field {name} is missing")
    try:
        return b64url_bytes(text)
    except ValueError as error:
        raise Problem(Code.MALFORMED, f"{name} is not base64url") from error
