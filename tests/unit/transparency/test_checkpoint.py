"""Checkpoints: the specification's example, both directions, and every refusal."""

from __future__ import annotations

import pytest
from tests.unit.transparency.logs import ORIGIN, TIME, log_signer, signed, witness_cosigner

from assent.transparency.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from assent.transparency.errors import CheckpointInvalid, NotSigned, OriginUnknown, SignatureInvalid
from assent.transparency.merkle import EMPTY_ROOT
from assent.transparency.note import Note, Signature

ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
SPEC_TEXT = f"example.com/behind-the-sofa\n20852163\n{ROOT}\n"


def test_the_specifications_example() -> None:
    checkpoint = Checkpoint.from_text(SPEC_TEXT)
    assert (checkpoint.origin, checkpoint.size, len(checkpoint.root)) == ("example.com/behind-the-sofa", 20_852_163, 32)
    assert checkpoint.extensions == ()
    assert checkpoint.to_text() == SPEC_TEXT


def test_extension_lines_are_kept() -> None:
    text = SPEC_TEXT + "one\ntwo — three\n"
    assert Checkpoint.from_text(text).extensions == ("one", "two — three")
    assert Checkpoint.from_text(text).to_text() == text


def test_an_empty_log_has_a_checkpoint() -> None:
    text = Checkpoint(ORIGIN, 0, EMPTY_ROOT).to_text()
    assert text.split("\n")[1] == "0"
    assert Checkpoint.from_text(text).root == EMPTY_ROOT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        SPEC_TEXT[:-1],
        SPEC_TEXT + "\n",
        SPEC_TEXT + "extension",
        SPEC_TEXT + "\nextension\n",
        f"origin\n{ROOT}\n",
        f"\n1\n{ROOT}\n",
        f"origin\n\n{ROOT}\n",
        *(f"origin\n{size}\n{ROOT}\n" for size in ("01", "+1", "-1", "1 ", " 1", "1_0", "0x1", "one", "١", str(2**63))),
        *(f"origin\n1\n{root}\n" for root in ("", ROOT[:-1], ROOT[:-2] + "J=", ROOT + " ", "AAAA", ROOT + ROOT)),
        f"ori\tgin\n1\n{ROOT}\n",
        f"origin\n1\n{ROOT}\r\n",
    ],
)
def test_anything_but_the_exact_form_is_refused(text: str) -> None:
    with pytest.raises(CheckpointInvalid):
        Checkpoint.from_text(text)


def test_the_largest_size_is_accepted() -> None:
    assert Checkpoint.from_text(f"origin\n{2**63 - 1}\n{ROOT}\n").size == 2**63 - 1


@pytest.mark.parametrize(
    ("origin", "size", "root", "extensions"),
    [
        ("", 0, bytes(32), ()),
        ("a\nb", 0, bytes(32), ()),
        ("a", -1, bytes(32), ()),
        ("a", 2**63, bytes(32), ()),
        ("a", 0, bytes(31), ()),
        ("a", 0, bytes(32), ("",)),
        ("a", 0, bytes(32), ("x\ny",)),
    ],
)
def test_a_checkpoint_that_could_not_be_written_cannot_be_made(
    origin: str, size: int, root: bytes, extensions: tuple[str, ...]
) -> None:
    with pytest.raises(CheckpointInvalid):
        Checkpoint(origin, size, root, extensions)


def test_a_signed_checkpoint_opens_with_the_logs_key() -> None:
    checkpoint = Checkpoint(ORIGIN, 7, bytes(32))
    opened, verified = open_checkpoint(signed(checkpoint, 1), [log_signer().verifier])
    assert opened == checkpoint
    assert [one.key for one in verified] == [log_signer().verifier]


def test_during_a_rotation_either_key_of_a_log_will_do() -> None:
    old, new = log_signer(), log_signer(seed="next")
    note = sign_checkpoint(Checkpoint(ORIGIN, 7, bytes(32)), new)
    assert open_checkpoint(note, [old.verifier, new.verifier])[1][0].key == new.verifier
    with pytest.raises(NotSigned):
        open_checkpoint(note, [old.verifier])


def test_a_log_cannot_speak_for_another_origin() -> None:
    other = log_signer("other.example", "other")
    text = Checkpoint(ORIGIN, 7, bytes(32)).to_text()
    with pytest.raises(OriginUnknown):
        open_checkpoint(Note(text, (other.sign(text),)), [other.verifier])
    with pytest.raises(NotSigned):
        open_checkpoint(Note(text, (other.sign(text),)), [other.verifier, log_signer().verifier])
    with pytest.raises(CheckpointInvalid, match="origin"):
        sign_checkpoint(Checkpoint(ORIGIN, 7, bytes(32)), other)


def test_a_witness_cannot_stand_in_for_the_log() -> None:
    text = Checkpoint(ORIGIN, 7, bytes(32)).to_text()
    with pytest.raises(NotSigned):
        open_checkpoint(Note(text, (witness_cosigner(1).cosign(text, TIME),)), [log_signer().verifier])


def test_an_altered_checkpoint_does_not_open() -> None:
    note = signed(Checkpoint(ORIGIN, 7, bytes(32)))
    altered = Note(note.text.replace("\n7\n", "\n8\n"), note.signatures)
    with pytest.raises(SignatureInvalid):
        open_checkpoint(altered, [log_signer().verifier])
    with pytest.raises(CheckpointInvalid):
        open_checkpoint(Note("not a checkpoint\n", (Signature("a", b"1234", b"5"),)), [log_signer().verifier])
