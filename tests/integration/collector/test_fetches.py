"""Tickets: what they open, and every way in which they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.simulators.collector import (
    NOON,
    Issuer,
    Recording,
    World,
    ask,
    client_of,
    put,
    put_record,
    serving_collector,
)

from assent.client.collector import CollectorClient
from assent.client.transport import Refused
from assent.contracts.envelope import sign
from assent.contracts.keys import SigningKey
from assent.contracts.problems import Code
from assent.contracts.statements import FetchRequest
from assent.contracts.times import moment
from assent.contracts.wire import FetchBody
from assent_collector.app import application


def _recorded(world: World, count: int = 2, **changes: Any) -> tuple[Recording, list[Any]]:
    recording = Recording(hour=f"{changes.get('day', '2026-11-23')}T09")
    world.register(recording, **changes)
    segments = [recording.segment(b"%d" % number) for number in range(count)]
    for segment in segments:
        put(world.collector.uploads, segment)
    return recording, segments


def test_a_ticket_brings_streams_and_bodies_as_they_were_sent(world: World, client: CollectorClient) -> None:
    one, segments = _recorded(world, 3)
    put_record(world.collector.uploads, one.skip())
    put_record(world.collector.uploads, one.end())
    world.register(one, record_until="2026-11-23T22")
    other, _ = _recorded(world)
    job = SigningKey.generate()
    ticket = world.issuer.ticket(job, one.stream, other.stream, "0" * 32)
    listed = client.fetch_streams(ticket, job)
    assert [stream.stream for stream in listed.streams] == [one.stream, other.stream]  # the unknown one is absent
    assert [item.kind for item in listed.streams[0].items] == ["segment"] * 3 + ["record"] * 2
    assert len(listed.streams[0].certificates) == 2
    wanted = [(segment.id, len(segment.body)) for segment in reversed(segments)]
    assert list(client.fetch_bodies(ticket, job, wanted)) == [(s.id, s.body) for s in reversed(segments)]
    assert [s.stream for s in client.fetch_streams(ticket, job, [other.stream]).streams] == [other.stream]


def test_a_body_that_is_gone_is_said_to_be_gone(world: World, client: CollectorClient) -> None:
    recording, segments = _recorded(world)
    job = SigningKey.generate()
    ticket = world.issuer.ticket(job, recording.stream)
    for path in world.kept():
        if path.read_bytes() == segments[0].body:
            path.unlink()
    wanted = [(s.id, len(s.body)) for s in segments] + [("f" * 64, 1)]
    assert [body is None for _, body in client.fetch_bodies(ticket, job, wanted)] == [True, False, True]


def test_nothing_of_a_fetch_is_stored(lite: World) -> None:
    recording, _ = _recorded(lite)
    job = SigningKey.generate()
    ticket = lite.issuer.ticket(job, recording.stream)

    def everything() -> list[Any]:
        with lite.collector.database.engine.connect() as connection:
            tables = ("streams", "certificates", "items", "marks", "orders")
            return [connection.exec_driver_sql(f"SELECT * FROM {table}").all() for table in tables]

    before = everything()
    with serving_collector(lite) as url, client_of(lite, url) as client:
        assert len(client.fetch_streams(ticket, job).streams) == 1
    assert everything() == before


# --- misuse ---------------------------------------------------------------------------------------

Make = Callable[[World, Recording, SigningKey], FetchBody]


def _other_job(world: World, recording: Recording, job: SigningKey) -> FetchBody:
    return ask(SigningKey.generate(), world.issuer.ticket(job, recording.stream))


def _foreign_issuer(_world: World, recording: Recording, job: SigningKey) -> FetchBody:
    return ask(job, Issuer().ticket(job, recording.stream))


def _expired(world: World, recording: Recording, job: SigningKey) -> FetchBody:
    return ask(job, world.issuer.ticket(job, recording.stream, until=moment(NOON)))


def _other_ticket(world: World, recording: Recording, job: SigningKey) -> FetchBody:
    return ask(job, world.issuer.ticket(job, recording.stream), ticket="0" * 32)


def _other_streams(world: World, recording: Recording, job: SigningKey) -> FetchBody:
    return ask(job, world.issuer.ticket(job, "0" * 32), streams=(recording.stream,))


def _other_day(world: World, recording: Recording, job: SigningKey) -> FetchBody:
    return ask(job, world.issuer.ticket(job, recording.stream, day="2026-11-22"))


def _no_such_moment(world: World, recording: Recording, job: SigningKey) -> FetchBody:
    return ask(job, world.issuer.ticket(job, recording.stream, until="2026-13-45T99:99:99Z"))


def _stale(world: World, recording: Recording, job: SigningKey) -> FetchBody:
    return ask(job, world.issuer.ticket(job, recording.stream), at=NOON - timedelta(seconds=121))


def _early(world: World, recording: Recording, job: SigningKey) -> FetchBody:
    return ask(job, world.issuer.ticket(job, recording.stream), at=NOON + timedelta(seconds=121))


@pytest.fixture
def served(lite: World) -> Iterator[tuple[World, str]]:
    with serving_collector(lite) as url:
        yield lite, url


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (_other_job, Code.TICKET_INVALID),
        (_foreign_issuer, Code.TICKET_INVALID),
        (_expired, Code.TICKET_INVALID),
        (_other_ticket, Code.TICKET_INVALID),
        (_other_streams, Code.TICKET_INVALID),
        (_other_day, Code.TICKET_INVALID),
        (_no_such_moment, Code.MALFORMED),
        (_stale, Code.STALE),
        (_early, Code.STALE),
    ],
)
@pytest.mark.parametrize("route", ["streams", "bodies"])
def test_a_misused_ticket_brings_nothing(served: tuple[World, str], make: Make, code: Code, route: str) -> None:
    world, url = served
    recording, segments = _recorded(world)
    job = SigningKey.generate()
    good = ask(job, world.issuer.ticket(job, recording.stream), segments=(segments[0].id,))
    assert httpx2.post(f"{url}/v1/fetch/bodies", content=good.to_json()).status_code == 200  # the positive control
    made = make(world, recording, job)
    if route == "bodies":
        fields = made.request.payload_bytes  # the same request, naming a body

        request = FetchRequest.model_validate_json(fields).model_copy(update={"segments": (segments[0].id,)})
        signer = SigningKey.generate() if make is _other_job else job
        made = FetchBody(ticket=made.ticket, request=sign(request, signer))
    answer = httpx2.post(f"{url}/v1/fetch/{route}", content=made.to_json())
    assert answer.json()["type"] == code.type


def test_a_segment_of_a_stream_outside_the_ticket_is_refused(world: World, client: CollectorClient) -> None:
    mine, my_segments = _recorded(world)
    _, other_segments = _recorded(world)
    job = SigningKey.generate()
    ticket = world.issuer.ticket(job, mine.stream)
    wanted = [(s.id, len(s.body)) for s in (my_segments[0], other_segments[0])]
    with pytest.raises(Refused) as caught:
        list(client.fetch_bodies(ticket, job, wanted))
    assert caught.value.code is Code.TICKET_INVALID


def test_a_replayed_fetch_brings_the_same_ciphertext_and_ends_after_two_minutes(served: tuple[World, str]) -> None:
    world, url = served
    recording, segments = _recorded(world)
    job = SigningKey.generate()
    body = ask(job, world.issuer.ticket(job, recording.stream), segments=(segments[0].id,)).to_json()
    first = httpx2.post(f"{url}/v1/fetch/bodies", content=body)
    assert httpx2.post(f"{url}/v1/fetch/bodies", content=body).content == first.content
    world.clock.forward(seconds=121)
    assert httpx2.post(f"{url}/v1/fetch/bodies", content=body).json()["type"] == Code.STALE.type


def test_a_fetch_without_segments_is_refused_where_bodies_are(served: tuple[World, str]) -> None:
    world, url = served
    recording, _ = _recorded(world)
    job = SigningKey.generate()
    body = ask(job, world.issuer.ticket(job, recording.stream)).to_json()
    assert httpx2.post(f"{url}/v1/fetch/bodies", content=body).json()["type"] == Code.MALFORMED.type
    assert httpx2.post(f"{url}/v1/fetch/streams", content=b"{}").json()["type"] == Code.MALFORMED.type


def test_a_client_that_goes_before_its_answer_begins_gives_its_slot_back(tmp_path: Path) -> None:
    world = World.new(tmp_path, max_fetches=1)
    recording, _ = _recorded(world)
    job = SigningKey.generate()
    body = ask(job, world.issuer.ticket(job, recording.stream)).to_json()
    app = application(world.collector)

    async def fetch(*, stays: bool) -> list[int]:
        statuses: list[int] = []
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        if not stays:
            messages.append({"type": "http.disconnect"})

        async def receive() -> dict[str, Any]:
            return messages.pop(0) if messages else await asyncio.Future()

        async def send(message: Any) -> None:
            await asyncio.sleep(0)  # as with a connection whose buffer an earlier answer has filled
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
            "path": "/v1/fetch/streams", "raw_path": b"/v1/fetch/streams", "query_string": b"", "root_path": "",
            "scheme": "http", "headers": [(b"content-length", b"%d" % len(body))], "server": ("collector", 80),
        }  # fmt: skip
        await app(scope, receive, send)
        return statuses

    async def everything() -> list[int]:
        await fetch(stays=False)
        return await fetch(stays=True)

    assert asyncio.run(everything()) == [200]
    world.collector.close()
