"""Settings of the custodian, read once, typed, passed in.

From the environment (`ASSENT_CUSTODIAN_*`) and, below it, a TOML file. Nothing secret has a default, and nothing
secret is a setting: keys are files of mode 0600 in folders of mode 0700.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from assent.contracts import limits
from assent_service.database import sqlite_file
from assent_service.reserve import MIB, Reserve
from assent_service.settings import ServiceSettings

PROMISED = (
    *("role_delay_hours", "approvals_needed", "people_per_day", "recorded_days_per_day", "catalogue_refresh_days"),
    *("certificate_hours", "upload_days", "stream_byte_budget", "invitation_days", "erase_after_days"),
    *("retention_days", "backup_days", "overdue_days", "recall_days", "drill_interval_hours"),
    *("report_overdue_hours", "reserve_mib"),
)
"""Settings that a promise depends on: the log says what they are, and when they were changed."""


class Settings(ServiceSettings):
    """`data_dir` holds what has no place of its own. Durations are in the unit that their name says."""

    model_config = SettingsConfigDict(env_prefix="ASSENT_CUSTODIAN_")

    data_dir: Path
    keys_dir: Path | None = None
    """Statement key and log key."""
    kek_dir: Path | None = None
    """KEK generations, one file each. Belongs on a volume of its own, in no backup of the database."""
    pkcs11_module: Path | None = None
    """A PKCS#11 library: KEK generations are made in its token then, and those in the folder are used up."""
    pkcs11_token: str = ""
    """Label of the token, which holds nothing but KEKs."""
    pkcs11_pin_file: Path | None = None
    """A file of mode 0600 with the token's user PIN."""
    pkcs11_timeout_s: Annotated[float, Field(gt=0, le=25)] = 10
    """For so long an answer of the token is waited for, in a transaction: less than others wait for that to end."""
    directory_file: Path | None = None
    policy_file: Path | None = None
    """What is offered to people: notice, application list, agreement."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8401
    operator_host: str = "127.0.0.1"
    operator_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Where `/metrics` is served; None: nowhere."""

    role_delay_hours: Annotated[float, Field(ge=0)] = 24
    certificate_hours: Annotated[int, Field(ge=1, le=limits.CERTIFICATE_HOURS)] = limits.CERTIFICATE_HOURS
    upload_days: Annotated[int, Field(ge=1, le=60)] = limits.UPLOAD_DAYS
    stream_byte_budget: Annotated[int, Field(gt=0)] = limits.STREAM_BYTE_BUDGET
    erase_after_days: Annotated[int, Field(ge=0, le=7)] = 7
    retention_days: Annotated[int, Field(ge=1)] = limits.RETENTION_DAYS
    backup_days: Annotated[int, Field(ge=0)] = 35
    """How long the oldest backup of custodian or collector is kept. An erasure is final only after that; 0: there are
    no backups."""
    overdue_days: Annotated[int, Field(ge=1)] = 3
    """An order that was not acknowledged, or a KEK generation that was not destroyed, for longer than this is a
    fault."""
    recall_days: Annotated[int, Field(ge=1)] = 7
    """The same for requesters who did not say that they dropped what was recalled."""
    report_overdue_hours: Annotated[int, Field(ge=1, le=72)] = limits.REPORT_OVERDUE_HOURS
    """When the collector's last report ended longer ago than this, it has fallen silent: a fault. More than the default
    only where `report_hours` of the collector is more."""
    invitation_days: Annotated[int, Field(ge=1, le=30)] = 14
    approvals_needed: Annotated[int, Field(ge=limits.APPROVALS_NEEDED)] = limits.APPROVALS_NEEDED
    """Configurable upward only."""
    people_per_day: Annotated[int, Field(ge=limits.COHORT_FLOOR)] = limits.PEOPLE_PER_DAY
    recorded_days_per_day: Annotated[int, Field(ge=limits.COHORT_FLOOR)] = limits.RECORDED_DAYS_PER_DAY
    """What one requester may open in a day of UTC, over all grants: people, and days that people recorded."""
    catalogue_refresh_days: Annotated[float, Field(ge=0)] = 7
    reserve_mib: Annotated[int, Field(ge=0)] = 32
    """On SQLite: room on its disk that is kept for withdrawals, erasures and halts, in a file beside it; 0: none."""
    backup_dir: Path | None = None
    """Where the night puts backups of the database; without one it makes none."""
    drill_interval_hours: Annotated[float, Field(ge=0, le=24)] = 1
    """How often the canary drill runs. When none has passed for twice as long, that is an alarm; 0: there is none."""
    drill_dir: Path | None = None
    """Where the identities of the drill keep their keys."""
    night_hour_utc: Annotated[int, Field(ge=0, le=23)] = 2
    witness_timeout_s: Annotated[float, Field(gt=0, le=30)] = 3
    witness_interval_s: Annotated[float, Field(gt=0)] = 30
    """How often the background submits a head that has grown."""
    background: bool = True
    """Whether the service runs the night and submits checkpoints itself; otherwise a scheduler must."""

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'custodian.db'}"

    @property
    def reserve(self) -> Reserve | None:
        """None also on PostgreSQL, whose disk is not ours."""
        if not self.database.startswith("sqlite") or not self.reserve_mib:
            return None
        file = sqlite_file(self.database)
        return Reserve(file.with_name(f"{file.name}-reserve"), self.reserve_mib * MIB)

    @property
    def keys(self) -> Path:
        return self.keys_dir or self.data_dir / "keys"

    @property
    def keks(self) -> Path:
        return self.kek_dir or self.data_dir / "kek"

    @property
    def directory(self) -> Path:
        return self.directory_file or self.data_dir / "directory.json"

    @property
    def policy(self) -> Path:
        return self.policy_file or self.data_dir / "policy.json"

    @property
    def restore_unfinished(self) -> Path:
        """There while a restore is under way in PostgreSQL: the database may be replaced, and its door not shut yet."""
        return self.data_dir / "restore-unfinished"

    @property
    def drill(self) -> Path:
        return self.drill_dir or self.data_dir / "drill"

    @property
    def promised(self) -> dict[str, str]:
        """What the log says of these settings."""
        return {name: f"{getattr(self, name):.15g}" for name in PROMISED}

    @property
    def role_delay(self) -> timedelta:
        return timedelta(hours=self.role_delay_hours)
