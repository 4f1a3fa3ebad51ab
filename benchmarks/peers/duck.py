"""DuckDB sums: from the file of facts or from its columns as Parquet, and from decided postings as Parquet.

Prices and amounts are HUGEINT or DECIMAL(38), whose sums are exact and which refuse to overflow.
"""

from pathlib import Path
from time import perf_counter

import duckdb

from benchmarks.inputs import DUCKDB_FACTS
from benchmarks.peers.columns import FACTS, POSTINGS, Rates, balances, judge, summed
from benchmarks.task import Result, Task

__all__ = ["run_jsonl", "run_parquet", "run_postings"]

# One row per consumer, node and day; `sums` says which of the three it is.
SUMS = """
WITH priced AS (
    SELECT *, LEAST(price * seconds // 3600, (price * most + 3599) // 3600) AS gross FROM ({facts})
), split AS (
    SELECT *, gross * {rates.burn} // 10000 AS burn, gross * {rates.fee} // 10000 AS fee FROM priced
)
SELECT GROUPING(consumer, node, day) AS sums, consumer, node, day, COALESCE(SUM(amount), 0), COALESCE(SUM(gross), 0),
    COALESCE(SUM(burn), 0), COALESCE(SUM(fee), 0)
FROM split GROUP BY GROUPING SETS ((consumer), (node), (day))
"""
BY_CONSUMER, BY_NODE, BY_DAY = 0b011, 0b101, 0b110
COLUMNS = "SELECT * REPLACE (price::HUGEINT AS price, amount::HUGEINT AS amount) FROM read_parquet('{path}')"


def run_jsonl(task: Task, folder: Path) -> Result:
    """Measure sums from the file of facts itself."""
    return _price(task, folder, DUCKDB_FACTS, task.stream, "read_json of the file of facts, prices in SQL")


def run_parquet(task: Task, folder: Path) -> Result:
    """Measure sums from those columns of the facts that speak of money."""
    what = "read_parquet of the facts' money columns alone (zstd; writing them is not timed), prices in SQL"
    return _price(task, folder, COLUMNS, task.input(FACTS), what)


def run_postings(task: Task, folder: Path) -> Result:
    """Measure sums of postings that were decided elsewhere."""
    path = task.input(POSTINGS)
    start = perf_counter()
    with _open(folder) as connection:
        query = f"SELECT account, SUM(amount) FROM read_parquet('{path}') GROUP BY account"
        totals = summed(connection.execute(query).fetchall())
        seconds, threads = perf_counter() - start, _threads(connection)
    what = f"read_parquet of account and amount alone (zstd; writing them is not timed); {threads}"
    return judge(task, totals, path, seconds, what)


def _price(task: Task, folder: Path, facts: str, path: Path, conditions: str) -> Result:
    rates = Rates.read(task.parameters)
    start = perf_counter()
    with _open(folder) as connection:
        rows = connection.execute(SUMS.format(facts=facts.format(path=path), rates=rates)).fetchall()
        totals = balances(
            rates,
            ((row[1], row[4] - row[5]) for row in rows if row[0] == BY_CONSUMER),
            ((row[2], row[5] - row[6] - row[7]) for row in rows if row[0] == BY_NODE and row[2] is not None),
            ((row[4], row[6], row[7]) for row in rows if row[0] == BY_DAY),
        )
        seconds, threads = perf_counter() - start, _threads(connection)
    return judge(task, totals, path, seconds, f"{conditions}; {threads}")


def _open(folder: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"temp_directory": str(folder)})


def _threads(connection: duckdb.DuckDBPyConnection) -> str:
    (threads,) = connection.execute("SELECT current_setting('threads')").fetchone()
    return f"threads: {threads}"
