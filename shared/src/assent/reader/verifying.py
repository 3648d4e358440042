"""What a collector sent about one stream, checked before a single key is asked for. Pure.

The collector may lose things; it cannot invent, exchange, repeat or reorder them unseen. A stream whose certificates
or items contradict what the custodian and the stream key signed is refused as a whole: nothing of it is opened. What is
merely not there (numbers missing, no end record) is reported, and the rest may be opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assent.client.custodian import from_base64
from assent.client.transport import AnswerInvalid
from assent.contracts.envelope import StatementInvalid
from assent.contracts.keys import KeyInvalid, PublicKey
from assent.contracts.rotation import read_lasting
from assent.contracts.segment import SUITE_A1_XW, SegmentHeader, SkipRecord, header_hash
from assent.contracts.statements import StreamCertificate
from assent.contracts.wire import FetchedSegment, FetchedStream, LeasedStream
from assent.sealing.chain import ChainItem, Closed, Finding, examine
from assent.sealing.errors import Fault, SealingError
from assent.sealing.segments import SEALED_KEY_BYTES, SealedSegment, SegmentLink, SignedRecord, body_size, parse_header

HARMLESS: Final = frozenset({Fault.MISSING, Fault.CUT_OFF})
"""Faults that mean: something is not there. All others mean: something is there that should not be."""


class StreamRefused(Exception):
    """What was sent for this stream cannot be what was recorded. Nothing of it was opened."""


@dataclass(frozen=True)
class PendingSegment:
    """All of a segment but its body, with a good signature, in its place in the stream."""

    header: SegmentHeader
    header_bytes: bytes
    sealed_key: bytes
    body_sha256: bytes
    body_length: int

    @property
    def id(self) -> str:
        return header_hash(self.header_bytes).hex()


@dataclass(frozen=True)
class VerifiedStream:
    """A stream as far as it is there. `segments` in order of sequence; `closed` says how it ended, if it did."""

    leased: LeasedStream
    record_until: str
    segments: tuple[PendingSegment, ...]
    skips: tuple[SkipRecord, ...]
    findings: tuple[Finding, ...]
    closed: Closed


def verify_stream(fetched: FetchedStream, leased: LeasedStream, statement_key: PublicKey) -> VerifiedStream:
    """Check certificates, chain, signatures, hours and lengths. Raises StreamRefused with what was wrong."""
    stream_key, record_until = _certified(fetched, leased, statement_key)
    try:
        items, segments = _items(fetched)
        report = examine(items, leased.stream, stream_key)
    except (AnswerInvalid, SealingError) as error:
        raise StreamRefused(f"an item cannot be read: {error}") from error
    for finding in report.findings:
        if finding.fault not in HARMLESS:
            raise StreamRefused(f"an item is {finding.fault.value}")
    pending = []
    for header in report.segments:
        segment = segments[header.sequence]
        if not header.hour.startswith(f"{leased.day}T") or header.hour >= record_until:
            raise StreamRefused("a segment lies outside the time that its certificate allows")
        if len(segment.sealed_key) != SEALED_KEY_BYTES or segment.body_length != body_size(header.length):
            raise StreamRefused("a sealed key or body has an impossible length")
        pending.append(segment)
    return VerifiedStream(leased, record_until, tuple(pending), report.skips, report.findings, report.closed)


def _certified(fetched: FetchedStream, leased: LeasedStream, statement_key: PublicKey) -> tuple[Ed25519PublicKey, str]:
    """The stream key that the custodian certified, and until when. Every certificate must agree with the lease."""
    try:
        certificates = [read_lasting(envelope, StreamCertificate, statement_key) for envelope in fetched.certificates]
    except StatementInvalid as error:
        raise StreamRefused(f"a certificate is not the custodian's: {error}") from error
    if not certificates or fetched.stream != leased.stream:
        raise StreamRefused("there is no certificate of this stream")
    first = certificates[0]
    for certificate in certificates:
        if (certificate.stream, certificate.modality, certificate.day, certificate.suite) != (
            leased.stream,
            leased.modality,
            leased.day,
            SUITE_A1_XW,
        ):
            raise StreamRefused("a certificate is of another stream, modality, day or suite")
        if (certificate.stream_key, certificate.vault_key) != (first.stream_key, first.vault_key):
            raise StreamRefused("two certificates name different keys")
    try:
        key = PublicKey(first.stream_key).load()
    except KeyInvalid as error:
        raise StreamRefused("the certified stream key is none") from error
    if not isinstance(key, Ed25519PublicKey):
        raise StreamRefused("a stream key is an Ed25519 key")
    return key, max(certificate.record_until for certificate in certificates)


def _items(fetched: FetchedStream) -> tuple[list[ChainItem], dict[int, PendingSegment]]:
    """The items as the chain wants them, and the segments by number (of two with one number the chain refuses one)."""
    items: list[ChainItem] = []
    segments: dict[int, PendingSegment] = {}
    for item in fetched.items:
        signature = from_base64(item.signature)
        if isinstance(item, FetchedSegment):
            header, sealed_key = from_base64(item.header), from_base64(item.sealed_key)
            digest = bytes.fromhex(item.body_sha256)
            items.append(_link(header, sealed_key, digest, signature))
            parsed = parse_header(header)
            segments[parsed.sequence] = PendingSegment(parsed, header, sealed_key, digest, item.body_length)
        else:
            items.append(SignedRecord(from_base64(item.record), signature))
    return items, segments


def _link(header: bytes, sealed_key: bytes, body_sha256: bytes, signature: bytes) -> SegmentLink:
    return SealedSegment(header, sealed_key, b"", body_sha256, signature).link
