"""Lists that are written into the log only as salted hashes, and the bytes of a release batch."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

from assent.contracts.limits import MAX_RELEASE_BATCH


class BatchInvalid(ValueError):
    """The bytes are not a release batch."""


def list_root(salt: bytes, items: Iterable[str]) -> str:
    """Salted hash of a set of ids, order-independent: SHA-256("assent/list/v1\\0" ‖ salt ‖ sorted, newline-ended)."""
    body = "".join(f"{item}\n" for item in sorted(items)).encode()
    return hashlib.sha256(b"assent/list/v1\0" + salt + body).hexdigest()


def person_leaf(salt: bytes, statement_hash: str) -> str:
    """What the log gets of a person's statement. The device makes the salt; the receipt file keeps it."""
    return hashlib.sha256(b"assent/person/v1\0" + salt + bytes.fromhex(statement_hash)).hexdigest()


def pack_batch(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """(header, sealed key) pairs, each part after its length as two bytes, big endian."""
    out = bytearray()
    for header, sealed in pairs:
        out += struct.pack(">H", len(header)) + header + struct.pack(">H", len(sealed)) + sealed
    return bytes(out)


def unpack_batch(data: bytes) -> list[tuple[bytes, bytes]]:
    """Read a batch. Raises BatchInvalid; never reads beyond the data, never more than the limit."""
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise BatchInvalid("the batch is cut off")
        (length,) = struct.unpack_from(">H", data, at)
        at += 2
        if at + length > len(data):
            raise BatchInvalid("the batch is cut off")
        parts.append(data[at : at + length])
        at += length
        if len(parts) > 2 * MAX_RELEASE_BATCH:
            raise BatchInvalid(f"a batch holds {MAX_RELEASE_BATCH} pairs at most")
    if len(parts) % 2:
        raise BatchInvalid("the batch ends in the middle of a pair")
    return list(zip(parts[::2], parts[1::2], strict=True))
