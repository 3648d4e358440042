"""What whoever runs a witness has to decide."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class WitnessSettings(BaseModel):
    """Nothing has a default: name, key and trusted logs are this witness's identity and judgement."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Name in every cosignature, such as `council.example/witness`. One name and key for ever, one state folder."""

    key_path: Path
    """File made by `create_key`, readable by this user alone."""

    state_dir: Path
    """Folder with the last cosigned head of each log. Losing it means forgetting: back it up, never set it back."""

    log_keys: tuple[str, ...] = Field(min_length=1)
    """Verifier keys of the logs to witness. A key's name is its log's origin; two keys may share one while rotating."""
