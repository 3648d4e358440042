"""Whole processes that are killed at bad moments: nothing that was sealed or accepted is lost, nothing comes twice."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from tests.demo.people import Person, done
from tests.demo.processes import Running, wait_for
from tests.demo.replays import write_replays
from tests.demo.story import today
from tests.e2e.installation import Installation
from tests.simulators.desktop import Desktop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

LETTERS = "the quick brown fox jumps over the lazy dog"


def own_events(person: Person, day: str) -> dict[str, object]:
    """What comes back when somebody opens their own recordings."""
    told: dict[str, object] = done(
        person.assent("me", "recordings", "--day", day, "--to", person.home / "mine.png", "--json")
    ).json
    return told


def everything_sent(made: Installation, person: Person, agent: Running) -> None:
    done(person.agent("send", "--json"))
    wait_for(lambda: made.status(person)["segments_waiting"] == 0, "everything to be sent", 120, agent.log)


@pytest.mark.x11
def test_an_agent_killed_in_mid_recording_loses_no_sealed_segment(installation: Installation) -> None:
    with Desktop((900, 600), tray=True) as desktop:
        ada = installation.participant("ada", DISPLAY=desktop.display, ASSENT_AGENT_HOLD_S="900")
        day = today()
        agent = ada.start_agent()
        installation.wait_for_status(ada, state="recording")
        began = time.monotonic()
        desktop.xterm("Letter", size="60x12")

        def noticed() -> bool:
            ago = installation.status(ada)["arrived_s"].get("context")
            return ago is not None and time.monotonic() - ago > began

        wait_for(noticed, "the agent to know the window", 90, agent.log)
        desktop.run("xdotool", "type", "--delay", "30", LETTERS)
        done(ada.agent("pause"))
        sealed_events = installation.wait_for_status(ada, state="paused")["events_sealed"]
        sealed = installation.sealed(ada)
        assert sealed_events["keyboard"] >= 2 * len(LETTERS) - 2
        done(ada.agent("resume"))
        installation.wait_for_status(ada, state="recording")
        desktop.run("xdotool", "type", "--delay", "30", LETTERS)

        agent.process.send_signal(signal.SIGKILL)
        agent.wait(60)
        left = installation.sealed(ada)  # and perhaps more: what was recorded since, over a fifth minute
        assert sealed and left | sealed == left, "what was sealed before the kill is still there, byte for byte"

        again = ada.start_agent()
        installation.wait_for_status(ada, state="recording")
        done(ada.agent("pause"))
        everything_sent(installation, ada, again)
        again.end()
        done(ada.agent("send"))

    mine = own_events(ada, day)
    assert mine["dropped_streams"] == []
    received = mine["events"]
    assert isinstance(received, dict)
    for modality, count in sealed_events.items():
        assert received[modality] >= count, f"every sealed {modality} event came back"


def test_services_killed_in_mid_upload_lose_nothing_and_store_nothing_twice(
    installation: Installation, tmp_path: Path
) -> None:
    bo = installation.participant("bo", ASSENT_AGENT_HOLD_S="900")
    replay = write_replays(tmp_path / "replays", 1, 6)[0]
    day = today()
    agent = bo.start_agent("--source", f"replay:{replay}")
    installation.wait_for_status(bo, state="recording")
    for _ in range(4):  # each pause seals a segment of every modality
        time.sleep(1.2)
        done(bo.agent("pause"))
        done(bo.agent("resume"))
    done(bo.agent("pause"))
    before = installation.wait_for_status(bo, state="paused")
    assert before["segments_waiting"] >= 12

    done(bo.agent("send"))
    killed = installation.kill("collector")
    installation.wait_for_restart("collector", killed)
    killed = installation.kill("custodian")
    installation.wait_for_restart("custodian", killed)
    everything_sent(installation, bo, agent)

    mine = own_events(bo, day)
    assert mine["events"] == before["events_sealed"]
    assert mine["dropped_streams"] == []


def test_everything_stopped_and_started_again_is_as_it_was(installation: Installation, tmp_path: Path) -> None:
    cem = installation.participant("cem", ASSENT_AGENT_HOLD_S="0")
    replay = write_replays(tmp_path / "replays", 1, 4)[0]
    day = today()
    agent = cem.start_agent("--source", f"replay:{replay}", "--exit-when-done")
    assert agent.wait(120) == 0
    first = own_events(cem, day)["events"]

    installation.restart_everything()

    assert first
    assert own_events(cem, day)["events"] == first
    assert done(cem.agent("consent", "show", "--json")).json["receipt"]
