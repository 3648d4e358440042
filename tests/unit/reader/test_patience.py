"""A collector that is busy or out of reach, over real sockets: it is asked again as it wishes, waited for once for a
whole fetch and never longer than is said, and what had come before stands."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from tests.unit.reader.world import DAY, World

from assent.client.collector import CollectorClient
from assent.client.transport import Transport, Unreachable
from assent.contracts.envelope import Envelope, sign
from assent.contracts.problems import Code, Problem
from assent.reader import patience
from assent.reader.patience import ATTEMPTS, LONGEST_PAUSE_S, PATIENCE_S, FetchStopped
from assent.reader.sessions import Data, Progress

BODIES, LISTINGS = "/v1/fetch/bodies", "/v1/fetch/streams"
PEOPLE = ("p-1", "p-2", "p-3")
SEGMENTS = 12
"""Of each modality: three groups of bodies."""

Failing = Callable[[str], "Failure | None"]


@dataclass(frozen=True)
class Failure:
    """How the server fails. `problem`: as Assent says it, else as a proxy does. Status 0: it hangs up."""

    status: int
    retry_after: str | None = None
    problem: Code | None = None


@dataclass
class Server:
    """A collector behind real HTTP; `failing` says for a path whether it fails now."""

    world: World
    failing: Failing = lambda _path: None
    asked: list[tuple[float, str, bool]] = field(default_factory=list)
    """When (monotonic), for what, and whether it was answered."""
    wanted: str = ""
    """What the request of now is about, as it was signed."""
    url: str = ""

    def counted(self, path: str, *, answered: bool) -> int:
        return sum(1 for _, asked, well in self.asked if asked == path and well is answered)


@contextmanager
def serving(world: World) -> Iterator[Server]:
    made = Server(world)
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with turn:
                made.wanted = Envelope.from_json(json.dumps(json.loads(body)["request"])).payload_bytes.decode()
                failure = made.failing(self.path)
                made.asked.append((time.monotonic(), self.path, failure is None))
                if failure is None:
                    done = world._handle(httpx2.Request("POST", f"http://collector.test{self.path}", content=body))
                    self._answer(done.status_code, done.headers["content-type"], done.content)
                elif failure.status == 0:
                    self.close_connection = True
                elif failure.problem is not None:
                    said = Problem(failure.problem, "too much is under way")
                    self._answer(failure.status, "application/problem+json", _json(said), failure.retry_after)
                else:
                    self._answer(failure.status, "text/html", b"<h1>busy</h1>", failure.retry_after)

        def _answer(self, status: int, kind: str, body: bytes, retry_after: str | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]  # who leaves hangs up
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


def _json(problem: Problem) -> bytes:
    return json.dumps(problem.as_dict()).encode()


@pytest.fixture(scope="module")
def recorded() -> World:
    world = World()
    for pseudonym in PEOPLE:
        world.session(pseudonym, segments=SEGMENTS)
    return world


@pytest.fixture
def server(recorded: World) -> Iterator[Server]:
    recorded.closed.clear()
    recorded.requests.clear()
    with serving(recorded) as made:
        yield made


def reading(server: Server, **options: object) -> Data:
    """With waits that take no time, unless the test brings its own."""
    world = server.world
    collector = CollectorClient(server.url, world.collector_key.public, world.statement.public, clock=world.clock)
    options.setdefault("wait", lambda _seconds: None)
    return Data(world.job(), world.custodian(), collector, world.statement.public, **options)  # type: ignore[arg-type]


def events_of(data: Data, after: tuple[str, str] | None = None) -> dict[str, int]:
    """Pseudonym → events of it, all sessions read to their end."""
    return {session.pseudonym: sum(1 for _ in session.events()) for session in data.sessions(after)}


def whole(server: Server) -> dict[str, int]:
    with reading(server) as data:
        found = events_of(data)
    assert set(found) == set(PEOPLE) and min(found.values()) > 100
    return found


BUSY = {
    "the collector has too much to do": Failure(429, "2", Code.TOO_MANY),
    "its database has": Failure(503, "2", Code.BUSY),
    "a proxy before it has": Failure(429, "2"),
    "a proxy finds it down": Failure(503, "2"),
}


@pytest.mark.parametrize("how", BUSY)
def test_a_collector_that_is_busy_for_a_while_is_asked_as_it_wishes_and_everything_comes(
    server: Server, how: str
) -> None:
    expected, waits = whole(server), list[float]()
    times = 4

    def failing(path: str) -> Failure | None:
        nonlocal times
        if path == BODIES and server.counted(BODIES, answered=True) > before and times:
            times -= 1
            return BUSY[how]
        return None

    before, server.failing = server.counted(BODIES, answered=True) + 5, failing
    said: list[Progress] = []
    with reading(server, wait=waits.append, progress=said.append) as data:
        assert events_of(data) == expected
        assert data.dropped == data.missing == []
    assert times == 0 and sum(waits) >= 2 * 2, "two threads at most heard of it at the same time, twice"
    assert set(waits) <= {2.0, 4.0, 8.0}
    assert [one.waits for one in said].count(True) >= 2 and not said[-1].waits


def test_one_that_stays_busy_is_waited_for_once_for_all_and_no_longer_than_is_said(server: Server) -> None:
    expected, waits = whole(server), list[float]()
    first, before = expected["p-1"], server.counted(BODIES, answered=True)
    server.world.requests.clear()
    enough = before + 4 * SEGMENTS // 4 + 6  # p-1 and a part of p-2

    def failing(path: str) -> Failure | None:
        return Failure(429, None, Code.TOO_MANY) if server.counted(BODIES, answered=True) >= enough else None

    server.failing = failing
    found: dict[str, int] = {}
    with reading(server, wait=waits.append) as data:
        with pytest.raises(FetchStopped) as stopped:
            for session in data.sessions():
                found[session.pseudonym] = sum(1 for _ in session.events())
                coverage = session.coverage()
        assert stopped.value.read_to == data.read_to == ("p-1", DAY)
        assert "for 5 minutes" in str(stopped.value) and "Too many requests" in str(stopped.value)
        assert found["p-1"] == first and found["p-2"] < expected["p-2"] and set(found) == {"p-1", "p-2"}
        assert not coverage.complete, "and that of the person in the middle says so"
        assert {one.stream.pseudonym for one in data.dropped} == {"p-3"}
        assert all("not delivered: nothing came from the collector" in one.reason for one in data.dropped)
    assert 200 <= sum(waits) <= PATIENCE_S == 300
    refused = server.counted(BODIES, answered=False) + server.counted(LISTINGS, answered=False)
    assert refused <= 16, "and not a few for each of what is left"
    released = [one for one in server.world.requests if one.url.path == "/v1/leases/releases"]
    assert len(released) == 2, "no key is asked for that opens nothing"
    assert data.lease_closed

    server.failing = lambda _path: None
    with reading(server) as again:
        rest = events_of(again, stopped.value.read_to)
    assert {"p-1": first} | rest == expected, "and another lease goes on there"


def test_the_same_data_may_be_asked_again_when_it_was_stopped(server: Server) -> None:
    expected = whole(server)
    server.failing = lambda _path: Failure(503, None, Code.BUSY)
    with reading(server) as data:
        with pytest.raises(FetchStopped) as stopped:
            events_of(data)
        assert stopped.value.read_to is None
        assert len(data.dropped) == 12
        server.failing = lambda _path: None
        assert events_of(data) == expected
        assert data.dropped == []


def test_in_earnest_nobody_is_asked_before_the_time_that_was_named(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With waits that take their time."""
    monkeypatch.setattr(patience, "PATIENCE_S", 4.5)
    server.failing = lambda path: Failure(429, "2", Code.TOO_MANY) if path == BODIES else None
    began = time.monotonic()
    with reading(server, wait=None) as data, pytest.raises(FetchStopped):
        events_of(data)
    assert 4 <= time.monotonic() - began < 15
    times = [at for at, path, _ in server.asked if path == BODIES]
    bursts = [at for at, before in zip(times[1:], times[:-1], strict=True) if at - before > 0.5]
    assert len(bursts) == 2
    assert all(after - before >= 1.9 for before, after in zip([times[0], *bursts], bursts, strict=False))


def test_one_that_wants_to_be_left_alone_for_long_is(server: Server) -> None:
    waits: list[float] = []
    server.failing = lambda _path: Failure(503, "3600", Code.BUSY)
    with reading(server, wait=waits.append) as data, pytest.raises(FetchStopped, match="left alone for 3600 seconds"):
        events_of(data)
    assert (waits, len(server.asked)) == ([], 1)


def test_a_retry_after_longer_than_our_own_pauses_is_kept(server: Server) -> None:
    waits, failures = list[float](), [Failure(503, f"{LONGEST_PAUSE_S + 50:.0f}", Code.BUSY)]
    server.failing = lambda _path: failures.pop() if failures else None
    with reading(server, wait=waits.append) as data:
        assert set(events_of(data)) == set(PEOPLE)
    assert waits == [LONGEST_PAUSE_S + 50]


def test_a_body_that_never_comes_is_named_and_the_others_are_read(server: Server) -> None:
    """Nobody says that the service is busy: it hangs up whenever it is asked for this body."""
    expected = whole(server)
    lost = next(one for one in server.world.recordings.values() if one.leased.pseudonym == "p-2")
    hung_up: list[str] = []

    def failing(path: str) -> Failure | None:
        if path == BODIES and lost.ids()[5] in server.wanted:
            hung_up.append(path)
            return Failure(0)
        return None

    server.failing = failing
    with reading(server) as data:
        found, lacking = dict[str, int](), dict[str, int]()
        for session in data.sessions():
            found[session.pseudonym] = sum(1 for _ in session.events())
            for stream in session.coverage().streams:
                lacking |= stream.not_opened
                assert (stream.stream == lost.id) is not stream.complete
    assert len(hung_up) == ATTEMPTS
    assert lacking == {"not-delivered": 4}, "it, and those that were asked for together with it"
    assert set(found) == set(PEOPLE) and data.dropped == []
    assert found["p-2"] < expected["p-2"] and found["p-3"] == expected["p-3"]


def test_who_leaves_while_it_is_waited_for_leaves_at_once(server: Server) -> None:
    expected = whole(server)
    seen = server.counted(BODIES, answered=True)
    server.failing = lambda path: (
        Failure(503, "200", Code.BUSY) if path == BODIES and server.counted(BODIES, answered=True) > seen + 5 else None
    )
    waiting = threading.Event()
    data = reading(server, wait=None, progress=lambda said: waiting.set() if said.waits else None)
    got: list[dict[str, int]] = []

    def read() -> None:
        with pytest.raises(Exception):  # noqa: B017 - whatever tells it that nothing more comes
            got.append(events_of(data))

    thread = threading.Thread(target=read)
    thread.start()
    assert waiting.wait(30)
    began = time.monotonic()
    data.close()
    thread.join(30)
    assert time.monotonic() - began < 10 and not thread.is_alive()
    assert expected and not got


def test_a_gateway_says_when_to_come_back(server: Server) -> None:
    server.failing = lambda _path: Failure(503, "7")
    question = b'{"request": %s}' % sign(server.world.directory_statement, server.world.root).to_json()
    with Transport(server.url) as transport, pytest.raises(Unreachable) as raised:
        transport.request("POST", BODIES, body=question)
    assert (raised.value.busy, raised.value.retry_after_s) == (True, 7)
    server.failing = lambda _path: Failure(502)
    with Transport(server.url) as transport, pytest.raises(Unreachable) as raised:
        transport.request("POST", BODIES, body=question)
    assert (raised.value.busy, raised.value.retry_after_s) == (False, None)


def test_the_documents_say_how_long_is_waited() -> None:
    root = Path(__file__).parents[3]
    assert PATIENCE_S == 5 * 60
    assert "for five minutes the pull ends" in (root / "README.md").read_text()
    assert "for five minutes it stops" in (root / "docs" / "formats" / "http.md").read_text()
