"""Portions are what the log holds: the same lines at the same positions, whichever records they stand in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement import portion as portion_module
from settlement.portion import Portion, read_portions
from tests.settlement.desk import Desk, no_clock, settled
from tests.worlds import build_world

DESK = settled(build_world(7))
LINES = [line for record in DESK.facts.records for line in record.lines]
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def desk_of(sizes: list[int]) -> Desk:
    """Return a desk whose facts stand in records of these sizes."""
    desk = Desk(DESK.parameters, opened=False)
    start = 0
    for size in sizes:
        desk.facts.append(LINES[start : start + size], no_clock())
        start += size
    return desk


@given(sizes=SIZES, facts=st.integers(1, 30))
def test_each_line_stands_where_its_log_says(sizes: list[int], facts: int) -> None:
    desk = desk_of(sizes)
    expected = [event for record in desk.facts.records for event in record.events()]

    portions = list(read_portions(desk.facts, 0, None, facts))

    found = [(each.position(n), each.line(n)) for each in portions for n in range(each.count)]
    assert found == expected
    for each in portions:
        middle = each.count // 2
        assert each.positions(0, each.count).tolist() == [each.position(n) for n in range(each.count)]
        assert each.beginning(0, middle) + each.beginning(middle, each.count) == each.records
        lines = np.concatenate([each.batch.rest, *(columns.rows for columns in each.batch.columns.values())])
        assert sorted(lines.tolist()) == list(range(each.count))


@given(sizes=SIZES, facts=st.integers(1, 30), place=st.integers(0, 50))
def test_who_goes_on_within_a_portion_reads_the_same_portions(sizes: list[int], facts: int, place: int) -> None:
    log = desk_of(sizes).facts
    whole = list(read_portions(log, 0, None, facts))
    place %= len(whole)
    start = whole[place].records[0].sequence

    again = list(read_portions(log, start, whole[place].end, facts))

    assert [ends(each) for each in again] == [ends(each) for each in whole[place:]]


def test_a_portion_is_bounded_by_its_bytes_and_by_its_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    log = desk_of([5] * 6).facts
    records = log.records

    assert [len(each.records) for each in read_portions(log, 0, None, 10)] == [2, 2, 2]
    assert [len(each.records) for each in read_portions(log, 0, None, 10**6)] == [6]
    # One that another settler began may be longer.
    assert [len(each.records) for each in read_portions(log, 0, records[2].end, 1)] == [3, 1, 1, 1]
    monkeypatch.setattr(portion_module, "PORTION_BYTES", len(records[0].data) + 1)
    assert len(next(read_portions(log, 0, None, 10**6)).records) == 2


def ends(portion: Portion) -> list[int]:
    return [record.end for record in portion.records]
