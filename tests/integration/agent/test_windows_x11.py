"""The person's windows on a real desktop, clicked with xdotool: consent is given and withdrawn from the tray alone."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.simulators.agent_device import Device, a_device
from tests.simulators.agents import PURPOSE, wait_until
from tests.simulators.desktop import Desktop

from assent.client.directory import policy_of
from assent.client.receipts import ReceiptFile, check_receipt
from assent.contracts.envelope import read_unverified
from assent.contracts.statements import Directory, Notification, Receipt
from assent_agent.core.inviting import Declined
from assent_agent.core.narrowing import NARROWING_UNREADABLE
from assent_agent.runtime.home import AgentHome
from assent_agent.ui.words import LINE

pytestmark = pytest.mark.x11

ROOT = Path(__file__).parents[3]
MODALITIES = ("pointer", "keyboard", "screen", "context")
REST_S = 0.05
LOST_S = 5.0
"""When a click of which nothing was seen counts as lost."""


class Program:
    """The agent, and where its widgets are."""

    def __init__(self, device: Device, desktop: Desktop) -> None:
        self._desktop = desktop
        self.clicks = 0
        self._log = device.folder / "agent.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.simulators.agent_program"],
                cwd=ROOT,
                env=device.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def look(self, name: str) -> dict[str, Any] | None:
        """The widget of that name, None while there is none to be seen."""
        assert self._process.poll() is None, self._log.read_text()
        assert self._process.stdin is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        found = json.loads(self._lines.get(timeout=60))
        assert found is None or isinstance(found, dict)
        return found

    def see(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = wait_until(lambda: self.look(name), name)
        return found

    def click(self, name: str) -> None:
        """One click in the middle of the widget, once it has come to rest."""

        def at_rest() -> dict[str, Any] | None:
            before = self.see(name)
            time.sleep(REST_S)
            return before if self.look(name) == before else None

        at = wait_until(at_rest, f"{name} to be at rest")
        self.clicks += 1
        self._desktop.xdotool("mousemove", at["x"] + at["width"] // 2, at["y"] + at["height"] // 2, "click", 1)

    def tick(self, name: str) -> None:
        """One click, and what it does is seen."""
        self.click(name)
        wait_until(lambda: self.see(name)["ticked"], f"a tick at {name}")

    def tab(self) -> None:
        """Move the focus on, and wait until it moved."""
        before = wait_until(lambda: self.look("the focus"), "a window with the keyboard")
        self._desktop.xdotool("key", "Tab")
        wait_until(lambda: self.look("the focus") not in (before, None), "the focus to move on")

    def says(self, words: str) -> bool:
        message = self.look("message")
        return message is not None and words in message["text"]

    def choose(self, item: str) -> None:
        """Take an item of the tray menu."""
        self.open_menu(item)
        self.click(f"menu {item}")

    def open_menu(self, item: str) -> None:
        """Open the tray menu, until it shows this. One click opens it, the next one closes it: no second one before
        the first one did something, or was lost.
        """

        def is_open() -> bool:
            return self.look("menu My consent") is not None

        def shows() -> bool:
            if self.look(f"menu {item}") is not None:
                return True
            was = is_open()
            self._desktop.xdotool("mousemove", 1266, 14, "click", 3)
            lost = time.monotonic() + LOST_S
            while is_open() is was and time.monotonic() < lost:
                time.sleep(0.02)
            return self.look(f"menu {item}") is not None

        wait_until(shows, f"the menu with {item}")

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait(60)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def desktop() -> Iterator[Desktop]:
    with Desktop((1280, 900), tray=True) as made:
        yield made


@pytest.fixture
def device(tmp_path: Path, desktop: Desktop) -> Iterator[Device]:
    environment = {**desktop.env, "ASSENT_AGENT_NEWS_INTERVAL_S": "1"}
    with a_device(tmp_path, environment, application="xterm") as device:
        device.enrol()
        yield device


@pytest.fixture
def program(device: Device, desktop: Desktop) -> Iterator[Program]:
    made = Program(device, desktop)
    try:
        wait_until(lambda: device.asks({"do": "status"})["state"] == "off", "the agent")
        yield made
    finally:
        made.close()


def why(device: Device) -> Any:
    return device.asks({"do": "status"})["why"]


def receipt_file(device: Device) -> Path:
    (path,) = (device.folder / "agent" / "receipts").iterdir()
    return path


def test_consent_is_given_and_withdrawn_with_clicks_alone(
    device: Device, program: Program, desktop: Desktop, tmp_path: Path
) -> None:
    program.choose("Record on this device")
    assert program.see("agree")["enabled"] is False, "there is nothing to agree to yet"
    for modality in MODALITIES:
        assert program.see(f"{modality} {PURPOSE}")["ticked"] is False, modality
    assert program.look("keyboard shape") is None
    desktop.screenshot(tmp_path / "offer.png")
    program.click("agree")
    program.tick(f"pointer {PURPOSE}")
    wait_until(lambda: program.see("agree")["enabled"], "agree to be possible")
    program.tick(f"keyboard {PURPOSE}")
    assert program.see("keyboard shape")["ticked"] is True, "the mode that tells less"
    assert program.see("keyboard text")["ticked"] is False
    desktop.screenshot(tmp_path / "ticked.png")
    assert device.desk.receipts == [], "ticking alone gives nothing"
    program.click("agree")
    wait_until(lambda: program.says("Thank you"), "the thanks")
    desktop.screenshot(tmp_path / "agreed.png")
    shown = json.loads(device.command("consent", "show", "--json"))
    assert shown["choices"] == [["keyboard", PURPOSE], ["pointer", PURPOSE]]
    assert shown["keyboard_mode"] == "shape"
    checked = check_receipt(
        ReceiptFile.read(receipt_file(device).read_bytes()),
        device.desk.issuer.statement_key.public,
        device.desk.person,
        policy_of(read_unverified(device.desk.directory, Directory)),
    )
    assert checked.device_key_checked
    assert [mode.value for mode in checked.statement.modes] == ["reader"], "exports were not ticked"
    wait_until(lambda: why(device) not in ("no-receipt", "switched-off"), "the agent to take the receipt")
    program.click("withdraw")
    wait_until(lambda: program.says("Confirmed by the custodian"), "the confirmation")
    desktop.screenshot(tmp_path / "withdrawn.png")
    assert why(device) == "no-receipt"
    assert len(device.desk.withdrawals) == 1


def test_withdrawing_takes_no_more_clicks_than_the_fewest_that_give(device: Device, program: Program) -> None:
    program.choose("Record on this device")
    program.see("agree")
    before = program.clicks
    program.tick(f"pointer {PURPOSE}")
    program.click("agree")
    wait_until(lambda: program.says("Thank you"), "the thanks")
    giving = program.clicks - before
    wait_until(lambda: why(device) not in ("no-receipt", "switched-off"), "the agent to take the receipt")
    program.click("withdraw")
    wait_until(lambda: program.says("Confirmed by the custodian"), "the confirmation")
    assert program.clicks - before - giving <= giving
    assert why(device) == "no-receipt"


MORE = {
    f"urn:purpose:{number}": f"Purpose {number}: find out where forms take longer than they must, and write down for "
    "those who make them what could be left out."
    for number in range(1, 8)
}


def test_six_purposes_fit_on_the_screen_and_only_the_pairs_that_are_ticked_are_agreed_to(
    tmp_path: Path, device: Device
) -> None:
    five = dict(list(MORE.items())[:5])
    device.desk.also_for = five
    columns = (PURPOSE, *five)
    with Desktop((1280, 800), tray=True) as small:
        device.environment.update(small.env)
        program = Program(device, small)
        try:
            wait_until(lambda: device.asks({"do": "status"})["state"] == "off", "the agent")
            program.choose("Record on this device")
            for purpose in columns:
                sentence = f"purpose {purpose}"
                wait_until(lambda sentence=sentence: program.see(sentence)["whole"], "a sentence that can be read")
                row = {modality: program.see(f"{modality} {purpose}") for modality in MODALITIES[:2]}
                assert not any(tick["ticked"] for tick in row.values())
                assert row["pointer"]["x"] == row["keyboard"]["x"], "one column"
            assert len({program.see(f"pointer {purpose}")["y"] for purpose in columns}) == 1, "one row"
            program.tick(f"pointer {PURPOSE}")
            program.tick(f"keyboard {columns[3]}")
            small.screenshot(tmp_path / "table.png")
            program.click("agree")
            wait_until(lambda: program.says("Thank you"), "the thanks")
            for name in f"0 pointer|0 {PURPOSE}|1 keyboard|1 {columns[3]}".split("|"):
                assert program.see(f"agreed {name}")["text"], name
            for name in f"0 keyboard|0 {columns[3]}|1 pointer|1 {PURPOSE}".split("|"):
                assert program.look(f"agreed {name}") is None, "nothing else was agreed to"
            small.screenshot(tmp_path / "agreed.png")
        finally:
            program.close()
    receipt = read_unverified(device.desk.receipts[0], Receipt)
    given = [(choice.modality.value, choice.purpose) for choice in receipt.choices]
    assert given == [("pointer", PURPOSE), ("keyboard", columns[3])]
    assert [purpose.iri for purpose in receipt.purposes] == [PURPOSE, columns[3]]


def test_every_pair_is_reached_with_the_keyboard_alone_and_what_has_the_focus_is_seen(
    device: Device, desktop: Desktop, tmp_path: Path
) -> None:
    device.desk.also_for = MORE
    columns = (PURPOSE, *MORE)
    program = Program(device, desktop)
    try:
        wait_until(lambda: device.asks({"do": "status"})["state"] == "off", "the agent")
        program.choose("Record on this device")
        program.see("agree")

        def focused(name: str) -> bool:
            found = program.look(name)
            return found is not None and found["focused"]

        for _ in range(12):
            if focused(f"pointer {PURPOSE}"):
                break
            program.tab()
        for modality in MODALITIES:
            for purpose in columns:
                name = f"{modality} {purpose}"
                wait_until(lambda name=name: focused(name), f"the focus on {name}")
                wait_until(lambda name=name: program.see(name)["whole"], f"the whole of {name}")
                assert not program.see(name)["ticked"]
                wait_until(lambda name=name: program.see(f"words {name}")["whole"], f"what {name} is, beside it")
                if name in (f"pointer {columns[-1]}", f"screen {PURPOSE}"):
                    desktop.xdotool("key", "space")
                    wait_until(lambda name=name: program.see(name)["ticked"], f"a tick at {name}")
                    desktop.screenshot(tmp_path / f"{modality}.png")
                program.tab()
        for _ in range(12):
            if focused("agree"):
                break
            program.tab()
        desktop.xdotool("key", "space")
        wait_until(lambda: program.says("Thank you"), "the thanks")
    finally:
        program.close()
    shown = json.loads(device.command("consent", "show", "--json"))
    assert shown["choices"] == [["pointer", columns[-1]], ["screen", PURPOSE]]


def test_offline_nothing_can_be_given_but_everything_withdrawn(
    device: Device, program: Program, desktop: Desktop, tmp_path: Path
) -> None:
    device.command("consent", "give", "--modality", "pointer", "--purpose", PURPOSE, "--yes")
    device.asks({"do": "given"})
    wait_until(lambda: why(device) != "no-receipt", "the receipt to be taken")
    device.desk.online = False
    program.choose("My consent")
    program.click("withdraw")
    wait_until(lambda: program.says("Not confirmed yet"), "what is true offline")
    assert why(device) == "no-receipt"
    program.click("again")
    wait_until(lambda: (said := program.look("message")) and "Not confirmed yet" not in said["text"], "a refusal")
    assert program.look("agree") is None
    desktop.screenshot(tmp_path / "offline.png")
    device.desk.online = True
    program.click("again")
    program.click("not now")
    wait_until(lambda: program.look("Assent: my consent") is None, "the window to be gone")
    assert len(device.desk.receipts) == 1, "not now gives nothing"


def test_with_consent_a_switch_that_is_merely_off_is_just_switched_on(device: Device, desktop: Desktop) -> None:
    device.command("consent", "give", "--modality", "pointer", "--purpose", PURPOSE, "--yes")
    (device.folder / "agent" / "switch.json").unlink()
    program = Program(device, desktop)
    try:
        wait_until(lambda: why(device) == "switched-off", "the agent")
        program.choose("Record on this device")
        wait_until(lambda: why(device) != "switched-off", "the switch")
        assert program.look("Assent: my consent") is None
        assert len(device.desk.receipts) == 1
        assert json.loads((device.folder / "agent" / "switch.json").read_bytes())["on"] is True
    finally:
        program.close()


def test_the_menu_says_why_nothing_is_recorded_and_a_list_of_ones_own_that_cannot_be_read_has_its_own_sentence(
    device: Device, program: Program, desktop: Desktop, tmp_path: Path
) -> None:
    device.command("consent", "give", "--modality", "pointer", "--purpose", PURPOSE, "--yes")
    wait_until(lambda: device.asks({"do": "status"})["state"] == "recording", "recording")
    (device.folder / "agent" / "narrowing.json").write_text("{damaged")
    device.asks({"do": "narrowed"})
    assert why(device) == "narrowing"
    program.open_menu("Something is wrong")
    for line in textwrap.wrap(NARROWING_UNREADABLE, LINE):
        assert program.see(f"menu {line}")
    desktop.screenshot(tmp_path / "damaged.png")
    desktop.xdotool("key", "Escape")
    assert "narrow --clear" in device.command("consent", "narrow", code=1), "the command says the same"
    assert "took nothing away" in device.command("consent", "narrow", "--clear")
    wait_until(lambda: device.asks({"do": "status"})["state"] == "recording", "recording again")
    device.desk.halted = "The works council asked for it"
    wait_until(lambda: why(device) == "halted", "the halt")
    program.open_menu("The programme is halted: The works council asked for it")
    desktop.screenshot(tmp_path / "halted.png")


def test_what_is_under_the_pointer_stays_there_while_the_menu_is_open(
    device: Device, program: Program, desktop: Desktop, tmp_path: Path
) -> None:
    device.command("consent", "give", "--modality", "pointer", "--modality", "keyboard", "--purpose", PURPOSE, "--yes")
    wait_until(lambda: device.asks({"do": "status"})["state"] == "recording", "recording")
    items = (
        "Record on this device",
        "Pause 5 minutes",
        "Pause until I resume",
        "My consent",
        "Quit and stop recording",
    )
    program.open_menu("Pause 5 minutes")
    before = {item: program.see(f"menu {item}") for item in items}
    assert program.see("menu Pause 5 minutes")["enabled"]
    device.asks({"do": "pause"})
    wait_until(lambda: program.look("menu Paused until you resume"), "the open menu to say what is true now")
    assert program.look("menu Resume") is None, "it comes when the menu is opened anew"
    assert not program.see("menu Pause 5 minutes")["enabled"], "what makes no sense now cannot be chosen"
    desktop.screenshot(tmp_path / "paused-open.png")
    device.desk.halted = "The works council asked for it, " * 3
    wait_until(lambda: why(device) == "halted", "the halt")
    wait_until(lambda: program.look("menu Off. Nothing is recorded"), "that to be said, too")
    desktop.screenshot(tmp_path / "halted-open.png")
    assert {item: program.see(f"menu {item}") | {"enabled": True} for item in items} == {
        item: seen | {"enabled": True} for item, seen in before.items()
    }
    reason = textwrap.wrap(f"The programme is halted: {device.desk.halted}", LINE)
    assert program.see(f"menu {reason[0]}") and program.see(f"menu {reason[1]} …"), "as much as there is room for"
    program.click("menu My consent")
    assert program.see("withdraw")
    program.open_menu(reason[-1])


def test_who_accessed_and_my_recordings_open_from_the_menu(
    device: Device, program: Program, desktop: Desktop, tmp_path: Path
) -> None:
    wait_until(lambda: device.asks({"do": "status"})["custodian_asked"], "news")
    program.choose("Who accessed")
    wait_until(lambda: "Nobody" in program.see("heading")["text"], "nobody")
    desktop.screenshot(tmp_path / "nobody.png")
    program.click("close")
    device.desk.notifications = (
        Notification(id="1" * 32, day="2026-11-20", kind="lease", text="Team Research read 2 days.", approvals=2),
        Notification(id="2" * 32, day="2026-11-18", kind="own", text="You opened your recordings of one day."),
    )
    wait_until(lambda: device.asks({"do": "status"})["accesses"] == 2, "the accesses to be told")
    assert program.see("told 0")["text"] == "Team Research read 2 days.", "by itself"
    program.choose("Who accessed")
    assert program.see("access 0")["text"] == "Team Research read 2 days."
    wait_until(lambda: program.see("access 1")["y"] > program.see("access 0")["y"], "the newest to come first")
    wait_until(lambda: program.look("told 0") is None, "it is told no longer, since it was seen")
    desktop.screenshot(tmp_path / "accesses.png")
    program.click("close")
    program.choose("My recordings")
    assert program.see("command")["text"] == "assent me recordings"
    desktop.screenshot(tmp_path / "recordings.png")
    program.click("close")
    wait_until(lambda: program.look("Assent: my recordings") is None, "the window to be gone")


def test_that_recordings_were_opened_comes_by_itself_and_takes_no_keyboard_until_it_was_seen(
    device: Device, desktop: Desktop, tmp_path: Path
) -> None:
    device.desk.notifications = (
        Notification(
            id="1" * 32, day="2026-11-20", kind="lease", approvals=2, leaf_index=7, request="0" * 64,
            text="Rafa Lind (internal research) opened recordings of yours: mouse and screen pictures of 2026-11-19. "
            "What for: Train models to use a computer. Approved by Stine Holm and Sven Berg.",
        ),
    )  # fmt: skip
    AgentHome(device.folder).note(Declined(datetime.now(UTC), never=True))  # or the question would come, too
    typed = tmp_path / "typed"
    terminal = desktop.xterm("letter", at=(40, 500), run=f"cat > {typed}")
    wait_until(typed.exists, "a terminal in which somebody works")
    desktop.activate(terminal)
    program = Program(device, desktop)
    try:
        wait_until(lambda: program.see("told 0")["whole"], "all of it to be readable")
        desktop.xdotool("type", "a letter")
        desktop.xdotool("key", "Return")
        wait_until(lambda: typed.read_text() == "a letter\n", "what is typed to go where it belongs")
        desktop.screenshot(tmp_path / "told.png")
        program.close()
        program = Program(device, desktop)
        assert program.see("told 0")["text"].startswith("Rafa Lind"), "again, until it was seen"
        program.click("got it")
        wait_until(lambda: program.look("told 0") is None, "the window to be gone")
        wait_until(lambda: device.asks({"do": "status"})["accesses"] == 0, "seen")
        program.close()
        program = Program(device, desktop)
        wait_until(lambda: device.asks({"do": "status"}).get("custodian_asked"), "news")
        assert program.look("told 0") is None, "it was seen"
    finally:
        program.close()


def test_an_invitation_takes_no_keyboard_until_the_person_chooses_it(
    device: Device, desktop: Desktop, tmp_path: Path
) -> None:
    typed = tmp_path / "typed"
    terminal = desktop.xterm("letter", at=(40, 500), run=f"cat > {typed}")
    wait_until(typed.exists, "a terminal in which somebody works")
    desktop.activate(terminal)

    def active() -> int:
        return int(desktop.xdotool("getactivewindow"))

    program = Program(device, desktop)
    try:
        assert program.see("agree")["whole"], "the invitation, by itself"
        desktop.xdotool("type", "a letter")
        desktop.xdotool("key", "Return")
        wait_until(lambda: typed.read_text() == "a letter\n", "what is typed to go where it belongs")
        assert active() == terminal
        desktop.screenshot(tmp_path / "invited.png")
        for way in ("while it is there", "anew"):
            program.choose("Record on this device")
            wait_until(lambda: active() == desktop.window("Assent: my consent"), f"the keyboard, chosen {way}")
            program.click("not now")
            wait_until(lambda: program.look("agree") is None, "the window to be gone")
        assert typed.read_text() == "a letter\n"
    finally:
        program.close()


WINDOW = """
import sys, threading
from PySide6.QtCore import QObject, QSize, Signal
from PySide6.QtWidgets import QApplication
from assent_agent.ui.look import Window

class Told(QObject):
    line = Signal(str)

application = QApplication([])
window, told = Window("a page", QSize(400, 300)), Told()
acts = {"chosen": window.come, "by itself": lambda: window.come(take_keyboard=False), "hide": window.hide}
told.line.connect(lambda line: acts[line]())
threading.Thread(target=lambda: [told.line.emit(line.strip()) for line in sys.stdin], daemon=True).start()
application.exec()
"""


def test_a_window_that_comes_again_takes_the_keyboard_only_when_it_was_chosen(desktop: Desktop, tmp_path: Path) -> None:
    typed = tmp_path / "typed"
    terminal = desktop.xterm("letter", at=(40, 500), run=f"cat > {typed}")
    wait_until(typed.exists, "a terminal in which somebody works")
    with subprocess.Popen([sys.executable, "-c", WINDOW], env=desktop.env, stdin=subprocess.PIPE, text=True) as program:
        assert program.stdin is not None
        letters = ""

        def is_there() -> bool:
            found = subprocess.run(
                ["xdotool", "search", "--onlyvisible", "--name", "Assent: a page"],
                env=desktop.env,
                stdout=subprocess.DEVNULL,
                check=False,
            )
            return found.returncode == 0

        for letter, way in enumerate(("chosen", "by itself", "chosen", "by itself")):
            desktop.activate(terminal)
            print(way, file=program.stdin, flush=True)
            page = desktop.window("Assent: a page")
            if way == "chosen":
                wait_until(lambda page=page: desktop.xdotool("getactivewindow") == str(page), "the keyboard")
            else:
                desktop.xdotool("type", letter)
                desktop.xdotool("key", "Return")
                letters += f"{letter}\n"
                wait_until(lambda letters=letters: typed.read_text() == letters, "what is typed to go where it belongs")
            print("hide", file=program.stdin, flush=True)
            wait_until(lambda: not is_there(), "the window to be gone")
        program.terminate()
