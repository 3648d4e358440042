"""A program at the end of `assent data pull --to-command`: counts what comes, remembers nothing, writes only numbers.

    python -m tests.demo.receiver COUNTS.json TEXT_FILE

Reads one JSON object a line, and writes `COUNTS.json` at the end: events by pseudonym and kind, and which pseudonyms
typed or titled the text in TEXT_FILE.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any


def main() -> int:
    counts, text = Path(sys.argv[1]), Path(sys.argv[2]).read_text().strip()
    events: dict[str, Counter[str]] = {}
    typed: dict[str, str] = {}
    found: dict[str, set[str]] = {"typed": set(), "title": set()}
    number = 0
    for number, line in enumerate(sys.stdin, 1):  # noqa: B007 - the last number counts
        record = json.loads(line)
        event = record["event"]
        who = record["pseudonym"]
        events.setdefault(who, Counter())[event["type"]] += 1
        _look(event, who, text, typed, found)
    counts.write_text(
        json.dumps(
            {
                "lines": number,
                "events": {who: dict(kinds) for who, kinds in events.items()},
                "found": {how: sorted(people) for how, people in found.items()},
            }
        )
    )
    return 0


def _look(event: dict[str, Any], who: str, text: str, typed: dict[str, str], found: dict[str, set[str]]) -> None:
    if event["type"] == "key" and event["pressed"] and len(event["key"]) == 1:
        typed[who] = (typed.get(who, "") + event["key"])[-len(text) :]
        if typed[who] == text:
            found["typed"].add(who)
    if event["type"] == "window" and text in event.get("title", ""):
        found["title"].add(who)


if __name__ == "__main__":
    sys.exit(main())
