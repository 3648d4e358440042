"""Trust policies (C2SP tlog-policy): which logs are accepted, and which witnesses must have seen a checkpoint.

A policy is refused as a whole when any line of it is not understood: a line that is skipped could have been the one
that asks for more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from assent.transparency.checkpoint import Checkpoint, open_checkpoint
from assent.transparency.errors import NotSigned, PolicyInvalid, QuorumMissing, VerifierKeyInvalid
from assent.transparency.note import Kind, Note, VerifierKey, verify

NO_QUORUM = "none"
"""The quorum that asks for no witness."""

_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_THRESHOLD = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Log:
    """A log that is accepted. Its key's name is its origin."""

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True)
class Witness:
    """A witness, under the name it has inside the policy."""

    name: str
    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True)
class Group:
    """Counts as having witnessed when at least `threshold` of `members` (witnesses or groups) have."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Witnessed:
    """What a checkpoint proves under a policy: which log signed it, and which witnesses (by policy name) cosigned when.

    Times are POSIX, in seconds.
    """

    checkpoint: Checkpoint
    log: VerifierKey
    cosigned_at: Mapping[str, int]


@dataclass(frozen=True)
class Policy:
    """Parsed rules. `groups` are in the order of the file, so that members come before the group."""

    logs: tuple[Log, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str

    @classmethod
    def from_bytes(cls, data: bytes) -> Policy:
        """Read a policy file. Raises PolicyInvalid with the line."""
        return _Reader().read(data)

    def is_met_by(self, cosigned: set[str]) -> bool:
        """Whether these witnesses, by policy name, are enough."""
        witnessed = {NO_QUORUM} | (cosigned & {witness.name for witness in self.witnesses})
        for group in self.groups:
            if len(witnessed.intersection(group.members)) >= group.threshold:
                witnessed.add(group.name)
        return self.quorum in witnessed

    def check(self, note: Note) -> Witnessed:
        """Return what a signed checkpoint proves. How old the cosignatures may be is the caller's to judge.

        Raises CheckpointInvalid, OriginUnknown, SignatureInvalid, NotSigned or QuorumMissing, in this order of checks.
        """
        checkpoint, by_log = open_checkpoint(note, (log.key for log in self.logs))
        names = {witness.key: witness.name for witness in self.witnesses}
        cosigned_at: dict[str, int] = {}
        try:
            cosigned = verify(note, names)
        except NotSigned:
            cosigned = ()
        for cosignature in cosigned:
            if cosignature.time is not None:
                name = names[cosignature.key]
                cosigned_at[name] = max(cosignature.time, cosigned_at.get(name, 0))
        if not self.is_met_by(set(cosigned_at)):
            raise QuorumMissing(self.quorum, tuple(sorted(cosigned_at)))
        return Witnessed(checkpoint, by_log[0].key, cosigned_at)

    def heard(self, witnessed: Witnessed) -> dict[str, int]:
        """When each witness cosigned that (POSIX seconds), by the name of its key instead of that in the policy."""
        names = {witness.name: witness.key.name for witness in self.witnesses}
        return {names[name]: at for name, at in witnessed.cosigned_at.items()}


class _Reader:
    """Collects the lines of one policy file."""

    def __init__(self) -> None:
        self.logs: list[Log] = []
        self.witnesses: dict[str, Witness] = {}
        self.groups: dict[str, Group] = {}
        self.grouped: set[str] = set()
        self.quorum: str | None = None

    def read(self, data: bytes) -> Policy:
        if data and not data.endswith(b"\n"):
            raise PolicyInvalid("the last line does not end; the file may be cut off")
        for number, raw in enumerate(data.split(b"\n"), start=1):
            if _FORBIDDEN.search(raw):
                raise PolicyInvalid("a control character other than tab", line=number)
            # Names are compared as octets: this decoding keeps any two different names different.
            words = re.findall(r"[^ \t]+", raw.decode("utf-8", "surrogateescape"))
            if words and not words[0].startswith("#"):
                try:
                    self._line(words)
                except (PolicyInvalid, VerifierKeyInvalid) as error:
                    raise PolicyInvalid(str(error), line=number) from error
        if self.quorum is None:
            raise PolicyInvalid("there is no quorum line")
        return Policy(tuple(self.logs), tuple(self.witnesses.values()), tuple(self.groups.values()), self.quorum)

    def _line(self, words: list[str]) -> None:
        match words:
            case ["log", vkey]:
                self._log(vkey, None)
            case ["log", vkey, url]:
                self._log(vkey, url)
            case ["witness", name, vkey]:
                self._witness(name, vkey, None)
            case ["witness", name, vkey, url]:
                self._witness(name, vkey, url)
            case ["group", name, threshold, *members] if members:
                self._group(name, threshold, members)
            case ["quorum", name]:
                if self.quorum is not None:
                    raise PolicyInvalid("a second quorum line")
                if name != NO_QUORUM:
                    self._require_defined(name)
                self.quorum = name
            case _:
                raise PolicyInvalid("not a log, witness, group or quorum line as the format has it")

    def _log(self, vkey: str, url: str | None) -> None:
        key = VerifierKey.from_text(vkey)
        if key.kind is not Kind.ED25519:
            raise PolicyInvalid("a log's key is of type 0x01")
        if any(key.public == log.key.public for log in self.logs):
            raise PolicyInvalid("two logs with the same public key")
        self.logs.append(Log(key, url))

    def _witness(self, name: str, vkey: str, url: str | None) -> None:
        self._require_new(name)
        key = VerifierKey.from_text(vkey)
        if key.kind is not Kind.COSIGNATURE:
            raise PolicyInvalid("a witness's key is of type 0x04")
        if any(key.public == witness.key.public for witness in self.witnesses.values()):
            raise PolicyInvalid("two witnesses with the same public key")
        self.witnesses[name] = Witness(name, key, url)

    def _group(self, name: str, threshold: str, members: list[str]) -> None:
        self._require_new(name)
        for member in members:
            self._require_defined(member)
            if member in self.grouped:
                raise PolicyInvalid("a name is a member of at most one group, once")
            self.grouped.add(member)
        match threshold:
            case "all":
                needed = len(members)
            case "any":
                needed = 1
            case _ if _THRESHOLD.fullmatch(threshold) and int(threshold) <= len(members):
                needed = int(threshold)
            case _:
                raise PolicyInvalid(f"the threshold of a group is all, any, or 1 to {len(members)} as it has members")
        self.groups[name] = Group(name, needed, tuple(members))

    def _require_new(self, name: str) -> None:
        if name == NO_QUORUM or name in self.witnesses or name in self.groups:
            raise PolicyInvalid("this name is taken")

    def _require_defined(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise PolicyInvalid("a name that no earlier line defines")
