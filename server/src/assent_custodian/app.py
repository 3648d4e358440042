"""Puts the custodian together. Every router is named in `ROUTERS`, and every route in them carries a guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session

from assent.contracts import wire
from assent.contracts.envelope import Envelope
from assent.contracts.limits import MAX_RELEASE_BYTES, MAX_STATEMENT_BYTES
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Notification
from assent.contracts.times import parse_day
from assent_custodian.audit import endpoints as audit
from assent_custodian.background import Background
from assent_custodian.catalogue import endpoints as catalogue
from assent_custodian.ceremony import record_boot
from assent_custodian.consent import endpoints as consent
from assent_custodian.context import Clock, Custodian, open_custodian, wall_clock
from assent_custodian.drills import endpoints as drills
from assent_custodian.drills import service as drilled
from assent_custodian.erasures import endpoints as erasures
from assent_custodian.files import NotReady
from assent_custodian.grants import endpoints as grants
from assent_custodian.guards import ByAsk, ByCollector, Guard, guard_of
from assent_custodian.halting import endpoints as halting
from assent_custodian.halting.service import halted
from assent_custodian.keys import endpoints as keys
from assent_custodian.leases import endpoints as leases
from assent_custodian.leaving import endpoints as leaving
from assent_custodian.log import endpoints as log
from assent_custodian.night import last_done
from assent_custodian.notifications import endpoints as notifications
from assent_custodian.notifications import service as told
from assent_custodian.orders import endpoints as orders
from assent_custodian.people import endpoints as people
from assent_custodian.people import notices
from assent_custodian.purposes import endpoints as purposes
from assent_custodian.recalls import endpoints as recalls
from assent_custodian.reports import endpoints as reports
from assent_custodian.reports import service as reported
from assent_custodian.restoring import catching_up
from assent_custodian.restoring import endpoints as restoring
from assent_custodian.restoring.state import why_shut
from assent_custodian.roles import NOTHING_ELSE
from assent_custodian.settings import Settings
from assent_custodian.unmasking import endpoints as unmasking
from assent_service import describing
from assent_service.describing import Kind
from assent_service.metrics import CountAnswers, Facts, Metrics
from assent_service.problems import response_for
from assent_service.web import new_app

ROUTERS: tuple[APIRouter, ...] = (
    people.router,
    leaving.router,
    halting.router,
    purposes.router,
    consent.router,
    erasures.router,
    keys.router,
    orders.router,
    reports.router,
    restoring.router,
    log.router,
    grants.router,
    leases.router,
    recalls.router,
    notifications.router,
    catalogue.router,
    audit.router,
    unmasking.router,
    drills.router,
)
"""The one obvious place to add a feature's routes."""

TITLE = "Assent custodian"

_log = structlog.get_logger("assent.custodian")

Notifier = Callable[[Session, str, str], tuple[Notification, ...]]
NOTIFIERS: tuple[Notifier, ...] = (notices.news_of_person, told.news_of_person)
"""Features that have something to tell a person with the news: (session, person, today) -> what to show."""


def create_app(settings: Settings, clock: Clock = wall_clock) -> FastAPI:
    """The custodian's application. Raises NotReady with what is wrong with keys, files or modes."""
    return app_for(open_custodian(settings, clock))


def app_for(custodian: Custodian) -> FastAPI:
    """The application around an opened custodian. Raises NotReady when a route has no guard."""

    def ready() -> str | None:
        """Without its token, or with the door shut, the custodian still takes withdrawals: it must be asked."""
        try:
            _ = custodian.directory
            with custodian.database.reading() as session:
                shut = why_shut(session, custodian.head_memory)
        except Exception as error:
            raise Problem(Code.CLOSED, "keys, directory or database cannot be read") from error
        if shut is not None:
            return "the door is shut: no certificate, no release"
        if (reserve := custodian.database.reserve) is not None and reserve.is_short:
            return f"room on the disk: {NOTHING_ELSE}"
        return "the token does not answer: no certificate, no release" if custodian.keks.silent() else None

    app = new_app(TITLE, ready, _limit_for)
    app.add_exception_handler(NotReady, _not_ready)
    app.state.custodian = custodian
    app.state.notifiers = NOTIFIERS
    app.state.metrics = Metrics(lambda: facts_of(custodian))
    app.add_middleware(CountAnswers, metrics=app.state.metrics)
    app.router.lifespan_context = _lifespan
    for router in ROUTERS:
        app.include_router(router)
    for route in guarded_routes():
        if guard_of(route) is None:
            raise NotReady(f"the route {route.path} has no guard")
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


async def _not_ready(_request: Request, _error: Exception) -> Response:
    """A KEK, or the token that keeps it, cannot be used: what needs it is refused, and nothing was changed."""
    _log.warning("keys-not-ready", hint="assent-server doctor says why")
    return response_for(Problem(Code.CLOSED, "the keys cannot be used now; the operator's `doctor` says why"))


def guarded_routes() -> tuple[APIRoute, ...]:
    """Every route of every feature. Besides them the application answers `/healthz` and `/readyz` only."""
    return tuple(route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute))


def facts_of(custodian: Custodian) -> Facts:
    """Figures for operators. None of them is about people, or moves with one."""
    with custodian.database.reading() as session:
        done = last_done(session)
        stopped = halted(session) is not None
        found = {"halted": float(stopped), **drilled.facts(session, custodian), **reported.facts(session, custodian)}
    if (reserve := custodian.database.reserve) is not None:
        found["disk_short"] = float(reserve.is_short)
    if done is not None:
        found["night_done_days_ago"] = float((parse_day(custodian.today()) - parse_day(done)).days)
    return found


def _limit_for(path: str) -> int:
    long = ("/v1/leases/releases", "/v1/orders/returned")
    return MAX_RELEASE_BYTES if path in long else MAX_STATEMENT_BYTES


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    custodian: Custodian = app.state.custodian
    if catching_up.catch_up(custodian) is None:
        record_boot(custodian)
    background = Background(custodian) if custodian.settings.background else None
    if background is not None:
        background.start()
    try:
        yield
    finally:
        if background is not None:
            background.stop()
        custodian.close()


def openapi() -> dict[str, Any]:
    """The description of the routes. Opens nothing."""
    bare = new_app(TITLE, lambda: None, lambda _path: 0)
    for router in ROUTERS:
        bare.include_router(router)
    return describe(bare)


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description of an application with these routers; its guards say what each route takes."""
    guarded = [(route, guard) for route in guarded_routes() if (guard := guard_of(route)) is not None]
    document = describing.describe(app, ((route, _kind(guard)) for route, guard in guarded), ())
    document["components"]["securitySchemes"] = {"ask": {"type": "http", "scheme": wire.AUTHORIZATION_SCHEME}}
    for route, guard in guarded:
        if isinstance(guard, ByAsk | ByCollector):
            for method in route.methods or ():
                document["paths"][route.path_format][method.lower()]["security"] = [{"ask": []}]
    return document


def _kind(guard: Guard) -> Kind:
    body = None if guard.states is None else guard.within or Envelope
    return Kind(body, guard.states, guard.refuses)
