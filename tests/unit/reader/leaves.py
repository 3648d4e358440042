"""Entries as the custodian writes them: each kind, with the fields that it has, in the order of a plausible log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.unit.reader.test_auditing import NOW, PURPOSE, REQUEST

from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import DRILL_PURPOSE
from assent.contracts.times import day_of, moment

RIKA, SAM, STEF, AXEL, ADA, CORA, DORA = (f"{number:02x}" * 32 for number in range(0x11, 0x18))
"""Requester, two stewards, auditor, admin, council and data-protection officer, under their pseudonyms."""

DRILL_ACTOR = "dd" * 32
LEASE, SECOND_LEASE, OWN_LEASE = "1e" * 32, "2e" * 32, "3e" * 32
JOB = ("7a" * 32, "7b" * 32)
DRAFT, PROPOSAL, HALT, RECOVERY = "d0" * 32, "5a" * 32, "a1" * 32, "4e" * 32
OTHER_REQUEST, OWN_REQUEST, DRILL_REQUEST = "cd" * 32, "ef" * 32, "db" * 32
OTHER_PURPOSE = "urn:purpose:two"


def at(**after: float) -> str:
    return moment(NOW + timedelta(**after))


def made(kind: LeafType, when: str, **fields: Any) -> bytes:
    return Leaf(type=kind, at=when, **{"auth": "opening", "decision": "allowed", **fields}).to_bytes()


def by_custodian(kind: LeafType, when: str, **fields: Any) -> bytes:
    return made(kind, when, **{"auth": None, "decision": None, **fields})


def person(when: str, digits: str = "99") -> bytes:
    return by_custodian(LeafType.PERSON, when, subject=digits * 32)


def request(when: str, hash_: str = REQUEST, actor: str = RIKA, purpose: str = PURPOSE, **fields: Any) -> bytes:
    detail = {"modalities": "pointer screen", "days": "2026-11-20 2026-11-22", "recipient": "team-one"}
    content = {
        "subject": hash_,
        "request": hash_,
        "purpose": f"{purpose} 1",
        "mode": "reader",
        "until": at(days=30),
        "detail": detail,
    }
    return made(LeafType.REQUEST_SIGNED, when, actor=actor, **{**content, **fields})


def decision(kind: LeafType, when: str, actor: str, hash_: str = REQUEST, **fields: Any) -> bytes:
    return made(kind, when, actor=actor, **{"subject": (actor[:2] + hash_[:2]) * 16, "request": hash_, **fields})


def opened(when: str, lease: str = LEASE, hash_: str = REQUEST, actor: str = RIKA, **fields: Any) -> bytes:
    content = {
        "subject": lease,
        "request": hash_,
        "purpose": PURPOSE,
        "mode": "reader",
        "until": at(hours=20),
        "keys": JOB,
        "roots": {"streams": "57" * 32},
    }
    return made(LeafType.LEASE_OPENED, when, actor=actor, **{**content, **fields})


def closed(when: str, lease: str = LEASE, hash_: str = REQUEST, released: int = 40, **fields: Any) -> bytes:
    content = {"subject": lease, "request": hash_, "mode": "reader", "counts": {"released": released}}
    return made(LeafType.LEASE_CLOSED, when, **{"auth": "job", **content, **fields})


def refused(when: str, actor: str = RIKA, rule: str = "budget", hash_: str | None = REQUEST) -> bytes:
    return made(LeafType.LEASE_REFUSED, when, actor=actor, auth=None, decision="refused", rule=rule, request=hash_)


def viewed(when: str, start: int, entries: int, actor: str = AXEL) -> bytes:
    return made(LeafType.AUDIT_VIEWED, when, actor=actor, counts={"start": start, "entries": entries})


def collected(when: str, subject: str, **counts: int) -> bytes:
    """A report of the collector; its statement stands for itself."""
    figures = {"number": 1, "listings": 10, "bodies": 100, "refused_tickets": 0, "refused_certificates": 0, **counts}
    content = {"subject": subject, "counts": figures, "keys": ("ck",), "detail": {"report": '{"payload": "…"}'}}
    return by_custodian(LeafType.COLLECTOR_REPORT, when, auth="collector", **content)


def role(kind: LeafType, when: str, actor: str, role_: str = "steward", action: str = "grant", **fields: Any) -> bytes:
    return made(kind, when, actor=actor, subject=PROPOSAL, detail={"role": role_, "action": action}, **fields)


DIRECTORY = made(LeafType.DIRECTORY_CHANGED, at(), auth="root", subject="f1" * 32, counts={"version": 1})
POLICY = by_custodian(
    LeafType.CONFIG_CHANGED, at(seconds=1), auth="operator", rule="config.policy", detail={"policy": "ee" * 32}
)

LOG: tuple[bytes, ...] = (
    DIRECTORY,
    by_custodian(LeafType.BOOT, at(seconds=1), auth="operator", detail={"build": "b1" * 32}),
    POLICY,
    by_custodian(
        LeafType.CONFIG_CHANGED,
        at(seconds=1),
        auth="operator",
        rule="config.settings",
        detail={"approvals_needed": "2", "role_delay_hours": "24"},
    ),
    made(LeafType.CONFIG_CHANGED, at(seconds=2), auth="operator", rule="drill.identities", counts={"identities": 9}),
    made(
        LeafType.ROLE_PROPOSED,
        at(seconds=3),
        auth="root",
        subject="f0" * 32,
        detail={"role": "council", "action": "grant"},
    ),
    made(
        LeafType.ROLE_CHANGED,
        at(seconds=4),
        auth="root",
        actor=CORA,
        rule="role.founder",
        subject="f0" * 32,
        detail={"role": "council", "action": "grant"},
    ),
    made(
        LeafType.ROLE_CHANGED,
        at(seconds=5),
        auth="operator",
        actor=DRILL_ACTOR,
        rule="role.drill",
        subject="f2" * 32,
        detail={"role": "requester", "action": "grant"},
    ),
    made(LeafType.PURPOSE_DRAFTED, at(minutes=1), actor=ADA, subject=DRAFT, purpose=PURPOSE, counts={"version": 1}),
    made(LeafType.PURPOSE_SIGNED, at(minutes=2), actor=CORA, subject=DRAFT, purpose=PURPOSE, counts={"version": 1}),
    role(LeafType.ROLE_PROPOSED, at(minutes=3), ADA),
    role(LeafType.ROLE_CHANGED, at(minutes=4), DORA, rule="role.countersigned", until=at(days=1)),
    request(at(minutes=10)),
    decision(LeafType.GRANT_APPROVED, at(minutes=11), SAM),
    decision(LeafType.GRANT_APPROVED, at(minutes=12), STEF, roots={"cohort": "c0" * 32}),
    refused(at(minutes=13)),
    opened(at(minutes=20), detail={"first": "requester"}),
    viewed(at(minutes=25), 0, 17),
    closed(at(minutes=30)),
    opened(at(minutes=40), SECOND_LEASE),
    made(
        LeafType.LEASE_OPENED,
        at(minutes=45),
        actor="e0" * 32,
        subject=OWN_LEASE,
        request=OWN_REQUEST,
        mode="own",
        until=at(hours=2),
        keys=("8a" * 32, "8b" * 32),
        roots={"streams": "58" * 32},
    ),
    made(LeafType.LEASE_CLOSED, at(minutes=46), auth="job", subject=OWN_LEASE, request=OWN_REQUEST, mode="own"),
    refused(at(minutes=47), "e1" * 32, "nothing", None),
    request(
        at(minutes=50),
        OTHER_REQUEST,
        purpose=PURPOSE,
        detail={"modalities": "keyboard", "days": "2026-11-20 2026-11-20", "recipient": "team-one"},
    ),
    decision(LeafType.GRANT_REFUSED, at(minutes=51), SAM, OTHER_REQUEST),
    request(at(hours=1), DRILL_REQUEST, DRILL_ACTOR, DRILL_PURPOSE),
    made(LeafType.DRILL_PASSED, at(hours=1), actor=DRILL_ACTOR, subject="fa" * 32, counts={"tried": 120, "wrong": 0}),
    made(
        LeafType.DRILL_FAILED,
        at(hours=2),
        actor=DRILL_ACTOR,
        decision="refused",
        subject="fb" * 32,
        counts={"tried": 120, "wrong": 2},
        detail={"failed": "role.auditor ticket.other"},
    ),
    by_custodian(LeafType.DRILL_FAILED, at(hours=5), rule="drill.overdue", detail={"since": at(hours=1)}),
    by_custodian(LeafType.WITNESS_UNREACHABLE, at(hours=5), rule="timeout", detail={"witness": "council"}),
    by_custodian(LeafType.WITNESS_UNREACHABLE, at(hours=5), rule="ahead", detail={"witness": "council"}),
    by_custodian(LeafType.ERASURE_OVERDUE, at(hours=6), rule="orders", counts={"orders": 10}, detail={"since": at()}),
    by_custodian(LeafType.ORDER_MADE, at(hours=6), auth="operator", counts={"number": 1}),
    by_custodian(LeafType.GENERATION_DESTROYED, at(hours=7), auth="operator", counts={"generation": 1}),
    by_custodian(LeafType.CREDENTIAL_REVOKED, at(hours=7), roots={"credential": "5c" * 32}),
    made(LeafType.ACCOUNT_ENDED, at(hours=7), subject="ae" * 32, roots={"person": "51" * 32}),
    made(LeafType.ACCOUNT_ENDED, at(hours=7), actor=DORA, subject="af" * 32, roots={"person": "52" * 32}),
    decision(LeafType.RECALL_DONE, at(hours=7), RIKA),
    made(LeafType.CONSENT_ENDED, at(hours=7), actor=DORA, subject="ce" * 32, detail={"state": "terminated"}),
    made(LeafType.RECOVERY_SIGNED, at(hours=8), actor=CORA, subject=RECOVERY),
    made(LeafType.RECOVERY_COUNTERSIGNED, at(hours=8), actor=DORA, subject=RECOVERY, until=at(days=8)),
    made(LeafType.RECOVERY_USED, at(hours=9), auth=None, subject=RECOVERY),
    made(
        LeafType.RECOVERY_STOPPED,
        at(hours=9),
        auth="device",
        decision="refused",
        subject=RECOVERY,
        request="4f" * 32,
    ),
    made(LeafType.PROGRAMME_HALTED, at(hours=10), actor=ADA, subject=HALT),
    made(LeafType.PROGRAMME_HALTED, at(hours=10), auth="operator", subject="a2" * 32),
    made(LeafType.PROGRAMME_RESUME_SIGNED, at(hours=11), actor=CORA, subject="a3" * 32, request=HALT),
    made(
        LeafType.PROGRAMME_RESUMED, at(hours=11), rule="resume.council-and-dpo", subject=HALT, detail={"dpo": "a4" * 32}
    ),
    decision(LeafType.GRANT_REVOKED, at(hours=12), DORA),
    by_custodian(LeafType.GRANT_EXPIRED, at(hours=12), request=OTHER_REQUEST),
    role(
        LeafType.ROLE_CHANGED,
        at(hours=13),
        DORA,
        action="revoke",
        rule="role.countersigned",
        until=at(hours=13),
        roots={"person": "50" * 32},
    ),
    made(LeafType.AUDIT_VIEWED, at(hours=14), actor=AXEL, counts={"start": 0, "entries": 40}),
    made(
        LeafType.AUDIT_UNMASK_ASKED,
        at(hours=14),
        actor=AXEL,
        subject="6a" * 32,
        until=at(days=7),
        counts={"index": 12},
    ),
    made(LeafType.AUDIT_UNMASKED, at(hours=14), actor=DORA, subject="6a" * 32, until=at(days=1), counts={"index": 12}),
    collected(at(hours=15), "c1" * 32, refused_tickets=10),
    collected(at(hours=16), "c2" * 32),
    made(
        LeafType.LOG_OPENED,
        at(hours=16),
        auth="root",
        rule="leaves-lost",
        subject="f3" * 32,
        counts={"version": 2, "kept": 50, "witnessed": 60, "lost": 10},
        detail={"log": "log.example/assent/2", "former": "log.example/assent", "root": "AAAA"},
    ),
    person(day_of(NOW)),
)
"""A log with every kind of entry."""
