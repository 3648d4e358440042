"""The command `assent-agent`: enrol, run, look, pause, forget, withdraw.

Exit codes: 0 done, 1 refused or failed (the reason is on standard error), 2 the command was not understood. With
`--json` the answer is one JSON object on standard output. Whatever takes time to import is imported by the command
that needs it, so that `status` answers at once.
"""
# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from assent_agent.runtime.control import AgentNotRunning, ask
from assent_agent.runtime.paths import base_folder, control_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from assent.client.receipts import Pair
    from assent.contracts.ids import Modality
    from assent.contracts.wire import Offer
    from assent_agent.app import Parts
    from assent_agent.core.monitors import Monitor

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
consent_app = typer.Typer(no_args_is_help=True, help="What you agreed to: show, give, withdraw, save the receipt.")
app.add_typer(consent_app, name="consent")

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]
_DURATION = re.compile(r"(\d+)\s*([smhd]?)", re.IGNORECASE)
BUSY_S = 15
_UNITS = {"": 60, "s": 1, "m": 60, "h": 3600, "d": 86400}


def main() -> None:
    """Entry point."""
    app()


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def _print(as_json: bool, answer: dict[str, Any], text: str) -> None:
    typer.echo(json.dumps(answer, ensure_ascii=False) if as_json else text)


def _seconds(text: str) -> int:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter("say for instance 30s, 10m, 2h")
    return int(match[1]) * _UNITS[match[2].lower()]


def _spoken(seconds: int) -> str:
    """For instance "10 minutes"."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds and seconds % size == 0:
            return _counted(seconds // size, unit)
    return _counted(seconds, "second")


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" + ("" if number == 1 else "s")


def _here(at: str) -> str:
    """A moment by the clock here, for instance "26 November 2026, 14:05"."""
    from datetime import datetime

    here = datetime.fromisoformat(at).astimezone()
    return f"{here.day} {here:%B %Y, %H:%M}"


def _prompt(text: str) -> str:
    if not sys.stdin.isatty():
        _fail("A passphrase is needed, and nobody can be asked: set ASSENT_AGENT_PASSPHRASE_FILE.")
    return str(typer.prompt(text, hide_input=True, prompt_suffix=""))


@contextmanager
def _parts() -> Iterator[Parts]:
    """What commands work with; errors become a sentence and exit code 1."""
    from assent_agent import app as agent_app
    from assent_agent.runtime.home import AgentHome
    from assent_agent.settings import AgentSettings

    try:
        yield agent_app.Parts(AgentHome(base_folder(os.environ)), AgentSettings(), _prompt)
    except agent_app.EXPECTED as error:
        _fail(agent_app.explain(error))


def _wish(question: dict[str, Any]) -> dict[str, Any] | None:
    """Ask the running agent; None when there is none."""
    try:
        answer = ask(control_socket(os.environ), question)
    except AgentNotRunning:
        return None
    if answer.get("ended"):
        return None
    if not answer.get("ok"):
        _fail(str(answer.get("error", "The agent refused.")))
    answer.pop("ok")
    return answer


@app.command()
def enrol(code: str, as_json: Json = False) -> None:
    """Join with an invitation CODE: makes a key for this device, and the key that opens your recordings."""
    with _parts() as parts:
        from assent.client.credentials import passphrase_from_file
        from assent_agent import app as agent_app

        def passphrase() -> str:
            from_file = passphrase_from_file()
            if from_file is not None:
                return from_file
            if not sys.stdin.isatty():
                _fail("Your passphrase is needed, and nobody can be asked: set ASSENT_PASSPHRASE_FILE.")
            return str(
                typer.prompt("Choose a passphrase for your recordings", hide_input=True, confirmation_prompt=True)
            )

        identity = agent_app.enrol(parts, code, passphrase)
        _print(
            as_json,
            {"person": identity.person, "name": identity.name, "custodian": identity.custodian_url},
            f"Welcome, {identity.name}. Nothing is recorded: see 'assent-agent consent give' for what you can choose.",
        )


@app.command("stop-recovery")
def stop_recovery(as_json: Json = False) -> None:
    """Stop every recovery of your account that you did not ask for."""
    with _parts() as parts:
        from assent_agent import app as agent_app

        stopped = agent_app.stop_recovery(parts)
        text = f"Stopped: {stopped}." if stopped else "Nobody is recovering your account."
        _print(as_json, {"stopped": stopped}, text)


@app.command()
def run(
    source: Annotated[
        str, typer.Option(help="'x11', or 'replay:FILE' to play a file instead of recording this desktop.")
    ] = "x11",
    exit_when_done: Annotated[
        bool, typer.Option(help="With a replay: end after it, and send what may be sent.")
    ] = False,
) -> None:
    """Run the agent until it is stopped. It records only what you agreed to, and only while the indicator is shown."""
    with _parts() as parts:
        from assent_agent import app as agent_app

        kind, _, file = source.partition(":")
        if kind == "replay" and file:
            typer.echo("Replaying a file. Nothing of this desktop is captured, so no indicator is shown.", err=True)
            agent_app.run_replay(parts, Path(file), exit_when_done=exit_when_done)
            return
        if source != "x11":
            raise typer.BadParameter("want x11 or replay:FILE", param_hint="--source")
        raise typer.Exit(agent_app.run_desktop(parts))


@app.command()
def status(as_json: Json = False) -> None:
    """What the agent does right now, as it is observed."""
    answer = _wish({"do": "status"})
    if answer is None:
        answer = {"state": "off", "sentence": "The agent does not run. Nothing is recorded.", **_at_rest()}
    lines = [str(answer["sentence"])]
    if answer.get("asks_anew"):
        lines.append(
            f"What you agreed to has changed ({', '.join(answer['asks_anew'])}): you are asked anew, and nothing is "
            "recorded of it until you agree. See 'assent-agent consent give'."
        )
    lines += [str(line) for line in answer.get("narrowed", ())]
    if answer.get("paused_until"):
        until = str(answer["paused_until"])
        lines.append(f"Paused until {until if until == 'you resume' else _here(until)}.")
    for modality, seconds in sorted(answer.get("arrived_s", {}).items()):
        lines.append(f"  {modality}: last observed {seconds:.0f} s ago")
    lines.append(
        f"Waiting here, sealed: {_counted(answer['segments_waiting'], 'segment')}"
        + (f", {answer['segments_held']} of them held for you." if answer.get("segments_held") else ".")
    )
    if answer.get("valid_until"):
        lines.append(f"Your consent ends {_here(answer['valid_until'])}.")
    for withdrawal in answer["withdrawals"]:
        what = f"Withdrawn {_here(withdrawal['at'])} ({', '.join(withdrawal['of']) or 'everything'})"
        if withdrawal["confirmed"]:
            lines.append(f"{what}: confirmed; erased from {withdrawal['erased_from']}.")
        else:
            lines.append(f"{what}: not confirmed yet; it will be delivered.")
    lines += [str(message) for message in answer.get("messages", ())]
    if answer.get("accesses"):
        lines.append(f"{answer['accesses']} accesses to tell you of: see 'assent me accesses'.")
    troubles = ("damaged", "own_trouble", "log_trouble", "custodian_trouble", "upload_trouble")
    lines += [str(answer[key]) for key in troubles if answer.get(key)]
    _print(as_json, answer, "\n".join(lines))


def _at_rest() -> dict[str, Any]:
    """What can be said without keys and without an agent."""
    with _parts() as parts:
        from assent_agent.runtime.home import HomeDamaged, told_withdrawals

        try:
            narrowed = list(parts.home.narrowing().words())
        except HomeDamaged as error:
            narrowed = [str(error)]
        switch = parts.home.switch()
        folder = parts.home.spool
        sealed = [p for p in folder.glob("*/*") if p.suffix in (".segment", ".sending")] if folder.exists() else []
        return {
            "narrowed": narrowed,
            "segments_waiting": len(sealed),
            "paused_until": None if not switch.paused else switch.paused_until or "you resume",
            **told_withdrawals(parts.home),
        }


@app.command()
def pause(
    duration: Annotated[str, typer.Argument(help="For instance 5m or 1h; without it, until you resume.")] = "",
    as_json: Json = False,
) -> None:
    """Stop recording for a while, or until you resume."""
    seconds = _seconds(duration) if duration else None

    def at_rest(parts: Parts) -> dict[str, Any]:
        from assent_agent import app as agent_app

        agent_app.pause(parts, seconds)
        return {"state": "paused"}

    answer = _done({"do": "pause", "seconds": seconds}, at_rest)
    text = "Paused." if seconds is None else f"Paused for {_spoken(seconds)}."
    _print(as_json, answer, _with_trouble(text, answer))


@app.command()
def resume(as_json: Json = False) -> None:
    """Go on after a pause."""

    def at_rest(parts: Parts) -> dict[str, Any]:
        from assent_agent import app as agent_app

        agent_app.resume(parts)
        return {"state": "off", "sentence": "No pause any more. The agent does not run."}

    answer = _done({"do": "resume"}, at_rest)
    _print(as_json, answer, _with_trouble(str(answer["sentence"]), answer))


def _with_trouble(text: str, answer: dict[str, Any]) -> str:
    return f"{text}\n{answer['own_trouble']}" if answer.get("own_trouble") else text


def _done(question: dict[str, Any], at_rest: Callable[[Parts], dict[str, Any]]) -> dict[str, Any]:
    """Have it done by the running agent; where none runs, here. One that is starting or ending is waited for."""
    from assent_agent.runtime.home import HomeBusy, HomeLock

    with _parts() as parts:
        until = time.monotonic() + BUSY_S
        while True:
            answer = _wish(question)
            if answer is not None:
                return answer
            parts.home.identity()
            try:
                lock = HomeLock(parts.home)
            except HomeBusy:
                if time.monotonic() > until:
                    _fail("The agent is starting or ending, and does not answer. Nothing was done; try again.")
                time.sleep(0.2)
                continue
            try:
                return at_rest(parts)
            finally:
                lock.release()


@app.command()
def forget(
    last: Annotated[str, typer.Option("--last", help="For instance 10m.")],
    as_json: Json = False,
) -> None:
    """Destroy what was recorded in the last while and is still here. Works offline."""
    seconds = _seconds(last)

    def at_rest(parts: Parts) -> dict[str, Any]:
        from datetime import timedelta

        from assent_agent import app as agent_app

        done = agent_app.forget(parts, timedelta(seconds=seconds))
        return {"forgotten": done.segments, "out_of_reach": done.out_of_reach}

    answer = _done({"do": "forget", "seconds": seconds}, at_rest)
    text = (
        f"Forgotten: what was still here of the last {_spoken(seconds)}, in whole segments of five minutes or less: "
        f"what was not sealed yet, and {_counted(answer['forgotten'], 'sealed segment')}."
    )
    if answer["out_of_reach"]:
        text += f"\nBeing sent already: {answer['out_of_reach']}. Erase those with 'assent me erase'."
    _print(as_json, answer, text)


@app.command()
def send(as_json: Json = False) -> None:
    """Send what waits here now, also what is still held for you to look at."""

    def at_rest(parts: Parts) -> dict[str, Any]:
        from assent_agent import app as agent_app

        done = agent_app.send(parts)
        if not done.succeeded:
            _fail(f"Sent {done.sent}; the rest waits here: {done.sentence}")
        return {"sent": done.sent}

    answer = _done({"do": "send"}, at_rest)
    sent = answer.get("sent")
    _print(as_json, answer, "Sending. See 'assent-agent status'." if sent is None else f"Sent {sent}.")


@app.command()
def uninstall(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    anyway: Annotated[bool, typer.Option(help="Even though a withdrawal is not delivered yet.")] = False,
) -> None:
    """Remove the agent's keys and what was not sent. Your receipts, and proofs of who opened recordings, are kept."""
    with _parts() as parts:
        from assent_agent import app as agent_app
        from assent_agent.runtime.home import HomeBusy, HomeLock

        parts.home.identity()
        try:
            lock = HomeLock(parts.home)
        except HomeBusy:
            _fail("The agent runs. Quit it first, from the tray or where you started it. Nothing was removed.")
        if not yes and not (sys.stdin.isatty() and typer.confirm("Destroy what is not sent, and this device's key?")):
            _fail("Nothing was removed. Say --yes to remove it.")
        if agent_app.deliver_withdrawals(parts) and not anyway:
            _fail("A withdrawal is not delivered yet, and only this device's key can do it. Try again when online.")
        agent_app.uninstall(parts)
        lock.release()
        kept = "Your receipts, and the proofs of who opened your recordings, are still in"
        typer.echo(f"Removed. {kept} {parts.home.folder}.")


# --- consent --------------------------------------------------------------------------------------


@consent_app.command("show")
def consent_show(as_json: Json = False) -> None:
    """What you agreed to on this device; with nothing given, what you could choose."""
    with _parts() as parts:
        from assent.contracts.envelope import read_unverified
        from assent.contracts.statements import Receipt
        from assent_agent import app as agent_app

        stored, held = parts.home.receipt(), parts.home.held_receipt()
        if stored is None or held is None:
            offer = agent_app.offer(parts)
            _print(as_json, {"receipt": None, "offer": json.loads(offer.to_json())}, _offer_text(offer))
            return
        receipt = read_unverified(stored.receipt, Receipt)
        choices = sorted((modality.value, purpose) for modality, purpose in held.choices)
        text = [f"You agreed on {receipt.at}, until {receipt.valid_until}:"]
        text += _pairs_text(held.choices, {purpose.iri: purpose.sentence for purpose in receipt.purposes})
        text += [f"Keyboard: {held.keyboard_mode.value}.", "Withdraw with 'assent-agent consent withdraw'."]
        _print(
            as_json,
            {
                "receipt": held.record,
                "at": receipt.at,
                "valid_until": receipt.valid_until,
                "choices": choices,
                "keyboard_mode": held.keyboard_mode.value,
            },
            "\n".join(text),
        )


def _pairs_text(pairs: Collection[Pair], sentences: Mapping[str, str]) -> list[str]:
    """A table, modalities down and purposes across; below it each purpose by its number, as it was shown."""
    from assent.contracts.ids import Modality

    columns = [iri for iri in sentences if any(purpose == iri for _, purpose in pairs)]
    lines = [f"  {'':<10}" + "".join(f"{number:>5}" for number in range(1, len(columns) + 1))]
    for modality in Modality:
        marks = ("yes" if (modality, iri) in pairs else "-" for iri in columns)
        lines.append(f"  {modality.value:<10}" + "".join(f"{mark:>5}" for mark in marks))
    return lines + [f"  {number}: {iri}: {sentences[iri]}" for number, iri in enumerate(columns, 1)]


def _offer_text(offer: Offer) -> str:
    lines = [offer.notice, "", "Purposes:"]
    for purpose in offer.purposes:
        lines.append(f"  {purpose.iri}: {purpose.sentence}")
        lines.append(f"    who may receive it: {', '.join(purpose.recipients)}")
    lines += ["", "What is recorded, if you choose it:"]
    lines += [f"  {item.modality.value}: {item.words}" for item in offer.personal_data]
    terms = offer.terms
    lines += ["", *(f"{party.name}: {party.address}. Contact: {party.contact}." for party in terms.parties)]
    lines += [*(basis.words for basis in terms.lawful_basis), *terms.storage_locations, *terms.jurisdiction]
    lines += [f"Kept for {terms.retention_days} days at most.", "Your rights:", *(f"  {r}" for r in terms.rights)]
    lines += ["", *offer.statements, "", f"Consent ends after {offer.valid_days} days. Nothing is chosen for you."]
    lines.append("Applications that may be recorded: " + (", ".join(offer.application_list.allow) or "none"))
    return "\n".join(lines)


@consent_app.command("give")
def consent_give(
    modality: Annotated[list[str] | None, typer.Option(help="pointer, keyboard, screen or context; repeat it.")] = None,
    purpose: Annotated[list[str] | None, typer.Option(help="The purpose's identifier; repeat it.")] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option(metavar="MODALITY=PURPOSE", help="One modality for one purpose; repeat it."),
    ] = None,
    keyboard_mode: Annotated[str, typer.Option(help="shape (kind and timing of keys) or text (which keys).")] = "shape",
    export: Annotated[bool, typer.Option(help="Also allow copies outside the protected reader.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="You have read the notice; do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Agree to be recorded on this device: what, and for what. Nothing is chosen for you.

    Every --modality counts for every --purpose; a --choice is one pair alone. What is signed is shown as a table first.
    """
    with _parts() as parts:
        from assent.contracts.events import KeyboardMode
        from assent.contracts.ids import Modality
        from assent.contracts.statements import Mode
        from assent_agent import app as agent_app

        parts.home.identity()
        shown = agent_app.offer(parts)
        asking = sys.stdin.isatty() and not yes
        if not asking and not (yes and (choice or modality) and bool(modality) == bool(purpose)):
            _fail(
                "Say what you agree to: --modality with --purpose, or --choice MODALITY=PURPOSE, and --yes. "
                "The notice: 'assent-agent consent show'."
            )
        try:
            mode = KeyboardMode(keyboard_mode)
            single = {_pair(each) for each in choice or ()}
            modalities = [Modality(each) for each in modality or ()]
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        if asking:
            typer.echo(_offer_text(shown) + "\n")
        pairs = single | {(one, iri) for one in modalities for iri in purpose or ()}
        if asking and not (single and bool(modality) == bool(purpose)):
            pairs |= _ticked_pairs(shown, modalities, purpose or [])
        if asking and any(one is Modality.KEYBOARD for one, _ in pairs):
            mode = KeyboardMode.TEXT if typer.confirm("Record which keys (else only their kind)?") else mode
        modes = (Mode.READER, Mode.EXPORT) if export else (Mode.READER,)
        if asking and not pairs:
            _fail("Nothing was given, and nothing is recorded.")
        agent_app.check_offered(shown, pairs, mode, modes)
        sentences = {one.iri: one.sentence for one in shown.purposes}
        typer.echo("\n".join(["You agree to:", *_pairs_text(pairs, sentences)]), err=as_json)
        if asking and not typer.confirm("Give this consent?"):
            _fail("Nothing was given, and nothing is recorded.")
        receipt, path = agent_app.give(parts, shown, pairs=pairs, keyboard_mode=mode, modes=modes)
        _wish({"do": "given"})
        _print(
            as_json,
            {"receipt": receipt.record, "file": str(path), "valid_until": receipt.valid_until},
            f"Thank you. Your receipt: {path}\nWithdraw at any time: 'assent-agent consent withdraw'.",
        )


@consent_app.command("narrow")
def consent_narrow(
    application: Annotated[
        list[str] | None, typer.Option(help="Never record this application, whatever the list says; repeat it.")
    ] = None,
    hours: Annotated[str | None, typer.Option(help="Record only then, by the clock here: 9:00-17:30.")] = None,
    monitor: Annotated[
        list[str] | None,
        typer.Option(help="Never record this monitor, by the name of its output, like HDMI-1; repeat it."),
    ] = None,
    only_monitor: Annotated[
        list[str] | None, typer.Option(help="Record no monitor but this one; repeat it for several.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="First give back all that was taken away before.")] = False,
    as_json: Json = False,
) -> None:
    """Take applications, hours and monitors away from what you agreed to. It needs nobody, and never leaves this
    computer. A monitor is known by its output, its size, and what it says of itself: one that you have not spoken
    about stops recording until you do. Without options, show what was taken away.
    """
    from assent_agent.core.monitors import MonitorsInvalid, never, only
    from assent_agent.core.narrowing import Narrowing, NarrowingInvalid, hours_of, hours_text

    if monitor and only_monitor:
        raise typer.BadParameter("say --monitor or --only-monitor, not both")
    with _parts() as parts:
        parts.home.identity()
        try:
            asked = None if hours is None else hours_of(hours)
            before = Narrowing() if clear else parts.home.narrowing()
            monitors = before.monitors
            if monitor or only_monitor:
                connected = _monitors()
                monitors = never(monitor, connected, monitors) if monitor else only(only_monitor or (), connected)
        except NarrowingInvalid as error:
            raise typer.BadParameter(str(error)) from error
        except MonitorsInvalid as error:
            _fail(str(error))
        names = {name.strip() for name in application or ()} - {""}
        narrowing = Narrowing(before.applications | names, asked or before.hours, monitors)
        if clear or names or asked or monitor or only_monitor:
            parts.home.save_narrowing(narrowing)
            _wish({"do": "narrowed"})
        chosen = narrowing.monitors
        found = {
            "applications": sorted(narrowing.applications),
            "hours": None if narrowing.hours is None else hours_text(narrowing.hours),
            "monitors": None
            if chosen is None
            else {
                "recorded": [known.name for known in sorted(chosen.recorded)],
                "never": None if chosen.never is None else sorted(chosen.never),
            },
        }
        _print(as_json, found, "\n".join(narrowing.words()) or "You took nothing away from what you agreed to.")


def _monitors() -> tuple[Monitor, ...]:
    """Those of the desktop on which this command runs. Raises CaptureUnavailable."""
    from assent_agent.adapters.platforms import desktop_monitors

    return desktop_monitors(os.environ)


def _pair(text: str) -> Pair:
    """A pair as it is named on the command line. Raises ValueError."""
    from assent.contracts.ids import Modality

    modality, is_a_pair, purpose = (part.strip() for part in text.partition("="))
    if not is_a_pair or not purpose or modality not in list(Modality):
        raise ValueError(
            f"{text!r} is no choice: say MODALITY=PURPOSE, for instance pointer=urn:purpose:train; "
            f"a modality is one of {', '.join(Modality)}"
        )
    return Modality(modality), purpose


def _ticked_pairs(shown: Offer, modalities: Collection[Modality], purposes: Collection[str]) -> set[Pair]:
    """Ask for each purpose, and then for each modality of it, unless that was said already."""
    from assent.contracts.ids import Modality

    pairs: set[Pair] = set()
    for purpose in shown.purposes:
        if purpose.iri in purposes or (not purposes and typer.confirm(f"For: {purpose.sentence}", default=False)):
            if not modalities:
                typer.echo(f"What may be recorded for this: {purpose.sentence}")
            pairs |= {
                (one, purpose.iri)
                for one in modalities or Modality
                if modalities or typer.confirm(f"Record {one.value}?", default=False)
            }
    return pairs


@consent_app.command("refuse")
def consent_refuse(
    never: Annotated[bool, typer.Option("--never", help="And do not ask me again.")] = False,
    as_json: Json = False,
) -> None:
    """Say no. It is kept on this computer only; you can still agree later, if you want to."""
    with _parts() as parts:
        from assent_agent import app as agent_app

        parts.home.identity()
        agent_app.decline(parts, never=never)
        text = "You will not be asked again." if never else "You will not be asked again for 90 days."
        _print(as_json, {"never": never}, text)


@consent_app.command("withdraw")
def consent_withdraw(
    modality: Annotated[list[str] | None, typer.Option(help="Only this modality; repeat it.")] = None,
    purpose: Annotated[list[str] | None, typer.Option(help="Only this purpose; repeat it.")] = None,
    as_json: Json = False,
) -> None:
    """Withdraw: recording stops, what is not sent is destroyed. Works offline, at once, and needs no reason."""
    from assent.contracts.ids import Modality

    try:
        modalities = frozenset(Modality(each) for each in modality or ())
    except ValueError as error:
        known = ", ".join(m.value for m in Modality)
        raise typer.BadParameter(f"{error}; there are {known}") from error

    def at_rest(parts: Parts) -> dict[str, Any]:
        from assent_agent import app as agent_app

        done = agent_app.withdraw(parts, modalities, frozenset(purpose or ()))
        return {"confirmed": done.confirmed, "erased_from": done.erased_from, "left": list(done.left)}

    question = {"do": "withdraw", "modalities": modality or [], "purposes": purpose or []}
    answer = _done(question, at_rest)
    if not answer.get("withdrawn", True):
        text = "There was no consent on this device. Nothing is recorded, and nothing waits here to be sent."
    elif answer["left"]:
        text = "Withdrawn. What was not sent of it, and is covered by nothing else, is destroyed. You still agree to:"
        text += "".join(f"\n  {choice}" for choice in answer["left"])
    else:
        text = "Withdrawn. Recording has stopped here, and what was not sent is destroyed."
    if answer.get("confirmed"):
        text += f"\nConfirmed by the custodian; erased from {answer['erased_from']}."
    elif not answer.get("written_down", True):
        text += "\nIt cannot be written down yet (is the disk full?). It is tried again as long as the agent runs."
    elif answer.get("withdrawn", True):
        text += "\nIt is written down and will be delivered; 'assent-agent status' says when it is confirmed."
    _print(as_json, answer, text)


@consent_app.command("receipt")
def consent_receipt(
    save: Annotated[Path | None, typer.Option(help="Write each receipt as a file into this folder.")] = None,
) -> None:
    """Print (or save) the receipts given on this device, as they were signed by you and the custodian.

    'assent me receipts --verify FILE' checks a saved one without a network.
    """
    with _parts() as parts:
        receipts = parts.home.receipts()
        if not receipts:
            _fail("No receipt was given on this device.")
        if save is None:
            typer.echo(json.dumps([json.loads(stored.to_json()) for stored in receipts], indent=1))
            return
        from assent_agent import app as agent_app

        count, proved = agent_app.save_receipts(parts, save)
        text = f"Saved {count} in {save}; {proved} with the proof that the log has it."
        if proved < count:
            text += " A receipt is in the log one night after it was given: save it again then."
        typer.echo(text)


if __name__ == "__main__":
    main()
