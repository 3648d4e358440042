"""People are told of accesses on their own computer: the agent against a real custodian, with its log and witness."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import httpx2
import pytest
from tests.exposure.world import CUSTODIAN, Installation, Populated
from tests.integration.client.conftest import Terminal
from tests.simulators.agents import MovableClock, running, wait_until
from tests.simulators.custodian import Member
from tests.unit.agent.parts import MemorySecrets

from assent.client.directory import TrustedDirectory
from assent.contracts.wire import AccessesView
from assent_agent import ports
from assent_agent.ports import Capture, CaptureUnavailable, Page, PageAsked, Seen, StatusFacts, ToldView
from assent_agent.runtime.agent import Agent
from assent_agent.runtime.home import AgentHome, Identity
from assent_agent.runtime.network import Links
from assent_agent.settings import AgentSettings
from assent_custodian.log import service as log

ACCESSES = "/v1/me/accesses"


class Screen:
    """What the person is shown, without a screen."""

    def __init__(self) -> None:
        self.told = ToldView((), ())
        self.times_told = 0
        self.page: ports.AccessesView | None = None

    def show(self, facts: StatusFacts) -> None:
        """Not looked at here."""

    def shown(self) -> bool:
        return True

    def open(self, view: object) -> None:
        if isinstance(view, ToldView):
            self.told = view
            self.times_told += bool(view.ids)
        if isinstance(view, ports.AccessesView):
            self.page = view

    def remove(self) -> None:
        """Nothing is held."""


class Computer:
    """Somebody's computer, enrolled, with the agent and the command; nothing is agreed to there."""

    def __init__(self, terminal: Terminal, name: str, member: Member) -> None:
        self.terminal, self.name, self.member = terminal, terminal.is_(name, member), member
        self.installation: Installation = terminal.installation
        self.world = self.installation.world
        self.home = AgentHome(terminal.folder / name)
        self.home.save_identity(
            Identity(
                person=member.person,
                name=member.name,
                custodian_url=CUSTODIAN,
                root_fingerprint=self.world.report.root_fingerprint,
                device_key_id=member.device.public.id,
            )
        )
        self.screen = Screen()
        self.clock = MovableClock(self.world.clock())
        self.asked: list[httpx2.Request] = []

    @contextmanager
    def on(self) -> Iterator[Agent]:
        """The agent runs."""
        self.screen, self.clock = Screen(), MovableClock(self.world.clock())

        def carry(request: httpx2.Request) -> httpx2.Response:
            self.asked.append(request)
            return self.installation.wire.handle_request(request)

        def nothing() -> Capture:
            raise CaptureUnavailable("nothing is agreed to here")

        links = Links(
            TrustedDirectory(self.world.report.root_fingerprint, self.home.directory_path),
            CUSTODIAN,
            self.member.device,
            self.world.clock,
            custodian_transport=httpx2.MockTransport(carry),
        )
        agent = Agent(
            home=self.home,
            settings=AgentSettings(hold_s=0, reserve_bytes=0, news_interval_s=1),
            device=self.member.device,
            secrets=MemorySecrets(),
            make_capture=nothing,
            indicator=self.screen,
            clock=self.clock,
            links=links,
            random=Random(1),
        )
        with running(agent):
            yield agent

    def shows(self, count: int, proof: str = "kept") -> ToldView:
        """What the agent shows by itself, once it is so many entries with such proofs."""

        def so_many() -> ToldView | None:
            told = self.screen.told
            right = len(told.accesses) == count and all(one.proof == proof for one in told.accesses)
            return told if right else None

        view: ToldView = wait_until(so_many, f"{count} entries to be told, {proof}")
        return view

    def heard(self, agent: Agent, count: int) -> None:
        """Wait until so many accesses were heard of and not seen."""
        wait_until(lambda: agent.ask({"do": "status"})["accesses"] == count, f"{count} accesses to be heard of")

    def looks(self, agent: Agent) -> ports.AccessesView:
        """'Who accessed', from the menu."""
        self.screen.page = None
        agent.intend(PageAsked(Page.ACCESSES))
        page: ports.AccessesView = wait_until(lambda: self.screen.page, "the page")
        return page

    def days_pass(self, days: int) -> None:
        self.world.clock.forward(days=days)
        self.clock.skip(days=days)

    @property
    def proofs(self) -> list[Path]:
        return sorted(self.home.accesses.glob("*.tlog-proof"))


@pytest.fixture
def computer(terminal: Terminal, populated: Populated, request: pytest.FixtureRequest) -> Iterator[Computer]:
    """Each test has a person of its own, in this order; all of them share the installation and its clock."""
    tests = [item.name for item in request.session.items if item.path == request.path]
    who = tests.index(request.node.name)
    yield Computer(terminal, f"person-{who}", populated.people[who])
    populated.installation.enemy = None


def read_again(populated: Populated) -> None:
    """A further lease under the grant."""
    populated.installation.job(populated.staff.requester, populated.request)


def test_the_first_reading_is_told_at_once_and_later_ones_when_the_day_is_over(
    computer: Computer, populated: Populated
) -> None:
    with populated.world.custodian.database.reading() as session:
        size = log.size(session)
    with computer.on() as agent:
        first = computer.shows(1)
        assert first.accesses[0].kind == "lease"
        assert "opened recordings of yours" in first.accesses[0].text
        for _ in range(2):
            read_again(populated)
        computer.heard(agent, 3)
        assert computer.screen.told == first, "later ones do not interrupt"
        agent.intend(Seen(first.ids))
        computer.shows(0)
        computer.heard(agent, 2)
    with computer.on() as agent:
        computer.heard(agent, 2)
        assert computer.screen.times_told == 0, "neither what was seen, nor before the day is over"
        computer.days_pass(1)
        digest = computer.shows(2)
        assert {one.kind for one in digest.accesses} == {"digest"}
    with computer.on() as agent:
        assert computer.shows(2) == digest, "nobody said that they saw it"
        assert len(computer.looks(agent).accesses) == 3
        computer.shows(0)
    with computer.on() as agent:
        computer.heard(agent, 0)
        wait_until(lambda: agent.ask({"do": "status"})["custodian_asked"], "news")
        assert computer.screen.times_told == 0

    # nothing of it is visible to anybody else: the agent only asks, the same whether somebody looks or not, and
    # nothing is written down of it
    assert {request.method for request in computer.asked} == {"GET"}
    paths = {request.url.path for request in computer.asked}
    assert paths == {"/v1/directory", "/v1/me/news", ACCESSES, "/v1/log/checkpoint", "/v1/me/erasures"}
    with populated.world.custodian.database.reading() as session:
        assert log.size(session) == size + 2, "two leases, and nothing else"

    # the files are proof without a network, for anybody who knows the directory
    before = len(computer.installation.heard)
    assert len(computer.proofs) == 3
    for proof in computer.proofs:
        found = computer.terminal.ok(computer.name, "me", "accesses", "--verify", str(proof), "--json").json
        assert (found["valid"], found["entry"]["type"]) == (True, "lease.opened")
    leaf = computer.proofs[0].with_suffix(".leaf")
    leaf.write_bytes(leaf.read_bytes().replace(b"lease.opened", b"lease.closed"))
    wrong = computer.terminal.run(computer.name, "me", "accesses", "--verify", str(computer.proofs[0]))
    assert (wrong.code, "does not hold" in wrong.err) == (1, True)
    assert len(computer.installation.heard) == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in (computer.home.accesses, *computer.home.accesses.iterdir()))


def test_a_lost_answer_and_a_crash_in_between_lose_nothing(computer: Computer, populated: Populated) -> None:
    def loses(request: httpx2.Request, deliver: Callable[[], httpx2.Response]) -> httpx2.Response:
        if request.url.path == ACCESSES:
            deliver()
            raise httpx2.ReadError("the connection broke")
        return deliver()

    told = len(AccessesView.parse(computer.member.get(ACCESSES).content).accesses)
    computer.installation.enemy = loses
    with computer.on() as agent:
        view = wait_until(lambda: computer.screen.told.ids and computer.screen.told, "told by the news alone")
        assert {one.proof for one in view.accesses} == {"awaited"}
        assert "not here yet" not in agent.ask({"do": "status"})["log_trouble"]
        assert computer.proofs == []
    computer.installation.enemy = None
    with computer.on():
        wait_until(lambda: len(computer.proofs) == told, "the proofs")
    for damaged in list(computer.home.accesses.glob("*.json"))[:2]:
        damaged.write_bytes(damaged.read_bytes()[:-7])  # as if the power had failed
    with computer.on() as agent:
        wait_until(lambda: len(computer.looks(agent).accesses) == told, "all of it again")
        assert {one.proof for one in computer.looks(agent).accesses} == {"kept"}


def test_a_custodian_that_gives_a_false_proof_is_found_out_and_the_person_told(
    computer: Computer, populated: Populated
) -> None:
    def lies(request: httpx2.Request, deliver: Callable[[], httpx2.Response]) -> httpx2.Response:
        """The proof and the leaf of something else that is in the log."""
        answer = deliver()
        if request.url.path != ACCESSES:
            return answer
        view = AccessesView.parse(answer.content)
        with populated.world.custodian.database.reading() as session:
            other = log.entry(session, 1)
        assert other is not None
        leaf = base64.b64encode(other).decode()
        accesses = tuple(one.model_copy(update={"leaf": leaf}) for one in view.accesses)
        return httpx2.Response(200, headers=dict(answer.headers), content=AccessesView(accesses=accesses).to_json())

    computer.installation.enemy = lies
    with computer.on() as agent:
        wait_until(lambda: {one.proof for one in computer.screen.told.accesses} == {"wrong"}, "found out")
        assert "works council" in agent.ask({"do": "status"})["log_trouble"]
        assert computer.proofs == []
        computer.installation.enemy = None
        wait_until(lambda: computer.proofs, "the real ones, as soon as they come")
        wait_until(lambda: agent.ask({"do": "status"})["log_trouble"] == "", "no more alarm")


def test_who_was_away_for_months_is_told_what_no_news_tell_any_more(computer: Computer, populated: Populated) -> None:
    before = len(AccessesView.parse(computer.member.get(ACCESSES).content).accesses)
    with computer.on() as agent:
        wait_until(lambda: len(computer.looks(agent).accesses) == before, "all of it to be seen")
    read_again(populated)
    computer.days_pass(70)
    with computer.on() as agent:
        wait_until(lambda: len(computer.proofs) == before + 1, "what was missed")
        (missed,) = computer.shows(1).accesses
        assert missed.kind == "digest"
        since = [request.url.query for request in computer.asked if request.url.path == ACCESSES]
        assert since[0] == b"", "everything, at first"
        assert since[-1].startswith(b"since=2026-11-"), "and then what is new"
        assert time.strptime(missed.day, "%Y-%m-%d").tm_mon < 12
    new = Computer(computer.terminal, "new-computer", computer.member)
    with new.on() as agent:
        wait_until(lambda: len(new.looks(agent).accesses) == before + 1, "everything, on a new one")
        assert "new-computer" in new.looks(agent).folder
