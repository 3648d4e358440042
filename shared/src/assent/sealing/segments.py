"""Segments: sealed when they are closed, checked before they are believed, opened whole or not at all.

A segment is an exact header, the data key sealed to the stream's vault key, the encrypted body and the stream key's
signature over all three. Each part is tied to the header's hash, so none can be exchanged for that of another
segment. The byte layout is described in `docs/formats/segment.md`.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.utils import Buffer
from pydantic import ValidationError

from assent.contracts.keys import SignatureInvalid
from assent.contracts.segment import (
    BODY_TAG,
    RELEASE_TAG,
    SEAL_TAG,
    EndRecord,
    SegmentHeader,
    SkipRecord,
    header_hash,
    record_signed_bytes,
    segment_signed_bytes,
)
from assent.sealing import hpke, padding
from assent.sealing.errors import BodyInvalid, HeaderInvalid, RecordInvalid, SealInvalid
from assent.sealing.hpke import HybridPrivateKey, HybridPublicKey

DATA_KEY_BYTES: Final = 32
HASH_BYTES: Final = 32
SEALED_KEY_BYTES: Final = hpke.OVERHEAD_BYTES + DATA_KEY_BYTES
MAX_HEADER_BYTES: Final = 512
MAX_RECORD_BYTES: Final = 512

_PREAMBLE_BYTES: Final = 56
_CHUNK_BYTES: Final = 16 * 1024
_PIECE_BYTES: Final = 4 * _CHUNK_BYTES
"""Encrypted and hashed at a time."""
_TAG_BYTES: Final = 16


class DataKey:
    """The 32-byte key of one body. `repr` shows nothing; the object refuses to be pickled or copied."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        """Raises ValueError unless there are 32 bytes."""
        if len(raw) != DATA_KEY_BYTES:
            raise ValueError(f"a data key has {DATA_KEY_BYTES} bytes, these are {len(raw)}")
        self._raw = bytes(raw)

    @classmethod
    def generate(cls) -> DataKey:
        """A fresh key from the library's random source."""
        return cls(Cobblestone256Encryptor.generate_key())

    def to_bytes(self) -> bytes:
        """The 32 bytes. Whoever holds them opens the body."""
        return self._raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataKey) and hmac.compare_digest(self._raw, other._raw)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "DataKey()"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a data key is not pickled or copied")


@dataclass(frozen=True)
class SegmentLink:
    """What ties a segment into its stream: enough to check signature and place, without sealed key and body."""

    header: bytes
    sealed_sha256: bytes
    body_sha256: bytes
    signature: bytes


@dataclass(frozen=True)
class SignedRecord:
    """Exact bytes of a skip or end record and the stream key's signature over them."""

    record: bytes
    signature: bytes


@dataclass(frozen=True, repr=False)
class SealedSegment:
    """A segment as it is stored and sent. Nothing in it is secret; `body_sha256` is the SHA-256 of `body`."""

    header: bytes
    sealed_key: bytes
    body: bytes
    body_sha256: bytes
    signature: bytes

    @property
    def id(self) -> str:
        """The header's hash, 64 hexadecimal digits."""
        return header_hash(self.header).hex()

    @property
    def link(self) -> SegmentLink:
        """What a `ChainChecker` needs of it."""
        return SegmentLink(self.header, hashlib.sha256(self.sealed_key).digest(), self.body_sha256, self.signature)

    def __repr__(self) -> str:
        return f"SealedSegment({self.id[:16]}, {len(self.body)} bytes)"


def body_size(padded_length: int) -> int:
    """The exact size in bytes of a body whose header says `length = padded_length`.

    Chunked encryption adds 24 bytes of salt, 32 of commitment, and a tag of 16 to every chunk of 16 KiB; the last
    chunk may be empty.
    """
    return _PREAMBLE_BYTES + padded_length + _TAG_BYTES * (padded_length // _CHUNK_BYTES + 1)


@functools.lru_cache(maxsize=4096)
def parse_header(header: bytes) -> SegmentHeader:
    """Read exact header bytes. Raises HeaderInvalid for anything but the one form that `SegmentHeader` writes."""
    if len(header) > MAX_HEADER_BYTES:
        raise HeaderInvalid(f"a header has at most {MAX_HEADER_BYTES} bytes, this has {len(header)}")
    try:
        parsed = SegmentHeader.model_validate_json(header)
    except ValidationError:
        raise HeaderInvalid("not a segment header of a known version and suite") from None
    _check_hour(parsed.hour)
    if parsed.to_bytes() != header:
        raise HeaderInvalid("not the exact form of a header")
    return parsed


def _check_hour(hour: str) -> None:
    try:
        datetime.fromisoformat(hour)
    except ValueError:
        raise HeaderInvalid("the header names an hour that does not exist") from None


def seal_segment(
    *,
    content: bytes,
    stream: str,
    sequence: int,
    previous: str,
    hour: str,
    vault_key: HybridPublicKey,
    stream_key: Ed25519PrivateKey,
) -> tuple[SealedSegment, DataKey]:
    """Seal `content` under a fresh data key, and return the segment and, apart from it, that key.

    `previous` is the id of the header before (`FIRST_PREVIOUS` for the first), `hour` the UTC hour. Raises ValueError
    when a field is out of range or the content too long for one segment, HeaderInvalid for an hour that does not exist.
    """
    header = SegmentHeader(
        stream=stream,
        sequence=sequence,
        previous=previous,
        hour=hour,
        length=padding.padded_length(len(content)),
    ).to_bytes()
    _check_hour(hour)
    header_id = header_hash(header)
    data_key = DataKey.generate()
    body, body_sha256 = _encrypt(content, data_key, header_id)
    sealed_key = hpke.seal(data_key.to_bytes(), vault_key, SEAL_TAG + header_id)
    signature = stream_key.sign(segment_signed_bytes(header, hashlib.sha256(sealed_key).digest(), body_sha256))
    return SealedSegment(header, sealed_key, body, body_sha256, signature), data_key


def _encrypt(content: bytes, data_key: DataKey, header_id: bytes) -> tuple[bytes, bytes]:
    """The body and its SHA-256.

    The body is allocated once and written in place: BytesIO hands out its own buffer, and then its bytes. Each piece is
    hashed while it is still in the processor's cache; hashing the whole afterwards costs a third more.
    """
    length = len(content)
    encryptor = Cobblestone256Encryptor(data_key.to_bytes(), BODY_TAG + header_id)
    digest = hashlib.sha256()
    body = io.BytesIO(bytes(body_size(padding.padded_length(length))))
    with body.getbuffer() as view, memoryview(content) as plain:
        written = 0
        pieces = (plain[at : at + _PIECE_BYTES] for at in range(0, length, _PIECE_BYTES))
        parts: tuple[bytes | memoryview, ...] = (padding.prefix(length), *pieces, padding.fill(length))
        for part in parts:
            end = written + encryptor.update_into(part, view[written:])
            digest.update(view[written:end])
            written = end
        view[written:] = encryptor.finalize()
        digest.update(view[written:])
    return body.getvalue(), digest.digest()


def verify_link(link: SegmentLink, stream_key: Ed25519PublicKey) -> SegmentHeader:
    """Return the header if the stream key signed this link. Raises HeaderInvalid or SignatureInvalid."""
    header = parse_header(link.header)
    if len(link.sealed_sha256) != HASH_BYTES or len(link.body_sha256) != HASH_BYTES:
        raise SignatureInvalid("a SHA-256 has 32 bytes")
    try:
        stream_key.verify(link.signature, segment_signed_bytes(link.header, link.sealed_sha256, link.body_sha256))
    except InvalidSignature as error:
        raise SignatureInvalid("the stream key did not sign this segment") from error
    return header


def verify_segment(
    *, header: bytes, sealed_key: bytes, body_sha256: bytes, signature: bytes, stream_key: Ed25519PublicKey
) -> SegmentHeader:
    """Check all of a segment but its body, before a byte of the body is read. Returns the header.

    Still owed by the caller: that stream, key and hour are the certificate's, the place in the stream
    (`ChainChecker`), and, when the body is there, `check_body`. Raises HeaderInvalid, SealInvalid (the sealed key has
    not the one possible length) or SignatureInvalid.
    """
    if len(sealed_key) != SEALED_KEY_BYTES:
        raise SealInvalid(f"a sealed key has {SEALED_KEY_BYTES} bytes, this has {len(sealed_key)}")
    return verify_link(SegmentLink(header, hashlib.sha256(sealed_key).digest(), body_sha256, signature), stream_key)


def check_body(body: Buffer, body_sha256: bytes) -> None:
    """Raises BodyInvalid unless `body` is the one whose digest was signed."""
    check_body_digest(hashlib.sha256(body).digest(), body_sha256)


def check_body_digest(received_sha256: bytes, body_sha256: bytes) -> None:
    """`check_body` for who has hashed the body while it came in. Raises BodyInvalid."""
    if not hmac.compare_digest(received_sha256, body_sha256):
        raise BodyInvalid("not the body that was signed")


class BodyOpener:
    """Opens a body piece by piece. Nothing comes out before `finish` has seen that the body is whole and untouched.

    Holds the padded plaintext once, in memory. After an error the opener is of no more use.
    """

    def __init__(self, header: bytes, data_key: DataKey) -> None:
        """Raises HeaderInvalid."""
        parsed = parse_header(header)
        self._decryptor = Cobblestone256Decryptor(data_key.to_bytes(), BODY_TAG + header_hash(header))
        self._expected = body_size(parsed.length)
        self._received = 0
        self._plaintext = bytearray(parsed.length)
        self._written = 0

    def feed(self, piece: Buffer) -> None:
        """Take the next bytes of the body, any number of them. Raises BodyInvalid."""
        self._received += memoryview(piece).nbytes
        if self._received > self._expected:
            raise BodyInvalid(f"longer than the {self._expected} bytes that its header allows")
        with memoryview(self._plaintext)[self._written :] as rest:
            try:
                self._written += self._decryptor.update_into(piece, rest)
            except InvalidTag as error:
                raise BodyInvalid("does not open: damaged, or of another segment or key") from error

    def finish(self) -> bytes:
        """The content, without padding. Raises BodyInvalid when the body is cut off, damaged or wrongly padded."""
        if self._received != self._expected:
            raise BodyInvalid(f"cut off: {self._received} of {self._expected} bytes")
        try:
            last = self._decryptor.finalize()
        except InvalidTag as error:
            raise BodyInvalid("does not open: damaged, or of another segment or key") from error
        self._plaintext[self._written :] = last
        return padding.unpad(self._plaintext)


def open_body(header: bytes, body: Buffer, data_key: DataKey) -> bytes:
    """The content of a segment, whole or not at all. Raises HeaderInvalid or BodyInvalid.

    That the stream key signed header and body is for `verify_segment` and `check_body` to say.
    """
    opener = BodyOpener(header, data_key)
    opener.feed(body)
    return opener.finish()


def open_sealed_key(sealed_key: bytes, header: bytes, vault_key: HybridPrivateKey) -> DataKey:
    """The data key that was sealed to this vault key for exactly this header. Raises HeaderInvalid or SealInvalid."""
    parse_header(header)
    raw = hpke.open_(sealed_key, vault_key, SEAL_TAG + header_hash(header))
    if len(raw) != DATA_KEY_BYTES:
        raise SealInvalid("what was sealed is not a data key")
    return DataKey(raw)


def seal_release(
    data_keys: Iterable[tuple[bytes, DataKey]], job_key: HybridPublicKey, lease_hash: bytes, batch_hash: bytes
) -> bytes:
    """Seal the data keys of a batch to a job: one message, of use in one lease and for one batch request only.

    `data_keys` pairs header hashes (32 bytes) with data keys; `lease_hash` and `batch_hash` are the SHA-256 of the
    lease and of the batch request, 32 bytes each. Raises ValueError for hashes of another length or twice the same
    header hash.
    """
    info = _release_info(lease_hash, batch_hash)
    pairs = bytearray()
    seen = set()
    for header_id, data_key in data_keys:
        if len(header_id) != HASH_BYTES or header_id in seen:
            raise ValueError("a release names each header hash once, 32 bytes each")
        seen.add(header_id)
        pairs += header_id + data_key.to_bytes()
    return hpke.seal(bytes(pairs), job_key, info)


def open_release(
    sealed: bytes, job_key: HybridPrivateKey, lease_hash: bytes, batch_hash: bytes
) -> Mapping[bytes, DataKey]:
    """The data keys of a release by header hash, in the order sealed. Raises SealInvalid."""
    plaintext = hpke.open_(sealed, job_key, _release_info(lease_hash, batch_hash))
    size = HASH_BYTES + DATA_KEY_BYTES
    keys = {
        plaintext[at : at + HASH_BYTES]: DataKey(plaintext[at + HASH_BYTES : at + size])
        for at in range(0, len(plaintext) - size + 1, size)
    }
    if len(keys) * size != len(plaintext):
        raise SealInvalid("what was sealed is not a release")
    return keys


def _release_info(lease_hash: bytes, batch_hash: bytes) -> bytes:
    if len(lease_hash) != HASH_BYTES or len(batch_hash) != HASH_BYTES:
        raise ValueError("lease and batch hash have 32 bytes each")
    return RELEASE_TAG + lease_hash + batch_hash


def sign_record(record: SkipRecord | EndRecord, stream_key: Ed25519PrivateKey) -> SignedRecord:
    """Sign that sequence numbers will never come, or that the stream is complete."""
    data = record.to_bytes()
    return SignedRecord(data, stream_key.sign(record_signed_bytes(data)))


def parse_record(record: bytes) -> SkipRecord | EndRecord:
    """Read exact record bytes. Raises RecordInvalid for anything but the one form, or a skip that runs backwards."""
    if len(record) > MAX_RECORD_BYTES:
        raise RecordInvalid(f"a record has at most {MAX_RECORD_BYTES} bytes, this has {len(record)}")
    kind: type[SkipRecord] | type[EndRecord] = EndRecord if record.startswith(b'{"v":1,"kind":"end"') else SkipRecord
    try:
        parsed = kind.model_validate_json(record)
    except ValidationError:
        raise RecordInvalid("not a skip or end record of a known version") from None
    if parsed.to_bytes() != record:
        raise RecordInvalid("not the exact form of a record")
    if isinstance(parsed, SkipRecord) and parsed.to_sequence < parsed.from_sequence:
        raise RecordInvalid("a skip record ends before it begins")
    return parsed


def verify_record(signed: SignedRecord, stream_key: Ed25519PublicKey) -> SkipRecord | EndRecord:
    """Return the record if the stream key signed it. Raises RecordInvalid or SignatureInvalid."""
    parsed = parse_record(signed.record)
    try:
        stream_key.verify(signed.signature, record_signed_bytes(signed.record))
    except InvalidSignature as error:
        raise SignatureInvalid("the stream key did not sign this record") from error
    return parsed
