"""What every measured system is given and what it hands back."""

import json
import marshal
import resource
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

from benchmarks.oracle import Entry, Oracle

__all__ = ["BATCH", "Result", "Task", "prepare", "rss_mib"]

# Entries per transaction, for the peers that commit in batches.
BATCH = 1_000
DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Task:
    """A stream in files: the facts, the entries that they cause, the balances that they must end with."""

    name: str
    settlements: int
    facts: int
    stream: Path
    parameters: Path
    folder: Path

    @property
    def journal(self) -> Path:
        """The entries as a journal that hledger and ledger read."""
        return self.folder / f"{self.name}.journal"

    @property
    def beans(self) -> Path:
        """The entries as a beancount file."""
        return self.folder / f"{self.name}.beancount"

    @property
    def oracle(self) -> Path:
        """The exact balances."""
        return self.folder / f"{self.name}.balances.json"

    def batches(self) -> Iterator[list[Entry]]:
        """Yield the decided entries, `BATCH` at a time."""
        with (self.folder / f"{self.name}.entries").open("rb") as file:
            while batch := marshal.load(file):
                yield [Entry(*entry) for entry in batch]

    def totals(self) -> dict[str, int]:
        """Read the exact balances, those of zero left out."""
        return {account: int(amount) for account, amount in json.loads(self.oracle.read_text()).items()}


@dataclass(slots=True)
class Result:
    """One measurement; `exact` says that the balances are the oracle's, `conditions` how it was run."""

    seconds: float
    exact: bool
    bytes_on_disk: int
    rss_mib: float
    stages: dict[str, float] = field(default_factory=dict)
    conditions: str = ""

    def to_json(self) -> str:
        """Write as JSON."""
        return json.dumps(asdict(self))


def rss_mib(*, of_children: bool = False) -> float:
    """Return the peak resident set of this process, or of the largest of its children, in MiB.

    Linux keeps `ru_maxrss` across exec, so a small program would be charged with the process that started it.
    """
    status = Path("/proc/self/status")
    if not of_children and status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    who = resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF
    return resource.getrusage(who).ru_maxrss / 1024


def prepare(task: Task) -> Oracle:
    """Run the oracle over the stream; keep entries, journals and balances for the peers."""
    oracle = Oracle(task.parameters)
    batch: list[tuple[str, int, list[tuple[str, int]]]] = []
    with (task.folder / f"{task.name}.entries").open("wb") as entries, task.journal.open("w") as journal:
        for entry in oracle.entries(task.stream):
            batch.append((entry.subject, entry.day, entry.postings))
            journal.write(_journal_entry(entry))
            if len(batch) == BATCH:
                marshal.dump(batch, entries)
                batch = []
        if batch:
            marshal.dump(batch, entries)
        marshal.dump([], entries)
    _write_beans(task, sorted(oracle.balances))
    task.oracle.write_text(json.dumps({account: str(amount) for account, amount in oracle.totals().items()}))
    return oracle


def _write_beans(task: Task, accounts: list[str]) -> None:
    with task.beans.open("w") as beans:
        beans.writelines(f"{_date(0)} open {bean_account(account)} OMNI\n" for account in accounts)
        for batch in task.batches():
            for entry in batch:
                beans.write(f'\n{_date(entry.day)} * "{entry.subject}"\n')
                beans.writelines(f"  {bean_account(a)}  {_decimal(n)} OMNI\n" for a, n in entry.postings if n)


def bean_account(account: str) -> str:
    """Write an account's name as beancount wants it: under a root, each part with a capital letter in front."""
    return "Equity:" + ":".join(part.replace("_", "-").capitalize() for part in account.split(":"))


def _journal_entry(entry: Entry) -> str:
    postings = "".join(f"    {account}  {_decimal(amount)} OMNI\n" for account, amount in entry.postings if amount)
    return f"{_date(entry.day)} {entry.subject}\n{postings}\n"


def _date(day: int) -> str:
    return date.fromordinal(date(1970, 1, 1).toordinal() + day).isoformat()


def _decimal(amount: int) -> str:
    whole, part = divmod(abs(amount), 10**DECIMALS)
    return f"{'-' if amount < 0 else ''}{whole}.{part:0{DECIMALS}d}"
