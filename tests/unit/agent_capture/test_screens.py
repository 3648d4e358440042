"""What may be seen and heard: masks, dropped pictures, events of the right moment, paired releases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assent.contracts.events import KeyEvent, PointerButton, PointerMoved, Rect
from assent_agent.core.exclusion import Window, policy
from assent_agent.core.screens import (
    MASK_BGRA,
    Access,
    Dropped,
    InputEvent,
    InputGate,
    Picture,
    Pixels,
    Views,
    WindowView,
    activated,
    examine,
    keyboard_access,
    masks,
    pointer_access,
)

RULES = policy(["Editor"])
AREA = Rect(0, 0, 40, 30)
MS = 1_000_000


def editor(id_: int, rect: Rect, **more: object) -> Window:
    return replace(Window(id_, rect, "Editor"), **more)  # type: ignore[arg-type]


def secret(id_: int, rect: Rect, **more: object) -> Window:
    return replace(Window(id_, rect, "KeePassXC", "vault"), **more)  # type: ignore[arg-type]


def view(*windows: Window, t_ms: int = 0, active: int | None = 1, **more: object) -> WindowView:
    return replace(WindowView(t_ms * MS, windows, active), **more)  # type: ignore[arg-type]


def blank(area: Rect = AREA) -> Pixels:
    return np.full((area.height, area.width, 4), 200, dtype=np.uint8)


def painted(picture: Picture) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray((picture.pixels == MASK_BGRA).all(axis=-1))


def kept(*windows: Window, recent: tuple[WindowView, ...] = (), area: Rect = AREA) -> Picture | Dropped:
    now = view(*windows)
    return examine(blank(area), area, RULES, before=now, after=now, recent=recent)


# -- pictures --


def test_what_is_allowed_stays_and_what_is_excluded_is_painted_over() -> None:
    picture = kept(editor(1, Rect(0, 0, 20, 20)), secret(2, Rect(10, 5, 10, 10)))
    assert isinstance(picture, Picture)
    assert picture.masked == (Rect(10, 5, 10, 10),)
    assert painted(picture).sum() == 100
    assert painted(picture)[5:15, 10:20].all()


def test_an_excluded_window_wholly_behind_an_allowed_one_needs_no_mask() -> None:
    picture = kept(secret(2, Rect(10, 5, 10, 10)), editor(1, Rect(5, 0, 20, 20)))
    assert isinstance(picture, Picture) and picture.masked == ()


def test_what_shines_through_is_masked_with_what_lies_above_it() -> None:
    picture = kept(secret(2, Rect(10, 5, 10, 10)), editor(1, Rect(5, 0, 20, 20), opaque=False))
    assert isinstance(picture, Picture) and painted(picture).sum() == 100


def test_a_window_that_was_there_a_moment_ago_is_masked_too() -> None:
    before = view(editor(1, AREA), secret(2, Rect(3, 3, 4, 4)))
    picture = kept(editor(1, AREA), recent=(before,))
    assert isinstance(picture, Picture) and picture.masked == (Rect(3, 3, 4, 4),)


def test_masks_are_told_in_desktop_pixels_and_painted_in_the_displays() -> None:
    area = Rect(100, -50, 40, 30)
    now = view(editor(1, area), secret(2, Rect(90, -45, 15, 10)))
    picture = examine(blank(area), area, RULES, before=now, after=now, recent=())
    assert isinstance(picture, Picture)
    assert picture.masked == (Rect(100, -45, 5, 10),)
    assert painted(picture)[5:15, 0:5].all() and painted(picture).sum() == 50


def test_a_picture_of_nothing_but_excluded_windows_is_dropped() -> None:
    assert kept(secret(2, AREA)) is Dropped.EXCLUDED


@pytest.mark.parametrize(
    "after",
    [
        view(editor(1, Rect(0, 0, 10, 10)), editor(3, Rect(5, 5, 10, 10)), t_ms=5),
        view(editor(3, Rect(5, 5, 10, 10)), t_ms=5),
        view(editor(3, Rect(5, 5, 10, 10)), editor(1, Rect(1, 0, 10, 10)), t_ms=5),
        view(editor(3, Rect(5, 5, 10, 10)), editor(1, Rect(0, 0, 10, 10), title="my bank"), t_ms=5),
        view(editor(3, Rect(5, 5, 10, 10)), editor(1, Rect(0, 0, 10, 10)), t_ms=5, generation=2),
    ],
    ids=["order", "gone", "moved", "became excluded", "there and back"],
)
def test_a_picture_is_dropped_when_anything_changed_during_the_grab(after: WindowView) -> None:
    before = view(editor(3, Rect(5, 5, 10, 10)), editor(1, Rect(0, 0, 10, 10)))
    same = replace(before, t_ns=5 * MS)
    assert isinstance(examine(blank(), AREA, RULES, before=before, after=same, recent=()), Picture)
    assert examine(blank(), AREA, RULES, before=before, after=after, recent=()) is Dropped.CHANGED


def test_a_title_that_only_ticks_drops_no_picture() -> None:
    before, after = view(editor(1, AREA, title="12 %")), view(editor(1, AREA, title="13 %"), t_ms=5)
    assert isinstance(examine(blank(), AREA, RULES, before=before, after=after, recent=()), Picture)


@pytest.mark.parametrize("where", ["before", "after"])
def test_doubt_and_a_lock_drop_the_picture(where: str) -> None:
    good = view(editor(1, AREA))
    for bad, reason in (
        (replace(good, certain=False), Dropped.UNKNOWN),
        (replace(good, locked=True), Dropped.LOCKED),
    ):
        pair = {"before": good, "after": good, where: bad}
        assert examine(blank(), AREA, RULES, before=pair["before"], after=pair["after"], recent=()) is reason


rects = st.builds(Rect, st.integers(-10, 45), st.integers(-10, 35), st.integers(1, 30), st.integers(1, 30))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(rects, st.booleans(), st.booleans()), max_size=6))
def test_every_pixel_that_shows_something_excluded_is_masked_and_no_other(
    stack: list[tuple[Rect, bool, bool]],
) -> None:
    windows = [
        (editor if allowed else secret)(i + 1, rect, opaque=opaque) for i, (rect, allowed, opaque) in enumerate(stack)
    ]
    expected = np.zeros((AREA.height, AREA.width), dtype=bool)
    for y in range(AREA.height):
        for x in range(AREA.width):
            for w in reversed(windows):
                r = w.rect
                if r.x <= x < r.x + r.width and r.y <= y < r.y + r.height:
                    if w.application != "Editor":
                        expected[y, x] = True
                        break
                    if w.opaque:
                        break
    found = masks([view(*windows)], RULES, AREA)
    got = np.zeros_like(expected)
    for r in found:
        assert not got[r.y : r.y + r.height, r.x : r.x + r.width].any(), "masks do not overlap"
        got[r.y : r.y + r.height, r.x : r.x + r.width] = True
    assert (got == expected).all()


# -- input --


def key(t_ms: float, name: str = "a", *, pressed: bool = True, code: int = 30) -> KeyEvent:
    return KeyEvent(t_ns=int(t_ms * MS), seq=0, key=name, pressed=pressed, code=code)


def move(t_ms: float, x: int = 1, y: int = 1) -> PointerMoved:
    return PointerMoved(t_ns=int(t_ms * MS), seq=0, x=x, y=y)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (view(editor(1, AREA)), Access.ALLOWED),
        (view(editor(1, AREA), active=None), Access.EXCLUDED),
        (view(editor(1, AREA), active=-1), Access.EXCLUDED),
        (view(editor(1, AREA), secret(2, AREA), active=2), Access.EXCLUDED),
        (view(editor(1, AREA), certain=False), Access.EXCLUDED),
        (view(editor(1, AREA), locked=True), Access.LOCKED),
        (view(editor(1, AREA), Window(9, Rect(0, 0, 5, 5), popup=True)), Access.EXCLUDED),
        (view(editor(1, AREA), Window(9, Rect(0, 0, 5, 5), popup=True, passive=True)), Access.ALLOWED),
        (view(editor(1, AREA), editor(9, Rect(0, 0, 5, 5), popup=True)), Access.ALLOWED),
    ],
)
def test_keys_are_kept_only_while_an_allowed_window_surely_has_them(seen: WindowView, expected: Access) -> None:
    assert keyboard_access(seen, RULES) is expected


def test_pointer_events_are_kept_only_over_allowed_windows_while_one_is_active() -> None:
    both = view(editor(1, Rect(0, 0, 20, 20)), secret(2, Rect(10, 10, 20, 20)))
    assert pointer_access(both, RULES, 5, 5) is Access.ALLOWED
    assert pointer_access(both, RULES, 15, 15) is Access.EXCLUDED
    assert pointer_access(both, RULES, 39, 1) is Access.ALLOWED, "the bare background belongs to nobody"
    assert pointer_access(replace(both, active=2), RULES, 5, 5) is Access.EXCLUDED
    assert pointer_access(replace(both, active=-1), RULES, 5, 5) is Access.EXCLUDED
    assert pointer_access(replace(both, active=None), RULES, 5, 5) is Access.ALLOWED
    assert pointer_access(replace(both, certain=False), RULES, 5, 5) is Access.EXCLUDED
    assert pointer_access(replace(both, locked=True), RULES, 5, 5) is Access.LOCKED


def history() -> Views:
    """Editor until some moment between 100 and 200 ms, the vault until between 300 and 400, the editor again."""
    views = Views()
    good, bad = view(editor(1, AREA)), view(secret(2, AREA), active=2)
    for t_ms, seen in ((0, good), (100, good), (200, bad), (300, bad), (400, good), (500, good)):
        views.add(replace(seen, t_ns=t_ms * MS))
    return views


@pytest.mark.parametrize(
    ("t_ms", "expected"),
    [
        (10, Access.EXCLUDED),  # less than the margin after the first view
        (50, Access.ALLOWED),
        (79, Access.ALLOWED),
        (81, Access.EXCLUDED),  # from here on the vault may have been active already
        (150, Access.EXCLUDED),
        (250, Access.EXCLUDED),
        (350, Access.EXCLUDED),
        (419, Access.EXCLUDED),
        (421, Access.ALLOWED),
        (480, Access.ALLOWED),
        (481, Access.PENDING),
        (900, Access.PENDING),
    ],
)
def test_an_event_is_judged_by_every_view_that_may_have_held(t_ms: int, expected: Access) -> None:
    assert history().access(key(t_ms), RULES) is expected
    assert history().access(move(t_ms), RULES) is expected


def test_without_any_view_nothing_is_kept() -> None:
    views = Views()
    assert views.latest is None
    assert views.access(key(5), RULES) is Access.EXCLUDED
    views.add(view(editor(1, AREA), t_ms=100))
    assert views.access(key(50), RULES) is Access.EXCLUDED
    views.forget()
    assert views.access(key(500), RULES) is Access.EXCLUDED


def test_old_views_are_let_go_and_time_does_not_run_back() -> None:
    views = Views(keep_ns=1000 * MS)
    for t_ms in range(0, 60_000, 500):
        views.add(view(editor(1, AREA), t_ms=t_ms, generation=t_ms))
    assert views.between(0, 1 * MS) is None
    assert views.access(key(59_000), RULES) is Access.ALLOWED
    with pytest.raises(ValueError, match="older"):
        views.add(view(editor(1, AREA), t_ms=1))


def test_a_view_that_repeats_only_confirms() -> None:
    views = Views()
    assert views.add(view(editor(1, AREA), t_ms=0))
    assert not views.add(view(editor(1, AREA), t_ms=40))
    assert views.add(view(editor(1, AREA, title="other"), t_ms=60))


# -- the gate --


def button(t_ms: float, *, pressed: bool, x: int = 1) -> PointerButton:
    return PointerButton(t_ns=int(t_ms * MS), seq=0, x=x, y=1, button=1, pressed=pressed)


def test_a_release_passes_only_when_its_press_did() -> None:
    gate = InputGate()
    assert gate.step(key(1), Access.EXCLUDED) == ()
    assert gate.step(key(2, pressed=False), Access.ALLOWED) == ()
    assert gate.step(key(3), Access.ALLOWED) == (key(3),)
    assert gate.step(key(4, pressed=False), Access.ALLOWED) == (key(4, pressed=False),)


def test_what_is_down_is_released_before_the_excluded_side_and_nothing_of_that_side_is_told() -> None:
    gate = InputGate()
    gate.step(button(1, pressed=True, x=7), Access.ALLOWED)
    gate.step(move(2, x=9), Access.ALLOWED)
    released = gate.step(move(50, x=33), Access.EXCLUDED)
    assert released == (PointerButton(t_ns=2 * MS, seq=0, x=9, y=1, button=1, pressed=False),)
    assert gate.step(button(60, pressed=False), Access.ALLOWED) == ()
    assert gate.step(move(70), Access.LOCKED) == ()


def test_two_letters_down_at_once_are_both_released_in_shape_mode() -> None:
    gate = InputGate()
    gate.step(key(1, "letter", code=0), Access.ALLOWED)
    gate.step(key(2, "letter", code=0), Access.ALLOWED)
    assert len(gate.step(key(3, "letter", pressed=False, code=0), Access.ALLOWED)) == 1
    assert [e.t_ns for e in gate.release_all(9 * MS)] == [9 * MS]
    assert gate.release_all() == ()


def test_a_key_that_repeats_is_down_once() -> None:
    gate = InputGate()
    for t_ms in (1, 2, 3):
        assert len(gate.step(key(t_ms), Access.ALLOWED)) == 1
    assert len(gate.release_all()) == 1


def test_an_undecided_event_is_refused_by_the_gate() -> None:
    with pytest.raises(ValueError, match="decided"):
        InputGate().step(key(1), Access.PENDING)


@settings(max_examples=80)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=40))
def test_presses_and_releases_stay_paired_and_times_never_go_back(steps: list[tuple[str, bool, bool]]) -> None:
    gate = InputGate()
    told: list[InputEvent] = []
    for i, (name, pressed, allowed) in enumerate(steps):
        event = key(i, name, pressed=pressed, code=ord(name))
        told += gate.step(event, Access.ALLOWED if allowed else Access.EXCLUDED)
    told += gate.release_all(len(steps) * MS)
    assert [e.t_ns for e in told] == sorted(e.t_ns for e in told)
    for name in "abc":
        down = False
        for e in (e for e in told if isinstance(e, KeyEvent) and e.key == name):
            assert e.pressed or down, "no release without its press"
            down = e.pressed
        assert not down, "nothing stays down"


# -- context --


def test_context_says_of_an_excluded_window_only_where_it_is() -> None:
    told = activated(view(secret(2, Rect(3, 4, 5, 6)), active=2), RULES)
    assert (told.rect, told.application, told.title, told.excluded) == (Rect(3, 4, 5, 6), "", "", True)
    told = activated(view(editor(1, AREA, title="notes.txt")), RULES)
    assert (told.application, told.title, told.excluded) == ("Editor", "notes.txt", False)
    for doubt in ({"certain": False}, {"locked": True}, {"active": None}, {"active": 77}):
        told = activated(view(editor(1, AREA, title="notes.txt"), **doubt), RULES)
        assert told.excluded and not told.application and not told.title
