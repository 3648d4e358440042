"""How a log ended: what may be quoted, and who sees from it that leaves were dropped."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.transparency.logs import ORIGIN, log_signer, signed, witness_cosigner
from tests.unit.transparency.trees import StoredTree, numbered_leaves

from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import TransparencyError
from assent.transparency.merkle import EMPTY_ROOT
from assent.transparency.note import Note
from assent.transparency.policy import Policy
from assent.transparency.succession import Ending, LeavesDropped, ending_of

TREE = StoredTree(numbered_leaves(40))
FORK = StoredTree([*numbered_leaves(5), *(f"forged {number}".encode() for number in range(35))])


def policy(quorum: int, count: int = 3) -> Policy:
    names = [f"w{number}" for number in range(count)]
    lines = [f"log {log_signer().verifier}"]
    lines += [f"witness {name} {witness_cosigner(number).verifier}" for number, name in enumerate(names)]
    return Policy.from_bytes("\n".join([*lines, f"group g {quorum} {' '.join(names)}", "quorum g", ""]).encode())


def head(size: int, *witnesses: int, tree: StoredTree = TREE) -> Note:
    return signed(Checkpoint(ORIGIN, size, tree.root(size) if size else EMPTY_ROOT), *witnesses)


def ended(heads: Sequence[Note], kept: int = 10, quorum: int = 2) -> Ending:
    return ending_of(policy(quorum), heads, kept, TREE.root(kept) if kept else EMPTY_ROOT)


def test_witnesses_that_signed_different_heads_last_make_the_quorum_together() -> None:
    ending = ended([head(30, 0), head(25, 1)])
    assert (ending.last.size, ending.lost, ending.kept) == (30, 20, 10)
    assert ending.silent == ("witness2.example",)
    with pytest.raises(TransparencyError):
        ended([head(30, 0)])


@pytest.mark.parametrize(
    ("heads", "kept"),
    [
        ([head(30)], 10),
        ([head(10, 0, 1)], 10),
        ([head(9, 0, 1)], 10),
        ([head(30, 0), head(30, 1, tree=FORK)], 10),
        ([head(30, 0), head(10, 1, tree=FORK)], 10),
        ([head(30, 0, 1)], 50),
    ],
)
def test_what_contradicts_itself_or_lacks_nothing_is_no_ending(heads: list[Note], kept: int) -> None:
    with pytest.raises(TransparencyError):
        ending_of(policy(2), heads, kept, TREE.root(min(kept, 40)))


def test_a_head_that_the_log_did_not_sign_is_not_quoted() -> None:
    good = head(30, 0, 1)
    with pytest.raises(TransparencyError):
        ended([Note(good.text, good.signatures[1:])])
    other = log_signer(ORIGIN, "rotated")
    former = Note(good.text, (other.sign(good.text), *good.signatures[1:]))
    with pytest.raises(TransparencyError):
        ended([former])
    assert ending_of(policy(2), [former], 10, TREE.root(10), log_keys=[other.verifier]), "by an earlier key of the log"


@pytest.mark.parametrize(
    ("seen", "dropped"),
    [
        (head(30, 0), False),
        (head(30, 0, 1), True),
        (head(20, 0, 1), False),
        (head(10, 0, 1), False),
        (head(31, 0, 1), True),
        (head(31), True),
        (head(30, 0, 1, tree=FORK), True),
        (head(10, 0, 1, tree=FORK), True),
        (head(26, 1, 2), True),
        (head(26, 0, 2), False),
    ],
    ids=[
        "the same", "and by one with an older one", "older", "kept", "newer", "newer, by the log alone", "a fork",
        "a fork of what was kept", "newer than is quoted of one of its witnesses", "by the other one",
    ],
)  # fmt: skip
def test_who_saw_more_than_is_quoted_notices(seen: Note, dropped: bool) -> None:
    ending = ended([head(30, 0), head(25, 1)])
    if dropped:
        with pytest.raises(LeavesDropped):
            ending.check(seen)
    else:
        ending.check(seen)


@given(st.lists(st.integers(1, 40), min_size=3, max_size=3), st.integers(1, 40), st.integers(0, 39))
def test_whoever_holds_a_quorums_head_notices_whichever_older_ones_are_quoted(
    last: list[int], seen: int, kept: int
) -> None:
    """Each witness's newest head is as large as any that it signed. A liar quotes an older one of a witness of the head
    that was seen, since nothing else was signed."""
    honest = ended([head(size, number) for number, size in enumerate(last)], kept=min(kept, max(last) - 1), quorum=2)
    by = [number for number, size in enumerate(last) if size >= seen]
    if len(by) >= 2:
        honest.check(head(seen, *by[:2]))
    for number in by[:2]:
        older = [size if other != number else min(size, seen - 1) for other, size in enumerate(last)]
        if len(by) >= 2 and min(older) >= 1 and older[number] < seen and kept < max(older):
            liar = ended([head(size, other) for other, size in enumerate(older)], kept=kept, quorum=2)
            with pytest.raises(LeavesDropped):
                liar.check(head(seen, *by[:2]))
