"""The agent as people run it: its own process, its commands, killed in mid-recording and started again."""

from __future__ import annotations

import json
import os
import pty
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.simulators.agent_device import AGENT, Device, a_device
from tests.simulators.agents import PURPOSE, opened, wait_until, world_bodies, write_replay

from assent.client.credentials import CredentialStore
from assent.client.directory import policy_of
from assent.client.receipts import ReceiptFile, check_receipt
from assent.client.transport import Refused
from assent.contracts.codes import InvitationCode
from assent.contracts.envelope import read_unverified
from assent.contracts.ids import Modality
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Directory, Receipt
from assent_agent.app import explain
from assent_agent.runtime.home import AgentHome


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with a_device(tmp_path, {k: v for k, v in os.environ.items() if not k.startswith("ASSENT_")}) as made:
        yield made


@pytest.fixture
def enrolled(device: Device) -> Device:
    device.enrol()
    return device


@pytest.fixture
def consenting(enrolled: Device) -> Device:
    enrolled.command("consent", "give", "--modality", "pointer", "--purpose", PURPOSE, "--yes")
    return enrolled


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    return write_replay(tmp_path / "replay.jsonl", 120)


def test_a_code_that_adds_a_device_makes_a_device_key_and_nothing_that_opens(device: Device) -> None:
    root = device.desk.issuer.root_fingerprint
    told = device.command("enrol", InvitationCode.new(device.desk.url, root, "opening").to_text(), code=1)
    assert "assent login" in told
    device.command("enrol", InvitationCode.new(device.desk.url, root, "device").to_text())
    assert len(device.desk.devices) == 1
    assert not CredentialStore(device.folder).exists()
    assert "Nothing is recorded" in device.command("status"), "before consent is given here"


def test_who_has_not_enrolled_is_told_so_and_not_that_a_key_was_lost(device: Device) -> None:
    for words in (("consent", "show"), ("consent", "give"), ("consent", "withdraw"), ("send",)):
        assert "not enrolled" in device.command(*words, code=1), words


def test_who_revoked_this_device_is_told_so() -> None:
    told = explain(Refused(Problem(Code.NOT_SIGNED_IN, "sign this with a credential that is enrolled here")))
    assert "revoked it" in told and "assent me add-device" in told
    assert explain(Refused(Problem(Code.REFUSED, "not offered"))) == "not offered", "the control"


OTHER = "urn:purpose:forms"


def test_single_pairs_are_given_shown_as_a_table_and_withdrawn_alone(enrolled: Device) -> None:
    device = enrolled
    device.desk.also_for = {OTHER: "Find out which forms take too long."}
    single = ("--choice", f"pointer={PURPOSE}", "--choice", f"keyboard={OTHER}")
    told = device.command("consent", "give", *single, "--yes")
    table = ["      1    2", "pointer     yes    -", "keyboard      -  yes", "screen        -    -"]
    assert all(line in told for line in table), told
    assert told.index("pointer     yes") < told.index("Your receipt"), "before it is signed"
    given = read_unverified(device.desk.receipts[0], Receipt)
    assert [(c.modality.value, c.purpose) for c in given.choices] == [("pointer", PURPOSE), ("keyboard", OTHER)]
    assert [item.modality.value for item in given.personal_data] == ["pointer", "keyboard"]
    shown = device.command("consent", "show")
    assert all(line in shown for line in table), shown
    assert f"2: {OTHER}: Find out which forms take too long." in shown
    device.command("consent", "withdraw", "--modality", "keyboard", "--purpose", OTHER)
    assert json.loads(device.command("consent", "show", "--json"))["choices"] == [["pointer", PURPOSE]]
    assert "keyboard      -" in device.command("consent", "show")
    device.command("consent", "give", "--modality", "screen", "--purpose", PURPOSE, *single[:2], "--yes", "--json")
    both = read_unverified(device.desk.receipts[1], Receipt)
    assert [(c.modality.value, c.purpose) for c in both.choices] == [("pointer", PURPOSE), ("screen", PURPOSE)]


def test_a_pair_that_is_not_offered_or_not_whole_is_refused_in_words_and_nothing_is_given(enrolled: Device) -> None:
    def give(*words: str, code: int) -> str:
        return " ".join(enrolled.command("consent", "give", *words, "--yes", code=code).replace("│", " ").split())

    assert "Not offered: urn:other" in give("--choice", f"pointer={PURPOSE}", "--choice", "keyboard=urn:other", code=1)
    for wrong in (f"sound={PURPOSE}", "pointer", "pointer=", PURPOSE):
        assert "say MODALITY=PURPOSE" in give("--choice", wrong, code=2), wrong
    assert "one of pointer, keyboard, screen, context" in give("--choice", f"sound={PURPOSE}", code=2)
    for half in (("--modality", "pointer"), ("--purpose", PURPOSE)):
        assert "Say what you agree to" in give(*half, "--choice", f"screen={PURPOSE}", code=1), half
    assert enrolled.desk.receipts == []


def test_who_is_asked_says_yes_or_no_to_each_pair_and_sees_the_table_before_the_last_question(
    enrolled: Device,
) -> None:
    enrolled.desk.also_for = {OTHER: "Find out which forms take too long."}
    for last, count in (("n", 0), ("y", 1)):
        answers = ["y", "y", "n", "n", "n", "y", "n", "y", "n", "n", "n", last]  # 2: purpose, 4 kinds; which keys; give
        told = typed(enrolled, answers, "consent", "give")
        assert told.index("pointer     yes    -") < told.index("Give this consent?"), told
        assert len(enrolled.desk.receipts) == count
    given = read_unverified(enrolled.desk.receipts[0], Receipt)
    assert [(c.modality.value, c.purpose) for c in given.choices] == [("pointer", PURPOSE), ("keyboard", OTHER)]
    assert given.keyboard_mode == "shape"


def typed(device: Device, answers: list[str], *words: str) -> str:
    """The command at a terminal, at which somebody types these lines; what it wrote."""
    here, there = pty.openpty()
    process = subprocess.Popen([*AGENT, *words], env=device.environment, stdin=there, stdout=there, stderr=there)
    os.close(there)
    os.write(here, "".join(f"{answer}\n" for answer in answers).encode())
    written = b""
    with suppress(OSError):  # that is how a terminal ends
        while some := os.read(here, 65536):
            written += some
    process.wait(60)
    os.close(here)
    return written.decode()


def test_from_an_invitation_to_a_stored_recording_and_back_to_nothing(enrolled: Device, replay: Path) -> None:
    device = enrolled
    credential = CredentialStore(device.folder).load()
    assert credential.person == device.desk.person
    assert "Nothing is recorded" in device.command("status")
    assert "Train models" in device.command("consent", "show")
    assert "Say what you agree to" in device.command("consent", "give", "--yes", code=1)
    assert "Not offered" in device.command(
        "consent", "give", "--modality", "pointer", "--purpose", "urn:other", "--yes", code=1
    )
    assert device.desk.receipts == []
    device.command("consent", "give", "--modality", "pointer", "--modality", "keyboard", "--purpose", PURPOSE, "--yes")
    shown = json.loads(device.command("consent", "show", "--json"))
    assert shown["choices"] == [["keyboard", PURPOSE], ["pointer", PURPOSE]]
    assert shown["keyboard_mode"] == "shape"
    assert "salt" in device.command("consent", "receipt")
    device.command("consent", "receipt", "--save", str(device.folder / "saved"))
    (saved,) = (device.folder / "saved").glob("*.receipt.json")
    statement_key = device.desk.issuer.statement_key.public
    policy = policy_of(read_unverified(device.desk.directory, Directory))
    checked = check_receipt(ReceiptFile.read(saved.read_bytes()), statement_key, device.desk.person, policy)
    assert checked.device_key_checked
    assert checked.notice_checked
    assert "9:00-17:30" in device.command("consent", "narrow", "--hours", "nine to five", code=2)
    device.command("consent", "narrow", "--application", "Ledger", "--application", "wiki", "--hours", "9:00-17:30")
    narrowed = json.loads(device.command("consent", "narrow", "--json"))
    assert narrowed == {"applications": ["Ledger", "wiki"], "hours": "09:00-17:30", "monitors": None}
    device.command("consent", "narrow", "--clear")
    narrowed = json.loads(device.command("consent", "narrow", "--json"))
    assert narrowed == {"applications": [], "hours": None, "monitors": None}
    process = device.start(replay)
    wait_until(device.recording, "recording")
    socket = device.folder / "agent" / "control.sock"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert "already runs" in device.command("run", "--source", f"replay:{replay}", code=1)
    assert "Paused for 5 minutes." in device.command("pause", "5")
    until = datetime.now().astimezone() + timedelta(minutes=5)
    assert f"Paused until {until.day} " in device.command("status"), "by the clock here"
    assert device.status()["why"] == "paused"
    device.command("resume")
    wait_until(device.recording, "recording again")
    device.command("send")
    wait_until(lambda: device.asks({"do": "status"})["segments_waiting"] == 0, "sent")
    kept = {content.modality for content in opened(device.desk, device.world)}
    assert kept == {"pointer", "keyboard"}, "of each modality"
    assert "the last 10 minutes" in device.command("forget", "--last", "10")
    assert "there are pointer" in device.command("consent", "withdraw", "--modality", "mouse", code=2)
    assert "Nothing was withdrawn" in device.command("consent", "withdraw", "--modality", "screen", code=1)
    partly = device.command("consent", "withdraw", "--modality", "keyboard")
    assert f"You still agree to:\n  pointer for {PURPOSE}" in partly and "has stopped" not in partly
    assert "Quit it first" in device.command("uninstall", "--yes", code=1)
    assert "Recording has stopped" in device.command("consent", "withdraw")
    assert "There was no consent" in device.command("consent", "withdraw")
    wait_until(lambda: all(w["confirmed"] for w in device.asks({"do": "status"})["withdrawals"]), "confirmed")
    assert "(keyboard): confirmed" in device.command("status")
    assert "confirmed; erased" in device.command("status")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert device.streams == []
    device.command("consent", "narrow", "--application", "wiki")
    AgentHome(device.folder).keep_erasures([device.desk.receipts[0]])  # any signed statement does
    device.command("uninstall", code=1)
    device.command("uninstall", "--yes")
    left = {path.name for path in (device.folder / "agent").iterdir()} - {"lock"}
    assert left == {"receipts", "accesses"}, "what the person narrowed, said or erased is gone with the rest"
    assert "not enrolled" in device.command("consent", "give", code=1)
    assert list((device.folder / "agent" / "receipts").iterdir())


def test_killed_in_mid_recording_it_loses_nothing_sealed_and_says_crashed(consenting: Device, replay: Path) -> None:
    device = consenting
    process = device.start(replay)
    wait_until(device.recording, "recording")
    for _ in range(2):
        device.asks({"do": "pause"})
        device.asks({"do": "resume"})
        wait_until(device.recording, "recording again")
    process.kill()
    process.wait(60)
    (stream,) = [each for each in device.streams if list(each.glob("*.segment"))]
    sealed = {path.name: path.read_bytes() for path in stream.glob("*.segment")}
    assert len(sealed) >= 2, "one at each pause; more over a fifth minute"
    assert sorted(sealed) == [f"{number:010}.segment" for number in range(len(sealed))]
    again = device.start(replay)
    wait_until(device.recording, "recording after the restart")
    assert {path.name: path.read_bytes() for path in stream.glob("*.segment")} == sealed
    (end,) = stream.glob("*.end")
    from base64 import b64decode

    record = json.loads(b64decode(json.loads(end.read_bytes())["record"]))
    assert (record["how"], record["next_sequence"]) == ("crashed", len(sealed))
    device.asks({"do": "pause"})
    device.asks({"do": "send"})
    wait_until(lambda: device.asks({"do": "status"})["segments_waiting"] == 0, "everything sent")
    arrived = [number for number, _ in world_bodies(device.world, stream.name)]
    assert arrived == list(range(len(sealed))), "those that were sealed"
    assert len(device.world.kept()) > len(sealed), "and what was recorded since"
    again.send_signal(signal.SIGTERM)
    assert again.wait(60) == 0


def test_killed_again_and_again_while_it_sends_no_stream_is_contradicted(consenting: Device, tmp_path: Path) -> None:
    device = consenting
    device.environment["ASSENT_AGENT_HOLD_S"] = "0"
    device.environment["ASSENT_AGENT_UPLOAD_INTERVAL_S"] = "1"
    replay = write_replay(tmp_path / "short.jsonl", 120)
    for _ in range(3):
        process = device.start(replay)
        wait_until(device.recording, "recording")
        device.asks({"do": "pause"})
        device.asks({"do": "send"})
        device.asks({"do": "resume"})
        wait_until(device.recording, "recording again")
        process.kill()
        process.wait(60)
    final = device.start(replay)
    wait_until(device.recording, "recording")
    device.asks({"do": "pause"})
    device.asks({"do": "send"})
    wait_until(lambda: device.asks({"do": "status"})["segments_waiting"] == 0, "everything sent")
    told = device.asks({"do": "status"})
    assert told["upload_trouble"] == ""
    final.send_signal(signal.SIGTERM)
    assert final.wait(60) == 0
    assert len(device.world.kept()) >= 4


def test_withdrawing_offline_without_a_running_agent(consenting: Device, replay: Path) -> None:
    device = consenting
    process = device.start(replay)
    wait_until(device.recording, "recording")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert device.streams
    device.desk.online = False
    assert "will be delivered" in device.command("consent", "withdraw")
    assert device.streams == []
    assert device.status()["withdrawals"][0]["confirmed"] is False
    assert "not delivered" in device.command("uninstall", "--yes", code=1)
    device.desk.online = True
    device.start(replay)
    wait_until(lambda: device.asks({"do": "status"}).get("withdrawals", [{}])[0].get("confirmed"), "confirmed")
    assert device.asks({"do": "status"})["why"] == "no-receipt"
    assert len(device.desk.withdrawals) == 1


def test_what_is_said_while_the_agent_starts_or_ends_is_done(consenting: Device, replay: Path) -> None:
    device = consenting
    process = device.start(replay)
    wait_until((device.folder / "agent" / "lock").exists, "the agent to begin")
    assert "Paused." in device.command("pause")
    wait_until(lambda: device.asks({"do": "status"})["why"] == "paused", "the agent")
    process.send_signal(signal.SIGTERM)
    assert "Withdrawn" in device.command("consent", "withdraw")
    assert process.wait(60) == 0
    assert device.streams == []
    assert AgentHome(device.folder).receipt() is None


def test_a_pause_is_told_while_no_agent_runs_and_what_was_withdrawn_cannot_be_read(consenting: Device) -> None:
    device = consenting
    device.command("pause")
    assert "Paused until you resume." in device.command("status")
    folder = device.folder / "agent" / "withdrawals"
    folder.mkdir()
    (folder / "0.json").write_text("{")
    assert "0.json" in device.command("status"), "and the rest is told all the same"
    assert "Recording has stopped" in device.command("consent", "withdraw"), "in doubt, all of it goes"
    (withdrawal,) = device.desk.withdrawals
    assert withdrawal.record is not None and withdrawal.modalities == ()


def test_a_replay_can_end_by_itself_and_send_what_may_be_sent(consenting: Device, tmp_path: Path) -> None:
    device = consenting
    device.environment["ASSENT_AGENT_HOLD_S"] = "0"
    process = device.start(write_replay(tmp_path / "short.jsonl", 4), "--exit-when-done")
    assert process.wait(60) == 0
    assert device.streams == []
    assert {content.modality for content in opened(device.desk, device.world)} == {"pointer"}
    assert device.desk.receipts
    assert json.loads(device.desk.receipts[0].payload_bytes)["choices"][0]["modality"] == Modality.POINTER


def test_no_key_lies_in_the_clear_no_file_is_open_to_others_and_there_are_no_core_dumps(
    consenting: Device, replay: Path
) -> None:
    device = consenting
    process = device.start(replay)
    wait_until(device.recording, "recording")
    device.asks({"do": "pause"})
    files = [path for path in device.folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".segment" for path in files)
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert b"BEGIN PRIVATE KEY" not in path.read_bytes()
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["0", "0"]


def test_bad_usage_is_exit_code_2_and_a_wrong_code_exit_code_1(device: Device) -> None:
    device.command("dance", code=2)
    device.command("pause", "soon", code=2)
    device.command("run", "--source", "camera", code=2)
    assert "invitation code" in device.command("enrol", "hello", code=1)
    assert "not enrolled" in device.command("consent", "withdraw", code=1)
    swapped = InvitationCode.new(device.desk.url, "0" * 64)
    assert "root key" in device.command("enrol", swapped.to_text(), code=1)
    assert device.desk.devices == {}


def test_without_a_desktop_it_says_so_and_records_nothing(consenting: Device) -> None:
    consenting.environment.pop("DISPLAY", None)
    consenting.environment.pop("WAYLAND_DISPLAY", None)
    assert "no desktop here" in consenting.command("run", code=1)
