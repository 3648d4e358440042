"""Settings of a witness from a file and the environment, and the log key it trusts, from the directory if need be."""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assent.client.directory import TrustedDirectory, endings_of
from assent.client.transport import ClientError, Transport
from assent.contracts.ids import Hash
from assent.contracts.statements import Url
from assent.transparency.errors import VerifierKeyInvalid
from assent.transparency.note import Note, VerifierKey
from assent.transparency.succession import Ending
from assent_custodian.files import NotReady
from assent_witness.heads import HeadDamaged, Heads
from assent_witness.keys import KeyFileUnsafe, create_key, load_cosigner
from assent_witness.settings import WitnessSettings

PREFIX = "ASSENT_WITNESS_"
_log = logging.getLogger(__name__)

DIRECTORY_FILE = "directory.json"
"""In the state folder: the newest directory that this witness has accepted."""

FIELDS = ("name", "key_path", "state_dir", "log_keys", "custodian_url", "host", "port")


class WitnessConfig(BaseModel):
    """What a witness is given: either `log_keys`, or `root_fingerprint` and `custodian_url` to learn them from."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str
    key_path: Path
    state_dir: Path
    log_keys: tuple[str, ...] = ()
    root_fingerprint: Hash | None = None
    custodian_url: Url | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8403, ge=1, le=65535)


@dataclass(frozen=True)
class Prepared:
    """Settings that `assent_witness.app.serve` takes, and where to listen."""

    settings: WitnessSettings
    host: str
    port: int
    log_keys_now: Callable[[], Sequence[str]] | None
    """The log's key of now, from the directory; None when keys were given by hand, which then never change."""
    endings: Callable[[], Sequence[Ending]]
    """How the logs before it ended, from the directory; none when keys were given by hand."""


def load(config: Path | None) -> WitnessConfig:
    """Read `ASSENT_WITNESS_*` and `ASSENT_ROOT_FINGERPRINT`, and below them a TOML file. Raises NotReady."""
    values: dict[str, Any] = tomllib.loads(config.read_text()) if config is not None else {}
    for name in FIELDS:
        if (text := os.environ.get(PREFIX + name.upper())) is not None:
            values[name] = text.split() if name == "log_keys" else text
    if (root := os.environ.get("ASSENT_ROOT_FINGERPRINT")) is not None:
        values["root_fingerprint"] = root
    try:
        return WitnessConfig(**values)
    except ValidationError as error:
        places = ", ".join(".".join(str(p) for p in e["loc"]) for e in error.errors())
        raise NotReady(f"the witness's configuration is missing or wrong in: {places}") from error


def prepare(config: WitnessConfig) -> Prepared:
    """Find out which log to witness, making the key if there is none. Raises NotReady."""
    ensure_key(config.key_path, config.name)
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = WitnessSettings(
        name=config.name,
        key_path=config.key_path,
        state_dir=config.state_dir,
        log_keys=config.log_keys or (_log_key(config),),
    )
    if config.log_keys:
        return Prepared(settings, config.host, config.port, None, tuple)
    return Prepared(
        settings,
        config.host,
        config.port,
        lambda: (_log_key_now(config),),
        lambda: endings_of(_book(config).current),
    )


def newest_head(config: WitnessConfig) -> Note:
    """The head that this witness cosigned last, with the signatures: what a new log has to quote. Raises NotReady."""
    try:
        origin = VerifierKey.from_text(config.log_keys[0] if config.log_keys else _log_key(config)).name
        with Heads(config.state_dir).locked(origin) as head:
            note = head.note()
    except (HeadDamaged, VerifierKeyInvalid) as error:
        raise NotReady(str(error)) from error
    if note is None:
        raise NotReady(f"this witness has signed no head of {origin} yet")
    return note


def ensure_key(path: Path, name: str) -> str:
    """The witness's verifier key (C2SP vkey); a new key is made if there is none. Raises NotReady."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        create_key(path)
    try:
        return str(load_cosigner(path, name).verifier)
    except (KeyFileUnsafe, ValueError) as error:
        raise NotReady(str(error)) from error


def _log_key_now(config: WitnessConfig) -> str:
    """The log's key after looking for a newer directory; an older or forked one changes nothing."""
    try:
        book = _book(config)
        with Transport(book.current.custodian_url) as custodian:
            book.refresh(custodian)
    except ClientError as error:
        _log.warning("directory not renewed: %s", type(error).__name__)
    return _log_key(config)


def _book(config: WitnessConfig) -> TrustedDirectory:
    if config.root_fingerprint is None or config.custodian_url is None:
        raise NotReady("give log_keys, or ASSENT_ROOT_FINGERPRINT and custodian_url to learn the log's key from")
    try:
        return TrustedDirectory(config.root_fingerprint, config.state_dir / DIRECTORY_FILE)
    except ClientError as error:
        raise NotReady(f"the directory cannot be had: {error}") from error


def _log_key(config: WitnessConfig) -> str:
    book = _book(config)
    try:
        if not book.known:
            with Transport(str(config.custodian_url)) as custodian:
                book.refresh(custodian)
    except ClientError as error:
        raise NotReady(f"the directory cannot be had: {error}") from error
    return book.current.log_vkey
