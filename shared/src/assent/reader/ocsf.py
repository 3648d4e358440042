"""Entries of the log as events of the Open Cybersecurity Schema Framework (OCSF 1.7), for systems that watch many logs.

One entry is one event; none is left out, and none says more than its entry. People stay under their pseudonyms, since
such a system has many readers. `raw_data` is the entry to the byte and `unmapped.tlog` says where it stands, so that a
row can be proved later. Source of names and numbers: https://schema.ocsf.io/1.7.0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.times import parse_moment
from assent.reader.log_entries import Entry
from assent.reader.log_words import collector_refused, sentence

OCSF_VERSION = "1.7.0"
PRODUCT = "Assent"

Event = dict[str, Any]

CATEGORIES = {0: "Uncategorized", 2: "Findings", 3: "Identity & Access Management", 6: "Application Activity"}

BASE, ACCOUNT, ENTITY, ACCESS, FINDING = 0, 3001, 3004, 3005, 2004
LIFECYCLE, API, DATASTORE, SCAN = 6002, 6003, 6005, 6007

CLASSES: Mapping[int, str] = {
    BASE: "Base Event",
    FINDING: "Detection Finding",
    ACCOUNT: "Account Change",
    ENTITY: "Entity Management",
    ACCESS: "User Access Management",
    LIFECYCLE: "Application Lifecycle",
    API: "API Activity",
    DATASTORE: "Datastore Activity",
    SCAN: "Scan Activity",
}

INFORMATIONAL, LOW, MEDIUM, HIGH, CRITICAL = range(1, 6)
SEVERITIES = {1: "Informational", 2: "Low", 3: "Medium", 4: "High", 5: "Critical"}

OTHER = 99
SUCCESS, FAILURE = 1, 2


@dataclass(frozen=True)
class Kind:
    """`activity`: its number in the class, 99 when the class has no such one; then `name` is ours."""

    class_: int
    activity: int
    name: str
    severity: int = INFORMATIONAL


KINDS: Mapping[LeafType, Kind] = {
    LeafType.PERSON: Kind(BASE, OTHER, "Sealed entry of a person"),
    LeafType.REQUEST_SIGNED: Kind(API, 1, "Create"),
    LeafType.GRANT_APPROVED: Kind(API, OTHER, "Approve"),
    LeafType.GRANT_REFUSED: Kind(API, OTHER, "Refuse"),
    LeafType.GRANT_REVOKED: Kind(API, OTHER, "Revoke", LOW),
    LeafType.GRANT_EXPIRED: Kind(API, OTHER, "Expire"),
    LeafType.LEASE_OPENED: Kind(DATASTORE, 10, "Decrypt"),
    LeafType.LEASE_REFUSED: Kind(DATASTORE, 10, "Decrypt", MEDIUM),
    LeafType.LEASE_CLOSED: Kind(API, 2, "Read"),
    LeafType.ROLE_PROPOSED: Kind(ACCESS, OTHER, "Propose", LOW),
    LeafType.ROLE_CHANGED: Kind(ACCESS, 1, "Assign Privileges", LOW),
    LeafType.CREDENTIAL_REVOKED: Kind(ACCOUNT, OTHER, "Revoke a key", LOW),
    LeafType.ACCOUNT_ENDED: Kind(ACCOUNT, 6, "Delete", LOW),
    LeafType.PURPOSE_DRAFTED: Kind(ENTITY, 1, "Create"),
    LeafType.PURPOSE_SIGNED: Kind(ENTITY, 10, "Activate", LOW),
    LeafType.CONSENT_ENDED: Kind(ENTITY, 11, "Deactivate", LOW),
    LeafType.CONFIG_CHANGED: Kind(ENTITY, 3, "Update", LOW),
    LeafType.DIRECTORY_CHANGED: Kind(ENTITY, 3, "Update", LOW),
    LeafType.LOG_OPENED: Kind(FINDING, 1, "Create", CRITICAL),
    LeafType.AUDIT_VIEWED: Kind(API, 2, "Read"),
    LeafType.AUDIT_UNMASK_ASKED: Kind(API, OTHER, "Ask to unmask", MEDIUM),
    LeafType.AUDIT_UNMASKED: Kind(API, OTHER, "Unmask", MEDIUM),
    LeafType.ORDER_MADE: Kind(API, OTHER, "Order"),
    LeafType.GENERATION_DESTROYED: Kind(DATASTORE, 7, "Delete"),
    LeafType.ERASURE_OVERDUE: Kind(FINDING, 1, "Create", HIGH),
    LeafType.RECALL_DONE: Kind(API, 4, "Delete"),
    LeafType.WITNESS_UNREACHABLE: Kind(FINDING, 1, "Create", MEDIUM),
    LeafType.PROGRAMME_HALTED: Kind(LIFECYCLE, 7, "Disable", HIGH),
    LeafType.PROGRAMME_RESUME_SIGNED: Kind(LIFECYCLE, OTHER, "Sign resumption", LOW),
    LeafType.PROGRAMME_RESUMED: Kind(LIFECYCLE, 6, "Enable", LOW),
    LeafType.RECOVERY_SIGNED: Kind(ACCOUNT, OTHER, "Sign recovery", MEDIUM),
    LeafType.RECOVERY_COUNTERSIGNED: Kind(ACCOUNT, OTHER, "Countersign recovery", MEDIUM),
    LeafType.RECOVERY_USED: Kind(ACCOUNT, OTHER, "Use recovery", MEDIUM),
    LeafType.RECOVERY_STOPPED: Kind(ACCOUNT, OTHER, "Stop recovery", MEDIUM),
    LeafType.DRILL_PASSED: Kind(SCAN, 2, "Completed"),
    LeafType.DRILL_FAILED: Kind(FINDING, 1, "Create", CRITICAL),
    LeafType.BOOT: Kind(LIFECYCLE, 3, "Start"),
    LeafType.COLLECTOR_REPORT: Kind(API, OTHER, "Report"),
}
"""The class and activity of each kind of entry."""

TITLES: Mapping[LeafType, str] = {
    LeafType.LOG_OPENED: "Entries of the audit log are lost",
    LeafType.ERASURE_OVERDUE: "Something that was to be erased is overdue",
    LeafType.WITNESS_UNREACHABLE: "A witness of the audit log cannot be reached",
    LeafType.DRILL_FAILED: "The canary drill did not pass",
}

UNNAMED = "not named in the log"


def event(entry: Entry, origin: str, checkpoint_size: int) -> Event:
    """The OCSF event of an entry. `origin`: the log's name; `checkpoint_size`: of a witnessed head that includes it."""
    leaf, kind = entry.leaf, _kind(entry.leaf)
    at_ms = int(entry.at.timestamp() * 1000)
    said: Event = {
        "metadata": {
            "log_name": origin,
            "sequence": entry.index,
            "uid": f"{origin}#{entry.index}",
            "version": OCSF_VERSION,
            "product": _product(),
            "event_code": leaf.type.value,
            "original_time": leaf.at,
        },
        "category_uid": kind.class_ // 1000,
        "category_name": CATEGORIES[kind.class_ // 1000],
        "class_uid": kind.class_,
        "class_name": CLASSES[kind.class_],
        "activity_id": kind.activity,
        "activity_name": kind.name,
        "type_uid": kind.class_ * 100 + kind.activity,
        "type_name": f"{CLASSES[kind.class_]}: {'Other' if kind.activity == OTHER else kind.name}",
        "time": at_ms,
        "timezone_offset": 0,
        "severity_id": kind.severity,
        "severity": SEVERITIES[kind.severity],
        "message": sentence(leaf),
        **_status(leaf, kind),
        **_of_class(entry, kind, origin, at_ms),
        "raw_data": entry.data.decode(),
        "unmapped": {
            "tlog": {"origin": origin, "index": entry.index, "checkpoint_size": checkpoint_size},
            "leaf": json.loads(entry.data),
        },
    }
    if leaf.request is not None:
        said["metadata"]["correlation_uid"] = leaf.request
    return said


def _kind(leaf: Leaf) -> Kind:
    kind = KINDS[leaf.type]
    if leaf.type is LeafType.ROLE_CHANGED and leaf.detail.get("action") == "revoke":
        return Kind(ACCESS, 2, "Revoke Privileges", kind.severity)
    if leaf.type is LeafType.LEASE_OPENED and "first" in leaf.detail:
        return Kind(kind.class_, kind.activity, kind.name, LOW)
    if collector_refused(leaf):
        return Kind(kind.class_, kind.activity, kind.name, MEDIUM)
    if leaf.type is LeafType.WITNESS_UNREACHABLE and leaf.rule == "ahead":
        return Kind(kind.class_, kind.activity, kind.name, CRITICAL)
    return kind


def _status(leaf: Leaf, kind: Kind) -> Event:
    if kind.class_ == FINDING:
        said: Event = {"status_id": 1, "status": "New"}
    else:
        failed = leaf.decision == "refused" or collector_refused(leaf)
        said = {"status_id": FAILURE, "status": "Failure"} if failed else {"status_id": SUCCESS, "status": "Success"}
    return {**said, "status_code": leaf.rule} if leaf.rule else said


@cache
def _version() -> str:
    return version("assent")


def _product() -> Event:
    return {"name": PRODUCT, "vendor_name": PRODUCT, "version": _version()}


def _actor(leaf: Leaf) -> Event:
    """By pseudonym; never by name."""
    if leaf.actor is not None:
        actor: Event = {"user": {"uid": leaf.actor, "type_id": 1, "type": "User"}}
    elif leaf.auth in ("root", "operator"):
        actor = {"user": {"name": "root key" if leaf.auth == "root" else "operator", "type_id": 2, "type": "Admin"}}
    else:
        actor = {"app_name": f"assent {leaf.auth or 'custodian'}"}
    if leaf.type in (LeafType.LEASE_OPENED, LeafType.LEASE_CLOSED) and leaf.subject is not None:
        actor["session"] = {"uid": leaf.subject}
        if leaf.until is not None:
            actor["session"]["expiration_time"] = int(parse_moment(leaf.until).timestamp() * 1000)
    return actor


_ENDPOINT: Event = {"name": "not recorded"}
"""Where somebody was when they asked is kept nowhere."""


def _of_class(entry: Entry, kind: Kind, origin: str, at_ms: int) -> Event:
    """What the class asks for."""
    leaf = entry.leaf
    actor = _actor(leaf)
    match kind.class_:
        case 2004:
            return {
                "finding_info": {
                    "uid": f"{origin}#{entry.index}",
                    "title": TITLES[leaf.type],
                    "desc": sentence(leaf),
                    "types": [leaf.type.value],
                    "created_time": at_ms,
                },
                "is_alert": True,
            }
        case 3001:
            return {"actor": actor, "user": {"name": UNNAMED}}
        case 3004:
            return {"actor": actor, "entity": _entity(leaf)}
        case 3005:
            oneself = leaf.rule in ("role.founder", "role.drill") and leaf.actor is not None
            user = {"uid": leaf.actor} if oneself else {"name": UNNAMED}
            return {"actor": actor, "user": user, "privileges": [leaf.detail.get("role", "")]}
        case 6002:
            app = _product()
            if leaf.type is LeafType.BOOT:
                app["uid"] = leaf.detail.get("build", "")
            return {"app": app}
        case 6003:
            api: Event = {"operation": leaf.type.value, "service": {"name": "assent custodian"}}
            if leaf.subject is not None:
                api["request"] = {"uid": leaf.subject}
            if leaf.rule is not None:
                api["response"] = {"message": leaf.rule}
            return {"actor": actor, "api": api, "src_endpoint": _ENDPOINT}
        case 6005:
            return {
                "actor": actor,
                "src_endpoint": _ENDPOINT,
                "databucket": {"name": "sealed recordings", "type_id": OTHER, "type": "Assent collector"},
            }
        case 6007:
            return {
                "scan": {"name": "canary drill", "type_id": OTHER, "type": "Canary drill", "uid": leaf.subject or ""},
                "total": leaf.counts.get("tried", 0),
                "num_detections": leaf.counts.get("wrong", 0),
            }
        case _:
            return {}


def _entity(leaf: Leaf) -> Event:
    name = {
        LeafType.CONFIG_CHANGED: leaf.rule,
        LeafType.DIRECTORY_CHANGED: "directory",
        LeafType.CONSENT_ENDED: "receipts of a person",
    }.get(leaf.type, leaf.purpose)
    kind = {
        LeafType.CONFIG_CHANGED: "Configuration",
        LeafType.DIRECTORY_CHANGED: "Directory",
        LeafType.CONSENT_ENDED: "Consent",
    }.get(leaf.type, "Purpose")
    entity: Event = {"name": name or "", "type_id": OTHER, "type": kind}
    if leaf.subject is not None:
        entity["uid"] = leaf.subject
    if "version" in leaf.counts:
        entity["version"] = str(leaf.counts["version"])
    if leaf.detail:
        entity["data"] = leaf.detail
    return entity
