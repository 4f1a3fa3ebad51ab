"""A run of facts that intake has accepted, at a lane: whole jobs and regular lives are decided many at once.

All else goes one by one, in its place among them.
"""

from collections.abc import Iterator
from typing import cast

import numpy as np
import numpy.typing as npt

from events.build import build_events
from events.codec import decode
from events.columns import Batch, Columns, Integers
from events.event import Event, Fact
from events.facts import UsageMetered
from events.refusal import Refusal
from ledger.parameters import Parameters
from settlement.intake import Accepted, Run
from settlement.lane import Lane
from settlement.life_run import BatchLives, Found, merge, payer_of
from settlement.output import Decided
from settlement.whole_jobs import Taken, WholeJobs

__all__ = ["LaneRuns", "accept_run"]

# Fewer whole jobs in a row than this are settled one by one: columns would cost more than they save.
WHOLE_MIN = 8
# And fewer facts of a type than this are read line by line.
BUILT_MIN = 16
_NO_BATCH = Batch({}, np.empty(0, dtype=np.int64))


class LaneRuns:
    """Drives a lane over runs."""

    def __init__(self, lane: Lane, parameters: Parameters, params_hash: str) -> None:
        """Begin with a lane that has not begun."""
        self._lane = lane
        self._rules = parameters, params_hash
        self._open(_NO_BATCH)

    def __getstate__(self) -> dict[str, object]:
        """Leave the batch out of a snapshot: who goes on reads it anew."""
        return {"_lane": self._lane, "_rules": self._rules}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Go on where another batch may begin."""
        self.__dict__.update(state)
        self._open(_NO_BATCH)

    def _open(self, batch: Batch) -> None:
        """Read a batch, of which there may be many runs."""
        self._lives = BatchLives(batch, self._lane.state, *self._rules)
        self._facts = _Facts(batch, self._lives.lines_of())
        self._whole: WholeJobs | None = None
        usage = batch.columns.get(UsageMetered)
        if usage is not None:
            whole = usage.has("data.terms")
            usage = usage if whole.all() else usage.take(whole)
            self._whole = WholeJobs(usage, self._lane.state, *self._rules)

    def take(self, batch: Batch, run: Run, network_time: int) -> Iterator[Decided]:
        """Decide on the facts of a run, which came at one network time; yield decisions in order."""
        if self._facts.batch is not batch:
            self._open(batch)
        at = run.start
        if self._whole is not None:
            for first, last in _find_in_a_row(self._whole.usage.rows, run):
                start = int(self._whole.usage.rows[first])
                if at < start:
                    yield self._take(run, at, start, network_time)
                at = start + last - first
                late = run.late[start - run.start : at - run.start]
                yield from self._settle(self._whole, first, last, late, network_time)
        if at < run.end:
            yield self._take(run, at, run.end, network_time)

    def _take(self, run: Run, start: int, end: int, network_time: int) -> Decided:
        """Decide on the facts of some lines: on regular lives at once, on all else one by one beside them."""
        late = run.late[start - run.start : end - run.start]
        found = self._lives.find(start, end)
        alone, facts = self._apart(found, start, late)
        chosen = self._lives.covered(found, facts) if len(found.lives) else found
        if len(chosen.lives) < len(found.lives):
            alone, facts = self._apart(chosen, start, late)
        if not len(chosen.lives):
            for accepted in facts:
                self._lane.decide(accepted, network_time)
            return self._lane.give()
        asked, moves, lines = self._lives.asked(chosen), *self._lives.take(chosen, late)
        for each in lines:
            self._lane.writer.count_many(each.epochs, each.leaves, each.fee, each.burn)
        answered: list[int] = []
        for line, accepted in zip(alone, facts, strict=True):
            if (payer := payer_of(accepted.fact)) is not None:
                moves.make(payer, line)
            if line in asked:
                self._lane.deny(accepted, *asked[line])
            else:
                self._lane.decide(accepted, network_time)
            answered += [line] * (self._lane.writer.pending() - len(answered))
        moves.make_all()
        return merge(lines, self._lane.give(), answered)

    def _apart(self, found: Found, start: int, late: npt.NDArray[np.bool_]) -> tuple[list[int], list[Accepted]]:
        """Return the lines in which no facts of these lives stand, and their facts."""
        alone = np.ones(len(late), dtype=np.bool_)
        alone[self._lives.lines_of(found) - start] = False
        lines = np.flatnonzero(alone)
        return (lines + start).tolist(), self._facts.accept(lines + start, late[lines])

    def _settle(
        self, whole: WholeJobs, first: int, last: int, late: npt.NDArray[np.bool_], network_time: int
    ) -> Iterator[Decided]:
        taken = whole.settle(first, last, late)
        assert taken.decided.hashes is not None
        self._lane.writer.count_many(taken.epochs, taken.decided.hashes, taken.fee, taken.burn)
        if taken.mask.all():
            yield taken.decided
            return
        # How many of the decisions come before each fact that was not taken.
        apart = np.flatnonzero(~taken.mask)
        places = np.cumsum(taken.mask)[apart].tolist()
        before = 0
        for place, accepted in zip(places, _accept(whole.usage.take(first + apart), late[apart]), strict=True):
            yield _cut(taken, before, place)
            yield self._lane.take(accepted, network_time)
            before = place
        yield _cut(taken, before, len(taken.ends))


def _cut(taken: Taken, start: int, end: int) -> Decided:
    """Return some of many decisions."""
    data, hashes = taken.decided
    assert hashes is not None
    places = [int(taken.ends[row - 1]) if row else 0 for row in (start, end)]
    return Decided(data[places[0] : places[1]], hashes[start:end])


def _find_in_a_row(lines: Integers, run: Run) -> Iterator[tuple[int, int]]:
    """Yield from and to which place lines of a run stand in a row, enough of them."""
    first, last = np.searchsorted(lines, (run.start, run.end)).tolist()
    breaks = (first + 1 + np.flatnonzero(np.diff(lines[first:last]) != 1)).tolist()
    for start, end in zip([first, *breaks], [*breaks, last], strict=True):
        if end - start >= WHOLE_MIN:
            yield start, end


class _Facts:
    """The facts of a batch, built together when one of them is wanted: many small runs cost no more than one."""

    def __init__(self, batch: Batch, apart: Integers) -> None:
        """Leave out the lines that are `apart`, and whole jobs; they are built when they are wanted after all."""
        self.batch = batch
        self._apart = apart
        self._facts: list[Fact | None] = []
        self._times: list[int] = []

    def accept(self, lines: Integers, late: npt.NDArray[np.bool_]) -> list[Accepted]:
        """Return the facts of these lines, which intake has accepted."""
        if not len(lines):
            return []
        if not self._facts:
            self._begin()
        lacking = lines[~self._built[lines]]
        if len(lacking):
            self._build(lacking)
        facts, times = self._facts, self._times
        return [
            Accepted(cast(Fact, facts[line]), times[line], is_late)
            for line, is_late in zip(lines.tolist(), late.tolist(), strict=True)
        ]

    def _begin(self) -> None:
        count = 1 + max(int(columns.rows[-1]) for columns in self.batch.columns.values())
        self._facts, self._times = [None] * count, [0] * count
        self._built, wanted = np.zeros(count, dtype=np.bool_), np.ones(count, dtype=np.bool_)
        wanted[self._apart] = False
        usage = self.batch.columns.get(UsageMetered)
        if usage is not None:
            wanted[usage.rows[usage.has("data.terms")]] = False
        self._build(np.flatnonzero(wanted))

    def _build(self, lines: Integers) -> None:
        wanted = np.zeros(len(self._built), dtype=np.bool_)
        wanted[lines] = self._built[lines] = True
        for columns in self.batch.columns.values():
            mine = np.flatnonzero(wanted[columns.rows])
            if len(mine):
                some = columns.take(mine)
                times = some.numbers("occurred_at").tolist()
                facts = build_events(some) if len(some) >= BUILT_MIN else _decode(some)
                for line, time, fact in zip(some.rows.tolist(), times, facts, strict=True):
                    self._facts[line], self._times[line] = cast(Fact, fact), time


def _decode(columns: Columns) -> list[Event | Refusal]:
    starts, ends = columns.span("")
    return [decode(columns.data[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def accept_run(batch: Batch, run: Run) -> list[Accepted]:
    """Build the facts of a run, in their order."""
    lines: list[Integers] = []
    facts: list[Accepted] = []
    for columns in batch.columns.values():
        some = columns.take((columns.rows >= run.start) & (columns.rows < run.end))
        if len(some):
            lines.append(some.rows)
            facts += _accept(some, run.late[some.rows - run.start])
    return [facts[place] for place in np.argsort(np.concatenate(lines), kind="stable").tolist()]


def _accept(columns: Columns, late: npt.NDArray[np.bool_]) -> list[Accepted]:
    facts = cast(list[Fact], build_events(columns))
    return [Accepted(*one) for one in zip(facts, columns.numbers("occurred_at").tolist(), late.tolist(), strict=True)]
