"""A run of facts that intake has accepted, at a lane: whole jobs are settled many at once, all else one by one."""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from events.build import build_events
from events.columns import Batch, Columns, Integers
from events.event import Fact
from events.facts import UsageMetered
from events.hashing import Digests, hash_leaves
from ledger.parameters import Parameters
from settlement.intake import Accepted, Run
from settlement.lane import Lane
from settlement.output import Decided
from settlement.whole_jobs import WholeJobs

__all__ = ["LaneRuns", "accept_run"]

# Fewer whole jobs in a row than this are settled one by one: columns would cost more than they save.
WHOLE_MIN = 8


class LaneRuns:
    """Drives a lane over runs."""

    def __init__(self, lane: Lane, parameters: Parameters, params_hash: str) -> None:
        """Begin with a lane that has not begun."""
        self._lane = lane
        self._whole_jobs = WholeJobs(lane.state, parameters, params_hash)
        self._facts = _Facts(Batch({}, np.empty(0, dtype=np.int64)))

    def take(self, batch: Batch, run: Run, network_time: int) -> Iterator[Decided]:
        """Decide on the facts of a run, which came at one network time; yield decisions in order."""
        if self._facts.batch is not batch:
            self._facts = _Facts(batch)
        at = run.start
        for start, end, usage in _find_whole_jobs(batch, run):
            yield self._take(run, at, start, network_time)
            yield from self._settle(usage, run.late[start - run.start : end - run.start], network_time)
            at = end
        yield self._take(run, at, run.end, network_time)

    def _take(self, run: Run, start: int, end: int, network_time: int) -> Decided:
        decide = self._lane.decide
        for accepted in self._facts.accept(start, end, run.late[start - run.start : end - run.start]):
            decide(accepted, network_time)
        return self._lane.give()

    def _settle(self, usage: Columns, late: npt.NDArray[np.bool_], network_time: int) -> Iterator[Decided]:
        taken = self._whole_jobs.settle(usage, late)
        data, ends = taken.lines
        starts = np.concatenate((np.zeros(1, dtype=np.int64), ends))[:-1]
        hashes = hash_leaves(data, starts, ends - 1)
        self._lane.writer.count_many(taken.epochs, hashes, taken.fee, taken.burn)
        # How many of the decisions come before each fact that was not taken.
        places = np.cumsum(taken.mask)[~taken.mask].tolist()
        before = 0
        for place, accepted in zip(places, _accept(usage.take(~taken.mask), late[~taken.mask]), strict=True):
            yield _cut(data, ends, hashes, before, place)
            yield self._lane.take(accepted, network_time)
            before = place
        yield _cut(data, ends, hashes, before, len(ends))


def _cut(data: bytes, ends: Integers, hashes: Digests, start: int, end: int) -> Decided:
    """Return some of many decisions; `ends` are the places behind their LFs."""
    if start == 0 and end == len(ends):
        return Decided(data, hashes)
    places = [int(ends[row - 1]) if row else 0 for row in (start, end)]
    return Decided(data[places[0] : places[1]], hashes[start:end])


def _find_whole_jobs(batch: Batch, run: Run) -> Iterator[tuple[int, int, Columns]]:
    """Yield where whole jobs stand in a row: the lines from and to, and their columns."""
    usage = batch.columns.get(UsageMetered)
    if usage is None:
        return
    mine = np.flatnonzero((usage.rows >= run.start) & (usage.rows < run.end) & usage.has("data.terms"))
    breaks = np.flatnonzero(np.diff(usage.rows[mine]) != 1) + 1
    for places in np.split(mine, breaks):
        if len(places) >= WHOLE_MIN:
            start, end = int(usage.rows[places[0]]), int(usage.rows[places[-1]]) + 1
            yield start, end, usage if len(places) == len(usage) else usage.take(places)


class _Facts:
    """The facts of a batch, built all at once when one of them is wanted: many small runs cost no more than one."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self._facts: list[Any] = []
        self._times: list[int] = []

    def accept(self, start: int, end: int, late: npt.NDArray[np.bool_]) -> Iterator[Accepted]:
        """Return the facts of these lines, all of which intake has accepted."""
        if start == end:
            return iter(())
        if not self._facts:
            self._build()
        return map(Accepted, self._facts[start:end], self._times[start:end], late.tolist())

    def _build(self) -> None:
        count = 1 + max(int(columns.rows[-1]) for columns in self.batch.columns.values())
        self._facts, times = [None] * count, np.zeros(count, dtype=np.int64)
        for columns in self.batch.columns.values():
            times[columns.rows] = columns.numbers("occurred_at")
            for row, fact in zip(columns.rows.tolist(), build_events(columns), strict=True):
                self._facts[row] = fact
        self._times = times.tolist()


def accept_run(batch: Batch, run: Run, wanted: npt.NDArray[np.bool_] | None = None) -> list[Accepted]:
    """Build the facts of a run, or of some of its lines, in their order."""
    wanted = np.ones(run.end - run.start, dtype=np.bool_) if wanted is None else wanted
    if not wanted.any():
        return []
    lines: list[Integers] = []
    facts: list[Accepted] = []
    for columns in batch.columns.values():
        within = (columns.rows >= run.start) & (columns.rows < run.end)
        mine = np.flatnonzero(within)[wanted[columns.rows[within] - run.start]]
        if len(mine):
            some = columns.take(mine)
            lines.append(some.rows)
            facts += _accept(some, run.late[some.rows - run.start])
    return [facts[place] for place in np.argsort(np.concatenate(lines), kind="stable").tolist()]


def _accept(columns: Columns, late: npt.NDArray[np.bool_]) -> list[Accepted]:
    facts = cast(list[Fact], build_events(columns))
    return [Accepted(*one) for one in zip(facts, columns.numbers("occurred_at").tolist(), late.tolist(), strict=True)]
