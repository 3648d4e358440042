"""Refuses text that a database would choke on, before it sees it."""

from __future__ import annotations

from assent.contracts.problems import Code, Problem


def check_text(text: str) -> None:
    """Raises Problem `malformed` for control characters: no name or address has any."""
    if not text.isprintable():
        raise Problem(Code.MALFORMED, "a text holds characters that cannot be printed")
