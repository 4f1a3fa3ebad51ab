"""The files that peers read, made from decided entries or facts when a peer needs them, before any measurement."""

import csv
from collections.abc import Callable
from datetime import date
from pathlib import Path

from benchmarks.oracle import Entry
from benchmarks.task import DECIMALS, Task

__all__ = ["DUCKDB_FACTS", "bean_account", "make_input"]

# What a file of facts says of money, one row per fact that moves some; nothing else is looked at.
DUCKDB_FACTS = """
SELECT COALESCE(fact.data.consumer, fact.subject) AS consumer, fact.data.node AS node, fact.occurred_at[:10] AS day,
    fact.data.terms.price::HUGEINT AS price, fact.data.gpu_seconds AS seconds,
    fact.data.terms.gpu_seconds_max AS most, fact.data.amount::HUGEINT AS amount
FROM (SELECT data AS fact FROM read_json('{path}', format = 'newline_delimited', columns = {{data: 'STRUCT(
    type VARCHAR, subject VARCHAR, occurred_at VARCHAR, data STRUCT(consumer VARCHAR, node VARCHAR, gpu_seconds BIGINT,
    amount VARCHAR, terms STRUCT(price VARCHAR, gpu_seconds_max BIGINT)))'}}))
WHERE fact.type IN ('UsageMetered', 'ChainFactDeclared')
"""
# DuckDB writes HUGEINT to Parquet as DOUBLE, which is not exact; DECIMAL(38) is.
_EXACT = "price::DECIMAL(38, 0) AS price, amount::DECIMAL(38, 0) AS amount"
_TO_PARQUET = "(FORMAT parquet, COMPRESSION zstd)"


def make_input(task: Task, name: str) -> None:
    """Make the file that goes by a name, unless it is there. Raises: KeyError."""
    if name:
        maker, path = _MAKERS[name], task.input(name)
        if not path.exists():
            maker(task, path)


def bean_account(account: str) -> str:
    """Write an account's name as beancount wants it: under a root, each part with a capital letter in front."""
    return "Equity:" + ":".join(part.replace("_", "-").capitalize() for part in account.split(":"))


def _make_journal(task: Task, path: Path) -> None:
    with path.open("w") as journal:
        for batch in task.batches():
            journal.writelines(map(_journal_entry, batch))


def _make_beans(task: Task, path: Path) -> None:
    accounts = {account for batch in task.batches() for entry in batch for account, _ in entry.postings}
    with path.open("w") as beans:
        beans.writelines(f"{_date(0)} open {bean_account(account)} OMNI\n" for account in sorted(accounts))
        for batch in task.batches():
            for entry in batch:
                beans.write(f'\n{_date(entry.day)} * "{entry.subject}"\n')
                beans.writelines(f"  {bean_account(a)}  {_decimal(n)} OMNI\n" for a, n in entry.postings if n)


def _make_facts(task: Task, path: Path) -> None:
    """Write what the facts say of money as Parquet."""
    import duckdb

    facts = f"SELECT * REPLACE ({_EXACT}) FROM ({DUCKDB_FACTS.format(path=task.stream)})"
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({facts}) TO '{path}' {_TO_PARQUET}")


def _make_postings(task: Task, path: Path) -> None:
    """Write the postings of all entries as Parquet."""
    import duckdb

    plain = path.with_suffix(".csv")
    with plain.open("w", newline="") as file:
        writer = csv.writer(file)
        for batch in task.batches():
            writer.writerows(posting for entry in batch for posting in entry.postings if posting[1])
    columns = "{account: 'VARCHAR', amount: 'DECIMAL(38, 0)'}"
    with duckdb.connect() as connection:
        rows = f"SELECT * FROM read_csv('{plain}', header = false, columns = {columns})"
        connection.execute(f"COPY ({rows}) TO '{path}' {_TO_PARQUET}")
    plain.unlink()


_MAKERS: dict[str, Callable[[Task, Path], None]] = {
    "journal": _make_journal,
    "beancount": _make_beans,
    "facts.parquet": _make_facts,
    "postings.parquet": _make_postings,
}


def _journal_entry(entry: Entry) -> str:
    postings = "".join(f"    {account}  {_decimal(amount)} OMNI\n" for account, amount in entry.postings if amount)
    return f"{_date(entry.day)} {entry.subject}\n{postings}\n"


def _date(day: int) -> str:
    return date.fromordinal(date(1970, 1, 1).toordinal() + day).isoformat()


def _decimal(amount: int) -> str:
    whole, part = divmod(abs(amount), 10**DECIMALS)
    return f"{'-' if amount < 0 else ''}{whole}.{part:0{DECIMALS}d}"
