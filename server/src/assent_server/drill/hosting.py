"""The drill where the custodian runs: sets itself up, looks at this host's files, runs once or every hour."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import httpx2
import structlog

from assent.client.custodian import Clock
from assent.client.files import write_private
from assent.client.transport import ClientError, now_utc
from assent.contracts.problems import Problem
from assent_collector.app import openapi as collector_openapi
from assent_collector.settings import CollectorSettings
from assent_custodian.app import openapi as custodian_openapi
from assent_custodian.context import Custodian, open_custodian
from assent_custodian.drills import service as drills
from assent_custodian.files import NotReady
from assent_custodian.people.service import founded
from assent_custodian.settings import Settings as CustodianSettings
from assent_server.drill import surfaces
from assent_server.drill.identities import DrillNotReady, Folder, enrol
from assent_server.drill.results import Progress, Results
from assent_server.drill.running import Described, Drill
from assent_service.migrating import check_migrated

FAILURES = (ClientError, DrillNotReady, NotReady, OSError, httpx2.HTTPError)
"""What keeps a drill from being run, and says why."""

_log = structlog.get_logger("assent.drill")


def quiet(_text: str) -> None:
    """Progress that nobody looks at."""


def described() -> Described:
    """The routes that this build of the services has."""
    return Described(custodian_openapi(), collector_openapi())


def make_codes(custodian: Custodian) -> dict[str, str]:
    """New identities: a code for each, by name. Ends those of before. Raises DrillNotReady while nobody may record."""
    try:
        custodian.offer.require_references()
    except Problem as problem:
        raise DrillNotReady(f"the drill waits until people can be asked: {problem.detail}") from problem
    with custodian.database.transaction() as session:
        if not founded(session, custodian.now()):
            raise DrillNotReady("admin, council and data-protection officer have not all joined yet: the drill waits")
        return drills.invite(session, custodian)


def write_codes(codes: Mapping[str, str], file: Path) -> None:
    """For a drill that runs elsewhere; for its owner only."""
    write_private(file, json.dumps(codes).encode())


def read_codes(file: Path) -> dict[str, str]:
    """Raises DrillNotReady."""
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise DrillNotReady("this file holds no codes; `assent-server drill --invite` makes one") from error
    if not isinstance(found, dict) or set(found) != set(drills.IDENTITIES):
        raise DrillNotReady("this file does not hold a code for each identity of the drill")
    return {str(name): str(code) for name, code in found.items()}


def run_once(
    settings: CustodianSettings | None,
    collector: CollectorSettings | None,
    folder: Folder,
    *,
    codes: Mapping[str, str] | None = None,
    clock: Clock = now_utc,
    transport: httpx2.BaseTransport | None = None,
    wait: Callable[[float], None] = time.sleep,
    progress: Progress = quiet,
) -> Results:
    """Set the drill up if it is not yet, and run it. `settings`, `collector`: of what lies on this host, or None.

    Raises what `FAILURES` names.
    """
    with folder.alone():
        return _run_once(
            settings, collector, folder, codes=codes, clock=clock, transport=transport, wait=wait, progress=progress
        )


def _run_once(
    settings: CustodianSettings | None,
    collector: CollectorSettings | None,
    folder: Folder,
    *,
    codes: Mapping[str, str] | None,
    clock: Clock,
    transport: httpx2.BaseTransport | None,
    wait: Callable[[float], None],
    progress: Progress,
) -> Results:
    if codes is not None or not folder.exists:
        enrol(folder, codes or _own_codes(settings, clock), clock=clock, transport=transport, progress=progress)
    looked_at = []
    if settings is not None:
        looked_at += surfaces.of_custodian(settings)
    if collector is not None:
        looked_at += surfaces.of_collector(collector)
    drill = Drill(
        folder, described(), looked_at, clock=clock, transport=transport, wait=wait, progress=progress,
        skipped=_not_here(settings, collector),
    )  # fmt: skip
    return drill.run()


def _own_codes(settings: CustodianSettings | None, clock: Clock) -> dict[str, str]:
    if settings is None:
        raise DrillNotReady("there is no custodian here: bring codes that `assent-server drill --invite` made there")
    custodian = open_custodian(settings, clock)
    try:
        check_migrated("custodian", settings.database)
        return make_codes(custodian)
    finally:
        custodian.close()


def _not_here(settings: CustodianSettings | None, collector: CollectorSettings | None) -> list[str]:
    found = []
    if settings is None:
        found.append("files of the custodian: they are on another host")
    if collector is None:
        found.append("files of the collector: they are on another host")
    databases = [one.database for one in (settings, collector) if one is not None]
    if any(not database.startswith("sqlite") for database in databases):
        found.append("who may use the PostgreSQL server: its own log and `pg_hba.conf` say that")
    return found


def every_interval(
    settings: CustodianSettings, collector: CollectorSettings | None, wait: Callable[[float], None] = time.sleep
) -> None:
    """Run for ever: at a moment nobody knows before, and again before the interval is over. Failing to run is logged
    by kind; the custodian says in its own log when no drill passes.
    """
    interval = timedelta(hours=settings.drill_interval_hours).total_seconds()
    chance = random.SystemRandom()
    wait(interval * chance.uniform(0.25, 0.75))
    while True:
        pause = interval * chance.uniform(0.5, 0.9)
        try:
            results = run_once(settings, collector, Folder(settings.drill))
        except FAILURES as error:
            _log.warning("drill-not-run", kind=type(error).__name__)
            pause = interval / 10
        else:
            _log.info("drill-run", passed=results.passed, tried=results.tried, failed=list(results.failed))
        wait(pause)
