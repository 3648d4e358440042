"""Holds each answer against the description of its service: a status that is declared, of the declared type and form.

Clients of this kind are what the tests speak to custodian and collector with, so whatever the tests do is a test of
the descriptions, too.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import jsonschema_rs
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from assent_collector import app as collector
from assent_custodian import app as custodian

PROBLEM = "application/problem+json"
OPENAPI = {collector.TITLE: collector.openapi, custodian.TITLE: custodian.openapi}
"""How each service is described, by its title."""


class Description:
    """One service's OpenAPI document, as something that answers can be held against."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._paths = [
            (re.compile(re.sub(r"\\{(\w+)\\}", _segment, re.escape(path))), operations)
            for path, operations in document["paths"].items()
        ]
        self._validators: dict[str, Any] = {}

    def wrong(self, method: str, path: str, response: Response) -> str | None:
        """What is wrong with this answer, or None."""
        kind = response.headers.get("content-type", "").partition(";")[0]
        operations = next((found for pattern, found in self._paths if pattern.fullmatch(path)), None)
        if operations is None or method.lower() not in operations:
            expected = 404 if operations is None else 405
            if (response.status_code, kind) not in ((expected, PROBLEM), (413, PROBLEM)):
                return f"no such address or method, answered {response.status_code} {kind}"
            allowed = None if operations is None else {name.upper() for name in operations}
            if allowed is not None and set(response.headers.get("allow", "").split(", ")) != allowed:
                return f"405 allows {response.headers.get('allow')}, and not {allowed}"
            return self._misfit({"$ref": "#/components/schemas/Problem"}, response)
        declared = operations[method.lower()]["responses"].get(str(response.status_code))
        if declared is None:
            return f"the status {response.status_code} is not declared: {response.text[:300]}"
        content = declared.get("content", {})
        if not content and not response.content:
            return None
        if kind not in content:
            return f"the type {kind} is not declared, only {sorted(content)}"
        return self._misfit(content[kind]["schema"], response) if kind.endswith("json") else None

    def _misfit(self, schema: dict[str, Any], response: Response) -> str | None:
        name = json.dumps(schema, sort_keys=True)
        if name not in self._validators:
            rooted = {**schema, "components": self.document["components"]}
            self._validators[name] = jsonschema_rs.Draft202012Validator(rooted, validate_formats=True)
        error = next(iter(self._validators[name].iter_errors(response.json())), None)
        return None if error is None else f"{error.message} at {error.instance_path}, in {response.text[:300]}"


def _segment(match: re.Match[str]) -> str:
    return ".+" if match[1] == "path" else "[^/]+"


@cache
def description(title: str) -> Description:
    """The description of the service that has this title."""
    return Description(OPENAPI[title]())


class ConformingClient(TestClient):
    """Speaks to an application in this process, and fails the test when an answer is not as described."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(app, raise_server_exceptions=False)
        self._description = description(app.title)

    def send(self, request: Any, **options: Any) -> Response:
        response = super().send(request, **options)
        path = request.url.path
        if path.startswith("/v1") and not options.get("stream"):
            found = self._description.wrong(request.method, path, response)
            assert found is None, f"{request.method} {path}: {found}"
        return response
