"""The sources of an X11 session, put together."""

from __future__ import annotations

from Xlib import X, Xatom
from Xlib.display import Display as Connection
from Xlib.error import XError

from assent_agent.adapters.clocks import SystemClock
from assent_agent.adapters.screen import MssScreen
from assent_agent.adapters.x11_input import X11Input
from assent_agent.adapters.x11_windows import CONNECTION_LOST, X11Windows, monitors_of
from assent_agent.core.monitors import Monitor
from assent_agent.ports import Capture, CaptureUnavailable

NEEDED = ("RECORD", "RANDR")
SHELLS_WITHOUT_WINDOWS = ("gnome shell", "mutter", "budgie", "cinnamon", "muffin")


def capture() -> Capture:
    """The sources of the session that DISPLAY names.

    Raises CaptureUnavailable: there is no X server, it is a part of a Wayland session, it lacks an extension that is
    needed, or its shell paints notifications and menus without windows, so that they could not be seen and masked.
    """
    try:
        connection = Connection()
        try:
            extensions = set(connection.list_extensions())
            shell = _manager(connection)
        finally:
            connection.close()
    except (*CONNECTION_LOST, XError) as error:
        raise CaptureUnavailable(f"there is no X server to talk to: {error}") from error
    if "XWAYLAND" in extensions:
        raise CaptureUnavailable(
            "Assent cannot record a Wayland session: its X server shows a part of the windows only. "
            "Choose an X11 (Xorg) session when you sign in."
        )
    if missing := [name for name in NEEDED if name not in extensions]:
        raise CaptureUnavailable(f"the X server lacks the extension {' and '.join(missing)}")
    if any(name in shell.casefold() for name in SHELLS_WITHOUT_WINDOWS):
        raise CaptureUnavailable(
            f"Assent cannot record under {shell}: it shows notifications that cannot be told from your windows. "
            "Choose another desktop session when you sign in."
        )
    windows = X11Windows()
    return Capture(
        input=X11Input(windows.displays),
        screen=MssScreen(windows.cursor),
        windows=windows,
        clock=SystemClock(),
    )


def monitors() -> tuple[Monitor, ...]:
    """The monitors of the session that DISPLAY names, now. Raises CaptureUnavailable."""
    try:
        connection = Connection()
        try:
            return monitors_of(connection)
        finally:
            connection.close()
    except (*CONNECTION_LOST, XError) as error:
        raise CaptureUnavailable(f"The X server does not tell about monitors: {error}") from error


def _manager(connection: Connection) -> str:
    """What the window manager calls itself (EWMH `_NET_SUPPORTING_WM_CHECK`); empty when it does not say."""
    root = connection.screen().root
    found = root.get_full_property(connection.intern_atom("_NET_SUPPORTING_WM_CHECK"), Xatom.WINDOW)
    if not found or not len(found.value):
        return ""
    window = connection.create_resource_object("window", int(found.value[0]))
    name = window.get_full_property(connection.intern_atom("_NET_WM_NAME"), X.AnyPropertyType)
    if not name:
        return ""
    return name.value if isinstance(name.value, str) else bytes(name.value).decode("utf-8", "replace")
