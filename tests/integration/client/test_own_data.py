"""Own data: listed, and exported whole, for its person alone; a kill leaves nothing but the part."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import re
import signal
import stat
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import numpy as np
import pytest
from PIL import Image
from tests.exposure.canary import Marker
from tests.exposure.world import Answer, Ask, Populated
from tests.integration.client.conftest import Terminal

from assent.cli.app import main
from assent.codec.content import decode_content, pictures
from assent.contracts.ids import Modality
from assent.contracts.statements import OwnData
from assent.reader.archive import ArchiveExists, written_whole
from assent.reader.opening import open_with
from assent_custodian.night import run_night


def exported(terminal: Terminal, name: str, to: Path, *options: str) -> tuple[zipfile.ZipFile, dict[str, Any]]:
    facts = terminal.ok(name, "me", "export", "--to", str(to), "--json", *options).json
    return zipfile.ZipFile(to), facts


def everything_in(archive: zipfile.ZipFile) -> bytes:
    """Every file, and every payload of a signed statement in one."""
    assert archive.testzip() is None
    files = b"\n".join(archive.read(name) for name in archive.namelist())
    payloads = re.findall(rb'"payload":"([A-Za-z0-9+/=]+)"', files)
    return files + b"\n".join(base64.b64decode(payload) for payload in payloads)


def test_days_are_listed_with_sessions_events_and_pictures(terminal: Terminal, populated: Populated) -> None:
    person = terminal.is_("person", populated.people[3])
    facts = terminal.ok(person, "me", "recordings", "--json").json
    assert [(day["day"], day["sessions"], day["frames"]) for day in facts["days"]] == [(populated.world.now[:10], 1, 1)]
    assert facts["days"][0]["events"] == {
        "keyboard": 2 * len(populated.marker.text), "context": 1, "pointer": 50, "screen": 1,
    }  # fmt: skip
    assert "file" not in facts
    shown = terminal.ok(person, "me", "recordings").out
    assert populated.world.now[:10] in shown and "50 pointer" in shown
    nothing = terminal.run(person, "me", "recordings", "--until", "2026-01-01")
    assert (nothing.code, "Nothing of yours" in nothing.err) == (1, True)


def test_an_export_holds_everything_that_was_recorded_and_says_how_to_read_it(
    terminal: Terminal, populated: Populated, tmp_path: Path
) -> None:
    member = populated.people[4]
    person, day = terminal.is_("person", member), populated.world.now[:10]
    terminal.ok(person, "me", "erase", "--hour", "2020-01-01T00", "--yes")
    to = tmp_path / "mine.zip"
    archive, facts = exported(terminal, person, to)
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert not to.with_name("mine.zip.part").exists()
    folder = f"recordings/{day}/session-1"
    lines = [json.loads(line) for line in archive.read(f"{folder}/events.jsonl").splitlines()]
    wall_ns = int(populated.world.clock().timestamp()) * 10**9
    mine = [one for one in populated.recordings if one.member is member]
    assert len(mine) == 4
    for one in mine:
        content = decode_content(populated.installation.content(one.certificate, populated.marker))
        expected = [
            (wall_ns + event.t_ns, json.loads(msgspec.json.encode(event)))  # as it was recorded
            for event in content.events
        ]
        found = [(line["at_ns"], line["event"]) for line in lines if line["modality"] == one.modality.value]
        assert found == expected
        for event, pixels in pictures(content):
            with Image.open(io.BytesIO(archive.read(f"{folder}/frames/{event.seq:08d}.png"))) as image:
                assert np.array_equal(np.asarray(image), pixels)
    assert sum(name.endswith(".png") for name in archive.namelist()) == 1
    assert json.loads(archive.read(f"{folder}/coverage.json"))["complete"]

    readme = archive.read("README.txt").decode()
    assert "plain" in readme and "UTC" in readme
    for part in ("events.jsonl", "receipts/", "accesses/", "erasures/", "account.json"):
        assert part in readme
    (receipt,) = (name for name in archive.namelist() if name.startswith("receipts/"))
    kept = tmp_path / "receipt.json"
    kept.write_bytes(archive.read(receipt))
    assert "This receipt holds" in terminal.ok(person, "me", "receipts", "--verify", str(kept)).out
    (erased,) = (name for name in archive.namelist() if name.endswith(".requested.json"))
    kept.write_bytes(archive.read(erased))
    assert "This receipt holds" in terminal.ok(person, "me", "erasures", "--verify", str(kept)).out
    notes = json.loads(archive.read("accesses/accesses.json"))
    assert "own" in {note["kind"] for note in notes}, "this reading is in it, too"
    assert sum(name.endswith(".tlog-proof") for name in archive.namelist()) >= 1
    account = json.loads(archive.read("account.json"))
    assert (account["days"], account["sessions"], account["frames"]) == ([day], 1, 1)
    assert facts["lease"]["closed"]
    assert {info.external_attr >> 16 for info in archive.infolist()} == {0o600}

    again = terminal.run(person, "me", "export", "--to", str(to))
    assert (again.code, "exists already" in again.err) == (1, True)


def test_an_erasure_that_did_not_arrive_is_handed_in_again(terminal: Terminal, populated: Populated) -> None:
    person = terminal.is_("person", populated.people[2])

    def lost(request: Ask, ask: Any) -> Answer:
        return Answer(502) if request.url.path == "/v1/erasures" else ask()

    terminal.installation.enemy = lost
    try:
        wish = ("--hour", "2026-01-01T00", "--yes")
        assert terminal.run(person, "me", "erase", *wish).code == 1
        assert terminal.run(person, "me", "erasures").code == 1
    finally:
        terminal.installation.enemy = None
    (terminal.shell(person).store.folder / "erasures" / "damaged.json").write_bytes(b"[]")
    again = terminal.ok(person, "me", "erasures", "--json")
    (found,) = again.json["erasures"]
    assert (found["state"], found["hours"]) == ("requested", 1)
    assert "handed in again" in again.err and "damaged.json is damaged" in again.err
    assert "handed in again" not in terminal.ok(person, "me", "erasures").err


def test_nothing_of_others_is_ever_in_it(terminal: Terminal, populated: Populated, tmp_path: Path) -> None:
    mine, other = populated.people[5], populated.people[6]
    secret = Marker.new()
    populated.installation.record(other, secret, (Modality.KEYBOARD, Modality.CONTEXT))
    archive, _ = exported(terminal, terminal.is_("mine", mine), tmp_path / "mine.zip")
    theirs, _ = exported(terminal, terminal.is_("other", other), tmp_path / "theirs.zip")
    found = everything_in(archive)
    assert secret.text.encode() in everything_in(theirs), "the positive control"
    assert secret.text.encode() not in found
    for member in populated.people:
        assert (member.person.encode() in found) == (member is mine)
    streams = {one.stream.encode() for one in populated.recordings if one.member is not mine}
    assert not any(stream in found for stream in streams)


def test_one_modality_or_some_days_and_a_person_with_nothing_stored(
    terminal: Terminal, populated: Populated, tmp_path: Path
) -> None:
    person = terminal.is_("person", populated.people[3])
    _, facts = exported(terminal, person, tmp_path / "screen.zip", "--modality", "screen")
    assert facts["events"] == {"screen": 1}
    archive, facts = exported(terminal, person, tmp_path / "early.zip", "--until", "2026-01-01")
    assert (facts["sessions"], facts["receipts"]) == (0, 1), "receipts and accesses are theirs all the same"
    assert "README.txt" in archive.namelist()


class Killed:
    """An enemy on the way that kills this very process at the first body."""

    def __call__(self, request: Ask, ask: httpx2.Request) -> Answer:  # type: ignore[type-arg,unused-ignore]
        if request.url.path == "/v1/fetch/bodies":
            os.kill(os.getpid(), signal.SIGKILL)
        return ask()  # type: ignore[operator]


def test_a_kill_in_the_middle_leaves_the_part_alone_and_the_next_run_removes_it(
    terminal: Terminal, populated: Populated, tmp_path: Path
) -> None:
    person = terminal.is_("person", populated.people[3])
    place = tmp_path / "out"
    place.mkdir()
    to, part = place / "mine.zip", place / "mine.zip.part"
    child = os.fork()
    if child == 0:
        try:
            terminal.installation.enemy = Killed()  # type: ignore[assignment]
            main(["me", "export", "--to", str(to)], terminal.shell(person))
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert [path.name for path in place.iterdir()] == [part.name]
    assert stat.S_IMODE(part.stat().st_mode) == 0o600

    def refused(request: Ask, ask: Any) -> Answer:
        return Answer(503) if request.url.path == "/v1/leases" else ask()

    terminal.installation.enemy = refused
    try:
        assert terminal.run(person, "me", "export", "--to", str(to)).code == 1
    finally:
        terminal.installation.enemy = None
    assert list(place.iterdir()) == [], "removed first, also by a run that fails"
    exported(terminal, person, to)
    assert [path.name for path in place.iterdir()] == [to.name]


def test_a_part_that_a_living_run_writes_is_not_taken_away(tmp_path: Path) -> None:
    to = tmp_path / "mine.zip"
    with written_whole(to) as file:
        file.write(b"half")
        with pytest.raises(ArchiveExists, match="at this moment"), written_whole(to):
            pass
    assert to.read_bytes() == b"half"
    left = os.open(tmp_path / "other.part", os.O_CREAT | os.O_RDWR, 0o644)
    fcntl.flock(left, fcntl.LOCK_EX)
    with pytest.raises(ArchiveExists), written_whole(tmp_path / "other"):
        pass
    os.close(left)
    with written_whole(tmp_path / "other") as file:
        file.write(b"whole")
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o600
    (tmp_path / "link.part").symlink_to(tmp_path / "other")
    with pytest.raises(OSError), written_whole(tmp_path / "link"):
        pass
    assert (tmp_path / "other").read_bytes() == b"whole"


def test_readers_are_not_given_what_was_erased_at_the_next_lease(terminal: Terminal, populated: Populated) -> None:
    """And of a lease that is open, what is erased meanwhile does not come any more, and that is said."""
    member = populated.people[7]
    shell = terminal.shell(terminal.is_("person", member))
    day = populated.world.now[:10]
    own = OwnData(from_day=day, to_day=day, modalities=tuple(Modality))
    requester = terminal.is_("requester", populated.staff.requester)
    before = terminal.ok(requester, "data", "pull", populated.request, "--summary", "--json").json
    with open_with(
        shell.directory(), member.opening, own=own, clock=shell.clock, transport=shell.transport, wait=lambda _s: None
    ) as data:
        assert len(list(data.sessions())) == 1
        terminal.ok("person", "me", "erase", "--hour", populated.world.now[:13], "--modality", "keyboard", "--yes")
        (session,) = data.sessions()
        assert Modality.KEYBOARD not in session.modalities
        assert [dict(stream.not_opened) for stream in data.empty] == [{"erased": 1}]
    run_night(populated.world.custodian)
    terminal.installation.collector.orders.pull_orders_once()
    after = terminal.ok(requester, "data", "pull", populated.request, "--summary", "--json").json
    counts = before["summary"]["events"], after["summary"]["events"]
    assert counts[0].pop("key") - counts[1].pop("key") == 2 * len(populated.marker.text)
    assert counts[0] == counts[1], "and nothing else"
