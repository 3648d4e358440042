"""How services read their settings: once, typed, from the environment and, below it, a TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource


class ServiceSettings(BaseSettings):
    """Base of a service's settings. What is given in code wins over the environment, and that over the file."""

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
