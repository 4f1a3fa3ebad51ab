"""The schema, and the right of one projector to write it."""

import shutil
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from click.testing import CliRunner
from sqlalchemy import Engine, inspect, select, text

from app.books import MIGRATIONS, Books
from app.cli import cli
from app.commands.write import load_preset
from app.facts import Producer, to_line
from events.instant import DAY, parse_instant
from projections.database import REVISION, SchemaOutdated, migrate, open_sqlite
from projections.project import ProjectionMoved, Projector
from projections.tables import METADATA, checkpoint
from projections.write import insert_tuples, upsert_tuples
from settlement.lines import Line
from settlement.verify import verify_rows
from tests.projections.story import told


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Give a database at the newest revision."""
    engine = open_sqlite(tmp_path / "x.sqlite", writable=True)
    migrate(engine, MIGRATIONS)
    return engine


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """Give books with their genesis, settled but not projected."""
    books = Books(tmp_path / "books")
    books.create(load_preset("omnisync"))
    with books.settlers() as settlers:
        settlers.run()
    return books


def test_migrations_lead_to_the_tables_that_the_code_writes(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert set(inspect(connection).get_table_names()) == {*METADATA.tables, "alembic_version"}


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    migrate(engine, MIGRATIONS)

    with engine.connect() as connection:
        assert connection.execute(text("select version_num from alembic_version")).scalars().all() == [REVISION]


def test_the_second_of_two_projectors_stops_and_writes_nothing(engine: Engine, books: Books) -> None:
    first = Projector(engine, books.facts("facts/hub"), books.ledgers())
    first.run()
    second = Projector(engine, books.facts("facts/hub"), books.ledgers())
    _close_a_day(books)

    first.run()

    with pytest.raises(ProjectionMoved):
        second.run()
    with engine.connect() as connection:
        stored = {row.log: row.position for row in connection.execute(select(checkpoint))}
    assert stored == first.positions()


def test_amounts_of_39_digits_come_back_exactly(engine: Engine) -> None:
    amount = 10**39 - 1
    with engine.begin() as connection:
        connection.execute(
            METADATA.tables["account"].insert(),
            {"id": 1, "asset": "OMNI", "account": "external", "vault": "", "supply_class": "outside"},
        )
        connection.execute(
            METADATA.tables["balance"].insert(), {"account_id": 1, "log": "hub", "debits": amount, "credits": 0}
        )

    with engine.connect() as connection:
        assert connection.execute(select(METADATA.tables["balance"])).one().debits == amount


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_rows_are_written_and_replaced_in_any_number(engine: Engine, count: int) -> None:
    table = METADATA.tables["epoch_total"]
    rows = [(epoch, "OMNI", "hub", 1, epoch, 2**63 - 1, str(2**63), "7", 0, 0) for epoch in range(count)]
    replaced = [(*row[:3], 2, *row[4:]) for row in rows]

    with engine.begin() as connection:
        insert_tuples(connection, table, rows)
        upsert_tuples(connection, table, replaced[1:])

    with engine.connect() as connection:
        found = connection.execute(select(table).order_by(table.c.epoch)).all()
        kinds = connection.execute(text("select distinct typeof(burn), typeof(net), typeof(settled) from epoch_total"))
        assert kinds.all() == ([("text", "text", "integer")] if count else [])
    assert [tuple(row) for row in found] == [
        (epoch, "OMNI", "hub", 2 if epoch else 1, epoch, 2**63 - 1, 2**63, 7, 0, 0) for epoch in range(count)
    ]


def test_a_reader_cannot_write(books: Books) -> None:
    with books.engine().connect() as connection, pytest.raises(Exception, match="readonly"):
        connection.execute(text("delete from checkpoint"))


# --- a database of the first revision ---


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """Give a database as the first revision's program had left it, with all that it knew of the story."""
    whole, first = tmp_path / "whole.sqlite", tmp_path / "first.sqlite"
    engine = open_sqlite(whole, writable=True)
    migrate(engine, MIGRATIONS)
    told().project(engine)
    engine.dispose()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = open_sqlite(first, writable=True)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with engine.begin() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("ATTACH DATABASE ? AS whole", (str(whole),))
        connection.exec_driver_sql("BEGIN")
        for table in set(inspect(connection).get_table_names()) - {"alembic_version"}:
            columns = ", ".join(f'"{column["name"]}"' for column in inspect(connection).get_columns(table))
            # Epochs' totals had one row, not one per log.
            connection.exec_driver_sql(f"INSERT OR IGNORE INTO {table} ({columns}) SELECT {columns} FROM whole.{table}")
    engine.dispose()
    return first


def test_a_database_of_the_first_revision_is_emptied_and_folded_again(first: Path) -> None:
    story = told()
    engine = open_sqlite(first, writable=True)
    with engine.connect() as connection:
        assert connection.execute(select(checkpoint)).all()

    migrate(engine, MIGRATIONS)

    with engine.connect() as connection:
        assert not any(connection.execute(select(table)).first() for table in METADATA.sorted_tables)
    story.project(engine)
    rows, lag = verify_rows(engine, story.facts, [story.hub, story.lane])
    assert (rows > 100, lag) == (True, 0)


def test_a_reader_of_another_revision_is_told_what_to_do(first: Path) -> None:
    with pytest.raises(SchemaOutdated, match=f"revision 0001, this program reads {REVISION}; `omnisync run --once`"):
        open_sqlite(first, writable=False).connect()


def test_old_books_are_refused_until_they_are_run_or_rebuilt(books: Books, first: Path) -> None:
    data = ["--data", str(books.folder)]
    for mend in (["run", "--once"], ["rebuild"]):
        books.database.unlink()
        shutil.copy(first, books.database)

        refused = CliRunner().invoke(cli, ["supply", *data])
        mended = CliRunner().invoke(cli, [*mend, *data])

        assert isinstance(refused.exception, SchemaOutdated)
        assert mended.exit_code == 0, mended.output
        assert CliRunner().invoke(cli, ["supply", *data]).exit_code == 0


def _close_a_day(books: Books) -> None:
    start = parse_instant("2026-10-01T00:00:00.000000Z")
    router = Producer("router")
    facts = [router.register(start), *router.marks(start, start + 2 * DAY)]
    lines = [Line(number, to_line(fact).rstrip(), 1) for number, fact in enumerate(facts, 1)]
    list(books.ingest(iter([lines]), "test"))
    with books.settlers() as settlers:
        settlers.run()
