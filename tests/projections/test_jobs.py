"""Rows of jobs are found by their key, however many there are."""

from pathlib import Path

from sqlalchemy import insert

from app.books import MIGRATIONS
from projections import tables
from projections.database import migrate, open_sqlite
from projections.jobs import choose_jobs


def test_jobs_are_looked_up_and_not_looked_for(tmp_path: Path) -> None:
    engine = open_sqlite(tmp_path / "p.sqlite", writable=True)
    migrate(engine, MIGRATIONS)
    row = {column.name: 0 for column in tables.job.c} | {"status": "open", "cause": "", "asset": "OMNI", "late": True}
    large = 2**80
    keys = [(f"c{n % 3}", f"j{n}") for n in range(12)]
    with engine.begin() as connection:
        connection.execute(
            insert(tables.job),
            [row | {"consumer": consumer, "id": id, "escrow": large} for consumer, id in keys],
        )
        wanted = [*keys[3:7], ("c0", "j1"), ("nobody", "j3")]
        chosen = choose_jobs("sqlite", wanted)

        found = list(connection.execute(chosen))
        compiled = chosen.compile(engine)
        values = tuple(compiled.params[name] for name in compiled.positiontup)
        plan = [step[-1] for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values)]

    assert [(each.consumer, each.id) for each in found] == keys[3:7]
    assert {(each.escrow, each.late) for each in found} == {(large, True)}
    assert [step for step in plan if "job" in step] == ["SEARCH job USING PRIMARY KEY (consumer=? AND id=?)"]
    engine.dispose()
