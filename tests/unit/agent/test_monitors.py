"""Monitors that the person took away: by what they are known, and every doubt keeps all of them out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent_capture.test_screens import blank, painted

from assent.contracts.events import Display, Rect
from assent_agent.core.exclusion import Policy, Window, policy
from assent_agent.core.monitors import Chosen, Known, Monitor, MonitorsInvalid, layout_of, never, only, refused, words
from assent_agent.core.screens import (
    Access,
    Dropped,
    Picture,
    WindowView,
    activated,
    examine,
    keyboard_access,
    pointer_access,
)

LAPTOP = Monitor("eDP-1", Rect(0, 0, 40, 30), edid="a" * 64)
OWN = Monitor("HDMI-1", Rect(40, 0, 40, 30), id=1)
BEAMER = Monitor("DP-2", Rect(80, 0, 40, 30), id=2)
BOTH = (LAPTOP, OWN)
NOT_OWN = never(["hdmi-1"], BOTH, None)
ONLY_LAPTOP = only(["eDP-1"], BOTH)


def rules(chosen: Chosen | None) -> Policy:
    return policy(["Editor"], monitors=chosen)


def editor(x: int, width: int = 10) -> Window:
    return Window(1, Rect(x, 5, width, 10), "Editor", "my letter")


def view(*windows: Window, monitors: tuple[Monitor, ...] = BOTH, settled: bool = True) -> WindowView:
    return WindowView(0, windows, windows[0].id if windows else None, monitors=monitors, settled=settled)


# -- which monitors are which --


@pytest.mark.parametrize("chosen", [NOT_OWN, ONLY_LAPTOP], ids=["never", "only"])
def test_the_others_are_kept_out_not_listed_and_those_left_count_from_0(chosen: Chosen) -> None:
    swapped = (replace(OWN, rect=Rect(0, 0, 40, 30), id=0), replace(LAPTOP, rect=Rect(40, 0, 40, 30), id=1))
    found = layout_of(swapped, settled=True, chosen=chosen)
    assert found is not None
    assert found.displays == (Display(0, Rect(40, 0, 40, 30)),), "where it stands does not matter"
    assert found.kept_out == (Rect(0, 0, 40, 30),)
    everything = layout_of(swapped, settled=False, chosen=None)
    assert everything is not None and [d.id for d in everything.displays] == [0, 1] and not everything.kept_out


@pytest.mark.parametrize(
    ("monitors", "settled", "asks"),
    [
        (BOTH, False, False),
        ((), True, False),
        ((replace(LAPTOP, name=""), OWN), True, True),
        ((LAPTOP, OWN, replace(OWN, rect=BEAMER.rect)), True, True),
        ((*BOTH, BEAMER), True, True),
        ((replace(LAPTOP, edid=""), OWN), True, True),
        ((replace(LAPTOP, edid="b" * 64), OWN), True, True),
        ((replace(LAPTOP, rect=Rect(0, 0, 41, 30)), OWN), True, True),
    ],
    ids=["changing", "gone", "no name", "the same twice", "a new one", "says nothing", "another one", "another size"],
)
def test_every_doubt_keeps_all_of_them_out_and_says_so(
    monitors: tuple[Monitor, ...], settled: bool, asks: bool
) -> None:
    assert layout_of(monitors, settled=settled, chosen=NOT_OWN) is None
    told = refused(monitors, settled=settled, chosen=NOT_OWN)
    assert told is not None and "Nothing is recorded" in told.sentence and told.asks_the_person is asks
    assert layout_of(monitors, settled=settled, chosen=None) is not None, "who took nothing away is not asked"
    assert refused(monitors, settled=settled, chosen=None) is None


def test_with_only_one_named_a_new_monitor_is_no_doubt_and_not_recorded() -> None:
    found = layout_of((*BOTH, BEAMER), settled=True, chosen=ONLY_LAPTOP)
    assert found is not None and len(found.displays) == 1 and found.kept_out == (OWN.rect, BEAMER.rect)
    told = refused((OWN,), settled=True, chosen=ONLY_LAPTOP)
    assert told is not None and "every monitor" in told.sentence


def test_a_monitor_shown_twice_is_kept_out_where_the_other_one_is() -> None:
    mirrored = (LAPTOP, replace(OWN, rect=LAPTOP.rect))
    found = layout_of(mirrored, settled=True, chosen=NOT_OWN)
    assert found is not None and not found.shows(Rect(5, 5, 1, 1))


def test_names_are_those_of_this_desktop_and_a_slip_of_the_pen_is_refused() -> None:
    with pytest.raises(MonitorsInvalid, match=r"'HDMl-1'.*eDP-1 \(40 × 30\), HDMI-1 \(40 × 30\)"):
        never(["HDMl-1"], BOTH, None)
    with pytest.raises(MonitorsInvalid, match="none"):
        only(["eDP-1"], ())
    with pytest.raises(MonitorsInvalid):
        only(["HDMI-1"], (LAPTOP,))


def test_taking_more_away_keeps_what_was_said_before() -> None:
    at_work = never(["DP-2"], (LAPTOP, BEAMER), NOT_OWN)
    assert at_work == Chosen(frozenset({LAPTOP.known}), frozenset({"HDMI-1", "DP-2"}))
    assert never(["HDMI-1"], (LAPTOP,), NOT_OWN) == NOT_OWN, "also while it is not plugged in"
    two = only(["eDP-1", "DP-2"], (LAPTOP, OWN, BEAMER))
    assert never(["DP-2"], (LAPTOP, OWN), two) == ONLY_LAPTOP
    joined = never(["HDMI-1"], (LAPTOP, OWN, BEAMER), NOT_OWN)
    assert joined.recorded == {LAPTOP.known, BEAMER.known}, "who says it again means those that are there now"


def test_it_is_told_in_words() -> None:
    assert words(ONLY_LAPTOP) == "only on the monitors eDP-1 (40 × 30)"
    assert words(NOT_OWN) == "on the monitors eDP-1 (40 × 30); never on HDMI-1"
    assert "none" in words(Chosen(frozenset()))


# -- what may be seen and heard --


@pytest.mark.parametrize(("x", "allowed"), [(5, True), (30, True), (31, False), (45, False), (70, False)], ids=str)
def test_a_window_counts_only_when_no_part_of_it_lies_on_a_monitor_that_was_taken_away(x: int, allowed: bool) -> None:
    seen = view(editor(x))
    assert (keyboard_access(seen, rules(NOT_OWN)) is Access.ALLOWED) is allowed
    told = activated(seen, rules(NOT_OWN))
    assert (told.title == "my letter") is allowed and told.excluded is not allowed
    if not allowed:
        assert told.rect == Rect(0, 0, 0, 0), "not even where it is"
    picture = examine(blank(), LAPTOP.rect, rules(NOT_OWN), before=seen, after=seen, recent=())
    assert isinstance(picture, Picture)
    shown = max(0, min(40, x + 10) - x) * 10
    assert painted(picture).sum() == (0 if allowed else shown)
    assert keyboard_access(seen, rules(None)) is Access.ALLOWED, "without narrowing it counts"


@pytest.mark.parametrize(("x", "allowed"), [(0, True), (39, True), (40, False), (79, False), (200, False), (-1, False)])
def test_the_pointer_is_not_told_beyond_the_monitors_that_are_left(x: int, allowed: bool) -> None:
    seen = view(editor(5))
    assert (pointer_access(seen, rules(NOT_OWN), x, 20) is Access.ALLOWED) is allowed
    assert pointer_access(seen, rules(None), x, 20) is Access.ALLOWED
    away = view(editor(45))
    assert pointer_access(away, rules(NOT_OWN), 5, 20) is Access.EXCLUDED, "nor while working over there"


def test_a_menu_that_is_open_over_there_silences_the_keyboard() -> None:
    menu = Window(2, Rect(50, 0, 5, 5), "Editor", popup=True)
    assert keyboard_access(view(editor(5), menu), rules(NOT_OWN)) is Access.EXCLUDED
    assert keyboard_access(view(editor(5), replace(menu, rect=Rect(20, 0, 5, 5))), rules(NOT_OWN)) is Access.ALLOWED


def test_a_picture_of_a_monitor_that_was_taken_away_is_dropped_and_one_that_reaches_into_it_is_painted() -> None:
    seen = view(editor(5))
    own = examine(blank(), OWN.rect, rules(NOT_OWN), before=seen, after=seen, recent=())
    assert own is Dropped.EXCLUDED
    across = examine(blank(), Rect(20, 0, 40, 30), rules(NOT_OWN), before=seen, after=seen, recent=())
    assert isinstance(across, Picture) and painted(across)[:, 20:].all() and not painted(across)[:, :20].any()


def test_a_picture_is_dropped_while_the_monitors_are_not_known_or_were_not_a_moment_ago() -> None:
    seen, doubt = view(editor(5)), view(editor(5), settled=False)
    for before, after, recent in ((doubt, doubt, ()), (seen, seen, (doubt,)), (seen, doubt, ()), (doubt, seen, ())):
        found = examine(blank(), LAPTOP.rect, rules(NOT_OWN), before=before, after=after, recent=recent)
        assert found is Dropped.UNKNOWN
        kept = examine(blank(), LAPTOP.rect, rules(None), before=before, after=after, recent=recent)
        assert isinstance(kept, Picture)
    moved = view(editor(5), monitors=(LAPTOP, replace(OWN, rect=BEAMER.rect)))
    changed = examine(blank(), LAPTOP.rect, rules(None), before=seen, after=moved, recent=())
    assert changed is Dropped.CHANGED


def test_a_window_that_came_over_a_moment_ago_is_still_painted_where_it_was() -> None:
    picture = examine(
        blank(), LAPTOP.rect, rules(NOT_OWN), before=view(editor(5)), after=view(editor(5)), recent=(view(editor(35)),)
    )
    assert isinstance(picture, Picture) and painted(picture)[5:15, 35:].all() and painted(picture).sum() == 50


def test_in_doubt_nothing_may_be_kept_at_all() -> None:
    doubt = view(editor(5), monitors=(*BOTH, BEAMER))
    assert keyboard_access(doubt, rules(NOT_OWN)) is Access.EXCLUDED
    assert pointer_access(doubt, rules(NOT_OWN), 5, 5) is Access.EXCLUDED
    assert activated(doubt, rules(NOT_OWN)) == activated(view(), rules(NOT_OWN))


coordinates = st.integers(-20, 140)
some_monitors = st.lists(
    st.builds(
        lambda name, x, y, width: Monitor(name, Rect(x, y, width, 30)),
        st.sampled_from(["eDP-1", "HDMI-1", "DP-2", ""]),
        coordinates,
        st.integers(-5, 5),
        st.sampled_from([40, 41]),
    ),
    max_size=4,
).map(tuple)
some_chosen = st.builds(
    Chosen,
    st.frozensets(st.sampled_from([Known("eDP-1", 40, 30), Known("DP-2", 40, 30)])),
    st.none() | st.frozensets(st.sampled_from(["HDMI-1", "DP-2"])),
)


@given(some_monitors, some_chosen, coordinates, st.integers(-5, 40))
def test_no_point_is_told_that_any_monitor_shows_which_was_not_left(
    monitors: tuple[Monitor, ...], chosen: Chosen, x: int, y: int
) -> None:
    seen = WindowView(0, monitors=monitors)
    if pointer_access(seen, rules(chosen), x, y) is not Access.ALLOWED:
        return
    showing = [m for m in monitors if 0 <= x - m.rect.x < m.rect.width and 0 <= y - m.rect.y < m.rect.height]
    assert showing, "a point that no monitor shows"
    for monitor in showing:
        assert monitor.known in chosen.recorded and monitor.name not in (chosen.never or ())


@given(some_monitors, some_chosen, coordinates, st.integers(1, 60))
def test_keys_and_moves_agree_about_a_window(monitors: tuple[Monitor, ...], chosen: Chosen, x: int, width: int) -> None:
    window = editor(x, width)
    seen = WindowView(0, (window,), 1, monitors=monitors)
    if keyboard_access(seen, rules(chosen)) is Access.ALLOWED:
        found = layout_of(monitors, settled=True, chosen=chosen)
        assert found is not None and found.shows(window.rect)
        assert not activated(seen, rules(chosen)).excluded
    else:
        assert activated(seen, rules(chosen)).title == ""
