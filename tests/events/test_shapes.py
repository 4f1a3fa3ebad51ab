"""Shapes: derived from the catalogue, for all of it, and only where they can be told by ops."""

import re
from typing import Annotated

import pytest
from msgspec import Meta

from events.catalogue import DECISIONS, FACTS
from events.codec import encode
from events.event import Count, Data, Fact, Name
from events.shapes import CLASSES_MAX, Code, Op, Shape, Tables, Unshaped, build_shape, build_shapes
from tests.events.samples import SAMPLES


def test_every_type_has_a_shape() -> None:
    for wrapped in (False, True):
        assert [shape.kind for shape in build_shapes(Tables(), wrapped=wrapped)] == [*FACTS, *DECISIONS]


def test_every_class_of_characters_has_a_bit() -> None:
    tables = Tables()
    build_shapes(tables, wrapped=False)

    assert 1 <= len(tables.classes) <= CLASSES_MAX
    for number, characters in enumerate(tables.classes):
        having = {byte for byte, bits in enumerate(tables.bits()) if bits >> number & 1}
        assert having == {byte for byte in range(128) if re.fullmatch(characters, chr(byte))}
    tables.classes += [f"[{number}]" for number in range(CLASSES_MAX - len(tables.classes))]
    with pytest.raises(Unshaped):
        tables.bit("[x]")


def test_ops_stay_within_their_shape() -> None:
    tables = Tables()

    for shape in build_shapes(tables, wrapped=True):
        assert check_ops(shape, shape.ops, len(shape.cells), tables) == len(shape.ops)


def check_ops(shape: Shape, ops: list[Op], cells: int, tables: Tables) -> int:
    at = 0
    while at < len(ops):
        op = ops[at]
        at += 1
        if op.code is Code.LITERAL:
            assert 0 < op.b <= len(tables.pool) - op.a
            continue
        if op.code is Code.LIST:
            items = next(len(child.cells) for child in shape.children.values() if child.number == op.a)
            assert check_ops(shape, ops[at : at + op.b], items, tables) == op.b
            at += op.b
            continue
        assert 0 <= op.a < cells
        if op.code is Code.OPTIONAL:
            assert ops[at].code is Code.LITERAL
            assert 0 < op.b <= len(ops) - at
    return at


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda one: type(one).__name__)
def test_a_pattern_matches_whole_lines_only(sample: Fact) -> None:
    shape = build_shape(Tables(), type(sample), wrapped=False)
    line = encode(sample)
    fits = line.isascii() and b"\\" not in line

    assert bool(re.fullmatch(shape.pattern.encode(), line)) == fits
    assert not re.fullmatch(shape.pattern.encode(), line + b" ")
    assert not re.fullmatch(shape.pattern.encode(), line[:-1])


class Signed(Data, frozen=True):
    """An integer without bounds has no op."""

    amount: int


class Spelled(Data, frozen=True):
    """A pattern that is no row of characters has no op."""

    word: Annotated[str, Meta(pattern=r"^(ab)+\Z")]


class Deep(Data, frozen=True):
    """A list within a list has no op."""

    rows: tuple[tuple[Name, ...], ...]


class Loose(Data, frozen=True):
    """Without a member that is always there, commas have no place."""

    one: Count | None = None
    other: Count | None = None


@pytest.mark.parametrize("payload", [Signed, Spelled, Deep, Loose])
def test_what_no_op_describes_has_no_shape(payload: type[Data]) -> None:
    kind = type("Unheard", (Fact,), {"__annotations__": {"data": payload}}, frozen=True, kw_only=True, tag="Unheard")

    with pytest.raises(Unshaped):
        build_shape(Tables(), kind, wrapped=False)
