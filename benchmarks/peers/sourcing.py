"""The `eventsourcing` library on SQLite, snapshots off: an aggregate per job, or an aggregate per account.

Many aggregates are saved at once, which is one transaction: kinder than its usual save of one. Accounts, and the jobs
that were touched last, stay in memory between batches, so next to nothing is replayed. Amounts are ints, which its JSON
holds exactly.
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
# So many jobs stay in memory: more than are under way at once.
JOBS_MAX = 20_000


class Job(Aggregate):
    """A job, or whatever else entries are about, with how many there were: what they moved is in its events."""

    @event("Begun")
    def __init__(self, subject: str, day: int, postings: list[tuple[str, int]]) -> None:
        """Begin with the first entry."""
        self.subject = subject
        self.entries = 1

    @staticmethod
    def create_id(subject: str) -> UUID:
        """Derive the id from what it is about."""
        return uuid5(NAMESPACE_URL, subject)

    @event("Moved")
    def move(self, day: int, postings: list[tuple[str, int]]) -> None:
        """Take another entry."""
        self.entries += 1


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
    """Measure one aggregate per job, with an event per entry; reading the entries is not timed."""
    app, path = _open(folder)
    jobs: dict[str, Job] = {}
    known = set[str]()
    seconds = 0.0
    for batch in task.batches():
        start = perf_counter()
        touched: dict[str, Job] = {}
        for subject, day, postings in batch:
            job = jobs.get(subject)
            if job is None and subject in known:
                job = app.repository.get(Job.create_id(subject))
            if job is None:
                job = Job(subject=subject, day=day, postings=postings)
            else:
                job.move(day=day, postings=postings)
            jobs[subject] = touched[subject] = job
        app.save(*touched.values())
        known.update(touched)
        for subject in list(jobs)[:-JOBS_MAX]:
            del jobs[subject]
        seconds += perf_counter() - start
    rss = rss_mib()
    totals: dict[str, int] = {}
    for entry in _stored(app):
        for account, amount in entry["postings"]:
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
