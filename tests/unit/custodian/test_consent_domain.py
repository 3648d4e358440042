"""Consent can only shrink: every state with every event, and every sequence of events."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.simulators.agents import PERSONAL_DATA, TERMS

from assent.contracts.ids import Modality
from assent.contracts.statements import DPV_CONSENT, AgreedPurpose, Choice, Mode, Notice, Receipt
from assent_custodian.consent.domain import (
    Consent,
    DeclaredInvalid,
    EndedByController,
    Event,
    Granted,
    RanOut,
    State,
    Use,
    Withdrew,
    given,
    keeps_stream,
    permits,
    step,
)

TRAIN, STUDY = "urn:purpose:train", "urn:purpose:study"
ALL = frozenset(Granted(modality, purpose, 1) for modality in Modality for purpose in (TRAIN, STUDY))
SCREEN_FOR_TRAINING = Granted(Modality.SCREEN, TRAIN, 1)

# What every event does to a receipt with all choices left, in every state: (state after, how many choices are left).
TABLE: dict[tuple[State, str], tuple[State, int]] = {
    (State.GIVEN, "all"): (State.WITHDRAWN, 0),
    (State.GIVEN, "screen"): (State.GIVEN, 6),
    (State.GIVEN, "training"): (State.GIVEN, 4),
    (State.GIVEN, "screen for training"): (State.GIVEN, 7),
    (State.GIVEN, "ran out"): (State.EXPIRED, 8),
    (State.GIVEN, "controller"): (State.TERMINATED, 0),
    (State.GIVEN, "authority"): (State.INVALIDATED, 0),
    (State.EXPIRED, "all"): (State.EXPIRED, 0),
    (State.EXPIRED, "screen"): (State.EXPIRED, 6),
    (State.EXPIRED, "training"): (State.EXPIRED, 4),
    (State.EXPIRED, "screen for training"): (State.EXPIRED, 7),
    (State.EXPIRED, "ran out"): (State.EXPIRED, 8),
    (State.EXPIRED, "controller"): (State.EXPIRED, 0),
    (State.EXPIRED, "authority"): (State.EXPIRED, 0),
}
EVENTS: dict[str, Event] = {
    "all": Withdrew(),
    "screen": Withdrew(modalities=frozenset({Modality.SCREEN})),
    "training": Withdrew(purposes=frozenset({TRAIN})),
    "screen for training": Withdrew(frozenset({Modality.SCREEN}), frozenset({TRAIN})),
    "ran out": RanOut(),
    "controller": EndedByController(),
    "authority": DeclaredInvalid(),
}
EMPTY_ENDS = (State.WITHDRAWN, State.TERMINATED, State.INVALIDATED)


@pytest.mark.parametrize(("state", "event"), list(itertools.product((State.GIVEN, State.EXPIRED), EVENTS)))
def test_every_event_in_states_with_choices_left(state: State, event: str) -> None:
    after = step(Consent(state, ALL), EVENTS[event])
    assert (after.state, len(after.left)) == TABLE[state, event]


@pytest.mark.parametrize(("state", "event"), list(itertools.product(EMPTY_ENDS, EVENTS)))
def test_no_event_leads_out_of_an_end(state: State, event: str) -> None:
    assert step(Consent(state, frozenset()), EVENTS[event]) == Consent(state, frozenset())


def test_every_state_is_in_the_tables() -> None:
    assert {state for state, _ in TABLE} | set(EMPTY_ENDS) == set(State)


FEW = [Granted(modality, purpose, 1) for modality in (Modality.SCREEN, Modality.POINTER) for purpose in (TRAIN, STUDY)]
LEFTS = [frozenset(some) for size in range(5) for some in itertools.combinations(FEW, size)]
WITHDRAWALS = [
    Withdrew(frozenset(modalities), frozenset(purposes))
    for modalities in ((), (Modality.SCREEN,), (Modality.POINTER,), (Modality.SCREEN, Modality.POINTER))
    for purposes in ((), (TRAIN,), (STUDY,), (TRAIN, STUDY))
]
OTHERS = [(RanOut(), State.EXPIRED), (EndedByController(), State.TERMINATED), (DeclaredInvalid(), State.INVALIDATED)]


@pytest.mark.parametrize("state", State)
def test_every_event_with_every_choice_left_in_every_state(state: State) -> None:
    """Said once more in other words: an event takes what it names, and only `given` is ever left."""
    for left, withdrew in itertools.product(LEFTS, WITHDRAWALS):
        rest = set(left)
        for one in left:
            if one.modality in (withdrew.modalities or Modality) and one.purpose in (
                withdrew.purposes or (TRAIN, STUDY)
            ):
                rest.remove(one)
        then = State.WITHDRAWN if state is State.GIVEN and not rest else state
        assert step(Consent(state, left), withdrew) == Consent(then, frozenset(rest))
    for left, (event, end) in itertools.product(LEFTS, OTHERS):
        then = end if state is State.GIVEN else state
        rest = set(left) if isinstance(event, RanOut) else set()
        assert step(Consent(state, left), event) == Consent(then, frozenset(rest))


def test_withdrawing_the_last_purpose_of_a_modality_ends_its_streams_and_no_others() -> None:
    consent = step(Consent(State.GIVEN, ALL), Withdrew(frozenset({Modality.SCREEN}), frozenset({TRAIN})))
    assert keeps_stream(consent, Modality.SCREEN)
    consent = step(consent, Withdrew(frozenset({Modality.SCREEN}), frozenset({STUDY})))
    assert not keeps_stream(consent, Modality.SCREEN)
    assert keeps_stream(consent, Modality.POINTER)


class ConsentMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: choices never grow, ends are never left, withdrawn is never permitted."""

    @initialize(left=st.sets(st.sampled_from(sorted(ALL)), min_size=1))
    def give(self, left: set[Granted]) -> None:
        self.consent = Consent(State.GIVEN, frozenset(left))
        self.taken: set[Granted] = set()

    @rule(
        modalities=st.frozensets(st.sampled_from(Modality), max_size=2),
        purposes=st.frozensets(st.sampled_from([TRAIN, STUDY]), max_size=2),
    )
    def withdraw(self, modalities: frozenset[Modality], purposes: frozenset[str]) -> None:
        event = Withdrew(modalities, purposes)
        self.taken |= {choice for choice in ALL if event.takes(choice)}
        self._take(event)

    @rule(event=st.sampled_from([RanOut(), EndedByController(), DeclaredInvalid()]))
    def end(self, event: Event) -> None:
        self._take(event)

    def _take(self, event: Event) -> None:
        before = self.consent
        self.consent = step(before, event)
        assert self.consent.left <= before.left
        assert before.state in (State.GIVEN, self.consent.state)
        assert step(self.consent, event) == self.consent, "the same event twice is once"

    @invariant()
    def what_was_withdrawn_is_gone(self) -> None:
        if hasattr(self, "consent"):
            assert not self.consent.left & self.taken
            assert self.consent.left or self.consent.state is not State.GIVEN


TestConsentMachine = ConsentMachine.TestCase
TestConsentMachine.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)


def receipt(**changes: object) -> Receipt:
    content: dict[str, object] = {
        "record": "1" * 32,
        "person": "2" * 32,
        "at": "2026-11-23T09:00:00Z",
        "notice": Notice(version="1", locale="en", sha256="3" * 64),
        "choices": (Choice(modality=Modality.SCREEN, purpose=TRAIN, purpose_version=1),),
        "purposes": (AgreedPurpose(iri=TRAIN, version=1, sentence="Train.", terms=(DPV_CONSENT,)),),
        "personal_data": PERSONAL_DATA,
        "terms": TERMS,
        "recipients": ("research",),
        "modes": (Mode.READER,),
        "application_list": "1",
        "redaction_profile": "1",
        "agreement": "1",
        "dpia": "1",
        "statements": (),
        "valid_from": "2026-11-23T09:00:00Z",
        "valid_until": "2027-05-23T09:00:00Z",
    }
    return Receipt.model_validate({**content, **changes})


def test_a_receipt_permits_exactly_what_it_says() -> None:
    signed = receipt()
    consent = given(signed)
    assert permits(signed, consent, Modality.SCREEN, Use(TRAIN, 1, "research", Mode.READER))


@pytest.mark.parametrize(
    ("modality", "use"),
    [
        (Modality.KEYBOARD, Use(TRAIN, 1, "research", Mode.READER)),
        (Modality.SCREEN, Use(STUDY, 1, "research", Mode.READER)),
        (Modality.SCREEN, Use(TRAIN, 2, "research", Mode.READER)),
        (Modality.SCREEN, Use(TRAIN, 1, "vendors", Mode.READER)),
        (Modality.SCREEN, Use(TRAIN, 1, "research", Mode.EXPORT)),
    ],
)
def test_a_receipt_permits_nothing_else(modality: Modality, use: Use) -> None:
    signed = receipt()
    assert not permits(signed, given(signed), modality, use)
