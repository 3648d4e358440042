"""Copies of a log: a folder only grows, only new leaves are read; what contradicts it is kept and changes nothing."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.reader.test_auditing import OTHER, PROPER, boots, copy_of, files_of, reasons, saved
from tests.unit.reader.world import World

from assent.client.transport import AnswerInvalid, Unreachable
from assent.contracts.keys import fingerprint
from assent.reader.auditing import audit
from assent.reader.log_copies import Address, Contradiction, CopyFolder, CopyInvalid, LogCopy, load_copy, take
from assent.transparency.tiles import EntryBundle, hash_tiles

ALL = [*PROPER, *boots(1000)]
SIZES = [1, 6, 255, 256, 257, 300, 512, 1000]


def extended(folder: Path, copy: LogCopy) -> int:
    with CopyFolder(folder) as kept:
        return kept.extend(copy)


class Counted:
    """A copy that remembers which tiles were read."""

    def __init__(self, copy: LogCopy) -> None:
        self.read: list[str] = []

        def read(path: str) -> bytes | None:
            self.read.append(path)
            return copy.read(path)

        self.copy = replace(copy, read=read, paths=None)


def tiles_in(folder: Path) -> set[str]:
    found = (path for path in (folder / "tile").rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in found}


@pytest.fixture
def opened() -> Iterator[Callable[[Path], CopyFolder]]:
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(CopyFolder(folder))


def test_one_process_at_a_time_works_with_a_folder(tmp_path: Path, opened: Callable[[Path], CopyFolder]) -> None:
    opened(tmp_path).close()
    opened(tmp_path)
    with pytest.raises(CopyInvalid, match="another process"):
        CopyFolder(tmp_path)


def test_a_folder_that_grows_is_the_same_as_one_made_at_once(tmp_path: Path) -> None:
    world = World()
    grown = tmp_path / "grown"
    for size in SIZES:
        copy = copy_of(files_of(world, ALL[:size]))
        assert extended(grown, copy) > 0
        assert extended(grown, copy) == 0
        at_once = tmp_path / f"at-once-{size}"
        extended(at_once, copy)
        wanted = {path for path in files_of(world, ALL[:size]) if path.startswith("tile/")}
        assert tiles_in(grown) == tiles_in(at_once) == wanted, "superseded tiles are gone"
        outcome = audit(load_copy(grown), fingerprint(world.root.public.text))
        assert outcome.passed, reasons(outcome)
        assert {tile.path for tile in hash_tiles(size)} <= tiles_in(grown)


def test_only_new_leaves_are_read(tmp_path: Path) -> None:
    world = World()
    extended(tmp_path, copy_of(files_of(world, ALL[:700])))
    counted = Counted(copy_of(files_of(world, ALL[:800])))
    assert extended(tmp_path, counted.copy) == 100
    assert counted.read == [EntryBundle(2).path, EntryBundle(3, 32).path]


def contradicting(world: World, leaves: list[bytes]) -> LogCopy:
    """A log of these leaves, signed and witnessed: both keys are in the attacker's hands."""
    return copy_of(files_of(world, leaves))


EDITED = [*ALL[:4], OTHER, *ALL[5:]]
FORGED: dict[str, tuple[list[bytes], str, str]] = {
    "rolled back": (ALL[:299], "rolled-back", "has 299 leaves, and 300 were witnessed before"),
    "of the same size": ([*ALL[:299], OTHER], "fork", "two different logs of 300 leaves"),
    "an early leaf was edited": (EDITED[:400], "fork", "does not begin with the 300 leaves"),
    "a late leaf was edited": ([*ALL[:290], OTHER, *ALL[291:400]], "edited", "leaf 290 is not what it was"),
    "a leaf was dropped": ([*ALL[:100], *ALL[101:400]], "edited", "leaf 256 is not what it was"),
    "leaves were exchanged": (
        [*ALL[:290], ALL[291], ALL[290], *ALL[292:400]],
        "edited",
        "leaf 290 is not what it was",
    ),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_log_that_does_not_continue_the_copy_is_kept_and_changes_nothing(
    tmp_path: Path, how: str, opened: Callable[[Path], CopyFolder]
) -> None:
    world = World()
    folder = opened(tmp_path)
    folder.extend(copy_of(files_of(world, ALL[:300])))
    before = {path: (tmp_path / path).read_bytes() for path in (*tiles_in(tmp_path), "checkpoint", "directory.json")}
    leaves, kind, reason = FORGED[how]
    for _ in range(2):
        forged = contradicting(world, leaves)
        with pytest.raises(Contradiction, match=reason) as caught:
            folder.extend(forged)
        assert caught.value.kind == kind
    assert before == {path: (tmp_path / path).read_bytes() for path in before}
    assert not (tmp_path / "incoming").exists()
    [kept] = (tmp_path / "evidence").iterdir()
    assert (kept / "checkpoint").read_bytes() == forged.checkpoint.to_bytes()
    assert folder.extend(copy_of(files_of(world, ALL[:400]))) == 100, "and the right one still continues it"


@pytest.mark.parametrize("change", ["leaf", "tile withheld"])
def test_leaves_that_were_not_signed_are_named_and_not_taken(
    tmp_path: Path, change: str, opened: Callable[[Path], CopyFolder]
) -> None:
    world = World()
    folder = opened(tmp_path)
    folder.extend(copy_of(files_of(world, ALL[:300])))
    files = files_of(world, ALL[:400])
    files |= {
        path: data for path, data in files_of(World(), [*ALL[:350], OTHER, *ALL[351:400]]).items() if "entries" in path
    }
    if change == "tile withheld":
        files = {path: data for path, data in files.items() if not path.startswith("tile/0/")}
    with pytest.raises(Contradiction, match="leaf 350 is not" if change == "leaf" else "not those that were signed"):
        folder.extend(copy_of(files))
    assert folder.size == 300


def test_a_cut_off_bundle_and_another_log_are_said(tmp_path: Path, opened: Callable[[Path], CopyFolder]) -> None:
    world = World()
    folder = opened(tmp_path)
    files = files_of(world, ALL[:300])
    with pytest.raises(Contradiction, match="is cut off"):
        folder.extend(copy_of({**files, EntryBundle(0).path: files[EntryBundle(0).path][:-500]}))
    folder.extend(copy_of(files))
    other = World()
    other.log = type(world.log)("other.example/log", world.log._key)
    with pytest.raises(Contradiction, match="and not"):
        folder.extend(replace(copy_of(files_of(world, ALL[:400])), checkpoint=_checkpoint(other, ALL[:400])))


def _checkpoint(world: World, leaves: list[bytes]) -> Any:
    world.leaves = leaves
    return world.checkpoint()


@pytest.mark.parametrize("had", [0, 200])
def test_a_crash_at_any_moment_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, had: int) -> None:
    """Power goes at each file that is written or moved: what was there still verifies, and the next time goes on."""
    world = World()
    root = fingerprint(world.root.public.text)
    base, copy = tmp_path / "base", copy_of(files_of(world, ALL[:300]))
    base.mkdir()
    if had:
        extended(base, copy_of(files_of(world, ALL[:had])))
    wanted = {path for path in files_of(world, ALL[:300]) if path.startswith("tile/")}

    class PowerCut(BaseException):
        pass

    for moment in range(100):
        folder = tmp_path / str(moment)
        shutil.copytree(base, folder)
        left = [moment]

        def cut(real: Any, left: list[int], *arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise PowerCut
            return real(*arguments, **named)

        with monkeypatch.context() as patched:
            for name in ("replace", "unlink"):
                patched.setattr(Path, name, _method(functools.partial(cut, getattr(Path, name), left)))
            try:
                extended(folder, copy)
                survived = True
            except PowerCut:
                survived = False
        with CopyFolder(folder) as again:
            assert again.size in (had, 300)
            again.extend(copy)
        outcome = audit(load_copy(folder), root)
        assert outcome.passed, reasons(outcome)
        assert tiles_in(folder) == wanted
        if survived:
            assert moment > 5, "it was cut at many places"
            return
    raise AssertionError("it never came to its end")


def _method(function: Any) -> Any:
    def method(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    return method


CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}


def extended_until_killed(folder: Path, copy: LogCopy, step: int) -> bool:
    """Bring the copy up to date in a process that is killed before its change number `step` of any file or folder.
    Returns whether it had come to its end before."""
    child = os.fork()
    if not child:
        left = step

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if event in CHANGES or writes:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            extended(folder, copy)
        finally:
            os._exit(0 if load_copy(folder).head.size == copy.head.size else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return status == 0


@pytest.mark.parametrize("had", [0, 200])
def test_whatever_step_it_is_killed_at_the_copy_verifies_as_the_older_or_the_newer_one(
    tmp_path: Path, had: int
) -> None:
    """Nothing is run again for that. Directory and policy change with the leaves, so that a mixture would show."""
    world = World()
    root = fingerprint(world.root.public.text)
    base = tmp_path / "base"
    base.mkdir()
    if had:
        extended(base, copy_of(files_of(world, ALL[:had])))
    policy = f"{world.directory_statement.policy}# another\n"
    world.directory_statement = world.directory_statement.model_copy(update={"version": 2, "policy": policy})
    world.directory_envelope = world.directory(2, policy=policy)
    files = files_of(world, ALL[:300])
    copy = copy_of(files)
    sizes: list[int] = []
    for step in range(500):
        folder = tmp_path / str(step)
        shutil.copytree(base, folder)
        survived = extended_until_killed(folder, copy, step)
        try:
            outcome = audit(load_copy(folder), root)
            assert outcome.passed, (step, reasons(outcome))
            sizes.append(outcome.size)
        except CopyInvalid:
            assert not had, step
            sizes.append(0)
        with CopyFolder(folder) as again:
            assert again.size == sizes[-1], "and what goes on from there sees the same"
            again.extend(copy)
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        assert found.pop("lock").read_bytes() == b""
        assert {name: path.read_bytes() for name, path in found.items()} == files, "whole, and nothing else"
        if survived:
            break
    assert sizes == sorted(sizes), "there is one step by which it becomes the newer one"
    assert sizes.count(had) > 10 and sizes.count(300) > 10, "it was killed at many steps before it, and after"
    assert set(sizes) == {had, 300}


def test_a_folder_that_holds_something_else_or_is_damaged_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").touch()
    with pytest.raises(CopyInvalid, match="name a new folder"):
        CopyFolder(tmp_path / "else")
    world = World()
    damaged = saved(tmp_path / "damaged", files_of(world, ALL[:300]))
    tile = damaged / "tile" / "0" / "001.p" / "44"
    tile.write_bytes(bytes(44 * 32))
    with pytest.raises(CopyInvalid, match="damaged"):
        CopyFolder(damaged)
    tile.unlink()
    with pytest.raises(CopyInvalid, match="no whole copy"):
        CopyFolder(damaged)


# --- over HTTP --------------------------------------------------------------------------------------------------------


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Any web server does: this one knows nothing of logs."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_copy_is_verified_and_taken_over_from_any_web_server(tmp_path: Path) -> None:
    world = World()
    root = fingerprint(world.root.public.text)
    there = saved(tmp_path / "there", files_of(world, ALL[:600]))
    with served(there) as url, Address(f"{url}/") as address:
        outcome = audit(take(address), root)
        assert outcome.passed, reasons(outcome)
        assert any("hash tiles (4)" in check.text for check in outcome.checks), "the tiles there are checked, too"
        assert extended(tmp_path / "here", take(address)) == 600
        assert tiles_in(tmp_path / "here") == tiles_in(there)
        bundle = there / EntryBundle(1).path
        bundle.write_bytes(bundle.read_bytes().replace(b'"n":300', b'"n":301'))
        assert reasons(audit(take(address), root)) == ["leaf 306 is not the one that was signed"]
        (there / "checkpoint").write_text("nonsense")
        with pytest.raises(CopyInvalid, match="no log"):
            take(address)
        (there / "checkpoint").unlink()
        with pytest.raises(CopyInvalid, match="checkpoint is missing"):
            take(address)


def test_an_address_that_misbehaves_is_no_copy(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(bytes(20_000_000))
    with served(tmp_path) as url:
        with Address(url) as address, pytest.raises(AnswerInvalid, match="longer than any"):
            take(address)
        (tmp_path / "checkpoint").unlink()
        (tmp_path / "checkpoint").mkdir()
        with Address(url) as address, pytest.raises(AnswerInvalid, match="301"):
            take(address)
    with Address(url) as address, pytest.raises(Unreachable):
        take(address)
