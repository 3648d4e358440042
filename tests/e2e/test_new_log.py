"""The newest leaves of the log are lost everywhere, and everybody types what the documents say: whole processes, the
offline root key, the real witness, and a person whose agent recorded before and records again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.demo.people import BIN, done
from tests.demo.processes import Done, wait_for
from tests.demo.replays import write_replays
from tests.demo.story import today
from tests.e2e.installation import Installation
from tests.e2e.test_trouble import everything_sent, own_events

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


def test_a_new_log_begins_and_the_door_opens_again(installation: Installation, tmp_path: Path) -> None:
    made, data, usb = installation, installation.data, tmp_path / "usb"
    usb.mkdir(mode=0o700)
    (data / "custodian" / "root" / "root.key").rename(usb / "root.key")

    def server(*words: str | Path) -> Done:
        return made.programs.run(BIN / "assent-server", *words, env=made.base, log="server", quiet=True)

    def head() -> Path:
        file = tmp_path / f"{len(list(tmp_path.glob('*.head')))}.head"
        file.write_text(done(server("witness", "--config", data / "witness.toml", "--head")).out)
        return file

    bo = made.participant("bo", ASSENT_AGENT_HOLD_S="0")
    day, replay = today(), write_replays(tmp_path / "replays", 1, 4)[0]
    agent = bo.start_agent("--source", f"replay:{replay}")
    made.wait_for_status(bo, state="recording")
    done(bo.agent("pause"))
    everything_sent(made, bo, agent)
    first = own_events(bo, day)["events"]
    assert first
    done(made.council.assent("audit", "export", tmp_path / "old"))
    backup = json.loads(done(server("backup", "custodian", "--data", data, "--to", tmp_path / "backups", "--json")).out)
    own_events(bo, day)
    early = head()
    own_events(bo, day)  # leases that no copy and no backup has, and that were witnessed
    agent.end()

    made.up.end()
    for leftover in (data / "custodian").glob("custodian.db*"):
        leftover.unlink()
    done(server("restore", backup["custodian"], "--data", data))
    assert "the door is shut" in server("doctor", "--data", data).said
    witness = made.programs.start(
        BIN / "assent-server", "witness", "--config", data / "witness.toml", env=made.base, log="w", name="the witness"
    )
    newest = wait_for(head, "the witness's head", 90, witness.log)
    unsigned, signed = usb / "next.json", usb / "signed.json"

    def export(file: Path) -> Done:
        return server("directory", "export", "--data", data, "--new-log", file, "--to", unsigned)

    wait_for(lambda: "is quoted of it" in export(early).said, "the witness to say that it signed more", 90, witness.log)
    exported = export(newest)
    assert exported.ok, exported.said
    told = done(server("directory", "sign", unsigned, "--root-key", usb / "root.key", "--to", signed)).said
    assert "LEAVES LOST" in told
    witness.end()
    done(server("directory", "import", signed, "--data", data))

    made.restart_everything()
    agent = bo.start_agent("--source", f"replay:{replay}")
    halted = made.wait_for_status(bo, why="halted")
    assert "leaves of the log are lost" in halted["sentence"]
    assert halted["log_trouble"] == ""
    refused = bo.assent("me", "recordings", "--day", day, "--to", bo.home / "mine.png", "--json")
    assert not refused.ok, "the control: before council and dpo have signed, nothing opens"
    wait_for(lambda: caught_up(server("rotate", "--data", data, "--json")), "everything to catch up", 180, made.up.log)
    for person in (made.council, made.dpo):
        done(person.assent("people", "resume", "--yes", "--json"))

    def opened() -> Any:
        answer = bo.assent("me", "recordings", "--day", day, "--to", bo.home / "mine.png", "--json")
        return answer.json["events"] if answer.ok else None

    assert wait_for(opened, "the person's own recordings to open again", 120, made.up.log) == first
    agent.end()
    done(made.council.assent("audit", "export", tmp_path / "new"))
    root = json.loads((data / "custodian" / "directory.json").read_text())
    assert root["signatures"]
    verified = done(
        made.council.assent("audit", "verify", tmp_path / "new", "--former", tmp_path / "old", "--json")
    ).json
    assert verified["passed"], verified
    assert any("leaves of the log" in warning and "are lost" in warning for warning in verified["warnings"])
    kept = made.council.assent("audit", "export", tmp_path / "old")
    assert "holds a copy of a log that ended" in kept.said and not kept.ok
    shutil.rmtree(tmp_path / "new")


def caught_up(rotated: Done) -> bool:
    """Whether nothing is missing any more, but the signatures of council and dpo."""
    return rotated.ok and bool(rotated.json["ran"])
