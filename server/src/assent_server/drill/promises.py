"""What is promised about every route, kept apart from the tables by which the services decide.

A drill that asked the services' own table what to expect would find a table that somebody changed as good as any. So
this one is written down a second time; a test says that the two agree, and after an update whoever changed only one of
them is told. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from assent.contracts.problems import PREFIX


class Outcome(StrEnum):
    """What an answer means for who asked. The value says it in a report."""

    NOBODY = "refused: the signature counts for nobody"
    ROLE = "refused by the role"
    KEY = "refused by the kind of key"
    DRILL = "refused to the drill alone"
    CODE = "refused: no such code"
    OPEN = "let through"
    BROKEN = "failed"


@dataclass(frozen=True)
class Promise:
    """`who` may ask (roles, or `person`, `anybody`, `code`, `collector`, `job`, `drill`), signing with one of `keys`;
    `drill`: which of those if they are identities of the drill; `revoked`: also with a key that was revoked.
    """

    who: frozenset[str]
    keys: frozenset[str]
    drill: frozenset[str]
    revoked: bool


def _promise(who: str, keys: str = "", drill: str = "", *, revoked: bool = False) -> Promise:
    return Promise(frozenset(who.split()), frozenset(keys.split()), frozenset(drill.split()), revoked)


_EITHER = "device opening"
_OVERSIGHT = "council dpo"
_THREE = "admin council dpo"

CUSTODIAN: Final[Mapping[str, Promise]] = {
    "GET /v1/directory": _promise("anybody"),
    "GET /v1/log/checkpoint": _promise("anybody"),
    "POST /v1/enrolments": _promise("code"),
    "GET /v1/me": _promise("person", _EITHER, "person"),
    "POST /v1/me/credentials": _promise("person", "opening"),
    "POST /v1/me/credentials/revocations": _promise("person", "opening", "person"),
    "POST /v1/me/leaving": _promise("person", "opening"),
    "POST /v1/leavings": _promise("dpo", "opening"),
    "GET /v1/recoveries": _promise(_OVERSIGHT, "opening"),
    "POST /v1/recoveries": _promise(_OVERSIGHT, "opening"),
    "POST /v1/recoveries/countersignatures": _promise(_OVERSIGHT, "opening"),
    "POST /v1/me/recoveries/stops": _promise("person", _EITHER),
    "GET /v1/consent/offer": _promise("person", _EITHER, "person"),
    "GET /v1/consent/notices/{sha256}": _promise("person", _EITHER, "person"),
    "POST /v1/receipts": _promise("person", "device", "person"),
    "POST /v1/withdrawals": _promise("person", _EITHER, "person", revoked=True),
    "POST /v1/erasures": _promise("person", "opening"),
    "POST /v1/consent/endings": _promise("dpo", "opening"),
    "POST /v1/certificates": _promise("person", "device", "person"),
    "GET /v1/me/news": _promise("person", "device", "person", revoked=True),
    "GET /v1/me/receipts": _promise("person", _EITHER, "person"),
    "GET /v1/me/receipts/{record}/proof": _promise("person", _EITHER, "person"),
    "GET /v1/me/accesses": _promise("person", _EITHER, "person"),
    "GET /v1/me/erasures": _promise("person", _EITHER),
    "POST /v1/me/standing": _promise("person", "device", "person"),
    "GET /v1/people": _promise("admin dpo", "opening"),
    "POST /v1/invitations": _promise("admin", "opening"),
    "GET /v1/roles": _promise(_THREE, "opening"),
    "POST /v1/roles": _promise(_THREE, "opening"),
    "POST /v1/roles/countersignatures": _promise(_OVERSIGHT, "opening"),
    "GET /v1/halt": _promise(_THREE, "opening"),
    "POST /v1/halt": _promise(_THREE, "opening"),
    "POST /v1/halt/resumptions": _promise(_OVERSIGHT, "opening"),
    "GET /v1/purposes": _promise("person", _EITHER),
    "POST /v1/purposes": _promise("admin", "opening"),
    "POST /v1/purposes/signatures": _promise("council", "opening"),
    "GET /v1/catalogue": _promise("requester", "opening"),
    "GET /v1/requests": _promise("requester steward council dpo", "opening", "requester steward"),
    "GET /v1/requests/{hash}": _promise("requester steward council dpo", "opening", "requester steward"),
    "POST /v1/requests": _promise("requester", "opening", "requester"),
    "POST /v1/decisions": _promise("steward council dpo", "opening", "steward"),
    "POST /v1/leases": _promise("person", "opening", "person"),
    "POST /v1/leases/releases": _promise("job"),
    "POST /v1/leases/closures": _promise("job"),
    "GET /v1/recalls": _promise("requester", "opening"),
    "POST /v1/recalls/done": _promise("requester", "opening"),
    "GET /v1/log/entries": _promise("auditor council", "opening"),
    "GET /v1/log/tile/{path}": _promise("auditor council", "opening"),
    "GET /v1/log/proof": _promise("auditor council", "opening"),
    "GET /v1/unmaskings": _promise("auditor dpo", "opening"),
    "POST /v1/unmaskings": _promise("auditor", "opening"),
    "GET /v1/unmaskings/{unmasking}/person": _promise("auditor", "opening"),
    "POST /v1/unmaskings/countersignatures": _promise("dpo", "opening"),
    "GET /v1/orders": _promise("collector"),
    "POST /v1/orders/done": _promise("collector"),
    "POST /v1/orders/returned": _promise("collector"),
    "POST /v1/reports": _promise("collector"),
    "POST /v1/drills": _promise("drill", "opening", "drill"),
}

COLLECTOR: Final[Mapping[str, str]] = {
    "PUT /v1/streams/{stream}": "certificate",
    "PUT /v1/streams/{stream}/segments/{sequence}": "certificate",
    "PUT /v1/streams/{stream}/records/{sequence}": "certificate",
    "POST /v1/fetch/streams": "ticket",
    "POST /v1/fetch/bodies": "ticket",
}
"""What the collector must be shown before it does anything."""


def expected(promise: Promise, role: str | None, key: str | None, *, revoked: bool = False) -> Outcome:
    """What an identity of the drill with this role must get, signing with this kind of key (None: a stranger's)."""
    if "anybody" in promise.who:
        return Outcome.OPEN
    if "code" in promise.who:
        return Outcome.CODE
    if promise.who <= {"collector", "job"} or key is None or (revoked and not promise.revoked):
        return Outcome.NOBODY
    names = {"person", "drill"} | ({role} if role else set())
    if not names & promise.who:
        return Outcome.ROLE
    if key not in promise.keys:
        return Outcome.KEY
    return Outcome.OPEN if names & promise.drill else Outcome.DRILL


_BY_RULE = {"role": Outcome.ROLE, "credential": Outcome.KEY, "drill": Outcome.DRILL}


def outcome(status: int, problem: Mapping[str, Any] | None) -> Outcome:
    """What this answer means. `problem`: the problem document of a refusal, None when there was none."""
    if 200 <= status < 300:
        return Outcome.OPEN
    kind = str(problem.get("type", "")) if problem is not None else ""
    if status >= 500 or not kind.startswith(PREFIX):
        return Outcome.BROKEN
    if status == 401:
        return Outcome.NOBODY
    if kind == f"{PREFIX}forbidden":
        return _BY_RULE.get(str(problem.get("rule")) if problem else "", Outcome.BROKEN)
    return Outcome.CODE if kind == f"{PREFIX}code-invalid" else Outcome.OPEN


def routes_of(description: Mapping[str, Any]) -> list[str]:
    """`METHOD path` of everything that an OpenAPI description names."""
    methods = {"get", "put", "post", "delete", "patch", "head", "options"}
    return [
        f"{method.upper()} {path}"
        for path, operations in description["paths"].items()
        for method in operations
        if method in methods
    ]
