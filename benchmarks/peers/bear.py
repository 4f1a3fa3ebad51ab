"""Polars sums: from the file of facts or from its columns as Parquet, and from decided postings as Parquet.

Prices and amounts are Int128 or Decimal(38). Int128 wraps where it overflows; no sum of a supply of 10^30 comes near.
"""

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import polars as pl

from benchmarks.peers.columns import FACTS, POSTINGS, Rates, balances, judge, summed
from benchmarks.task import Result, Task

__all__ = ["run_jsonl", "run_parquet", "run_postings"]

TERMS = pl.Struct({"price": pl.String, "gpu_seconds_max": pl.Int64})
MONEY = pl.Struct(
    {"consumer": pl.String, "node": pl.String, "gpu_seconds": pl.Int64, "amount": pl.String, "terms": TERMS}
)
SCHEMA = {"data": pl.Struct({"type": pl.String, "subject": pl.String, "occurred_at": pl.String, "data": MONEY})}
WIDE = pl.Int128


def run_jsonl(task: Task, _: Path) -> Result:
    """Measure sums from the file of facts itself."""
    fact, data = pl.col("data").struct, pl.col("data").struct.field("data").struct
    terms = data.field("terms").struct
    start = perf_counter()
    facts = (
        pl.scan_ndjson(task.stream, schema=SCHEMA)
        .filter(fact.field("type").is_in(["UsageMetered", "ChainFactDeclared"]))
        .select(
            consumer=pl.coalesce(data.field("consumer"), fact.field("subject")),
            node=data.field("node"),
            day=fact.field("occurred_at").str.head(10),
            price=terms.field("price").cast(WIDE),
            seconds=data.field("gpu_seconds"),
            most=terms.field("gpu_seconds_max"),
            amount=data.field("amount").cast(WIDE),
        )
    )
    totals = _price(task, facts)
    seconds = perf_counter() - start
    what = f"scan_ndjson of the file of facts, prices in expressions; {_threads()}"
    return judge(task, totals, task.stream, seconds, what)


def run_parquet(task: Task, _: Path) -> Result:
    """Measure sums from those columns of the facts that speak of money."""
    path = task.input(FACTS)
    start = perf_counter()
    totals = _price(task, pl.scan_parquet(path).with_columns(pl.col("price", "amount").cast(WIDE)))
    seconds = perf_counter() - start
    what = "scan_parquet of the facts' money columns alone (zstd; writing them is not timed), prices in expressions"
    return judge(task, totals, path, seconds, f"{what}; {_threads()}")


def run_postings(task: Task, _: Path) -> Result:
    """Measure sums of postings that were decided elsewhere."""
    path = task.input(POSTINGS)
    start = perf_counter()
    sums = pl.scan_parquet(path).group_by("account").agg(pl.col("amount").sum())
    totals = summed(sums.collect(engine="streaming").iter_rows())
    seconds = perf_counter() - start
    what = f"scan_parquet of account and amount alone (zstd; writing them is not timed); {_threads()}"
    return judge(task, totals, path, seconds, what)


def _price(task: Task, facts: pl.LazyFrame) -> dict[str, int]:
    rates = Rates.read(task.parameters)
    price, wide = pl.col("price"), (pl.col("seconds").cast(WIDE), pl.col("most").cast(WIDE))
    gross = pl.min_horizontal(price * wide[0] // 3600, (price * wide[1] + 3599) // 3600)
    split = facts.with_columns(gross=gross).with_columns(
        burn=pl.col("gross") * rates.burn // 10_000, fee=pl.col("gross") * rates.fee // 10_000
    )
    sums = [
        split.group_by("consumer").agg(pl.col("amount").sum(), pl.col("gross").sum()),
        split.group_by("node").agg(pl.col("gross", "burn", "fee").sum()),
        split.group_by("day").agg(pl.col("amount", "burn", "fee").sum()).drop("day"),
    ]
    consumers, nodes, days = (frame.iter_rows() for frame in pl.collect_all(sums, engine="streaming"))
    return balances(rates, _nets(consumers), _nets(nodes), days)


def _nets(rows: Iterator[tuple[str | None, int, int, int] | tuple[str | None, int, int]]) -> Iterator[tuple[str, int]]:
    """Take what is spent from what came in; deposits belong to no node."""
    for name, income, *spent in rows:
        if name is not None:
            yield name, income - sum(spent)


def _threads() -> str:
    return f"threads: {pl.thread_pool_size()}"
