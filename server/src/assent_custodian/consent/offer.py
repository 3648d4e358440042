"""What people are offered: the employer's policy file, checked when it is read.

`policy.json` in the data folder is written by `init` and edited by operators; the custodian reads it once at start. It
can narrow what is recorded and never widen it: the application list only forbids more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from assent.contracts.ids import Modality, sha256_hex
from assent.contracts.limits import RECEIPT_DAYS
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import DPV_CONSENT, DataItem, LawfulBasis, Line, PartyNamed, PartyRole, Terms
from assent.contracts.wire import ApplicationList, Offer, PurposeView
from assent_custodian.files import NotReady

MAX_NOTICE_CHARS = 100_000
NO_REFERENCE = "none: trial on one host"
"""What stands for a reference where there is none."""

Reference = Annotated[str, StringConstraints(max_length=500, strip_whitespace=True)]
"""Of the works agreement, of the impact assessment. It may be empty; then nobody can take part."""

STATEMENTS = (
    "Other people who appear on my screen have not consented.",
    "A model that was trained with my recordings cannot unlearn them.",
    "Recipients may recognise me by what is on my screen.",
    "Nobody is treated worse for refusing, pausing or withdrawing.",
)

RIGHTS = (
    "To see and to export my recordings, and every access to them (GDPR Articles 15 and 20).",
    "To have them erased, all or in part (Article 17).",
    "To withdraw at any time, without a reason and without harm (Article 7(3)).",
    "To object, and to have wrong things about me corrected (Articles 16 and 21).",
    "To complain to a data-protection authority (Article 77).",
)

BEHAVIOUR = "https://w3id.org/dpv/pd#Behavioral"

PERSONAL_DATA = (
    DataItem(modality=Modality.POINTER, term=BEHAVIOUR, words="Movements, clicks and scrolling of the pointer."),
    DataItem(
        modality=Modality.KEYBOARD,
        term=BEHAVIOUR,
        words="That and when keys are pressed; which ones, only if 'text' is chosen.",
    ),
    DataItem(
        modality=Modality.SCREEN,
        term="https://w3id.org/dpv#PersonalData",
        words="Pictures of the screen, with every window that is not on the list painted over.",
    ),
    DataItem(modality=Modality.CONTEXT, term=BEHAVIOUR, words="Which listed application and window is in front."),
)

BROWSERS = ("firefox", "firefox-esr", "chromium", "google-chrome", "brave-browser", "microsoft-edge", "opera")
MAIL = ("thunderbird", "evolution", "kmail", "geary", "outlook")
CHAT = ("slack", "signal", "telegram-desktop", "element", "discord", "teams", "zoom", "whatsapp")
SECRETS = ("keepassxc", "bitwarden", "1password", "seahorse", "gcr-prompter", "polkit-gnome-authentication-agent-1")
TERMINALS = ("xterm", "gnome-terminal", "konsole", "xfce4-terminal")
EDITORS = ("gedit", "mousepad", "kate", "emacs", "gvim", "code", "libreoffice")

NOTICE = """\
{organisation} asks whether you want to record how you work on this computer, so that models can learn to use one.

It is off until you agree, and you may refuse. You choose, one by one, what is recorded (pointer, keyboard, screen, \
active window) and for which purposes. Only applications on the list are recorded; browsers, mail, chat and password \
stores are not. With the keyboard as text, a password that you type into an application on the list, for instance a \
terminal, would be recorded: pause first, or choose the keyboard as shape, which tells no letters.

Recordings wait on your computer for a while before they are sent; until then you can make it forget them. They are \
sealed before they are stored. Nobody opens them but for a purpose you agreed to, after named people \
signed, after the access was written into a log that independent witnesses sign; and you are told each time.

You can pause or withdraw at any time, with one click and without giving a reason; also offline. What you withdraw is \
closed at once and erased after seven days, or at once if you wish. Recordings are kept for {retention_days} days at \
most.

Whoever runs your laptop or your network can see that a recorder runs and sends. Your disk should be encrypted.
"""


class OfferPolicy(BaseModel):
    """The content of `policy.json`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    notice_version: Line
    locale: Line
    notice: Annotated[str, Field(min_length=1, max_length=MAX_NOTICE_CHARS)]
    application_list: ApplicationList
    redaction_profile: Line
    agreement: Reference
    dpia: Reference
    statements: Annotated[tuple[Line, ...], Field(min_length=1)]
    personal_data: Annotated[tuple[DataItem, ...], Field(min_length=1)]
    terms: Terms
    valid_days: Annotated[int, Field(ge=1, le=RECEIPT_DAYS)]

    def require_references(self) -> None:
        """Nobody takes part before the works agreement and the impact assessment are named. Raises Problem."""
        named = {"agreement": self.agreement, "dpia": self.dpia}
        missing = [name for name, reference in named.items() if reference.strip() in ("", NO_REFERENCE)]
        if missing:
            raise Problem(
                Code.REFUSED,
                f"the policy file names no {' and no '.join(missing)}: nobody is invited to take part, and nobody can "
                "consent, before it names the works agreement and the data-protection impact assessment",
            )

    @property
    def notice_sha256(self) -> str:
        """SHA-256 of the UTF-8 bytes of the text shown, which a receipt must name."""
        return sha256_hex(self.notice.encode())

    @property
    def fingerprints(self) -> dict[str, str]:
        """What the log says of this file when it was changed: everything by its hash, and what people know it by."""
        return {
            "policy": sha256_hex(policy_bytes(self)),
            "notice": self.notice_sha256,
            "notice_version": self.notice_version,
            "application_list": self.application_list.version,
            "agreement": self.agreement,
            "dpia": self.dpia,
        }

    def offer(self, purposes: tuple[PurposeView, ...]) -> Offer:
        """What `GET /v1/consent/offer` answers."""
        return Offer(
            notice_version=self.notice_version,
            locale=self.locale,
            notice=self.notice,
            purposes=purposes,
            application_list=self.application_list,
            redaction_profile=self.redaction_profile,
            agreement=self.agreement,
            dpia=self.dpia,
            statements=self.statements,
            personal_data=self.personal_data,
            terms=self.terms,
            valid_days=self.valid_days,
        )


def default_terms(organisation: str, agreement: str, dpia: str, retention_days: int) -> Terms:
    """What can be said before anybody has edited the policy file. Addresses and places are for operators to add."""
    interest = (
        f"The interest of {organisation} in models that can use computers, as weighed in {dpia or 'the assessment'} "
        f"and agreed in {agreement or 'the agreement'}."
    )
    return Terms(
        lawful_basis=(
            LawfulBasis(term=DPV_CONSENT, words="A gate that must be open: nothing is recorded or read without it."),
            LawfulBasis(term="https://w3id.org/dpv#LegitimateInterestOfController", words=interest),
        ),
        parties=(
            PartyNamed(
                role=PartyRole.CONTROLLER,
                name=organisation,
                address="as stated in the works agreement",
                contact="the data-protection officer, as named in the works agreement",
            ),
        ),
        collection_method="Recorded on this computer by the Assent agent, only while its sign says so.",
        storage_locations=(f"Servers run for {organisation}: sealed recordings at one, their keys at another.",),
        retention_days=retention_days,
        withdrawal_method="One click at the agent's sign, or 'assent-agent consent withdraw', or 'assent me withdraw'.",
        rights=RIGHTS,
        jurisdiction=(f"The law of the country in which {organisation} employs me.",),
    )


def default_policy(
    organisation: str, agreement: str, dpia: str, allow: tuple[str, ...] = (), retention_days: int = 180
) -> OfferPolicy:
    """Browsers, mail, chat and password stores are denied; terminals, editors and `allow` are allowed."""
    deny = (*BROWSERS, *MAIL, *CHAT, *SECRETS)
    wanted = tuple(dict.fromkeys((*TERMINALS, *EDITORS, *(name.lower() for name in allow))))
    return OfferPolicy(
        notice_version="1",
        locale="en",
        notice=NOTICE.format(organisation=organisation, retention_days=retention_days),
        application_list=ApplicationList(version="1", allow=wanted, deny=deny),
        redaction_profile="masked-windows-1",
        agreement=agreement,
        dpia=dpia,
        statements=STATEMENTS,
        personal_data=PERSONAL_DATA,
        terms=default_terms(organisation, agreement, dpia, retention_days),
        valid_days=RECEIPT_DAYS,
    )


def policy_bytes(policy: OfferPolicy) -> bytes:
    """`policy.json`, as people edit it."""
    return (json.dumps(policy.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


def read_policy(path: Path) -> OfferPolicy:
    """Raises NotReady naming the fields that are wrong."""
    try:
        return OfferPolicy.model_validate_json(path.read_bytes())
    except OSError as error:
        raise NotReady(f"the policy file {path.name} is missing; run `assent-server init`") from error
    except ValidationError as error:
        places = ", ".join(".".join(str(p) for p in e["loc"]) or "the whole" for e in error.errors()[:5])
        raise NotReady(f"the policy file {path.name} is not valid: {places}") from error
