"""Every kind of entry has a plain sentence, which says what the entry says and nothing that it lacks."""

from __future__ import annotations

import pytest
from tests.unit.reader import leaves
from tests.unit.reader.leaves import LOG
from tests.unit.reader.test_auditing import PURPOSE, REQUEST

from assent.contracts.leaves import Leaf, LeafType
from assent.reader.log_words import sentence

LEAVES = [Leaf.model_validate_json(data) for data in LOG]


def test_the_log_of_the_tests_has_every_kind() -> None:
    assert {leaf.type for leaf in LEAVES} == set(LeafType)


@pytest.mark.parametrize("index", range(len(LEAVES)))
def test_a_sentence_is_whole_and_begins_like_one(index: int) -> None:
    text = sentence(LEAVES[index])
    assert text.endswith(".")
    assert text[0].isupper() or text[:8] == LEAVES[index].actor[:8]  # type: ignore[index]
    for hole in ("None", "  ", " .", " ,", "()", "{"):
        assert hole not in text


def said(kind: LeafType, number: int = 0, name: str | None = None) -> str:
    return sentence([leaf for leaf in LEAVES if leaf.type is kind][number], name)


def test_what_was_asked_for_and_opened_is_said() -> None:
    asked = said(LeafType.REQUEST_SIGNED)
    for part in (leaves.RIKA[:8], "pointer and screen", "2026-11-20 to 2026-11-22", PURPOSE, "team-one", REQUEST[:8]):
        assert part in asked
    assert "of 2026-11-20 for" in said(LeafType.REQUEST_SIGNED, 1), "one day is said once"
    first = said(LeafType.LEASE_OPENED)
    assert "the first time that this requester opens other people's recordings" in first
    assert "the first time" not in said(LeafType.LEASE_OPENED, 1)
    assert "40 sealed keys" in said(LeafType.LEASE_CLOSED)


@pytest.mark.parametrize("mode", ["reader", "own"])
def test_a_lease_that_never_opened_is_not_said_to_have_been_read(mode: str) -> None:
    data = leaves.closed(leaves.at(), released=0, auth=None, rule="no-quorum", mode=mode)
    text = sentence(Leaf.model_validate_json(data))
    assert "never opened (no-quorum): nothing was read" in text and "job" not in text
    assert (REQUEST[:8] in text) is (mode != "own")


def test_ones_own_recordings_name_nobody() -> None:
    own = [leaf for leaf in LEAVES if leaf.mode == "own"]
    assert len(own) == 2
    for leaf in own:
        text = sentence(leaf)
        assert leaf.request is not None
        assert (leaf.actor or "x" * 8)[:8] not in text
        assert leaf.request[:8] not in text


def test_a_name_stands_beside_its_pseudonym() -> None:
    assert sentence(LEAVES[12], "Rika").startswith(f"Rika ({leaves.RIKA[:8]}) asked for")


def test_a_report_of_the_collector_and_whatever_it_counts_is_said() -> None:
    assert said(LeafType.COLLECTOR_REPORT) == (
        "The collector reported what it handed out and refused: number 1, listings 10, bodies 100, refused tickets 10, "
        "refused certificates 0."
    )


def test_what_people_are_offered_is_said_whole_and_hashes_by_their_first_digits() -> None:
    detail = {"policy": "ab" * 32, "agreement": "WA-2026-07, with its annex of November"}
    data = leaves.made(LeafType.CONFIG_CHANGED, leaves.at(), rule="config.policy", detail=detail)
    text = sentence(Leaf.model_validate_json(data))
    assert "agreement WA-2026-07, with its annex of November" in text
    assert f"policy {'ab' * 8}," in text
