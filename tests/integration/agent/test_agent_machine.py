"""One person with two laptops, each with a real agent, and the real custodian and collector, under whatever happens.

Networks fail and lose answers, agents crash and restart, clocks step, consent is given and withdrawn here, there and by
others, the programme is halted, a device revoked. At every moment a laptop records at most what its person agreed to on
it and has not taken back; as soon as it has heard the custodian, exactly what consent covers; a withdrawal, once said,
arrives, whatever lies between; and what was withdrawn is not on the laptop any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select
from tests.exposure.world import Installation, Template, of
from tests.simulators.custodian import PURPOSE, Member
from tests.simulators.inline import InlineClient, witness_beside
from tests.simulators.laptops import Laptop, LaptopClock, Line, workers_in_this_thread
from tests.simulators.stories import stories

from assent.client.transport import ClientError
from assent.contracts.envelope import read_unverified
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.statements import ConsentEnding, Receipt, Withdrawal
from assent.contracts.times import moment, parse_moment
from assent_custodian.consent import domain
from assent_custodian.consent import service as consent
from assent_custodian.consent.models import ReceiptRow, WithdrawalRow
from assent_custodian.keys.models import Stream
from assent_custodian.night import run_night
from assent_custodian.people.models import Credential

STUDY = "urn:purpose:study"
KINDS = (Modality.POINTER, Modality.KEYBOARD, Modality.CONTEXT)
ALL = frozenset(KINDS)
NOTHING, NOBODY = frozenset[Modality](), frozenset[str]()
KIND_SETS = [ALL, frozenset(KINDS[:2]), *(frozenset({kind}) for kind in KINDS)]
PURPOSE_SETS = [frozenset({PURPOSE, STUDY}), frozenset({PURPOSE}), frozenset({STUDY})]
LAPTOP = st.integers(0, 1)
TURN_S = 31
CLOCK_OFF_S = 60
"""From here on a clock may be too far off for a signature to be taken."""

pytestmark = pytest.mark.timeout(1800)


@dataclass
class Wanted:
    """What the person of a laptop said on it, as they would say it themselves."""

    record: str | None = None
    choices: set[tuple[Modality, str]] = field(default_factory=set)
    until: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    on: bool = False
    paused: bool = False
    taken: dict[str, set[tuple[Modality, str]]] = field(default_factory=dict)
    """By record: what was taken back."""
    heard: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    """When the line was last up."""

    @property
    def kinds(self) -> frozenset[Modality]:
        return frozenset(kind for kind, _ in self.choices)


@dataclass(frozen=True)
class Original:
    template: Template
    kim: Member
    second: SigningKey


ORIGINALS: list[Original] = []


@pytest.fixture(scope="module", autouse=True)
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    installation = Installation.found(tmp_path_factory.mktemp("original"), client_for=InlineClient)
    world = installation.world
    with witness_beside(world.witness, world.clock), workers_in_this_thread():
        world.add_purpose()
        world.add_purpose(STUDY)
        kim = world.add_person("Kim")
        second = kim.add_key()
        installation.collector.trust.refresh()
        world.clock.forward(hours=3)
        ORIGINALS.append(Original(Template(installation), kim, second))
        yield
    ORIGINALS.clear()
    installation.close()


class AgentMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        (original,) = ORIGINALS
        self.stack = ExitStack()
        self.installation, self.folder = self.stack.enter_context(original.template.copied_into_memory())
        self.world = self.installation.world
        self.clock = self.world.clock
        self.true = self.clock()
        self.kim = of(original.kim, self.world)
        self.laptops = [
            Laptop(
                self.folder / f"laptop{number}",
                self.kim.person,
                key,
                self.world.report.root_fingerprint,
                LaptopClock(lambda: self.true),
                Line(self.installation._carry),
            )
            for number, key in enumerate((self.kim.device, original.second))
        ]
        self.wanted = [Wanted(), Wanted()]
        self.revoked: set[int] = set()
        self.halted = False
        for laptop in self.laptops:
            laptop.start()

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    def _pass(self, **by: float) -> None:
        """Time passes for everybody."""
        self.true += timedelta(**by)
        self.clock.forward(**by)

    def _turns(self, count: int) -> None:
        for _ in range(count):
            self._pass(seconds=TURN_S)
            for laptop, wanted in zip(self.laptops, self.wanted, strict=True):
                laptop.turn()
                laptop.turn()  # what was answered at once
                if laptop.line.up and laptop.agent is not None:
                    wanted.heard = self.clock()

    # --- the person ---------------------------------------------------------------------------------------------------

    @rule(number=LAPTOP, kinds=st.sampled_from(KIND_SETS), purposes=st.sampled_from(PURPOSE_SETS))
    def give(self, number: int, kinds: frozenset[Modality], purposes: frozenset[str]) -> None:
        laptop, wanted = self.laptops[number], self.wanted[number]
        off_s = abs((laptop.clock.now() - self.clock()).total_seconds())
        bad = not laptop.line.up or laptop.line.lose or off_s > CLOCK_OFF_S or number in self.revoked
        try:
            record = laptop.give(kinds, purposes)
        except ClientError as error:
            assert bad, error
            return
        stored = laptop.home.receipt()
        assert stored is not None
        until = parse_moment(read_unverified(stored.receipt, Receipt).valid_until)
        wanted.record, wanted.until, wanted.on = record, until, True
        wanted.choices = {(kind, purpose) for kind in kinds for purpose in purposes}

    @rule(
        number=LAPTOP,
        kinds=st.sampled_from([NOTHING, NOTHING, *KIND_SETS]),
        purposes=st.sampled_from([NOBODY, NOBODY, *PURPOSE_SETS]),
    )
    def withdraw(self, number: int, kinds: frozenset[Modality], purposes: frozenset[str]) -> None:
        laptop, wanted = self.laptops[number], self.wanted[number]
        if laptop.home.held_receipt() is None:
            return
        laptop.withdraw(kinds, purposes)
        for kind, purpose in set(wanted.choices):
            if (not kinds or kind in kinds) and (not purposes or purpose in purposes):
                wanted.choices.discard((kind, purpose))
                wanted.taken.setdefault(wanted.record or "", set()).add((kind, purpose))
        if not wanted.choices:
            wanted.on = False
        assert laptop.recording <= wanted.kinds, "capture stops first"
        if not kinds and not purposes:
            assert laptop.spooled() == [], "and nothing of it is here any more"

    @rule(number=LAPTOP, whole=st.booleans(), kinds=st.sampled_from(KIND_SETS))
    def withdraw_by_the_opening_key(self, number: int, whole: bool, kinds: frozenset[Modality]) -> None:
        """From elsewhere: the laptop does not know."""
        record = self.wanted[number].record
        if record is not None:
            which = {} if whole else {"modalities": tuple(sorted(kinds))}
            assert self.kim.withdraw(key=self.kim.opening, record=record, **which).status_code == 200

    @rule(number=LAPTOP)
    def the_dpo_ends_it(self, number: int) -> None:
        record = self.wanted[number].record
        if record is not None:
            ending = ConsentEnding(state="terminated", record=record, reason="x", nonce=new_id(), at=self.world.now)
            assert self.world.dpo.post("/v1/consent/endings", ending).status_code == 200

    @rule(number=LAPTOP, what=st.sampled_from(("pause", "resume", "resume", "send")))
    def say(self, number: int, what: str) -> None:
        laptop, wanted = self.laptops[number], self.wanted[number]
        if laptop.agent is None:
            return
        laptop.say(what)
        if what != "send":
            wanted.paused = what == "pause"

    # --- what happens -------------------------------------------------------------------------------------------------

    @rule(turns=st.integers(1, 3))
    def a_while_passes(self, turns: int) -> None:
        self._turns(turns)

    @rule(hours=st.sampled_from((1, 5, 13, 25, 80)), night=st.booleans())
    def hours_pass(self, hours: int, night: bool) -> None:
        """The laptops sleep meanwhile."""
        self._pass(hours=hours)
        self._turns(1)
        if night:
            assert run_night(self.world.custodian)["ran"]
            while self.installation.collector.orders.pull_orders_once():
                pass

    @rule(number=LAPTOP, up=st.booleans(), lose=st.sampled_from((0, 0, 1, 2)))
    def the_network(self, number: int, up: bool, lose: int) -> None:
        self.laptops[number].line.up, self.laptops[number].line.lose = up, lose

    @rule(number=LAPTOP, crash=st.booleans(), again=st.sampled_from((True, True, False)))
    def the_agent_ends(self, number: int, crash: bool, again: bool) -> None:
        laptop = self.laptops[number]
        laptop.stop(crash=crash)
        if again:
            laptop.start()

    @rule(number=LAPTOP, off_s=st.sampled_from((0, 0, 60, -3600, 3600, 172_800)))
    def the_clock_of_a_laptop_steps(self, number: int, off_s: int) -> None:
        clock = self.laptops[number].clock
        clock.off = self.clock() - self.true + timedelta(seconds=off_s)

    @rule(what=st.sampled_from(("halt", "resume", "resume", "custodian", "collector", "clock")))
    def the_services(self, what: str) -> None:
        if what == "halt" and not self.halted:
            self.world.halt("an incident")
            self.halted = True
        elif what == "resume" and self.halted:
            self.world.resume()
            self.halted = False
        elif what == "custodian":
            self.world.restart()
        elif what == "collector":
            self.installation.collector.close()
            self.installation.open_collector()
        elif what == "clock":
            self.clock.forward(minutes=10)

    @rule(number=LAPTOP, sure=st.sampled_from((False, False, True)))
    def revoke(self, number: int, sure: bool) -> None:
        if sure:
            assert self.kim.revoke(self.laptops[number].device).status_code == 200
            self.revoked.add(number)

    # --- at rest ------------------------------------------------------------------------------------------------------

    @rule()
    def everybody_is_heard(self) -> None:
        """Networks and clocks are well, and some minutes pass."""
        for laptop in self.laptops:
            laptop.line.up, laptop.line.lose = True, 0
            laptop.clock.off = self.clock() - self.true
            if laptop.agent is None:
                laptop.start()
        self._turns(12)
        with self.world.custodian.database.reading() as session:
            delivered = set(session.scalars(select(WithdrawalRow.hash)))
            now = self.clock()
            for number, (laptop, wanted) in enumerate(zip(self.laptops, self.wanted, strict=True)):
                assert laptop.unconfirmed() == 0, "a withdrawal arrives"
                assert {queued.stored.withdrawal.hash for queued in laptop.home.withdrawals()} <= delivered
                for record, taken in wanted.taken.items():
                    stored = consent.consent_of(session.get_one(ReceiptRow, record)).left
                    assert not {(choice.modality, choice.purpose) for choice in stored} & taken, "and it counts"
                newest = session.get_one(Credential, laptop.device.public.id).last_receipt
                row = session.scalars(select(ReceiptRow).where(ReceiptRow.hash == newest)).one_or_none()
                left: frozenset[Modality] = NOTHING
                # Another record was given, and the laptop never heard that it was.
                heard = row is not None and row.record == wanted.record
                if row is not None and heard and row.state == "given" and row.valid_until > moment(now):
                    left = frozenset(choice.modality for choice in consent.consent_of(row).left)
                told = frozenset[Modality]()
                if wanted.on and not wanted.paused and not self.halted and number not in self.revoked:
                    told = wanted.kinds & left
                assert laptop.recording == told, f"laptop {number}: {laptop.agent and laptop.agent._state}"
                if row is not None and heard and number not in self.revoked:  # which hears nothing of its person
                    for made in laptop.spooled():
                        stream = session.get_one(Stream, made.stream)
                        gone = row.state in [state.value for state in domain.ENDED] or made.modality not in left
                        assert stream.record != row.record or not gone or stream.closed is None, (
                            "it is not here any more"
                        )

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_recorded_that_was_not_agreed_to_here(self) -> None:
        if not hasattr(self, "revoked"):
            return
        for laptop, wanted in zip(self.laptops, self.wanted, strict=True):
            recording = laptop.recording
            assert laptop.desktop.observed <= {kind.value for kind in recording}, "what is observed is what is recorded"
            assert recording <= wanted.kinds, "only what was agreed to on this device, and not taken back"
            if recording:
                assert wanted.on and not wanted.paused
                assert wanted.until > laptop.clock.now()
                assert self.true - wanted.heard <= timedelta(hours=24) or wanted.heard.year == 2000
            assert laptop.switched_on() <= wanted.on
            withdrawn = [read_unverified(queued.stored.withdrawal, Withdrawal) for queued in laptop.home.withdrawals()]
            assert all(one.person == self.kim.person for one in withdrawn)


TestAgentMachine = AgentMachine.TestCase
TestAgentMachine.settings = stories(12, 40)
