"""OpenAPI descriptions that are complete although bodies are read by hand.

Handlers read statements from the raw body, since strict models must see JSON and not Python lists. So each route says
with `takes` what it takes, and with `refuses` what it refuses beyond what every route refuses. What a description does
not name is not answered: tests hold the running services against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from assent.contracts.envelope import Envelope, Statement
from assent.contracts.problems import Code

EVERYWHERE: tuple[Code, ...] = (
    *(Code.MALFORMED, Code.TIMED_OUT, Code.TOO_LARGE, Code.INTERNAL, Code.BUSY, Code.CLOSED, Code.STORAGE_FULL),
)
"""What any route may refuse, and how it may fail. A wrong method (405) is no answer of a route."""

PROBLEM = "application/problem+json"
_REF = "#/components/schemas/{model}"
_CODES = "x-assent-codes"
PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457 problem details; further members depend on the type",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "enum": [code.type for code in Code]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "additionalProperties": True,
}


def takes(model: type[BaseModel], states: type[Statement] | None = None) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is this model as JSON. `states`: the statement that its envelope holds."""
    schema: dict[str, Any] = _reference(model)
    body: dict[str, Any] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if states is not None:
        envelope = {"properties": {"payloadType": {"const": states.payload_type()}}}
        within = envelope if model is Envelope else {"properties": {"statement": envelope}}
        body["content"]["application/json"]["schema"] = {"allOf": [schema, within]}
        body["x-assent-states"] = _reference(states)
    return {"requestBody": body}


def takes_bytes(fields: dict[str, str]) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is bytes, with required HTTP fields: name to what it holds."""
    return {
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": what, "schema": {"type": "string"}}
            for name, what in fields.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
    }


def answers(media_type: str) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that answers in no JSON."""
    text = media_type.startswith("text/")
    schema = {"type": "string"} if text else {"type": "string", "format": "binary"}
    return {200: {"description": "Done", "content": {media_type: {"schema": schema}}}}


def refuses(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: what it refuses beyond what every route of its kind refuses."""
    statuses = {code.status for code in codes}
    return {
        status: {"description": "", _CODES: [code.name for code in codes if code.status == status]}
        for status in statuses
    }


@dataclass(frozen=True)
class Kind:
    """What a route takes and refuses because of what stands before it: its body, the statement in it, refusals."""

    body: type[BaseModel] | None = None
    states: type[Statement] | None = None
    refuses: tuple[Code, ...] = ()


def describe(
    app: FastAPI, routes: Iterable[tuple[APIRoute, Kind]], models: Iterable[type[BaseModel]]
) -> dict[str, Any]:
    """The service's description. `models`: those that `takes` names in routes without a kind."""
    described = list(routes)
    wanted = {*models, *(model for _, kind in described for model in (kind.body, kind.states) if model is not None)}
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _, added = models_json_schema(
        [(model, "validation") for model in sorted(wanted, key=lambda model: model.__name__)], ref_template=_REF
    )
    for name, schema in added.get("$defs", {}).items():
        schemas.setdefault(name, schema)
    schemas["Problem"] = PROBLEM_SCHEMA
    for route, kind in described:
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            if kind.body is not None:
                operation.update(takes(kind.body, kind.states))
            _say_refusals(operation, kind.refuses)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def _say_refusals(operation: dict[str, Any], by_kind: Iterable[Code]) -> None:
    responses = operation["responses"]
    said = [Code[name] for response in responses.values() for name in response.pop(_CODES, ())]
    with_body = (Code.UNSUPPORTED_MEDIA,) if "requestBody" in operation else ()
    codes = [code for code in Code if code in {*EVERYWHERE, *by_kind, *with_body, *said}]
    responses.pop("422", None)  # the framework's, which is never answered
    for status in sorted({code.status for code in codes}):
        here = [code for code in codes if code.status == status]
        schema = {
            "allOf": [
                {"$ref": _REF.format(model="Problem")},
                {"properties": {"type": {"enum": [code.type for code in here]}, "status": {"const": status}}},
            ]
        }
        responses[str(status)] = {
            "description": "; ".join(f"{code.wire}: {code.title}" for code in here),
            "content": {PROBLEM: {"schema": schema}},
        }
