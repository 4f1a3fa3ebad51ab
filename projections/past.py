"""What sealed segments say of a past position: an account's sums and movements, without a scan and without SQL.

    sums at p = those in the last segment before p that moves the account: at p there, or at that segment's end

Sealed is a log's beginning, [0, end): the sound segments without a gap. Who finds one unusable loses it, and all behind
it, and is told; what lies behind `end` is the log's and the tables' to tell.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path

from events.codec import decode
from events.event import Decision
from events.filelog import FileLog
from events.record import Record
from ledger.accounts import Key, kind_of
from projections.sealing import find_segments, segment_path, sums_before
from projections.segments import Moved, Segment, SegmentUnusable, hash_name, join_key

__all__ = ["Past"]

_RECORDS_KEPT = 8


class Past:
    """The sealed segments of some ledger logs, held open."""

    def __init__(self, folder: Path, logs: Iterable[FileLog]) -> None:
        """Open what is sound; `faults` names what is not."""
        self._folder = folder
        self._logs = {log.name: log for log in logs}
        self._segments: dict[str, list[Segment]] = {}
        self._starts: dict[str, list[int]] = {}
        self._ends: dict[str, int] = {}
        self._records: OrderedDict[tuple[str, int], Record] = OrderedDict()
        self.refresh()

    def refresh(self) -> None:
        """Open what is sound now."""
        self.faults: list[str] = []
        self._files = {name: log.files() for name, log in self._logs.items()}
        for name, log in self._logs.items():
            segments, faults = find_segments(log, self._folder)
            self.faults += faults
            self._keep(name, segments)

    def end(self, log: str) -> int:
        """Return up to where a log is sealed, which is a record's end."""
        return self._ends.get(log, 0)

    def logs(self) -> list[FileLog]:
        """Return the logs, each ready to be read on from where it is sealed."""
        for name, log in self._logs.items():
            segments = self._segments[name]
            if segments:
                last = segments[-1]
                log.seek(self._file_of(name, last), last.header.source_bytes, last.end)
        return list(self._logs.values())

    def segments(self, log: str) -> list[Segment]:
        """Return a log's segments, oldest first."""
        return list(self._segments.get(log, ()))

    def sums_at(self, log: str, key: Key, size: int) -> tuple[int, int]:
        """Return an account's debits and credits at a position, at most `end`. Raises: SegmentUnusable."""
        name = join_key(key)
        return self.find_sums(log, name, hash_name(name), size)

    def find_sums(self, log: str, name: bytes, hashed: int, size: int) -> tuple[int, int]:
        """As `sums_at`, of an account by its name in segments and its `hash_name`."""
        if not size:
            return 0, 0
        assert size <= self._ends[log]
        segments = self._segments[log]
        for number in range(bisect_left(self._starts[log], size) - 1, -1, -1):
            segment = segments[number]
            try:
                account = segment.find(name, hashed)
                if account is not None:
                    return segment.sums_at(account, size)
            except SegmentUnusable as unusable:
                self.forget(log, unusable)
                raise
        return 0, 0

    def sums_of(self, log: str, keys: Iterable[Key]) -> list[int]:
        """Return debits and credits of each of some accounts, one after another, at `end`. Raises: SegmentUnusable."""
        try:
            return sums_before(self._segments.get(log, []), list(map(join_key, keys)))
        except SegmentUnusable as unusable:
            self.forget(log, unusable)
            raise

    def is_behind(self) -> bool:
        """Tell whether a log has full files that are not sealed."""
        return any(self._ends[name] < int(log.files()[-1].stem) for name, log in self._logs.items() if log.files())

    def movements(self, log: str, key: Key, start: int, end: int) -> Iterator[Moved]:
        """Yield what moved an account at the log's leaves [start, end), of which `end` is sealed, oldest first.

        Accounts that nearly every event moves have one movement for each record, at its last event; both ends are then
        ends of records. Raises: SegmentUnusable.
        """
        assert end <= self.end(log)
        name, by_record = join_key(key), kind_of(key.account).busy
        hashed = hash_name(name)
        for segment in self.segments(log):
            if segment.end <= start or segment.start >= end:
                continue
            try:
                account = segment.find(name, hashed)
                if account is not None:
                    yield from segment.movements(account, start, end, by_record=by_record)
            except SegmentUnusable as unusable:
                self.forget(log, unusable)
                raise

    def event(self, log: str, sequence: int) -> tuple[Decision, Record]:
        """Read a decision that is sealed, and its record, from the log. Raises: LogDamaged, SegmentUnusable."""
        segment = self._segments[log][bisect_left(self._starts[log], sequence + 1) - 1]
        try:
            ends = segment.array("record_ends")
            number = int(ends.searchsorted(sequence, side="right"))
            begin = int(ends[number - 1]) if number else segment.start
            record = self._records.get((log, begin))
            if record is None:
                record = self._read(log, segment, begin, int(segment.array("record_offsets")[number]))
        except SegmentUnusable as unusable:
            self.forget(log, unusable)
            raise
        event = decode(record.lines[sequence - begin - 1])
        assert isinstance(event, Decision)
        return event, record

    def forget(self, log: str, unusable: SegmentUnusable) -> None:
        """Give up a segment and all behind it."""
        kept = []
        for segment in self._segments.get(log, ()):
            if segment.path == unusable.path:
                break
            kept.append(segment)
        self.faults.append(str(unusable))
        self._keep(log, kept)

    def _read(self, log: str, segment: Segment, begin: int, offset: int) -> Record:
        record = self._logs[log].read_at(self._file_of(log, segment), offset, begin)
        if record is None:
            raise SegmentUnusable(segment.path, f"the log ends before {log}:{begin}")
        self._records[log, begin] = record
        if len(self._records) > _RECORDS_KEPT:
            self._records.popitem(last=False)
        return record

    def _file_of(self, log: str, segment: Segment) -> Path:
        return next(file for file in self._files[log] if segment_path(self._folder, log, file) == segment.path)

    def _keep(self, log: str, segments: list[Segment]) -> None:
        self._segments[log] = segments
        self._starts[log] = [segment.start for segment in segments]
        self._ends[log] = segments[-1].end if segments else 0
