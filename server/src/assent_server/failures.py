"""Says what failed in one sentence on standard error, without a traceback, and ends with 1."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from pydantic import ValidationError

from assent.contracts.problems import Problem


@contextmanager
def failures(*refusals: type[Exception]) -> Iterator[None]:
    """`refusals` are those whose message is meant for operators, besides problems, wrong values and the system's."""
    expected: tuple[type[Exception], ...] = (*refusals, ValueError)
    try:
        yield
    except ValidationError as error:
        places = ", ".join(".".join(str(p) for p in e["loc"]) for e in error.errors())
        _end(f"missing or wrong in the configuration: {places}")
    except Problem as error:
        _end(error.detail)
    except OSError as error:
        _end(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except expected as error:
        _end(str(error))


def _end(text: str) -> NoReturn:
    print(f"error: {text}", file=sys.stderr)
    sys.exit(1)
