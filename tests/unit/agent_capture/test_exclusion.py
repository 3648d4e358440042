"""Deny wins over allow, and not knowing is a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assent.contracts.events import Rect
from assent_agent.core.exclusion import DENIED_APPLICATIONS, Verdict, Window, decide, policy

HERE = Rect(0, 0, 100, 100)


def window(application: str, title: str = "") -> Window:
    return Window(1, HERE, application, title)


def test_only_listed_applications_are_allowed() -> None:
    rules = policy(["XTerm", "libreoffice-calc"])
    assert decide(window("XTerm"), rules) is Verdict.ALLOWED
    assert decide(window("LIBREOFFICE-calc", "Budget 2027"), rules) is Verdict.ALLOWED
    assert decide(window("Gimp"), rules) is Verdict.NOT_LISTED
    assert decide(window("XTerm2"), rules) is Verdict.NOT_LISTED


@pytest.mark.parametrize("nothing", ["", "  ", "\t"])
def test_a_window_without_a_known_application_is_excluded(nothing: str) -> None:
    assert decide(window(nothing), policy(["", " ", "XTerm"])) is Verdict.UNKNOWN


def test_an_empty_list_allows_nothing() -> None:
    assert decide(window("XTerm"), policy([])) is Verdict.NOT_LISTED


def test_what_the_person_took_away_is_gone() -> None:
    rules = policy(["XTerm", "Gimp"], taken_away=["gimp"])
    assert decide(window("Gimp"), rules) is Verdict.NOT_LISTED
    assert decide(window("XTerm"), rules) is Verdict.ALLOWED


@pytest.mark.parametrize(
    "application",
    [
        "firefox",
        "Firefox-esr",
        "org.mozilla.firefox",
        "Google-chrome",
        "Chromium-browser",
        "chromium",
        "Microsoft-edge",
        "Brave-browser",
        "Tor Browser",
        "KeePassXC",
        "org.keepassxc.KeePassXC",
        "Bitwarden",
        "1Password",
        "Pinentry-gtk-2",
        "thunderbird",
        "Evolution",
        "Slack",
        "Signal",
        "TelegramDesktop",
        "zoom",
        "Microsoft Teams",
        "teams-for-linux",
        "discord",
        "Zendesk",
        "salesforce",
        "gnucash",
    ],
)
def test_deny_wins_over_allow(application: str) -> None:
    assert decide(window(application), policy([application])) is Verdict.DENIED


@pytest.mark.parametrize(
    "title",
    [
        "Inbox (3) - someone",
        "mutt: reading",
        "New Incognito Tab",
        "Example (Private Browsing)",
        "Forgot your password?",
        "My Bank, accounts",
        "Krankenkasse: Antrag",
        "Union meeting minutes",
        "Ticket 4711",
    ],
)
def test_a_title_can_exclude_a_window_of_an_allowed_application(title: str) -> None:
    rules = policy(["XTerm"])
    assert decide(window("XTerm", title), rules) is Verdict.TITLE
    assert decide(window("XTerm", "bankruptcy-of-ideas.txt"), rules) is Verdict.ALLOWED


def test_the_employer_can_deny_more() -> None:
    rules = policy(["XTerm", "Gimp"], denied=["Gimp"])
    assert decide(window("Gimp"), rules) is Verdict.DENIED


@settings(max_examples=60)
@given(
    employer=st.lists(st.text(max_size=12), max_size=5),
    removed=st.lists(st.text(max_size=12), max_size=5),
    application=st.one_of(st.text(max_size=12), st.sampled_from(sorted(DENIED_APPLICATIONS))),
    title=st.text(max_size=20),
)
def test_nothing_can_widen_the_employers_list(
    employer: list[str], removed: list[str], application: str, title: str
) -> None:
    seen = Window(1, HERE, application, title)
    if decide(seen, policy(employer, taken_away=removed)) is Verdict.ALLOWED:
        assert decide(seen, policy(employer)) is Verdict.ALLOWED
        assert application.casefold().strip() in {e.casefold().strip() for e in employer}
        assert application.casefold() not in DENIED_APPLICATIONS


def test_a_window_does_not_show_its_title_in_messages() -> None:
    assert "secret-title" not in repr(window("XTerm", "secret-title"))
