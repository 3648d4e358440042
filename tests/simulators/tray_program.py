"""The real indicator as a program of its own, driven over its pipes.

Its argument is how many seconds what it was told stays true. It reads one JSON object of `StatusFacts` fields per
line, or `"remove"`, and prints one JSON object per line: what the person wants, and, whenever it changes, whether the
indicator says that it is shown.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time

from PySide6.QtWidgets import QApplication

from assent_agent.ports import IndicatorState, Intention, StatusFacts
from assent_agent.ui.tray import TrayIndicator
from assent_agent.ui.windows import Windows


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def tell(intention: Intention) -> None:
    say(wants=type(intention).__name__, **dataclasses.asdict(intention))


def listen(indicator: TrayIndicator) -> None:
    for line in sys.stdin:
        told = json.loads(line)
        if told == "remove":
            break
        told["state"] = IndicatorState(told["state"])
        told["modalities"] = tuple(told.get("modalities", ()))
        indicator.show(StatusFacts(**told))
    indicator.remove()


def watch(indicator: TrayIndicator) -> None:
    last: bool | None = None
    while True:
        if (now := indicator.shown()) is not last:
            last = now
            say(shown=now)
        time.sleep(0.02)


def main() -> int:
    indicator = TrayIndicator(QApplication(["assent-agent"]), tell, Windows(tell), stale_s=float(sys.argv[1]))
    for work in (listen, watch):
        threading.Thread(target=work, args=(indicator,), daemon=True).start()
    code = indicator.run()
    say(ended=True, shown_at_the_end=indicator.shown())
    return code


if __name__ == "__main__":
    sys.exit(main())
