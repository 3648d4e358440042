"""Refuses text and numbers that a database would choke on, before it sees them."""

from __future__ import annotations

from assent.contracts.problems import Code, Problem

MAX_NUMBER = 2**31 - 1


def check_text(text: str) -> None:
    """Raises Problem `malformed` for control characters: no name or address has any."""
    if not text.isprintable():
        raise Problem(Code.MALFORMED, "a text holds characters that cannot be printed")


def check_number(number: int) -> None:
    """Raises Problem `malformed` for a number that is larger than any that is used here."""
    if not 0 <= number <= MAX_NUMBER:
        raise Problem(Code.MALFORMED, f"a number is from 0 to {MAX_NUMBER}")
