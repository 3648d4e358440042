"""Which desktops can be recorded, and a plain reason where one cannot.

X11 is complete and exercised. Wayland keeps windows and input from other programs, and what XWayland shows is a part
only, so it is refused until a portal can be used. On macOS and Windows nothing is recorded yet: it cannot be
established there which windows are visible, and what cannot be established is excluded.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping

from assent_agent.core.monitors import Monitor
from assent_agent.ports import Capture, CaptureUnavailable


def refusal(environment: Mapping[str, str], system: str) -> str:
    """Why this desktop cannot be recorded, as a sentence for the person; empty when it may be tried.

    `system`: as `platform.system()` says it.
    """
    if system in ("Darwin", "Windows"):
        name = "macOS" if system == "Darwin" else "Windows"
        return (
            f"Assent cannot record on {name} yet: it cannot establish there which windows are visible, and without "
            "that nothing may be recorded."
        )
    if environment.get("XDG_SESSION_TYPE") == "wayland" or (
        environment.get("WAYLAND_DISPLAY") and not environment.get("DISPLAY")
    ):
        return (
            "Assent cannot record a Wayland session: it does not let a program see which windows are visible. "
            "Choose an X11 (Xorg) session when you sign in."
        )
    if not environment.get("DISPLAY"):
        return "There is no desktop here to record: DISPLAY is not set."
    return ""


def desktop_capture(environment: Mapping[str, str]) -> Capture:
    """The sources of the desktop that `environment` names. Raises CaptureUnavailable with the reason.

    The environment must be that of this process: the libraries below read DISPLAY themselves.
    """
    if reason := refusal(environment, platform.system()):
        raise CaptureUnavailable(reason)
    # Only where there is X11: python-xlib is not installed elsewhere.
    from assent_agent.adapters import x11_desktop  # noqa: PLC0415

    return x11_desktop.capture()


def desktop_monitors(environment: Mapping[str, str]) -> tuple[Monitor, ...]:
    """The monitors of the desktop that `environment` names. Otherwise as `desktop_capture`."""
    if reason := refusal(environment, platform.system()):
        raise CaptureUnavailable(reason)
    from assent_agent.adapters import x11_desktop  # noqa: PLC0415 - as above

    return x11_desktop.monitors()
