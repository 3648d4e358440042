"""What the collector does unasked: it refreshes the directory, pulls orders, hands in reports and tidies up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from assent.contracts.problems import Problem
from assent_collector.custodian import CustodianUnreachable
from assent_collector.orders import OrderInvalid, Orders
from assent_collector.reports import Reports
from assent_collector.trust import REFRESH_EVERY, Trust
from assent_service.problems import where

TIDY_EVERY_S = 3600.0
STOP_TIMEOUT_S = 5.0

_log = structlog.get_logger("assent.collector")


class Background:
    """One thread, until `stop`. A failure is logged and tried again next time; the rest is done all the same."""

    def __init__(self, orders: Orders, reports: Reports, trust: Trust, interval_s: float) -> None:
        self._orders = orders
        self._reports = reports
        self._trust = trust
        self._interval_s = interval_s
        self._tidied = -TIDY_EVERY_S
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended, or after a few seconds when it hangs in the network."""
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        while True:
            self._try("orders-not-pulled", self._pull)
            self._try("report-not-handed-in", self._reports.report_once)
            if self._stopping.wait(self._interval_s):
                return

    def _pull(self) -> None:
        self._trust.refresh(REFRESH_EVERY)
        if time.monotonic() - self._tidied >= TIDY_EVERY_S:
            self._tidied = time.monotonic()
            self._orders.tidy()
        self._orders.pull_orders_once()

    @staticmethod
    def _try(failed: str, work: Callable[[], object]) -> None:
        try:
            work()
        except (CustodianUnreachable, OrderInvalid, Problem) as error:
            _log.warning(failed, kind=type(error).__name__, reason=str(error))
        except Exception as error:
            _log.error(failed, kind=type(error).__name__, at=where(error))
