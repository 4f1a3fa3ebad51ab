"""SQLite as a ledger: rows of entries alone, rows of facts beside them, and with the guarantees that the product gives.

Both commit once per batch of entries with `synchronous=FULL` in WAL mode: one fsync per commit. Amounts are text, since
they pass 2^63.
"""

import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter

import msgspec

from benchmarks.oracle import ISSUED, Decider, Entry, read_fact
from benchmarks.task import BATCH, Result, Task, rss_mib

__all__ = ["run_bulk", "run_fair", "run_kept"]

CONDITIONS = f"one commit per {BATCH:,}; WAL, synchronous=FULL"
BULK_SCHEMA = """
CREATE TABLE entry (id INTEGER PRIMARY KEY, subject TEXT NOT NULL, day INTEGER NOT NULL);
CREATE TABLE posting (entry INTEGER NOT NULL, account TEXT NOT NULL, amount TEXT NOT NULL);
CREATE TABLE fact (id INTEGER PRIMARY KEY, line BLOB NOT NULL);
"""
FAIR_SCHEMA = """
CREATE TABLE event (sequence INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, body BLOB NOT NULL);
CREATE TABLE refused (raw BLOB NOT NULL);
CREATE TABLE account (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE balance (account INTEGER PRIMARY KEY, amount TEXT NOT NULL);
CREATE TABLE posting (event INTEGER NOT NULL, account INTEGER NOT NULL, amount TEXT NOT NULL, running TEXT NOT NULL);
"""


def run_bulk(task: Task, folder: Path) -> Result:
    """Measure bulk insertion of entries that were decided elsewhere; reading them is not timed."""
    return _insert(task, folder / "bulk.sqlite", iter(()))


def run_kept(task: Task, folder: Path) -> Result:
    """Measure bulk insertion of what must be kept: facts as they came, and entries; reading them is not timed."""
    with task.stream.open("rb") as lines:
        return _insert(task, folder / "kept.sqlite", lines)


def _insert(task: Task, path: Path, lines: Iterator[bytes]) -> Result:
    """Insert entries, and beside each batch of them its share of the lines."""
    connection = _open(path, BULK_SCHEMA)
    seconds, number = 0.0, 0
    share = -(-task.facts // sum(1 for _ in task.batches()))
    for batch in task.batches():
        facts = [(line,) for line in islice(lines, share)]
        start = perf_counter()
        entries, postings = [], []
        for subject, day, legs in batch:
            number += 1
            entries.append((number, subject, day))
            postings += [(number, account, str(amount)) for account, amount in legs if amount]
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO entry VALUES (?, ?, ?)", entries)
        connection.executemany("INSERT INTO posting VALUES (?, ?, ?)", postings)
        connection.executemany("INSERT INTO fact (line) VALUES (?)", facts)
        connection.execute("COMMIT")
        seconds += perf_counter() - start
    rss = rss_mib()
    totals: dict[str, int] = {}
    for account, amount in connection.execute("SELECT account, amount FROM posting"):
        totals[account] = totals.get(account, 0) + int(amount)
    return _finish(connection, path, task, {a: n for a, n in totals.items() if n}, seconds, rss)


def run_fair(task: Task, folder: Path) -> Result:
    """Measure the whole way from the file of facts: read, decide, store the event once, post with running balances."""
    path = folder / "fair.sqlite"
    connection = _open(path, FAIR_SCHEMA)
    ledger = _Ledger(connection)
    decider = Decider(task.parameters)
    ledger.begin()
    ledger.post(0, [decider.genesis()])
    ledger.commit()
    start = perf_counter()
    with task.stream.open("rb") as file:
        ledger.begin()
        for number, line in enumerate(file, 1):
            fact = read_fact(line, msgspec.json.decode)
            if fact is None:
                connection.execute("INSERT INTO refused VALUES (?)", (line,))
            elif sequence := ledger.store(fact["id"], line):
                ledger.post(sequence, decider.decide(fact))
            if number % BATCH == 0:
                ledger.commit()
                ledger.begin()
        ledger.commit()
    seconds = perf_counter() - start
    rss = rss_mib()
    query = "SELECT name, amount FROM balance JOIN account ON account.id = balance.account"
    totals = {name: int(amount) for name, amount in connection.execute(query) if amount != "0"}
    return _finish(connection, path, task, totals, seconds, rss)


class _Ledger:
    """Events stored once, postings with their running balance, and a balance per account; one batch per transaction.

    Within a batch each account's balance is read once and written once, which is the quickest way that keeps it exact.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection
        self._accounts: dict[str, int] = {}
        self._balances: dict[int, int] = {}
        self._postings: list[tuple[int, int, str, str]] = []

    def begin(self) -> None:
        self._sql.execute("BEGIN IMMEDIATE")

    def store(self, event_id: str, line: bytes) -> int:
        """Store an event; return its sequence, or 0 where its id is stored already."""
        done = self._sql.execute(
            "INSERT OR IGNORE INTO event (id, body) VALUES (?, ?)", (bytes.fromhex(event_id), line)
        )
        if done.rowcount:
            return done.lastrowid or 0
        (body,) = self._sql.execute("SELECT body FROM event WHERE id = ?", (bytes.fromhex(event_id),)).fetchone()
        if body != line:
            self._sql.execute("INSERT INTO refused VALUES (?)", (line,))
        return 0

    def post(self, sequence: int, entries: list[Entry]) -> None:
        for entry in entries:
            for name, amount in entry.postings:
                if amount:
                    account = self._accounts.get(name) or self._account(name)
                    balance = self._balances.get(account)
                    balance = (self._read(account) if balance is None else balance) + amount
                    if balance < 0 and name != ISSUED:
                        raise AssertionError(f"{name} would stand at {balance}")
                    self._balances[account] = balance
                    self._postings.append((sequence, account, str(amount), str(balance)))

    def commit(self) -> None:
        self._sql.executemany("INSERT INTO posting VALUES (?, ?, ?, ?)", self._postings)
        balances = [(account, str(balance)) for account, balance in self._balances.items()]
        self._sql.executemany("INSERT OR REPLACE INTO balance VALUES (?, ?)", balances)
        self._sql.execute("COMMIT")
        self._postings, self._balances = [], {}

    def _account(self, name: str) -> int:
        number = self._sql.execute("INSERT INTO account (name) VALUES (?)", (name,)).lastrowid
        assert number
        self._accounts[name] = number
        return number

    def _read(self, account: int) -> int:
        row = self._sql.execute("SELECT amount FROM balance WHERE account = ?", (account,)).fetchone()
        return int(row[0]) if row else 0


def _open(path: Path, schema: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.executescript(schema)
    return connection


def _finish(
    connection: sqlite3.Connection, path: Path, task: Task, totals: dict[str, int], seconds: float, rss: float
) -> Result:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return Result(
        seconds=seconds,
        exact=totals == task.totals(),
        bytes_on_disk=path.stat().st_size,
        rss_mib=rss,
        conditions=CONDITIONS,
    )
