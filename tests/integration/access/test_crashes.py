"""A custodian that is killed (SIGKILL, a process of its own) at any step of opening, using or closing a lease.

What is in the log counts as read: budgets count it, everyone concerned is told, once, with proof, and nothing is
released under it that was not released by an answer to its job.
"""

from __future__ import annotations

import base64
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import select
from tests.simulators.access import AccessWorld, Job, Recorded
from tests.simulators.custodian import CustodianWorld, problem
from tests.simulators.custodian_process import custodian_process

from assent.contracts import limits
from assent.contracts.envelope import sign
from assent.contracts.ids import Modality, sha256_hex
from assent.contracts.keys import fingerprint
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.lists import pack_batch
from assent.contracts.statements import LeaseRequest, OwnData, ReleaseRequest
from assent.contracts.times import moment
from assent.contracts.wire import AccessesView, ReleaseBody
from assent.reader.log_rules import LogRules
from assent.transparency.proof import LogProof
from assent_custodian.background import Background
from assent_custodian.leases import service as leases
from assent_custodian.leases.models import LeaseRow
from assent_custodian.log import service as log
from assent_custodian.log import witnesses

NONCE, WRITTEN, HEAD, WITNESSED, OPENED = range(1, 6)
"""The commits of opening a lease: its nonce is taken, it is in the log, its head is signed, the cosignatures are kept,
it is open and everybody is told."""

OPENING = [*(f"{when} {commit}" for commit in range(NONCE, OPENED + 1) for when in ("before", "after")), "answering"]
NOT_WRITTEN = {f"before {NONCE}", f"after {NONCE}", f"before {WRITTEN}"}
TOLD_AT_ONCE = {f"after {OPENED}", "answering"}
RELEASING = ["before 1", "after 1", "answering"]
CLOSING = ["before 1", "after 1", "before 2", "after 2", "answering"]
"""The second commit is a head that is signed."""
PEOPLE = 10


class Site:
    """An installation with recordings of two days and a grant of each. Every test has a day, and so a budget, of its
    own."""

    def __init__(self, world: CustodianWorld) -> None:
        self.world, self.access = world, AccessWorld(world, PEOPLE)
        first, self.recorded = world.now[:10], list(self.access.recorded)
        world.clock.forward(days=1)
        for member in self.access.people:
            self.access.record(member)
        month = moment(world.clock() + timedelta(days=limits.REQUEST_DAYS))
        self.first = self.access.grant(from_day=first, to_day=first, expires=month)
        self.second = self.access.grant(expires=month)

    def kill(self, step: str, ask: Callable[[], Any]) -> None:
        """Have a custodian of its own die at this step over what `ask` asks. Then one of here serves again."""
        self.world.custodian.close()
        with custodian_process(self.world.settings, self.world.clock(), step) as (process, url):
            with httpx2.Client(base_url=url, timeout=60) as self.world.client, pytest.raises(httpx2.TransportError):
                ask()
            process.join(30)
            assert process.exitcode == -signal.SIGKILL
        self.world.restart(recorded_days_per_day=PEOPLE)

    def leaves(self) -> list[Leaf]:
        with self.world.custodian.database.reading() as session:
            return [Leaf.model_validate_json(leaf) for _, leaf in log.entries(session, 0, 100_000)]

    def opened(self, job: Job) -> list[int]:
        """Where the log has this job's lease."""
        key = fingerprint(job.signing.public.text)
        return [
            index
            for index, leaf in enumerate(self.leaves())
            if leaf.type is LeafType.LEASE_OPENED and leaf.keys and key in leaf.keys
        ]

    def row(self, job: Job) -> LeaseRow:
        with self.world.custodian.database.reading() as session:
            return session.scalars(select(LeaseRow).where(LeaseRow.job_signing_key == job.signing.public.text)).one()

    def told(self, index: int) -> list[int]:
        """How often each person was told of this entry, with a proof that holds."""
        policy, found = self.world.custodian.directory.policy, []
        for member in self.access.people:
            view = AccessesView.parse(member.get("/v1/me/accesses", key=member.device).content)
            mine = [access for access in view.accesses if access.notification.leaf_index == index]
            for access in mine:
                assert access.leaf is not None and access.proof is not None
                LogProof.from_bytes(access.proof.encode()).verify(base64.b64decode(access.leaf), policy)
            found.append(len(mine))
        return found

    def over_budget(self) -> bool:
        """Whether ten more recorded days are too many today, since ten were opened."""
        answer = self.access.job().open(self.access.requester, request=self.second)
        if answer.status_code == 200:
            return False
        assert answer.json()["rule"] == "days-per-day", answer.text
        return True

    def wrong(self) -> list[str]:
        """What `assent audit verify` would say of the entries."""
        rules = LogRules()
        with self.world.custodian.database.reading() as session:
            found = [rules.read(leaf) for _, leaf in log.entries(session, 0, 100_000)]
        return [finding.text for one in found for finding in one.wrong]

    def unclosed(self, index: int) -> bool:
        """Whether a monitor says, when its time is over, that this lease counts as read in full."""
        rules = LogRules()
        with self.world.custodian.database.reading() as session:
            for _, leaf in log.entries(session, 0, 100_000):
                rules.read(leaf)
        later = self.world.clock() + timedelta(days=2)
        return any(one.kind == "lease-unclosed" and one.about == str(index) for one in rules.standing(later))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def everything(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    url = ""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").new_database()
    world = CustodianWorld(tmp_path_factory.mktemp("crashes"), url)
    try:
        yield Site(world)
    finally:
        world.close()


@pytest.fixture
def site(everything: Site) -> Site:
    """The same, on a day on which nobody has opened anything."""
    everything.world.clock.forward(days=1)
    return everything


def release(site: Site, lease: str, job: Job, recorded: list[Recorded]) -> httpx2.Response:
    """What somebody would ask who has the job's keys and found out the lease's id."""
    batch = pack_batch((one.segment.header, one.segment.sealed_key) for one in recorded)
    statement = sign(ReleaseRequest(lease=lease, batch=sha256_hex(batch), count=len(recorded)), job.signing)
    body = ReleaseBody(statement=statement, batch=base64.b64encode(batch).decode())
    return site.world.post("/v1/leases/releases", body.to_json())


@pytest.mark.parametrize("step", OPENING)
def test_killed_while_a_lease_is_opened(site: Site, step: str) -> None:
    requester, job = site.access.requester, site.access.job()
    wish: LeaseRequest = job.wish(request=site.first)
    site.kill(step, lambda: requester.post("/v1/leases", wish))
    indexes = site.opened(job)
    if step in NOT_WRITTEN:
        assert indexes == []
        assert not site.over_budget(), "nothing was opened"
        return
    (index,) = indexes
    assert problem(requester.post("/v1/leases", wish)) == "stale"
    row = site.row(job)
    if step in TOLD_AT_ONCE:
        assert (row.state, site.told(index)) == ("open", [1] * PEOPLE)
    else:
        assert (row.state, site.told(index)) == ("pending", [0] * PEOPLE)
        assert problem(release(site, row.id, job, site.recorded)) == "refused"
    assert site.over_budget(), "also before anybody knows what became of it"
    assert site.unclosed(index)

    site.world.clock.forward(minutes=6)
    assert leases.settle(site.world.custodian) == (step not in TOLD_AT_ONCE)
    assert leases.settle(site.world.custodian) == 0
    witnesses.submit_head(site.world.custodian)
    assert site.told(index) == [1] * PEOPLE
    assert site.unclosed(index), "nobody can know that nothing was read"
    if step not in TOLD_AT_ONCE:
        assert site.row(job).state == "lapsed"
        assert problem(release(site, row.id, job, site.recorded)) == "refused"
    again = site.access.job()
    assert again.open(requester, request=site.first).status_code == 200, "a new lease, and it costs nothing more"
    assert len(again.release(site.recorded)[0]) == len(site.recorded)
    assert site.wrong() == []


@pytest.mark.parametrize("step", RELEASING)
def test_killed_while_keys_are_released(site: Site, step: str) -> None:
    job = site.access.job()
    assert job.open(site.access.requester, request=site.first).status_code == 200
    (index,) = site.opened(job)
    site.kill(step, lambda: job.ask_release([one.segment for one in site.recorded]))
    counted = 0 if step == "before 1" else len(site.recorded)
    assert site.row(job).released == counted, "what may have left is counted before it leaves"
    assert site.told(index) == [1] * PEOPLE
    assert site.over_budget()
    assert site.unclosed(index)
    assert len(job.release(site.recorded)[0]) == len(site.recorded), "the job that lives asks again"
    assert job.close(len(site.recorded)).status_code == 200
    closed = [leaf for leaf in site.leaves() if leaf.type is LeafType.LEASE_CLOSED][-1]
    assert closed.counts == {"released": counted + len(site.recorded)}
    assert site.wrong() == []


@pytest.mark.parametrize("step", CLOSING)
def test_killed_while_a_lease_is_closed(site: Site, step: str) -> None:
    job = site.access.job()
    assert job.open(site.access.requester, request=site.first).status_code == 200
    (index,) = site.opened(job)
    site.kill(step, lambda: job.close(0))
    assert site.unclosed(index) is (step == "before 1")
    assert job.close(0).status_code == 200
    assert problem(release(site, job.lease.lease, job, site.recorded)) == "refused"
    lease = site.row(job).hash
    closed = [leaf for leaf in site.leaves() if leaf.type is LeafType.LEASE_CLOSED and leaf.subject == lease]
    assert len(closed) == 1
    assert not site.unclosed(index)


def test_no_step_is_forgotten(site: Site) -> None:
    """A process that would die one commit later than the last one never does."""
    requester, job = site.access.requester, site.access.job()
    questions: list[tuple[int, Callable[[], httpx2.Response]]] = [
        (OPENED, lambda: job.open(requester, request=site.first)),
        (1, lambda: job.ask_release([site.recorded[0].segment])[0]),
        (2, lambda: job.close(1)),
    ]
    for commits, ask in questions:
        site.world.custodian.close()
        with custodian_process(site.world.settings, site.world.clock(), f"before {commits + 1}") as (process, url):
            with httpx2.Client(base_url=url, timeout=60) as site.world.client:
                assert ask().status_code == 200
            assert process.is_alive()
        site.world.restart()


def test_the_background_tells_of_leases_over_which_the_service_died(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those who approved, when it was a first use; and an own look, whose person alone hears of it."""

    def dies(*_: Any) -> Any:
        raise RuntimeError("the machine lost its power")

    person, steward = site.access.people[0], site.access.stewards[0]
    day = site.recorded[0].certificate.day
    new = site.access.grant(from_day=day, to_day=day)
    own = OwnData(from_day=day, to_day=day, modalities=(Modality.POINTER,))
    with monkeypatch.context() as patched:
        patched.setattr(witnesses, "require_quorum", dies)
        for asker, wish in ((site.access.requester, {"request": new}), (person, {"own": own})):
            assert site.access.job().open(asker, **wish).status_code == 500
    before = len(AccessesView.parse(person.get("/v1/me/accesses").content).accesses)
    heard = len(steward.get("/v1/me").json()["messages"])
    background = Background(site.world.custodian)
    background.turn()
    assert len(AccessesView.parse(person.get("/v1/me/accesses").content).accesses) == before, "it may still open"
    site.world.clock.forward(minutes=6)
    background.turn()
    told = AccessesView.parse(person.get("/v1/me/accesses").content).accesses
    assert {access.notification.kind for access in told[: len(told) - before]} == {"lease", "own"}
    assert all("stopped while" in access.notification.text for access in told[:2])
    assert len(steward.get("/v1/me").json()["messages"]) == heard + 1


def test_a_lease_whose_witnesses_take_longer_than_it_is_waited_for_stays_shut(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker let it lapse meanwhile: it does not open any more."""
    require = witnesses.require_quorum

    def slowly(*arguments: Any) -> Any:
        note = require(*arguments)
        site.world.clock.forward(minutes=6)
        assert leases.settle(site.world.custodian) == 1
        return note

    job = site.access.job()
    with monkeypatch.context() as patched:
        patched.setattr(witnesses, "require_quorum", slowly)
        assert problem(job.open(site.access.requester, request=site.first)) == "no-quorum"
    (index,) = site.opened(job)
    assert (site.row(job).state, site.told(index)) == ("lapsed", [1] * PEOPLE)
