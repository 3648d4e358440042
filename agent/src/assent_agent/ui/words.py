"""What the indicator says, in plain words. Pure: facts in, sentences out."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Final

from assent.contracts.events import KeyboardMode
from assent_agent.core.telling import Proof
from assent_agent.ports import Access, AccessesView, IndicatorState, Standing, StatusFacts, ToldView

MODALITY_WORDS: Final[Mapping[str, str]] = {
    "pointer": "Mouse",
    "keyboard": "Keyboard",
    "screen": "Screen pictures",
    "context": "Active window",
}

MODALITY_MEANINGS: Final[Mapping[str, str]] = {
    "pointer": "Where it moves, clicks and scrolls.",
    "keyboard": "You choose below how much it tells.",
    "screen": "Pictures of the applications named below, before and after you act. Other windows are masked.",
    "context": "Which application and which window you work in, and where it is.",
}

KEYBOARD_WORDS: Final[Mapping[KeyboardMode, tuple[str, str]]] = {
    KeyboardMode.OFF: ("Not recorded", ""),
    KeyboardMode.SHAPE: (
        "Kind and timing only",
        "Letter, digit or shortcut, and when; not which letter.",
    ),
    KeyboardMode.TEXT: ("Which keys", "What you type can be read. Password fields are left out where they are known."),
}

LINE: Final = 58
"""Characters: the tray's menu is as wide as its longest line."""

EXPORT_WORDS: Final = (
    "Copies may leave the protected reader",
    "Then they can no longer be closed or erased for certain. You can agree without this.",
)


def headline(facts: StatusFacts) -> str:
    """The state in one short line."""
    match facts.state:
        case IndicatorState.RECORDING if facts.excluded_now:
            return "On, but this window is not recorded"
        case IndicatorState.RECORDING:
            return "Recording"
        case IndicatorState.PAUSED if facts.locked:
            return "Paused while the screen is locked"
        case IndicatorState.PAUSED:
            return f"Paused until {facts.paused_until}" if facts.paused_until else "Paused until you resume"
        case IndicatorState.OFF:
            return "Off. Nothing is recorded" if facts.consented else "Off. You have not agreed to record"
        case IndicatorState.TROUBLE:
            return "Something is wrong"


def details(facts: StatusFacts) -> tuple[str, ...]:
    """What is being recorded, one line each, from what has been seen to arrive; or why nothing is, in short lines."""
    match facts.state:
        case IndicatorState.TROUBLE:
            lines = textwrap.wrap(facts.because or "The cause is not known", LINE)
        case IndicatorState.OFF | IndicatorState.PAUSED:
            lines = textwrap.wrap(facts.because or "Nothing is being recorded", LINE)
        case IndicatorState.RECORDING:
            lines = [f"{MODALITY_WORDS.get(m, m)}: {_arrival(facts.arrived_s.get(m))}" for m in facts.modalities]
    return (*lines, *textwrap.wrap(facts.notice, LINE))


def tooltip(facts: StatusFacts) -> str:
    """What is shown when the pointer rests on the icon."""
    lines = [f"Assent: {headline(facts)}"]
    if facts.state in (IndicatorState.TROUBLE, IndicatorState.OFF):
        lines += details(facts)
    if facts.state is IndicatorState.RECORDING:
        lines.append(", ".join(MODALITY_WORDS.get(m, m) for m in facts.modalities))
    if facts.held_minutes:
        lines.append(f"{facts.held_minutes} min can still be forgotten here")
    return "\n".join(line for line in lines if line)


def day_words(day: date) -> str:
    """For instance "23 May 2027"; of a moment, the day here."""
    here = day.astimezone() if isinstance(day, datetime) else day
    return f"{here.day} {here:%B %Y}"


def sentence_words(reason: str) -> str:
    """A reason, as a sentence of its own."""
    reason = reason.strip()
    return reason[:1].upper() + reason[1:] + ("" if reason.endswith((".", "!", "?")) else ".")


def withdrawn_words(standing: Standing) -> str:
    """What became of the withdrawal."""
    if standing.unconfirmed:
        return "It is written down and will be delivered as soon as the custodian can be reached. Not confirmed yet."
    if standing.erased_from:
        return f"Confirmed by the custodian. Erased from {day_words(date.fromisoformat(standing.erased_from))}."
    return "Nothing is agreed to on this computer."


def held_words(minutes: int) -> str:
    """What has not been sent yet."""
    if not minutes:
        return "Nothing is waiting here that could still be forgotten."
    return (
        f"About {minutes} minutes are still held here. They are sealed, and not sent yet: "
        "the tray's menu makes this computer forget the last of them."
    )


Entry = tuple[str, str, str]
"""Of one access: the day, what was told, and who approved and whether it is proved."""


def access_words(view: AccessesView) -> tuple[str, tuple[Entry, ...], str]:
    """A heading; the accesses, in the order given; and a last note."""
    if view.as_of is None:
        heard = "The custodian has not been heard of since this computer started recording"
        if not view.accesses:
            return f"{heard}: it is not known.", (), ""
        heading = f"When your recordings were opened, newest first. {heard}: there may be more."
    else:
        none = all(access.kind in ("account", "unmasked") for access in view.accesses)
        what = "Nobody has opened your recordings." if none else "When your recordings were opened, newest first."
        heading = f"{what} As the custodian said on {day_words(view.as_of)} at {view.as_of.astimezone():%H:%M}."
    note = f"The proofs are in {view.folder}. 'assent me accesses --verify FILE' checks one, also without a network."
    proved = any(access.proof == "kept" for access in view.accesses)
    return heading, _entries(view.accesses), note if proved else ""


def told_words(view: ToldView) -> tuple[str, str, tuple[Entry, ...]]:
    """A title, what to do about it, and what is told. Equal readings of a day are one entry."""
    kinds = {access.kind for access in view.accesses}
    yours = "If one of these was not you, revoke that key ('assent me devices') and tell your data-protection officer."
    if kinds & {"lease", "digest"}:
        title = "Your recordings were opened"
        lead = "You are told each time. You need not do anything; 'My consent' in the menu ends it whenever you want."
        lead = f"{lead} {yours}" if kinds & {"own", "account"} else lead
    else:
        title, lead = ("You opened your recordings" if "own" in kinds else "Your keys"), yours
    if kinds == {"unmasked"}:
        title, lead = (
            "An auditor learns of something that you did",
            "Your data-protection officer signed, and answers you.",
        )
    if any(access.proof == "wrong" for access in view.accesses):
        lead = f"The proof of one of these is wrong. Please tell the works council. {lead}"
    times = Counter(view.accesses)
    again = {access: f" ({count} times on this day)" if count > 1 else "" for access, count in times.items()}
    entries = _entries(tuple(times))
    return title, lead, tuple((day, text + again[a], who) for (day, text, who), a in zip(entries, times, strict=True))


def _entries(accesses: Sequence[Access]) -> tuple[Entry, ...]:
    return tuple(
        (
            day_words(date.fromisoformat(access.day)),
            access.text,
            f"{_who_agreed(access)} {PROOF_WORDS[access.proof]}".strip(),
        )
        for access in accesses
    )


PROOF_WORDS: Final[Mapping[Proof, str]] = {
    "kept": "It stands in the witnessed log; the proof is on this computer.",
    "awaited": "The proof that it stands in the witnessed log is not here yet.",
    "wrong": "WRONG: what the custodian gave as proof is none. Please tell the works council.",
    "none": "",
}


def _who_agreed(access: Access) -> str:
    match access.kind:
        case "own":
            return "Opened with a key of yours."
        case "account":
            return "About your keys."
        case "unmasked":
            return "An auditor and the data-protection officer signed."
        case "lease" | "digest":
            return f"{access.approvals} {'person' if access.approvals == 1 else 'people'} approved it."


def label(text: str) -> str:
    """A text as a menu shows it: Qt would read a single & as a shortcut mark."""
    return text.replace("&", "&&")


def _arrival(seconds: float | None) -> str:
    if seconds is None:
        return "nothing seen yet"
    if seconds < 2:
        return "arriving now"
    if seconds < 90:
        return f"last seen {seconds:.0f} s ago"
    return f"last seen {seconds / 60:.0f} min ago"


CHANGED_WORDS = {
    "notice": "the text",
    "application_list": "the list of applications",
    "redaction_profile": "what is painted over",
    "agreement": "the works agreement",
    "dpia": "the impact assessment",
    "statements": "what is good to know",
    "terms": "who is responsible, or for how long and where it is kept",
    "personal_data": "what is recorded",
    "purposes": "a purpose, or who may receive it",
}


def changed_words(changed: Sequence[str]) -> str:
    """Why somebody who agreed is asked again."""
    what = "; ".join(CHANGED_WORDS.get(name, name) for name in changed)
    return f"You are asked again, since something has changed: {what}. What you agreed to before does not cover it."
