"""From one hash in the log to everything that belongs to it."""

from __future__ import annotations

import pytest
from tests.unit.reader import leaves
from tests.unit.reader.leaves import LOG
from tests.unit.reader.test_auditing import REQUEST
from tests.unit.reader.test_log_entries import entries_of

from assent.reader.log_copies import CopyInvalid
from assent.reader.log_pivots import TOLD_APPROVERS, TOLD_FIRST, TOLD_LATER, TOLD_NOBODY, Reference, Story, story

ENTRIES = entries_of(LOG)


def told(text: str) -> Story:
    return story(reversed(ENTRIES), Reference.parse(text))


@pytest.mark.parametrize(
    "text",
    [
        f"request:{REQUEST[:8]}",
        f"request:{REQUEST.upper()}",
        REQUEST,
        f"lease:{leaves.LEASE[:8]}",
        leaves.SECOND_LEASE,
        f"job:{leaves.JOB[0][:12]}",
    ],
)
def test_from_a_request_its_leases_and_jobs_to_the_whole_request(text: str) -> None:
    found = told(text)
    assert found.request == REQUEST
    assert [entry.leaf.type.value for entry in found.entries] == [
        "request.signed", "grant.approved", "grant.approved", "lease.refused", "lease.opened", "lease.closed",
        "lease.opened", "recall.done", "grant.revoked",
    ]  # fmt: skip
    assert [entry.leaf.actor for entry in found.approvals] == [leaves.SAM, leaves.STEF]
    assert found.state == "revoked"


def test_leases_say_what_was_opened_and_who_was_told() -> None:
    first, second = told(REQUEST).leases
    assert (first.lease, first.keys, first.told) == (leaves.LEASE, 40, TOLD_FIRST + TOLD_APPROVERS)
    assert first.closed is not None
    assert (second.lease, second.keys, second.closed, second.told) == (leaves.SECOND_LEASE, None, None, TOLD_LATER)


def test_of_a_lease_that_never_opened_nobody_was_told_and_the_next_one_is_the_first() -> None:
    """As the custodian tells people (`leases.service`)."""
    data = [
        leaves.opened(leaves.at(minutes=1)), leaves.closed(leaves.at(minutes=1), released=0, auth=None, rule="halted"),
        leaves.opened(leaves.at(minutes=2), lease=leaves.SECOND_LEASE),
    ]  # fmt: skip
    never, first = story(reversed(entries_of(data)), Reference.parse(REQUEST)).leases
    assert (never.told, never.keys) == (TOLD_NOBODY, 0)
    assert first.told == TOLD_FIRST


@pytest.mark.parametrize(
    ("upto", "state"), [(13, "open"), (14, "open"), (15, "granted"), (20, "granted"), (len(LOG), "revoked")]
)
def test_the_state_of_a_request_follows_its_entries(upto: int, state: str) -> None:
    assert story(reversed(ENTRIES[:upto]), Reference.parse(REQUEST)).state == state


def test_other_ends() -> None:
    assert told(leaves.OTHER_REQUEST).state == "expired"
    assert told(leaves.OWN_REQUEST).state == "own"
    assert story(reversed(entries_of([leaves.refused(leaves.at())])), Reference.parse(REQUEST)).state == "never asked"
    assert told(leaves.OWN_LEASE).request == leaves.OWN_REQUEST
    scarce = [
        leaves.request(leaves.at()),
        leaves.decision(leaves.LeafType.GRANT_APPROVED, leaves.at(), leaves.SAM, rule="not-available"),
    ]
    assert story(reversed(entries_of(scarce)), Reference.parse(REQUEST)).state == "not-available"


def test_from_any_other_hash_to_the_entries_that_are_about_it() -> None:
    recovery = told(leaves.RECOVERY)
    assert recovery.request == ""
    assert [entry.leaf.type.value.partition(".")[2] for entry in recovery.entries] == [
        "signed", "countersigned", "used", "stopped"
    ]  # fmt: skip
    for entry in (ENTRIES[0], ENTRIES[-1], ENTRIES[33]):
        assert told(entry.hash).entries == (entry,), "by its leaf hash"


def test_digits_that_fit_several_requests_or_nothing() -> None:
    twins = [leaves.request(leaves.at(), "ab" * 31 + last) for last in ("01", "02")]
    with pytest.raises(CopyInvalid, match="several requests fit"):
        story(reversed(entries_of(twins)), Reference.parse("ab" * 8))
    with pytest.raises(CopyInvalid, match="nothing in the log"):
        told("00000000")
    with pytest.raises(CopyInvalid, match="nothing in the log"):
        told(f"lease:{REQUEST}")


@pytest.mark.parametrize("text", ["", "abc", "abababa", "xyzxyzxyz", "person:abababab", "request:", "request:ab ab"])
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"digits|not one of"):
        Reference.parse(text)
