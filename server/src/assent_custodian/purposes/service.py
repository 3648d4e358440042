"""Drafting, signing and listing purposes. A purpose that the council has not signed does not exist for anybody else."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope, read_unverified
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import DRILL_PURPOSE, PurposeDraft, PurposeSignature
from assent.contracts.times import day_of, moment
from assent.contracts.wire import PurposeView
from assent_custodian.auth import Asker
from assent_custodian.base import add_new
from assent_custodian.context import Custodian
from assent_custodian.log import service as log
from assent_custodian.plain import check_text
from assent_custodian.purposes.models import Purpose


def draft(session: Session, custodian: Custodian, statement: PurposeDraft, envelope: Envelope, asker: Asker) -> None:
    """Store a draft. Versions of one purpose only rise. Raises Problem."""
    for words in (statement.iri, statement.sentence, *statement.recipients, *statement.terms):
        check_text(words)
    if statement.iri == DRILL_PURPOSE:
        raise Problem(Code.REFUSED, "this purpose is the drill's own; choose another IRI")
    newest = session.scalar(select(func.max(Purpose.version)).where(Purpose.iri == statement.iri)) or 0
    if statement.version <= newest:
        raise Problem(Code.CONFLICT, f"this purpose has version {newest} already; draft version {newest + 1}")
    row = Purpose(
        iri=statement.iri,
        version=statement.version,
        hash=envelope.hash,
        drafted_by=asker.person,
        draft=envelope.to_json().decode(),
        signature=None,
        signed=None,
    )
    add_new(session, row, "this version was drafted meanwhile")
    _write_down(session, custodian, LeafType.PURPOSE_DRAFTED, row, asker)


def sign(session: Session, custodian: Custodian, statement: PurposeSignature, envelope: Envelope, asker: Asker) -> None:
    """The council agrees to a draft; from now on people can be asked for it. Signing twice is once."""
    row = session.execute(select(Purpose).where(Purpose.hash == statement.draft).with_for_update()).scalar_one_or_none()
    if row is None or row.drill:
        raise Problem(Code.NOT_FOUND, "there is no such draft")
    if row.signed is not None:
        return
    row.signature = envelope.to_json().decode()
    row.signed = day_of(custodian.now())
    _write_down(session, custodian, LeafType.PURPOSE_SIGNED, row, asker)


def _write_down(session: Session, custodian: Custodian, type_: LeafType, row: Purpose, asker: Asker) -> None:
    log.append(
        session,
        Leaf(
            type=type_,
            at=moment(custodian.now()),
            actor=log.actor_ref(session, asker.person),
            auth=asker.kind,
            decision="allowed",
            subject=row.hash,
            purpose=row.iri,
            counts={"version": row.version},
        ),
    )


def views(session: Session, *, drill: bool = False) -> tuple[PurposeView, ...]:
    """Every version of every purpose, drafts included; of the drill's nothing, unless the drill asks."""
    rows = select(Purpose).where(Purpose.drill.is_(drill)).order_by(Purpose.iri, Purpose.version)
    return tuple(_view(row) for row in session.scalars(rows))


def current(session: Session, *, drill: bool = False) -> dict[str, PurposeDraft]:
    """By IRI: the newest version that the council signed. Only these can be asked for."""
    signed = select(Purpose).where(Purpose.signed.is_not(None), Purpose.drill.is_(drill))
    return {row.iri: content(row) for row in session.scalars(signed.order_by(Purpose.version))}


def offered(session: Session, *, drill: bool = False) -> tuple[PurposeView, ...]:
    """The purposes that people are asked for now."""
    wanted = {(iri, draft_.version) for iri, draft_ in current(session, drill=drill).items()}
    return tuple(view for view in views(session, drill=drill) if (view.iri, view.version) in wanted)


def signed_purpose(session: Session, iri: str, version: int) -> PurposeDraft | None:
    """The content of a purpose that the council signed, or None."""
    row = session.get(Purpose, (iri, version))
    return content(row) if row is not None and row.signed is not None else None


def content(row: Purpose) -> PurposeDraft:
    """The draft as it was signed; its signature was checked when it came in."""
    return read_unverified(Envelope.from_json(row.draft), PurposeDraft)


def _view(row: Purpose) -> PurposeView:
    drafted = content(row)
    return PurposeView(
        iri=row.iri,
        version=row.version,
        sentence=drafted.sentence,
        recipients=drafted.recipients,
        modes=drafted.modes,
        terms=drafted.terms,
        draft=row.hash,
        signed=row.signed is not None,
    )
