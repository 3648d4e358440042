"""Padding: the length of a sealed body says little about the length of what is in it.

The padded plaintext is

    8 bytes   length of the content, unsigned, big-endian
    n bytes   content
    m bytes   zeros, so that the whole is exactly `padme(8 + n)` bytes

Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", PETS 2019,
section 4) keeps of a length only about log log n bits: at most 12 % is added, less for larger contents. Every content
has one padded form only; any other is rejected.
"""

from __future__ import annotations

from typing import Final

from assent.sealing.errors import BodyInvalid

PREFIX_BYTES: Final = 8


def padme(length: int) -> int:
    """The smallest allowed length that is not below `length` (at least 2): as a float with short mantissa."""
    exponent = length.bit_length() - 1
    kept_bits = exponent.bit_length()
    mask = (1 << max(exponent - kept_bits, 0)) - 1
    return (length + mask) & ~mask


def padded_length(content_length: int) -> int:
    """The length of the padded plaintext, in bytes, for a content of `content_length` bytes."""
    return padme(PREFIX_BYTES + content_length)


def prefix(content_length: int) -> bytes:
    """The 8 bytes before the content."""
    return content_length.to_bytes(PREFIX_BYTES, "big")


def fill(content_length: int) -> bytes:
    """The zeros after the content."""
    return bytes(padded_length(content_length) - PREFIX_BYTES - content_length)


def pad(content: bytes) -> bytes:
    """The padded plaintext in one piece. (Sealing encrypts the three parts one after the other, without this copy.)"""
    return b"".join((prefix(len(content)), content, fill(len(content))))


def unpad(padded: bytes | bytearray | memoryview) -> bytes:
    """The content of a padded plaintext. Raises BodyInvalid when it is not exactly what `pad` makes."""
    view = memoryview(padded)
    length = int.from_bytes(view[:PREFIX_BYTES], "big")
    if length > len(view) - PREFIX_BYTES or padded_length(length) != len(view):
        raise BodyInvalid("padding: the length prefix does not fit the padded length")
    end = PREFIX_BYTES + length
    if bytes(view[end:]).count(0) != len(view) - end:
        raise BodyInvalid("padding: not all zero")
    return bytes(view[PREFIX_BYTES:end])
