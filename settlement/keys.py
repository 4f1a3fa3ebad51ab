"""Reported once: which keys were seen, where, and with which content; and which jobs were closed.

Keys never expire. They are kept as sorted runs of 16-byte digests, looked up a batch at a time: new ones make a run,
and runs of like size are merged, so that there are few. Given a folder, large runs lie there, and of each key two
bytes or so stay in memory:

    what a folder holds   = a cache, sealed as of a position: the keys of all facts below it, and no other
    opened                = the newest seal that checks, up to a given position; none: empty, as of position 0
                            or one seal that is given, and no other
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from settlement import run_files
from settlement.run_files import RunDamaged, RunFile, Seal
from settlement.runs import (
    DIGEST_BYTES,
    Bits,
    Filter,
    Indices,
    MemoryRun,
    Rows,
    Run,
    Words,
    due,
    join,
    marks,
    merge,
    sort,
    split,
)

__all__ = ["MEMORY_MAX", "RECENT_MAX", "Found", "KeyIndex", "KeySet", "Seen"]

Digests = npt.NDArray[np.uint8]
Ground = Callable[[int, str], bool]
# Keys that come one by one wait in a dictionary until they are worth sorting.
RECENT_MAX = 1_024
# So many keys stay in memory where there is a folder: about 10 MB.
MEMORY_MAX = 262_144
# The seal before the last one stays too, for whoever was stopped between this seal and his own.
_SEALS_KEPT = 2


class Seen(NamedTuple):
    """Where a key was first seen, and the digest of what it said."""

    position: int
    content: bytes


class Found(NamedTuple):
    """For each key that was asked: the position where it was first seen, or -1, and the digest of what it said."""

    at: Indices
    content: Digests


class _Runs:
    """Runs of rows of so many words; on disk where there is a folder, whose only user this is."""

    def __init__(self, words: int, folder: Path | None, memory_max: int) -> None:
        self.words = words
        self.folder = folder
        self._memory_max = memory_max
        self.position = 0
        self._count = 0
        self._files: list[RunFile] = []
        self._runs: list[MemoryRun] = []
        self._filter = Filter(0)

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Rows) -> None:
        """Take in rows that no run has."""
        if not len(rows.hi):
            return
        self._count += len(rows.hi)
        self._runs.append(MemoryRun(rows))
        while last := due(self._runs):
            self._runs[-last:] = [MemoryRun(_join(self._runs[-last:]))]
        held = sum(map(len, self._runs))
        if held > self._filter.room:
            self._filter = Filter(2 * held)
            for run in self._runs:
                for piece in run.pieces():
                    self._filter.add(piece)
        else:
            self._filter.add(rows)
        if self.folder is not None and held >= self._memory_max:
            self._spill(self.folder)

    def find(self, halves: Words) -> Iterator[tuple[Indices, Words]]:
        """Yield the indices of digests that are here, with what is kept of each."""
        hi, lo = halves[:, 0], halves[:, 1]
        asked = self._filter.passing(hi, marks(lo))
        for run in self._runs:
            if not len(asked):
                break
            found, rest = run.find(hi[asked], lo[asked])
            if len(found):
                yield asked[found], rest
                asked = np.delete(asked, found)
        if self._files:
            yield from run_files.find_in_files(self._files, halves, self.words)

    def passes_one(self, digest: bytes) -> bool:
        """Tell of one digest whether a run may hold it."""
        return self._filter.passes_one(digest) or any(run.passes_one(digest) for run in self._files)

    def seal(self, position: int, ground: str) -> Seal | None:
        """Put everything on disk, as of a position. Raises: OSError, ValueError where it goes back."""
        if position < self.position:
            raise ValueError(f"sealed as of {self.position}, not of {position}")
        self.position = position
        if self.folder is None:
            return None
        self._spill(self.folder)
        seal = Seal(position, ground, self.words, tuple(run.name for run in self._files))
        run_files.write_seal(self.folder, seal)
        self._sweep(self.folder)
        return seal

    def go_on(self, seal: Seal) -> None:
        """Go on from a seal and no other; later ones are forgotten. Raises: OSError, RunDamaged."""
        assert self.folder is not None
        if seal.words != self.words or not self._adopt(self.folder, seal):
            raise RunDamaged(f"{self.folder}: what was sealed as of {seal.position} is not there")
        self.position = seal.position
        for path in run_files.newest_seals(self.folder):
            if path.name > run_files.seal_name(seal.position):
                path.unlink()
        run_files.write_seal(self.folder, seal)
        self._sweep(self.folder)

    def open(self, until: int | None, is_ground: Ground | None) -> None:
        """Go on from the newest seal that checks. Raises: OSError."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in run_files.newest_seals(self.folder):
            seal = run_files.read_seal(path)
            if seal is None or seal.words != self.words or (until is not None and seal.position > until):
                path.unlink()
            elif (is_ground is None or is_ground(seal.position, seal.ground)) and self._adopt(self.folder, seal):
                self.position = seal.position
                break
            else:
                path.unlink()
        self._sweep(self.folder)

    def _adopt(self, folder: Path, seal: Seal) -> bool:
        """Open the run files of a seal, if they all check."""
        try:
            self._files = [RunFile(folder / name.name, name, self.words) for name in seal.runs]
        except (OSError, RunDamaged):
            return False
        self._count = sum(map(len, self._files))
        return True

    def _spill(self, folder: Path) -> None:
        """Move what is in memory to disk."""
        if not self._runs:
            return
        self._files.append(self._write(folder, self._runs, self._count))
        self._runs, self._filter = [], Filter(self._filter.room)
        while last := due(self._files):
            self._files[-last:] = [self._write(folder, self._files[-last:], self._count)]
            self._sweep(folder)

    def _write(self, folder: Path, runs: Sequence[Run], end: int) -> RunFile:
        """Write runs as one file, named by the range of digests in the order in which they came."""
        start = end - sum(map(len, runs))
        path = folder / f"{start:012}-{end:012}.run"
        return run_files.write_run(path, merge(runs), end - start, self.words)

    def _sweep(self, folder: Path) -> None:
        """Remove what neither the last seals nor the present need."""
        seals = run_files.newest_seals(folder)[:_SEALS_KEPT]
        sealed = [seal for path in seals if (seal := run_files.read_seal(path)) is not None]
        names = {run.name for seal in sealed for run in seal.runs}
        run_files.sweep(folder, names | {run.name.name for run in self._files}, seals)


class KeyIndex:
    """A growing map from 16-byte keys to `Seen`."""

    __slots__ = ("_recent", "_recent_max", "_runs", "_waiting")

    def __init__(
        self,
        folder: Path | None = None,
        *,
        until: int | None = None,
        is_ground: Ground | None = None,
        seal: Seal | None = None,
        recent_max: int = RECENT_MAX,
        memory_max: int = MEMORY_MAX,
    ) -> None:
        """Go on from what the folder holds, or begin empty: `position` says up to where the keys are known.

        Of the folder no seal behind `until` counts, nor one whose position and ground `is_ground` denies; and where a
        `seal` is given no other. Raises: OSError; RunDamaged where that seal does not check.
        """
        self._recent_max = recent_max
        self._recent: dict[bytes, Seen] = {}
        # What came many at once waits until somebody asks: one run instead of a few.
        self._waiting: list[tuple[Digests, Digests, Indices]] = []
        self._runs = _Runs(5, folder, memory_max)
        if seal is None:
            self._runs.open(until, is_ground)
        else:
            self._runs.go_on(seal)

    def __len__(self) -> int:
        """Count the keys."""
        return len(self._recent) + sum(len(keys) for keys, _, _ in self._waiting) + len(self._runs)

    @property
    def folder(self) -> Path | None:
        """The folder in which large runs lie."""
        return self._runs.folder

    @property
    def position(self) -> int:
        """Say below which position all keys were known when it was opened or last sealed."""
        return self._runs.position

    def find(self, keys: Iterable[bytes]) -> dict[bytes, Seen]:
        """Return those of the keys that were seen before."""
        asked = list(keys)
        self._sort_waiting()
        found = {key: self._recent[key] for key in asked if key in self._recent}
        wanted = [key for key in asked if key not in found and self._runs.passes_one(key)]
        if wanted:
            at, content = self._find_in_runs(_digests(wanted))
            for place in np.flatnonzero(at >= 0).tolist():
                found[wanted[place]] = Seen(int(at[place]), content[place].tobytes())
        return found

    def add(self, key: bytes, seen: Seen) -> None:
        """Keep a key that `find` did not know."""
        self._recent[key] = seen
        if len(self._recent) >= self._recent_max:
            self._sort_recent()

    def find_many(self, keys: Digests) -> Found:
        """Return where each of the keys, uint8[n, 16], was first seen."""
        self._sort_recent()
        return self._find_in_runs(keys)

    def add_many(self, keys: Digests, contents: Digests, positions: Indices) -> None:
        """Keep keys that are new and distinct."""
        self._waiting.append((keys, contents, positions))

    def seal(self, position: int, ground: str = "") -> Seal | None:
        """Say that the keys are those of all facts below a position; a later process goes on from there.

        `ground`: what they rest on, as the log's root. Without a folder there is no seal. Raises: OSError.
        """
        self._sort_recent()
        return self._runs.seal(position, ground)

    def _find_in_runs(self, keys: Digests) -> Found:
        halves = split(keys)
        at = np.full(len(halves), -1, dtype=np.int64)
        content = np.zeros((len(halves), 2), dtype=">u8")
        for places, rest in self._runs.find(halves):
            content[places] = rest[:, 1:3]
            at[places] = rest[:, 3].astype(np.int64)
        return Found(at, content.view(np.uint8))

    def _sort_recent(self) -> None:
        if self._recent:
            keys, seen, self._recent = list(self._recent), list(self._recent.values()), {}
            positions = np.array([each.position for each in seen], dtype=np.int64)
            self.add_many(_digests(keys), _digests([each.content for each in seen]), positions)
        self._sort_waiting()

    def _sort_waiting(self) -> None:
        if self._waiting:
            keys, contents, positions = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
            self._waiting = []
            halves = split(keys)
            rest = (halves[:, 1], split(contents), positions.astype(np.int64, copy=False).view(np.uint64))
            self._runs.add(sort(halves[:, 0], np.column_stack(rest)))


class KeySet:
    """A growing set of 16-byte digests."""

    __slots__ = ("_recent", "_recent_max", "_runs", "_waiting")

    def __init__(
        self,
        folder: Path | None = None,
        *,
        until: int | None = None,
        is_ground: Ground | None = None,
        seal: Seal | None = None,
        recent_max: int = RECENT_MAX,
        memory_max: int = MEMORY_MAX,
    ) -> None:
        """Go on from what the folder holds, or begin empty, as `KeyIndex` does."""
        self._recent_max = recent_max
        self._recent: set[bytes] = set()
        # As those of `KeyIndex`.
        self._waiting: list[Digests] = []
        self._runs = _Runs(2, folder, memory_max)
        if seal is None:
            self._runs.open(until, is_ground)
        else:
            self._runs.go_on(seal)

    def __len__(self) -> int:
        """Count the digests."""
        return len(self._recent) + sum(map(len, self._waiting)) + len(self._runs)

    @property
    def folder(self) -> Path | None:
        """The folder in which large runs lie."""
        return self._runs.folder

    @property
    def position(self) -> int:
        """Say below which position all digests were known when it was opened or last sealed."""
        return self._runs.position

    def has(self, key: bytes) -> bool:
        """Tell whether a digest is here."""
        if key in self._recent:
            return True
        self._sort_waiting()
        return self._runs.passes_one(key) and bool(self._in_runs(_digests([key]))[0])

    def add(self, key: bytes) -> None:
        """Keep a digest, which may be here already."""
        if not self.has(key):
            self._recent.add(key)
            if len(self._recent) >= self._recent_max:
                self._sort_recent()

    def has_many(self, keys: Digests) -> Bits:
        """Tell of each of the digests, uint8[n, 16], whether it is here."""
        self._sort_recent()
        return self._in_runs(keys)

    def add_many(self, keys: Digests) -> None:
        """Keep digests that are new and distinct."""
        self._waiting.append(keys)

    def seal(self, position: int, ground: str = "") -> Seal | None:
        """Say that the digests are those of all positions below this, as `KeyIndex.seal` does. Raises: OSError."""
        self._sort_recent()
        return self._runs.seal(position, ground)

    def _in_runs(self, keys: Digests) -> Bits:
        halves = split(keys)
        here = np.zeros(len(halves), dtype=np.bool_)
        for places, _ in self._runs.find(halves):
            here[places] = True
        return here

    def _sort_recent(self) -> None:
        if self._recent:
            keys, self._recent = list(self._recent), set()
            self.add_many(_digests(keys))
        self._sort_waiting()

    def _sort_waiting(self) -> None:
        if self._waiting:
            halves = split(np.concatenate(self._waiting))
            self._waiting = []
            self._runs.add(sort(halves[:, 0], halves[:, 1:]))


def _digests(keys: list[bytes]) -> Digests:
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def _join(runs: Iterable[MemoryRun]) -> Rows:
    return join([rows for run in runs for rows in run.pieces()])
