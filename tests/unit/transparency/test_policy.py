"""Policies: every line of the format, every refusal, and exactly which witnesses make a quorum."""

from __future__ import annotations

from itertools import combinations

import pytest
from tests.unit.transparency.logs import ORIGIN, TIME, log_signer, signed, witness_cosigner

from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import (
    CheckpointInvalid,
    NotSigned,
    OriginUnknown,
    PolicyInvalid,
    QuorumMissing,
    SignatureInvalid,
)
from assent.transparency.note import Note, Signature
from assent.transparency.policy import Group, Policy

LOG = f"log {log_signer().verifier}"
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(32))


def witness(number: int, name: str | None = None) -> str:
    return f"witness {name or f'w{number}'} {witness_cosigner(number).verifier}"


def policy(*lines: str) -> Policy:
    return Policy.from_bytes("".join(f"{line}\n" for line in lines).encode())


# The example of C2SP tlog-policy: two of X1 X2 X3, and one of Y1 Y2 Y3.
TWO_LEVELS = (
    LOG,
    "",
    *(witness(number, f"X{number}") for number in (1, 2, 3)),
    "group X-witnesses 2 X1 X2 X3",
    "",
    *(witness(number + 3, f"Y{number}") for number in (1, 2, 3)),
    "group Y-witnesses any Y1 Y2 Y3",
    "",
    "group X-and-Y all X-witnesses Y-witnesses",
    "quorum X-and-Y",
)


def test_the_specifications_example_is_met_by_two_of_x_and_one_of_y_and_by_nothing_less() -> None:
    rules = policy(*TWO_LEVELS)
    everyone = [witness.name for witness in rules.witnesses]
    assert everyone == ["X1", "X2", "X3", "Y1", "Y2", "Y3"]
    for count in range(7):
        for some in combinations(everyone, count):
            enough = sum(name[0] == "X" for name in some) >= 2 and sum(name[0] == "Y" for name in some) >= 1
            assert rules.is_met_by(set(some)) is enough


def test_a_signed_checkpoint_that_meets_the_quorum_shows_who_cosigned_when() -> None:
    proved = policy(*TWO_LEVELS).check(signed(CHECKPOINT, 1, 3, 6))
    assert proved.checkpoint == CHECKPOINT
    assert proved.log == log_signer().verifier
    assert proved.cosigned_at == {"X1": TIME, "X3": TIME + 1, "Y3": TIME + 2}


def test_too_few_witnesses_are_a_missing_quorum_that_says_who_was_there() -> None:
    with pytest.raises(QuorumMissing) as caught:
        policy(*TWO_LEVELS).check(signed(CHECKPOINT, 3, 1))
    assert caught.value.cosigned == ("X1", "X3")
    with pytest.raises(QuorumMissing, match="nobody"):
        policy(*TWO_LEVELS).check(signed(CHECKPOINT))


def test_one_witness_signing_twice_counts_once() -> None:
    note = signed(CHECKPOINT, 1)
    twice = note.signed_also_by(witness_cosigner(1).cosign(note.text, TIME + 60))
    rules = policy(LOG, witness(1), witness(2), "group both 2 w1 w2", "quorum both")
    with pytest.raises(QuorumMissing):
        rules.check(twice)
    assert policy(LOG, witness(1), "quorum w1").check(twice).cosigned_at == {"w1": TIME + 60}


def test_strangers_cosignatures_do_not_count_and_do_not_harm() -> None:
    rules = policy(LOG, witness(1), "quorum w1")
    assert set(rules.check(signed(CHECKPOINT, 1, 2)).cosigned_at) == {"w1"}
    with pytest.raises(QuorumMissing):
        rules.check(signed(CHECKPOINT, 2))


def test_a_false_cosignature_of_a_known_witness_spoils_the_checkpoint() -> None:
    right = witness_cosigner(2).cosign(CHECKPOINT.to_text(), TIME)
    false = Signature(right.name, right.key_id, right.data[:-1] + bytes([right.data[-1] ^ 1]))
    with pytest.raises(SignatureInvalid):
        policy(LOG, witness(1), witness(2), "quorum w1").check(signed(CHECKPOINT, 1).signed_also_by(false))


def test_a_cosignature_of_another_checkpoint_is_false_here() -> None:
    other = witness_cosigner(1).cosign(Checkpoint(ORIGIN, 8, bytes(32)).to_text(), TIME)
    with pytest.raises(SignatureInvalid):
        policy(LOG, witness(1), "quorum w1").check(signed(CHECKPOINT).signed_also_by(other))


def test_witnesses_do_not_replace_the_log() -> None:
    note = signed(CHECKPOINT, 1)
    rules = policy(LOG, witness(1), "quorum w1")
    with pytest.raises(NotSigned):
        rules.check(Note(note.text, note.signatures[1:]))
    with pytest.raises(OriginUnknown):
        rules.check(signed(Checkpoint("other.example", 7, bytes(32)), 1))
    with pytest.raises(OriginUnknown):
        policy(witness(1), "quorum w1").check(note)
    with pytest.raises(CheckpointInvalid):
        rules.check(Note("text\n", note.signatures))


def test_no_quorum_asks_for_no_witness_but_still_for_the_log() -> None:
    rules = policy(LOG, "quorum none")
    assert rules.check(signed(CHECKPOINT)).cosigned_at == {}
    with pytest.raises(NotSigned):
        rules.check(Note(CHECKPOINT.to_text(), (witness_cosigner(1).cosign(CHECKPOINT.to_text(), TIME),)))


def test_comments_blank_lines_tabs_urls_and_octets_beyond_ascii_are_allowed() -> None:
    lines = (
        "# a comment",
        "  \t ",
        f" \tlog\t {log_signer().verifier}  https://log.example/ ",
        witness(1, "Kelvin-K") + " https://w1.example/",
        witness(2, "Kelvin-\u212a"),
        " # another",
        "group g\u00fc any Kelvin-K Kelvin-\u212a",
        "quorum g\u00fc",
    )
    rules = policy(*lines)
    assert rules.logs[0].url == "https://log.example/"
    assert [one.url for one in rules.witnesses] == ["https://w1.example/", None]
    assert rules.groups == (Group("g\u00fc", 1, ("Kelvin-K", "Kelvin-\u212a")),)
    latin1 = f"{witness(1, 'w')} \n{witness(2, 'v')}\ngroup g".encode() + b"\xfc any w v\nquorum g\xfc\n"
    assert Policy.from_bytes(latin1).is_met_by({"v"})
    assert rules.check(signed(CHECKPOINT, 2)).cosigned_at == {"Kelvin-\u212a": TIME}


def test_a_no_break_space_is_part_of_a_word() -> None:
    with pytest.raises(PolicyInvalid, match="line 1"):
        policy("quorum\u00a0none")


def test_thirty_two_of_each_are_supported() -> None:
    logs = [f"log {log_signer(f'{number}.example', str(number)).verifier}" for number in range(32)]
    groups = [f"group g{number} all w{number}" for number in range(32)]
    rules = policy(*logs, *(witness(number) for number in range(32)), *groups, "quorum g31")
    assert (len(rules.logs), len(rules.witnesses), len(rules.groups)) == (32, 32, 32)


@pytest.mark.parametrize(
    ("lines", "line", "reason"),
    [
        ((), None, "no quorum"),
        ((LOG, witness(1)), None, "no quorum"),
        (("quorum none", "quorum none"), 2, "second quorum"),
        (("quorum w1", witness(1)), 1, "no earlier line"),
        (("quorum",), 1, "not a log"),
        (("quorum none none",), 1, "not a log"),
        (("Quorum none",), 1, "not a log"),
        (("expires 2027", "quorum none"), 1, "not a log"),
        (("log", "quorum none"), 1, "not a log"),
        ((LOG + " url more", "quorum none"), 1, "not a log"),
        ((LOG + "x", "quorum none"), 1, "base64"),
        ((LOG, LOG, "quorum none"), 2, "same public key"),
        ((LOG, f"log {log_signer('alias.example').verifier}", "quorum none"), 2, "same public key"),
        ((f"log {witness_cosigner(1).verifier}", "quorum none"), 1, "0x01"),
        ((f"witness w {log_signer().verifier}", "quorum none"), 1, "0x04"),
        (("witness w", "quorum none"), 1, "not a log"),
        ((witness(1) + " url more", "quorum none"), 1, "not a log"),
        ((witness(1), witness(1, "again"), "quorum none"), 2, "same public key"),
        ((witness(1), witness(2, "w1"), "quorum none"), 2, "taken"),
        ((witness(1, "none"), "quorum none"), 1, "taken"),
        ((witness(1), "group w1 any w1", "quorum none"), 2, "taken"),
        ((witness(1), "group none any w1", "quorum none"), 2, "taken"),
        (("group g any", "quorum none"), 1, "not a log"),
        (("group g 0", "quorum none"), 1, "not a log"),
        (("group g any none", "quorum none"), 1, "no earlier line"),
        (("group g any w1", witness(1), "quorum none"), 1, "no earlier line"),
        ((witness(1), "group g any g", "quorum none"), 2, "no earlier line"),
        ((witness(1), "group g any w1 w1", "quorum none"), 2, "at most one group"),
        ((witness(1), "group g any w1", "group h any w1", "quorum none"), 3, "at most one group"),
        *(
            ((witness(1), witness(2), f"group g {threshold} w1 w2", "quorum none"), 3, "threshold")
            for threshold in ("0", "3", "-1", "+1", "01", "1.0", "most", "ALL", "9" * 30, "١")
        ),
        (("quorum none\r",), 1, "control character"),
        (("# \x07", "quorum none"), 1, "control character"),
        (("quorum \x7fnone",), 1, "control character"),
    ],
)
def test_a_policy_that_is_not_fully_understood_is_refused(
    lines: tuple[str, ...], line: int | None, reason: str
) -> None:
    with pytest.raises(PolicyInvalid, match=reason) as caught:
        policy(*lines)
    assert caught.value.line == line


def test_a_policy_that_is_cut_off_is_refused() -> None:
    with pytest.raises(PolicyInvalid, match="cut off"):
        Policy.from_bytes(b"quorum none")
