"""A desktop played from a file, behind the ports of a real one."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assent.contracts.events import Display, KeyboardMode, KeyEvent, PointerButton, PointerMoved, Rect
from assent_agent.adapters.replay import Replay, ReplayInput, ReplayInvalid, read_image, replay_capture
from assent_agent.core.exclusion import policy
from assent_agent.core.screens import Access, Views, keyboard_access
from assent_agent.ports import KEYBOARD, POINTER, InputEvent, ScreenUnavailable

MS = 1_000_000
RULES = policy(["XTerm"])
SCREEN = {"id": 0, "rect": {"x": 0, "y": 0, "width": 8, "height": 6}}


def write(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "trace.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def window(t_ms: int, application: str, **more: Any) -> dict[str, Any]:
    rect = {"x": 0, "y": 0, "width": 8, "height": 6}
    return {"t_ns": t_ms * MS, "type": "window", "rect": rect, "application": application, **more}


def typed(t_ms: int, key: str, pressed: bool = True) -> dict[str, Any]:
    return {"t_ns": t_ms * MS, "type": "key", "key": key, "pressed": pressed, "code": 30, "vk": 65}


def play(path: Path, modalities: set[str], mode: KeyboardMode) -> tuple[list[InputEvent], Views, Replay]:
    capture = replay_capture(path, speed=None, lead_in_s=0.05)
    replay = capture.screen
    assert isinstance(replay, Replay)
    events: list[InputEvent] = []
    views = Views()
    capture.windows.start(views.add)
    capture.input.start(events.append, modalities, mode)
    assert replay.wait_finished(10)
    capture.close()
    return events, views, replay


def test_events_come_out_as_they_are_in_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        window(0, "XTerm"),
        {"t_ns": 10 * MS, "type": "move", "x": -5, "y": 6},
        {"t_ns": 11 * MS, "type": "button", "x": 1, "y": 2, "button": 1, "pressed": True},
        {"t_ns": 12 * MS, "type": "button", "x": 1, "y": 2, "button": 1, "pressed": False},
        {"t_ns": 13 * MS, "type": "scroll", "x": 1, "y": 2, "dx": 0, "dy": -3},
        typed(14, "a"),
        typed(15, "a", pressed=False),
    )
    events, _, _ = play(path, {POINTER, KEYBOARD}, KeyboardMode.TEXT)
    assert [e.t_ns // MS for e in events] == [10, 11, 12, 13, 14, 15]
    assert events[0] == PointerMoved(t_ns=10 * MS, seq=0, x=-5, y=6)
    assert events[4] == KeyEvent(t_ns=14 * MS, seq=0, key="a", pressed=True, code=30, vk=65)


def test_only_modalities_that_were_asked_for_come_out(tmp_path: Path) -> None:
    path = write(tmp_path, {"t_ns": 1, "type": "move", "x": 1, "y": 2}, typed(1, "a"), typed(2, "a", pressed=False))
    events, _, _ = play(path, {POINTER}, KeyboardMode.OFF)
    assert [type(e) for e in events] == [PointerMoved]


def test_shape_mode_reduces_keys_to_their_class_but_not_shortcuts(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        *(typed(i, key) for i, key in enumerate("quixotic")),
        *(typed(10 + i, key, pressed=False) for i, key in enumerate("quixotc")),
        typed(20, "Control_L"),
        typed(21, "c"),
        typed(22, "Control_L", pressed=False),
        typed(23, "c", pressed=False),
    )
    shape, _, _ = play(path, {KEYBOARD}, KeyboardMode.SHAPE)
    text, _, _ = play(path, {KEYBOARD}, KeyboardMode.TEXT)
    assert "quixotic" in "".join(e.key for e in text if isinstance(e, KeyEvent)), "the search finds it in text mode"
    before = [e for e in shape if e.t_ns < 20 * MS and isinstance(e, KeyEvent)]
    assert {e.key for e in before} == {"letter"} and {e.code for e in before} == {0}
    after = [(e.key, e.pressed, e.code) for e in shape if e.t_ns >= 20 * MS and isinstance(e, KeyEvent)]
    assert after == [("modifier", True, 0), ("c", True, 30), ("modifier", False, 0), ("c", False, 30)]


def test_what_is_down_is_released_at_the_stop(tmp_path: Path) -> None:
    path = write(
        tmp_path, typed(1, "a"), {"t_ns": 2 * MS, "type": "button", "x": 3, "y": 4, "button": 1, "pressed": True}
    )
    events, _, _ = play(path, {POINTER, KEYBOARD}, KeyboardMode.TEXT)
    released = [e for e in events if not getattr(e, "pressed", True)]
    assert {type(e) for e in released} == {KeyEvent, PointerButton}
    assert all(e.t_ns >= 2 * MS for e in released)


def test_windows_are_judged_by_the_same_rules_as_real_ones(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        window(0, "XTerm"),
        typed(200, "a"),
        window(400, "KeePassXC"),
        typed(600, "b"),
        window(800, "XTerm", excluded=True),
        typed(1000, "c"),
        {"t_ns": 1200 * MS, "type": "windows", "windows": [
            {"rect": {"x": 0, "y": 0, "width": 4, "height": 4}, "application": "XTerm", "active": True}]},
        typed(1400, "d"),
    )  # fmt: skip
    events, views, _ = play(path, {KEYBOARD}, KeyboardMode.TEXT)
    judged = {e.key: views.access(e, RULES) for e in events if isinstance(e, KeyEvent) and e.pressed}
    assert judged == {"a": Access.ALLOWED, "b": Access.EXCLUDED, "c": Access.EXCLUDED, "d": Access.ALLOWED}


def test_a_file_without_windows_is_never_certain(tmp_path: Path) -> None:
    _, views, _ = play(write(tmp_path, typed(1, "a")), {KEYBOARD}, KeyboardMode.TEXT)
    assert views.latest is not None
    assert keyboard_access(views.latest, RULES) is Access.EXCLUDED


def ppm(path: Path, bgra: np.ndarray[Any, Any]) -> None:
    height, width = bgra.shape[:2]
    path.write_bytes(f"P6\n{width} {height}\n255\n".encode() + bgra[..., 2::-1].tobytes())


def test_pictures_are_read_from_npy_ppm_and_png(tmp_path: Path) -> None:
    from PySide6.QtGui import QImage

    pixels = np.random.default_rng(7).integers(0, 256, (6, 7, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[0, 0, :3] = 10  # a first byte that a careless parser takes for white space
    np.save(tmp_path / "a.npy", pixels)
    np.save(tmp_path / "b.npy", pixels[..., :3])
    ppm(tmp_path / "c.ppm", pixels)
    QImage(pixels.tobytes(), 7, 6, 28, QImage.Format.Format_RGB32).save(str(tmp_path / "d.png"))
    for name in ("a.npy", "b.npy", "c.ppm", "d.png"):
        assert (read_image(tmp_path / name) == pixels).all(), name


def test_a_grab_gives_the_latest_picture_of_the_display(tmp_path: Path) -> None:
    first, second = (np.full((6, 8, 4), value, dtype=np.uint8) for value in (10, 20))
    np.save(tmp_path / "1.npy", first)
    np.save(tmp_path / "2.npy", second)
    path = write(
        tmp_path,
        {"t_ns": 0, "type": "displays", "displays": [SCREEN]},
        window(0, "XTerm"),
        {"t_ns": 1 * MS, "type": "frame", "image": "1.npy", "cursor_x": 3, "cursor_y": 4},
        {"t_ns": 300 * MS, "type": "frame", "image": "2.npy"},
        {"t_ns": 400 * MS, "type": "move", "x": 1, "y": 1},
    )
    capture = replay_capture(path, speed=1.0, lead_in_s=0.0)
    (monitor,) = capture.windows.view().monitors
    display = Display(monitor.id, monitor.rect)
    with pytest.raises(ScreenUnavailable):
        capture.screen.grab(display)
    capture.windows.start(lambda view: None)
    seen = []
    replay = capture.screen
    assert isinstance(replay, Replay)
    while not replay.wait_finished(0.005):
        try:
            frame = capture.screen.grab(display)
        except ScreenUnavailable:
            continue
        seen.append((int(frame.pixels[0, 0, 0]), frame.t_ns))
    assert sorted({value for value, _ in seen}) == [10, 20]
    assert all(t_ns >= 300 * MS for value, t_ns in seen if value == 20)
    with pytest.raises(ScreenUnavailable, match="size"):
        capture.screen.grab(Display(0, Rect(0, 0, 9, 9)))
    capture.close()
    with pytest.raises(ScreenUnavailable, match="closed"):
        capture.screen.grab(display)


def test_at_original_speed_events_come_when_they_came(tmp_path: Path) -> None:
    path = write(tmp_path, *({"t_ns": i * 50 * MS, "type": "move", "x": i, "y": 0} for i in range(5)))
    replay = Replay(path, speed=1.0, lead_in_s=0.0)
    arrived: list[float] = []
    ReplayInput(replay).start(lambda event: arrived.append(time.monotonic()), {POINTER}, KeyboardMode.OFF)
    assert replay.wait_finished(10)
    assert len(arrived) == 5
    assert arrived[-1] - arrived[0] >= 0.19
    assert replay.monotonic_ns() >= 200 * MS
    replay.close()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("not json", "line 2: no JSON object"),
        ("[1, 2]", "line 2"),
        ('{"t_ns": 5, "type": "teleport", "x": 1}', "line 2"),
        ('{"t_ns": 5, "type": "move", "x": 1}', "line 2"),
        ('{"t_ns": 5, "type": "move", "x": "1", "y": 2}', "line 2"),
        ('{"t_ns": 1.5, "type": "move", "x": 1, "y": 2}', "line 2"),
        ('{"t_ns": -9, "type": "move", "x": 1, "y": 2}', "line 2: its time lies before"),
        ('{"t_ns": 5, "type": "frame", "image": "../../etc/passwd"}', "plain file name"),
        ('{"t_ns": 5, "type": "frame", "image": "/etc/a.png"}', "plain file name"),
        ('{"t_ns": 5, "type": "frame", "image": "a.exe"}', ".npy"),
        ('{"t_ns": 5, "type": "frame", "image": "missing.png"}', "not there"),
    ],
)
def test_a_damaged_file_is_refused_with_the_line_and_the_reason(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"t_ns": 0, "type": "move", "x": 0, "y": 0}\n' + line + "\n")
    with pytest.raises(ReplayInvalid, match="line 2") as refused:
        replay_capture(path)
    assert says in str(refused.value)
    assert "passwd" not in str(refused.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(ReplayInvalid, match="nothing"):
        replay_capture(tmp_path / "empty.jsonl")


@pytest.mark.parametrize("name", ["x.npy", "x.ppm", "x.png"])
def test_a_damaged_picture_is_a_named_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"P6\n9 9\n255\nshort")
    with pytest.raises(ScreenUnavailable, match="cannot be read"):
        read_image(tmp_path / name)


def test_a_picture_never_runs_code(tmp_path: Path) -> None:
    np.save(tmp_path / "object.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ScreenUnavailable):
        read_image(tmp_path / "object.npy")


def test_the_example_in_the_documentation_plays(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "formats" / "replay.md").read_text(encoding="utf-8")
    example = text.split("```json\n")[1].split("```")[0]
    (tmp_path / "example.jsonl").write_text(example, encoding="utf-8")
    np.save(tmp_path / "0001.npy", np.zeros((480, 640, 3), dtype=np.uint8))
    ppm(tmp_path / "0001.ppm", np.zeros((480, 640, 4), dtype=np.uint8))
    events, views, _ = play(tmp_path / "example.jsonl", {POINTER, KEYBOARD}, KeyboardMode.TEXT)
    assert len(events) == example.count("\n") - 3
    assert views.latest is not None and views.latest.windows[0].application == "XTerm"
