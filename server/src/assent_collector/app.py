"""Puts the collector together: settings and ports in, an application out."""

from __future__ import annotations

import shutil
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from assent.contracts import limits
from assent.contracts.envelope import Envelope
from assent.contracts.keys import KeyInvalid, SigningKey
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import StreamCertificate
from assent.contracts.wire import FetchBody, RecordBody
from assent.sealing.segments import body_size
from assent_collector.background import Background
from assent_collector.blobs import FolderBlobs, Hook, no_hook
from assent_collector.custodian import Custodian, HttpCustodian
from assent_collector.endpoints import routes
from assent_collector.fetches import Fetches
from assent_collector.orders import OrderHook, Orders, no_order_hook
from assent_collector.reports import Reports
from assent_collector.settings import CollectorSettings
from assent_collector.trust import Trust
from assent_collector.uploads import Uploads
from assent_service.database import Database
from assent_service.describing import Kind, describe
from assent_service.metrics import CountAnswers, Facts, Metrics
from assent_service.web import new_app

Clock = Callable[[], datetime]
TITLE = "Assent collector"


class NotReady(Exception):
    """The collector cannot start; says what to do."""


def wall_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Collector:
    """Everything that a collector holds while it runs."""

    settings: CollectorSettings
    key: SigningKey = field(repr=False)
    database: Database
    blobs: FolderBlobs
    custodian: Custodian
    trust: Trust
    uploads: Uploads
    fetches: Fetches
    orders: Orders
    reports: Reports

    def ready(self) -> None:
        """Raises Problem (closed) unless it can take uploads that agents will believe."""
        if self.trust.directory.collector_key != self.key.public.text:
            raise Problem(Code.CLOSED, "the directory names another collector key; sign a new directory")
        with self.database.reading() as session:
            session.connection()

    def close(self) -> None:
        self.custodian.close()
        self.blobs.close()
        self.database.close()


def open_collector(
    settings: CollectorSettings,
    clock: Clock = wall_clock,
    custodian: Custodian | None = None,
    hook: Hook = no_hook,
    order_hook: OrderHook = no_order_hook,
) -> Collector:
    """Open key, database and folders; remove what a crash left. The database must have been migrated.

    `custodian` replaces the one over HTTP. The hooks are called at each step of an upload and of an order. Raises
    NotReady, and DirectoryRefused when the kept directory is of another root.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = read_key(settings.key)
    database = Database(settings.database)
    blobs = FolderBlobs(settings.blobs, hook)
    asked = custodian or HttpCustodian(settings.custodian_url, key, clock)
    trust = Trust(settings.root_fingerprint, settings.directory, asked, clock)
    reports = Reports(database, asked, key=key, clock=clock, hours=settings.report_hours)
    return Collector(
        settings=settings,
        key=key,
        database=database,
        blobs=blobs,
        custodian=asked,
        trust=trust,
        uploads=Uploads(database, blobs, trust, key=key, clock=clock, hook=hook),
        fetches=Fetches(database, blobs, trust, reports, clock, settings.behind),
        orders=Orders(
            database,
            blobs,
            trust,
            asked,
            key=key,
            clock=clock,
            behind=settings.behind,
            order_days=settings.order_days,
            hook=order_hook,
        ),
        reports=reports,
    )


def application(collector: Collector) -> FastAPI:
    """The HTTP service over an open collector, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        background = Background(
            collector.orders, collector.reports, collector.trust, collector.settings.orders_interval_s
        )
        if collector.settings.background:
            background.start()
        yield
        if collector.settings.background:
            await run_in_threadpool(background.stop)
        collector.close()

    app = new_app(TITLE, collector.ready, longest_body, lifespan)
    app.state.metrics = Metrics(lambda: facts_of(collector))
    app.add_middleware(CountAnswers, metrics=app.state.metrics)
    app.include_router(routes(collector.uploads, collector.fetches, collector.reports, collector.settings))
    return app


def create_app(
    settings: CollectorSettings,
    clock: Clock = wall_clock,
    custodian: Custodian | None = None,
    hook: Hook = no_hook,
    order_hook: OrderHook = no_order_hook,
) -> FastAPI:
    """`open_collector` and `application` in one."""
    return application(open_collector(settings, clock, custodian, hook, order_hook))


def openapi() -> dict[str, Any]:
    """The description of the routes. Opens nothing."""
    app = new_app(TITLE, lambda: None, longest_body)
    settings = CollectorSettings(root_fingerprint="0" * 64, custodian_url="http://localhost", data_dir=Path())
    nothing = (cast(Uploads, None), cast(Fetches, None), cast(Reports, None))  # described here, never called
    router = routes(*nothing, settings)
    app.include_router(router)
    described = [(route, Kind()) for route in router.routes if isinstance(route, APIRoute)]
    return describe(app, described, (Envelope, RecordBody, FetchBody, StreamCertificate))


def facts_of(collector: Collector) -> Facts:
    """Figures for operators; the room on the disk in whole GiB, which no single upload moves."""
    with collector.database.reading() as session:
        session.connection()
    return {"disk_free_gib": float(shutil.disk_usage(collector.settings.blobs).free // 2**30)}


def longest_body(path: str) -> int:
    """Bytes that an address takes at most."""
    if "/segments/" in path:
        return body_size(limits.MAX_SEGMENT_LENGTH)
    return limits.MAX_STATEMENT_BYTES


def read_key(path: Path) -> SigningKey:
    """The collector's signing key. Raises NotReady when it is missing, damaged, or readable by others."""
    try:
        info = path.stat()
        pem = path.read_bytes()
    except OSError as error:
        raise NotReady(f"the collector's key file {path.name} cannot be read; run `assent-server init`") from error
    if stat.S_IMODE(info.st_mode) & 0o077:
        raise NotReady(f"{path.name} can be read by others; make it 0600")
    try:
        return SigningKey.from_pem(pem)
    except KeyInvalid as error:
        raise NotReady(f"{path.name}: {error}") from error
