"""The custodian's side of the canary drill: its identities, its results, the alarm, and what the night clears away.

An identity of the drill is a person of its own kind. It is made here, at the custodian's own host, of a one-time code;
nothing makes a person of it, or it of a person. It counts nowhere: not among the founders, in no cohort, no catalogue,
no list of accounts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, Select, delete, or_, select, update
from sqlalchemy.orm import Session

from assent.contracts.codes import InvitationCode
from assent.contracts.keys import fingerprint
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import DRILL_PURPOSE, DrillResult, Invitation, Mode, PurposeDraft, Role
from assent.contracts.times import add_days, moment, parse_moment
from assent_custodian.auth import Stated
from assent_custodian.consent.models import ReceiptRow, WithdrawalRow
from assent_custodian.context import Custodian
from assent_custodian.drills.models import DrillState
from assent_custodian.erasures.models import ErasureRow, ErasureTombstone
from assent_custodian.grants.models import CohortMember, DecisionRow, RequestRow
from assent_custodian.keys import erasure
from assent_custodian.keys.models import Stream
from assent_custodian.leases.models import LeaseRow, LeaseStream
from assent_custodian.log import service as log
from assent_custodian.notifications.models import NotificationRow
from assent_custodian.people import devices
from assent_custodian.people.models import Credential, Person, RoleHeld
from assent_custodian.people.models import Invitation as InvitationRow
from assent_custodian.purposes.models import Purpose

ROW = 1
NOBODY = "0" * 32
CODES_FOR = timedelta(hours=1)
AGAIN_AFTER = timedelta(days=1)
"""How often the same silence is written into the log."""

KEPT_DAYS = 3
"""How long what drills left behind is kept, for whoever looks into one that failed."""

IDENTITIES: Mapping[str, Role | None] = {
    "canary": None,
    "neighbour": None,
    "leaver": None,
    "requester": Role.REQUESTER,
    "other-requester": Role.REQUESTER,
    "steward": Role.STEWARD,
    "other-steward": Role.STEWARD,
    "auditor": Role.AUDITOR,
    "admin": Role.ADMIN,
    "council": Role.COUNCIL,
    "dpo": Role.DPO,
}
"""Who takes part: the one who records, another who does, one whose keys are revoked, and one or two for each role."""

_log = structlog.get_logger("assent.custodian.drills")


def invite(session: Session, custodian: Custodian) -> dict[str, str]:
    """Make the identities' one-time codes, by name, and end the identities of before. For the operator at this host."""
    now = custodian.now()
    _retire(session, custodian, now)
    _have_purpose(session, custodian)
    directory = custodian.directory.directory
    codes = {name: InvitationCode.new(directory.custodian_url, fingerprint(directory.root_key)) for name in IDENTITIES}
    for name, code in codes.items():
        statement = Invitation(
            code=code.secret_hash, name=f"Drill: {name}", role=IDENTITIES[name], at=moment(now),
            until=moment(now + CODES_FOR),
        )  # fmt: skip
        session.add(
            InvitationRow(
                code=statement.code, statement=custodian.sign(statement).hash, name=statement.name,
                role=statement.role.value if statement.role else None, by=None, until=statement.until, used=None,
                drill=True,
            )
        )  # fmt: skip
    leaf = Leaf(
        type=LeafType.CONFIG_CHANGED, at=moment(now), auth="operator", decision="allowed", rule="drill.identities",
        counts={"identities": len(codes)},
    )  # fmt: skip
    log.append(session, leaf)
    session.merge(DrillState(id=ROW, set_up=moment(now), stated=None, passed=None, wrong=0, failed="", alarmed=None))
    return {name: code.to_text() for name, code in codes.items()}


def _retire(session: Session, custodian: Custodian, now: datetime) -> None:
    """The identities of before sign nothing any more, and their codes lead nowhere."""
    session.execute(delete(InvitationRow).where(InvitationRow.drill.is_(True), InvitationRow.used.is_(None)))
    living = select(Credential).where(Credential.person.in_(_people()), Credential.revoked.is_(None))
    for credential in session.scalars(living.order_by(Credential.key_id).with_for_update()).all():
        devices.end(session, custodian, credential)
    held = update(RoleHeld).where(RoleHeld.person.in_(_people()), RoleHeld.ended.is_(None))
    session.execute(held.values(ended=moment(now)).execution_options(synchronize_session=False))


def _have_purpose(session: Session, custodian: Custodian) -> None:
    if session.get(Purpose, (DRILL_PURPOSE, 1)) is not None:
        return
    draft = PurposeDraft(
        iri=DRILL_PURPOSE, version=1, sentence="Try whether recordings of the drill can be reached.",
        recipients=("drill",), modes=(Mode.READER,), at=custodian.moment(),
    )  # fmt: skip
    envelope = custodian.sign(draft)
    session.add(
        Purpose(
            iri=draft.iri, version=1, hash=envelope.hash, drafted_by=NOBODY, draft=envelope.to_json().decode(),
            signature=None, signed=custodian.today(), drill=True,
        )
    )  # fmt: skip


# --- results ----------------------------------------------------------------------------------------------------------


def state(session: Session, custodian: Custodian, stated: Stated[DrillResult]) -> None:
    """Write down how a drill ended: in the log, for the metrics, and to the operator when it failed."""
    result = stated.statement
    row = session.get(DrillState, ROW, with_for_update=True)
    if row is None:
        raise Problem(Code.NOT_FOUND, "there is no drill here; `assent-server drill` sets it up")
    row.stated, row.wrong, row.failed = custodian.moment(), result.wrong, " ".join(result.failed)
    if not result.failed:
        row.passed, row.alarmed = custodian.moment(), None
    log.append(
        session,
        Leaf(
            type=LeafType.DRILL_FAILED if result.failed else LeafType.DRILL_PASSED,
            at=custodian.moment(),
            actor=log.actor_ref(session, stated.asker.person),
            auth=stated.asker.kind,
            decision="refused" if result.failed else "allowed",
            subject=stated.envelope.hash,
            counts={"tried": result.tried, "wrong": result.wrong},
            detail={"failed": row.failed} if result.failed else {},
        ),
    )
    if result.failed:
        _log.error("drill-failed", wrong=result.wrong, failed=list(result.failed))


def standing(session: Session) -> DrillState | None:
    """How the drill stands; None where none was ever set up."""
    return session.get(DrillState, ROW)


def overdue_since(session: Session, custodian: Custodian) -> str | None:
    """Since when no drill has passed, if that is longer ago than two intervals; None when all is well."""
    row, hours = standing(session), custodian.settings.drill_interval_hours
    if row is None or hours == 0:
        return None
    since = row.passed or row.set_up
    return since if custodian.now() - parse_moment(since) > timedelta(hours=2 * hours) else None


def sound(custodian: Custodian) -> bool:
    """Say that no drill passes, once a day: in the log and to the operator. Returns whether it did."""
    with custodian.database.transaction() as session:
        since = overdue_since(session, custodian)
        row = session.get(DrillState, ROW, with_for_update=True)
        if since is None or row is None:
            return False
        if row.alarmed is not None and custodian.now() - parse_moment(row.alarmed) < AGAIN_AFTER:
            return False
        row.alarmed = custodian.moment()
        leaf = Leaf(type=LeafType.DRILL_FAILED, at=row.alarmed, rule="drill.overdue", detail={"since": since})
        log.append(session, leaf)
    _log.error("drill-overdue", since=since)
    return True


def facts(session: Session, custodian: Custodian) -> dict[str, float]:
    """Figures for operators. Nothing before there is a drill."""
    row = standing(session)
    if row is None:
        return {}
    found = {"drill_wrong": float(row.wrong), "drill_overdue": float(overdue_since(session, custodian) is not None)}
    if row.passed is not None:
        found["drill_passed_timestamp_seconds"] = parse_moment(row.passed).timestamp()
    return found


# --- clearing away ----------------------------------------------------------------------------------------------------


def clear(session: Session, custodian: Custodian) -> int:
    """Erase what an interrupted drill left, and drop the rows of drills that are over. Returns how many were erased.

    Nothing here touches what is a person's: every statement says that it is the drill's. Tombstones stay, as all do.
    """
    today = custodian.today()
    left = select(Stream.id).where(Stream.drill.is_(True), Stream.erased.is_(None), Stream.day < today)
    erased = erasure.erase(session, custodian, session.scalars(left).all(), "retention")
    session.flush()
    day = add_days(today, -KEPT_DAYS)
    before = f"{day}T00:00:00Z"
    requests = select(RequestRow.hash).where(RequestRow.drill.is_(True), RequestRow.expires < before)
    leases = select(LeaseRow.id).where(LeaseRow.person.in_(_people()), LeaseRow.until < before)
    followed = select(ErasureRow.of).where(ErasureRow.person.in_(_people()), ErasureRow.day < day)
    for gone in (
        delete(LeaseStream).where(LeaseStream.lease.in_(leases)),
        delete(LeaseRow).where(LeaseRow.person.in_(_people()), LeaseRow.until < before),
        delete(CohortMember).where(CohortMember.request.in_(requests)),
        delete(DecisionRow).where(DecisionRow.request.in_(requests)),
        delete(RequestRow).where(RequestRow.drill.is_(True), RequestRow.expires < before),
        delete(NotificationRow).where(NotificationRow.person.in_(_people()), NotificationRow.day < day),
        delete(ErasureTombstone).where(ErasureTombstone.person.in_(_people()), ErasureTombstone.erasure.in_(followed)),
        delete(ErasureRow).where(ErasureRow.person.in_(_people()), ErasureRow.day < day),
        delete(WithdrawalRow).where(WithdrawalRow.person.in_(_people()), WithdrawalRow.erased < day),
        delete(Stream).where(Stream.drill.is_(True), Stream.erased < day, Stream.day < day),
        delete(ReceiptRow).where(ReceiptRow.person.in_(_people()), _over(before)),
    ):
        session.execute(gone.execution_options(synchronize_session=False))
    return erased


def _over(before: str) -> ColumnElement[bool]:
    """Receipts that nothing refers to any more. The newest of each device stays: the next one names it."""
    newest = select(Credential.last_receipt).where(Credential.person.in_(_people()))
    used = select(Stream.record).where(Stream.drill.is_(True))
    ended = or_(ReceiptRow.state != "given", ReceiptRow.valid_until < before)
    return ended & (ReceiptRow.valid_from < before) & ReceiptRow.hash.not_in(newest) & ReceiptRow.record.not_in(used)


def _people() -> Select[str]:
    return select(Person.id).where(Person.drill.is_(True))
