"""KEK generations inside a PKCS#11 token: AES-256 keys that are made there and never leave it.

Wrapping and unwrapping (AES-GCM, bound to stream and generation as in a folder) happen in the token. What passes
through this process is what always did: the private vault keys. Root on this host can still ask the token to unwrap
while it may log in; what nobody can do any more is to take the KEK away and unwrap elsewhere, or later.

A token that went away and came back is logged into again by the next call. A PIN that was refused is not sent twice:
tokens lock themselves after a few wrong ones. The next attempt is made when the PIN file has changed. A token that does
not answer is waited for as long as the settings say, by nobody but the first who asked, and used again when it answers.
"""

from __future__ import annotations

import ctypes
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, ObjectClass, SlotFlag
from pkcs11.exceptions import (
    NoSuchKey,
    PinExpired,
    PinIncorrect,
    PinInvalid,
    PinLenRange,
    PinLocked,
    PKCS11Error,
    UserAlreadyLoggedIn,
)

from assent_custodian.files import NotReady, read_secret
from assent_custodian.keys.line import Line, Silence
from assent_custodian.keys.wrapping import NONCE_BYTES, WrapInvalid, bound_to

T = TypeVar("T")

KEK_BITS = 256
SILENCE_S = 10.0

_CHECK = b"assent/kek-check"
_BAD_PIN = (PinIncorrect, PinInvalid, PinLenRange, PinLocked, PinExpired)

_LINE = Line()
"""A PKCS#11 module is one per process, has one login per token, and is initialised here without locks of its own."""


class Kek(Protocol):
    """What a key object in the token can do; pkcs11's own types leave it out of secret keys."""

    def encrypt(self, data: bytes, *, mechanism: Mechanism, mechanism_param: GCMParams) -> bytes: ...
    def decrypt(self, data: bytes, *, mechanism: Mechanism, mechanism_param: GCMParams) -> bytes: ...
    def destroy(self) -> None: ...
    def __getitem__(self, key: Attribute) -> Any: ...


class KekToken:
    """One key object per generation, `assent-kek-000001` and so on, in the token with this label.

    The token should hold nothing else. Opens nothing before it is used, and shows nothing when printed.
    """

    def __init__(self, module: Path, token: str, pin_file: Path, silence_s: float = SILENCE_S) -> None:
        """`silence_s`: for so long a single answer of the token is waited for."""
        self._module = module
        self._silence_s = silence_s
        self._token = token
        self._pin_file = pin_file
        self._refused_pin: str | None = None
        self._session: pkcs11.Session | None = None
        self._keys: dict[int, Kek] = {}

    # --- the port ---

    def create(self, generation: int) -> str:
        return self._ask(lambda session: self._create(session, generation))

    def has(self, generation: int) -> bool:
        return self._ask(lambda session: self._find(session, generation) is not None)

    def check(self, generation: int) -> str:
        return self._ask(lambda session: _check_value(self._key(session, generation)))

    def wrap(self, generation: int, private: Mapping[str, bytes]) -> dict[str, bytes]:
        def work(session: pkcs11.Session) -> dict[str, bytes]:
            kek = self._key(session, generation)
            return {stream: _encrypt(kek, key, bound_to(stream, generation)) for stream, key in _heard(private)}

        return self._ask(work)

    def unwrap(self, generation: int, wrapped: Mapping[str, bytes]) -> dict[str, bytes]:
        def work(session: pkcs11.Session) -> dict[str, bytes]:
            kek = self._key(session, generation)
            return {stream: _decrypt(kek, data, bound_to(stream, generation)) for stream, data in _heard(wrapped)}

        return self._ask(work)

    def destroy(self, generation: int) -> None:
        def work(session: pkcs11.Session) -> None:
            self._keys.pop(generation, None)
            for found in list(session.get_objects(_named(generation))):
                found.destroy()

        self._ask(work)

    def in_token(self, generation: int) -> bool:
        """Whether the token itself made the key and has never been able to give it out."""
        return self._ask(lambda session: (kek := self._find(session, generation)) is not None and _never_left(kek))

    def is_software(self, generation: int) -> bool:
        def work(session: pkcs11.Session) -> bool:
            here = self._find(session, generation) is not None
            return here and not session.token.slot.flags & SlotFlag.HW_SLOT

        return self._ask(work)

    def settled(self, generation: int) -> bool:
        return True

    def silent(self) -> bool:
        return _LINE.is_silent(self._silence_s)

    def close(self) -> None:
        if self._session is not None:
            with suppress(Silence):  # it is closed when the token answers again, or with the process
                _LINE.ask(self._close, self._silence_s)

    def _close(self) -> None:
        session, self._session = self._session, None
        self._keys = {}
        if session is not None:
            try:
                session.close()
            except PKCS11Error:
                return  # the token has ended it already

    def __repr__(self) -> str:
        return "KekToken()"

    # --- in a session ---

    def _create(self, session: pkcs11.Session, generation: int) -> str:
        if self._find(session, generation) is not None:
            raise NotReady(f"KEK generation {generation} exists already in the token {self._token}")
        if Mechanism.AES_GCM not in session.token.slot.get_mechanisms():
            raise NotReady(f"the token {self._token} does not do AES-GCM; use another one")
        made = session.generate_key(
            KeyType.AES,
            KEK_BITS,
            label=_label(generation),
            store=True,
            capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
            template={
                Attribute.PRIVATE: True,
                Attribute.SENSITIVE: True,
                Attribute.EXTRACTABLE: False,
                Attribute.WRAP: False,
                Attribute.UNWRAP: False,
            },
        )
        kek = cast(Kek, made)
        if not _never_left(kek):
            kek.destroy()
            raise NotReady(f"the token {self._token} does not promise to keep a key to itself; use another one")
        try:
            return _check_value(kek)
        except PKCS11Error as error:  # p11-kit 0.24's client names AES-GCM and does not pass its parameters on
            kek.destroy()
            raise NotReady(
                f"the token {self._token} does not do AES-GCM with a nonce from outside ({type(error).__name__}); "
                "use another one, or another module"
            ) from error

    def _find(self, session: pkcs11.Session, generation: int) -> Kek | None:
        try:
            found = session.get_key(ObjectClass.SECRET_KEY, KeyType.AES, label=_label(generation))
        except NoSuchKey:
            return None
        return cast(Kek, found)

    def _key(self, session: pkcs11.Session, generation: int) -> Kek:
        if generation not in self._keys:
            found = self._find(session, generation)
            if found is None:
                raise NotReady(f"KEK generation {generation} is not in the token {self._token}")
            self._keys[generation] = found
        return self._keys[generation]

    # --- sessions ---

    def _ask(self, work: Callable[[pkcs11.Session], T]) -> T:
        """Do `work` in the session that is open; if the token refuses, once in a new one, and once after loading the
        module's view of its tokens anew. All that is asked here may be asked twice. Raises NotReady."""
        try:
            return _LINE.ask(lambda: self._attempt(work), self._silence_s)
        except Silence as silence:
            raise NotReady(
                f"the token {self._token} does not answer (for {self._silence_s:g} s): see to it, or to the network "
                "before it; it is used again when it answers"
            ) from silence

    def _attempt(self, work: Callable[[pkcs11.Session], T]) -> T:
        for prepare in (None, self._close, self._begin_anew):
            try:
                if prepare is not None:
                    prepare()
                session = self._opened()
                session.generate_random(8)  # a search in a session that has ended leaves a traceback behind
                return work(session)
            except PKCS11Error as error:
                last = error
        self._close()
        raise NotReady(
            f"the token {self._token} cannot be used ({type(last).__name__}): see that it is there and that the "
            "module is the right one"
        ) from last

    def _opened(self) -> pkcs11.Session:
        if self._session is None:
            try:
                module = pkcs11.lib(str(self._module))
            except PKCS11Error as error:
                why = str(error) or type(error).__name__
                raise NotReady(f"the PKCS#11 module {self._module} cannot be loaded: {why}") from error
            token = module.get_token(token_label=self._token)
            self._session = self._logged_in(token)
        return self._session

    def _logged_in(self, token: pkcs11.Token) -> pkcs11.Session:
        try:
            pin = read_secret(self._pin_file).decode().strip()
        except UnicodeDecodeError:
            pin = ""
        if not pin:
            raise NotReady(f"the PIN file {self._pin_file.name} is empty or no text")
        if pin == self._refused_pin:
            raise NotReady(_pin_refused(self._token))
        try:
            return token.open(rw=True, user_pin=pin)
        except UserAlreadyLoggedIn:  # by another session of this process: a login is the process's, not the session's
            return token.open(rw=True)
        except _BAD_PIN as error:
            self._refused_pin = pin
            raise NotReady(f"{_pin_refused(self._token)} ({type(error).__name__})") from error

    def _begin_anew(self) -> None:
        """Make the module look again at which tokens there are. It ends every session of this process."""
        self._close()
        module = pkcs11.lib(str(self._module))
        _finalize(self._module)
        with suppress(PKCS11Error):
            module.finalize()  # says that it is so already
        module.initialize()


def _finalize(module: Path) -> None:
    """C_Finalize, called in a way that lets the other threads run meanwhile: python-pkcs11 (0.10) holds them up, and a
    token that hangs in it would hang withdrawals, too. PKCS#11 3.0, 5.4: the function list begins with a version and
    the pointers of C_Initialize and C_Finalize."""
    functions = ctypes.POINTER(_FunctionList)()
    if ctypes.CDLL(str(module)).C_GetFunctionList(ctypes.byref(functions)) == 0:
        functions.contents.finalize(None)


class _FunctionList(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_ubyte * 2),
        ("initialize", ctypes.c_void_p),
        ("finalize", ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)),
    )


def _heard(keys: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Each key; the token has answered about the one before."""
    for pair in keys.items():
        _LINE.heard()
        yield pair


def _label(generation: int) -> str:
    return f"assent-kek-{generation:06d}"


def _named(generation: int) -> dict[Attribute, object]:
    return {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: _label(generation)}


def _pin_refused(token: str) -> str:
    return f"the token {token} refuses the PIN; it is not sent again before the PIN file changes, lest the token locks"


def _never_left(kek: Kek) -> bool:
    return all(kek[name] for name in (Attribute.LOCAL, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE))


def _encrypt(kek: Kek, plain: bytes, bound: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + _gcm(kek, nonce, plain, bound)


def _gcm(kek: Kek, nonce: bytes, plain: bytes, bound: bytes) -> bytes:
    return kek.encrypt(plain, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, bound, 128))


def _decrypt(kek: Kek, wrapped: bytes, bound: bytes) -> bytes:
    """Raises WrapInvalid when the token says no but is well, and what the token raises when it is not."""
    params = GCMParams(wrapped[:NONCE_BYTES], bound, 128)
    try:
        return kek.decrypt(wrapped[NONCE_BYTES:], mechanism=Mechanism.AES_GCM, mechanism_param=params)
    except PKCS11Error as error:
        # Modules name a wrong tag differently, some by a general error: ask for something that cannot be wrong.
        _check_value(kek)
        raise WrapInvalid("a vault key does not unwrap: damaged, or of another stream or generation") from error


def _check_value(kek: Kek) -> str:
    """A hash of what the key makes of a constant. Always the same message under the nonce that is only used here."""
    sealed = _gcm(kek, bytes(NONCE_BYTES), _CHECK, _CHECK)
    return hashlib.sha256(b"assent/kek-check/v1\0" + sealed).hexdigest()
