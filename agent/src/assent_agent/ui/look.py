"""How the windows look: one light ground, dark text, few colours, and marks drawn by code, sharp at every size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from PySide6.QtCore import QEvent, QObject, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF, QResizeEvent
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from assent_agent.ports import IndicatorState
from assent_agent.ui.icons import icon

BLUE: Final = "#2f6fde"
_EDGE, _FAINT = "#98a1b0", "#c9ced8"
_MARK = 20

STYLE: Final = """
QWidget#window, QWidget#ground { background: #f6f7fa; }
QLabel { color: #1f2430; font-size: 14px; background: transparent; }
QLabel[kind="title"] { font-size: 21px; font-weight: 600; }
QLabel[kind="section"] { font-size: 15px; font-weight: 600; }
QLabel[kind="quiet"] { color: #5b6475; font-size: 13px; }
QLabel[kind="good"] { color: #14532d; background: #e7f6ec; border: 1px solid #b7dfc4; border-radius: 8px;
  padding: 10px 12px; }
QLabel[kind="bad"] { color: #7a271a; background: #fdecea; border: 1px solid #f3c2bc; border-radius: 8px;
  padding: 10px 12px; }
QLabel[kind="command"] { font-family: monospace; background: #20242e; color: #f1f3f8; border-radius: 8px;
  padding: 12px 14px; }
QFrame[kind="card"] { background: #ffffff; border: 1px solid #e0e4eb; border-radius: 10px; }
QWidget#sheet { background: transparent; }
QFrame[kind="line"] { background: #e0e4eb; max-height: 1px; min-height: 1px; border: none; }
QScrollArea { background: transparent; border: none; }
QScrollBar:vertical { background: transparent; width: 10px; margin: 0; }
QScrollBar::handle:vertical { background: #c3c9d4; border-radius: 5px; min-height: 36px; }
QScrollBar:horizontal { background: transparent; height: 10px; margin: 0; }
QScrollBar::handle:horizontal { background: #c3c9d4; border-radius: 5px; min-width: 36px; }
QScrollBar::add-line, QScrollBar::sub-line { height: 0; width: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
QPushButton { font-size: 14px; padding: 9px 22px; border-radius: 8px; border: 1px solid #b9c0cc; background: #ffffff;
  color: #1f2430; }
QPushButton:hover { background: #eef1f6; }
QPushButton:focus { border: 2px solid #2f6fde; padding: 8px 21px; }
QPushButton:disabled { background: #eceef2; color: #9aa2b1; border-color: #dfe3ea; }
QPushButton[kind="main"]:enabled { background: #2f6fde; color: #ffffff; border-color: #2a63c7; font-weight: 600; }
QPushButton[kind="main"]:enabled:hover { background: #285fc0; }
QPushButton[kind="main"]:enabled:focus { border: 2px solid #10204a; }
"""


class Window(QWidget):
    """A window with a title, content that scrolls when it is long, a place for one message, and buttons."""

    def __init__(self, title: str, size: QSize) -> None:
        super().__init__()
        self.setObjectName("window")
        self.setWindowTitle(f"Assent: {title}")
        self.setWindowIcon(icon(IndicatorState.OFF))
        self.setStyleSheet(STYLE)
        self._wanted = size
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        outer.addWidget(self._scroll, 1)
        outer.addWidget(line())
        self.message = text("", "good")
        self.message.setObjectName("message")
        self.message.hide()
        foot = QVBoxLayout()
        foot.setContentsMargins(28, 14, 28, 16)
        foot.setSpacing(12)
        foot.addWidget(self.message)
        self._buttons = QHBoxLayout()
        self._buttons.setSpacing(10)
        foot.addLayout(self._buttons)
        outer.addLayout(foot)

    def fill(self, content: list[QWidget], buttons: list[QPushButton]) -> None:
        """Show this content and these buttons (from the right) instead of what was there."""
        ground = QWidget()
        ground.setObjectName("ground")
        column = QVBoxLayout(ground)
        column.setContentsMargins(28, 24, 28, 22)
        column.setSpacing(12)
        for widget in content:
            column.addWidget(widget)
        column.addStretch(1)
        self._scroll.setWidget(ground)
        while (item := self._buttons.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        self._buttons.addStretch(1)
        for button in buttons:
            self._buttons.addWidget(button)

    def say(self, sentence: str, *, good: bool = True) -> None:
        """Show one message above the buttons; an empty one takes it away."""
        self.message.setText(sentence)
        self.message.setProperty("kind", "good" if good else "bad")
        self.message.style().polish(self.message)
        self.message.setVisible(bool(sentence))

    def widen(self, width: int) -> None:
        """Be this wide at least, as far as the screen has room."""
        if self.width() < width:
            self._place(QSize(width, max(self.height(), self._wanted.height())))

    def _place(self, wanted: QSize) -> None:
        area = self.screen().availableGeometry()
        size = wanted.boundedTo(area.size() - QSize(24, 56))
        self.resize(size)
        middle = area.center()
        self.move(middle.x() - size.width() // 2, max(area.top() + 20, middle.y() - size.height() // 2))

    def come(self, *, take_keyboard: bool = True) -> None:
        """Be seen: in the middle of the screen when it was closed, and in front."""
        beside = Qt.WidgetAttribute.WA_ShowWithoutActivating
        if not self.isVisible():
            if self.testAttribute(beside) == take_keyboard:
                self.setAttribute(beside, not take_keyboard)
                self.destroy()  # it counts for the window that the system makes anew
            self._place(self._wanted)
        self.show()
        self.raise_()
        if take_keyboard:
            self.activateWindow()

    def come_beside(self) -> None:
        """Be seen: in the upper right corner when it was closed, without taking the keyboard from anything."""
        if not self.isVisible():
            area = self.screen().availableGeometry()
            size = self._wanted.boundedTo(area.size() - QSize(24, 56))
            self.resize(size)
            self.move(area.right() - size.width() - 16, area.top() + 44)
        self.show()


def text(words: str, kind: str = "", *, selectable: bool = False) -> QLabel:
    """Plain words that wrap; what they contain is never read as markup."""
    label = QLabel(words)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setProperty("kind", kind)
    if selectable:
        label.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        label.setCursor(Qt.CursorShape.IBeamCursor)
    return label


def line() -> QFrame:
    made = QFrame()
    made.setProperty("kind", "line")
    return made


def card(*content: QWidget) -> QFrame:
    made = QFrame()
    made.setProperty("kind", "card")
    column = QVBoxLayout(made)
    column.setContentsMargins(16, 14, 16, 14)
    column.setSpacing(12)
    for widget in content:
        column.addWidget(widget)
    return made


def button(words: str, act: Callable[[], object], *, name: str, main: bool = False) -> QPushButton:
    made = QPushButton(words)
    made.setObjectName(name)
    made.setProperty("kind", "main" if main else "")
    made.setCursor(Qt.CursorShape.PointingHandCursor)
    made.clicked.connect(lambda *_: act())
    return made


class Tick(QCheckBox):
    """A box to tick, drawn by us; it never starts ticked."""

    def sizeHint(self) -> QSize:
        return QSize(_MARK + 4, _MARK + 4)

    def hitButton(self, pos: object) -> bool:
        return True

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(2, (self.height() - _MARK) / 2, _MARK, _MARK)
        _focus(painter, box, self.hasFocus(), 6)
        painter.setPen(QPen(QColor(BLUE if self.isChecked() else _EDGE if self.isEnabled() else _FAINT), 1.6))
        painter.setBrush(QColor(BLUE if self.isChecked() else "#ffffff"))
        painter.drawRoundedRect(box.adjusted(1, 1, -1, -1), 5, 5)
        if self.isChecked():
            pen = QPen(
                QColor("#ffffff"), 2.4, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin
            )
            painter.setPen(pen)
            at = box.topLeft()
            painter.drawPolyline(QPolygonF([at + QPointF(5.5, 10.5), at + QPointF(8.8, 13.8), at + QPointF(14.8, 6.8)]))
        painter.end()


class Dot(QRadioButton):
    """One of several, drawn by us."""

    def sizeHint(self) -> QSize:
        return QSize(_MARK + 4, _MARK + 4)

    def hitButton(self, pos: object) -> bool:
        return True

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(2, (self.height() - _MARK) / 2, _MARK, _MARK)
        _focus(painter, box, self.hasFocus(), _MARK)
        painter.setPen(QPen(QColor(BLUE if self.isChecked() else _EDGE), 1.6))
        painter.setBrush(QColor("#ffffff"))
        painter.drawEllipse(box.adjusted(1, 1, -1, -1))
        if self.isChecked():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(BLUE))
            painter.drawEllipse(box.center(), 5, 5)
        painter.end()


class _OfAMark(QWidget):
    """What belongs to a mark: a click anywhere on it counts. `mark` None: it belongs to none."""

    mark: QCheckBox | QRadioButton | None = None

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        here = self.rect().contains(event.position().toPoint())
        if self.mark is not None and here and event.button() is Qt.MouseButton.LeftButton:
            self.mark.click()


class Words(_OfAMark):
    """Words, and a quieter line below."""

    def __init__(self, words: str, more: str = "", mark: QCheckBox | None = None) -> None:
        super().__init__()
        self.mark = mark
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        self.words = text(words)
        column.addWidget(self.words)
        if more:
            column.addWidget(text(more, "quiet"))


class Choice(_OfAMark):
    """A mark, its words, and a quieter line below."""

    def __init__(self, mark: QCheckBox | QRadioButton, words: str, more: str = "", *, indent: int = 0) -> None:
        super().__init__()
        self.mark = mark
        mark.setAccessibleName(words)
        mark.setAccessibleDescription(more)
        row = QHBoxLayout(self)
        row.setContentsMargins(indent, 0, 0, 0)
        row.setSpacing(10)
        row.addWidget(mark, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(Words(words, more), 1)


class Cell(_OfAMark):
    """A mark in a table, with a short word beside it, or else in the middle of its cell; `words` say the whole."""

    def __init__(self, mark: QCheckBox, words: str, beside: str = "") -> None:
        super().__init__()
        self.mark = mark
        mark.setAccessibleName(words)
        mark.setToolTip(words)
        self.setToolTip(words)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 4, 0, 4)
        row.setSpacing(8)
        if not beside:
            row.addStretch(1)
        row.addWidget(mark)
        if beside:
            label = text(beside, "quiet")
            label.setWordWrap(False)
            label.setObjectName(f"words {mark.objectName()}")
            row.addWidget(label, 0, Qt.AlignmentFlag.AlignVCenter)
        row.addStretch(1)


class Sideways(QScrollArea):
    """As high as its content; scrolls from side to side where that is wider than there is room."""

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self._content = content
        self.setWidgetResizable(True)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        content.setObjectName("sheet")
        self.setWidget(content)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        taken = super().eventFilter(watched, event)
        if event.type() is QEvent.Type.LayoutRequest:
            self._fit()
        return taken

    def focusNextPrevChild(self, onward: bool) -> bool:
        moved = super().focusNextPrevChild(onward)
        now = QApplication.focusWidget()
        cell = None if now is None else now.parentWidget()
        if moved and cell is not None and self._content.isAncestorOf(cell):
            self.ensureWidgetVisible(cell, 0, 0)  # the words beside it, too
        return moved

    def _fit(self) -> None:
        wide = self._content.minimumSizeHint().width()
        bar = self.horizontalScrollBar().sizeHint().height() if wide > self.width() else 0
        self.setFixedHeight(self._content.heightForWidth(max(self.width(), wide)) + bar)


def _focus(painter: QPainter, box: QRectF, focused: bool, radius: float) -> None:
    if focused:
        painter.setPen(QPen(QColor(47, 111, 222, 110), 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(box.adjusted(-1, -1, 1, 1), radius, radius)
