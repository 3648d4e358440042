"""What the demo shortens so that it fits into two minutes, and how long things may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shortened:
    """One setting: its public name, what it usually is, and what it is here."""

    what: str
    setting: str
    usual: str
    here: str
    value: str


SHORTENED = (
    Shortened("A new role starts after", "ASSENT_CUSTODIAN_ROLE_DELAY_HOURS", "24 hours", "at once", "0"),
    Shortened("People are counted anew", "ASSENT_CUSTODIAN_CATALOGUE_REFRESH_DAYS", "weekly", "each time", "0"),
    Shortened(
        "The collector asks for orders", "ASSENT_COLLECTOR_ORDERS_INTERVAL_S", "every minute", "every second", "1"
    ),
    Shortened(
        "An agent asks whether to stop", "ASSENT_AGENT_NEWS_INTERVAL_S", "every 5 minutes", "every 2 seconds", "2"
    ),
    Shortened("A segment is held for its person", "ASSENT_AGENT_HOLD_S", "15 minutes", "5 seconds", "5"),
    Shortened("Others' agents send", "at the end of the replay", "about hourly", "at once", ""),
    Shortened("The night run", "assent-server rotate", "at 2 o'clock (UTC)", "when it is told to", ""),
)

PEOPLE = 9
"""Besides Ada: with her the floor of ten holds."""

REPLAY_S = 10.0
TOGETHER = 3
"""Commands, and replaying agents, at a time."""

PURPOSE = "https://example.org/purposes/computer-use"
SENTENCE = "Train and test models that operate ordinary desktop programs."
RECIPIENT = "ml-research"
ORGANISATION = "Example Ltd"
AGREEMENT = "WA-2026-07 (an example)"
DPIA = "DPIA-2026-03 (an example)"
MODALITIES = ("pointer", "keyboard", "screen", "context")


def environment(prefix: str) -> dict[str, str]:
    """The shortened settings that begin with one of these names."""
    return {one.setting: one.value for one in SHORTENED if one.setting.startswith(prefix)}
