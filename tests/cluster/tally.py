"""What became of facts that were acknowledged while a cluster's servers and processes failed, for the last lines."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

__all__ = ["FAULTS", "Tally", "fault_lines"]

FAULTS = "what became of acknowledged facts"


class Tally(NamedTuple):
    """Of some facts: how many were acknowledged, and of those how many the logs lack, or hold more than once."""

    acknowledged: int
    lost: int
    doubled: int


def fault_lines(told: Iterable[Mapping[str, Iterable[int]]]) -> Iterator[str]:
    """Add the runs of each fault up, as a table's lines."""
    runs: Counter[str] = Counter()
    sums: dict[str, Tally] = {}
    for tallies in told:
        for fault, tally in tallies.items():
            runs[fault] += 1
            sums[fault] = Tally(*map(sum, zip(sums.get(fault, Tally(0, 0, 0)), tally, strict=True)))
    yield f"{'fault':60}{'runs':>6}{'acknowledged':>14}{'lost':>6}{'doubled':>9}"
    for fault, (acknowledged, lost, doubled) in sorted(sums.items()):
        yield f"{fault:60}{runs[fault]:6}{acknowledged:14}{lost:6}{doubled:9}"
