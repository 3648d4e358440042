"""A contact sheet shows every picture, in order, with what was masked still masked."""

from __future__ import annotations

import numpy as np
import pytest

from assent.contracts.events import Rect
from assent.reader.contact_sheet import contact_sheet, hatched


def plain(colour: tuple[int, int, int], height: int = 90, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


RED, GREEN, BLUE = (220, 0, 0), (0, 200, 0), (0, 0, 230)


def places(page: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int]:
    ys, xs = np.nonzero((page == colour).all(axis=-1))
    return int(ys.mean()), int(xs.mean())


def test_pictures_stand_in_order_row_by_row():
    sheet = contact_sheet([("one", plain(RED)), ("two", plain(GREEN)), ("three", plain(BLUE))], columns=2, width=500)
    page = np.asarray(sheet)
    red, green, blue = places(page, RED), places(page, GREEN), places(page, BLUE)
    assert sheet.width == 500
    assert red[0] == green[0] < blue[0]
    assert red[1] == blue[1] < green[1]


def test_pictures_of_all_sizes_fit_and_keep_their_proportions():
    sizes = [(1080, 1920), (1920, 1080), (1, 1), (40, 4000)]
    for height, width in sizes:
        page = np.asarray(contact_sheet([("", plain(RED, height, width))], columns=4, width=800))
        ys, xs = np.nonzero((np.abs(page.astype(int) - RED) < 30).all(axis=-1))
        shown = np.ptp(xs) + 1, np.ptp(ys) + 1
        assert shown[0] <= 180
        assert shown[0] / shown[1] == pytest.approx(width / height, rel=0.6)


def test_pictures_are_taken_one_at_a_time():
    def frames():
        for number in range(50):
            yield f"frame {number}", plain((number, 0, 0))

    assert contact_sheet(frames(), columns=8, width=900).height > 300


def test_captions_of_any_text_and_length_are_drawn():
    for caption in ("", "x" * 500, "zwölf Uhr\n漢字 🙂", "\0"):
        page = np.asarray(contact_sheet([(caption, plain(RED))], columns=3, width=400))
        assert (page[:, 150:] == page[0, -1]).all(axis=-1)[:10].all()


def test_no_pictures_give_a_page_that_says_so():
    page = np.asarray(contact_sheet([]))
    assert page.shape[1] == 1600
    assert len(np.unique(page.reshape(-1, 3), axis=0)) > 1


@pytest.mark.parametrize(("columns", "width"), [(0, 800), (-1, 800), (30, 800)])
def test_too_many_columns_are_refused(columns, width):
    with pytest.raises(ValueError, match="do not fit"):
        contact_sheet([], columns=columns, width=width)


def test_masked_rectangles_are_covered_wholly_and_nothing_else_is():
    picture = plain(RED)
    masked = [Rect(110, 220, 30, 20), Rect(90, 190, 15, 15), Rect(500, 500, 9, 9), Rect(-9, -9, 3, 3)]
    shown = hatched(picture, masked, origin=(100, 200))
    covered = (shown != RED).any(axis=-1)
    expected = np.zeros((90, 160), dtype=bool)
    expected[20:40, 10:40] = True
    expected[0:5, 0:5] = True
    assert np.array_equal(covered, expected)
    assert len(np.unique(shown[20:40, 10:40].reshape(-1, 3), axis=0)) == 2
    assert (picture == RED).all()
