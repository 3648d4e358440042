"""From an invitation code to a membership: the root is checked first, the secret is sent after.

1. The code is read; it names the custodian and the fingerprint of the root key.
2. The directory is fetched. Nothing but that question has left this computer. A swapped root ends it here.
3. Fresh keys are made, and sign, each of them, the enrolment with the secret and the hash of the directory seen.
4. The custodian's signed answer must name exactly these keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import httpx2

from assent.client.custodian import Clock, CustodianClient
from assent.client.directory import TrustedDirectory
from assent.client.transport import AnswerInvalid, Transport, now_utc
from assent.contracts.codes import InvitationCode
from assent.contracts.envelope import StatementInvalid, read, sign
from assent.contracts.keys import SigningKey
from assent.contracts.statements import Directory, Enrolled, Enrolment, NewCredential, Role
from assent.contracts.times import moment

Kind = Literal["device", "opening"]


@dataclass(frozen=True)
class Membership:
    """Who one is at the custodian, with the keys just made (by kind) and the directory that was accepted."""

    person: str
    name: str
    roles: tuple[Role, ...]
    keys: Mapping[Kind, SigningKey]
    directory: Directory
    root_fingerprint: str


def look_up(
    code: InvitationCode, directory_path: Path | None = None, *, transport: httpx2.BaseTransport | None = None
) -> TrustedDirectory:
    """Fetch and check the directory that the code leads to; the secret stays here.

    Raises DirectoryRefused when the root is another than the code says, Unreachable, Refused, AnswerInvalid.
    `directory_path` must be new, or hold a directory of the same root.
    """
    trusted = TrustedDirectory(code.root_fingerprint, directory_path)
    with Transport(code.url, transport=transport) as custodian:
        trusted.refresh(custodian)
    return trusted


def join(
    code_text: str,
    kinds: Set[Kind],
    *,
    keys: Mapping[Kind, SigningKey] | None = None,
    directory: TrustedDirectory | None = None,
    clock: Clock = now_utc,
    transport: httpx2.BaseTransport | None = None,
) -> Membership:
    """Use an invitation code, once. `keys` replaces fresh keys, for those that hardware holds.

    `directory`: where to keep the directory, and what is known already; the code's root must be its root.
    Raises CodeInvalid, DirectoryRefused, and as `CustodianClient`. When it raises Unreachable, the code may have been
    used: try once more with the same keys before asking for another code.
    """
    code = InvitationCode.from_text(code_text)
    wanted = [kind for kind in get_args(Kind) if kind in kinds]
    if not wanted:
        raise ValueError("an enrolment introduces at least one credential")
    trusted = directory or TrustedDirectory(code.root_fingerprint)
    if trusted.root_fingerprint != code.root_fingerprint:
        raise AnswerInvalid("this computer already belongs to another organisation than the code's")
    with Transport(code.url, transport=transport) as address:
        trusted.refresh(address)
    made: dict[Kind, SigningKey] = {kind: (keys or {}).get(kind) or SigningKey.generate() for kind in wanted}
    enrolment = Enrolment(
        secret=code.secret_hex,
        credentials=tuple(NewCredential(kind=kind, key=key.public.text) for kind, key in made.items()),
        directory=trusted.envelope.hash,
        at=moment(clock()),
    )
    with CustodianClient.of(trusted.current, clock=clock, transport=transport) as custodian:
        answer = custodian.enrol(sign(enrolment, *made.values()))
    trusted.accept(answer.directory)
    try:
        enrolled = read(answer.enrolled, Enrolled, trusted.statement_key)
    except StatementInvalid as error:
        raise AnswerInvalid(f"not from the custodian: {error}") from error
    if set(enrolled.credentials) != {key.public.id for key in made.values()}:
        raise AnswerInvalid("the custodian enrolled other keys than these")
    return Membership(enrolled.person, enrolled.name, enrolled.roles, made, trusted.current, code.root_fingerprint)
