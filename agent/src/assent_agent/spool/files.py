"""The bytes of the spool's files. The layout is described in `assent_agent.spool`."""

from __future__ import annotations

import re
import struct
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import ValidationError

from assent.contracts.envelope import Signed, StatementInvalid
from assent.contracts.ids import Hash
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.wire import RecordBody
from assent.sealing.segments import SealedSegment, SignedRecord

MAGIC: Final = b"ASSENT-SEGMENT-1\n"
CERTIFICATE: Final = "certificate.json"
POSITION: Final = "position.json"
TEMPORARY: Final = ".tmp"
GONE: Final = ".gone"
STREAM_NAME: Final = re.compile(r"[0-9a-f]{32}")

Kind = Literal["segment", "sending", "skip", "end"]

_NAME: Final = re.compile(r"(\d{10})(?:-(\d{10}))?\.(segment|sending|skip|end)")
_LENGTHS: Final = struct.Struct(">HHHHQ")


class FileDamaged(Exception):
    """A file of the spool does not hold what its name says."""


@dataclass(frozen=True, order=True)
class ItemName:
    """What the name of an item says: numbers `first` to `last` (inclusive; an end record: the number after all)."""

    first: int
    kind: Kind
    last: int

    @property
    def text(self) -> str:
        number = f"{self.first:010d}" if self.kind != "skip" else f"{self.first:010d}-{self.last:010d}"
        return f"{number}.{self.kind}"

    @classmethod
    def parse(cls, text: str) -> ItemName | None:
        """None when the name is not one of an item."""
        match = _NAME.fullmatch(text)
        if match is None or (match[2] is not None) != (match[3] == "skip"):
            return None
        kind: Kind = match[3]  # type: ignore[assignment]
        return cls(int(match[1]), kind, int(match[2] or match[1]))


class Position(Signed):
    """How far the collector has signed that it stored the stream."""

    next_sequence: int = 0
    previous: Hash = FIRST_PREVIOUS
    ended: bool = False

    @classmethod
    def from_bytes(cls, data: bytes) -> Position:
        """Raises FileDamaged."""
        try:
            return cls.parse(data)
        except StatementInvalid as error:
            raise FileDamaged("a position file is damaged") from error


def segment_to_bytes(segment: SealedSegment) -> bytes:
    """Magic, four lengths of 2 bytes (header, sealed key, digest, signature) and one of 8 (body), then the five."""
    parts = (segment.header, segment.sealed_key, segment.body_sha256, segment.signature)
    return b"".join((MAGIC, _LENGTHS.pack(*map(len, parts), len(segment.body)), *parts, segment.body))


def segment_from_bytes(data: bytes) -> SealedSegment:
    """Read what `segment_to_bytes` wrote. Raises FileDamaged when it is cut off or something else."""
    start = len(MAGIC) + _LENGTHS.size
    if len(data) < start or not data.startswith(MAGIC):
        raise FileDamaged("not a segment file")
    lengths = _LENGTHS.unpack_from(data, len(MAGIC))
    if len(data) != start + sum(lengths):
        raise FileDamaged("a segment file is cut off, or goes on after its end")
    parts = []
    for length in lengths:
        parts.append(data[start : start + length])
        start += length
    header, sealed_key, body_sha256, signature, body = parts
    return SealedSegment(header, sealed_key, body, body_sha256, signature)


def record_to_bytes(record: SignedRecord) -> bytes:
    """A record as it travels: JSON of `RecordBody`."""
    return RecordBody(
        record=b64encode(record.record).decode(), signature=b64encode(record.signature).decode()
    ).to_json()


def record_from_bytes(data: bytes) -> SignedRecord:
    """Raises FileDamaged."""
    try:
        body = RecordBody.model_validate_json(data)
        return SignedRecord(b64decode(body.record, validate=True), b64decode(body.signature, validate=True))
    except (ValidationError, ValueError) as error:
        raise FileDamaged("a record file is damaged") from error
