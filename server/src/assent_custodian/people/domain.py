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


GUARDS = frozenset({Role.COUNCIL, Role.DPO})
"""Who watches the admins. Together they end an admin, and make one, without an admin."""


def may_propose(roles: Iterable[Role], wanted: Role) -> bool:
    """An admin proposes any change; council and dpo who is an admin, so that nobody needs an admin against an admin."""
    held = set(roles)
    return Role.ADMIN in held or (wanted is Role.ADMIN and bool(held & GUARDS))


def check_proposer(roles: Iterable[Role], wanted: Role) -> None:
    """Raises Problem unless who has these roles proposes who gets or loses `wanted`."""
    if not may_propose(roles, wanted):
        raise Problem(Code.REFUSED, "an admin has to propose this; council and dpo propose only who is an admin")


def check_last(role: Role, others: int) -> None:
    """The last council member, or data-protection officer, stays until somebody else can do what they do: else nobody
    watches the admins. `others`: who can, besides. Raises Problem."""
    if role in GUARDS and others == 0:
        raise Problem(
            Code.REFUSED,
            f"nobody else is {role.value} yet: somebody else has to be before this ends",
        )


def check_countersigner(
    countersigner: str,
    roles: Iterable[Role],
    proposer: str | None,
    concerned: str | None,
    *,
    proposed_as: Iterable[Role],
) -> None:
    """Council or dpo, never who proposed it, and never who gets or loses it. What no admin proposed (`proposed_as`: the
    roles of now of who did) takes both, council and dpo. Raises Problem.
    """
    if not set(roles) & GUARDS:
        raise Problem(Code.FORBIDDEN, "only the council or the data-protection officer countersigns a role")
    if countersigner == proposer:
        raise Problem(Code.REFUSED, "nobody countersigns their own proposal")
    if countersigner == concerned:
        raise Problem(Code.REFUSED, "nobody countersigns a change of their own role")
    proposing = set(proposed_as)
    if Role.ADMIN not in proposing and not proposing | set(roles) >= GUARDS:
        raise Problem(Code.REFUSED, "without an admin it takes both, council and data-protection officer")


def effective(action: str, countersigned: datetime, delay: timedelta) -> datetime:
    """From when a countersigned proposal counts: a grant after the delay, a revocation at once."""
    return countersigned + delay if action == "grant" else countersigned
