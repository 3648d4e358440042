"""The page about reading the log says what the commands do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.unit.reader.leaves import LOG
from tests.unit.reader.test_log_entries import entries_of
from tests.unit.reader.test_log_report import report
from typer.testing import CliRunner

from assent.cli.app import app
from assent.contracts.leaves import LeafType
from assent.reader.log_report import BASELINE_WEEKS, MEASURES
from assent.reader.ocsf import CLASSES, KINDS, OCSF_VERSION, SEVERITIES, event

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operations" / "auditing.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The rows of the table after these words, without its head."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    found = []
    for line in lines[begin + 1 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def help_of(*command: str) -> str:
    ran = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert ran.exit_code == 0
    return ran.output


def test_every_kind_of_entry_is_in_the_table_of_events_as_it_is_written() -> None:
    rows = {
        kind.strip("`"): (class_, activity, severity) for kind, class_, activity, severity in table("| entry | class")
    }
    assert set(rows) == {kind.value for kind in LeafType}
    for kind, said in KINDS.items():
        class_, activity, severity = rows[kind.value]
        assert (class_, activity.split(";")[0]) == (CLASSES[said.class_], said.name)
        assert severity.split(";")[0] == SEVERITIES[said.severity]
    for entry in entries_of(LOG):
        made, (_, activity, severity) = event(entry, "x", 1), rows[entry.leaf.type.value]
        assert made["activity_name"] in activity
        assert made["severity"] in severity, "those for the remarkable ones, too"
    assert OCSF_VERSION in PAGE


def test_every_section_of_the_report_is_in_the_table() -> None:
    rows = {(title, name.strip("`")) for title, name, _ in table("| section | `--json`")}
    sections = report()
    assert rows == {(section.title, name) for name, section in sections.items()}
    volume = next(line for line in PAGE.splitlines() if "| `volume` |" in line)
    assert all(what in volume for what in MEASURES.values())
    assert BASELINE_WEEKS == 4


def test_every_filter_is_an_option_and_every_option_is_on_the_page() -> None:
    named = set(re.findall(r"`(--[a-z]+)`", " ".join(row[0] for row in table("## Filters of `list`"))))
    offered = set(re.findall(r"--[a-z]+", help_of("audit", "list")))
    assert named <= offered
    assert offered - named == {"--tz", "--copy", "--root", "--json", "--help"}


@pytest.mark.parametrize("name", ["list", "show", "report", "export"])
def test_every_option_that_the_page_uses_exists(name: str) -> None:
    used = {
        option
        for line in re.findall(rf"assent audit {name}\b([^`\n#]*)", PAGE)
        for option in re.findall(r"--[a-z]+", line)
    }
    assert used <= set(re.findall(r"--[a-z]+", help_of("audit", name)))


def test_the_page_can_be_found() -> None:
    assert "(docs/operations/auditing.md)" in (ROOT / "README.md").read_text()
    for page in ("README.md", "monitoring.md"):
        assert "(auditing.md)" in (ROOT / "docs" / "operations" / page).read_text()
