"""Says how well the keys are kept, in a number and in a sentence that people understand.

The level in force is never higher than what can be seen from the custodian's host, and never higher than what the
directory claims. Whatever keeps it from being the next one is a sentence in `reasons`.

What cannot be seen from here, and is the auditors' business: that the hosts are run by different teams, that no backup
of a whole machine takes the KEK's volume along, and that the witnesses' keys are their own.
"""

from __future__ import annotations

import os
import pwd
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import make_url, select

from assent.contracts.statements import Directory
from assent_custodian.context import Custodian
from assent_custodian.files import NotReady
from assent_custodian.keys.models import Generation
from assent_custodian.settings import Settings


@dataclass(frozen=True)
class Custody:
    """`level`: what is in force. `sentence`: who could open recordings. `reasons`: why the level is not higher.

    `faults`: what is wrong with living KEK generations; until it is mended, the door and certificates refuse.
    """

    level: int
    sentence: str
    reasons: tuple[str, ...]
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What can be seen from the custodian's host.

    `local`: those of the directory's hosts that are this host. `unusable`: what is wrong with living KEK generations.
    `in_token`: every living generation is kept by a token that never lets it out; otherwise `exposed` says what is
    wrong with the folder. `software`: the token says of itself that it is no hardware.
    """

    host: str
    account: str
    local: frozenset[str]
    unusable: tuple[str, ...] = ()
    in_token: bool = False
    software: bool = False
    exposed: tuple[str, ...] = ()


def assess(custodian: Custodian) -> Custody:
    """The level in force now."""
    directory = custodian.directory.directory
    return judge(look(custodian, directory), directory)


def judge(seen: Seen, directory: Directory) -> Custody:
    """The level that holds with what is seen and what the directory says."""
    against = {1: _against_one(seen, directory), 2: _against_two(seen, directory)}
    level = next((level - 1 for level in (1, 2) if against[level]), 2)
    reasons = against[level + 1] if level < 2 else (_LEVEL_TWO_SOFTWARE,) if seen.software else ()
    return Custody(level, _sentence(seen, level), reasons, seen.unusable)


def _against_one(seen: Seen, directory: Directory) -> tuple[str, ...]:
    custodian, collector = _host(directory.custodian_url), _host(directory.collector_url)
    reasons: list[str] = []
    if collector == custodian or collector in seen.local or _is_loopback(custodian):
        reasons.append("collector and custodian run on the same host: a demo")
    reasons += seen.unusable
    if not seen.in_token:
        reasons += seen.exposed
    witnesses = {_host(witness.url) for witness in directory.witnesses}
    here = {host for host in witnesses if host == custodian or host in seen.local}
    if len(directory.witnesses) < 2:
        reasons.append("there are fewer than two witnesses")
    elif len(witnesses) < 2:
        reasons.append("the witnesses run on one host: that is one witness")
    if witnesses == here:
        reasons.append("witnessed by the same host only")
    elif here:
        reasons.append("a witness runs on the custodian's host: replace it by one that others run")
    if directory.custody_level < 1:
        reasons.append("the directory claims level 0: sign one with --custody-level 1")
    return tuple(reasons)


def _against_two(seen: Seen, directory: Directory) -> tuple[str, ...]:
    reasons = [] if seen.in_token else ["the KEK can be copied: it is in a file, or in a token that would give it out"]
    if directory.custody_level < 2:
        reasons.append(f"the directory claims level {directory.custody_level}: sign one with --custody-level 2")
    return tuple(reasons)


_LEVEL_TWO_SOFTWARE = "the token is software: whoever has its files and its PIN has the KEK; use hardware in earnest"


def _sentence(seen: Seen, level: int) -> str:
    accounts = [f"root on {seen.host}"]
    if seen.account != "root":
        accounts.append(f"{seen.account} on {seen.host}")
    sentence = f"These accounts could open recordings without a trace today: {', '.join(accounts)}"
    if level < 2:
        return f"{sentence}."
    return f"{sentence}. They cannot take the KEK away, but they can ask the token for as long as it answers this host."


# --- looking ---


def look(custodian: Custodian, directory: Directory) -> Seen:
    """See what can be seen from here. Resolves the names of the directory's hosts, and writes nothing."""
    unusable, in_token, software = _look_at_generations(custodian)
    hosts = {_host(url) for url in (directory.collector_url, *(witness.url for witness in directory.witnesses))}
    return Seen(
        host=socket.gethostname(),
        account=pwd.getpwuid(os.geteuid()).pw_name,
        local=frozenset(host for host in hosts if _is_this_host(host)),
        unusable=tuple(unusable),
        in_token=in_token,
        software=software,
        exposed=tuple(_look_at_folder(custodian.settings)),
    )


def _look_at_generations(custodian: Custodian) -> tuple[list[str], bool, bool]:
    with custodian.database.reading() as session:
        living = session.execute(
            select(Generation.number, Generation.check_value)
            .where(Generation.destroyed.is_(None))
            .order_by(Generation.number)
        ).all()
    unusable = [] if living else ["there is no KEK generation"]
    in_token = bool(living)
    software = False
    for number, check in living:
        try:
            if custodian.keks.check(number) != check:
                unusable.append(f"KEK generation {number} is another key than the one that was made")
            in_token = in_token and custodian.keks.in_token(number)
            software = software or custodian.keks.is_software(number)
        except NotReady as error:
            unusable.append(f"KEK generation {number} cannot be used: {error}")
            in_token = False
    return unusable, in_token, software


def _look_at_folder(settings: Settings) -> Iterable[str]:
    keks = settings.keks.resolve()
    if not keks.is_dir():
        return
    beside = [settings.data_dir.resolve(), settings.keys.resolve()]
    if settings.backup_dir is not None:
        beside.append(settings.backup_dir.resolve())
    database = make_url(settings.database)
    if database.get_backend_name() == "sqlite" and database.database:
        beside.append(Path(database.database).resolve().parent)
    if any(keks.is_relative_to(place) or place.is_relative_to(keks) for place in beside):
        yield "the KEK lies beside the database, where a backup takes it along: put it on a volume of its own"
    elif keks.stat().st_dev in {place.stat().st_dev for place in (*beside, Path("/")) if place.exists()}:
        yield "the KEK is on the volume of the database, its backups or the system: put it on a volume of its own"
    info = keks.stat()
    if stat.S_IMODE(info.st_mode) & 0o077 or info.st_uid != os.geteuid():
        yield "the KEK's folder can be entered by others: make it 0700, of the account that runs the custodian"


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower().rstrip(".")


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


def _is_this_host(host: str) -> bool:
    """Whether the name leads to an address of this host. A name that nobody knows leads nowhere."""
    if _is_loopback(host):
        return True
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    return any(_is_own_address(family, address[0]) for family, _, _, _, address in found)


def _is_own_address(family: socket.AddressFamily, address: str | int) -> bool:
    """Only an address of its own can be bound."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
