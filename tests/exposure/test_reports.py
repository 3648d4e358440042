"""Rows 3, 9, 10, 17 and 18: what the collector reports of itself, against what the log says was opened.

Custodian, collector, clients and monitor are real; each alarm has its control: the same hours, honestly used.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select
from tests.exposure.test_people_in_power import entries
from tests.exposure.world import Ask, Populated
from tests.simulators.custodian import Member

from assent.client.custodian import CustodianClient
from assent.contracts.envelope import sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import REFUSED, CollectorReport, Ticket
from assent.contracts.times import moment
from assent.reader.auditing import Audit, audit
from assent.reader.log_copies import Live, take
from assent.reader.monitoring import Look, Monitor
from assent_collector.custodian import CustodianUnreachable
from assent_custodian.keys.models import Stream
from assent_custodian.log import witnesses
from assent_custodian.night import run_night
from assent_custodian.reports import service

REPORTS = ("report", "report-missing", "report-repeated", "fetch-unexplained", "collector-silent")


def hours(populated: Populated, count: int = 1) -> None:
    """Time passes; every hour the collector does what it does by itself."""
    for _ in range(count):
        populated.world.clock.forward(hours=1)
        populated.installation.collector.reports.report_once()


def auditor(populated: Populated) -> CustodianClient:
    return populated.installation.custodian_as(populated.staff.auditor.opening)


def look(populated: Populated, folder: Path) -> Look:
    witnesses.submit_head(populated.world.custodian, again=True)
    root = populated.world.report.root_fingerprint
    with Monitor(folder, root, role_delay=None) as monitor, auditor(populated) as client:
        return monitor.look(Live(client, kept=monitor.copy), populated.world.clock())


def verify(populated: Populated) -> Audit:
    witnesses.submit_head(populated.world.custodian, again=True)
    with auditor(populated) as client:
        return audit(take(Live(client)), populated.world.report.root_fingerprint)


def alarms(populated: Populated, folder: Path) -> list[str]:
    return [alarm.kind for alarm in look(populated, folder).alarms if alarm.kind in REPORTS]


def reported(populated: Populated) -> list[dict[str, int]]:
    return [leaf.counts for leaf in entries(populated.staff.auditor) if leaf.type is LeafType.COLLECTOR_REPORT]


@pytest.fixture
def running(in_use: Populated) -> Populated:
    """An installation whose collector reports, and in which the first hour is over."""
    in_use.installation.collector.reports.report_once()
    in_use.installation.plaintext(in_use.job)
    hours(in_use)
    return in_use


def test_row_18_what_was_fetched_under_leases_is_explained(running: Populated, tmp_path: Path) -> None:
    """The control: reading, one's own and others', for hours; and a day on which nobody reads."""
    installation = running.installation
    assert reported(running)[-1]["listings"] and reported(running)[-1]["bodies"], "somebody read"
    installation.plaintext(installation.own_job(running.people[0]))
    hours(running)
    assert reported(running)[-1]["bodies"] == 1
    hours(running, 5)
    assert alarms(running, tmp_path / "monitor") == []
    outcome = verify(running)
    assert outcome.passed, [check.text for check in outcome.checks if not check.passed]
    assert any("reports (7)" in check.text for check in outcome.checks)


def stolen_ticket(populated: Populated) -> tuple[SigningKey, list[Any]]:
    """A ticket that the custodian signed for itself, of which nothing is in the log; and what it brings."""
    job, custodian = SigningKey.generate(), populated.world.custodian
    with custodian.database.reading() as session:
        streams = tuple(session.scalars(select(Stream.id)))[:10]
    day, until = populated.world.now[:10], moment(populated.world.clock().replace(hour=23))
    ticket = custodian.sign(
        Ticket(ticket=new_id(), day=day, streams=streams, job_signing_key=job.public.text, until=until)
    )
    with populated.installation.uploader() as collector:
        return job, list(collector.fetch_streams(ticket, job).streams)


def close(populated: Populated) -> None:
    with populated.installation.custodian_as(None) as custodian:
        custodian.close_lease(populated.job.lease.lease, populated.job.signing_key, 40)


def test_row_18_a_ticket_of_no_lease_brings_ciphertext_and_an_alarm(running: Populated, tmp_path: Path) -> None:
    close(running)
    hours(running, 2)
    assert alarms(running, tmp_path / "monitor") == [], "the control"
    _, found = stolen_ticket(running)
    assert len(found) == 10, "it has the ciphertext"
    hours(running)
    assert alarms(running, tmp_path / "monitor") == ["fetch-unexplained"]
    assert any("no lease was open" in check.text for check in verify(running).checks if not check.passed)
    hours(running)
    assert alarms(running, tmp_path / "monitor") == ["fetch-unexplained"], "until somebody has seen to it"


def test_row_18_a_report_that_the_custodian_keeps_back_is_missed(running: Populated, tmp_path: Path) -> None:
    close(running)
    hours(running, 2)
    stolen_ticket(running)

    def keep_back(ask: Ask, real: Any) -> httpx2.Response:
        """A custodian that says that it took the report, and did not."""
        return httpx2.Response(200, json={"hash": "00" * 32}) if ask.url.path == "/v1/reports" else real()

    running.installation.enemy = keep_back
    hours(running)
    running.installation.enemy = None
    running.world.clock.forward(hours=2, minutes=30)
    assert alarms(running, tmp_path / "monitor") == ["collector-silent"]
    count = len(reported(running))
    running.installation.collector.reports.report_once()
    last = [leaf for leaf in entries(running.staff.auditor) if leaf.type is LeafType.COLLECTOR_REPORT]
    assert len(last) == count + 1
    assert '"resumed":true' in _payload(last[-1]), "the collector says that it was made to go back"
    assert "report-resumed" in [one.kind for one in look(running, tmp_path / "monitor").news]


def _payload(leaf: Leaf) -> str:
    return base64.b64decode(json.loads(leaf.detail["report"])["payload"]).decode()


def test_row_18_a_report_that_the_custodian_invents_is_not_the_collectors(running: Populated, tmp_path: Path) -> None:
    custodian, world = running.world.custodian, running.world
    quiet = dict.fromkeys(("listings", "bodies", *REFUSED, "orders"), 0)
    number, since = reported(running)[-1]["number"] + 1, world.now[:13]
    world.clock.forward(hours=1)
    report = CollectorReport(number=number, since=since, until=world.now[:13], **quiet)
    with custodian.database.transaction() as session:
        service.take(session, custodian, sign(report, custodian.statement_key))
    assert alarms(running, tmp_path / "monitor") == ["report"]


def test_row_10_a_collector_that_reports_nothing_is_heard_of(running: Populated, tmp_path: Path) -> None:
    running.world.clock.forward(hours=2, minutes=59)
    assert alarms(running, tmp_path / "monitor") == []
    running.world.clock.forward(minutes=2)
    assert alarms(running, tmp_path / "monitor") == ["collector-silent"]
    running.installation.collector.reports.report_once()
    assert alarms(running, tmp_path / "monitor") == [], "it ends when it reports"


def test_row_17_a_collector_sends_what_it_counts_to_nobody_but_the_custodian(running: Populated) -> None:
    """The custodian connects to nobody: reports come by themselves, and wait while it is away."""
    installation = running.installation
    before = [ask for ask in installation.heard if ask.url.path == "/v1/reports"]
    assert {(ask.method, ask.url.port) for ask in before} == {("POST", 8401)}
    installation.enemy = lambda _ask, _real: httpx2.Response(503)
    count = len(reported(running))
    for _ in range(3):
        with pytest.raises(CustodianUnreachable):
            hours(running)
    installation.enemy = None
    installation.collector.reports.report_once()
    numbers = [counts["number"] for counts in reported(running)]
    assert numbers == list(range(1, count + 4)), "each hour has its own"


# --- what a report says of people: nothing ----------------------------------------------------------------------------


def said(populated: Populated) -> set[str]:
    """What the last report says besides its number and hour."""
    return {json.dumps({**counts, "number": 0, "orders": 0}) for counts in reported(populated)[-1:]}


def test_row_09_no_report_moves_with_what_one_person_does(in_use: Populated) -> None:
    """An idle hour, and hours in which somebody begins, records, withdraws and is erased, are reported alike."""
    in_use.installation.collector.reports.report_once()
    hours(in_use)
    idle = said(in_use)
    somebody = in_use.world.add_person("Somebody")

    def record(member: Member) -> None:
        member.consent()
        in_use.installation.record(member, in_use.marker)

    for act in (
        lambda: record(somebody),
        lambda: somebody.withdraw(erase="now"),
        lambda: run_night(in_use.world.custodian),
        in_use.installation.collector.orders.pull_orders_once,
    ):
        act()
        hours(in_use)
        assert said(in_use) == idle
    in_use.installation.plaintext(in_use.installation.own_job(in_use.people[0]))
    hours(in_use)
    assert said(in_use) != idle, "the positive control"


def test_row_03_reports_are_magnitudes_whoever_reads_how_much(in_use: Populated) -> None:
    """Who reads one's own forty pieces is told from nobody who reads ten, nor from somebody else who does."""
    in_use.installation.collector.reports.report_once()
    seen = set()
    for member in in_use.people[:2]:
        in_use.installation.plaintext(in_use.installation.own_job(member))
        hours(in_use)
        seen |= said(in_use)
    assert len(seen) == 1
    for count in (value for counts in reported(in_use) for name, value in counts.items() if name != "number"):
        assert str(count).strip("0") in ("", "1")


def test_row_09_reports_hold_hours_and_figures_and_the_key_and_nothing_else(running: Populated) -> None:
    last = [leaf for leaf in entries(running.staff.auditor) if leaf.type is LeafType.COLLECTOR_REPORT][-1]
    assert set(json.loads(last.to_bytes())) == {"v", "type", "at", "auth", "subject", "counts", "keys", "detail"}
    fields = set(json.loads(_payload(last)))
    assert fields == {
        "v", "number", "since", "until", "listings", "bodies", "refused_tickets", "refused_certificates",
        "refused_over_budget", "orders", "resumed",
    }  # fmt: skip
    text = last.to_bytes().decode() + _payload(last)
    for recording in running.recordings:
        assert recording.stream not in text and recording.member.person not in text
    assert running.world.collector_key.public.text in text, "the positive control"
