"""Room that is kept on a real small disk: whole while there is room, given up bit by bit, made again."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.small_disk import SmallDisk, small_disk

from assent_service.database import is_full
from assent_service.reserve import MARGIN_BYTES, MIB, NoRoom, Reserve

SIZE = 12 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 48 * MIB) as made:
        yield made


@pytest.fixture
def path(disk: SmallDisk) -> Path:
    return disk.folder / "some.db-reserve"


@pytest.fixture
def reserve(path: Path) -> Reserve:
    made = Reserve(path, SIZE)
    made.prepare()
    assert made.kept_bytes == SIZE and not made.is_short
    return made


def free(disk: SmallDisk) -> int:
    state = os.statvfs(disk.folder)
    return state.f_bavail * state.f_frsize


def test_it_takes_up_what_it_promises_and_is_its_owners_alone(disk: SmallDisk, path: Path) -> None:
    before = free(disk)
    Reserve(path, SIZE).check()
    assert before - free(disk) >= SIZE == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(set(path.read_bytes()[::4096])) > 100, "nothing that a file system could keep in less room"


def test_on_a_full_disk_it_stays_whole_until_something_urgent_comes(disk: SmallDisk, reserve: Reserve) -> None:
    disk.leave(0)
    for _ in range(3):
        with pytest.raises(NoRoom) as refused:
            reserve.check()
        assert is_full(refused.value) and refused.value.errno == errno.ENOSPC
    assert reserve.kept_bytes == SIZE and free(disk) == 0
    reserve.make_room()
    assert free(disk) == MARGIN_BYTES and reserve.kept_bytes == SIZE - MARGIN_BYTES
    (disk.folder / "urgent").write_bytes(bytes(MARGIN_BYTES))


def test_nothing_is_given_up_while_there_is_room_nor_more_than_is_needed(disk: SmallDisk, reserve: Reserve) -> None:
    reserve.make_room()
    assert reserve.kept_bytes == SIZE
    disk.leave(MARGIN_BYTES - MIB)
    for _ in range(3):
        reserve.make_room()
        assert reserve.kept_bytes == SIZE - MIB
    with pytest.raises(NoRoom):
        reserve.check()


def test_what_somebody_else_takes_is_given_up_anew_until_nothing_is_left(disk: SmallDisk, reserve: Reserve) -> None:
    disk.leave(0)
    reserve.make_room()
    (disk.folder / "greedy").write_bytes(bytes(free(disk)))
    reserve.make_room()
    assert (free(disk), reserve.kept_bytes) == (SIZE - MARGIN_BYTES, 0)
    reserve.make_room()
    reserve.give_up()
    assert reserve.is_short


def test_it_is_made_again_when_there_is_room_for_it_and_for_what_comes(disk: SmallDisk, reserve: Reserve) -> None:
    disk.leave(0)
    reserve.give_up()
    disk.leave(SIZE + 2 * MARGIN_BYTES - MIB)
    with pytest.raises(NoRoom):
        reserve.check()
    assert reserve.kept_bytes == 0, "else the next thing that is taken would be the last"
    disk.leave(SIZE + 2 * MARGIN_BYTES)
    reserve.check()
    assert reserve.kept_bytes == SIZE and not reserve.is_short


@pytest.mark.parametrize("length", [0, 1, 4097, SIZE - 1])
def test_what_a_process_that_was_killed_left_is_completed(disk: SmallDisk, path: Path, length: int) -> None:
    path.write_bytes(bytes(length))
    Reserve(path, SIZE).prepare()
    assert path.stat().st_size == SIZE
    Reserve(path, SIZE).check()


def test_a_service_that_starts_on_a_full_disk_finds_room(disk: SmallDisk, reserve: Reserve, path: Path) -> None:
    disk.leave(0)
    Reserve(path, SIZE).prepare()
    assert free(disk) == MARGIN_BYTES


def test_what_the_system_does_not_give_is_no_reserve(disk: SmallDisk, path: Path) -> None:
    """A quota: more is said to be free than may be used."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, hard))
    try:
        with pytest.raises(NoRoom):
            Reserve(path, SIZE).check()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.stat().st_size == 0
    Reserve(path, SIZE).check()
