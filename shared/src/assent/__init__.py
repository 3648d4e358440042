"""Assent: what all sides agree on, and what recipients of recordings use.

    with assent.open("request-hash") as data:
        for session in data.sessions():
            session.events(), session.frames(), session.coverage()

Importing this package loads nothing else: it is on every laptop.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assent.reader.sessions import Data


def open(request: str | None = None, **options: Any) -> AbstractContextManager[Data]:  # noqa: A001 - assent.open
    """Open a lease under a granted request, by its hash; options as `assent.reader.opening.open_data`.

    At the end of the `with` block the lease is closed. Nothing plaintext is written to disk.
    """
    from assent.reader.opening import open_data  # noqa: PLC0415 - only who reads needs it

    return open_data(request, **options)
