"""Reads lines from a byte stream, a chunk at a time, however long a line may be.

A chunk is what the stream gives at once, so that a pipe is answered as it speaks. A line beyond `LINE_BYTES_MAX` is not
kept whole: its first bytes, its length and its digest are.
"""

import os
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

__all__ = ["CHUNK_BYTES", "LINE_BYTES_MAX", "Line", "read_chunks"]

# One chunk becomes one record and one sync: large enough for a few thousand facts a sync, small enough for a message.
CHUNK_BYTES = 1_000_000
# Far above any event (a parameter set is some 2 KB), far below a record.
LINE_BYTES_MAX = 65_536


class Line(NamedTuple):
    """A line without its end; `number` counts from 1. Where `length` is above the bytes kept, the line was too long."""

    number: int
    data: bytes
    length: int
    sha256: str | None = None


def read_chunks(file: int, chunk_bytes: int = CHUNK_BYTES) -> Iterator[list[Line]]:
    """Yield the lines of a file descriptor, a chunk at a time; blank lines are counted and passed over."""
    number = 0
    rest = b""
    long = _LongLine()
    while chunk := os.read(file, chunk_bytes):
        *whole, rest_of_chunk = chunk.split(b"\n")
        lines = []
        for part in whole:
            number += 1
            lines.append(long.finish(number, rest + part) if long.length else _line(number, rest + part))
            rest = b""
        rest += rest_of_chunk
        if len(rest) > LINE_BYTES_MAX:
            long.add(rest)
            rest = b""
        yield [line for line in lines if line.length]
    if rest or long.length:
        last = long.finish(number + 1, rest) if long.length else _line(number + 1, rest)
        yield [last] if last.length else []


def _line(number: int, data: bytes) -> Line:
    if len(data) <= LINE_BYTES_MAX:
        data = data.rstrip(b"\r")
        return Line(number, data, len(data.strip()) and len(data))
    long = _LongLine()
    return long.finish(number, data)


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
