"""What must be true of the log's entries: each rule with what breaks it, and what keeps it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.reader.test_auditing import (
    ADMIN,
    ASKED,
    BEFORE,
    COUNCIL,
    DRAFT,
    DRAFTED,
    FIRST,
    LEASED,
    NOW,
    ONE,
    OPENED,
    PROPER,
    PURPOSE,
    REQUESTER,
    SECOND,
    TWO,
    later,
    leaf,
)

from assent.contracts.leaves import LeafType
from assent.contracts.statements import DRILL_PURPOSE
from assent.reader.log_rules import Finding, LogRules, Memory

HALT = "a1" * 32


def own(kind: LeafType, **fields: Any) -> bytes:
    """A leaf that is about no request."""
    return leaf(kind, **{"request": None, **fields})


def wrong(leaves: list[bytes], **options: Any) -> list[Finding]:
    rules = LogRules(**options)
    return [finding for data in leaves for finding in rules.read(data).wrong]


def lease(**changes: Any) -> bytes:
    return leaf(LeafType.LEASE_OPENED, **{**LEASED, **changes})


HALTED = own(LeafType.PROGRAMME_HALTED, subject=HALT)
RESUME = {
    number: leaf(LeafType.PROGRAMME_RESUME_SIGNED, actor=actor, request=HALT) for number, actor in ((1, ONE), (2, TWO))
}
RESUMED = own(LeafType.PROGRAMME_RESUMED, subject=HALT)
ROLE = {"subject": "5a" * 32, "detail": {"role": "steward", "action": "grant"}}
PROPOSED = own(LeafType.ROLE_PROPOSED, actor=ADMIN, auth="opening", **ROLE)


def changed(**fields: Any) -> bytes:
    content = {"actor": COUNCIL, "rule": "role.countersigned", "until": later(hours=24), **ROLE}
    return own(LeafType.ROLE_CHANGED, **{**content, **fields})


def founder(kind: LeafType, subject: str = "f0" * 32, **fields: Any) -> bytes:
    detail = {"role": "admin", "action": "grant"}
    return own(kind, auth="root", subject=subject, detail=detail, **fields)


FOUNDER = [
    founder(LeafType.ROLE_PROPOSED),
    founder(LeafType.ROLE_CHANGED, actor=ADMIN, rule="role.founder"),
]
RECOVERY = "4e" * 32
SIGNED = own(LeafType.RECOVERY_SIGNED, actor=ONE, subject=RECOVERY)
USED = own(LeafType.RECOVERY_USED, subject=RECOVERY)


def countersigned(**fields: Any) -> bytes:
    content = {"actor": TWO, "subject": RECOVERY, "until": later(days=7)}
    return own(LeafType.RECOVERY_COUNTERSIGNED, **{**content, **fields})


def directory(version: int, auth: str = "root") -> bytes:
    return own(LeafType.DIRECTORY_CHANGED, auth=auth, subject=f"{version:02x}" * 32, counts={"version": version})


def destroyed(number: int) -> bytes:
    return own(LeafType.GENERATION_DESTROYED, counts={"generation": number})


def order(number: int) -> bytes:
    return own(LeafType.ORDER_MADE, counts={"number": number})


TWO_LEASES = [*PROPER, lease(subject="2e" * 32, at=later(days=1), until=later(days=2))]
OTHER = "cd" * 32


def drill_role(by: str | None, **fields: Any) -> bytes:
    detail = {"role": "steward", "action": "grant"}
    return own(
        LeafType.ROLE_CHANGED,
        **{"actor": by, "auth": "operator", "rule": "role.drill", "detail": detail, **fields},
    )


DRILL = [drill_role(actor) for actor in (REQUESTER, ONE, TWO)]
DRILL_ASKED = leaf(
    LeafType.REQUEST_SIGNED, actor=REQUESTER, purpose=f"{DRILL_PURPOSE} 1", mode="reader", until=later(hours=1)
)
DRILL_LEASE = lease(purpose=DRILL_PURPOSE, until=later(hours=1))
DRILL_FAILED = own(LeafType.DRILL_FAILED, actor=ONE, detail={"failed": "role.auditor"})

CASES: dict[str, tuple[list[bytes], str | None]] = {
    "a drill": ([*DRILL, DRILL_ASKED, FIRST, SECOND, DRILL_LEASE, own(LeafType.DRILL_PASSED, actor=ONE)], None),
    "a drill's request by somebody else": ([*DRILL[1:], DRILL_ASKED], "by somebody else than the drill"),
    "the drill asks for people": ([*BEFORE, *DRILL, ASKED], "by an identity of the drill"),
    "the drill approves a request of people": ([*BEFORE, ASKED, DRILL[1], FIRST, SECOND, OPENED], "1 of 2"),
    "somebody approves the drill's request": ([*DRILL[:2], DRILL_ASKED, FIRST, SECOND, DRILL_LEASE], "1 of 2"),
    "an identity of the drill that no operator made": ([drill_role(ONE, auth="opening")], "did not make"),
    "an identity of the drill that is nobody": ([drill_role(None)], "did not make"),
    "a drill's result by somebody else": ([own(LeafType.DRILL_PASSED, actor=ONE)], "somebody else than the drill"),
    "a drill that is overdue": ([own(LeafType.DRILL_FAILED, rule="drill.overdue")], None),
    "properly approved": (PROPER, None),
    "properly approved and opened again": (TWO_LEASES, None),
    "no leases": ([*BEFORE, ASKED, FIRST], None),
    "own data needs nobody": ([own(LeafType.LEASE_OPENED, mode="own", until=later(hours=1))], None),
    "a refused lease": ([leaf(LeafType.LEASE_REFUSED, decision="refused")], None),
    "nobody approved": ([*BEFORE, ASKED, OPENED], "leaf 3: a lease with 0 of 2"),
    "one approved": ([*BEFORE, ASKED, FIRST, OPENED], "leaf 4: a lease with 1 of 2"),
    "one approved twice": ([*BEFORE, ASKED, FIRST, FIRST, OPENED], "a lease with 1 of 2"),
    "approved again, after a restore that lost it": ([*BEFORE, ASKED, FIRST, SECOND, FIRST, OPENED], None),
    "the requester approved": (
        [*BEFORE, ASKED, FIRST, leaf(LeafType.GRANT_APPROVED, actor=REQUESTER), OPENED],
        "a lease with 1 of 2",
    ),
    "the requester approved, in itself": (
        [*BEFORE, ASKED, leaf(LeafType.GRANT_APPROVED, actor=REQUESTER)],
        "approved the own request",
    ),
    "approved too late": ([*BEFORE, ASKED, FIRST, OPENED, SECOND], "a lease with 1 of 2"),
    "another request was approved": (
        [*BEFORE, ASKED, FIRST, leaf(LeafType.GRANT_APPROVED, actor=TWO, request=OTHER), OPENED],
        "a lease with 1 of 2",
    ),
    "an approval of nothing": ([leaf(LeafType.GRANT_APPROVED, actor=TWO)], "that nobody signed"),
    "an approval without an actor": (
        [*BEFORE, ASKED, FIRST, leaf(LeafType.GRANT_APPROVED), OPENED],
        "a lease with 1 of 2",
    ),
    "approved after a refusal": (
        [*BEFORE, ASKED, leaf(LeafType.GRANT_REFUSED, actor=ONE), SECOND],
        "after the request had ended",
    ),
    "approved after it expired": (
        [*BEFORE, ASKED, leaf(LeafType.GRANT_APPROVED, actor=ONE, at=later(days=21))],
        "after the request had ended",
    ),
    "after a revocation": ([*PROPER[:5], leaf(LeafType.GRANT_REVOKED, actor=ONE), OPENED], "had ended"),
    "after it was said to have expired": ([*PROPER[:5], leaf(LeafType.GRANT_EXPIRED), OPENED], "had ended"),
    "after its last day": (
        [*PROPER[:5], lease(at=later(days=21), until=later(days=22))],
        "had expired",
    ),
    "a lease of no request": ([own(LeafType.LEASE_OPENED, mode="reader", until=later(hours=1))], "0 of 2"),
    "a lease by another person": ([*PROPER[:5], lease(actor=ONE)], "somebody else"),
    "a lease for another purpose": ([*PROPER[:5], lease(purpose="urn:purpose:two")], "another purpose"),
    "a lease in another mode": ([*PROPER[:5], lease(mode="export")], "another purpose or mode"),
    "a lease under another's name": ([*PROPER, OPENED], "without a name of its own"),
    "a lease without a name": ([*PROPER[:5], lease(subject=None)], "without a name of its own"),
    "a lease that is too long": ([*PROPER[:5], lease(until=later(hours=25))], "longer than 24 hours"),
    "a lease of one's own that is too long": (
        [own(LeafType.LEASE_OPENED, mode="own", until=later(hours=25))],
        "longer than 24 hours",
    ),
    "a lease without an end": ([*PROPER[:5], lease(until=None)], "without an end"),
    "a lease during a halt": ([*PROPER[:5], HALTED, OPENED], "while the programme was halted by leaf 5"),
    "one's own lease during a halt": (
        [HALTED, own(LeafType.LEASE_OPENED, mode="own", until=later(hours=1))],
        "while the programme was halted",
    ),
    "a lease after a halt": ([*PROPER[:5], HALTED, *RESUME.values(), RESUMED, OPENED], None),
    "resumed by one": ([HALTED, RESUME[1], RESUME[1], RESUMED], "had not both signed"),
    "resumed by nobody": ([RESUMED], "had not both signed"),
    "a request for an unsigned purpose": ([DRAFTED, ASKED], "not signed"),
    "a request again, after a restore that lost it": ([*BEFORE, ASKED, FIRST, SECOND, ASKED, OPENED], None),
    "a request again, which was revoked": (
        [*PROPER[:5], leaf(LeafType.GRANT_REVOKED, actor=ONE), ASKED, FIRST, SECOND, OPENED],
        "had ended",
    ),
    "resumed again by two": ([HALTED, *RESUME.values(), RESUMED, *RESUME.values(), RESUMED], None),
    "resumed again by nobody": ([HALTED, *RESUME.values(), RESUMED, HALTED, RESUMED], "had not both signed"),
    "a purpose signed by who drafted it": (
        [DRAFTED, own(LeafType.PURPOSE_SIGNED, actor=ADMIN, subject=DRAFT, purpose=PURPOSE, counts={"version": 1})],
        "without a draft by somebody else",
    ),
    "a purpose signed again, after a restore that lost it": ([*BEFORE, BEFORE[1], ASKED], None),
    "a purpose without a draft": (BEFORE[1:], "without a draft"),
    "a role": ([PROPOSED, changed()], None),
    "a role that nobody proposed": ([changed()], "nobody had proposed"),
    "another role than was proposed": (
        [PROPOSED, changed(detail={"role": "auditor", "action": "grant"})],
        "nobody had proposed",
    ),
    "a role given by one person": ([PROPOSED, changed(actor=ADMIN)], "the same person"),
    "a role countersigned again, after a restore that lost it": ([PROPOSED, changed(), changed()], None),
    "a founder": (FOUNDER, None),
    "a second founder": (
        [
            *FOUNDER,
            founder(LeafType.ROLE_PROPOSED, "f1" * 32),
            founder(LeafType.ROLE_CHANGED, "f1" * 32, actor=ONE, rule="role.founder"),
        ],
        "a second founder",
    ),
    "a founder whom an admin named": ([PROPOSED, changed(rule="role.founder")], "whom the root key did not name"),
    "a recovery": ([SIGNED, countersigned(), USED], None),
    "a recovery by one": ([SIGNED, countersigned(actor=ONE)], "twice by the same person"),
    "a recovery without time to object": ([SIGNED, countersigned(until=later(days=6))], "less than 7 days"),
    "a recovery that was never countersigned": ([SIGNED, USED], "not signed by two"),
    "a recovery that was stopped": (
        [SIGNED, countersigned(), own(LeafType.RECOVERY_STOPPED, subject=RECOVERY, decision="refused"), SIGNED, USED],
        "that was stopped",
    ),
    "a recovery out of nothing": ([countersigned()], "nobody signed"),
    "directories": ([directory(1), directory(2)], None),
    "a directory left out": ([directory(1), directory(3)], "directory 3, where 2"),
    "a directory again, after a restore that lost it": ([directory(1), directory(2), directory(2)], None),
    "another directory again": (
        [directory(1), own(LeafType.DIRECTORY_CHANGED, auth="root", subject="ff" * 32, counts={"version": 1})],
        "directory 1, where 2",
    ),
    "a directory by somebody else": ([directory(1, "operator")], "by the root key"),
    "generations": ([destroyed(1), destroyed(3)], None),
    "a generation of the same number, after a restore": ([destroyed(1), destroyed(2), destroyed(2)], None),
    "orders": ([order(1), order(2)], None),
    "an order left out": ([order(1), order(3)], "order 3 to the collector, where 2"),
    "a witness that knew more": (
        [own(LeafType.WITNESS_UNREACHABLE, rule="ahead", detail={"witness": "w"})],
        "this one was shortened",
    ),
    "an entry that cannot be read": ([b"{}"], "leaf 0: cannot be read"),
    "an entry without a time": ([leaf(LeafType.BOOT, at="soon")], "cannot be read"),
    "an entry from long before": ([leaf(LeafType.BOOT), leaf(LeafType.BOOT, at=later(minutes=-6))], "five minutes"),
    "an entry from just before": ([leaf(LeafType.BOOT), leaf(LeafType.BOOT, at=later(minutes=-5))], None),
    "a day among moments": ([leaf(LeafType.BOOT), own(LeafType.PERSON, at="2026-11-22", subject="ee" * 32)], None),
}


@pytest.mark.parametrize("case", CASES)
def test_what_must_never_be_in_a_log_is_found(case: str) -> None:
    leaves, reason = CASES[case]
    found = [finding.text for finding in wrong(leaves)]
    if reason is None:
        assert found == []
    else:
        assert any(reason in text for text in found), found


@pytest.mark.parametrize("case", CASES)
def test_what_is_remembered_between_leaves_survives_as_json(case: str) -> None:
    """Whoever follows a log may stop after every leaf, and finds the same."""
    leaves, _ = CASES[case]
    memory, found = Memory(), []
    for data in leaves:
        rules = LogRules(Memory.model_validate_json(memory.model_dump_json()))
        found += rules.read(data).wrong
        memory = rules.memory
    assert found == wrong(leaves)


def test_the_delay_of_a_role_is_looked_at_where_it_is_known() -> None:
    early = [PROPOSED, changed(until=later(hours=23))]
    assert wrong(early) == []
    assert [finding.kind for finding in wrong(early, role_delay=timedelta(hours=24))] == ["role-early"]
    assert wrong([PROPOSED, changed()], role_delay=timedelta(hours=24)) == []
    revoked = {"role": "steward", "action": "revoke"}
    taken = [own(LeafType.ROLE_PROPOSED, actor=ADMIN, subject=ROLE["subject"], detail=revoked)]
    taken.append(changed(detail=revoked, until=later()))
    assert wrong(taken, role_delay=timedelta(hours=24)) == [], "a role is taken at once"


def test_a_leaf_lies_between_the_witnesses_times() -> None:
    rules = LogRules()
    assert rules.read(leaf(LeafType.BOOT), after=NOW, before=NOW).wrong == ()
    slow = rules.read(leaf(LeafType.BOOT), after=NOW + timedelta(minutes=6)).wrong
    fast = rules.read(leaf(LeafType.BOOT), before=NOW - timedelta(minutes=6)).wrong
    assert [finding.kind for finding in (*slow, *fast)] == ["clock", "clock"]


def standing(leaves: list[bytes], **after: float) -> list[str]:
    rules = LogRules()
    for data in leaves:
        rules.read(data)
    return [finding.id for finding in rules.standing(NOW + timedelta(**after))]


def test_a_lease_that_is_not_closed_counts_as_read_in_full() -> None:
    closed = leaf(LeafType.LEASE_CLOSED, subject=LEASED["subject"])
    assert standing(PROPER, hours=24) == []
    assert standing(PROPER, hours=26) == ["lease-unclosed:5"]
    assert standing([*PROPER, closed], hours=26) == []
    assert standing([*PROPER, OPENED], hours=26) == ["lease-unclosed:5"], "one that takes its name does not hide it"


def test_a_halt_stands_until_it_is_resumed() -> None:
    assert standing([HALTED]) == ["halted:0"]
    assert standing([HALTED, *RESUME.values(), RESUMED]) == []


def test_what_the_custodian_says_about_itself_stands_while_it_is_repeated() -> None:
    overdue = own(LeafType.ERASURE_OVERDUE, rule="orders", detail={"since": "2026-11-20"})
    away = own(LeafType.WITNESS_UNREACHABLE, rule="unreachable", detail={"witness": "w1"})
    assert standing([overdue, away]) == ["overdue:orders", "witness-unreachable:w1"]
    assert standing([overdue, away], hours=3) == ["overdue:orders"]
    assert standing([overdue, away], hours=27) == []
    rules = LogRules()
    rules.read(away)
    seconds = int(NOW.timestamp())
    assert [one.kind for one in rules.standing(NOW, {"w1": seconds - 1, "w2": seconds})] == ["witness-unreachable"]
    assert rules.standing(NOW, {"w1": seconds}) == [], "it has countersigned since"


def test_a_drill_that_failed_stands_until_one_passes() -> None:
    passed = own(LeafType.DRILL_PASSED, actor=ONE)
    assert standing([*DRILL, DRILL_FAILED], days=9) == ["drill-failed:3", "collector-silent"]
    assert standing([*DRILL, DRILL_FAILED, passed]) == []
    assert standing([own(LeafType.DRILL_FAILED, rule="drill.overdue", detail={"since": "x"})]) == ["drill-failed:0"]
    rules = LogRules()
    told = [finding for data in (*DRILL, DRILL_FAILED) for finding in rules.read(data).news]
    assert [finding.kind for finding in told] == ["role-changed"] * 3 + ["drill-failed"]
    assert "role.auditor" in told[-1].text


def test_requests_of_the_drill_are_forgotten_as_soon_as_they_are_over() -> None:
    rules = LogRules()
    for data in (*DRILL, DRILL_ASKED):
        rules.read(data)
    assert len(rules.memory.requests) == 1
    again = {"actor": REQUESTER, "purpose": f"{DRILL_PURPOSE} 1", "mode": "reader", "until": later(hours=3)}
    rules.read(leaf(LeafType.REQUEST_SIGNED, request=OTHER, at=later(hours=2), **again))
    assert list(rules.memory.requests) == [OTHER]


def test_changes_are_told() -> None:
    rules = LogRules()
    leaves = [
        directory(1), *FOUNDER, *BEFORE, PROPOSED, changed(), directory(2), own(LeafType.CONFIG_CHANGED),
        own(LeafType.BOOT, detail={"build": "aa"}), own(LeafType.BOOT, detail={"build": "aa"}),
        own(LeafType.BOOT, detail={"build": "bb"}), destroyed(2), destroyed(1), HALTED, *RESUME.values(), RESUMED,
        own(LeafType.CONSENT_ENDED),
    ]  # fmt: skip
    told = [finding.kind for data in leaves for finding in rules.read(data).news]
    assert told == [
        "role-changed", "purpose-signed", "role-changed", "directory-changed", "config-changed", "boot", "generation",
        "halted",
        "resumed", "consent-ended",
    ]  # fmt: skip


def test_old_requests_are_forgotten_and_still_open_nothing() -> None:
    rules = LogRules()
    for data in PROPER:
        rules.read(data)
    new = leaf(
        LeafType.REQUEST_SIGNED, request=OTHER, at=later(days=100), until=later(days=110), actor=REQUESTER,
        purpose=f"{PURPOSE} 1", mode="reader",
    )  # fmt: skip
    rules.read(new)
    assert set(rules.memory.requests) == {OTHER}
    found = rules.read(lease(at=later(days=100), until=later(days=101), subject=OTHER)).wrong
    assert [finding.kind for finding in found] == ["lease-unapproved"]


# --- after leaves were lost ---


def opened_anew(kept: int, **fields: Any) -> bytes:
    counts = {"version": 4, "kept": kept, "witnessed": kept + 9, "lost": 9}
    return own(LeafType.LOG_OPENED, **{"auth": "root", "counts": counts, **fields})


def order(number: int) -> bytes:
    return own(LeafType.ORDER_MADE, counts={"number": number})


def directory_leaf(version: int) -> bytes:
    return own(LeafType.DIRECTORY_CHANGED, auth="root", subject="d1" * 32, counts={"version": version})


def test_after_leaves_were_lost_numbers_go_on_from_where_nobody_knows() -> None:
    before = [directory_leaf(1), order(1)]
    after = [directory_leaf(4), order(5), order(6)]
    assert wrong([*before, opened_anew(2), *after]) == []
    assert {finding.kind for finding in wrong([*before, *after])} == {"directory", "order"}, "the control"
    assert [finding.kind for finding in wrong([*before, opened_anew(2), *after, order(8)])] == ["order"]


def test_after_leaves_were_lost_nothing_of_before_counts() -> None:
    size = len(PROPER)
    again = lease(subject="2e" * 32)
    assert wrong([*PROPER, again]) == [], "the control"
    assert [finding.kind for finding in wrong([*PROPER, opened_anew(size), again])] == ["lease-ended"]
    signed = own(LeafType.RECOVERY_SIGNED, actor=ONE, subject="4e" * 32)
    second = own(LeafType.RECOVERY_COUNTERSIGNED, actor=TWO, subject="4e" * 32, until=later(days=7))
    used = own(LeafType.RECOVERY_USED, subject="4e" * 32)
    assert wrong([signed, second, used]) == [], "the control"
    assert [finding.kind for finding in wrong([signed, second, opened_anew(2), used])] == ["recovery"]


@pytest.mark.parametrize("fields", [{"auth": "operator"}, {"counts": {"version": 1, "kept": 0, "lost": 9}}])
def test_only_the_root_begins_a_log_anew_and_where_it_says(fields: dict[str, Any]) -> None:
    assert [finding.kind for finding in wrong([directory_leaf(1), opened_anew(1, **fields)])] == ["log-opened"]
    rules = LogRules()
    rules.read(directory_leaf(1))
    (news,) = rules.read(opened_anew(1)).news
    assert "9 leaves" in news.text
