"""Leases under whatever happens around them, in any order, against the real custodian and a small model of it.

Whatever was opened: the lease was witnessed, alive and not closed; its grant was in force; the person's consent covered
it at that moment; the stream was in the lease. For one's own data: it was one's own, and not erased.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.simulators.access import AccessWorld, Job, Recorded
from tests.simulators.custodian import CustodianWorld, Member, problem, with_leaf

from assent.contracts.envelope import sign
from assent.contracts.ids import Modality
from assent.contracts.statements import Erasure, OwnData
from assent_custodian.night import run_night

PEOPLE = 10
PERSON = st.integers(0, PEOPLE - 1)


@dataclass
class Known:
    """A lease, as the model knows it. `owner` None: under the grant."""

    job: Job
    owner: Member | None
    until: datetime
    streams: set[str]
    closed: bool = False


class LeaseMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.custodian = CustodianWorld(Path(self.folder.name))
        self.world = AccessWorld(self.custodian, PEOPLE)
        self.request = self.world.grant()
        self.in_force = True
        self.withdrawn: set[str] = set()
        self.erased: set[str] = set()
        self.hours_erased: set[str] = set()
        self.leases: list[Known] = []

    def teardown(self) -> None:
        if hasattr(self, "custodian"):
            self.custodian.close()
            self.folder.cleanup()

    def _may_open(self, one: Recorded, owner: Member | None) -> bool:
        person = one.owner.person
        if owner is not None:
            return person == owner.person and person not in self.erased
        return self.in_force and person not in self.withdrawn | self.erased

    @rule(hours=st.integers(1, 24))
    def open_under_the_grant(self, hours: int) -> None:
        self._open(self.world.requester, None, hours, request=self.request)

    @rule(who=PERSON, hours=st.integers(1, 24))
    def open_own(self, who: int, hours: int) -> None:
        person = self.world.people[who]
        own = OwnData(
            from_day="2026-11-23", to_day=self.custodian.now[:10], modalities=(Modality.POINTER, Modality.KEYBOARD)
        )
        self._open(person, person, hours, own=own)

    def _open(self, asker: Member, owner: Member | None, hours: int, **wish: object) -> None:
        job = self.world.job()
        until = self.custodian.clock() + timedelta(hours=hours)
        response = job.open(asker, until=until.strftime("%Y-%m-%dT%H:%M:%SZ"), **wish)
        expected = {one.certificate.stream for one in self.world.recorded if self._may_open(one, owner)}
        if self.custodian.witness.silent:
            # A checkpoint that covers the entry cannot have been witnessed: the entry is new.
            assert response.status_code in (403, 409, 503), response.text
            return
        if not expected:
            assert response.status_code in (403, 409), response.text
            return
        assert response.status_code == 200, response.text
        assert job.answer is not None
        assert {one.stream for one in job.answer.streams} == expected
        self.leases.append(Known(job, owner, until, expected))

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0, 100), some=st.lists(st.integers(0, 2 * PEOPLE - 1), min_size=1, max_size=6, unique=True))
    def release(self, which: int, some: list[int]) -> None:
        lease = self.leases[which % len(self.leases)]
        wanted = [self.world.recorded[number] for number in some]
        alive = not lease.closed and self.custodian.clock() < lease.until and (lease.owner is not None or self.in_force)
        if not alive:
            response, _ = lease.job.ask_release([one.segment for one in wanted])
            assert problem(response) == "refused"
            return
        opened, refused = lease.job.release(wanted)
        expected = {
            one.segment.id: one.data_key.to_bytes()
            for one in wanted
            if one.certificate.stream in lease.streams
            and self._may_open(one, lease.owner)
            and one.owner.person not in self.hours_erased
        }
        assert opened == expected
        assert set(refused) == {one.segment.id for one in wanted} - set(expected)

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0, 100))
    def close(self, which: int) -> None:
        lease = self.leases[which % len(self.leases)]
        assert lease.job.close(0).status_code == 200
        lease.closed = True

    @rule(who=PERSON, at_once=st.booleans())
    def withdraw(self, who: int, at_once: bool) -> None:
        person = self.world.people[who]
        assert person.withdraw(erase="now" if at_once else "after-7-days").status_code == 200
        self.withdrawn.add(person.person)
        if at_once:
            self.erased.add(person.person)

    @rule(who=PERSON)
    def erase_everything(self, who: int) -> None:
        self._erase(self.world.people[who], everything=True)
        self.erased.add(self.world.people[who].person)

    @rule(who=PERSON)
    def erase_the_hour(self, who: int) -> None:
        """Everything was recorded in one hour; the streams live on, and stay in leases."""
        person = self.world.people[who].person
        self._erase(self.world.people[who], hours=("2026-11-23T09",))
        self.hours_erased.add(person)

    def _erase(self, member: Member, **what: Any) -> None:
        wish = Erasure(person=member.person, at=self.custodian.now, **what)
        answer = self.custodian.post("/v1/erasures", with_leaf(sign(wish, member.opening)))
        assert answer.status_code == 200, answer.text

    @rule()
    def night(self) -> None:
        run_night(self.custodian.custodian)

    @rule()
    def revoke(self) -> None:
        response = self.world.decide(self.custodian.council, self.request, "revoke", "enough")
        # Revoking what has ended is a conflict; the very same statement again is the same.
        assert response.status_code in ((200,) if self.in_force else (200, 409)), response.text
        self.in_force = False

    @rule(hours=st.integers(1, 12))
    def time_passes(self, hours: int) -> None:
        self.custodian.clock.forward(hours=hours)
        if self.custodian.clock() >= datetime.fromisoformat("2026-12-13T09:00:00+00:00"):
            self.in_force = False

    @rule(silent=st.booleans())
    def the_witness(self, silent: bool) -> None:
        self.custodian.witness.silent = silent


TestLeaseMachine = LeaseMachine.TestCase
TestLeaseMachine.settings = settings(
    max_examples=6, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
