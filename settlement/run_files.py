"""Runs on disk: files that can be lost, and are never believed when they were touched.

    run file    rows as little-endian words, `hi` first, in ascending order of `hi`
    seal file   `sealed-POSITION`: its own SHA-256; which run files speak for all positions below, and that of each

A file is written under another name and then renamed. Nothing is synced: what a power loss takes does not check, and is
derived again. In memory there are only a filter and the first `hi` of each block of rows; a lookup reads one block.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from weakref import finalize

import msgspec
import numpy as np

from settlement.runs import Filter, Indices, Rows, Words, marks

__all__ = [
    "RunDamaged",
    "RunFile",
    "RunName",
    "Seal",
    "find_in_files",
    "newest_seals",
    "read_seal",
    "seal_name",
    "sweep",
    "write_run",
    "write_seal",
]

_BLOCK_ROWS = 32
_PIECE_ROWS = 16_384
# So many blocks are read at a time.
_BLOCKS_MAX = 4_096
_WORD_BYTES = 8
_PART = ".part"
_RUN = ".run"
_SEAL = "sealed-"


class RunDamaged(Exception):
    """A run file does not hold what was written into it."""


class RunName(msgspec.Struct, frozen=True):
    """Which run file is meant: its name, its rows, the SHA-256 of its bytes."""

    name: str
    rows: int
    sha256: str


class Seal(msgspec.Struct, frozen=True):
    """What run files speak of: all positions below this, on this ground, in rows of so many words; oldest run first."""

    position: int
    ground: str
    words: int
    runs: tuple[RunName, ...]


class _Index:
    """What stays in memory of a run: the first `hi` of each block, and a filter."""

    __slots__ = ("_firsts", "_rows", "filter")

    def __init__(self, rows: int) -> None:
        self.filter = Filter(rows)
        self._firsts: Words = np.empty((rows + _BLOCK_ROWS - 1) // _BLOCK_ROWS, dtype=np.uint64)
        self._rows = 0

    def include(self, rows: Rows) -> None:
        """Go on with the next rows."""
        self.filter.add(rows)
        firsts = rows.hi[-self._rows % _BLOCK_ROWS :: _BLOCK_ROWS]
        block = (self._rows + _BLOCK_ROWS - 1) // _BLOCK_ROWS
        self._firsts[block : block + len(firsts)] = firsts
        self._rows += len(rows.hi)

    def candidates(self, hi: Words, marked: Words) -> tuple[Indices, Indices]:
        """Return the indices of digests that pass, and the block in which each would begin to stand."""
        passing = self.filter.passing(hi, marked)
        return passing, np.maximum(np.searchsorted(self._firsts, hi[passing]) - 1, 0)


class RunFile:
    """A run on disk, of at least one row."""

    __slots__ = ("__weakref__", "_file", "_index", "_row_bytes", "_words", "name")

    def __init__(self, path: Path, name: RunName, words: int, index: _Index | None = None) -> None:
        """Open a file, and check it where its index is not at hand. Raises: OSError, RunDamaged."""
        self.name = name
        self._words = words
        self._row_bytes = words * _WORD_BYTES
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        finalize(self, os.close, self._file)
        if index is None:
            index = _Index(name.rows)
            for rows in self.pieces():
                index.include(rows)
        self._index = index

    def __len__(self) -> int:
        """Count the rows."""
        return self.name.rows

    def pieces(self) -> Iterator[Rows]:
        """Yield all rows in order. Raises: RunDamaged, at the end: until then nothing is to be believed."""
        digest = sha256()
        for start in range(0, len(self), _PIECE_ROWS):
            data = self._read(start, min(_PIECE_ROWS, len(self) - start))
            digest.update(data)
            words = _matrix(data, self._words)
            yield Rows(np.ascontiguousarray(words[:, 0]), words[:, 1:])
        if digest.hexdigest() != self.name.sha256 or os.fstat(self._file).st_size != len(self) * self._row_bytes:
            raise RunDamaged(self.name.name)

    def passes_one(self, digest: bytes) -> bool:
        """Tell of one digest whether it may be here."""
        return self._index.filter.passes_one(digest)

    def candidates(self, hi: Words, marked: Words) -> tuple[Indices, Indices]:
        """Return the indices of digests that may be here, and the block in which each would begin to stand."""
        return self._index.candidates(hi, marked)

    def read_block(self, block: int) -> bytes:
        """Return the bytes of a block, with zeros behind the last row. Raises: RunDamaged."""
        size = _BLOCK_ROWS * self._row_bytes
        data = os.pread(self._file, size, block * size)
        if len(data) == size:
            return data
        if len(data) != (len(self) - block * _BLOCK_ROWS) * self._row_bytes:
            raise RunDamaged(self.name.name)
        return data.ljust(size, b"\0")

    def _read(self, start: int, rows: int) -> bytes:
        data = os.pread(self._file, rows * self._row_bytes, start * self._row_bytes)
        if len(data) != rows * self._row_bytes:
            raise RunDamaged(self.name.name)
        return data


def find_in_files(files: Sequence[RunFile], halves: Words, words: int) -> Iterator[tuple[Indices, Words]]:
    """Yield the indices of digests that are in the files, and the `rest` of each. Raises: RunDamaged."""
    hi, marked = np.ascontiguousarray(halves[:, 0]), marks(halves[:, 1])
    asked = [file.candidates(hi, marked) for file in files]
    owners = np.repeat(np.arange(len(files)), [len(indices) for indices, _ in asked])
    if not len(owners):
        return
    rows, wanted = np.array([len(file) for file in files])[owners], np.concatenate([indices for indices, _ in asked])
    blocks = np.concatenate([begin for _, begin in asked])
    for start in range(0, len(owners), _BLOCKS_MAX):
        part = slice(start, start + _BLOCKS_MAX)
        yield from _look(
            [files[owner] for owner in owners[part]], rows[part], wanted[part], blocks[part], halves, words
        )


def _look(
    files: Sequence[RunFile], rows: Indices, asked: Indices, blocks: Indices, halves: Words, words: int
) -> Iterator[tuple[Indices, Words]]:
    """Look for each digest in the block of its file, and on while the next block may begin with the same `hi`."""
    place = np.arange(len(asked))
    while len(place):
        read = [files[at].read_block(block) for at, block in zip(place.tolist(), blocks.tolist(), strict=True)]
        matrix = _matrix(b"".join(read), words).reshape(-1, _BLOCK_ROWS, words)
        wanted, behind = halves[asked[place]], (blocks + 1) * _BLOCK_ROWS
        there = np.arange(_BLOCK_ROWS) < (rows[place] - blocks * _BLOCK_ROWS)[:, None]
        same = (matrix[:, :, 0] == wanted[:, :1]) & (matrix[:, :, 1] == wanted[:, 1:]) & there
        found = same.any(axis=1)
        yield asked[place[found]], matrix[found, same[found].argmax(axis=1), 1:]
        on = ~found & (behind < rows[place]) & (matrix[:, -1, 0] <= wanted[:, 0])
        place, blocks = place[on], blocks[on] + 1


def _matrix(data: bytes, words: int) -> Words:
    return np.frombuffer(data, dtype="<u8").reshape(-1, words).astype(np.uint64, copy=False)


def write_run(path: Path, pieces: Iterable[Rows], rows: int, words: int) -> RunFile:
    """Write a run file of so many rows and open it. Raises: OSError."""
    part, digest, index = path.with_suffix(_PART), sha256(), _Index(rows)
    with open(part, "wb") as file:
        for piece in pieces:
            matrix = np.empty((len(piece.hi), words), dtype="<u8")
            matrix[:, 0], matrix[:, 1:] = piece.hi, piece.rest
            digest.update(matrix.data)
            file.write(matrix.data)
            index.include(piece)
    os.replace(part, path)
    return RunFile(path, RunName(path.name, rows, digest.hexdigest()), words, index)


def write_seal(folder: Path, seal: Seal) -> None:
    """Write a seal. Raises: OSError."""
    text = msgspec.json.encode(seal)
    path = folder / seal_name(seal.position)
    part = path.with_suffix(_PART)
    part.write_bytes(sha256(text).hexdigest().encode() + b"\n" + text)
    os.replace(part, path)


def seal_name(position: int) -> str:
    """Return the name of the seal as of a position."""
    return f"{_SEAL}{position:020}"


def newest_seals(folder: Path) -> list[Path]:
    """Return the seals of a folder, the one of the highest position first."""
    return sorted((path for path in folder.glob(f"{_SEAL}*") if not path.suffix), reverse=True)


def read_seal(path: Path) -> Seal | None:
    """Return a seal; None where it was touched."""
    try:
        digest, _, text = path.read_bytes().partition(b"\n")
        if digest != sha256(text).hexdigest().encode():
            return None
        seal = msgspec.json.decode(text, type=Seal)
    except (OSError, msgspec.MsgspecError):
        return None
    return seal if path.name == seal_name(seal.position) else None


def sweep(folder: Path, kept: Iterable[str], seals: Iterable[Path]) -> None:
    """Remove all seals but these, then all run files but those that are kept. Raises: OSError."""
    names, stay = set(kept), set(seals)
    for path in newest_seals(folder):
        if path not in stay:
            path.unlink()
    for path in folder.iterdir():
        if path.suffix == _PART or (path.suffix == _RUN and path.name not in names):
            path.unlink()
