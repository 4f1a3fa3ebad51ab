"""The schema, and the right of one projector to write it."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, select, text

from app.books import MIGRATIONS, Books
from app.commands.write import load_preset
from app.facts import Producer, to_line
from events.instant import DAY, parse_instant
from projections.database import migrate, open_sqlite
from projections.project import ProjectionMoved, Projector
from projections.tables import METADATA, checkpoint
from settlement.lines import Line


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
        assert connection.execute(text("select version_num from alembic_version")).scalars().all() == ["0001"]


def test_the_second_of_two_projectors_stops_and_writes_nothing(engine: Engine, books: Books) -> None:
    first = Projector(engine, books.facts(), books.ledgers())
    first.run()
    second = Projector(engine, books.facts(), books.ledgers())
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


def test_a_reader_cannot_write(books: Books) -> None:
    with books.engine().connect() as connection, pytest.raises(Exception, match="readonly"):
        connection.execute(text("delete from checkpoint"))


def _close_a_day(books: Books) -> None:
    start = parse_instant("2026-10-01T00:00:00.000000Z")
    router = Producer("router")
    facts = [router.register(start), *router.marks(start, start + 2 * DAY)]
    lines = [Line(number, to_line(fact).rstrip(), 1) for number, fact in enumerate(facts, 1)]
    list(books.ingest(iter([lines]), "test"))
    with books.settlers() as settlers:
        settlers.run()
