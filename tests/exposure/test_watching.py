"""Rows 3, 4, 9 and 10, by patience: what moves when one person begins or stops, for somebody who looks twice.

Each of these is one question that is answered differently after one person took part; asked again and again, it would
tell who.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.simulators.custodian import CustodianWorld, Member, custodian_world
from typer.testing import CliRunner

from assent.contracts.ids import sha256_hex
from assent.contracts.limits import SEGMENT_RHYTHM_S
from assent.contracts.statements import Role
from assent_custodian.grants import domain
from assent_server.cli import app
from assent_service.metrics import Metrics

HOUR_S = 3600
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def change_text(world: CustodianWorld, text: str) -> str:
    """What an admin can do at any time: another text, from now on. Returns its hash."""
    policy = json.loads(world.settings.policy.read_text())
    world.settings.policy.write_text(json.dumps({**policy, "notice": text}))
    world.restart()
    return sha256_hex(text.encode())


def test_row_03_whether_anybody_agreed_to_a_text_is_not_told_by_asking_for_it(tmp_path: Path) -> None:
    """An admin changes a word before each person is asked: whoever agrees would make that text known."""
    with custodian_world(tmp_path) as world:
        world.add_purpose()
        kim = world.add_person("Kim")
        before = change_text(world, "Version for Kim.")

        def seen(by: Member, text: str) -> int:
            return by.get(f"/v1/consent/notices/{text}").status_code

        def asked() -> list[int]:
            return [seen(by, before) for by in (world.admin, world.council, world.dpo, world.add_person("A manager"))]

        unagreed = asked()
        kim.consent()
        assert asked() == unagreed, "somebody agreed"
        change_text(world, "Version for Lee.")
        assert asked() == unagreed, "somebody had agreed"
        assert seen(kim, before) == 200, "the positive control: one's own receipt names it"


def test_row_04_asking_for_a_number_of_people_tells_tens_and_no_more() -> None:
    """A requester who is granted 23 people and not 24 would know how many there are."""

    def answer(there_are: int, wanted: int) -> domain.State:
        half = domain.Open("requester", AT + timedelta(days=1), frozenset({"one steward"}))
        return domain.step(half, domain.Approved("another", there_are, AT), wanted=wanted)

    for wanted in range(10, 40):
        for tens in (10, 20, 30):
            among = {answer(there_are, wanted) for there_are in range(tens, tens + 10)}
            assert len(among) == 1, f"{wanted} of {tens} to {tens + 9}"
    assert answer(20, 20) != answer(19, 20), "the positive control: twenty are told from nineteen"


def test_row_04_the_days_of_the_catalogue_are_of_ten_people_and_not_of_the_first_and_the_last(tmp_path: Path) -> None:
    """One who began a month before the others, or went on when they had stopped, is not to be read from it."""
    with custodian_world(tmp_path, catalogue_refresh_days=0) as world:
        world.add_purpose()
        requester = world.add_person("Rafa", Role.REQUESTER)

        def days() -> set[tuple[str | None, str | None]]:
            counted = requester.get("/v1/catalogue").json()["entries"]
            return {(entry.get("from_day"), entry.get("to_day")) for entry in counted}

        early = world.add_person("Early")
        early.consent()
        early.certify()
        world.clock.forward(days=30)
        for member in world.add_participants(11):
            member.certify()
        together = world.now[:10]
        assert days() == {(together, together)}
        world.clock.forward(days=3)
        early.certify()
        assert days() == {(together, together)}
        for member in world.add_participants(10):
            member.certify()
        assert days() == {(together, world.now[:10])}, "the positive control: ten went on"


AGENT_HOUR = {
    ("GET /v1/me/news", 200): 12,
    ("POST /v1/certificates", 200): 2,
    ("PUT /v1/streams/{stream}", 200): 4,
    ("PUT /v1/segments/{segment}", 200): 4 * HOUR_S // SEGMENT_RHYTHM_S,
    ("GET /v1/directory", 200): 1,
}
"""What one computer asks in an hour: news every five minutes, a segment of each modality at every fifth minute."""

WORKING_DAY = 8
"""Hours that a computer kept, which was offline, and sends in one."""


def test_row_10_the_hour_of_one_computer_moves_no_metric() -> None:
    """A manager who sees the dashboards and has one report in the programme would read the report's hours."""

    def shown(hours_sent: int) -> list[tuple[str, dict[str, str], float]]:
        clock = [AT]
        metrics = Metrics(clock=lambda: clock[0])
        for (route, status), count in AGENT_HOUR.items():
            for _ in range(count * hours_sent):
                metrics.answered(route, status)
        clock[0] += timedelta(hours=1)
        return [(s.name, s.labels, s.value) for family in metrics.collect() for s in family.samples]

    nobody = shown(0)
    assert shown(1) == nobody, "an ordinary hour"
    assert shown(WORKING_DAY) == nobody, "what was kept"
    assert shown(10 * WORKING_DAY) == nobody, "of ten people"
    assert shown(1000) != nobody, "the positive control: a company is seen"


def test_row_10_the_report_of_a_night_counts_nothing_that_follows_from_what_one_person_did(tmp_path: Path) -> None:
    """Who runs `assent-server rotate` after each withdrawal would learn how much fell, and so whose it was. That an
    order was made and a generation destroyed stands in the log, and says nothing of how much was in it.
    """
    reports = []
    for taking_part in (0, 1, 3):
        with custodian_world(tmp_path / str(taking_part)) as world:
            world.add_purpose()
            for member in world.add_participants(taking_part):
                member.certify()
                member.withdraw(erase="now")
            config = world.settings.data_dir.parent / "custodian.toml"
            config.write_text(f"data_dir = {json.dumps(str(world.settings.data_dir))}\n")
            done = CliRunner().invoke(app, ["rotate", "--config", str(config), "--json"])
            reports.append(json.loads(done.stdout))
            assert reports[-1]["ran"], done.output
    assert reports[1] == reports[2], "one person, or three"
    differing = {name for name in reports[0] if reports[0][name] != reports[1][name]}
    assert differing == {"orders", "orders_open", "generations_destroyed"}
