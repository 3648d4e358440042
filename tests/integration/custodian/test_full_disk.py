"""A custodian that has no room left says so, stores nothing by halves, and goes on when there is room again."""

from __future__ import annotations

from sqlalchemy import event, func, select
from tests.simulators.custodian import CustodianWorld, problem

from assent_custodian.log import service as log
from assent_custodian.people.models import Invitation


def test_a_full_disk_is_said_and_nothing_is_stored_by_halves(lite: CustodianWorld) -> None:
    engine = lite.custodian.database.engine
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def limit(connection: object, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages + 2}")  # type: ignore[attr-defined]

    def invited() -> int:
        with lite.custodian.database.reading() as session:
            return session.scalar(select(func.count()).select_from(Invitation)) or 0

    def invite(number: int) -> str | None:
        answer = lite.admin.post("/v1/invitations", lite.invitation(f"Person {number}", None)[1])
        return None if answer.status_code == 200 else problem(answer)

    before = invited()
    event.listen(engine, "checkout", limit)
    said = [next(found for number in range(1000) if (found := invite(number)) is not None)]
    accepted = invited() - before
    said.append(invite(1000))
    event.remove(engine, "checkout", limit)
    engine.dispose()
    assert said == ["storage-full"] * 2
    assert invited() == before + accepted
    with lite.custodian.database.reading() as session:
        size = log.size(session)
    assert invite(1001) is None and invited() == before + accepted + 1, "there is room again"
    with lite.custodian.database.reading() as session:
        assert log.size(session) == size, "an invitation without a role is no entry: nothing else was kept for later"
