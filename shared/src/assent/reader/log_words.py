"""What an entry of the log says, in one plain sentence. Nothing that the entry does not say is added to it."""

from __future__ import annotations

import re

from assent.contracts.leaves import Leaf, LeafType
from assent.reader.log_rules import OVERDUE

SHORT = 8
"""Digits by which hashes, keys and actors are shown; enough to tell them apart, and to ask for them."""

HASH = re.compile(r"[0-9a-f]{64}")


def short(text: str | None) -> str:
    return (text or "")[:SHORT]


def who(leaf: Leaf, name: str | None = None) -> str:
    """Who did it: a name where one is known, the pseudonym of this log, or what kind of party it was."""
    if leaf.actor is not None:
        return f"{name} ({short(leaf.actor)})" if name else short(leaf.actor)
    return {"root": "the root key", "operator": "the operator", "job": "the job", "collector": "the collector"}.get(
        leaf.auth or "", "the person" if leaf.auth else "the custodian"
    )


def collector_refused(leaf: Leaf) -> bool:
    """Whether the collector reports that it refused tickets, certificates or too much."""
    refused = (number for name, number in leaf.counts.items() if name.startswith("refused_"))
    return leaf.type is LeafType.COLLECTOR_REPORT and any(refused)


def never_opened(closing: Leaf) -> bool:
    """Whether a lease's `lease.closed` says that it never opened: then nothing was read under it, and nobody told."""
    return closing.rule is not None


FIRST_USES = {
    "requester": "the first time that this requester opens other people's recordings",
    "key": "the first time with this key",
    "grant": "the first time under this request",
}


def sentence(leaf: Leaf, name: str | None = None) -> str:
    """The entry in plain words. `name`: of its actor, if it is known."""
    text = _sentence(leaf, name)
    return f"The{text[3:]}" if text.startswith("the ") else text


def _sentence(leaf: Leaf, name: str | None) -> str:
    actor, request, detail, counts = who(leaf, name), f"request {short(leaf.request)}", leaf.detail, leaf.counts
    match leaf.type:
        case LeafType.PERSON:
            return "Something that a person did for themselves (or nobody did anything): a salted hash says no more."
        case LeafType.REQUEST_SIGNED:
            days = " to ".join(dict.fromkeys(detail.get("days", "").split()))
            return (
                f"{actor} asked for {_list(detail.get('modalities', ''))} of {days} for {leaf.purpose}, to read as "
                f"{detail.get('recipient', '')} in mode {leaf.mode} until {leaf.until} ({request})."
            )
        case LeafType.GRANT_APPROVED:
            granted = " It is granted: the people are chosen, and stay so." if "cohort" in leaf.roots else ""
            too_few = " Too few people take part: it is not available." if leaf.rule == "not-available" else ""
            return f"{actor} approved {request}.{granted}{too_few}"
        case LeafType.GRANT_REFUSED:
            return f"{actor} refused {request}."
        case LeafType.GRANT_REVOKED:
            return f"{actor} revoked {request}: nothing opens under it any more."
        case LeafType.GRANT_EXPIRED:
            return f"The {request} expired."
        case LeafType.LEASE_OPENED if leaf.mode == "own":
            return f"Somebody opened recordings of their own until {leaf.until} (lease {short(leaf.subject)})."
        case LeafType.LEASE_OPENED:
            first = FIRST_USES.get(detail.get("first", ""), "")
            return (
                f"{actor} opened lease {short(leaf.subject)} under {request} for {leaf.purpose}, mode {leaf.mode}, "
                f"until {leaf.until}; everyone whose recordings it names is told."
                f"{f' It is {first}.' if first else ''}"
            )
        case LeafType.LEASE_CLOSED if never_opened(leaf):
            of = " of somebody's own recordings" if leaf.mode == "own" else f" of {request}"
            return f"The lease {short(leaf.subject)}{of} never opened ({leaf.rule}): nothing was read."
        case LeafType.LEASE_CLOSED if leaf.mode == "own":
            return f"The lease {short(leaf.subject)} of somebody's own recordings was closed."
        case LeafType.LEASE_CLOSED:
            released = counts.get("released", 0)
            return f"The job closed lease {short(leaf.subject)} of {request}; {released} sealed keys were opened."
        case LeafType.LEASE_REFUSED:
            own = "" if leaf.rule == "malformed" else " of somebody's own recordings"
            of = f" of {request}" if leaf.request else own
            return f"A lease or release{of} was refused to {actor} ({leaf.rule})."
        case LeafType.ROLE_PROPOSED:
            return f"{actor} proposed to {_role(leaf)} (proposal {short(leaf.subject)})."
        case LeafType.ROLE_CHANGED if leaf.rule == "role.founder":
            return f"{actor} joined as a founder, as {detail.get('role', '')}."
        case LeafType.ROLE_CHANGED if leaf.rule == "role.drill":
            return f"The operator made {actor} an identity of the drill, as {detail.get('role', '')}."
        case LeafType.ROLE_CHANGED:
            return f"{actor} countersigned, to {_role(leaf)} from {leaf.until} on (proposal {short(leaf.subject)})."
        case LeafType.CREDENTIAL_REVOKED:
            return "A key of somebody's was revoked; whose, only the custodian can tell."
        case LeafType.ACCOUNT_ENDED if leaf.actor is None:
            return "Somebody ended their own account."
        case LeafType.ACCOUNT_ENDED:
            return f"{actor} ended the account of somebody who has left."
        case LeafType.PURPOSE_DRAFTED:
            return f"{actor} drafted the purpose {leaf.purpose}, version {counts.get('version', 0)}."
        case LeafType.PURPOSE_SIGNED:
            return f"{actor} signed the purpose {leaf.purpose}, version {counts.get('version', 0)}, for the council."
        case LeafType.CONSENT_ENDED:
            return f"{actor} ended somebody's consent for the controller or an authority ({detail.get('state', '')})."
        case LeafType.CONFIG_CHANGED if leaf.rule == "drill.identities":
            return f"The operator set the drill up with {counts.get('identities', 0)} identities."
        case LeafType.CONFIG_CHANGED:
            what = {"config.policy": "What people are offered", "config.settings": "What is promised"}
            return f"{what.get(leaf.rule or '', 'The configuration')} is now: {_pairs(detail)}."
        case LeafType.DIRECTORY_CHANGED:
            return f"Directory {counts.get('version', 0)}, signed by the root key, came into force."
        case LeafType.LOG_OPENED:
            return f"A new log begins: {counts.get('lost', 0)} entries of {detail.get('former', '')} are lost."
        case LeafType.AUDIT_VIEWED:
            start, number = counts.get("start", 0), counts.get("entries", 0)
            looked = f"at the entries {start} to {start + number - 1} of the log" if number else "where no entry was"
            return f"{actor} looked {looked}."
        case LeafType.AUDIT_UNMASK_ASKED:
            return (
                f"{actor} asked who the actor of entry {counts.get('index', 0)} is; it can be agreed to until "
                f"{leaf.until} (unmasking {short(leaf.subject)})."
            )
        case LeafType.AUDIT_UNMASKED:
            return (
                f"{actor} agreed that whoever asked learns who the actor of entry {counts.get('index', 0)} is "
                f"(unmasking {short(leaf.subject)}); that person is told."
            )
        case LeafType.ORDER_MADE:
            return f"Order {counts.get('number', 0)} to erase or revoke went out to the collector."
        case LeafType.GENERATION_DESTROYED:
            return f"Key generation {counts.get('generation', 0)} was destroyed, with all that was erased before."
        case LeafType.ERASURE_OVERDUE:
            return f"Overdue since {detail.get('since', '')}: {OVERDUE.get(leaf.rule or '', leaf.rule)}."
        case LeafType.RECALL_DONE:
            return f"{actor} signed that everything recalled from {request} was dropped."
        case LeafType.WITNESS_UNREACHABLE if leaf.rule == "ahead":
            return f"The witness {detail.get('witness', '')} had signed a longer log than this one."
        case LeafType.WITNESS_UNREACHABLE:
            return f"The custodian could not have the log countersigned by {detail.get('witness', '')} ({leaf.rule})."
        case LeafType.PROGRAMME_HALTED:
            return f"{actor} halted the programme: nothing is recorded or opened."
        case LeafType.PROGRAMME_RESUME_SIGNED:
            return f"{actor} signed that the programme may run again."
        case LeafType.PROGRAMME_RESUMED:
            return "The programme runs again: council and data-protection officer have both signed."
        case LeafType.RECOVERY_SIGNED:
            return f"{actor} signed the recovery {short(leaf.subject)} of somebody's account."
        case LeafType.RECOVERY_COUNTERSIGNED:
            return f"{actor} countersigned the recovery {short(leaf.subject)}; it counts from {leaf.until} on."
        case LeafType.RECOVERY_USED:
            return f"The code of the recovery {short(leaf.subject)} was used."
        case LeafType.RECOVERY_STOPPED:
            return f"The person whose account it is stopped the recovery {short(leaf.subject)}."
        case LeafType.DRILL_PASSED:
            return f"A canary drill tried {counts.get('tried', 0)} things, and found all as promised."
        case LeafType.DRILL_FAILED if leaf.rule == "drill.overdue":
            return f"No canary drill has passed since {detail.get('since', '')}."
        case LeafType.DRILL_FAILED:
            wrong, failed = counts.get("wrong", 0), detail.get("failed", "")
            return f"A canary drill found {wrong} things other than promised: {failed}."
        case LeafType.BOOT:
            return f"The custodian was started, build {detail.get('build', '')[:16]}."
        case LeafType.COLLECTOR_REPORT:
            return f"The collector reported what it handed out and refused{_counted(leaf)}."


def _role(leaf: Leaf) -> str:
    role, action = leaf.detail.get("role", ""), leaf.detail.get("action", "")
    return f"give somebody the role {role}" if action == "grant" else f"take the role {role} from somebody"


def _counted(leaf: Leaf) -> str:
    said = ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in leaf.counts.items())
    return f": {said}" if said else ""


def _pairs(said: dict[str, str]) -> str:
    """What was said, whole; hashes by their first digits."""
    return ", ".join(f"{name} {value[:16] if HASH.fullmatch(value) else value}" for name, value in said.items())


def _list(words: str) -> str:
    *most, last = words.split() or [""]
    return f"{', '.join(most)} and {last}" if most else last
