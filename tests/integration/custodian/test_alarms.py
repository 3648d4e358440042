"""Alarms: what did not happen in time is said to operators and auditors, and says nothing about anybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.integration.custodian.test_nights import done, leaves, orders_of
from tests.simulators.custodian import CustodianWorld, Member, custodian_world

from assent.contracts.ids import Modality
from assent.contracts.times import add_days
from assent_custodian import alarms
from assent_custodian.alarms import Overdue
from assent_custodian.background import Background
from assent_custodian.night import last_done, run_night
from assent_custodian.orders.models import OrderRow


@pytest.fixture
def kim(world: CustodianWorld) -> Member:
    return _kim(world)


@pytest.fixture
def lee(tmp_path: Path) -> Iterator[Member]:
    """On SQLite only."""
    with custodian_world(tmp_path) as made:
        yield _kim(made)


def _kim(world: CustodianWorld) -> Member:
    world.add_purpose()
    (member,) = world.add_participants(1)
    member.certify((Modality.POINTER,))
    return member


def found(world: CustodianWorld) -> list[str]:
    with world.custodian.database.reading() as session:
        return [one.kind for one in alarms.overdue(session, world.custodian, last_done(session))]


def test_a_collector_that_does_not_answer_is_a_fault_after_some_days(kim: Member) -> None:
    world = kim.world
    kim.withdraw(erase="now")
    run_night(world.custodian)
    ((order, hash_),) = orders_of(world)
    for _ in range(3):
        world.clock.forward(days=1)
        assert run_night(world.custodian)["overdue"] == []
    world.clock.forward(days=1)
    with capture_logs() as said:
        assert run_night(world.custodian)["overdue"] == ["orders"]
    (line,) = (one for one in said if one["event"] == "overdue")
    assert line == {"event": "overdue", "kind": "orders", "since": "2026-11-23", "log_level": "warning"}
    assert run_night(world.custodian)["overdue"] == [], "once a day"
    (entry,) = leaves(world, "erasure.overdue")
    assert set(entry) == {"v", "type", "at", "rule", "detail"}, "and no number below ten"
    assert (entry["rule"], entry["detail"]) == ("orders", {"since": "2026-11-23"})
    assert found(world) == ["orders"]
    assert done(world, order.number, hash_).status_code == 200
    assert found(world) == []
    world.clock.forward(days=1)
    assert run_night(world.custodian)["overdue"] == []


def test_a_generation_that_is_not_destroyed_is_a_fault(lee: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    world = lee.world
    lee.withdraw(erase="now")
    with monkeypatch.context() as patched:
        patched.setattr("assent_custodian.night.rotation.rotate", lambda *_: [])
        run_night(world.custodian)
        ((order, hash_),) = orders_of(world)
        done(world, order.number, hash_)
        world.clock.forward(days=4)
        assert run_night(world.custodian)["overdue"] == ["generation"]
    run_night(world.custodian)
    assert found(world) == []


def test_a_night_that_did_not_come_to_its_end_is_said_by_the_background(
    lee: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = lee.world
    run_night(world.custodian)

    def fails(_custodian: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr("assent_custodian.background.run_night", fails)
    background = Background(world.custodian)
    world.clock.forward(days=1)
    with pytest.raises(OSError, match="disk"):
        background.turn()
    assert leaves(world, "erasure.overdue") == [], "yesterday's night was run"
    world.clock.forward(days=1)
    with pytest.raises(OSError, match="disk"):
        background.turn()
    assert [entry["rule"] for entry in leaves(world, "erasure.overdue")] == ["night"]
    world.clock.forward(minutes=5)
    background.turn()
    assert len(leaves(world, "erasure.overdue")) == 1


@pytest.mark.parametrize(("count", "counts"), [(1, {}), (9, {}), (10, {"orders": 10}), (37, {"orders": 30})])
def test_numbers_stand_from_ten_up_and_in_tens(count: int, counts: dict[str, int]) -> None:
    assert Overdue("orders", "2026-11-23", count).counts == counts


def test_every_kind_has_a_sentence_that_says_what_to_do() -> None:
    for kind in alarms.SENTENCES:
        sentence = Overdue(kind, "2026-11-23", 3).sentence
        assert "2026-11-23" in sentence and ": " in sentence
        assert "3 " not in sentence.replace("2026-11-23 ", "")


def test_many_open_orders_are_counted_in_tens(lee: Member) -> None:
    world = lee.world
    with world.custodian.database.transaction() as session:
        for number in range(1, 13):
            session.add(
                OrderRow(
                    number=number, hash=f"{number:064x}", envelope="", day=add_days("2026-11-01", number), done=None,
                    acknowledgement=None,
                )
            )  # fmt: skip
    assert run_night(world.custodian)["overdue"] == ["orders"]
    (entry,) = leaves(world, "erasure.overdue")
    assert (entry["counts"], entry["detail"]) == ({"orders": 10}, {"since": "2026-11-02"})
