"""`assent.open`: from the credential on this computer to data, and the lease closed at the end whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2

from assent.client.collector import CollectorClient
from assent.client.credentials import CredentialInvalid, CredentialStore, passphrase_from_file
from assent.client.custodian import Clock, CustodianClient
from assent.client.directory import TrustedDirectory
from assent.client.transport import Transport, now_utc
from assent.contracts import limits
from assent.contracts.keys import SigningKey
from assent.contracts.statements import OwnData
from assent.reader.jobs import open_lease
from assent.reader.sessions import Data, Progress


@contextmanager
def open_with(
    directory: TrustedDirectory,
    signer: SigningKey,
    *,
    request: str | None = None,
    own: OwnData | None = None,
    hours: float = limits.LEASE_HOURS,
    progress: Callable[[Progress], None] | None = None,
    clock: Clock = now_utc,
    wait: Callable[[float], None] | None = None,
    transport: httpx2.BaseTransport | None = None,
) -> Iterator[Data]:
    """Open a lease with an unlocked key. `transport` replaces the network to both services."""
    current = directory.current
    with (
        CustodianClient.of(current, signer, clock=clock, transport=transport) as custodian,
        CollectorClient.of(current, clock=clock, transport=transport) as collector,
    ):
        job = open_lease(custodian, directory, request=request, own=own, hours=hours, clock=clock)
        with Data(job, custodian, collector, directory.statement_key, progress=progress, wait=wait) as data:
            yield data


@contextmanager
def open_data(
    request: str | None = None,
    *,
    own: OwnData | None = None,
    passphrase: str | None = None,
    hours: float = limits.LEASE_HOURS,
    progress: Callable[[Progress], None] | None = None,
    store: CredentialStore | None = None,
    clock: Clock = now_utc,
    transport: httpx2.BaseTransport | None = None,
) -> Iterator[Data]:
    """What `assent.open` does: `request` is a hash, `own` one's own data; exactly one is given.

    The passphrase comes from the argument or from `ASSENT_PASSPHRASE_FILE`. `hours`: how long the lease may live, 24 at
    most. `store`: where the credential lies, if not where `assent login` put it. `transport` replaces the network.

    Raises CredentialMissing, CredentialInvalid, DirectoryRefused, LeaseUnproved, Refused, Unreachable, AnswerInvalid.
    """
    store = store or CredentialStore.default()
    credential = store.load()
    secret = passphrase if passphrase is not None else passphrase_from_file()
    if secret is None:
        raise CredentialInvalid("a passphrase is needed: pass it, or name a file in ASSENT_PASSPHRASE_FILE")
    signer = credential.unlock(secret)
    directory = store.directory(credential)
    url = directory.current.custodian_url if directory.known else credential.custodian_url
    with Transport(url, transport=transport) as custodian:
        directory.refresh(custodian)
    with open_with(
        directory,
        signer,
        request=request,
        own=own,
        hours=hours,
        progress=progress,
        clock=clock,
        transport=transport,
    ) as data:
        yield data
