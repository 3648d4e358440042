"""The four state pictures, drawn by code so that they are sharp at every size.

They differ in shape, not in colour alone: recording is a filled disc in a ring, paused two bars, off an empty ring
with a stroke through it, trouble a triangle with an exclamation mark.
"""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QIcon, QLinearGradient, QPainter, QPainterPath, QPen, QPixmap, QPolygonF

from assent_agent.ports import IndicatorState

COLOURS = {
    IndicatorState.RECORDING: "#e5484d",
    IndicatorState.PAUSED: "#f5a524",
    IndicatorState.OFF: "#667085",
    IndicatorState.TROUBLE: "#ffd60a",
}
_WHITE = QColor("#ffffff")
_HALO = QColor(255, 255, 255, 230)  # keeps the grey ring legible on dark panels
_INK = QColor("#2b2410")


def icon(state: IndicatorState) -> QIcon:
    """The state's picture in the sizes that tray hosts ask for. Needs a QGuiApplication."""
    made = QIcon()
    for size in (16, 22, 24, 32, 48, 64, 128):
        made.addPixmap(pixmap(state, size))
    return made


def pixmap(state: IndicatorState, size: int) -> QPixmap:
    """The state's picture, `size` × `size` pixels on a transparent ground."""
    made = QPixmap(size, size)
    made.fill(Qt.GlobalColor.transparent)
    painter = QPainter(made)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(size / 64, size / 64)
    draw(painter, state)
    painter.end()
    return made


def draw(painter: QPainter, state: IndicatorState) -> None:
    """Draw the state's picture into the square from 0, 0 to 64, 64."""
    colour = QColor(COLOURS[state])
    match state:
        case IndicatorState.RECORDING:
            _disc(painter, colour)
            painter.setBrush(_WHITE)
            painter.drawEllipse(QPointF(32, 32), 12, 12)
        case IndicatorState.PAUSED:
            _disc(painter, colour)
            painter.setBrush(_WHITE)
            for x in (20.5, 35.5):
                painter.drawRoundedRect(QRectF(x, 18, 8, 28), 3, 3)
        case IndicatorState.OFF:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            for pen_colour, width in ((_HALO, 11.0), (colour, 6.5)):
                painter.setPen(QPen(pen_colour, width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
                painter.drawEllipse(QPointF(32, 32), 23, 23)
                painter.drawLine(QPointF(16.5, 47.5), QPointF(47.5, 16.5))
        case IndicatorState.TROUBLE:
            _triangle(painter, colour)


def switch(on: bool) -> QIcon:
    """A switch that stands right and blue when on, left and grey when off. Needs a QGuiApplication."""
    made = QIcon()
    for scale in (1, 2):
        picture = QPixmap(16 * scale, 16 * scale)
        picture.fill(Qt.GlobalColor.transparent)
        painter = QPainter(picture)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.scale(scale, scale)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor("#2f6fde" if on else "#98a1b0"))
        painter.drawRoundedRect(QRectF(0, 3, 16, 10), 5, 5)
        painter.setBrush(_WHITE)
        painter.drawEllipse(QPointF(11 if on else 5, 8), 3.6, 3.6)
        painter.end()
        made.addPixmap(picture)
    return made


def _disc(painter: QPainter, colour: QColor) -> None:
    painter.setPen(QPen(colour.darker(135), 2.5))
    painter.setBrush(_shaded(colour))
    painter.drawEllipse(QPointF(32, 32), 28.5, 28.5)
    painter.setPen(Qt.PenStyle.NoPen)


def _triangle(painter: QPainter, colour: QColor) -> None:
    corners = QPolygonF([QPointF(32, 7), QPointF(59, 55), QPointF(5, 55)])
    path = QPainterPath()
    path.addPolygon(corners)
    path.closeSubpath()
    pen = QPen(colour.darker(150), 7.0)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    painter.setPen(pen)
    painter.setBrush(_shaded(colour))
    painter.drawPath(path)
    inner = QPen(colour, 2.5)
    inner.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    painter.setPen(inner)
    painter.drawPath(path)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(_INK)
    painter.drawRoundedRect(QRectF(28.5, 21, 7, 19), 3.5, 3.5)
    painter.drawEllipse(QPointF(32, 47), 4, 4)


def _shaded(colour: QColor) -> QBrush:
    shade = QLinearGradient(0, 4, 0, 60)
    shade.setColorAt(0, colour.lighter(115))
    shade.setColorAt(1, colour.darker(112))
    return QBrush(shade)
