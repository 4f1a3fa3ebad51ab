"""Plain-text accounting: hledger, ledger and beancount read a journal of the same entries and balance it.

The journal is written beforehand. What is timed is the program from its start to its last line of output, since its
users wait for just that. Nothing is stored.
"""

import csv
import os
import subprocess
from decimal import Decimal, localcontext
from pathlib import Path
from time import perf_counter

from benchmarks.inputs import bean_account
from benchmarks.task import DECIMALS, Result, Task, rss_mib

__all__ = ["run_beancount", "run_hledger", "run_ledger"]

DIGITS = 60


def run_hledger(task: Task, _: Path) -> Result:
    """Measure `hledger balance`."""
    command = ["hledger", "-f", str(task.input("journal")), "balance", "--flat", "-N", "-O", "csv"]
    lines, seconds = _time(command)
    rows = [(row[0], row[1]) for row in csv.reader(lines[1:])]
    return _judge(task, rows, seconds, "hledger -f JOURNAL balance --flat")


def run_ledger(task: Task, _: Path) -> Result:
    """Measure `ledger balance`."""
    layout = "%(account)\t%(amount)\n"
    command = ["ledger", "-f", str(task.input("journal")), "balance", "--flat", "--no-total", "--format", layout]
    lines, seconds = _time(command)
    rows = [(account, amount) for account, _, amount in (line.partition("\t") for line in lines)]
    return _judge(task, rows, seconds, "ledger -f JOURNAL balance --flat")


def run_beancount(task: Task, _: Path) -> Result:
    """Measure beancount's `load_file`: parse, book, check; its cache is off."""
    os.environ["BEANCOUNT_DISABLE_LOAD_CACHE"] = "1"
    from beancount import loader
    from beancount.core.data import Transaction

    start = perf_counter()
    entries, errors, _options = loader.load_file(str(task.input("beancount")))
    seconds = perf_counter() - start
    rss = rss_mib()
    totals: dict[str, Decimal] = {}
    # The default context would round sums of more than 28 digits.
    with localcontext(prec=DIGITS):
        for entry in entries:
            if isinstance(entry, Transaction):
                for posting in entry.postings:
                    totals[posting.account] = totals.get(posting.account, Decimal()) + posting.units.number
    expected = {bean_account(account): _base(amount) for account, amount in task.totals().items()}
    return Result(
        seconds=seconds,
        exact=not errors and {account: total for account, total in totals.items() if total} == expected,
        bytes_on_disk=task.input("beancount").stat().st_size,
        rss_mib=rss,
        conditions="loader.load_file, cache off",
    )


def _time(command: list[str]) -> tuple[list[str], float]:
    start = perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), perf_counter() - start


def _judge(task: Task, rows: list[tuple[str, str]], seconds: float, conditions: str) -> Result:
    rss = rss_mib(of_children=True)
    totals = {account: Decimal(amount.split()[0]) for account, amount in rows if amount.split()[0] != "0"}
    return Result(
        seconds=seconds,
        exact=totals == {account: _base(amount) for account, amount in task.totals().items()},
        bytes_on_disk=task.input("journal").stat().st_size,
        rss_mib=rss,
        conditions=conditions,
    )


def _base(amount: int) -> Decimal:
    """Write base units as a decimal, exactly."""
    return Decimal(f"{amount}e-{DECIMALS}")
