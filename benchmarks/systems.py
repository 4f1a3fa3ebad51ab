"""Every measured system: its name, how to run it, on what terms."""

import importlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.task import Result, Task

__all__ = ["OURS", "SYSTEMS", "System", "named"]

OURS = "omnisync"


@dataclass(frozen=True, slots=True)
class System:
    """A system; its module is loaded only in the process that measures it."""

    name: str
    module: str
    function: str
    guarantees: str
    streams: str = "ab"
    program: str = ""
    package: str = ""
    n_max: int | None = None
    replays: bool = False

    def missing(self) -> str | None:
        """Say what must be installed first, or None."""
        if self.program and shutil.which(self.program) is None:
            return f"{self.program} is not on the path"
        if self.package and find_spec(self.package) is None:
            return f"package {self.package} is not installed"
        return None

    def load(self) -> Callable[[Task, Path], Result]:
        """Import what runs it."""
        function: Callable[[Task, Path], Result] = getattr(importlib.import_module(self.module), self.function)
        return function


SYSTEMS = (
    System(
        OURS,
        "benchmarks.product",
        "run_product",
        "durable, each fact once, validated, priced, limits, Merkle logs, SQL balances and history",
    ),
    System(
        "sqlite-fair",
        "benchmarks.peers.sqlite",
        "run_fair",
        "durable, each fact once, priced, limits, running balance per posting",
    ),
    System("sqlite-bulk", "benchmarks.peers.sqlite", "run_bulk", "durable rows of decided entries, nothing else"),
    System(
        "eventsourcing-job",
        "benchmarks.peers.sourcing",
        "run_per_job",
        "durable, versioned per job; no balances",
        streams="a",
        package="eventsourcing",
    ),
    System(
        "eventsourcing-account",
        "benchmarks.peers.sourcing",
        "run_per_account",
        "durable, versioned and limited per account",
        streams="a",
        package="eventsourcing",
    ),
    System(
        "omnisync-replay",
        "benchmarks.product",
        "run_replay",
        "every leaf and root checked, every entry balanced and hashed, all sums",
        replays=True,
    ),
    System(
        "ledger", "benchmarks.peers.journals", "run_ledger", "balanced, exact; no store", program="ledger", replays=True
    ),
    System(
        "hledger",
        "benchmarks.peers.journals",
        "run_hledger",
        "balanced, exact; no store",
        program="hledger",
        n_max=100_000,
        replays=True,
    ),
    System(
        "beancount",
        "benchmarks.peers.journals",
        "run_beancount",
        "balanced, checked, exact; no store",
        package="beancount",
        n_max=100_000,
        replays=True,
    ),
)


def named(name: str) -> System:
    """Return a system by its name. Raises: KeyError."""
    return {system.name: system for system in SYSTEMS}[name]
