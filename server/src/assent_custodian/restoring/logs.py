"""The leaves that a backup lacks, from a copy that an auditor made (`assent audit export`), and what follows from them.

The copy is believed because its head is signed by this log and countersigned by the quorum of witnesses, and because
it continues both the log as it is here and the last head that was signed here.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.limits import SKEW_S
from assent.contracts.statements import Receipt
from assent.contracts.times import moment, parse_moment
from assent.reader.log_copies import CopyInvalid, load_copy
from assent.transparency import merkle
from assent.transparency.errors import TransparencyError
from assent.transparency.note import Note, VerifierKey
from assent.transparency.tiles import verify_leaves
from assent_custodian.consent.domain import State
from assent_custodian.consent.models import ReceiptRow
from assent_custodian.context import Custodian
from assent_custodian.files import NotReady
from assent_custodian.grants.models import RequestRow
from assent_custodian.halting.models import HaltRow
from assent_custodian.keys.models import Generation, Stream, VaultKey, not_withdrawn
from assent_custodian.leaving import service as leaving
from assent_custodian.log import service as log
from assent_custodian.log.models import Cosignature, LogEntry, SignedHead
from assent_custodian.people import devices, recovery
from assent_custodian.people.models import Credential, Invitation, Person, RecoveryRow, RoleHeld

MOST_ROTATIONS = 1000
"""Nights with an erasure since a backup: more than two years of them."""


def restore_log(custodian: Custodian, folder: Path) -> int:
    """Append what is missing here, exactly as it was, and do what it says. Returns how many leaves were appended.

    A copy that does not reach the last head that was signed here is taken as far as it goes. Raises NotReady, and
    changes nothing, when the copy is not one of this log, contradicts it, or has nothing that is missing here.
    """
    policy = custodian.directory.policy
    try:
        copy = load_copy(folder)
        head = policy.check(copy.checkpoint).checkpoint
        everything = copy.leaves()
        verify_leaves(everything, head)
    except (CopyInvalid, TransparencyError) as error:
        raise NotReady(f"this copy of the log cannot be used: {error}") from error
    last = custodian.head_memory.last()
    if last is not None and last.size <= head.size and merkle.root_of_leaves(everything[: last.size]) != last.root:
        raise NotReady("this copy contradicts a head that was signed here: keep both, and tell the witnesses")
    with custodian.database.transaction() as session:
        have = [leaf for _, leaf in session.execute(select(LogEntry.index, LogEntry.leaf).order_by(LogEntry.index))]
        too_old = last is not None and last.size > head.size and len(have) == len(everything)
        if len(have) > len(everything) or too_old:
            raise NotReady(
                f"this copy has {len(everything)} leaves, and the log here {len(have)}: nothing to restore; "
                "bring a newer copy, from whoever exports or monitors the log"
            )
        if tuple(have) != everything[: len(have)]:
            raise NotReady("this copy contradicts the log as it is here: it is another history")
        missing = everything[len(have) :]
        leaves = [_read(leaf) for leaf in missing]
        log.append_again(session, [(leaf.type.value, data) for leaf, data in zip(leaves, missing, strict=True)])
        _keep_head(session, custodian, copy.checkpoint, head.size, head.root)
        _carry_out(session, custodian, leaves)
        _lose_keys_of_destroyed_generations(session, custodian)
    if last is None or head.size > last.size:
        custodian.head_memory.remember(head)
    return len(missing)


def _read(data: bytes) -> Leaf:
    try:
        return Leaf.model_validate_json(data)
    except ValidationError as error:
        raise NotReady("a leaf of this copy cannot be read by this version: bring the version that wrote it") from error


def _keep_head(session: Session, custodian: Custodian, note: Note, size: int, root: bytes) -> None:
    """The head and its cosignatures, as they were given: the same size is never signed a second time."""
    own = custodian.log_signer.verifier
    mine = tuple(line for line in note.signatures if (line.name, line.key_id) == (own.name, own.id))
    session.merge(SignedHead(size=size, root=root, note=Note(note.text, mine).to_bytes().decode()))
    for entry in custodian.directory.directory.witnesses:
        key = VerifierKey.from_text(entry.vkey)
        for line in note.signatures:
            if (line.name, line.key_id) == (key.name, key.id):
                session.merge(Cosignature(size=size, witness=entry.vkey, line=line.to_line()))


def _carry_out(session: Session, custodian: Custodian, leaves: list[Leaf]) -> None:
    """What the leaves say was ended stays ended: grants, consent, roles, keys, recoveries, codes of founders, and the
    programme when it was halted."""
    halts: dict[str, Leaf] = {}
    revoked: dict[str, str] = {}
    _end_consent(session, leaves)
    leaving.end_again(session, custodian, [leaf for leaf in leaves if leaf.type is LeafType.ACCOUNT_ENDED])
    for leaf in leaves:
        match leaf.type:
            case LeafType.GRANT_REFUSED | LeafType.GRANT_REVOKED | LeafType.GRANT_EXPIRED:
                request = leaf.request or leaf.subject
                end_grants(session, RequestRow.hash == request)
            case LeafType.ROLE_CHANGED if leaf.detail.get("action") == "revoke":
                _end_role(session, leaf)
            case LeafType.ROLE_CHANGED if leaf.rule == "role.founder":
                session.execute(
                    update(Invitation).where(Invitation.statement == leaf.subject).values(used=leaf.at[:10])
                )
            case LeafType.CREDENTIAL_REVOKED:
                revoked[leaf.roots["credential"]] = leaf.at[:10]
            case LeafType.RECOVERY_STOPPED:
                stopped = session.get(RecoveryRow, leaf.subject)
                if stopped is not None and stopped.stopped is None:
                    recovery.set_stopped(session, custodian, stopped, leaf.at)
            case LeafType.PROGRAMME_HALTED:
                halts[leaf.subject or leaf_hash_of(leaf)] = leaf
            case LeafType.PROGRAMME_RESUMED:
                halts.pop(leaf.subject or "", None)
            case LeafType.GENERATION_DESTROYED:
                session.execute(
                    update(Generation)
                    .where(Generation.number == leaf.counts.get("generation"), Generation.destroyed.is_(None))
                    .values(destroyed=leaf.at[:10])
                )
            case _:
                pass
    for hash_, leaf in halts.items():
        if session.get(HaltRow, hash_) is None:
            reason = "halted before a restore; the reason is lost"
            session.add(HaltRow(hash=hash_, at=leaf.at, reason=reason, by=None, statement="", resumed=None))
    if revoked:
        _revoke_keys(session, revoked)


def _end_role(session: Session, leaf: Leaf) -> None:
    """The leaf says whose to this custodian. One that was written before leaves did is about everybody in the role."""
    named = leaf.roots.get("person")
    held = select(RoleHeld).where(RoleHeld.role == leaf.detail.get("role"), RoleHeld.ended.is_(None))
    for row in session.scalars(held).all():
        if named is None or named == log.concerned(session, row.person, leaf.subject or ""):
            row.ended = leaf.at


def _revoke_keys(session: Session, revoked: dict[str, str]) -> None:
    """`revoked`: root -> day. A key that is not found here was added after the backup, and is unknown."""
    for row in session.scalars(select(Credential).where(Credential.revoked.is_(None))).all():
        day = revoked.get(log.concerned(session, row.person, row.key_id))
        if day is not None:
            devices.set_revoked(session, row, day)


def end_grants(session: Session, *which: ColumnElement[bool]) -> None:
    """Revoke these requests, granted or not; all of them, if none are named."""
    living = RequestRow.state.not_in(("refused", "revoked", "expired"))
    session.execute(update(RequestRow).where(living, *which).values(state="revoked"))


def end_role(session: Session, role: str, now: str) -> None:
    """Take a role from everybody who has it. Identities of the drill keep theirs: nobody grants or takes those."""
    of_drill = select(Person.id).where(Person.drill.is_(True))
    held = update(RoleHeld).where(RoleHeld.role == role, RoleHeld.ended.is_(None), RoleHeld.person.not_in(of_drill))
    session.execute(held.values(ended=now))


def end_consent(session: Session, until: str, *, streams: bool) -> None:
    """Ask everybody anew whose receipt is of `until` or before. `streams`: and nobody but its person opens what was
    recorded before. Nothing is erased for it."""
    given = update(ReceiptRow).where(ReceiptRow.state == State.GIVEN.value, ReceiptRow.valid_from <= until)
    session.execute(given.values(state=State.EXPIRED.value))
    if streams:
        session.execute(update(Stream).where(not_withdrawn(), Stream.erased.is_(None)).values(closed="doubt"))


def leaf_hash_of(leaf: Leaf) -> str:
    """By what a halt is known whose leaf names no statement."""
    return merkle.leaf_hash(leaf.to_bytes()).hex()


def _end_consent(session: Session, leaves: list[Leaf]) -> None:
    """The log does not say whose consent the dpo ended, so everybody is asked anew.

    Orders that were made after it close the streams concerned. Without one nobody knows which they were, and all that
    there are stay closed for everybody but their person; nothing is erased for it.
    """
    types = [leaf.type for leaf in leaves]
    if LeafType.CONSENT_ENDED not in types:
        return
    last = len(types) - 1 - types[::-1].index(LeafType.CONSENT_ENDED)
    end_consent(session, reach_of(leaves[last]), streams=LeafType.ORDER_MADE not in types[last:])


def forget_destroyed_generations(session: Session, custodian: Custodian) -> None:
    """A living generation whose key is gone was destroyed, if a later one is there. Otherwise raises NotReady."""
    living = select(Generation).where(Generation.destroyed.is_(None)).order_by(Generation.number)
    for row in session.scalars(living).all():
        if custodian.keks.has(row.number):
            continue
        later = next(filter(custodian.keks.has, range(row.number + 1, row.number + MOST_ROTATIONS)), None)
        if later is None:
            raise NotReady(
                f"KEK generation {row.number} is not where the settings say, nor is a later one: bring it first"
            )
        row.destroyed = custodian.today()
        if session.get(Generation, later) is None:
            check = custodian.keks.check(later)
            session.add(
                Generation(number=later, check_value=check, created=custodian.today(), destroyed=None, tainted=False)
            )
    session.flush()
    _lose_keys_of_destroyed_generations(session, custodian)


def ended_since(session: Session, receipt: Receipt) -> bool:
    """Whether the dpo ended consent, or may have in a leaf that is lost, nobody knows whose, when this receipt may have
    been given already."""
    ends = (LeafType.CONSENT_ENDED, LeafType.LOG_OPENED)
    newest = [found for type_ in ends for _, found in log.newest_of_type(session, type_, 1)]
    return any(receipt.valid_from <= reach_of(_read(found)) for found in newest)


def reach_of(ended: Leaf) -> str:
    """The latest `valid_from` of a receipt that can have been here by then: a device's clock may be a little fast."""
    return moment(parse_moment(ended.at) + timedelta(seconds=SKEW_S))


def _lose_keys_of_destroyed_generations(session: Session, custodian: Custodian) -> None:
    """Vault keys under a destroyed generation open never again. A generation that lives is found or made."""
    gone = select(Generation.number).where(Generation.destroyed.is_not(None))
    session.execute(delete(VaultKey).where(VaultKey.generation.in_(gone)))
    session.flush()
    living = session.scalars(select(Generation.number).where(Generation.destroyed.is_(None))).first()
    if living is not None:
        return
    number = max(session.scalars(select(Generation.number)).all()) + 1
    check = custodian.keks.check(number) if custodian.keks.has(number) else custodian.keks.create(number)
    session.add(Generation(number=number, check_value=check, created=custodian.today(), destroyed=None, tainted=False))
