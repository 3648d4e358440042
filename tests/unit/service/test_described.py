"""What is not described is noticed: by the client that the tests use, and by schemathesis."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from schemathesis.core.failures import FailureGroup
from tests.simulators import conforming
from tests.simulators.collector import serving
from tests.simulators.conforming import ConformingClient

from assent.contracts.envelope import Envelope
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Halt
from assent.contracts.wire import Accepted
from assent_service.describing import Kind, answers, describe, refuses
from assent_service.web import new_app, read_body

ROUTER = APIRouter()
DONE = Accepted(hash="0" * 64).to_json()


@ROUTER.get("/v1/thing", response_model=Accepted, responses=refuses(Code.NOT_FOUND))
def thing(how: str = "") -> Response:
    """What it answers is as described, or not, as one asks for."""
    match how:
        case "another status":
            raise Problem(Code.CONFLICT, "")
        case "another problem of this status":
            changed = json.dumps({**Problem(Code.NOT_FOUND, "").as_dict(), "type": Code.REFUSED.type})
            return Response(changed, 404, media_type=conforming.PROBLEM)
        case "no problem document":
            return Response(b"{}", 404, media_type="application/json")
        case "another form":
            return Response(b'{"hash":1}', media_type="application/json")
        case "another type":
            return Response(DONE, media_type="text/plain")
        case "a failure":
            raise ValueError("of a kind that nobody expected")
        case "a refusal":
            raise Problem(Code.NOT_FOUND, "")
        case _:
            return Response(DONE, media_type="application/json")


@ROUTER.post("/v1/thing", response_model=Accepted)
async def put(request: Request) -> Response:
    await read_body(request)
    return Response(DONE, media_type="application/json")


@ROUTER.get("/v1/bytes", response_class=Response, responses=answers("application/octet-stream"))
def some_bytes() -> Response:
    return Response(b"some", media_type="application/octet-stream")


NOT_AS_DESCRIBED = (
    "another status", "another problem of this status", "no problem document", "another form", "another type",
)  # fmt: skip


def document() -> dict[str, Any]:
    routes = [route for route in ROUTER.routes if isinstance(route, APIRoute)]
    kinds = ((route, Kind(Envelope, Halt) if "POST" in (route.methods or ()) else Kind()) for route in routes)
    return describe(app_of(), kinds, ())


def app_of() -> FastAPI:
    app = new_app("things", lambda: None, lambda _path: 1000)
    app.include_router(ROUTER)
    return app


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConformingClient]:
    monkeypatch.setitem(conforming.OPENAPI, "things", document)
    yield ConformingClient(app_of())
    conforming.description.cache_clear()


@pytest.mark.parametrize("how", NOT_AS_DESCRIBED)
def test_the_client_of_the_tests_notices_what_is_not_described(client: ConformingClient, how: str) -> None:
    with pytest.raises(AssertionError, match="/v1/thing"):
        client.get("/v1/thing", params={"how": how})


def test_the_client_of_the_tests_lets_pass_what_is_described(client: ConformingClient) -> None:
    asked = {"": 200, "a refusal": 404, "a failure": 500}
    assert {how: client.get("/v1/thing", params={"how": how}).status_code for how in asked} == asked
    assert client.get("/v1/bytes").content == b"some"


@pytest.mark.parametrize("how", [*NOT_AS_DESCRIBED, "a failure"])
def test_schemathesis_notices_what_is_not_described(how: str) -> None:
    operation = schemathesis.openapi.from_dict(document())["/v1/thing"]["GET"]
    with serving(app_of()) as url:
        operation.Case(query={"how": ""}).call_and_validate(base_url=url)
        with pytest.raises(FailureGroup):
            operation.Case(query={"how": how}).call_and_validate(base_url=url)


def test_a_wrong_method_is_told_every_right_one(client: ConformingClient) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "BREW"):
        answer = client.request(method, "/v1/thing")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert client.delete("/v1/thing").json()["type"] == Code.METHOD_NOT_ALLOWED.type


@pytest.mark.parametrize("said", ["text/plain", "application/xml", "multipart/form-data", "json", ""])
def test_a_body_of_another_type_is_not_taken(client: ConformingClient, said: str) -> None:
    answer = client.post("/v1/thing", content=b"{}", headers={"Content-Type": said})
    assert (answer.status_code, answer.json()["type"]) == (415, Code.UNSUPPORTED_MEDIA.type)
    for taken in ("application/json", "Application/JSON; charset=utf-8"):
        assert client.post("/v1/thing", content=b"{}", headers={"Content-Type": taken}).status_code == 200
    assert client.post("/v1/thing", content=b"{}").status_code == 200, "of which nothing is said"


def test_an_address_is_exact(client: ConformingClient) -> None:
    """No redirect, which would send a question elsewhere than it was signed for."""
    for path in ("/v1/thing/", "/v1//thing", "/v1/Thing", "/v1"):
        answer = client.get(path, follow_redirects=False)
        assert (answer.status_code, answer.json()["type"]) == (404, Code.NOT_FOUND.type)


def test_a_description_says_which_statement_a_route_takes() -> None:
    body = document()["paths"]["/v1/thing"]["post"]["requestBody"]
    assert body["x-assent-states"] == {"$ref": "#/components/schemas/Halt"}
    assert re.search(r"application/vnd\.assent\.halt\+json", str(body["content"]))
    assert "Halt" in document()["components"]["schemas"]
