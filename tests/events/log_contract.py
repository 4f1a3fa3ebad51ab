"""What every log must do, whatever it is made of: a set of tests for a class that can open one.

A subclass gives the fixture `open_log`: called with True it opens the one log of the test for writing, with False
beside the writer for reading.
"""

from collections.abc import Callable
from itertools import pairwise

import pytest

from events.codec import encode
from events.event import Event
from events.log import Log
from events.record import RECORD_BYTES_MAX, Basis, Record
from tests.events.naive_merkle import naive_leaf, naive_root
from tests.events.samples import SAMPLES

__all__ = ["NOON", "LogContract", "OpenLog", "batches_of", "naive_root_of"]

OpenLog = Callable[[bool], Log]
NOON = "2026-10-01T12:00:00.000000Z"
LATER = "2026-10-01T12:30:00.000000Z"
BASIS = (Basis(log="facts", start=0, end=7, root="ab" * 32), Basis(log="ledger/lane-0", start=3, end=3, root="cd" * 32))


def batches_of(events: tuple[Event, ...] = SAMPLES) -> list[list[bytes]]:
    """Cut the first 21 samples into batches of 1, 2, 3 and so on; the third is empty."""
    lines = [encode(event) for event in events]
    starts = [0, 1, 3, 6, 10, 15, 21]
    batches = [lines[start:end] for start, end in pairwise(starts)]
    return [*batches[:2], [], *batches[2:]]


def naive_root_of(records: list[Record]) -> str:
    """Hash all leaves of records anew, from their bytes as they are written down."""
    leaves = []
    for record in records:
        header = record.header
        rows = [f'{{"end":{b.end},"log":"{b.log}","root":"{b.root}","start":{b.start}}}' for b in header.basis]
        members = [f'"basis":[{",".join(rows)}]'] if rows else []
        members.append(f'"count":{header.count}')
        members += [f'"network_time":"{header.network_time}"'] if header.network_time else []
        members += [f'"recorded_at":"{header.recorded_at}"', f'"sequence":{header.sequence}']
        leaves += [naive_leaf(f"{{{','.join(members)}}}".encode()), *map(naive_leaf, record.lines)]
    return naive_root(leaves).hex()


def filled(log: Log) -> list[Record]:
    """Append all batches; return their records."""
    return [log.append(batch, NOON) for batch in batches_of()]


class LogContract:
    """Tests that hold for every log."""

    def test_an_empty_log_ends_at_zero_and_holds_nothing(self, open_log: OpenLog) -> None:
        log = open_log(True)

        assert log.end() == 0
        assert list(log.read()) == []
        assert log.root() == naive_root([])

    def test_an_empty_log_can_be_read_before_it_was_written(self, open_log: OpenLog) -> None:
        reader = open_log(False)

        assert reader.end() == 0
        assert list(reader.read()) == []

    def test_append_returns_a_record_that_is_durable(self, open_log: OpenLog) -> None:
        log = open_log(True)
        record = log.append([b'{"a":1}', b'{"b":2}'], NOON)
        log.close()

        (found,) = open_log(False).read()

        assert found == record
        assert record.lines == (b'{"a":1}', b'{"b":2}')

    def test_positions_are_tree_sizes(self, open_log: OpenLog) -> None:
        log, size = open_log(True), 0

        for batch in batches_of():
            record = log.append(batch, NOON)
            assert (record.sequence, record.header.count) == (size, len(batch))
            size += 1 + len(batch)
            assert record.end == log.end() == size

    def test_reading_from_any_position_yields_the_records_that_end_behind_it(self, open_log: OpenLog) -> None:
        log = open_log(True)
        records = filled(log)

        for position in [*range(records[-1].end + 2), *reversed(range(records[-1].end))]:
            assert list(log.read(position)) == [record for record in records if record.end > position]
            assert list(open_log(False).read(position)) == [record for record in records if record.end > position]

    def test_a_position_names_one_event(self, open_log: OpenLog) -> None:
        log = open_log(True)
        filled(log)
        lines = [line for batch in batches_of() for line in batch]

        found = [(sequence, line) for record in log.read() for sequence, line in record.events()]

        assert [line for _, line in found] == lines
        assert len({sequence for sequence, _ in found}) == len(lines)

    def test_a_reader_sees_what_the_writer_has_appended(self, open_log: OpenLog) -> None:
        writer, reader = open_log(True), open_log(False)

        for batch in batches_of():
            record = writer.append(batch, NOON)
            assert list(reader.read(record.sequence)) == [record]
            assert reader.end() == record.end
            assert reader.root() == writer.root()

    def test_a_reader_that_stopped_half_way_goes_on(self, open_log: OpenLog) -> None:
        writer, reader = open_log(True), open_log(False)
        records = filled(writer)

        first = next(reader.read())

        assert first == records[0]
        assert list(reader.read(first.end)) == records[1:]
        assert list(reader.read()) == records

    def test_the_root_is_that_of_all_leaves(self, open_log: OpenLog) -> None:
        log, records = open_log(True), []

        for batch in batches_of():
            records.append(log.append(batch, NOON, LATER, BASIS))
            assert records[-1].header.root == log.root().hex() == naive_root_of(records)

    def test_a_log_that_is_opened_again_goes_on(self, open_log: OpenLog) -> None:
        records = []
        for batch in batches_of():
            log = open_log(True)
            records.append(log.append(batch, NOON))
            log.close()

        reader = open_log(False)

        assert list(reader.read()) == records
        assert reader.root().hex() == naive_root_of(records)

    def test_a_header_carries_what_it_was_given(self, open_log: OpenLog) -> None:
        log = open_log(True)
        log.append([b"{}"], NOON, LATER, BASIS)

        (record,) = open_log(False).read()

        assert record.header.recorded_at == NOON
        assert record.header.network_time == LATER
        assert record.header.basis == BASIS

    def test_a_log_never_dedupes(self, open_log: OpenLog) -> None:
        log = open_log(True)

        first = log.append([b"{}", b"{}"], NOON)
        second = log.append([b"{}", b"{}"], NOON)

        assert list(log.read()) == [first, second]
        assert (first.lines, first.end) == (second.lines, second.sequence)

    def test_the_longest_record_is_kept(self, open_log: OpenLog) -> None:
        log = open_log(True)
        line = b"x" * (RECORD_BYTES_MAX - 4_096)

        log.append([line], NOON)

        assert [record.lines for record in open_log(False).read()] == [(line,)]

    def test_a_record_that_is_too_long_is_not_begun(self, open_log: OpenLog) -> None:
        log = open_log(True)

        with pytest.raises(AssertionError):
            log.append([b"x" * RECORD_BYTES_MAX], NOON)

        assert log.append([b"{}"], NOON).sequence == 0
        assert log.end() == 2

    def test_a_line_that_holds_a_line_end_is_not_acknowledged(self, open_log: OpenLog) -> None:
        log = open_log(True)

        with pytest.raises(AssertionError):
            log.append([b"a\nb"], NOON)

        assert log.append([b"{}"], NOON).sequence == 0
        assert [record.lines for record in open_log(False).read()] == [(b"{}",)]
