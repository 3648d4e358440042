"""How many stories a machine plays: some in every run, many with `--hypothesis-profile=night`.

Stories are shrunk, so that a failure is short enough to read, but not for ever: whole services play each attempt.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import engine

NIGHT = "night"
MORE_AT_NIGHT = 50
SHRINKING_S = 90


def stories(count: int, steps: int) -> settings:
    """Settings of a machine: `count` stories of `steps` steps at most; fifty times as many at night."""
    engine.MAX_SHRINKING_SECONDS = SHRINKING_S
    at_night = settings.get_current_profile_name() == NIGHT
    return settings(
        max_examples=count * (MORE_AT_NIGHT if at_night else 1),
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        report_multiple_bugs=False,
    )
