"""How answers are written: the exact JSON of the shared models, without fields that are None; and files to be kept."""

from __future__ import annotations

import hashlib
from typing import Any

from fastapi import Request, Response

from assent.contracts.envelope import Envelope, Signed

OF_A_FILE: dict[int | str, dict[str, Any]] = {304: {"description": "The copy that If-None-Match names is the newest"}}
"""`responses` of a route that answers with `file`."""


def answer(body: Envelope | Signed) -> Response:
    """The body of a success."""
    return Response(body.to_json(), media_type="application/json")


def file(request: Request, data: bytes, media_type: str, cache_control: str) -> Response:
    """A file with its entity tag, or 304 for whoever has it already (RFC 9110, section 15.4.5)."""
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"Cache-Control": cache_control, "ETag": tag}
    if _is_kept(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)


def _is_kept(request: Request, tag: str) -> bool:
    """Whether the client names this entity tag as one that it has (RFC 9110, section 13.1.2)."""
    named = ",".join(request.headers.getlist("if-none-match"))
    return named.strip() == "*" or tag in {one.strip().removeprefix("W/") for one in named.split(",")}
