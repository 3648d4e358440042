"""Codes, lists, times and problems: the small things that all sides must read the same way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assent.contracts import problems, times
from assent.contracts.codes import CodeInvalid, InvitationCode
from assent.contracts.lists import BatchInvalid, list_root, pack_batch, person_leaf, unpack_batch

CODE = InvitationCode.new("http://127.0.0.1:9001", "ab" * 32)


def test_a_code_is_read_back_however_it_was_copied() -> None:
    text = CODE.to_text()
    assert InvitationCode.from_text(text) == CODE
    assert InvitationCode.from_text(f"  {text[:40]}\n{text[40:]} ".upper()) == CODE


def test_every_mistyped_letter_of_a_code_is_noticed() -> None:
    text = CODE.to_text()
    for at in range(len("assent1-"), len(text)):
        for letter in "abcdefghijklmnopqrstuvwxyz234567é":
            if letter != text[at]:
                with pytest.raises(CodeInvalid):
                    InvitationCode.from_text(text[:at] + letter + text[at + 1 :])


@pytest.mark.parametrize("text", ["", "hello", "assent1-", "assent1-11", "assent2-aaaa"])
def test_what_is_no_code_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(CodeInvalid, match="copy the whole line"):
        InvitationCode.from_text(text)


def test_a_code_does_not_show_its_secret() -> None:
    assert CODE.secret_hex not in repr(CODE)
    assert str(CODE.secret) not in repr(CODE)


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=1200)), max_size=20))
def test_a_batch_is_read_back(pairs: list[tuple[bytes, bytes]]) -> None:
    assert unpack_batch(pack_batch(pairs)) == pairs


@given(st.binary(max_size=200))
def test_rubbish_is_a_batch_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        assert pack_batch(unpack_batch(data)) == data
    except BatchInvalid:
        pass


def test_a_batch_of_more_than_the_limit_is_refused() -> None:
    with pytest.raises(BatchInvalid, match="1000"):
        unpack_batch(pack_batch([(b"", b"")] * 1001))


def test_list_roots_hide_order_and_need_the_salt() -> None:
    assert list_root(b"salt", ["b", "a"]) == list_root(b"salt", ["a", "b"])
    assert list_root(b"salt", ["a"]) != list_root(b"other", ["a"])
    assert list_root(b"salt", ["a", "b"]) != list_root(b"salt", ["a"])
    assert person_leaf(b"1", "00" * 32) != person_leaf(b"2", "00" * 32)


def test_moments_are_whole_seconds_in_utc() -> None:
    at = datetime(2026, 11, 23, 23, 30, 1, 999, tzinfo=timezone(timedelta(hours=-2)))
    assert times.moment(at) == "2026-11-24T01:30:01Z"
    assert times.day_of(at) == "2026-11-24"
    assert times.hour_of(at) == "2026-11-24T01"
    assert times.parse_moment(times.moment(at)) == datetime(2026, 11, 24, 1, 30, 1, tzinfo=UTC)
    assert times.add_days("2026-02-28", 1) == "2026-03-01"


def test_a_time_without_zone_or_a_day_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        times.moment(datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="day is out of range"):
        times.parse_day("2026-02-30")


@pytest.mark.parametrize(
    "text", ["2026-1-2", "2026-01-02 ", "20260102", "2026-W01-5", "2026-01-02T09", "2026-01-02T9:00:00Z", "٢٠٢٦-٠١-٠٢",
             "2026-01-02T09:00:00", "2026-01-02T09:00:00+00:00", "2026-01-02T24:00:00Z", "2026-01-02T23:59:60Z",
             "20260102T090000.000Z", "2026-01-02T09:00:00Z\n"],
)  # fmt: skip
def test_a_time_has_one_way_to_be_written(text: str) -> None:
    for parse, right in ((times.parse_day, 10), (times.parse_hour, 13), (times.parse_moment, 20)):
        if not ("2026-01-02T09:00:00Z".startswith(text) and len(text) == right):
            with pytest.raises(ValueError):
                parse(text)


def test_every_problem_has_its_own_name_and_is_read_back() -> None:
    wires = [code.wire for code in problems.Code]
    assert len(set(wires)) == len(wires)
    for code in problems.Code:
        problem = problems.Problem(code, "detail", expected=3)
        again = problems.Problem.from_dict(problem.as_dict())
        assert again is not None
        assert (again.code, again.detail, again.members) == (code, "detail", {"expected": 3})
    assert problems.Problem.from_dict({"type": "about:blank"}) is None
