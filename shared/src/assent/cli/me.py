"""`assent me`: one's own data. Who read it, what one agreed to, what was recorded, and taking it back."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from PIL import Image

from assent.cli.data import account_json, lease_json, reading
from assent.cli.output import counted, plain
from assent.cli.shell import AsJson, Failed, Shell, day_option, shell_of
from assent.client.accesses import LEAF_SUFFIX, PROOF_SUFFIX, AccessUnproved, keep_proof, proof_of
from assent.client.custodian import CustodianClient, from_base64, to_base64
from assent.client.files import write_private
from assent.client.receipts import (
    ErasureFile,
    ReceiptFile,
    ReceiptInvalid,
    blocks,
    check_erasure,
    check_receipt,
    erasure_files,
    keep_erasures,
)
from assent.client.transport import AnswerInvalid, Refused
from assent.contracts.codes import InvitationCode
from assent.contracts.envelope import Envelope, StatementInvalid, read_unverified, sign
from assent.contracts.events import DisplaysChanged, Rect, ScreenFrame
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import fingerprint
from assent.contracts.leaves import Leaf
from assent.contracts.problems import Code
from assent.contracts.statements import (
    CredentialCode,
    CredentialRevocation,
    Erasure,
    ErasureReceipt,
    Leaving,
    OwnData,
    Receipt,
    RecoveryStopped,
    Withdrawal,
)
from assent.contracts.times import day_of, moment, parse_hour
from assent.contracts.wire import Access, ErasuresView, Me, ReceiptView
from assent.reader.archive import Archive, written_whole
from assent.reader.contact_sheet import Pixels, contact_sheet, hatched
from assent.reader.log_words import SHORT
from assent.reader.sessions import Data, Session
from assent.reader.summary import Hole, holes
from assent.transparency.errors import TransparencyError
from assent.transparency.proof import LogProof

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

PICTURES = 48
"""Most pictures on a contact sheet; of more, every second, fourth, … is taken."""

THUMBNAIL = 800
CODE_FOR = timedelta(hours=24)

WHY = {
    "erasure": "you erased",
    "withdrawal": "you withdrew",
    "ending": "consent was ended for you",
    "retention": "too old",
}
STATES = {"requested": "requested", "final": "final", "called-off": "called off"}
"""Kinds and states of erasure receipts as they are shown."""

FIRST_DAY = "2000-01-01"
"""Before anything was recorded."""


@app.command()
def accesses(
    context: typer.Context,
    verify: Annotated[
        Path | None, typer.Option(help="Check a proof file, with the .leaf file beside it, without a network.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write the proof files into this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Every access to your data: who, what for, which approvals, and whether the witnessed log proves it."""
    shell = shell_of(context)
    if verify is not None:
        _verify_access(shell, verify, as_json)
        return
    with shell.custodian() as custodian:
        view = custodian.accesses()
    shown, found = [], []
    for access in view.accesses:
        proved = _proved(shell, access)
        note = access.notification
        if save is not None and access.proof is not None and access.leaf is not None:
            keep_proof(access, save)
        found.append({**note.model_dump(mode="json"), "proved": proved})
        shown.append((note, proved))
    if as_json:
        shell.output.json({"accesses": found})
        return
    if not shown:
        shell.output.say("Nobody has read your data.")
    for note, proved in shown:
        entry = "" if note.leaf_index is None else f", entry {note.leaf_index} of the log"
        shell.output.say(f"{note.day}  {plain(note.text)}")
        shell.output.say(f"            {proved}{entry}", "red" if proved.startswith("WRONG") else "dim")
    if save is not None:
        shell.output.say(f"The proof files are in {save}; 'assent me accesses --verify FILE' checks one.")


def _verify_access(shell: Shell, path: Path, as_json: bool) -> None:
    """That witnesses saw the entry beside this proof in the log, and what it says."""
    policy = shell.known_directory().kept_policy
    try:
        proof = LogProof.from_bytes(path.with_suffix(PROOF_SUFFIX).read_bytes())
        data = path.with_suffix(LEAF_SUFFIX).read_bytes()
        proof.verify(data, policy)
        leaf = Leaf.model_validate_json(data)
    except (TransparencyError, ValueError) as error:
        raise Failed(f"This proof does not hold: {error}.") from error
    if as_json:
        entry = leaf.model_dump(mode="json", exclude_none=True)
        shell.output.json({"valid": True, "log_index": proof.index, "entry": entry})
        return
    shell.output.say("This proof holds: the witnesses saw exactly this entry in the log.", "green")
    shell.output.facts(
        [
            ("entry", proof.index),
            ("at", leaf.at),
            ("what", leaf.type.value),
            ("request", leaf.request or "-"),
            ("purpose", "none: its person opened it" if leaf.mode == "own" else leaf.purpose or "-"),
            ("until", leaf.until or "-"),
        ]
    )


def _proved(shell: Shell, access: Access) -> str:
    try:
        proof = proof_of(access, shell.directory().kept_policy)
    except AccessUnproved as error:
        return f"WRONG: {error}"
    if proof is None:
        return "not yet"
    shell.directory().saw(proof.checkpoint)
    return "in the witnessed log"


@app.command()
def receipts(
    context: typer.Context,
    verify: Annotated[Path | None, typer.Option(help="Check a receipt file, without a network.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write your receipts into this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """What you agreed to, and its state."""
    shell = shell_of(context)
    if verify is not None:
        _verify_receipt(shell, verify, as_json)
        return
    with shell.custodian() as custodian:
        view = custodian.receipts()
        files = [] if save is None else [_to_keep(shell, entry).completed(custodian) for entry in view.receipts]
    if save is not None:
        for entry, file in zip(view.receipts, files, strict=True):
            write_private(save / f"{entry.record}.receipt.json", file.to_json())
    statements = [(entry, read_unverified(entry.receipt, Receipt)) for entry in view.receipts]
    if as_json:
        found = [{"state": entry.state, **statement.model_dump(mode="json")} for entry, statement in statements]
        shell.output.json({"receipts": found})
        return
    rows = []
    for entry, statement in statements:
        first = (entry.record[:SHORT], entry.state, f"{statement.valid_from[:10]} to {statement.valid_until[:10]}")
        of_it = blocks((choice.modality, choice.purpose) for choice in statement.choices)
        for number, (modalities, purposes) in enumerate(of_it):  # a line says no more than what was agreed to
            rows.append((*(first if number == 0 else ("", "", "")), ", ".join(modalities), ", ".join(purposes)))
    columns = ("record", "state", "valid", "recorded", "for what")
    shell.output.table("Your receipts", columns, rows, "You have not agreed to anything; nothing is recorded.")
    if save is not None:
        proved = sum(file.proof is not None for file in files)
        shell.output.say(
            f"{counted(len(files), 'receipt')} saved in {save}, {proved} with the proof that the log has it (it is "
            "there a night later); 'assent me receipts --verify FILE' checks one."
        )


def _to_keep(shell: Shell, entry: ReceiptView) -> ReceiptFile:
    """The receipt; if it was given on this computer, with what the agent here kept of it (the key too)."""
    told = ReceiptFile(receipt=entry.receipt, salt=entry.salt)
    try:
        kept = ReceiptFile.read((shell.store.folder / "agent" / "receipts" / f"{entry.record}.json").read_bytes())
    except (OSError, ReceiptInvalid):
        return told
    return kept if kept.receipt.hash == entry.receipt.hash else told


def _verify_receipt(shell: Shell, path: Path, as_json: bool) -> None:
    credential, directory = shell.credential(), shell.known_directory()
    try:
        file = ReceiptFile.read(path.read_bytes())
        checked = check_receipt(file, directory.statement_key, credential.person, directory.kept_policy)
    except ReceiptInvalid as error:
        raise Failed(f"This receipt does not hold: {error}.") from error
    statement = checked.statement
    if as_json:
        shell.output.json(
            {
                "valid": True,
                "hash": checked.hash,
                "device_key": checked.device_key,
                "device_key_checked": checked.device_key_checked,
                "notice_checked": checked.notice_checked,
                "log_index": checked.log_index,
                "receipt": statement.model_dump(mode="json"),
            }
        )
        return
    shell.output.say("This receipt holds: the custodian counter-signed exactly this text, for you.", "green")
    shell.output.facts(
        [
            ("record", statement.record),
            ("hash", checked.hash),
            ("given", statement.at),
            ("valid", f"{statement.valid_from} to {statement.valid_until}"),
            ("keyboard", statement.keyboard_mode),
            ("notice", f"{statement.notice.version} ({statement.notice.locale}), SHA-256 {statement.notice.sha256}"),
            ("recipients", ", ".join(statement.recipients)),
            ("text shown", "checked: the file holds it" if checked.notice_checked else "not in this file"),
            (
                "in the log",
                "not proved by this file; 'assent me receipts --save' adds the proof a night later"
                if checked.log_index is None
                else f"checked: entry {checked.log_index}, seen by the witnesses",
            ),
            (
                "your signature",
                f"{'checked: ' if checked.device_key_checked else 'not checked, the file lacks the key: '}"
                f"by device key {checked.device_key}; is it yours? 'assent me devices' lists them",
            ),
        ]
    )
    rows = [(choice.modality, f"{choice.purpose}, version {choice.purpose_version}") for choice in statement.choices]
    shell.output.table("Agreed to", ("modality", "purpose"), rows, "")


@app.command()
def withdraw(
    context: typer.Context,
    *,
    record: Annotated[str | None, typer.Option(help="Only this receipt; default: all of them.")] = None,
    modality: Annotated[list[Modality] | None, typer.Option(help="Only this modality; may be repeated.")] = None,
    purpose: Annotated[list[str] | None, typer.Option(help="Only this purpose; may be repeated.")] = None,
    now: Annotated[bool, typer.Option("--now", help="Erase at once, not after 7 days.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take back what you agreed to. No reason is needed; nobody has to approve it."""
    shell = shell_of(context)
    credential = shell.credential()
    with shell.custodian() as custodian:
        if record is not None:
            found = [entry.record for entry in custodian.receipts().receipts if entry.record.startswith(record)]
            if len(found) != 1:
                raise Failed("You have no single receipt like that; 'assent me receipts' lists them.")
            record = found[0]
        shell.confirm("Withdraw" + (", and erase at once?" if now else "? It is erased after 7 days."), yes)
        envelope = sign(
            Withdrawal(
                person=credential.person,
                record=record,
                modalities=tuple(modality or ()),
                purposes=tuple(purpose or ()),
                erase="now" if now else "after-7-days",
                at=custodian.now(),
            ),
            shell.signer(),
        )
        salt = secrets.token_bytes(32)
        kept = shell.store.folder / "withdrawals" / f"{envelope.hash[:16]}.json"
        write_private(kept, json.dumps({"statement": json.loads(envelope.to_json()), "salt": to_base64(salt)}).encode())
        confirmed = custodian.deliver_withdrawal(envelope, salt)
    if as_json:
        shell.output.json(confirmed.model_dump(mode="json"))
        return
    at_once = now and confirmed.erased_from <= day_of(shell.now)
    who = "nobody any more, you included" if at_once else "nobody but you"
    shell.output.say(f"Confirmed by the custodian: from this moment it opens for {who}.", "green")
    closed = counted(confirmed.streams, "stream")
    shell.output.say(f"Closed by this: {closed}; what it covers is erased from {confirmed.erased_from} on.")
    shell.output.say(f"The signed statement is kept in {kept}; 'assent me erasures' says when it is final.")


@app.command()
def erase(
    context: typer.Context,
    *,
    day: Annotated[str | None, typer.Option(callback=day_option, help="This day (UTC).")] = None,
    hour: Annotated[
        list[str] | None, typer.Option(help="Only this hour (UTC), as 2026-11-23T14, or 14 with --day; repeatable.")
    ] = None,
    from_day: Annotated[str | None, typer.Option("--from", callback=day_option, help="First day of a range.")] = None,
    to_day: Annotated[str | None, typer.Option("--to", callback=day_option, help="Last day of the range.")] = None,
    modality: Annotated[list[Modality] | None, typer.Option(help="Only this modality; may be repeated.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All that was ever recorded of you.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase what is stored of you, at once and for good. No reason is needed; nobody has to approve it.

    Keys to whole days are destroyed now; nobody opens them any more, you included. Recording itself goes on: to end
    that, withdraw. What is being recorded today into erased streams is lost until the recorder begins anew.
    """
    shell = shell_of(context)
    hours = _hours(day, hour or [])
    ranged = from_day is not None or to_day is not None
    if (from_day is None) != (to_day is None) or sum((bool(hours or day), ranged, everything)) != 1:
        raise typer.BadParameter("say what: --everything, or --day, or --from and --to, or --hour; one of these")
    if day is not None and not hours:
        from_day = to_day = day
    credential = shell.credential()
    with shell.custodian() as custodian:
        what = "everything" if everything else counted(len(hours), "hour") if hours else _range(from_day, to_day)
        which = ", ".join(dict.fromkeys(one.value for one in modality or ())) or "all modalities"
        shell.confirm(f"Erase {what} of your recordings ({which}), for good?", yes)
        envelope = sign(
            Erasure(
                person=credential.person,
                hours=hours,
                from_day=from_day,
                to_day=to_day,
                everything=everything,
                modalities=tuple(dict.fromkeys(modality or ())),
                at=custodian.now(),
            ),
            shell.signer(),
        )
        salt = secrets.token_bytes(32)
        kept = shell.store.folder / "erasures" / f"{envelope.hash[:16]}.json"
        write_private(kept, json.dumps({"statement": json.loads(envelope.to_json()), "salt": to_base64(salt)}).encode())
        receipt = custodian.deliver_erasure(envelope, salt)
        saved = kept.with_name(f"{envelope.hash[:16]}.requested.json")
        write_private(saved, ErasureFile(receipt=receipt).to_json())
    statement = read_unverified(receipt, ErasureReceipt)
    if as_json:
        shell.output.json({**statement.model_dump(mode="json"), "file": str(saved)})
        return
    shell.output.say("Erased: from this moment it opens for nobody, and you have the custodian's receipt.", "green")
    _show_erasure(shell, statement)
    shell.output.say(f"The receipt is in {saved}; 'assent me erasures' says when it is final.")


def _range(first: str | None, last: str | None) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _hours(day: str | None, texts: list[str]) -> tuple[str, ...]:
    """Hours in full, from what was typed. Raises BadParameter."""
    found: list[str] = []
    for text in texts:
        full = f"{day}T{text.zfill(2)}" if day is not None and "T" not in text else text
        try:
            parse_hour(full)
        except ValueError as error:
            raise typer.BadParameter(
                f"{text!r} is not an hour; write it as 2026-11-23T14, or as 14 with --day"
            ) from error
        if day is not None and not full.startswith(day):
            raise typer.BadParameter(f"{text!r} is not an hour of {day}")
        found.append(full)
    return tuple(dict.fromkeys(found))


@app.command()
def erasures(
    context: typer.Context,
    verify: Annotated[Path | None, typer.Option(help="Check an erasure receipt, without a network.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the signed receipts into this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """What was or will be erased of yours, and how far it has come: requested, final, or called off.

    By your wish, by withdrawing, with consent that was ended for you, or since it was too old. The signed receipts are
    kept on this computer, too.
    """
    shell = shell_of(context)
    if verify is not None:
        _verify_erasure(shell, verify, as_json)
        return
    with shell.custodian() as custodian:
        view = custodian.erasures()
        if _delivered_again(shell, custodian, view):
            view = custodian.erasures()
    keep_erasures(view, shell.store.folder / "erasures")
    if save is not None:
        for name, file in erasure_files(view):
            write_private(save / name, file.to_json())
    found = [read_unverified(row.final or row.called_off or row.requested, ErasureReceipt) for row in view.erasures]
    if as_json:
        shell.output.json(
            {
                "erasures": [receipt.model_dump(mode="json") for receipt in found],
                "fallen": [fallen.model_dump(mode="json") for fallen in view.fallen],
            }
        )
        return
    rows = [
        (receipt.of[:SHORT], WHY[receipt.kind], STATES[receipt.state], _extent(receipt), *_when(receipt))
        for receipt in found
        if receipt.kind != "retention"
    ]
    columns = ("statement", "why", "state", "covers", "erased from", "final since")
    shell.output.table("Erased, or to be erased", columns, rows, "Nothing was erased at anybody's wish.")
    for state in ("requested", "final"):
        old = [receipt for receipt in found if (receipt.kind, receipt.state) == ("retention", state)]
        if old:
            shell.output.say(f"Erased since it was too old: {_together(old)}; {STATES[state]}.")
    for fallen in view.fallen:
        days = _range(fallen.first_day, fallen.last_day)
        why = {"retention": "by retention: they were too old", "ended": "with a receipt that was ended for you"}
        streams = counted(fallen.streams, "stream")
        shell.output.say(f"{fallen.erased}  {streams} of {days} fell {why[fallen.reason]}; there is no receipt.")
    if save is not None:
        shell.output.say(f"The receipts are in {save}; 'assent me erasures --verify FILE' checks one.")


def _delivered_again(shell: Shell, custodian: CustodianClient, view: ErasuresView) -> int:
    """Hand in once more what was signed here and is not known there: it got lost on the way, or with a restored backup.

    The same statement twice is once, and one that is late takes nothing of later days. Returns how many there were.
    """
    known, person, count = {row.of for row in view.erasures}, shell.credential().person, 0
    for kept in sorted((shell.store.folder / "erasures").glob("*.json")):
        if kept.suffixes != [".json"]:
            continue  # a receipt
        try:
            content = json.loads(kept.read_bytes())
            envelope, salt = Envelope.from_json(json.dumps(content["statement"])), from_base64(content["salt"])
            statement = read_unverified(envelope, Erasure)
        except (ValueError, TypeError, KeyError, StatementInvalid, AnswerInvalid):
            shell.output.note(f"{kept} is damaged and was left as it is.", "yellow")
            continue
        if envelope.hash in known or statement.person != person:
            continue
        custodian.deliver_erasure(envelope, salt)
        shell.output.note(f"An erasure of yours had not arrived and was handed in again: {envelope.hash[:SHORT]}.")
        count += 1
    return count


def _extent(receipt: ErasureReceipt) -> str:
    if receipt.first_day is None:
        return "nothing that is stored"
    hours = f"{counted(receipt.hours, 'hour')}, " if receipt.hours else ""
    return f"{hours}{counted(receipt.streams, 'stream')}, {_range(receipt.first_day, receipt.last_day)}"


def _when(receipt: ErasureReceipt) -> tuple[str, str]:
    """From when it is erased, and since when that is final."""
    return "" if receipt.state == "called-off" else receipt.erased_from, receipt.backups_expired or ""


def _together(receipts: list[ErasureReceipt]) -> str:
    """What these receipts cover, in one line."""
    days = [day for receipt in receipts for day in (receipt.first_day, receipt.last_day) if day is not None]
    return f"{counted(sum(receipt.streams for receipt in receipts), 'stream')} of {_range(min(days), max(days))}"


def _verify_erasure(shell: Shell, path: Path, as_json: bool) -> None:
    credential, directory = shell.credential(), shell.known_directory()
    try:
        receipt, hash_ = check_erasure(path.read_bytes(), directory.statement_key, credential.person)
    except ReceiptInvalid as error:
        raise Failed(f"This receipt does not hold: {error}.") from error
    if as_json:
        shell.output.json({"valid": True, "hash": hash_, "receipt": receipt.model_dump(mode="json")})
        return
    shell.output.say("This receipt holds: the custodian signed exactly this, for you.", "green")
    shell.output.facts([("hash", hash_)])
    _show_erasure(shell, receipt)


def _show_erasure(shell: Shell, receipt: ErasureReceipt) -> None:
    facts: list[tuple[str, object]] = [
        ("why", WHY[receipt.kind]),
        ("statement", "none: it was too old" if receipt.kind == "retention" else receipt.of),
        ("state", STATES[receipt.state]),
        ("covers", _extent(receipt)),
    ]
    if receipt.state == "final":
        why_not = "only hours were erased, of streams that live on" if receipt.hours else "there were none"
        facts += [
            ("erased from", receipt.erased_from),
            ("keys destroyed", receipt.keys_destroyed or f"not needed: {why_not}"),
            ("deleted", receipt.deleted),
            ("last backup expired", receipt.backups_expired),
        ]
    elif receipt.state == "requested":
        facts += [
            ("erased from", receipt.erased_from),
            ("backups are kept", f"{receipt.backup_days} days: final after that"),
        ]
    else:
        facts += [
            ("called off on", receipt.day),
            ("so", "nothing was erased for it; what it withdrew stays closed to others. 'assent me erase' erases it"),
        ]
    shell.output.facts(facts)


KINDS = {"device": "records, consents, withdraws; opens nothing", "opening": "reads, requests, approves, adds others"}


@app.command()
def devices(
    context: typer.Context,
    revoke: Annotated[
        str | None, typer.Option(help="End this key, by its first digits: of a lost laptop, for instance.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, unless it is your last opening key.")] = False,
    last_too: Annotated[bool, typer.Option("--even-my-last", help="Do not ask even then.")] = False,
    as_json: AsJson = False,
) -> None:
    """Your keys: which may record, which may open, and what happened to them. Or end one of them."""
    shell = shell_of(context)
    own = shell.credential().key_id
    with shell.custodian() as custodian:
        me_view = custodian.me()
        if revoke is not None:
            _revoke(shell, custodian, me_view, revoke, yes=yes, last_too=last_too, as_json=as_json)
            return
    here = {own, _agents_key(shell)}
    if as_json:
        shell.output.json([{**entry.model_dump(), "here": entry.key_id in here} for entry in me_view.credentials])
        return
    rows = [
        (entry.key_id, entry.kind, KINDS[entry.kind], entry.since, "this computer" if entry.key_id in here else "")
        for entry in me_view.credentials
    ]
    shell.output.table("Your keys", ("key", "kind", "may", "since", ""), rows, "There are none.")
    for message in me_view.messages:
        shell.output.say(f"{message.day}  {plain(message.text)}")


def _agents_key(shell: Shell) -> str | None:
    """The id of the device key of the agent on this computer, if there is one."""
    try:
        found = json.loads((shell.store.folder / "agent" / "identity.json").read_bytes())["device_key_id"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return str(found)


def _revoke(
    shell: Shell, custodian: CustodianClient, me_view: Me, digits: str, *, yes: bool, last_too: bool, as_json: bool
) -> None:
    found = [entry for entry in me_view.credentials if entry.key_id.startswith(digits.lower())]
    if len(found) != 1 or len(digits) < SHORT:
        raise Failed(f"Write at least {SHORT} digits of one of your keys; 'assent me devices' lists them.")
    (key,) = found
    openings = [entry for entry in me_view.credentials if entry.kind == "opening"]
    last = openings == [key]
    if last:
        question = (
            "This is your LAST opening key. Without it you cannot open your recordings, add a device or revoke one; "
            "after a recovery nothing recorded before opens. Revoke it all the same?"
        )
        shell.confirm(question, last_too)
    else:
        shell.confirm(f"Revoke the {key.kind} key {key.key_id} of {key.since}? It ends for good.", yes)
    custodian.revoke_credential(CredentialRevocation(credential=key.key_id, even_last=last, at=custodian.now()))
    if as_json:
        shell.output.json({"revoked": key.key_id, "kind": key.kind})
        return
    shell.output.say(f"Revoked: {key.key_id}. It signs nothing any more but a withdrawal.", "green")
    if key.kind == "device":
        shell.output.say("What it recorded and sent stays. What was still on that device cannot be sent any more.")


@app.command("add-device")
def add_device(
    context: typer.Context,
    kind: Annotated[
        Literal["device", "opening"],
        typer.Option(help="'device' records; 'opening' is a key like this one."),
    ] = "device",
    as_json: AsJson = False,
) -> None:
    """Make a code that adds another computer (or another opening key) to your account. It works once, for a day."""
    shell = shell_of(context)
    with shell.custodian() as custodian:
        current = shell.directory().current
        code = InvitationCode.new(current.custodian_url, fingerprint(current.root_key), kind)
        until = moment(shell.now + CODE_FOR)
        answer = custodian.add_credential(
            CredentialCode(code=code.secret_hash, kind=kind, at=custodian.now(), until=until)
        )
    command = "assent-agent enrol" if kind == "device" else "assent login"
    if as_json:
        shell.output.json({"code": code.to_text(), "kind": kind, "until": answer.until})
        return
    shell.output.say(f"On the other computer, before {answer.until}, run '{command} CODE' with this code:")
    shell.output.say()
    shell.output.say(code.to_text())
    shell.output.say()
    shell.output.say("Whoever has this code gets a key of yours: show it to nobody. All your keys will be told.")
    if kind == "device":
        shell.output.say("Nothing is recorded there until you give consent there.")


Since = Annotated[str, typer.Option(callback=day_option, help="First day (UTC); default: the very first.")]
Until = Annotated[str | None, typer.Option(callback=day_option, help="Last day (UTC); default: today.")]


@app.command()
def recover(
    context: typer.Context,
    stop: Annotated[bool, typer.Option("--stop", help="Stop every recovery of your account.")] = False,
    as_json: AsJson = False,
) -> None:
    """Recoveries of your account, and stopping them. Whoever has lost every opening key begins with the dpo."""
    shell = shell_of(context)
    if not shell.store.exists():
        raise Failed(
            "There is no key here. If you have lost every opening key, go to your data-protection officer: they and "
            "the council sign a recovery, and you use its code with 'assent login CODE'."
        )
    with shell.custodian() as custodian:
        found = custodian.me().recoveries
        for entry in found if stop else ():
            custodian.stop_recovery(RecoveryStopped(recovery=entry.recovery, at=custodian.now()))
    if as_json:
        shell.output.json({"recoveries": [entry.model_dump(mode="json") for entry in found], "stopped": stop})
        return
    if not found:
        shell.output.say("Nobody is recovering your account.", "green")
    for entry in found:
        when = f"its days end {entry.ready}" if entry.ready else "it waits for a second signature"
        shell.output.say(f"Stopped: {entry.recovery}." if stop else f"Running: {entry.recovery}, {when}.")
    if found and not stop:
        shell.output.say("If you did not ask for it: assent me recover --stop", "red")


@app.command()
def leave(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """End your account, for good: every key, every consent, every recording of yours, and your name.

    Take with you what you want to keep first ('assent me export', 'assent me receipts --save'): afterwards nobody can
    answer you any more. In the night the custodian forgets you; the log goes on, and nobody can tell which of its
    entries were yours.
    """
    shell = shell_of(context)
    with shell.custodian() as custodian:
        shell.confirm("End your account for good, and erase everything? None of your keys works after that.", yes)
        accepted = custodian.leave(Leaving(person=shell.credential().person, nonce=new_id(), at=custodian.now()))
    if as_json:
        shell.output.json({"leaving": accepted.hash})
        return
    shell.output.say("Your account has ended. What you recorded opens for nobody any more, and you are forgotten")
    shell.output.say("in the coming night. Backups that are older expire by themselves.")


@app.command()
def recordings(
    context: typer.Context,
    *,
    day: Annotated[str | None, typer.Option(callback=day_option, help="Only this day (UTC).")] = None,
    since: Since = FIRST_DAY,
    until: Until = None,
    to: Annotated[
        Path | None, typer.Option(help="Write the pictures of --day (default: today) onto one page, into this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Your own recordings by day: sessions, events, pictures, and what was not recorded. With --day each time in which
    something was not, and why. With --to, the pictures of one day on one page.

    They are opened through the same door as everybody's, and the log says so. The file is for you only (mode 0600):
    it is plain, so delete it when you have looked.
    """
    shell = shell_of(context)
    last = until or day_of(shell.now)
    if to is not None:
        since = last = day or day_of(shell.now)
    elif day is not None:
        since = last = day
    pictures: list[tuple[str, Pixels]] = []
    found: dict[str, dict[str, Any]] = {}
    try:
        with reading(shell, own=OwnData(from_day=since, to_day=last, modalities=tuple(Modality)), hours=1.0) as data:
            for session in data.sessions():
                _count(session, found.setdefault(session.day, {"sessions": 0, "events": {}, "frames": 0, **_NO_HOLES}))
                if to is not None:
                    pictures += _thinned(_captioned(session))
    except Refused as refused:
        if refused.code is Code.NOT_AVAILABLE:
            days = f"until {last}" if since == FIRST_DAY else f"of {_range(since, last)}"
            raise Failed(f"Nothing of yours {days} is stored.") from refused
        raise
    facts: dict[str, Any] = {
        "days": [{"day": one, **counts} for one, counts in sorted(found.items())],
        "lease": lease_json(shell, data),
        **account_json(data),
    }
    if to is not None:
        pictures = _thinned(iter(pictures))
        page = io.BytesIO()
        contact_sheet(pictures).save(page, "PNG")
        write_private(to, page.getvalue())
        counts = found.get(since, {"sessions": 0, "events": {}})
        facts |= {
            "day": since,
            "sessions": counts["sessions"],
            "events": counts["events"],
            "pictures_shown": len(pictures),
            "file": str(to),
        }
    if as_json:
        shell.output.json(facts)
        return
    _show_own(shell, data, facts)
    if day is not None:
        _show_holes(shell, facts)


_NO_HOLES: Mapping[str, Any] = {"holes": (), "forgotten_or_lost": 0, "missing_without_a_signature": 0}


def _count(session: Session, counts: dict[str, Any]) -> None:
    counts["sessions"] += 1
    for content in session.segments():
        events = counts["events"]
        events[content.modality] = events.get(content.modality, 0) + len(content.events)
        counts["frames"] += sum(isinstance(event, ScreenFrame) for event in content.events)
    coverage = session.coverage()
    counts["holes"] = (*counts["holes"], *map(_hole, holes(coverage.gaps)))
    for stream in coverage.streams:
        counts["forgotten_or_lost"] += sum(skip.to_sequence - skip.from_sequence + 1 for skip in stream.skips)
        counts["missing_without_a_signature"] += len(stream.findings)


def _hole(hole: Hole) -> dict[str, Any]:
    return {
        "from": _instant(hole.from_ns),
        "until": _instant(hole.until_ns),
        "seconds": round((hole.until_ns - hole.from_ns) / 1e9, 3),
        "reason": hole.reason.value,
        "modalities": [modality.value for modality in hole.modalities],
        "missing": hole.count,
    }


def _instant(at_ns: int) -> str:
    """A moment; the nearest one that a calendar has."""
    return moment(datetime.fromtimestamp(min(max(at_ns // 10**9, 0), 253_402_300_799), UTC))


WHY_NOT: Mapping[str, str] = {
    "paused": "paused",
    "locked": "the screen was locked",
    "idle": "nothing happened",
    "permission": "it could not be recorded",
    "excluded": "excluded",
    "secure-field": "a password field",
    "dropped": "lost",
    "budget": "too much at once",
    "clock": "the clock was in doubt",
}
"""Each reason for a hole, in plain words."""


def _not_recorded(counts: Mapping[str, Any]) -> str:
    """What a day lacks, on one line."""
    seconds: dict[str, float] = {}
    for hole in counts["holes"]:
        seconds[hole["reason"]] = seconds.get(hole["reason"], 0.0) + hole["seconds"]
    said = [f"{WHY_NOT[reason]}: {timedelta(seconds=round(length))}" for reason, length in sorted(seconds.items())]
    if counts["forgotten_or_lost"]:
        said.append(f"{counted(counts['forgotten_or_lost'], 'piece')} forgotten or lost")
    if counts["missing_without_a_signature"]:
        said.append(f"{counted(counts['missing_without_a_signature'], 'piece')} missing, and nobody knows why")
    return "; ".join(said)


def _show_holes(shell: Shell, facts: Mapping[str, Any]) -> None:
    rows = [
        (hole["from"][11:19], hole["until"][11:19], WHY_NOT[hole["reason"]], ", ".join(hole["modalities"]))
        for one in facts["days"]
        for hole in one["holes"]
    ]
    if rows:
        shell.output.say()
        shell.output.table("Not recorded (UTC)", ("from", "until", "why", "what"), rows, "")


def _show_own(shell: Shell, data: Data, facts: dict[str, Any]) -> None:
    out = shell.output
    rows = [
        (
            one["day"],
            one["sessions"],
            ", ".join(f"{count} {modality}" for modality, count in sorted(one["events"].items())),
            one["frames"],
            _not_recorded(one),
        )
        for one in facts["days"]
    ]
    columns = ("day", "sessions", "events", "pictures", "not recorded")
    out.table("Your recordings", columns, rows, "Nothing of what is stored could be shown.")
    _show_missing(shell, data)
    if "file" in facts:
        count = facts["pictures_shown"]
        out.say(f"{count} {'picture is' if count == 1 else 'pictures are'} in {facts['file']}.")
        out.say("That file is plain: delete it when you have looked.")
    elif rows:
        out.say("'assent me recordings --day DAY --to FILE.png' shows pictures; 'assent me export' gives you all.")


def _show_missing(shell: Shell, data: Data) -> None:
    for dropped in data.dropped:
        reason = plain(dropped.reason)
        shell.output.say(f"Not shown: a stream of {dropped.stream.modality}: {reason}.", "yellow")
    for empty in data.empty:
        if not empty.complete:
            reasons = ", ".join(sorted(empty.not_opened)) or f"it is {empty.closed}"
            shell.output.say(
                f"Not shown: a stream of {empty.modality}; nothing of it opens: {plain(reasons)}.", "yellow"
            )
    if data.missing:
        shell.output.say(f"Not at the collector, since not sent yet or erased: {counted(len(data.missing), 'stream')}.")


@app.command()
def export(
    context: typer.Context,
    *,
    to: Annotated[Path, typer.Option(help="The ZIP file to write.")],
    since: Since = FIRST_DAY,
    until: Until = None,
    modality: Annotated[list[Modality] | None, typer.Option(help="Only this modality; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Everything of yours as one ZIP: recordings, receipts, accesses with proofs, erasures, and how to read it.

    It is opened through the same door as for everybody, and the log says so. The file is for you only (mode 0600) and
    plain. If the command is killed, FILE.part is left; the next run removes it.
    """
    shell = shell_of(context)
    own = OwnData(
        from_day=since,
        to_day=until or day_of(shell.now),
        modalities=tuple(dict.fromkeys(modality or Modality)),
    )
    at = shell.now.timetuple()[:6]
    with written_whole(to) as file, Archive(file, (at[0], at[1], at[2], at[3], at[4], at[5])) as archive:
        archive.add_readme()
        facts: dict[str, Any] = {"from_day": own.from_day, "to_day": own.to_day}
        data: Data | None = None
        try:
            with reading(shell, own=own) as data:
                archive.add_recordings(data)
            facts |= {"lease": lease_json(shell, data), **account_json(data)}
        except Refused as refused:
            if refused.code is not Code.NOT_AVAILABLE or data is not None:
                raise
        facts |= archive.written.as_dict() | _add_papers(shell, archive)
        archive.add_json("account.json", facts)
    facts["file"] = str(to)
    if as_json:
        shell.output.json(facts)
        return
    out = shell.output
    events = sum(facts["events"].values())
    out.say(
        f"{to} holds {counted(facts['sessions'], 'session')} of {counted(len(facts['days']), 'day')}: "
        f"{counted(events, 'event')}, {counted(facts['frames'], 'picture')}; {counted(facts['receipts'], 'receipt')}, "
        f"{counted(facts['accesses'], 'access')}, {counted(facts['erasures'], 'erasure')}.",
        "green",
    )
    if data is not None:
        _show_missing(shell, data)
    out.say("That file is plain: whoever has it can read it.")


def _add_papers(shell: Shell, archive: Archive) -> dict[str, int]:
    """Receipts, accesses and erasures. Asked for after reading, so that this reading is among the accesses."""
    with shell.custodian() as custodian:
        receipts_view, accesses_view, erasures_view = custodian.receipts(), custodian.accesses(), custodian.erasures()
        kept = [_to_keep(shell, entry).completed(custodian) for entry in receipts_view.receipts]
    for entry, receipt in zip(receipts_view.receipts, kept, strict=True):
        archive.add(f"receipts/{entry.record}.receipt.json", receipt.to_json())
    notes = []
    for access in accesses_view.accesses:
        note = access.notification
        notes.append(note.model_dump(mode="json"))
        if access.proof is not None and access.leaf is not None:
            archive.add(f"accesses/{note.id}.tlog-proof", access.proof.encode())
            archive.add(f"accesses/{note.id}.leaf", from_base64(access.leaf))
    archive.add_json("accesses/accesses.json", notes)
    for name, file in erasure_files(erasures_view):
        archive.add(f"erasures/{name}", file.to_json())
    archive.add_json("erasures/fallen.json", [row.model_dump(mode="json") for row in erasures_view.fallen])
    return {
        "receipts": len(receipts_view.receipts),
        "accesses": len(accesses_view.accesses),
        "erasures": len(erasures_view.erasures),
    }


def _captioned(session: Session) -> Iterator[tuple[str, Pixels]]:
    """Pictures with the time as caption, masked parts hatched, small enough to hold many."""
    displays: dict[int, Rect] = {}
    if Modality.CONTEXT in session.modalities:
        for recorded in session.events(Modality.CONTEXT):
            if isinstance(recorded.event, DisplaysChanged):
                displays.update({display.id: display.rect for display in recorded.event.displays})
    for picture in session.frames():
        rect = displays.get(picture.event.display)
        origin = (rect.x, rect.y) if rect is not None else (0, 0)
        image = Image.fromarray(hatched(picture.pixels, picture.event.masked, origin))
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=picture.at_ns // 1000)
        yield f"{at:%H:%M:%S} UTC, {picture.event.binding}", np.asarray(image)


def _thinned(pictures: Iterator[tuple[str, Pixels]]) -> list[tuple[str, Pixels]]:
    """At most `PICTURES`, evenly spread: when there are more, every second is let go, again and again."""
    kept: list[tuple[str, Pixels]] = []
    step = 1
    for number, picture in enumerate(pictures):
        if number % step == 0:
            kept.append(picture)
            if len(kept) > PICTURES:
                kept = kept[::2]
                step *= 2
    return kept
