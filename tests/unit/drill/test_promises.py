"""The drill's own list of promises: it agrees with the services' tables today, and stands on its own."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Role
from assent_collector.app import openapi as collector_openapi
from assent_custodian import roles
from assent_custodian.app import openapi as custodian_openapi
from assent_custodian.drills.service import IDENTITIES
from assent_custodian.roles import DRILL_MAY, WHEN_REVOKED, Party
from assent_server.drill import promises
from assent_server.drill.promises import COLLECTOR, CUSTODIAN, Outcome, Promise, expected, outcome, routes_of

NAMES = {
    Party.ANYBODY: "anybody", Party.CODE_HOLDER: "code", Party.PERSON: "person", Party.COLLECTOR: "collector",
    Party.JOB: "job", Party.DRILL: "drill",
}  # fmt: skip


def named(who: frozenset[Party | Role]) -> frozenset[str]:
    return frozenset(NAMES[one] if isinstance(one, Party) else one.value for one in who)


def of_the_services() -> dict[str, Promise]:
    """What the custodian's tables and guards say today, in the words of promises."""
    found = {}
    for rule in roles.table():
        for route in rule.routes:
            path = re.sub(r"\{(\w+):path\}", r"{\1}", route)
            drill = DRILL_MAY.get(rule.permission, frozenset())
            found[path] = Promise(
                named(rule.who), frozenset(rule.credentials), named(drill), rule.permission in WHEN_REVOKED
            )
    return found


def test_the_promises_agree_with_the_tables_of_the_custodian() -> None:
    assert dict(CUSTODIAN) == of_the_services()


def test_every_route_of_both_services_is_promised_something() -> None:
    assert set(routes_of(custodian_openapi())) == set(CUSTODIAN)
    assert set(routes_of(collector_openapi())) == set(COLLECTOR)


def test_the_promises_are_written_down_apart_from_what_they_judge() -> None:
    tree = ast.parse(inspect.getsource(promises))
    imported = {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module is not None
    } | {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not {module for module in imported if module.startswith(("assent_custodian", "assent_collector"))}
    assert "assent.contracts.problems" in imported, "positive control"


@pytest.mark.parametrize("route", CUSTODIAN)
@pytest.mark.parametrize("key", ["device", "opening"])
@pytest.mark.parametrize("role", [None, *Role])
def test_what_is_expected_is_what_the_tables_decide(route: str, key: str, role: Role | None) -> None:
    promise = CUSTODIAN[route]
    rule = next(one for one in roles.table() if route in [re.sub(r":path\}", "}", name) for name in one.routes])
    if not rule.credentials:
        assert expected(promise, role, key) in (Outcome.OPEN, Outcome.CODE, Outcome.NOBODY)
        return
    try:
        roles.check(rule.permission, frozenset({role} if role else ()), key, drill=True)  # type: ignore[arg-type]
        found = Outcome.OPEN
    except Problem as problem:
        found = outcome(problem.code.status, problem.as_dict())
    assert expected(promise, role, key) is found


def test_every_outcome_is_expected_of_somebody() -> None:
    """Otherwise a drill could never tell one refusal from another."""
    found = {
        expected(promise, role.value if role else None, key)
        for promise in CUSTODIAN.values()
        for role in IDENTITIES.values()
        for key in ("device", "opening", None)
    }
    assert found == set(Outcome) - {Outcome.BROKEN}


@pytest.mark.parametrize("route", CUSTODIAN)
def test_a_revoked_key_and_a_strangers_count_for_nobody(route: str) -> None:
    promise = CUSTODIAN[route]
    if promise.who & {"anybody", "code"}:
        return
    assert expected(promise, "admin", None) is Outcome.NOBODY
    revoked = expected(promise, None, "opening", revoked=True)
    assert (revoked is Outcome.NOBODY) is not promise.revoked


@pytest.mark.parametrize(
    ("problem", "meaning"),
    [
        (Problem(Code.NOT_SIGNED_IN, "x"), Outcome.NOBODY),
        (Problem(Code.SIGNATURE_INVALID, "x"), Outcome.NOBODY),
        (Problem(Code.FORBIDDEN, "x", rule="role"), Outcome.ROLE),
        (Problem(Code.FORBIDDEN, "x", rule="credential"), Outcome.KEY),
        (Problem(Code.FORBIDDEN, "x", rule="drill"), Outcome.DRILL),
        (Problem(Code.FORBIDDEN, "x"), Outcome.BROKEN),
        (Problem(Code.CODE_INVALID, "x"), Outcome.CODE),
        (Problem(Code.NOT_FOUND, "x"), Outcome.OPEN),
        (Problem(Code.MALFORMED, "x"), Outcome.OPEN),
        (Problem(Code.INTERNAL, "x"), Outcome.BROKEN),
        (Problem(Code.CLOSED, "x"), Outcome.BROKEN),
    ],
)
def test_what_an_answer_means(problem: Problem, meaning: Outcome) -> None:
    assert outcome(problem.code.status, problem.as_dict()) is meaning


def test_an_answer_that_is_none_of_ours_is_broken() -> None:
    assert outcome(200, None) is Outcome.OPEN
    for status in (301, 401, 403, 404, 502):
        assert outcome(status, None) is Outcome.BROKEN
        assert outcome(status, {"type": "about:blank"}) is Outcome.BROKEN
