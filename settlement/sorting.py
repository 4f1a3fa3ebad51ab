"""A chunk's lines, sorted by what ingest must do with each.

    enters   plain, its key in no line before it and in no partition, its stream registered, not too far ahead
    again    plain, and its key said the same before: in its own partition, or in a line of the chunk that enters
    alone    all others: each is judged by itself, knowing those before it

Only `enters` takes a place in a partition unjudged; whatever stands between does not part what enters.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from events.cloudevents import Envelope, open_envelope, unwrap
from events.codec import canonicalise, decode
from events.columns import Integers, read_columns
from events.event import Event
from events.facts import RecordRefused
from events.hashing import Spans
from events.refusal import Reason, Refusal
from settlement.heads import Heads
from settlement.lines import LINE_BYTES_MAX, Chunk, Line
from settlement.routing import place_many

__all__ = ["NOWHERE", "Bits", "Read", "Sorted"]

# The place of a line that is in no partition, unless it is judged alone.
NOWHERE = -2
Bits = npt.NDArray[np.bool_]
# Tells of some lines which may not enter yet.
Barred = Callable[[Integers], Bits]


class Read:
    """A chunk's lines as columns: of each its head, where its event stands, and the number of its partition.

    Lines that are not plain are read one by one, and belong nowhere.
    """

    def __init__(self, chunk: Chunk, lanes: int) -> None:
        """Read a chunk for so many lanes."""
        count = len(chunk)
        self._chunk = chunk
        self._bytes: dict[int, bytes] = {}
        batch = read_columns(chunk.data, chunk.starts, chunk.ends, wrapped=True)
        self.heads = Heads.of(batch, count, self._read_alone)
        self.places = np.full(count, NOWHERE, dtype=np.int64)
        self._starts, self._ends = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        for columns in batch.columns.values():
            rows = columns.rows
            if self.heads.plain[rows].any():
                self.places[rows] = place_many(columns, lanes)
                self._starts[rows], self._ends[rows] = columns.span("")

    def __len__(self) -> int:
        """Count the lines."""
        return len(self._chunk)

    def event(self, line: int) -> tuple[Event | Refusal, bytes]:
        """Return a line's event and its canonical bytes."""
        if line in self._bytes:
            return self.heads.others[line], self._bytes[line]
        return _read(self._chunk[line])

    def spans(self, lines: Integers) -> Spans:
        """Return where the events of some lines stand, all of them plain."""
        return Spans(self._chunk.data, self._starts[lines], self._ends[lines])

    def _read_alone(self, line: int) -> Event | Refusal:
        event, self._bytes[line] = _read(self._chunk[line])
        return event


class Sorted:
    """Which lines enter; what is said again; what is judged alone, in order."""

    def __init__(self, read: Read, seen: Bits, said: Bits, barred: Barred) -> None:
        """Sort lines.

        `seen`: whose key a partition knows; `said`: what says the same as that; `barred`: see `look_ahead`.
        """
        self._plain, self._seen, self._said = read.heads.plain, seen, said
        self._firsts = read.heads.repeats()
        self._repeats = np.array(list(self._firsts), dtype=np.int64)
        firsts = np.array(list(self._firsts.values()), dtype=np.int64)
        contents = read.heads.contents
        same = self._plain[self._repeats] & (contents[self._repeats] == contents[firsts]).all(axis=1)
        self._same, self._firsts_of_same = self._repeats[same], firsts[same]
        self._barred = barred
        self._are_barred = barred(np.arange(len(read)))
        self._sort()

    def _sort(self) -> None:
        self.enters = self._plain & ~self._seen & ~self._are_barred
        self.enters[self._repeats] = False
        again = self._said.copy()
        again[self._same] |= self.enters[self._firsts_of_same]
        self._alone = ~(self.enters | again)

    def next_alone(self, start: int) -> int | None:
        """Return the first line from `start` on that is judged alone."""
        ahead = self._alone[start:]
        place = int(ahead.argmax()) if len(ahead) else 0
        return start + place if len(ahead) and ahead[place] else None

    def look_ahead(self, start: int) -> bool:
        """Let those from `start` on enter that are barred no longer, since a mark or a genesis was taken in.

        Tells whether there may be any.
        """
        still = start + np.flatnonzero(self._are_barred[start:])
        if len(still):
            self._are_barred[still] = self._barred(still)
            self._sort()
        return len(still) > 0

    def entered_as(self, line: int) -> int | None:
        """Return the line that entered before this one under the same key."""
        first = self._firsts.get(line)
        return first if first is not None and self.enters[first] else None

    def count_again(self) -> int:
        """Count the lines that say again what was said."""
        return len(self.enters) - int(np.count_nonzero(self.enters | self._alone))


def _read(line: Line) -> tuple[Event | Refusal, bytes]:
    """Cut the event out of its envelope; bring unsigned JSON into canonical form where it is not."""
    if line.length > LINE_BYTES_MAX:
        return Refusal(Reason.LINE_TOO_LONG, f"{line.length} bytes, at most {LINE_BYTES_MAX}"), b""
    envelope = open_envelope(line.data)
    if isinstance(envelope, Refusal):
        return _name(line.data, envelope), b""
    data = bytes(envelope.data)
    event = decode(data)
    if isinstance(event, Refusal):
        canonical = canonicalise(data)
        if isinstance(canonical, Refusal):
            return canonical, b""
        data = canonical
        event = decode(data)
    return _check(line.data, envelope, event), data


def _check(line: bytes, envelope: Envelope, event: Event | Refusal) -> Event | Refusal:
    if isinstance(event, Refusal):
        return event
    if isinstance(event, RecordRefused):
        return Refusal(Reason.TYPE_NOT_REPORTABLE, "RecordRefused is written by intake alone")
    return unwrap(line, envelope, event) or event


def _name(data: bytes, refusal: Refusal) -> Refusal:
    """Prefer the fault of the bytes themselves to that of the envelope."""
    parsed = canonicalise(data)
    return parsed if isinstance(parsed, Refusal) else refusal
