"""Lines → columns: the events of a batch, type by type and member by member, without an object for each.

    matched ⇒ `codec.decode` accepts the line, and each value here is the struct's
    what fits no shape (`Batch.rest`) is decoded line by line, which also names its fault

Matching is done by `native.c`, or by the shapes' regular expressions; both find the same cells (see `events.shapes`).
"""

import ctypes
from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import Any, AnyStr, NamedTuple

import numpy as np
import numpy.typing as npt

from events.catalogue import DECISIONS, FACTS
from events.event import Event
from events.hashing import Spans, join_texts, number_texts
from events.native import load, pointer
from events.patterns import Found, Patterns
from events.shapes import CELL, NOWHERE, Child, Shape, Tables, build_shapes

__all__ = ["Batch", "Columns", "Integers", "count_lines", "read_columns", "read_columns_plainly", "split_lines"]

Integers = npt.NDArray[np.int64]
_START, _END, _VALUE = range(CELL)
# `Columns.bytes` is another thing.
_Bytes = bytes
# Numbers of 64 bits in 64 bytes.
_NUMBERS_PER_LINE = 8
# As many as the line of an event has, or more.
_LINE_BYTES = 1_024
_KINDS = {kind.__name__.encode(): kind for kind in FACTS + DECISIONS}
_NAME_MAX = max(map(len, _KINDS)) + 3


class Columns:
    """Events of one type (or, as `items`, what one of their list members holds), in the order of their lines.

    Members are named by path, such as `data.consumer`; those of items by their name, bare items are `item`.
    """

    def __init__(
        self,
        kind: type[Event],
        data: bytes,
        rows: Integers,
        cells: Integers,
        shape: Shape | Child,
        items: Integers,
        picked: Integers | None = None,
    ) -> None:
        """Take cells that were matched, in columns. `rows`: each event's line; `picked`: its place in the columns, if
        not its own; `parents`: of each item, the place of its event.
        """
        self.kind = kind
        self.data = data
        self.rows = rows
        self.parents = np.arange(len(rows))
        self._cells = cells
        self._shape = shape
        self._items = items
        self._picked = picked
        self._found: dict[str, Columns] = {}

    def _column(self, path: str, part: int) -> Integers:
        column: Integers = self._cells[CELL * self._shape.cells[path] + part]
        return column if self._picked is None else column[self._picked]

    def __len__(self) -> int:
        """Count the events, or the items."""
        return len(self.rows)

    def bytes(self, path: str) -> list[bytes]:
        """Return a member's text as it stands, without quotes; empty where an optional member is absent."""
        return _split(join_texts(self.data, *self.span(path)), b"\n", len(self))

    def texts(self, path: str) -> list[str]:
        """Return a member's text."""
        return _split(join_texts(self.data, *self.span(path)).decode("ascii"), "\n", len(self))

    def numbered(self, path: str) -> tuple[list[str], Integers]:
        """Return a member's distinct texts in the order in which they first appear, and which each event has."""
        starts, ends = self.span(path)
        firsts, places = number_texts(self.data, starts, ends)
        return join_texts(self.data, starts[firsts], ends[firsts]).decode("ascii").split("\n")[:-1], places

    def numbers(self, path: str) -> Integers:
        """Return whole numbers; instants in microseconds since 1970, booleans as 0 and 1, choices by their place.

        Zero where an optional member is absent.
        """
        if path not in self._shape.cells:
            return self.has(path).astype(np.int64)
        return self._column(path, _VALUE)

    def amounts(self, path: str) -> Integers:
        """Return amounts in base units, or -1 where one is 2^63 or more."""
        return self.numbers(path)

    def has(self, path: str) -> npt.NDArray[np.bool_]:
        """Tell whether an optional member is there, and what it stands in."""
        cells, way = self._shape.cells, path
        while way and f"{way}?" not in cells:
            way = way.rpartition(".")[0]
        if not way:
            return np.ones(len(self), dtype=np.bool_)
        # Where what it stands in is absent, so is it.
        return np.asarray(self._column(f"{way}?", _VALUE) == 1)

    def choice(self, path: str) -> list[str]:
        """Return the text of a member that is one of few."""
        return self.texts(path)

    def digests(self, path: str) -> npt.NDArray[np.uint8]:
        """Return a hex member as bytes, 32 a row; zeros where it is absent."""
        text = join_texts(self.data, *self.span(path)).decode("ascii")
        there = np.frombuffer(bytes.fromhex(text), dtype=np.uint8).reshape(-1, 32)
        if len(there) == len(self):
            return there
        digests = np.zeros((len(self), 32), dtype=np.uint8)
        digests[self.has(path)] = there
        return digests

    def span(self, path: str) -> tuple[Integers, Integers]:
        """Return where a member stands within `data`; the empty path is the event. Zero where it is absent."""
        return self._column(path, _START), self._column(path, _END)

    def spans(self, path: str) -> Spans:
        """Return a member's text as it stands within `data`."""
        return Spans(self.data, *self.span(path))

    def items(self, path: str) -> "Columns":
        """Return what a list member holds, all events' items one after another."""
        found = self._found.get(path)
        if found is None:
            found = self._found[path] = self._find_items(path)
        return found

    def _find_items(self, path: str) -> "Columns":
        assert isinstance(self._shape, Shape)
        child = self._shape.children[path]
        own = np.flatnonzero(self._items[1] == child.number)
        lines = self._items[0, own]
        if len(lines) == len(self) and (lines == self.rows).all() and (np.diff(lines) > 0).all():
            # One item each, in order.
            parents = np.arange(len(self))
        else:
            own, parents = self._runs_of(own, lines)
            lines = self._items[0, own]
        items = Columns(self.kind, self.data, lines, self._items[2:], child, self._items[:, :0], own)
        items.parents = parents
        return items

    def _runs_of(self, own: Integers, lines: Integers) -> tuple[Integers, Integers]:
        """Return the places of each event's items, and the place of the event of each; `own`, `lines`: of all items."""
        # Items stand in the order of their lines: those of a line are a run.
        firsts, ends = (np.searchsorted(lines, self.rows, side) for side in ("left", "right"))
        counts = ends - firsts
        own = own[np.arange(counts.sum()) + np.repeat(ends - np.cumsum(counts), counts)]
        return own, np.repeat(np.arange(len(self)), counts)

    def take(self, mask: npt.NDArray[Any] | slice) -> "Columns":
        """Return some of the events, picked by a mask, by their places or as a range."""
        cells, picked = self._cells, self._picked
        if isinstance(mask, slice) and picked is None:
            cells = cells[:, mask]
        else:
            picked = np.arange(len(self))[mask] if picked is None else picked[mask]
        taken = Columns(self.kind, self.data, self.rows[mask], cells, self._shape, self._items, picked)
        taken.parents = self.parents[mask]
        return taken

    def move(self, data: _Bytes, lines: int) -> "Columns":
        """Return the events as those of longer bytes that begin alike, and of lines so much further."""
        items = self._items
        if lines:
            items = items.copy()
            items[0] += lines
        return Columns(self.kind, data, self.rows + lines, self._cells, self._shape, items, self._picked)

    def join(self, behind: "Columns") -> "Columns":
        """Return these events and others of their type and bytes, that stand in lines behind them."""
        assert self._shape is behind._shape
        width = CELL * len(self._shape.cells)
        cells = [
            one._cells[:width] if one._picked is None else one._cells[:width, one._picked] for one in (self, behind)
        ]
        items = [self._items, behind._items]
        most = max(len(each) for each in items)
        if any(len(each) < most for each in items):
            # A reader's items become wider as it meets more types.
            items = [np.pad(each, ((0, most - len(each)), (0, 0))) for each in items]
        rows = np.concatenate((self.rows, behind.rows))
        return Columns(self.kind, self.data, rows, np.hstack(cells), self._shape, np.hstack(items))


class Batch(NamedTuple):
    """A batch of lines: those that fit a shape, by type; and the numbers of the rest, from 0."""

    columns: dict[type[Event], Columns]
    rest: Integers

    def lines(self) -> int:
        """Return the number behind the last line that fits a shape."""
        return 1 + max(int(columns.rows[-1]) for columns in self.columns.values())

    def extend(self, lines: bytes) -> "Batch":
        """Return the batch with more lines, each with its LF and of a shape; they are numbered from `lines()` on."""
        count, own = self.lines(), next(iter(self.columns.values())).data
        data = own + lines
        starts, ends = split_lines(lines)
        more = read_columns(data, starts + len(own), ends + len(own))
        assert not len(more.rest)
        columns = {kind: mine.move(data, 0) for kind, mine in self.columns.items()}
        for kind, found in more.columns.items():
            moved = found.move(data, count)
            columns[kind] = columns[kind].join(moved) if kind in columns else moved
        return Batch(columns, self.rest)


def read_columns(data: bytes, starts: Integers, ends: Integers, *, wrapped: bool = False) -> Batch:
    """Match the lines `data[starts[i]:ends[i]]`, without line ends; `wrapped`: each is a CloudEvent."""
    return _reader(wrapped).read(data, starts, ends)


def read_columns_plainly(data: bytes, starts: Integers, ends: Integers, *, wrapped: bool = False) -> Batch:
    """As `read_columns`, by regular expressions."""
    return _reader(wrapped).read(data, starts, ends, plainly=True)


def split_lines(data: bytes) -> tuple[Integers, Integers]:
    """Return where lines start and end; each ends with LF, which does not belong to it."""
    native = load()
    if native is not None:
        room, count = len(data) // _LINE_BYTES + 1, NOWHERE
        while count == NOWHERE:
            room *= 8
            starts, ends = np.empty((2, room), dtype=np.int64)
            places = map(pointer, (starts, ends))
            count = native.split_lines(data, ctypes.c_int64(len(data)), *places, ctypes.c_int64(room))
        return starts[:count], ends[:count]
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n"))
    return np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends, ends


def count_lines(data: bytes) -> int:
    """Count the line ends."""
    native = load()
    if native is not None:
        count: int = native.count_lines(data, ctypes.c_int64(len(data)))
        return count
    return int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")))


class _Tables(ctypes.Structure):
    """`shapes` of `native.c`."""

    _fields_ = (
        ("pool", ctypes.c_void_p),
        ("numbers", ctypes.c_void_p),
        ("choices", ctypes.c_void_p),
        ("classes", ctypes.c_void_p),
        ("ops", ctypes.c_void_p),
        ("shapes", ctypes.c_void_p),
        ("shape_count", ctypes.c_int64),
    )


class _Reader:
    """The shapes of the types that were met so far, bare or wrapped; building all of them takes a tenth of a second."""

    def __init__(self, wrapped: bool) -> None:
        self._wrapped = wrapped
        self._tables = Tables()
        self._shapes: list[Shape] = []
        self._met: set[bytes] = set()
        self._width = self._item_width = 0

    def read(self, data: bytes, starts: Integers, ends: Integers, *, plainly: bool = False) -> Batch:
        native = None if plainly else load()
        while True:
            found = self._match(native, data, starts, ends)
            rest = np.flatnonzero(found.shapes == NOWHERE)
            if not len(rest) or not self._meet(data, ends[rest].tolist()):
                break
        columns = {}
        for number, (rows, cells) in found.groups.items():
            shape = self._shapes[number]
            # Those of other types stand in other lines.
            items = found.items if shape.children else found.items[:, :0]
            columns[shape.kind] = Columns(shape.kind, data, rows, cells, shape, items)
        return Batch(columns, rest)

    def _meet(self, data: bytes, ends: Iterable[int]) -> bool:
        """Build the shapes of types that lines end with and that were not met before; tell whether there were any."""
        # A canonical line ends with "type":"NAME"}
        names = {data[max(0, end - _NAME_MAX) : end - 2].rpartition(b'"')[2] for end in ends}
        new = sorted(names & _KINDS.keys() - self._met)
        self._met.update(new)
        self._shapes += build_shapes(self._tables, [_KINDS[name] for name in new], wrapped=self._wrapped)
        self._width = max((len(shape.cells) for shape in self._shapes), default=0)
        children = [child for shape in self._shapes for child in shape.children.values()]
        self._item_width = max((len(child.cells) for child in children), default=0)
        if new:
            self.__dict__.pop("_native", None)
            self.__dict__.pop("_patterns", None)
        return bool(new)

    def _match(self, native: ctypes.CDLL | None, data: bytes, starts: Integers, ends: Integers) -> Found:
        if native is None:
            return self._patterns.match(data, starts, ends)
        starts, ends = (np.ascontiguousarray(places, dtype=np.int64) for places in (starts, ends))
        assert len(starts) == len(ends)
        assert not len(starts) or (starts.min() >= 0 and ends.max() <= len(data)), "lines lie within the data"
        shapes, rows = np.empty((2, len(starts)), dtype=np.int64)
        firsts, counts = np.empty((2, len(self._shapes)), dtype=np.int64)
        step = _room(len(starts))
        cells = np.empty((CELL * self._width, step), dtype=np.int64)
        room, count = len(starts), NOWHERE
        while count == NOWHERE:
            room = _room(4 * room)
            items = np.empty((2 + CELL * self._item_width, room), dtype=np.int64)
            count = native.match_lines(
                ctypes.byref(self._native),
                data,
                *map(pointer, (starts, ends)),
                ctypes.c_int64(len(starts)),
                *map(pointer, (shapes, firsts, counts, rows, cells)),
                ctypes.c_int64(step),
                pointer(items),
                ctypes.c_int64(room),
            )
        groups = {
            number: (rows[first : first + matched], cells[:, first : first + matched])
            for number, (first, matched) in enumerate(zip(firsts.tolist(), counts.tolist(), strict=True))
            if matched
        }
        return Found(shapes, groups, items[:, :count])

    @cached_property
    def _native(self) -> _Tables:
        tables = self._tables
        ops = [op for shape in self._shapes for op in shape.ops]
        places, place = [], 0
        for shape in self._shapes:
            places.append((place, len(shape.ops), *tables.literal(shape.kind.__name__)))
            place += len(shape.ops)
        # Kept as long as the tables that point to them.
        self._kept = (
            np.frombuffer(bytes(tables.pool), dtype=np.uint8),
            np.array(tables.numbers, dtype=np.int64),
            np.array(tables.choices, dtype=np.int64),
            np.array(tables.bits(), dtype=np.uint16),
            np.array(ops, dtype=np.int32),
            np.array(places, dtype=np.int64),
        )
        return _Tables(*map(pointer, self._kept), len(self._shapes))

    @cached_property
    def _patterns(self) -> Patterns:
        return Patterns(self._tables, self._shapes, self._item_width)


def _room(count: int) -> int:
    """Return the length of a column for so many numbers.

    An odd number of lines of the processor's cache: else columns would lie where they drive one another out of it.
    """
    return (count // _NUMBERS_PER_LINE | 1) * _NUMBERS_PER_LINE + 2 * _NUMBERS_PER_LINE


def _split(text: AnyStr, end: AnyStr, count: int) -> list[AnyStr]:
    """Split joined texts; those that are all the same become one object."""
    first = text[: text.find(end) + 1]
    if len(text) == len(first) * count and text.endswith(first) and text == first * count:
        return [first[:-1]] * count
    return text.split(end)[:-1]


@lru_cache
def _reader(wrapped: bool) -> _Reader:
    return _Reader(wrapped)
