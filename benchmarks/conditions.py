"""The conditions that a figure was measured under."""

import os
import platform
import shutil
import sqlite3
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

__all__ = ["describe", "fsync_seconds"]

PACKAGES = ("msgspec", "numpy", "sqlalchemy", "eventsourcing", "beancount", "duckdb", "polars")
PROGRAMS = ("ledger", "hledger")
FSYNCS = 40


def describe(folder: Path) -> dict[str, Any]:
    """Name machine, versions and the cost of one fsync where the data lies."""
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "machine": f"{platform.system()} {platform.machine()}",
        "fsync_milliseconds": round(fsync_seconds(folder) * 1e3, 2),
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        **{name: _package(name) for name in PACKAGES},
        **{name: _program(name) for name in PROGRAMS},
    }


def fsync_seconds(folder: Path) -> float:
    """Return the median time of an append of 4 KiB with its fsync."""
    path, times = folder / "fsync", []
    with path.open("wb", buffering=0) as file:
        for _ in range(FSYNCS):
            start = perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            times.append(perf_counter() - start)
    path.unlink()
    return median(times)


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _program(name: str) -> str:
    if shutil.which(name) is None:
        return "not installed"
    first = subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout.splitlines()[0]
    return next((word.strip(",") for word in first.split() if word[0].isdigit()), first)
