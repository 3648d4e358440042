"""What can be wrong with sealed things. Each error is named for what happened and carries no content and no key.

Two more come from `assent.contracts.keys`, where signature keys have the same ones: `KeyInvalid` (these bytes or this
text are no key of the suite) and `SignatureInvalid` (the stream key did not sign this).
"""

from __future__ import annotations

from enum import StrEnum


class SealingError(Exception):
    """Something sealed or signed is not what it should be. Nothing of it may be used."""


class SealInvalid(SealingError):
    """A sealed message does not open: damaged, sealed to another key, or sealed for another context."""


class HeaderInvalid(SealingError):
    """These bytes are not the one exact form of a segment header."""


class RecordInvalid(SealingError):
    """These bytes are not the one exact form of a skip or end record."""


class BodyInvalid(SealingError):
    """A body is not the one that was signed, does not open, is cut off, or is wrongly padded."""


class Fault(StrEnum):
    """What can be wrong with a stream."""

    MISSING = "missing"
    """Numbers before this one were not there."""
    REORDERED = "reordered"
    """It came after one with a higher number."""
    REPLAYED = "replayed"
    """Its number was taken already, by the same item or by another."""
    FORGED = "forged"
    """It is malformed, belongs to another stream, or was not signed by the stream key."""
    UNLINKED = "unlinked"
    """Its number fits, but it names another predecessor: two histories were signed."""
    AFTER_END = "after-end"
    """The stream had ended before it."""
    CUT_OFF = "cut-off"
    """There is no end record: nobody can say that nothing is missing at the end."""


class ChainBroken(SealingError):
    """An item does not continue its stream. `expected` is the next number, `found` the item's (None when forged)."""

    def __init__(self, fault: Fault, *, expected: int, found: int | None) -> None:
        self.fault = fault
        self.expected = expected
        self.found = found
        super().__init__(f"{fault.value}: expected number {expected}, found {'none' if found is None else found}")
