"""The operators' page about the drill says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from assent_custodian.drills.service import CODES_FOR, IDENTITIES, KEPT_DAYS
from assent_custodian.settings import Settings
from assent_server.cli import app

PAGE = (Path(__file__).parents[3] / "docs" / "operations" / "drill.md").read_text()


def test_the_options_that_the_page_names_exist() -> None:
    help_ = CliRunner().invoke(app, ["drill", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}).stdout
    commands = [line for line in re.split(r"[\n`;]", PAGE) if "assent-server drill " in line]
    named = {option for command in commands for option in re.findall(r"--[a-z-]+", command)}
    assert named == {"--config", "--json", "--invite", "--codes", "--folder"}
    assert all(option in help_ for option in named)


def test_the_numbers_that_the_page_names_are_those_of_the_code() -> None:
    assert len(IDENTITIES) == 11 and "eleven codes" in PAGE and "eleven identities" in PAGE and "Eleven people" in PAGE
    assert CODES_FOR.total_seconds() == 3600 and "good for an hour" in PAGE
    assert KEPT_DAYS == 3 and "dropped after three days" in PAGE
    assert Settings(data_dir=Path()).drill_interval_hours == 1 and "(`drill_interval_hours`, 1; 0: never)" in PAGE
