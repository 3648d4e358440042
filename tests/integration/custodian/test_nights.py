"""The night, KEK rotation, and the orders that the collector gets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select
from tests.simulators.custodian import CustodianWorld, Member, problem

from assent.contracts.envelope import Envelope, sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.statements import Order, OrderDone, Revocation, Tombstone, Withdrawal
from assent.contracts.times import moment
from assent.contracts.wire import OrdersAnswer
from assent_custodian import night
from assent_custodian.files import NotReady
from assent_custodian.keys import rotation, vault
from assent_custodian.keys.models import Generation, Stream, VaultKey
from assent_custodian.keys.wrapping import WrapInvalid
from assent_custodian.log import service as log
from assent_custodian.log.models import LogEntry
from assent_custodian.night import run_night
from assent_custodian.people.models import Invitation


def orders_of(world: CustodianWorld, after: int = 0) -> list[tuple[Order, str]]:
    answer = world.ask(world.collector_key, "GET", f"/v1/orders?after={after}")
    assert answer.status_code == 200, answer.text
    return [(world.read(envelope, Order), envelope.hash) for envelope in OrdersAnswer.parse(answer.content).orders]


def done(world: CustodianWorld, number: int, order: str, key: SigningKey | None = None) -> Any:
    envelope = sign(OrderDone(number=number, order=order), key or world.collector_key)
    return world.post("/v1/orders/done", envelope.to_json())


def leaves(world: CustodianWorld, type_: str) -> list[dict[str, Any]]:
    with world.custodian.database.reading() as session:
        rows = session.scalars(select(LogEntry.leaf).where(LogEntry.type == type_).order_by(LogEntry.index))
        return [json.loads(row) for row in rows]


# --- orders ---


def test_one_night_makes_one_order_mixed_over_people_with_signed_evidence(
    world: CustodianWorld, people: list[Member]
) -> None:
    for member in people:
        member.withdraw(erase="now")
    assert orders_of(world) == []
    assert run_night(world.custodian)["orders"] == [1]
    ((order, _),) = orders_of(world)
    assert (order.number, order.previous, order.day) == (1, "0" * 64, "2026-11-23")
    assert sorted(item.action for item in order.items) == ["erase"] * 4 + ["revoke"] * 4
    for item in order.items:
        kind = Revocation if item.action == "revoke" else Tombstone
        assert world.read(item.evidence, kind).stream == item.stream


def test_orders_are_numbered_and_chained(lite: CustodianWorld, few: list[Member]) -> None:
    for member in few:
        member.withdraw()
        run_night(lite.custodian)
    (first, first_hash), (second, _) = orders_of(lite)
    assert (first.number, second.number, second.previous) == (1, 2, first_hash)
    assert [order.number for order, _ in orders_of(lite, after=1)] == [2]
    assert run_night(lite.custodian)["orders"] == []


def test_a_night_with_very_many_items_makes_several_orders(
    lite: CustodianWorld, few: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assent_custodian.orders.service.MAX_ITEMS", 3)
    few[0].withdraw(erase="now")
    assert run_night(lite.custodian)["orders"] == [1, 2]
    (first, first_hash), (second, _) = orders_of(lite)
    assert [len(first.items), len(second.items)] == [3, 1]
    assert second.previous == first_hash


def test_the_collector_acknowledges_an_order_once_and_by_its_hash(world: CustodianWorld, people: list[Member]) -> None:
    people[0].withdraw()
    run_night(world.custodian)
    ((_, hash_),) = orders_of(world)
    assert problem(done(world, 1, "0" * 64)) == "conflict"
    assert problem(done(world, 2, hash_)) == "not-found"
    assert problem(done(world, 1, hash_, SigningKey.generate())) == "signature-invalid"
    assert problem(done(world, 1, hash_, world.admin.opening)) == "signature-invalid"
    assert done(world, 1, hash_).status_code == 200
    assert done(world, 1, hash_).status_code == 200
    assert run_night(world.custodian)["orders_open"] == 0


def test_the_word_for_one_order_is_the_word_for_all_before_it(world: CustodianWorld, people: list[Member]) -> None:
    for member in people:
        member.withdraw(erase="now")
        run_night(world.custodian)
        world.clock.forward(days=1)
    (_, _), (second, hash_) = orders_of(world)
    assert run_night(world.custodian)["orders_open"] == 2
    assert done(world, second.number, hash_).status_code == 200
    assert run_night(world.custodian)["orders_open"] == 0


def test_orders_are_for_the_collector_alone_and_its_question_counts_once(
    lite: CustodianWorld, few: list[Member]
) -> None:
    for key in (lite.admin.opening, few[0].device, SigningKey.generate()):
        assert problem(lite.ask(key, "GET", "/v1/orders?after=0")) == "not-signed-in"
    header = {"Authorization": lite.authorization(lite.collector_key, "GET", "/v1/orders?after=0")}
    assert lite.client.get("/v1/orders?after=0", headers=header).status_code == 200
    assert problem(lite.client.get("/v1/orders?after=0", headers=header)) == "stale"
    assert problem(lite.client.get("/v1/orders?after=1", headers=header)) == "signature-invalid"
    for bad in ("-1", "x", str(2**40)):
        assert problem(lite.ask(lite.collector_key, "GET", f"/v1/orders?after={bad}")) == "malformed"


# --- person leaves ---


def test_person_leaves_come_at_night_by_the_day_and_in_multiples_of_64(world: CustodianWorld) -> None:
    world.add_purpose()
    (kim,) = world.add_participants(1)
    body = sign(Withdrawal(person=kim.person, at=world.now), kim.device)
    leaf = "ab" * 32
    answer = world.post("/v1/withdrawals", b'{"statement":' + body.to_json() + b',"leaf":"' + leaf.encode() + b'"}')
    assert answer.status_code == 200
    assert leaves(world, "person") == []
    assert run_night(world.custodian)["person_leaves"] == 64
    written = leaves(world, "person")
    assert {entry["at"] for entry in written} == {"2026-11-23"}
    assert all(set(entry) == {"v", "type", "at", "subject"} for entry in written)
    assert [entry["subject"] for entry in written].count(leaf) == 1
    assert run_night(world.custodian)["person_leaves"] == 64, "quiet nights look like others"


# --- due and old ---


def test_streams_past_retention_are_erased(lite: CustodianWorld, few: list[Member]) -> None:
    lite.clock.forward(days=180)
    assert run_night(lite.custodian)["streams_past_retention"] == 0
    lite.clock.forward(days=1)
    assert run_night(lite.custodian)["streams_past_retention"] == 4
    assert run_night(lite.custodian)["streams_past_retention"] == 0
    with lite.custodian.database.reading() as session:
        assert session.scalars(select(VaultKey)).all() == []


def test_names_in_invitations_that_nobody_took_up_are_forgotten(lite: CustodianWorld) -> None:
    code, invitation = lite.invitation("Never Came")
    lite.admin.post("/v1/invitations", invitation)
    lite.clock.forward(days=8)
    run_night(lite.custodian)
    with lite.custodian.database.reading() as session:
        assert session.get_one(Invitation, code.secret_hash).name is None


def test_two_nights_do_not_run_at_the_same_time(world: CustodianWorld) -> None:
    assert night._lock(world.custodian, new_id())
    held_until = moment(world.clock() + night.LOCK_FOR)
    told = f"another one runs, or was killed while it ran: then this can be run again after {held_until}"
    assert run_night(world.custodian) == {"ran": False, "missing": told}
    world.clock.forward(hours=1, minutes=1)
    assert run_night(world.custodian)["ran"], "one that was killed does not stop the next"
    assert run_night(world.custodian)["ran"]


# --- rotation ---


def generations(world: CustodianWorld) -> dict[int, bool]:
    """By number: whether it lives."""
    with world.custodian.database.reading() as session:
        return {row.number: row.destroyed is None for row in session.scalars(select(Generation))}


def test_a_night_without_erasure_keeps_the_generation(lite: CustodianWorld, few: list[Member]) -> None:
    assert run_night(lite.custodian)["generations_destroyed"] == []
    assert generations(lite) == {1: True}


def test_after_an_erasure_the_rest_moves_and_the_old_generation_is_destroyed(
    world: CustodianWorld, people: list[Member]
) -> None:
    custodian = world.custodian
    people[0].withdraw(erase="now")
    assert run_night(custodian)["generations_destroyed"] == [1]
    assert generations(world) == {1: False, 2: True}
    assert not custodian.keks.has(1)
    assert [leaf["counts"] for leaf in leaves(world, "generation.destroyed")] == [{"generation": 1}]
    with custodian.database.reading() as session:
        rows = session.scalars(select(VaultKey)).all()
        assert {row.generation for row in rows} == {2}
        for row in rows:
            vault.Vault(session, custodian.keks).take(row.stream)
    people[1].certify((Modality.CONTEXT,))
    assert run_night(custodian)["generations_destroyed"] == []


@pytest.mark.parametrize("crash_in", ["_rewrap_some", "_retire", "_check_sample", "remove_destroyed_keys"])
def test_a_rotation_that_was_cut_off_is_finished_the_next_night(
    lite: CustodianWorld, few: list[Member], monkeypatch: pytest.MonkeyPatch, crash_in: str
) -> None:
    few[0].withdraw(erase="now")

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rotation, crash_in, crash)
        with pytest.raises(KeyboardInterrupt):
            rotation.rotate(lite.custodian)
    few[1].certify((Modality.CONTEXT,))
    run_night(lite.custodian)
    assert generations(lite) == {1: False, 2: True}
    assert not lite.custodian.keks.has(1)
    with lite.custodian.database.reading() as session:
        rows = session.scalars(select(VaultKey)).all()
        assert (len(rows), {row.generation for row in rows}) == (3, {2})
    assert len(leaves(lite, "generation.destroyed")) == 1


def test_a_key_file_left_by_a_crash_before_the_commit_is_used(lite: CustodianWorld, few: list[Member]) -> None:
    lite.custodian.keks.create(2)
    few[0].withdraw(erase="now")
    assert run_night(lite.custodian)["generations_destroyed"] == [1]


def test_nothing_is_destroyed_when_a_key_does_not_unwrap(lite: CustodianWorld, few: list[Member]) -> None:
    few[0].withdraw(erase="now")
    with lite.custodian.database.transaction() as session:
        row = session.scalars(select(VaultKey)).first()
        assert row is not None
        row.wrapped = bytes(len(row.wrapped))
    with pytest.raises(WrapInvalid):
        run_night(lite.custodian)
    assert lite.custodian.keks.has(1)
    assert generations(lite)[1]


def test_a_lost_key_file_destroys_nothing_either(lite: CustodianWorld, few: list[Member]) -> None:
    few[0].withdraw(erase="now")
    lite.custodian.keks.destroy(1)
    with pytest.raises(NotReady, match="missing"):
        run_night(lite.custodian)
    assert generations(lite)[1]


def test_an_old_backup_of_the_database_opens_nothing_that_was_erased_since(
    lite: CustodianWorld, few: list[Member]
) -> None:
    custodian = lite.custodian
    with custodian.database.reading() as session:
        backup = {row.stream: (row.wrapped, row.generation) for row in session.scalars(select(VaultKey))}
    few[0].withdraw(erase="now")
    run_night(custodian)
    with custodian.database.transaction() as session:
        erased = session.scalars(select(Stream.id).where(Stream.erased.is_not(None))).all()
        for stream in erased:
            wrapped, generation = backup[stream]
            session.add(VaultKey(stream=stream, generation=generation, wrapped=wrapped))
    assert len(erased) == 2
    with custodian.database.reading() as session:
        for stream in erased:
            with pytest.raises(NotReady):
                vault.Vault(session, custodian.keks).take(stream)


# --- and witnesses ---


def test_the_night_does_not_wait_for_a_witness(lite: CustodianWorld, few: list[Member]) -> None:
    lite.witness.silent = True
    few[0].withdraw(erase="now")
    report = run_night(lite.custodian)
    assert (report["witnessed"], report["orders"], report["generations_destroyed"]) == (False, [1], [1])
    lite.witness.silent = False
    assert run_night(lite.custodian)["witnessed"]
    with lite.custodian.database.reading() as session:
        assert log.newest_cosigned_size(session) == log.size(session)


def test_an_order_is_what_was_signed(lite: CustodianWorld, few: list[Member]) -> None:
    few[0].withdraw()
    run_night(lite.custodian)
    answer = lite.ask(lite.collector_key, "GET", "/v1/orders?after=0")
    (envelope,) = OrdersAnswer.parse(answer.content).orders
    assert Envelope.from_json(envelope.to_json()) == envelope
