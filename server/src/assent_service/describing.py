"""OpenAPI descriptions that are complete although bodies are read by hand.

Handlers read statements from the raw body, since strict models must see JSON and not Python lists. So each route says
with `takes(Model)` what it takes, and `describe` adds those models, and the one form of every error.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from assent.contracts.problems import Code

_REF = "#/components/schemas/{model}"
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


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is this model as JSON."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


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


def describe(app: FastAPI, *bodies: type[BaseModel]) -> dict[str, Any]:
    """The service's description, with the models named by `takes`."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    if bodies:
        _, added = models_json_schema([(model, "validation") for model in bodies], ref_template=_REF)
        for name, schema in added.get("$defs", {}).items():
            schemas.setdefault(name, schema)
    schemas["Problem"] = PROBLEM_SCHEMA
    refusal = {
        "description": "Refused or failed; nothing was changed",
        "content": {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}},
    }
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = refusal
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document
