"""Lines → cells by the shapes' regular expressions: what `native.c` does, where it was not compiled.

the same lines match, and each cell of a member that is there is the same
"""

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from events.instant import parse_instant
from events.shapes import CELL, NOWHERE, Child, Code, Op, Shape, Tables

__all__ = ["Found", "Patterns"]

Integers = npt.NDArray[np.int64]
_INT64 = np.iinfo(np.int64)


class Found(NamedTuple):
    """By line the number of its shape; by shape its lines in order, and columns of their cells; the items of all.

    An item is its line, the number of its list, and cells; items are columns too, in the order of their lines. Cells of
    what is absent are zero.
    """

    shapes: Integers
    groups: dict[int, tuple[Integers, Integers]]
    items: Integers


class _Value(NamedTuple):
    """How a cell's text is read, and what it may come to."""

    cell: int
    read: Callable[[bytes], int]
    least: int
    most: int


class _List(NamedTuple):
    """A list member: the group of its items, how many there may be, and how one is read."""

    number: int
    group: int
    least: int
    most: int
    item: "_Pattern"


class _Matched(NamedTuple):
    """What one pattern found: cells by line, and which of the lines keep all limits."""

    cells: Integers
    kept: npt.NDArray[np.bool_]


class Patterns:
    """The regular expressions of all shapes."""

    def __init__(self, tables: Tables, shapes: list[Shape], item_width: int) -> None:
        """Compile them. `item_width`: how many cells an item has."""
        self._item_width = item_width
        self._patterns = [_Pattern(shape, shape.ops, tables) for shape in shapes]
        self._numbers = {shape.kind.__name__.encode(): number for number, shape in enumerate(shapes)}

    def match(self, data: bytes, starts: Integers, ends: Integers) -> Found:
        """Match the lines `data[starts[i]:ends[i]]`."""
        shapes = np.full(len(starts), NOWHERE, dtype=np.int64)
        groups = {}
        items = [np.empty((0, 2 + CELL * self._item_width), dtype=np.int64)]
        for number, (lines, spans) in self._match_all(data, starts, ends).items():
            pattern, rows = self._patterns[number], np.array(lines)
            found, kept = pattern.read(data, spans)
            for one in pattern.lists:
                items.append(self._match_items(data, rows, spans, one, kept))
            if kept.any():
                groups[number] = rows[kept], np.ascontiguousarray(found[kept].reshape(int(kept.sum()), -1).T)
                shapes[rows[kept]] = number
        every = np.concatenate(items)
        every = every[shapes[every[:, 0]] != NOWHERE]
        return Found(shapes, groups, np.ascontiguousarray(every[np.argsort(every[:, 0], kind="stable")].T))

    def _match_all(self, data: bytes, starts: Integers, ends: Integers) -> dict[int, tuple[list[int], Integers]]:
        """Return, by shape, the lines that match and the spans of their groups."""
        matched: dict[int, tuple[list[int], list[tuple[int, int]]]] = {}
        for line, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            name = data[data.rfind(b'"', start, max(start, end - 2)) + 1 : end - 2]
            number = self._numbers.get(name)
            if number is None:
                continue
            match = self._patterns[number].compiled.fullmatch(data, start, end)
            if match is not None:
                lines, spans = matched.setdefault(number, ([], []))
                lines.append(line)
                spans += match.regs
        return {
            number: (lines, _table(spans, len(lines), self._patterns[number]))
            for number, (lines, spans) in matched.items()
        }

    def _match_items(
        self, data: bytes, lines: Integers, spans: Integers, one: _List, kept: npt.NDArray[np.bool_]
    ) -> Integers:
        """Return the items of a list member; take from `kept` the lines whose items break a limit."""
        places, found = list[int](), list[tuple[int, int]]()
        for place, (start, end) in enumerate(spans[:, one.group].tolist()):
            if start >= 0:
                for match in one.item.compiled.finditer(data, start, end):
                    places.append(place)
                    found += match.regs
        cells, good = one.item.read(data, _table(found, len(places), one.item))
        parents = np.array(places, dtype=np.int64)
        counts = np.bincount(parents, minlength=len(lines))
        there = spans[:, one.group, 0] >= 0
        kept &= ~there | ((counts >= one.least) & (counts <= one.most))
        kept[parents[~good]] = False
        items = np.zeros((len(places), 2 + CELL * self._item_width), dtype=np.int64)
        items[:, 0], items[:, 1] = lines[parents], one.number
        items[:, 2 : 2 + CELL * cells.shape[1]] = cells.reshape(len(cells), CELL * cells.shape[1])
        return items


class _Pattern:
    """A regular expression, and what its groups say: of a line, or of an item."""

    def __init__(self, of: Shape | Child, ops: list[Op], tables: Tables) -> None:
        self.compiled = re.compile(of.pattern.encode())
        self.lists: list[_List] = []
        self._groups = [self.compiled.groupindex[f"{of.PREFIX}{cell}"] for cell in range(len(of.cells))]
        self._optional: list[int] = []
        self._values: list[_Value] = []
        steps = iter(enumerate(ops))
        for place, op in steps:
            if op.code is Code.LIST:
                assert isinstance(of, Shape)
                child = next(one for one in of.children.values() if one.number == op.a)
                least, most = tables.numbers[op.c : op.c + 2]
                item = _Pattern(child, ops[place + 1 : place + 1 + op.b], tables)
                self.lists.append(_List(op.a, self.compiled.groupindex[f"l{op.a}"], least, most, item))
                _skip(steps, op.b)
            elif op.code is Code.OPTIONAL:
                self._optional.append(op.a)
            elif op.code in _READERS:
                self._values.append(_READERS[op.code](op, tables))

    def read(self, data: bytes, spans: Integers) -> _Matched:
        """Fill cells from the spans of groups."""
        cells = np.zeros((len(spans), len(self._groups), CELL), dtype=np.int64)
        cells[:, :, :2] = spans[:, self._groups]
        kept = np.ones(len(spans), dtype=np.bool_)
        for cell in self._optional:
            cells[:, cell, 2] = cells[:, cell, 0] >= 0
        for cell, read, least, most in self._values:
            places = cells[:, cell, :2].tolist()
            values = [read(data[start:end]) if start >= 0 else least for start, end in places]
            cells[:, cell, 2] = values
            kept &= (cells[:, cell, 2] >= least) & (cells[:, cell, 2] <= most)
        cells[cells[:, :, 0] < 0] = 0
        return _Matched(cells, kept)


def _table(spans: list[tuple[int, int]], rows: int, pattern: _Pattern) -> Integers:
    """Return spans by row and group; group 0 is the whole."""
    flat = np.fromiter(chain.from_iterable(spans), dtype=np.int64, count=2 * len(spans))
    return flat.reshape(rows, 1 + pattern.compiled.groups, 2)


def _skip(steps: Iterator[object], count: int) -> None:
    for _ in range(count):
        next(steps)


# --- values ---


def _read_amount(text: bytes) -> int:
    amount = int(text)
    return amount if amount <= _INT64.max else -1


def _read_instant(text: bytes) -> int:
    try:
        return parse_instant(text.decode())
    except ValueError:
        return int(_INT64.min)


def _amount(op: Op, _: Tables) -> _Value:
    return _Value(op.a, _read_amount, -1, int(_INT64.max))


def _integer(op: Op, tables: Tables) -> _Value:
    least, most = tables.numbers[op.b : op.b + 2]
    return _Value(op.a, int, least, most)


def _instant(op: Op, _: Tables) -> _Value:
    return _Value(op.a, _read_instant, int(_INT64.min) + 1, int(_INT64.max))


def _boolean(op: Op, _: Tables) -> _Value:
    return _Value(op.a, b"true".__eq__, 0, 1)


def _choice(op: Op, tables: Tables) -> _Value:
    spans = [tables.choices[2 * place : 2 * place + 2] for place in range(op.b, op.b + op.c)]
    numbers = {bytes(tables.pool[start : start + length]): number for number, (start, length) in enumerate(spans)}
    return _Value(op.a, numbers.__getitem__, 0, len(numbers) - 1)


_READERS: dict[Code, Callable[[Op, Tables], _Value]] = {
    Code.AMOUNT: _amount,
    Code.INTEGER: _integer,
    Code.INSTANT: _instant,
    Code.BOOLEAN: _boolean,
    Code.CHOICE: _choice,
}
