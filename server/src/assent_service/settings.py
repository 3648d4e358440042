"""How services read their settings: once, typed, from the environment and, below it, a TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from assent_service.database import sqlite_file


def _address(url: str) -> str:
    """Of a database of which nothing would be opened by mistake. Raises ValueError, without the password."""
    try:
        backend = make_url(url).get_backend_name() if url else ""
    except ArgumentError as error:
        raise ValueError("not an address of a database") from error
    if backend == "sqlite":
        sqlite_file(url)
    elif backend not in ("", "postgresql"):
        raise ValueError("neither sqlite:///FILE nor postgresql+psycopg://…")
    return url


class ServiceSettings(BaseSettings):
    """Base of a service's settings. What is given in code wins over the environment, and that over the file."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    database_url: Annotated[str, Field(repr=False), AfterValidator(_address)] = ""
    """Empty: SQLite in `data_dir`. Otherwise for instance `postgresql+psycopg://…`."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @classmethod
    def load(cls, toml: Path | None = None, **given: Any) -> Self:
        """Read `given`, below it the environment and, below that, `toml`. Raises pydantic.ValidationError naming what
        is wrong."""

        class WithFile(cls):  # type: ignore[misc, valid-type]
            model_config = SettingsConfigDict(toml_file=toml)

        found: Self = WithFile(**given)
        return found
