"""The menu of the tray icon and of the badge: everything the person can do with one click.

What is under the pointer stays there: an open menu says what is true now in the lines that it has, and what no longer
makes sense cannot be chosen; lines and items come and go only before it is opened. Nobody clicks what they did not
aim at.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu

from assent_agent.ports import (
    ConsentSwitched,
    ForgetAsked,
    IndicatorState,
    Intention,
    Page,
    PageAsked,
    PauseAsked,
    QuitAsked,
    ResumeAsked,
    StatusFacts,
)
from assent_agent.ui.icons import switch
from assent_agent.ui.words import LINE, details, headline, label

FORGET_MINUTES = 10
DETAILS = 12
BESIDE = 56
"""Pixels left and right of an item's text, as in the style below. An open menu that grew would leave the screen."""


class IndicatorMenu(QMenu):
    """Shows the facts it was given last; `tell` is called with what the person wants, in the main thread."""

    def __init__(self, tell: Callable[[Intention], None]) -> None:
        super().__init__()
        self._tell = tell
        self._facts = StatusFacts(IndicatorState.OFF)
        self._on = False
        self.aboutToShow.connect(lambda: self._say(opened=False))
        self.setStyleSheet(_STYLE)
        self.setMinimumWidth(self.fontMetrics().averageCharWidth() * LINE * 11 // 10 + BESIDE)
        self.headline = self._line()
        self._headline_font()
        self.details = [self._line() for _ in range(DETAILS)]
        self.addSeparator()
        self.consent = self._item("Record on this device", self._switch_consent)
        self._switches = {on: switch(on) for on in (True, False)}
        self.addSeparator()
        self.pauses = [
            self._item("Pause 5 minutes", lambda: tell(PauseAsked(5 * 60))),
            self._item("Pause 1 hour", lambda: tell(PauseAsked(60 * 60))),
            self._item("Pause until I resume", lambda: tell(PauseAsked(None))),
        ]
        self.resume = self._item("Resume", lambda: tell(ResumeAsked()))
        self.forget = self._item(f"Forget the last {FORGET_MINUTES} minutes", lambda: tell(ForgetAsked(FORGET_MINUTES)))
        self.addSeparator()
        self.agreed = self._item("My consent", lambda: tell(PageAsked(Page.CONSENT)))
        self.recordings = self._item("My recordings", lambda: tell(PageAsked(Page.RECORDINGS)))
        self.accesses = self._item("Who accessed", lambda: tell(PageAsked(Page.ACCESSES)))
        self.addSeparator()
        self.quit = self._item("Quit and stop recording", lambda: tell(QuitAsked()))

    def show_facts(self, facts: StatusFacts) -> None:
        """Say what was observed, and offer what makes sense now."""
        self._facts = facts
        self._say(opened=self.isVisible())

    def _say(self, *, opened: bool) -> None:
        facts = self._facts

        def place(action: QAction, sensible: bool) -> None:
            action.setEnabled(sensible)
            if not opened:
                action.setVisible(sensible)

        self.headline.setText(label(headline(facts)))
        lines = details(facts)
        for i, action in enumerate(self.details):
            if not opened:
                action.setVisible(i < len(lines))
            action.setText(label(lines[i]) if i < len(lines) else "")
        places = [action for action in self.details if action.isVisible()]
        if len(lines) > len(places) > 0:
            places[-1].setText(places[-1].text() + " …")
        self._on = facts.consented and not facts.switched_off
        self.consent.setIcon(self._switches[self._on])
        paused = facts.state is IndicatorState.PAUSED
        for pause in self.pauses:
            place(pause, self._on and (facts.locked or not paused))
        place(self.resume, paused and not facts.locked)
        place(self.forget, facts.consented or facts.held_minutes > 0)

    def _switch_consent(self) -> None:
        """Tell the wish; the switch moves when the facts do."""
        self._tell(ConsentSwitched(not self._on))

    def _item(self, text: str, act: Callable[[], None]) -> QAction:
        action = self.addAction(label(text))
        action.triggered.connect(lambda *_: act())
        return action

    def _line(self) -> QAction:
        action = self.addAction("")
        action.setEnabled(False)
        return action

    def _headline_font(self) -> None:
        font = self.headline.font()
        font.setBold(True)
        self.headline.setFont(font)


_STYLE = """
QMenu { background: #ffffff; color: #1f2430; border: 1px solid #c9ced8; padding: 6px 0; }
QMenu::item { padding: 6px 26px 6px 28px; background: transparent; }
QMenu::item:selected { background: #e8eefc; color: #10204a; }
QMenu::item:disabled { color: #5b6475; }
QMenu::icon { left: 8px; }
QMenu::separator { height: 1px; background: #e3e6ec; margin: 5px 10px; }
"""
