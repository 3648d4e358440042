"""What the person is told: observed facts, never intentions.

"Recording" is said only while capture runs *and* the sources answer: a picture arrived within the last seconds when
pictures are agreed to, or the input source says that it runs. What should be recorded and does not arrive is trouble.

Pure: facts and times come with the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assent.contracts.ids import Modality
from assent_agent.core.consent import ConsentState, Why
from assent_agent.core.monitors import Refused
from assent_agent.core.narrowing import NARROWING_UNREADABLE
from assent_agent.core.recorder import SECOND_NS

SILENT_NS = 15 * SECOND_NS
"""Pictures come every few seconds; nothing for this long means that something is wrong."""

SENTENCES: Mapping[Why, str] = {
    Why.ENDED: "The agent is ending.",
    Why.REVOKED: (
        "This device's key was revoked. Nothing is recorded, and what is still on this computer cannot be sent. "
        "Recordings that were sent before stay yours."
    ),
    Why.NO_RECEIPT: "You have not agreed to be recorded. Nothing is recorded.",
    Why.SWITCHED_OFF: "Recording is switched off on this device.",
    Why.HALTED: "The programme is halted. Nothing is recorded.",
    Why.PAUSED: "Paused. Nothing is recorded.",
    Why.NARROWING: NARROWING_UNREADABLE,
    Why.HOURS: "You chose not to be recorded at this hour. Nothing is recorded.",
    Why.LOCKED: "The screen is locked. Nothing is recorded.",
    Why.NO_INDICATOR: "No indicator can be shown, so nothing is recorded.",
    Why.CLOCK: "This computer's clock does not agree with the custodian's. Nothing is recorded until it does.",
    Why.LOG: (
        "ALARM: what is said of the log of accesses contradicts what was seen here before. Nothing is recorded. "
        "Tell your works council; 'assent-agent status' says more."
    ),
    Why.DISK: "The disk is full or fails. Nothing new is recorded; what was recorded is safe.",
    Why.SOURCE: "The desktop cannot be observed. Nothing is recorded.",
    Why.NO_CERTIFICATE: "There is no permission from the custodian yet. Nothing is recorded.",
}

ASKED_ANEW = "What you agreed to has changed, so you are asked anew. Nothing is recorded until you agree."
NOT_REACHED = "The custodian has not been reached since the agent was started. Nothing is recorded until it is."
ASKING = "Asking the custodian for permission. Nothing is recorded yet."
ANSWERED_BY_THE_CUSTODIAN = frozenset({Why.CLOCK, Why.NO_CERTIFICATE})

QUIET = frozenset({Why.HOURS, Why.ENDED, Why.NO_RECEIPT, Why.SWITCHED_OFF, Why.HALTED})
"""Reasons that are no trouble: it is off."""


@dataclass(frozen=True)
class Told:
    """`state`: recording, paused, off or trouble; `sentence`: one plain sentence about it."""

    state: str
    sentence: str


def tell(
    state: ConsentState,
    *,
    arrived_ns: Mapping[Modality, int],
    failure: str,
    asking: bool,
    started_ns: int,
    now_ns: int,
    asked_anew: bool = False,
    monitors: Refused | None = None,
) -> Told:
    """What to say.

    `arrived_ns`: when something of each modality last arrived, monotonic. `failure`: of the source. `asking`: the
    custodian is being asked, and nothing went wrong so far. `asked_anew`: what was agreed to has changed since.
    `monitors`: why none of them may be recorded.
    """
    why = state.why
    if why is not None:
        if why in ANSWERED_BY_THE_CUSTODIAN and asking and state.clock_sane is not False:
            return Told("off", ASKING)
        if why is Why.CLOCK and state.clock_sane is None:
            return Told("trouble", NOT_REACHED)
        if why is Why.NO_RECEIPT and asked_anew:
            return Told("off", ASKED_ANEW)
        if why is Why.HALTED and state.halted:
            return Told("off", f"The programme is halted: {state.halted}")
        if why in (Why.PAUSED, Why.LOCKED):
            return Told("paused", SENTENCES[why])
        return Told("off" if why in QUIET else "trouble", SENTENCES[why])
    if failure:
        return Told("trouble", failure)
    if monitors is not None:
        return Told("trouble" if monitors.asks_the_person else "off", monitors.sentence)
    if Modality.SCREEN in state.capturing:
        last = max(arrived_ns.get(Modality.SCREEN, started_ns), started_ns)
        if now_ns - last > SILENT_NS:
            return Told("trouble", "No pictures of the screen arrive. What you do now may not be recorded.")
    return Told("recording", "Recording: " + ", ".join(sorted(m.value for m in state.capturing)) + ".")
