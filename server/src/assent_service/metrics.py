"""What operators may watch: totals of the last full hour, in steps so wide that nothing here moves with one person.

A metric has no label but the route's template and the status. Counts of the hour under way are not shown, and what is
less than a step is not there at all. Served in the Prometheus text format on a port of its own, which is
closed unless the settings name it, and never on the port that people reach.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assent_service.web import PortTaken

STEP = 5000
"""Answers of a route are told in steps of this. One computer causes about 60 in an hour, and about 400 in one in which
it sends what it kept of a working day: tens of answers would be one person's hours.
"""

TENS = 10
"""Failures are told in tens, of all routes together: whose they were does not show, and alarms need them early."""

HOUR = timedelta(hours=1)

Facts = Mapping[str, float]
"""Figures about the installation, by name; none of them may be about people."""


def wall_clock() -> datetime:
    return datetime.now(UTC)


class Metrics(Collector):
    """Counts answers. Thread-safe. `facts` is asked each time somebody looks; what it raises is left out."""

    def __init__(self, facts: Callable[[], Facts] = dict, clock: Callable[[], datetime] = wall_clock) -> None:
        self._facts = facts
        self._clock = clock
        self._lock = threading.Lock()
        self._hour = _hour(clock())
        self._now: Counter[tuple[str, str]] = Counter()
        self._last: Counter[tuple[str, str]] = Counter()

    def answered(self, route: str, status: int) -> None:
        """Count an answer of this route."""
        with self._lock:
            self._turn()
            self._now[route, str(status)] += 1

    def collect(self) -> Iterator[Metric]:
        """The last full hour, and the facts of this moment."""
        with self._lock:
            self._turn()
            last = dict(self._last)
        answers = GaugeMetricFamily(
            "assent_answers_last_hour", f"Answers in the last full hour, in steps of {STEP}; fewer are not shown.",
            labels=("route", "status"),
        )  # fmt: skip
        for (route, status), count in sorted(last.items()):
            if count >= STEP:
                answers.add_metric((route, status), count - count % STEP)
        yield answers
        failures = GaugeMetricFamily(
            "assent_failures_last_hour",
            "Answers 5xx of all routes in the last full hour, in tens; fewer are not shown.",
        )
        failed = sum(count for (_, status), count in last.items() if status.startswith("5"))
        if failed >= TENS:
            failures.add_metric((), failed - failed % TENS)
        yield failures
        try:
            facts = dict(self._facts())
        except Exception:  # a database that is away must not hide the other figures
            facts = {}
        yield GaugeMetricFamily("assent_facts_known", "1 when the service could look at its own state.", bool(facts))
        for name, value in facts.items():
            yield GaugeMetricFamily(f"assent_{name}", "See docs/operations/metrics.md.", value)

    def _turn(self) -> None:
        hour = _hour(self._clock())
        if hour != self._hour:
            self._last = self._now if hour == self._hour + HOUR else Counter()
            self._now, self._hour = Counter(), hour


def _hour(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0)


class CountAnswers:
    """Counts every answer by the template of its route; addresses that are no route are counted as one."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")
                named = f"{scope['method']} {route.path_format}" if isinstance(route, APIRoute) else "other"
                self._metrics.answered(named, message["status"])
            await send(message)

        await self._app(scope, receive, counted)


def serve_metrics(metrics: Metrics, host: str, port: int | None) -> None:
    """Serve them from a thread of their own, until the process ends. None: not at all. Raises PortTaken."""
    if port is None:
        return
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise PortTaken(f"cannot listen on {host} port {port}: {error.strerror}") from error
