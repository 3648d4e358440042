"""What is printed: plain and kind words, tables, JSON; and nothing from outside that could drive a terminal."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assent.client.transport import AnswerInvalid, Refused, Stale, Unreachable
from assent.contracts.problems import Code
from assent.reader.log_copies import KEEP_AND_TELL, Contradiction
from assent.reader.patience import FetchStopped

ADVICE: dict[Code, str] = {
    Code.MALFORMED: "This is a fault of the program: update it, and report this line if it stays.",
    Code.NOT_SIGNED_IN: "Log in with 'assent login CODE'; an admin gives out codes.",
    Code.SIGNATURE_INVALID: "Log in again with a new code; this computer's key is not known any more.",
    Code.STALE: "Set this computer's clock, then try again.",
    Code.FORBIDDEN: "'assent whoami' shows your roles; an admin can propose another one.",
    Code.REFUSED: "Nothing was changed.",
    Code.REVOKED: "Nothing more can be done with it.",
    Code.TICKET_INVALID: "Open a new lease: run the command again.",
    Code.CODE_INVALID: "Ask whoever invited you for a new code; each works once.",
    Code.NOT_FOUND: "Look it up with the matching list command; perhaps it is not yours to see.",
    Code.CONFLICT: "Look at its present state first.",
    Code.NOT_AVAILABLE: "Nothing was opened.",
    Code.TOO_MANY: "Wait a minute, then try again.",
    Code.INTERNAL: "Nothing was changed. Try again, and tell the operator the reference if it stays.",
    Code.BUSY: "Look whether it was done; if not, try again in a few seconds.",
    Code.CLOSED: "The door is shut for now. Try again later; the operator knows why.",
    Code.NO_QUORUM: "Nothing was opened. Try again when the witnesses can be reached.",
    Code.STORAGE_FULL: "The operator has to make room.",
}


CONTRADICTED = f"This log is not what it should be. {KEEP_AND_TELL}"

PIPED_WIDTH = 160
"""Columns of a table that goes into a file or a pipe."""


def plain(text: object) -> str:
    """Text from anywhere on one line: without control characters, which could drive a terminal."""
    return "".join(character if character.isprintable() else "·" for character in str(text))


def counted(number: int, noun: str) -> str:
    """As people say it: 1 stream, 2 streams."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


WRONG = {
    "string_too_short": "it is empty",
    "string_too_long": "it is too long",
    "string_pattern_mismatch": "it does not have the form that is needed",
}
"""What is wrong with a word that was typed, by Pydantic's name for it."""


def wrong_words(error: ValidationError) -> str:
    """Which words cannot stand in a statement, and why; never the words themselves."""
    found = []
    for one in error.errors(include_input=False, include_url=False, include_context=False):
        name = next((str(part) for part in one["loc"]), "it")
        found.append(f"'{name}' cannot be that: {WRONG.get(one['type'], one['msg'])}")
    return f"{'; '.join(found)}. --help has an example."


class Output:
    """Standard output for results, standard error for everything else."""

    def __init__(self) -> None:
        self.out = Console(highlight=False, soft_wrap=True)
        if not self.out.is_terminal:
            self.out = Console(highlight=False, soft_wrap=True, width=PIPED_WIDTH)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str = "", style: str = "") -> None:
        self.out.print(Text(_lines(text), style=style))

    def note(self, text: str, style: str = "") -> None:
        """On standard error, so that results can be piped."""
        self.err.print(Text(_lines(text), style=style))

    def json(self, value: Any, *, aside: bool = False) -> None:
        """`aside`: on standard error, when standard output belongs to something else."""
        console = self.err if aside else self.out
        console.print(json.dumps(value, indent=2, ensure_ascii=False), markup=False, emoji=False)

    def json_line(self, value: Any) -> None:
        """One of many, on a line of its own, at once."""
        self.out.print(json.dumps(value, ensure_ascii=False), markup=False, emoji=False)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
        """A table, or a sentence when there is nothing to show."""
        cells = [[plain("" if cell is None else cell) for cell in row] for row in rows]
        if not cells:
            self.say(empty)
            return
        self.say(title, "bold")
        table = Table(show_edge=False, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        self.out.print(table, soft_wrap=False)

    def facts(self, rows: Iterable[tuple[str, object]]) -> None:
        """Names and values, one pair a line."""
        shown = [(name, plain(value)) for name, value in rows]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            self.out.print(Text.assemble((f"{name:<{width}}  ", "dim"), value))

    def error(self, error: Exception) -> None:
        """What happened, and what to do."""
        text = plain(error)
        if isinstance(error, OSError) and error.strerror:
            text = plain(f"{error.strerror}: {error.filename}" if error.filename else error.strerror)
        self.err.print(Text.assemble(("Not done. ", "bold red"), text[:1].upper() + text[1:]))
        advice = advice_for(error)
        if advice:
            self.err.print(Text(advice))


def _lines(text: str) -> str:
    return "\n".join(plain(line) for line in text.split("\n"))


def advice_for(error: Exception) -> str:
    """What somebody can do about it; empty when the message says so itself."""
    match error:
        case Stale(skew_s=float(skew)) if abs(skew) >= 1:
            direction = "behind" if skew > 0 else "ahead of"
            return (
                f"This computer's clock is {abs(skew):.0f} seconds {direction} the custodian's: set it, then try again."
            )
        case Refused():
            return ADVICE.get(error.code, "")
        case Unreachable():
            return "Nothing is lost. Check the network, then try again."
        case FetchStopped():
            return "Try again when the collector is reached again; its operators know why it is not, or should."
        case AnswerInvalid():
            return "Nothing of that answer was used. If it stays, tell the security staff."
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG):
            return "What is there is whole, or not there. Make room on that disk, then run the command again."
        case Contradiction():
            return CONTRADICTED
        case _:
            return ""
