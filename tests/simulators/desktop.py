"""A real X11 desktop for tests: Xvfb, a window manager, and a tray host where one is asked for.

Nothing of the caller's own desktop is touched: every program gets the new display in its environment only. On exit
every program that was started here is ended, with everything it started itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest

T = TypeVar("T")

DECORATION = 40
"""Pixels, at most, between the corner of a window's decoration and of the window in it."""

PROGRAMS = ("Xvfb", "openbox", "xdotool", "xterm", "xprop", "import")


class DesktopFailed(Exception):
    """A program of the desktop did not become ready; the message says which."""


def wait_until(probe: Callable[[], T], what: str, timeout_s: float = 60.0) -> T:
    """Ask `probe` until it answers something true, and return that. Raises DesktopFailed, naming `what`, otherwise."""
    until = time.monotonic() + timeout_s
    while not (answer := probe()):
        if time.monotonic() > until:
            raise DesktopFailed(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.01)
    return answer


def require_programs(*programs: str) -> None:
    """Skip the calling test where `programs` are not installed; on a build machine (CI=true) fail instead."""
    missing = [p for p in programs if shutil.which(p) is None]
    if not missing:
        return
    message = f"not installed: {', '.join(missing)} (make setup installs them where it may)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


class Desktop:
    """`with Desktop() as desktop:` starts one; `desktop.env` is the environment of programs that belong on it.

    `size` in pixels. `tray`: also start `trayer`, a host for tray icons. `manager=False`: no window manager.
    """

    def __init__(self, size: tuple[int, int] = (1280, 800), *, tray: bool = False, manager: bool = True) -> None:
        self.size = size
        self.display = ""
        self.env: dict[str, str] = {}
        self._tray = tray
        self._manager = manager
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closing = threading.Event()
        self._nudging: threading.Thread | None = None

    def __enter__(self) -> Self:
        require_programs(*PROGRAMS, *(["trayer"] if self._tray else []))
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def spawn(self, *command: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a program on this desktop, in a process group of its own, and return at once."""
        process = subprocess.Popen(
            command,
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def running(self) -> set[subprocess.Popen[bytes]]:
        """What was started here and not ended here."""
        return set(self._processes)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End a program that `spawn` started, and whatever it started. Harmless when it is gone."""
        for number, patience_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                pass
            try:
                process.wait(patience_s)
                break
            except subprocess.TimeoutExpired:
                continue
        if process in self._processes:
            self._processes.remove(process)

    def close(self) -> None:
        """End everything, the display last."""
        self._closing.set()
        if self._nudging is not None:
            self._nudging.join()
        for process in reversed(list(self._processes)):
            self.end(process)

    def run(self, *command: str, timeout_s: float = 60.0) -> str:
        """Run a program on this desktop to its end and return what it printed. Raises CalledProcessError."""
        done = subprocess.run(
            command, env=self.env, check=True, capture_output=True, text=True, timeout=timeout_s, start_new_session=True
        )
        return done.stdout.strip()

    def xdotool(self, *arguments: str | int) -> str:
        """Act as the person: `desktop.xdotool("mousemove", 10, 20, "click", 1)`."""
        return self.run("xdotool", *(str(a) for a in arguments))

    def screenshot(self, path: Path) -> Path:
        """Save the whole screen as an image; the suffix of `path` names the format."""
        self.run("import", "-window", "root", str(path))
        return path

    def window(self, name: str) -> int:
        """Wait for a visible window whose title matches the pattern `name`, and return its id."""

        def find() -> int:
            try:
                return int(self.xdotool("search", "--onlyvisible", "--name", name).splitlines()[-1])
            except subprocess.CalledProcessError:
                return 0

        return wait_until(find, f"a window named {name!r}")

    def monitors(self, **places: tuple[int, int, int, int]) -> None:
        """Let the screen consist of these monitors (RandR 1.5): name to x, y, width, height. An underscore stands for
        the dash of a name. Without any: of the one that Xvfb makes. The first one stands for Xvfb's output.
        """
        from Xlib import display
        from Xlib.ext import randr

        connection = display.Display(self.display)
        root = connection.screen().root
        (output,) = randr.get_screen_resources(root).outputs
        wanted = {name.replace("_", "-"): place for name, place in places.items()}
        for monitor in randr.get_monitors(root).monitors:
            if not monitor.automatic:
                randr.delete_monitor(root, monitor.name)
        for number, (name, (x, y, width, height)) in enumerate(wanted.items()):
            _set_monitor_request()(
                display=connection.display,
                opcode=connection.display.get_extension_major(randr.extname),
                window=root,
                name=connection.intern_atom(name),
                primary=False,
                automatic=False,
                x=x,
                y=y,
                width=width,
                height=height,
                width_mm=200,
                height_mm=200,
                outputs=[] if number else [output],
            )
        connection.sync()
        connection.close()

    def edid(self, told: bytes) -> None:
        """Let the first monitor say this of itself."""
        from Xlib import X, Xatom, display
        from Xlib.ext import randr

        connection = display.Display(self.display)
        (output,) = randr.get_screen_resources(connection.screen().root).outputs
        atom = connection.intern_atom("EDID")
        randr.change_output_property(connection, output, atom, Xatom.INTEGER, X.PropModeReplace, (8, list(told)))
        connection.sync()
        connection.close()

    def xterm(
        self, title: str, *, at: tuple[int, int] = (40, 40), name: str = "XTerm", size: str = "60x16", run: str = "cat"
    ) -> int:
        """Open a terminal with its corner near `at` that runs `run`, wait until it is active, return its window.

        `name` becomes its application class. The default program swallows what is typed.
        """
        self.spawn(
            "xterm",
            "-T",
            title,
            "-class",
            name,
            "-geometry",
            f"{size}+{at[0]}+{at[1]}",
            "-xrm",
            "*allowTitleOps: false",
            "-e",
            "sh",
            "-c",
            run,
        )
        window = self.window(f"^{title}$")
        self.activate(window)
        return window

    def activate(self, window: int) -> None:
        """Give a window the focus, and wait until it has it."""
        self.xdotool("windowactivate", "--sync", window)
        wait_until(lambda: self.xdotool("getwindowfocus") == str(window), f"focus on window {window}")

    def move(self, window: int, x: int, y: int) -> None:
        """Move a window, with its decoration, and wait until the server says that it is there. (`windowmove --sync`
        does not: on a busy machine it ends before the window has moved.)
        """
        self.xdotool("windowmove", window, x, y)

        def there() -> bool:
            told = dict(line.split("=") for line in self.xdotool("getwindowgeometry", "--shell", window).split())
            return 0 <= int(told["X"]) - x <= DECORATION and 0 <= int(told["Y"]) - y <= DECORATION

        wait_until(there, f"window {window} at {x}, {y}")

    def _start(self) -> None:
        width, height = self.size
        read_end, write_end = os.pipe()
        try:
            server = subprocess.Popen(
                [
                    *("Xvfb", "-displayfd", str(write_end), "-screen", "0", f"{width}x{height}x24"),
                    *("-nolisten", "tcp", "-noreset", "-dpi", "96"),
                ],
                pass_fds=[write_end],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        self._processes.append(server)
        with os.fdopen(read_end, "rb") as pipe:
            number = pipe.readline().strip().decode()
        if not number:
            raise DesktopFailed("Xvfb did not start")
        self.display = f":{number}"
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR")}
        self.env = {**kept, "DISPLAY": self.display, "XDG_SESSION_TYPE": "x11", "LC_ALL": "C.UTF-8"}
        if self._manager:
            self.spawn("openbox", "--sm-disable")
            self._nudging = threading.Thread(target=self._keep_manager_awake, name="desktop-nudge", daemon=True)
            self._nudging.start()
            wait_until(self._manager_ready, "the window manager")
        if self._tray:
            self.spawn(
                *("trayer", "--edge", "top", "--align", "right", "--widthtype", "pixel", "--width", "160"),
                *("--heighttype", "pixel", "--height", "28", "--transparent", "false", "--tint", "0x303440"),
            )
            wait_until(self.tray_ready, "the tray host")

    def _keep_manager_awake(self) -> None:
        """Give openbox an event every half second.

        It sleeps on events that it has read from its connection and not yet handled, until another one comes: a
        person's next move on a real desktop, nothing at all in a test.
        """
        from Xlib import Xatom, display

        connection = display.Display(self.display)
        root, atom = connection.screen().root, connection.intern_atom("ASSENT_TEST_NUDGE")
        while not self._closing.wait(0.5):
            root.change_property(atom, Xatom.INTEGER, 32, [0])
            connection.flush()
        connection.close()

    def _manager_ready(self) -> bool:
        return "window id" in self.run("xprop", "-root", "_NET_SUPPORTING_WM_CHECK")

    def tray_ready(self) -> bool:
        """Does a program say that it hosts tray icons?"""
        from Xlib import X, display

        connection = display.Display(self.display)
        try:
            return connection.get_selection_owner(connection.intern_atom("_NET_SYSTEM_TRAY_S0")) != X.NONE
        finally:
            connection.close()


def _set_monitor_request() -> type[Any]:
    """RRSetMonitor; python-xlib's own cannot be sent, since it counts the outputs wrongly."""
    from Xlib.protocol import rq

    class SetMonitor(rq.Request):  # type: ignore[misc]
        _request = rq.Struct(
            rq.Card8("opcode"),
            rq.Opcode(43),
            rq.RequestLength(),
            rq.Window("window"),
            rq.Card32("name"),
            rq.Bool("primary"),
            rq.Bool("automatic"),
            rq.LengthOf("outputs", 2),
            rq.Int16("x"),
            rq.Int16("y"),
            rq.Card16("width"),
            rq.Card16("height"),
            rq.Card32("width_mm"),
            rq.Card32("height_mm"),
            rq.List("outputs", rq.Card32Obj),
        )

    return SetMonitor
