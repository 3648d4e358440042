"""Windows that only tell: how one's own recordings are opened, who accessed them, and that somebody just did."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QWidget

from assent_agent.ports import AccessesView, Intention, Page, PageAsked, RecordingsView, Seen, ToldView
from assent_agent.ui.look import Window, button, card, text
from assent_agent.ui.words import access_words, held_words, told_words

OPEN_COMMAND = "assent me recordings"


class RecordingsWindow(Window):
    def __init__(self) -> None:
        super().__init__("my recordings", QSize(560, 470))

    def open(self, view: RecordingsView) -> None:
        command = text(OPEN_COMMAND, "command", selectable=True)
        command.setObjectName("command")
        self.fill(
            [
                text("My recordings", "title"),
                card(text("Still on this computer", "section"), text(held_words(view.held_minutes))),
                card(
                    text("What was sent", "section"),
                    text(
                        "You can look at it whenever you want. Open a terminal and run this command; it asks for "
                        "the passphrase of your opening key, which you chose when you joined."
                    ),
                    command,
                    text(
                        "It lists your days; with --to FILE.png it writes today's pictures onto one page, with --day "
                        "those of another day. 'assent me export' gives you everything, 'assent me erase' erases it. "
                        "Your own opening is written into the log, too, as every access is.",
                        "quiet",
                    ),
                ),
            ],
            [button("Close", self.close, name="close")],
        )
        self.come()


class AccessesWindow(Window):
    def __init__(self) -> None:
        super().__init__("who accessed", QSize(600, 520))

    def open(self, view: AccessesView) -> None:
        heading, entries, note = access_words(view)
        told = text(heading, "quiet" if entries else "")
        told.setObjectName("heading")
        content: list[QWidget] = [text("Who accessed", "title"), told]
        for number, (day, what, approvals) in enumerate(entries):
            access = text(what, selectable=True)
            access.setObjectName(f"access {number}")
            content.append(card(text(day, "section"), access, text(approvals, "quiet")))
        if note:
            content.append(text(note, "quiet", selectable=True))
        self.fill(content, [button("Close", self.close, name="close")])
        self.come()


class ToldWindow(Window):
    """In a corner, above other windows, and without the keyboard: nobody types into it what was meant for another. It
    stays until the person closes it; that is what `tell` hears."""

    def __init__(self, tell: Callable[[Intention], None]) -> None:
        super().__init__("for you to know", QSize(480, 420))
        self.setWindowFlag(Qt.WindowType.WindowStaysOnTopHint)
        self.setWindowFlag(Qt.WindowType.WindowDoesNotAcceptFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self._tell = tell
        self._ids: tuple[str, ...] = ()

    def open(self, view: ToldView) -> None:
        self._ids = view.ids
        if not view.ids:
            self.hide()
            return
        title, lead, entries = told_words(view)
        content: list[QWidget] = [text(title, "title"), text(lead, "quiet")]
        for number, (day, what, proof) in enumerate(entries):
            told = text(what, selectable=True)
            told.setObjectName(f"told {number}")
            content.append(card(text(day, "section"), told, text(proof, "quiet")))
        self.fill(
            content,
            [
                button("Who accessed", lambda: self._tell(PageAsked(Page.ACCESSES)), name="who accessed"),
                button("Got it", self.close, name="got it", main=True),
            ],
        )
        self.come_beside()

    def closeEvent(self, event: QCloseEvent) -> None:
        """However it is closed, the person has seen it."""
        self._tell(Seen(self._ids))
        super().closeEvent(event)
