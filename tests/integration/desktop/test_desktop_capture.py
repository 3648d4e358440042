"""The sources of a whole session, put together for a real desktop."""

from __future__ import annotations

import os
import time

import pytest
from tests.simulators.desktop import Desktop, wait_until
from Xlib import Xatom
from Xlib.display import Display as Connection

from assent.contracts.events import Display, KeyboardMode, PointerMoved, Rect
from assent_agent.adapters.platforms import desktop_capture
from assent_agent.core.exclusion import policy
from assent_agent.core.screens import LINGER_NS, Access, Dropped, Picture, Views, examine
from assent_agent.ports import POINTER, CaptureUnavailable, InputEvent

pytestmark = pytest.mark.x11


def test_a_session_is_seen_as_a_whole(desktop: Desktop) -> None:
    rules = policy(["XTerm"])
    capture = desktop_capture(os.environ)
    desktop.xterm("whole", at=(100, 100))
    views, events = Views(), list[InputEvent]()
    try:
        capture.windows.start(views.add)
        monitor = capture.windows.view().monitors[0]
        assert monitor.name == "screen" and monitor.rect == Rect(0, 0, 1280, 800)
        display = Display(0, monitor.rect)
        capture.input.start(events.append, {POINTER}, KeyboardMode.OFF)
        time.sleep(LINGER_NS / 1e9)
        desktop.xdotool("mousemove", 200, 200)
        moved = wait_until(lambda: events and events[-1], "the move")
        assert isinstance(moved, PointerMoved) and (moved.x, moved.y, moved.display) == (200, 200, 0)

        def pictured() -> bool:
            before = capture.windows.view()
            frame = capture.screen.grab(display)
            after = capture.windows.view()
            recent = views.between(frame.t_ns - LINGER_NS, frame.until_ns)
            assert recent is not None
            picture = examine(frame.pixels, display.rect, rules, before=before, after=after, recent=recent)
            assert isinstance(picture, Picture) or picture is Dropped.CHANGED
            return isinstance(picture, Picture)

        wait_until(pictured, "a picture, when nothing changes any more")

        def decided() -> Access | None:
            capture.windows.view()
            access = views.access(moved, rules)
            return None if access is Access.PENDING else access

        assert wait_until(decided, "the event to be judged") is Access.ALLOWED
        for _ in range(2):  # pause and resume
            capture.input.stop()
            capture.windows.stop()
            views.forget()
            capture.windows.start(views.add)
            capture.input.start(events.append, {POINTER}, KeyboardMode.OFF)
        seen = len(events)
        desktop.xdotool("mousemove", 210, 210)
        wait_until(lambda: len(events) > seen, "a move after resuming")
    finally:
        capture.close()
    capture.close()


def test_a_shell_that_paints_notifications_without_windows_is_refused(desktop: Desktop) -> None:
    connection = Connection(desktop.display)
    root = connection.screen().root
    check = connection.intern_atom("_NET_SUPPORTING_WM_CHECK")
    was = root.get_full_property(check, Xatom.WINDOW)
    assert was is not None
    own = root.create_window(0, 0, 1, 1, 0, 0)
    own.change_property(
        connection.intern_atom("_NET_WM_NAME"), connection.intern_atom("UTF8_STRING"), 8, b"GNOME Shell"
    )
    root.change_property(check, Xatom.WINDOW, 32, [own.id])
    connection.sync()
    try:
        with pytest.raises(CaptureUnavailable, match="GNOME Shell"):
            desktop_capture(os.environ)
    finally:
        root.change_property(check, Xatom.WINDOW, 32, list(was.value))
        connection.sync()
        connection.close()
    desktop_capture(os.environ).close()


def test_a_wayland_session_is_refused_although_it_has_an_x_server(
    desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_SESSION_TYPE", "wayland")
    with pytest.raises(CaptureUnavailable, match="Wayland"):
        desktop_capture(os.environ)
