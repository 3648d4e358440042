"""What the page about monitoring says is what there is: every alarm and every figure by its name."""

from __future__ import annotations

import re
from pathlib import Path

from assent.cli.monitor import figures
from assent.reader import log_copies, log_rules, monitoring
from assent.reader.monitoring import ADVICE, Look

PAGE = (Path(__file__).parents[3] / "docs" / "operations" / "monitoring.md").read_text()
ALARM = re.compile(r'(?:_bad|Finding|Contradiction|finding)\(\s*"([a-z-]+)"')


def kinds() -> set[str]:
    sources = [Path(str(module.__file__)).read_text() for module in (log_rules, log_copies, monitoring)]
    return {kind for source in sources for kind in ALARM.findall(source)}


def test_every_alarm_is_on_the_page() -> None:
    assert {"lease-unapproved", "rolled-back", "witness-stale"} <= kinds(), "the control"
    assert {kind for kind in kinds() | set(ADVICE) if f"`{kind}`" not in PAGE} == set()


def test_every_figure_is_on_the_page() -> None:
    look = Look("2026-11-23T12:00:00Z", True, 5, 5, {"w": "2026-11-23T12:00:00Z"}, (), (), (), ())
    names = {line.partition("{")[0].partition(" ")[0] for line in figures(look, "").splitlines()}
    assert len(names) == 5
    assert {name for name in names if f"`{name}" not in PAGE} == set()
