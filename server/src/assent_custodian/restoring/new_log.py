"""A new log, where the newest leaves of the log are lost everywhere: what the directory quotes of it, and what ends.

The new log begins with every leaf that was saved, in its place, and its first own leaf says how many are missing. What
these may have said is unknown, and every doubt is a refusal: the programme is halted until council and dpo have signed,
everybody is asked for consent anew, what was recorded before opens for its person alone, every request and lease has
ended, and who reads or approves is granted the role again.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from assent.client.directory import DirectoryRefused, endings_of, origin_of
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import MAX_FORMER, Directory, FormerLog, Role
from assent.transparency import merkle
from assent.transparency.errors import TransparencyError
from assent.transparency.lines import to_base64
from assent.transparency.note import Note, Signer, VerifierKey
from assent.transparency.policy import Policy
from assent.transparency.succession import Ending, ending_of
from assent_custodian.context import Custodian
from assent_custodian.files import NotReady
from assent_custodian.halting.models import HaltRow
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.log.models import Cosignature, SignedHead, WitnessState
from assent_custodian.people import devices, notices, recovery
from assent_custodian.people.models import Credential, RecoveryRow
from assent_custodian.restoring import logs, state
from assent_custodian.restoring.models import Restoration

READING_ROLES = (Role.REQUESTER.value, Role.STEWARD.value, Role.AUDITOR.value)
"""Admin, council and dpo grant these again; nobody could grant theirs."""

REASON = "leaves of the log are lost, so it is unknown whether the programme was halted"


def former_log(custodian: Custodian, heads: Sequence[Note], ended: str) -> FormerLog:
    """What the next directory says of the log that ends now. `heads`: the newest of each witness. Raises NotReady.

    The log here must lack leaves, and begin with everything in these heads that it reaches.
    """
    directory = custodian.directory.directory
    if len(directory.former_logs) >= MAX_FORMER:
        raise NotReady(f"{MAX_FORMER} logs have ended already: found anew")
    with custodian.database.transaction() as session:
        if not state.look(session, custodian.head_memory, custodian.today()):
            raise NotReady("no leaf is missing from the log here: a new one is for leaves that are lost everywhere")
        kept = log.size(session)
        root = merkle.root(kept, log.nodes(session))
        found = FormerLog(
            log_vkey=directory.log_vkey,
            policy=directory.policy,
            ended=ended,
            heads=tuple(head.to_bytes().decode() for head in heads),
            kept=kept,
            root=root.hex(),
        )
        try:
            earlier = [VerifierKey.from_text(one.log_vkey) for one in directory.former_policies]
            ending = ending_of(Policy.from_bytes(directory.policy.encode()), heads, kept, root, log_keys=earlier)
        except TransparencyError as error:
            raise NotReady(f"these heads do not do: {error}") from error
        _check_kept(session, ending)
    last = custodian.head_memory.last()
    if last is not None and last.size == ending.last.size and last.root != ending.last.root:
        raise NotReady("a head contradicts the last one that was signed here: keep both, and tell the witnesses")
    _check_newest(custodian, ending, heads[0])
    return found


def _check_newest(custodian: Custodian, ending: Ending, head: Note) -> None:
    """Ask every witness: what is quoted is the last that it signed, and who is not quoted does not answer.

    What is quoted is never taken back, and a witness that signed something else would never follow. Raises NotReady.
    """
    for entry in custodian.directory.directory.witnesses:
        key = VerifierKey.from_text(entry.vkey)
        quoted, says = ending.newest.get(key), witnesses.newest_size(custodian, entry, head)
        if quoted is None and says is None:
            continue  # it is gone; if it is not, it will not follow
        if says is None:
            raise NotReady(
                f"{key.name} does not answer: what is quoted of it must be the last that it signed; start it"
            )
        if quoted is None or quoted.size != says:
            raise NotReady(
                f"{key.name} signed {says} leaves last, and {quoted.size if quoted else 'nothing'} is quoted of it: "
                "bring what `assent-server witness --head` prints there now"
            )


def _check_kept(session: Session, ending: Ending) -> None:
    for head in ending.heads:
        if head.size <= ending.kept and merkle.root(head.size, log.nodes(session)) != head.root:
            raise NotReady(f"the log here contradicts what a witness signed of its first {head.size} leaves")


def next_origin(directory: Directory) -> str:
    """The name of the next log: that of the first one, and its number."""
    first = directory.former_logs[0] if directory.former_logs else directory
    return f"{origin_of(first)}/{len(directory.former_logs) + 2}"


def next_key(custodian: Custodian, directory: Directory) -> str:
    """A key for the next log that no directory has named: one that lies ready, or a new one. Returns its verifier key.

    Not the key of before: so nobody who has that one can ever lengthen the log that ended.
    """
    former = [one.log_vkey for one in (*directory.former_policies, *directory.former_logs)]
    used = {VerifierKey.from_text(vkey).public for vkey in (directory.log_vkey, *former)}
    origin = next_origin(directory)
    for key in (*custodian.ring.every("log"), None):
        verifier = Signer(origin, (key or custodian.ring.add("log")).ed25519).verifier
        if verifier.public not in used:
            return str(verifier)
    raise AssertionError("a new key is not a used one")


def check_opens(custodian: Custodian, directory: Directory, statement_hash: str | None) -> None:
    """Raise NotReady unless the log goes on with this next directory, or ends here as it says.

    `statement_hash`: of the signed directory; None before it is signed.
    """
    current = custodian.directory.directory
    before = len(current.former_logs)
    if directory.former_logs == current.former_logs:
        if origin_of(directory) != origin_of(current):
            raise NotReady(
                f"a new log key keeps the log's name, {origin_of(current)}: so witnesses see that the log goes on"
            )
        return
    if len(directory.former_logs) != before + 1 or directory.former_logs[:before] != current.former_logs:
        raise NotReady("the directory ends another log than the one that is in force")
    ended = directory.former_logs[-1]
    if (ended.log_vkey, ended.policy) != (current.log_vkey, current.policy):
        raise NotReady("the directory ends another log than the one that is in force")
    try:
        ending = endings_of(directory)[-1]
    except DirectoryRefused as error:
        raise NotReady(str(error)) from error
    with custodian.database.reading() as session:
        if log.size(session) < ended.kept or merkle.root(ended.kept, log.nodes(session)).hex() != ended.root:
            raise NotReady(f"the log here does not begin with the {ended.kept} leaves that the directory keeps")
        if log.size(session) > ended.kept and not _is_open(session, directory, statement_hash):
            raise NotReady("more leaves were saved since this directory was exported: export, sign and import it again")
        _check_kept(session, ending)


def _is_open(session: Session, directory: Directory, statement_hash: str | None) -> bool:
    """Whether this directory's log was begun here already: by an import that was interrupted."""
    found = log.entry(session, directory.former_logs[-1].kept)
    leaf = None if found is None else Leaf.model_validate_json(found)
    return leaf is not None and leaf.type is LeafType.LOG_OPENED and leaf.subject == statement_hash


def open_log(session: Session, custodian: Custodian, directory: Directory, statement_hash: str, *after: Leaf) -> None:
    """Begin the log that `check_opens` let pass, with its own first leaves and then `after`; and end what is in doubt.

    Doing it again changes nothing. Raises NotReady when a KEK is not where it should be.
    """
    if _is_open(session, directory, statement_hash):
        return
    if not state.look(session, custodian.head_memory, custodian.today()):
        raise NotReady("no leaf is missing from the log here any more: it needs no new one")
    ending, now = endings_of(directory)[-1], custodian.moment()
    last_kept = log.entry(session, ending.kept - 1) if ending.kept else None
    since = Leaf.model_validate_json(last_kept).at if last_kept is not None else ""
    opened = Leaf(
        type=LeafType.LOG_OPENED,
        at=now,
        auth="root",
        decision="allowed",
        rule="leaves-lost",
        subject=statement_hash,
        counts={
            "version": directory.version,
            "kept": ending.kept,
            "witnessed": ending.last.size,
            "lost": ending.lost,
        },
        detail={"log": origin_of(directory), "former": ending.origin, "root": to_base64(ending.last.root)},
    )
    halted = Leaf(
        type=LeafType.PROGRAMME_HALTED,
        at=now,
        auth="root",
        decision="allowed",
        rule="leaves-lost",
        subject=statement_hash,
    )
    leaves = (opened, halted, *after)
    for table in (SignedHead, Cosignature):
        session.execute(delete(table).where(table.size > ending.kept))
    session.execute(delete(WitnessState))
    log.append_again(session, [(leaf.type.value, leaf.to_bytes()) for leaf in leaves])
    row = session.get_one(Restoration, 1, with_for_update=True)
    row.reach, row.log_whole, row.orders_whole, row.claimed = log.size(session), None, None, -1
    session.add(HaltRow(hash=statement_hash, at=now, reason=REASON, by=None, statement="", resumed=None))
    logs.end_grants(session)
    for role in READING_ROLES:
        logs.end_role(session, role, now)
    logs.end_consent(session, logs.reach_of(opened), streams=True)
    doubted = select(RecoveryRow).where(RecoveryRow.stopped.is_(None))
    for running in session.scalars(doubted.where(RecoveryRow.ready.is_(None) | (RecoveryRow.ready > since))).all():
        _stop(session, custodian, running)
    logs.forget_destroyed_generations(session, custodian)


def _stop(session: Session, custodian: Custodian, row: RecoveryRow) -> None:
    """A recovery that may have been stopped, and the key that came of it, end. Its person is told."""
    recovery.set_stopped(session, custodian, row, custodian.moment())
    key = session.get(Credential, row.key_id) if row.key_id is not None else None
    if key is not None and key.revoked is None:
        devices.set_revoked(session, key, custodian.today())
    text = (
        "The custodian was restored, and nobody knows whether the recovery of your account was stopped: it has ended. "
    )
    notices.tell(session, row.person, custodian.today(), f"{text}If you asked for it, ask again.")


def lacking(custodian: Custodian) -> int:
    """How many leaves are known to be missing here."""
    last = custodian.head_memory.last()
    with custodian.database.reading() as session:
        size = log.size(session)
        reach = session.scalar(select(Restoration.reach).where(Restoration.log_whole.is_(None))) or 0
    return max(reach, last.size if last is not None else 0, size) - size
