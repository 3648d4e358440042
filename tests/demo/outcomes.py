"""What was promised, what came, and the figures: everything that `summary.json` holds."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """`name`: short and stable, for scripts. `ok`: whether what was obtained is what was expected."""

    name: str
    chapter: str
    expected: str
    obtained: str
    ok: bool


@dataclass(frozen=True)
class Exposure:
    """One row of the exposure table: a position, what it may obtain at most, what was tried and what it obtained."""

    name: str
    position: str
    may: str
    tried: str
    obtained: str
    ok: bool


@dataclass
class Outcomes:
    """Collects outcomes, exposure rows, figures and what was skipped. Safe to use from several threads."""

    outcomes: list[Outcome] = field(default_factory=list)
    exposure: list[Exposure] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    shortened: dict[str, dict[str, str]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    custody: dict[str, Any] = field(default_factory=dict)
    chapter: str = ""
    _alone: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def expect(self, name: str, expected: str, obtained: object, ok: bool) -> bool:
        """Record an outcome; returns `ok`. A name is used once."""
        with self._alone:
            if any(outcome.name == name for outcome in self.outcomes):
                raise ValueError(f"the outcome {name} is recorded twice")
            self.outcomes.append(Outcome(name, self.chapter, expected, str(obtained), bool(ok)))
        return bool(ok)

    def tried(self, name: str, position: str, *, may: str, tried: str, obtained: str, ok: bool) -> None:
        """Record a row of the exposure table."""
        with self._alone:
            self.exposure.append(Exposure(name, position, may, tried, obtained, bool(ok)))

    @property
    def failed(self) -> list[str]:
        return [o.name for o in self.outcomes if not o.ok] + [f"exposure: {e.name}" for e in self.exposure if not e.ok]

    def as_dict(self, *, complete: bool, seconds: float) -> dict[str, Any]:
        return {
            "ok": complete and not self.failed,
            "complete": complete,
            "seconds": round(seconds, 1),
            "failed": self.failed,
            "skipped": self.skipped,
            "custody": self.custody,
            "shortened": self.shortened,
            "outcomes": [vars(outcome) for outcome in self.outcomes],
            "exposure": [vars(row) for row in self.exposure],
            "figures": self.figures,
        }

    def write(self, path: Path, *, complete: bool, seconds: float) -> None:
        """Write `summary.json`, whole or not at all."""
        text = json.dumps(self.as_dict(complete=complete, seconds=seconds), indent=2, ensure_ascii=False)
        beside = path.with_suffix(".new")
        beside.write_text(text + "\n")
        beside.replace(path)
