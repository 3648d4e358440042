"""`assent audit list`, `show` and `report`: what stands in the log, for people. Every entry that is shown was compared
with what witnesses signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from assent.cli.log_sources import FromCopy, Root, Source, proven
from assent.cli.output import Output, plain
from assent.cli.shell import AsJson, Failed, Shell, shell_of
from assent.cli.zones import TimeZone, Zone
from assent.client.files import write_private
from assent.contracts.ids import Modality, is_hex
from assent.contracts.leaves import LeafType
from assent.contracts.statements import Role
from assent.reader.log_entries import Entry, Wanted, select
from assent.reader.log_pivots import Reference, Story, story
from assent.reader.log_report import Reporting, Section, markdown
from assent.reader.log_rules import SKEW
from assent.reader.log_words import sentence, short

ENDS_EARLY = "the time ends before it begins"
LIST_COLUMNS = ("index", "at", "kind", "decision", "what")


def _kinds(names: list[str] | None) -> frozenset[LeafType]:
    """`lease` means all kinds that begin with `lease.`. Raises typer.BadParameter."""
    found: set[LeafType] = set()
    for name in names or ():
        fitting = {kind for kind in LeafType if kind.value == name or kind.value.startswith(f"{name}.")}
        if not fitting:
            known = ", ".join(sorted({kind.value.partition(".")[0] for kind in LeafType}))
            raise typer.BadParameter(f"{name!r} is no kind of entry; there are {known}, or one of theirs in full")
        found |= fitting
    return frozenset(found)


def _digits(text: str | None) -> str | None:
    """The first digits of a hash, key or pseudonym. Raises typer.BadParameter."""
    if text is None:
        return None
    digits = text.strip().lower()
    if not is_hex(digits):
        raise typer.BadParameter(f"{text!r} is not made of hexadecimal digits, as the log shows them")
    return digits


def list_(
    context: typer.Context,
    since: Annotated[str | None, typer.Option("--from", metavar="TIME", help="A day, or a moment.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="A day (all of it), or a moment.")] = None,
    actor: Annotated[str | None, typer.Option(help="A pseudonym's first digits: who did it.")] = None,
    role: Annotated[Role | None, typer.Option(help="What only this role does, and how people got or lost it.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="A kind, as lease.opened, or several, as lease; may be repeated.")
    ] = None,
    decision: Annotated[Literal["allowed", "refused"] | None, typer.Option(help="allowed or refused.")] = None,
    request: Annotated[str | None, typer.Option(help="A request's first digits.")] = None,
    purpose: Annotated[str | None, typer.Option(help="A part of the purpose's IRI.")] = None,
    modality: Annotated[Modality | None, typer.Option(help="What was asked for.")] = None,
    lease: Annotated[str | None, typer.Option(help="A lease's first digits.")] = None,
    job: Annotated[str | None, typer.Option(help="First digits of a fingerprint of a job's key.")] = None,
    start: Annotated[int | None, typer.Option(min=0, help="From this entry on; default: the last ones.")] = None,
    count: Annotated[int, typer.Option(min=1, help="So many at most.")] = 50,
    tz: TimeZone = None,
    copy: FromCopy = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Entries of the log, the newest last. That you looked is in the log, too, unless you see nothing but looks of
    your own, or read a --copy.
    """
    shell, zone = shell_of(context), Zone.named(tz)
    wanted = Wanted(
        start=zone.parse(since) if since else None,
        end=zone.parse(until, end=True) if until else None,
        kinds=_kinds(kind),
        decision=decision,
        actor=_digits(actor),
        role=role.value if role else None,
        request=_digits(request),
        lease=_digits(lease),
        job=_digits(job),
        purpose=purpose,
        modality=modality.value if modality else None,
    )
    if wanted.start is not None and wanted.end is not None and wanted.end <= wanted.start:
        raise typer.BadParameter(ENDS_EARLY)
    with proven(shell, copy, root) as source:
        size = source.log.size + (len(source.too_new) if wanted.end is None else 0)
        if start is None:
            first = max(0, size - count) if wanted.is_everything else 0
            found = select(source.newest_first(first), wanted, count)
        else:
            stop = start + count if wanted.is_everything else None
            found = select(source.newest_first(start, stop), wanted)[:count]
    if as_json:
        shell.output.json(
            {"size": size, **_banner_json(source, zone), "entries": [_json(entry, zone) for entry in found]}
        )
        return
    rows = [
        (entry.index, zone.text(entry.leaf.at), entry.leaf.type.value, entry.leaf.decision or "", _words(entry))
        for entry in found
    ]
    shell.output.table(f"The log, {size} entries", LIST_COLUMNS, rows, "No such entries.")
    _banner(shell, source, zone)


def show(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="INDEX|HASH|request:HASH|lease:HASH|job:KEY",
            help="An entry by its number, or by its first digits anything that stands in the log.",
        ),
    ],
    save: Annotated[
        Path | None, typer.Option(help="An entry's proof into this file, and the entry beside it as ….leaf.")
    ] = None,
    tz: TimeZone = None,
    copy: FromCopy = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """One entry in plain words, with the proof that it is in the log; or a request with its approvals, leases, what was
    opened, and who was told.
    """
    shell, zone = shell_of(context), Zone.named(tz)
    number = int(what) if what.isascii() and what.isdigit() and len(what) < 8 else None
    try:
        wanted = None if number is not None else Reference.parse(what)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with proven(shell, copy, root) as source:
        if wanted is None:
            _show_entry(shell, source, source.entry(number or 0), zone, save, as_json)
            return
        told = story(source.newest_first(), wanted)
        if not told.request and len(told.entries) == 1:
            _show_entry(shell, source, told.entries[0], zone, save, as_json)
            return
    if save is not None:
        raise typer.BadParameter("several entries are about it: name one by its number to save its proof")
    _show_story(shell, source, told, zone, as_json)


def report(
    context: typer.Context,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="A day, or a moment.")],
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="A day (all of it), or a moment; default: now.")
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of tables.")] = False,
    tz: TimeZone = None,
    copy: FromCopy = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """What was read since then, by whom, under which approvals; what was refused or failed, who got which role, what
    was changed; and whether that is more than usual. Reads the whole log: --copy spares the custodian.
    """
    shell, zone = shell_of(context), Zone.named(tz)
    if as_json and as_markdown:
        raise typer.BadParameter("either --json or --markdown")
    start = zone.parse(since)
    end = zone.parse(until, end=True) if until else shell.now + SKEW
    if end <= start:
        raise typer.BadParameter(ENDS_EARLY)
    with proven(shell, copy, root) as source:
        seen = Reporting(start, end, zone.day)
        for entry in source.log.forwards():
            seen.read(entry)
    heard = source.policy.heard(source.log.witnessed)
    sections = seen.sections(zone.text, source.newest or shell.now, heard)
    if as_json:
        said = {"from": zone.shown(start), "to": zone.shown(end), "size": source.log.size}
        tables = {section.name: [dict(row) for row in section.rows] for section in sections}
        shell.output.json({**said, **_banner_json(source, zone), **tables})
        return
    facts = [f"From {zone.shown(start)} to {zone.shown(end)}", *_facts(source, zone)]
    if as_markdown:
        shell.output.out.print(markdown("Report of the audit log", facts, sections), markup=False, end="")
        return
    shell.output.say("Report of the audit log", "bold")
    for fact in facts:
        shell.output.say(fact)
    for section in sections:
        _table(shell.output, section)


def _table(output: Output, section: Section) -> None:
    rows = [[row[name] for name, _ in section.columns] for row in section.rows]
    output.say()
    output.table(section.title, [heading for _, heading in section.columns], rows, f"{section.title}: {section.empty}")


# --- one entry --------------------------------------------------------------------------------------------------------


TOO_NEW = "No witness has seen this entry yet: until one has, it is the custodian's word alone."


def _words(entry: Entry) -> str:
    return sentence(entry.leaf, entry.actor_name) + ("" if entry.witnessed else "  (no witness has seen it yet)")


def _json(entry: Entry, zone: Zone) -> dict[str, Any]:
    fields = entry.leaf.model_dump(mode="json", exclude_none=True)
    return {
        "index": entry.index,
        "actor_name": entry.actor_name,
        "time": zone.text(entry.leaf.at),
        "text": sentence(entry.leaf, entry.actor_name),
        "hash": entry.hash,
        "witnessed": entry.witnessed,
        **fields,
    }


def _see_also(entry: Entry) -> list[str]:
    """Commands that lead on from an entry."""
    leaf, found = entry.leaf, []
    if leaf.request is not None:
        found.append(f"assent audit show request:{short(leaf.request)}")
    elif leaf.subject is not None and leaf.type is not LeafType.PERSON:
        found.append(f"assent audit show {short(leaf.subject)}")
    if leaf.actor is not None and leaf.mode != "own":
        found.append(f"assent audit list --actor {short(leaf.actor)}")
    return found


def _show_entry(shell: Shell, source: Source, entry: Entry, zone: Zone, save: Path | None, as_json: bool) -> None:
    log = source.log
    proof = log.proof(entry.index) if entry.witnessed else None
    if proof is not None:
        proof.verify(entry.data, source.policy)
    if save is not None:
        if proof is None:
            raise Failed(f"{TOO_NEW} There is no proof of it; try again in a minute.")
        write_private(save, proof.to_bytes())
        write_private(save.with_suffix(".leaf"), entry.data)
    if as_json:
        proved = None
        if proof is not None:
            head = {"checkpoint_size": log.size, "root": log.witnessed.checkpoint.root.hex(), "verified": True}
            proved = {**head, "hashes": [one.hex() for one in proof.hashes]}
        told = {"entry": _json(entry, zone), "proof": proved, "see_also": _see_also(entry)}
        shell.output.json({**told, **_banner_json(source, zone)})
        return
    leaf = entry.leaf
    shell.output.say(sentence(leaf, entry.actor_name), "bold red" if leaf.decision == "refused" else "bold")
    fields = json.loads(entry.data)
    facts = [("entry", f"{entry.index} of {log.origin}"), ("written", zone.text(leaf.at)), ("kind", leaf.type.value)]
    if leaf.actor is not None:
        facts.append(("by", f"{leaf.actor}{f'  {entry.actor_name}' if entry.actor_name else ''}"))
    facts += [
        (name, ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else _joined(value))
        for name, value in fields.items()
        if name not in ("v", "type", "at", "actor")
    ]
    facts.append(("leaf hash", entry.hash))
    shell.output.facts(facts)
    if proof is None:
        shell.output.say(TOO_NEW, "yellow")
    else:
        shell.output.say(
            f"It is in the log: {len(proof.hashes)} hashes lead from it to the head of {log.size} entries."
        )
    _banner(shell, source, zone)
    if save is not None:
        shell.output.say(
            f"The proof is in {save}; check it against any copy: assent audit verify FOLDER --proof {save}"
        )
    for command in _see_also(entry):
        shell.output.say(f"More: {command}")


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# --- what belongs together --------------------------------------------------------------------------------------------


def _show_story(shell: Shell, source: Source, told: Story, zone: Zone, as_json: bool) -> None:
    leases = told.leases
    if as_json:
        shell.output.json(
            {
                "request": told.request or None,
                "state": told.state if told.request else None,
                "entries": [_json(entry, zone) for entry in told.entries],
                "approvals": [entry.index for entry in told.approvals],
                "leases": [
                    {
                        "lease": one.lease,
                        "opened": one.opened.index,
                        "closed": one.closed.index if one.closed else None,
                        "until": one.opened.leaf.until,
                        "keys": one.keys,
                        "told": one.told,
                    }
                    for one in leases
                ],
                **_banner_json(source, zone),
            }
        )
        return
    if told.request:
        shell.output.facts([("request", told.request), ("state", told.state), ("approvals", len(told.approvals))])
    rows = [(entry.index, zone.text(entry.leaf.at), entry.leaf.type.value, _words(entry)) for entry in told.entries]
    shell.output.table("What happened", ("index", "at", "kind", "what"), rows, "Nothing.")
    if leases and told.asked is not None:
        opened = [
            (
                short(one.lease),
                one.opened.index,
                zone.text(one.opened.leaf.until or ""),
                "not said: counts as read in full" if one.keys is None else one.keys,
                one.told,
            )
            for one in leases
        ]
        shell.output.table("Leases", ("lease", "entry", "until", "keys opened", "who was told"), opened, "")
    _banner(shell, source, zone)


# --- how far it can be trusted ----------------------------------------------------------------------------------------


def _facts(source: Source, zone: Zone) -> list[str]:
    witnesses = [
        f"{plain(name)} {zone.shown(at) if at else 'did not countersign'}" for name, at in source.witnessed.items()
    ]
    return [
        f"{source.log.size} entries of {source.log.origin}, each compared with what was signed",
        f"Countersigned by: {', '.join(witnesses) or 'nobody'}",
    ]


def _banner(shell: Shell, source: Source, zone: Zone) -> None:
    """How much of the log was witnessed, by whom and when: what is missing stands out."""
    shell.output.say(f"Compared with the head of {source.log.size} entries that was signed; countersigned by")
    for name, at in source.witnessed.items():
        fresh = source.is_fresh(at, shell.now)
        when = zone.shown(at) if at else "nothing: this witness did not sign this head"
        shell.output.say(f"  {'ok' if fresh else '!!'}  {plain(name)}  {when}", "green" if fresh else "bold red")


def _banner_json(source: Source, zone: Zone) -> dict[str, Any]:
    witnessed = {name: zone.shown(at) if at else None for name, at in source.witnessed.items()}
    return {"log": source.log.origin, "witnessed": witnessed}
