"""What the indicator says is what was observed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assent_agent.core.status import SENTENCES
from assent_agent.ports import IndicatorState, StatusFacts
from assent_agent.ui.menu import DETAILS
from assent_agent.ui.words import LINE, details, headline, label, tooltip

RECORDING = StatusFacts(
    IndicatorState.RECORDING,
    consented=True,
    modalities=("pointer", "keyboard", "screen"),
    arrived_s={"pointer": 0.5, "screen": 400.0},
)


def test_each_modality_is_told_with_what_was_last_seen_of_it() -> None:
    assert details(RECORDING) == (
        "Mouse: arriving now",
        "Keyboard: nothing seen yet",
        "Screen pictures: last seen 7 min ago",
    )
    assert headline(RECORDING) == "Recording"


@pytest.mark.parametrize("state", [IndicatorState.PAUSED, IndicatorState.OFF])
def test_while_nothing_is_recorded_nothing_is_said_to_be(state: IndicatorState) -> None:
    facts = StatusFacts(state, consented=True, modalities=("pointer",), arrived_s={"pointer": 0.1})
    assert details(facts) == ("Nothing is being recorded",)
    assert "Mouse" not in tooltip(facts)


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (StatusFacts(IndicatorState.OFF), "not agreed"),
        (StatusFacts(IndicatorState.OFF, consented=True), "Nothing is recorded"),
        (StatusFacts(IndicatorState.PAUSED, paused_until="14:05"), "14:05"),
        (StatusFacts(IndicatorState.PAUSED), "until you resume"),
        (StatusFacts(IndicatorState.RECORDING, excluded_now=True), "not recorded"),
    ],
)
def test_the_headline_says_the_state_plainly(facts: StatusFacts, says: str) -> None:
    assert says in headline(facts)
    assert headline(facts) in tooltip(facts)


def test_trouble_names_its_cause() -> None:
    facts = StatusFacts(IndicatorState.TROUBLE, because="The certificate has ended")
    assert "The certificate has ended" in tooltip(facts)
    assert details(StatusFacts(IndicatorState.TROUBLE)) == ("The cause is not known",)


@pytest.mark.parametrize("state", [IndicatorState.OFF, IndicatorState.PAUSED, IndicatorState.TROUBLE])
@pytest.mark.parametrize("sentence", [*SENTENCES.values(), "The programme is halted: " + "a long reason " * 14])
def test_whoever_is_not_recorded_is_told_the_whole_reason_in_lines_that_a_menu_can_show(
    state: IndicatorState, sentence: str
) -> None:
    facts = StatusFacts(state, consented=True, because=sentence)
    assert " ".join(details(facts)) == sentence.strip()
    assert len(details(facts)) <= DETAILS and max(len(line) for line in details(facts)) <= LINE
    if state is not IndicatorState.PAUSED:
        assert " ".join(tooltip(facts).split("\n")[1:]) == sentence.strip()


def test_a_locked_screen_is_not_called_a_pause_that_the_person_must_end() -> None:
    assert "locked" in headline(StatusFacts(IndicatorState.PAUSED, consented=True, locked=True))


def test_what_could_not_be_done_is_told_also_while_something_is_recorded() -> None:
    told = details(replace(RECORDING, notice="It could not be done: the disk is full, nothing was forgotten."))
    assert told[:3] == details(RECORDING)
    assert " ".join(told[3:]).startswith("It could not be done: the disk is full")


def test_an_ampersand_in_a_label_stays_one() -> None:
    assert label("Pause & forget") == "Pause && forget"
