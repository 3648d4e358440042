"""The signed parts of a segment that the collector may see, and the bytes that each signature covers.

A header holds a random stream id, a sequence number, the hash of the header before, an hour and a padded length.
No person, device or receipt is in it. Header bytes are written once and never re-serialised: the hash of the exact
bytes (`header_hash`) is the segment's id.

Headers form a hash chain. A skip record names the last header it skips, so the chain goes on over the hole; an end
record names the last header of all.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from assent.contracts.ids import Hash, StreamId
from assent.contracts.times import Hour

SUITE_A1_XW: Final = "A1-XW"
FIRST_PREVIOUS: Final = "0" * 64
"""What the first link of a stream names as the hash before it."""

HEADER_TAG: Final = b"assent/header/v1\0"
BODY_TAG: Final = b"assent/body/v1\0"
SEAL_TAG: Final = b"assent/seal/v1\0"
SEGMENT_TAG: Final = b"assent/segment/v1\0"
RECORD_TAG: Final = b"assent/record/v1\0"
RELEASE_TAG: Final = b"assent/release/v1\0"


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    def to_bytes(self) -> bytes:
        """The exact bytes to sign and store: compact JSON, keys in field order. Written once."""
        return json.dumps(self.model_dump(), separators=(",", ":"), ensure_ascii=False).encode()


class SegmentHeader(_Strict):
    """What stands in the clear about a segment. `length` is the padded plaintext length in bytes."""

    v: Literal[1] = 1
    suite: Literal["A1-XW"] = "A1-XW"
    stream: StreamId
    sequence: Annotated[int, Field(ge=0, lt=2**31)]
    previous: Hash
    hour: Hour
    length: Annotated[int, Field(gt=0, le=64 * 1024 * 1024)]


class SkipRecord(_Strict):
    """Sequence numbers `from_sequence` to `to_sequence` (inclusive) will never be sent.

    `last_skipped` is the header hash of the last one skipped, so that the next segment's `previous` can be checked;
    for numbers that were lost before a header existed it repeats `previous`.
    """

    v: Literal[1] = 1
    kind: Literal["skip"] = "skip"
    stream: StreamId
    from_sequence: Annotated[int, Field(ge=0, lt=2**31)]
    to_sequence: Annotated[int, Field(ge=0, lt=2**31)]
    previous: Hash
    last_skipped: Hash
    reason: Literal["forgotten", "lost"]


class EndRecord(_Strict):
    """The stream has `next_sequence` numbers and no more. Without one the reader says "not closed"."""

    v: Literal[1] = 1
    kind: Literal["end"] = "end"
    stream: StreamId
    next_sequence: Annotated[int, Field(ge=0, le=2**31)]
    previous: Hash
    how: Literal["clean", "crashed"]


def header_hash(header: bytes) -> bytes:
    """SHA-256 of the tagged exact header bytes, 32 bytes: the segment's id."""
    return hashlib.sha256(HEADER_TAG + header).digest()


def record_hash(record: bytes) -> bytes:
    """SHA-256 of the tagged exact record bytes, 32 bytes."""
    return hashlib.sha256(RECORD_TAG + record).digest()


def segment_signed_bytes(header: bytes, sealed_sha256: bytes, body_sha256: bytes) -> bytes:
    """What the stream key signs for a segment: tag, segment id, SHA-256 of sealed key, SHA-256 of body."""
    return SEGMENT_TAG + header_hash(header) + sealed_sha256 + body_sha256


def record_signed_bytes(record: bytes) -> bytes:
    """What the stream key signs for a skip or end record."""
    return RECORD_TAG + record_hash(record)


def chain_after_skip(record: SkipRecord) -> str:
    """The hash that the next link must name as `previous`: that of the last header skipped.

    The skip record itself is not in the chain of hashes: segments that were sealed after the forgotten ones
    already name the forgotten header, and stay valid.
    """
    return record.last_skipped
