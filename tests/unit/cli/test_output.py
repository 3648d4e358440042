"""What is printed is plain, says what to do, and cannot drive a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from assent.cli.output import ADVICE, Output, advice_for, counted, plain
from assent.client.transport import AnswerInvalid, Refused, Stale, Unreachable
from assent.contracts.problems import Code, Problem
from assent.reader.log_copies import Contradiction

AGENT_CODES = {  # answered to agents and collectors only, never to this command
    Code.CERTIFICATE_INVALID, Code.OUT_OF_ORDER, Code.TOO_LARGE, Code.LENGTH_REQUIRED, Code.BUDGET_SPENT,
    Code.BODY_MISMATCH, Code.TIMED_OUT, Code.METHOD_NOT_ALLOWED, Code.UNSUPPORTED_MEDIA,
}  # fmt: skip


def test_every_refusal_a_person_can_meet_has_advice() -> None:
    assert set(Code) - AGENT_CODES == set(ADVICE)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Stale(Problem(Code.STALE, ""), None, 600.0), "600 seconds behind"),
        (Stale(Problem(Code.STALE, ""), None, -30.0), "30 seconds ahead of"),
        (Stale(Problem(Code.STALE, ""), None, None), "Set this computer's clock"),
        (Refused(Problem(Code.NO_QUORUM, "")), "Nothing was opened"),
        (Unreachable("x"), "Check the network"),
        (AnswerInvalid("x"), "security staff"),
        (Refused(Problem(Code.NOT_AVAILABLE, "")), "Nothing was opened"),
        (Contradiction("edited", "x"), "tell the council"),
        (ValueError("x"), ""),
    ],
)
def test_advice_fits_what_happened(error: Exception, says: str) -> None:
    assert says in advice_for(error)


def test_a_file_that_is_missing_is_named_as_it_was_typed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(OSError) as missing:
        (tmp_path / "none").read_bytes()
    Output().error(missing.value)
    assert capsys.readouterr().err.replace("\n", "") == f"Not done. No such file or directory: {tmp_path / 'none'}"


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [(0, "stream", "0 streams"), (1, "stream", "1 stream"), (2, "access", "2 accesses"), (1, "access", "1 access")],
)
def test_numbers_are_said_as_people_say_them(number: int, noun: str, words: str) -> None:
    assert counted(number, noun) == words


def test_names_from_outside_cannot_drive_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "Ada\x1b[2J\x1b]0;owned\x07\r[red]Eve[/red]\u202eevil"
    output = Output()
    output.say(hostile)
    output.table("People", ("name",), [(hostile,)], "")
    output.facts([("name", hostile)])
    output.error(Refused(Problem(Code.REFUSED, hostile)))
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert not set(text) & set("\x1b\x07\r\u202e")
        assert "[red]Eve[/red]" in text, "shown as it is, not obeyed"


def test_plain_keeps_what_people_write() -> None:
    assert plain("Zoë, naïve – 漢字") == "Zoë, naïve – 漢字"
