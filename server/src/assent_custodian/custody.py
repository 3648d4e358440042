"""Says how well the keys are kept, in a number and in a sentence that people understand."""

from __future__ import annotations

import os
import pwd
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from assent.contracts.statements import Directory
from assent_custodian.settings import Settings

_LOOPBACK = {"localhost", "127.0.0.1", "[::1]", "::1"}


@dataclass(frozen=True)
class Custody:
    """`level`: what is in force. `sentence`: who could open recordings. `reasons`: why the level is not higher."""

    level: int
    sentence: str
    reasons: tuple[str, ...]


def assess(settings: Settings, directory: Directory) -> Custody:
    """The level is never higher than what can be seen from here, whatever the directory claims."""
    reasons: list[str] = []
    custodian = urlsplit(directory.custodian_url).hostname or ""
    collector = urlsplit(directory.collector_url).hostname or ""
    if custodian in _LOOPBACK or custodian == collector:
        reasons.append("collector and custodian run on the same host: a demo")
    if settings.keks.resolve().is_relative_to(settings.data_dir.resolve()):
        reasons.append("the KEK lies beside the database: put it on a volume of its own")
    if len(directory.witnesses) < 2:
        reasons.append("there are fewer than two witnesses")
    if any((urlsplit(witness.url).hostname or "") in _LOOPBACK | {custodian} for witness in directory.witnesses):
        reasons.append("witnessed by the same host only")
    level = 0 if reasons else min(directory.custody_level, 1)
    host = socket.gethostname()
    account = pwd.getpwuid(os.geteuid()).pw_name
    accounts = f"root on {host}" if account == "root" else f"root on {host}, {account} on {host}"
    return Custody(level, f"These accounts could open recordings without a trace today: {accounts}.", tuple(reasons))
