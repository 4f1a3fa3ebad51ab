"""What beancount, hledger and ledger add up from a journal."""

import csv
import shutil
import subprocess
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
from beancount import loader
from beancount.core import data as bean

from events.log import Log
from projections.export import parse_beancount_name
from settlement.verify import fold_books

__all__ = [
    "DIGITS",
    "Totals",
    "beancount_totals",
    "books_totals",
    "hledger_totals",
    "ledger_totals",
    "run",
    "said",
]

# Far beyond what beancount computes with unasked (28 digits).
DIGITS = 80

Totals = dict[tuple[str, str], Decimal]


def books_totals(logs: list[Log], decimals: int) -> Totals:
    """Fold the books; return each account's total in the tools' sign, by account and vault."""
    folded = fold_books(logs)
    folded.balances.check()
    with localcontext() as context:
        context.prec = DIGITS
        return {
            (key.account, key.vault): Decimal(debits - credits).scaleb(-decimals)
            for key, (debits, credits) in folded.balances.items()
        }


def beancount_totals(text: str, asset: str) -> Totals:
    """Load a journal, which must have no fault; return the totals by our account and vault."""
    with localcontext() as context:
        context.prec = DIGITS
        entries, errors, _ = loader.load_string(text)
        totals: Totals = {
            parse_beancount_name(entry.account): Decimal(0) for entry in entries if isinstance(entry, bean.Open)
        }
        for entry in entries:
            if isinstance(entry, bean.Transaction):
                assert sum(posting.units.number for posting in entry.postings) == 0
                for posting in entry.postings:
                    assert posting.units.currency == asset
                    totals[parse_beancount_name(posting.account)] += posting.units.number
    assert errors == []
    return totals


def hledger_totals(journal: Path) -> dict[str, Decimal]:
    """Check a journal strictly; return the totals by name."""
    said("hledger", journal, "check", "--strict")
    rows = csv.DictReader(said("hledger", journal, "balance", "-N", "-E", "--flat", "-O", "csv").splitlines())
    return {row["account"]: Decimal(row["balance"].split(" ", maxsplit=1)[0]) for row in rows}


def ledger_totals(journal: Path) -> dict[str, Decimal]:
    """Read a journal pedantically; return the totals by name."""
    form = "%(account) %(quantity(amount))\n"
    lines = said("ledger", journal, "--pedantic", "balance", "--empty", "--flat", "--no-total", "--format", form)
    return {name: Decimal(number) for name, number in (line.rsplit(" ", 1) for line in lines.splitlines())}


def run(tool: str, journal: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a tool on a journal; skips the test where it is not installed."""
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not installed")
    first = [found, "--args-only"] if tool == "ledger" else [found]
    return subprocess.run(
        [*first, "-f", str(journal), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def said(tool: str, journal: Path, *arguments: str) -> str:
    """Return what a tool prints that ends well."""
    ended = run(tool, journal, *arguments)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout
