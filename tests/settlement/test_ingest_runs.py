"""Ingest by columns appends what ingest line by line appends, and says the same of it."""

import gc
import re
import weakref
from collections.abc import Iterator
from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.facts import to_line
from events.codec import encode
from events.columns import read_columns, split_lines
from events.event import Fact
from events.facts import GenesisDeclared, RecordRefused, StreamMarked, StreamRegistered
from events.record import HEADER_BYTES_MAX, RECORD_BYTES_MAX, Bodies
from settlement import sorting as sorting_module
from settlement.ingest import Partitions, Receipt, ingest, ingest_whole
from settlement.lines import LINE_BYTES_MAX, Chunk, Line
from tests.events.mutants import mutants
from tests.networks import build_network
from tests.settlement.desk import Desk, MemoryLog, as_lines, no_clock
from tests.settlement.odd_facts import among, odd_facts
from tests.worlds import World, build_world

pytestmark = pytest.mark.slow

ALONE = (GenesisDeclared, RecordRefused, StreamMarked, StreamRegistered)
worlds = st.builds(
    lambda seed, network: (build_network if network else build_world)(seed), st.integers(0, 10**6), st.booleans()
)


def sent(world: World, random: Random) -> list[bytes]:
    """Return lines as producers send them: most in their envelope, some bare, some spaced, some spoiled."""
    facts = world.facts()
    facts = among(facts, odd_facts(facts, random, random.choice((0, 5, 40))), random)
    lines = [_sent(fact, random) for fact in facts]
    odd = [*mutants(random.randrange(2**32), lines, random.choice((0, 5, 40))), b"x" * (LINE_BYTES_MAX + 1)]
    return among(lines, odd if random.random() < 0.5 else [], random)


def _sent(fact: Fact, random: Random) -> bytes:
    line, chance = to_line(fact).rstrip(b"\n"), random.random()
    if chance < 0.95:
        return line
    if chance < 0.97:
        return encode(fact)
    spaced = msgspec.json.format(line, indent=0 if chance < 0.98 else -1)
    return spaced.replace(b"\n", b" ")


def state_of(desk: Desk) -> list[tuple[bytes, list[bytes]]]:
    """Return the roots and records of the partitions."""
    return [(log.root(), [record.data for record in log.records]) for log in desk.partitions]


def without_columns(patch: pytest.MonkeyPatch) -> None:
    """Judge each line by the codec, as if none fitted a shape."""
    empty = np.empty(0, dtype=np.int64)
    patch.setattr(
        sorting_module,
        "read_columns",
        lambda data, starts, ends, wrapped: read_columns(b"", empty, empty)._replace(rest=np.arange(len(starts))),
    )


@settings(max_examples=30, deadline=None)
@given(world=worlds, random=st.randoms(use_true_random=False), lanes=st.integers(1, 3))
def test_ingest_by_columns_is_ingest_line_by_line(world: World, random: Random, lanes: int) -> None:
    lines, chunk = sent(world, random), random.choice((3, 50, 10_000))
    quick, slow = Desk(world.parameters, lanes), Desk(world.parameters, lanes)
    cut = random.randrange(len(lines))
    told: list[list[Receipt]] = []
    for desk, prepare in ((quick, None), (slow, without_columns)):
        with pytest.MonkeyPatch.context() as patch:
            if prepare:
                prepare(patch)
            # The second session sends some again, and knows the first one by reading the logs.
            told.append(desk.ingest(lines[:cut], chunk) + desk.ingest(lines[cut // 2 :], chunk))

    assert told[0] == told[1]
    assert state_of(quick) == state_of(slow)


def troubled(facts: list[Fact], random: Random) -> list[bytes]:
    """Return lines of which many come again, nearby: as they were, rewritten, damaged, or saying something else.

    Lines change places too, marks and registrations among them.
    """
    placed: list[tuple[float, bytes]] = []
    for place, fact in enumerate(facts):
        line = to_line(fact).rstrip(b"\n")
        placed.append((place + random.choice((0, 0, 0, random.uniform(-9, 9))), line))
        for _ in range(random.choice((0, 0, 0, 1, 3))):
            placed.append((place + random.uniform(-3, 9), _again(fact, line, random)))
    return [line for _, line in sorted(placed)]


def _again(fact: Fact, line: bytes, random: Random) -> bytes:
    replaced = msgspec.structs.replace
    return random.choice(
        (
            lambda: line,
            lambda: to_line(replaced(fact, occurred_at="2026-10-02T00:00:00.000000Z")).rstrip(b"\n"),
            lambda: to_line(replaced(fact, occurred_at="2099-01-01T00:00:00.000000Z")).rstrip(b"\n"),
            lambda: to_line(replaced(fact, subject="another")).rstrip(b"\n"),
            lambda: to_line(replaced(fact, stream="nowhere")).rstrip(b"\n"),
            lambda: line.replace(b'"source":"', b'"source":"x'),
            lambda: line[: len(line) // 2],
            lambda: b" " + line,
        )
    )()


def told_of(desk: Desk, receipts: list[Receipt]) -> object:
    """Return what was told and kept, but not where in a partition: that depends on how lines share records."""
    kept = [[line for record in log.records for line in record.lines] for log in desk.partitions]
    return (
        [(one.number, one.refusal.reason) for receipt in receipts for one in receipt.refused],
        [sum(counts) for counts in zip(*((one.lines, one.accepted, one.duplicates) for one in receipts), strict=True)],
        [[re.sub(rb"said something else at [^\"]*", b"", line) for line in lines] for lines in kept],
    )


@settings(max_examples=40, deadline=None)
@given(
    world=worlds,
    random=st.randoms(use_true_random=False),
    lanes=st.integers(1, 3),
    chunk=st.sampled_from((5, 60, 10_000)),
)
def test_chunks_full_of_trouble_are_told_as_one_line_at_a_time(
    world: World, random: Random, lanes: int, chunk: int
) -> None:
    lines = troubled(world.facts(), random)[:600]
    chunked, alone, slow = (Desk(world.parameters, lanes) for _ in range(3))

    told = chunked.ingest(lines, chunk)

    assert told_of(chunked, told) == told_of(alone, alone.ingest(lines, 1))
    with pytest.MonkeyPatch.context() as patch:
        without_columns(patch)
        assert told == slow.ingest(lines, chunk)
    assert state_of(chunked) == state_of(slow)


@settings(max_examples=20, deadline=None)
@given(world=worlds, random=st.randoms(use_true_random=False), lost=st.integers(0, 3))
def test_what_was_appended_in_part_is_completed(world: World, random: Random, lost: int) -> None:
    """A crash between two partitions' appends, then the same lines again."""
    lines = sent(world, random)
    desks = [Desk(world.parameters, 3), Desk(world.parameters, 3)]
    told = []
    for desk, prepare in zip(desks, (None, without_columns), strict=True):
        with pytest.MonkeyPatch.context() as patch:
            if prepare:
                prepare(patch)
            desk.ingest(lines, 60)
            log = desk.partitions[lost]
            torn = MemoryLog(log.name)
            for record in log.records[:-1]:
                torn.append(record.data, record.header.recorded_at)
            desk.partitions[lost] = torn
            told.append(desk.ingest(lines, 60))

    assert told[0] == told[1]
    assert state_of(desks[0]) == state_of(desks[1])


@pytest.mark.parametrize("seed", range(4))
def test_whole_files_enter_as_chunks_do_or_not_at_all(seed: int) -> None:
    world = build_network(seed)
    refused = {one.number for receipt in Desk(world.parameters, 2).ingest(world.facts()) for one in receipt.refused}
    facts = [fact for number, fact in enumerate(world.facts(), 1) if number not in refused]
    lines = as_lines(facts)
    chunks = [Chunk.of(lines[start : start + 70]) for start in range(0, len(lines), 70)]
    once, whole = Desk(world.parameters, 2), Desk(world.parameters, 2)
    (expected,) = once.ingest(facts, len(lines))

    receipt = ingest_whole(chunks, "test", Partitions(whole.partitions), no_clock)
    assert receipt == expected
    assert state_of(whole) == state_of(once)

    bad = [*chunks, Chunk.of([Line(len(lines) + 1, b"{}", 2)])]
    none = Desk(world.parameters, 2)
    before = state_of(none)
    assert ingest_whole(bad, "test", Partitions(none.partitions), no_clock).accepted == 0
    assert state_of(none) == before


def test_a_file_sent_again_is_told_without_reading_its_lines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = build_world(1)
    desk = Desk(world.parameters)
    desk.ingest(world.facts())
    kept = [fact for fact in desk.kept() if isinstance(fact, Fact) and not isinstance(fact, ALONE)]
    monkeypatch.setattr(sorting_module, "_read", None)

    (receipt,) = desk.ingest(kept, 10_000)

    assert receipt.duplicates == len(kept) > 50


def test_a_chunk_goes_with_its_batch_and_waits_for_no_collector() -> None:
    world = build_world(2)
    desk = Desk(world.parameters, 2)
    lines = as_lines(troubled(world.facts(), Random(1)))
    left: list[weakref.ref[Chunk]] = []

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(lines), 20):
            chunk = Chunk.of(lines[start : start + 20])
            left.append(weakref.ref(chunk))
            yield chunk

    gc.collect()
    gc.disable()
    try:
        for _ in ingest(chunks(), "test", Partitions(desk.partitions), no_clock):
            assert not any(chunk() for chunk in left[:-1])
    finally:
        gc.enable()
    assert len(left) > 5


def test_a_contradiction_names_where_the_first_stands_in_the_same_chunk() -> None:
    world = build_world(3)
    desk, facts = Desk(world.parameters, 1), world.facts()
    first = next(fact for fact in reversed(facts) if not isinstance(fact, ALONE))
    other = msgspec.structs.replace(first, subject=f"{first.subject}-other")
    lines = [*map(to_line, facts), msgspec.json.format(to_line(first), indent=-1).replace(b"\n", b" "), to_line(other)]
    chunk = as_lines([line.rstrip(b"\n") for line in lines])

    [receipt] = ingest([chunk], "test", Partitions(desk.partitions), no_clock)

    numbers, refusal = [refused.number for refused in receipt.refused], receipt.refused[-1].refusal
    assert len(lines) in numbers
    assert len(lines) - 1 not in numbers
    found = re.search(r"said something else at (\d+)$", refusal.detail)
    assert found is not None
    events = dict(event for log in desk.partitions[:-1] for record in log.records for event in record.events())
    assert events[int(found[1])] == encode(first)


room = RECORD_BYTES_MAX - HEADER_BYTES_MAX
sizes = st.lists(st.integers(1, 40) | st.sampled_from((room // 2 - 1, room // 2, room - 2, room - 1)), max_size=12)


@settings(max_examples=100, deadline=None)
@given(st.lists(sizes | st.integers(1, 40), max_size=6))
def test_bodies_tell_where_a_log_will_put_each_line(parts: list[list[int] | int]) -> None:
    log = MemoryLog("facts/0")
    log.append([b"first"], no_clock())
    bodies = Bodies(log.end())
    expected: list[tuple[int, int]] = []
    for part in parts:
        if isinstance(part, int):
            expected.append((bodies.add(b"y" * part), part))
        else:
            data = b"".join(b"x" * size + b"\n" for size in part)
            positions = bodies.add_many(data, *split_lines(data))
            expected += zip(positions.tolist(), part, strict=True)

    records = [log.append(body, no_clock()) for body in bodies.join()]

    assert [(place, len(line)) for record in records for place, line in record.events()] == expected
    assert all(0 < len(record.data) <= room for record in records)
