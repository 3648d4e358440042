"""Totals of the last full hour, in wide steps, and nothing that could be about one person."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from starlette.testclient import TestClient
from tests.simulators.collector import World
from tests.simulators.custodian import CustodianWorld, custodian_world

from assent_collector.app import application
from assent_custodian.app import app_for
from assent_service.metrics import Metrics, serve_metrics
from assent_service.web import PortTaken, listening_socket


class Clock:
    now = datetime(2026, 11, 26, 9, 59, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def shown(metrics: Metrics) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    return generate_latest(registry).decode()


def answers(metrics: Metrics) -> dict[str, float]:
    lines = [line for line in shown(metrics).splitlines() if line.startswith("assent_answers_last_hour{")]
    return {line.rpartition(" ")[0].partition("{")[2][:-1]: float(line.rpartition(" ")[2]) for line in lines}


@pytest.mark.parametrize(
    ("count", "said"), [(0, None), (1, None), (10, None), (4999, None), (5000, 5000), (9999, 5000), (12_345, 10_000)]
)
def test_counts_are_shown_in_steps_and_not_below_one(count: int, said: float | None) -> None:
    clock = Clock()
    metrics = Metrics(clock=clock)
    for _ in range(count):
        metrics.answered("GET /v1/me", 200)
    assert answers(metrics) == {}, "the hour under way is nobody's business"
    clock.now += timedelta(minutes=1)
    assert answers(metrics) == ({} if said is None else {'route="GET /v1/me",status="200"': said})
    clock.now += timedelta(hours=1)
    assert answers(metrics) == {}, "and is forgotten an hour later"


def test_after_a_quiet_hour_nothing_older_is_shown() -> None:
    clock = Clock()
    metrics = Metrics(clock=clock)
    for _ in range(6000):
        metrics.answered("GET /v1/me", 200)
        metrics.answered("GET /v1/me", 500)
    clock.now += timedelta(hours=2)
    assert answers(metrics) == {}
    assert not re.findall(r"^assent_failures_last_hour ", shown(metrics), re.MULTILINE)


@pytest.mark.parametrize(("count", "said"), [(9, None), (10, "10.0"), (19, "10.0"), (200, "200.0")])
def test_failures_are_shown_in_tens_of_all_routes_together(count: int, said: str | None) -> None:
    clock = Clock()
    metrics = Metrics(clock=clock)
    for number in range(count):
        metrics.answered("GET /v1/me" if number % 2 else "other", 503 if number % 3 else 500)
        metrics.answered("GET /v1/me", 404)
    clock.now += timedelta(hours=1)
    found = re.findall(r"^assent_failures_last_hour (\S+)$", shown(metrics), re.MULTILINE)
    assert found == ([] if said is None else [said])


def test_a_state_that_cannot_be_looked_at_hides_nothing_else() -> None:
    def broken() -> dict[str, float]:
        raise RuntimeError("the database is away")

    text = shown(Metrics(broken))
    assert "assent_facts_known 0.0" in text
    assert "assent_facts_known 1.0" in shown(Metrics(lambda: {"halted": 0.0}))


def test_a_service_counts_routes_by_template_and_never_by_who_or_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assent_service.metrics.STEP", 10)
    with custodian_world(tmp_path) as world:
        world.add_purpose()
        (kim,) = world.add_participants(1)
        app = app_for(world.custodian)
        metrics: Metrics = app.state.metrics
        clock = Clock()
        metrics._clock = clock
        metrics._hour = clock.now.replace(minute=0)
        with_metrics = TestClient(app, raise_server_exceptions=False)
        for number in range(12):
            header = {"Authorization": world.authorization(kim.opening, "GET", "/v1/me")}
            assert with_metrics.get("/v1/me", headers=header).status_code == 200
            with_metrics.get(f"/v1/requests/{'ab' * 32}")
            with_metrics.get(f"/somewhere/{kim.person}/{number}")
        clock.now += timedelta(hours=1)
        text = shown(metrics)
        assert set(answers(metrics)) == {
            'route="GET /v1/me",status="200"', 'route="GET /v1/requests/{hash}",status="401"',
            'route="other",status="404"',
        }  # fmt: skip
        secrets = (kim.person, kim.name, kim.device.public.id, kim.opening.public.id, "abab")
        assert not [word for word in secrets if word in text]
        assert "assent_halted 0.0" in text


def test_nothing_else_is_measured_and_a_participant_more_moves_nothing(tmp_path: Path) -> None:
    with custodian_world(tmp_path) as world:
        world.add_purpose()
        before = shown(app_for(world.custodian).state.metrics)
        world.add_participants(3)
        assert shown(app_for(world.custodian).state.metrics) == before
        always = {"answers_last_hour", "failures_last_hour", "facts_known", "halted", "collector_silent", "disk_short"}
        assert names(before) == always | night_of(world)


def night_of(world: CustodianWorld) -> set[str]:
    from assent_custodian.night import last_done

    with world.custodian.database.reading() as session:
        return set() if last_done(session) is None else {"night_done_days_ago"}


def names(text: str) -> set[str]:
    return set(re.findall(r"^# TYPE assent_(\w+) ", text, re.MULTILINE))


def test_the_collectors_figures_are_counts_and_room(tmp_path: Path) -> None:
    world = World.new(tmp_path)
    try:
        metrics: Metrics = application(world.collector).state.metrics
        assert names(shown(metrics)) == {"answers_last_hour", "failures_last_hour", "facts_known", "disk_free_gib"}
        assert re.search(r"^assent_disk_free_gib \d+\.0$", shown(metrics), re.MULTILINE)
    finally:
        world.collector.close()


def test_they_are_served_on_a_port_of_their_own_and_only_if_one_is_named(tmp_path: Path) -> None:
    with listening_socket("127.0.0.1", 0) as free:
        port = int(free.getsockname()[1])
    serve_metrics(Metrics(), "127.0.0.1", None)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"http://127.0.0.1:{port}/metrics")
    serve_metrics(Metrics(), "127.0.0.1", port)
    assert "assent_facts_known" in httpx2.get(f"http://127.0.0.1:{port}/metrics").text
    with pytest.raises(PortTaken):
        serve_metrics(Metrics(), "127.0.0.1", port)
    with custodian_world(tmp_path) as world:
        public = TestClient(app_for(world.custodian), raise_server_exceptions=False)
        assert public.get("/metrics").status_code == 404
