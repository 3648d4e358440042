"""What log and witness send each other: the specification's example, both directions, and every refusal."""

from __future__ import annotations

import pytest
from tests.unit.transparency.logs import ORIGIN, TIME, signed, witness_cosigner

from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import NotSigned, SignatureInvalid, SubmissionInvalid
from assent.transparency.witnessing import (
    Submission,
    build_cosignatures,
    build_size,
    read_cosignatures,
    read_size,
)

# C2SP tlog-witness, the example request.
SPEC_REQUEST = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
""".encode()  # noqa: E501
# C2SP tlog-witness, the example answer.
SPEC_ANSWER = """— witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==
— witness.example/w1 I7rEps0pvK2UqkS2gSpVUDhrhVtQV9lgF6pRrWAvjJHjyWpW7VcE3SiOlVlbQNt64vWhO+DlkL0+UfzuOBMh9ChdMkP1vi/lCAsmlw==
— witness.example/w2 AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==
""".encode()  # noqa: E501

NOTE = signed(Checkpoint(ORIGIN, 7, bytes(32)))
REQUEST = Submission(3, (bytes(32), b"\xff" * 32), NOTE).to_bytes()


def test_the_specifications_example_request() -> None:
    submission = Submission.from_bytes(SPEC_REQUEST)
    assert submission.old_size == 20_852_014
    assert len(submission.proof) == 4
    assert Checkpoint.from_text(submission.checkpoint.text).size == 20_852_163
    assert len(submission.checkpoint.signatures) == 2
    assert submission.to_bytes() == SPEC_REQUEST


def test_a_request_without_a_proof_and_one_with_the_longest() -> None:
    for length in (0, 63):
        submission = Submission(0, (bytes(32),) * length, NOTE)
        assert Submission.from_bytes(submission.to_bytes()) == submission


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"old 3\n",
        b"old 3\n\n",
        REQUEST[:-1],
        REQUEST + b"\n",
        b"\n" + REQUEST,
        REQUEST.removeprefix(b"old 3\n"),
        REQUEST.replace(b"\n", b"\r\n"),
        *(
            REQUEST.replace(b"old 3", old)
            for old in (b"old", b"old ", b"old  3", b"old 03", b"old -3", b"old +3", b"old 3 ")
        ),
        *(
            REQUEST.replace(b"old 3", old)
            for old in (b"Old 3", b"old\t3", b"old x", b"old 3.0", b"old 9223372036854775808")
        ),
        REQUEST.replace(b"old 3\n", b"old 3\nAAAA\n"),
        REQUEST.replace(b"old 3\n", b"old 3\n \n"),
        REQUEST.replace(b"old 3\n", b"old 3\n\xff\n"),
        Submission(0, (bytes(32),) * 64, NOTE).to_bytes(),
    ],
)
def test_a_request_in_any_other_form_is_refused(data: bytes) -> None:
    with pytest.raises(SubmissionInvalid):
        Submission.from_bytes(data)


def test_an_answer_is_read_against_the_checkpoint_it_was_given_for() -> None:
    lines = [witness_cosigner(number).cosign(NOTE.text, TIME) for number in (1, 2, 3)]
    trusted = [witness_cosigner(number).verifier for number in (3, 1)]
    answer = build_cosignatures(lines)
    assert read_cosignatures(answer, NOTE, trusted) == (lines[0], lines[2])
    with pytest.raises(NotSigned):
        read_cosignatures(answer, NOTE, [witness_cosigner(4).verifier])
    with pytest.raises(SignatureInvalid):
        read_cosignatures(answer, signed(Checkpoint(ORIGIN, 8, bytes(32))), trusted)


def test_the_specifications_example_answer_is_well_formed() -> None:
    with pytest.raises(NotSigned):
        read_cosignatures(SPEC_ANSWER, NOTE, [witness_cosigner(1).verifier])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"no line\n",
        SPEC_ANSWER[:-1],
        b"\n" + SPEC_ANSWER,
        SPEC_ANSWER + b"\n",
        b"more text\n\n" + SPEC_ANSWER,
        b"\xff\n",
    ],
)
def test_an_answer_in_any_other_form_is_refused(body: bytes) -> None:
    with pytest.raises(SubmissionInvalid):
        read_cosignatures(body, NOTE, [witness_cosigner(1).verifier])


def test_sizes_survive_their_bytes() -> None:
    assert build_size(20_852_014) == b"20852014\n"
    assert read_size(build_size(0)) == 0


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"1", b"01\n", b"-1\n", b"1\n\n", b"1\r\n", b"one\n", b"\xff\n", b"1\n2\n"]
)
def test_a_size_in_any_other_form_is_refused(body: bytes) -> None:
    with pytest.raises(SubmissionInvalid):
        read_size(body)
