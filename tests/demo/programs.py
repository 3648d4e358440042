"""Two small real programs for Ada's desktop: one shows a picture to draw on, one looks like a password store.

    python -m tests.demo.programs pictures TITLE TILE.ppm WIDTHxHEIGHT+X+Y
    python -m tests.demo.programs vault    TITLE TILE.ppm WIDTHxHEIGHT+X+Y

Both show the tile in TILE.ppm at its own size, pixel for pixel. The first calls itself `Sketch` to the window manager,
the second `KeePassXC`: nobody may record that one.
"""

from __future__ import annotations

import math
import re
import sys

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QLinearGradient, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap
from PySide6.QtWidgets import QApplication, QFormLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

CLASSES = {"pictures": "Sketch", "vault": "KeePassXC"}


class Sketch(QWidget):
    """A picture (mountains under a sky), the tile in its corner, and lines where the pointer was dragged."""

    def __init__(self, tile: QPixmap) -> None:
        super().__init__()
        self._tile = tile
        self._lines: list[list[QPointF]] = []

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        width, height = self.width(), self.height()
        sky = QLinearGradient(0, 0, 0, height)
        sky.setColorAt(0, QColor("#29487d"))
        sky.setColorAt(0.7, QColor("#e9b98a"))
        painter.fillRect(self.rect(), sky)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor("#fff3d6"))
        painter.drawEllipse(QPointF(width * 0.7, height * 0.32), 26, 26)
        for layer, colour in enumerate(("#7d7fa3", "#55628c", "#344366", "#1f2a44")):
            base = height * (0.52 + 0.13 * layer)
            points = [QPointF(0, height)]
            for x in range(0, width + 8, 8):
                wave = math.sin(x / (67 - 9 * layer) + 2 * layer) * 26 + math.sin(x / 23 + layer) * 9
                points.append(QPointF(x, base - wave))
            points.append(QPointF(width, height))
            painter.setBrush(QColor(colour))
            painter.drawPolygon(points)
        painter.setPen(QPen(QColor("#ffd166"), 4, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
        for line in self._lines:
            painter.drawPolyline(line)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.drawPixmap(16, 16, self._tile)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._lines.append([event.position()])

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._lines:
            self._lines[-1].append(event.position())
            self.update()


class Vault(QWidget):
    """Looks like a password store: a name, a password field, and the tile."""

    def __init__(self, title: str, tile: QPixmap) -> None:
        super().__init__()
        self.setStyleSheet("background: #f3f4f6; color: #1f2430;")
        heading = QLabel(title)
        heading.setFont(QFont("sans", 11, QFont.Weight.Bold))
        heading.setWordWrap(True)
        shown = QLabel()
        shown.setPixmap(tile)
        self.field = QLineEdit()
        self.field.setStyleSheet("background: white;")
        form = QFormLayout()
        form.addRow("Entry", QLabel("Bank, main account"))
        form.addRow("Secret", self.field)
        form.addRow("Code card", shown)
        box = QVBoxLayout(self)
        box.addWidget(heading)
        box.addLayout(form)
        box.addStretch()


def main() -> int:
    kind, title, tile_path, geometry = sys.argv[1:5]
    width, height, x, y = (int(number) for number in re.findall(r"\d+", geometry))
    application = QApplication([CLASSES[kind].lower(), "-name", CLASSES[kind].lower()])
    application.setApplicationName(CLASSES[kind])
    tile = QPixmap(tile_path)
    if tile.isNull():
        print(f"there is no picture in {tile_path}", file=sys.stderr)
        return 1
    window: QWidget = Sketch(tile) if kind == "pictures" else Vault(title, tile)
    window.setWindowTitle(title)
    window.setGeometry(QRectF(x, y, width, height).toRect())
    window.show()
    return application.exec()


if __name__ == "__main__":
    sys.exit(main())
