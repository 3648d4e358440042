"""`assent-server drill` as operators use it: beside real processes, alone, on another host's folder, and every hour."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.integration.server.test_command import _free_base, _process, _run, _up
from tests.simulators.postgres import PostgresServer

from assent.client.joining import join
from assent_custodian.drills.service import IDENTITIES
from assent_custodian.settings import Settings
from assent_server.drill import hosting
from assent_server.drill.identities import DrillNotReady, Folder
from assent_server.drill.results import Results

REFERENCES = ("--agreement", "Agreement 1", "--dpia", "DPIA 1")


@dataclass(frozen=True)
class Running:
    """An installation in processes of its own, with its founders."""

    data: Path
    metrics: int

    @property
    def figures(self) -> dict[str, float]:
        text = httpx2.get(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10).text
        lines = [line.split() for line in text.splitlines() if line.startswith("assent_drill")]
        return {name: float(value) for name, value in lines}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data, base = tmp_path_factory.mktemp("up") / "data", _free_base()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSENT_CUSTODIAN_OPERATOR_PORT", str(base + 3000))
        with _up(data, "--port-base", str(base), *REFERENCES) as (_, summary):
            for code in summary["codes"].values():
                join(code, {"device", "opening"})
            yield Running(data, base + 3000)


def drill(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = _process("drill", "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_drill_sets_itself_up_passes_and_is_shown_everywhere(running: Running) -> None:
    data = str(running.data)
    code, found = drill("--data", data)
    assert (code, found["wrong"], found["passed"]) == (0, [], True)
    assert found["tried"] > 2000
    folder = running.data / "custodian" / "drill"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert running.figures["assent_drill_wrong"] == 0
    assert running.figures["assent_drill_overdue"] == 0
    passed = running.figures["assent_drill_passed_timestamp_seconds"]
    doctor = _run("doctor", "--data", data)
    assert doctor.returncode == 0, doctor.stdout
    assert "the canary drill last passed at 2" in doctor.stdout

    database = running.data / "collector" / "collector.db"
    database.chmod(0o644)
    try:
        done = _process("drill", "--data", data)
    finally:
        database.chmod(0o600)
    assert done.returncode == 1
    assert "WRONG surface.collector-database: other accounts of this host could use collector.db" in done.stdout
    assert "every route, by everybody" in done.stderr, "what it is at"
    assert running.figures["assent_drill_wrong"] == 1
    assert running.figures["assent_drill_passed_timestamp_seconds"] == passed
    doctor = _run("doctor", "--data", data)
    assert doctor.returncode == 1
    assert "found 1 outcome(s) that are not as promised (surface.collector-database)" in doctor.stdout


def test_a_drill_runs_from_another_host_with_codes_that_were_brought(running: Running, tmp_path: Path) -> None:
    codes, folder = tmp_path / "codes", tmp_path / "drill"
    done = _process("drill", "--data", str(running.data), "--invite", str(codes))
    assert done.returncode == 0, done.stderr
    assert codes.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(codes.read_text())) == set(IDENTITIES)
    code, found = drill("--data", str(tmp_path / "none"), "--folder", str(folder), "--codes", str(codes))
    assert (code, found["wrong"]) == (0, [])
    assert found["skipped"] == [
        "files of the custodian: they are on another host", "files of the collector: they are on another host",
    ]  # fmt: skip
    again = _process("drill", "--data", str(tmp_path / "none"), "--folder", str(folder), "--codes", str(codes))
    assert again.returncode == 1, "codes work once"
    done = _process("drill", "--data", str(tmp_path / "none"), "--folder", str(tmp_path / "empty"))
    assert (done.returncode, "bring codes" in done.stderr) == (1, True)


def test_a_drill_beside_services_on_postgresql(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, base = tmp_path / "data", _free_base()
    for service in ("CUSTODIAN", "COLLECTOR"):
        monkeypatch.setenv(f"ASSENT_{service}_DATABASE_URL", postgres_server.new_database())
    monkeypatch.setenv("ASSENT_CUSTODIAN_OPERATOR_PORT", str(base + 3000))
    with _up(data, "--port-base", str(base), *REFERENCES) as (_, summary):
        for code in summary["codes"].values():
            join(code, {"device", "opening"})
        (data / "custodian" / "keys").chmod(0o750)
        code, found = drill("--data", str(data))
        assert code == 1
        assert [one["rule"] for one in found["wrong"]] == ["surface.custodian-keys"], "this, and nothing else"
        assert found["tried"] > 2000
        assert any("PostgreSQL" in one for one in found["skipped"]), "what it cannot look at, it says"
        assert Running(data, base + 3000).figures["assent_drill_wrong"] == 1
    assert not list(data.rglob("*.db")), "the databases are on the server, and nowhere else"


def test_the_doctor_looks_at_modes_where_no_drill_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert _run("init", "--data", str(data), "--port-base", str(_free_base())).returncode == 0
    looks = {"custodian": "--custodian-config", "collector": "--collector-config"}
    for name, option in looks.items():
        config, database = data / f"{name}.toml", data / name / f"{name}.db"
        assert _run("doctor", option, str(config)).returncode == 0
        database.chmod(0o604)
        done = _run("doctor", option, str(config))
        assert done.returncode == 1
        assert f"FAULT {name}: other accounts of this host could use {name}.db (mode 0604)" in done.stdout
        database.chmod(0o600)


def test_before_the_founders_have_joined_the_drill_waits(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = _run("init", "--data", str(data), "--port-base", str(_free_base()), *REFERENCES)
    assert done.returncode == 0, done.stderr
    done = _run("drill", "--data", str(data))
    assert (done.returncode, "have not all joined yet" in done.stderr) == (1, True)
    assert "no canary drill has been set up yet" in _run("doctor", "--data", str(data)).stdout


def test_before_anybody_can_consent_the_drill_waits(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert _run("init", "--data", str(data), "--port-base", str(_free_base())).returncode == 0
    done = _run("drill", "--data", str(data))
    assert (done.returncode, "the drill waits until people can be asked" in done.stderr) == (1, True)


def test_the_doctor_says_where_there_is_no_drill(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert _run("init", "--data", str(data), "--port-base", str(_free_base())).returncode == 0
    done = _run("doctor", "--data", str(data), ASSENT_CUSTODIAN_DRILL_INTERVAL_HOURS="0")
    assert "there is no canary drill here" in done.stdout


@pytest.mark.parametrize("content", ["", "[]", '{"canary": "x"}'])
def test_a_file_that_holds_no_codes_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "codes").write_text(content)
    with pytest.raises(DrillNotReady):
        hosting.read_codes(tmp_path / "codes")


class Stop(Exception):
    pass


def schedule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: Exception | None, turns: int) -> list[float]:
    """The pauses, in seconds, between drills that end like this."""
    pauses: list[float] = []
    ran: list[Folder] = []

    def run_once(_settings: Any, _collector: Any, folder: Folder) -> Results:
        ran.append(folder)
        if outcome is not None:
            raise outcome
        return Results()

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > turns:
            raise Stop

    monkeypatch.setattr(hosting, "run_once", run_once)
    with pytest.raises(Stop):
        hosting.every_interval(Settings(data_dir=tmp_path, drill_interval_hours=2), None, wait)
    assert len(ran) == turns
    return pauses


def test_whatever_is_misconfigured_is_looked_at_within_the_interval_and_nobody_knows_when(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pauses = schedule(monkeypatch, tmp_path, None, 200)
    assert all(600 < pause < 2 * 3600 for pause in pauses), "never more than the interval, here of two hours"
    assert statistics.pstdev(pauses) > 300, "at another moment each time"


def test_a_drill_that_could_not_be_run_is_tried_again_soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pauses = schedule(monkeypatch, tmp_path, DrillNotReady("the founders have not joined"), 5)
    assert pauses[1:] == [720.0] * 5
    pauses = schedule(monkeypatch, tmp_path, httpx2.ConnectError("nobody there"), 5)
    assert pauses[1:] == [720.0] * 5
