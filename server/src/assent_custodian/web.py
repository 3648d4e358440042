"""How answers are written: the exact JSON of the shared models, without fields that are None."""

from __future__ import annotations

from fastapi import Response

from assent.contracts.envelope import Envelope, Signed


def answer(body: Envelope | Signed) -> Response:
    """The body of a success."""
    return Response(body.to_json(), media_type="application/json")
