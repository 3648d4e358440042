"""The real agent on a desktop, as `assent-agent run` starts it, which also says where its widgets are.

It reads object names, one per line, and answers each with one line of JSON: `null` while no visible widget has that
name, else its rectangle on the screen, whether it is enabled, focused and ticked, its text, and whether all of it can
be seen. To `the focus` it answers which widget has it, by a number. Everything that a person does is done from outside,
with real clicks and keys.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from PySide6.QtCore import QObject, QPoint, Qt, Signal
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QMenu, QWidget
from shiboken6 import getCppPointer

from assent_agent import app
from assent_agent.runtime.home import AgentHome
from assent_agent.runtime.paths import base_folder
from assent_agent.settings import AgentSettings


class Telescope(QObject):
    asked = Signal(str)

    def look(self, name: str) -> None:
        if name == "the focus":
            print(json.dumps(the_focus()), flush=True)
            return
        found = None
        for top in QApplication.topLevelWidgets():
            for widget in (top, *top.findChildren(QWidget)):
                seen = widget.isVisible() and not widget.visibleRegion().isEmpty()
                if seen and on_screen(top) and name in (widget.objectName(), widget.windowTitle()):
                    found = widget
        print(json.dumps(of_menu(name) if found is None else facts(found)), flush=True)


def the_focus() -> dict[str, int] | None:
    """Which widget has it: 0 for none of an active window, None while no window is active."""
    if QApplication.activeWindow() is None:
        return None
    widget = QApplication.focusWidget()
    return {"number": 0 if widget is None else getCppPointer(widget)[0]}


def on_screen(top: QWidget) -> bool:
    """Has the window manager shown it? Before, nobody knows where."""
    handle = top.windowHandle()
    return handle is not None and handle.isExposed()


def facts(widget: QWidget) -> dict[str, object]:
    at = widget.mapToGlobal(QPoint(0, 0))
    return {
        "x": at.x(),
        "y": at.y(),
        "width": widget.width(),
        "height": widget.height(),
        "enabled": widget.isEnabled(),
        "focused": widget.hasFocus(),
        "whole": widget.visibleRegion().boundingRect() == widget.rect()
        and widget.heightForWidth(widget.width()) <= widget.height(),
        "ticked": isinstance(widget, QAbstractButton) and widget.isChecked(),
        "text": widget.text() if isinstance(widget, QLabel | QAbstractButton) else "",
    }


def of_menu(name: str) -> dict[str, object] | None:
    """An item of an open menu by its text, after `menu `."""
    for menu in QApplication.topLevelWidgets():
        if not isinstance(menu, QMenu) or not menu.isVisible() or not on_screen(menu):
            continue
        for item in menu.actions():
            if item.isVisible() and name == f"menu {item.text()}":
                at = menu.actionGeometry(item)
                corner = menu.mapToGlobal(at.topLeft())
                return {
                    "x": corner.x(),
                    "y": corner.y(),
                    "width": at.width(),
                    "height": at.height(),
                    "enabled": item.isEnabled(),
                }
    return None


def answer() -> None:
    while (application := QApplication.instance()) is None:
        time.sleep(0.02)
    telescope = Telescope()
    telescope.moveToThread(application.thread())
    telescope.asked.connect(telescope.look, Qt.ConnectionType.QueuedConnection)
    for line in sys.stdin:
        telescope.asked.emit(line.rstrip("\n"))


def prompt(text: str) -> str:
    raise app.NotPossible("nobody can be asked here")


if __name__ == "__main__":
    threading.Thread(target=answer, daemon=True).start()
    sys.exit(app.run_desktop(app.Parts(AgentHome(base_folder(os.environ)), AgentSettings(), prompt)))
