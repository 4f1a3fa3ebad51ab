"""Rows of jobs are found by their key, however many there are."""

from pathlib import Path

from sqlalchemy import insert

from app.books import MIGRATIONS
from projections import tables
from projections.database import migrate, open_sqlite
from projections.jobs import LOOK_UP, find_jobs


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
        found = list(find_jobs(connection, [*keys[3:7], ("c0", "j1"), ("nobody", "j3")]))
        plan = [step[-1] for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {LOOK_UP}", (None,) * 800)]

    rows = [dict(zip(tables.job.c.keys(), each, strict=True)) for each in found]
    assert [(each["consumer"], each["id"]) for each in rows] == keys[3:7]
    assert {(each["escrow"], each["late"]) for each in rows} == {(large, True)}
    assert [step for step in plan if "job" in step] == ["SEARCH job USING PRIMARY KEY (consumer=? AND id=?)"]
    engine.dispose()
