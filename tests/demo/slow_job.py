"""A job of the ML team that takes its time: opens a lease, reads a little, waits, and reads the rest.

    python -m tests.demo.slow_job REQUEST PSEUDONYM BEGAN GO_ON

Makes the file BEGAN when it has begun, and goes on when GO_ON is there. It waits after the first person, or before
anybody, if PSEUDONYM would come first: so that person's streams are leased and not released yet. Prints JSON: events
by pseudonym, and which leased streams did not come, and why.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import assent

PATIENCE_S = 120.0


def main() -> int:
    request, pseudonym, began, go_on = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    events: dict[str, int] = {}
    with assent.open(request, hours=0.5) as data:
        leased = sorted({stream.pseudonym for stream in data.job.streams})
        waited = leased[0] == pseudonym
        if waited:
            _wait(began, go_on)
        for session in data.sessions():
            count = sum(1 for _ in session.events())
            events[session.pseudonym] = events.get(session.pseudonym, 0) + count
            if not waited:
                _wait(began, go_on)
                waited = True
        lost = [(dropped.stream.pseudonym, dropped.reason) for dropped in data.dropped]
        lost += [(stream.pseudonym, "not at the collector") for stream in data.missing]
        whose = {stream.stream: stream.pseudonym for stream in data.job.streams}
        lost += [(whose[account.stream], reason) for account in data.empty for reason in account.not_opened]
    print(json.dumps({"leased": leased, "events": events, "lost": lost}))
    return 0


def _wait(began: Path, go_on: Path) -> None:
    began.touch()
    until = time.monotonic() + PATIENCE_S
    while not go_on.exists() and time.monotonic() < until:
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
