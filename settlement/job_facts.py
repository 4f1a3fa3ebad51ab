"""The facts about jobs in a batch, by line: of which kind, about which job, at which place among its kind, when."""

from collections.abc import Collection
from functools import cached_property

import numpy as np
import numpy.typing as npt

from events.columns import Batch, Columns
from events.event import Event
from events.facts import JobCancelled, JobDispatched, JobFailed, JobSubmitted, QuorumClaimed, UsageMetered
from events.hashing import Spans, join_texts, number_texts
from ledger.bps import Integers

__all__ = [
    "AGREED",
    "CANCELLED",
    "DISPATCHED",
    "FAILED",
    "KINDS",
    "METERED",
    "OTHER",
    "SUBMITTED",
    "JobFacts",
    "are_among",
    "ranges",
]

KINDS: tuple[type[Event], ...] = (
    JobSubmitted,
    JobDispatched,
    UsageMetered,
    QuorumClaimed,
    JobFailed,
    JobCancelled,
)
OTHER, SUBMITTED, DISPATCHED, METERED, AGREED, FAILED, CANCELLED = range(7)


class JobFacts:
    """Reads the kinds that lives are made of. A job that shares its id with a fact of another kind is left out.

    `kinds`, `jobs`, `consumers`, `places`, `times` have a row per line; equal `jobs` are of one consumer and id. Lines
    from `own` on are of batches before.
    """

    def __init__(self, batch: Batch, own: int) -> None:
        """Number consumers and jobs; there is one fact about a job at least."""
        count = batch.lines()
        self.own = own
        self._columns = {kind: batch.columns[event] for kind, event in enumerate(KINDS, 1) if event in batch.columns}
        self.data = next(iter(self._columns.values())).data
        self._spans: dict[tuple[str, int | None], tuple[Integers, Integers]] = {}
        self._ends: dict[tuple[int, str], Integers] = {}
        self.kinds, self.consumers, self.places, self.times, ids = np.zeros((5, count), dtype=np.int64)
        for kind, columns in self._columns.items():
            self.kinds[columns.rows] = kind
            self.places[columns.rows] = np.arange(len(columns))
            self.times[columns.rows] = columns.numbers("occurred_at")
        if METERED in self._columns:
            usage = self._columns[METERED]
            self.kinds[usage.rows[usage.has("data.terms")]] = OTHER
        self._consumer_firsts = _number(list(self._columns.values()), "data.consumer", self.consumers)
        of_all = len(_number(list(batch.columns.values()), "subject", ids)[0])
        spoiled = np.zeros(of_all, dtype=np.bool_)
        for columns in batch.columns.values():
            spoiled[ids[columns.rows[self.kinds[columns.rows] == OTHER]]] = True
        self.kinds[spoiled[ids]] = OTHER
        self.jobs = ids * len(self._consumer_firsts[0]) + self.consumers

    @cached_property
    def names(self) -> list[str]:
        """The names of the consumers, by number."""
        return join_texts(self.data, *self._consumer_firsts).decode("ascii").split("\n")[:-1]

    def places_of(self, lines: Integers) -> list[tuple[str, str]]:
        """Return consumer and id of the jobs that the facts in some lines are about."""
        ids = join_texts(*self.span("subject", lines)).decode("ascii").split("\n")[:-1]
        return list(zip(map(self.names.__getitem__, self.consumers[lines].tolist()), ids, strict=True))

    def numbers(self, kind: int, path: str, lines: Integers) -> Integers:
        """Return a member's numbers, of facts of one kind that stand in some lines."""
        return np.asarray(self._columns[kind].numbers(path)[self.places[lines]])

    def are(self, kind: int, path: str, texts: Collection[str], lines: Integers) -> npt.NDArray[np.bool_]:
        """Tell of which of these facts a member is one of the texts."""
        names, numbers = self._columns[kind].numbered(path)
        right = np.array([name in texts for name in names], dtype=np.bool_)
        return np.asarray(right[numbers[self.places[lines]]])

    def counts(self, kind: int, path: str, lines: Integers) -> Integers:
        """Return how many items a list member of each of these facts holds."""
        return np.asarray(np.diff(self._item_ends(kind, path), prepend=0)[self.places[lines]])

    def items(self, kind: int, path: str, lines: Integers) -> Columns:
        """Return what a list member of these facts holds, in the order of the lines."""
        ends, places = self._item_ends(kind, path), self.places[lines]
        starts = np.where(places > 0, ends[places - 1], 0)
        return self._columns[kind].items(path).take(ranges(starts, ends[places] - starts))

    def span(self, path: str, lines: Integers, kind: int | None = None) -> Spans:
        """Return where a member stands in some lines: one that all kinds have, or that of one kind."""
        found = self._spans.get((path, kind))
        if found is None:
            starts, ends = (np.zeros(len(self.kinds), dtype=np.int64) for _ in range(2))
            for columns in self._columns.values() if kind is None else (self._columns[kind],):
                starts[columns.rows], ends[columns.rows] = columns.span(path)
            found = self._spans[path, kind] = starts, ends
        return Spans(self.data, found[0][lines], found[1][lines])

    def _item_ends(self, kind: int, path: str) -> Integers:
        """Return the places behind each fact's items among those of its kind."""
        ends = self._ends.get((kind, path))
        if ends is None:
            columns = self._columns[kind]
            counts = np.bincount(columns.items(path).parents, minlength=len(columns))
            ends = self._ends[kind, path] = np.cumsum(counts)
        return ends


def _number(many: list[Columns], path: str, numbers: Integers) -> tuple[Integers, Integers]:
    """Put a number for each text of a member in its line; return where the text of each number stands."""
    starts, ends = (np.concatenate(side) for side in zip(*(columns.span(path) for columns in many), strict=True))
    firsts, found = number_texts(many[0].data, starts, ends)
    numbers[np.concatenate([columns.rows for columns in many])] = found
    return starts[firsts], ends[firsts]


def are_among(lines: Integers, few: Collection[int]) -> npt.NDArray[np.bool_]:
    """Tell which lines are among a few; -1 stands for no line."""
    among = np.zeros(max(few, default=0) + 2, dtype=np.bool_)
    among[list(few)] = True
    return among[np.minimum(lines, len(among) - 1)]


def ranges(starts: Integers, counts: Integers) -> Integers:
    """Return start, start + 1 … of each range, so many of each."""
    return np.asarray(np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts))
