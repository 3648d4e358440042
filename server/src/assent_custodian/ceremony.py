"""The ceremony that founds a custodian, and the signing of later directories.

`init` makes every key, the database, the directory signed by the root key, and three codes for the founders. It prints
nothing and asks nothing; what people must compare aloud is in its report. An interrupted `init` left nothing that was
used: remove the data folder and begin again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError
from sqlalchemy.orm import Session

from assent.client.directory import OVERLAP, DirectoryRefused, verify_directory
from assent.contracts.codes import InvitationCode
from assent.contracts.envelope import Envelope, sign
from assent.contracts.keys import KeyInvalid, PublicKey, SigningKey, fingerprint
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import (
    MAX_FORMER,
    Directory,
    FormerKey,
    FormerPolicy,
    Invitation,
    Role,
    WitnessEntry,
)
from assent.contracts.times import day_of, moment
from assent.transparency.errors import TransparencyError
from assent.transparency.note import Kind, Note, Signer, VerifierKey
from assent_custodian.builds import build_hash
from assent_custodian.consent.offer import OfferPolicy, default_policy, policy_bytes
from assent_custodian.context import Clock, Custodian, open_custodian, wall_clock
from assent_custodian.custody import Custody, assess
from assent_custodian.directory import ROOT_KEY_FILE, read_directory
from assent_custodian.files import NotReady, make_private_folder, read_secret, write_file
from assent_custodian.keys.models import Generation
from assent_custodian.keys.stores import open_keks
from assent_custodian.log import service as log
from assent_custodian.night import note_done
from assent_custodian.people import service as people
from assent_custodian.people.domain import FOUNDERS
from assent_custodian.restoring import new_log
from assent_custodian.settings import Settings
from assent_service.backing_up import check_stopped
from assent_service.database import Database
from assent_service.migrating import migrate

LOOK_BACK = 200
"""Changes of the configuration that are looked through for the last one of its kind."""

ROOT_FOLDER = "root"
ROOT_PRIVATE_FILE = "root.key"

FOUNDER_NAMES: Mapping[Role, str] = {
    Role.ADMIN: "Admin",
    Role.COUNCIL: "Works council",
    Role.DPO: "Data-protection officer",
}


@dataclass(frozen=True)
class InitReport:
    """What `init` made. `codes` are handed to the founders, once; everything else is compared aloud."""

    root_fingerprint: str
    statement_fingerprint: str
    collector_fingerprint: str
    log_vkey: str
    directory_version: int
    directory_hash: str
    root_key_file: Path
    custody: Custody
    codes: Mapping[Role, str] = field(repr=False)


def init(
    settings: Settings,
    *,
    organisation: str,
    custodian_url: str,
    collector_url: str,
    collector_key: str,
    witnesses: Sequence[WitnessEntry],
    agreement: str,
    dpia: str,
    quorum: int | None = None,
    custody_level: int = 0,
    root_passphrase: bytes | None = None,
    founder_names: Mapping[Role, str] = FOUNDER_NAMES,
    applications: tuple[str, ...] = (),
    policy: OfferPolicy | None = None,
    clock: Clock = wall_clock,
) -> InitReport:
    """Found a custodian in `settings.data_dir`. Raises NotReady when there is one already, or something is missing.

    `collector_key` is the collector's public key as text. `quorum`: how many witnesses are needed (all, if None).
    `applications`: window classes allowed besides terminals and editors. Works-agreement and DPIA references are
    required: there is no enrolment without.
    """
    if not agreement.strip() or not dpia.strip():
        raise NotReady("name the works agreement and the data-protection impact assessment: nobody enrols without")
    for place in (settings.keys / ROOT_KEY_FILE, settings.directory, settings.data_dir / "custodian.db"):
        if place.exists():
            raise NotReady(f"{place.name} exists already: this folder has a custodian, or an unfinished one")
    _check_keys(collector_key, witnesses)
    keks = open_keks(settings)
    if keks.has(1):
        raise NotReady("the place for KEKs has those of another installation: give this one an empty folder or token")
    now = clock()
    make_private_folder(settings.data_dir)
    make_private_folder(settings.keys)
    root_folder = settings.data_dir / ROOT_FOLDER
    make_private_folder(root_folder)
    root, statement, log_key = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()
    write_file(root_folder / ROOT_PRIVATE_FILE, root.to_pem(root_passphrase))
    write_file(settings.keys / "statement.pem", statement.to_pem())
    write_file(settings.keys / "log.pem", log_key.to_pem())
    write_file(settings.keys / ROOT_KEY_FILE, f"{root.public.text}\n".encode(), 0o644)
    offer = policy or default_policy(organisation, agreement, dpia, applications, settings.retention_days)
    write_file(settings.policy, policy_bytes(offer), 0o644)
    parts = urlsplit(custodian_url)
    origin = f"{parts.netloc.replace(':', '.')}/assent-log"
    log_vkey = str(Signer(origin, log_key.ed25519).verifier)
    directory = Directory(
        version=1,
        issued=moment(now),
        organisation=organisation,
        root_key=root.public.text,
        custodian_url=custodian_url,
        collector_url=collector_url,
        statement_key=statement.public.text,
        collector_key=collector_key,
        log_vkey=log_vkey,
        witnesses=tuple(witnesses),
        policy=policy_text(log_vkey, witnesses, quorum),
        custody_level=custody_level,
    )
    envelope = sign(directory, root)
    read_directory(envelope.to_json(), root.public)
    check = keks.create(1)
    keks.close()
    migrate("custodian", settings.database)
    root_print = fingerprint(root.public.text)
    codes = {role: InvitationCode.new(custodian_url, root_print) for role in FOUNDERS}
    database = Database(settings.database)
    try:
        with database.transaction() as session:
            if log.size(session):
                raise NotReady("the database has a custodian already")
            session.add(Generation(number=1, check_value=check, created=day_of(now), destroyed=None))
            log.append(session, _directory_leaf(directory, envelope.hash, moment(now)))
            note_done(session, day_of(now))
            for role, code in codes.items():
                invitation = Invitation(
                    code=code.secret_hash,
                    name=founder_names[role],
                    role=role,
                    at=moment(now),
                    until=moment(now + timedelta(days=settings.invitation_days)),
                )
                people.store_invitation(session, invitation, sign(invitation, root).hash, now, None)
    finally:
        database.close()
    write_file(settings.directory, envelope.to_json(), 0o644)
    custodian = open_custodian(settings, clock)
    try:
        custody = assess(custodian)
    finally:
        custodian.close()
    return InitReport(
        root_fingerprint=root_print,
        statement_fingerprint=fingerprint(statement.public.text),
        collector_fingerprint=fingerprint(collector_key),
        log_vkey=log_vkey,
        directory_version=1,
        directory_hash=envelope.hash,
        root_key_file=root_folder / ROOT_PRIVATE_FILE,
        custody=custody,
        codes={role: code.to_text() for role, code in codes.items()},
    )


def sign_directory(
    settings: Settings,
    root_key_file: Path,
    changes: Mapping[str, Any],
    *,
    root_passphrase: bytes | None = None,
    distrust: bool = False,
    forget: Collection[str] = (),
    clock: Clock = wall_clock,
) -> Directory:
    """Sign and publish the next version with `changes`, with a root key that was brought here. Raises NotReady."""
    custodian = open_custodian(settings, clock)
    try:
        unsigned = next_directory(custodian, changes, distrust=distrust, forget=forget)
        return publish(custodian, sign_offline(unsigned.to_bytes(), root_key_file, root_passphrase))
    finally:
        custodian.close()


def next_directory(
    custodian: Custodian,
    changes: Mapping[str, Any],
    *,
    distrust: bool = False,
    forget: Collection[str] = (),
    heads: Sequence[Note] = (),
) -> Directory:
    """The next version with `changes` (names of Directory fields), unsigned. Raises NotReady.

    Version, root key and former keys cannot be chosen, and the keys named must lie in this custodian's folder. A
    statement key, log key or set of witnesses that is replaced is kept among the former ones for what it signed, until
    a day from now; with `distrust` it is not, and what it signed proves nothing any more: for a key that was stolen.
    `forget`: statement or log keys among the former ones that are left out, for one that was stolen later.
    `heads`, the newest of each witness, end the log, and begin the next one under another name and key: only where
    leaves are lost.
    """
    current = custodian.directory.directory
    chosen = {"version", "issued", "root_key", "v", "former_keys", "former_policies", "former_logs"}
    if heads:
        chosen.add("log_vkey")
    if forbidden := set(changes) & chosen:
        raise NotReady(f"these cannot be changed: {', '.join(sorted(forbidden))}")
    if unknown := set(changes) - set(Directory.model_fields):
        raise NotReady(f"a directory has no {', '.join(sorted(unknown))}")
    content = {
        **{name: getattr(current, name) for name in Directory.model_fields},
        **changes,
        "version": current.version + 1,
        "issued": custodian.moment(),
    }
    listed = {one.key for one in current.former_keys} | {one.log_vkey for one in current.former_policies}
    if strangers := set(forget) - listed:
        raise NotReady(f"the directory in force lists no such former key: {', '.join(sorted(strangers))}")
    former_keys = tuple(one for one in current.former_keys if one.key not in forget)
    former_policies = tuple(one for one in current.former_policies if one.log_vkey not in forget)
    content |= {"former_keys": former_keys, "former_policies": former_policies}
    ended = moment(custodian.now() + OVERLAP)
    if heads:
        content["former_logs"] = (*current.former_logs, new_log.former_log(custodian, heads, custodian.moment()))
        content["log_vkey"] = new_log.next_key(custodian, current)
    if content["log_vkey"] != current.log_vkey:
        content["policy"] = content["policy"].replace(f"log {current.log_vkey}\n", f"log {content['log_vkey']}\n")
    if content["statement_key"] in {one.key for one in current.former_keys}:
        raise NotReady("this statement key was replaced before; make a new one with `directory key statement`")
    if content["statement_key"] != current.statement_key and not distrust:
        content["former_keys"] = (*former_keys, FormerKey(key=current.statement_key, ended=ended))[-MAX_FORMER:]
    changed = (content["log_vkey"], content["policy"]) != (current.log_vkey, current.policy)
    if changed and not distrust and not heads:
        former = FormerPolicy(log_vkey=current.log_vkey, policy=current.policy, ended=ended)
        content["former_policies"] = (*former_policies, former)[-MAX_FORMER:]
    directory = Directory(**content)
    _check_ours(custodian, directory)
    return directory


def _check_ours(custodian: Custodian, directory: Directory, statement_hash: str | None = None) -> None:
    """The keys that it names are in the keys folder, and the log goes on under its name, or ends. Raises NotReady."""
    custodian.ring.statement(directory.statement_key)
    custodian.ring.log(directory.log_vkey)
    new_log.check_opens(custodian, directory, statement_hash)
    _check_keys(directory.collector_key, directory.witnesses)


def _check_in_time(custodian: Custodian, directory: Directory) -> None:
    """A key that is replaced signs until this moment: none of that may be newer than its end. Raises NotReady."""
    current, now = custodian.directory.directory, custodian.moment()
    ends: list[str] = []
    if directory.statement_key != current.statement_key:
        ends += [max((one.ended for one in directory.former_keys if one.key == current.statement_key), default=now)]
    rules = (current.log_vkey, current.policy)
    if (directory.log_vkey, directory.policy) != rules:
        kept = (one.ended for one in directory.former_policies if (one.log_vkey, one.policy) == rules)
        ends += [max(kept, default=now)]  # distrusted: it holds no more anyway
    if any(ended < now for ended in ends):
        raise NotReady(
            "this directory was exported more than a day ago: what the key that it replaces has signed since would "
            "hold no more. Export it again, and sign and import it within a day"
        )


def sign_offline(unsigned: bytes, root_key_file: Path, root_passphrase: bytes | None = None) -> Envelope:
    """Sign a directory where the root key is, without anything else of the custodian. Raises NotReady.

    `unsigned`: what `next_directory` made, byte for byte. Whoever signs reads it before.
    """
    try:
        root = SigningKey.from_pem(read_secret(root_key_file), root_passphrase)
    except KeyInvalid as error:
        raise NotReady(f"root key: {error}") from error
    try:
        directory = Directory.model_validate_json(unsigned)
    except ValidationError as error:
        raise NotReady("this file is not an unsigned directory") from error
    if directory.to_bytes() != unsigned:
        raise NotReady("this file is not an unsigned directory as `directory export` writes it")
    if root.public.text != directory.root_key:
        raise NotReady("this is not the root key of this custodian")
    envelope = sign(directory, root)
    _check_believed(envelope, root.public.text)
    return envelope


def _check_believed(envelope: Envelope, root_key: str) -> Directory:
    """What everybody else checks. Raises NotReady."""
    try:
        return verify_directory(envelope, fingerprint(root_key))
    except DirectoryRefused as error:
        raise NotReady(f"everybody would refuse this directory: {error}") from error


def publish(custodian: Custodian, envelope: Envelope) -> Directory:
    """Put a directory in force that the root key signed, wherever that was. Raises NotReady.

    It must be the very next version, and come in time: what the key of before signed until now must go on to hold. The
    change is in the log before it is in force. One that begins a new log is imported while the custodian is stopped; an
    import that was interrupted is done again. Raises BackupFailed.
    """
    current = custodian.directory.directory
    read_directory(envelope.to_json(), PublicKey(current.root_key))
    directory = _check_believed(envelope, current.root_key)
    if directory.version != current.version + 1:
        raise NotReady(f"directory {directory.version} does not follow directory {current.version}, which is in force")
    _check_ours(custodian, directory, envelope.hash)
    _check_in_time(custodian, directory)
    leaf = _directory_leaf(directory, envelope.hash, custodian.moment())
    opens = directory.former_logs != current.former_logs
    if opens:
        custodian.database.close()  # its own connections, which are opened again
        check_stopped(custodian.settings.host, custodian.settings.port, custodian.settings.database)
    with custodian.database.transaction() as session:
        if opens:
            new_log.open_log(session, custodian, directory, envelope.hash, leaf)
        else:
            log.append(session, leaf)
    write_file(custodian.settings.directory, envelope.to_json(), 0o644)
    return directory


def policy_text(log_vkey: str, witnesses: Sequence[WitnessEntry], quorum: int | None = None) -> str:
    """The tlog-policy that asks for `quorum` of these witnesses (all of them, if None). Raises NotReady."""
    needed = len(witnesses) if quorum is None else quorum
    if not 1 <= needed <= len(witnesses):
        raise NotReady(f"the quorum is from 1 to the number of witnesses, {len(witnesses)}")
    lines = [f"log {log_vkey}"]
    names = [f"witness-{number}" for number in range(1, len(witnesses) + 1)]
    lines += [f"witness {name} {entry.vkey} {entry.url}" for name, entry in zip(names, witnesses, strict=True)]
    lines += [f"group witnesses {needed} {' '.join(names)}", "quorum witnesses", ""]
    return "\n".join(lines)


def record_boot(custodian: Custodian) -> None:
    """Write into the log which build starts now, and what people are offered and promised, if that was changed.

    On a full disk, too: without it the custodian does not start, and takes no withdrawal.
    """
    at = custodian.moment()
    with custodian.database.transaction(urgent=True) as session:
        log.hold(session)  # another replica may start at this moment, and have written down the same change
        leaves = [Leaf(type=LeafType.BOOT, at=at, auth="operator", detail={"build": build_hash()})]
        before = {leaf.rule: leaf.detail for leaf in _newest_configurations(session)}
        for rule, now in (
            ("config.policy", custodian.offer.fingerprints),
            ("config.settings", custodian.settings.promised),
        ):
            if before.get(rule) != now:
                leaves.append(Leaf(type=LeafType.CONFIG_CHANGED, at=at, auth="operator", rule=rule, detail=now))
        log.append(session, *leaves)


def _newest_configurations(session: Session) -> list[Leaf]:
    """What was written of the configuration lately, the newest last."""
    found = log.newest_of_type(session, LeafType.CONFIG_CHANGED, LOOK_BACK)
    return [Leaf.model_validate_json(data) for _, data in reversed(found)]


def _check_keys(collector_key: str, witnesses: Sequence[WitnessEntry]) -> None:
    try:
        PublicKey(collector_key).load()
        kinds = [VerifierKey.from_text(entry.vkey).kind for entry in witnesses]
    except (KeyInvalid, TransparencyError) as error:
        raise NotReady(f"a key is not valid: {error}") from error
    if any(kind is not Kind.COSIGNATURE for kind in kinds):
        raise NotReady("a witness key is of type 0x04 (cosignature)")


def _directory_leaf(directory: Directory, statement_hash: str, at: str) -> Leaf:
    return Leaf(
        type=LeafType.DIRECTORY_CHANGED,
        at=at,
        auth="root",
        decision="allowed",
        subject=statement_hash,
        counts={"version": directory.version},
    )
