"""Tables rebuilt on PostgreSQL while they are read and written, and who may do what with them."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import DBAPIError

from app.books import MIGRATIONS
from projections.database import SCHEMA, open_postgres
from projections.digest import digest_of_tables
from projections.project import ProjectionMoved, Projector
from projections.read import balances_digest, read_position
from projections.rebuild import RebuildRefused, rebuild_beside
from projections.roles import PROJECT, READ, grant_roles
from projections.tables import account, balance
from tests.projections.conftest import Opened
from tests.projections.test_sharing import desk_of, digests, expected, hand_over, logs_of
from tests.settlement.desk import Desk


def cut(desk: Desk) -> Desk:
    """Return the same logs, each without its last records."""
    shorter = Desk(desk.parameters, len(desk.lanes), opened=False)
    for log, source in zip(logs_of(shorter), logs_of(desk), strict=True):
        log.records = source.records[: 2 * len(source.records) // 3]
    return shorter


def ids_of(connection: Connection) -> dict[str, int]:
    return {row.account: row.id for row in connection.execute(select(account))}


def schemas(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        found = connection.execute(text(f"select nspname from pg_namespace where nspname like '{SCHEMA}%' order by 1"))
        return list(found.scalars())


@pytest.mark.slow
def test_rebuilt_tables_take_the_place_and_differences_are_told(database: str, opened: Opened) -> None:
    desk = desk_of()
    projector = Projector(opened(writable=True))
    for log in logs_of(desk):
        hand_over(projector, log)
    with opened(writable=True).begin() as connection:
        connection.execute(balance.update().values(credits=balance.c.credits + 1))

    rebuilt = rebuild_beside(database, MIGRATIONS, desk.partitions[-1], desk.ledgers)

    assert rebuilt.differed == ("balance",)
    assert rebuilt.positions == dict(projector.positions())
    assert digests(opened()) == expected(desk)
    assert schemas(opened()) == [SCHEMA]
    assert rebuild_beside(database, MIGRATIONS, desk.partitions[-1], desk.ledgers).differed == ()


@pytest.mark.slow
def test_projector_goes_on_behind_a_swap_with_the_new_ids(database: str, opened: Opened) -> None:
    desk = desk_of()
    engine, logs = opened(writable=True), logs_of(desk)
    # Folded in another order than a rebuild's, so that accounts have other ids.
    projector = Projector(engine)
    for log in reversed(logs):
        hand_over(projector, log, 2 * len(log.records) // 3)
    with engine.connect() as connection:
        before = ids_of(connection)

    rebuild_beside(database, MIGRATIONS, desk.partitions[-1], desk.ledgers)

    with engine.connect() as connection:
        assert ids_of(connection) != before
    for log in logs:
        with pytest.raises(ProjectionMoved, match="the tables were rebuilt"):
            projector.fold(log.name, log.records)
        hand_over(projector, log)
    assert digests(opened()) == expected(desk)


@pytest.mark.slow
def test_readers_and_a_projector_go_on_while_tables_are_rebuilt(database: str, opened: Opened) -> None:
    desk = desk_of()
    engine, reader = opened(writable=True), opened()
    with reader.connect() as connection:
        shown = {balances_digest(connection)}
    projector, moved, failed = Projector(engine), 0, list[BaseException]()
    ended = threading.Event()

    def project() -> None:
        nonlocal moved
        try:
            for log in [log for some in logs_of(desk) for log in [some] * len(some.records)]:
                try:
                    hand_over(projector, log, 1)
                except ProjectionMoved:
                    moved += 1
        except BaseException as fault:  # noqa: BLE001
            failed.append(fault)
        ended.set()

    def read() -> None:
        try:
            while not ended.is_set():
                with reader.connect() as connection:
                    position = read_position(connection, None)
                    shown.add(balances_digest(connection))
                    assert read_position(connection, None) == position
        except BaseException as fault:  # noqa: BLE001
            failed.append(fault)

    threads = [threading.Thread(target=run) for run in (project, read)]
    for thread in threads:
        thread.start()
    rebuilt = 0
    while not ended.is_set():
        assert rebuild_beside(database, MIGRATIONS, desk.partitions[-1], desk.ledgers).differed == ()
        rebuilt += 1
    for thread in threads:
        thread.join()

    assert failed == []
    assert rebuilt > 0
    for log in logs_of(desk):
        hand_over(projector, log)
    assert digests(opened()) == expected(desk)


@pytest.mark.slow
def test_logs_that_end_before_the_tables_change_nothing(database: str, opened: Opened) -> None:
    desk = desk_of()
    projector = Projector(opened(writable=True))
    for log in logs_of(desk):
        hand_over(projector, log)
    before, shorter = digests(opened()), cut(desk)

    with pytest.raises(RebuildRefused, match="the logs lead to"):
        rebuild_beside(database, MIGRATIONS, shorter.partitions[-1], shorter.ledgers)

    assert digests(opened()) == before


def test_second_rebuild_is_refused(database: str, opened: Opened) -> None:
    desk = desk_of(1)
    with opened(writable=True).connect() as connection:
        connection.execute(text("select pg_advisory_lock(hashtext('omnisync rebuild'))"))
        with pytest.raises(RebuildRefused, match="another rebuild runs"):
            rebuild_beside(database, MIGRATIONS, desk.partitions[-1], desk.ledgers)


# --- roles ---


@pytest.fixture
def acting(database: str, opened: Opened) -> Iterator[dict[str, Engine]]:
    """Open the database as each of the roles."""
    grant_roles(opened(writable=True))
    grant_roles(opened(writable=True))
    engines = {}
    for role in (PROJECT, READ):
        engines[role] = open_postgres(f"{database}?options=-crole%3D{role}", writable=True)
    yield engines
    for engine in engines.values():
        engine.dispose()


@pytest.mark.slow
def test_who_reads_cannot_write_and_who_projects_cannot_delete(acting: dict[str, Engine], opened: Opened) -> None:
    desk = desk_of(1)
    projector = Projector(acting[PROJECT])
    for log in logs_of(desk):
        hand_over(projector, log)

    with acting[READ].connect() as connection:
        assert digest_of_tables(connection) == expected(desk)
    for role, statement in (
        (READ, "update balance set debits = 0"),
        (READ, "insert into checkpoint values ('x', 1)"),
        (READ, "create table mine (id int)"),
        (PROJECT, "delete from balance"),
        (PROJECT, "update alembic_version set version_num = '0'"),
    ):
        with acting[role].connect() as connection, pytest.raises(DBAPIError, match="permission denied"):
            connection.execute(text(statement))


@pytest.mark.slow
def test_rebuilt_tables_keep_the_roles(acting: dict[str, Engine], database: str) -> None:
    desk = desk_of(1)
    rebuild_beside(database, MIGRATIONS, desk.partitions[-1], desk.ledgers)

    projector = Projector(acting[PROJECT])
    for log in logs_of(desk):
        hand_over(projector, log)

    with acting[READ].connect() as connection:
        assert digest_of_tables(connection) == expected(desk)
