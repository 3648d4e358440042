"""Reading the log as security staff do: its newest entries, all about one request, the report of a week.

The log is that of an installation in use: hourly drills, people's requests, leases, their own affairs, and looks at the
log. Each figure is beside nothing but a SHA-256 and a JSON parser for every entry, and is shown for ten times as many
entries each time. Listing what is newest must not become slower; a report reads the whole log, and says so.
"""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256
from itertools import islice
from time import perf_counter
from typing import Any

from assent.contracts.leaves import LeafType
from assent.reader.log_entries import ProvenLog, Wanted, select
from assent.reader.log_pivots import Reference, story
from assent.reader.log_report import Reporting
from assent.transparency.policy import Policy
from tests.simulators.log_in_use import log_in_use
from tests.unit.reader.test_auditing import copy_of, files_of
from tests.unit.reader.world import World

SIZES = (1_000, 10_000, 100_000, 1_000_000)
WEEK = timedelta(days=7)
SHOWN = 50


def run() -> list[dict[str, Any]]:
    rows = []
    for size in SIZES:
        rows += _reading(list(islice(log_in_use(), size)))
    return rows


def _reading(leaves: list[bytes]) -> list[dict[str, Any]]:
    size = len(leaves)
    copy = copy_of(files_of(World(), leaves))
    log = ProvenLog(copy, Policy.from_bytes(copy.policy.encode()).check(copy.checkpoint))
    last = log.entry(size - 1).at
    request = next(e.leaf.request for e in log.backwards() if e.leaf.type is LeafType.REQUEST_SIGNED)

    def bare() -> None:
        for one in leaves:
            sha256(one).digest()
            json.loads(one)

    def newest() -> None:
        select(log.backwards(), Wanted(kinds=frozenset({LeafType.LEASE_OPENED})), SHOWN)

    def about_a_request() -> None:
        story(log.backwards(), Reference.parse(f"request:{request}"))

    def report() -> None:
        seen = Reporting(last - WEEK, last + timedelta(seconds=1), lambda at: at.date())
        for entry in log.forwards():
            seen.read(entry)
        seen.sections(str, last)

    took = {}
    for what in (bare, newest, about_a_request, report):
        began = perf_counter()
        what()
        took[what] = perf_counter() - began
    named = {f"the last {SHOWN} leases": newest, "all about one request": about_a_request, "report of a week": report}
    return [
        {
            "name": f"{name} / bare SHA-256 and JSON parser over the log", "value": round(took[what] * 1000, 1),
            "unit": "ms", "baseline": round(took[bare] * 1000, 1), "ratio": round(took[what] / took[bare], 2),
            "at": f"log of {size:,} entries",
        }
        for name, what in named.items()
    ]  # fmt: skip


if __name__ == "__main__":
    for row in run():
        print(row)
