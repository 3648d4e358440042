"""What a drill tried and found, for people, programs and the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from assent.contracts.statements import MAX_DRILL_RULES

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Wrong:
    """One outcome that was not as promised. `rule` is a stable name; `text` says what could be reached by whom."""

    rule: str
    text: str


@dataclass
class Results:
    """`skipped`: what could not be looked at from here, and why. `parts`: how many
    outcomes were compared in each."""

    progress: Progress = lambda _text: None
    parts: Counter[str] = field(default_factory=Counter)
    wrong: list[Wrong] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    _part: str = ""

    def begin(self, part: str) -> None:
        """What is tried from here on belongs to this part."""
        self._part = part
        self.parts[part] += 0
        self.progress(part)

    def expect(self, rule: str, as_promised: bool, text: str) -> bool:
        """Count one outcome. `text` is what is wrong if it was not as promised."""
        self.parts[self._part] += 1
        if not as_promised:
            self.wrong.append(Wrong(rule, text))
        return as_promised

    def broke_off(self, error: Exception) -> None:
        """Count an answer over which the drill could not go on."""
        text = f"the drill broke off at '{self._part}': {type(error).__name__}: {error}"
        self.expect("drill.broke-off", False, text)

    @property
    def tried(self) -> int:
        return self.parts.total()

    @property
    def failed(self) -> tuple[str, ...]:
        """The rules that were broken, each once, as many as a statement takes."""
        return tuple(dict.fromkeys(wrong.rule for wrong in self.wrong))[:MAX_DRILL_RULES]

    @property
    def passed(self) -> bool:
        return not self.wrong

    def as_dict(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "tried": self.tried,
            "parts": dict(self.parts),
            "wrong": [{"rule": wrong.rule, "text": wrong.text} for wrong in self.wrong],
            "skipped": list(self.skipped),
        }

    def as_text(self) -> str:
        """A table of the parts, and a line for everything that is wrong."""
        lines = [f"{part:58} {count or '':>6}".rstrip() for part, count in self.parts.items()]
        lines += [f"not looked at: {reason}" for reason in self.skipped]
        lines += [f"WRONG {wrong.rule}: {wrong.text}" for wrong in self.wrong]
        verdict = "everything is as promised" if self.passed else f"{len(self.wrong)} outcome(s) are not as promised"
        return "\n".join([*lines, f"{self.tried} outcomes compared: {verdict}"])
