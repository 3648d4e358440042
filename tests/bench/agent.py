"""What the agent's core costs: bytes per event, sealed and with all overhead, and CPU for an hour of work.

The traces go through the recorder, the codec, the sealing and the spool's file format, in five-minute segments, as in
the running agent; network, capture and pictures are not in it. CPU is that of this process, on whatever machine runs
it.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from assent.contracts.events import Event, GapReason
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent_agent.core.recorder import SECOND_NS, Draft, Instant, Recorder, modality_of
from assent_agent.spool.spool import Spool
from tests.strategies.traces import dense_trace, office_trace
from tests.unit.agent.parts import MemorySecrets, certificate

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def run() -> list[dict[str, Any]]:
    """One row per measure: `name`, `value`, `unit`, and the figure to beat as `target`."""
    rows = []
    for name, trace, target in (("dense", dense_trace(), 4.0), ("office", office_trace(), 7.0)):
        size, cpu_s = _record(trace)
        hours = (trace[-1].t_ns - trace[0].t_ns) / SECOND_NS / 3600
        rows += [
            _row(f"agent: bytes per event, {name} trace", size / len(trace), "B/event", target),
            _row(f"agent: CPU per recorded hour, {name} trace", cpu_s / hours, "s/h", None),
        ]
        if name == "office":
            rows.append(_row("agent: everything but screen, per hour", size / hours / 1e6, "MB/h", 1.0))
    return rows


def _row(name: str, value: float, unit: str, target: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "value": round(value, 3), "unit": unit}
    return row if target is None else {**row, "target": f"figure <= {target}"}


class _Kept:
    """A recorder with its spool and streams, and a clock that follows the trace."""

    def __init__(self, folder: Path, modalities: set[Modality], t_ns: int) -> None:
        self.folder = folder
        self.begin_ns = t_ns
        self.spool = Spool(folder, MemorySecrets(), now=START, reserve_bytes=0)
        self.recorder = Recorder(sorted(modalities))
        self.streams = {}
        for modality in sorted(modalities):
            key = SigningKey.generate()
            self.streams[modality] = self.spool.open_stream(certificate(key, modality, START), key, START)
        self.recorder.start(self.at(t_ns))

    def at(self, t_ns: int) -> Instant:
        return Instant(t_ns, int(START.timestamp()) * SECOND_NS + t_ns - self.begin_ns)

    def seal(self, drafts: list[Draft]) -> None:
        for draft in drafts:
            self.spool.seal(self.streams[draft.modality], draft, START + timedelta(minutes=1))

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("*/*.segment"))


def _record(trace: tuple[Event, ...]) -> tuple[int, float]:
    """Bytes of all segment files, and CPU seconds from the first event to the last sealed segment."""
    with tempfile.TemporaryDirectory() as folder:
        kept = _Kept(Path(folder), {modality_of(event) for event in trace}, trace[0].t_ns)
        began = time.process_time()
        next_tick_ns = trace[0].t_ns
        for event in trace:
            kept.recorder.observe(event)
            if event.t_ns >= next_tick_ns:
                kept.seal(kept.recorder.tick(kept.at(event.t_ns)))
                next_tick_ns = event.t_ns + SECOND_NS // 10
        kept.seal(kept.recorder.stop(kept.at(trace[-1].t_ns), GapReason.PAUSED))
        return kept.size_bytes, time.process_time() - began
