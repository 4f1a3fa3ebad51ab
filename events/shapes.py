"""The shape of each event type's canonical line: what must stand there byte for byte, and where each member stands.

Canonical lines leave no choice: members are sorted, nothing is blank, a member without a value is absent. So the shape
of a type follows from its struct in the catalogue. It is a list of ops that `events.native` matches in C, and a regular
expression that `events.columns` matches where there is no C compiler; both find the same cells.

    a line that matches is canonical and valid: `decode` accepts it, and each cell says what the struct's member says
    a line that does not match may be valid all the same: `decode` tells
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple, get_args

from msgspec import inspect

from events.catalogue import DECISIONS, FACTS
from events.event import Amount, Event, Instant

__all__ = [
    "CELL",
    "CLASSES_MAX",
    "NOWHERE",
    "Child",
    "Code",
    "Op",
    "Shape",
    "Tables",
    "Unshaped",
    "build_shape",
    "build_shapes",
]

CELL = 3
"""A cell is three numbers: start and end of the member's text within the data, and its value."""
NOWHERE = -1
"""Stands for the number of a shape where a line matched none."""
CLASSES_MAX = 8
"""An op names classes of characters by the bits of a byte."""


class Code(IntEnum):
    """The ops, as `native.c` numbers them."""

    LITERAL = 0
    TEXT = 1
    AMOUNT = 2
    INTEGER = 3
    INSTANT = 4
    BOOLEAN = 5
    CHOICE = 6
    OPTIONAL = 7
    LIST = 8
    SAME = 9
    BEGIN = 10
    END = 11


class Op(NamedTuple):
    """One step; `native.c` says what a, b and c are."""

    code: Code
    a: int = 0
    b: int = 0
    c: int = 0


@dataclass
class Child:
    """A list member: the number that its items carry, the cells of an item, and an item's regular expression."""

    PREFIX: ClassVar[str] = "i"
    number: int
    cells: dict[str, int] = field(default_factory=dict)
    pattern: str = ""


@dataclass
class Shape:
    """One type's shape. `cells` gives the cell of each member by its path; `wrapped`: within its CloudEvent."""

    PREFIX: ClassVar[str] = "c"
    kind: type[Event]
    wrapped: bool
    cells: dict[str, int] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    pattern: str = ""


class Unshaped(Exception):
    """The struct has a member that no op describes; its lines are decoded one by one."""


@dataclass
class Tables:
    """What ops refer to by place."""

    pool: bytearray = field(default_factory=bytearray)
    numbers: list[int] = field(default_factory=list)
    choices: list[int] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)

    def literal(self, text: str) -> tuple[int, int]:
        """Keep a literal; return its place and length."""
        data = text.encode()
        place = self.pool.find(data)
        if place < 0:
            place = len(self.pool)
            self.pool += data
        return place, len(data)

    def limits(self, least: int, most: int) -> int:
        """Keep limits; return their place."""
        self.numbers += (least, most)
        return len(self.numbers) - 2

    def bit(self, characters: str) -> int:
        """Return the bit of a class of characters, such as `[a-z]`."""
        if characters not in self.classes:
            if len(self.classes) == CLASSES_MAX:
                raise Unshaped
            self.classes.append(characters)
        return 1 << self.classes.index(characters)

    def bits(self) -> list[int]:
        """Return the classes of each byte."""
        found = [re.compile(characters) for characters in self.classes]
        return [sum(1 << i for i, one in enumerate(found) if one.fullmatch(chr(byte))) for byte in range(256)]


def _pattern_of(annotated: Any) -> str:
    return str(get_args(annotated)[1].pattern)


_AMOUNT, _INSTANT = _pattern_of(Amount), _pattern_of(Instant)
_AMOUNT_PATTERN = "0|[1-9][0-9]{0,38}"
_SIMPLE = re.compile(r"\^(\[[^]]+])?(\[[^]]+])\{(\d+)(?:,(\d+))?}\\Z")
# Free text, as far as it needs no escape and is ASCII; the rest is decoded one by one.
_PRINTABLE = "[ !#-\\[\\]-~]"
_ENVELOPE_BEGIN = '{"data":'
_ENVELOPE = (
    (',"datacontenttype":"application/json","id":"', "id"),
    ('","source":"', "source"),
    ('","specversion":"1.0","subject":"', "subject"),
    ('","time":"', "occurred_at"),
)


def build_shapes(tables: Tables, kinds: Iterable[type[Event]] = FACTS + DECISIONS, *, wrapped: bool) -> list[Shape]:
    """Build the shapes of those types that have one."""
    shapes = []
    for kind in kinds:
        try:
            shapes.append(build_shape(tables, kind, wrapped=wrapped))
        except Unshaped:
            continue
    return shapes


def build_shape(tables: Tables, kind: type[Event], *, wrapped: bool) -> Shape:
    """Build the shape of one type. Raises: Unshaped."""
    shape = Shape(kind, wrapped)
    _Builder(tables, shape).build()
    return shape


class _Builder:
    """Derives a shape from a struct."""

    def __init__(self, tables: Tables, shape: Shape) -> None:
        self._tables = tables
        self._shape = shape
        self._cells = shape.cells
        self._ops = shape.ops
        self._pattern: list[str] = []
        self._child: Child | None = None

    def build(self) -> None:
        kind = self._shape.kind
        info = inspect.type_info(kind)
        assert isinstance(info, inspect.StructType)
        if self._shape.wrapped:
            self._literal(_ENVELOPE_BEGIN)
        self._mark("", lambda: self._struct(info, ""))
        if self._shape.wrapped:
            for literal, member in _ENVELOPE:
                self._literal(literal)
                self._ops.append(Op(Code.SAME, self._cells[member]))
                self._pattern.append(f"(?P=c{self._cells[member]})")
            self._literal(f'","type":"{kind.__name__}"}}')
        self._ops[:] = _join(self._ops, self._tables)
        self._shape.pattern = "".join(self._pattern)

    def _struct(self, info: inspect.StructType, path: str) -> None:
        """Write the members in their order."""
        members: list[Any] = sorted(info.fields, key=lambda one: one.encode_name)
        if path == "":
            members.append(None)
        # Commas stand behind the members before the first that is always there, and before those behind it.
        anchor = next((i for i, one in enumerate(members) if one is None or one.required), None)
        if anchor is None:
            raise Unshaped
        self._literal("{")
        for i, member in enumerate(members):
            before, behind = (",", "") if i > anchor else ("", "," if i < anchor else "")
            if member is None:
                self._literal(f'{before}"type":"{self._shape.kind.__name__}"')
            elif path == "" and member.name == "schema_version":
                # What was written in an older version is brought up to today's by `decode`.
                self._literal(f'{before}"schema_version":{self._shape.kind.VERSION}{behind}')
            elif member.required:
                self._literal(f'{before}"{member.encode_name}":')
                self._value(member.type, _join_path(path, member.name))
                self._literal(behind)
            else:
                self._optional(member, _join_path(path, member.name), before, behind)
        self._literal("}")

    def _optional(self, member: inspect.Field, path: str, before: str, behind: str) -> None:
        cell = self._cell(f"{path}?")
        place = len(self._ops)
        self._ops.append(Op(Code.OPTIONAL, cell))
        self._pattern.append(f"(?P<{self._group(cell)}>")
        name = f'{before}"{member.encode_name}":'
        kind = member.type
        if isinstance(kind, inspect.BoolType) and member.default is False:
            self._literal(f"{name}true{behind}")
        elif isinstance(kind, inspect.VarTupleType) and member.default == ():
            self._literal(name)
            self._list(kind, path, least=1)
            self._literal(behind)
        elif isinstance(kind, inspect.UnionType) and kind.includes_none and member.default is None:
            [one] = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
            self._literal(name)
            self._value(one, path)
            self._literal(behind)
        else:
            raise Unshaped
        self._ops[place] = Op(Code.OPTIONAL, cell, len(self._ops) - place - 1)
        self._pattern.append(")?")

    def _value(self, kind: Any, path: str) -> None:
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        if isinstance(kind, inspect.StrType):
            self._quoted(lambda: self._text(kind, path))
        elif isinstance(kind, inspect.IntType):
            self._integer(kind, path)
        elif isinstance(kind, inspect.BoolType):
            self._mark_value(Op(Code.BOOLEAN, self._cell(path)), "true|false")
        elif isinstance(kind, inspect.LiteralType):
            self._quoted(lambda: self._choice(kind, path))
        elif isinstance(kind, inspect.StructType):
            self._mark(path, lambda: self._struct(kind, path))
        elif isinstance(kind, inspect.VarTupleType):
            self._list(kind, path, least=0)
        else:
            raise Unshaped

    def _text(self, kind: inspect.StrType, path: str) -> None:
        cell = self._cell(path)
        if kind.pattern == _AMOUNT:
            self._mark_value(Op(Code.AMOUNT, cell), _AMOUNT_PATTERN)
            return
        if kind.pattern == _INSTANT:
            self._mark_value(Op(Code.INSTANT, cell), _INSTANT.removeprefix("^").removesuffix(r"\Z"))
            return
        first, others, least, most = _read_pattern(kind)
        bits = self._tables.bit(first) | self._tables.bit(others) << 8
        text = f"{others}{{{least},{most}}}" if first == others else f"{first}{others}{{{least - 1},{most - 1}}}"
        self._mark_value(Op(Code.TEXT, cell, self._tables.limits(least, most), bits), text)

    def _integer(self, kind: inspect.IntType, path: str) -> None:
        if kind.ge is None or kind.ge < 0 or kind.le is None or kind.gt is not None or kind.lt is not None:
            raise Unshaped
        self._mark_value(
            Op(Code.INTEGER, self._cell(path), self._tables.limits(kind.ge, kind.le)), "0|[1-9][0-9]{0,15}"
        )

    def _choice(self, kind: inspect.LiteralType, path: str) -> None:
        values = tuple(map(str, kind.values))
        first = len(self._tables.choices) // 2
        for value in values:
            self._tables.choices += self._tables.literal(value)
        self._mark_value(Op(Code.CHOICE, self._cell(path), first, len(values)), "|".join(values))

    def _list(self, kind: inspect.VarTupleType, path: str, least: int) -> None:
        if self._child is not None:
            raise Unshaped
        child = Child(len(self._shape.children))
        self._shape.children[path] = child
        outside = self._cells, self._pattern
        self._child, self._cells, self._pattern = child, child.cells, []
        limits = self._tables.limits(
            max(least, kind.min_length or 0), 2**53 if kind.max_length is None else kind.max_length
        )
        place = len(self._ops)
        self._ops.append(Op(Code.LIST, child.number, 0, limits))
        item = kind.item_type.type if isinstance(kind.item_type, inspect.Metadata) else kind.item_type
        if isinstance(item, inspect.StructType):
            self._struct(item, "item")
        else:
            self._value(item, "item")
        self._ops[place] = Op(Code.LIST, child.number, len(self._ops) - place - 1, limits)
        child.pattern = "".join(self._pattern)
        self._child = None
        self._cells, self._pattern = outside
        plain = re.sub(r"\?P<\w+>", "?:", child.pattern)
        count = f"{{{max(0, self._tables.numbers[limits] - 1)},}}"
        whole = f"{plain}(?:,{plain}){count}" if self._tables.numbers[limits] else f"(?:{plain}(?:,{plain})*)?"
        self._pattern.append(rf"\[(?P<l{child.number}>{whole})\]")

    # --- parts ---

    def _cell(self, path: str) -> int:
        return self._cells.setdefault(path, len(self._cells))

    def _group(self, cell: int) -> str:
        return f"{(self._child or self._shape).PREFIX}{cell}"

    def _literal(self, text: str) -> None:
        if text:
            self._ops.append(Op(Code.LITERAL, *self._tables.literal(text)))
            self._pattern.append(re.escape(text))

    def _quoted(self, write: Callable[[], None]) -> None:
        self._literal('"')
        write()
        self._literal('"')

    def _mark_value(self, op: Op, pattern: str) -> None:
        self._ops.append(op)
        self._pattern.append(f"(?P<{self._group(op.a)}>{pattern})")

    def _mark(self, path: str, write: Callable[[], None]) -> None:
        cell = self._cell(path)
        self._ops.append(Op(Code.BEGIN, cell))
        self._pattern.append(f"(?P<{self._group(cell)}>")
        write()
        self._ops.append(Op(Code.END, cell))
        self._pattern.append(")")


def _read_pattern(kind: inspect.StrType) -> tuple[str, str, int, int]:
    """Return the classes of the first and of the other characters, and how many there are in all."""
    if kind.pattern is None:
        return _PRINTABLE, _PRINTABLE, kind.min_length or 0, 2**31 if kind.max_length is None else kind.max_length
    simple = _SIMPLE.fullmatch(kind.pattern)
    if simple is None:
        raise Unshaped
    first, others, least, most = simple.groups()
    more = first is not None
    return first or others, others, int(least) + more, int(most or least) + more


def _join_path(path: str, name: str) -> str:
    return name if path in {"", "item"} else f"{path}.{name}"


def _join(ops: list[Op], tables: Tables) -> list[Op]:
    """Join literals that follow one another; how many ops belong to an optional member or an item shrinks with them."""
    joined, at = list[Op](), 0
    while at < len(ops):
        op = ops[at]
        if op.code in (Code.OPTIONAL, Code.LIST):
            within = _join(ops[at + 1 : at + 1 + op.b], tables)
            joined += [op._replace(b=len(within)), *within]
            at += 1 + op.b
            continue
        text = bytearray()
        while at < len(ops) and ops[at].code is Code.LITERAL:
            text += tables.pool[ops[at].a : ops[at].a + ops[at].b]
            at += 1
        if text:
            joined.append(Op(Code.LITERAL, *tables.literal(text.decode())))
            continue
        joined.append(op)
        at += 1
    return joined
