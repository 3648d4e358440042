"""Who is where, with which keys: believed only when the one pinned root signed it, and never an older one again.

The fingerprint of the root key comes with the invitation code. A directory with another root key, without its
signature, with a lower version, or with the same version and another content is refused, and the one that was known
before stays. The last accepted one is kept in a file, so that a restart does not forget how far the version had risen.

Beside it lies the newest witnessed head of the log that was seen here. A directory that says that the log ended before
that head is refused, and kept as evidence: somebody is using a new log to drop leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from assent.client.files import write_private
from assent.client.transport import AnswerInvalid, Transport
from assent.contracts.envelope import Envelope, StatementInvalid, read, read_unverified
from assent.contracts.keys import PublicKey, fingerprint
from assent.contracts.rotation import StatementKey, statement_key_of
from assent.contracts.statements import Directory, FormerLog
from assent.contracts.times import parse_moment
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import NoteInvalid, PolicyInvalid, TransparencyError, VerifierKeyInvalid
from assent.transparency.note import Note, VerifierKey
from assent.transparency.policy import Policy, Witnessed
from assent.transparency.succession import Ending, LeavesDropped, ending_of

HEAD_SUFFIX = ".head"
CONTRADICTION_SUFFIX = ".contradiction"
ENDED_SUFFIX = ".contradiction-before"

OVERLAP = timedelta(days=1)
"""How long after a new directory was made the key of before still counts: it has to be signed and published first."""


class DirectoryRefused(AnswerInvalid):
    """This directory is not the organisation's, or is an older one. Ask the person who invited you; do not go on."""


class LogContradicted(DirectoryRefused):
    """What is said of the log now and a head of it that was seen here cannot both be true. The evidence is kept."""


def verify_directory(envelope: Envelope, root_fingerprint: str) -> Directory:
    """Return the directory if the root key with this fingerprint signed it. Raises DirectoryRefused."""
    try:
        claimed = read_unverified(envelope, Directory)
        if fingerprint(claimed.root_key) != root_fingerprint:
            raise DirectoryRefused("the directory names another root key than the invitation code")
        directory = read(envelope, Directory, PublicKey(claimed.root_key))
        PublicKey(directory.statement_key).load()
        PublicKey(directory.collector_key).load()
        latest = parse_moment(directory.issued) + OVERLAP
        for former in directory.former_keys:
            PublicKey(former.key).load()
        ends = [one.ended for one in directory.former_keys]
        ends += [one.ended for one in (*directory.former_policies, *directory.former_logs)]
        for ended in ends:
            if parse_moment(ended) > latest:
                raise DirectoryRefused("the directory lists a key of before that would still count later than a day on")
        kept_policy_of(directory)
        origins = [origin_of(log) for log in directory.former_logs] + [origin_of(directory)]
        if len(set(origins)) != len(origins):
            raise DirectoryRefused("a log that ended cannot go on under its name")
    except (StatementInvalid, ValueError) as error:
        raise DirectoryRefused(f"the directory is not valid: {error}") from error
    return directory


def directory_facts(directory: Directory) -> list[tuple[str, str]]:
    """Everything that people compare aloud, and that whoever has the root key reads before signing."""
    facts = [
        ("organisation", directory.organisation),
        ("custodian", directory.custodian_url),
        ("collector", directory.collector_url),
        ("root key", fingerprint(directory.root_key)),
        ("statement key", fingerprint(directory.statement_key)),
        ("collector key", fingerprint(directory.collector_key)),
        ("log key", directory.log_vkey),
    ]
    facts += [("witness", f"{witness.url}  {witness.vkey}") for witness in directory.witnesses]
    facts.append(("witnesses needed", _needed(directory)))
    facts += [("former key", f"{fingerprint(one.key)} until {one.ended}") for one in directory.former_keys]
    facts += [("former log key", f"{one.log_vkey} until {one.ended}") for one in directory.former_policies]
    for ending in endings_of(directory):
        facts.append(("former log", f"{ending.origin} ended at {ending.last.size} leaves"))
        facts.append(
            ("  LEAVES LOST", f"{ending.lost}; the first {ending.kept} were saved, and the next log begins with them")
        )
        facts += [(f"  head of {key.name}", f"{head.size} leaves") for key, head in ending.newest.items()]
        facts += [
            ("  no head of", f"{name}: if it lives, it countersigns nothing of the next log") for name in ending.silent
        ]
    level = directory.custody_level
    return [*facts, ("custody level claimed", f"{level}{' (all on one host: a demo)' if level == 0 else ''}")]


def _needed(directory: Directory) -> str:
    """How many of the witnesses, in words; or the rules themselves, when they are not that simple."""
    policy = Policy.from_bytes(directory.policy.encode())
    match policy.groups:
        case (group,) if group.name == policy.quorum and set(group.members) == {one.name for one in policy.witnesses}:
            return f"{group.threshold} of {len(group.members)}"
    return "; ".join(line for line in directory.policy.splitlines() if line.startswith(("group", "quorum", "witness")))


def origin_of(log: Directory | FormerLog) -> str:
    """The name of the log of now, or of one that ended. Raises DirectoryRefused."""
    try:
        return VerifierKey.from_text(log.log_vkey).name
    except VerifierKeyInvalid as error:
        raise DirectoryRefused(f"a log key in the directory is not one: {error}") from error


def policy_of(directory: Directory) -> Policy:
    """The witness policy that the directory prescribes, for its own log only. Raises DirectoryRefused."""
    policy = _policy_of_log(directory)
    try:
        named = {VerifierKey.from_text(witness.vkey) for witness in directory.witnesses}
    except VerifierKeyInvalid as error:
        raise DirectoryRefused(f"a witness's key in the directory cannot be read: {error}") from error
    if {witness.key for witness in policy.witnesses} != named:
        raise DirectoryRefused("the directory's witness policy asks for other witnesses than the directory names")
    _needs_somebody(policy)
    return policy


def _policy_of_log(log: Directory | FormerLog) -> Policy:
    """The policy, which must be about this very log. Raises DirectoryRefused."""
    try:
        policy = Policy.from_bytes(log.policy.encode())
        log_key = VerifierKey.from_text(log.log_vkey)
    except (PolicyInvalid, VerifierKeyInvalid) as error:
        raise DirectoryRefused(f"the directory's witness policy cannot be read: {error}") from error
    if [one.key for one in policy.logs] != [log_key]:
        raise DirectoryRefused("the directory's witness policy is about another log")
    return policy


def _needs_somebody(policy: Policy) -> None:
    if policy.is_met_by(set()):
        raise DirectoryRefused("the directory's witness policy asks for no witness at all")


def endings_of(directory: Directory) -> tuple[Ending, ...]:
    """How each former log ended, oldest first: what is quoted of it was checked. Raises DirectoryRefused."""
    found = []
    try:
        earlier = [VerifierKey.from_text(one.log_vkey) for one in directory.former_policies]
        for log in directory.former_logs:
            notes = [Note.from_bytes(head.encode()) for head in log.heads]
            found.append(ending_of(_policy_of_log(log), notes, log.kept, bytes.fromhex(log.root), log_keys=earlier))
    except TransparencyError as error:
        raise DirectoryRefused(f"what the directory quotes of a former log does not hold: {error}") from error
    return tuple(found)


@dataclass(frozen=True)
class KeptPolicy(Policy):
    """For proofs that somebody kept: the policy of now or, for what was witnessed in its time, a former one.

    `former`: each with its end, POSIX time in seconds. `endings`: of logs that ended.
    """

    former: tuple[tuple[Policy, float], ...] = ()
    endings: tuple[Ending, ...] = ()

    def check(self, note: Note) -> Witnessed:
        """As `Policy.check` of the policy of now; a cosignature of after its end counts under no former one.

        Raises LeavesDropped, too: for a proof of leaves that a log which ended is said never to have had.
        """
        try:
            return super().check(note)
        except TransparencyError:
            for policy, ended in self.former:
                try:
                    witnessed = policy.check(note)
                except TransparencyError:
                    continue
                for ending in self.endings:
                    if ending.origin == witnessed.checkpoint.origin:
                        ending.check(note)
                if all(at <= ended for at in witnessed.cosigned_at.values()):
                    return witnessed
            raise


def kept_policy_of(directory: Directory) -> KeptPolicy:
    """The policies of now and before that the directory prescribes. Raises DirectoryRefused."""
    now = policy_of(directory)
    try:
        former = tuple(
            (Policy.from_bytes(one.policy.encode()), parse_moment(one.ended).timestamp())
            for one in (*directory.former_policies, *directory.former_logs)
        )
    except (PolicyInvalid, ValueError) as error:
        raise DirectoryRefused(f"a former witness policy cannot be read: {error}") from error
    for policy, _ in former:
        _needs_somebody(policy)
    return KeptPolicy(now.logs, now.witnesses, now.groups, now.quorum, former, endings_of(directory))


class TrustedDirectory:
    """The newest directory under one root, and the newest head of the log that was seen.

    Keeps its promise over restarts if it is given a file; beside it then lie `….head` and, if there ever was one,
    `….contradiction`.
    """

    def __init__(self, root_fingerprint: str, path: Path | None = None) -> None:
        """Load what `path` holds, if it exists. Raises DirectoryRefused when that is not of this root."""
        self.root_fingerprint = root_fingerprint
        self._path = path
        self._envelope: Envelope | None = None
        self._current: Directory | None = None
        self._head: bytes | None = None
        self._contradiction: bytes | None = None
        self._look_again()

    def _look_again(self) -> None:
        """Take what the file holds, if it is newer: another process may have gone further. Raises DirectoryRefused."""
        if self._path is None or not self._path.exists():
            return
        try:
            envelope = Envelope.from_json(self._path.read_bytes())
        except StatementInvalid as error:
            raise DirectoryRefused(f"{self._path.name} is damaged; remove it to fetch the directory again") from error
        if self._envelope is not None and self._envelope.hash == envelope.hash:
            return
        directory = verify_directory(envelope, self.root_fingerprint)
        if self._current is None or directory.version > self._current.version:
            self._envelope, self._current = envelope, directory

    @property
    def known(self) -> bool:
        return self._current is not None

    @property
    def current(self) -> Directory:
        """The newest accepted directory. Raises DirectoryRefused when there is none yet: call `refresh` first."""
        if self._current is None:
            raise DirectoryRefused("no directory is known yet")
        return self._current

    @property
    def envelope(self) -> Envelope:
        """The same, as it was signed."""
        if self._envelope is None:
            raise DirectoryRefused("no directory is known yet")
        return self._envelope

    @property
    def statement_key(self) -> StatementKey:
        """The custodian's key, with those of before."""
        return statement_key_of(self.current)

    @property
    def collector_key(self) -> PublicKey:
        return PublicKey(self.current.collector_key)

    @property
    def policy(self) -> Policy:
        return policy_of(self.current)

    @property
    def kept_policy(self) -> KeptPolicy:
        """For proofs that were kept, also from before witnesses or the log's key were changed."""
        return kept_policy_of(self.current)

    @property
    def contradiction(self) -> str | None:
        """What was contradicted about the log, in one sentence, until a newer directory is accepted; or None."""
        kept = self._kept(CONTRADICTION_SUFFIX, self._contradiction)
        return None if kept is None else kept.split(b"\n", 1)[0].decode()

    def _kept(self, suffix: str, otherwise: bytes | None) -> bytes | None:
        """What lies beside the directory: another process may have gone further."""
        if self._path is None:
            return otherwise
        path = self._path.with_suffix(suffix)
        return path.read_bytes() if path.exists() else None

    def saw(self, note: Note) -> None:
        """Keep a head of the log, if it is witnessed and the newest so far. Others are passed over.

        Raises LogContradicted when it is another one of the same size.
        """
        try:
            checkpoint = self.policy.check(note).checkpoint
        except TransparencyError:
            return
        newest, known = self._newest_head(), self.newest_seen
        if newest is not None and known is not None and known.origin == checkpoint.origin:
            if known.size == checkpoint.size and known.root != checkpoint.root:
                raise self._contradicted(
                    f"there are two histories of the log, both of {known.size} leaves",
                    newest.to_bytes() + note.to_bytes(),
                )
            if known.size >= checkpoint.size:
                return
        if self._path is not None:
            write_private(self._path.with_suffix(HEAD_SUFFIX), note.to_bytes())
        self._head = note.to_bytes()

    @property
    def newest_seen(self) -> Checkpoint | None:
        """The newest witnessed head of a log that was seen here."""
        head = self._newest_head()
        return None if head is None else Checkpoint.from_text(head.text)

    def _newest_head(self) -> Note | None:
        kept = self._kept(HEAD_SUFFIX, self._head)
        try:
            return None if kept is None else Note.from_bytes(kept)
        except NoteInvalid as error:
            raise DirectoryRefused("the newest head of the log that was seen here is damaged") from error

    def _contradicted(self, sentence: str, evidence: bytes) -> LogContradicted:
        """The error to raise, after what proves it was written down."""
        self._contradiction = f"{sentence}\n\n".encode() + evidence
        if self._path is not None:
            write_private(self._path.with_suffix(CONTRADICTION_SUFFIX), self._contradiction)
        return LogContradicted(sentence)

    def _check_head(self, directory: Directory, envelope: Envelope) -> None:
        """No log ended before the newest head of it that was seen here."""
        head = self._newest_head()
        for ending in endings_of(directory) if head is not None else ():
            if head is not None and Checkpoint.from_text(head.text).origin == ending.origin:
                try:
                    ending.check(head)
                except LeavesDropped as error:
                    raise self._contradicted(str(error), head.to_bytes() + envelope.to_json()) from error

    def accept(self, envelope: Envelope) -> Directory:
        """Take a directory if it is valid and not older; write it down first. Raises DirectoryRefused.

        Raises LogContradicted when it says that the log ended before the newest head that was seen here.
        """
        directory = verify_directory(envelope, self.root_fingerprint)
        self._look_again()
        if self._current is not None and self._envelope is not None:
            if directory.version < self._current.version:
                raise DirectoryRefused(
                    f"directory {directory.version} is older than directory {self._current.version}, which is known"
                )
            if directory.version == self._current.version:
                if envelope.hash != self._envelope.hash:
                    raise DirectoryRefused(f"there are two directories with version {directory.version}")
                return self._current
            _check_succession(self._current, directory)
        self._check_head(directory, envelope)
        if self._path is not None:
            write_private(self._path, envelope.to_json())
            alarm = self._path.with_suffix(CONTRADICTION_SUFFIX)
            if alarm.exists():
                alarm.replace(alarm.with_suffix(ENDED_SUFFIX))  # evidence is never thrown away
        self._contradiction = None
        self._envelope, self._current = envelope, directory
        return directory

    def refresh(self, custodian: Transport) -> Directory:
        """Ask `GET /v1/directory` and accept the answer. Raises as `Transport.request`, and DirectoryRefused."""
        try:
            envelope = Envelope.from_json(custodian.request("GET", "/v1/directory"))
        except StatementInvalid as error:
            raise AnswerInvalid("the answer is not a directory") from error
        return self.accept(envelope)


def _check_succession(known: Directory, directory: Directory) -> None:
    """The log goes on or, where another one begins, it is said how it ended. Raises DirectoryRefused."""
    before = len(known.former_logs)
    if directory.former_logs[:before] != known.former_logs:
        raise DirectoryRefused("the directory says something else than before about how a former log ended")
    ended = [origin_of(log) for log in directory.former_logs[before:]]
    if origin_of(directory) != origin_of(known) and origin_of(known) not in ended[:1]:
        raise DirectoryRefused("the directory names another log, and does not say how the one of before ended")
    if ended and directory.version == known.version + 1 and directory.former_logs[before].policy != known.policy:
        raise DirectoryRefused("the directory names other witnesses of the log that ended than it had")
