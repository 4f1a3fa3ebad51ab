"""A run of facts that intake has accepted, at a lane: what is regular is decided many at once.

All else goes one by one, in its place among it.
"""

from typing import cast

import numpy as np
import numpy.typing as npt

from events.build import build_events
from events.codec import decode
from events.columns import Batch, Columns, Integers
from events.event import Event, Fact
from events.refusal import Refusal
from ledger.parameters import Parameters
from settlement.intake import Accepted, Run
from settlement.lane import Lane
from settlement.life_run import BatchLives, Found, merge
from settlement.output import Decided
from settlement.run_money import payer_of

__all__ = ["LaneRuns", "accept_run"]

# Fewer facts of a type than this are read line by line.
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

    def take(self, batch: Batch, run: Run, network_time: int) -> Decided:
        """Decide on the facts of a run, which came at one network time: on most at once, on others one by one."""
        if self._facts.batch is not batch:
            self._open(batch)
        start, late = run.start, run.late
        found = self._lives.find(start, run.end)
        alone, facts = self._apart(found, start, late)
        chosen = self._lives.covered(found, facts) if len(found.lives) else found
        if len(chosen.lives) < len(found.lives):
            alone, facts = self._apart(chosen, start, late)
        if not len(chosen.lives):
            for accepted in facts:
                self._lane.decide(accepted, network_time)
            return self._lane.give()
        asked, moves, lines = self._lives.asked(chosen), *self._lives.take(chosen, late)
        answered: list[int] = []
        denied: dict[int, Refusal] = {}
        one_by_one = dict(zip(alone, facts, strict=True))
        for line in sorted([*alone, *asked]):
            if line in asked:
                consumer, amount = asked[line]
                moves.make(consumer, line)
                denied[line] = self._lane.lacks(consumer, amount)
                continue
            accepted = one_by_one[line]
            if (payer := payer_of(accepted.fact)) is not None:
                moves.make(payer, line)
            self._lane.decide(accepted, network_time)
            answered += [line] * (self._lane.writer.pending() - len(answered))
        moves.make_all()
        lines += self._lives.deny(denied, late, start)
        for each in lines:
            self._lane.writer.count_many(each.epochs, each.leaves, each.fee, each.burn)
        return merge(lines, self._lane.give(), answered)

    def _apart(self, found: Found, start: int, late: npt.NDArray[np.bool_]) -> tuple[list[int], list[Accepted]]:
        """Return the lines in which no facts of these lives stand, and their facts."""
        alone = np.ones(len(late), dtype=np.bool_)
        alone[self._lives.lines_of(found) - start] = False
        lines = np.flatnonzero(alone)
        return (lines + start).tolist(), self._facts.accept(lines + start, late[lines])


class _Facts:
    """The facts of a batch, built together when one of them is wanted: many small runs cost no more than one."""

    def __init__(self, batch: Batch, apart: Integers) -> None:
        """Leave out the lines that are `apart`; they are built when they are wanted after all."""
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


def accept_run(batch: Batch, run: Run, but: type[Event]) -> list[Accepted]:
    """Build the facts of a run, in their order, those of one type left out."""
    lines: list[Integers] = [np.empty(0, dtype=np.int64)]
    facts: list[Accepted] = []
    for columns in batch.columns.values():
        if columns.kind is but:
            continue
        some = columns.take((columns.rows >= run.start) & (columns.rows < run.end))
        if len(some):
            lines.append(some.rows)
            facts += _accept(some, run.late[some.rows - run.start])
    return [facts[place] for place in np.argsort(np.concatenate(lines), kind="stable").tolist()]


def _accept(columns: Columns, late: npt.NDArray[np.bool_]) -> list[Accepted]:
    facts = cast(list[Fact], build_events(columns))
    return [Accepted(*one) for one in zip(facts, columns.numbers("occurred_at").tolist(), late.tolist(), strict=True)]
