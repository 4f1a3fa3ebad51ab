"""Projections that were kept up from run to run are those that are made again from the logs, row by row."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select

from projections.database import open_sqlite
from projections.read import balances_digest
from projections.tables import METADATA
from settlement.verify import verify_rows
from tests.networks import build_small_network
from tests.settlement.desk import Desk, settled, tables_of
from tests.worlds import World, build_world

pytestmark = pytest.mark.slow

BUILDS = (build_world, build_small_network)
Build = Callable[[int], World]


def kept_up(build: Build, seed: int, step: int, batch: int) -> tuple[Desk, Engine]:
    world = build(seed)
    desk = Desk(world.parameters)
    engine = open_sqlite(None, writable=True)
    METADATA.create_all(engine)
    facts = world.facts()
    for start in range(0, len(facts), step):
        desk.ingest(facts[start : start + step], chunk=9)
        desk.settle(batch)
        desk.project(engine)
    return desk, engine


def rows_of(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    with engine.connect() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table))] for table in METADATA.sorted_tables
        }


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize(
    ("seed", "step", "batch"),
    [
        (1, 7, 3),
        (3, 1_000, 2_000),
        (2, 25, 1),
        (4, 40, 10_000),
    ],
)
def test_rebuilt_rows_are_the_maintained_rows(build: Build, seed: int, step: int, batch: int) -> None:
    desk, engine = kept_up(build, seed, step, batch)

    checked, lag = verify_rows(engine, desk.partitions[-1], desk.ledgers)

    held = rows_of(engine)
    assert checked == sum(len(rows) for rows in held.values())
    assert lag == 0
    rebuilt = tables_of(desk)
    again = rows_of(rebuilt)
    assert {name: len(rows) for name, rows in held.items()} == {name: len(rows) for name, rows in again.items()}
    with engine.connect() as kept, rebuilt.connect() as fresh:
        assert balances_digest(kept) == balances_digest(fresh) == desk.digests().balances


@pytest.mark.parametrize("build", BUILDS)
def test_rows_verify_after_every_single_run(build: Build) -> None:
    world = build(6)
    desk = Desk(world.parameters)
    engine = tables_of(desk)
    facts = world.facts()
    for start in range(0, len(facts), 30):
        desk.ingest(facts[start : start + 30])
        desk.settle()
        desk.project(engine)
        verify_rows(engine, desk.partitions[-1], desk.ledgers)


@pytest.mark.parametrize("build", BUILDS)
def test_projecting_again_changes_no_row(build: Build) -> None:
    desk = settled(build(7))
    engine = tables_of(desk)
    before = rows_of(engine)

    desk.project(engine)

    assert rows_of(engine) == before


@pytest.mark.parametrize("build", BUILDS)
def test_rows_lag_behind_the_log_without_being_wrong(build: Build) -> None:
    world = build(8)
    desk = Desk(world.parameters)
    facts = world.facts()
    desk.ingest(facts[: len(facts) // 2])
    desk.settle()
    engine = tables_of(desk)

    desk.ingest(facts[len(facts) // 2 :])
    desk.settle()

    assert verify_rows(engine, desk.partitions[-1], desk.ledgers)[0] > 0


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("seed", range(6))
def test_maintained_balances_are_those_of_the_scalar_fold(build: Build, seed: int) -> None:
    desk, engine = kept_up(build, seed, 33, 10)

    with engine.connect() as connection:
        assert balances_digest(connection) == desk.digests().balances
