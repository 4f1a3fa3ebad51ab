"""Reads lines from a byte stream, a chunk at a time, however long a line may be.

A chunk is what the stream gives at once, so that a pipe is answered as it speaks. A line beyond `LINE_BYTES_MAX` is not
kept whole: its first bytes, its length and its digest are.

    a chunk = its bytes and where each line stands in them; a `Line` is made only where one is asked for
"""

import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import accumulate
from typing import NamedTuple, overload

import numpy as np

from events.columns import Integers, split_lines

__all__ = ["CHUNK_BYTES", "LINE_BYTES_MAX", "Chunk", "Line", "read_chunks"]

# One chunk is judged at once and acknowledged as a whole; its facts become a few records, each with its sync.
CHUNK_BYTES = 4_000_000
# Far above any event (a parameter set is some 2 KB), far below a record.
LINE_BYTES_MAX = 65_536


class Line(NamedTuple):
    """A line without its end; `number` counts from 1. Where `length` is above the bytes kept, the line was too long."""

    number: int
    data: bytes
    length: int
    sha256: str | None = None


class Chunk(Sequence[Line]):
    """Lines as spans of bytes. One that is too long is empty there, and stands in `long` by its place.

    `size`: how many bytes were read for it.
    """

    def __init__(
        self, data: bytes, starts: Integers, ends: Integers, numbers: Integers, long: dict[int, Line], size: int
    ) -> None:
        """Take spans that have no line end in them."""
        self.data, self.starts, self.ends, self.numbers = data, starts, ends, numbers
        self.long = long
        self.size = size

    @staticmethod
    def of(lines: Sequence[Line]) -> "Chunk":
        """Take lines that were made one by one."""
        if isinstance(lines, Chunk):
            return lines
        long = {place: line for place, line in enumerate(lines) if line.length > LINE_BYTES_MAX}
        kept = [b"" if place in long else line.data for place, line in enumerate(lines)]
        ends = np.fromiter(accumulate(map(len, kept)), dtype=np.int64, count=len(kept))
        starts = ends - np.array([len(data) for data in kept], dtype=np.int64)
        numbers = np.array([line.number for line in lines], dtype=np.int64)
        return Chunk(b"".join(kept), starts, ends, numbers, long, sum(line.length + 1 for line in lines))

    def __len__(self) -> int:
        """Count the lines."""
        return len(self.starts)

    @overload
    def __getitem__(self, place: int) -> Line: ...

    @overload
    def __getitem__(self, place: slice) -> list[Line]: ...

    def __getitem__(self, place: int | slice) -> Line | list[Line]:
        """Make a line of the chunk."""
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        if place in self.long:
            return self.long[place]
        data = self.data[self.starts[place] : self.ends[place]]
        return Line(int(self.numbers[place]), data, len(data))


def read_chunks(file: int, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Yield the lines of a file descriptor, a chunk at a time; blank lines are counted and passed over."""
    number = 0
    rest = b""
    long = _LongLine()
    while read := os.read(file, chunk_bytes):
        data = rest + read
        rest = data[data.rfind(b"\n") + 1 :]
        lines, count = _cut(data, number, long, len(read))
        number += count
        if len(rest) > LINE_BYTES_MAX:
            long.add(rest)
            rest = b""
        yield lines
    if rest or long.length:
        yield _cut(rest + b"\n", number, long, 0)[0]


def _cut(data: bytes, number: int, long: "_LongLine", size: int) -> tuple[Chunk, int]:
    """Cut what whole lines there are, the first of which may end one that is too long; count them, blank ones too."""
    starts, ends = split_lines(data)
    numbers = np.arange(number + 1, number + 1 + len(ends))
    too_long = ends - starts > LINE_BYTES_MAX
    if long.length and len(ends):
        too_long[0] = True
    lines = {}
    for place in np.flatnonzero(too_long).tolist():
        lines[place] = long.finish(int(numbers[place]), data[starts[place] : ends[place]])
        starts[place] = ends[place] = 0
    keep = np.ones(len(ends), dtype=np.bool_)
    if lines or not _are_plain(data, starts, ends):
        for place in range(len(ends)):
            if place not in lines:
                start, end = int(starts[place]), int(ends[place])
                ends[place] = start + len(data[start:end].rstrip(b"\r"))
                keep[place] = bool(data[start:end].strip())
    places = np.cumsum(keep) - 1
    long_lines = {int(places[place]): line for place, line in lines.items()}
    return Chunk(data, starts[keep], ends[keep], numbers[keep], long_lines, size), len(ends)


def _are_plain(data: bytes, starts: Integers, ends: Integers) -> bool:
    """Tell whether no line is blank, and none ends in a carriage return."""
    if b"\r" in data or (ends == starts).any():
        return False
    first = np.frombuffer(data, dtype=np.uint8)[starts]
    return bool((first > ord(" ")).all())


class _LongLine:
    """Collects a line that is longer than what is kept of it."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.length = 0
        self._head = b""
        self._hash = sha256()

    def add(self, data: bytes) -> None:
        self._head = (self._head + data)[:LINE_BYTES_MAX]
        self.length += len(data)
        self._hash.update(data)

    def finish(self, number: int, data: bytes) -> Line:
        self.add(data)
        line = Line(number, self._head, self.length, self._hash.hexdigest())
        self._clear()
        return line
