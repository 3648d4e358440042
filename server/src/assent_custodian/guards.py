"""What stands before every route: a guard that names a permission and demands its proof. No guard, no route.

A guard is a FastAPI dependency. It runs in the transaction of the request, so that the nonce it takes and the act it
permits are committed together, before the answer leaves.
"""

# FastAPI reads the annotations of `__call__` from instances, where it cannot resolve strings: no `annotations` import.
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import structlog
from fastapi import Depends, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope, Signed, Statement, read_unverified
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Ask
from assent_custodian import auth, roles
from assent_custodian.auth import Asker, Stated
from assent_custodian.context import Custodian
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.roles import Party, Permission
from assent_service.web import read_body

MAX_CONCURRENT_TRANSACTIONS = 16
"""Fewer than worker threads and database connections, so that a request that holds a lock always finds both."""

S = TypeVar("S", bound=Statement)

_log = structlog.get_logger("assent.custodian")


def custodian_of(request: Request) -> Custodian:
    """The running custodian."""
    found: Custodian = request.app.state.custodian
    return found


async def _raw_body(request: Request) -> bytes:
    return await read_body(request)


RawBody = Annotated[bytes, Depends(_raw_body)]


def _transaction(request: Request, _arrived: RawBody) -> Iterator[Session]:
    """Begins when the body is here: a client that stops sending must hold no transaction.

    What it wrote into the log is under a signed head before the answer leaves: an older database is then known by it.
    """
    custodian = custodian_of(request)
    guard = guard_of(request.scope["route"])
    urgent = guard is not None and guard.urgent
    with custodian.database.transaction(urgent=urgent) as session:
        yield session
    if log.has_appended(session):
        try:
            witnesses.sign_head(custodian, urgent=urgent)
        except Exception as error:  # it is committed; the background signs it, too
            _log.warning("head-not-signed", kind=type(error).__name__)


Running = Annotated[Custodian, Depends(custodian_of)]
Tx = Annotated[Session, Depends(_transaction, scope="function", max_concurrency=MAX_CONCURRENT_TRANSACTIONS)]
"""The transaction of this request. Function-scoped: a commit that fails is answered with 500, not 200."""


class Guard:
    """Base of all guards. `permission` must be in the table of roles, or the route is denied to everybody.

    `states`: the statement that the body is, where it is one; `within`: the wire model in which its envelope stands,
    when that is not the whole body. The description of the route says both, and what this kind of guard `refuses`.
    """

    states: type[Statement] | None = None
    within: type[BaseModel] | None = None
    refuses: tuple[Code, ...] = (Code.NOT_SIGNED_IN, Code.SIGNATURE_INVALID, Code.STALE, Code.FORBIDDEN)

    def __init__(self, permission: Permission) -> None:
        self.permission = permission
        self.rule = roles.BY_PERMISSION[permission]
        self._revoked_too = permission in roles.WHEN_REVOKED
        self.urgent = permission in roles.ON_A_FULL_DISK

    def _check(self, session: Session, asker: Asker) -> None:
        """Raises Problem unless this person may, now."""
        roles.check(self.permission, asker.roles, asker.kind, asker.waits_until, drill=asker.drill)
        if self.permission not in roles.WHILE_BEHIND:
            log.check_whole(session)


class Open(Guard):
    """For what needs no credential of a person: anybody, the holder of a code, or a job whose key the act names.

    Where the rule says code or job, the proof is in the body, and the act itself checks it.
    """

    refuses = ()

    def __init__(
        self, permission: Permission, states: type[Statement] | None = None, *, within: type[BaseModel] | None = None
    ) -> None:
        super().__init__(permission)
        self.states, self.within = states, within
        if not self.rule.who <= {Party.ANYBODY, Party.CODE_HOLDER, Party.JOB}:
            raise ValueError(f"{permission.value} needs a credential")

    def __call__(self) -> None:
        return None


@dataclass(frozen=True)
class Asked:
    """A verified question of a person, and its nonce (answers that are statements repeat it)."""

    asker: Asker
    ask: Ask


class ByAsk(Guard):
    """The proof is an Ask in the Authorization field, signed by a credential of a person."""

    def __call__(self, request: Request, session: Tx) -> Asked:
        custodian = custodian_of(request)
        ask, envelope = auth.read_ask(request.headers.get("authorization"), request.method, target_of(request))
        asker = auth.asked(session, ask, envelope, custodian.now(), revoked_too=self._revoked_too)
        self._check(session, asker)
        return Asked(asker, ask)


class ByCollector(Guard):
    """The proof is an Ask signed by the collector key that the directory names."""

    def __call__(self, request: Request, session: Tx) -> Ask:
        custodian = custodian_of(request)
        if Party.COLLECTOR not in self.rule.who:
            raise Problem(Code.FORBIDDEN, "the collector may not do that")
        ask, envelope = auth.read_ask(request.headers.get("authorization"), request.method, target_of(request))
        auth.asked_by_key(session, ask, envelope, custodian.directory.collector_key, custodian.now())
        return ask


class CollectorStates(Guard):
    """The proof is the body: an envelope signed by the collector key that the directory names."""

    refuses = (Code.SIGNATURE_INVALID, Code.FORBIDDEN)

    def __init__(self, permission: Permission, states: type[Statement]) -> None:
        super().__init__(permission)
        self.states = states

    def __call__(self, request: Request, body: RawBody) -> Envelope:
        if Party.COLLECTOR not in self.rule.who:
            raise Problem(Code.FORBIDDEN, "the collector may not do that")
        envelope = Envelope.from_json(body)
        auth.verify(envelope, custodian_of(request).directory.collector_key)
        return envelope


class ByStatement(Guard, Generic[S]):
    """The proof is the body itself: a statement that a credential of the person signed.

    `fresh` False: its time is not looked at (a withdrawal counts whenever it arrives). `within` has the fields
    `statement`, `leaf` and `salt`.
    """

    def __init__(
        self,
        permission: Permission,
        kind: type[S],
        *,
        fresh: bool = True,
        within: type[Signed] | None = None,
    ) -> None:
        super().__init__(permission)
        self.states = self._kind = kind
        self.within = self._within = within
        self._fresh = fresh

    def __call__(self, request: Request, session: Tx, body: RawBody) -> Stated[Any]:
        custodian = custodian_of(request)
        leaf = salt = None
        if self._within is None:
            envelope = Envelope.from_json(body)
        else:
            outer: Any = self._within.parse(body)
            envelope, leaf, salt = outer.statement, outer.leaf, outer.salt
        read_unverified(envelope, self._kind)  # malformed is said before anything is looked up
        statement, asker = auth.proved(
            session, envelope, self._kind, custodian.now(), fresh=self._fresh, revoked_too=self._revoked_too
        )
        self._check(session, asker)
        if self.urgent:
            custodian.database.make_room()  # not before: what nobody signed takes nothing of the reserve
        return Stated(statement, envelope, asker, leaf, salt)


def target_of(request: Request) -> str:
    """Path and query exactly as they came: what an Ask must name."""
    path: str = request.scope["raw_path"].decode("ascii").partition("?")[0]
    query: str = request.scope["query_string"].decode("ascii")
    return f"{path}?{query}" if query else path


def guard_of(route: APIRoute) -> Guard | None:
    """The guard of a route, wherever among its dependencies it stands."""
    calls = [dependency.call for dependency in route.dependant.dependencies]
    found = [call for call in calls if isinstance(call, Guard)]
    guard: Guard | None = found[0] if len(found) == 1 else None  # type: ignore[assignment]  # TypeIs keeps Callable
    return guard
