"""The custodian's own signing keys, as files: those of now, those that come next, and those of before.

Which one signs is what the directory in force says, at every signature. So a new key lies ready before the directory
names it, and the old one may be removed when nobody needs it any more.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Literal

from assent.contracts.keys import KeyInvalid, SigningKey
from assent.transparency.errors import VerifierKeyInvalid
from assent.transparency.note import Signer, VerifierKey
from assent_custodian.files import NotReady, read_secret, write_file

Use = Literal["statement", "log"]


class KeyRing:
    """Reads `<use>.pem` and `<use>-*.pem` in the keys folder, again when a key is asked for that it has not seen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._statement: dict[str, SigningKey] = {}
        self._log: dict[str, Signer] = {}

    def statement(self, text: str) -> SigningKey:
        """The statement key whose public half is `text`. Raises NotReady."""
        with self._lock:
            if text not in self._statement:
                self._statement |= {key.public.text: key for key in self.every("statement")}
            if text not in self._statement:
                raise NotReady("the directory names another statement key; sign a new directory or restore the key")
            return self._statement[text]

    def log(self, vkey: str) -> Signer:
        """The log's signer whose verifier key is `vkey`. Raises NotReady."""
        with self._lock:
            if vkey not in self._log:
                try:
                    name = VerifierKey.from_text(vkey).name
                except VerifierKeyInvalid as error:
                    raise NotReady(f"the log key in the directory is not one: {error}") from error
                signers = [Signer(name, key.ed25519) for key in self.every("log")]
                self._log |= {str(signer.verifier): signer for signer in signers}
            if vkey not in self._log:
                raise NotReady("the directory names another log key; sign a new directory or restore the key")
            return self._log[vkey]

    def add(self, use: Use) -> SigningKey:
        """Make a key that a later directory can name, and return it. Nothing signs with it before."""
        key = SigningKey.generate()
        write_file(self._folder / f"{use}-{key.public.id[:12]}.pem", key.to_pem())
        return key

    def every(self, use: Use) -> list[SigningKey]:
        """All keys of this use, the first one first. Raises NotReady when there is none, or one cannot be used."""
        first = self._folder / f"{use}.pem"
        files = sorted(self._folder.glob(f"{use}-*.pem"))
        keys = []
        for path in [first, *files] if first.exists() or not files else files:
            try:
                keys.append(SigningKey.from_pem(read_secret(path)))
            except KeyInvalid as error:
                raise NotReady(f"key file {path.name}: {error}") from error
        return keys
