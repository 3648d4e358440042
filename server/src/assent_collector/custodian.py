"""What the collector asks of the custodian: the directory, and orders; and what it tells it: its reports. It asks with
its own key and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import httpx2

from assent.client.transport import AnswerInvalid, ClientError, Refused, Transport
from assent.contracts.envelope import Envelope, StatementInvalid, sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey, b64url
from assent.contracts.problems import Code
from assent.contracts.statements import Ask
from assent.contracts.times import hour_of, moment, parse_hour
from assent.contracts.wire import AUTHORIZATION_SCHEME, OrdersAnswer

TIMEOUT_S = 20


class CustodianUnreachable(Exception):
    """No usable answer from the custodian. Nothing was learnt; whether it got the question is unknown."""


class ReportElsewhere(Exception):
    """The custodian expects the report of another number, or one that begins at another hour; it took nothing."""

    def __init__(self, expected: int, since: str | None) -> None:
        """`since`: the hour at which the last report that it has ended; None when it has none."""
        super().__init__(f"report {expected} is expected")
        self.expected = expected
        self.since = since


class Custodian(Protocol):
    """The custodian as the collector sees it. Every call may be repeated; answers are not yet believed."""

    def directory(self) -> Envelope:
        """The current directory. Raises CustodianUnreachable."""

    def orders(self, after: int) -> OrdersAnswer:
        """Orders with numbers above `after`, in their order; and whether some are missing there. Raises
        CustodianUnreachable."""

    def returned(self, envelope: Envelope) -> None:
        """Hand in an OrderReturned. Raises CustodianUnreachable."""

    def done(self, envelope: Envelope) -> None:
        """Hand in an OrderDone. Raises CustodianUnreachable."""

    def reported(self, envelope: Envelope) -> None:
        """Hand in a CollectorReport. Raises ReportElsewhere, CustodianUnreachable."""

    def close(self) -> None:
        """Let go of connections."""


class HttpCustodian:
    """The custodian over HTTP."""

    def __init__(
        self, url: str, key: SigningKey, clock: Callable[[], datetime], transport: httpx2.BaseTransport | None = None
    ) -> None:
        self._transport = Transport(url, timeout_s=TIMEOUT_S, transport=transport)
        self._key = key
        self._clock = clock

    def close(self) -> None:
        self._transport.close()

    def directory(self) -> Envelope:
        try:
            return Envelope.from_json(self._transport.request("GET", "/v1/directory"))
        except (ClientError, StatementInvalid) as error:
            raise _unreachable(error) from error

    def orders(self, after: int) -> OrdersAnswer:
        target = f"/v1/orders?after={after}"
        ask = sign(Ask(method="GET", target=target, nonce=new_id(), at=moment(self._clock())), self._key)
        fields = {"Authorization": f"{AUTHORIZATION_SCHEME} {b64url(ask.to_json())}"}
        try:
            return OrdersAnswer.parse(self._transport.request("GET", target, headers=fields))
        except (ClientError, StatementInvalid) as error:
            raise _unreachable(error) from error

    def returned(self, envelope: Envelope) -> None:
        try:
            self._transport.request("POST", "/v1/orders/returned", body=envelope.to_json())
        except ClientError as error:
            raise _unreachable(error) from error

    def done(self, envelope: Envelope) -> None:
        try:
            self._transport.request("POST", "/v1/orders/done", body=envelope.to_json())
        except ClientError as error:
            raise _unreachable(error) from error

    def reported(self, envelope: Envelope) -> None:
        try:
            self._transport.request("POST", "/v1/reports", body=envelope.to_json())
        except Refused as error:
            raise _elsewhere(error) or _unreachable(error) from error
        except ClientError as error:
            raise _unreachable(error) from error


def _elsewhere(error: Refused) -> ReportElsewhere | None:
    """Which report the custodian expects, if that is what it says."""
    expected, since = (error.problem.members.get(name) for name in ("expected", "since"))
    if error.code is not Code.OUT_OF_ORDER or not isinstance(expected, int) or not 1 <= expected < 2**31:
        return None
    try:
        return ReportElsewhere(expected, since if since is None else hour_of(parse_hour(since)))
    except (TypeError, ValueError):
        return None


def _unreachable(error: Exception) -> CustodianUnreachable:
    kind = "its answer is not well-formed" if isinstance(error, AnswerInvalid | StatementInvalid) else str(error)
    return CustodianUnreachable(kind)
