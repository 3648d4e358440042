"""The windows that the tray opens or that come by themselves: one of each kind, made when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from PySide6.QtWidgets import QWidget

from assent_agent.ports import AccessesView, ConsentDesk, ConsentView, Intention, RecordingsView, ToldView, View
from assent_agent.ui.consent_window import ConsentWindow
from assent_agent.ui.pages import AccessesWindow, RecordingsWindow, ToldWindow


class Windows:
    """Lives in the main thread, as everything of Qt."""

    def __init__(self, tell: Callable[[Intention], None]) -> None:
        """`tell` is called in the main thread, and must only enqueue."""
        self._tell = tell
        self._desk: ConsentDesk | None = None
        self._consent: ConsentWindow | None = None
        self._recordings: RecordingsWindow | None = None
        self._accesses: AccessesWindow | None = None
        self._told: ToldWindow | None = None

    def use(self, desk: ConsentDesk) -> None:
        """Where consent is given and withdrawn. Before, there is no consent page."""
        self._desk = desk

    def open(self, view: View) -> None:
        match view:
            case ConsentView(by_itself):
                if self._desk is not None:
                    self._consent = self._consent or ConsentWindow(self._desk)
                    self._consent.open(by_itself=by_itself)
            case RecordingsView():
                self._recordings = self._recordings or RecordingsWindow()
                self._recordings.open(view)
            case AccessesView():
                self._accesses = self._accesses or AccessesWindow()
                self._accesses.open(view)
            case ToldView():
                self._told = self._told or ToldWindow(self._tell)
                self._told.open(view)
            case _:
                assert_never(view)

    def close(self) -> None:
        windows: tuple[QWidget | None, ...] = (self._consent, self._recordings, self._accesses, self._told)
        for window in windows:
            if window is not None:
                window.hide()
