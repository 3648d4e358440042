"""What can be set about the agent, read once from the environment (`ASSENT_AGENT_*`) and passed in.

The folder is `ASSENT_HOME` (or the user's configuration folder) and shared with the `assent` command; the agent keeps
its own things below `agent/` in it. An employer's setting can make the agent record less, never more: there is none
that widens what a receipt allows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from assent.contracts import limits


class AgentSettings(BaseSettings):
    """Every field can be set by `ASSENT_AGENT_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="ASSENT_AGENT_", extra="ignore", frozen=True)

    passphrase_file: Path | None = None
    """First line: the passphrase of the agent's key file, where there is no keyring."""

    keyring: bool = True
    """Use the keyring of the operating system where there is one."""

    hold_s: Annotated[int, Field(ge=0)] = limits.HOLD_S
    """Review hold: how long a segment waits before it may be sent."""

    upload_interval_s: Annotated[int, Field(ge=1)] = 3600
    """Mean time between batches."""

    news_interval_s: Annotated[int, Field(ge=1, le=300)] = 300
    """How often the custodian is asked whether recording may go on. Not more than five minutes."""

    reserve_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    """Recording stops before the disk has less than this left."""

    frame_interval_ms: Annotated[int, Field(ge=50)] = 120
    """How often the screen is looked at while the person works."""

    idle_frame_interval_ms: Annotated[int, Field(ge=200)] = 1000
    """How often while nothing is done."""

    periodic_frame_s: Annotated[float, Field(ge=0.2)] = 2.0
    """A picture that is bound to no action is kept this often, if it differs from the last one."""
