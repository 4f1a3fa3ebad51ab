"""Reported once: which keys were seen, where, and with which content.

Keys never expire, so they are kept as sorted runs of 16-byte digests: 40 bytes a key, looked up a batch at a time.
Recent keys wait in a dictionary; full, it becomes a run, and runs of like size are merged, so that there are few.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["RECENT_MAX", "KeyIndex", "Seen"]

# Large enough that a run is worth sorting, small enough that the dictionary stays below 20 MB.
RECENT_MAX = 65_536
_ROW = np.dtype([("key", "S16"), ("content", "S16"), ("position", "<i8")])


class Seen(NamedTuple):
    """Where a key was first seen, and the digest of what it said."""

    position: int
    content: bytes


class KeyIndex:
    """A growing map from 16-byte keys to `Seen`."""

    __slots__ = ("_recent", "_recent_max", "_runs")

    def __init__(self, recent_max: int = RECENT_MAX) -> None:
        """Begin empty; `recent_max` keys become a run."""
        self._recent_max = recent_max
        self._recent: dict[bytes, Seen] = {}
        self._runs: list[npt.NDArray[np.void]] = []

    def __len__(self) -> int:
        """Count the keys."""
        return len(self._recent) + sum(len(run) for run in self._runs)

    def find(self, keys: Iterable[bytes]) -> dict[bytes, Seen]:
        """Return those of the keys that were seen before."""
        wanted = list(keys)
        found = {key: self._recent[key] for key in wanted if key in self._recent}
        if not self._runs or not wanted:
            return found
        sought = np.array(wanted, dtype="S16")
        for run in self._runs:
            places = np.searchsorted(run["key"], sought)
            places[places == len(run)] = 0
            for hit in np.flatnonzero(run["key"][places] == sought):
                row = run[places[hit]]
                found[wanted[hit]] = Seen(int(row["position"]), _pad(row["content"]))
        return found

    def add(self, key: bytes, seen: Seen) -> None:
        """Keep a key that `find` did not know."""
        self._recent[key] = seen
        if len(self._recent) >= self._recent_max:
            self._seal()

    def _seal(self) -> None:
        rows = [(key, seen.content, seen.position) for key, seen in self._recent.items()]
        run = np.array(rows, dtype=_ROW)
        self._runs.append(run[np.argsort(run["key"], kind="stable")])
        self._recent = {}
        while len(self._runs) > 1 and len(self._runs[-1]) * 2 > len(self._runs[-2]):
            merged = np.concatenate([self._runs[-2], self._runs[-1]])
            self._runs[-2:] = [merged[np.argsort(merged["key"], kind="stable")]]


def _pad(content: bytes) -> bytes:
    """Give back the trailing zero bytes that numpy's byte strings drop."""
    return content.ljust(16, b"\0")
