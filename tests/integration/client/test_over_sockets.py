"""The client over real sockets: large bodies, refusals before a body was read, servers that hang or hang up."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from tests.unit.reader.world import HOUR, World

from assent.client.collector import CollectorClient
from assent.client.transport import BYTES, AnswerInvalid, Refused, Transport, Unreachable
from assent.contracts.ids import Modality
from assent.contracts.problems import Code, Problem
from assent.contracts.segment import FIRST_PREVIOUS, SegmentHeader
from assent.sealing.segments import body_size

MEGABYTES_8 = 8 * 1024 * 1024


@contextmanager
def serving(application: Any) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(application, log_level="critical", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=20)


async def _answer(send: Any, status: int, kind: bytes, body: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def header(world: World) -> bytes:
    stream = world.begin(Modality.SCREEN).id
    return SegmentHeader(stream=stream, sequence=0, previous=FIRST_PREVIOUS, hour=HOUR, length=MEGABYTES_8).to_bytes()


def test_a_refusal_before_the_body_is_read_arrives_as_that_refusal() -> None:
    async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
        problem = json.dumps(Problem(Code.CERTIFICATE_INVALID, "ended").as_dict()).encode()
        await _answer(send, 403, b"application/problem+json", problem)

    world = World()
    with serving(refuse) as url, CollectorClient(url, world.collector_key.public, world.statement.public) as client:
        for body in (bytes(body_size(MEGABYTES_8)), io.BytesIO(bytes(body_size(MEGABYTES_8)))):
            with pytest.raises(Refused) as refused:
                client.send_segment(
                    header=header(world), sealed_key=bytes(1168), body=body, body_sha256=bytes(32), signature=bytes(64)
                )
            assert refused.value.code is Code.CERTIFICATE_INVALID


def test_a_large_body_from_a_file_arrives_whole_with_its_length() -> None:
    seen: list[tuple[int, int]] = []

    async def count(scope: Any, receive: Any, send: Any) -> None:
        declared = int(dict(scope["headers"])[b"content-length"])
        received, more = 0, True
        while more:
            message = await receive()
            received += len(message.get("body", b""))
            more = message.get("more_body", False)
        seen.append((declared, received))
        await _answer(send, 200, b"application/json", b"{}")

    world = World()
    with (
        serving(count) as url,
        CollectorClient(url, world.collector_key.public, world.statement.public) as client,
        pytest.raises(AnswerInvalid, match="stored"),
    ):
        client.send_segment(
            header=header(world),
            sealed_key=bytes(1168),
            body=io.BytesIO(bytes(MEGABYTES_8)),
            body_sha256=bytes(32),
            signature=bytes(64),
        )
    assert seen == [(MEGABYTES_8, MEGABYTES_8)]


def test_a_server_that_never_answers_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable):
            Transport(url, timeout_s=0.3).request("GET", "/v1/directory")


def test_an_answer_that_is_cut_off_is_unreachable_not_believed() -> None:
    async def cut(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * 50})

    with serving(cut) as url, Transport(url, timeout_s=5) as transport, pytest.raises(Unreachable):
        transport.request("GET", "/v1/x", expect=BYTES)


def test_one_client_serves_several_threads() -> None:
    async def echo(scope: Any, _receive: Any, send: Any) -> None:
        await _answer(send, 200, b"application/json", json.dumps(scope["path"]).encode())

    wrong: list[str] = []
    with serving(echo) as url, Transport(url) as transport:

        def ask(name: str) -> None:
            for number in range(20):
                if json.loads(transport.request("GET", f"/{name}/{number}")) != f"/{name}/{number}":
                    wrong.append(name)

        threads = [threading.Thread(target=ask, args=(f"t{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
