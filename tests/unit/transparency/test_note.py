"""Signed notes, verifier keys and cosignatures: the specifications' examples, and every refusal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transparency.logs import TIME, log_signer, private_key, witness_cosigner

from assent.transparency.errors import NoteInvalid, NotSigned, SignatureInvalid, VerifierKeyInvalid
from assent.transparency.lines import to_base64
from assent.transparency.note import Cosigner, Kind, Note, Signature, Signer, VerifierKey, verify

# C2SP signed-note, "Example".
SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
# C2SP tlog-cosignature, the example at its beginning, whose time its section on the signed message gives.
SPEC_COSIGNED = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501
SPEC_COSIGNED_TIME = 1_679_315_147

LINE = Signature("a.example", b"\x01\x02\x03\x04", bytes(64)).to_line()


def test_the_specifications_example_verifies() -> None:
    key = VerifierKey.from_text(SPEC_KEY)
    note = Note.from_bytes(SPEC_NOTE.encode())
    assert note.text == "This is an example message.\n"
    assert [verified.key for verified in verify(note, [key])] == [key]
    assert note.to_bytes() == SPEC_NOTE.encode()
    assert str(key) == SPEC_KEY


def test_the_specifications_example_does_not_verify_with_another_text() -> None:
    note = Note.from_bytes(SPEC_NOTE.replace("example message", "other message").encode())
    with pytest.raises(SignatureInvalid):
        verify(note, [VerifierKey.from_text(SPEC_KEY)])


def test_the_specifications_cosignature_holds_the_time_it_says() -> None:
    note = Note.from_bytes(SPEC_COSIGNED.encode())
    assert note.to_bytes() == SPEC_COSIGNED.encode()
    assert [signature.name for signature in note.signatures] == [
        "example.com/behind-the-sofa",
        "witness.example.com/w1",
    ]
    assert int.from_bytes(note.signatures[1].data[:8], "big") == SPEC_COSIGNED_TIME
    assert len(note.signatures[1].data) == 8 + 64


def test_the_text_is_divided_from_the_signatures_by_the_last_empty_line() -> None:
    note = Note.from_bytes(f"one\n\n\ntwo\n\n{LINE}".encode())
    assert note.text == "one\n\n\ntwo\n"
    assert Note.from_bytes(f"one\n\n\n{LINE}".encode()).text == "one\n\n"


def test_sixteen_signatures_and_more_are_accepted_and_a_hundred_is_the_limit() -> None:
    assert len(Note.from_bytes(f"text\n\n{LINE * 100}".encode()).signatures) == 100
    with pytest.raises(NoteInvalid, match="at most 100"):
        Note.from_bytes(f"text\n\n{LINE * 101}".encode())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty line"),
        (b"text\n", "empty line"),
        (f"text\n{LINE}".encode(), "empty line"),
        (b"text\n\n", "signature lines"),
        (f"text\n\n{LINE}".encode()[:-1], "ends with a newline"),
        (f"text\n\n{LINE}\n".encode(), "signature lines"),
        (f"te\rxt\n\n{LINE}".encode(), "control character"),
        (f"te\txt\n\n{LINE}".encode(), "control character"),
        (f"te\0xt\n\n{LINE}".encode(), "control character"),
        (b"te\xffxt\n\n" + LINE.encode(), "UTF-8"),
        (b"text\n\n" + LINE.replace("—", "-").encode(), "em dash"),
        (b"text\n\n" + LINE.replace("— ", "—").encode(), "em dash"),
        (b"text\n\n" + LINE.replace(" a.", "  a.").encode(), "key name"),
        (b"text\n\n" + LINE.replace("a.example", "a+example").encode(), "key name"),
        (b"text\n\n" + LINE.replace("a.example", "a\u00a0example").encode(), "key name"),
        (b"text\n\n" + LINE.replace("a.example", "a\u2003example").encode(), "key name"),
        ("text\n\n— name\n".encode(), "key name"),
        ("text\n\n— name \n".encode(), "4 bytes"),
        ("text\n\n— name AQIDBA==\n".encode(), "4 bytes"),
        ("text\n\n— name AQIDBAU\n".encode(), "base64"),
        ("text\n\n— name AQIDBAV=\n".encode(), "canonical"),
        ("text\n\n— name AQID BAU=\n".encode(), "base64"),
        ("text\n\n— name _-IDBAU=\n".encode(), "base64"),
        ("text\n\n— name ÄQIDBAU=\n".encode(), "base64"),
        (b"x" * 1_000_000 + f"\n\n{LINE}".encode(), "at most 1,000,000 bytes"),
    ],
)
def test_anything_but_the_exact_form_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(NoteInvalid, match=reason):
        Note.from_bytes(data)


note_texts = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32) | st.just("\n"), max_size=60)
names = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="+"), min_size=1, max_size=12)
signatures = st.builds(Signature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))


@settings(max_examples=60)
@given(note_texts, st.lists(signatures, min_size=1, max_size=4))
def test_what_is_written_reads_as_the_same_note(text: str, lines: list[Signature]) -> None:
    note = Note(text + "\n", tuple(lines))
    assert Note.from_bytes(note.to_bytes()) == note


@settings(max_examples=100)
@given(st.binary(max_size=80) | st.builds(lambda a, b: a[:b], st.just(SPEC_NOTE.encode()), st.integers(0, 150)))
def test_bytes_from_anywhere_are_refused_or_written_back_the_same(data: bytes) -> None:
    try:
        note = Note.from_bytes(data)
    except NoteInvalid:
        return
    assert note.to_bytes() == data


def test_signing_gives_what_verification_accepts() -> None:
    signer, cosigner = log_signer(), witness_cosigner(1)
    text = "some\n\ntext\n"
    note = Note(text, (signer.sign(text), cosigner.cosign(text, TIME)))
    by_log, by_witness = verify(note, [cosigner.verifier, signer.verifier])
    assert (by_log.key, by_log.time) == (signer.verifier, None)
    assert (by_witness.key, by_witness.time) == (cosigner.verifier, TIME)


def test_a_cosignature_covers_its_header_its_time_and_the_text() -> None:
    key = private_key("witness 1")
    signature = Cosigner("w.example", key).cosign("origin\n1\nroot\n", TIME)
    assert signature.data[:8] == TIME.to_bytes(8, "big")
    key.public_key().verify(signature.data[8:], b"cosignature/v1\ntime 1795000000\norigin\n1\nroot\n")


def test_lines_of_unknown_keys_are_ignored_even_when_they_share_a_name_or_an_id() -> None:
    signer = log_signer()
    right = signer.sign("text\n")
    same_name = Signature(right.name, b"\0\0\0\0", right.data)
    same_id = Signature("other.example", right.key_id, right.data)
    assert len(verify(Note("text\n", (same_name, same_id, right)), [signer.verifier])) == 1
    with pytest.raises(NotSigned):
        verify(Note("text\n", (same_name, same_id)), [signer.verifier])


def test_one_false_line_of_a_known_key_spoils_the_note() -> None:
    signer, cosigner = log_signer(), witness_cosigner(1)
    right = signer.sign("text\n")
    false = Signature(right.name, right.key_id, bytes(64))
    for lines in ((right, false), (false, right), (false, cosigner.cosign("text\n", TIME))):
        with pytest.raises(SignatureInvalid):
            verify(Note("text\n", lines), [signer.verifier, cosigner.verifier])


@pytest.mark.parametrize(
    "data", [b"\1", bytes(7), bytes(8) + bytes(64), b"\x80" + bytes(7 + 64), TIME.to_bytes(8, "big") + bytes(63)]
)
def test_a_cosignature_that_is_cut_off_or_has_no_possible_time_is_refused(data: bytes) -> None:
    key = witness_cosigner(1).verifier
    with pytest.raises(SignatureInvalid):
        verify(Note("text\n", (Signature(key.name, key.id, data),)), [key])


@pytest.mark.parametrize("time", [0, 2**63])
def test_a_truly_signed_but_impossible_time_is_refused(time: int) -> None:
    cosigner, text = witness_cosigner(1), "text\n"
    by_hand = private_key("witness 1").sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    line = Signature(cosigner.verifier.name, cosigner.verifier.id, time.to_bytes(8, "big") + by_hand)
    with pytest.raises(SignatureInvalid, match="impossible time"):
        verify(Note(text, (line,)), [cosigner.verifier])


def test_a_cosignature_with_another_time_is_refused() -> None:
    cosigner = witness_cosigner(1)
    right = cosigner.cosign("text\n", TIME)
    later = Signature(right.name, right.key_id, (TIME + 1).to_bytes(8, "big") + right.data[8:])
    verify(Note("text\n", (right,)), [cosigner.verifier])
    with pytest.raises(SignatureInvalid):
        verify(Note("text\n", (later,)), [cosigner.verifier])


def test_one_key_has_different_ids_as_a_log_and_as_a_witness() -> None:
    key = private_key("both")
    plain, timed = Signer("x.example", key), Cosigner("x.example", key)
    assert plain.verifier.id != timed.verifier.id
    with pytest.raises(NotSigned):
        verify(Note("text\n", (plain.sign("text\n"),)), [timed.verifier])


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "return\r\n"])
def test_nothing_is_signed_that_no_note_can_hold(text: str) -> None:
    with pytest.raises(NoteInvalid):
        log_signer().sign(text)
    with pytest.raises(NoteInvalid):
        witness_cosigner(1).cosign(text, TIME)


@pytest.mark.parametrize("time", [0, -1, 2**63])
def test_a_witness_does_not_sign_an_impossible_time(time: int) -> None:
    with pytest.raises(ValueError, match="seconds after 1970"):
        witness_cosigner(1).cosign("text\n", time)


def test_a_line_that_is_there_is_not_repeated() -> None:
    line = log_signer().sign("text\n")
    note = Note("text\n", (line,))
    assert note.signed_also_by(line) == note


def test_verifier_keys_of_both_kinds_survive_their_text() -> None:
    for key in (log_signer().verifier, witness_cosigner(3).verifier):
        assert VerifierKey.from_text(str(key)) == key


NAME, KEY_ID, KEY = SPEC_KEY.split("+", 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a name, a plus"),
        (f"{NAME}+{KEY_ID}", "a name, a plus"),
        (f"+{KEY_ID}+{KEY}", "key name"),
        (f"ex ample+{KEY_ID}+{KEY}", "key name"),
        (f"ex\nample+{KEY_ID}+{KEY}", "key name"),
        (f"ex\udcffample+{KEY_ID}+{KEY}", "key name"),
        (f"{NAME}+530d903b+{KEY}", "does not belong"),
        (f"{NAME}+530D903A+{KEY}", "does not belong"),
        (f"{NAME}x+{KEY_ID}+{KEY}", "does not belong"),
        (f"{NAME}+{KEY_ID}+{KEY[:-1]}", "base64"),
        (f"{NAME}+{KEY_ID}+{KEY}\n", "base64"),
        (f"{NAME}+{KEY_ID}+{KEY[:-4]}", "32 bytes"),
        (f"{NAME}+{KEY_ID}+", "only keys of type"),
        (f"{NAME}+{KEY_ID}+{to_base64(bytes([2]) + bytes(32))}", "only keys of type"),
        (f"{NAME}+{KEY_ID}+{to_base64(bytes([6]) + bytes(1312))}", "only keys of type"),
    ],
)
def test_anything_but_a_known_verifier_key_is_refused(text: str, reason: str) -> None:
    with pytest.raises(VerifierKeyInvalid, match=reason):
        VerifierKey.from_text(text)


def test_a_base64_plus_is_no_separator() -> None:
    public = b"\xfb" * 32
    text = str(VerifierKey("a.example", Kind.ED25519, public))
    assert text.count("+") > 2
    assert VerifierKey.from_text(text).public == public


def test_signers_show_no_key() -> None:
    for signer in (log_signer(), witness_cosigner(1)):
        assert to_base64(private_key("log").private_bytes_raw()) not in repr(signer)
        assert repr(signer) == f"{type(signer).__name__}({signer.verifier})"
