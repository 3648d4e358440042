"""`make bench`: runs every benchmark, writes `bench-run/results.json`, prints a table.

Figures are ratios to a baseline that was measured in the same run, interleaved with what is measured,
medians of several rounds. A module of this package with a function `run()` is a benchmark; it returns rows with the
keys of `Row`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
import sys
import time
from pathlib import Path
from typing import TypedDict

from rich.console import Console
from rich.table import Table

import tests.bench


class Row(TypedDict, total=False):
    """`value` in `unit`; `ratio` of `value` to `baseline` ; `at`: how much work.

    `target`: what is promised: `ratio <= 1.7`, `ratio >= 0.7`, `figure <= 4`.
    """

    name: str
    value: float
    unit: str
    baseline: str | float | None
    ratio: float | None
    target: str | None
    at: str


def meets(row: Row) -> bool | None:
    """Whether the figure is what was promised; None where nothing was."""
    target = row.get("target")
    if not target:
        return None
    what, relation, bound = target.split()
    figure = row["value"] if what == "figure" else row["ratio"]
    if figure is None:
        raise ValueError(f"{row['name']}: a ratio is promised and there is none")
    return figure <= float(bound) if relation == "<=" else figure >= float(bound)


def _shown(row: Row, key: str) -> str:
    value = row.get(key)
    return f"{value:,.3g}" if isinstance(value, float) else "" if value is None else str(value)


def main() -> int:
    modules = pkgutil.iter_modules(tests.bench.__path__)
    names = [module.name for module in modules if not module.name.startswith("_")]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, help="one benchmark; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("bench-run"))
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 200)
    rows: list[Row] = []
    for name in names:
        if arguments.only and name not in arguments.only:
            continue
        module = importlib.import_module(f"tests.bench.{name}")
        if not hasattr(module, "run"):
            continue
        started = time.monotonic()
        console.print(f"[dim]{name} …[/dim]")
        rows += module.run()
        console.print(f"[dim]{name} took {time.monotonic() - started:.0f} s[/dim]")
    table = Table("what", "at", "figure", "baseline", "ratio", "promised", "")
    for row in rows:
        kept = meets(row)
        table.add_row(
            row["name"], row.get("at", ""), f"{_shown(row, 'value')} {row.get('unit', '')}", _shown(row, "baseline"),
            _shown(row, "ratio"), row.get("target") or "", {None: "", True: "[green]kept", False: "[red]missed"}[kept],
        )  # fmt: skip
    console.print(table)
    arguments.out.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.system()}
    (arguments.out / "results.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    console.print(f"figures: {arguments.out / 'results.json'}")
    return 1 if any(meets(row) is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
