"""`assent audit`: the log, for auditors and the council; and `verify` for everybody who holds a copy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from assent.cli.output import plain
from assent.cli.shell import SHORT, AsJson, Failed, Shell, shell_of
from assent.client.credentials import CredentialMissing
from assent.client.custodian import CustodianClient, from_base64
from assent.client.files import write_private
from assent.client.transport import AnswerInvalid, Refused
from assent.contracts.leaves import Leaf
from assent.contracts.problems import Code
from assent.reader.auditing import Audit, CopyInvalid, LogCopy, audit, fetch_copy, files_of, load_copy
from assent.transparency.note import Note

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(
    context: typer.Context,
    start: Annotated[int | None, typer.Option(min=0, help="First entry; default: the last ones.")] = None,
    count: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """Entries of the log. That you looked is in the log, too."""
    shell = shell_of(context)
    with shell.custodian() as custodian:
        if start is None:
            start = max(0, _witnessed_size(shell, custodian) - count)
        view = custodian.log_entries(start, count)
    entries: list[dict[str, Any]] = []
    for entry in view.entries:
        try:
            leaf = Leaf.model_validate_json(from_base64(entry.leaf))
        except ValueError as error:
            raise AnswerInvalid(f"entry {entry.index} of the log cannot be read") from error
        fields = leaf.model_dump(mode="json", exclude_none=True)
        entries.append({"index": entry.index, "actor_name": entry.actor_name, **fields})
    if as_json:
        shell.output.json({"size": view.size, "entries": entries})
        return
    rows = [
        (
            entry["index"],
            entry["at"].replace("T", " ").removesuffix("Z"),
            entry["type"],
            entry.get("decision", ""),
            entry["actor_name"] or entry.get("actor", "")[:SHORT],
            entry.get("request", "")[:SHORT],
            "  ".join(entry[key] for key in ("purpose", "rule") if key in entry),
        )
        for entry in entries
    ]
    columns = ("index", "at", "what", "decision", "who", "request", "purpose, rule")
    shell.output.table(f"The log, {view.size} entries", columns, rows, "No entries there.")


@app.command()
def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A new folder, or that of an earlier copy: it is brought up to date.")],
    as_json: AsJson = False,
) -> None:
    """Save a copy of the log: tiles, entries, checkpoint, directory and policy. `verify` needs nothing else."""
    shell = shell_of(context)
    copy = _fetch(shell, _earlier(folder))
    for path, data in files_of(copy).items():
        write_private(folder / path, data)
    if as_json:
        shell.output.json({"folder": str(folder), "size": len(copy.leaves), "files": len(files_of(copy))})
        return
    shell.output.say(f"A copy of {len(copy.leaves)} entries is in {folder}.")
    shell.output.say(f"Check it anywhere, without a network: assent audit verify {folder}")


@app.command()
def verify(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(help="A copy made by 'assent audit export'; without it the live log is fetched.")
    ] = None,
    proof: Annotated[
        list[Path] | None, typer.Option(help="A proof file to check against this log; may be repeated.")
    ] = None,
    root: Annotated[
        str | None, typer.Option(help="The root key's fingerprint; default: that of your credential.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute the log from its leaves; check signatures, witnesses, and that every lease was approved before."""
    shell = shell_of(context)
    fingerprint, proofs = _root(shell, root), [_proof(path) for path in proof or ()]
    copy = _fetch(shell) if folder is None else load_copy(folder)
    outcome = audit(copy, fingerprint, proofs)
    if as_json:
        shell.output.json(
            {
                "passed": outcome.passed,
                "size": outcome.size,
                "checks": [{"passed": check.passed, "text": check.text} for check in outcome.checks],
                "warnings": list(outcome.warnings),
            }
        )
    else:
        _show(shell, outcome)
    if not outcome.passed:
        raise typer.Exit(1)


def _show(shell: Shell, outcome: Audit) -> None:
    for check in outcome.checks:
        shell.output.say(
            f"{'ok    ' if check.passed else 'FAILED'}  {plain(check.text)}", "" if check.passed else "red"
        )
    for warning in outcome.warnings:
        shell.output.say(f"mind    {warning}", "yellow")
    if outcome.passed:
        shell.output.say(f"The log of {outcome.size} entries is whole and as it was witnessed.", "green")
    else:
        shell.output.say("This log is not what it should be. Keep the copy, and tell the other witnesses.", "bold red")


def _root(shell: Shell, given: str | None) -> str:
    """The pinned fingerprint: given, or the credential's. Nothing is checked against a fingerprint from the copy."""
    if given is not None:
        text = "".join(given.split()).lower()
        if len(text) != 64 or any(character not in "0123456789abcdef" for character in text):
            raise typer.BadParameter("a fingerprint has 64 hexadecimal digits")
        return text
    try:
        return shell.credential().root_fingerprint
    except CredentialMissing as error:
        raise Failed(
            "Name the root key's fingerprint with --root; the ceremony printed it, and invitation codes hold it."
        ) from error


def _proof(path: Path) -> tuple[str, bytes, bytes | None]:
    """A proof file, and its leaf when it lies beside it as `….leaf`."""
    leaf = path.with_suffix(".leaf")
    return path.name, path.read_bytes(), leaf.read_bytes() if leaf.exists() else None


def _witnessed_size(shell: Shell, custodian: CustodianClient) -> int:
    return shell.directory().policy.check(Note.from_bytes(custodian.checkpoint())).checkpoint.size


def _earlier(folder: Path) -> Mapping[str, bytes]:
    """The tiles of the copy in a folder, none if it is new. What is fetched again is written into the log again."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return {}
    try:
        return load_copy(folder).tiles
    except CopyInvalid as error:
        raise Failed(f"{folder} is there already and holds no copy of a log; name a new folder.") from error


def _fetch(shell: Shell, have: Mapping[str, bytes] | None = None) -> LogCopy:
    """The live log as it is now; its head is checked before anything is fetched. Not asked for: the tiles `have`."""
    known = have or {}
    directory = shell.directory()
    with shell.custodian() as custodian:
        checkpoint = custodian.checkpoint()
        directory.policy.check(Note.from_bytes(checkpoint))

        def tile(path: str) -> bytes | None:
            if path in known:
                return known[path]
            try:
                return custodian.tile(path)
            except Refused as refused:
                if refused.code is Code.NOT_FOUND:
                    return None
                raise

        return fetch_copy(directory.envelope, directory.current.policy, checkpoint, tile, tiles=True)
