"""Every route has a guard, and every guard wants fresh, exact, signed evidence that was not used before."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, func, select
from tests.simulators.custodian import CustodianWorld, problem

from assent.contracts.envelope import sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey, b64url
from assent.contracts.limits import MAX_STATEMENT_BYTES
from assent.contracts.statements import Ask, OrderDone, PurposeDraft, Role
from assent_custodian import roles
from assent_custodian.app import guarded_routes
from assent_custodian.background import Background
from assent_custodian.guards import Guard, guard_of
from assent_custodian.people.models import Credential
from assent_custodian.replay import Nonce
from assent_custodian.roles import Party


def route_names() -> list[str]:
    return [f"{method} {route.path}" for route in guarded_routes() for method in sorted(route.methods or ())]


def test_every_route_has_one_guard_and_stands_in_the_table_under_its_permission() -> None:
    allowed = {route: rule.permission for rule in roles.table() for route in rule.routes}
    for route in guarded_routes():
        guard = guard_of(route)
        assert isinstance(guard, Guard), f"{route.path} has no guard"
        for method in route.methods or ():
            assert allowed.get(f"{method} {route.path}") is guard.permission


def test_the_application_serves_these_routes_and_health_only(lite: CustodianWorld) -> None:
    described = {
        f"{method.upper()} {path}"
        for path, operations in lite.client.app.openapi()["paths"].items()  # type: ignore[attr-defined]
        for method in operations
    }
    assert described == {name.replace("{path:path}", "{path}") for name in route_names()}
    assert lite.client.get("/healthz").json() == {"status": "alive"}
    assert lite.client.get("/readyz").json() == {"status": "ready"}
    for address in ("/docs", "/openapi.json", "/redoc", "/v1", "/v1/nothing"):
        assert lite.client.get(address).status_code == 404


@pytest.mark.parametrize("name", route_names())
def test_a_stranger_gets_nothing_but_directory_and_checkpoint(lite_shared: CustodianWorld, name: str) -> None:
    method, path = name.split(" ")
    rule = next(rule for rule in roles.table() if name in rule.routes)
    target = path.replace("{hash}", "0" * 64).replace("{path:path}", "tile/entries/000")
    stranger = SigningKey.generate()
    world = lite_shared
    for headers in ({}, {"Authorization": world.authorization(stranger, method, target)}, {"Authorization": "Basic x"}):
        answer = world.client.request(method, target, headers=headers, content=b"{}" if method == "POST" else None)
        if Party.ANYBODY in rule.who:
            assert answer.status_code == 200
        else:
            assert 400 <= answer.status_code < 500, answer.text
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.fixture(scope="module")
def lite_shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    world = CustodianWorld(tmp_path_factory.mktemp("shared"))
    yield world
    world.close()


def test_a_question_counts_once(world: CustodianWorld) -> None:
    header = {"Authorization": world.authorization(world.admin.opening, "GET", "/v1/me")}
    assert world.client.get("/v1/me", headers=header).status_code == 200
    again = world.client.get("/v1/me", headers=header)
    assert (again.status_code, problem(again)) == (401, "stale")


@pytest.mark.parametrize("seconds", [-121, 121])
def test_a_question_of_another_time_is_refused_with_the_custodians_time(lite: CustodianWorld, seconds: int) -> None:
    header = {"Authorization": lite.authorization(lite.admin.opening, "GET", "/v1/me")}
    lite.clock.forward(seconds=seconds)
    answer = lite.client.get("/v1/me", headers=header)
    assert problem(answer) == "stale"
    assert answer.json()["now"] == lite.now


@pytest.mark.parametrize("seconds", [-120, 120])
def test_two_minutes_off_is_near_enough(lite: CustodianWorld, seconds: int) -> None:
    header = {"Authorization": lite.authorization(lite.admin.opening, "GET", "/v1/me")}
    lite.clock.forward(seconds=seconds)
    assert lite.client.get("/v1/me", headers=header).status_code == 200


def test_a_question_is_good_for_exactly_what_it_names(lite: CustodianWorld) -> None:
    key = lite.admin.opening
    for method, target in (("GET", "/v1/people"), ("POST", "/v1/me"), ("GET", "/v1/me?x=1"), ("GET", "/v1/me/")):
        header = {"Authorization": lite.authorization(key, method, target)}
        assert problem(lite.client.get("/v1/me", headers=header)) == "signature-invalid"
    header = {"Authorization": lite.authorization(key, "GET", "/v1/me")}
    assert problem(lite.client.get("/v1/me?x=1", headers=header)) == "signature-invalid"


def test_a_question_signed_by_another_key_is_refused(lite: CustodianWorld) -> None:
    admin, council = lite.admin.opening, lite.council.opening
    ask = Ask(method="GET", target="/v1/me", nonce=new_id(), at=lite.now)
    (mine,), (theirs,) = sign(ask, admin).signatures, sign(ask, council).signatures
    forged = sign(ask, admin).model_copy(update={"signatures": (mine.model_copy(update={"sig": theirs.sig}),)})
    header = {"Authorization": f"Assent {b64url(forged.to_json())}"}
    assert problem(lite.client.get("/v1/me", headers=header)) == "signature-invalid"
    unsigned = b64url(forged.to_json().replace(mine.keyid.encode(), b"0" * 32))
    assert problem(lite.client.get("/v1/me", headers={"Authorization": f"Assent {unsigned}"})) == "not-signed-in"


@pytest.mark.parametrize("value", ["", "Assent", "Assent !!!", "Bearer abc", "Assent e30", "Assent " + "A" * 9000])
def test_a_damaged_authorization_field_is_refused(lite_shared: CustodianWorld, value: str) -> None:
    answer = lite_shared.client.get("/v1/me", headers={"Authorization": value})
    assert problem(answer) in ("not-signed-in", "malformed", "too-large")


def test_a_revoked_credential_asks_nothing(lite: CustodianWorld) -> None:
    kim = lite.add_person("Kim")
    with lite.custodian.database.transaction() as session:
        session.get_one(Credential, kim.opening.public.id).revoked = "2026-11-23"
    assert problem(kim.get("/v1/me")) == "not-signed-in"
    assert kim.get("/v1/me", key=kim.device).status_code == 200


def test_old_nonces_are_forgotten_after_ten_minutes(lite: CustodianWorld) -> None:
    def kept() -> int | None:
        with lite.custodian.database.transaction() as session:
            return session.scalar(select(func.count()).select_from(Nonce))

    lite.admin.get("/v1/me")
    lite.clock.forward(minutes=10)
    lite.council.get("/v1/me")
    background = Background(lite.custodian)
    background.turn()
    assert kept() == 2
    lite.clock.forward(seconds=1)
    background.turn()
    assert kept() == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"payloadType":1}', b"\xff\xfe", b"{}" * 10])
@pytest.mark.parametrize(
    "target", ["/v1/enrolments", "/v1/receipts", "/v1/withdrawals", "/v1/certificates", "/v1/roles", "/v1/orders/done"]
)
def test_broken_bodies_are_named_and_change_nothing(lite_shared: CustodianWorld, target: str, body: bytes) -> None:
    answer = lite_shared.post(target, body)
    assert (answer.status_code, problem(answer)) == (400, "malformed")


def test_a_statement_of_another_type_is_refused(lite: CustodianWorld) -> None:
    draft = PurposeDraft.model_validate(
        {"iri": "urn:x", "version": 1, "sentence": "x", "recipients": ("x",), "modes": ("reader",), "at": lite.now},
        strict=False,
    )
    envelope = sign(draft, lite.admin.opening)
    for target in ("/v1/roles", "/v1/invitations", "/v1/purposes/signatures", "/v1/certificates"):
        assert problem(lite.post(target, envelope.to_json())) == "malformed"


def test_text_and_numbers_that_no_database_takes_are_malformed(world: CustodianWorld) -> None:
    _, invitation = world.invitation("Kim\x00")
    assert problem(world.admin.post("/v1/invitations", invitation)) == "malformed"
    draft = {"iri": "urn:x", "version": 1, "sentence": "x", "recipients": ("x",), "modes": ("reader",), "at": world.now}
    for bad in ({"version": 2**31}, {"version": 10**30}, {"iri": "urn:x\x00"}, {"sentence": "x\x1b[2J"}):
        statement = PurposeDraft.model_validate(draft, strict=False).model_copy(update=bad)
        assert problem(world.admin.post("/v1/purposes", statement)) == "malformed"
    for number in (2**31, 10**30):
        done = sign(OrderDone(number=1, order="0" * 64).model_copy(update={"number": number}), world.collector_key)
        assert problem(world.post("/v1/orders/done", done.to_json())) == "malformed"


def test_an_oversized_body_is_refused(lite_shared: CustodianWorld) -> None:
    answer = lite_shared.post("/v1/receipts", b"x" * (MAX_STATEMENT_BYTES + 1))
    assert (answer.status_code, problem(answer)) == (413, "too-large")


def test_a_commit_that_fails_is_not_answered_with_success(lite: CustodianWorld) -> None:
    """Function-scoped sessions: the answer leaves after the commit, or it says that nothing was changed."""
    _, invitation = lite.invitation("Kim")
    commits = []

    def failing(_connection: Any) -> None:
        commits.append("tried")
        raise OSError("disk full: Kim")

    event.listen(lite.custodian.database.engine, "commit", failing)
    answer = lite.admin.post("/v1/invitations", invitation)
    event.remove(lite.custodian.database.engine, "commit", failing)
    assert commits == ["tried"]
    assert (answer.status_code, problem(answer)) == (500, "internal")
    assert "Kim" not in answer.text
    again = lite.admin.post("/v1/invitations", invitation)
    assert again.status_code == 200, "nothing was stored"


@pytest.mark.parametrize("role", [*Role, None])
def test_every_role_may_ask_exactly_what_the_table_says(
    lite_shared: CustodianWorld, members: dict[Role | None, Any], role: Role | None
) -> None:
    for rule in roles.table():
        for name in rule.routes:
            method, path = name.split(" ")
            if method != "GET" or "{" in path or not rule.credentials:
                continue
            may = Party.PERSON in rule.who or (role is not None and role in rule.who)
            target = {"/v1/log/entries": "/v1/log/entries?start=0&count=1", "/v1/log/proof": "/v1/log/proof?index=0"}
            key = members[role].device if rule.credentials == roles.DEVICE else members[role].opening
            answer = members[role].get(target.get(path, path), key=key)
            assert (answer.status_code != 403) == may, f"{role} {name}: {answer.text}"


@pytest.fixture(scope="module")
def members(lite_shared: CustodianWorld) -> dict[Role | None, Any]:
    found: dict[Role | None, Any] = dict(lite_shared.founders)
    for role in (Role.REQUESTER, Role.STEWARD, Role.AUDITOR, None):
        found[role] = lite_shared.add_person(str(role), role)
    return found
