"""Three kinds of failure, and none of them is mistaken for another."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
import pytest

from assent.client.transport import (
    AnswerInvalid,
    ClientError,
    OutOfOrder,
    Refused,
    Transport,
    Unreachable,
    is_loopback,
)
from assent.contracts.problems import Code, Problem

JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html"}


def answering(status: int, headers: dict[str, str], content: bytes) -> Transport:
    def handle(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers=headers, content=content)

    return Transport("http://service.test", transport=httpx2.MockTransport(handle))


def problem(code: Code, **members: object) -> bytes:
    return json.dumps(Problem(code, "because", **members).as_dict()).encode()


def test_a_captive_portal_that_answers_200_with_a_web_page_is_no_answer() -> None:
    with pytest.raises(AnswerInvalid, match="sign-in page"):
        answering(200, HTML, b"<html>Welcome to the hotel</html>").request("GET", "/v1/directory")


def test_a_captive_portal_that_redirects_is_not_followed() -> None:
    with pytest.raises(AnswerInvalid, match="302"):
        answering(302, {"location": "http://portal.test/"}, b"").request("GET", "/v1/directory")


@pytest.mark.parametrize(
    ("status", "headers", "content", "expected"),
    [
        (204, {}, b"", AnswerInvalid),
        (200, {}, b"{}", AnswerInvalid),
        (200, {**JSON, "content-encoding": "gzip"}, b"", AnswerInvalid),
        (404, HTML, b"not here", AnswerInvalid),
        (403, {"content-type": "application/problem+json"}, b"{}", AnswerInvalid),
        (403, {"content-type": "application/problem+json"}, b"not json", AnswerInvalid),
        (403, {"content-type": "application/problem+json"}, b"[" * 300_000, AnswerInvalid),
        (403, {"content-type": "application/problem+json"}, b"[" * 200_000, AnswerInvalid),
        (200, {"content-type": "application/problem+json"}, problem(Code.REFUSED), AnswerInvalid),
        (403, {"content-type": "application/problem+json"}, problem(Code.NOT_FOUND), AnswerInvalid),
        (403, {"content-type": "application/problem+json"}, problem(Code.REFUSED), Refused),
        (502, HTML, b"bad gateway", Unreachable),
        (503, HTML, b"maintenance", Unreachable),
        (500, HTML, b"oops", AnswerInvalid),
    ],
)
def test_what_each_answer_means(
    status: int, headers: dict[str, str], content: bytes, expected: type[ClientError]
) -> None:
    with pytest.raises(ClientError) as raised:
        answering(status, headers, content).request("GET", "/v1/x")
    assert type(raised.value) is expected


def test_a_refusal_carries_the_problem_and_when_to_come_back() -> None:
    headers = {"content-type": "application/problem+json", "retry-after": "7"}
    with pytest.raises(Refused) as raised:
        answering(429, headers, problem(Code.TOO_MANY, limit=3)).request("GET", "/v1/x")
    assert raised.value.code is Code.TOO_MANY
    assert raised.value.retry_after_s == 7
    assert raised.value.retryable
    assert raised.value.problem.members == {"limit": 3}


@pytest.mark.parametrize(
    ("said", "heard"), [("9" * 5000, 999_999_999), ("-1", None), ("Fri, 31 Dec 2027 23:59:59 GMT", None), ("0", 0)]
)
def test_when_to_come_back_is_a_number_whatever_is_said(said: str, heard: int | None) -> None:
    headers = {"content-type": "application/problem+json", "retry-after": said}
    with pytest.raises(Refused) as raised:
        answering(429, headers, problem(Code.TOO_MANY)).request("GET", "/v1/x")
    assert raised.value.retry_after_s == heard


def test_out_of_order_says_what_is_expected() -> None:
    headers = {"content-type": "application/problem+json"}
    content = problem(Code.OUT_OF_ORDER, expected=4, previous="ab" * 32)
    with pytest.raises(OutOfOrder) as raised:
        answering(409, headers, content).request("PUT", "/v1/x", body=b"")
    assert (raised.value.expected, raised.value.previous) == (4, "ab" * 32)


def test_an_answer_is_not_read_beyond_its_limit() -> None:
    with pytest.raises(AnswerInvalid, match="longer"):
        answering(200, JSON, b"x" * 1000).request("GET", "/v1/x", max_bytes=999)


@pytest.mark.parametrize("status", [200, 403])
def test_an_answer_that_comes_byte_by_byte_for_ever_is_given_up(status: int) -> None:
    """Each byte in time, and no end: what holds a reader or an agent for ever if only silence has a limit."""
    sent = 0

    class Drip(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            nonlocal sent
            while sent < 10_000:
                time.sleep(0.01)
                sent += 1
                yield b" "

    kind = "application/json" if status == 200 else "application/problem+json"

    def handle(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": kind}, stream=Drip())

    with pytest.raises(Unreachable, match="too slowly"):
        Transport("http://service.test", timeout_s=0.3, transport=httpx2.MockTransport(handle)).request("GET", "/x")
    assert sent < 1_000


def test_who_takes_their_time_over_an_answer_is_not_told_that_it_came_slowly() -> None:
    class Pieces(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from (b"x", b"y", b"z")

    def handle(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "application/octet-stream"}, stream=Pieces())

    transport = Transport("http://service.test", timeout_s=0.05, transport=httpx2.MockTransport(handle))
    with transport.stream("GET", "/x") as pieces:
        taken = []
        for piece in pieces:
            time.sleep(0.1)
            taken.append(piece)
    assert b"".join(taken) == b"xyz"


def test_nobody_listening_is_unreachable_and_may_be_asked_again() -> None:
    with pytest.raises(Unreachable) as raised:
        Transport("http://127.0.0.1:9", timeout_s=2).request("GET", "/healthz")
    assert raised.value.retryable


def test_loopback_never_goes_through_a_proxy(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert Transport(server, timeout_s=5).request("GET", "/real") == b"[]"


def test_a_proxy_of_the_environment_is_honoured_for_everything_else(
    monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert Transport("http://collector.example", timeout_s=5).request("GET", "/real") == b"[]"


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://localhost", True),
        ("http://127.0.0.1.example", False),
        ("https://custodian.example", False),
    ],
)
def test_which_addresses_are_this_machine(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """A web server, which is a proxy as well if it is asked as one."""
    listening = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    thread.join()
    listening.server_close()
