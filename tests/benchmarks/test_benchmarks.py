"""The benchmark's systems end with the oracle's balances. No times are asserted: those belong to the machine."""

from pathlib import Path

import pytest

from benchmarks.__main__ import make_task, run_rounds
from benchmarks.report import stage_lines, summarise, table_lines
from benchmarks.stream import usage_stream, write_lines
from benchmarks.systems import OURS, named

SYSTEMS = (OURS, "sqlite-fair", "sqlite-bulk")


@pytest.mark.parametrize("stream", ["a", "b"])
def test_every_system_ends_with_the_oracles_balances(stream: str, tmp_path: Path) -> None:
    task = make_task(stream, 200, tmp_path)

    rounds = run_rounds(task, [named(name) for name in SYSTEMS], 1)

    assert tuple(rounds) == SYSTEMS
    assert all(result.exact for results in rounds.values() for result in results)
    summary = summarise(task, rounds, {})
    assert len(table_lines(summary)) == 2 + len(SYSTEMS)
    assert any("ingest" in line for line in stage_lines(summary))


def test_a_stream_of_one_size_and_seed_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_lines(usage_stream(50), tmp_path / name)

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
