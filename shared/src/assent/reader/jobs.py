"""One job's lease: asked for with keys that exist only in memory, and believed only when the witnessed log has it.

`open_lease` returns a job or raises; there is no job with an unproved lease. It checks, in this order:

1. the lease and its tickets are signed by the custodian's statement key, for this job's keys and this request
   (`CustodianClient.open_lease`);
2. the streams listed are exactly those whose salted root the lease names, and each is in exactly one ticket;
3. the log entry says the same as the lease: request, mode, both keys, streams;
4. the entry is in a checkpoint that the directory's witness policy accepts. A lease without enough witnesses is
   refused by the reader too, whatever the custodian says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from pydantic import ValidationError

from assent.client.custodian import Clock, CustodianClient, OpenedLease, from_base64
from assent.client.directory import TrustedDirectory
from assent.client.transport import AnswerInvalid, now_utc
from assent.contracts import limits
from assent.contracts.envelope import Envelope
from assent.contracts.keys import SigningKey, fingerprint
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.lists import list_root
from assent.contracts.statements import Lease, OwnData
from assent.contracts.wire import LeasedStream
from assent.sealing.hpke import HybridPrivateKey
from assent.transparency.errors import TransparencyError
from assent.transparency.policy import Witnessed
from assent.transparency.proof import LogProof


class LeaseUnproved(AnswerInvalid):
    """The lease is not in the witnessed log as it must be. Nothing was opened; tell the security staff."""


@dataclass(frozen=True, repr=False)
class Job:
    """A proved lease and the two keys of the job. `repr` shows no key.

    `tickets`: for each leased stream the ticket to fetch it with. `witnessed`: which checkpoint has the lease, and who
    cosigned it. `leaf` and `proof` are what `assent audit verify` and the people concerned are given, too.
    `dropped`: streams of earlier leases of this grant that are no longer available.
    """

    envelope: Envelope
    lease: Lease
    streams: tuple[LeasedStream, ...]
    tickets: dict[str, Envelope]
    dropped: tuple[str, ...]
    signing_key: SigningKey
    receiving_key: HybridPrivateKey
    leaf: bytes
    proof: bytes
    witnessed: Witnessed

    def __repr__(self) -> str:
        return f"Job({self.lease.lease[:8]}, {len(self.streams)} streams)"


def open_lease(
    custodian: CustodianClient,
    directory: TrustedDirectory,
    *,
    request: str | None = None,
    own: OwnData | None = None,
    hours: float = limits.LEASE_HOURS,
    clock: Clock = now_utc,
) -> Job:
    """Make the job's keys, ask for the lease and check it. `custodian` signs with the opening credential.

    Raises LeaseUnproved, AnswerInvalid, Refused, Unreachable. ValueError unless exactly one of `request` and `own`.
    """
    if (request is None) == (own is None):
        raise ValueError("a lease is for a request or for one's own data, exactly one of the two")
    signing_key, receiving_key = SigningKey.generate(), HybridPrivateKey.generate()
    opened = custodian.open_lease(
        job_signing_key=signing_key.public,
        job_receiving_key=receiving_key.public_key.to_text(),
        until=clock() + timedelta(hours=hours) - timedelta(seconds=60),
        request=request,
        own=own,
    )
    answer = opened.answer
    tickets = _tickets(opened)
    leaf, proof = from_base64(answer.leaf), answer.proof.encode()
    witnessed = _check_logged(opened, leaf, proof, directory)
    return Job(
        envelope=opened.envelope,
        lease=opened.lease,
        streams=answer.streams,
        tickets=tickets,
        dropped=answer.dropped,
        signing_key=signing_key,
        receiving_key=receiving_key,
        leaf=leaf,
        proof=proof,
        witnessed=witnessed,
    )


def _tickets(opened: OpenedLease) -> dict[str, Envelope]:
    """Stream → ticket, after checking that the list is the leased one and that tickets cover it once."""
    answer = opened.answer
    names = [stream.stream for stream in answer.streams]
    if len(set(names)) != len(names) or list_root(from_base64(answer.salt), names) != opened.lease.streams:
        raise AnswerInvalid("the streams listed are not those that the lease names")
    days = {stream.stream: stream.day for stream in answer.streams}
    found: dict[str, Envelope] = {}
    for envelope, ticket in opened.tickets:
        for stream in ticket.streams:
            if days.get(stream) != ticket.day or stream in found:
                raise AnswerInvalid("a ticket names a stream that the lease has not, twice, or on another day")
            found[stream] = envelope
    if len(found) != len(names):
        raise AnswerInvalid("the tickets do not cover all leased streams")
    return found


def _check_logged(opened: OpenedLease, leaf_bytes: bytes, proof: bytes, directory: TrustedDirectory) -> Witnessed:
    lease = opened.lease
    try:
        leaf = Leaf.model_validate_json(leaf_bytes)
    except ValidationError as error:
        raise LeaseUnproved("the log entry of this lease cannot be read") from error
    keys = {fingerprint(lease.job_signing_key), fingerprint(lease.job_receiving_key)}
    if (
        leaf.type is not LeafType.LEASE_OPENED
        or leaf.decision == "refused"
        or leaf.subject != opened.envelope.hash
        or leaf.request != lease.request
        or leaf.purpose != lease.purpose
        or leaf.mode != lease.mode
        or leaf.until != lease.until
        or leaf.roots.get("streams") != lease.streams
        or not keys.issubset(leaf.keys)
    ):
        raise LeaseUnproved("the log entry is not about this lease")
    try:
        logged = LogProof.from_bytes(proof)
        witnessed = logged.verify(leaf_bytes, directory.policy)
    except TransparencyError as error:
        raise LeaseUnproved(f"the lease is not in the witnessed log: {error}") from error
    directory.saw(logged.checkpoint)
    return witnessed
