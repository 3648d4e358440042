"""Appending to the log, in the transaction of the act that is written down; and signing heads that never contradict.

A checkpoint is signed only of a committed head, after proving to ourselves that it continues the last one signed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from assent.client.directory import origin_of
from assent.contracts.ids import new_id
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.lists import list_root
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Directory
from assent.transparency import merkle
from assent.transparency.checkpoint import Checkpoint, sign_checkpoint
from assent.transparency.errors import CheckpointInvalid, ProofInvalid
from assent.transparency.note import Note, Signature, Signer
from assent.transparency.proof import LogProof
from assent.transparency.tiles import MAX_LEAF_BYTES
from assent_custodian.files import write_file
from assent_custodian.log.models import Cosignature, LogEntry, LogHead, LogNode, QueuedPersonLeaf, SignedHead
from assent_custodian.people.models import PersonSalt
from assent_custodian.restoring.models import Restoration

HEAD = 1
NOT_WHOLE = (
    "this custodian was restored from a backup, and leaves may be missing from its log until witnesses have "
    "countersigned it"
)
LOOK_BACK = 50
"""Heads that a witness countersigned which are looked through for one that enough of them did."""


_APPENDED = "assent.log.appended"


class HeadMemory:
    """The text of the last checkpoint signed, in a file beside the log key, fsynced before a new one leaves."""

    def __init__(self, path: Path, origin: Callable[[], str | None] = lambda: None) -> None:
        """`origin`: the name of the log of now; None counts a checkpoint of any."""
        self._path = path
        self._origin = origin

    def last(self) -> Checkpoint | None:
        """The last one of this log, or None before the first. Raises Problem `closed` when the file is damaged."""
        try:
            last, origin = Checkpoint.from_text(self._path.read_text()), self._origin()
            return last if origin in (None, last.origin) else None
        except FileNotFoundError:
            return None
        except (CheckpointInvalid, UnicodeDecodeError) as error:
            raise Problem(
                Code.CLOSED, f"{self._path.name} is damaged: nothing is signed until it is restored"
            ) from error

    def remember(self, checkpoint: Checkpoint) -> None:
        """Replace the last one; on disk when this returns."""
        write_file(self._path, checkpoint.to_text().encode())


def check_begun(session: Session, directory: Directory) -> None:
    """Raise Problem `closed` where the directory says that a log began after leaves were lost, and this one did not.

    So no old database is taken for the beginning of the new log.
    """
    if not directory.former_logs:
        return
    kept = directory.former_logs[-1].kept
    found = entry(session, kept)
    opened = None if found is None else Leaf.model_validate_json(found)
    if opened is None or opened.type is not LeafType.LOG_OPENED or opened.detail.get("log") != origin_of(directory):
        raise Problem(Code.CLOSED, "this database is from before the new log: it must be restored")


def actor_ref(session: Session, person: str) -> str:
    """HMAC-SHA256(the person's salt, id): how a person stands in the log. Raises Problem when the salt was erased."""
    return _ref(_salt_of(session, person), person)


def _ref(salt: bytes, person: str) -> str:
    return hmac.new(salt, person.encode(), hashlib.sha256).hexdigest()


def person_behind(session: Session, actor: str) -> str | None:
    """Whose `actor_ref` this is; None when it is nobody's, or its salt was erased."""
    for row in session.scalars(select(PersonSalt)):
        if hmac.compare_digest(_ref(row.salt, row.person), actor):
            return row.person
    return None


def concerned(session: Session, person: str, what: str) -> str:
    """The root by which only a custodian finds out, after a restore, whose key or role a leaf is about: a list with
    the id of what was ended, salted with the person's salt. Raises Problem when the salt was erased."""
    return list_root(_salt_of(session, person), [what])


def _salt_of(session: Session, person: str) -> bytes:
    salt = session.scalar(select(PersonSalt.salt).where(PersonSalt.person == person))
    if salt is None:
        raise Problem(Code.NOT_FOUND, "there is no such person any more")
    return salt


def queue_person_leaf(session: Session, leaf: str) -> None:
    """Hand a salted hash to the next night run. Its row id is random: order in the table says nothing."""
    session.add(QueuedPersonLeaf(id=new_id(), leaf=leaf))


def append(session: Session, *leaves: Leaf) -> int:
    """Append in order and return the index of the first. Committed, or rolled back, with everything else in `session`.

    The head is locked until then, and moved by compare-and-swap.
    """
    if leaves:
        check_whole(session)
    return append_again(session, [(leaf.type.value, leaf.to_bytes()) for leaf in leaves])


def check_whole(session: Session) -> None:
    """Raises Problem `closed` while leaves are known to be missing after a restore."""
    if not is_whole(session):
        raise Problem(Code.CLOSED, NOT_WHOLE)


def is_whole(session: Session) -> bool:
    """Whether something may be appended: not while leaves are known to be missing after a restore."""
    found = session.execute(select(Restoration.log_whole).where(Restoration.id == 1)).first()
    return found is None or found.log_whole is not None


def hold(session: Session) -> int:
    """How many leaves there are. Until this transaction ends nobody else appends or signs, in whatever process."""
    return session.execute(select(LogHead.size).where(LogHead.id == HEAD).with_for_update()).scalar_one()


def append_again(session: Session, typed: Sequence[tuple[str, bytes]]) -> int:
    """Append (type, exact bytes), also to a log that lacks leaves: for those that were in it before, and `append`."""
    entries = [entry for _, entry in typed]
    if any(len(entry) > MAX_LEAF_BYTES for entry in entries):
        raise Problem(Code.TOO_LARGE, "an entry of the log would be longer than 64 KiB")
    old = hold(session)
    if not entries:
        return old
    created = merkle.append(old, [merkle.leaf_hash(entry) for entry in entries], nodes(session))
    session.execute(
        insert(LogEntry),
        [{"index": old + offset, "type": type_, "leaf": entry} for offset, (type_, entry) in enumerate(typed)],
    )
    session.execute(insert(LogNode), [{"level": n.level, "index": n.index, "hash": n.hash} for n in created])
    moved = session.execute(
        update(LogHead)
        .where(LogHead.id == HEAD, LogHead.size == old)
        .values(size=old + len(entries))
        .execution_options(synchronize_session=False)
    )
    assert isinstance(moved, CursorResult)  # noqa: S101 - an UPDATE always gives one
    if moved.rowcount != 1:
        raise Problem(Code.BUSY, "the head of the log moved meanwhile; nothing was changed, ask again")
    session.info[_APPENDED] = True
    return old


def has_appended(session: Session) -> bool:
    """Whether something was appended in this session."""
    return _APPENDED in session.info


def size(session: Session) -> int:
    """How many leaves there are."""
    return session.execute(select(LogHead.size).where(LogHead.id == HEAD)).scalar_one()


def nodes(session: Session) -> merkle.Nodes:
    """Looks up the stored hashes of complete subtrees."""

    def node(level: int, index: int) -> bytes:
        found = session.scalar(select(LogNode.hash).where(LogNode.level == level, LogNode.index == index))
        if found is None:
            raise Problem(Code.INTERNAL, f"the log lacks a hash (level {level}, index {index})")
        return found

    return node


def row_of_nodes(session: Session, level: int, start: int, count: int) -> merkle.Nodes:
    """The same for `count` neighbours of one level from `start` on, which are read at once."""
    found = session.execute(
        select(LogNode.index, LogNode.hash).where(
            LogNode.level == level, LogNode.index >= start, LogNode.index < start + count
        )
    )
    hashes = {row[0]: row[1] for row in found}
    if len(hashes) != count:
        raise Problem(Code.INTERNAL, f"the log lacks hashes (level {level}, index {start} to {start + count - 1})")
    return lambda _level, index: hashes[index]


def entries(session: Session, start: int, count: int) -> list[tuple[int, bytes]]:
    """(index, exact leaf bytes) from `start` on, `count` of them at most, in order."""
    rows = session.execute(
        select(LogEntry.index, LogEntry.leaf)
        .where(LogEntry.index >= start, LogEntry.index < start + count)
        .order_by(LogEntry.index)
    )
    return [(index, leaf) for index, leaf in rows]


def newest_of_type(session: Session, type_: LeafType, most: int) -> list[tuple[int, bytes]]:
    """(index, exact leaf bytes) of the last leaves of a type, the newest first."""
    query = select(LogEntry.index, LogEntry.leaf).where(LogEntry.type == type_.value)
    return [(index, leaf) for index, leaf in session.execute(query.order_by(LogEntry.index.desc()).limit(most))]


def entry(session: Session, index: int) -> bytes | None:
    """The exact bytes of one leaf, or None."""
    return session.scalar(select(LogEntry.leaf).where(LogEntry.index == index))


def find(session: Session, type_: LeafType, wanted: Sequence[bytes]) -> tuple[int, bytes] | None:
    """The first entry of this type that is one of these, to the byte; None when there is none."""
    row = session.execute(
        select(LogEntry.index, LogEntry.leaf)
        .where(LogEntry.type == type_.value, LogEntry.leaf.in_(wanted))
        .order_by(LogEntry.index)
        .limit(1)
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def sign_head(session: Session, signer: Signer, memory: HeadMemory) -> Note:
    """The signed checkpoint of the committed head; signed once per size, then always the same bytes.

    Before signing, the head is shown to continue the last one signed, which `memory` keeps outside the database: a
    database that was restored from before signs nothing. Raises Problem `closed` then. Call it in a transaction that
    appended nothing; the caller lets the note out only after committing.
    """
    now = hold(session)
    stored = session.get(SignedHead, now)
    if stored is not None:
        note = Note.from_bytes(stored.note.encode())
        if signer.verifier.id in {line.key_id for line in note.signatures if line.name == signer.verifier.name}:
            return note
        note = sign_checkpoint(Checkpoint.from_text(note.text), signer)  # the same head, after the key was changed
        stored.note = note.to_bytes().decode()
        return note
    lookup = nodes(session)
    root = merkle.root(now, lookup)
    last = memory.last()
    if last is not None:
        if last.size > now:
            raise Problem(Code.CLOSED, "the log is shorter than a head that was signed before: it must be restored")
        try:
            proof = merkle.consistency_proof(last.size, now, lookup)
            merkle.verify_consistency(last.size, last.root, now, root, proof)
        except ProofInvalid as error:
            raise Problem(Code.CLOSED, "the log contradicts a head that was signed before") from error
    checkpoint = Checkpoint(signer.verifier.name, now, root)
    note = sign_checkpoint(checkpoint, signer)
    memory.remember(checkpoint)
    session.add(SignedHead(size=now, root=root, note=note.to_bytes().decode()))
    session.flush()
    return note


def cosigned(session: Session, size_: int) -> Note | None:
    """The signed checkpoint of this size with every cosignature that there is, or None."""
    stored = session.get(SignedHead, size_)
    if stored is None:
        return None
    lines = session.scalars(select(Cosignature.line).where(Cosignature.size == size_).order_by(Cosignature.witness))
    return Note.from_bytes(stored.note.encode()).signed_also_by(
        *(Signature.from_line(line.rstrip("\n")) for line in lines)
    )


def newest_first(session: Session, *, above: int = -1) -> Iterator[Note]:
    """Signed checkpoints of more than `above` leaves that a witness countersigned, largest first, with their
    cosignatures. Heads that nobody countersigned are passed over, however many there are while a witness is silent."""
    sizes = select(Cosignature.size).where(Cosignature.size > above).distinct()
    for size_ in session.scalars(sizes.order_by(Cosignature.size.desc()).limit(LOOK_BACK)).all():
        note = cosigned(session, size_)
        if note is not None:
            yield note


def newest_signed(session: Session) -> Note | None:
    """The signed checkpoint of the most leaves, whoever countersigned it, or None."""
    size_ = session.scalar(select(func.max(SignedHead.size)))
    return None if size_ is None else cosigned(session, size_)


def newest_cosigned_size(session: Session) -> int:
    """The size of the largest checkpoint that any witness countersigned; 0 when there is none."""
    return session.scalar(select(func.max(Cosignature.size))) or 0


def proof(session: Session, index: int, checkpoint: Note) -> LogProof:
    """A proof file's content: leaf `index` stands under this signed checkpoint. Raises ValueError for a later leaf."""
    size_ = Checkpoint.from_text(checkpoint.text).size
    return LogProof(index, tuple(merkle.inclusion_proof(index, size_, nodes(session))), checkpoint)
