"""Two windows that only tell: how one's own recordings are opened, and who accessed them."""

from __future__ import annotations

from PySide6.QtCore import QSize
from PySide6.QtWidgets import QWidget

from assent_agent.ports import AccessesView, RecordingsView
from assent_agent.ui.look import Window, button, card, text
from assent_agent.ui.words import access_words, held_words

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
