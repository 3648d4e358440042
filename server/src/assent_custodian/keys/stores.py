"""Which store keeps the KEKs: the folder, or a token, or a token to which an installation is moving from its folder."""

from __future__ import annotations

from collections.abc import Mapping

from assent_custodian.files import NotReady
from assent_custodian.keys.keks import KekFolder, Keks
from assent_custodian.settings import Settings


class KeksMoving:
    """New generations are made in one store; those that still lie in another are used there until rotation ends them.

    A generation lies in one of the two, never in both. What lies in the old store needs nothing of the new one.
    """

    def __init__(self, new: Keks, old: Keks) -> None:
        self._new = new
        self._old = old

    def _of(self, generation: int) -> Keks:
        return self._old if self._old.has(generation) else self._new

    def create(self, generation: int) -> str:
        if self._old.has(generation):
            raise NotReady(f"KEK generation {generation} exists already")
        return self._new.create(generation)

    def has(self, generation: int) -> bool:
        return self._of(generation).has(generation)

    def check(self, generation: int) -> str:
        return self._of(generation).check(generation)

    def wrap(self, generation: int, private: Mapping[str, bytes]) -> dict[str, bytes]:
        return self._of(generation).wrap(generation, private)

    def unwrap(self, generation: int, wrapped: Mapping[str, bytes]) -> dict[str, bytes]:
        return self._of(generation).unwrap(generation, wrapped)

    def destroy(self, generation: int) -> None:
        self._of(generation).destroy(generation)

    def in_token(self, generation: int) -> bool:
        return self._of(generation).in_token(generation)

    def is_software(self, generation: int) -> bool:
        return self._of(generation).is_software(generation)

    def settled(self, generation: int) -> bool:
        return not self._old.has(generation)

    def silent(self) -> bool:
        return self._new.silent() or self._old.silent()

    def close(self) -> None:
        self._new.close()
        self._old.close()

    def __repr__(self) -> str:
        return "KeksMoving()"


def open_keks(settings: Settings) -> Keks:
    """The store that the settings name. Opens nothing yet. Raises NotReady when a token is named by half."""
    folder = KekFolder(settings.keks)
    module, token, pin_file = settings.pkcs11_module, settings.pkcs11_token, settings.pkcs11_pin_file
    if module is None and not token and pin_file is None:
        return folder
    if module is None or not token or pin_file is None:
        raise NotReady("pkcs11_module, pkcs11_token and pkcs11_pin_file belong together: give all three, or none")
    from assent_custodian.keys.token import KekToken  # noqa: PLC0415 - loads a C library that a folder does not need

    return KeksMoving(KekToken(module, token, pin_file, settings.pkcs11_timeout_s), folder)
