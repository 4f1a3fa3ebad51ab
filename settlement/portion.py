"""Facts as a settler takes them: the lines of some records that follow one another, as one batch of columns.

What is done once per batch weighs less in a larger one, and more jobs stand whole in it (see `settlement.lives`).

    a portion = records up to `PORTION_BYTES`, or so many facts, or those that are there
                or, where one was taken in part before, up to where that ended

Where portions end decides nothing. A line is named by its number in the portion, counted from 0.
"""

from collections.abc import Iterator

import numpy as np

from events.columns import Batch, Integers, read_columns
from events.log import Log
from events.record import Record

__all__ = ["PORTION_BYTES", "Portion", "read_portions"]

# Columns of so many bytes take some six times as much memory.
PORTION_BYTES = 4_000_000


class Portion:
    """Records, of which there is one at least."""

    def __init__(self, records: list[Record]) -> None:
        """Take records that follow one another."""
        self.records = records
        self.end = records[-1].end
        # At which line each record begins.
        self._firsts = np.cumsum([0, *(record.header.count for record in records)])[:-1]
        self.count = sum(record.header.count for record in records)
        self.data = records[0].data if len(records) == 1 else b"".join([record.data for record in records])
        before = np.cumsum([0, *(len(record.data) for record in records)])[:-1].tolist()
        spans = [record.spans for record in records]
        self._starts, self._ends = (
            np.concatenate([span[side] + start for span, start in zip(spans, before, strict=True)]) for side in (0, 1)
        )
        self.batch: Batch = read_columns(self.data, self._starts, self._ends)

    def line(self, number: int) -> bytes:
        """Return one of the lines."""
        return self.data[int(self._starts[number]) : int(self._ends[number])]

    def beginning(self, start: int, end: int) -> list[Record]:
        """Return the records of which the first line is one of [start, end)."""
        first, last = np.searchsorted(self._firsts, (start, end)).tolist()
        return self.records[first:last]

    def position(self, number: int) -> int:
        """Return the position of a line in its log."""
        record = int(np.searchsorted(self._firsts, number, side="right")) - 1
        return self.records[record].sequence + 1 + number - int(self._firsts[record])

    def positions(self, start: int, end: int) -> Integers:
        """Return the positions of the lines [start, end)."""
        lines = np.arange(start, end)
        records = np.searchsorted(self._firsts, lines, side="right") - 1
        sequences = np.array([record.sequence for record in self.records])
        return np.asarray(sequences[records] + 1 + lines - self._firsts[records])


def read_portions(log: Log, position: int, until: int | None, facts: int) -> Iterator[Portion]:
    """Yield what a log holds from a position on, as portions of so many facts; the first ends at `until`, if given."""
    records: list[Record] = []
    size = count = 0
    for record in log.read(position):
        records.append(record)
        size, count = size + len(record.data), count + record.header.count
        if (record.end >= until) if until is not None else (size >= PORTION_BYTES or count >= facts):
            yield Portion(records)
            records, until = [], None
            size = count = 0
    if records:
        yield Portion(records)
