"""Reports: counted before anything leaves, numbered without a gap, rounded until they say nothing of one person."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pytest
from tests.simulators.collector import DAY, Recording, World, ask, client_of, preamble_of, put, serving_collector

from assent.client.collector import CollectorClient
from assent.client.transport import Refused
from assent.contracts.keys import SigningKey
from assent.contracts.problems import Code, Problem
from assent_collector.custodian import CustodianUnreachable
from assent_collector.reports import magnitude


def hour(count: int) -> str:
    return f"{DAY}T{count:02}"


def recorded(world: World, segments: int = 1) -> tuple[Recording, list[Any]]:
    recording = Recording()
    world.register(recording)
    sealed = [recording.segment() for _ in range(segments)]
    for segment in sealed:
        put(world.collector.uploads, segment)
    return recording, sealed


def fetch(world: World, recording: Recording, sealed: list[Any]) -> None:
    """List the stream, and take these bodies; in the hour that the world's clock shows."""
    job = SigningKey.generate()
    ticket = world.issuer.ticket(job, recording.stream, until=f"{DAY}T23:59:59Z")
    list(world.collector.fetches.streams(ask(job, ticket, world.clock())))
    segments = tuple(segment.id for segment in sealed)
    list(world.collector.fetches.bodies(ask(job, ticket, world.clock(), segments=segments)))


def report(world: World) -> dict[str, int]:
    """An hour passes, and the collector reports."""
    world.clock.forward(hours=1)
    assert world.collector.reports.report_once() > 0
    return world.book.reports[-1].counts


def test_what_was_handed_out_is_reported_in_the_next_hour_and_once(world: World) -> None:
    assert world.collector.reports.report_once() == 0, "nothing is over yet"
    recording, sealed = recorded(world, 12)
    fetch(world, recording, sealed)
    assert world.collector.reports.report_once() == 0
    first = report(world)
    assert (first["number"], first["listings"], first["bodies"]) == (1, 1, 10)
    assert world.collector.reports.report_once() == 0
    second = report(world)
    assert (second["number"], second["listings"], second["bodies"]) == (2, 0, 0)
    assert [(one.since, one.until) for one in world.book.reports] == [(hour(12), hour(13)), (hour(13), hour(14))]


def test_what_came_in_and_what_was_erased_moves_no_report(world: World) -> None:
    """People at work are not counted: a report of an hour in which somebody recorded is that of an idle hour."""
    world.collector.reports.report_once()
    idle = report(world)
    recording, _ = recorded(world, 30)
    busy = report(world)
    assert {**busy, "number": 1} == idle
    world.book.order(world.issuer.erase(recording.stream))
    world.collector.orders.pull_orders_once()
    erased = report(world)
    assert {**erased, "number": 1, "orders": 0} == idle and erased["orders"] == 1, "the order, whose number is known"


def test_what_is_counted_is_on_disk_before_it_leaves(world: World) -> None:
    """Killed in the middle of an answer, it has counted what it was handing out."""
    world.collector.reports.report_once()
    recording, sealed = recorded(world, 3)
    job = SigningKey.generate()
    ticket = world.issuer.ticket(job, recording.stream)
    world.collector.fetches.bodies(ask(job, ticket, segments=tuple(one.id for one in sealed)))  # and not a piece read
    world.restart()
    assert report(world)["bodies"] == 1


def test_a_fetch_that_cannot_be_counted_is_not_answered(lite: World) -> None:
    recording, sealed = recorded(lite)
    with lite.collector.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE reports")
    with pytest.raises(Exception, match="reports"):
        fetch(lite, recording, sealed)


def test_a_fetch_after_the_hour_belongs_to_the_next_report_though_nobody_reported_yet(world: World) -> None:
    world.collector.reports.report_once()
    recording, sealed = recorded(world)
    world.clock.forward(hours=1, minutes=1)
    fetch(world, recording, sealed)
    world.collector.reports.report_once()
    assert world.book.reports[0].listings == 0
    assert report(world)["listings"] == 1


def test_refusals_are_counted_from_ten_up(lite: World) -> None:
    """Over HTTP, where refusals are made."""
    lite.collector.reports.report_once()
    recording, _ = recorded(lite)
    job, stranger = SigningKey.generate(), SigningKey.generate()

    def refused(client: CollectorClient, times: int) -> None:
        for _ in range(times):
            with suppress(Refused):
                client.fetch_streams(lite.issuer.ticket(job, recording.stream), stranger)
            with pytest.raises(Refused):
                client.announce(lite.issuer.certificate(Recording(), upload_until="2026-11-01"))

    with serving_collector(lite) as url, client_of(lite, url) as client:
        refused(client, 9)
        few = report(lite)
        refused(client, 10)
        many = report(lite)
    assert (few["refused_tickets"], few["refused_certificates"]) == (0, 0)
    assert (many["refused_tickets"], many["refused_certificates"], many["refused_over_budget"]) == (10, 10, 0)


def test_uploads_beyond_their_budget_are_reported(lite: World) -> None:
    lite.collector.reports.report_once()
    with serving_collector(lite) as url, client_of(lite, url) as client:
        for _ in range(10):
            recording = Recording()
            client.announce(lite.issuer.certificate(recording, byte_budget=1))
            segment = recording.segment()
            with pytest.raises(Refused) as caught:
                client.send_segment(
                    header=segment.header, sealed_key=segment.sealed_key, body=segment.body,
                    body_sha256=segment.body_sha256, signature=segment.signature,
                )  # fmt: skip
            assert caught.value.code is Code.BUDGET_SPENT
            assert preamble_of(segment)
    assert report(lite)["refused_over_budget"] == 10


def test_reports_wait_for_the_custodian_and_come_in_their_order(world: World) -> None:
    world.collector.reports.report_once()
    recording, sealed = recorded(world)
    fetch(world, recording, sealed)
    world.book.online = False
    for _ in range(3):
        world.clock.forward(hours=1)
        with pytest.raises(CustodianUnreachable):
            world.collector.reports.report_once()
    fetch(world, recording, sealed)
    world.restart()
    world.book.online = True
    assert world.collector.reports.report_once() == 3
    told = [(one.since, one.until, one.listings) for one in world.book.reports]
    assert told == [(hour(12), hour(13), 1), (hour(13), hour(14), 0), (hour(14), hour(15), 0)]
    assert report(world)["listings"] == 1, "what was fetched in the hour that was not over"


def test_an_answer_that_was_lost_makes_no_second_report(world: World) -> None:
    world.collector.reports.report_once()
    taken = world.book.reported

    def lose(envelope: Any) -> None:
        taken(envelope)
        raise CustodianUnreachable("lost")

    world.book.reported = lose  # type: ignore[method-assign]
    world.clock.forward(hours=1)
    with pytest.raises(CustodianUnreachable):
        world.collector.reports.report_once()
    world.book.reported = taken  # type: ignore[method-assign]
    world.clock.forward(hours=1)
    assert world.collector.reports.report_once() == 2
    assert [one.number for one in world.book.reports] == [1, 2]


def test_a_collector_that_was_restored_goes_on_where_the_custodian_is_and_says_so(world: World) -> None:
    world.collector.reports.report_once()
    with world.collector.database.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT * FROM reports").mappings().all()
    report(world), report(world), report(world)
    recording, sealed = recorded(world)
    with world.collector.database.engine.begin() as connection:  # the backup of three hours ago
        connection.exec_driver_sql("DELETE FROM reports")
        for row in kept:
            names = ", ".join(row)
            values = ", ".join(repr(value) if value is not None else "NULL" for value in row.values())
            connection.exec_driver_sql(f"INSERT INTO reports ({names}) VALUES ({values})")
    fetch(world, recording, sealed)
    world.collector.reports.report_once()
    world.clock.forward(hours=1)
    world.collector.reports.report_once()
    assert [one.number for one in world.book.reports] == [1, 2, 3, 4]
    last = world.book.reports[-1]
    assert (last.since, last.until, last.resumed, last.listings) == (hour(15), hour(16), True, 1)
    assert report(world)["number"] == 5
    assert not world.book.reports[-1].resumed


def test_a_custodian_that_lost_reports_gets_one_about_all_the_time_since(world: World) -> None:
    world.collector.reports.report_once()
    report(world), report(world), report(world)
    del world.book.reports[1:]
    assert report(world)["number"] == 2
    again = world.book.reports[-1]
    assert (again.since, again.until, again.resumed) == (hour(13), hour(16), True)
    assert report(world)["number"] == 3


def test_replicas_count_together_and_report_once(world: World) -> None:
    from assent_collector.app import open_collector

    world.collector.reports.report_once()
    recording, sealed = recorded(world, 2)
    other = open_collector(world.settings, world.clock, world.book)
    try:
        original = world.collector
        threads = []
        for collector in (original, other):
            world.collector = collector
            threads += [threading.Thread(target=fetch, args=(world, recording, sealed)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        world.collector = original
        assert report(world)["bodies"] == 10
        assert other.reports.report_once() == 0
        assert len(world.book.reports) == 1
    finally:
        other.close()


def test_magnitudes() -> None:
    assert [magnitude(count) for count in (0, 1, 9, 10, 99, 100, 10**17)] == [0, 1, 1, 10, 10, 100, 10**15]


def test_a_refused_ticket_is_refused_as_before(lite: World) -> None:
    """The control of the counting: it changes no answer."""
    with pytest.raises(Problem) as caught:
        fetch(lite, Recording(), [])
    assert caught.value.code is Code.MALFORMED
