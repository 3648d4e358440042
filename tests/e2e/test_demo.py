"""The demo keeps every promise, one by one."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image
from tests.e2e.conftest import DemoRun

pytestmark = [pytest.mark.e2e, pytest.mark.x11, pytest.mark.timeout(1000), pytest.mark.xdist_group("demo")]

OUTCOMES = (
    "services",
    "custody-level-is-said",
    "roles-countersigned",
    "off-by-default",
    "recorded-while-she-worked",
    "tray-says-what-is",
    "nine-more",
    "spool-is-sealed",
    "catalogue-in-tens",
    "no-self-approval",
    "one-approval-is-not-enough",
    "nobody-approves-twice",
    "granted-by-two",
    "floor-of-ten",
    "lease-in-the-witnessed-log",
    "ten-people-read",
    "pull-to-a-program",
    "marker-was-recorded",
    "accesses-are-told",
    "own-recordings",
    "marker-in-own-recordings",
    "excluded-window-is-not-recorded",
    "captured-equals-received",
    "own-export",
    "search-finds-leaks",
    "exposure-table",
    "capture-stops",
    "withdrawal-confirmed",
    "running-job-loses-her",
    "door-closed",
    "vault-keys-destroyed",
    "collector-erased",
    "erased-for-herself-too",
    "receipts-hold-offline",
    "recalled",
    "log-shows-it",
    "log-verifies",
    "tampered-log-fails",
)

EXPOSURE = (
    "1-stranger",
    "2-bo",
    "2-others-recordings",
    "4-singling-out",
    "5-requester",
    "6-after-withdrawal",
    "7-steward-1",
    "8-steward-and-requester",
    "9-auditor",
    "10-collector-admin",
    "11-admin",
    "12-collector-database",
    "13-object-store",
    "15-custodian-database",
    "16-root-on-one-host",
    "19-stolen-laptop",
    "23-logs",
    "23-names-in-logs",
    "24-ml-host",
    "25-witness",
    "31-auditor-and-dump",
    "council",
    "dpo",
)


def test_the_demo_ends_well(demo: DemoRun) -> None:
    assert demo.status == 0, demo.printed[-3000:]
    assert demo.summary["ok"]
    assert demo.summary["complete"]
    assert demo.summary["failed"] == []


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcome(demo: DemoRun, name: str) -> None:
    outcome = demo.outcomes[name]
    assert outcome["ok"], f"expected: {outcome['expected']}; obtained: {outcome['obtained']}"


def test_no_outcome_goes_unlisted(demo: DemoRun) -> None:
    assert set(demo.outcomes) == set(OUTCOMES)


@pytest.mark.parametrize("name", EXPOSURE)
def test_position_obtains_no_more_than_it_may(demo: DemoRun, name: str) -> None:
    row = demo.exposure[name]
    assert row["ok"], f"{row['position']} may obtain {row['may']}; obtained: {row['obtained']}"


def test_no_position_goes_unlisted(demo: DemoRun) -> None:
    assert set(demo.exposure) - {"17-memory-of-the-services"} == set(EXPOSURE)


def test_nothing_was_skipped_in_silence(demo: DemoRun) -> None:
    tried = "17-memory-of-the-services" in demo.exposure
    assert tried or any(reason.startswith("17 ") for reason in demo.summary["skipped"])
    for reason in demo.summary["skipped"]:
        assert reason.split(":")[0] in demo.printed


def test_what_was_shortened_is_printed_and_kept(demo: DemoRun) -> None:
    assert "A segment is held for its person" in demo.summary["shortened"]
    for what in demo.summary["shortened"]:
        assert what in demo.printed


def test_figures_are_there(demo: DemoRun) -> None:
    figures: dict[str, Any] = demo.summary["figures"]
    assert figures["events"]["captured"] == figures["events"]["received"]
    assert sum(figures["events"]["captured"].values()) > 300
    assert 0 < figures["agent"]["cpu_percent_of_one_core"] < 100
    assert figures["ada"]["bytes_per_event_without_screen"] > 0
    assert figures["upload"]["bytes"] > 0
    assert figures["read"]["events"] > 1000
    assert len(figures["seconds_from_withdrawal_until"]) == 6


@pytest.mark.parametrize("name", ["tray.png", "contact-sheet.png", "desktop.png"])
def test_pictures_can_be_looked_at(demo: DemoRun, name: str) -> None:
    with Image.open(demo.folder / "pictures" / name) as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=1 << 24)
    assert colours is not None and len(colours) > 20, "a picture, not a blank page"


def test_it_says_how_to_go_on(demo: DemoRun) -> None:
    assert "summary.json" in demo.printed
    assert "assent-server up --data" in demo.printed
