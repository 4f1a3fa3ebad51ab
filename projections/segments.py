"""A sealed segment: one file of a ledger log as columns. A cache of the log, never the truth; see docs/segments.md.

    file := "segment 1 " length(10) " " sha256(64) LF, header, zeros, columns
    side  := one side of one account, number 2 × account + (1 for credits); its postings are a run of rows
    sum of a side at a position = sum at the segment's start + Σ amounts of its rows before the position

`sha256` is that of the header, which holds that of each column; no column is used before it was checked. What does not
check raises SegmentUnusable.
"""

import mmap
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from events.codec import encode_json
from events.columns import Integers
from events.event import Count, Data, Digest, Key
from events.hashing import join_texts
from ledger import accounts

__all__ = [
    "BLOCKS",
    "REACHED_ROWS",
    "SUM_BYTES",
    "Block",
    "Header",
    "Moved",
    "Segment",
    "SegmentUnusable",
    "SideSums",
    "hash_name",
    "join_key",
    "split_key",
    "write_segment",
]

ALIGNED_BYTES = 64
# A sum at the segment's start: 160 bits hold 39 digits, many times.
SUM_BYTES = 20
# The sum of a side within the segment is kept before each so many rows.
REACHED_ROWS = 16
_LIMB = 31
_LOW = 2**_LIMB - 1
_CHUNK_ROWS = 262_144
_TITLE = b"segment 1 "
_HEAD_BYTES = len(_TITLE) + len("0123456789 ") + sha256().digest_size * 2 + 1

# Little endian. Where a row's amount is 2^63 or more, it is 0 in `amounts`, and `large` has it as text.
BLOCKS = {
    "record_ends": "<i8",
    "record_offsets": "<i8",
    "record_times": "<i8",
    "names": "|u1",
    "name_ends": "<u4",
    "hashes": "<u8",
    "hashed": "<u4",
    "before": "|u1",
    "sides": "<u4",
    "events": "<u4",
    "amounts": "<i8",
    "reached_low": "<i8",
    "reached_high": "<i8",
    "large": "|u1",
}
_FORMATS: dict[str, Any] = {"<i8": "q", "<u8": "Q", "<u4": "I", "|u1": "B"}


class SegmentUnusable(Exception):
    """A segment is damaged, or is not what the log holds; `seal` makes it anew."""

    def __init__(self, path: Path, fault: str) -> None:
        """Name the segment by its log and file."""
        super().__init__(f"segment {path.parent.name}/{path.name}: {fault}")
        self.path, self.fault = path, fault


class Block(Data, frozen=True):
    """Where a column begins behind the header, how many values it has, and their digest."""

    offset: Count
    count: Count
    sha256: Digest


class Header(Data, frozen=True):
    """What a segment was made from: a log's leaves [start, end), which are the first bytes of one of its files.

    `frontier` is that of the log's tree at `end`.
    """

    log: Key
    start: Count
    end: Count
    start_root: Digest
    end_root: Digest
    frontier: tuple[Digest, ...]
    source_bytes: Count
    source_sha256: Digest
    events: Count
    reached_rows: Count
    blocks: dict[str, Block]
    body_bytes: Count


class Moved(NamedTuple):
    """What moved an account at one event, or, of accounts that all events touch, in one record."""

    sequence: int
    debit: int
    credit: int


class SideSums(NamedTuple):
    """The sum of each side's rows: high × 2^31 + low, and of amounts that are too large for this, by side."""

    low: Integers
    high: Integers
    large: dict[int, int]


def join_key(key: accounts.Key) -> bytes:
    """Write an account's key as a segment names it."""
    return "|".join(key).encode()


def split_key(name: bytes) -> accounts.Key:
    """Read an account's key."""
    return accounts.Key(*name.decode().split("|"))


def hash_name(name: bytes) -> int:
    """Return the number by which a name is looked up."""
    return int.from_bytes(sha256(name).digest()[:8], "little")


def write_segment(path: Path, header: Header, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write a segment in the place of what is there; its blocks are added to the header.

    Readers see the old one or the new.
    """
    parts, blocks, size = list[bytes](), dict[str, Block](), 0
    for name, kind in BLOCKS.items():
        values = np.ascontiguousarray(columns[name], dtype=kind)
        data = values.tobytes()
        blocks[name] = Block(offset=size, count=len(values), sha256=sha256(data).hexdigest())
        parts.append(data + bytes(-len(data) % ALIGNED_BYTES))
        size += len(parts[-1])
    text = encode_json(msgspec.structs.replace(header, blocks=blocks, body_bytes=size))
    front = _TITLE + b"%010d %b\n" % (len(text), sha256(text).hexdigest().encode()) + text
    fresh = path.with_suffix(".fresh")
    path.parent.mkdir(parents=True, exist_ok=True)
    with fresh.open("wb") as file:
        file.write(front + bytes(-len(front) % ALIGNED_BYTES))
        file.writelines(parts)
    fresh.replace(path)


class _Views(NamedTuple):
    """Columns as they lie in the file, to look single values up."""

    names: memoryview
    name_ends: memoryview
    hashes: memoryview
    hashed: memoryview
    before: memoryview
    sides: memoryview
    events: memoryview
    amounts: memoryview
    reached_low: memoryview
    reached_high: memoryview
    large_rows: list[int]
    large_amounts: list[int]


class Segment:
    """A sealed segment, open for reading; only what is asked for is read."""

    def __init__(self, path: Path) -> None:
        """Check the header and the page digests. Raises: SegmentUnusable."""
        self.path = path
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise SegmentUnusable(path, "is missing") from None
        except (OSError, ValueError) as error:
            raise SegmentUnusable(path, f"cannot be read: {error}") from error
        self.header, self._body = self._read_front()
        if len(self._map) != self._body + self.header.body_bytes:
            fault = f"has {len(self._map)} bytes, its header says {self._body + self.header.body_bytes}"
            raise SegmentUnusable(path, fault)
        self._whole = memoryview(self._map)
        self._checked: set[str] = set()
        self._opened: _Views | None = None

    @property
    def start(self) -> int:
        """Where the segment begins in its log."""
        return self.header.start

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.header.end

    def check(self) -> None:
        """Check every column. Raises: SegmentUnusable."""
        for name in BLOCKS:
            self._bytes(name)

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return a whole column, checked. Raises: SegmentUnusable."""
        return np.frombuffer(self._bytes(name), dtype=BLOCKS[name])

    def rest(self) -> None:
        """Let go of memory; what is asked for next is read again."""
        self._map.madvise(mmap.MADV_DONTNEED)

    # --- accounts ---

    def names(self) -> list[bytes]:
        """Return the accounts' names, by number. Raises: SegmentUnusable."""
        return self.array("names").tobytes().split(b"\n")[:-1]

    def find(self, name: bytes, hashed: int) -> int | None:
        """Return the number of an account by its name and `hash_name`, or None where nothing in the segment moves it.

        Raises: SegmentUnusable.
        """
        views = self._opened or self._open()
        hashes = views.hashes
        place = bisect_left(hashes, hashed)
        while place < len(hashes) and hashes[place] == hashed:
            number: int = views.hashed[place]
            if views.names[views.name_ends[number - 1] if number else 0 : views.name_ends[number] - 1] == name:
                return number
            place += 1
        return None

    def find_all(self, names: list[bytes], hashes: npt.NDArray[np.uint64]) -> Integers:
        """Return the numbers of many accounts, -1 where nothing in the segment moves one. Raises: SegmentUnusable."""
        known = self.array("hashes")
        first, last = (np.searchsorted(known, hashes, side) for side in ("left", "right"))
        found = np.full(len(names), -1, dtype=np.int64)
        for place in np.flatnonzero(last > first).tolist():
            number = self.find(names[place], int(hashes[place]))
            found[place] = -1 if number is None else number
        return found

    # --- sums ---

    def sums_at(self, number: int, size: int) -> tuple[int, int]:
        """Return debits and credits of an account at a position of the log. Raises: SegmentUnusable."""
        views, limit, at = self._opened or self._open(), size - self.header.start, 2 * SUM_BYTES * number
        sides = views.sides
        first, middle, end = sides[2 * number], sides[2 * number + 1], sides[2 * number + 2]
        before = bytes(views.before[at : at + 2 * SUM_BYTES])
        debits, credits = int.from_bytes(before[:SUM_BYTES], "little"), int.from_bytes(before[SUM_BYTES:], "little")
        if first < middle:
            debits += _reached(views, first, middle, limit)
        if middle < end:
            credits += _reached(views, middle, end, limit)
        return debits, credits

    def fold(self) -> SideSums:
        """Add up the rows of each side. Raises: SegmentUnusable."""
        sides, amounts = self.array("sides"), self.array("amounts")
        filled = np.flatnonzero(sides[1:] > sides[:-1])
        starts, ends = sides[:-1][filled], sides[1:][filled]
        sums = np.zeros((2, len(filled)), dtype=np.int64)
        for chunk in range(0, len(amounts), _CHUNK_ROWS):
            # What was read of the file before need not stay.
            self.rest()
            part = amounts[chunk : chunk + _CHUNK_ROWS]
            first = int(np.searchsorted(ends, sides.dtype.type(chunk), side="right"))
            last = int(np.searchsorted(starts, sides.dtype.type(chunk + len(part)), side="left"))
            cuts = np.maximum(starts[first:last], chunk) - chunk
            sums[0, first:last] += np.add.reduceat(part & _LOW, cuts)
            sums[1, first:last] += np.add.reduceat(part >> _LIMB, cuts)
        totals = np.zeros((2, len(sides) - 1), dtype=np.int64)
        totals[:, filled] = sums
        large: dict[int, int] = {}
        rows, more = _read_large(self._bytes("large"))
        own = np.searchsorted(sides, np.array(rows, dtype=sides.dtype), side="right") - 1
        for side, amount in zip(own.tolist(), more, strict=True):
            large[side] = large.get(side, 0) + amount
        return SideSums(totals[0], totals[1], large)

    def nets(self) -> tuple[list[bytes], list[int]]:
        """Return the accounts that the segment leaves with more or less than before, and by how much.

        Raises: SegmentUnusable.
        """
        sums = self.fold()
        low, high = (limb[1::2] - limb[::2] for limb in (sums.low, sums.high))
        moved = ((low & _LOW) != 0) | (high + (low >> _LIMB) != 0)
        moved[[side // 2 for side in sums.large]] = True
        self.rest()
        numbers = np.flatnonzero(moved)
        nets = [
            (above << _LIMB) + below for above, below in zip(high[moved].tolist(), low[moved].tolist(), strict=True)
        ]
        for side, amount in sums.large.items():
            nets[int(numbers.searchsorted(side // 2))] += amount if side % 2 else -amount
        ends = self.array("name_ends")
        last = ends[numbers].astype(np.int64)
        first = np.where(numbers > 0, ends[numbers - 1], 0).astype(np.int64)
        names = join_texts(self.array("names").tobytes(), first, last - 1)
        return names.split(b"\n")[:-1], nets

    # --- movements ---

    def movements(self, number: int, start: int, end: int, *, by_record: bool) -> Iterator[Moved]:
        """Yield what moved an account at the log's leaves [start, end), in order. Raises: SegmentUnusable.

        `by_record`: one for each record, at its last event; both ends are then ends of records.
        """
        moved: dict[int, list[int]] = {}
        for side in (0, 1):
            for sequence, amount in zip(*self._rows(2 * number + side, start, end), strict=True):
                moved.setdefault(sequence, [0, 0])[side] += amount
        if by_record:
            ends = self.array("record_ends").tolist()
            by_end: dict[int, list[int]] = {}
            for sequence, (debit, credit) in moved.items():
                total = by_end.setdefault(ends[bisect_left(ends, sequence + 1)] - 1, [0, 0])
                total[0] += debit
                total[1] += credit
            moved = by_end
        for sequence in sorted(moved):
            yield Moved(sequence, *moved[sequence])

    def _rows(self, side: int, start: int, end: int) -> tuple[list[int], list[int]]:
        """Return sequences and amounts of the rows of a side."""
        views, origin = self._opened or self._open(), self.header.start
        first, last = views.sides[side], views.sides[side + 1]
        first, last = (bisect_left(views.events, max(limit - origin, 0), first, last) for limit in (start, end))
        amounts = views.amounts[first:last].tolist()
        for row, amount in zip(views.large_rows, views.large_amounts, strict=True):
            if first <= row < last:
                amounts[row - first] = amount
        return [origin + event for event in views.events[first:last]], amounts

    # --- checks ---

    def _read_front(self) -> tuple[Header, int]:
        """Return the header, and where the columns begin."""
        length = self._map[len(_TITLE) : len(_TITLE) + 10]
        if self._map[: len(_TITLE)] != _TITLE or not length.isdigit():
            raise SegmentUnusable(self.path, "is no segment, or one of another version")
        end = _HEAD_BYTES + int(length)
        text = self._map[_HEAD_BYTES:end]
        head = _TITLE + b"%010d %b\n" % (len(text), sha256(text).hexdigest().encode())
        if self._map[:_HEAD_BYTES] != head:
            raise SegmentUnusable(self.path, "the header differs from its digest")
        try:
            header = msgspec.json.decode(text, type=Header)
        except msgspec.MsgspecError as error:
            raise SegmentUnusable(self.path, f"is one of another version: {error}") from error
        ends = {
            name: block.offset + block.count * np.dtype(BLOCKS[name]).itemsize
            for name, block in header.blocks.items()
            if name in BLOCKS
        }
        known = header.blocks.keys() == BLOCKS.keys() and header.reached_rows == REACHED_ROWS
        if not known or max(ends.values()) > header.body_bytes:
            raise SegmentUnusable(self.path, "has other columns than this program reads")
        return header, end + -end % ALIGNED_BYTES

    def _bytes(self, name: str) -> memoryview:
        """Return a column's bytes, checked once."""
        block = self.header.blocks[name]
        at = self._body + block.offset
        data = self._whole[at : at + block.count * np.dtype(BLOCKS[name]).itemsize]
        if name not in self._checked:
            if sha256(data).hexdigest() != block.sha256:
                raise SegmentUnusable(self.path, f"column {name} (byte {at}) differs from its digest")
            self._checked.add(name)
        return data

    def _open(self) -> _Views:
        """Check all columns and keep them at hand."""
        views = {name: self._bytes(name).cast(_FORMATS[kind]) for name, kind in BLOCKS.items()}
        rows, amounts = _read_large(self._bytes("large"))
        self.rest()
        del views["record_ends"], views["record_offsets"], views["record_times"], views["large"]
        self._opened = _Views(**views, large_rows=rows, large_amounts=amounts)
        return self._opened


def _reached(views: _Views, first: int, end: int, limit: int) -> int:
    """Add up those of a side's rows, [first, end), whose events lie before a limit."""
    row = bisect_left(views.events, limit, first, end)
    if row == first:
        return 0
    kept = (row - 1) // REACHED_ROWS
    start = kept * REACHED_ROWS
    total: int
    if start > first:
        total = (views.reached_high[kept] << _LIMB) + views.reached_low[kept] + sum(views.amounts[start:row].tolist())
    else:
        total = sum(views.amounts[first:row].tolist())
    if views.large_rows:
        places = (bisect_left(views.large_rows, place) for place in (first, row))
        total += sum(views.large_amounts[slice(*places)])
    return total


def _read_large(text: memoryview) -> tuple[list[int], list[int]]:
    """Return the rows whose amounts are 2^63 or more, and these amounts."""
    lines = [line.split(b" ") for line in text.tobytes().split(b"\n")[:-1]]
    return [int(row) for row, _ in lines], [int(amount) for _, amount in lines]
