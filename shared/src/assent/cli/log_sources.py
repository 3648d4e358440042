"""Where `assent audit` gets the log from: the custodian, who writes the look down, or a copy on this computer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from assent.cli.shell import Shell, root_option
from assent.client.directory import kept_policy_of, verify_directory
from assent.reader.log_copies import Contradiction, CopyFolder, Live, LogCopy, load_copy, take
from assent.reader.log_entries import Entry, ProvenLog, entry_of
from assent.reader.monitoring import STALE_AFTER
from assent.transparency.policy import Policy

FromCopy: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--copy",
        metavar="FOLDER",
        help="Read this copy ('assent audit export FOLDER' makes one), without a network; looking at it leaves no "
        "entry in the log, making it did.",
    ),
]
Root: TypeAlias = Annotated[
    str | None, typer.Option(help="With --copy: the root key's fingerprint; default: that of your credential.")
]


@dataclass(frozen=True)
class Source:
    """A log whose head was verified, under a policy that names witnesses. `served`: the custodian, unless it is a copy.

    The custodian has its head countersigned every hour and before every lease. What came since can only be believed.
    """

    log: ProvenLog
    policy: Policy
    served: Live | None = None

    @cached_property
    def too_new(self) -> tuple[Entry, ...]:
        """Entries that no witness has seen yet, in order."""
        found = self.served.entries_after(self.log.size) if self.served is not None else []
        return tuple(
            entry_of(index, data, name, witnessed=False) for index, (data, name) in enumerate(found, self.log.size)
        )

    def newest_first(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Entries from `start` up to, not including, `stop`, those too new for witnesses with them."""
        if stop is None or stop > self.log.size:
            yield from (entry for entry in reversed(self.too_new) if start <= entry.index < (stop or entry.index + 1))
        yield from self.log.backwards(start, stop)

    def entry(self, index: int) -> Entry:
        """Raises CopyInvalid when there is none."""
        beyond = index - self.log.size
        return self.too_new[beyond] if 0 <= beyond < len(self.too_new) else self.log.entry(index)

    @property
    def witnessed(self) -> dict[str, datetime | None]:
        """When each witness of the policy countersigned this head; None for who did not."""
        times = self.log.witnessed.cosigned_at
        names = dict.fromkeys([*(witness.name for witness in self.policy.witnesses), *times])
        return {name: datetime.fromtimestamp(times[name], UTC) if name in times else None for name in names}

    @property
    def newest(self) -> datetime | None:
        """When the last witness countersigned; None when the policy asks for none and none did."""
        return max((at for at in self.witnessed.values() if at is not None), default=None)

    def is_fresh(self, at: datetime | None, now: datetime) -> bool:
        """Whether a witness has countersigned, and of the live log not too long ago."""
        return at is not None and (self.served is None or now - at < STALE_AFTER)


@contextmanager
def live_log(shell: Shell, kept: CopyFolder | None = None) -> Iterator[Live]:
    """The log at the custodian, in one's own name. `kept`: leaves that this copy has are not asked for."""
    directory = shell.directory()
    with shell.custodian() as custodian:
        yield Live(custodian, directory.envelope, kept)


def take_live(shell: Shell, served: Live) -> LogCopy:
    """The log as the custodian has it. Raises Contradiction when more of it was seen here before, witnessed; and as
    `take`."""
    directory = shell.directory()
    before = directory.newest_seen  # before asking: another command may see more meanwhile
    copy = take(served)
    head = copy.head
    if before is not None and before.origin == head.origin and head.size < before.size:
        raise Contradiction(
            "rolled-back",
            f"the log has {head.size} entries, and {before.size} were seen here before, witnessed: entries were taken "
            "away",
        )
    directory.saw(copy.checkpoint)
    return copy


@contextmanager
def proven(shell: Shell, folder: Path | None, root: str | None) -> Iterator[Source]:
    """The log, after root key, log and enough witnesses were found to have signed what it is. Raises as `LogCopy`."""
    if folder is not None:
        copy = load_copy(folder)
        policy: Policy = kept_policy_of(verify_directory(copy.directory, root_option(shell, root)))
        yield Source(ProvenLog(copy, policy.check(copy.checkpoint)), policy)
        return
    with live_log(shell) as served:
        copy = take_live(shell, served)
        current = shell.directory().policy
        witnessed = current.check(copy.checkpoint)
        yield Source(ProvenLog(copy, witnessed, served.entries), current, served)
