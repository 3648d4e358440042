"""Settings of the collector, read once, typed, passed in.

From the environment (`ASSENT_COLLECTOR_*`, and `ASSENT_ROOT_FINGERPRINT`) and, below it, a TOML file. Nothing secret
is a setting but the password inside a database URL; keys are files of mode 0600.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field, StringConstraints
from pydantic_settings import SettingsConfigDict

from assent.contracts.ids import Hash
from assent.contracts.statements import Url
from assent_service.settings import ServiceSettings


class CollectorSettings(ServiceSettings):
    """`data_dir` holds what has no place of its own. Durations are in the unit that their name says."""

    model_config = SettingsConfigDict(env_prefix="ASSENT_COLLECTOR_", populate_by_name=True)

    root_fingerprint: Annotated[
        Hash, Field(validation_alias=AliasChoices("root_fingerprint", "ASSENT_ROOT_FINGERPRINT"))
    ]
    """Of the root key, as the ceremony printed it and the founders compared it. There is no default."""
    custodian_url: Url
    data_dir: Path
    blobs_dir: Path | None = None
    key_file: Path | None = None
    """The collector's signing key, PKCS #8 PEM, mode 0600."""

    host: Annotated[str, StringConstraints(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8402
    operator_host: str = "127.0.0.1"
    operator_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Where `/metrics` is served; None: nowhere."""

    orders_interval_s: Annotated[float, Field(gt=0)] = 60
    """How often orders are asked for. Revocations of a lost device go out at once; erasures once a night."""
    backup_dir: Path | None = None
    """Where `backup` puts backups of database and bodies when it is not told."""
    backup_days: Annotated[int, Field(ge=1)] = 35
    """How long backups are kept in `backup_dir`; the next one removes older ones. The custodian is told the same."""
    order_days: Annotated[int, Field(ge=1)] = 400
    """How long orders that were carried out are kept for a custodian that is restored from a backup: longer than it
    keeps backups."""
    report_hours: Annotated[int, Field(ge=1, le=24)] = 1
    """How often a signed report of what was handed out and refused goes to the custodian, into its log."""
    background: bool = True
    """Whether the service pulls orders, reports and cleans up itself; otherwise a scheduler must."""
    max_uploads: Annotated[int, Field(ge=1)] = 64
    """Uploads under way at once. The next one is answered 429."""
    max_uploads_per_stream: Annotated[int, Field(ge=1)] = 2
    max_fetches: Annotated[int, Field(ge=1)] = 32
    idle_timeout_s: Annotated[float, Field(gt=0)] = 30
    """An upload that sends nothing for so long is dropped."""
    slowest_bytes_per_s: Annotated[int, Field(ge=1)] = 8 * 1024
    """An upload that is slower than this on the whole is dropped."""

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'collector.db'}"

    @property
    def blobs(self) -> Path:
        return self.blobs_dir or self.data_dir / "blobs"

    @property
    def key(self) -> Path:
        return self.key_file or self.data_dir / "collector.pem"

    @property
    def behind(self) -> Path:
        """A file that is there from a restore until every order since has been carried out again."""
        return self.data_dir / "restored"

    @property
    def directory(self) -> Path:
        return self.data_dir / "directory.json"
