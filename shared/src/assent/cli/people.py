"""`assent people`: who has an account, invitations and roles. Nothing here says who takes part."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated

import typer

from assent.cli.shell import AsJson, Failed, shell_of
from assent.client.custodian import CustodianClient
from assent.contracts.codes import InvitationCode
from assent.contracts.ids import new_id
from assent.contracts.keys import fingerprint
from assent.contracts.statements import Invitation, Role, RoleCountersignature, RoleProposal
from assent.contracts.times import moment

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


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
        shell.output.say(f"The role {role} waits for: assent people countersign {answer.invitation}")


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
    """List role proposals; or propose one (admins), which council or dpo must countersign."""
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
            "countersigned" if entry.countersigned else "waits",
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
    as_json: AsJson = False,
) -> None:
    """Countersign a role proposal (council, dpo). The role starts after the delay."""
    shell = shell_of(context)
    with shell.custodian() as custodian:
        found = [entry for entry in custodian.proposals().proposals if entry.proposal == proposal.lower()]
        if not found:
            raise Failed("There is no such proposal; 'assent people roles' lists them.")
        custodian.countersign_role(RoleCountersignature(proposal=found[0].proposal, at=custodian.now()))
    if as_json:
        shell.output.json({"proposal": found[0].proposal, "countersigned": True})
        return
    shell.output.say(f"Countersigned: {found[0].action} {found[0].role} for {found[0].name}.")


def _person(custodian: CustodianClient, text: str) -> str:
    """A person's id, given as such or as a name that only one has."""
    people = custodian.people().people
    found = [entry.person for entry in people if text in (entry.person, entry.name)]
    if len(found) != 1:
        raise Failed(
            "Nobody has that name or id; 'assent people list' shows everybody."
            if not found
            else "Several people have that name; use the id from 'assent people list'."
        )
    return found[0]
