"""What every store of KEKs promises: run on the folder, on a token (SoftHSM 2), and on a folder moving to a token."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.simulators import softhsm
from tests.simulators.softhsm import MODULE, SoftHsm, SoftToken, hsm, token

from assent.contracts.ids import new_id
from assent_custodian.files import NotReady, write_file
from assent_custodian.keys.keks import KEK_BYTES, KekFolder, Keks, check_value
from assent_custodian.keys.stores import KeksMoving
from assent_custodian.keys.token import KekToken
from assent_custodian.keys.wrapping import WrapInvalid, unwrap

__all__ = ["hsm", "token"]

PRIVATE = bytes(range(96))
"""As long as a private vault key."""

STORES = ("folder", "token", "moving")


def in_token(token: SoftToken) -> KekToken:
    return KekToken(MODULE, token.label, token.pin_file)


@pytest.fixture
def keks_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Keks]]:
    """Opens the same store again and again, as restarts and other processes do."""
    opened: list[Keks] = []
    token = request.getfixturevalue("hsm").new_token() if request.param != "folder" else None

    def again() -> Keks:
        folder = KekFolder(tmp_path / "kek")
        match request.param:
            case "folder":
                opened.append(folder)
            case "token":
                opened.append(in_token(token))
            case _:
                opened.append(KeksMoving(in_token(token), folder))
        return opened[-1]

    yield again
    for keks in opened:
        keks.close()


every_store = pytest.mark.parametrize("keks_of", STORES, indirect=True)
Opener = Callable[[], Keks]


@every_store
def test_what_was_wrapped_unwraps_also_after_a_restart(keks_of: Opener) -> None:
    keks = keks_of()
    keks.create(1)
    private = {new_id(): PRIVATE, new_id(): PRIVATE[::-1]}
    wrapped = keks.wrap(1, private)
    assert keks.unwrap(1, wrapped) == private
    assert keks_of().unwrap(1, wrapped) == private
    assert keks.wrap(1, {}) == {} == keks.unwrap(1, {})


@every_store
def test_the_same_key_is_never_wrapped_to_the_same_bytes(keks_of: Opener) -> None:
    keks, stream = keks_of(), new_id()
    keks.create(1)
    seen = {keks.wrap(1, {stream: PRIVATE})[stream] for _ in range(20)}
    assert len(seen) == 20
    assert {len(data) for data in seen} == {12 + len(PRIVATE) + 16}
    assert not [data for data in seen if PRIVATE[:8] in data]


@every_store
def test_a_wrapped_key_is_bound_to_its_stream_its_generation_and_every_bit(keks_of: Opener) -> None:
    keks, stream, other = keks_of(), new_id(), new_id()
    keks.create(1)
    keks.create(2)
    data = keks.wrap(1, {stream: PRIVATE})[stream]
    with pytest.raises(WrapInvalid):
        keks.unwrap(1, {other: data})
    with pytest.raises(WrapInvalid):
        keks.unwrap(2, {stream: data})
    for damaged in (
        bytes([data[0] ^ 1]) + data[1:], data[:20] + bytes([data[20] ^ 1]) + data[21:],
        data[:-1] + bytes([data[-1] ^ 1]), data[:-1], data + b"\0", data[:12], data[:5], b"",
    ):  # fmt: skip
        with pytest.raises(WrapInvalid):
            keks.unwrap(1, {stream: damaged})
    assert keks.unwrap(1, {stream: data}) == {stream: PRIVATE}, "and the store is none the worse"


@every_store
def test_one_key_that_does_not_unwrap_spoils_the_whole_call(keks_of: Opener) -> None:
    keks, stream, other = keks_of(), new_id(), new_id()
    keks.create(1)
    wrapped = keks.wrap(1, {stream: PRIVATE, other: PRIVATE})
    with pytest.raises(WrapInvalid):
        keks.unwrap(1, {**wrapped, other: bytes(len(wrapped[other]))})


@every_store
def test_the_check_value_tells_generations_apart_and_stays(keks_of: Opener) -> None:
    keks = keks_of()
    first, second = keks.create(1), keks.create(2)
    assert len(first) == 64 == len(second)
    assert first != second
    assert (keks.check(1), keks_of().check(1), keks.check(2)) == (first, first, second)


@every_store
def test_a_generation_is_never_made_twice(keks_of: Opener) -> None:
    keks = keks_of()
    check = keks.create(1)
    for again in (keks, keks_of()):
        with pytest.raises(NotReady, match="exists already"):
            again.create(1)
    assert keks.check(1) == check


@every_store
def test_a_destroyed_generation_is_gone_for_everybody_and_destroying_again_is_nothing(keks_of: Opener) -> None:
    keks, watcher, stream = keks_of(), keks_of(), new_id()
    keks.create(1)
    keks.create(2)
    wrapped = keks.wrap(1, {stream: PRIVATE})
    assert watcher.unwrap(1, wrapped), "it has used the generation before it is destroyed"
    keks.destroy(1)
    keks.destroy(1)
    for store in (keks, watcher, keks_of()):
        assert not store.has(1)
        assert store.has(2)
        for use in (
            lambda store=store: store.unwrap(1, wrapped),
            lambda store=store: store.wrap(1, {stream: PRIVATE}),
            lambda store=store: store.check(1),
        ):
            with pytest.raises(NotReady, match=r"missing|not in the token"):
                use()
    assert keks.wrap(2, {stream: PRIVATE})


@every_store
def test_many_threads_use_one_store_at_a_time_and_each_gets_its_own(keks_of: Opener) -> None:
    keks = keks_of()
    keks.create(1)
    keks.create(2)

    def there_and_back(number: int) -> bool:
        stream, generation = new_id(), 1 + number % 2
        private = {stream: number.to_bytes(96, "big")}
        with pytest.raises(WrapInvalid):
            keks.unwrap(generation, {stream: bytes(124)})
        return keks.unwrap(generation, keks.wrap(generation, private)) == private and keks.has(generation)

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(there_and_back, range(400)))


@every_store
def test_an_absent_generation_is_refused_by_number(keks_of: Opener) -> None:
    keks = keks_of()
    keks.create(1)
    assert not keks.has(99)
    with pytest.raises(NotReady, match="99"):
        keks.wrap(99, {new_id(): PRIVATE})


@every_store
def test_nothing_is_shown_when_printed(keks_of: Opener) -> None:
    keks = keks_of()
    keks.create(1)
    assert repr(keks) == str(keks) == f"{type(keks).__name__}()"


# --- the folder ---


def test_a_kek_file_has_32_random_bytes_that_only_its_owner_reads(tmp_path: Path) -> None:
    folder = KekFolder(tmp_path / "kek")
    check, stream = folder.create(1), new_id()
    file = tmp_path / "kek" / "000001.kek"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_bytes()) == KEK_BYTES
    assert check_value(file.read_bytes()) == check
    assert unwrap(folder.wrap(1, {stream: PRIVATE})[stream], file.read_bytes(), stream, 1) == PRIVATE
    assert not folder.in_token(1)
    file.chmod(0o640)
    with pytest.raises(NotReady, match="0600"):
        folder.wrap(1, {stream: PRIVATE})


def test_a_kek_of_another_length_is_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "000001.kek", b"short")
    with pytest.raises(NotReady, match="damaged"):
        KekFolder(tmp_path).check(1)


# --- the token ---


def test_the_token_never_gives_its_key_out(token: SoftToken) -> None:
    import pkcs11
    from pkcs11 import Attribute
    from pkcs11.exceptions import PKCS11Error

    keks = in_token(token)
    keks.create(1)
    assert keks.in_token(1)
    assert not keks.in_token(2)
    pin = token.pin_file.read_text().strip()
    keks.close()
    with pkcs11.lib(str(MODULE)).get_token(token_label=token.label).open(rw=True, user_pin=pin) as session:
        kek = session.get_key(label="assent-kek-000001")
        for change in ({Attribute.EXTRACTABLE: True}, {Attribute.SENSITIVE: False}):
            with pytest.raises(PKCS11Error):
                for name, value in change.items():
                    kek[name] = value
        with pytest.raises(PKCS11Error):
            _ = kek[Attribute.VALUE]
        loose = session.generate_key(
            pkcs11.KeyType.AES, 256, label="assent-kek-000002", store=True,
            template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
        )  # fmt: skip
        value = loose[Attribute.VALUE]
        assert len(value) == 32, "the positive control: of a key made otherwise, the value can be had"
    again = in_token(token)
    assert again.has(2)
    assert not again.in_token(2), "a key that can leave the token does not count as being kept by it"
    again.close()


def test_sessions_survive_a_token_that_was_restarted(token: SoftToken) -> None:
    keks, stream = in_token(token), new_id()
    keks.create(1)
    wrapped = keks.wrap(1, {stream: PRIVATE})
    softhsm.restart_module()
    assert keks.unwrap(1, wrapped) == {stream: PRIVATE}
    softhsm.restart_module()
    keks.create(2)
    softhsm.restart_module()
    keks.destroy(1)
    softhsm.restart_module()
    assert (keks.has(1), keks.has(2)) == (False, True)
    keks.close()


def test_a_missing_token_is_said_and_nothing_is_lost_when_it_comes_back(token: SoftToken) -> None:
    keks, stream = in_token(token), new_id()
    keks.create(1)
    wrapped = keks.wrap(1, {stream: PRIVATE})
    token.take_away()
    softhsm.restart_module()
    for use in (
        lambda: keks.create(2), lambda: keks.has(1), lambda: keks.check(1), lambda: keks.destroy(1),
        lambda: keks.wrap(1, {stream: PRIVATE}), lambda: keks.unwrap(1, wrapped), lambda: keks.in_token(1),
    ):  # fmt: skip
        with pytest.raises(NotReady, match=token.label):
            use()
    token.bring_back()
    assert keks.unwrap(1, wrapped) == {stream: PRIVATE}
    assert not keks.has(2)
    keks.close()


def test_a_wrong_pin_is_sent_once_and_not_again_before_the_file_changes(token: SoftToken) -> None:
    right = token.pin_file.read_text()
    token.pin_file.write_text("000000000\n")
    keks = in_token(token)
    for _ in range(20):
        with pytest.raises(NotReady, match="refuses the PIN"):
            keks.create(1)
    token.pin_file.write_text(right)
    keks.create(1)
    assert keks.has(1)
    keks.close()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda file: file.unlink(), "missing"),
        (lambda file: file.chmod(0o640), "0600"),
        (lambda file: file.write_text("\n"), "empty"),
    ],
    ids=["missing", "readable by others", "empty"],
)
def test_the_pin_comes_from_a_file_that_only_the_custodian_reads(
    token: SoftToken, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(token.pin_file)
    with pytest.raises(NotReady, match=says):
        in_token(token).has(1)


def test_a_missing_module_and_one_that_is_none_are_named(token: SoftToken, tmp_path: Path) -> None:
    (tmp_path / "not-a-module.so").write_bytes(b"nothing")
    for module in (tmp_path / "absent.so", tmp_path / "not-a-module.so"):
        with pytest.raises(NotReady, match=rf"module .*{module.name} cannot be loaded"):
            KekToken(module, token.label, token.pin_file).has(1)


def test_a_module_that_cannot_find_its_tokens_says_of_what_kind_the_failure_is(token: SoftToken) -> None:
    script = f"""
from pathlib import Path
from assent_custodian.files import NotReady
from assent_custodian.keys.token import KekToken
try:
    KekToken(Path({str(MODULE)!r}), {token.label!r}, Path({str(token.pin_file)!r})).has(1)
except NotReady as error:
    print(error)
"""
    environment = {**os.environ, "SOFTHSM2_CONF": "absent"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert re.search(r"cannot be loaded: \w+", done.stdout), done.stdout


def test_a_token_that_does_no_aes_gcm_is_refused_and_keeps_nothing_of_the_attempt(
    hsm: SoftHsm, token: SoftToken
) -> None:
    keks = in_token(token)
    hsm.allow_mechanisms("CKM_AES_KEY_GEN,CKM_AES_CBC")
    softhsm.restart_module()
    try:
        for _ in range(2):
            with pytest.raises(NotReady, match="AES-GCM"):
                keks.create(1)
    finally:
        hsm.allow_mechanisms("ALL")
        softhsm.restart_module()
    assert not keks.has(1)
    keks.create(1)
    assert keks.has(1)
    keks.close()


def test_a_token_that_hangs_is_waited_for_once_and_used_again_when_it_answers(token: SoftToken) -> None:
    keks, stream = KekToken(MODULE, token.label, token.pin_file, 1), new_id()
    keks.create(1)
    wrapped = keks.wrap(1, {stream: PRIVATE})
    uses = (
        lambda: keks.unwrap(1, wrapped), lambda: keks.wrap(1, {stream: PRIVATE}), lambda: keks.create(2),
        lambda: keks.has(1), lambda: keks.check(1), lambda: keks.destroy(1), lambda: keks.in_token(1),
        lambda: keks.is_software(1),
    )  # fmt: skip
    for first in (uses[0], uses[2], uses[5]):  # unwrap, create, destroy
        with token.hanging():
            began = time.monotonic()
            for use in (first, *uses):
                with pytest.raises(NotReady, match=f"{token.label} does not answer"):
                    use()
            assert time.monotonic() - began < 5, "only the first has waited"
            with ThreadPoolExecutor(16) as threads:
                assert all(one.exception() for one in [threads.submit(use) for use in uses * 10])
            assert keks.silent()
            assert [thread.name for thread in threading.enumerate()].count("token") == 1, "nothing piles up"
        _until(lambda: not keks.silent())
    assert not keks.has(1), "what hung was done when the token answered, after all"
    assert keks.has(2)
    keks.destroy(2)
    keks.create(1)
    assert keks.unwrap(1, keks.wrap(1, {stream: PRIVATE})) == {stream: PRIVATE}
    keks.close()


def test_a_token_that_takes_long_and_goes_on_answering_does_not_hang(token: SoftToken) -> None:
    keks = KekToken(MODULE, token.label, token.pin_file, 1)
    keks.create(1)
    private, took, wrapped = {new_id(): PRIVATE}, 0.0, {}
    while took < 1:  # until it takes longer than one answer may
        private |= {new_id(): PRIVATE for _ in range(2 * len(private))}
        began = time.monotonic()
        wrapped = keks.wrap(1, private)
        took = time.monotonic() - began
    assert keks.unwrap(1, wrapped) == private
    keks.close()


_SHIM = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
typedef unsigned long (*call)(void *);
typedef unsigned long (*get)(void **);
static struct { unsigned char version[2]; void *calls[68]; } list;
static call finalize;
static unsigned long slowly(void *reserved) {
    while (access(WHILE, F_OK) == 0) usleep(1000);
    return finalize(reserved);
}
unsigned long C_GetFunctionList(void **to) {
    void *real;
    get module = (get) dlsym(dlopen(REAL, RTLD_NOW), "C_GetFunctionList");
    unsigned long answer = module(&real);
    memcpy(&list, real, sizeof list);
    finalize = (call) list.calls[1];
    list.calls[1] = slowly;
    *to = &list;
    return answer;
}
"""
"""SoftHSM, whose C_Finalize does not return while there is a certain file."""


def test_a_module_that_does_not_come_to_its_end_holds_nobody_else_up(token: SoftToken, tmp_path: Path) -> None:
    """In a process of its own: a module is loaded once."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    hangs, shim = tmp_path / "hangs", tmp_path / "shim.so"
    (tmp_path / "shim.c").write_text(_SHIM)
    named = [f'-DREAL="{MODULE}"', f'-DWHILE="{hangs}"']
    subprocess.run([compiler, "-shared", "-fPIC", *named, "-o", shim, tmp_path / "shim.c", "-ldl"], check=True)
    script = f"""
import sys, threading, time
from pathlib import Path
from assent_custodian.files import NotReady
from assent_custodian.keys.token import KekToken
hangs = Path({str(hangs)!r})
keks = KekToken(Path({str(shim)!r}), {token.label!r}, Path({str(token.pin_file)!r}), 0.5)
keks.create(1)
absent = KekToken(Path({str(shim)!r}), "absent", Path({str(token.pin_file)!r}), 0.5)
hangs.touch()
began = time.monotonic()
refused = []
def ask():
    try:
        absent.has(1)
    except NotReady as error:
        refused.append(str(error))
asking = threading.Thread(target=ask)
asking.start()
turns = 0
while time.monotonic() - began < 1:
    time.sleep(0.01)
    turns += 1
asking.join()
hangs.unlink()
while keks.silent():
    time.sleep(0.01)
print(turns, "does not answer" in refused[0], keks.has(1))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    turns, *answers = done.stdout.split()
    assert answers == ["True", "True"], done.stderr
    assert int(turns) > 20, "everybody else went on meanwhile"


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- from folder to token ---


def test_moving_uses_the_folder_until_its_generations_are_destroyed(token: SoftToken, tmp_path: Path) -> None:
    folder, stream = KekFolder(tmp_path / "kek"), new_id()
    check = folder.create(1)
    wrapped = folder.wrap(1, {stream: PRIVATE})
    moving = KeksMoving(in_token(token), folder)
    token.take_away()
    softhsm.restart_module()
    assert (moving.has(1), moving.settled(1), moving.in_token(1), moving.check(1)) == (True, False, False, check)
    assert moving.unwrap(1, wrapped) == {stream: PRIVATE}, "what lies in the folder needs no token"
    token.bring_back()
    moving.create(2)
    assert (moving.settled(2), moving.in_token(2), folder.has(2)) == (True, True, False)
    anew = moving.wrap(2, moving.unwrap(1, wrapped))
    moving.destroy(1)
    assert not folder.has(1)
    assert moving.unwrap(2, anew) == {stream: PRIVATE}
    moving.close()
