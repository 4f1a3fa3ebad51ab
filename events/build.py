"""Columns → events: the structs of a type, all at once, without reading a line again.

    build_events(columns)[i] == decode(the line of row i)

What matched a shape is valid (see `events.columns`), so nothing is checked here. How a type is built is worked out from
its struct once.
"""

from collections.abc import Callable, Iterable
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np
from msgspec import inspect

from events.columns import Columns
from events.event import Event

__all__ = ["build_events"]

_Read = Callable[[Columns], Iterable[Any]]


def build_events(columns: Columns) -> list[Event]:
    """Return the events of these columns, in their order. For some of them: `build_events(columns.take(...))`."""
    return list(_struct(columns.kind, "")(columns))


@cache
def _struct(kind: type[Any], path: str) -> _Read:
    """Return what reads the structs that stand at a path."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    names = [member.name for member in info.fields]
    members = [_member(kind, member, f"{path}.{member.name}" if path else member.name) for member in info.fields]
    # Keywords that are spelled out cost a fifth of a dictionary's.
    keywords = ", ".join(f"{name}={name}" for name in names)
    make = eval(f"lambda {', '.join(names)}: kind({keywords})", {"kind": kind})
    return lambda columns: map(make, *(read(columns) for read in members))


def _member(kind: type[Any], member: inspect.Field, path: str) -> _Read:
    if issubclass(kind, Event) and member.name == "schema_version":
        return lambda _: repeat(kind.VERSION)
    if member.required:
        return _value(member.type, path)
    if isinstance(member.type, inspect.UnionType):
        [one] = [one for one in member.type.types if not isinstance(one, inspect.NoneType)]
        return _optional(_value(one, path), member.default, path)
    return _optional(_value(member.type, path), member.default, path)


def _optional(read: _Read, default: Any, path: str) -> _Read:
    def read_some(columns: Columns) -> Iterable[Any]:
        there = columns.has(path)
        if there.all():
            return read(columns)
        if not there.any():
            return repeat(default)
        values = [default] * len(columns)
        for place, value in zip(np.flatnonzero(there).tolist(), read(columns.take(there)), strict=True):
            values[place] = value
        return values

    return read_some


def _value(kind: Any, path: str) -> _Read:
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.StructType):
        return _struct(kind.cls, path)
    if isinstance(kind, inspect.VarTupleType):
        return _list(kind.item_type, path)
    if isinstance(kind, inspect.BoolType):
        return lambda columns: columns.numbers(path).astype(bool).tolist()
    if isinstance(kind, inspect.IntType):
        return lambda columns: columns.numbers(path).tolist()
    return lambda columns: columns.texts(path)


def _list(kind: Any, path: str) -> _Read:
    read = _struct(kind.cls, "") if isinstance(kind, inspect.StructType) else _value(kind, "item")

    def read_lists(columns: Columns) -> list[tuple[Any, ...]]:
        items = columns.items(path)
        found = tuple(read(items))
        ends = np.searchsorted(items.parents, np.arange(1, len(columns) + 1)).tolist()
        return [found[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    return read_lists
