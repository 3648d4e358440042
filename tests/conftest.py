"""In CI nothing may be skipped: what could not run there was not tested, and counts as a failure. Each test has an id
of its own: of two with the same, only one would run where there are several processes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("night")  # many stories: tests/simulators/stories.py


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {item.nodeid}: {report.longrepr}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not item.nodeid.endswith(f"::{item.name}") and item.parent is not None:  # schemathesis: one for each route
            item._id = type(item.id).parse(f"{item.parent.nodeid}::{item.name}")
    twice = [nodeid for nodeid, count in Counter(item.nodeid for item in items).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"several tests are called {', '.join(twice)}: in several processes only one would run")
