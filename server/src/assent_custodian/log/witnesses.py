"""Asking witnesses to countersign (C2SP tlog-witness), and the quorum without which nothing opens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import httpx2
import structlog
from sqlalchemy.orm import Session

from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.limits import CLOCK_DOUBT_S
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import WitnessEntry
from assent.contracts.times import moment, parse_moment
from assent.transparency import merkle
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import TransparencyError
from assent.transparency.note import Note, Signature, VerifierKey
from assent.transparency.witnessing import Submission, read_cosignatures, read_size
from assent_custodian.context import Custodian
from assent_custodian.log import service
from assent_custodian.log.models import Cosignature, WitnessState
from assent_custodian.restoring import state as restoring

COMPLAIN_EVERY = timedelta(hours=1)
"""`witness.unreachable` is written down once per witness in this time: a witness that is gone must not fill the log."""

_log = structlog.get_logger("assent.custodian.witnesses")

SAID = 500
"""Characters of a witness's refusal that are written into the service's log."""

HANG_UP_AFTER = 3
"""Time-outs after which a witness that still talks is not listened to any more."""

MAX_ANSWER_BYTES = 64 * 1024

_NO_ANSWER = (httpx2.HTTPError, TransparencyError, ValueError, RuntimeError)
"""What speaking with a witness may end in. RuntimeError: httpx's, when it was hung up meanwhile."""

ROUNDS = 3
"""Heads that are submitted one after the other when other workers keep overtaking."""

ATTEMPTS = 8
"""How often one head is shown to a witness that has just been shown a smaller one by somebody else."""

Outcome = Literal["cosigned", "unreachable", "overtaken", "ahead"]


@dataclass(frozen=True)
class Submitted:
    """What one witness did. `overtaken`: it has a newer head of this log already, which another worker submitted.
    `ahead`: it has countersigned a larger log than ours, so ours was shortened.
    """

    witness: WitnessEntry
    outcome: Outcome
    signatures: tuple[Signature, ...] = ()


def require_quorum(custodian: Custodian, index: int) -> Note:
    """A checkpoint that covers leaf `index` and that enough witnesses countersigned, by the directory's policy.

    Call it after the transaction that appended the leaf has committed, and outside any other. Raises Problem
    `no-quorum` within a few time-outs, or `closed` when a witness's time or memory contradicts ours.
    """
    note = _witnessed(custodian, index)
    if note is None:
        submit_head(custodian)
        note = _witnessed(custodian, index)
    if note is None:
        raise Problem(Code.NO_QUORUM, "too few witnesses answered; try again when they can be reached")
    now = custodian.now().timestamp()
    if any(abs(now - at) > CLOCK_DOUBT_S for at in custodian.directory.policy.check(note).cosigned_at.values()):
        raise Problem(Code.CLOSED, "this clock and that of a witness are more than five minutes apart")
    return note


def _witnessed(custodian: Custodian, index: int) -> Note | None:
    """The newest checkpoint over leaf `index` that has a quorum, whoever asked for it."""
    with custodian.database.reading() as session:
        for note in service.newest_first(session, above=index):
            if _met(custodian.directory.policy.check, note):
                return note
    return None


def submit_head(custodian: Custodian, *, again: bool = False) -> Note:
    """Sign the head, ask every witness of the directory at the same time, and return what came together.

    `again`: also those that have countersigned this head, so that it bears a time of now. When another worker has shown
    a newer head meanwhile, that one is submitted. Raises Problem `closed` when a witness has seen a larger log.
    """
    for _ in range(ROUNDS):
        note, overtaken = _submit_once(custodian, again=again)
        if not overtaken:
            break
    return note


def _submit_once(custodian: Custodian, *, again: bool) -> tuple[Note, bool]:
    """One round; and whether it was overtaken by a newer head."""
    signed = sign_head(custodian)
    checkpoint = Checkpoint.from_text(signed.text)
    entries = custodian.directory.directory.witnesses
    with custodian.database.reading() as session:
        have = service.cosigned(session, checkpoint.size) or signed
        known = set() if again else {(line.name, line.key_id) for line in have.signatures}
        missing = [
            (entry, key) for entry in entries if ((key := VerifierKey.from_text(entry.vkey)).name, key.id) not in known
        ]
        olds = {entry.vkey: _last_size(session, entry.vkey) for entry, _ in missing}
    if not missing:
        return have, False

    def ask(pair: tuple[WitnessEntry, VerifierKey]) -> Submitted:
        entry, key = pair
        return _ask(custodian, signed, entry, key, olds[entry.vkey])

    with ThreadPoolExecutor(max_workers=len(missing)) as pool:
        results = list(pool.map(ask, missing))
    with custodian.database.transaction() as session:
        _keep(session, custodian.now(), checkpoint.size, results)
        everything = service.cosigned(session, checkpoint.size)
    # One witness of several that claims so may lie; without it the quorum still has to be met.
    behind = any(result.outcome == "ahead" for result in results)
    if behind and not _met(custodian.directory.policy.check, everything or signed):
        with custodian.database.transaction() as session:
            restoring.begin(session, checkpoint.size + 1, custodian.today())
        raise Problem(Code.CLOSED, "a witness has seen a longer log than this one: it was restored from before")
    return everything or signed, any(result.outcome == "overtaken" for result in results)


def sign_head(custodian: Custodian, *, urgent: bool = False) -> Note:
    """The signed checkpoint of the committed head, as `service.sign_head`, in a transaction of its own. Raises Problem
    `closed` also for a database from before the log of the directory began."""
    with custodian.database.transaction(urgent=urgent) as session:
        service.check_begun(session, custodian.directory.directory)
        return service.sign_head(session, custodian.log_signer, custodian.head_memory)


def _ask(custodian: Custodian, signed: Note, entry: WitnessEntry, key: VerifierKey, old: int) -> Submitted:
    """One add-checkpoint, and others while the witness says that it remembers another size: other workers, of whatever
    process, show it heads at the same moment. What it remembers can only rise; a witness that says otherwise, or says
    so again and again, has not countersigned.
    """
    size = Checkpoint.from_text(signed.text).size
    told = -1
    try:
        with _on_the_line(custodian) as client:
            for _attempt in range(ATTEMPTS):
                with custodian.database.reading() as session:
                    proof = merkle.consistency_proof(old, size, service.nodes(session))
                status, said = _post(client, entry, Submission(old, tuple(proof), signed))
                if status == 200:
                    return Submitted(entry, "cosigned", read_cosignatures(said, signed, [key]))
                if status != 409:
                    _log.warning(
                        "witness-refused", witness=key.name, status=status, said=said.decode(errors="replace")[:SAID]
                    )
                    break
                old = read_size(said)
                if old > size:
                    with custodian.database.reading() as session:
                        return Submitted(entry, "overtaken" if old <= service.size(session) else "ahead")
                if old <= told:
                    _log.warning("witness-contradicts-itself", witness=key.name)
                    break
                told = old
            else:
                _log.warning("witness-never-content", witness=key.name)
    except _NO_ANSWER as error:
        _log.warning("witness", witness=key.name, kind=type(error).__name__)
    return Submitted(entry, "unreachable")


@contextmanager
def _on_the_line(custodian: Custodian) -> Iterator[httpx2.Client]:
    """A client that hangs up after a few time-outs, however the witness spends them: also on a byte now and then."""
    timeout_s = custodian.settings.witness_timeout_s
    with httpx2.Client(timeout=timeout_s, trust_env=False, headers={"Accept-Encoding": "identity"}) as client:
        hang_up = threading.Timer(HANG_UP_AFTER * timeout_s, client.close)
        hang_up.daemon = True
        hang_up.start()
        try:
            yield client
        finally:
            hang_up.cancel()


def _post(client: httpx2.Client, entry: WitnessEntry, submission: Submission) -> tuple[int, bytes]:
    """The witness's status and body. Raises one of `_NO_ANSWER`, also for a body of more than `MAX_ANSWER_BYTES`."""
    url = f"{entry.url.rstrip('/')}/add-checkpoint"
    with client.stream("POST", url, content=submission.to_bytes()) as response:
        said = bytearray()
        for piece in response.iter_raw():
            said += piece
            if len(said) > MAX_ANSWER_BYTES:
                raise ValueError("the answer of a witness is a few lines")
    return response.status_code, bytes(said)


def newest_size(custodian: Custodian, entry: WitnessEntry, head: Note) -> int | None:
    """How many leaves this witness countersigned last, by its own word; None when it gives none.

    It is shown a head that the log signed, as if for the second time: nothing that it does not know is signed by that.
    """
    size, name = Checkpoint.from_text(head.text).size, VerifierKey.from_text(entry.vkey).name
    try:
        with _on_the_line(custodian) as client:
            status, said = _post(client, entry, Submission(size, (), head))
        if status == 200:
            return size
        if status == 409:
            return read_size(said)
        _log.warning("witness-refused", witness=name, status=status, said=said.decode(errors="replace")[:SAID])
    except _NO_ANSWER as error:
        _log.warning("witness", witness=name, kind=type(error).__name__)
    return None


def _last_size(session: Session, vkey: str) -> int:
    state = session.get(WitnessState, vkey)
    return state.size if state else 0


def _keep(session: Session, now: datetime, size: int, results: list[Submitted]) -> None:
    """Store cosignatures, and write down, at most hourly, who could not be reached: one worker at a time, since others
    may have asked about the same head."""
    service.hold(session)
    for result in results:
        vkey = result.witness.vkey
        state = session.get(WitnessState, vkey) or WitnessState(witness=vkey, size=0, complained=None)
        session.add(state)
        if result.outcome == "cosigned":
            state.size = max(state.size, size)
            for line in result.signatures:
                session.merge(Cosignature(size=size, witness=vkey, line=line.to_line()))
        elif result.outcome == "overtaken":
            continue
        elif service.is_whole(session) and (
            state.complained is None or now - parse_moment(state.complained) >= COMPLAIN_EVERY
        ):
            state.complained = moment(now)
            name = VerifierKey.from_text(vkey).name
            leaf = Leaf(
                type=LeafType.WITNESS_UNREACHABLE, at=moment(now), rule=result.outcome, detail={"witness": name}
            )
            service.append(session, leaf)


def checkpoint(custodian: Custodian) -> Note:
    """What `GET /v1/log/checkpoint` answers: the newest witnessed checkpoint, else the newest signed one."""
    policy, origin = custodian.directory.policy, custodian.log_signer.verifier.name
    with custodian.database.reading() as session:
        for note in service.newest_first(session):
            if _origin(note) == origin and _met(policy.check, note):  # and not of a log that ended
                return note
        newest = service.newest_signed(session)
    return newest if newest is not None and _origin(newest) == origin else sign_head(custodian)


def _origin(note: Note) -> str:
    return Checkpoint.from_text(note.text).origin


def _met(check: Callable[[Note], object], note: Note) -> bool:
    try:
        check(note)
    except TransparencyError:
        return False
    return True
