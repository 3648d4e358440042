"""Proof files: what is written verifies; nothing else does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.transparency.logs import ORIGIN, TIME, log_signer, signed, witness_cosigner
from tests.unit.transparency.trees import StoredTree, numbered_leaves

from assent.transparency import merkle
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import NotSigned, OriginUnknown, ProofInvalid, QuorumMissing, SignatureInvalid
from assent.transparency.note import Note
from assent.transparency.policy import Policy
from assent.transparency.proof import LogProof

LEAVES = numbered_leaves(11)
TREE = StoredTree(LEAVES)
POLICY = Policy.from_bytes(
    (
        f"log {log_signer().verifier}\nwitness one {witness_cosigner(1).verifier}\n"
        f"witness two {witness_cosigner(2).verifier}\ngroup both all one two\nquorum both\n"
    ).encode()
)


def proof_of(index: int, extra: bytes | None = None, witnesses: tuple[int, ...] = (1, 2)) -> LogProof:
    hashes = merkle.inclusion_proof(index, TREE.size, TREE.nodes)
    return LogProof(index, tuple(hashes), signed(Checkpoint(ORIGIN, TREE.size, TREE.root()), *witnesses), extra)


def test_every_leaf_is_proved_by_its_file_and_by_no_other() -> None:
    for index, leaf in enumerate(LEAVES):
        proof = LogProof.from_bytes(proof_of(index).to_bytes())
        witnessed = proof.verify(leaf, POLICY)
        assert witnessed.checkpoint.size == 11
        assert witnessed.cosigned_at == {"one": TIME, "two": TIME + 1}
        with pytest.raises(ProofInvalid):
            proof.verify(LEAVES[index - 1], POLICY)
        with pytest.raises(ProofInvalid):
            replace(proof, index=(index + 1) % 11).verify(leaf, POLICY)


def test_the_file_reads_as_the_specification_shows_it() -> None:
    lines = proof_of(3, b"age-v1").to_bytes().decode().split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra YWdlLXYx", "index 3"]
    assert lines[3 + 4] == ""
    assert lines[3 + 5 : 3 + 7] == [ORIGIN, "11"]
    assert lines[-1] == ""


@pytest.mark.parametrize("extra", [None, b"x", bytes(range(256))])
def test_a_file_survives_its_bytes(extra: bytes | None) -> None:
    data = proof_of(5, extra).to_bytes()
    proof = LogProof.from_bytes(data)
    assert proof == proof_of(5, extra)
    assert proof.to_bytes() == data


def test_the_only_leaf_of_a_tree_needs_no_hashes() -> None:
    leaf = b"alone"
    note = signed(Checkpoint(ORIGIN, 1, merkle.leaf_hash(leaf)), 1, 2)
    data = LogProof(0, (), note).to_bytes()
    assert data.startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\nlog.example")
    assert LogProof.from_bytes(data).verify(leaf, POLICY).checkpoint.size == 1


GOOD = proof_of(3, b"age-v1").to_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\n",
        b"\n" + GOOD,
        GOOD.replace(b"@v1", b"@v2"),
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"c2sp.org/tlog-proof@v1\n", b""),
        GOOD.replace(b"extra YWdlLXYx", b"extra "),
        GOOD.replace(b"extra YWdlLXYx", b"extra"),
        GOOD.replace(b"extra YWdlLXYx", b"extra YWdlLXY"),
        GOOD.replace(b"extra YWdlLXYx", b"extra YWdlLXYx\nextra YWdlLXYx"),
        GOOD.replace(b"extra YWdlLXYx", b"extra \xff"),
        GOOD.replace(b"extra YWdlLXYx", b"other YWdlLXYx"),
        GOOD.replace(b"index 3\n", b""),
        GOOD.replace(b"index 3\n", b"index 3\nindex 3\n"),
        GOOD.replace(b"index 3", b"index 03"),
        GOOD.replace(b"index 3", b"index -3"),
        GOOD.replace(b"index 3", b"index  3"),
        GOOD.replace(b"index 3", b"index 3 "),
        GOOD.replace(b"index 3", b"index 9223372036854775808"),
        GOOD.replace(b"index 3\n", b"index 3\nAAAA\n"),
        GOOD.replace(b"index 3\n", b"index 3\n" + b"A" * 43 + b"=\n" * 1 + (b"A" * 43 + b"=\n") * 63),
        GOOD.replace(b"index 3\n", b"index 3\n\n"),
        GOOD.partition(b"\n\n")[0],
        GOOD.partition(b"\n\n")[0] + b"\n\n",
    ],
)
def test_a_file_in_any_other_form_is_refused(data: bytes) -> None:
    with pytest.raises(ProofInvalid):
        LogProof.from_bytes(data)


def test_a_proof_is_worth_what_its_checkpoint_is_worth() -> None:
    leaf, proof = LEAVES[3], proof_of(3)
    with pytest.raises(QuorumMissing):
        proof_of(3, witnesses=(1,)).verify(leaf, POLICY)
    with pytest.raises(NotSigned):
        replace(proof, checkpoint=Note(proof.checkpoint.text, proof.checkpoint.signatures[1:])).verify(leaf, POLICY)
    with pytest.raises(SignatureInvalid):
        text = proof.checkpoint.text.replace("\n11\n", "\n12\n")
        replace(proof, checkpoint=Note(text, proof.checkpoint.signatures)).verify(leaf, POLICY)
    with pytest.raises(OriginUnknown):
        replace(proof, checkpoint=signed(Checkpoint("other.example", 11, TREE.root()), 1, 2)).verify(leaf, POLICY)


def test_no_flipped_bit_in_a_proof_file_goes_unnoticed() -> None:
    data = proof_of(3).to_bytes()
    LogProof.from_bytes(data).verify(LEAVES[3], POLICY)
    for place in range(0, len(data), 3):
        damaged = data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :]
        with pytest.raises((ProofInvalid, QuorumMissing, NotSigned, SignatureInvalid, OriginUnknown)):
            LogProof.from_bytes(damaged).verify(LEAVES[3], POLICY)
