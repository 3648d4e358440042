"""`assent audit unmask`: who is behind a pseudonym of the log? An auditor asks, the dpo signs too."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from assent.cli.output import plain
from assent.cli.shell import AsJson, Failed, Shell, shell_of
from assent.client.custodian import CustodianClient, from_base64
from assent.client.transport import AnswerInvalid
from assent.contracts.ids import new_id
from assent.contracts.leaves import Leaf
from assent.contracts.statements import Unmasking, UnmaskingCountersignature
from assent.contracts.wire import UnmaskingView
from assent.reader.log_words import SHORT

LONGEST_REASON = 500


def unmask(
    context: typer.Context,
    index: Annotated[
        int | None, typer.Argument(min=0, help="The entry of the log whose actor you ask for (auditor).")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why. The person is told it word for word.")] = None,
    countersign: Annotated[
        str | None, typer.Option(metavar="HASH", help="Agree to this one (data-protection officer).")
    ] = None,
    show: Annotated[
        str | None, typer.Option(metavar="HASH", help="The answer, to the auditor who asked, for a day.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Learn who a pseudonym in the log is. It takes an auditor, who says why, and the data-protection officer.

    Both signatures stand in the log before there is an answer, and the person is told who asked, who agreed, and why.
    Without an argument: what was asked, and what became of it.
    """
    if [index, countersign, show].count(None) < 2:
        raise typer.BadParameter("give one of these: an entry, --countersign or --show")
    if (index is None) is not (reason is None):
        raise typer.BadParameter("an entry needs a --reason, and nothing else does")
    if reason is not None and not 1 <= len(reason.strip()) <= LONGEST_REASON:
        raise typer.BadParameter(f"a reason has 1 to {LONGEST_REASON} characters", param_hint="--reason")
    shell = shell_of(context)
    with shell.custodian() as custodian:
        if show is not None:
            _answer(shell, custodian, show, as_json)
            return
        if index is not None and reason is not None:
            _ask(shell, custodian, index, reason, yes=yes, as_json=as_json)
            return
        if countersign is not None:
            _countersign(shell, custodian, countersign, yes=yes)
        view = custodian.unmaskings()
    if as_json:
        shell.output.json(json.loads(view.to_json()))
        return
    rows = [(one.index, one.name, one.reason, one.state, one.until, one.unmasking) for one in view.unmaskings]
    columns = ("entry", "asked by", "reason", "state", "until", "unmasking")
    shell.output.table("Unmaskings", columns, rows, "Nobody has asked.")


def _ask(shell: Shell, custodian: CustodianClient, index: int, reason: str, *, yes: bool, as_json: bool) -> None:
    found = [entry for entry in custodian.log_entries(index, 1).entries if entry.index == index]
    try:
        leaf = Leaf.model_validate_json(from_base64(found[0].leaf)) if found else None
    except ValueError as error:
        raise AnswerInvalid(f"entry {index} of the log cannot be read") from error
    if leaf is None or leaf.actor is None:
        raise Failed(f"Entry {index} of the log names no actor." if found else f"The log has no entry {index}.")
    shell.output.note(f"Entry {index}: {leaf.type.value}, {leaf.at}, by {leaf.actor[:SHORT]}.")
    shell.confirm("Ask who that is? It is written into the log, and if it is agreed to, the person is told.", yes)
    asked = custodian.ask_unmasking(
        Unmasking(index=index, actor=leaf.actor, reason=reason.strip(), nonce=new_id(), at=custodian.now())
    )
    if as_json:
        shell.output.json({"unmasking": asked.hash})
        return
    shell.output.say("Asked. The data-protection officer has seven days to agree:")
    shell.output.say(f"    assent audit unmask --countersign {asked.hash}")
    shell.output.say(f"Then, for a day: assent audit unmask --show {asked.hash}")


def _countersign(shell: Shell, custodian: CustodianClient, text: str, *, yes: bool) -> None:
    one = _find(custodian, text)
    shell.output.note(f"{plain(one.name)} asks who the actor of entry {one.index} of the log is: {plain(one.reason)}")
    shell.confirm("Agree? The person is told at once, with both your names and this reason.", yes)
    custodian.countersign_unmasking(UnmaskingCountersignature(unmasking=one.unmasking, at=custodian.now()))


def _answer(shell: Shell, custodian: CustodianClient, text: str, as_json: bool) -> None:
    found = custodian.unmasked(_find(custodian, text).unmasking)
    if as_json:
        shell.output.json(json.loads(found.to_json()))
        return
    shell.output.say(f"The actor of entry {found.index} ({found.actor[:SHORT]}) is {plain(found.name)}.")
    shell.output.say(f"            person {found.person}; answered until {found.until}", "dim")


def _find(custodian: CustodianClient, text: str) -> UnmaskingView:
    """By the first digits of its hash, at least 8."""
    wanted = text.strip().lower()
    found = [one for one in custodian.unmaskings().unmaskings if one.unmasking.startswith(wanted)]
    if len(wanted) < SHORT or len(found) != 1:
        raise Failed("No unmasking, or more than one, begins like that; 'assent audit unmask' lists them.")
    return found[0]
