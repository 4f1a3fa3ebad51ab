"""The benchmark's systems end with the oracle's balances. No times are asserted: those belong to the machine."""

from pathlib import Path

import pytest

from benchmarks.__main__ import make_task, run_rounds
from benchmarks.oracle import Entry
from benchmarks.peers.pgledger import transfers
from benchmarks.report import stage_lines, summarise, table_lines
from benchmarks.stream import usage_stream, write_lines
from benchmarks.systems import OURS, PGLEDGER, SYSTEMS, named
from benchmarks.task import NETWORK

DURABLE = (OURS, "sqlite-fair", "sqlite-bulk", "sqlite-kept")
COLUMNS = ("duckdb-jsonl", "duckdb-parquet", "duckdb-postings", "polars-jsonl", "polars-parquet", "polars-postings")


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["a", "b"])
def test_every_system_ends_with_the_oracles_balances(stream: str, tmp_path: Path) -> None:
    task = make_task(stream, 200, tmp_path)

    rounds = run_rounds(task, [named(name) for name in DURABLE], 1)

    assert tuple(rounds) == DURABLE
    assert all(result.exact for results in rounds.values() for result in results)
    summary = summarise(task, rounds, {})
    assert len(table_lines(summary)) == 2 + len(DURABLE)
    assert any("ingest" in line for line in stage_lines(summary))


@pytest.mark.slow
@pytest.mark.parametrize(("stream", "n"), [("a", 6_000), ("b", 1_000)])
def test_column_stores_are_exact_beyond_64_bits(stream: str, n: int, tmp_path: Path) -> None:
    systems = [system for system in map(named, COLUMNS) if stream in system.streams and system.missing() is None]
    if not systems:
        pytest.skip("neither duckdb nor polars is installed")
    task = make_task(stream, n, tmp_path)
    assert max(amount for account, amount in task.totals().items() if account != "external") > 2**63

    rounds = run_rounds(task, systems, 1)

    assert [name for name, (result,) in rounds.items() if not result.exact] == []


def test_pgledger_ends_with_the_oracles_balances(tmp_path: Path) -> None:
    system = named("pgledger")
    if reason := system.missing():
        pytest.skip(reason)

    (result,) = run_rounds(make_task("b", 100, tmp_path), [system], 1)["pgledger"]

    assert result.exact


def test_an_entry_splits_into_transfers() -> None:
    entry = Entry("a", 0, [("x", -5), ("y", -3), ("z", 7), ("nothing", 0), ("w", 1)])

    assert list(transfers(entry)) == [("y", "z", 3), ("x", "z", 4), ("x", "w", 1)]


def test_each_system_says_what_it_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.systems.shutil.which", lambda _: "there")
    monkeypatch.setattr("benchmarks.systems.find_spec", lambda _: True)
    monkeypatch.delenv(PGLEDGER, raising=False)

    missing = {system.name: reason for system in SYSTEMS if (reason := system.missing())}

    assert list(missing) == ["pgledger"]
    assert "--pgledger" in missing["pgledger"]


def test_a_stream_of_one_size_and_seed_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_lines(usage_stream(50), tmp_path / name)

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.slow
def test_a_networks_life_ends_with_what_was_planted(tmp_path: Path) -> None:
    task = make_task(NETWORK, 60, tmp_path)

    rounds = run_rounds(task, [named(OURS)], 1)

    assert [result.exact for result in rounds[OURS]] == [True]
    assert task.totals()
