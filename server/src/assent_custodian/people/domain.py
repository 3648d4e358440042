"""Rules about roles, pure: who may hold what, who may countersign, and from when it counts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Role

FOUNDERS: tuple[Role, ...] = (Role.ADMIN, Role.COUNCIL, Role.DPO)
"""The first holders. Until all three have signed the first directory, nothing is recorded and nothing is read."""


def check_exclusive(held: Iterable[Role], wanted: Role) -> None:
    """The six roles exclude each other: one person holds one at most, coming ones included. Raises Problem."""
    others = set(held)
    if wanted in others:
        raise Problem(Code.CONFLICT, f"this person is {wanted.value} already, or will be")
    if others:
        raise Problem(Code.REFUSED, "one person holds one role at most; revoke the other one first")


def check_countersigner(countersigner: str, roles: Iterable[Role], proposer: str | None, concerned: str | None) -> None:
    """Council or dpo, never who proposed it, and never who gets or loses it. Raises Problem."""
    if not set(roles) & {Role.COUNCIL, Role.DPO}:
        raise Problem(Code.FORBIDDEN, "only the council or the data-protection officer countersigns a role")
    if countersigner == proposer:
        raise Problem(Code.REFUSED, "nobody countersigns their own proposal")
    if countersigner == concerned:
        raise Problem(Code.REFUSED, "nobody countersigns a change of their own role")


def effective(action: str, countersigned: datetime, delay: timedelta) -> datetime:
    """From when a countersigned proposal counts: a grant after the delay, a revocation at once."""
    return countersigned + delay if action == "grant" else countersigned
