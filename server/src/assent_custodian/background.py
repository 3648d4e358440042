"""What the service does unasked: it forgets old nonces, tells people of leases over which it died, has heads
countersigned (new ones, and hourly), sounds the alarm when something is overdue or the collector has fallen silent, and
runs the night once a day: as soon as it is time, and again an hour later when it failed or the service was down.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import structlog

from assent_custodian import alarms
from assent_custodian.context import Custodian
from assent_custodian.drills import service as drills
from assent_custodian.leases import service as leases
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.night import last_done, run_night
from assent_custodian.replay import forget_old_nonces
from assent_custodian.reports import service as reports
from assent_custodian.restoring.catching_up import catch_up
from assent_custodian.roles import NOTHING_ELSE
from assent_service.reserve import NoRoom

AGAIN_AFTER = timedelta(hours=1)
"""When a night that failed is tried again. Sooner, a lasting failure would fill the log with padding."""

FULL_SAID_EVERY = timedelta(hours=1)
"""How often the operator is told that there is no room for anything of this."""

WITNESSED_EVERY = timedelta(hours=1)
"""A head that is not new is countersigned anew, too: so whoever follows the log sees that it still is the newest."""

_log = structlog.get_logger("assent.custodian.background")


class Background:
    """One thread. A failure is logged by kind and tried again; it never stops the service."""

    def __init__(self, custodian: Custodian) -> None:
        self._custodian = custodian
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="custodian-background", daemon=True)
        self._not_before: datetime | None = None
        self._looked_on = ""
        self._silence_said_on = ""
        self._submitted: datetime | None = None
        self._full_said: datetime | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end and wait for the turn under way."""
        self._stop.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._stop.wait(self._custodian.settings.witness_interval_s):
            try:
                self.turn()
            except NoRoom:
                self._say_full()
            except Exception as error:
                _log.warning("background", kind=type(error).__name__)

    def turn(self) -> None:
        """One turn: forget nonces, settle leases, countersign what is new; the night, if it is due today."""
        with self._custodian.database.transaction() as session:
            forget_old_nonces(session, self._custodian.now())
        if catch_up(self._custodian) is not None:
            return
        leases.settle(self._custodian)
        with self._custodian.database.reading() as session:
            grown = log.size(session) > log.newest_cosigned_size(session)
        now = self._custodian.now()
        if grown or self._submitted is None or not self._submitted <= now < self._submitted + WITNESSED_EVERY:
            self._submitted = now
            witnesses.submit_head(self._custodian, again=not grown)
        self._look_for_overdue()
        self._look_for_silence()
        drills.sound(self._custodian)
        if now.hour >= self._custodian.settings.night_hour_utc and self._is_due(now):
            self._not_before = now + AGAIN_AFTER
            run_night(self._custodian)

    def _say_full(self) -> None:
        """Hourly. Whether any of the reserve was used is not said: it would tell that somebody withdrew."""
        now = self._custodian.now()
        if self._full_said is None or not self._full_said <= now < self._full_said + FULL_SAID_EVERY:
            self._full_said = now
            _log.error("disk-short", hint=f"{NOTHING_ELSE} until there is room")

    def _look_for_overdue(self) -> None:
        """Once a day, also where no night comes to its end any more."""
        if self._looked_on != self._custodian.today():
            with self._custodian.database.reading() as session:
                last = last_done(session)
            alarms.sound(self._custodian, last)
            self._looked_on = self._custodian.today()

    def _look_for_silence(self) -> None:
        """Once a day, to the operator: in the log it is what is missing."""
        if self._silence_said_on != self._custodian.today():
            with self._custodian.database.reading() as session:
                since = reports.silent_since(session, self._custodian)
            if since is not None:
                self._silence_said_on = self._custodian.today()
                _log.warning("collector-silent", since=since)

    def _is_due(self, now: datetime) -> bool:
        """Whether today's night has not come to its end, and was not tried here within the hour."""
        if self._not_before is not None and now < self._not_before <= now + AGAIN_AFTER:
            return False
        with self._custodian.database.reading() as session:
            return last_done(session) != self._custodian.today()
