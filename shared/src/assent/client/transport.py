"""One HTTP client, and three ways in which a call can fail.

`Unreachable`: nothing was decided, try again later. `Refused`: the service understood and said no, with a problem that
has a stable code. `AnswerInvalid`: whatever answered, it was not the service speaking the contract (a captive portal
that says 200 with a web page, a redirect, a cut-off or oversized body); nothing of it counts.

HTTP/1.1, since it is the faster one for bulk. Redirects are never followed. A proxy from the environment is honoured,
except for loopback addresses, which never leave the machine. No answer is read beyond its limit, and nobody holds a
caller by sending an answer byte by byte.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import BinaryIO, Final, Self
from urllib.parse import urlsplit

import httpx2

from assent.contracts.problems import Code, Problem

JSON: Final = "application/json"
TEXT: Final = "text/plain"
BYTES: Final = "application/octet-stream"
PROBLEM: Final = "application/problem+json"

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Longest answer that is read into memory, unless a call says otherwise."""

CHUNK_BYTES: Final = 256 * 1024

SLOWEST_ANSWER_BYTES_PER_S: Final = 8 * 1024
"""An answer may be waited for as long as the timeout, and a second longer for so many bytes of it that came."""

_BUSY: Final = (429, 503)
_GATEWAY_ERRORS: Final = (429, 502, 503, 504)
_RETRYABLE: Final = (Code.INTERNAL, Code.TOO_MANY, Code.BUSY, Code.CLOSED, Code.NO_QUORUM, Code.STORAGE_FULL)


class ClientError(Exception):
    """A call did not succeed. `retryable`: the same call may succeed later. `busy`: the service, or what stands before
    it, says that it has too much to do or is down for now. `retry_after_s`: when to ask again, if it said so."""

    retryable = False
    busy = False
    retry_after_s: int | None = None


class Unreachable(ClientError):
    """Nobody answered in time. It is unknown whether the request arrived; every route may safely be asked again."""

    retryable = True

    def __init__(self, text: str, *, busy: bool = False, retry_after_s: int | None = None) -> None:
        super().__init__(text)
        self.busy = busy
        self.retry_after_s = retry_after_s


class Refused(ClientError):
    """The service said no. `problem` has the code, the detail and further members."""

    def __init__(self, problem: Problem, retry_after_s: int | None = None) -> None:
        super().__init__(f"{problem.code.title}: {problem.detail}" if problem.detail else problem.code.title)
        self.problem = problem
        self.retry_after_s = retry_after_s

    @property
    def code(self) -> Code:
        return self.problem.code

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        return self.problem.code in _RETRYABLE

    @property
    def busy(self) -> bool:  # type: ignore[override]
        return self.problem.code.status in _BUSY


class AnswerInvalid(ClientError):
    """What came back is not what the contract says, is not signed by whom it must be, or answers something else."""


def now_utc() -> datetime:
    """The wall clock, as an aware datetime."""
    return datetime.now(UTC)


class Transport:
    """Requests to one service. May be used by several threads. Close it, or use it as a context manager."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """`url`: where the service is. `transport` replaces the network, for in-process services."""
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._client = httpx2.Client(
            base_url=self.url,
            http1=True,
            http2=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(timeout_s, connect=min(10.0, timeout_s)),
            trust_env=not is_loopback(url),
            transport=transport,
            headers={"Accept-Encoding": "identity", "User-Agent": "assent/1"},
        )

    def request(
        self,
        method: str,
        target: str,
        *,
        body: bytes | Iterable[bytes] | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        expect: str = JSON,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> bytes:
        """Return the body of a successful answer of type `expect`. Raises Unreachable, Refused or AnswerInvalid."""
        with self.stream(method, target, body=body, headers=headers, expect=expect) as pieces:
            out = bytearray()
            for piece in pieces:
                out += piece
                if len(out) > max_bytes:
                    raise AnswerInvalid(f"the answer is longer than {max_bytes:,} bytes")
            return bytes(out)

    @contextmanager
    def stream(
        self,
        method: str,
        target: str,
        *,
        body: bytes | Iterable[bytes] | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        expect: str = BYTES,
    ) -> Iterator[Iterator[bytes]]:
        """The pieces of a successful answer as they come in. Raises as `request`, also while the pieces are read."""
        sent = dict(headers or {})
        if isinstance(body, bytes):
            sent.setdefault("Content-Type", JSON)
        try:
            with self._client.stream(method, target, content=body, headers=sent) as response:
                self._check(response, expect)
                yield self._in_time(response.iter_bytes())
        except httpx2.HTTPError as error:
            raise Unreachable(f"the service at {self.url} cannot be reached ({type(error).__name__})") from error
        except httpx2.InvalidURL as error:
            raise AnswerInvalid(f"the address {self.url} cannot be asked") from error

    def _in_time(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces, as long as they do not come too slowly on the whole. What the caller does meanwhile is not
        counted. Raises Unreachable."""
        allowed = self._timeout_s
        while True:
            began = time.monotonic()
            piece = next(pieces, None)
            allowed -= time.monotonic() - began
            if piece is None:
                return
            allowed += len(piece) / SLOWEST_ANSWER_BYTES_PER_S
            if allowed < 0:
                raise Unreachable(f"the service at {self.url} answers too slowly")
            yield piece

    def _check(self, response: httpx2.Response, expect: str) -> None:
        """Return only for a success of the expected type. Raises Unreachable, Refused or AnswerInvalid."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.headers.get("content-encoding", "identity") != "identity":
            raise AnswerInvalid("the answer is encoded in a way that was not asked for")
        if response.status_code in (200, 201) and kind == expect:
            return
        if kind == PROBLEM and response.status_code >= 400:
            problem = _read_problem(self._in_time(response.iter_bytes()))
            if problem is not None and problem.code.status == response.status_code:
                raise refusal_of(problem, _seconds(response.headers.get("retry-after")))
        if response.status_code in _GATEWAY_ERRORS:
            raise Unreachable(
                f"the service at {self.url} cannot be reached: a gateway answered {response.status_code}",
                busy=response.status_code in _BUSY, retry_after_s=_seconds(response.headers.get("retry-after")),
            )  # fmt: skip
        raise AnswerInvalid(
            f"the address {self.url} answered {response.status_code} with {kind or 'nothing'}, not as Assent would; "
            "if this network has a sign-in page, sign in first"
        )

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stale(Refused):
    """The question was too old or too new for the custodian, or asked twice.

    `skew_s`: how far the custodian's clock is ahead of ours, where it said its time, else None. That time is not
    signed: report it, set no clock by it.
    """

    def __init__(self, problem: Problem, retry_after_s: int | None, skew_s: float | None) -> None:
        super().__init__(problem, retry_after_s)
        self.skew_s = skew_s


class OutOfOrder(Refused):
    """The collector expects another number. `expected`: the number; `previous`: the hash that it must name."""

    def __init__(self, problem: Problem, expected: int, previous: str) -> None:
        super().__init__(problem)
        self.expected = expected
        self.previous = previous


def refusal_of(problem: Problem, retry_after_s: int | None = None) -> Refused:
    """The most telling refusal for this problem."""
    if problem.code is Code.OUT_OF_ORDER:
        expected, previous = problem.members.get("expected"), problem.members.get("previous")
        if isinstance(expected, int) and isinstance(previous, str):
            return OutOfOrder(problem, expected, previous)
    return Refused(problem, retry_after_s)


def is_loopback(url: str) -> bool:
    """Whether the address names this machine itself."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_problem(pieces: Iterator[bytes]) -> Problem | None:
    data = bytearray()
    for piece in pieces:
        data += piece
        if len(data) > CHUNK_BYTES:
            return None
    try:
        parsed = json.loads(bytes(data))
    except (ValueError, RecursionError):
        return None
    return Problem.from_dict(parsed) if isinstance(parsed, dict) else None


def _seconds(text: str | None) -> int | None:
    """A number of seconds; of one with more than nine digits the first nine, which is long enough."""
    return int(text[:9]) if text is not None and text.isascii() and text.isdigit() else None
