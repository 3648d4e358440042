"""When somebody is told of what, and in which words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assent_agent.core.telling import Kind, Proof, Told, as_read, due, newest_first
from assent_agent.ports import Access, AccessesView, ToldView
from assent_agent.ui.words import access_words, told_words

TODAY = "2026-11-23"
YESTERDAY = "2026-11-22"


def told(kind: Kind, day: str = TODAY, *, proof: Proof = "kept", seen: bool = False, name: str = "a") -> Told:
    return Told(id=name * 32, day=day, kind=kind, text="They read.", approvals=2, leaf_index=1, proof=proof, seen=seen)


@pytest.mark.parametrize(
    ("kind", "today", "yesterday"),
    [
        ("lease", True, True),
        ("account", True, True),
        ("unmasked", True, True),
        ("digest", False, True),
        ("own", False, True),
    ],
)
def test_first_readings_and_keys_are_told_at_once_and_the_rest_when_the_day_is_over(
    kind: Kind, today: bool, yesterday: bool
) -> None:
    assert bool(due([told(kind)], TODAY)) is today
    assert bool(due([told(kind, YESTERDAY)], TODAY)) is yesterday
    assert due([told(kind, YESTERDAY, seen=True)], TODAY) == ()


def test_a_message_that_stands_in_the_log_too_is_told_once() -> None:
    message, logged, other = told("account"), told("unmasked", name="b"), told("account", YESTERDAY, name="c")
    assert as_read([message, logged, other]) == (logged, other)
    assert as_read([message]) == (message,)


def test_a_wrong_proof_waits_for_no_end_of_a_day() -> None:
    assert due([told("digest", proof="wrong")], TODAY)


ANYTHING = st.builds(
    told,
    st.sampled_from(("lease", "digest", "own", "account")),
    st.dates(datetime(2026, 11, 1).date(), datetime(2026, 11, 23).date()).map(str),
    seen=st.booleans(),
    name=st.sampled_from("abcdef"),
)


@given(st.lists(ANYTHING))
def test_everything_that_was_not_seen_is_told_by_tomorrow_and_nothing_that_was(everything: list[Told]) -> None:
    shown = due(everything, "2026-11-24")
    assert sorted(one.id for one in shown) == sorted(one.id for one in everything if not one.seen)
    assert shown == newest_first(shown)


def access(kind: Kind, text: str = "Rafa opened recordings of yours.", proof: Proof = "kept") -> Access:
    return Access(YESTERDAY, text, 2, kind, proof)


def test_equal_readings_of_a_day_are_one_entry_with_their_number() -> None:
    view = ToldView((access("digest"), access("digest"), access("digest", "Rina did.")), ("1", "2", "3"))
    title, lead, entries = told_words(view)
    assert title == "Your recordings were opened"
    assert "need not do anything" in lead
    assert [text for _, text, _ in entries] == ["Rafa opened recordings of yours. (2 times on this day)", "Rina did."]
    assert entries[0][0] == "22 November 2026"
    assert entries[0][2] == "2 people approved it. It stands in the witnessed log; the proof is on this computer."


def test_what_to_do_about_ones_own_keys_is_said_with_them_alone_or_among_others() -> None:
    own = told_words(ToldView((access("own"),), ("1",)))
    keys = told_words(ToldView((access("account"),), ("1",)))
    both = told_words(ToldView((access("lease"), access("account")), ("1", "2")))
    assert (own[0], keys[0], both[0]) == ("You opened your recordings", "Your keys", "Your recordings were opened")
    assert all("was not you" in lead for _, lead, _ in (own, keys, both))
    assert "was not you" not in told_words(ToldView((access("lease"),), ("1",)))[1]


def test_a_wrong_proof_is_the_first_thing_that_is_said() -> None:
    _, lead, entries = told_words(ToldView((access("lease", proof="wrong"),), ("1",)))
    assert lead.startswith("The proof of one of these is wrong. Please tell the works council.")
    assert "WRONG" in entries[0][2]


def test_the_page_says_what_is_known_also_when_nobody_was_heard_of() -> None:
    at = datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert "it is not known" in access_words(AccessesView((), None))[0]
    assert "there may be more" in access_words(AccessesView((access("lease"),), None))[0]
    heading, entries, note = access_words(AccessesView((access("account"),), at, "the/folder"))
    assert "Nobody has opened your recordings." in heading
    assert (len(entries), "the/folder" in note) == (1, True)
    assert access_words(AccessesView((), at, "the/folder"))[2] == "", "no proofs, so nothing about them"
