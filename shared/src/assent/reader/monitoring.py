"""Following a log from another machine: every look reads what is new, and says what is wrong, what stands, what is new.

The monitor keeps a copy of the log in a folder of its own, and beside it, in one file, what it has seen: what later
leaves are compared with, when each witness last countersigned, and every alarm. All of it is on disk before a look
returns, so that whoever kills the monitor, or the machine under it, makes it forget nothing: it goes on from the last
head it saw, and never accepts a smaller or another one.

An alarm about something that must never be in a log *stays* until somebody acknowledges it, also when the log looks
right again. An alarm about a state ends by itself when the state does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from assent.client.directory import DirectoryRefused, TrustedDirectory, policy_of
from assent.client.files import write_private
from assent.client.transport import AnswerInvalid, Refused, Stale, Unreachable
from assent.contracts import limits
from assent.contracts.envelope import Envelope, StatementInvalid
from assent.contracts.ids import sha256_hex
from assent.contracts.statements import Directory
from assent.contracts.times import moment, parse_moment
from assent.reader.log_copies import (
    DIRECTORY_FILE,
    EVIDENCE,
    KEEP_AND_TELL,
    MONITOR_FILE,
    Contradiction,
    CopyFolder,
    CopyInvalid,
    LogCopy,
    Served,
)
from assent.reader.log_rules import REPORT_WITHIN, SKEW, Finding, LogRules, Memory
from assent.transparency.checkpoint import open_checkpoint
from assent.transparency.errors import CheckpointInvalid, NoteInvalid, SignatureInvalid, TransparencyError
from assent.transparency.note import Note
from assent.transparency.policy import Policy, Witnessed

ACKNOWLEDGED = "acknowledged"
TRUSTED_FILE = "trusted.json"
"""The newest directory that was accepted. That of the copy changes with its checkpoint, which it must fit."""

STALE_AFTER = timedelta(hours=3)
"""The custodian has its head countersigned every hour, also when nothing is new."""

ROLE_DELAY = timedelta(hours=24)
LOGGED_WITHIN = timedelta(hours=1)
"""How long a new directory may be in force before the witnessed log names it."""

EVIDENCE_ADVICE = f"{KEEP_AND_TELL} What was shown is in this folder, under {EVIDENCE}/. Compare heads with others."
ASK_WHY = "Look at the entry with 'assent audit show', ask who did it and why, and tell the council."

ADVICE: dict[str, str] = {
    "rolled-back": EVIDENCE_ADVICE,
    "fork": EVIDENCE_ADVICE,
    "edited": EVIDENCE_ADVICE,
    "missing": EVIDENCE_ADVICE,
    "wrong-leaves": EVIDENCE_ADVICE,
    "another-log": EVIDENCE_ADVICE + " If the directory opened a new log, follow it in a new folder and keep this one.",
    "signature": EVIDENCE_ADVICE,
    "directory-refused": "Use no directory from there. Ask the holders of the root key which one they signed last.",
    "not-witnessed": "Ask the witnesses which head they signed last. Nothing opens without them, and a fork has none.",
    "witness-stale": "Ask those who run the witness whether it runs, and which head it signed last.",
    "witness-unreachable": "Ask those who run the witness whether it runs.",
    "clock": "Compare this computer's clock with a second source; then ask the operators of the other one.",
    "directory-behind": "Somebody serves an older directory than the one in force: ask the holders of the root key.",
    "directory-unlogged": "Ask the operators why the directory in force is not in the log.",
    "unreachable": "Nothing was checked. Check the network; if it stays, ask the operators.",
    "refused": "Nothing was checked. 'assent whoami' shows whether this key may read the log.",
    "no-log": "Nothing was checked. Ask the operators what is served there.",
    "unreadable": "Install the version of Assent that the custodian runs, and look again.",
    "halted": "Nothing can be recorded or read. Council and data-protection officer end it together.",
    "lease-unclosed": "Ask the requester what became of the job, then acknowledge this.",
    "collector-silent": "Ask the collector's operators whether it runs and reaches the custodian; until then nobody "
    "knows what was fetched.",
    "fetch-unexplained": "Somebody fetched ciphertext, and no lease of the log says who: ask the operators of "
    "collector and custodian. If it is not understood, halt.",
    "report-missing": "Ask the collector's operators for the report: the custodian may have kept it back.",
    "overdue": "Ask the operators; 'assent-server doctor' tells them what to do.",
}


class Alarm(BaseModel):
    """`stays`: until somebody acknowledges it. `acknowledged`: when. `seen`: at which look it was found."""

    model_config = ConfigDict(extra="forbid")
    kind: str
    about: str
    text: str
    since: str
    seen: str
    stays: bool
    acknowledged: str | None = None

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.about}" if self.about else self.kind

    @property
    def advice(self) -> str:
        return ADVICE.get(self.kind, ASK_WHY)


class State(BaseModel):
    """What the monitor has seen. Times are moments; `witnessed` has each witness's last one, by the name of its key."""

    model_config = ConfigDict(extra="forbid")
    memory: Memory = Memory()
    alarms: list[Alarm] = []
    witnessed: dict[str, str] = {}
    head_at: str = ""
    directory: str = ""
    directory_since: str = ""
    looked: str = ""
    succeeded: str = ""


class Acknowledgement(BaseModel):
    """Somebody has seen to an alarm."""

    model_config = ConfigDict(extra="forbid")
    alarm: str
    at: str


def acknowledge(folder: Path, alarm_id: str, now: datetime) -> Alarm:
    """Say that somebody has seen to an alarm: from the next look on it counts no more, unless it happens again.

    Works beside a monitor that runs. Raises CopyInvalid when there is no such alarm.
    """
    for alarm in _state(folder / MONITOR_FILE).alarms:
        if alarm.id == alarm_id and alarm.acknowledged is None:
            said = Acknowledgement(alarm=alarm_id, at=moment(now)).model_dump_json().encode()
            write_private(folder / ACKNOWLEDGED / f"{sha256_hex(alarm_id.encode())}.json", said)
            return alarm
    raise CopyInvalid(f"there is no alarm {alarm_id} that nobody has acknowledged; look with --once")


def _state(file: Path) -> State:
    """What was seen; nothing, when there is no file: then the copy is read from its first leaf. Raises CopyInvalid."""
    try:
        return State.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return State()
    except ValidationError as error:
        raise CopyInvalid(
            f"{file} is damaged or of another version. Move it away, and the copy is read again from the first leaf; "
            "what was acknowledged is asked once more."
        ) from error


@dataclass(frozen=True)
class Look:
    """What one look brought. `alarms`: all that stand and nobody acknowledged, `begun` those of them that are new.

    `complete`: the log could be read and was continued. `added`: leaves that are new.
    """

    at: str
    complete: bool
    size: int
    added: int
    witnessed: dict[str, str]
    alarms: tuple[Alarm, ...]
    begun: tuple[Alarm, ...]
    ended: tuple[Alarm, ...]
    news: tuple[Finding, ...]


class Monitor:
    """Follows one log in one folder. Close it, or use it as a context manager."""

    def __init__(
        self,
        folder: Path,
        root_fingerprint: str,
        *,
        approvals_needed: int = limits.APPROVALS_NEEDED,
        role_delay: timedelta | None = ROLE_DELAY,
        stale_after: timedelta = STALE_AFTER,
        report_within: timedelta = REPORT_WITHIN,
    ) -> None:
        """Take up the folder, also after a crash. Raises CopyInvalid, DirectoryRefused, OSError."""
        self.copy = CopyFolder(folder)
        self._file = folder / MONITOR_FILE
        self._stale_after = stale_after
        try:
            self.trusted = TrustedDirectory(root_fingerprint, folder / TRUSTED_FILE)
            held = TrustedDirectory(root_fingerprint, folder / DIRECTORY_FILE)
            if held.known and (not self.trusted.known or held.current.version > self.trusted.current.version):
                self.trusted.accept(held.envelope)
            self.state = self._load()
        except BaseException:
            self.copy.close()
            raise
        self._rules = LogRules(
            self.state.memory, approvals_needed=approvals_needed, role_delay=role_delay, report_within=report_within
        )
        self._wrong: list[Finding] = []
        self._standing: list[Finding] = []
        self._news: list[Finding] = []

    def _load(self) -> State:
        """What was seen; nothing yet, when there is no file: then the copy is read once more."""
        state = _state(self._file)
        if state.memory.size > self.copy.size:
            raise CopyInvalid(
                f"{self._file} knows {state.memory.size} leaves, and the copy beside it has {self.copy.size}: "
                "leaves were taken out of this folder. Keep it, and follow the log in a new one."
            )
        return state

    def close(self) -> None:
        self.copy.close()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- one look -----------------------------------------------------------------------------------------------------

    def look(self, served: Served, now: datetime) -> Look:
        """Read what is new, judge it, and write down what was seen. Raises OSError when that cannot be kept."""
        self._wrong, self._standing, self._news = [], [], []
        before, acknowledged = self.copy.size, self._take_acknowledgements()
        complete = self._read(served, now)
        self._read_leaves(self.copy.size, None, None)  # what a crash left unread
        if complete:
            self.state.succeeded = moment(now)
        self._judge(now)
        begun, ended = self._settle(now)
        self.state.looked = moment(now)
        self._keep()
        for path in acknowledged:
            path.unlink()
        open_ = tuple(alarm for alarm in self.state.alarms if alarm.acknowledged is None)
        return Look(
            self.state.looked, complete, self.copy.size, self.copy.size - before, dict(self.state.witnessed),
            open_, begun, ended, tuple(self._news),
        )  # fmt: skip

    def _take_acknowledgements(self) -> list[Path]:
        """What `acknowledge` left here; the files are removed when the state is on disk."""
        taken = sorted((self.copy.folder / ACKNOWLEDGED).glob("*.json"))
        for path in taken:
            said = Acknowledgement.model_validate_json(path.read_bytes())
            for alarm in self.state.alarms:
                if alarm.id == said.alarm and alarm.acknowledged is None and alarm.seen <= said.at:
                    alarm.acknowledged = said.at
        return taken

    def _keep(self) -> None:
        write_private(self._file, self.state.model_dump_json().encode())

    def _read(self, served: Served, now: datetime) -> bool:
        """Whether the log could be read, and continues what was seen."""
        at = moment(now)
        try:
            directory, envelope = self._directory(served, at)
            policy = policy_of(directory)
            note = Note.from_bytes(served.checkpoint())
            copy = LogCopy(envelope, directory.policy, note, served.tile)
            witnessed = self._witnessed(copy, policy, at)
            if witnessed is None:
                return False
            return self._follow(copy, witnessed, now)
        except Contradiction as error:
            self._wrong.append(Finding(error.kind, str(self.copy.size), str(error), at))
        except DirectoryRefused as error:
            self._wrong.append(Finding("directory-refused", sha256_hex(str(error).encode())[:8], str(error), at))
        except Stale as error:
            off = f", by {abs(error.skew_s):.0f} seconds" if error.skew_s is not None else ""
            text = f"the custodian's clock and this computer's are not the same{off}"
            self._standing.append(Finding("clock", "custodian", text, at))
        except Refused as error:
            self._standing.append(Finding("refused", "", f"the custodian refuses to show its log: {error}", at))
        except Unreachable as error:
            self._standing.append(Finding("unreachable", "", str(error), at))
        except (AnswerInvalid, CopyInvalid, StatementInvalid, CheckpointInvalid, NoteInvalid) as error:
            self._standing.append(Finding("no-log", "", f"no log could be read there: {error}", at))
        return False

    def _directory(self, served: Served, at: str) -> tuple[Directory, Envelope]:
        """The newest directory: never one that is not root-signed, older, or another of the same version."""
        directory = self.trusted.accept(served.directory())
        envelope = self.trusted.envelope
        self._rules.collector = (directory.version, directory.collector_key)
        if self.state.directory != envelope.hash:
            self.state.directory, self.state.directory_since = envelope.hash, at
        return directory, envelope

    def _witnessed(self, copy: LogCopy, policy: Policy, at: str) -> Witnessed | None:
        """Who countersigned the head. One without its witnesses is compared all the same, and not believed."""
        try:
            return policy.check(copy.checkpoint)
        except SignatureInvalid as error:
            self._wrong.append(Finding("signature", copy.head.root.hex()[:8], f"a forged signature: {error}", at))
        except TransparencyError as error:
            text = f"the head of {copy.head.size} leaves is not witnessed: {error}"
            self._standing.append(Finding("not-witnessed", "", text, at))
            try:
                open_checkpoint(copy.checkpoint, [log.key for log in policy.logs])
            except TransparencyError:
                return None  # not even the log signed it: it proves nothing about the log
            self.copy.check(copy)
        return None

    def _follow(self, copy: LogCopy, witnessed: Witnessed, now: datetime) -> bool:
        """Add and read what is new of a witnessed log. Raises Contradiction, and as `Served`."""
        times = {name: datetime.fromtimestamp(at, UTC) for name, at in witnessed.cosigned_at.items()}
        after = parse_moment(self.state.head_at) if self.state.head_at else None
        before = max(times.values(), default=None)
        read_all = self.state.memory.size == self.copy.size
        self.copy.extend(copy)
        self._read_leaves(self.copy.size, after if read_all else None, before)
        if before is not None:
            self.state.head_at = max(self.state.head_at, moment(before))
        keys = {witness.name: witness.key.name for witness in policy_of(self.trusted.current).witnesses}
        for name, at in times.items():
            key = keys[name]
            self.state.witnessed[key] = max(self.state.witnessed.get(key, ""), moment(at))
            if at > now + SKEW:
                text = f"the witness {key} signed at {moment(at)}, and here it is {moment(now)}"
                self._standing.append(Finding("clock", key, text, moment(now)))
        self.state.witnessed = {key: at for key, at in self.state.witnessed.items() if key in keys.values()}
        return True

    def _read_leaves(self, size: int, after: datetime | None, before: datetime | None) -> None:
        """Judge the leaves of the copy that were not read yet."""
        memory = self._rules.memory
        if memory.size >= size:
            return
        for start, leaves in self.copy.copy().bundles(memory.size):
            for leaf in leaves[memory.size - start :]:
                found = self._rules.read(leaf, after=after, before=before)
                self._wrong += found.wrong
                self._news += found.news

    # --- what stands --------------------------------------------------------------------------------------------------

    def _judge(self, now: datetime) -> None:
        """What is so now, whether or not the log could be read."""
        heard = {name: int(parse_moment(at).timestamp()) for name, at in self.state.witnessed.items()}
        self._standing += self._rules.standing(now, heard)
        if self.trusted.known:
            self._standing += self._silent(now)
            self._standing += self._directory_in_log(now)

    def _silent(self, now: datetime) -> Iterable[Finding]:
        for witness in policy_of(self.trusted.current).witnesses:
            name = witness.key.name
            last = self.state.witnessed.get(name)
            if last is None:
                since = self.state.directory_since
                if parse_moment(since) + self._stale_after < now:
                    yield Finding("witness-stale", name, f"the witness {name} has countersigned nothing yet", since)
            elif parse_moment(last) + self._stale_after < now:
                yield Finding("witness-stale", name, f"the witness {name} has countersigned nothing since {last}", last)

    def _directory_in_log(self, now: datetime) -> Iterable[Finding]:
        memory, current, hash_ = self._rules.memory, self.trusted.current, self.trusted.envelope.hash
        since = self.state.directory_since
        if memory.directory_version > current.version:
            text = (
                f"directory {current.version} is served, and the log says that {memory.directory_version} is in force"
            )
            yield Finding("directory-behind", str(current.version), text, memory.directory_at)
        elif memory.directory_version == current.version and memory.directory_hash != hash_:
            text = f"the log names another directory {current.version} than the one that is served"
            self._wrong.append(Finding("directory-refused", str(current.version), text, since))
        elif memory.directory_version < current.version and parse_moment(since) + LOGGED_WITHIN < now:
            text = f"directory {current.version} is served, and the witnessed log does not say that it came into force"
            yield Finding("directory-unlogged", str(current.version), text, since)

    def _settle(self, now: datetime) -> tuple[tuple[Alarm, ...], tuple[Alarm, ...]]:
        """Bring the alarms up to date; returns those that begin and those that end."""
        standing = {finding.id: finding for finding in self._standing}
        wrong = {finding.id: finding for finding in self._wrong}
        ended = [alarm for alarm in self.state.alarms if not alarm.stays and alarm.id not in standing]
        kept = [
            alarm
            for alarm in self.state.alarms
            if (alarm.id in standing or alarm.stays)
            and not (alarm.acknowledged is not None and alarm.id in wrong)  # it happened again
        ]
        known = {alarm.id for alarm in kept}
        begun = [
            Alarm(
                kind=finding.kind, about=finding.about, text=finding.text, since=finding.at or moment(now),
                seen=moment(now), stays=finding.id in wrong,
            )
            for finding in (*wrong.values(), *standing.values())
            if finding.id not in known
        ]  # fmt: skip
        self.state.alarms = [*kept, *begun]
        return tuple(begun), tuple(alarm for alarm in ended if alarm.acknowledged is None)
