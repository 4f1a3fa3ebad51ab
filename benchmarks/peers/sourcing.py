"""The `eventsourcing` library on SQLite, snapshots off: an aggregate per job, or an aggregate per account.

Many aggregates are saved at once, which is one transaction: kinder than its usual save of one. Aggregates stay in
memory between batches, so nothing is replayed. Amounts are ints, which its JSON holds exactly.
"""

import os
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from benchmarks.oracle import ISSUED
from benchmarks.task import BATCH, Result, Task, rss_mib

__all__ = ["run_per_account", "run_per_job"]

CONDITIONS = f"one commit per {BATCH:,}; snapshots off; WAL, synchronous=FULL"


class Job(Aggregate):
    """A job with what its entry moved."""

    @event("Settled")
    def __init__(self, subject: str, day: int, postings: list[tuple[str, int]]) -> None:
        """Settle at once: the fact is the whole job."""
        self.subject = subject
        self.day = day
        self.postings = postings


class Account(Aggregate):
    """An account with a floor."""

    @event("Opened")
    def __init__(self, name: str) -> None:
        """Open at zero."""
        self.name = name
        self.balance = 0

    @staticmethod
    def create_id(name: str) -> UUID:
        """Derive the id from the name."""
        return uuid5(NAMESPACE_URL, name)

    def post(self, amount: int, subject: str) -> None:
        """Post an amount, above the floor. Raises: ValueError."""
        if self.balance + amount < 0 and self.name != ISSUED:
            raise ValueError(f"{self.name} would fall below zero")
        self._post(amount, subject)

    @event("Posted")
    def _post(self, amount: int, subject: str) -> None:
        self.balance += amount


def run_per_job(task: Task, folder: Path) -> Result:
    """Measure one aggregate per entry; reading the entries is not timed."""
    app, path = _open(folder)
    seconds, jobs = 0.0, 0
    for batch in task.batches():
        start = perf_counter()
        app.save(*[Job(subject=subject, day=day, postings=postings) for subject, day, postings in batch])
        seconds += perf_counter() - start
        jobs += len(batch)
    rss = rss_mib()
    totals: dict[str, int] = {}
    for job in _stored(app):
        for account, amount in job["postings"]:
            totals[account] = totals.get(account, 0) + amount
    return _finish(app, path, task, totals, seconds, rss)


def run_per_account(task: Task, folder: Path) -> Result:
    """Measure one event per posting on the account's aggregate, with its floor; reading the entries is not timed."""
    app, path = _open(folder)
    accounts: dict[str, Account] = {}
    seconds = 0.0
    for batch in task.batches():
        start = perf_counter()
        touched: dict[str, Account] = {}
        for subject, _, postings in batch:
            for name, amount in postings:
                if amount:
                    account = accounts.get(name)
                    if account is None:
                        account = accounts[name] = Account(name=name)
                    account.post(amount, subject)
                    touched[name] = account
        app.save(*touched.values())
        seconds += perf_counter() - start
    rss = rss_mib()
    totals = {name: app.repository.get(account.id).balance for name, account in accounts.items()}
    return _finish(app, path, task, totals, seconds, rss)


def _open(folder: Path) -> tuple[Any, Path]:
    path = folder / "events.sqlite"
    os.environ["PERSISTENCE_MODULE"] = "eventsourcing.sqlite"
    os.environ["SQLITE_DBNAME"] = str(path)
    return Application(), path


def _stored(app: Any) -> Any:
    """Yield the stored state of each event, read back from the store."""
    start = 1
    while notes := app.recorder.select_notifications(start=start, limit=BATCH):
        for note in notes:
            yield app.mapper.transcoder.decode(note.state)
        start = notes[-1].id + 1


def _finish(app: Any, path: Path, task: Task, totals: dict[str, int], seconds: float, rss: float) -> Result:
    app.close()
    return Result(
        seconds=seconds,
        exact={name: amount for name, amount in totals.items() if amount} == task.totals(),
        bytes_on_disk=sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")),
        rss_mib=rss,
        conditions=CONDITIONS,
    )
