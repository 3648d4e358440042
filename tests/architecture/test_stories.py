"""Machines play more stories at night."""

from __future__ import annotations

from hypothesis import settings
from tests.simulators.stories import stories


def test_at_night_fifty_times_as_many_stories_are_played() -> None:
    profile = settings.get_current_profile_name()
    try:
        settings.load_profile("default")
        assert stories(3, 20).max_examples == 3
        settings.load_profile("night")
        assert stories(3, 20).max_examples == 150
    finally:
        settings.load_profile(profile)
