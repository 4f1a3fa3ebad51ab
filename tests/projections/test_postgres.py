"""Projections on PostgreSQL: the schema, and the same rows and answers as in SQLite."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DBAPIError

from app.books import MIGRATIONS
from events.decisions import DecisionRefused, DecisionRefusedData
from projections.database import REVISION, DatabaseUnreachable, SchemaOutdated, migrate, open_postgres
from projections.past import Past
from projections.tables import METADATA, balance, dead_letter, epoch_total
from projections.write import insert_rows, insert_tuples, upsert_tuples
from settlement.verify import Finding, verify_rows
from tests.networks import build_small_network
from tests.projections.answers import answers_of
from tests.projections.conftest import Opened
from tests.projections.story import Story, at, told
from tests.projections.test_project import HUGE, life_of_a_job
from tests.settlement.desk import Desk, settled, tables_of
from tests.worlds import build_world

# --- the schema ---


def test_migrations_lead_to_the_same_tables_as_in_sqlite(opened: Opened) -> None:
    migrate(opened(writable=True), MIGRATIONS)

    with opened().connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert set(inspect(connection).get_table_names()) == {*METADATA.tables, "alembic_version"}
        assert connection.execute(text("select version_num from alembic_version")).scalars().all() == [REVISION]


def test_processes_that_migrate_at_once_do_it_once(database: str) -> None:
    engines = [open_postgres(database, writable=True) for _ in range(3)]
    with ThreadPoolExecutor(len(engines)) as pool:
        list(pool.map(lambda engine: migrate(engine, MIGRATIONS), engines))
    with engines[0].connect() as connection:
        assert set(inspect(connection).get_table_names()) == {*METADATA.tables, "alembic_version"}
    for engine in engines:
        engine.dispose()


def test_reader_is_told_what_to_do_where_there_are_no_tables_or_other_ones(database: str, opened: Opened) -> None:
    with pytest.raises(SchemaOutdated, match=f"revision none, this program reads {REVISION}; `omnisync run --only p"):
        open_postgres(database, writable=False, schema="elsewhere").connect()
    with opened(writable=True).begin() as connection:
        connection.execute(text("update alembic_version set version_num = '0003'"))

    with pytest.raises(SchemaOutdated, match="revision 0003"):
        opened().connect()


def test_tables_of_a_newer_program_are_left_alone(database: str, opened: Opened) -> None:
    engine = opened(writable=True)
    with engine.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))

    for use in (lambda: migrate(engine, MIGRATIONS), lambda: opened().connect()):
        with pytest.raises(SchemaOutdated, match=r"revision 9999, .* a newer program made them"):
            use()


def test_database_that_cannot_be_reached_is_one_clear_fault(database: str) -> None:
    nobody = database.replace("postgres@", "nobody:secret@")
    nowhere = f"{database.rpartition(':')[0]}:1/x"
    for url, reason in ((nobody, 'role "nobody" does not exist'), (nowhere, "refused")):
        with pytest.raises(DatabaseUnreachable, match=reason) as fault:
            open_postgres(url, writable=True).connect()
        assert "secret" not in str(fault.value)


def test_reader_cannot_write(opened: Opened) -> None:
    with opened().connect() as connection, pytest.raises(DBAPIError, match="read-only transaction"):
        connection.execute(text("delete from checkpoint"))


@pytest.mark.parametrize("count", [0, 1, 65])
def test_rows_are_written_and_replaced_in_any_number(opened: Opened, count: int) -> None:
    rows = [(epoch, "OMNI", "hub", 1, epoch, 2**63 - 1, str(2**63), str(10**39 - 1), 0, 0) for epoch in range(count)]
    replaced = [(*row[:3], 2, *row[4:]) for row in rows]

    with opened(writable=True).begin() as connection:
        insert_tuples(connection, epoch_total, rows)
        upsert_tuples(connection, epoch_total, replaced[1:])

    with opened().connect() as connection:
        found = connection.execute(select(epoch_total).order_by(epoch_total.c.epoch)).all()
    assert [tuple(row) for row in found] == [
        (epoch, "OMNI", "hub", 2 if epoch else 1, epoch, 2**63 - 1, 2**63, 10**39 - 1, 0, 0) for epoch in range(count)
    ]


def test_text_is_copied_as_it_is_and_ordered_by_its_bytes(opened: Opened) -> None:
    table = METADATA.tables["dead_letter"]
    texts = ["\\N", "a\tb\\n\nc", "Z", "a", "B", "ä", "_", "-"]
    rows = [
        {"log": "hub", "sequence": n, "source": text, "place": "", "reason": "", "detail": "", "raw": None}
        for n, text in enumerate(texts)
    ]

    with opened(writable=True).begin() as connection:
        insert_rows(connection, table, rows)

    with opened().connect() as connection:
        found = connection.execute(select(table.c.source).order_by(table.c.source)).scalars().all()
    assert found == sorted(texts)


def test_what_was_refused_may_hold_any_character(opened: Opened) -> None:
    data = DecisionRefusedData(detail="zero: \0", reason="malformed")
    story = Story()
    story.write(story.lane, at(0), [(DecisionRefused, "zero", data)])

    story.project(opened(writable=True))

    with opened().connect() as connection:
        assert connection.execute(select(dead_letter.c.detail)).scalars().all() == ["zero: \ufffd"]


# --- the same rows and answers ---

WORLDS: dict[str, Callable[[], Desk | Story]] = {
    "story": told,
    "job": lambda: life_of_a_job(HUGE // 100),
    "world": lambda: settled(build_world(3, jobs=40), batch=7, lanes=2),
    "network": lambda: settled(build_small_network(2), batch=7, lanes=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_rows_and_answers_are_those_of_sqlite(opened: Opened, tmp_path: Path, world: str) -> None:
    scene = WORLDS[world]()
    ledgers: list[Any] = [scene.hub, scene.lane] if isinstance(scene, Story) else scene.ledgers
    facts = scene.facts if isinstance(scene, Story) else scene.partitions[-1]
    embedded = scene.engine() if isinstance(scene, Story) else tables_of(scene)
    scene.project(opened(writable=True))

    reader, past = opened(), Past(tmp_path, [])

    assert answers_of(reader, past, ledgers) == answers_of(embedded, past, ledgers)
    rows, lag = verify_rows(reader, facts, ledgers)
    assert (rows > 10, lag) == (True, 0)
    with opened(writable=True).begin() as connection:
        connection.execute(balance.update().values(credits=balance.c.credits + 1))
    with pytest.raises(Finding, match=r"table balance, row .*: column credits: stored"):
        verify_rows(reader, facts, ledgers)
