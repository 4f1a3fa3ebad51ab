"""Columns against the codec: what matches is accepted and says the same, with the library and without it."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from events.build import build_events
from events.catalogue import DECISIONS, FACTS
from events.cloudevents import Envelope, open_envelope, unwrap, wrap
from events.codec import decode, encode, encode_json
from events.columns import Batch, Columns, read_columns, read_columns_plainly, split_lines
from events.event import Amount, Digest, Event, Instant
from events.facts import JobDispatched, QuorumClaimed, StreamMarked, UsageMetered
from events.instant import parse_instant
from events.refusal import Refusal
from tests.events.mutants import INSTANTS, mutants
from tests.events.samples import SAMPLES, sample
from tests.strategies import any_events

READERS = (read_columns, read_columns_plainly)
PATTERNS = {kind: kind.__metadata__[0].pattern for kind in (Amount, Digest, Instant)}  # type: ignore[attr-defined]
BARE = [msgspec.structs.replace(one, causation_id=None, correlation_id=None) for one in SAMPLES]


def read_lines(read: Callable[..., Batch], lines: Sequence[bytes], *, wrapped: bool = False) -> Batch:
    data = b"".join(line + b"\n" for line in lines)
    assert data.count(b"\n") == len(lines)
    return read(data, *split_lines(data), wrapped=wrapped)


def fits(line: bytes) -> bool:
    """Tell whether a canonical line must match: its free text is printable ASCII without escapes."""
    return line.isascii() and b"\\" not in line and b"\x7f" not in line


def check(columns: Columns, kind: type[Any], structs: Sequence[Any], path: str = "") -> None:
    """Hold each member's cells against the structs; None stands for a struct that is absent."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    for member in info.fields:
        way = f"{path}.{member.name}" if path else member.name
        if way == "schema_version":
            continue
        values = [None if one is None else getattr(one, member.name) for one in structs]
        if not member.required:
            there = [value is not None and value != member.default for value in values]
            assert columns.has(way).tolist() == there
        kinds = member.type.types if isinstance(member.type, inspect.UnionType) else (member.type,)
        [one] = [kind for kind in kinds if not isinstance(kind, inspect.NoneType)]
        check_values(columns, one, values, way, stored=member.required or not isinstance(one, inspect.BoolType))


def check_values(columns: Columns, kind: Any, values: Sequence[Any], path: str, stored: bool = True) -> None:
    """Hold a member's cells against its values."""
    match kind:
        case inspect.Metadata(type=inner):
            check_values(columns, inner, values, path, stored)
        case inspect.StructType(cls=struct):
            check(columns, struct, values, path)
            assert columns.bytes(path) == [b"" if one is None else encode_json(one) for one in values]
        case inspect.VarTupleType(item_type=item):
            items = columns.items(path)
            lists = [(place, one) for place, value in enumerate(values) for one in value or ()]
            assert items.parents.tolist() == [place for place, _ in lists]
            assert items.rows.tolist() == [columns.rows[place] for place, _ in lists]
            found = [one for _, one in lists]
            if isinstance(item, inspect.StructType):
                check(items, item.cls, found)
            else:
                check_values(items, item, found, "item")
        case inspect.BoolType() | inspect.IntType():
            assert columns.numbers(path).tolist() == [int(value or 0) for value in values]
            if stored:
                texts = [b"" if value is None else encode_json(value) for value in values]
                assert columns.bytes(path) == texts
        case inspect.LiteralType(values=choices):
            assert columns.choice(path) == [value or "" for value in values]
            places = [0 if value is None else list(choices).index(value) for value in values]
            assert columns.numbers(path).tolist() == places
        case inspect.StrType(pattern=pattern):
            check_texts(columns, pattern, values, path)


def check_texts(columns: Columns, pattern: str | None, values: Sequence[str | None], path: str) -> None:
    """Hold a text's cells against its values, and what the text says."""
    texts = [value or "" for value in values]
    assert columns.texts(path) == texts
    assert columns.bytes(path) == [text.encode() for text in texts]
    starts, ends = columns.span(path)
    assert (ends - starts).tolist() == [len(text) for text in texts]
    if pattern == PATTERNS[Amount]:
        amounts = [int(text or 0) for text in texts]
        assert columns.amounts(path).tolist() == [amount if amount < 2**63 else -1 for amount in amounts]
    if pattern == PATTERNS[Instant]:
        assert columns.numbers(path).tolist() == [parse_instant(text) for text in texts]
    if pattern == PATTERNS[Digest]:
        assert [digest.tobytes().hex() for digest in columns.digests(path)] == [text or "00" * 32 for text in texts]


def check_batch(batch: Batch, events: Sequence[Event | Refusal | None]) -> None:
    """Hold all that matched against the events of the lines."""
    rows = [batch.rest, *(columns.rows for columns in batch.columns.values())]
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(events)))
    for kind, columns in batch.columns.items():
        of_kind = [events[row] for row in columns.rows.tolist()]
        assert columns.kind is kind
        assert all(type(event) is kind for event in of_kind)
        assert len(columns) == len(of_kind) > 0
        check(columns, kind, of_kind)
        assert build_events(columns) == of_kind


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", FACTS + DECISIONS)
def test_every_type_has_a_shape_that_its_lines_match(read: Callable[..., Batch], kind: type[Event]) -> None:
    events = [one for one in (*SAMPLES, *BARE) if type(one) is kind]
    lines = [encode(one) for one in events]

    batch = read_lines(read, lines)

    assert batch.rest.tolist() == [place for place, line in enumerate(lines) if not fits(line)]
    check_batch(batch, events)


@pytest.mark.parametrize("read", READERS)
@given(events=st.lists(any_events, max_size=12))
def test_columns_say_what_the_structs_say(read: Callable[..., Batch], events: list[Event]) -> None:
    lines = [encode(event) for event in events]

    batch = read_lines(read, lines)

    assert batch.rest.tolist() == [place for place, line in enumerate(lines) if not fits(line)]
    check_batch(batch, events)
    for columns in batch.columns.values():
        assert columns.bytes("") == [lines[row] for row in columns.rows.tolist()]


@pytest.mark.parametrize("read", READERS)
@given(events=st.lists(any_events, max_size=8))
def test_columns_of_wrapped_lines_are_those_of_the_events_within(
    read: Callable[..., Batch], events: list[Event]
) -> None:
    lines = [wrap(event, encode(event)) for event in events]

    batch = read_lines(read, lines, wrapped=True)

    assert batch.rest.tolist() == [place for place, line in enumerate(lines) if not fits(line)]
    check_batch(batch, events)
    for columns in batch.columns.values():
        assert columns.bytes("") == [encode(events[row]) for row in columns.rows.tolist()]
    assert len(read_lines(read, lines).rest) == len(lines)


@pytest.mark.slow
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), events=st.lists(any_events, max_size=3))
def test_a_mutant_that_matches_is_an_event_and_says_the_same(seed: int, events: list[Event]) -> None:
    lines = mutants(seed, [encode(event) for event in (*SAMPLES, *BARE, *events)], 200)
    decoded = [decode(line) for line in lines]

    for read in READERS:
        batch = read_lines(read, lines)
        check_batch(batch, decoded)
        canonical = [row for row, event in enumerate(decoded) if not isinstance(event, Refusal) and fits(lines[row])]
        missed = set(canonical) & set(batch.rest.tolist())
        assert all(is_left_out(decoded[row], lines[row]) for row in missed)


def is_left_out(event: Event | Refusal, line: bytes) -> bool:
    """Tell whether an event is of an older version, or holds a day that no calendar has."""
    if isinstance(event, Refusal) or encode(event) != line:
        return True
    days = [text for text in msgspec.json.decode(line, type=dict[str, Any])["data"].values() if isinstance(text, str)]
    return not all(is_instant(text) for text in (*days, event.occurred_at) if text[4:5] == "-" and text[-1:] == "Z")


def is_instant(text: str) -> bool:
    try:
        parse_instant(text)
    except ValueError:
        return False
    return True


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_a_wrapped_mutant_that_matches_is_an_event_and_agrees_with_its_envelope(seed: int) -> None:
    lines = mutants(seed, [wrap(event, encode(event)) for event in (*SAMPLES, *BARE)], 200)

    batches = [read_lines(read, lines, wrapped=True) for read in READERS]

    assert batches[0].rest.tolist() == batches[1].rest.tolist()
    events = [open_wrapped(line) for line in lines]
    for batch in batches:
        check_batch(batch, events)


def open_wrapped(line: bytes) -> Event | None:
    envelope = open_envelope(line)
    if not isinstance(envelope, Envelope):
        return None
    event = decode(bytes(envelope.data))
    return None if isinstance(event, Refusal) or unwrap(line, envelope, event) is not None else event


@given(seed=st.integers(0, 2**32))
def test_both_ways_leave_out_the_same_lines(seed: int) -> None:
    lines = mutants(seed, [encode(event) for event in (*SAMPLES, *BARE)], 200)

    native, plain = (read_lines(read, lines) for read in READERS)

    assert native.rest.tolist() == plain.rest.tolist()
    assert native.columns.keys() == plain.columns.keys()


@pytest.mark.parametrize("read", READERS)
def test_lines_are_read_where_they_stand(read: Callable[..., Batch]) -> None:
    line = encode(sample(StreamMarked))
    data = line[:-1] + line + line[1:] + line
    starts = np.array([len(line) - 1, 0, 2 * len(line) - 1, 3 * len(line) - 2])
    ends = starts + len(line)

    batch = read(data, starts, ends)

    assert batch.rest.tolist() == [1, 2]
    assert batch.columns[StreamMarked].rows.tolist() == [0, 3]
    assert batch.columns[StreamMarked].bytes("") == [line, line]


@pytest.mark.parametrize("read", READERS)
def test_a_line_ends_where_its_event_ends(read: Callable[..., Batch]) -> None:
    line = encode(sample(StreamMarked))

    batch = read_lines(read, [line + line, line, b" " + line, line + b" ", line[:-1], line[1:]])

    assert batch.rest.tolist() == [0, 2, 3, 4, 5]


@pytest.mark.parametrize("read", READERS)
def test_an_instant_is_one_of_the_calendar(read: Callable[..., Batch]) -> None:
    mark = sample(StreamMarked)
    assert isinstance(mark, StreamMarked)
    year = [
        f"{2023 + leap}-{month:02}-{day:02}T00:00:00.000000Z".encode()
        for leap in (0, 1)
        for month in range(14)
        for day in range(33)
    ]
    texts = [text for text in (*INSTANTS, *year) if len(text) == len(mark.data.until)]
    line = encode(mark)

    batch = read_lines(read, [line.replace(mark.data.until.encode(), text) for text in texts])

    valid = [text for text in texts if is_instant(text.decode())]
    assert batch.columns[StreamMarked].bytes("data.until") == valid
    assert batch.columns[StreamMarked].numbers("data.until").tolist() == [parse_instant(one.decode()) for one in valid]
    assert len(batch.rest) == len(texts) - len(valid)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("lines", [[], [b""], [b"", b"}", b'"}', b'""}', b'"type":"StreamMarked"}']])
def test_nothing_is_found_where_nothing_stands(read: Callable[..., Batch], lines: list[bytes]) -> None:
    batch = read_lines(read, lines)

    assert batch.columns == {}
    assert len(batch.rest) == len(lines)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(("count", "matches"), [(0, False), (1, True), (64, True), (65, False)])
def test_lists_keep_their_lengths(read: Callable[..., Batch], count: int, matches: bool) -> None:
    claim = sample(QuorumClaimed)
    assert isinstance(claim, QuorumClaimed)
    line = encode(msgspec.structs.replace(claim, data=msgspec.structs.replace(claim.data, agreeing=("A",) * count)))

    batch = read_lines(read, [encode(claim), line, line])

    assert batch.rest.tolist() == ([] if matches else [1, 2])
    items = batch.columns[QuorumClaimed].items("data.agreeing")
    assert items.bytes("item") == [b"A", b"B"] + [b"A"] * (2 * count * matches)


@pytest.mark.slow
@given(events=st.lists(any_events, min_size=1, max_size=12), picked=st.lists(st.integers(0, 11), max_size=12))
def test_some_of_the_events_keep_their_members_and_items(events: list[Event], picked: list[int]) -> None:
    batch = read_lines(read_columns, [encode(event) for event in events])

    for kind, columns in batch.columns.items():
        of_kind = [events[row] for row in columns.rows.tolist()]
        places = [place for place in picked if place < len(columns)]
        check(columns.take(np.array(places, dtype=np.int64)), kind, [of_kind[place] for place in places])
        mask = np.isin(np.arange(len(columns)), places)
        check(columns.take(mask), kind, [one for place, one in enumerate(of_kind) if mask[place]])
        assert build_events(columns.take(mask)) == [one for place, one in enumerate(of_kind) if mask[place]]


@pytest.mark.slow
@given(
    events=st.lists(any_events, min_size=1, max_size=12).filter(lambda events: any(fits(encode(e)) for e in events)),
    behind=st.lists(any_events, max_size=12),
)
def test_lines_behind_a_batch_are_its_last_events(events: list[Event], behind: list[Event]) -> None:
    lines, more = [encode(event) for event in events], [encode(event) for event in behind if fits(encode(event))]
    batch = read_lines(read_columns, lines)

    extended = batch.extend(b"".join(line + b"\n" for line in more))

    every = [*lines[: batch.lines()], *more]
    assert extended.rest.tolist() == batch.rest.tolist()
    for kind, columns in extended.columns.items():
        assert columns.bytes("") == [every[row] for row in columns.rows.tolist()]
        decoded = [decode(line) for line in columns.bytes("")]
        check(columns, kind, decoded)
        assert build_events(columns) == decoded
    assert sum(map(len, extended.columns.values())) == sum(map(len, batch.columns.values())) + len(more)


def test_items_keep_their_events_when_some_are_picked() -> None:
    lines = [encode(sample(JobDispatched)), encode(sample(UsageMetered)), encode(sample(JobDispatched))]

    quotes = read_lines(read_columns, lines).columns[JobDispatched].items("data.quotes")
    last = quotes.take(quotes.parents == 1)

    assert quotes.rows.tolist() == [0, 2]
    assert (last.rows.tolist(), last.parents.tolist(), last.texts("operator")) == ([2], [1], ["op-a"])


def test_lines_outside_of_the_data_are_refused() -> None:
    line = encode(sample(StreamMarked))

    for start, end in ((-1, len(line)), (0, len(line) + 1)):
        with pytest.raises(AssertionError):
            read_columns(line, np.array([start]), np.array([end]))
