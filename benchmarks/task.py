"""What every measured system is given and what it hands back."""

import json
import marshal
import resource
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.oracle import Entry, Oracle

__all__ = ["BATCH", "DECIMALS", "NETWORK", "Result", "Task", "prepare", "rss_mib"]

# Entries per transaction, for the peers that commit in batches.
BATCH = 1_000
DECIMALS = 9
NETWORK = "n"


@dataclass(frozen=True, slots=True)
class Task:
    """A stream in files: the facts, the entries that they cause, the balances that they must end with."""

    name: str
    settlements: int
    facts: int
    stream: Path
    parameters: Path
    folder: Path

    def input(self, name: str) -> Path:
        """The file of a name that some peer reads, see `benchmarks.inputs`."""
        return self.folder / f"{self.name}.{name}"

    @property
    def oracle(self) -> Path:
        """The exact balances."""
        return self.folder / f"{self.name}.balances.json"

    def batches(self) -> Iterator[list[Entry]]:
        """Yield the decided entries, `BATCH` at a time."""
        with (self.folder / f"{self.name}.entries").open("rb") as file:
            while batch := marshal.load(file):
                yield [Entry(*entry) for entry in batch]

    def agrees(self, found: dict[str, int]) -> bool:
        """Tell whether balances are those that must be there; of a network only the planted ones are known."""
        totals = self.totals()
        return totals == ({account: found.get(account, 0) for account in totals} if self.name == NETWORK else found)

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
    """Run the oracle over the stream; keep the entries and the balances for the peers."""
    oracle = Oracle(task.parameters)
    batch: list[tuple[str, int, list[tuple[str, int]]]] = []
    with (task.folder / f"{task.name}.entries").open("wb") as entries:
        for entry in oracle.entries(task.stream):
            batch.append((entry.subject, entry.day, entry.postings))
            if len(batch) == BATCH:
                marshal.dump(batch, entries)
                batch = []
        if batch:
            marshal.dump(batch, entries)
        marshal.dump([], entries)
    task.oracle.write_text(json.dumps({account: str(amount) for account, amount in oracle.totals().items()}))
    return oracle
