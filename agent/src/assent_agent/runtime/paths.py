"""Where the agent's folder is: without anything that takes time to import, since `status` should answer at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import platformdirs

HOME_VARIABLE = "ASSENT_HOME"
CONTROL_SOCKET = "control.sock"


def base_folder(environment: Mapping[str, str]) -> Path:
    """`ASSENT_HOME`, or the user's configuration folder; shared with the `assent` command."""
    named = environment.get(HOME_VARIABLE)
    return Path(named) if named else Path(platformdirs.user_config_dir("assent"))


def control_socket(environment: Mapping[str, str]) -> Path:
    """Where a running agent listens."""
    return base_folder(environment) / "agent" / CONTROL_SOCKET
