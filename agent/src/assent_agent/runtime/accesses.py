"""What the person was told of accesses to their recordings, kept on their computer: for each the message, the entry of
the log with its proof, and whether the person has seen it.

Nothing of this leaves the computer. It survives restarts, and a custodian that forgets. What was not heard, since the
computer was off or an answer got lost, is asked for again: all that was told since everything was heard last.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from assent.client.accesses import LEAF_SUFFIX, PROOF_SUFFIX, AccessUnproved, keep_proof, proof_of
from assent.client.files import write_private
from assent.contracts.envelope import Signed, StatementInvalid
from assent.contracts.statements import Notification
from assent.contracts.times import Day, add_days
from assent.contracts.wire import Access, AccessesView
from assent.transparency.note import Note
from assent.transparency.policy import Policy
from assent_agent.core.telling import Told, as_read

OVERLAP_DAYS = 2
"""What was told around the end of the last time is asked for again: days end while answers are under way."""

HEARD_FILE = "heard.json"
SEEN_FILE = "seen.json"


class StoredNotification(Signed):
    """`wrong`: why what came as proof is none; empty: it holds, or is not here yet."""

    notification: Notification
    wrong: str = ""


class Seen(Signed):
    """What the person has seen."""

    ids: tuple[str, ...]


class Heard(Signed):
    """Everything that was told before this day is here."""

    day: Day


class AccessBook:
    """The folder. Several threads may use it. A file that is damaged counts as not there, and comes again."""

    def __init__(self, folder: Path) -> None:
        """Reads what is kept. Raises OSError."""
        self.folder = folder
        self._lock = threading.Lock()
        self._seen = self._read_seen()
        self._told = {one.id: one for one in self._read()}
        self._sorted: tuple[Told, ...] | None = None

    def told(self) -> tuple[Told, ...]:
        """Everything, as it is read. Asked many times a second: put in order only after something changed."""
        with self._lock:
            if self._sorted is None:
                self._sorted = as_read(self._told.values())
            return self._sorted

    def awaits_proof(self) -> bool:
        """Whether the proof of anything is not here, or is none."""
        return any(one.proof in ("awaited", "wrong") for one in self.told())

    def since(self) -> str | None:
        """From which day on to ask what was told; None: everything."""
        data = self._bytes(self.folder / HEARD_FILE)
        try:
            heard = None if data is None else Heard.parse(data).day
        except StatementInvalid:
            return None
        awaited = [one.day for one in self.told() if one.proof in ("awaited", "wrong")]
        return None if heard is None else min([add_days(heard, -OVERLAP_DAYS), *awaited])

    def note(self, notifications: Iterable[Notification]) -> None:
        """Keep what news told, of which nothing is here yet; the proofs come later. Raises OSError."""
        for notification in notifications:
            if notification.id not in self._told:
                self._keep(notification, Access(notification=notification), None)

    def keep(self, view: AccessesView, policy: Policy, day: str) -> tuple[Note, ...]:
        """Keep everything that the custodian told, up to this `day`, with the proofs that hold; returns the checkpoints
        that they are for. Raises OSError; then what was not kept comes again.
        """
        seen: dict[bytes, Note] = {}
        for access in reversed(view.accesses):
            proof = self._keep(access.notification, access, policy)
            if proof is not None:
                seen[proof.to_bytes()] = proof
        write_private(self.folder / HEARD_FILE, Heard(day=day).to_json())
        return tuple(seen.values())

    def saw(self, ids: Sequence[str]) -> None:
        """The person has seen these. Raises OSError."""
        with self._lock:
            new = set(ids) & set(self._told) - self._seen
            if new:
                self._save_seen(self._seen | new)
                self._told |= {id_: replace(self._told[id_], seen=True) for id_ in new}
                self._sorted = None

    def _keep(self, notification: Notification, access: Access, policy: Policy | None) -> Note | None:
        """The checkpoint of a proof that was checked and written down just now."""
        known = self._told.get(notification.id)
        if known is not None and known.proof == "kept":
            return None
        wrong, checkpoint = "", None
        if policy is not None:
            try:
                proof = proof_of(access, policy)
            except AccessUnproved as error:
                wrong = str(error) or "it cannot be read"
                with self._lock:
                    if known is not None and known.proof != "wrong" and known.seen:
                        self._save_seen(self._seen - {known.id})  # the person has not seen that
            else:
                if proof is not None:
                    keep_proof(access, self.folder)
                    checkpoint = proof.checkpoint
        stored = StoredNotification(notification=notification, wrong=wrong)
        path = self.folder / f"{notification.id}.json"
        if self._bytes(path) != stored.to_json():
            write_private(path, stored.to_json())
        with self._lock:
            self._told[notification.id] = self._of(stored)
            self._sorted = None
        return checkpoint

    def _of(self, stored: StoredNotification) -> Told:
        told = stored.notification
        here = all((self.folder / f"{told.id}{suffix}").exists() for suffix in (LEAF_SUFFIX, PROOF_SUFFIX))
        return Told(
            id=told.id,
            day=told.day,
            kind=told.kind,
            text=told.text,
            approvals=told.approvals,
            leaf_index=told.leaf_index,
            proof="none" if told.leaf_index is None else "wrong" if stored.wrong else "kept" if here else "awaited",
            seen=told.id in self._seen,
        )

    def _read(self) -> Iterable[Told]:
        for path in sorted(self.folder.glob("*.json")) if self.folder.exists() else []:
            if path.name in (HEARD_FILE, SEEN_FILE):
                continue
            try:
                yield self._of(StoredNotification.parse(path.read_bytes()))
            except StatementInvalid:
                (self.folder / HEARD_FILE).unlink(missing_ok=True)  # everything is asked for again

    def _read_seen(self) -> frozenset[str]:
        """Nothing, when the file is damaged: better told twice than never."""
        data = self._bytes(self.folder / SEEN_FILE)
        try:
            return frozenset() if data is None else frozenset(Seen.parse(data).ids)
        except StatementInvalid:
            return frozenset()

    def _save_seen(self, seen: frozenset[str]) -> None:
        write_private(self.folder / SEEN_FILE, Seen(ids=tuple(sorted(seen))).to_json())
        self._seen = seen

    def _bytes(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
