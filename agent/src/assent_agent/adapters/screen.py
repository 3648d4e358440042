"""Pictures of the screen through mss, which uses shared memory on X11, Quartz on macOS and GDI on Windows.

Only X11 has been exercised. On macOS a picture without permission shows the wallpaper and no windows, so the permission
is asked for before the first one, and refused loudly.
"""

from __future__ import annotations

import importlib
import platform
import threading
import time
from collections.abc import Callable

import mss
import numpy as np
from mss.exception import ScreenShotError

from assent.contracts.events import Display
from assent_agent.ports import Frame, ScreenUnavailable


def no_cursor() -> tuple[int, int]:
    """For desktops where the place of the pointer cannot be asked for."""
    return (0, 0)


class MssScreen:
    """The screen source of this session (`ports.ScreenSource`). `cursor` answers where the pointer is.

    The connection is made by the first `grab`, in the thread that grabs, and made again after a failure.
    """

    def __init__(self, cursor: Callable[[], tuple[int, int]] = no_cursor) -> None:
        self._cursor = cursor
        self._lock = threading.Lock()
        self._mss: mss.MSS | None = None
        self._closed = False

    def grab(self, display: Display) -> Frame:
        area = display.rect
        place = {"left": area.x, "top": area.y, "width": area.width, "height": area.height}
        with self._lock:
            if self._closed:
                raise ScreenUnavailable("the screen source is closed")
            try:
                if self._mss is None:
                    require_permission()
                    self._mss = mss.MSS()
                t_ns = time.monotonic_ns()
                shot = self._mss.grab(place)
                until_ns = time.monotonic_ns()
                x, y = self._cursor()
            except (ScreenShotError, OSError) as error:
                self._drop()
                raise ScreenUnavailable(f"no picture could be taken: {error}") from error
        if (shot.width, shot.height) != (area.width, area.height):
            raise ScreenUnavailable("the display has another size than it said")
        pixels = np.frombuffer(shot.raw, dtype=np.uint8).reshape(area.height, area.width, 4)
        return Frame(display, t_ns, until_ns, pixels, cursor_x=x, cursor_y=y)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._drop()

    def _drop(self) -> None:
        if self._mss is not None:
            try:
                self._mss.close()
            except (ScreenShotError, OSError):
                pass
            self._mss = None


def require_permission() -> None:
    """Raise ScreenUnavailable where the system would hand out pictures without content (macOS 10.15 and later)."""
    if platform.system() != "Darwin":
        return
    quartz = importlib.import_module("Quartz")  # exists on macOS only; comes with pynput there
    if not quartz.CGPreflightScreenCaptureAccess():
        raise ScreenUnavailable(
            "macOS has not allowed Assent to see the screen: System Settings, Privacy & Security, Screen Recording"
        )
