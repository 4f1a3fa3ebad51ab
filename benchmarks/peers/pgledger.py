"""pgledger: a ledger as functions in PostgreSQL, driven by psql in a copy of the database that is given.

One call per entry, many per commit. An entry becomes transfers from the accounts that give to those that receive.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from benchmarks.oracle import ISSUED, Entry
from benchmarks.systems import PGLEDGER
from benchmarks.task import Result, Task

__all__ = ["run_pgledger", "transfers"]

# Fewer than the other peers: until a commit, every update of an account leaves a dead version to step over.
COMMIT = 100
# The backend's own peak; a missing file (not Linux) says nothing.
MEMORY = "SELECT pg_read_file('/proc/self/status', 0, 100000, true)"
CALL = "SELECT count(*) FROM pgledger_create_transfers(transfer_requests => '{{{}}}'::transfer_request[]);\n"


def run_pgledger(task: Task, folder: Path) -> Result:
    """Measure transfers with their floors and running balances; writing the script of calls is not timed."""
    copy = f"omnisync_bench_{os.getpid()}"
    template = _ask("SELECT current_database()")
    empty = int(_ask("SELECT pg_database_size(current_database())"))
    _ask(f'CREATE DATABASE {copy} TEMPLATE "{template}"')
    try:
        script = folder / "calls.sql"
        _write_calls(task, script, _open_accounts(task, copy))
        start = perf_counter()
        status = _run(copy, script)
        seconds = perf_counter() - start
        rows = _ask("SELECT name, balance FROM pgledger_accounts_view WHERE balance <> 0", copy).splitlines()
        totals = {name: int(balance) for name, _, balance in (row.partition("\t") for row in rows)}
        size = int(_ask("SELECT pg_database_size(current_database())", copy)) - empty
        durability = _ask(
            "SELECT current_setting('synchronous_commit') || ', fsync ' || current_setting('fsync')", copy
        )
        version = _ask("SELECT current_setting('server_version')", copy)
    finally:
        _ask(f"DROP DATABASE IF EXISTS {copy}")
    peak = status.partition("VmHWM:")[2].split()
    return Result(
        seconds=seconds,
        exact=totals == task.totals(),
        bytes_on_disk=size,
        rss_mib=int(peak[0]) / 1024 if peak else 0.0,
        conditions=f"PostgreSQL {version}, synchronous_commit={durability}; one call per entry, {COMMIT} per commit, "
        "as SQL text through psql; bytes without WAL; RSS of its backend, shared buffers included",
    )


def _open_accounts(task: Task, database: str) -> dict[str, str]:
    """Open every account that an entry names, with a floor unless it issues the supply; return their ids."""
    names = sorted({name for batch in task.batches() for entry in batch for name, _ in entry.postings})
    calls = ";\n".join(
        f"SELECT name, id FROM pgledger_create_account('{name}', 'OMNI', allow_negative_balance => {name == ISSUED})"
        for name in names
    )
    rows = _psql(["--dbname", _target(database), "-f", "-"], f"BEGIN;\n{calls};\nCOMMIT;\nANALYZE;\n").splitlines()
    return dict(row.split("\t") for row in rows)


def _write_calls(task: Task, path: Path, ids: dict[str, str]) -> None:
    with path.open("w") as script:
        for batch in task.batches():
            for number, entry in enumerate(batch):
                if number % COMMIT == 0:
                    script.write("COMMIT;\nBEGIN;\n" if number else "BEGIN;\n")
                requests = ",".join(
                    f'"({ids[giver]},{ids[taker]},{amount})"' for giver, taker, amount in transfers(entry)
                )
                if requests:
                    script.write(CALL.format(requests))
            script.write("COMMIT;\n")
        script.write(f"\\o\n{MEMORY};\n")


def transfers(entry: Entry) -> Iterator[tuple[str, str, int]]:
    """Split a balanced entry into transfers: who gives, who receives, how much."""
    givers = [(name, -amount) for name, amount in entry.postings if amount < 0]
    for taker, due in ((name, amount) for name, amount in entry.postings if amount > 0):
        left = due
        while left:
            giver, has = givers.pop()
            moved = min(left, has)
            yield giver, taker, moved
            left -= moved
            if has > moved:
                givers.append((giver, has - moved))


def _run(database: str, script: Path) -> str:
    return _psql(["--dbname", _target(database), "-o", os.devnull, "-f", str(script)])


def _ask(statement: str, database: str = "") -> str:
    return _psql(["--dbname", _target(database), "-c", statement]).strip()


def _target(database: str) -> str:
    """Name a database on the given server: a later word of a connection string overrides an earlier one."""
    given = os.environ[PGLEDGER]
    return f"{given} dbname={database}" if database else given


def _psql(arguments: list[str], script: str | None = None) -> str:
    """Run psql. Raises: RuntimeError with what it says where it fails."""
    command = ["psql", "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", *arguments]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"psql: {done.stderr[-1000:]}")
    return done.stdout
