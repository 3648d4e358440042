"""`assent people`: who has an account, invitations, roles, and halting. Nothing here says who takes part."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import typer

from assent.cli.output import plain
from assent.cli.shell import AsJson, Failed, Shell, shell_of
from assent.client.custodian import CustodianClient
from assent.contracts.codes import InvitationCode
from assent.contracts.ids import new_id
from assent.contracts.keys import fingerprint
from assent.contracts.statements import (
    ConsentEnding,
    Halt,
    Invitation,
    Leaving,
    Recovery,
    RecoveryCountersignature,
    Resume,
    Role,
    RoleCountersignature,
    RoleProposal,
)
from assent.contracts.times import moment
from assent.contracts.wire import ProposalView


class EndState(StrEnum):
    TERMINATED = "terminated"
    INVALIDATED = "invalidated"


app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

LONGEST_REASON = 500
RECOVERY_CODE_DAYS = 21
RANDOM_ID = re.compile(r"[0-9a-f]{32}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@app.command()
def invite(
    context: typer.Context,
    name: str = typer.Argument(help="The name that others will see."),
    role: Annotated[Role | None, typer.Option(help="Propose a role with it; council or dpo must countersign.")] = None,
    valid_days: int = typer.Option(7, min=1, max=30, help="How many days the code works."),
    as_json: AsJson = False,
) -> None:
    """Invite somebody. Prints a code that works once: hand it over yourself."""
    shell = shell_of(context)
    with shell.custodian() as custodian:
        current = shell.directory().current
        code = InvitationCode.new(current.custodian_url, fingerprint(current.root_key))
        until = moment(shell.now + timedelta(days=valid_days))
        answer = custodian.invite(
            Invitation(code=code.secret_hash, name=name, role=role, at=custodian.now(), until=until)
        )
    if as_json:
        shell.output.json(
            {"code": code.to_text(), "invitation": answer.invitation, "until": answer.until, "role": role}
        )
        return
    shell.output.say(f"Give this code to {name}, and to nobody else. It works once, until {answer.until}:")
    shell.output.say()
    shell.output.say(code.to_text())
    if role is not None:
        shell.output.say()
        shell.output.say(
            f"The role {role} waits, once they have joined, for: assent people countersign {answer.invitation}"
        )


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Who has an account, with which roles."""
    shell = shell_of(context)
    with shell.custodian() as custodian:
        view = custodian.people()
    if as_json:
        shell.output.json(json.loads(view.to_json()))
        return
    rows = [(person.name, ", ".join(person.roles) or "-", person.person) for person in view.people]
    shell.output.table("People", ("name", "roles", "person"), rows, "Nobody has an account yet.")


@app.command()
def roles(
    context: typer.Context,
    person: Annotated[str | None, typer.Option(help="The person's id or exact name, with --grant or --revoke.")] = None,
    grant: Annotated[Role | None, typer.Option(help="Propose to give this role.")] = None,
    revoke: Annotated[Role | None, typer.Option(help="Propose to take this role away.")] = None,
    as_json: AsJson = False,
) -> None:
    """List role proposals; or propose one (admins), which council or dpo must countersign.

    One is void, and has to be made anew, when who made it has lost that role, or revoked the key that signed it.

    Who is an admin, and who is one no more, council and dpo can settle alone: one proposes, the other signs.
    """
    shell = shell_of(context)
    role = grant or revoke
    if (role is None) != (person is None) or (grant is not None and revoke is not None):
        raise typer.BadParameter("to propose, give --person and one of --grant and --revoke")
    with shell.custodian() as custodian:
        if role is not None and person is not None:
            proposal = RoleProposal(
                person=_person(custodian, person),
                role=role,
                action="grant" if grant else "revoke",
                nonce=new_id(),
                at=custodian.now(),
            )
            accepted = custodian.propose_role(proposal)
            if as_json:
                shell.output.json({"proposal": accepted.hash})
            else:
                shell.output.say(f"Proposed. It waits for: assent people countersign {accepted.hash}")
            return
        view = custodian.proposals()
    if as_json:
        shell.output.json(json.loads(view.to_json()))
        return
    rows = [
        (
            entry.name,
            f"{entry.action} {entry.role}",
            "countersigned" if entry.countersigned else "void" if entry.void else "waits",
            entry.effective or "",
            entry.proposal,
        )
        for entry in view.proposals
    ]
    columns = ("name", "what", "state", "from", "proposal")
    shell.output.table("Role proposals", columns, rows, "No role was proposed.")


@app.command()
def countersign(
    context: typer.Context,
    proposal: str = typer.Argument(help="The proposal's hash, all 64 digits."),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: you have compared the keys.")] = False,
    as_json: AsJson = False,
) -> None:
    """Countersign a role proposal (council, dpo). The role starts after the delay.

    A role is given to keys, not to a name: an admin made up the name, and handed out the code. Compare what is shown
    with what 'assent whoami' shows that person, face to face or by telephone.
    """
    shell = shell_of(context)
    with shell.custodian() as custodian:
        found = [entry for entry in custodian.proposals().proposals if entry.proposal == proposal.lower()]
        if not found:
            raise Failed("There is no such proposal; 'assent people roles' lists them.")
        if found[0].void:
            raise Failed(
                "This proposal is void: who made it has lost that role, or revoked the key that signed it. "
                "Have it proposed anew, by somebody who may."
            )
        if found[0].action == "grant" and not found[0].countersigned:
            _compare_keys(shell, found[0], yes=yes, as_json=as_json)
        signed = RoleCountersignature(proposal=found[0].proposal, keys=found[0].keys, at=custodian.now())
        custodian.countersign_role(signed)
    if as_json:
        shell.output.json({"proposal": found[0].proposal, "countersigned": True, "keys": list(found[0].keys)})
        return
    shell.output.say(f"Countersigned: {found[0].action} {found[0].role} for {found[0].name}.")


def _compare_keys(shell: Shell, proposal: ProposalView, *, yes: bool, as_json: bool) -> None:
    name = plain(proposal.name)
    if not proposal.keys:
        raise Failed(f"{name} has not joined yet. Countersign when they have: a role is given to a key, not to a name.")
    if not as_json:
        shell.output.say(f"{name} is to be {proposal.role}. Whoever holds this key gets that role; its fingerprint:")
        for key in proposal.keys:
            shell.output.say(f"    {key}")
        shell.output.say("Ask them, face to face or by telephone, what 'assent whoami' shows them as their key.")
    shell.confirm("Did they tell you just that?" if len(proposal.keys) == 1 else "Did they tell you just these?", yes)


@app.command()
def halt(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Everybody is shown it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the whole programme (admin, council or dpo, each alone): no recording, no reading, own data included."""
    shell = shell_of(context)
    if not 1 <= len(reason.strip()) <= LONGEST_REASON:
        raise typer.BadParameter(f"a reason has 1 to {LONGEST_REASON} characters", param_hint="--reason")
    with shell.custodian() as custodian:
        shell.confirm("Stop everything? Only council and dpo together can let it run again.", yes)
        accepted = custodian.halt(Halt(reason=reason, nonce=new_id(), at=custodian.now()))
    if as_json:
        shell.output.json({"halt": accepted.hash})
        return
    shell.output.say(f"Halted ({accepted.hash}). Agents stop at their next question, within five minutes.", "green")


@app.command("end-consent")
def end_consent(
    context: typer.Context,
    *,
    state: Annotated[EndState, typer.Option(help="By the controller, or since an authority declared it invalid.")],
    reason: Annotated[str, typer.Option(help="Why. It is kept, and in no log.")],
    notice: Annotated[str | None, typer.Option(help="Receipts for the text of this SHA-256.")] = None,
    record: Annotated[str | None, typer.Option(help="One receipt, whose record its person has told you.")] = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="Every receipt there is.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """End receipts for good (data-protection officer): recording stops, what they covered closes and is erased."""
    if [notice is not None, record is not None, everybody].count(True) != 1:
        raise typer.BadParameter("say which: --notice, --record or --everybody")
    if record is not None and not RANDOM_ID.fullmatch(record):
        raise typer.BadParameter("a record is 32 hexadecimal digits", param_hint="--record")
    if notice is not None and not SHA256.fullmatch(notice):
        raise typer.BadParameter("a SHA-256 is 64 hexadecimal digits", param_hint="--notice")
    if not 1 <= len(reason.strip()) <= LONGEST_REASON:
        raise typer.BadParameter(f"a reason has 1 to {LONGEST_REASON} characters", param_hint="--reason")
    shell = shell_of(context)
    with shell.custodian() as custodian:
        shell.confirm("End them for good? What they covered is erased after 7 days.", yes)
        ending = ConsentEnding(
            state="terminated" if state is EndState.TERMINATED else "invalidated",
            notice=notice,
            record=record,
            reason=reason,
            nonce=new_id(),
            at=custodian.now(),
        )
        accepted = custodian.end_consent(ending)
    if as_json:
        shell.output.json({"ending": accepted.hash})
        return
    shell.output.say(f"Ended ({accepted.hash}). Agents stop at their next question, within five minutes.", "green")


@app.command("end-account")
def end_account(
    context: typer.Context,
    person: Annotated[str, typer.Argument(help="Whose account: id, or exact name.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """End the account of somebody who has left (data-protection officer): at once no key of theirs works any more.

    What they recorded is erased after 7 days, and then they are forgotten. A role has to be revoked first.
    """
    shell = shell_of(context)
    with shell.custodian() as custodian:
        whose = _person(custodian, person)
        shell.confirm("End this account for good? Nobody can undo it.", yes)
        accepted = custodian.end_account(Leaving(person=whose, nonce=new_id(), at=custodian.now()))
    if as_json:
        shell.output.json({"leaving": accepted.hash})
        return
    shell.output.say("The account has ended. What was recorded is erased after 7 days, and then the person forgotten.")


@app.command()
def resume(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--show", help="Only show what is halted and who has signed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sign that the programme may run again (council and dpo; both are needed)."""
    shell = shell_of(context)
    with shell.custodian() as custodian:
        halts = custodian.halts().halts
        if not as_json:
            for entry in halts:
                signed = ", ".join(entry.resume_signed) or "nobody"
                shell.output.say(f"{entry.at}  {plain(entry.reason)} (by {plain(entry.halted_by)})")
                shell.output.say(f"            to resume, signed so far: {signed}", "dim")
        if halts and not show:
            shell.confirm("Sign that it may run again?", yes)
            for entry in halts:
                custodian.resume(Resume(halt=entry.hash, at=custodian.now()))
            halts = custodian.halts().halts
    if as_json:
        shell.output.json({"halted": bool(halts), "halts": [json.loads(entry.to_json()) for entry in halts]})
    elif not halts:
        shell.output.say("The programme runs.", "green")
    elif not show:
        shell.output.say("Your signature is kept. The programme stays halted until council and dpo have both signed.")


@app.command()
def recover(
    context: typer.Context,
    person: Annotated[
        str | None, typer.Argument(help="Whose account: id, or (dpo) exact name. Without it: list recoveries.")
    ] = None,
    countersign_: Annotated[
        str | None, typer.Option("--countersign", help="Agree to this recovery: its hash, all 64 digits.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give a person who has lost every opening key a new one (council and dpo, both must sign).

    Make sure who they are, face to face. The code works once the other of you has countersigned. For 7 days all their
    old keys are told and can stop it; the new key withdraws at once, and never opens what was recorded before.
    """
    shell = shell_of(context)
    if person is not None and countersign_ is not None:
        raise typer.BadParameter("give either a person or --countersign")
    with shell.custodian() as custodian:
        if person is not None:
            _sign_recovery(shell, custodian, person, yes=yes, as_json=as_json)
            return
        view = custodian.recoveries()
        if countersign_ is not None:
            found = [entry for entry in view.recoveries if entry.recovery == countersign_.lower()]
            if not found:
                raise Failed("There is no such recovery; 'assent people recover' lists them.")
            shell.confirm(f"Agree that {plain(found[0].name or '')} gets a new key? They must be there.", yes)
            accepted = RecoveryCountersignature(recovery=found[0].recovery, at=custodian.now())
            custodian.countersign_recovery(accepted)
            view = custodian.recoveries()
    if as_json:
        shell.output.json(json.loads(view.to_json()))
        return
    rows = [(entry.name or "-", entry.state, entry.ready or "", entry.recovery) for entry in view.recoveries]
    shell.output.table("Recoveries", ("name", "state", "done from", "recovery"), rows, "There was none.")


def _sign_recovery(shell: Shell, custodian: CustodianClient, person: str, *, yes: bool, as_json: bool) -> None:
    whose = _person(custodian, person)
    shell.confirm("Did you make sure, face to face, who they are, and that they have no opening key left?", yes)
    current = shell.directory().current
    code = InvitationCode.new(current.custodian_url, fingerprint(current.root_key), "opening")
    until = moment(shell.now + timedelta(days=RECOVERY_CODE_DAYS))
    accepted = custodian.recover(
        Recovery(person=whose, code=code.secret_hash, nonce=new_id(), at=custodian.now(), until=until)
    )
    if as_json:
        shell.output.json({"recovery": accepted.hash, "code": code.to_text(), "until": until})
        return
    shell.output.say("Give this code to them, and to nobody else, for 'assent login --replace CODE':")
    shell.output.say()
    shell.output.say(code.to_text())
    shell.output.say()
    shell.output.say(f"It works once, until {until}, after: assent people recover --countersign {accepted.hash}")


def _person(custodian: CustodianClient, text: str) -> str:
    """A person's id, given as such or as a name that only one has (which only admins and dpo can look up)."""
    if RANDOM_ID.fullmatch(text):
        return text
    people = custodian.people().people
    found = [entry.person for entry in people if text in (entry.person, entry.name)]
    if len(found) != 1:
        raise Failed(
            "Nobody has that name or id; 'assent people list' shows everybody."
            if not found
            else "Several people have that name; use the id from 'assent people list'."
        )
    return found[0]
