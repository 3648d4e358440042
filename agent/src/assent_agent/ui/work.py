"""Work that takes a network's time, beside the windows: it is done in a thread of its own, and told in the main one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from PySide6.QtCore import QObject, Qt, Signal

from assent_agent.ports import DeskRefused

T = TypeVar("T")


class Work(QObject):
    """Made in the main thread. What was not told yet when this is gone is never told; the work itself is finished."""

    _done = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._done.connect(lambda tell: tell(), Qt.ConnectionType.QueuedConnection)

    def do(self, job: Callable[[], T], then: Callable[[T], None], refused: Callable[[str], None]) -> None:
        """Start `job` and return; in the main thread `then` gets its answer, or `refused` a sentence."""

        def run() -> None:
            tell: Callable[[], None]
            try:
                answer = job()
            except DeskRefused as error:
                sentence = str(error)
                tell = lambda: refused(sentence)  # noqa: E731
            except Exception as error:  # the person must not wait for an answer that never comes
                sentence = f"It could not be done ({type(error).__name__})."
                tell = lambda: refused(sentence)  # noqa: E731
            else:
                tell = lambda: then(answer)  # noqa: E731
            try:
                self._done.emit(tell)
            except RuntimeError:  # the windows are gone
                return

        threading.Thread(target=run, name="window").start()
