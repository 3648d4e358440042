"""The plaintext of a segment as bytes, and back.

An envelope in MessagePack; events inside it as columns, pictures as they came from `FrameEncoder`. Reading checks the
envelope and every event; pictures are checked as they are read (`pictures`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec

from assent.codec.events import decode_events, encode_events
from assent.codec.frames import FrameDecoder, Pixels
from assent.codec.limits import DEFAULT_LIMITS, ContentInvalid, Limits
from assent.contracts.events import ClockAnchor, Gap, GapReason, ScreenFrame, SegmentContent

VERSION: Final = 1

_Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Anchor = tuple[_Int, _Int, bool]
_Gap = tuple[_Int, _Int, GapReason, _Int]


class _Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    v: Literal[1]
    stream: str
    sequence: _Int
    modality: str
    resolution_ns: _Int
    events: bytes
    anchors: list[_Anchor]
    gaps: list[_Gap]
    frames: bytes


_decoder: Final = msgspec.msgpack.Decoder(_Envelope)


def encode_content(content: SegmentContent) -> bytes:
    """The plaintext to be sealed. Raises ContentInvalid when a value has no place in the format."""
    numbers = [content.sequence, content.resolution_ns]
    numbers += [number for anchor in content.anchors for number in (anchor.t_ns, anchor.wall_ns)]
    numbers += [number for gap in content.gaps for number in (gap.from_ns, gap.until_ns, gap.count)]
    if not -(2**63) <= min(numbers) <= max(numbers) < 2**63:
        raise ContentInvalid("an integer does not fit into 64 bits")
    envelope = _Envelope(
        v=VERSION,
        stream=content.stream,
        sequence=content.sequence,
        modality=content.modality,
        resolution_ns=content.resolution_ns,
        events=encode_events(content.events),
        anchors=[(anchor.t_ns, anchor.wall_ns, anchor.stepped) for anchor in content.anchors],
        gaps=[(gap.from_ns, gap.until_ns, gap.reason, gap.count) for gap in content.gaps],
        frames=content.frames,
    )
    try:
        return msgspec.msgpack.encode(envelope)
    except UnicodeEncodeError as error:
        raise ContentInvalid("the name of the stream or modality is no text") from error


def decode_content(data: bytes, limits: Limits = DEFAULT_LIMITS) -> SegmentContent:
    """The content of a segment, its pictures still encoded.

    Raises ContentInvalid, and nothing else, for whatever is not whole and within the limits.
    """
    if len(data) > limits.content_bytes:
        raise ContentInvalid("the content is larger than the limits allow")
    try:
        envelope = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ContentInvalid("the envelope of the content is damaged") from error
    if len(envelope.anchors) > limits.notes or len(envelope.gaps) > limits.notes:
        raise ContentInvalid("a count exceeds the limits")
    return SegmentContent(
        stream=envelope.stream,
        sequence=envelope.sequence,
        modality=envelope.modality,
        resolution_ns=envelope.resolution_ns,
        events=decode_events(envelope.events, limits),
        anchors=tuple(ClockAnchor(t_ns=t, wall_ns=wall, stepped=stepped) for t, wall, stepped in envelope.anchors),
        gaps=tuple(
            Gap(from_ns=start, until_ns=end, reason=reason, count=count) for start, end, reason, count in envelope.gaps
        ),
        frames=envelope.frames,
    )


def pictures(content: SegmentContent, limits: Limits = DEFAULT_LIMITS) -> Iterator[tuple[ScreenFrame, Pixels]]:
    """Each `ScreenFrame` of the segment with its picture, a uint8 array of shape (height, width, 3), sRGB.

    Raises ContentInvalid when events and pictures do not belong together one to one.
    """
    events = (event for event in content.events if isinstance(event, ScreenFrame))
    for number, pixels in FrameDecoder(content.frames, limits):
        event = next(events, None)
        if event is None or event.seq != number or (event.height, event.width) != pixels.shape[:2]:
            raise ContentInvalid("a picture has no event that describes it")
        yield event, pixels
    if next(events, None) is not None:
        raise ContentInvalid("an event describes a picture that is not there")
