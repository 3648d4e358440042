"""What is fetched onto a disk that is full: said clearly, nothing half-written looks finished, what was there stays
whole, and with room the same command goes on."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests.exposure.world import Populated
from tests.integration.client.conftest import Ran, Terminal
from tests.simulators.small_disk import SmallDisk, small_disk

from assent_custodian.log.witnesses import submit_head

KIB = 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 4096 * KIB) as made:
        yield made


def says_so(ran: Ran) -> bool:
    said = " ".join(ran.err.split())
    return ran.code == 1 and "Not done. No space left on device" in said and "Make room on that disk" in said


def test_the_disk_is_one_that_gets_full(disk: SmallDisk) -> None:
    disk.leave(8 * KIB)
    (disk.folder / "small").write_bytes(bytes(8 * KIB))
    with pytest.raises(OSError, match="No space left on device"):
        (disk.folder / "more").write_bytes(bytes(8 * KIB))
    disk.make_room()
    (disk.folder / "more").write_bytes(bytes(1024 * KIB))


def test_an_archive_of_ones_own_is_whole_or_not_there(
    terminal: Terminal, populated: Populated, disk: SmallDisk, tmp_path: Path
) -> None:
    person = terminal.is_("person", populated.people[3])
    terminal.ok(person, "me", "export", "--to", str(tmp_path / "elsewhere.zip"))
    needed, to = (tmp_path / "elsewhere.zip").stat().st_size, disk.folder / "mine.zip"
    for room in (0, needed // 2, needed - 4 * KIB):
        disk.leave(room)
        assert says_so(terminal.run(person, "me", "export", "--to", str(to))), room
        assert disk.names == set(), "and no part that takes the room that is lacking"
    disk.make_room()
    terminal.ok(person, "me", "export", "--to", str(to))
    with zipfile.ZipFile(to) as archive, zipfile.ZipFile(tmp_path / "elsewhere.zip") as other:
        assert archive.testzip() is None
        assert {*archive.namelist()} >= {name for name in other.namelist() if name.startswith("recordings/")}


def test_a_contact_sheet_that_was_there_stays_as_it_was(
    terminal: Terminal, populated: Populated, disk: SmallDisk
) -> None:
    person, to = terminal.is_("person", populated.people[3]), disk.folder / "sheet.png"
    to.write_bytes(b"an older one")
    disk.leave(0)
    assert says_so(terminal.run(person, "me", "recordings", "--to", str(to)))
    assert (to.read_bytes(), disk.names) == (b"an older one", {"sheet.png"})
    disk.make_room()
    terminal.ok(person, "me", "recordings", "--to", str(to))
    Image.open(to).verify()


def test_a_copy_of_the_log_stays_whole_and_is_brought_up_to_date_when_there_is_room(
    terminal: Terminal, populated: Populated, disk: SmallDisk
) -> None:
    auditor, to = terminal.is_("auditor", populated.staff.auditor), disk.folder / "copy"
    submit_head(populated.world.custodian)
    for room in (0, 4 * KIB, 8 * KIB, 16 * KIB):
        disk.leave(room)
        assert says_so(terminal.run(auditor, "audit", "export", str(to))), room
        assert terminal.run(auditor, "audit", "verify", str(to)).code == 1, "nothing that looks like a copy"
    disk.make_room()
    first = terminal.ok(auditor, "audit", "export", str(to), "--json").json["size"]
    for _ in range(30):
        terminal.ok(auditor, "audit", "show", "0")
    submit_head(populated.world.custodian)
    room, failed = 0, 0
    while True:  # until there is enough: each step of it has failed for lack of room, then
        disk.leave(room)
        ran = terminal.run(auditor, "audit", "export", str(to), "--json")
        if ran.code == 0:
            break
        assert says_so(ran), room
        verified = terminal.run(auditor, "audit", "verify", str(to), "--json").json
        assert (verified["size"], [one for one in verified["checks"] if not one["passed"]]) == (first, []), room
        room, failed = room + 4 * KIB, failed + 1
    assert failed > 3
    assert ran.json["size"] > first
    terminal.ok(auditor, "audit", "verify", str(to))
    left = {path.relative_to(to).parts[0] for path in to.rglob("*")}
    assert not left & {"incoming", "evidence"}


def test_events_for_other_systems_go_on_after_the_last_whole_line(
    terminal: Terminal, populated: Populated, disk: SmallDisk
) -> None:
    auditor, to = terminal.is_("auditor", populated.staff.auditor), disk.folder / "events.jsonl"
    export = ("audit", "export", "--format", "ocsf", str(to))
    submit_head(populated.world.custodian)
    disk.leave(0)
    assert says_so(terminal.run(auditor, *export))
    assert disk.names == set()
    disk.leave(40 * KIB)
    assert says_so(terminal.run(auditor, *export))
    whole, torn = to.read_bytes().rsplit(b"\n", 1)
    assert torn, "the control: a line was cut off"
    assert json.loads(whole.splitlines()[0])["unmapped"]["tlog"]["index"] == 0
    disk.make_room()
    terminal.ok(auditor, *export)
    lines = to.read_bytes().splitlines()
    assert [json.loads(line)["unmapped"]["tlog"]["index"] for line in lines] == list(range(len(lines)))
    assert lines[: len(whole.splitlines())] == whole.splitlines() and len(lines) > len(whole.splitlines())
