"""A small window that stays on top, for desktops without a host for tray icons."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QGuiApplication, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from assent_agent.ports import IndicatorState, StatusFacts
from assent_agent.ui.icons import draw
from assent_agent.ui.menu import IndicatorMenu
from assent_agent.ui.words import tooltip

_TEXT = {
    IndicatorState.RECORDING: "Recording",
    IndicatorState.PAUSED: "Paused",
    IndicatorState.OFF: "Off",
    IndicatorState.TROUBLE: "Trouble",
}
_MARGIN = 14


class Badge(QWidget):
    """Shows the state; a click opens the menu, dragging moves it."""

    def __init__(self, menu: IndicatorMenu) -> None:
        super().__init__(
            None,
            Qt.WindowType.FramelessWindowHint
            | Qt.WindowType.WindowStaysOnTopHint
            | Qt.WindowType.Tool
            | Qt.WindowType.WindowDoesNotAcceptFocus,
        )
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self.setAttribute(Qt.WidgetAttribute.WA_X11NetWmWindowTypeNotification)
        self.setAttribute(Qt.WidgetAttribute.WA_AlwaysShowToolTips)
        self.setWindowTitle("Assent")
        self.setFixedSize(QSize(118, 34))
        self._menu = menu
        self._state = IndicatorState.OFF
        self._pressed_at: QPoint | None = None
        self._moved = False

    def show_facts(self, facts: StatusFacts) -> None:
        self._state = facts.state
        self.setToolTip(tooltip(facts))
        self.update()

    def place(self) -> None:
        """Go to the lower right corner of the first screen."""
        screen = QGuiApplication.primaryScreen()
        if screen is not None:
            corner = screen.availableGeometry().bottomRight()
            self.move(corner - QPoint(self.width() + _MARGIN, self.height() + _MARGIN))

    def on_screen(self) -> bool:
        """Is it exposed, and within a screen?"""
        handle = self.windowHandle()
        if not self.isVisible() or handle is None or not handle.isExposed():
            return False
        mine = QRect(self.pos(), self.size())
        return any(s.geometry().contains(mine) for s in QGuiApplication.screens())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QColor("#20242e"))
        painter.setPen(QPen(QColor("#4a5162"), 1.0))
        painter.drawRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5))
        painter.save()
        painter.translate(8, 6)
        painter.scale(22 / 64, 22 / 64)
        draw(painter, self._state)
        painter.restore()
        painter.setPen(QColor("#ffffff"))
        painter.drawText(self.rect().adjusted(38, 0, -6, 0), Qt.AlignmentFlag.AlignVCenter, _TEXT[self._state])
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._pressed_at, self._moved = event.position().toPoint(), False

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._pressed_at is None:
            return
        by = event.position().toPoint() - self._pressed_at
        if self._moved or by.manhattanLength() > 6:
            self._moved = True
            self.move(self._within_a_screen(self.pos() + by))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._pressed_at is not None and not self._moved:
            self._menu.popup(self.mapToGlobal(QPoint(0, -self._menu.sizeHint().height())))
        self._pressed_at = None

    def _within_a_screen(self, wanted: QPoint) -> QPoint:
        """The badge cannot be pushed off the screen: then nothing could be recorded."""
        screen = QGuiApplication.screenAt(wanted + QPoint(self.width() // 2, self.height() // 2)) or self.screen()
        area = screen.geometry()
        x = min(max(wanted.x(), area.left()), area.right() - self.width())
        y = min(max(wanted.y(), area.top()), area.bottom() - self.height())
        return QPoint(x, y)
