"""The agent on a real desktop: it records what is done there, and only while the person can see that it does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.agent_device import AGENT, Device, a_device
from tests.simulators.agents import PURPOSE, opened, wait_until
from tests.simulators.desktop import Desktop

pytestmark = pytest.mark.x11


@pytest.fixture
def desktop() -> Iterator[Desktop]:
    with Desktop((800, 600), tray=True) as made:
        yield made


@pytest.fixture
def device(tmp_path: Path, desktop: Desktop) -> Iterator[Device]:
    with a_device(tmp_path, desktop.env, application="xterm") as device:
        device.enrol()
        every = [word for m in ("pointer", "screen", "context") for word in ("--modality", m)]
        device.command("consent", "give", *every, "--purpose", PURPOSE, "--yes")
        yield device


def test_it_records_a_real_desktop_until_it_is_paused_and_sends_it(device: Device, desktop: Desktop) -> None:
    desktop.spawn("xterm", "-geometry", "80x24+0+0")
    desktop.run("xdotool", "search", "--sync", "--onlyvisible", "--class", "xterm")
    log = device.folder / "agent.log"
    with log.open("wb") as file:
        process = subprocess.Popen([*AGENT, "run"], env=device.environment, stdout=file, stderr=file)
    device.processes.append(process)

    def recorded() -> bool:
        if process.poll() is not None:
            raise AssertionError(log.read_text())
        for place in ("100 100", "150 130", "120 170"):
            desktop.run("xdotool", "mousemove", *place.split())
        told = device.asks({"do": "status"})
        return told["state"] == "recording" and told["arrived_s"].keys() == {"pointer", "screen", "context"}

    wait_until(recorded, "recording")
    device.asks({"do": "pause"})
    device.asks({"do": "send"})
    wait_until(lambda: device.asks({"do": "status"})["segments_waiting"] == 0, "sent")
    assert {content.modality for content in opened(device.desk, device.world)} == {"pointer", "screen", "context"}
    process.terminate()
    assert process.wait(60) == 0, log.read_text()
