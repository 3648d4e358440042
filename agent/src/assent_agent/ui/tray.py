"""The indicator: a tray icon where the desktop has a host for one, else a badge that stays on top.

It shows what it was told was observed, never what is intended. There is no hidden mode: where neither can be seen,
`shown()` is False, and nothing may be recorded. What it shows goes stale: when nobody has told it anything for
`STALE_S`, it says so itself, since a picture that nobody keeps true is a lie.

Qt lives in the main thread: `TrayIndicator` is made there, and `run` stays there. Everything else may come from any
thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from PySide6.QtCore import QObject, Qt, QTimer, Signal
from PySide6.QtDBus import QDBusConnection
from PySide6.QtGui import QCursor, QGuiApplication
from PySide6.QtWidgets import QApplication, QSystemTrayIcon

from assent_agent.ports import IndicatorState, Intention, StatusFacts, View
from assent_agent.ui.badge import Badge
from assent_agent.ui.icons import icon
from assent_agent.ui.menu import IndicatorMenu
from assent_agent.ui.windows import Windows
from assent_agent.ui.words import tooltip

LOOK_MS = 500
STALE_S = 10.0
PATIENCE_LOOKS = 2
EMBEDDED_WINDOW = "QSystemTrayIconSysWindow"
STATUS_HOST = "org.kde.StatusNotifierWatcher"
_STALE = StatusFacts(IndicatorState.TROUBLE, because="The recorder does not answer")


class TrayIndicator(QObject):
    """The indicator of this desktop (`ports.Indicator`). `tell` is called in the main thread, and must only enqueue."""

    _told = Signal(object)
    _opened = Signal(object)
    _ended = Signal()

    def __init__(
        self,
        application: QApplication,
        tell: Callable[[Intention], None],
        windows: Windows,
        *,
        stale_s: float = STALE_S,
    ) -> None:
        super().__init__()
        self._application = application
        application.setQuitOnLastWindowClosed(False)
        self._icons = {state: icon(state) for state in IndicatorState}
        self._menu = IndicatorMenu(tell)
        self._tray = QSystemTrayIcon(self._icons[IndicatorState.OFF])
        self._tray.setContextMenu(self._menu)
        self._tray.activated.connect(self._activated)
        self._badge = Badge(self._menu)
        self._windows = windows
        self._facts = StatusFacts(IndicatorState.OFF)
        self._stale_s = stale_s
        self._told_at = time.monotonic()
        self._shown = threading.Event()
        self._removed = False
        self._unseen_looks = 0
        self._told.connect(self._take, Qt.ConnectionType.QueuedConnection)
        self._opened.connect(self._open, Qt.ConnectionType.QueuedConnection)
        self._ended.connect(self._end, Qt.ConnectionType.QueuedConnection)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._look)
        self._timer.start(LOOK_MS)
        self._paint(self._facts)
        self._look()

    # -- from any thread --

    def show(self, facts: StatusFacts) -> None:
        self._told.emit(facts)

    def shown(self) -> bool:
        return self._shown.is_set()

    def open(self, view: View) -> None:
        self._opened.emit(view)

    def remove(self) -> None:
        self._shown.clear()
        self._ended.emit()

    # -- in the main thread --

    def run(self) -> int:
        """Show the indicator until `remove`; returns the exit code of the event loop."""
        if self._removed:
            return 0
        return self._application.exec()

    def _take(self, facts: StatusFacts) -> None:
        self._told_at = time.monotonic()
        if facts != self._facts:
            self._facts = facts
            self._paint(facts)
        self._look()

    def _open(self, view: View) -> None:
        if not self._removed:
            self._windows.open(view)

    def _paint(self, facts: StatusFacts) -> None:
        self._tray.setIcon(self._icons[facts.state])
        self._tray.setToolTip(tooltip(facts))
        self._menu.show_facts(facts)
        self._badge.show_facts(facts)

    def _look(self) -> None:
        """See whether the indicator can be seen, and by which means; hosts come and go."""
        if self._removed:
            return
        if QSystemTrayIcon.isSystemTrayAvailable():
            self._tray.show()
        else:
            self._tray.hide()
            self._unseen_looks = PATIENCE_LOOKS
        seen = self._tray_seen()
        self._unseen_looks = 0 if seen else self._unseen_looks + 1
        if seen:
            self._badge.hide()
        elif self._unseen_looks > PATIENCE_LOOKS:
            seen = self._badge.on_screen()
            if not seen:  # never shown yet, or taken off the screen by another program
                self._badge.hide()
                self._badge.place()
                self._badge.show()
        (self._shown.set if seen else self._shown.clear)()
        if self._facts is not _STALE and time.monotonic() - self._told_at > self._stale_s:
            self._facts = _STALE
            self._paint(_STALE)

    def _tray_seen(self) -> bool:
        """Did a host take the icon in? For the older kind of host (XEmbed) Qt makes a window, which must be exposed;
        the newer kind (a D-Bus service) never says, so that there the service itself has to do as evidence.
        """
        if not self._tray.isVisible():
            return False
        embedded = [w for w in QGuiApplication.allWindows() if w.objectName() == EMBEDDED_WINDOW]
        if embedded:
            return any(w.isExposed() for w in embedded)
        bus = QDBusConnection.sessionBus()
        if not bus.isConnected():
            return False
        return bool(bus.interface().isServiceRegistered(STATUS_HOST).value())

    def _activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason in (QSystemTrayIcon.ActivationReason.Trigger, QSystemTrayIcon.ActivationReason.DoubleClick):
            self._menu.popup(QCursor.pos())

    def _end(self) -> None:
        self._removed = True
        self._shown.clear()
        self._timer.stop()
        self._menu.hide()
        self._tray.hide()
        self._badge.hide()
        self._windows.close()
        self._application.quit()
