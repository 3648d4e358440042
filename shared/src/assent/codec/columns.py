"""Columns of 64-bit integers as bytes: the one building block of the event format.

A column is stored as one header byte, the first value, the step when it is not 1, and planes. The values are made
small first: the first value is subtracted, the greatest common divisor ("step") divided out, differences taken 0, 1 or
2 times, whichever compresses best, and the signs folded into the lowest bit. The least significant bytes of all values
then come first, the next bytes after them, and so on: `width` planes of one byte per value. All arithmetic is modulo
2**64, so every signed 64-bit integer survives.

Header byte: bits 0-1 number of differences, bit 2 a step follows, bits 4-7 width (0 to 8). Integers outside planes
are LEB128; signed ones are folded likewise (0, -1, 1, -2 become 0, 1, 2, 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from assent.codec.limits import ContentInvalid

Integers = NDArray[np.int64]

_MASK = 2**64 - 1
_MAX_DIFFERENCES = 2


def fold(value: int) -> int:
    """Signed to unsigned, small magnitudes first."""
    return (value << 1) ^ (value >> 63)


def unfold(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def varint(value: int) -> bytes:
    """LEB128 of an unsigned integer below 2**64."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def column(values: Sequence[int]) -> bytes:
    """The values as a column; nothing at all when there are none.

    Raises ContentInvalid for anything but integers of 64 bits.
    """
    if not values:
        return b""
    given = np.array(values)
    if given.dtype.kind not in "ib":
        raise ContentInvalid("a value is not an integer of 64 bits")
    exact: Integers = given.astype(np.int64)
    first = int(exact[0])
    from_first = exact - exact[0]
    step = int(np.gcd.reduce(np.abs(from_first).view(np.uint64)))
    if step == 0:
        return bytes([0]) + varint(fold(first))
    candidate: Integers = _divided(from_first, step)
    planes, differences = _planes(candidate), 0
    for taken in range(1, _MAX_DIFFERENCES + 1):
        candidate = np.diff(candidate, prepend=np.int64(0))
        other = _planes(candidate)
        if _information(other) < _information(planes):
            planes, differences = other, taken
    head = bytes([differences | (step > 1) << 2 | len(planes) << 4]) + varint(fold(first))
    return head + (varint(step) if step > 1 else b"") + planes.tobytes()


def _divided(values: Integers, step: int) -> Integers:
    """Exact division; a step of 2**63 can only mean that the values are 0 and -2**63."""
    divided: Integers = (values != 0).astype(np.int64) if step == 2**63 else values // np.int64(step)
    return divided


def _planes(values: Integers) -> NDArray[np.uint8]:
    """uint8 array, shape (width, number of values); least significant bytes first."""
    folded = ((values << 1) ^ (values >> 63)).view(np.uint64)
    width = (int(folded.max()).bit_length() + 7) // 8
    return np.ascontiguousarray(folded.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width].T)


def _information(planes: NDArray[np.uint8]) -> float:
    """Entropy of the planes in bits: what an ideal order-0 coder would need."""
    total = 0.0
    for plane in planes:
        counts = np.bincount(plane)
        counts = counts[counts > 0]
        total -= float((counts * np.log2(counts / plane.size)).sum())
    return total


def read_varint(take: Callable[[int], bytes]) -> int:
    """An unsigned integer of 64 bits at most, LEB128, byte by byte from `take`. Raises ContentInvalid."""
    value = shift = 0
    while True:
        byte = take(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise ContentInvalid("an integer is longer than 64 bits")
    if value > _MASK:
        raise ContentInvalid("an integer is longer than 64 bits")
    return value


class Reader:
    """Takes integers, columns and texts from the front of a block, and distrusts every one of them."""

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._at = 0

    def take(self, size: int) -> bytes:
        if size > len(self._block) - self._at:
            raise ContentInvalid("the block of events ends too early")
        self._at += size
        return self._block[self._at - size : self._at]

    def varint(self) -> int:
        return read_varint(self.take)

    def column(self, count: int) -> list[int]:
        """`count` signed integers; the caller has checked that it can hold that many."""
        if count == 0:
            return []
        head = self.take(1)[0]
        differences, stepped, width = head & 3, head >> 2 & 1, head >> 4
        if differences > _MAX_DIFFERENCES or head & 8 or width > 8:
            raise ContentInvalid("a column has an unknown header")
        first = unfold(self.varint())
        step = self.varint() if stepped else 1
        folded = np.zeros((count, 8), dtype=np.uint8)
        folded[:, :width] = np.frombuffer(self.take(width * count), dtype=np.uint8).reshape(width, count).T
        unsigned = folded.view("<u8").reshape(count).astype(np.uint64)
        values = (unsigned >> np.uint64(1)) ^ (np.uint64(0) - (unsigned & np.uint64(1)))
        for _ in range(differences):
            values = np.cumsum(values, dtype=np.uint64)
        values = values * np.uint64(step) + np.uint64(first & _MASK)
        signed: list[int] = values.view(np.int64).tolist()
        return signed

    def choices(self, count: int, options: int) -> list[int]:
        """A column whose values must be indexes below `options`."""
        values = self.column(count)
        if values and not 0 <= min(values) <= max(values) < options:
            raise ContentInvalid("an index points at nothing")
        return values

    def counts(self, count: int, limit: int) -> list[int]:
        """A column of sizes: none negative, `limit` at most in total."""
        values = self.column(count)
        if values and (min(values) < 0 or sum(values) > limit):
            raise ContentInvalid("a count exceeds the limits")
        return values

    def texts(self, limit: int) -> list[str]:
        """A table of texts: number, column of UTF-8 lengths, bytes."""
        number = self.varint()
        if number > limit:
            raise ContentInvalid("a count exceeds the limits")
        lengths = self.counts(number, len(self._block))
        data = self.take(sum(lengths))
        texts, at = [], 0
        try:
            for length in lengths:
                texts.append(data[at : at + length].decode())
                at += length
        except UnicodeDecodeError as error:
            raise ContentInvalid("a text is not UTF-8") from error
        return texts

    def end(self) -> None:
        if self._at != len(self._block):
            raise ContentInvalid("the block of events has bytes left over")


def text_table(texts: Sequence[str]) -> bytes:
    """See `Reader.texts`. Lone surrogates, which are no characters, become U+FFFD."""
    encoded = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode() for text in texts]
    return varint(len(encoded)) + column([len(data) for data in encoded]) + b"".join(encoded)
