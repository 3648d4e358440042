"""Fixtures on a real display."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.simulators.desktop import Desktop


@pytest.fixture(scope="module")
def shared_desktop() -> Iterator[Desktop]:
    with Desktop() as desktop:
        yield desktop


@pytest.fixture
def desktop(shared_desktop: Desktop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desktop]:
    """A display with a window manager, shared by a module; this process belongs to it during the test."""
    before = shared_desktop.running()
    monkeypatch.setenv("DISPLAY", shared_desktop.display)
    monkeypatch.setenv("XDG_SESSION_TYPE", "x11")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    yield shared_desktop
    for process in shared_desktop.running() - before:
        shared_desktop.end(process)
