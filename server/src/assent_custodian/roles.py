"""Who may do what at the custodian: one table, as data. What is not in it is denied.

`table()` is what `assent-server roles` prints, and what a test holds every route against.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Role

CredentialKind = Literal["device", "opening"]
DEVICE: frozenset[CredentialKind] = frozenset({"device"})
OPENING: frozenset[CredentialKind] = frozenset({"opening"})
EITHER: frozenset[CredentialKind] = DEVICE | OPENING


class Party(StrEnum):
    """Who asks, besides the roles."""

    ANYBODY = "anybody"
    CODE_HOLDER = "holder of a code"
    PERSON = "person"
    COLLECTOR = "collector"
    JOB = "job"
    DRILL = "identity of the drill"


class Permission(StrEnum):
    """What can be permitted, one for each thing that is done."""

    SEE_DIRECTORY = "see the directory"
    SEE_CHECKPOINT = "see the newest checkpoint"
    ENROL = "join with a code"
    SEE_OWN_ACCOUNT = "see one's own account"
    ADD_CREDENTIALS = "add a device or an opening credential of one's own"
    REVOKE_CREDENTIALS = "revoke a credential of one's own"
    LEAVE = "end one's own account"
    END_ACCOUNTS = "end the account of somebody who has left"
    SEE_RECOVERIES = "see recoveries"
    RECOVER = "sign a recovery (council and dpo together)"
    STOP_RECOVERY = "stop a recovery of one's own account"
    SEE_OFFER = "see what is offered"
    GIVE_CONSENT = "give consent"
    WITHDRAW = "withdraw consent"
    END_CONSENT = "end receipts for the controller or an authority"
    ERASE = "erase one's own data"
    GET_CERTIFICATES = "get permission to record"
    HEAR_NEWS = "hear whether to stop, and of accesses"
    SEE_OWN_RECEIPTS = "see one's own receipts"
    SEE_OWN_ACCESSES = "see accesses to one's own data"
    SEE_OWN_ERASURES = "see how far one's own erasures are"
    SEE_PEOPLE = "see who has an account"
    INVITE = "invite people"
    SEE_ROLES = "see role proposals"
    PROPOSE_ROLES = "propose roles (council and dpo: the role admin)"
    COUNTERSIGN_ROLES = "countersign roles"
    SEE_HALTS = "see whether the programme is halted"
    HALT = "halt the programme"
    RESUME = "let the programme run again (council and dpo together)"
    SEE_PURPOSES = "see purposes"
    DRAFT_PURPOSES = "draft purposes"
    SIGN_PURPOSES = "sign purposes"
    SEE_CATALOGUE = "see the catalogue"
    SEE_REQUESTS = "see requests"
    SIGN_REQUESTS = "sign requests"
    DECIDE = "approve, refuse or revoke requests"
    OPEN_LEASES = "open leases"
    RELEASE = "have keys released to a job"
    CLOSE_LEASES = "close leases"
    SEE_RECALLS = "see what was recalled from one's own grants"
    ACKNOWLEDGE_RECALLS = "say that a recall was carried out"
    READ_LOG = "read the log"
    SEE_UNMASKINGS = "see what was asked to be unmasked"
    ASK_UNMASKING = "ask who an actor of the log is, and hear it when the dpo has signed"
    COUNTERSIGN_UNMASKING = "agree that an auditor learns who an actor of the log is"
    FETCH_ORDERS = "fetch orders"
    RETURN_ORDERS = "return orders after a restore"
    RESTATE = "say again, after a restore, what one consents to"
    ACKNOWLEDGE_ORDERS = "acknowledge orders"
    REPORT = "report what the collector did"
    STATE_DRILL = "say how a drill ended"


@dataclass(frozen=True)
class Rule:
    """`who` may do it, signing with a credential of a kind in `credentials` (empty: not a credential of a person)."""

    permission: Permission
    who: frozenset[Party | Role]
    credentials: frozenset[CredentialKind]
    routes: tuple[str, ...]


def _rule(
    permission: Permission,
    who: set[Party | Role],
    credentials: frozenset[CredentialKind],
    *routes: str,
) -> Rule:
    return Rule(permission, frozenset(who), credentials, routes)


_NO_CREDENTIAL: frozenset[CredentialKind] = frozenset()

RULES: tuple[Rule, ...] = (
    _rule(Permission.SEE_DIRECTORY, {Party.ANYBODY}, _NO_CREDENTIAL, "GET /v1/directory"),
    _rule(Permission.SEE_CHECKPOINT, {Party.ANYBODY}, _NO_CREDENTIAL, "GET /v1/log/checkpoint"),
    _rule(Permission.ENROL, {Party.CODE_HOLDER}, _NO_CREDENTIAL, "POST /v1/enrolments"),
    _rule(Permission.SEE_OWN_ACCOUNT, {Party.PERSON}, EITHER, "GET /v1/me"),
    _rule(Permission.ADD_CREDENTIALS, {Party.PERSON}, OPENING, "POST /v1/me/credentials"),
    _rule(Permission.REVOKE_CREDENTIALS, {Party.PERSON}, OPENING, "POST /v1/me/credentials/revocations"),
    _rule(Permission.LEAVE, {Party.PERSON}, OPENING, "POST /v1/me/leaving"),
    _rule(Permission.END_ACCOUNTS, {Role.DPO}, OPENING, "POST /v1/leavings"),
    _rule(Permission.SEE_RECOVERIES, {Role.COUNCIL, Role.DPO}, OPENING, "GET /v1/recoveries"),
    _rule(
        Permission.RECOVER,
        {Role.COUNCIL, Role.DPO},
        OPENING,
        "POST /v1/recoveries",
        "POST /v1/recoveries/countersignatures",
    ),
    _rule(Permission.STOP_RECOVERY, {Party.PERSON}, EITHER, "POST /v1/me/recoveries/stops"),
    _rule(Permission.SEE_OFFER, {Party.PERSON}, EITHER, "GET /v1/consent/offer"),
    _rule(Permission.GIVE_CONSENT, {Party.PERSON}, DEVICE, "POST /v1/receipts"),
    _rule(Permission.WITHDRAW, {Party.PERSON}, EITHER, "POST /v1/withdrawals"),
    _rule(Permission.ERASE, {Party.PERSON}, OPENING, "POST /v1/erasures"),
    _rule(Permission.END_CONSENT, {Role.DPO}, OPENING, "POST /v1/consent/endings"),
    _rule(Permission.GET_CERTIFICATES, {Party.PERSON}, DEVICE, "POST /v1/certificates"),
    _rule(Permission.HEAR_NEWS, {Party.PERSON}, DEVICE, "GET /v1/me/news"),
    _rule(
        Permission.SEE_OWN_RECEIPTS,
        {Party.PERSON},
        EITHER,
        "GET /v1/me/receipts",
        "GET /v1/me/receipts/{record}/proof",
        "GET /v1/consent/notices/{sha256}",
    ),
    _rule(Permission.SEE_OWN_ACCESSES, {Party.PERSON}, EITHER, "GET /v1/me/accesses"),
    _rule(Permission.SEE_OWN_ERASURES, {Party.PERSON}, EITHER, "GET /v1/me/erasures"),
    _rule(Permission.SEE_PEOPLE, {Role.ADMIN, Role.DPO}, OPENING, "GET /v1/people"),
    _rule(Permission.INVITE, {Role.ADMIN}, OPENING, "POST /v1/invitations"),
    _rule(Permission.SEE_ROLES, {Role.ADMIN, Role.COUNCIL, Role.DPO}, OPENING, "GET /v1/roles"),
    _rule(Permission.PROPOSE_ROLES, {Role.ADMIN, Role.COUNCIL, Role.DPO}, OPENING, "POST /v1/roles"),
    _rule(Permission.COUNTERSIGN_ROLES, {Role.COUNCIL, Role.DPO}, OPENING, "POST /v1/roles/countersignatures"),
    _rule(Permission.SEE_HALTS, {Role.ADMIN, Role.COUNCIL, Role.DPO}, OPENING, "GET /v1/halt"),
    _rule(Permission.HALT, {Role.ADMIN, Role.COUNCIL, Role.DPO}, OPENING, "POST /v1/halt"),
    _rule(Permission.RESUME, {Role.COUNCIL, Role.DPO}, OPENING, "POST /v1/halt/resumptions"),
    _rule(Permission.SEE_PURPOSES, {Party.PERSON}, EITHER, "GET /v1/purposes"),
    _rule(Permission.DRAFT_PURPOSES, {Role.ADMIN}, OPENING, "POST /v1/purposes"),
    _rule(Permission.SIGN_PURPOSES, {Role.COUNCIL}, OPENING, "POST /v1/purposes/signatures"),
    _rule(Permission.SEE_CATALOGUE, {Role.REQUESTER}, OPENING, "GET /v1/catalogue"),
    _rule(
        Permission.SEE_REQUESTS,
        {Role.REQUESTER, Role.STEWARD, Role.COUNCIL, Role.DPO},
        OPENING,
        "GET /v1/requests",
        "GET /v1/requests/{hash}",
    ),
    _rule(Permission.SIGN_REQUESTS, {Role.REQUESTER}, OPENING, "POST /v1/requests"),
    _rule(Permission.DECIDE, {Role.STEWARD, Role.COUNCIL, Role.DPO}, OPENING, "POST /v1/decisions"),
    _rule(Permission.OPEN_LEASES, {Party.PERSON}, OPENING, "POST /v1/leases"),
    _rule(Permission.RELEASE, {Party.JOB}, _NO_CREDENTIAL, "POST /v1/leases/releases"),
    _rule(Permission.CLOSE_LEASES, {Party.JOB}, _NO_CREDENTIAL, "POST /v1/leases/closures"),
    _rule(Permission.SEE_RECALLS, {Role.REQUESTER}, OPENING, "GET /v1/recalls"),
    _rule(Permission.ACKNOWLEDGE_RECALLS, {Role.REQUESTER}, OPENING, "POST /v1/recalls/done"),
    _rule(
        Permission.READ_LOG,
        {Role.AUDITOR, Role.COUNCIL},
        OPENING,
        "GET /v1/log/entries",
        "GET /v1/log/tile/{path:path}",
        "GET /v1/log/proof",
    ),
    _rule(Permission.SEE_UNMASKINGS, {Role.AUDITOR, Role.DPO}, OPENING, "GET /v1/unmaskings"),
    _rule(
        Permission.ASK_UNMASKING,
        {Role.AUDITOR},
        OPENING,
        "POST /v1/unmaskings",
        "GET /v1/unmaskings/{unmasking}/person",
    ),
    _rule(Permission.COUNTERSIGN_UNMASKING, {Role.DPO}, OPENING, "POST /v1/unmaskings/countersignatures"),
    _rule(Permission.FETCH_ORDERS, {Party.COLLECTOR}, _NO_CREDENTIAL, "GET /v1/orders"),
    _rule(Permission.RETURN_ORDERS, {Party.COLLECTOR}, _NO_CREDENTIAL, "POST /v1/orders/returned"),
    _rule(Permission.RESTATE, {Party.PERSON}, DEVICE, "POST /v1/me/standing"),
    _rule(Permission.ACKNOWLEDGE_ORDERS, {Party.COLLECTOR}, _NO_CREDENTIAL, "POST /v1/orders/done"),
    _rule(Permission.REPORT, {Party.COLLECTOR}, _NO_CREDENTIAL, "POST /v1/reports"),
    _rule(Permission.STATE_DRILL, {Party.DRILL}, OPENING, "POST /v1/drills"),
)

DRILL_MAY: dict[Permission, frozenset[Party | Role]] = {
    Permission.SEE_OWN_ACCOUNT: frozenset({Party.PERSON}),
    Permission.REVOKE_CREDENTIALS: frozenset({Party.PERSON}),
    Permission.SEE_OFFER: frozenset({Party.PERSON}),
    Permission.GIVE_CONSENT: frozenset({Party.PERSON}),
    Permission.WITHDRAW: frozenset({Party.PERSON}),
    Permission.GET_CERTIFICATES: frozenset({Party.PERSON}),
    Permission.HEAR_NEWS: frozenset({Party.PERSON}),
    Permission.RESTATE: frozenset({Party.PERSON}),
    Permission.SEE_OWN_RECEIPTS: frozenset({Party.PERSON}),
    Permission.SEE_OWN_ACCESSES: frozenset({Party.PERSON}),
    Permission.OPEN_LEASES: frozenset({Party.PERSON}),
    Permission.SIGN_REQUESTS: frozenset({Role.REQUESTER}),
    Permission.SEE_REQUESTS: frozenset({Role.REQUESTER, Role.STEWARD}),
    Permission.DECIDE: frozenset({Role.STEWARD}),
    Permission.STATE_DRILL: frozenset({Party.DRILL}),
}
"""All that an identity of the canary drill may do, of what its role may, and with things of the drill only. Whatever is
not here is refused to it, after its role was looked at: so the drill sees what the role would have let it do."""

WHILE_WAITING: frozenset[Permission] = frozenset({Permission.SEE_OWN_ACCOUNT, Permission.WITHDRAW})
"""All that a key may do that came of a recovery, until those who had a key before have had their days to stop it."""

WHEN_REVOKED: frozenset[Permission] = frozenset({Permission.WITHDRAW, Permission.HEAR_NEWS})
"""All that a key may do that was revoked: end what its person agreed to, and hear, signed, that it is revoked. Not even
that, if it came of a recovery that was stopped: it never was theirs."""

WHILE_BEHIND: frozenset[Permission] = frozenset(
    {
        Permission.SEE_OWN_ACCOUNT,
        Permission.WITHDRAW,
        Permission.ERASE,
        Permission.RESTATE,
        Permission.HEAR_NEWS,
        Permission.GET_CERTIFICATES,  # the answer says that there is none, and why
        Permission.OPEN_LEASES,  # refused by the door, which says why
        Permission.SEE_OFFER,
        Permission.SEE_PURPOSES,
        Permission.SEE_OWN_RECEIPTS,
        Permission.SEE_OWN_ACCESSES,
        Permission.SEE_OWN_ERASURES,
    }
)
"""All that people may do at a custodian that was restored and lacks leaves: the key that signs may be one that was
revoked since, and the role one that was lost. So no role counts, no key is added or ended, and nobody consents anew."""

ON_A_FULL_DISK: frozenset[Permission] = frozenset({Permission.WITHDRAW, Permission.ERASE, Permission.HALT})
"""All that is taken while the disk of an SQLite database is nearly full: the room that is kept is for these."""
NOTHING_ELSE = "nothing is taken but withdrawals, erasures and halts"
"""As operators are told."""

BY_PERMISSION: dict[Permission, Rule] = {rule.permission: rule for rule in RULES}


def table() -> tuple[Rule, ...]:
    """The whole table, in the order in which it is printed."""
    return RULES


def check(
    permission: Permission,
    roles: frozenset[Role],
    kind: CredentialKind,
    waits_until: str | None = None,
    *,
    drill: bool,
) -> None:
    """Return only if a person with these roles in effect, signing with this kind of credential, may. Else Problem.

    `waits_until`: the credential came of a recovery that can still be stopped. `drill`: it is an identity of the drill.

    A permission that is not in the table is denied. The Problem's `rule` says what refused: `role`, `credential`, or,
    when both would have allowed it, `drill`.
    """
    if waits_until is not None and permission not in WHILE_WAITING:
        raise Problem(
            Code.FORBIDDEN, f"this key came of a recovery: until {waits_until} it can withdraw, and nothing else"
        )
    rule = BY_PERMISSION.get(permission)
    if rule is None or not _names(rule.who, roles, drill):
        raise Problem(Code.FORBIDDEN, f"your role does not include: {permission.value}", rule="role")
    if kind not in rule.credentials:
        wanted = " or ".join(sorted(rule.credentials))
        raise Problem(Code.FORBIDDEN, f"sign this with your {wanted} credential", rule="credential")
    if drill and not _names(DRILL_MAY.get(permission, frozenset()), roles, drill):
        raise Problem(Code.FORBIDDEN, f"an identity of the drill may not: {permission.value}", rule="drill")


def _names(who: frozenset[Party | Role], roles: frozenset[Role], drill: bool) -> bool:
    return Party.PERSON in who or bool(who & roles) or (drill and Party.DRILL in who)
