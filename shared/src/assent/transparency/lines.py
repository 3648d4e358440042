"""How hashes, bytes and numbers stand on a line in the C2SP text formats: in one form only, so that what was parsed and
what is written again are the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import re

HASH_BYTES = 32
MAX_SIZE = 2**63 - 1
"""The largest tree and the latest time that the formats allow."""

MAX_PROOF_HASHES = 63
"""A tree of at most 2^63 - 1 leaves needs no longer proof (C2SP tlog-witness sets the same limit)."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


def to_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648 §4)."""
    return base64.b64encode(data).decode()


def from_base64(text: str) -> bytes:
    """Read exactly what `to_base64` writes. Raises ValueError for anything else, stray bits in the padding included."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError("not standard base64") from error
    if to_base64(data) != text:
        raise ValueError("not canonical base64")
    return data


def to_hash(text: str) -> bytes:
    """Read one base64 line of 32 bytes. Raises ValueError."""
    data = from_base64(text)
    if len(data) != HASH_BYTES:
        raise ValueError(f"a hash has {HASH_BYTES} bytes, not {len(data)}")
    return data


def to_number(text: str) -> int:
    """Read an ASCII decimal from 0 to 2^63 - 1 without sign or leading zeros. Raises ValueError."""
    if not _DECIMAL.fullmatch(text) or (number := int(text)) > MAX_SIZE:
        raise ValueError("not a decimal number from 0 to 2^63 - 1 in its shortest form")
    return number
