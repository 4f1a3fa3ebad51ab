"""Sorted runs of digests, in memory, with a filter before them; files of them are `run_files`.

    row     a 16-byte digest as two whole numbers, `hi` and `lo`, and the words that are kept with it
    run     rows in ascending order of `hi`; rows of equal `hi` are neighbours, in any order
    filter  three bits a digest, chosen by `lo` in a word chosen by `hi`: where one is 0, no run holds the digest

Digests are hashes, so that most that are new fail the filter and are looked for nowhere.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

__all__ = [
    "DIGEST_BYTES",
    "Bits",
    "Filter",
    "Indices",
    "MemoryRun",
    "Rows",
    "Run",
    "Words",
    "due",
    "join",
    "marks",
    "merge",
    "sort",
    "split",
]

DIGEST_BYTES = 16
Words = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]
Bits = npt.NDArray[np.bool_]
# Of a thousand new digests four or so pass.
_BITS_PER_DIGEST = 24
_WORDS_MAX = (1 << 32) - 1
_HALF, _ONE, _LOW = np.uint64(32), np.uint64(1), np.uint64(63)
# So many runs of like size become one: few runs to look into, and few times that a row is written again.
_FANOUT_LOG = 3


class Rows(NamedTuple):
    """Rows in ascending order of `hi`; `rest[:, 0]` is `lo`, what is kept follows."""

    hi: Words
    rest: Words

    def cut(self, start: int, end: int) -> "Rows":
        """Return the rows of a range."""
        return Rows(self.hi[start:end], self.rest[start:end])


class Run(Protocol):
    """What a run can do, in memory or on disk."""

    def __len__(self) -> int:
        """Count the rows."""

    def pieces(self) -> Iterator[Rows]:
        """Yield all rows in order, some at a time."""


class MemoryRun:
    """A run in memory."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Rows) -> None:
        """Take over rows that are in order."""
        self._rows = rows

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._rows.hi)

    def find(self, hi: Words, lo: Words) -> tuple[Indices, Words]:
        """Return which of the digests are here, by their indices, and the `rest` of each."""
        own, places = self._rows, np.searchsorted(self._rows.hi, hi)
        if not (np.take(own.hi, places, mode="clip") == hi).any():
            return places[:0], own.rest[:0]
        wanted, found = np.arange(len(hi)), np.full(len(hi), -1, dtype=np.int64)
        while len(wanted):
            inside = places < len(own.hi)
            wanted, places = wanted[inside], places[inside]
            same = own.hi[places] == hi[wanted]
            wanted, places = wanted[same], places[same]
            equal = own.rest[places, 0] == lo[wanted]
            found[wanted[equal]] = places[equal]
            wanted, places = wanted[~equal], places[~equal] + 1
        asked = np.flatnonzero(found >= 0)
        return asked, np.take(own.rest, found[asked], axis=0)

    def pieces(self) -> Iterator[Rows]:
        """Yield all rows at once."""
        yield self._rows


class Filter:
    """Tells of most digests that they are in no run."""

    __slots__ = ("_view", "_words", "room")

    def __init__(self, digests: int) -> None:
        """Begin empty, with room for so many digests."""
        self.room = digests
        self._words = np.zeros(min((digests * _BITS_PER_DIGEST >> 6) + 1, _WORDS_MAX), dtype=np.uint64)
        self._view = self._words.data

    def add(self, rows: Rows) -> None:
        """Let rows pass from now on."""
        np.bitwise_or.at(self._words, self._places(rows.hi), marks(rows.rest[:, 0]))

    def passing(self, hi: Words, marked: Words) -> Indices:
        """Return the indices of the digests that a run may hold; `marked`: the marks of each `lo`."""
        return np.flatnonzero((np.take(self._words, self._places(hi)) & marked) == marked)

    def passes_one(self, digest: bytes) -> bool:
        """Tell of one digest whether a run may hold it."""
        word: int = self._view[int.from_bytes(digest[:4], "big") * len(self._view) >> 32]
        lo = int.from_bytes(digest[14:], "big") | (digest[13] << 16)
        return bool(word >> (lo & 63) & word >> (lo >> 6 & 63) & word >> (lo >> 12 & 63) & 1)

    def _places(self, hi: Words) -> Indices:
        return ((hi >> _HALF) * np.uint64(len(self._words)) >> _HALF).view(np.int64)


def marks(lo: Words) -> Words:
    """Return the bits of a filter's word that stand for each `lo`."""
    bits: Words = (_ONE << (lo & _LOW)) | (_ONE << (lo >> np.uint64(6) & _LOW)) | (_ONE << (lo >> np.uint64(12) & _LOW))
    return bits


def split(digests: npt.NDArray[np.uint8]) -> Words:
    """Return the two halves of each 16-byte digest, read as big-endian numbers."""
    halves = np.ascontiguousarray(digests).reshape(-1, DIGEST_BYTES).view(">u8")
    return halves.astype(np.uint64)


def sort(hi: Words, rest: Words) -> Rows:
    """Put rows in order."""
    order = np.argsort(hi)
    return Rows(np.take(hi, order), np.take(rest, order, axis=0))


def merge(runs: Sequence[Run]) -> Iterator[Rows]:
    """Yield the rows of all runs in order, holding one piece of each at a time."""
    sources = [run.pieces() for run in runs]
    held = [(source, piece) for source in sources if (piece := next(source, None)) is not None]
    while held:
        # What a piece does not show yet of its run is at `bound` or behind it.
        bound = min(piece.hi[-1] for _, piece in held)
        parts, left = [], []
        for source, piece in held:
            place = int(np.searchsorted(piece.hi, bound, side="right"))
            parts.append(piece.cut(0, place))
            behind = piece.cut(place, len(piece.hi)) if place < len(piece.hi) else next(source, None)
            if behind is not None:
                left.append((source, behind))
        held = left
        yield join(parts)


def join(parts: Sequence[Rows]) -> Rows:
    """Make one of rows that are each in order."""
    hi = np.concatenate([part.hi for part in parts])
    order = np.argsort(hi, kind="stable")
    return Rows(np.take(hi, order), np.take(np.concatenate([part.rest for part in parts]), order, axis=0))


def due(runs: Iterable[Run]) -> int:
    """Count the last runs, oldest first, that are due to become one; 0 where none are."""
    sizes = [len(run).bit_length() // _FANOUT_LOG for run in runs]
    like = 0
    for size in reversed(sizes):
        if size > sizes[-1]:
            break
        like += 1
    return like if like >= 1 << _FANOUT_LOG else 0
