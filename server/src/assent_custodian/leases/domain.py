"""Whether one sealed key may be opened now: the rules of the door, in the order in which they are asked.

Everything here is a fact that the custodian itself established in the same transaction. Nothing that the collector or
the job says is a fact.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from assent.contracts.segment import SegmentHeader
from assent.contracts.wire import RefusalReason

NotCovered = Literal["withdrawn", "expired"]


@dataclass(frozen=True)
class StreamFacts:
    """What is true of one leased stream at this moment.

    `not_covered`: None when both the receipt under which the stream was certified and the person's consent now cover
    the purpose, recipient class and mode of the lease (and always for one's own data), else why not.
    `record_until`: the hour of the certificate; hours sort as text.
    `erased_hours`: hours under a tombstone; `erased`: the whole stream is, or its vault key is gone.
    """

    day: str
    suite: str
    record_until: str
    erased: bool
    erased_hours: Collection[str]
    not_covered: NotCovered | None


def why_not(header: SegmentHeader, facts: StreamFacts | None) -> RefusalReason | None:
    """None when the sealed key may be opened, else the reason. `facts` is None when the lease has no such stream."""
    if facts is None:
        return "not-leased"
    if facts.erased or header.hour in facts.erased_hours:
        return "erased"
    if facts.not_covered is not None:
        return facts.not_covered
    if header.suite != facts.suite:
        return "suite"
    if not header.hour.startswith(facts.day) or header.hour >= facts.record_until:
        return "damaged"
    return None
