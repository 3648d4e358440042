"""Whatever erases something of a person, that person follows it to the end with `assent me erasures`, row by row.

| what erases | requested | final |
|---|---|---|
| hours, a day, everything | at once | collector acknowledged, generation destroyed, last backup expired |
| a withdrawal, also of what a second device recorded later | at once | so many days after the seventh day |
| consent that the dpo ended | at once | the same |
| an expiry | nothing is erased by it; retention runs on | |
| retention | in the night of it | so many days after it |
| a withdrawal by a recovered key, recovery stopped | at once | called off |
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.exposure.world import Populated, Recording, Template, installed, populate, populated_copy
from tests.integration.client.conftest import Terminal
from tests.integration.client.test_erasure_table import second_device, stored
from tests.integration.custodian.test_nights import leaves
from tests.integration.custodian.test_recovery import recovered
from tests.simulators.custodian import Member

from assent.contracts.envelope import Envelope
from assent.contracts.ids import Modality, new_id
from assent.contracts.lists import person_leaf
from assent.contracts.statements import ConsentEnding, RecoveryStopped
from assent.contracts.times import add_days, hour_of, moment
from assent_custodian.night import run_night

BACKUP_DAYS = 3
OVERDUE_DAYS = 2


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Populated, Template]]:
    folder = tmp_path_factory.mktemp("original")
    options: dict[str, Any] = {"backup_days": BACKUP_DAYS, "overdue_days": OVERDUE_DAYS, "witness_timeout_s": 30}
    with installed(folder, **options) as made:
        yield populate(made, people=10), Template(made)


@dataclass
class Followed:
    """A person at their terminal, in an installation in daily use that the test may spoil."""

    in_use: Populated
    terminal: Terminal
    kim: Member
    name: str = "kim"

    @property
    def today(self) -> str:
        return self.in_use.world.now[:10]

    def says(self, *arguments: str) -> str:
        return self.terminal.ok(self.name, "me", *arguments).out

    def found(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.terminal.ok(self.name, "me", "erasures", "--json").json
        return shown

    def only(self) -> dict[str, Any]:
        (row,) = self.found()["erasures"]
        return dict(row)

    def night(self) -> dict[str, Any]:
        return run_night(self.in_use.world.custodian)

    def later(self, days: int) -> dict[str, Any]:
        """So many nights, one after the other; what the last one did."""
        report: dict[str, Any] = {}
        for _ in range(days):
            self.in_use.world.clock.forward(days=1)
            report = self.night()
        return report

    def collect(self) -> None:
        self.in_use.installation.collector.orders.pull_orders_once()

    def mine(self) -> list[Recording]:
        return [one for one in self.in_use.recordings if one.member is self.kim]

    def kept(self, row: dict[str, Any], state: str) -> Path:
        """Where this computer keeps the receipt by itself."""
        return self.terminal.shell(self.name).store.folder / "erasures" / f"{row['of'][:16]}.{state}.json"

    def holds_offline(self, path: Path) -> dict[str, Any]:
        heard = len(self.in_use.installation.heard)
        verified: dict[str, Any] = self.terminal.ok(self.name, "me", "erasures", "--verify", str(path), "--json").json
        assert len(self.in_use.installation.heard) == heard, "offline"
        assert verified["valid"]
        return dict(verified["receipt"])

    def in_log(self, path: Path) -> int:
        """How many entries of the log are the salted hash of the receipt in this file."""
        file = json.loads(path.read_bytes())
        if file.get("salt") is None:
            return 0
        receipt = Envelope.from_json(json.dumps(file["receipt"]))
        leaf = person_leaf(base64.b64decode(file["salt"]), receipt.hash)
        return [entry["subject"] for entry in leaves(self.in_use.world, "person")].count(leaf)

    def followed_to_the_end(self, *, kind: str, keys: bool = True, logged: bool = True) -> dict[str, Any]:
        """Once erased tonight: overdue while the collector is away, then backups, then final. Returns the receipt."""
        erased_on = self.today
        self.night()
        row = self.only()
        assert (row["kind"], row["state"]) == (kind, "requested")
        assert (row["keys_destroyed"], row["deleted"], row["backups_expired"]) == (None, None, None)
        assert self.holds_offline(self.kept(row, "requested"))["state"] == "requested"
        assert self.later(OVERDUE_DAYS)["overdue"] == []
        assert self.later(BACKUP_DAYS)["erasures_final"] == 0, "the collector has not acknowledged"
        assert [leaf["rule"] for leaf in leaves(self.in_use.world, "erasure.overdue")], "and that is an alarm"
        assert self.only()["state"] == "requested"
        self.collect()
        self.night()
        acknowledged = self.today
        assert self.later(BACKUP_DAYS - 1)["overdue"] == []
        assert self.only()["state"] == "requested", "a backup may hold it still"
        assert self.later(1)["erasures_final"] >= 1
        final = self.only()
        assert (final["state"], final["of"], final["kind"]) == ("final", row["of"], kind)
        assert (final["keys_destroyed"] is not None) == keys
        assert final["keys_destroyed"] in (None, erased_on)
        assert (final["deleted"], final["backups_expired"]) == (acknowledged, add_days(acknowledged, BACKUP_DAYS))
        path = self.kept(row, "final")
        assert self.holds_offline(path) == final
        assert self.in_log(path) == (1 if logged else 0)
        path.write_bytes(path.read_bytes().replace(b'"payload":"', b'"payload":"A'))
        assert self.terminal.run(self.name, "me", "erasures", "--verify", str(path)).code == 1
        return final


@pytest.fixture
def one(original: tuple[Populated, Template], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Followed]:
    populated, template = original
    with template.copied(tmp_path / "installation") as copied:
        in_use = populated_copy(populated, copied)
        desk = tmp_path / "desk"
        desk.mkdir()
        terminal = Terminal(copied, desk, lambda: tuple(capfd.readouterr()))  # type: ignore[arg-type,return-value]
        terminal.is_("kim", in_use.people[0])
        terminal.ok("kim", "whoami")
        yield Followed(in_use, terminal, in_use.people[0])


def test_nothing_yet(one: Followed) -> None:
    assert one.found() == {"erasures": [], "fallen": []}
    assert "Nothing was erased" in one.says("erasures")


# --- at the person's wish ---


def test_hours(one: Followed) -> None:
    asked = json.loads(one.says("erase", "--hour", one.in_use.world.now[:13], "--yes", "--json"))
    assert (asked["streams"], asked["hours"]) == (4, 1)
    final = one.followed_to_the_end(kind="erasure", keys=False)
    assert (final["streams"], final["hours"]) == (4, 1)
    assert [stored(one.in_use.installation, recording) for recording in one.mine()] == [0] * 4


@pytest.mark.parametrize("what", ["day", "everything"])
def test_a_day_and_everything(one: Followed, what: str) -> None:
    words = ("--day", one.today) if what == "day" else ("--everything",)
    assert json.loads(one.says("erase", *words, "--yes", "--json"))["streams"] == 4
    one.followed_to_the_end(kind="erasure")
    assert [stored(one.in_use.installation, recording) for recording in one.mine()] == [-1] * 4


def test_a_withdrawal_after_seven_days(one: Followed) -> None:
    assert "opens for nobody but you" in one.says("withdraw", "--yes")
    day = one.today
    row = one.only()
    assert (row["kind"], row["state"], row["streams"], row["erased_from"]) == (
        "withdrawal", "requested", 4, add_days(day, 7),
    )  # fmt: skip
    one.collect()
    one.later(6)
    one.collect()
    one.terminal.ok("kim", "me", "recordings")
    assert [stored(one.in_use.installation, recording) for recording in one.mine()] == [1] * 4
    one.in_use.world.clock.forward(days=1)
    one.followed_to_the_end(kind="withdrawal")
    assert [stored(one.in_use.installation, recording) for recording in one.mine()] == [-1] * 4


def test_what_a_second_device_recorded_after_the_withdrawal_is_in_the_same_receipt(one: Followed) -> None:
    inst, world = one.in_use.installation, one.in_use.world
    second = second_device(one.in_use, one.kim)
    ((certificate, key, envelope),) = second.certify((Modality.POINTER,))
    assert "opens for nobody any more, you included" in one.says("withdraw", "--yes", "--now")
    world.clock.forward(minutes=20)
    late = Recording(second, certificate, envelope, key)
    late.seal(inst.content(certificate, one.in_use.marker), hour_of(world.clock()))
    inst.upload([late])
    assert stored(inst, late) == 1, "the collector does not know yet"
    assert one.only()["streams"] == 5
    one.followed_to_the_end(kind="withdrawal")
    assert stored(inst, late) == -1


def test_a_withdrawal_of_what_was_erased_meanwhile_names_the_day_of_the_keys(one: Followed) -> None:
    """Whose keys were destroyed before, says so, and not that there was none to destroy."""
    one.says("withdraw", "--yes")
    one.says("erase", "--everything", "--yes")
    destroyed = one.today
    one.night()
    one.collect()
    one.later(7)
    one.later(BACKUP_DAYS)
    rows = {row["kind"]: row for row in one.found()["erasures"]}
    assert {kind: (row["state"], row["keys_destroyed"]) for kind, row in rows.items()} == {
        "withdrawal": ("final", destroyed),
        "erasure": ("final", destroyed),
    }


# --- without it ---


def end_consent(one: Followed, state: str = "terminated") -> None:
    world = one.in_use.world
    ending = ConsentEnding(state=state, reason="the programme ends", nonce=new_id(), at=world.now)  # type: ignore[arg-type]
    assert world.dpo.post("/v1/consent/endings", ending).status_code == 200


@pytest.mark.parametrize("state", ["terminated", "invalidated"])
def test_consent_that_was_ended_by_the_dpo(one: Followed, state: str) -> None:
    end_consent(one, state)
    day = one.today
    row = one.only()
    assert (row["kind"], row["state"], row["streams"], row["erased_from"]) == (
        "ending", "requested", 4, add_days(day, 7),
    )  # fmt: skip
    assert "consent was ended for you" in one.says("erasures")
    other = one.terminal.is_("lee", one.in_use.people[1])
    theirs = one.terminal.ok(other, "me", "erasures", "--json").json["erasures"]
    assert [(entry["of"], entry["person"]) for entry in theirs] == [(row["of"], one.in_use.people[1].person)]
    one.in_use.world.clock.forward(days=7)
    one.followed_to_the_end(kind="ending")
    assert [stored(one.in_use.installation, recording) for recording in one.mine()] == [-1] * 4
    assert one.found()["fallen"] == [], "there is a receipt of it"
    file = one.kept(row, "requested")
    assert "another person's" in one.terminal.run(other, "me", "erasures", "--verify", str(file)).err


def test_an_erasure_after_an_ending_is_final_for_itself_and_the_ending_too(one: Followed) -> None:
    end_consent(one)
    one.says("erase", "--everything", "--yes")
    one.night()
    one.collect()
    one.later(BACKUP_DAYS)
    states = {row["kind"]: row["state"] for row in one.found()["erasures"]}
    assert states == {"erasure": "final", "ending": "requested"}
    one.later(7)
    one.collect()
    one.later(BACKUP_DAYS)
    assert {row["state"] for row in one.found()["erasures"]} == {"final"}


def test_an_expiry_erases_nothing_and_retention_runs_on(one: Followed) -> None:
    one.kim.consent(valid_until=moment(one.in_use.world.clock() + timedelta(hours=3)))
    one.in_use.world.clock.forward(hours=4)
    one.night()
    one.collect()
    assert one.found()["erasures"] == []
    assert [stored(one.in_use.installation, recording) for recording in one.mine()] == [1] * 4
    one.in_use.world.clock.forward(days=180)
    one.night()
    assert one.found()["erasures"] == [], "180 days are not more than 180"
    one.in_use.world.clock.forward(days=1)
    one.followed_to_the_end(kind="retention", logged=False)


def test_retention_gives_everybody_their_own_receipts_and_they_are_shown_together(one: Followed) -> None:
    first = one.today
    one.in_use.world.clock.forward(days=1)
    one.in_use.installation.record(one.kim, one.in_use.marker, (Modality.POINTER,))
    one.in_use.world.clock.forward(days=180)
    assert one.night()["streams_past_retention"] == 40
    shown = one.says("erasures")
    assert f"Erased since it was too old: 4 streams of {first}; requested." in shown
    other = one.terminal.is_("lee", one.in_use.people[1])
    theirs = one.terminal.ok(other, "me", "erasures", "--json").json["erasures"]
    assert [(row["kind"], row["streams"]) for row in theirs] == [("retention", 4)]
    assert theirs[0]["of"] != one.only()["of"], "and nothing joins them"
    one.later(1)
    one.collect()
    one.later(BACKUP_DAYS)
    shown = one.says("erasures")
    assert f"Erased since it was too old: 5 streams of {first} to {add_days(first, 1)}; final." in shown
    assert one.found()["fallen"] == []


def test_retention_puts_nothing_into_the_log_that_counts_people(one: Followed) -> None:
    one.in_use.world.clock.forward(days=181)
    before = len(leaves(one.in_use.world, "person"))
    one.night()
    one.collect()
    one.later(BACKUP_DAYS + 1)
    added = len(leaves(one.in_use.world, "person")) - before
    assert added == 64 * (BACKUP_DAYS + 2), "one block each night"


# --- called off ---


def test_what_was_called_off_says_so_and_is_never_final(one: Followed) -> None:
    kim, world = one.kim, one.in_use.world
    recovery, new = recovered(kim)
    assert kim.withdraw(key=new).status_code == 200
    assert one.only()["state"] == "requested"
    stopped = RecoveryStopped(recovery=recovery, at=world.now)
    assert kim.post("/v1/me/recoveries/stops", stopped, key=kim.device).status_code == 200
    row = one.only()
    assert (row["kind"], row["state"], row["day"]) == ("withdrawal", "called-off", one.today)
    assert "called off" in one.says("erasures")
    path = one.kept(row, "called-off")
    assert one.holds_offline(path) == row
    assert "nothing was erased for it" in one.says("erasures", "--verify", str(path))
    one.later(20)
    one.collect()
    assert one.in_log(path) == 1
    assert one.only()["state"] == "called-off"
    assert [stored(one.in_use.installation, recording) for recording in one.mine()] == [1] * 4
    one.terminal.ok("kim", "me", "recordings")
    one.says("erase", "--everything", "--yes")
    one.night()
    one.collect()
    one.later(BACKUP_DAYS)
    assert {row["kind"]: row["state"] for row in one.found()["erasures"]} == {
        "withdrawal": "called-off",
        "erasure": "final",
    }


def test_what_is_kept_is_never_replaced(one: Followed) -> None:
    one.says("erase", "--everything", "--yes")
    path = one.kept(one.only(), "requested")
    path.write_bytes(b"mine")
    one.says("erasures")
    assert path.read_bytes() == b"mine"
