"""What is wrong with an installation, in sentences, and who could open recordings today."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from assent.client.directory import DirectoryRefused, TrustedDirectory
from assent.contracts.leaves import Leaf, LeafType
from assent_collector.app import NotReady as CollectorNotReady
from assent_collector.app import read_key
from assent_collector.settings import CollectorSettings
from assent_custodian import alarms, custody, night
from assent_custodian.context import Custodian, open_custodian
from assent_custodian.drills import service as drills
from assent_custodian.files import NotReady
from assent_custodian.halting import service as halting
from assent_custodian.log import service as log
from assent_custodian.people import service as people
from assent_custodian.people.domain import GUARDS
from assent_custodian.reports import service as reports
from assent_custodian.restoring import state as restoring
from assent_custodian.roles import NOTHING_ELSE
from assent_custodian.settings import Settings as CustodianSettings
from assent_server import witnessing
from assent_server.drill import surfaces
from assent_server.drill.results import Results
from assent_service.database import Database
from assent_service.migrating import DatabaseUnusable
from assent_service.reserve import MIB

CATALOGUE_DAYS, ROLE_DELAY_HOURS = 7, 24
"""What the documents promise."""


@dataclass
class Findings:
    """What was looked at, what is wrong, and what is in force. Configurations are redacted."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    configuration: dict[str, dict[str, Any]] = field(default_factory=dict)
    custody_level: int | None = None
    custody_sentence: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": not self.faults,
            "faults": self.faults,
            "notes": self.notes,
            "custody_level": self.custody_level,
            "custody_sentence": self.custody_sentence,
            "configuration": self.configuration,
        }


def examine(custodian: Path | None, collector: Path | None, witness: Path | None) -> Findings:
    """Look at the services whose configuration files are given. Changes nothing, and asks the name service only."""
    findings = Findings()
    looks: list[tuple[str, Path | None, Callable[[Findings, Path], None]]] = [
        ("custodian", custodian, _custodian),
        ("collector", collector, _collector),
        ("witness", witness, _witness),
    ]
    for name, config, look in looks:
        if config is None:
            continue
        try:
            look(findings, config)
        except ValidationError as error:
            places = ", ".join(".".join(str(p) for p in e["loc"]) for e in error.errors())
            findings.faults.append(f"{name}: the configuration is missing or wrong in: {places}")
        except (NotReady, CollectorNotReady, DirectoryRefused, OSError) as error:
            findings.faults.append(f"{name}: {error}")
    return findings


def redacted(values: dict[str, Any]) -> dict[str, Any]:
    """Settings as they may be shown: without passwords in addresses of databases."""
    shown = {
        name: value if value is None or isinstance(value, int | float) else str(value) for name, value in values.items()
    }
    if shown.get("database_url"):
        shown["database_url"] = make_url(str(shown["database_url"])).render_as_string(hide_password=True)
    return shown


def _custodian(findings: Findings, config: Path) -> None:
    settings = CustodianSettings.load(config)
    findings.configuration["custodian"] = redacted(settings.model_dump())
    findings.notes += _weakened(settings)
    opened = open_custodian(settings)
    try:
        if not _reach(findings, "custodian", opened.database):
            return
        _room(findings, opened)
        _overdue(findings, opened)
        _modes(findings, "custodian", surfaces.of_custodian(settings))
        found = custody.assess(opened)
        claimed = opened.directory.directory.custody_level
    finally:
        opened.close()
    findings.faults += [f"custodian: {fault}" for fault in found.faults]
    findings.custody_level = found.level
    findings.custody_sentence = found.sentence
    findings.notes += [f"custody level {found.level}: {reason}" for reason in found.reasons]
    if claimed > found.level:
        findings.notes.append(
            f"custodian: the directory claims level {claimed} to everybody; {found.level} is in force"
        )


def _weakened(settings: CustodianSettings) -> list[str]:
    """Settings that a trial may shorten, and that promise less than the documents when they are."""
    found = []
    if settings.catalogue_refresh_days < CATALOGUE_DAYS:
        found.append(
            f"custodian: catalogue_refresh_days is {settings.catalogue_refresh_days:g}: people are counted more often "
            "than once a week, and who looks every day sees when somebody joins"
        )
    if settings.role_delay_hours < ROLE_DELAY_HOURS:
        found.append(
            f"custodian: role_delay_hours is {settings.role_delay_hours:g}: a role counts before anybody had a day to "
            "object"
        )
    return found


def _overdue(findings: Findings, opened: Custodian) -> None:
    """What should have been erased, destroyed or dropped by now and was not, and whether a restore was caught up with.

    Says no ids and no numbers.
    """
    try:
        with opened.database.reading() as session:
            shut = restoring.why_shut(session, opened.head_memory)
            late = alarms.overdue(session, opened, night.last_done(session))
            _drill(findings, session, opened)
            _reports(findings, session, opened)
            guards(findings, session, opened)
            halts = halting.standing(session, opened).halts
            _directory(findings, session, opened)
    except SQLAlchemyError as error:
        kind = type(error).__name__
        findings.faults.append(f"custodian: what is overdue cannot be read ({kind}); run `assent-server migrate`")
        return
    findings.faults += [f"custodian: {one.sentence}" for one in late]
    findings.notes += [
        f"custodian: the programme is halted since {one.at} by {one.halted_by}: {one.reason}" for one in halts
    ]
    if shut is not None:
        findings.faults.append(f"custodian: the door is shut: {shut}; `assent-server rotate` says what to do")


def _modes(findings: Findings, name: str, looked_at: Sequence[surfaces.Surface]) -> None:
    """What other accounts of this host could use: the drill looks where it runs, and the doctor on every host."""
    results = Results()
    surfaces.look(looked_at, results)
    findings.faults += [f"{name}: {wrong.text}" for wrong in results.wrong]


def _directory(findings: Findings, session: Session, opened: Custodian) -> None:
    """Whether the directory in the file is the newest that was ever in force, as the log says."""
    current = opened.directory
    for _, data in log.newest_of_type(session, LeafType.DIRECTORY_CHANGED, 1):
        last = Leaf.model_validate_json(data)
        version = last.counts["version"]
        if version > current.directory.version or (
            version == current.directory.version and last.subject != current.hash
        ):
            findings.faults.append(
                f"custodian: directory {current.directory.version} lies in the file, and another directory {version} "
                "was in force: everybody refuses this one; put the newest one back as directory.json, and start again"
            )


def _room(findings: Findings, opened: Custodian) -> None:
    """Whether the disk of an SQLite database is nearly full, and what is kept for that case."""
    reserve = opened.database.reserve
    if reserve is None:
        if opened.database.is_sqlite:
            findings.notes.append("custodian: no room is kept for withdrawals on a full disk (reserve_mib is 0)")
        return
    if reserve.is_short:
        kept = f"{reserve.kept_bytes // MIB} of {opened.settings.reserve_mib} MiB are left for those"
        findings.faults.append(
            f"custodian: the disk of its database is nearly full: {NOTHING_ELSE} ({kept}); make room on it"
        )


def _drill(findings: Findings, session: Session, opened: Custodian) -> None:
    """When the canary drill last passed, and whether that is all right."""
    if not opened.settings.drill_interval_hours:
        findings.notes.append("custodian: there is no canary drill here (drill_interval_hours is 0)")
        return
    row = drills.standing(session)
    if row is None:
        findings.notes.append("custodian: no canary drill has been set up yet; `assent-server drill` does, and runs it")
        return
    findings.notes.append(f"custodian: the canary drill last passed at {row.passed}" if row.passed else _NEVER_PASSED)
    if row.wrong:
        findings.faults.append(
            f"custodian: the canary drill of {row.stated} found {row.wrong} outcome(s) that are not as promised "
            f"({row.failed}); `assent-server drill` says what could be reached by whom"
        )
    since = drills.overdue_since(session, opened)
    if since is not None:
        findings.faults.append(f"custodian: no canary drill has passed since {since}; run `assent-server drill`")


def _reports(findings: Findings, session: Session, opened: Custodian) -> None:
    """Whether the collector still says what it handed out."""
    since = reports.silent_since(session, opened)
    if since is not None:
        findings.faults.append(
            f"custodian: the collector has reported nothing since {since}: see that it runs, reaches the custodian and "
            "has its own key; until it reports, nobody can compare what was fetched with what was leased"
        )


def guards(findings: Findings, session: Session, opened: Custodian) -> None:
    """Whether council and data-protection officer can still sign, and with more than one key each."""
    now = opened.clock()
    if not people.founded(session, now):
        return
    keys = {role: people.keys_that_sign(session, role, now).total() for role in sorted(GUARDS)}
    if not any(keys.values()):
        findings.faults.append(
            "custodian: neither council nor data-protection officer has a key left: no role can begin, no account be "
            "recovered, no halt be ended; people go on reading and erasing their own. Found a new installation"
        )
        return
    for role, count in keys.items():
        if count == 0:
            findings.faults.append(
                f"custodian: nobody can sign as {role.value} any more; an admin proposes somebody else for it "
                "(`assent people roles`), and the other of council and dpo countersigns"
            )
        elif count == 1:
            findings.notes.append(
                f"custodian: one single key signs as {role.value}; whoever holds it should add a second one "
                "(`assent me add-device --kind opening`) before it is lost"
            )


_NEVER_PASSED = "custodian: no canary drill has passed yet"


def _collector(findings: Findings, config: Path) -> None:
    settings = CollectorSettings.load(config)
    findings.configuration["collector"] = redacted(settings.model_dump())
    _modes(findings, "collector", surfaces.of_collector(settings))
    key = read_key(settings.key)
    book = TrustedDirectory(settings.root_fingerprint, settings.directory)
    if not book.known:
        findings.notes.append("collector: it has never fetched a directory")
    elif book.current.collector_key != key.public.text:
        findings.faults.append("collector: the directory names another collector key; sign a new directory")
    database = Database(settings.database)
    try:
        _reach(findings, "collector", database)
    finally:
        database.close()


def _witness(findings: Findings, config: Path) -> None:
    loaded = witnessing.load(config)
    findings.configuration["witness"] = redacted(loaded.model_dump())
    if not loaded.key_path.exists():
        findings.faults.append(f"witness: the key file {loaded.key_path.name} is missing")


def _reach(findings: Findings, name: str, database: Database) -> bool:
    try:
        with database.reading() as session:
            session.execute(text("SELECT 1 FROM alembic_version"))
    except Exception as error:
        why = DatabaseUnusable.because(error)
        findings.faults.append(f"{name}: {why}; one that is new or of an older version: `assent-server migrate {name}`")
        return False
    return True
