"""The log of an installation in use: hourly drills, a request a day whose leases are closed, people's own affairs, and
looks at the log. Nothing is wrong in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from tests.unit.reader.test_auditing import BEFORE, PURPOSE

from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import DRILL_PURPOSE
from assent.contracts.times import day_of, moment

BEGIN = datetime(2026, 11, 24, tzinfo=UTC)
LEASES, PERSONS, LOOKS = 30, 100, 20
"""So many a day."""


def log_in_use() -> Iterator[bytes]:
    """Its leaves, day after day, without end."""
    yield from BEFORE
    for name in ("requester", "one", "two"):
        yield Leaf(
            type=LeafType.ROLE_CHANGED, at=moment(BEGIN), actor=_hash(f"drill {name}"), auth="operator",
            rule="role.drill", detail={"role": "steward", "action": "grant"},
        ).to_bytes()  # fmt: skip
    for day in itertools.count():
        yield from (leaf.to_bytes() for leaf in _day(BEGIN + timedelta(days=day), day))


def request_of(day: int) -> str:
    """The hash of the request for people's recordings that was signed on a day; the first is 0."""
    return _hash(f"people {day}")


def _day(midnight: datetime, day: int) -> Iterator[Leaf]:
    for hour in range(24):
        yield from _read(midnight + timedelta(hours=hour), DRILL_PURPOSE, _hash(f"drill {day}.{hour}"), "drill ", 1)
    now = midnight + timedelta(hours=23)
    yield from _read(now, PURPOSE, request_of(day), "", LEASES)
    for number in range(PERSONS):
        yield Leaf(type=LeafType.PERSON, at=day_of(now), subject=_hash(f"person {day} {number}"))
    for number in range(LOOKS):
        yield Leaf(type=LeafType.AUDIT_VIEWED, at=moment(now), actor=_hash(f"auditor {number % 3}"), auth="opening",
                   decision="allowed", counts={"entries": number})  # fmt: skip


def _read(now: datetime, purpose: str, request: str, who: str, leases: int) -> Iterator[Leaf]:
    """A request, its approvals, and leases that were closed."""
    common: dict[str, Any] = {"at": moment(now), "auth": "opening", "decision": "allowed", "request": request}
    requester = _hash(f"{who}requester")
    lasts = timedelta(hours=1) if purpose == DRILL_PURPOSE else timedelta(days=30)
    yield Leaf(type=LeafType.REQUEST_SIGNED, actor=requester, purpose=f"{purpose} 1", mode="reader",
               until=moment(now + lasts), **common)  # fmt: skip
    for steward in ("one", "two"):
        yield Leaf(type=LeafType.GRANT_APPROVED, actor=_hash(f"{who}{steward}"), **common)
    for number in range(leases):
        lease = _hash(f"{request} {number}")
        yield Leaf(type=LeafType.LEASE_OPENED, actor=requester, subject=lease, purpose=purpose, mode="reader",
                   until=moment(now + timedelta(hours=1)), keys=(_hash(lease),), **common)  # fmt: skip
        yield Leaf(type=LeafType.LEASE_CLOSED, actor=requester, subject=lease, counts={"released": 40}, **common)


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
