"""Windows, displays and pictures of a real X server: what is excluded is never to be seen."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.simulators.desktop import Desktop, wait_until
from Xlib import X, Xatom
from Xlib.display import Display as Connection

from assent.contracts.events import Display, Rect
from assent_agent.adapters.screen import MssScreen
from assent_agent.adapters.x11_desktop import monitors
from assent_agent.adapters.x11_windows import X11Windows
from assent_agent.core.exclusion import Policy, Verdict, Window, decide, policy
from assent_agent.core.monitors import Monitor
from assent_agent.core.screens import (
    MASK_BGRA,
    Access,
    Dropped,
    Picture,
    Pixels,
    Views,
    WindowView,
    activated,
    examine,
    keyboard_access,
    pointer_access,
)
from assent_agent.ports import CaptureUnavailable, ScreenUnavailable

pytestmark = pytest.mark.x11

RULES = policy(["XTerm"])
GREEN = ("-xrm", "*background: #00c040")


@pytest.fixture
def windows(desktop: Desktop) -> Iterator[X11Windows]:
    source = X11Windows()
    yield source
    source.stop()


@pytest.fixture
def screen(desktop: Desktop, windows: X11Windows) -> Iterator[MssScreen]:
    source = MssScreen(windows.cursor)
    yield source
    source.close()


def titled(view: WindowView, title: str) -> Window:
    return next(w for w in view.windows if w.title == title)


def wait_for(windows: X11Windows, title: str) -> Window:
    wait_until(lambda: any(w.title == title for w in windows.view().windows), f"{title} in the view")
    return titled(windows.view(), title)


def has_green(pixels: Pixels) -> int:
    return int(np.count_nonzero((pixels[..., :3] == (0x40, 0xC0, 0x00)).all(axis=-1)))


def green_xterm(desktop: Desktop, title: str, *, at: tuple[int, int], name: str = "XTerm") -> int:
    desktop.spawn(
        "xterm", "-T", title, "-class", name, "-bg", "#00c040", "-geometry", f"50x12+{at[0]}+{at[1]}", "-e", "cat"
    )
    window = desktop.window(f"^{title}$")
    desktop.activate(window)
    return window


def take(screen: MssScreen, windows: X11Windows, rules: Policy = RULES) -> Picture | Dropped:
    """A picture, once nothing of the desktop changes any more."""

    def calm() -> Picture | Dropped | None:
        display = windows.displays()[0]
        before = windows.view()
        frame = screen.grab(display)
        after = windows.view()
        taken = examine(frame.pixels, display.rect, rules, before=before, after=after, recent=())
        return None if taken is Dropped.CHANGED else taken

    taken = wait_until(calm, "a desktop that stays as it is")
    assert taken is not None
    return taken


def test_a_window_is_told_with_its_application_title_place_and_process(desktop: Desktop, windows: X11Windows) -> None:
    window = desktop.xterm("report", at=(100, 120))
    views: list[WindowView] = []
    windows.start(views.append)
    found = wait_for(windows, "report")
    view = windows.view()
    assert found.application == "XTerm"
    assert found.pid == int(desktop.xdotool("getwindowpid", window))
    assert view.active == found.id and view.certain and not view.locked
    geometry = dict(p.split("=") for p in desktop.xdotool("getwindowgeometry", "--shell", window).split())
    inner = Rect(*(int(geometry[k]) for k in ("X", "Y", "WIDTH", "HEIGHT")))
    assert found.rect.x <= inner.x and found.rect.y < inner.y, "the decoration belongs to the window"
    assert found.rect.x + found.rect.width >= inner.x + inner.width
    assert found.rect.height > inner.height
    assert activated(view, RULES).application == "XTerm"
    hidden = activated(view, policy([]))
    assert hidden.excluded and hidden.application == hidden.title == "" and hidden.rect == found.rect


def test_changes_are_told_without_asking(desktop: Desktop, windows: X11Windows) -> None:
    first = desktop.xterm("first", at=(50, 50))
    desktop.xterm("second", at=(200, 200))
    views: list[WindowView] = []
    windows.start(views.append)
    assert len(views) == 1
    names = [w.title for w in views[-1].windows if w.title in ("first", "second")]
    assert names == ["first", "second"]
    desktop.activate(first)
    wait_until(
        lambda: (
            [w.title for w in views[-1].windows if w.title in ("first", "second")] == ["second", "first"]
            and views[-1].active == titled(views[-1], "first").id
        ),
        "the other order",
    )
    desktop.xdotool("windowmove", first, 400, 300)
    wait_until(lambda: titled(views[-1], "first").rect.x >= 380, "the new place")
    desktop.xdotool("set_window", "--name", "renamed", first)
    wait_until(lambda: any(w.title == "renamed" for w in views[-1].windows), "the new title")
    desktop.xdotool("windowminimize", first)
    wait_until(lambda: all(w.title != "renamed" for w in views[-1].windows), "the window to be gone")
    times = [v.t_ns for v in views]
    assert times == sorted(times)


def test_a_view_that_is_asked_for_tells_what_changed_before(desktop: Desktop, windows: X11Windows) -> None:
    window = desktop.xterm("mover", at=(50, 50))
    windows.start(lambda view: None)
    for x in (100, 300, 500):
        desktop.move(window, x, 200)
        assert abs(titled(windows.view(), "mover").rect.x - x) < 20


@pytest.fixture
def own_desktop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desktop]:
    """A display that no other test needs: openbox may be confused for ever by windows that vanish as they open."""
    with Desktop() as desktop:
        monkeypatch.setenv("DISPLAY", desktop.display)
        monkeypatch.setenv("XDG_SESSION_TYPE", "x11")
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        yield desktop


def test_windows_that_vanish_between_two_questions_break_nothing(own_desktop: Desktop) -> None:
    views: list[WindowView] = []
    source = X11Windows()
    source.start(views.append)
    for i in range(8):
        process = own_desktop.spawn("xterm", "-T", f"brief{i}", "-e", "true")
        source.view()
        process.wait(60)
        assert source.view().t_ns
    wait_until(lambda: source.view().certain, "a certain view")
    assert not [w for w in source.view().windows if w.title.startswith("brief")]
    source.stop()


def test_a_window_that_is_gone_and_still_listed_hides_nothing_else(desktop: Desktop, windows: X11Windows) -> None:
    window = desktop.xterm("here", at=(60, 60))
    connection = Connection(desktop.display)
    root, listed = connection.screen().root, connection.intern_atom("_NET_CLIENT_LIST")
    gone = root.create_window(0, 0, 10, 10, 0, X.CopyFromParent)
    connection.sync()
    gone.destroy()
    root.change_property(listed, Xatom.WINDOW, 32, [gone.id, window])
    connection.sync()
    windows.start(lambda view: None)
    view = windows.view()
    assert view.certain and titled(view, "here").application == "XTerm"
    connection.close()


def test_an_allowed_window_is_in_the_picture(desktop: Desktop, windows: X11Windows, screen: MssScreen) -> None:
    green_xterm(desktop, "plain", at=(60, 60))
    windows.start(lambda view: None)
    wait_for(windows, "plain")
    wait_until(lambda: has_green(screen.grab(windows.displays()[0]).pixels) > 10_000, "green on the screen")
    picture = take(screen, windows)
    assert isinstance(picture, Picture)
    assert has_green(picture.pixels) > 10_000, "the search finds the colour where it may be"


def test_an_excluded_window_is_masked_in_the_pixels(desktop: Desktop, windows: X11Windows, screen: MssScreen) -> None:
    green_xterm(desktop, "secret", at=(60, 60), name="KeePassXC")
    desktop.xterm("notes", at=(700, 400))
    windows.start(lambda view: None)
    hidden = wait_for(windows, "secret")
    wait_for(windows, "notes")
    wait_until(lambda: has_green(screen.grab(windows.displays()[0]).pixels) > 10_000, "green on the screen")
    assert decide(hidden, policy(["XTerm", "KeePassXC"])) is Verdict.DENIED
    picture = take(screen, windows)
    assert isinstance(picture, Picture)
    assert has_green(picture.pixels) == 0
    assert hidden.rect in picture.masked
    r = hidden.rect
    assert (picture.pixels[r.y : r.y + r.height, r.x : r.x + r.width] == MASK_BGRA).all()


def test_only_what_shows_of_an_excluded_window_is_masked(
    desktop: Desktop, windows: X11Windows, screen: MssScreen
) -> None:
    desktop.xterm("behind", at=(100, 100), name="Signal")
    green_xterm(desktop, "above", at=(160, 160))
    windows.start(lambda view: None)
    wait_for(windows, "above")
    wait_until(lambda: has_green(screen.grab(windows.displays()[0]).pixels) > 10_000, "green on the screen")

    def drawn() -> int:
        """Green pixels of a window that draws nothing any more."""
        before = has_green(screen.grab(windows.displays()[0]).pixels)
        time.sleep(0.2)
        after = has_green(screen.grab(windows.displays()[0]).pixels)
        return before if before == after else 0

    green = wait_until(drawn, "a window that is drawn")
    picture = take(screen, windows)
    assert isinstance(picture, Picture)
    assert picture.masked
    assert has_green(picture.pixels) == green


def test_a_picture_is_dropped_when_the_order_changed_during_the_grab(
    desktop: Desktop, windows: X11Windows, screen: MssScreen
) -> None:
    one = desktop.xterm("one", at=(60, 60))
    desktop.xterm("two", at=(100, 100))
    windows.start(lambda view: None)
    wait_for(windows, "two")
    display = windows.displays()[0]

    def with_change(*changes: Callable[[], object]) -> Picture | Dropped:
        before = windows.view()
        for change in changes:
            change()
        frame = screen.grab(display)
        return examine(frame.pixels, display.rect, RULES, before=before, after=windows.view(), recent=())

    wait_until(lambda: isinstance(with_change(), Picture), "a picture that is kept, since nothing changed")
    assert with_change(lambda: desktop.activate(one)) is Dropped.CHANGED
    assert with_change(lambda: desktop.move(one, 300, 300)) is Dropped.CHANGED
    there, back = (partial(desktop.xdotool, how, "--sync", one) for how in ("windowunmap", "windowmap"))
    assert with_change(there, back) is Dropped.CHANGED, "also when all looks as before"


POPUP = """
import sys, time
from Xlib import X, display
d = display.Display()
s = d.screen()
w = s.root.create_window(300, 300, 200, 150, 0, s.root_depth, override_redirect=True, background_pixel=0x00c040)
if sys.argv[1] == "named":
    w.set_wm_class("xterm", "XTerm")
w.map()
d.sync()
time.sleep(60)
"""


@pytest.mark.parametrize("named", ["named", "unnamed"])
def test_a_popup_without_a_known_owner_is_masked_and_silences_the_keyboard(
    desktop: Desktop, windows: X11Windows, screen: MssScreen, tmp_path: Path, named: str
) -> None:
    desktop.xterm("work", at=(700, 500))
    program = tmp_path / "popup.py"
    program.write_text(textwrap.dedent(POPUP))
    desktop.spawn(sys.executable, str(program), named)
    windows.start(lambda view: None)
    wait_until(lambda: any(w.popup for w in windows.view().windows), "the popup")
    wait_until(lambda: has_green(screen.grab(windows.displays()[0]).pixels) > 10_000, "green on the screen")
    picture, view = take(screen, windows), windows.view()
    assert isinstance(picture, Picture)
    if named == "named":
        assert has_green(picture.pixels) == 200 * 150
        assert keyboard_access(view, RULES) is Access.ALLOWED
        assert pointer_access(view, RULES, 310, 310) is Access.ALLOWED
    else:
        assert has_green(picture.pixels) == 0
        assert keyboard_access(view, RULES) is Access.EXCLUDED
        assert pointer_access(view, RULES, 310, 310) is Access.EXCLUDED


def test_the_menu_of_an_allowed_application_belongs_to_it(desktop: Desktop, windows: X11Windows) -> None:
    window = desktop.xterm("with menu", at=(100, 100))
    windows.start(lambda view: None)
    wait_for(windows, "with menu")
    desktop.xdotool("mousemove", "--window", window, 80, 60, "keydown", "ctrl", "mousedown", 1)
    try:
        wait_until(lambda: any(w.popup for w in windows.view().windows), "xterm's menu")
        menu = next(w for w in windows.view().windows if w.popup)
        assert decide(menu, RULES) is Verdict.ALLOWED
    finally:
        desktop.xdotool("mouseup", 1, "keyup", "ctrl")


def test_keys_typed_into_an_excluded_window_are_not_kept(desktop: Desktop, windows: X11Windows) -> None:
    desktop.xterm("open", at=(50, 50))
    chat = desktop.xterm("chat", at=(600, 300), name="Slack")
    windows.start(lambda view: None)
    wait_for(windows, "chat")
    assert keyboard_access(windows.view(), RULES) is Access.EXCLUDED
    assert pointer_access(windows.view(), RULES, 120, 120) is Access.EXCLUDED, "while the active window is excluded"
    desktop.activate(desktop.window("^open$"))
    view = windows.view()
    assert keyboard_access(view, RULES) is Access.ALLOWED
    assert pointer_access(view, RULES, 120, 120) is Access.ALLOWED
    assert pointer_access(view, RULES, 700, 400) is Access.EXCLUDED
    desktop.xdotool("windowkill", chat)


def test_an_event_is_judged_by_the_windows_of_its_own_time(desktop: Desktop, windows: X11Windows) -> None:
    from assent.contracts.events import KeyEvent

    first = desktop.xterm("own time", at=(50, 50))
    other = desktop.xterm("mail", at=(600, 300), name="Thunderbird")
    views = Views()
    windows.start(views.add)
    desktop.activate(first)
    windows.view()
    time.sleep(0.05)
    typed_ns = time.monotonic_ns()
    time.sleep(0.05)
    windows.view()
    desktop.activate(other)
    windows.view()
    time.sleep(0.05)
    secret_ns = time.monotonic_ns()
    time.sleep(0.05)
    desktop.activate(first)
    time.sleep(0.05)
    windows.view()

    def key(t_ns: int) -> KeyEvent:
        return KeyEvent(t_ns=t_ns, seq=0, key="x", pressed=True)

    assert views.access(key(typed_ns), RULES) is Access.ALLOWED
    assert views.access(key(secret_ns), RULES) is Access.EXCLUDED
    assert views.access(key(time.monotonic_ns()), RULES) is Access.PENDING


def test_monitors_follow_the_server_and_are_not_settled_at_once(desktop: Desktop, windows: X11Windows) -> None:
    views: list[WindowView] = []
    windows.start(views.append)
    assert not views[0].settled, "who begins to look does not know what happened a moment ago"
    wait_until(lambda: views[-1].settled, "the monitors to settle")
    assert windows.view().monitors == (Monitor("screen", Rect(0, 0, 1280, 800)),)
    assert windows.displays() == (Display(0, Rect(0, 0, 1280, 800)),)
    connection = Connection(desktop.display)
    resources = connection.screen().root.xrandr_get_screen_resources()
    crtc = resources.crtcs[0]
    was = connection.xrandr_get_crtc_info(crtc, resources.config_timestamp)
    try:
        connection.xrandr_set_crtc_config(crtc, resources.config_timestamp, 0, 0, 0, 1, [])
        lost = wait_until(
            lambda: [view for view in views if view.monitors[0].name == ""], "the loss to be told, without asking"
        )
        assert lost[0].generation > views[0].generation and not lost[0].settled
    finally:
        connection.xrandr_set_crtc_config(crtc, resources.config_timestamp, 0, 0, was.mode, 1, was.outputs)
        connection.close()
    try:
        desktop.monitors(eDP_1=(0, 0, 640, 800), HDMI_1=(640, 0, 640, 800))
        two = wait_until(
            lambda: [view for view in views if [m.name for m in view.monitors] == ["eDP-1", "HDMI-1"]], "two monitors"
        )
        assert not two[0].settled
        wait_until(lambda: views[-1].settled, "them to settle")
        assert [m.rect.x for m in windows.view().monitors] == [0, 640]
        assert windows.view().monitors[0].edid == ""
        desktop.edid(b"made by somebody")
        desktop.monitors(eDP_1=(0, 0, 640, 800), HDMI_1=(640, 0, 640, 800))
        wait_until(lambda: views[-1].monitors[0].edid, "what the monitor says of itself")
        assert views[-1].monitors[1].edid == ""
        assert monitors() == views[-1].monitors
    finally:
        desktop.monitors()
        desktop.edid(b"")


def test_a_picture_of_part_of_the_desktop_is_what_is_there(
    desktop: Desktop, windows: X11Windows, screen: MssScreen
) -> None:
    green_xterm(desktop, "corner", at=(200, 200))
    desktop.xdotool("mousemove", 333, 222)
    part = Display(5, Rect(260, 260, 64, 48))
    wait_until(lambda: has_green(screen.grab(part).pixels) == 64 * 48, "a wholly green part")
    frame = screen.grab(part)
    assert frame.pixels.shape == (48, 64, 4) and frame.pixels.dtype == np.uint8 and frame.pixels.flags.writeable
    assert (frame.cursor_x, frame.cursor_y) == (333, 222)
    assert frame.t_ns <= frame.until_ns <= time.monotonic_ns()


def test_a_display_that_is_not_there_is_a_named_error(
    desktop: Desktop, screen: MssScreen, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ScreenUnavailable):
        screen.grab(Display(9, Rect(5000, 5000, 100, 100)))
    assert screen.grab(Display(0, Rect(0, 0, 10, 10))).pixels.shape == (10, 10, 4), "and the next try may work"
    screen.close()
    with pytest.raises(ScreenUnavailable, match="closed"):
        screen.grab(Display(0, Rect(0, 0, 10, 10)))
    monkeypatch.setenv("DISPLAY", ":1234")
    with pytest.raises(ScreenUnavailable):
        MssScreen().grab(Display(0, Rect(0, 0, 10, 10)))


def test_a_screen_saver_locks_everything(desktop: Desktop, windows: X11Windows, screen: MssScreen) -> None:
    desktop.xterm("before", at=(50, 50))
    windows.start(lambda view: None)
    wait_for(windows, "before")
    assert keyboard_access(windows.view(), RULES) is Access.ALLOWED
    connection = Connection(desktop.display)
    connection.set_screen_saver(600, 600, X.DontPreferBlanking, X.AllowExposures)
    connection.force_screen_saver(X.ScreenSaverActive)
    connection.sync()
    try:
        wait_until(lambda: windows.view().locked, "the lock to be noticed")
        assert keyboard_access(windows.view(), RULES) is Access.LOCKED
        assert take(screen, windows) is Dropped.LOCKED
    finally:
        connection.force_screen_saver(X.ScreenSaverReset)
        connection.close()


def test_a_server_that_goes_away_leaves_nothing_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    with Desktop() as alone:
        monkeypatch.setenv("DISPLAY", alone.display)
        views: list[WindowView] = []
        source = X11Windows()
        source.start(views.append)
        assert views[-1].certain
        alone.close()
        wait_until(lambda: not views[-1].certain, "the loss to be told")
        assert not source.view().certain
        assert source.view().monitors == ()
        with pytest.raises(CaptureUnavailable):
            monitors()
        source.stop()
        assert not source.view().certain


def test_the_agents_modules_can_be_imported_without_a_display() -> None:
    modules = "ports adapters.x11_input adapters.x11_windows adapters.screen adapters.platforms adapters.replay ui.tray"
    code = "; ".join(f"import assent_agent.{m}" for m in modules.split())
    subprocess.run([sys.executable, "-c", code], env={"PATH": "/usr/bin"}, check=True, capture_output=True)
