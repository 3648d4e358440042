"""One key, told in full or by its class."""

from __future__ import annotations

import string

import pytest

from assent.contracts.events import KeyboardMode, KeyClass
from assent_agent.core.keys import (
    CONTROL,
    LOCK,
    SHIFT,
    KeySymbol,
    ModifierMasks,
    is_shortcut,
    key_class,
    key_event,
    keysym_char,
    shaped,
    symbol_index,
    virtual_key,
)

MASKS = ModifierMasks()
Q_GERMAN = (ord("q"), ord("Q"), ord("q"), ord("Q"), ord("@"), 0x07D9)
Q_RUSSIAN_SECOND = (ord("q"), ord("Q"), 0x06CA, 0x06EA)
KEYPAD_4 = (0xFF96, 0xFFB4, 0xFF96, 0xFFB4)


@pytest.mark.parametrize(
    ("keysyms", "state", "index"),
    [
        (Q_GERMAN, 0, 0),
        (Q_GERMAN, SHIFT, 1),
        (Q_GERMAN, LOCK, 1),
        (Q_GERMAN, LOCK | SHIFT, 0),
        (Q_GERMAN, MASKS.level3, 4),
        (Q_GERMAN, MASKS.level3 | SHIFT, 5),
        (Q_RUSSIAN_SECOND, 1 << 13, 2),
        (Q_RUSSIAN_SECOND, 1 << 13 | SHIFT, 3),
        (KEYPAD_4, 0, 0),
        (KEYPAD_4, MASKS.num_lock, 1),
        (KEYPAD_4, MASKS.num_lock | SHIFT, 0),
        ((ord("1"), ord("!")), LOCK, 0),
        ((0xFF0D,), SHIFT, 0),
        ((0xFF0D,), MASKS.level3, 0),
        ((), SHIFT, 0),
    ],
)
def test_the_symbol_follows_the_modifiers(keysyms: tuple[int, ...], state: int, index: int) -> None:
    assert symbol_index(keysyms, state, MASKS) == index


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (0, False),
        (SHIFT, False),
        (LOCK, False),
        (CONTROL, True),
        (CONTROL | SHIFT, True),
        (MASKS.alt, True),
        (MASKS.super, True),
        (MASKS.num_lock, False),
        (MASKS.level3, False),
        (MASKS.level3 | SHIFT, False),
    ],
)
def test_only_control_alt_and_super_make_a_shortcut(state: int, expected: bool) -> None:
    assert is_shortcut(state, MASKS) is expected


def test_a_modifier_bit_that_also_types_characters_makes_no_shortcut() -> None:
    masks = ModifierMasks(alt=8, level3=8)
    assert not is_shortcut(8, masks)


@pytest.mark.parametrize("char", string.printable[:95] + "äß€жΩ漢٣")
def test_shape_mode_tells_no_character(char: str) -> None:
    symbol = KeySymbol(ord(char) if ord(char) < 0x100 else 0x0100_0000 | ord(char), char, char)
    told = key_event(KeyboardMode.SHAPE, symbol, 0x61, pressed=True, shortcut=False, code=30, t_ns=5)
    assert told.key in {c.value for c in KeyClass} and told.code == told.vk == 0
    assert told.key != char
    expected = {"L": "letter", "N": "digit"}.get("L" if char.isalpha() else "N" if char.isdigit() else "")
    assert expected in (None, told.key)


@pytest.mark.parametrize(
    ("keysym", "expected"),
    [
        (0xFF0D, KeyClass.ENTER),
        (0xFF8D, KeyClass.ENTER),
        (0xFF09, KeyClass.TAB),
        (0xFF08, KeyClass.DELETE),
        (0xFFFF, KeyClass.DELETE),
        (0xFF51, KeyClass.NAVIGATION),
        (0xFF57, KeyClass.NAVIGATION),
        (0xFFBE, KeyClass.FUNCTION),
        (0xFF1B, KeyClass.FUNCTION),
        (0xFFE1, KeyClass.MODIFIER),
        (0xFE03, KeyClass.MODIFIER),
        (0xFFB4, KeyClass.DIGIT),
        (0xFFAB, KeyClass.PUNCTUATION),
        (0xFE51, KeyClass.PUNCTUATION),
        (0x1008FF13, KeyClass.OTHER),
        (0, KeyClass.OTHER),
    ],
)
def test_keys_without_a_character_have_a_class(keysym: int, expected: KeyClass) -> None:
    assert key_class(KeySymbol(keysym, "")) is expected


def test_shortcuts_are_told_in_full_in_shape_mode() -> None:
    symbol = KeySymbol(ord("c"), "c", "c")
    told = key_event(KeyboardMode.SHAPE, symbol, ord("c"), pressed=True, shortcut=True, code=46, t_ns=5)
    assert (told.key, told.code, told.vk) == ("c", 46, 0x43)


def test_there_is_no_key_event_while_the_keyboard_is_off() -> None:
    with pytest.raises(ValueError, match="not recorded"):
        key_event(KeyboardMode.OFF, KeySymbol(97, "a", "a"), 97, pressed=True, shortcut=True, code=30, t_ns=0)


@pytest.mark.parametrize(
    ("base", "code", "vk"),
    [
        (ord("a"), 30, 0x41),
        (ord("z"), 21, 0x5A),  # a German z stands where an American y does
        (ord("3"), 4, 0x33),
        (0xFFBE, 59, 0x70),
        (0xFFC9, 88, 0x7B),
        (0xFFB7, 71, 0x67),
        (0xFF0D, 28, 0x0D),
        (0x06CA, 16, 0x51),  # a Cyrillic layout: by place
        (0xFF9C, 79, 0x61),
        (0x1008FF13, 115, 0),
    ],
)
def test_virtual_key_codes_are_those_of_windows(base: int, code: int, vk: int) -> None:
    assert virtual_key(base, code) == vk


@pytest.mark.parametrize(
    ("keysym", "char"), [(0x61, "a"), (0xE4, "ä"), (0x010020AC, "€"), (0xFF0D, ""), (0x06CA, ""), (0, "")]
)
def test_keysyms_that_carry_their_character_say_it(keysym: int, char: str) -> None:
    assert keysym_char(keysym) == char


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", "letter"), ("7", "digit"), ("space", "space"), (";", "punctuation"), ("Return", "enter"), ("F5", "function"),
     ("Left", "navigation"), ("Shift_L", "modifier"), ("BackSpace", "delete"), ("letter", "letter"),
     ("XF86Mail", "other"), ("password", "other")],
)  # fmt: skip
def test_keys_told_by_name_are_reduced_to_their_class(name: str, expected: str) -> None:
    from assent.contracts.events import KeyEvent

    told = shaped(KeyEvent(t_ns=1, seq=0, key=name, pressed=True, code=30, vk=65))
    assert (told.key, told.code, told.vk) == (expected, 0, 0)
