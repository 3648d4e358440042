"""A segment opens whole to the right key in the right place, and in every other case it is refused by name."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA512
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sealing import independent
from tests.unit.sealing.conftest import GoldenStream

from assent.contracts.ids import new_id
from assent.contracts.keys import SignatureInvalid
from assent.contracts.segment import (
    BODY_TAG,
    FIRST_PREVIOUS,
    RELEASE_TAG,
    SEAL_TAG,
    SEGMENT_TAG,
    EndRecord,
    SkipRecord,
    header_hash,
    segment_signed_bytes,
)
from assent.sealing import hpke, padding
from assent.sealing.chain import examine
from assent.sealing.errors import BodyInvalid, HeaderInvalid, RecordInvalid, SealingError, SealInvalid
from assent.sealing.hpke import HybridPrivateKey
from assent.sealing.segments import (
    SEALED_KEY_BYTES,
    BodyOpener,
    DataKey,
    SealedSegment,
    SegmentLink,
    SignedRecord,
    body_size,
    check_body,
    open_body,
    open_release,
    open_sealed_key,
    parse_header,
    parse_record,
    seal_release,
    seal_segment,
    sign_record,
    verify_link,
    verify_record,
    verify_segment,
)

VAULT = HybridPrivateKey.generate()
STREAM_KEY = Ed25519PrivateKey.generate()
STREAM = new_id()
REFUSED = (SealingError, SignatureInvalid)


def seal(content: bytes, sequence: int = 0) -> tuple[SealedSegment, DataKey]:
    return seal_segment(
        content=content,
        stream=STREAM,
        sequence=sequence,
        previous=FIRST_PREVIOUS,
        hour="2026-11-23T14",
        vault_key=VAULT.public_key,
        stream_key=STREAM_KEY,
    )


def read(segment: SealedSegment, stream_key: Ed25519PublicKey, vault_key: HybridPrivateKey) -> bytes:
    """All that collector, custodian and reader do with a segment, in that order."""
    verify_segment(
        header=segment.header,
        sealed_key=segment.sealed_key,
        body_sha256=segment.body_sha256,
        signature=segment.signature,
        stream_key=stream_key,
    )
    check_body(segment.body, segment.body_sha256)
    data_key = open_sealed_key(segment.sealed_key, segment.header, vault_key)
    return open_body(segment.header, segment.body, data_key)


def flipped(data: bytes, bits: range | list[int] | None = None) -> Iterator[bytes]:
    """`data` once with each of these bits flipped (all, if not given)."""
    damaged = bytearray(data)
    for bit in range(len(data) * 8) if bits is None else bits:
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)
        damaged[bit // 8] ^= 1 << bit % 8


# The golden stream


def test_every_golden_segment_opens_byte_for_byte(golden: GoldenStream) -> None:
    assert len(golden.segments) == 5
    for name, segment in golden.segments.items():
        assert read(segment, golden.stream_key.public_key(), golden.vault_key) == golden.contents[name]
        assert open_sealed_key(segment.sealed_key, segment.header, golden.vault_key) == golden.data_keys[name]
        assert segment.id == golden.raw["items"][list(golden.segments).index(name)]["id"]
        assert len(segment.body) == body_size(parse_header(segment.header).length)


def test_the_golden_keys_and_release_are_read_as_they_were_written(golden: GoldenStream) -> None:
    assert golden.vault_key.public_key == golden.vault_public
    assert golden.vault_public.key_id == golden.raw["vault_key_id"]
    release = golden.raw["release"]
    opened = open_release(
        base64.b64decode(release["sealed"]),
        HybridPrivateKey(base64.b64decode(release["job_private_key"])),
        bytes.fromhex(release["lease_hash"]),
        bytes.fromhex(release["batch_hash"]),
    )
    assert {header_id.hex(): key for header_id, key in opened.items()} == {
        segment.id: golden.data_keys[name] for name, segment in golden.segments.items()
    }


def test_the_golden_stream_is_complete(golden: GoldenStream) -> None:
    report = examine(golden.items, golden.stream, golden.stream_key.public_key())
    assert report.complete
    assert (report.closed, len(report.segments), len(report.skips)) == ("clean", 5, 1)


def test_golden_signatures_are_made_again_from_the_same_parts(golden: GoldenStream) -> None:
    for segment in golden.segments.values():
        sealed_sha256 = hashlib.sha256(segment.sealed_key).digest()
        signed = segment_signed_bytes(segment.header, sealed_sha256, segment.body_sha256)
        assert signed == (
            b"assent/segment/v1\0"
            + hashlib.sha256(b"assent/header/v1\0" + segment.header).digest()
            + sealed_sha256
            + hashlib.sha256(segment.body).digest()
        )
        assert golden.stream_key.sign(signed) == segment.signature


def test_golden_bodies_open_with_an_independent_reader(golden: GoldenStream) -> None:
    for name, segment in golden.segments.items():
        padded = independent.open_(
            key=golden.data_keys[name].to_bytes(),
            context=b"assent/body/v1\0" + bytes.fromhex(segment.id),
            sealed=segment.body,
            aead="AEAD_AES_256_GCM",
            algorithm=SHA512(),
        )
        length = int.from_bytes(padded[:8], "big")
        assert padded[8 : 8 + length] == golden.contents[name]
        assert not any(padded[8 + length :])
        assert len(padded) == json.loads(segment.header)["length"]


def test_the_format_page_shows_a_true_header(golden: GoldenStream) -> None:
    page = Path(__file__).parents[3] / "docs" / "formats" / "segment.md"
    assert golden.segments["empty"].header in page.read_bytes().splitlines()


def _damaged(golden: GoldenStream) -> dict[str, tuple[type[Exception], Callable[[], object]]]:
    """Each damage, the error that names it, and the call that must raise it."""
    key = golden.stream_key.public_key()
    one, other = golden.segments["small"], golden.segments["three-chunks"]
    data_key, other_key = golden.data_keys["small"], golden.data_keys["three-chunks"]
    stranger = HybridPrivateKey.generate()
    change = dataclasses.replace

    def check(segment: SealedSegment, stream_key: Ed25519PublicKey = key) -> Callable[[], object]:
        return lambda: read(segment, stream_key, golden.vault_key)

    def header_with(old: bytes, new: bytes) -> Callable[[], object]:
        assert old in one.header
        return lambda: parse_header(one.header.replace(old, new))

    def padded_as(plaintext: bytes) -> Callable[[], object]:
        body = independent.seal(
            key=data_key.to_bytes(),
            context=BODY_TAG + header_hash(one.header),
            salt=bytes(24),
            plaintext=plaintext,
            aead="AEAD_AES_256_GCM",
            algorithm=SHA512(),
        )
        return lambda: open_body(one.header, body, data_key)

    length = parse_header(one.header).length
    end = one.body[:-1]
    return {
        "header of another segment": (SignatureInvalid, check(change(one, header=other.header))),
        "sealed key of another segment": (SignatureInvalid, check(change(one, sealed_key=other.sealed_key))),
        "digest of another body": (SignatureInvalid, check(change(one, body_sha256=other.body_sha256))),
        "signature of another segment": (SignatureInvalid, check(change(one, signature=other.signature))),
        "signature cut off": (SignatureInvalid, check(change(one, signature=one.signature[:-1]))),
        "digest cut off": (SignatureInvalid, check(change(one, body_sha256=one.body_sha256[:-1]))),
        "no digest": (SignatureInvalid, check(change(one, body_sha256=b""))),
        "another stream key": (SignatureInvalid, check(one, Ed25519PrivateKey.generate().public_key())),
        "body of another segment": (BodyInvalid, check(change(one, body=other.body))),
        "body cut off": (BodyInvalid, check(change(one, body=end))),
        "body too long": (BodyInvalid, check(change(one, body=one.body + b"\0"))),
        "sealed key cut off": (SealInvalid, check(change(one, sealed_key=one.sealed_key[:-1]))),
        "sealed key too long": (SealInvalid, check(change(one, sealed_key=one.sealed_key + b"\0"))),
        "no sealed key": (SealInvalid, check(change(one, sealed_key=b""))),
        "custodian: wrong vault key": (SealInvalid, lambda: open_sealed_key(one.sealed_key, one.header, stranger)),
        "custodian: sealed key under another header": (
            SealInvalid,
            lambda: open_sealed_key(one.sealed_key, other.header, golden.vault_key),
        ),
        "custodian: sealed to the vault key, not a data key": (
            SealInvalid,
            lambda: open_sealed_key(
                hpke.seal(b"short", golden.vault_public, SEAL_TAG + header_hash(one.header)),
                one.header,
                golden.vault_key,
            ),
        ),
        "custodian: sealed with the info of a body": (
            SealInvalid,
            lambda: open_sealed_key(
                hpke.seal(bytes(32), golden.vault_public, BODY_TAG + header_hash(one.header)),
                one.header,
                golden.vault_key,
            ),
        ),
        "reader: wrong data key": (BodyInvalid, lambda: open_body(one.header, one.body, other_key)),
        "reader: body under another header": (BodyInvalid, lambda: open_body(other.header, one.body, data_key)),
        "reader: no body": (BodyInvalid, lambda: open_body(one.header, b"", data_key)),
        "reader: last byte missing": (BodyInvalid, lambda: open_body(one.header, end, data_key)),
        "reader: last chunk missing": (
            BodyInvalid,
            lambda: open_body(other.header, other.body[: 56 + 2 * 16400], other_key),
        ),
        "reader: one byte more": (BodyInvalid, lambda: open_body(one.header, one.body + b"\0", data_key)),
        "reader: two chunks more": (
            BodyInvalid,
            lambda: open_body(one.header, one.body + bytes(2 * 16400), data_key),
        ),
        "reader: prefix too long for the padding": (BodyInvalid, padded_as(b"\xff" * 8 + bytes(length - 8))),
        "reader: fill is not zero": (BodyInvalid, padded_as(padding.prefix(length - 9) + b"\1" * (length - 8))),
        "reader: other length than the header says": (BodyInvalid, padded_as(padding.pad(bytes(length)))),
        "header: empty": (HeaderInvalid, lambda: parse_header(b"")),
        "header: not JSON": (HeaderInvalid, lambda: parse_header(one.header[:-1])),
        "header: not UTF-8": (HeaderInvalid, lambda: parse_header(b"\xff" + one.header)),
        "header: spaces": (HeaderInvalid, header_with(b",", b", ")),
        "header: newline at the end": (HeaderInvalid, lambda: parse_header(one.header + b"\n")),
        "header: field twice": (HeaderInvalid, header_with(b'{"v":1,', b'{"v":1,"v":1,')),
        "header: unknown field": (HeaderInvalid, header_with(b'{"v":1,', b'{"x":1,"v":1,')),
        "header: other order": (HeaderInvalid, header_with(b'{"v":1,"suite":"A1-XW"', b'{"suite":"A1-XW","v":1')),
        "header: missing field": (HeaderInvalid, header_with(b'"suite":"A1-XW",', b"")),
        "header: other version": (HeaderInvalid, header_with(b'"v":1', b'"v":2')),
        "header: other suite": (HeaderInvalid, header_with(b"A1-XW", b"A1-P256")),
        "header: number as text": (HeaderInvalid, header_with(b'"sequence":2', b'"sequence":"2"')),
        "header: number as float": (HeaderInvalid, header_with(b'"sequence":2', b'"sequence":2.0')),
        "header: negative number": (HeaderInvalid, header_with(b'"sequence":2', b'"sequence":-2')),
        "header: number too large": (HeaderInvalid, header_with(b'"sequence":2', b'"sequence":2147483648')),
        "header: hour that does not exist": (HeaderInvalid, header_with(b"2026-11-23T14", b"2026-11-23T24")),
        "header: day that does not exist": (HeaderInvalid, header_with(b"2026-11-23T14", b"2026-02-30T14")),
        "header: hour in other digits": (HeaderInvalid, header_with(b"2026", "٢٠٢٦".encode())),
        "header: minutes": (HeaderInvalid, header_with(b"T14", b"T14:05")),
        "header: no length": (HeaderInvalid, header_with(b'"length":128', b'"length":0')),
        "header: enormous": (HeaderInvalid, lambda: parse_header(b" " * 1000 + one.header)),
    }


def test_each_damage_is_refused_by_its_name(golden: GoldenStream) -> None:
    intact = golden.segments["small"]
    assert read(intact, golden.stream_key.public_key(), golden.vault_key) == golden.contents["small"]
    table = _damaged(golden)
    assert len(table) == 49
    raised = {}
    for name, (_, attempt) in table.items():
        try:
            attempt()
        except Exception as error:
            raised[name] = type(error)
    assert raised == {name: error for name, (error, _) in table.items()}


@pytest.mark.parametrize("shift", [-32, -1, 1, 32])
def test_digests_cut_at_another_place_are_refused_though_their_bytes_were_signed(shift: int) -> None:
    link = seal(b"")[0].link
    assert verify_link(link, STREAM_KEY.public_key())
    digests = link.sealed_sha256 + link.body_sha256
    shifted = SegmentLink(link.header, digests[: 32 + shift], digests[32 + shift :], link.signature)
    with pytest.raises(SignatureInvalid):
        verify_link(shifted, STREAM_KEY.public_key())


# Single bits


def test_a_flipped_bit_anywhere_in_a_small_segment_is_refused() -> None:
    segment, data_key = seal(b"mouse moved")
    key = STREAM_KEY.public_key()
    assert read(segment, key, VAULT) == b"mouse moved"
    for part in ("header", "sealed_key", "body_sha256", "signature"):
        for damaged in flipped(getattr(segment, part)):
            with pytest.raises(REFUSED):
                verify_segment(
                    **{
                        "header": segment.header,
                        "sealed_key": segment.sealed_key,
                        "body_sha256": segment.body_sha256,
                        "signature": segment.signature,
                        part: damaged,
                    },
                    stream_key=key,
                )
    for damaged in flipped(segment.sealed_key):
        with pytest.raises(SealInvalid):
            open_sealed_key(damaged, segment.header, VAULT)
    for damaged in flipped(segment.header):
        with pytest.raises((HeaderInvalid, SealInvalid)):
            open_sealed_key(segment.sealed_key, damaged, VAULT)
        with pytest.raises((HeaderInvalid, BodyInvalid)):
            open_body(damaged, segment.body, data_key)
    for damaged in flipped(segment.body):
        with pytest.raises(BodyInvalid):
            check_body(damaged, segment.body_sha256)
        with pytest.raises(BodyInvalid):
            open_body(segment.header, damaged, data_key)
    for damaged in flipped(data_key.to_bytes()):
        with pytest.raises(BodyInvalid):
            open_body(segment.header, segment.body, DataKey(damaged))


def test_a_flipped_bit_in_salt_commitment_first_or_last_chunk_of_a_large_body_does_not_open() -> None:
    segment, data_key = seal(bytes(33_000))
    first_chunk_ends, last_chunk_begins = 56 + 16400, 56 + 2 * 16400
    assert last_chunk_begins < len(segment.body)
    bits = [*range(first_chunk_ends * 8), *range(last_chunk_begins * 8, len(segment.body) * 8)]
    for damaged in flipped(segment.body, bits):
        with pytest.raises(BodyInvalid):
            open_body(segment.header, damaged, data_key)


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=40_000),
    part=st.sampled_from(["header", "sealed_key", "body", "signature"]),
    where=st.randoms(),
)
def test_a_flipped_bit_in_any_segment_is_refused(content: bytes, part: str, where: random.Random) -> None:
    segment, _ = seal(content)
    data = getattr(segment, part)
    damaged = next(flipped(data, [where.randrange(len(data) * 8)]))
    with pytest.raises(REFUSED):
        read(dataclasses.replace(segment, **{part: damaged}), STREAM_KEY.public_key(), VAULT)


# Round trips


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60_000), st.integers(0, 2**31 - 1))
def test_what_was_sealed_opens_again(content: bytes, sequence: int) -> None:
    segment, data_key = seal(content, sequence)
    assert read(segment, STREAM_KEY.public_key(), VAULT) == content
    assert open_body(segment.header, segment.body, data_key) == content
    assert len(segment.sealed_key) == SEALED_KEY_BYTES
    assert hashlib.sha256(segment.body).digest() == segment.body_sha256
    assert content not in segment.body or len(content) < 8


@pytest.mark.parametrize("content_length", [0, 1, 16384 - 9, 16384 - 8, 16384 - 7, 3 * 16384, 1024 * 1024])
@pytest.mark.parametrize("piece", [777, 16400, 65536, 10**9])
def test_a_body_may_come_in_pieces(content_length: int, piece: int) -> None:
    content = (b"0123456789" * (content_length // 10 + 1))[:content_length]
    segment, data_key = seal(content)
    opener = BodyOpener(segment.header, data_key)
    for at in range(0, len(segment.body), piece):
        opener.feed(memoryview(segment.body)[at : at + piece])
    assert opener.finish() == content


def test_nothing_comes_out_of_a_body_that_is_cut_off_anywhere() -> None:
    segment, data_key = seal(bytes(33_000))
    for end in [*range(0, 60), *range(60, len(segment.body), 97), len(segment.body) - 1]:
        opener = BodyOpener(segment.header, data_key)
        opener.feed(segment.body[:end])
        with pytest.raises(BodyInvalid, match="cut off"):
            opener.finish()


def test_sealing_the_same_content_twice_shares_nothing_but_the_header() -> None:
    one, key = seal(b"content")
    other, other_key = seal(b"content")
    assert one.header == other.header
    assert one.body != other.body
    assert one.sealed_key != other.sealed_key
    assert key != other_key


@pytest.mark.parametrize(
    ("field", "value"),
    [("sequence", -1), ("sequence", 2**31), ("stream", "x"), ("previous", "0" * 63), ("hour", "2026-11-23")],
)
def test_a_header_field_out_of_range_is_not_sealed(field: str, value: object) -> None:
    arguments = {
        "content": b"",
        "stream": STREAM,
        "sequence": 0,
        "previous": FIRST_PREVIOUS,
        "hour": "2026-11-23T14",
        "vault_key": VAULT.public_key,
        "stream_key": STREAM_KEY,
    }
    seal_segment(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=field):
        seal_segment(**arguments | {field: value})  # type: ignore[arg-type]
    with pytest.raises(HeaderInvalid):
        seal_segment(**arguments | {"hour": "2026-11-31T00"})  # type: ignore[arg-type]


def test_a_segment_shows_its_id_and_no_more() -> None:
    segment, _ = seal(b"secret")
    assert repr(segment) == f"SealedSegment({segment.id[:16]}, {len(segment.body)} bytes)"


def test_no_tag_is_the_beginning_of_another() -> None:
    tags = sorted([BODY_TAG, SEAL_TAG, SEGMENT_TAG, RELEASE_TAG])
    assert all(not later.startswith(earlier) for earlier, later in pairwise(tags))


# Releases


LEASE, BATCH = hashlib.sha256(b"lease").digest(), hashlib.sha256(b"batch").digest()
JOB = HybridPrivateKey.generate()
PAIRS = [(hashlib.sha256(bytes([n])).digest(), DataKey(bytes([n]) * 32)) for n in range(3)]


@pytest.mark.parametrize("count", range(4))
def test_a_release_gives_the_job_each_data_key_under_its_header_hash(count: int) -> None:
    sealed = seal_release(PAIRS[:count], JOB.public_key, LEASE, BATCH)
    assert len(sealed) == 64 * count + hpke.OVERHEAD_BYTES
    assert list(open_release(sealed, JOB, LEASE, BATCH).items()) == PAIRS[:count]


def test_a_release_is_of_no_use_elsewhere() -> None:
    sealed = seal_release(PAIRS, JOB.public_key, LEASE, BATCH)
    assert open_release(sealed, JOB, LEASE, BATCH)
    for job, lease, batch in [(VAULT, LEASE, BATCH), (JOB, BATCH, BATCH), (JOB, LEASE, LEASE), (JOB, BATCH, LEASE)]:
        with pytest.raises(SealInvalid):
            open_release(sealed, job, lease, batch)
    for damaged in flipped(sealed, list(range(0, len(sealed) * 8, 37))):
        with pytest.raises(SealInvalid):
            open_release(damaged, JOB, LEASE, BATCH)


@pytest.mark.parametrize(
    "plaintext",
    [b"x", bytes(63), bytes(65), bytes(64) + bytes(64)],
    ids=["one byte", "a byte short", "a byte long", "twice the same header"],
)
def test_what_is_no_release_is_refused(plaintext: bytes) -> None:
    sealed = hpke.seal(plaintext, JOB.public_key, RELEASE_TAG + LEASE + BATCH)
    with pytest.raises(SealInvalid):
        open_release(sealed, JOB, LEASE, BATCH)


def test_a_release_that_makes_no_sense_is_not_sealed() -> None:
    for pairs, lease, batch in [
        ([*PAIRS, PAIRS[0]], LEASE, BATCH),
        ([(b"short", PAIRS[0][1])], LEASE, BATCH),
        (PAIRS, LEASE[:-1], BATCH),
        (PAIRS, LEASE, BATCH + b"\0"),
    ]:
        with pytest.raises(ValueError, match="32 bytes"):
            seal_release(pairs, JOB.public_key, lease, batch)


# Records


SKIP = SkipRecord(
    stream=STREAM, from_sequence=3, to_sequence=5, previous="1" * 64, last_skipped="2" * 64, reason="forgotten"
)
END = EndRecord(stream=STREAM, next_sequence=6, previous="2" * 64, how="crashed")


@pytest.mark.parametrize("record", [SKIP, END], ids=["skip", "end"])
def test_a_record_is_read_as_signed_and_a_flipped_bit_is_refused(record: SkipRecord | EndRecord) -> None:
    signed = sign_record(record, STREAM_KEY)
    assert verify_record(signed, STREAM_KEY.public_key()) == record
    for damaged in flipped(signed.record):
        with pytest.raises(REFUSED):
            verify_record(SignedRecord(damaged, signed.signature), STREAM_KEY.public_key())
    for damaged in flipped(signed.signature):
        with pytest.raises(SignatureInvalid):
            verify_record(SignedRecord(signed.record, damaged), STREAM_KEY.public_key())
    with pytest.raises(SignatureInvalid):
        verify_record(signed, Ed25519PrivateKey.generate().public_key())


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{}",
        SKIP.to_bytes() + b" ",
        SKIP.to_bytes().replace(b'"kind":"skip"', b'"kind":"end"'),
        END.to_bytes().replace(b'"kind":"end"', b'"kind":"skip"'),
        SKIP.to_bytes().replace(b"forgotten", b"deleted"),
        SKIP.to_bytes().replace(b'"to_sequence":5', b'"to_sequence":2'),
        b" " * 600 + END.to_bytes(),
    ],
)
def test_what_is_no_record_is_refused(record: bytes) -> None:
    with pytest.raises(RecordInvalid):
        parse_record(record)
