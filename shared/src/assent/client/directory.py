"""Who is where, with which keys: believed only when the one pinned root signed it, and never an older one again.

The fingerprint of the root key comes with the invitation code. A directory with another root key, without its
signature, with a lower version, or with the same version and another content is refused, and the one that was known
before stays. The last accepted one is kept in a file, so that a restart does not forget how far the version had risen.
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
from assent.contracts.statements import Directory
from assent.contracts.times import parse_moment
from assent.transparency.errors import PolicyInvalid, TransparencyError, VerifierKeyInvalid
from assent.transparency.note import Note, VerifierKey
from assent.transparency.policy import Policy, Witnessed

OVERLAP = timedelta(days=1)
"""How long after a new directory was made the key of before still counts: it has to be signed and published first."""


class DirectoryRefused(AnswerInvalid):
    """This directory is not the organisation's, or is an older one. Ask the person who invited you; do not go on."""


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
        ends = [one.ended for one in directory.former_keys] + [one.ended for one in directory.former_policies]
        for ended in ends:
            if parse_moment(ended) > latest:
                raise DirectoryRefused("the directory lists a key of before that would still count later than a day on")
        kept_policy_of(directory)
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
    level = directory.custody_level
    return [*facts, ("custody level claimed", f"{level}{' (all on one host: a demo)' if level == 0 else ''}")]


def _needed(directory: Directory) -> str:
    """How many of the witnesses, in words; or the rules themselves, when they are not that simple."""
    policy = Policy.from_bytes(directory.policy.encode())
    match policy.groups:
        case (group,) if group.name == policy.quorum and set(group.members) == {one.name for one in policy.witnesses}:
            return f"{group.threshold} of {len(group.members)}"
    return "; ".join(line for line in directory.policy.splitlines() if line.startswith(("group", "quorum", "witness")))


def policy_of(directory: Directory) -> Policy:
    """The witness policy that the directory prescribes, for its own log only. Raises DirectoryRefused."""
    try:
        policy = Policy.from_bytes(directory.policy.encode())
        log_key = VerifierKey.from_text(directory.log_vkey)
    except (PolicyInvalid, VerifierKeyInvalid) as error:
        raise DirectoryRefused(f"the directory's witness policy cannot be read: {error}") from error
    if [log.key for log in policy.logs] != [log_key]:
        raise DirectoryRefused("the directory's witness policy is about another log")
    try:
        named = {VerifierKey.from_text(witness.vkey) for witness in directory.witnesses}
    except VerifierKeyInvalid as error:
        raise DirectoryRefused(f"a witness's key in the directory cannot be read: {error}") from error
    if {witness.key for witness in policy.witnesses} != named:
        raise DirectoryRefused("the directory's witness policy asks for other witnesses than the directory names")
    _needs_somebody(policy)
    return policy


def _needs_somebody(policy: Policy) -> None:
    if policy.is_met_by(set()):
        raise DirectoryRefused("the directory's witness policy asks for no witness at all")


@dataclass(frozen=True)
class KeptPolicy(Policy):
    """For proofs that somebody kept: the policy of now or, for what was witnessed in its time, a former one.

    `former`: each with its end, POSIX time in seconds.
    """

    former: tuple[tuple[Policy, float], ...] = ()

    def check(self, note: Note) -> Witnessed:
        """As `Policy.check` of the policy of now; a cosignature of after its end counts under no former one."""
        try:
            return super().check(note)
        except TransparencyError:
            for policy, ended in self.former:
                try:
                    witnessed = policy.check(note)
                except TransparencyError:
                    continue
                if all(at <= ended for at in witnessed.cosigned_at.values()):
                    return witnessed
            raise


def kept_policy_of(directory: Directory) -> KeptPolicy:
    """The policies of now and before that the directory prescribes. Raises DirectoryRefused."""
    now = policy_of(directory)
    try:
        former = tuple(
            (Policy.from_bytes(one.policy.encode()), parse_moment(one.ended).timestamp())
            for one in directory.former_policies
        )
    except (PolicyInvalid, ValueError) as error:
        raise DirectoryRefused(f"a former witness policy cannot be read: {error}") from error
    for policy, _ in former:
        _needs_somebody(policy)
    return KeptPolicy(now.logs, now.witnesses, now.groups, now.quorum, former)


class TrustedDirectory:
    """The newest directory under one root. Keeps its promise over restarts if it is given a file."""

    def __init__(self, root_fingerprint: str, path: Path | None = None) -> None:
        """Load what `path` holds, if it exists. Raises DirectoryRefused when that is not of this root."""
        self.root_fingerprint = root_fingerprint
        self._path = path
        self._envelope: Envelope | None = None
        self._current: Directory | None = None
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

    def accept(self, envelope: Envelope) -> Directory:
        """Take a directory if it is valid and not older; write it down first. Raises DirectoryRefused."""
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
        if self._path is not None:
            write_private(self._path, envelope.to_json())
        self._envelope, self._current = envelope, directory
        return directory

    def refresh(self, custodian: Transport) -> Directory:
        """Ask `GET /v1/directory` and accept the answer. Raises as `Transport.request`, and DirectoryRefused."""
        try:
            envelope = Envelope.from_json(custodian.request("GET", "/v1/directory"))
        except StatementInvalid as error:
            raise AnswerInvalid("the answer is not a directory") from error
        return self.accept(envelope)
