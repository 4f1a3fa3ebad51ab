"""Every measured system: its name, how to run it, on what terms."""

import importlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.task import Result, Task

__all__ = ["BESIDE", "OURS", "PGLEDGER", "SYSTEMS", "System", "named"]

OURS = "omnisync"
BESIDE = "omnisync-beside"
# The environment variable with the connection string of a database that has pgledger.
PGLEDGER = "PGLEDGER_DSN"


@dataclass(frozen=True, slots=True)
class System:
    """A system; its module is loaded only in the process that measures it."""

    name: str
    module: str
    function: str
    guarantees: str
    streams: str = "ab"
    program: str = ""
    packages: tuple[str, ...] = ()
    variable: str = ""
    wanted: str = ""
    input: str = ""
    n_max: int | None = None
    replays: bool = False

    def missing(self) -> str | None:
        """Say what must be installed first, or None."""
        if self.program and shutil.which(self.program) is None:
            return f"{self.program} is not on the path"
        for package in self.packages:
            if find_spec(package) is None:
                return f"package {package} is not installed"
        if self.variable and not os.environ.get(self.variable):
            return f"give {self.wanted}, or set {self.variable}"
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
        streams="abn",
    ),
    System(
        BESIDE,
        "benchmarks.beside",
        "run_beside",
        "those of omnisync; ingest, settling and projecting are processes of their own, at once",
        streams="abn",
    ),
    System(
        "sqlite-fair",
        "benchmarks.peers.sqlite",
        "run_fair",
        "durable, each fact once, priced, limits, running balance per posting",
    ),
    System("sqlite-bulk", "benchmarks.peers.sqlite", "run_bulk", "durable rows of decided entries, nothing else"),
    System(
        "sqlite-kept",
        "benchmarks.peers.sqlite",
        "run_kept",
        "durable rows of the facts as they came and of decided entries, nothing else",
    ),
    System(
        "eventsourcing-job",
        "benchmarks.peers.sourcing",
        "run_per_job",
        "durable, versioned per job; no balances",
        packages=("eventsourcing",),
    ),
    System(
        "eventsourcing-account",
        "benchmarks.peers.sourcing",
        "run_per_account",
        "durable, versioned and limited per account",
        packages=("eventsourcing",),
    ),
    System(
        "pgledger",
        "benchmarks.peers.pgledger",
        "run_pgledger",
        "durable, limits, running balance per posting",
        program="psql",
        variable=PGLEDGER,
        wanted="--pgledger 'host=... dbname=...': a database with pgledger's functions, which a superuser can copy",
        n_max=100_000,
    ),
    System(
        "omnisync-replay",
        "benchmarks.product",
        "run_replay",
        "every leaf and root checked, every entry balanced, all sums",
        replays=True,
    ),
    System(
        "omnisync-segments",
        "benchmarks.segments",
        "run_segments",
        "all balances from sealed columns, each checked against its digest; roots were checked when they were sealed",
        replays=True,
    ),
    System(
        "ledger",
        "benchmarks.peers.journals",
        "run_ledger",
        "balanced, exact; no store",
        program="ledger",
        input="journal",
        replays=True,
    ),
    System(
        "hledger",
        "benchmarks.peers.journals",
        "run_hledger",
        "balanced, exact; no store",
        program="hledger",
        input="journal",
        n_max=100_000,
        replays=True,
    ),
    System(
        "beancount",
        "benchmarks.peers.journals",
        "run_beancount",
        "balanced, checked, exact; no store",
        packages=("beancount",),
        input="beancount",
        n_max=100_000,
        replays=True,
    ),
    System(
        "duckdb-jsonl",
        "benchmarks.peers.duck",
        "run_jsonl",
        "sums only: of facts that it prices; validates and keeps nothing",
        streams="a",
        packages=("duckdb",),
        replays=True,
    ),
    System(
        "duckdb-parquet",
        "benchmarks.peers.duck",
        "run_parquet",
        "sums only: of facts that it prices; validates and keeps nothing",
        streams="a",
        packages=("duckdb",),
        input="facts.parquet",
        replays=True,
    ),
    System(
        "duckdb-postings",
        "benchmarks.peers.duck",
        "run_postings",
        "sums only: of decided postings; validates and keeps nothing",
        packages=("duckdb",),
        input="postings.parquet",
        replays=True,
    ),
    System(
        "polars-jsonl",
        "benchmarks.peers.bear",
        "run_jsonl",
        "sums only: of facts that it prices; validates and keeps nothing",
        streams="a",
        packages=("polars",),
        replays=True,
    ),
    System(
        "polars-parquet",
        "benchmarks.peers.bear",
        "run_parquet",
        "sums only: of facts that it prices; validates and keeps nothing",
        streams="a",
        packages=("polars", "duckdb"),
        input="facts.parquet",
        replays=True,
    ),
    System(
        "polars-postings",
        "benchmarks.peers.bear",
        "run_postings",
        "sums only: of decided postings; validates and keeps nothing",
        packages=("polars", "duckdb"),
        input="postings.parquet",
        replays=True,
    ),
)


def named(name: str) -> System:
    """Return a system by its name. Raises: KeyError."""
    return {system.name: system for system in SYSTEMS}[name]
