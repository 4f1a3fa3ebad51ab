"""Three processes at once end with the oracle's balances, and are held against every peer that does not replay."""

from pathlib import Path

import pytest

from benchmarks.__main__ import make_task, run_rounds
from benchmarks.report import stage_lines, summarise, table_lines
from benchmarks.systems import BESIDE, OURS, named


@pytest.mark.slow
def test_three_processes_end_with_the_oracles_balances(tmp_path: Path) -> None:
    task = make_task("a", 200, tmp_path)
    names = (OURS, BESIDE, "sqlite-bulk")

    rounds = run_rounds(task, [named(name) for name in names], 1)

    assert [result.exact for name in names for result in rounds[name]] == [True] * 3
    summary = summarise(task, rounds, {})
    ours, beside, peer = (summary["systems"][name] for name in names)
    assert ours["beside_over_this"]
    assert beside["ours_over_this"]
    assert peer["beside_over_this"]["median"] == rounds["sqlite-bulk"][0].seconds / rounds[BESIDE][0].seconds
    assert "three processes on" in beside["conditions"]
    assert {line.count("|") for line in table_lines(summary)} == {10}
    (result,) = rounds[BESIDE]
    assert result.seconds < sum(result.stages.values()), "history is reported and not counted"
    assert any("settle behind it" in line for line in stage_lines(summary))
