"""Orders: carried out once, believed whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.simulators.collector import DAY, Recording, World, put, put_record, upload

from assent.client.collector import CollectorClient, StreamRevoked
from assent.contracts.envelope import sign
from assent.contracts.keys import SigningKey
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import OrderItem, Tombstone
from assent.contracts.wire import OrdersAnswer
from assent_collector.custodian import CustodianUnreachable
from assent_collector.orders import OrderInvalid


def _recorded(world: World, *hours: str) -> tuple[Recording, list[Any]]:
    recording = Recording()
    world.register(recording)
    segments = [recording.segment(hour=hour) for hour in hours or (f"{DAY}T09",)]
    for segment in segments:
        put(world.collector.uploads, segment)
    return recording, segments


def _code(world: World, segment: Any) -> Code:
    with pytest.raises(Problem) as caught:
        put(world.collector.uploads, segment)
    return caught.value.code


def _everything(world: World) -> list[Any]:
    with world.collector.database.engine.connect() as connection:
        tables = ("streams", "certificates", "items", "marks", "orders")
        rows = [sorted(map(str, connection.exec_driver_sql(f"SELECT * FROM {table}").all())) for table in tables]
    return [*rows, world.files()]


def test_a_revoked_stream_takes_nothing_more_and_shows_the_evidence(world: World, client: CollectorClient) -> None:
    recording, segments = _recorded(world)
    world.book.order(world.issuer.revoke(recording.stream))
    assert world.collector.orders.pull_orders_once() == 1
    for attempt in (lambda: upload(client, recording.segment()), lambda: upload(client, segments[0])):
        with pytest.raises(StreamRevoked) as caught:  # the client has checked the evidence
            attempt()
        assert caught.value.evidence == world.issuer.revocation(recording.stream)
    with pytest.raises(StreamRevoked):
        client.announce(world.issuer.certificate(recording))
    assert len(world.kept()) == 1  # revoking does not erase


def test_an_erased_stream_is_gone_and_stays_closed(world: World, client: CollectorClient) -> None:
    recording, _ = _recorded(world)
    kept, _ = _recorded(world)
    world.book.order(world.issuer.erase(recording.stream))
    world.collector.orders.pull_orders_once()
    assert len(world.kept()) == 1
    with world.collector.database.engine.connect() as connection:
        for table in ("streams", "certificates", "items"):
            assert set(connection.exec_driver_sql(f"SELECT stream FROM {table}").scalars()) == {kept.stream}
    with pytest.raises(StreamRevoked) as caught:
        client.announce(world.issuer.certificate(recording))
    assert caught.value.evidence == world.issuer.tombstone(recording.stream)
    assert upload(client, kept.segment()).kind == "segment"  # the positive control


def test_erased_hours_are_gone_and_the_rest_goes_on(world: World, client: CollectorClient) -> None:
    recording, segments = _recorded(world, f"{DAY}T08", f"{DAY}T09", f"{DAY}T10")
    world.book.order(world.issuer.erase(recording.stream, f"{DAY}T09", f"{DAY}T11"))
    world.collector.orders.pull_orders_once()
    job = SigningKey.generate()
    listed = client.fetch_streams(world.issuer.ticket(job, recording.stream), job).streams[0]
    assert len(listed.items) == 2
    with pytest.raises(StreamRevoked) as caught:
        upload(client, segments[1])  # erased, and sent again
    assert f"{DAY}T09" in caught.value.hours
    in_erased_hour = recording.segment(hour=f"{DAY}T11")
    with pytest.raises(StreamRevoked):
        upload(client, in_erased_hour)
    recording.sequence, recording.previous = 3, segments[2].id
    put_record(world.collector.uploads, recording.skip(1, last_skipped=in_erased_hour.id))
    assert upload(client, recording.segment(hour=f"{DAY}T12")).kind == "segment"
    assert upload(client, segments[0]).hash == segments[0].id


def test_marks_outlive_the_rows_until_a_day_after_the_upload_deadline(world: World) -> None:
    recording, _ = _recorded(world)
    unseen = Recording()
    world.book.order(world.issuer.erase(recording.stream), world.issuer.erase(unseen.stream))
    world.collector.orders.pull_orders_once()

    def marked() -> set[str]:
        world.collector.orders.tidy()
        with world.collector.database.engine.connect() as connection:
            return set(connection.exec_driver_sql("SELECT stream FROM marks").scalars())

    world.clock.forward(days=15)
    assert marked() == {recording.stream, unseen.stream}
    world.clock.forward(days=2)
    assert marked() == set()
    with pytest.raises(Problem) as caught:
        world.register(recording)
    assert caught.value.code is Code.CERTIFICATE_INVALID


def test_a_stream_erased_before_its_certificate_came_is_refused(world: World) -> None:
    recording = Recording()
    world.book.order(world.issuer.erase(recording.stream))
    world.collector.orders.pull_orders_once()
    with pytest.raises(Problem) as caught:
        world.register(recording)
    assert caught.value.code is Code.REVOKED


def test_an_order_twice_is_once_and_is_acknowledged(world: World) -> None:
    recording, _ = _recorded(world)
    world.book.order(world.issuer.erase(recording.stream))
    assert world.collector.orders.pull_orders_once() == 1
    before = _everything(world)
    assert world.collector.orders.pull_orders_once() == 0
    world.book.orders = lambda after: OrdersAnswer(orders=tuple(world.book.orders_))  # type: ignore[method-assign]
    assert world.collector.orders.pull_orders_once() == 0
    assert _everything(world) == before
    assert [(done.number, done.order) for done in world.book.acknowledged] == [(1, world.book.orders_[0].hash)]


def test_an_acknowledgement_that_was_lost_is_repeated(world: World) -> None:
    recording, _ = _recorded(world)
    world.book.order(world.issuer.erase(recording.stream))
    done = world.book.done

    def lose(_envelope: Any) -> None:
        raise CustodianUnreachable("lost")

    world.book.done = lose  # type: ignore[method-assign]
    with pytest.raises(CustodianUnreachable):
        world.collector.orders.pull_orders_once()
    assert world.kept() == []  # erasing did not wait for the acknowledgement
    world.book.done = done  # type: ignore[method-assign]
    world.restart()
    world.collector.orders.pull_orders_once()
    assert [entry.number for entry in world.book.acknowledged] == [1]


def _gap(world: World, item: OrderItem) -> None:
    world.book.order(item, number=2)


def _wrong_chain(world: World, item: OrderItem) -> None:
    world.book.order(item, previous="f" * 64)


def _foreign_signature(world: World, item: OrderItem) -> None:
    ours, world.issuer.statement_key = world.issuer.statement_key, SigningKey.generate()
    world.book.order(item)
    world.issuer.statement_key = ours


def _signed_by_the_collector(world: World, item: OrderItem) -> None:
    ours, world.issuer.statement_key = world.issuer.statement_key, world.issuer.collector_key
    world.book.order(item)
    world.issuer.statement_key = ours


def _evidence_of_another_stream(world: World, item: OrderItem) -> None:
    world.book.order(item.model_copy(update={"evidence": world.issuer.tombstone("0" * 32)}))


def _evidence_of_fewer_hours(world: World, item: OrderItem) -> None:
    world.book.order(item.model_copy(update={"evidence": world.issuer.tombstone(item.stream, f"{DAY}T09")}))


def _forged_evidence(world: World, item: OrderItem) -> None:
    forged = sign(_tombstone(item.stream), SigningKey.generate())
    world.book.order(item.model_copy(update={"evidence": forged}))


def _revocation_for_an_erasure(world: World, item: OrderItem) -> None:
    world.book.order(item.model_copy(update={"evidence": world.issuer.revocation(item.stream)}))


def _tombstone(stream: str) -> Any:
    return Tombstone(stream=stream)


@pytest.mark.parametrize(
    "misuse",
    [
        _gap,
        _wrong_chain,
        _foreign_signature,
        _signed_by_the_collector,
        _evidence_of_another_stream,
        _evidence_of_fewer_hours,
        _forged_evidence,
        _revocation_for_an_erasure,
    ],
)
def test_a_misused_order_changes_nothing(lite: World, misuse: Callable[[World, OrderItem], None]) -> None:
    recording, _ = _recorded(lite)
    before = _everything(lite)
    misuse(lite, lite.issuer.erase(recording.stream))
    with pytest.raises(OrderInvalid):
        lite.collector.orders.pull_orders_once()
    assert _everything(lite) == before
    assert lite.book.acknowledged == []
    lite.book.orders_.clear()
    lite.book.order(lite.issuer.erase(recording.stream))  # the positive control
    assert lite.collector.orders.pull_orders_once() == 1
    assert lite.kept() == []


def test_one_bad_item_spoils_the_whole_order(lite: World) -> None:
    recording, _ = _recorded(lite)
    bad = lite.issuer.erase("0" * 32).model_copy(update={"evidence": lite.issuer.tombstone("1" * 32)})
    before = _everything(lite)
    lite.book.order(lite.issuer.erase(recording.stream), bad)
    with pytest.raises(OrderInvalid):
        lite.collector.orders.pull_orders_once()
    assert _everything(lite) == before


def test_another_order_under_a_known_number_is_refused(lite: World) -> None:
    recording, _ = _recorded(lite)
    lite.book.order()
    lite.collector.orders.pull_orders_once()
    lite.book.orders_.clear()
    lite.book.order(lite.issuer.erase(recording.stream))
    lite.book.orders = lambda after: OrdersAnswer(orders=tuple(lite.book.orders_))  # type: ignore[method-assign]
    with pytest.raises(OrderInvalid, match="two orders"):
        lite.collector.orders.pull_orders_once()
    assert len(lite.kept()) == 1


def test_an_upload_under_way_while_its_stream_is_erased_is_refused(world: World) -> None:
    recording, _ = _recorded(world)
    segment = recording.segment()

    def hook(step: Any) -> None:
        if step.value == "kept" and not world.book.orders_:
            world.book.order(world.issuer.erase(recording.stream))
            world.collector.orders.pull_orders_once()

    world.restart(hook=hook)
    assert _code(world, segment) is Code.REVOKED
    assert world.files() == []
