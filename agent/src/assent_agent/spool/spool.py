"""The spool's stories: open, seal, send, forget, end, destroy. The essay is in `assent_agent.spool`."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from assent.codec.content import encode_content
from assent.contracts import limits
from assent.contracts.envelope import Envelope, StatementInvalid, read_unverified
from assent.contracts.ids import Modality
from assent.contracts.keys import KeyInvalid, SignatureInvalid, SigningKey
from assent.contracts.segment import EndRecord, SkipRecord, chain_after_skip, header_hash
from assent.contracts.statements import StreamCertificate
from assent.contracts.times import hour_of, parse_hour
from assent.sealing.errors import SealingError
from assent.sealing.hpke import HybridPublicKey
from assent.sealing.segments import (
    SealedSegment,
    SignedRecord,
    check_body,
    parse_header,
    seal_segment,
    sign_record,
    verify_record,
    verify_segment,
)
from assent_agent.core.recorder import Draft
from assent_agent.ports import SecretStore, SecretsUnavailable
from assent_agent.spool.disk import Disk, RealDisk, write_durably
from assent_agent.spool.files import (
    CERTIFICATE,
    GONE,
    POSITION,
    STREAM_NAME,
    TEMPORARY,
    FileDamaged,
    ItemName,
    Position,
    record_from_bytes,
    record_to_bytes,
    segment_from_bytes,
    segment_to_bytes,
)
from assent_agent.spool.held import HeldKeys, HeldSegment

RESERVE_BYTES: Final = 64 * 1024 * 1024
"""The spool leaves so much of the disk free."""


class SpoolFull(Exception):
    """There is no room for this segment. What was spooled before is still there."""


class StreamClosed(Exception):
    """This stream takes no more segments: it was ended, destroyed, or its files are in doubt."""


@dataclass(frozen=True)
class Item:
    """Something that is there to be sent. `id`: segment id, or hash of the record, as the collector signs it."""

    stream: str
    name: ItemName


@dataclass(frozen=True)
class StreamView:
    """What status and uploads must know of a stream. `items` in order; `ready`: how many of them may be sent now."""

    stream: str
    modality: Modality
    day: str
    upload_until: str
    items: tuple[Item, ...]
    ready: int
    ended: bool
    bytes_sealed: int


@dataclass(frozen=True)
class Forgotten:
    """What forgetting did: segments destroyed, and segments in that time that are out of reach (sent already)."""

    segments: int
    out_of_reach: int


@dataclass
class _Stream:
    id: str
    folder: Path
    envelope: Envelope
    certificate: StreamCertificate
    vault_key: HybridPublicKey
    key: SigningKey
    position: Position = field(default_factory=Position)
    items: list[ItemName] = field(default_factory=list)
    next_sequence: int = 0
    previous: str = ""
    ended: bool = False
    writable: bool = False
    bytes_sealed: int = 0
    announced: bool = False
    held_until: dict[int, datetime] = field(default_factory=dict)
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)
    ids: dict[int, str] = field(default_factory=dict)


class Spool:
    """All streams that are not wholly stored elsewhere. May be used by several threads.

    `hold`: how long a segment waits before it may be sent. Opening recovers what an earlier run left: everything that
    was sealed is there, its hold begins anew, and every stream left open is ended as `crashed`.
    Raises OSError, and SecretsUnavailable when stream keys cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        secrets: SecretStore,
        *,
        now: datetime,
        hold: timedelta = timedelta(seconds=limits.HOLD_S),
        disk: Disk | None = None,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        self.folder = folder
        self.held = HeldKeys()
        self._secrets = secrets
        self._disk = disk or RealDisk()
        self._hold = hold
        self._reserve_bytes = reserve_bytes
        self._lock = threading.RLock()
        self._streams: dict[str, _Stream] = {}
        self._disk.make_folder(folder)
        self._disk.sync_folder(folder.parent)
        for name in self._disk.names(folder):
            if name.endswith(GONE) and STREAM_NAME.fullmatch(name.removesuffix(GONE)):
                self._remove_gone(name.removesuffix(GONE))
            elif STREAM_NAME.fullmatch(name):
                stream = self._load(name, now)
                if stream is not None:
                    self._streams[name] = stream
        for stream in list(self._streams.values()):
            self._end(stream, "crashed", now)

    # --- streams ----------------------------------------------------------------------------------

    def open_stream(self, envelope: Envelope, key: SigningKey, now: datetime) -> str:
        """Begin a stream under a verified certificate made for `key`; returns its id when it will survive a crash.

        Raises OSError, SecretsUnavailable, StatementInvalid.
        """
        certificate = read_unverified(envelope, StreamCertificate)
        if certificate.stream_key != key.public.text:
            raise StatementInvalid("the certificate is for another stream key")
        with self._lock:
            folder = self.folder / certificate.stream
            self._disk.make_folder(folder)
            self._disk.sync_folder(self.folder)
            write_durably(self._disk, folder / CERTIFICATE, envelope.to_json(), _hour_s(now))
            self._secrets.put(_secret(certificate.stream), key.to_pem())
            stream = self._load(certificate.stream, now)
            if stream is None:
                raise StreamClosed(certificate.stream)
            stream.writable = True
            self._streams[stream.id] = stream
            return stream.id

    def extend(self, envelope: Envelope, now: datetime) -> None:
        """Keep a newer certificate of a stream that is here. Raises OSError, StreamClosed, StatementInvalid."""
        certificate = read_unverified(envelope, StreamCertificate)
        with self._lock:
            stream = self._streams.get(certificate.stream)
            if stream is None or stream.certificate.stream_key != certificate.stream_key:
                raise StreamClosed(certificate.stream)
            write_durably(self._disk, stream.folder / CERTIFICATE, envelope.to_json(), _hour_s(now))
            stream.envelope, stream.certificate, stream.announced = envelope, certificate, False

    def certificate(self, stream: str) -> StreamCertificate | None:
        with self._lock:
            found = self._streams.get(stream)
            return found.certificate if found else None

    def budget_left(self, stream: str) -> int:
        """Bytes of bodies that the stream's certificate still allows; 0 when the stream takes no more segments."""
        with self._lock:
            found = self._streams.get(stream)
            if found is None or not found.writable:
                return 0
            return max(0, found.certificate.byte_budget - found.bytes_sealed)

    def stream_key(self, stream: str) -> SigningKey | None:
        with self._lock:
            found = self._streams.get(stream)
            return found.key if found else None

    def seal(self, stream: str, draft: Draft, now: datetime) -> str:
        """Seal a draft as the next segment of its stream; returns its id when it is durable, and begins its hold.

        Raises SpoolFull (nothing was kept, nothing is lost that was there), StreamClosed, OSError.
        """
        with self._lock:
            found = self._streams.get(stream)
            if found is None or not found.writable or found.ended:
                raise StreamClosed(stream)
            sequence = found.next_sequence
            segment, data_key = seal_segment(
                content=encode_content(draft.content(stream, sequence)),
                stream=stream,
                sequence=sequence,
                previous=found.previous,
                hour=draft.hour,
                vault_key=found.vault_key,
                stream_key=found.key.ed25519,
            )
            data = segment_to_bytes(segment)
            name = ItemName(sequence, "segment", sequence)
            try:
                if self._disk.free_bytes(self.folder) < len(data) + self._reserve_bytes:
                    raise SpoolFull("the disk is nearly full; recording has stopped, and what was recorded is safe")
                write_durably(self._disk, found.folder / name.text, data, _hour_s(parse_hour(draft.hour)))
            except OSError as error:
                self._reload(found, now)
                if sequence not in found.ids:
                    raise SpoolFull("the disk takes nothing more; what was recorded before is safe") from error
            else:
                found.items.append(name)
                found.next_sequence, found.previous = sequence + 1, segment.id
                found.ids[sequence] = segment.id
            found.bytes_sealed += len(segment.body)
            found.held_until[sequence] = now + self._hold
            found.spans[sequence] = (draft.from_ns, draft.until_ns)
            self.held.put(
                HeldSegment(segment.id, stream, sequence, draft.modality.value, draft.from_ns, draft.until_ns, data_key)
            )
            return segment.id

    def has_room(self) -> bool:
        """Whether the disk has twice the reserve free: after it was full, recording begins again only with some air."""
        return self._disk.free_bytes(self.folder) >= 2 * self._reserve_bytes + limits.CLOSE_SEGMENT_AT

    def end(self, stream: str, now: datetime) -> None:
        """Say that the stream is complete. Repeating does nothing. Raises OSError."""
        with self._lock:
            found = self._streams.get(stream)
            if found is not None:
                self._end(found, "clean", now)

    def _end(self, stream: _Stream, how: Literal["clean", "crashed"], now: datetime) -> None:
        stream.writable = False
        if stream.ended:
            return
        if not stream.items and stream.position == Position() and not stream.announced:
            self._destroy(stream)
            return
        record = EndRecord(stream=stream.id, next_sequence=stream.next_sequence, previous=stream.previous, how=how)
        name = ItemName(stream.next_sequence, "end", stream.next_sequence)
        self._write_record(stream, name, sign_record(record, stream.key.ed25519), now)
        stream.items.append(name)
        stream.ended = True

    # --- what is there ----------------------------------------------------------------------------

    def streams(self, now: datetime) -> tuple[StreamView, ...]:
        """Every stream, as it is now. Drops the keys of segments whose hold has ended."""
        with self._lock:
            return tuple(self._view(stream, now) for stream in self._streams.values())

    def _view(self, stream: _Stream, now: datetime) -> StreamView:
        for sequence in [s for s, until in stream.held_until.items() if until <= now]:
            del stream.held_until[sequence]
            self.held.drop([stream.ids.get(sequence, "")])
        ready = 0
        for item in stream.items:
            if item.kind == "segment" and item.first in stream.held_until:
                break
            ready += 1
        return StreamView(
            stream=stream.id,
            modality=stream.certificate.modality,
            day=stream.certificate.day,
            upload_until=stream.certificate.upload_until,
            items=tuple(Item(stream.id, name) for name in stream.items),
            ready=ready,
            ended=stream.ended,
            bytes_sealed=stream.bytes_sealed,
        )

    def release_hold(self) -> None:
        """The person said "send now": nothing waits any more."""
        with self._lock:
            for stream in self._streams.values():
                self.held.drop([stream.ids.get(sequence, "") for sequence in stream.held_until])
                stream.held_until.clear()

    def read_segment(self, item: Item) -> SealedSegment:
        """A sealed segment, for looking at what is held. Raises OSError, FileDamaged."""
        return segment_from_bytes(self._disk.read(self.folder / item.stream / item.name.text))

    # --- sending ----------------------------------------------------------------------------------

    def announcement(self, stream: str) -> Envelope | None:
        """The newest certificate; from now on the collector may know of the stream. None when it is gone."""
        with self._lock:
            found = self._streams.get(stream)
            if found is None:
                return None
            found.announced = True
            return found.envelope

    def take(self, item: Item, now: datetime) -> SealedSegment | SignedRecord | None:
        """What to send of an item, which from now on cannot be forgotten any more.

        None when it is not there any more, or not the first of its stream, or still held. Raises OSError, FileDamaged.
        """
        with self._lock:
            found = self._streams.get(item.stream)
            if found is None or not found.items or found.items[0].first != item.name.first:
                return None
            name = found.items[0]
            if self._view(found, now).ready == 0:
                return None
            if name.kind == "segment":
                sending = ItemName(name.first, "sending", name.last)
                self._disk.rename(found.folder / name.text, found.folder / sending.text)
                found.items[0] = name = sending
                self.held.drop([found.ids.get(name.first, "")])
            if name.kind == "sending":
                self._disk.sync_folder(found.folder)
            data = self._disk.read(found.folder / name.text)
            return segment_from_bytes(data) if name.kind == "sending" else record_from_bytes(data)

    def stored(self, item: Item, now: datetime) -> None:
        """The collector signed that it stored this item, the first of its stream: note it, then remove the item.

        Removes the stream when this was its end. Raises OSError; then nothing is lost, and it is sent again.
        """
        with self._lock:
            found = self._streams.get(item.stream)
            if found is None or not found.items or found.items[0].first != item.name.first:
                return
            name = found.items[0]
            position = self._position_after(found, name)
            write_durably(self._disk, found.folder / POSITION, position.to_json(), _hour_s(now))
            found.position = position
            if position.ended:
                self._destroy(found)
                return
            found.items.pop(0)
            self._forget_memory(found, [name.first])
            self._sweep(found)

    def _position_after(self, stream: _Stream, name: ItemName) -> Position:
        data = self._disk.read(stream.folder / name.text)
        if name.kind in ("segment", "sending"):
            return Position(next_sequence=name.first + 1, previous=segment_from_bytes(data).id)
        record = verify_record(record_from_bytes(data), stream.key.ed25519.public_key())
        if isinstance(record, SkipRecord):
            return Position(next_sequence=record.to_sequence + 1, previous=chain_after_skip(record))
        return Position(next_sequence=record.next_sequence, previous=record.previous, ended=True)

    # --- forgetting and destroying ------------------------------------------------------------------

    def forget(self, from_ns: int, until_ns: int, now: datetime) -> Forgotten:
        """Destroy every segment that holds anything from this time (wall clock) and was never sent.

        Whole segments. Of segments from before a restart only the hour is known: they go when the hour is touched.
        Works offline. Raises OSError; what was forgotten before that stays forgotten.
        """
        forgotten = out_of_reach = 0
        with self._lock:
            for stream in list(self._streams.values()):
                touched = [
                    name
                    for name in stream.items
                    if name.kind in ("segment", "sending") and self._touches(stream, name, from_ns, until_ns)
                ]
                out_of_reach += sum(name.kind == "sending" for name in touched)
                for run in _runs([name.first for name in touched if name.kind == "segment"]):
                    self._skip(stream, run[0], run[-1], "forgotten", now)
                    forgotten += len(run)
        return Forgotten(forgotten, out_of_reach)

    def forget_refused(self, item: Item, now: datetime) -> None:
        """The custodian's signed word forbids this segment (its hour was erased): skip it. Raises OSError."""
        with self._lock:
            found = self._streams.get(item.stream)
            if found is not None and any(
                name.first == item.name.first and name.kind in ("segment", "sending") for name in found.items
            ):
                self._skip(found, item.name.first, item.name.first, "forgotten", now)

    def _touches(self, stream: _Stream, name: ItemName, from_ns: int, until_ns: int) -> bool:
        span = stream.spans.get(name.first)
        if span is None:
            header = parse_header(segment_from_bytes(self._disk.read(stream.folder / name.text)).header)
            start = int(parse_hour(header.hour).timestamp()) * 10**9
            span = (start, start + 3600 * 10**9)
        return span[0] <= until_ns and span[1] >= from_ns

    def _skip(
        self, stream: _Stream, first: int, last: int, reason: Literal["forgotten", "lost"], now: datetime
    ) -> None:
        headers = [
            segment_from_bytes(self._disk.read(stream.folder / name.text)).header
            for name in stream.items
            if name.kind in ("segment", "sending") and name.first in (first, last)
        ]
        record = SkipRecord(
            stream=stream.id,
            from_sequence=first,
            to_sequence=last,
            previous=parse_header(headers[0]).previous,
            last_skipped=header_hash(headers[-1]).hex(),
            reason=reason,
        )
        name = ItemName(first, "skip", last)
        self._write_record(stream, name, sign_record(record, stream.key.ed25519), now)
        self._forget_memory(stream, range(first, last + 1))
        stream.items = sorted([*(n for n in stream.items if not _covered(n, name)), name])
        self._sweep(stream)

    def destroy(self, modalities: frozenset[Modality] | None = None) -> int:
        """Remove streams (all, or of these modalities) with their keys; returns how many. Raises OSError."""
        with self._lock:
            doomed = [
                stream
                for stream in self._streams.values()
                if modalities is None or stream.certificate.modality in modalities
            ]
            for stream in doomed:
                self._destroy(stream)
            return len(doomed)

    def destroy_stream(self, stream: str) -> None:
        """Remove one stream with its key. It may be gone already. Raises OSError."""
        with self._lock:
            found = self._streams.get(stream)
            if found is not None:
                self._destroy(found)

    def _destroy(self, stream: _Stream) -> None:
        stream.writable = False
        self._forget_memory(stream, list(stream.ids))
        self._disk.rename(stream.folder, stream.folder.with_name(stream.id + GONE))
        self._streams.pop(stream.id, None)
        self._disk.sync_folder(self.folder)
        self._remove_gone(stream.id)

    def _remove_gone(self, stream: str) -> None:
        folder = self.folder / (stream + GONE)
        self._secrets.delete(_secret(stream))
        for name in self._disk.names(folder):
            self._disk.remove(folder / name)
        self._disk.remove_folder(folder)
        self._disk.sync_folder(self.folder)

    # --- memory out of a folder ---------------------------------------------------------------------

    def _load(self, name: str, now: datetime) -> _Stream | None:
        """What the folder holds, after finishing what a crash interrupted. None when there was nothing to keep."""
        folder = self.folder / name
        stream = self._read_certificate(name, folder)
        if stream is None:
            self._disk.rename(folder, folder.with_name(name + GONE))
            self._remove_gone(name)
            return None
        names = self._disk.names(folder)
        for each in names:
            if each.endswith(TEMPORARY):
                self._disk.remove(folder / each)
        stream.items = sorted(item for each in names if (item := ItemName.parse(each)) is not None)
        known = True
        if POSITION in names:
            try:
                stream.position = Position.from_bytes(self._disk.read(folder / POSITION))
            except FileDamaged:
                known = False
        if stream.position.ended:
            self._destroy(stream)
            return None
        self._sweep(stream)
        self._follow(stream, now, known)
        return stream

    def _read_certificate(self, name: str, folder: Path) -> _Stream | None:
        """None when the folder was never finished, or its key is gone: then nobody can say anything about it."""
        try:
            envelope = Envelope.from_json(self._disk.read(folder / CERTIFICATE))
            certificate = read_unverified(envelope, StreamCertificate)
            pem = self._secrets.get(_secret(name))
            if pem is None:
                return None
            key = SigningKey.from_pem(pem)
            vault_key = HybridPublicKey.from_text(certificate.vault_key)
        except (FileNotFoundError, StatementInvalid, KeyInvalid):
            return None
        return _Stream(name, folder, envelope, certificate, vault_key, key)

    def _follow(self, stream: _Stream, now: datetime, position_known: bool) -> None:
        """Follow the chain over what is there; what is damaged or missing in it is skipped as lost.

        A position that the disk has damaged is taken from the first item that is whole.
        """
        damaged = -1
        items, stream.items = stream.items, []
        stream.next_sequence, stream.previous = stream.position.next_sequence, stream.position.previous
        public = stream.key.ed25519.public_key()
        links: list[tuple[ItemName, str, str]] = []
        for name in items:
            try:
                data = self._disk.read(stream.folder / name.text)
                if name.kind in ("segment", "sending"):
                    segment = segment_from_bytes(data)
                    header = verify_segment(
                        header=segment.header,
                        sealed_key=segment.sealed_key,
                        body_sha256=segment.body_sha256,
                        signature=segment.signature,
                        stream_key=public,
                    )
                    check_body(segment.body, segment.body_sha256)
                    if (header.stream, header.sequence) != (stream.id, name.first):
                        raise FileDamaged("a segment file has another segment's name")
                    links.append((name, header.previous, segment.id))
                    stream.ids[name.first] = segment.id
                    stream.bytes_sealed += len(segment.body)
                else:
                    record = verify_record(record_from_bytes(data), public)
                    after = record.last_skipped if isinstance(record, SkipRecord) else record.previous
                    links.append((name, record.previous, after))
            except (FileDamaged, SealingError, SignatureInvalid):
                self._disk.remove(stream.folder / name.text)
                damaged = max(damaged, name.last)
        if links and not position_known:
            stream.next_sequence, stream.previous = links[0][0].first, links[0][1]
            stream.position = Position(next_sequence=stream.next_sequence, previous=stream.previous)
        for name, previous, after in links:
            if name.first > stream.next_sequence:
                self._lost(stream, name.first - 1, previous, now)
            stream.items.append(name)
            if name.kind == "end":
                stream.ended = True
                continue
            stream.next_sequence, stream.previous = name.last + 1, after
            if name.kind == "segment" and name.first not in stream.held_until:
                stream.held_until[name.first] = now + self._hold
        if damaged >= stream.next_sequence and not stream.ended:
            self._lost(stream, damaged, stream.previous, now)
            stream.next_sequence = damaged + 1

    def _lost(self, stream: _Stream, last: int, last_skipped: str, now: datetime) -> None:
        record = SkipRecord(
            stream=stream.id,
            from_sequence=stream.next_sequence,
            to_sequence=last,
            previous=stream.previous,
            last_skipped=last_skipped,
            reason="lost",
        )
        name = ItemName(stream.next_sequence, "skip", last)
        self._write_record(stream, name, sign_record(record, stream.key.ed25519), now)
        stream.items.append(name)

    def _reload(self, stream: _Stream, now: datetime) -> None:
        """After a failed write: believe the disk, not the memory. If even that fails, nothing more is written."""
        try:
            fresh = self._load(stream.id, now)
        except (OSError, SecretsUnavailable):
            stream.writable = False
            return
        if fresh is None:
            stream.writable = False
            self._streams.pop(stream.id, None)
            return
        stream.items, stream.position, stream.ended = fresh.items, fresh.position, fresh.ended
        stream.next_sequence, stream.previous = fresh.next_sequence, fresh.previous
        stream.ids = fresh.ids

    def _sweep(self, stream: _Stream) -> None:
        """Remove what lies before the position, and segments that a skip record covers."""
        skips = [name for name in stream.items if name.kind == "skip"]
        keep: list[ItemName] = []
        names = sorted(item for each in self._disk.names(stream.folder) if (item := ItemName.parse(each)) is not None)
        for name in names:
            past = name.kind != "end" and name.last < stream.position.next_sequence
            if past or any(_covered(name, skip) for skip in skips):
                self._disk.remove(stream.folder / name.text)
            else:
                keep.append(name)
        stream.items = keep

    def _write_record(self, stream: _Stream, name: ItemName, record: SignedRecord, now: datetime) -> None:
        write_durably(self._disk, stream.folder / name.text, record_to_bytes(record), _hour_s(now))

    def _forget_memory(self, stream: _Stream, sequences: Iterable[int]) -> None:
        for sequence in list(sequences):
            self.held.drop([stream.ids.pop(sequence, "")])
            stream.held_until.pop(sequence, None)
            stream.spans.pop(sequence, None)


def _covered(name: ItemName, skip: ItemName) -> bool:
    """Whether a skip record covers this segment or smaller skip record."""
    inside = skip.first <= name.first and name.last <= skip.last
    return name.kind in ("segment", "sending") and inside


def _runs(numbers: list[int]) -> list[list[int]]:
    """Neighbouring numbers together: each run gets one skip record."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _secret(stream: str) -> str:
    return f"stream/{stream}"


def _hour_s(at: datetime) -> int:
    """The beginning of the hour, Unix seconds."""
    return int(parse_hour(hour_of(at.astimezone(UTC))).timestamp())
