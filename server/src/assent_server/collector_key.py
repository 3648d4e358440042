"""The collector's signing key: made where the collector runs, so that only its public half travels to the ceremony."""

from __future__ import annotations

from pathlib import Path

from assent.client.files import write_private
from assent.contracts.keys import SigningKey
from assent_collector.app import read_key


def ensure(path: Path) -> str:
    """The public key as text; a new key is made if there is none. Raises NotReady when it is damaged or unsafe."""
    if not path.exists():
        write_private(path, SigningKey.generate().to_pem())
    return read_key(path).public.text
