"""Which windows may be recorded at all.

A window may be recorded when its application is on the list, nothing about it is on the deny list, and both facts are
known. Deny wins over allow. A fact that could not be established means: excluded.

The allow-list is the employer's list minus what the person took away. The deny list is here from the start and covers
what must not be recorded before the council has said otherwise: browsers (one browser window looks like another, also
a private one), password managers, banking, health and union matters, and all places where customers and third parties
speak: mail, chat, meetings, customer and ticket systems. A list of names can never be complete, so it is the second
fence; the first is that only listed applications are recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from assent.contracts.events import Rect
from assent_agent.core.monitors import Chosen

_BROWSERS = """
    arc brave browser chrome chromium edge epiphany falkon firefox floorp iceweasel konqueror librewolf lynx midori
    navigator netscape netsurf opera palemoon qutebrowser safari seamonkey surf thorium tor torbrowser ungoogled vivaldi
    w3m waterfox zen iexplore msedge
"""
_VAULTS = """
    1password bitwarden dashlane enpass gcr gnome-keyring kdewallet keepass keepassx keepassxc keychain kwallet
    kwalletmanager lastpass nordpass passwords pinentry polkit prompter proton-pass revelation seahorse ssh-askpass
    askpass
"""
_MAIL = """
    alpine betterbird claws evolution geary kmail mail mailspring mutt neomutt olk outlook sylpheed thunderbird
    trojita
"""
_CHAT_AND_MEETINGS = """
    anydesk beeper caprine dino discord element facetime fractal franz gajim hexchat imessage irssi jami jitsi
    kopete konversation line linphone mattermost messages messenger mumble nheko pidgin polari quassel rambox revolt
    riot rocket.chat rustdesk signal simplex skype slack teams teamviewer telegram telegramdesktop threema viber
    webex wechat weechat whatsapp whatsdesk wire zapzap zoiper zoom zulip
"""
_CUSTOMERS = """
    dynamics freshdesk freshservice hubspot jira kayako otrs pipedrive redmine salesforce servicenow sugarcrm suitecrm
    zammad zendesk znuny zoho
"""
_MONEY_HEALTH_UNION = """
    bank banking banque banco hibiscus gnucash homebank kmymoney moneymoney skrooge starmoney quicken wallet
    clinic health krankenkasse patient therapy gewerkschaft sindicato syndicat union betriebsrat
"""
_TITLE_WORDS = """
    1password bank banking banco banque bitwarden clinic crm diagnosis diagnose e-mail gewerkschaft gmail health inbox
    incognito inkognito inprivate irssi jira keepass keepassxc krankenkasse lastpass mutt neomutt outlook passwort
    password passwords patient paypal posteingang salesforce servicenow sindicato slack syndicat teams telegram therapy
    ticket tickets union weechat webex whatsapp zendesk zoom betriebsrat navigation-privee
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DENIED_APPLICATIONS = (
    _words(_BROWSERS)
    | _words(_VAULTS)
    | _words(_MAIL)
    | _words(_CHAT_AND_MEETINGS)
    | _words(_CUSTOMERS)
    | _words(_MONEY_HEALTH_UNION)
)
DENIED_TITLES = _words(_TITLE_WORDS) | {"private browsing", "privates surfen", "privater modus", "navigation privée"}


@dataclass(frozen=True, slots=True)
class Window:
    """One visible top-level window, as the source found it.

    `rect`: physical pixels of the virtual desktop, decoration included. `application`: the class under which the
    program names itself; empty when it could not be established. `popup`: placed by its program past the window manager
    (menus, tooltips, screen lockers). `passive`: by its declared type it never takes the keyboard (dock, notification,
    tooltip, drag icon). `opaque`: what lies below it cannot shine through.
    """

    id: int
    rect: Rect
    application: str = ""
    title: str = field(default="", repr=False)
    pid: int | None = None
    popup: bool = False
    passive: bool = False
    opaque: bool = True


class Verdict(StrEnum):
    """Whether a window may be recorded, and the reason if not."""

    ALLOWED = "allowed"
    DENIED = "application on the deny list"
    TITLE = "title on the deny list"
    NOT_LISTED = "application not on the list"
    UNKNOWN = "application not known"


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be recorded, names in lower case. Make one with `policy`. `monitors` None: on all of them."""

    allowed: frozenset[str]
    denied_applications: frozenset[str] = DENIED_APPLICATIONS
    denied_titles: frozenset[str] = DENIED_TITLES
    monitors: Chosen | None = None


def policy(
    employer: Iterable[str],
    *,
    taken_away: Iterable[str] = (),
    denied: Iterable[str] = (),
    monitors: Chosen | None = None,
) -> Policy:
    """The employer's applications less those the person took away; `denied` adds to the deny list; `monitors`: those
    that the person left."""
    removed = {name.casefold().strip() for name in taken_away}
    allowed = frozenset(name.casefold().strip() for name in employer) - removed - {""}
    denies = DENIED_APPLICATIONS | {name.casefold().strip() for name in denied} - {""}
    return Policy(allowed, denies, monitors=monitors)


def decide(window: Window, rules: Policy) -> Verdict:
    """May this window be recorded? Deny wins over allow, and not knowing is a refusal."""
    name = window.application.casefold().strip()
    if not name:
        return Verdict.UNKNOWN
    if not _names_in(name).isdisjoint(rules.denied_applications):
        return Verdict.DENIED
    if _mentions(window.title.casefold(), rules.denied_titles):
        return Verdict.TITLE
    return Verdict.ALLOWED if name in rules.allowed else Verdict.NOT_LISTED


def _names_in(application: str) -> frozenset[str]:
    """`org.mozilla.firefox`, `Google-chrome`: the whole name, each part of it, and runs without trailing digits."""
    parts = [p for p in re.split(r"[^\w]+|_", application) if p]
    dashed = [p for p in re.split(r"[^\w-]+", application) if p]
    return frozenset({application, *parts, *dashed, *(p.rstrip("0123456789") for p in parts)})


def _mentions(title: str, words: frozenset[str]) -> bool:
    if not title:
        return False
    found = set(re.findall(r"[\w-]+", title)) | set(re.findall(r"\w+", title))
    return not found.isdisjoint(words) or any(" " in w and w in title for w in words)
