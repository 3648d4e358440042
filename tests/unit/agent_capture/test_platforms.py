"""Desktops that cannot be recorded are refused with a reason a person understands."""

from __future__ import annotations

import pytest

from assent_agent.adapters.platforms import desktop_capture, refusal
from assent_agent.ports import CaptureUnavailable


@pytest.mark.parametrize(
    ("environment", "system", "says"),
    [
        ({"DISPLAY": ":0", "XDG_SESSION_TYPE": "wayland", "WAYLAND_DISPLAY": "wayland-0"}, "Linux", "Wayland"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "Linux", "Wayland"),
        ({}, "Linux", "DISPLAY"),
        ({"DISPLAY": ""}, "Linux", "DISPLAY"),
        ({"DISPLAY": ":0"}, "Darwin", "macOS"),
        ({}, "Windows", "Windows"),
    ],
)
def test_a_desktop_that_cannot_be_recorded_is_refused(environment: dict[str, str], system: str, says: str) -> None:
    assert says in refusal(environment, system)


def test_an_x11_session_is_tried() -> None:
    assert refusal({"DISPLAY": ":0", "XDG_SESSION_TYPE": "x11"}, "Linux") == ""
    assert refusal({"DISPLAY": "host:10.0"}, "Linux") == ""


def test_no_server_behind_the_display_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":12345")
    with pytest.raises(CaptureUnavailable, match="no X server"):
        desktop_capture({"DISPLAY": ":12345"})
