"""The consent page: consent is given and withdrawn in the same window.

It is given by pairs, in one table: what is recorded, for what. Nothing is ticked at the start, and what is agreed to is
exactly what is ticked. "Not now" is as easy as "Agree".
Withdrawing takes one click and no network. The window shows what is kept on this computer and what the custodian
answered, never what was merely asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtGui import QHideEvent
from PySide6.QtWidgets import QButtonGroup, QGridLayout, QLabel, QPushButton, QWidget

from assent.client.receipts import Pair, blocks
from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Modality
from assent.contracts.statements import Mode
from assent.contracts.wire import Offer, PurposeView
from assent_agent.ports import Agreed, Chosen, ConsentDesk, Standing
from assent_agent.ui.look import Cell, Choice, Dot, Sideways, Tick, Window, Words, button, card, line, text
from assent_agent.ui.words import (
    EXPORT_WORDS,
    KEYBOARD_WORDS,
    MODALITY_MEANINGS,
    MODALITY_WORDS,
    changed_words,
    day_words,
    sentence_words,
    withdrawn_words,
)
from assent_agent.ui.work import Work

CONFIRM_LOOK_MS = 1000
WORDS_WIDTH, COLUMN_WIDTH, AROUND = 200, 150, 110
"""Pixels: the table's first column and each of the others at least; and what stands left and right of the table."""


class ConsentWindow(Window):
    """Asks `desk`, in threads of its own."""

    def __init__(self, desk: ConsentDesk) -> None:
        super().__init__("my consent", QSize(640, 780))
        self._desk = desk
        self._work = Work(self)
        self._busy = False
        self._choosing = False
        self._asked = 0
        self._withdrawn_file = ""
        self._changed: tuple[str, ...] = ()
        self._pairs: dict[Pair, Tick] = {}
        self._mode_rows: list[Choice] = []
        self._confirming = QTimer(self)
        self._confirming.setInterval(CONFIRM_LOOK_MS)
        self._confirming.timeout.connect(self._look_whether_confirmed)

    def open(self, *, by_itself: bool = False) -> None:
        """Come to the front, with what is true now. A page that is being filled in stays as it is. By itself it takes
        the keyboard from nobody: who is just typing must neither lose a word nor agree to anything by it."""
        if self.isVisible() and self._choosing:
            self._work.do(self._desk.standing, self._leave_choosing, lambda _: None)
        elif not self._busy:
            self._try_again()
        self.come(take_keyboard=not by_itself)

    def _leave_choosing(self, standing: Standing) -> None:
        """Unless consent was given meanwhile in another way: then there is nothing to fill in any more."""
        if self._choosing and not self._busy and standing.agreed is not None and not standing.asks_anew:
            self._withdrawn_file = standing.agreed.file
            self._show_agreed(standing.agreed)

    def hideEvent(self, event: QHideEvent) -> None:
        self._confirming.stop()
        super().hideEvent(event)

    # -- what is true now --

    def _ask(self) -> None:
        """Only the answers to the last question are shown."""
        self._asked += 1
        asked = self._asked

        def failed(sentence: str) -> None:
            if asked == self._asked:
                self._show_failure(sentence)

        def offered(offer: Offer) -> None:
            if asked == self._asked:
                self._show_offer(offer)

        def known(standing: Standing) -> None:
            if asked != self._asked:
                return
            self._changed = standing.asks_anew
            if standing.agreed is not None:
                self._withdrawn_file = standing.agreed.file
            if standing.agreed is not None and not standing.asks_anew:
                self._show_agreed(standing.agreed)
                return
            self._wait("Asking the custodian what there is to agree to…")
            self._work.do(self._desk.offer, offered, failed)

        self._work.do(self._desk.standing, known, failed)

    def _wait(self, sentence: str) -> None:
        self._choosing = False
        self.fill([text("Recording on this computer", "title"), text(sentence, "quiet")], [self._close_button("Close")])

    def _show_failure(self, sentence: str) -> None:
        self._choosing = False
        again = button("Try again", self._try_again, name="again", main=True)
        self.fill(
            [
                text("Recording on this computer", "title"),
                text("This cannot be shown now. Nothing has changed by it: without your consent nothing is recorded."),
            ],
            [self._close_button("Close"), again],
        )
        self.say(sentence_words(sentence), good=False)

    def _try_again(self) -> None:
        self._confirming.stop()
        self.say("")
        self._wait("One moment…")
        self._ask()

    def _close_button(self, words: str) -> QPushButton:
        return button(words, self.close, name="close")

    # -- giving --

    def _show_offer(self, offer: Offer) -> None:
        self._choosing = True
        self._pairs, self._mode_rows = {}, []
        choices = [*self._export_choice()]
        if offer.purposes:
            choices.insert(0, self._table(offer.purposes))
        else:
            choices.insert(0, text("There is no purpose that could be agreed to now.", "quiet"))
        agree = button("Agree", lambda: self._agree(offer), name="agree", main=True)
        self._agree_button = agree
        self._not_now = button("Not now", lambda: self._decline(never=False), name="not now")
        self._never = button("Never ask me", lambda: self._decline(never=True), name="never")
        self.fill(
            [
                text("Recording on this computer", "title"),
                text("You decide. It is off, and stays off unless you agree. Nothing is ticked for you.", "quiet"),
                *([card(text(changed_words(self._changed)))] if self._changed else []),
                card(text(offer.notice.strip())),
                text("What is recorded, and for what", "section"),
                text("Each tick is one agreement: this, for that. You can take back each one alone.", "quiet"),
                card(*choices),
                text("Where, and for how long", "section"),
                card(
                    text("Only in these applications: " + (", ".join(offer.application_list.allow) or "none so far")),
                    text(
                        f"Your consent ends by itself after {offer.valid_days} days, on "
                        f"{day_words(datetime.now(UTC) + timedelta(days=offer.valid_days))}. "
                        "You can withdraw it before, at any time, with one click and without a reason."
                    ),
                ),
                text("Good to know", "section"),
                card(
                    *(text(f"•  {sentence}") for sentence in offer.statements),
                    text(f"Works agreement: {offer.agreement}. Impact assessment: {offer.dpia}.", "quiet"),
                ),
                text("Who is responsible, and your rights", "section"),
                card(
                    *(text(f"{p.name}: {p.address}. Contact: {p.contact}.") for p in offer.terms.parties),
                    text(
                        f"Kept for {offer.terms.retention_days} days at most. "
                        + " ".join(offer.terms.storage_locations)
                    ),
                    *(text(f"•  {right}") for right in offer.terms.rights),
                    text("On what grounds: " + " ".join(basis.words for basis in offer.terms.lawful_basis), "quiet"),
                    text(" ".join(offer.terms.jurisdiction), "quiet"),
                ),
            ],
            [self._never, self._not_now, *self._withdraw_instead(), agree],
        )
        for each in self._pairs.values():
            each.toggled.connect(lambda *_: self._offer_what_fits(offer))
        self._offer_what_fits(offer)
        self.widen(AROUND + WORDS_WIDTH + COLUMN_WIDTH * len(offer.purposes))

    def _decline(self, *, never: bool) -> None:
        """Closes at once; that it could not be written down means at most that the person is asked again."""
        self.close()
        self._work.do(lambda: self._desk.decline(never=never), lambda _: None, lambda _: None)

    def _withdraw_instead(self) -> list[QPushButton]:
        """Who is asked anew can also take back what they agreed to before, as easily."""
        if not self._changed:
            return []
        self._withdraw_button = button("Withdraw", self._withdraw, name="withdraw")
        return [self._withdraw_button]

    def _export_choice(self) -> list[QWidget]:
        self._export = Tick()
        self._export.setObjectName("export")
        self._export_row = Choice(self._export, *EXPORT_WORDS)
        return [self._export_row]

    def _table(self, purposes: Sequence[PurposeView]) -> QWidget:
        """Rows are what is recorded, columns what for; a tick for every pair, to be reached row by row."""
        self._pairs = {(modality, p.iri): Tick() for modality in Modality for p in purposes}
        sheet = QWidget()
        grid = QGridLayout(sheet)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(14)
        grid.setVerticalSpacing(10)
        grid.setColumnMinimumWidth(0, WORDS_WIDTH)
        grid.setColumnStretch(0, 1)
        for column, purpose in enumerate(purposes, 1):
            grid.setColumnMinimumWidth(column, COLUMN_WIDTH - grid.horizontalSpacing())
            grid.setColumnStretch(column, 1)
            recipients = "Who may receive it: " + ", ".join(purpose.recipients)
            heading = Words(purpose.sentence, recipients)
            heading.words.setObjectName(f"purpose {purpose.iri}")
            grid.addWidget(heading, 0, column, Qt.AlignmentFlag.AlignTop)
        row = 1
        for modality in Modality:
            grid.addWidget(line(), row, 0, 1, -1)
            only = self._pairs[modality, purposes[0].iri] if len(purposes) == 1 else None
            grid.addWidget(Words(MODALITY_WORDS[modality], MODALITY_MEANINGS[modality], only), row + 1, 0)
            for column, purpose in enumerate(purposes, 1):
                tick = self._pairs[modality, purpose.iri]
                tick.setObjectName(f"{modality.value} {purpose.iri}")
                whole = f"{MODALITY_WORDS[modality]}, for: {purpose.sentence}"
                beside = "" if only else MODALITY_WORDS[modality]  # the first column may be scrolled away
                grid.addWidget(Cell(tick, whole, beside), row + 1, column)
            row += 2
            if modality is Modality.KEYBOARD:
                for choice in self._keyboard_choices():
                    grid.addWidget(choice, row, 0, 1, -1)
                    row += 1
        return Sideways(sheet)

    def _keyboard_choices(self) -> list[Choice]:
        self._modes = {mode: Dot() for mode in (KeyboardMode.SHAPE, KeyboardMode.TEXT)}
        group = QButtonGroup(self._modes[KeyboardMode.SHAPE])
        for mode, dot in self._modes.items():
            dot.setObjectName(f"keyboard {mode.value}")
            group.addButton(dot)
            self._mode_rows.append(Choice(dot, *KEYBOARD_WORDS[mode], indent=34))
        self._modes[KeyboardMode.SHAPE].setChecked(True)  # the one that tells less
        return self._mode_rows

    def _offer_what_fits(self, offer: Offer) -> None:
        """Agree only when something is ticked; further choices only where they mean something."""
        pairs = self._ticked()
        self._agree_button.setEnabled(bool(pairs) and not self._busy)
        for row in self._mode_rows:
            row.setVisible(any(modality is Modality.KEYBOARD for modality, _ in pairs))
        ticked = {purpose for _, purpose in pairs}
        exportable = any(Mode.EXPORT in p.modes for p in offer.purposes if p.iri in ticked)
        self._export_row.setVisible(exportable)
        if not exportable:
            self._export.setChecked(False)

    def _ticked(self) -> tuple[Pair, ...]:
        return tuple(pair for pair, tick in self._pairs.items() if tick.isChecked())

    def _agree(self, offer: Offer) -> None:
        pairs, mode = self._ticked(), KeyboardMode.OFF
        if any(modality is Modality.KEYBOARD for modality, _ in pairs):
            mode = next(mode for mode, dot in self._modes.items() if dot.isChecked())
        chosen = Chosen(pairs, mode, self._export.isChecked())
        self._hold(True)
        self.say("Signing your consent…")
        self._work.do(lambda: self._desk.give(offer, chosen), self._given, self._not_given)

    def _hold(self, busy: bool) -> None:
        """While consent is being signed, what is ticked stays as it is, and "Not now" would be untrue."""
        self._busy = busy
        self._not_now.setEnabled(not busy)
        self._never.setEnabled(not busy)
        self._agree_button.setEnabled(not busy)
        content = self._scroll.widget()
        if content is not None:
            content.setEnabled(not busy)

    def _given(self, standing: Standing) -> None:
        self._busy = False
        if standing.agreed is None:
            self._show_failure("Your consent was withdrawn meanwhile. Nothing is recorded.")
            return
        self._show_agreed(standing.agreed)
        self.say("Thank you. Your consent is signed, and your receipt is kept.")

    def _not_given(self, sentence: str) -> None:
        """What is kept here decides whether it was given."""

        def known(standing: Standing) -> None:
            self._hold(False)
            if standing.agreed is not None:
                self._show_agreed(standing.agreed)
                self.say(sentence_words(sentence), good=False)
                return
            self.say(f"{sentence_words(sentence)} Nothing was given, and nothing is recorded.", good=False)

        def unknown(_: str) -> None:
            self._hold(False)
            self._show_failure(sentence)

        self._work.do(self._desk.standing, known, unknown)

    # -- withdrawing --

    def _show_agreed(self, agreed: Agreed) -> None:
        self._choosing = False
        self._withdrawn_file = agreed.file
        self._withdraw_button = button("Withdraw", self._withdraw, name="withdraw", main=True)
        self.fill(
            [
                text("You agreed to record on this computer", "title"),
                text(f"On {day_words(agreed.at)}. It ends by itself on {day_words(agreed.valid_until)}.", "quiet"),
                *_agreed_words(agreed),
                *([text(EXPORT_WORDS[0] + ".", "quiet")] if agreed.export else []),
                text("If you withdraw", "section"),
                card(
                    text(
                        "Recording stops at once. What is still on this computer is destroyed. What was sent opens for "
                        "nobody but you, and is erased after 7 days. What a model has learned from it stays learned. "
                        "No reason is asked, and no network is needed."
                    ),
                    text(
                        "To withdraw only a part, or to erase at once: 'assent-agent consent withdraw --help', "
                        "'assent me erase --help'.",
                        "quiet",
                        selectable=True,
                    ),
                ),
                text("Your receipt", "section"),
                text(agreed.file, "quiet", selectable=True),
            ],
            [self._close_button("Close"), self._withdraw_button],
        )

    def _withdraw(self) -> None:
        self._withdraw_button.setEnabled(False)
        self._work.do(self._desk.withdraw, self._withdrawn, self._not_withdrawn)

    def _not_withdrawn(self, sentence: str) -> None:
        self._withdraw_button.setEnabled(True)
        self.say(sentence_words(sentence), good=False)

    def _withdrawn(self, standing: Standing) -> None:
        self.fill(
            [
                text("You have withdrawn", "title"),
                text(
                    "Recording has stopped, and what was not sent is destroyed. You can agree again whenever you like; "
                    "it is up to you."
                ),
            ],
            [self._close_button("Close"), button("Show the offer", self._try_again, name="again")],
        )
        self._confirming.start()
        self._tell_confirmation(standing)

    def _look_whether_confirmed(self) -> None:
        self._work.do(self._desk.standing, self._tell_confirmation, lambda _: None)

    def _tell_confirmation(self, standing: Standing) -> None:
        """Until the custodian has signed for it; and until it could be written down, which a full disk can delay."""
        if not self._confirming.isActive():
            return
        if standing.agreed is not None and standing.agreed.file == self._withdrawn_file:
            self.say("Recording has stopped. Writing the withdrawal down fails, and is tried again.", good=False)
            return
        self.say(withdrawn_words(standing))
        if not standing.unconfirmed:
            self._confirming.stop()


def _agreed_words(agreed: Agreed) -> list[QWidget]:
    """What is recorded, and for what: one pair of cards when everything is for everything, else as many as it takes."""
    shown: list[QWidget] = []
    for number, (modalities, purposes) in enumerate(blocks(agreed.pairs)):
        what: list[QWidget] = []
        for modality in modalities:
            words = MODALITY_WORDS[modality]
            if modality is Modality.KEYBOARD:
                words += f": {KEYBOARD_WORDS[agreed.keyboard_mode][0].lower()}"
            what.append(_named(text(f"•  {words}"), f"agreed {number} {modality.value}"))
        shown += [text("What", "section"), card(*what), text("For what", "section")]
        shown.append(card(*(_named(text(f"•  {agreed.sentences[one]}"), f"agreed {number} {one}") for one in purposes)))
    return shown


def _named(widget: QLabel, name: str) -> QLabel:
    widget.setObjectName(name)
    return widget
