"""`assent-server`: what operators type. Exit codes: 0 done, 1 refused or failed, 2 wrong usage."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from assent.client.directory import DirectoryRefused, directory_facts
from assent.client.files import write_private
from assent.client.transport import ClientError
from assent.contracts.envelope import Envelope, StatementInvalid, read_unverified
from assent.contracts.problems import Problem
from assent.contracts.statements import Directory, WitnessEntry
from assent.transparency.errors import NoteInvalid
from assent.transparency.note import Note, Signer
from assent_collector import app as collector_app
from assent_collector import backups as collector_backups
from assent_collector.settings import CollectorSettings
from assent_custodian import app as custodian_app
from assent_custodian import backups, ceremony, night, roles
from assent_custodian.builds import build_hash
from assent_custodian.consent.offer import NO_REFERENCE, read_policy
from assent_custodian.context import Custodian, open_custodian
from assent_custodian.custody import assess
from assent_custodian.files import NotReady
from assent_custodian.halting import service as halting
from assent_custodian.keys.wrapping import WrapInvalid
from assent_custodian.presence import present
from assent_custodian.restoring import databases, logs
from assent_custodian.restoring.new_log import lacking as lacking_leaves
from assent_custodian.settings import Settings as CustodianSettings
from assent_server import collector_key, doctor, embedded, run_collector, run_custodian, run_witness, witnessing
from assent_server.drill import hosting
from assent_server.drill.identities import DrillNotReady, Folder
from assent_server.embedded import Layout
from assent_server.failures import failures
from assent_server.supervisor import NotStarted, Service, Supervisor
from assent_service import backing_up
from assent_service.backing_up import BackupFailed
from assent_service.hygiene import set_up_logging
from assent_service.migrating import DatabaseUnusable, check_migrated, migrate

app = typer.Typer(
    help="The Assent services: custodian, collector and witness.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
directory_app = typer.Typer(help="The root-signed list of current addresses and keys.", no_args_is_help=True)
app.add_typer(directory_app, name="directory")

DEFAULT_DATA = Path("assent-data")


class KeyUse(StrEnum):
    """The custodian's own signing keys."""

    STATEMENT = "statement"
    LOG = "log"


class ServiceName(StrEnum):
    """The services with an HTTP description or a database."""

    COLLECTOR = "collector"
    CUSTODIAN = "custodian"


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Data = Annotated[Path, typer.Option("--data", help="Folder of an installation that `up` or `init` made.")]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file; ASSENT_* in the environment wins.", dir_okay=False)
]


def main() -> None:
    """Entry point of the command. What it makes is its owner's alone."""
    os.umask(0o077)
    set_up_logging()
    app()


# --- all together ---------------------------------------------------------------------------------


@app.command()
def up(
    *,
    data: Data = DEFAULT_DATA,
    port_base: Annotated[
        int | None, typer.Option(help="Custodian, collector and witness listen on the next three ports.", min=1024)
    ] = None,
    agreement: Annotated[str, typer.Option(help="Works-agreement reference people are shown.")] = NO_REFERENCE,
    dpia: Annotated[str, typer.Option(help="Impact-assessment reference people are shown.")] = NO_REFERENCE,
    organisation: Annotated[str, typer.Option(help="Name of the organisation.")] = embedded.ORGANISATION,
    as_json: Json = False,
) -> None:
    """Run everything on this machine, on the loopback; found it first if the folder is new. Ends on SIGTERM or Ctrl-C.

    With --json one line is printed when everything is ready.
    """
    with _failures():
        layout = Layout(data)
        codes: dict[str, str] = {}
        if not layout.exists:
            report = embedded.found(
                layout,
                host="127.0.0.1",
                port_base=port_base or 8400,
                organisation=organisation,
                agreement=agreement,
                dpia=dpia,
            )
            codes = {role.value: code for role, code in report.codes.items()}
        elif port_base is not None and _port_of(layout) != port_base + 1:
            raise NotReady(f"this installation was founded with --port-base {_port_of(layout) - 1}")
        else:
            _check_references(layout, agreement, dpia)
        summary = _summary(layout, codes)
        Supervisor(_services(layout, summary)).run(lambda: _print_up(summary, as_json))


def _check_references(layout: Layout, agreement: str, dpia: str) -> None:
    """A reference that is typed at a later start would be passed over in silence. Raises NotReady."""
    policy = CustodianSettings.load(layout.config("custodian")).policy
    offer = read_policy(policy)
    for typed, stands in ((agreement, offer.agreement), (dpia, offer.dpia)):
        if typed not in (NO_REFERENCE, stands):
            raise NotReady(f"this installation was founded with another reference; change it in {policy}")


def _port_of(layout: Layout) -> int:
    return CustodianSettings.load(layout.config("custodian")).port


def _summary(layout: Layout, codes: dict[str, str]) -> dict[str, Any]:
    opened = open_custodian(CustodianSettings.load(layout.config("custodian")))
    try:
        directory = opened.directory.directory
        found = assess(opened)
    finally:
        opened.close()
    root = CollectorSettings.load(layout.config("collector")).root_fingerprint
    return {
        "data": str(layout.data.resolve()),
        "custodian_url": directory.custodian_url,
        "collector_url": directory.collector_url,
        "witness_urls": [witness.url for witness in directory.witnesses],
        "root_fingerprint": root,
        "custody_level": found.level,
        "custody_sentence": found.sentence,
        "notes": list(found.reasons),
        "codes": codes,
    }


def _services(layout: Layout, summary: dict[str, Any]) -> list[Service]:
    ready = {
        "witness": f"{summary['witness_urls'][0]}/healthz",
        "custodian": f"{summary['custodian_url']}/readyz",
        "collector": f"{summary['collector_url']}/readyz",
    }
    services = [
        Service(
            name=name,
            command=[sys.executable, "-m", f"assent_server.run_{name}", str(layout.config(name))],
            ready_url=url,
        )
        for name, url in ready.items()
    ]
    if CustodianSettings.load(layout.config("custodian")).drill_interval_hours:
        drilling = [sys.executable, "-m", "assent_server.run_drill", str(layout.data)]
        services.append(Service(name="drill", command=drilling, ready_url=None))
    return services


def _print_up(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary), flush=True)
        return
    print(f"custodian   {summary['custodian_url']}")
    print(f"collector   {summary['collector_url']}")
    for url in summary["witness_urls"]:
        print(f"witness     {url}")
    print(f"root key    {summary['root_fingerprint']}")
    print(f"Custody level {summary['custody_level']}. {summary['custody_sentence']}")
    for note in summary["notes"]:
        print(f"  {note}")
    _print_codes(summary["codes"], Path(summary["data"]) / embedded.FOUNDERS_FILE)
    print("Ready. Ctrl-C stops everything.", flush=True)


def _print_codes(codes: dict[str, str], file: Path) -> None:
    if not codes:
        return
    print("Founders join with `assent login CODE`; each code works once. They compare the root key's fingerprint.")
    for role, code in codes.items():
        print(f"  {role}: {code}")
    print(f"  (also in {file}, mode 0600; remove it when they have joined)")


# --- each alone -----------------------------------------------------------------------------------


@app.command()
def collector(
    config: Config = None,
    key: Annotated[bool, typer.Option("--key", help="Print the public key (made if new) and end.")] = False,
) -> None:
    """Run the collector, after bringing its database up to date."""
    if not key:
        run_collector.run(config)
        return
    with _failures():
        # The key is made before there is a root key whose fingerprint could be named.
        print(collector_key.ensure(CollectorSettings.load(config, root_fingerprint="0" * 64).key))


@app.command()
def custodian(config: Config = None) -> None:
    """Run the custodian, after bringing its database up to date."""
    run_custodian.run(config)


@app.command()
def witness(
    config: Config = None,
    key: Annotated[bool, typer.Option("--key", help="Print the verifier key (made if new) and end.")] = False,
    head: Annotated[
        bool, typer.Option("--head", help="Print the newest head that it signed, for `directory export`, and end.")
    ] = False,
) -> None:
    """Run a witness. It learns the log's key from the directory, under ASSENT_ROOT_FINGERPRINT."""
    if not key and not head:
        run_witness.run(config)
        return
    with _failures():
        loaded = witnessing.load(config)
        if head:
            print(witnessing.newest_head(loaded).to_bytes().decode(), end="")
            return
        print(witnessing.ensure_key(loaded.key_path, loaded.name))


# --- the ceremony ---------------------------------------------------------------------------------


@app.command()
def init(
    *,
    config: Config = None,
    data: Annotated[Path | None, typer.Option("--data", help="Found everything on one host, in this folder.")] = None,
    organisation: Annotated[str, typer.Option(help="Name of the organisation.")] = embedded.ORGANISATION,
    agreement: Annotated[str, typer.Option(help="Reference of the works agreement.")] = "",
    dpia: Annotated[str, typer.Option(help="Reference of the impact assessment.")] = "",
    custodian_url: Annotated[str, typer.Option(help="Where people and services find the custodian.")] = "",
    collector_url: Annotated[str, typer.Option(help="Where agents and jobs find the collector.")] = "",
    collector_public: Annotated[
        str, typer.Option("--collector-key", help="What `collector --key` printed on the collector's host.")
    ] = "",
    witness_entries: Annotated[
        list[str] | None, typer.Option("--witness", help="URL=VKEY of a witness; repeat for each.")
    ] = None,
    quorum: Annotated[int | None, typer.Option(help="How many witnesses are needed; all, if not given.")] = None,
    custody_level: Annotated[
        int, typer.Option(min=0, max=2, help="What is claimed; `doctor` says what is in force.")
    ] = 0,
    passphrase_file: Annotated[Path | None, typer.Option(help="Encrypts the root key.", dir_okay=False)] = None,
    port_base: Annotated[int, typer.Option(min=1024, help="With --data: ports of the services.")] = 8400,
    as_json: Json = False,
) -> None:
    """Found an installation: make keys and database, sign the first directory, invite admin, council and dpo.

    With --collector-key (or --config) a custodian of its own is founded; otherwise everything on one host, in --data.
    """
    with _failures():
        one_host = config is None and not collector_public
        _refuse_unused(
            one_host,
            data,
            {
                "--custodian-url": custodian_url,
                "--collector-url": collector_url,
                "--witness": witness_entries,
                "--quorum": quorum is not None,
                "--custody-level": custody_level,
            },
        )
        if one_host:
            layout = Layout(data or DEFAULT_DATA)
            report = embedded.found(
                layout,
                host="127.0.0.1",
                port_base=port_base,
                organisation=organisation,
                agreement=agreement or NO_REFERENCE,
                dpia=dpia or NO_REFERENCE,
                root_passphrase=_passphrase(passphrase_file),
            )
            codes_file = layout.data / embedded.FOUNDERS_FILE
        else:
            settings = CustodianSettings.load(config)
            report = ceremony.init(
                settings,
                organisation=organisation,
                custodian_url=custodian_url,
                collector_url=collector_url,
                collector_key=collector_public,
                witnesses=_witnesses(witness_entries or []),
                quorum=quorum,
                agreement=agreement,
                dpia=dpia,
                custody_level=custody_level,
                root_passphrase=_passphrase(passphrase_file),
            )
            codes_file = settings.data_dir / embedded.FOUNDERS_FILE
            write_private(codes_file, embedded.founders_text(report.codes).encode())
        codes = {role.value: code for role, code in report.codes.items()}
        if as_json:
            _print_json(
                {
                    "root_fingerprint": report.root_fingerprint,
                    "statement_fingerprint": report.statement_fingerprint,
                    "collector_fingerprint": report.collector_fingerprint,
                    "log_vkey": report.log_vkey,
                    "directory_hash": report.directory_hash,
                    "root_key_file": str(report.root_key_file),
                    "custody_level": report.custody.level,
                    "custody_sentence": report.custody.sentence,
                    "codes": codes,
                }
            )
            return
        print("Compare these aloud, each from its own screen:")
        print(f"  root key       {report.root_fingerprint}")
        print(f"  statement key  {report.statement_fingerprint}")
        print(f"  collector key  {report.collector_fingerprint}")
        print(f"  log key        {report.log_vkey}")
        print(f"  directory 1    {report.directory_hash}")
        print(
            f"The root key is in {report.root_key_file}: take it off this machine; it is needed for directories only."
        )
        print(f"Custody level {report.custody.level}. {report.custody.sentence}")
        _print_codes(codes, codes_file)


def _refuse_unused(one_host: bool, data: Path | None, given: dict[str, object]) -> None:
    """Nothing that was typed is passed over in silence. Raises BadParameter."""
    if not one_host and data is not None:
        raise typer.BadParameter(
            "it is for everything on one host; a custodian of its own is described by --config or the environment",
            param_hint="--data",
        )
    unused = [name for name, value in given.items() if value]
    if one_host and unused:
        raise typer.BadParameter(
            "it is for a custodian on a host of its own: give --collector-key too, or leave it out",
            param_hint=", ".join(unused),
        )


@directory_app.command("key")
def directory_key(
    use: Annotated[KeyUse, typer.Argument(help="Which of the custodian's own keys is to be replaced.")],
    config: Config = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Make the next statement key or log key, and print it for `directory export` or `sign`. Nothing uses it before."""
    with _failures(), _opened(_custodian_config(config, data)) as opened:
        key = opened.ring.add(use.value)
        name = opened.log_signer.verifier.name
        text = key.public.text if use is KeyUse.STATEMENT else str(Signer(name, key.ed25519).verifier)
        _report({"use": use.value, "key": text}, text, as_json)


CustodianUrl = Annotated[str | None, typer.Option(help="New address of the custodian.")]
CollectorUrl = Annotated[str | None, typer.Option(help="New address of the collector.")]
CollectorPublic = Annotated[str | None, typer.Option("--collector-key", help="New key of the collector.")]
StatementKeyText = Annotated[
    str | None, typer.Option("--statement-key", help="New statement key; `directory key statement` makes it.")
]
LogKeyText = Annotated[str | None, typer.Option("--log-key", help="New log key; `directory key log` makes it.")]
Organisation = Annotated[str | None, typer.Option(help="New name of the organisation.")]
CustodyLevel = Annotated[int | None, typer.Option(min=0, max=2, help="New custody level, as claimed.")]
WitnessEntries = Annotated[
    list[str] | None, typer.Option("--witness", help="URL=VKEY; replaces all witnesses; repeat for each.")
]
Quorum = Annotated[
    int | None, typer.Option(help="How many of the witnesses are needed; with --witness: all, if not given.")
]
NewLog = Annotated[
    list[Path] | None,
    typer.Option(
        "--new-log",
        help="Leaves are lost everywhere: end the log. What `witness --head` printed; repeat for each witness.",
        exists=True,
        dir_okay=False,
    ),
]
Distrust = Annotated[
    bool, typer.Option("--distrust", help="A key was stolen: what the replaced ones signed proves nothing any more.")
]
Forget = Annotated[
    list[str] | None,
    typer.Option("--forget", help="A former key (as the directory lists it) that was stolen since; may be repeated."),
]
RootKey = Annotated[Path, typer.Option(help="The root key file, brought for this.", exists=True, dir_okay=False)]
RootPassphrase = Annotated[Path | None, typer.Option(help="Of the root key.", dir_okay=False)]


@directory_app.command("export")
def directory_export(
    *,
    to: Annotated[Path, typer.Option(help="Where to write it.", dir_okay=False)],
    config: Config = None,
    data: Data = DEFAULT_DATA,
    custodian_url: CustodianUrl = None,
    collector_url: CollectorUrl = None,
    collector_public: CollectorPublic = None,
    statement_key: StatementKeyText = None,
    log_key: LogKeyText = None,
    organisation: Organisation = None,
    custody_level: CustodyLevel = None,
    witness_entries: WitnessEntries = None,
    quorum: Quorum = None,
    distrust: Distrust = False,
    forget: Forget = None,
    new_log: NewLog = None,
    as_json: Json = False,
) -> None:
    """Write the next directory, unsigned, to be carried to where the root key is: `directory sign FILE` there."""
    with _failures(), _opened(_custodian_config(config, data)) as opened:
        changes = _changes(
            opened, custodian_url, collector_url, collector_public, statement_key, log_key, organisation,
            custody_level, witness_entries, quorum,
        )  # fmt: skip
        heads = [_head(file) for file in new_log or ()]
        unsigned = ceremony.next_directory(opened, changes, distrust=distrust, forget=forget or (), heads=heads)
        to.write_bytes(unsigned.to_bytes())
        values = {"version": unsigned.version, "changed": sorted(changes), "file": str(to)}
        text = f"directory {unsigned.version}, not signed: {to}; changed: {', '.join(sorted(changes)) or 'nothing'}"
        _report(values, f"{text}\nsign it where the root key is, and import it within a day", as_json)


@directory_app.command("sign")
def directory_sign(
    *,
    file: Annotated[
        Path | None, typer.Argument(help="What `directory export` wrote; nothing else is needed then.", dir_okay=False)
    ] = None,
    root_key: RootKey,
    to: Annotated[Path | None, typer.Option(help="With FILE: where to write the signed one.", dir_okay=False)] = None,
    config: Config = None,
    data: Data = DEFAULT_DATA,
    custodian_url: CustodianUrl = None,
    collector_url: CollectorUrl = None,
    collector_public: CollectorPublic = None,
    statement_key: StatementKeyText = None,
    log_key: LogKeyText = None,
    organisation: Organisation = None,
    custody_level: CustodyLevel = None,
    witness_entries: WitnessEntries = None,
    quorum: Quorum = None,
    distrust: Distrust = False,
    forget: Forget = None,
    passphrase_file: RootPassphrase = None,
    as_json: Json = False,
) -> None:
    """Sign the next directory. With FILE: where the root key is, offline, for `directory import`. Without: on the
    custodian's host, with what is changed; everything else stays as it is, and it is in force at once.
    """
    with _failures():
        if file is not None:
            if to is None:
                raise typer.BadParameter("say where to write the signed one", param_hint="--to")
            envelope = ceremony.sign_offline(file.read_bytes(), root_key, _passphrase(passphrase_file))
            to.write_bytes(envelope.to_json())
            directory = read_unverified(envelope, Directory)
            facts = [{"name": name, "value": value} for name, value in directory_facts(directory)]
            lines = [f"{name:16} {value}" for name, value in directory_facts(directory)]
            text = "\n".join([*lines, f"directory {directory.version} is signed: {to}"])
            _report({"version": directory.version, "file": str(to), "facts": facts}, text, as_json)
            return
        config = _custodian_config(config, data)
        settings = CustodianSettings.load(config)
        with _opened(config) as opened:
            changes = _changes(
                opened, custodian_url, collector_url, collector_public, statement_key, log_key, organisation,
                custody_level, witness_entries, quorum,
            )  # fmt: skip
        signed = ceremony.sign_directory(
            settings, root_key, changes, root_passphrase=_passphrase(passphrase_file), distrust=distrust,
            forget=forget or (),
        )  # fmt: skip
        text = f"directory {signed.version} is in force; changed: {', '.join(sorted(changes)) or 'nothing'}"
        _report({"version": signed.version, "changed": sorted(changes)}, text, as_json)


@directory_app.command("import")
def directory_import(
    file: Annotated[Path, typer.Argument(help="What `directory sign FILE` wrote.", exists=True, dir_okay=False)],
    config: Config = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Put a directory in force that was signed elsewhere. A running custodian uses it at once."""
    with _failures(), _opened(_custodian_config(config, data)) as opened:
        try:
            envelope = Envelope.from_json(file.read_bytes())
        except StatementInvalid as error:
            raise NotReady(f"this file is not a signed directory: {error}") from error
        published = ceremony.publish(opened, envelope)
        _report({"version": published.version}, f"directory {published.version} is in force", as_json)


def _changes(
    opened: Custodian,
    custodian_url: str | None,
    collector_url: str | None,
    collector_public: str | None,
    statement_key: str | None,
    log_key: str | None,
    organisation: str | None,
    custody_level: int | None,
    witness_entries: list[str] | None,
    quorum: int | None,
) -> dict[str, Any]:
    given = {
        "custodian_url": custodian_url,
        "collector_url": collector_url,
        "collector_key": collector_public,
        "statement_key": statement_key,
        "log_vkey": log_key,
        "organisation": organisation,
        "custody_level": custody_level,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if witness_entries or quorum is not None:
        current = opened.directory.directory
        witnesses = _witnesses(witness_entries) if witness_entries else current.witnesses
        log_vkey = log_key or current.log_vkey
        changes |= {"witnesses": witnesses, "policy": ceremony.policy_text(log_vkey, witnesses, quorum)}
    return changes


def _witnesses(entries: list[str]) -> tuple[WitnessEntry, ...]:
    made = []
    for entry in entries:
        url, _, vkey = entry.partition("=")
        try:
            made.append(WitnessEntry(url=url, vkey=vkey))
        except ValidationError as error:
            raise typer.BadParameter("a witness is given as URL=VKEY", param_hint="--witness") from error
    return tuple(made)


def _head(file: Path) -> Note:
    try:
        return Note.from_bytes(file.read_bytes())
    except NoteInvalid as error:
        raise NotReady(f"{file.name} is not a head that `assent-server witness --head` printed") from error


def _passphrase(file: Path | None) -> bytes | None:
    return file.read_bytes().rstrip(b"\r\n") if file is not None else None


# --- operating ------------------------------------------------------------------------------------


@app.command("migrate")
def migrate_(service: ServiceName, config: Config = None, as_json: Json = False) -> None:
    """Bring a service's database up to date. Doing it again changes nothing."""
    with _failures():
        if service is ServiceName.COLLECTOR:
            settings = CollectorSettings.load(config)
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            migrate("collector", settings.database)
        else:
            migrate("custodian", CustodianSettings.load(config).database)
        _report({"service": service.value, "migrated": True}, f"{service.value}: up to date", as_json)


@app.command()
def rotate(config: Config = None, data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Run the custodian's night now: expiry, erasure, a new KEK generation, the order to the collector.

    What fell is not counted here: the number would be one person's, most nights.
    """
    with _failures(), _opened(_custodian_config(config, data)) as opened, present(opened.settings):
        done = {name: value for name, value in night.run_night(opened).items() if name not in night.OF_PEOPLE}
        text = "\n".join(f"{name}: {value}" for name, value in done.items())
        _report(done, text, as_json)
        if not done["ran"]:
            raise typer.Exit(1)


@app.command("backup")
def backup_(
    service: Annotated[
        ServiceName | None, typer.Argument(help="Default: both services of the installation in --data.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder in which each backup becomes a folder; default: backup_dir.")
    ] = None,
    config: Config = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Back up a service while it runs, and check what was made. Keys are in no backup: keep them apart."""
    with _failures():
        if service is None and config is not None:
            raise NotReady("name the service that this configuration is of")
        made: dict[str, str] = {}
        for name in [service] if service else list(ServiceName):
            if name is ServiceName.CUSTODIAN:
                with _opened(_custodian_config(config, data)) as opened:
                    made[name.value] = str(backups.back_up(opened, to))
            else:
                settings = CollectorSettings.load(_config_of(name, config, data))
                key = collector_app.read_key(settings.key)
                check_migrated("collector", settings.database)
                made[name.value] = str(collector_backups.back_up(settings, key, collector_app.wall_clock, to))
        text = "\n".join(f"{name}: {folder}" for name, folder in made.items())
        _report(made, f"{text}\nopened and compared; without the keys it opens nothing", as_json)


@app.command()
def restore(
    folder: Annotated[Path | None, typer.Argument(help="A backup, as `backup` or the night made it.")] = None,
    log: Annotated[
        Path | None, typer.Option(help="A copy of the log (`assent audit export`): the custodian's missing leaves.")
    ] = None,
    over: Annotated[
        bool, typer.Option("--over", help="Replace a database that is there. What it holds is lost.")
    ] = False,
    config: Config = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Restore a service that is stopped. A restored custodian opens nothing until it has caught up."""
    with _failures():
        if (folder is None) == (log is None):
            raise typer.BadParameter("name either a backup or, with --log, a copy of the log")
        if log is not None:
            with _opened(_custodian_config(config, data)) as opened:
                count = logs.restore_log(opened, log)
                lacking = lacking_leaves(opened)
            then = f"{lacking} are still missing: bring a newer copy" if lacking else "start the custodian"
            _report({"leaves": count, "lacking": lacking}, f"{count} leaves are in the log again; {then}", as_json)
            return
        assert folder is not None  # noqa: S101 - one of both was given
        service = backing_up.service_of(folder)
        named = _config_of(ServiceName(service), config, data)
        if service == "collector":
            backup = collector_backups.restore(CollectorSettings.load(named), folder, over=over)
            text = "nothing is handed out before it has carried out every order since, which it does by itself"
        else:
            backup = databases.restore(CustodianSettings.load(named), folder, over=over)
            text = "the door is shut until log, orders and devices have caught up; `rotate` says what is missing"
        manifest = backup.manifest
        _report(
            {"service": service, "day": manifest.day, "last_order": manifest.last_order},
            f"{service}: as on {manifest.day}; {text}",
            as_json,
        )


@app.command("halt")
def halt_(
    reason: Annotated[str, typer.Option(help="Everybody is shown it.")],
    config: Config = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Stop the whole programme: no recording, no lease, until council and dpo have signed `assent people resume`.

    Waits for no witness. People halt with `assent people halt`, from anywhere.
    """
    with _failures(), _opened(_custodian_config(config, data), urgent=True) as opened:
        try:
            with opened.database.transaction(urgent=True) as session:
                hash_ = halting.halt_by_operator(session, opened, reason)
        except (ValidationError, Problem) as error:
            raise NotReady("a halt needs a plain reason of at most 500 characters: everybody is shown it") from error
        text = f"halted ({hash_}): agents stop within five minutes and show the reason"
        _report({"halted": True, "halt": hash_}, text, as_json)


@app.command("resume")
def resume_(config: Config = None, data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Say whether the programme is halted, and who has signed that it may run again. An operator cannot resume it.

    Council and dpo sign with `assent people resume`; with the second signature it runs. Ends with 1 while halted.
    """
    with _failures(), _opened(_custodian_config(config, data)) as opened:
        with opened.database.reading() as session:
            halts = halting.standing(session, opened).halts
        lines = [
            f"halted since {entry.at} by {entry.halted_by}: {entry.reason}\n"
            f"  to resume, signed so far: {', '.join(entry.resume_signed) or 'nobody'}"
            for entry in halts
        ]
        if halts:
            lines.append("not resumed: council and dpo must both sign, with `assent people resume`")
        values = {"halted": bool(halts), "halts": [json.loads(entry.to_json()) for entry in halts]}
        _report(values, "\n".join(lines) or "the programme runs", as_json)
        if halts:
            raise typer.Exit(1)


@app.command("doctor")
def doctor_(
    *,
    data: Data = DEFAULT_DATA,
    custodian_config: Annotated[Path | None, typer.Option(help="The custodian's TOML file.", dir_okay=False)] = None,
    collector_config: Annotated[Path | None, typer.Option(help="The collector's TOML file.", dir_okay=False)] = None,
    witness_config: Annotated[Path | None, typer.Option(help="The witness's TOML file.", dir_okay=False)] = None,
    as_json: Json = False,
) -> None:
    """Say who could open recordings today, and what is wrong with the configuration. Ends with 1 if something is."""
    given = (custodian_config, collector_config, witness_config)
    with _failures():
        if not any(given):
            layout = Layout(data)
            if not layout.exists:
                raise NotReady(f"there is no installation in {data}; name it with --data, or configuration files")
            given = (layout.config("custodian"), layout.config("collector"), layout.config("witness"))
        findings = doctor.examine(*given)
        if as_json:
            _print_json(findings.as_dict())
        else:
            if findings.custody_sentence is not None:
                print(f"Custody level {findings.custody_level}. {findings.custody_sentence}")
            for note in findings.notes:
                print(f"  {note}")
            for name, values in findings.configuration.items():
                print(f"{name}: {json.dumps(values)}")
            for fault in findings.faults:
                print(f"FAULT {fault}")
            print("no faults" if not findings.faults else f"{len(findings.faults)} fault(s)")
        if findings.faults:
            raise typer.Exit(1)


@app.command("drill")
def drill_(
    *,
    config: Config = None,
    data: Data = DEFAULT_DATA,
    collector_config: Annotated[
        Path | None, typer.Option(help="The collector's TOML file, where it runs on this host.", dir_okay=False)
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where the drill keeps its keys; default: `drill_dir` of the custodian.")
    ] = None,
    invite: Annotated[
        Path | None,
        typer.Option("--invite", help="Write codes for a drill elsewhere, and end. Ends the identities of before."),
    ] = None,
    codes: Annotated[
        Path | None, typer.Option("--codes", help="Set the drill up with what --invite wrote.", dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Try to reach the canary's recordings from everywhere that should fail, and through one grant that should succeed.

    Sets itself up when it runs first. Ends with 1 if anything is not as promised, or if it could not be run.
    """
    with _failures():
        installed = config is None and Layout(data).exists
        here = config is not None or installed or folder is None  # otherwise the services are elsewhere
        named = _custodian_config(config, data) if here else None
        settings = CustodianSettings.load(named) if here else None
        beside = collector_config or (_config_of(ServiceName.COLLECTOR, None, data) if installed else None)
        if invite is not None:
            with _opened(named) as opened:
                hosting.write_codes(hosting.make_codes(opened), invite)
            _report({"codes": str(invite)}, f"codes, good for an hour: {invite}", as_json)
            return
        keys = folder if settings is None else folder or settings.drill
        assert keys is not None  # noqa: S101 - where the services are elsewhere, it was given
        results = hosting.run_once(
            settings,
            CollectorSettings.load(beside) if beside is not None else None,
            Folder(keys),
            codes=hosting.read_codes(codes) if codes is not None else None,
            progress=lambda text: None if as_json else print(f"… {text}", file=sys.stderr),
        )
        _report(results.as_dict(), results.as_text(), as_json)
        if not results.passed:
            raise typer.Exit(1)


@app.command()
def build(as_json: Json = False) -> None:
    """Print the hash of what is installed here: the custodian writes it into the log whenever it starts."""
    _report({"build": build_hash()}, f"Build {build_hash()}", as_json)


@app.command()
def openapi(service: ServiceName) -> None:
    """Print the description of a service's HTTP interface (OpenAPI, JSON)."""
    with _failures():
        described = collector_app.openapi() if service is ServiceName.COLLECTOR else custodian_app.openapi()
        _print_json(described)


@app.command("roles")
def roles_(as_json: Json = False) -> None:
    """Print who may do what."""
    rules = roles.table()
    rows = [
        {
            "permission": rule.permission.value,
            "who": sorted(str(who.value) for who in rule.who),
            "credentials": sorted(rule.credentials),
            "routes": list(rule.routes),
            "drill": sorted(str(who.value) for who in roles.DRILL_MAY.get(rule.permission, frozenset())),
            "when_revoked": rule.permission in roles.WHEN_REVOKED,
            "while_waiting": rule.permission in roles.WHILE_WAITING,
            "while_behind": rule.permission in roles.WHILE_BEHIND,
        }
        for rule in rules
    ]
    if as_json:
        _print_json(rows)
        return
    for rule in rules:
        who = ", ".join(sorted(str(entry.value) for entry in rule.who))
        signed = f" (signed by: {' or '.join(sorted(rule.credentials))})" if rule.credentials else ""
        print(f"{rule.permission.value:45} {who}{signed}")
    drill = [rule.permission.value for rule in rules if rule.permission in roles.DRILL_MAY]
    print(f"Identities of the canary drill, of what their role may, and of the drill only: {'; '.join(drill)}")
    revoked, waiting = roles.WHEN_REVOKED, roles.WHILE_WAITING
    print(f"A key that was revoked, still: {'; '.join(sorted(revoked))}")
    print(f"A key that came of a recovery, until its days are over, only: {'; '.join(sorted(waiting))}")


# --- helpers --------------------------------------------------------------------------------------


def _custodian_config(config: Path | None, data: Path) -> Path | None:
    return _config_of(ServiceName.CUSTODIAN, config, data)


def _config_of(service: ServiceName, config: Path | None, data: Path) -> Path | None:
    """The file that was named, else that of the installation in `data`; None leaves it to the environment.

    Raises NotReady when nothing says where the service is.
    """
    layout = Layout(data)
    if config is not None:
        return config
    if layout.exists:
        return layout.config(service.value)
    if f"ASSENT_{service.value.upper()}_DATA_DIR" not in os.environ:
        raise NotReady(f"there is no installation in {data}; name it with --data, or its configuration with --config")
    return None


@contextmanager
def _opened(config: Path | None, *, urgent: bool = False) -> Iterator[Custodian]:
    """`urgent`: also on a full disk."""
    settings = CustodianSettings.load(config)
    opened = open_custodian(settings)
    try:
        if urgent:
            opened.database.make_room()
        check_migrated("custodian", settings.database)
        yield opened
    finally:
        opened.close()


@contextmanager
def _failures() -> Iterator[None]:
    with failures(
        NotReady,
        Problem,
        collector_app.NotReady,
        DirectoryRefused,
        NotStarted,
        DatabaseUnusable,
        BackupFailed,
        WrapInvalid,
        DrillNotReady,
        ClientError,
        httpx2.HTTPError,
    ):
        try:
            yield
        except SQLAlchemyError as error:
            raise DatabaseUnusable.because(error) from error


def _report(values: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        _print_json(values)
    else:
        print(text)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))
