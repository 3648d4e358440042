"""Withdrawals, erasures and halts do not wait for room on the custodian's disk: it keeps some for them, and for nothing
else. Each on a real disk that is full."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from httpx2 import Response, TransportError
from sqlalchemy import event
from tests.simulators.custodian import CustodianWorld, Member, custodian_world, problem, with_leaf
from tests.simulators.full_disk import MIB, RESERVE_MIB, CrampedCustodian, cramped_custodian
from tests.simulators.replicas import WallClock

from assent.contracts.envelope import sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.statements import Erasure, Halt, Withdrawal
from assent.transparency.checkpoint import Checkpoint
from assent_custodian.app import facts_of, guarded_routes
from assent_custodian.context import HEAD_FILE
from assent_custodian.guards import guard_of
from assent_custodian.roles import BY_PERMISSION, ON_A_FULL_DISK, Permission
from assent_custodian.settings import Settings
from assent_service import reserve

KEPT = RESERVE_MIB * MIB
PAGE = Path(__file__).parents[3] / "docs" / "operations" / "README.md"


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CustodianWorld, list[Member]]]:
    """A custodian that is at rest, and two persons who record."""
    with custodian_world(tmp_path_factory.mktemp("founded"), clock=WallClock()) as world:
        world.add_purpose()
        people = world.add_participants(2)
        for person in people:
            person.certify((Modality.POINTER, Modality.SCREEN))
        world.custodian.close()
        yield world, people


@pytest.fixture
def people(founded: tuple[CustodianWorld, list[Member]]) -> list[Member]:
    return founded[1]


@pytest.fixture
def cramped(founded: tuple[CustodianWorld, list[Member]], tmp_path: Path) -> Iterator[CrampedCustodian]:
    with cramped_custodian(founded[0], tmp_path / "cramped") as made:
        yield made


def said(answer: Response) -> str:
    """`taken`, or the name of the problem."""
    return "taken" if answer.status_code == 200 else problem(answer)


def erase(person: Member) -> str:
    statement = Erasure(person=person.person, everything=True, at=person.world.now)
    return said(person.world.post("/v1/erasures", with_leaf(sign(statement, person.opening))))


def halt(by: Member) -> str:
    return said(by.post("/v1/halt", Halt(reason="A test.", nonce=new_id(), at=by.world.now)))


def ordinary(world: CustodianWorld, person: Member) -> set[str]:
    """What becomes of things that may wait."""
    request, _keys = person.certificate_request()
    return {
        said(person.get("/v1/me/news", key=person.device)),
        said(person.get("/v1/me/receipts")),
        said(person.post("/v1/certificates", request, key=person.device)),
        said(world.admin.post("/v1/invitations", world.invitation("Somebody", None)[1])),
        said(world.council.get("/v1/log/entries?from=0&count=1")),
    }


def states(person: Member) -> list[str]:
    return [one["state"] for one in person.get("/v1/me/receipts").json()["receipts"]]


def withdrawals_followed(person: Member) -> int:
    return len(person.get("/v1/me/erasures").json()["erasures"])


def head(cramped: CrampedCustodian) -> int:
    """How many leaves the custodian remembers to have signed for."""
    return Checkpoint.from_text((cramped.folder / "keys" / HEAD_FILE).read_text()).size


def test_positive_control_without_a_reserve_a_full_disk_refuses_everything(
    founded: tuple[CustodianWorld, list[Member]], tmp_path: Path
) -> None:
    world, (person, other) = founded
    with cramped_custodian(world, tmp_path / "cramped", reserve_mib=0) as cramped:
        cramped.disk.fill_up()
        assert said(person.withdraw()) == erase(other) == halt(world.dpo) == "storage-full"
        assert cramped.kept_bytes == 0
        cramped.disk.make_room()
        assert said(person.withdraw()) == erase(other) == halt(world.dpo) == "taken"


def test_on_a_full_disk_one_withdraws_erases_and_halts_and_nothing_else(
    cramped: CrampedCustodian, people: list[Member]
) -> None:
    world, (person, other) = cramped.world, people
    assert ordinary(world, person) == {"taken"}
    size, before = head(cramped), cramped.kept_bytes
    assert before == KEPT and cramped.missing() is None
    cramped.disk.fill_up()
    assert ordinary(world, person) == ordinary(world, other) == {"storage-full"}
    assert cramped.kept_bytes == KEPT, "what may wait takes nothing of it"
    assert "room on the disk" in str(cramped.missing())
    assert said(person.withdraw(key=SigningKey.generate())) == "not-signed-in" and halt(other) == "forbidden"
    assert cramped.kept_bytes == KEPT, "nor does what nobody signed who may"
    assert said(person.withdraw(erase="now")) == "taken"
    assert erase(other) == "taken"
    assert halt(world.dpo) == "taken"
    assert 0 < cramped.kept_bytes < KEPT
    assert head(cramped) == size + 1, "the halt is in the log, under a signed head"
    assert ordinary(world, person) == {"storage-full"}
    doctor = cramped.run("doctor", "--custodian-config", str(cramped.config))
    assert doctor.returncode == 1
    assert "FAULT custodian: the disk of its database is nearly full" in doctor.stdout
    assert f"of {RESERVE_MIB} MiB are left for those" in doctor.stdout
    cramped.disk.make_room()
    assert said(person.get("/v1/me/news", key=person.device)) == "taken"
    assert cramped.kept_bytes == KEPT and cramped.missing() is None, "made anew"
    assert states(person) == ["withdrawn"] and (withdrawals_followed(person), withdrawals_followed(other)) == (1, 1)
    assert [one["reason"] for one in world.dpo.get("/v1/halt").json()["halts"]] == ["A test."]
    log = cramped.config.with_suffix(".log").read_text()
    assert log.count('"disk-short"') == 1, "the operator is told, and not every time"


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_the_commit_and_started_on_the_full_disk_it_takes_the_same_withdrawal_once(
    cramped: CrampedCustodian, people: list[Member], when: Literal["before", "after"]
) -> None:
    world, (person, _) = cramped.world, people
    cramped.disk.fill_up()
    body = with_leaf(sign(Withdrawal(person=person.person, at=world.now), person.device))
    cramped.killed_at_the_next_commit(when)
    with pytest.raises(TransportError):
        world.post("/v1/withdrawals", body)
    cramped.end()
    cramped.disk.fill_up()
    cramped.start()
    first = world.post("/v1/withdrawals", body)
    assert said(first) == "taken"
    assert world.post("/v1/withdrawals", body).content == first.content
    cramped.disk.make_room()
    assert (states(person), withdrawals_followed(person), cramped.kept_bytes) == (["withdrawn"], 1, KEPT)


def test_stopped_and_started_on_a_full_disk_it_is_halted_by_its_operator_and_withdrawn_from(
    cramped: CrampedCustodian, people: list[Member]
) -> None:
    """Stopped properly, SQLite removes files that it needs room for at the next start."""
    world, (person, other) = cramped.world, people
    words = ("halt", "--reason", "Somebody got in.", "--config", str(cramped.config))
    cramped.disk.fill_up()
    running = cramped.run(*words)
    assert running.returncode == 0, running.stderr
    cramped.end(signal.SIGTERM)
    cramped.disk.fill_up()
    stopped = cramped.run(*words)
    assert stopped.returncode == 0, stopped.stderr
    cramped.disk.fill_up()
    refused = cramped.run("rotate", "--config", str(cramped.config))
    assert refused.returncode == 1 and "its disk is full" in refused.stderr
    cramped.start()
    assert said(person.withdraw()) == "taken"
    assert ordinary(world, other) == {"storage-full"}
    cramped.disk.make_room()
    assert states(person) == ["withdrawn"]
    assert [one["reason"] for one in world.dpo.get("/v1/halt").json()["halts"]] == ["Somebody got in."]


def test_when_others_have_taken_all_of_it_a_withdrawal_is_refused_and_taken_when_there_is_room(
    cramped: CrampedCustodian, people: list[Member]
) -> None:
    person, other = people
    taken = []
    for _ in range(4):
        cramped.disk.fill_up()
        taken.append(said(person.withdraw(purposes=(f"urn:purpose:{len(taken)}",))))
    assert taken == ["taken", "taken", "taken", "storage-full"] and cramped.kept_bytes == 0
    cramped.disk.make_room()
    assert said(other.withdraw()) == "taken"


def test_one_that_takes_more_room_than_others_is_taken_when_it_is_asked_again(lite: CustodianWorld) -> None:
    engine, kept = lite.custodian.database.engine, lite.custodian.database.reserve
    assert kept is not None
    lite.add_purpose()
    person = lite.add_participants(1)[0]
    assert kept.kept_bytes == MIB
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def limit(connection: object, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")  # type: ignore[attr-defined]

    event.listen(engine, "checkout", limit)
    answers = [said(person.withdraw(purposes=(f"urn:purpose:{number}",))) for number in range(60)]
    event.remove(engine, "checkout", limit)
    engine.dispose()
    assert "storage-full" in answers, "the control: what is free on the disk was not enough"
    assert kept.kept_bytes == 0, "all of it is given up for the next try"
    assert said(person.withdraw()) == "taken"


def test_the_figures_are_those_that_operators_read(tmp_path: Path) -> None:
    page, settings = " ".join(PAGE.read_text().split()), Settings(data_dir=tmp_path)
    margin = reserve.MARGIN_BYTES // MIB
    assert f"keeps {settings.reserve_mib} MiB of the disk (`reserve_mib`, which the log says)" in page
    assert "reserve_mib" in settings.promised
    assert f"less than {margin} MiB are free besides" in page
    assert f"room for the whole file and {2 * margin} MiB more" in page


def test_the_three_and_no_others_may_use_it(lite: CustodianWorld) -> None:
    assert {Permission.WITHDRAW, Permission.ERASE, Permission.HALT} == ON_A_FULL_DISK
    urgent = {
        f"{method} {route.path}"
        for route in guarded_routes()
        if (guard := guard_of(route)) is not None and guard.urgent
        for method in route.methods
    }
    assert urgent == {route for permission in ON_A_FULL_DISK for route in BY_PERMISSION[permission].routes}


def test_figures_say_whether_there_is_room_and_not_whether_somebody_withdrew(
    lite: CustodianWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert facts_of(lite.custodian)["disk_short"] == 0
    monkeypatch.setattr(reserve, "MARGIN_BYTES", 2**60)  # more than is free anywhere
    assert facts_of(lite.custodian)["disk_short"] == 1
    assert said(lite.admin.get("/v1/me")) == "storage-full"
    lite.custodian.database.make_room()
    assert facts_of(lite.custodian)["disk_short"] == 1, "the same after part of it was given up"


def test_on_postgresql_the_disk_is_not_ours(tmp_path: Path) -> None:
    url = "postgresql+psycopg://assent@127.0.0.1/assent"
    assert Settings(data_dir=tmp_path, database_url=url).reserve is None
    assert Settings(data_dir=tmp_path).reserve is not None, "the control"
