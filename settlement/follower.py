"""Another settler's log, as the one reads it who follows."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

from events.columns import Batch, Integers, read_columns
from events.event import Decision
from events.log import Log
from events.record import Record

__all__ = ["Follower", "read_heard"]

# So many decisions are decoded one by one in less time than columns of them take.
_FEW = 4
# `type` is the last member of a canonical line. So many bytes tell a type from most others.
_TAIL = 8


class Follower:
    """Reads another settler's log, as far as that settler stands behind it."""

    def __init__(self, log: Log) -> None:
        """Begin at the log's first record."""
        self.name = log.name
        self._log = log
        self.position = 0
        self._records: Iterator[Record] = iter(())
        self._ahead: Record | None = None

    def read(self, end: int) -> Iterator[Record]:
        """Yield what is new up to a position."""
        while self.position < end:
            record = self._ahead or next(self._records, None)
            if record is None:
                self._records = self._log.read(self.position)
                record = next(self._records, None)
            if record is None or record.end > end:
                self._ahead = record
                return
            self._ahead, self.position = None, record.end
            yield record


def read_heard(record: Record, kinds: tuple[type[Decision], ...]) -> tuple[Integers, Batch]:
    """Return the lines of a record that may be of these kinds, and these as columns; of few, all as the rest."""
    starts, ends = record.spans
    # The eight bytes from each place on, as one number.
    windows = np.ndarray(len(record.data) - _TAIL + 1, np.uint64, record.data, strides=(1,))
    lines = np.flatnonzero((windows[ends - _TAIL] == _tails(kinds)).any(axis=0))
    if len(lines) <= _FEW:
        return lines, Batch({}, np.arange(len(lines)))
    # Not kept with the record: that stays at hand.
    return lines, read_columns(record.data, starts[lines], ends[lines])


@cache
def _tails(kinds: tuple[type[Decision], ...]) -> npt.NDArray[np.uint64]:
    return np.frombuffer(b"".join(f'{kind.__name__}"}}'.encode()[-_TAIL:] for kind in kinds), np.uint64)[:, None]
