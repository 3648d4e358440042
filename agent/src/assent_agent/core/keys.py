"""What is said of one key: its full name, or, in mode `shape`, no more than its class.

Key symbols are X keysyms (X Window System Protocol, appendix A); layout-independent codes are Linux evdev codes, which
on X11 are the keycode less 8; virtual-key codes are those of Windows (winuser.h).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from assent.contracts.events import KeyboardMode, KeyClass, KeyEvent

SHIFT, LOCK, CONTROL = 1, 2, 4
GROUP_SHIFT, GROUP_MASK = 13, 3


@dataclass(frozen=True, slots=True)
class ModifierMasks:
    """Which bits of an event's state mean what on this keyboard. A bit that is not known is 0 and never matches."""

    alt: int = 8
    super: int = 64
    num_lock: int = 16
    level3: int = 128


@dataclass(frozen=True, slots=True)
class KeySymbol:
    """A key symbol, its keysym name, and the character it types, if any."""

    keysym: int
    name: str
    char: str = ""


def symbol_index(keysyms: Sequence[int], state: int, masks: ModifierMasks) -> int:
    """Which of a key's symbols an event means, by group, level three, Shift, Caps Lock and Num Lock.

    Source: X Window System Protocol, section 5 "Keyboards", with the order in which XKB fills core keymaps: group 1,
    group 2, then the third and fourth levels of group 1 and of group 2. Falls back to the nearest symbol that exists.
    """

    def at(index: int) -> int:
        return keysyms[index] if index < len(keysyms) else 0

    group = 2 if (state >> GROUP_SHIFT) & GROUP_MASK == 1 and at(2) else 0
    if state & masks.level3:
        level3 = 4 + group
        if at(level3):
            return level3 + 1 if state & SHIFT and at(level3 + 1) else level3
    shifted = bool(state & SHIFT)
    first, second = at(group), at(group + 1)
    if 0xFF80 <= second <= 0xFFBD:  # keypad: Num Lock picks the digit, Shift turns that round
        shifted = bool(state & masks.num_lock) != shifted
    elif state & LOCK and first != second and _letter_pair(first, second):
        shifted = not shifted
    return group + 1 if shifted and second else group


def _letter_pair(first: int, second: int) -> bool:
    a, b = keysym_char(first), keysym_char(second)
    return bool(a and b) and a.upper() == b


def keysym_char(keysym: int) -> str:
    """The character of a Latin-1 or Unicode keysym, else nothing (keysyms of older character sets need a table)."""
    if 0x20 <= keysym <= 0x7E or 0xA0 <= keysym <= 0xFF:
        return chr(keysym)
    if 0x0100_0100 <= keysym <= 0x0110_FFFF:
        return chr(keysym & 0xFF_FFFF)
    return ""


def is_shortcut(state: int, masks: ModifierMasks) -> bool:
    """Is Control, Alt or Super down? AltGr, Shift and the locks type characters and are none of them."""
    plain = SHIFT | LOCK | masks.num_lock | masks.level3
    return bool(state & (CONTROL | masks.alt | masks.super) & ~plain)


def key_class(symbol: KeySymbol) -> KeyClass:
    """All that mode `shape` tells of a key. What is not recognised is `other`."""
    keysym = symbol.keysym
    if (found := _CLASSES.get(keysym)) is not None:
        return found
    if 0xFFBE <= keysym <= 0xFFE0:
        return KeyClass.FUNCTION
    if 0xFFE1 <= keysym <= 0xFFEE or 0xFE01 <= keysym <= 0xFE13:
        return KeyClass.MODIFIER
    if 0xFFB0 <= keysym <= 0xFFB9:
        return KeyClass.DIGIT
    if 0xFFAA <= keysym <= 0xFFAF or keysym == 0xFFBD or 0xFE50 <= keysym <= 0xFE93:  # keypad signs, dead accents
        return KeyClass.PUNCTUATION
    if len(symbol.char) != 1:
        return KeyClass.OTHER
    match unicodedata.category(symbol.char)[0]:
        case "L":
            return KeyClass.LETTER
        case "N":
            return KeyClass.DIGIT
        case "Z":
            return KeyClass.SPACE
        case "P" | "S":
            return KeyClass.PUNCTUATION
        case _:
            return KeyClass.OTHER


_CLASSES = {
    0xFF08: KeyClass.DELETE,  # BackSpace
    0xFFFF: KeyClass.DELETE,
    0xFF9F: KeyClass.DELETE,  # KP_Delete
    0xFF09: KeyClass.TAB,
    0xFE20: KeyClass.TAB,  # ISO_Left_Tab
    0xFF89: KeyClass.TAB,
    0xFF0D: KeyClass.ENTER,
    0xFF8D: KeyClass.ENTER,  # KP_Enter
    0xFF80: KeyClass.SPACE,  # KP_Space
    0xFF7E: KeyClass.MODIFIER,  # Mode_switch
    0xFF7F: KeyClass.MODIFIER,  # Num_Lock
    0xFF1B: KeyClass.FUNCTION,  # Escape
    0xFF63: KeyClass.FUNCTION,  # Insert
    0xFF9E: KeyClass.FUNCTION,  # KP_Insert
    0xFF67: KeyClass.FUNCTION,  # Menu
    **dict.fromkeys(range(0xFF50, 0xFF59), KeyClass.NAVIGATION),  # Home, arrows, Page_Up, Page_Down, End, Begin
    **dict.fromkeys(range(0xFF95, 0xFF9E), KeyClass.NAVIGATION),  # the same on the keypad
}


def key_event(
    mode: KeyboardMode,
    symbol: KeySymbol,
    base: int,
    *,
    pressed: bool,
    shortcut: bool,
    code: int,
    t_ns: int,
) -> KeyEvent:
    """One key, told as the mode allows. `base`: the key's first symbol, which names its virtual-key code.

    Raises ValueError in mode `off`: then no key event may exist.
    """
    if mode is KeyboardMode.OFF:
        raise ValueError("the keyboard is not recorded")
    if mode is KeyboardMode.SHAPE and not shortcut:
        return KeyEvent(t_ns=t_ns, seq=0, key=key_class(symbol).value, pressed=pressed)
    name = symbol.char if symbol.char and symbol.char.isprintable() and symbol.char != " " else symbol.name
    return KeyEvent(
        t_ns=t_ns, seq=0, key=name or f"0x{symbol.keysym:x}", pressed=pressed, code=code, vk=virtual_key(base, code)
    )


def virtual_key(base: int, code: int) -> int:
    """The Windows virtual-key code: by symbol where the layout decides, else by place on the keyboard; 0 if unknown."""
    if 0x61 <= base <= 0x7A:
        return base - 0x20
    if 0x30 <= base <= 0x39 or 0x41 <= base <= 0x5A:
        return base
    if 0xFFBE <= base <= 0xFFD5:  # F1 to F24
        return 0x70 + base - 0xFFBE
    if 0xFFB0 <= base <= 0xFFB9:
        return 0x60 + base - 0xFFB0
    return _VK_BY_KEYSYM.get(base) or _VK_BY_CODE.get(code, 0)


_VK_BY_KEYSYM = {
    0xFF08: 0x08, 0xFF09: 0x09, 0xFE20: 0x09, 0xFF0D: 0x0D, 0xFF8D: 0x0D, 0xFF13: 0x13, 0xFFE5: 0x14, 0xFF1B: 0x1B,
    0x20: 0x20, 0xFF55: 0x21, 0xFF56: 0x22, 0xFF57: 0x23, 0xFF50: 0x24, 0xFF51: 0x25, 0xFF52: 0x26, 0xFF53: 0x27,
    0xFF54: 0x28, 0xFF61: 0x2C, 0xFF63: 0x2D, 0xFFFF: 0x2E, 0xFFEB: 0x5B, 0xFFEC: 0x5C, 0xFF67: 0x5D, 0xFFAA: 0x6A,
    0xFFAB: 0x6B, 0xFFAD: 0x6D, 0xFFAE: 0x6E, 0xFFAF: 0x6F, 0xFF7F: 0x90, 0xFF14: 0x91, 0xFFE1: 0xA0, 0xFFE2: 0xA1,
    0xFFE3: 0xA2, 0xFFE4: 0xA3, 0xFFE9: 0xA4, 0xFFEA: 0xA5, 0xFE03: 0xA5, 0x3B: 0xBA, 0x3D: 0xBB, 0x2B: 0xBB,
    0x2C: 0xBC, 0x2D: 0xBD, 0x2E: 0xBE, 0x2F: 0xBF, 0x60: 0xC0, 0x5B: 0xDB, 0x5C: 0xDC, 0x5D: 0xDD, 0x27: 0xDE,
    0x3C: 0xE2,
}  # fmt: skip

_ROWS = ((2, "1234567890"), (16, "QWERTYUIOP"), (30, "ASDFGHJKL"), (44, "ZXCVBNM"))
_VK_BY_CODE = {
    **{first + i: ord(letter) for first, row in _ROWS for i, letter in enumerate(row)},
    12: 0xBD, 13: 0xBB, 26: 0xDB, 27: 0xDD, 39: 0xBA, 40: 0xDE, 41: 0xC0, 43: 0xDC, 51: 0xBC, 52: 0xBE, 53: 0xBF,
    71: 0x67, 72: 0x68, 73: 0x69, 75: 0x64, 76: 0x65, 77: 0x66, 79: 0x61, 80: 0x62, 81: 0x63, 82: 0x60, 83: 0x6E,
    86: 0xE2,
}  # fmt: skip

_CLASS_BY_NAME = {
    **dict.fromkeys(("BackSpace", "Delete", "KP_Delete"), KeyClass.DELETE),
    **dict.fromkeys(("Tab", "ISO_Left_Tab", "KP_Tab"), KeyClass.TAB),
    **dict.fromkeys(("Return", "KP_Enter"), KeyClass.ENTER),
    **dict.fromkeys(("space", "KP_Space", " "), KeyClass.SPACE),
    **dict.fromkeys(
        ("Home", "Left", "Up", "Right", "Down", "Page_Up", "Prior", "Page_Down", "Next", "End", "Begin"),
        KeyClass.NAVIGATION,
    ),
    **dict.fromkeys(("Escape", "Insert", "Menu", *(f"F{n}" for n in range(1, 36))), KeyClass.FUNCTION),
    **dict.fromkeys(
        (
            *(f"{m}_{side}" for m in ("Shift", "Control", "Alt", "Super", "Meta", "Hyper") for side in "LR"),
            *("Caps_Lock", "Shift_Lock", "Num_Lock", "ISO_Level3_Shift", "Mode_switch"),
        ),
        KeyClass.MODIFIER,
    ),
}
SHORTCUT_MODIFIERS = frozenset(f"{m}_{side}" for m in ("Control", "Alt", "Super", "Meta") for side in "LR")


def shaped(event: KeyEvent) -> KeyEvent:
    """A key that was told in full, told by its class only. What is not recognised is `other`."""
    known = _CLASS_BY_NAME.get(event.key)
    if known is None:
        known = key_class(KeySymbol(0, "", event.key)) if len(event.key) == 1 else KeyClass.OTHER
        known = KeyClass(event.key) if event.key in set(KeyClass) else known
    return KeyEvent(t_ns=event.t_ns, seq=event.seq, key=known.value, pressed=event.pressed)
