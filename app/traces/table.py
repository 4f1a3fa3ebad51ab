"""Any trace that is one row per job, read as its map says.

    GPU-seconds = floor(gpus × gpu_milli × (end − start) / 1000)     exact times, one floor over the whole product
    end         = the column's, or start + duration, or the trace's last time where the cell is empty
    start       = the column's, or submit where the map names none; an empty cell: never scheduled

A row says one thing or is refused with its line and column: an unknown status, an end before its start, an id that
was there before. Nothing is guessed and no row is left out.
"""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from app.traces.jobs import RAN, Job, Node, Outcome, Trace
from app.traces.mapping import Origin, TraceMap
from app.traces.names import NAME_MAX, name_of
from app.traces.rows import TraceMalformed, malformed, read_rows
from app.traces.times import parse_duration, parse_time, parse_whole
from events.instant import MICROSECONDS

__all__ = ["TRACE_DAYS_MAX", "read_table"]

# Each day is an epoch to close; a trace that seems longer has another unit than its map says.
TRACE_DAYS_MAX = 3_660
# Ten million GPUs: for as many days as a trace may last, their GPU-seconds fit an event's count.
GPU_MILLI_MAX = 10**10


def read_table(path: Path, mapping: TraceMap) -> Trace:
    """Read a whole trace. Raises: TraceMalformed."""
    reader = _Reader(path, mapping)
    for line, row in read_rows(path, mapping.columns.named(), mapping.delimiter):
        reader.take(_Row(path, line, row, mapping))
    return reader.finish()


class _Moment(NamedTuple):
    """A time of the trace and where it stands; seconds of the trace's own clock."""

    time: Fraction
    line: int
    column: str
    text: str


class _Open(NamedTuple):
    """A job without an end: it lasts until the trace's last time."""

    number: int
    gpu_milli: int
    start: Fraction | None


class _Row:
    """One row, read cell by cell; each fault names its column."""

    def __init__(self, path: Path, line: int, cells: dict[str, str], mapping: TraceMap) -> None:
        self.line = line
        self._path, self._cells, self._map = path, cells, mapping
        self._columns = mapping.columns

    def fault(self, column: str, rule: str) -> TraceMalformed:
        """Name a cell of this row and the rule that it breaks."""
        return malformed(self._path, self.line, column, self._cells[column], rule)

    def name(self, column: str, prefix: str) -> str:
        """Read an id."""
        text = self._cells[column]
        name = prefix + name_of(text)
        if not text or text in self._map.absent:
            raise self.fault(column, "is no id")
        if len(name) > NAME_MAX:
            raise self.fault(column, f"has {len(name)} characters as a name, at most {NAME_MAX}")
        return name

    def gpu_milli(self) -> int:
        """Read how many thousandths of a GPU the job has."""
        columns = self._columns
        milli = self._whole(columns.gpus, 1) * self._whole(columns.gpu_milli, 1000)
        if milli > GPU_MILLI_MAX:
            raise self.fault(
                columns.gpus or columns.gpu_milli or "", f"makes {milli} thousandths of a GPU, at most {GPU_MILLI_MAX}"
            )
        return milli

    def times(self) -> tuple[_Moment, _Moment | None, _Moment | None]:
        """Read submit, start and end, in this order of time."""
        columns = self._columns
        submit = self._moment(columns.submit)
        if submit is None:
            raise self.fault(columns.submit, "is no time")
        start = submit if columns.start is None else self._moment(columns.start)
        if start is not None and start.time < submit.time:
            raise self.fault(start.column, f"is before {columns.submit} {submit.text!r}")
        end = self._end(start)
        before = start or submit
        if end is not None and end.time < before.time:
            raise self.fault(end.column, f"is before {before.column} {before.text!r}")
        return submit, start, end

    def outcome(self, gpu_milli: int, started: bool) -> Outcome:
        """Tell how the job ended."""
        status = self._status()
        if gpu_milli == 0:
            return Outcome.CPU_ONLY
        if status is not Outcome.CANCELLED and not started:
            return Outcome.NEVER_SCHEDULED
        return status

    def _status(self) -> Outcome:
        column, meanings = self._columns.status, self._map.status
        if column is None or meanings is None:
            return Outcome.DONE
        text = self._cells[column]
        for outcome, values in (
            (Outcome.DONE, meanings.done),
            (Outcome.FAILED, meanings.failed),
            (Outcome.CANCELLED, meanings.cancelled),
        ):
            if text in values:
                return outcome
        raise self.fault(column, "is no status of the map")

    def _whole(self, column: str | None, default: int) -> int:
        if column is None:
            return default
        try:
            return parse_whole(self._cells[column])
        except ValueError as error:
            raise self.fault(column, str(error)) from None

    def _moment(self, column: str) -> _Moment | None:
        text = self._cells[column]
        if text in self._map.absent:
            return None
        try:
            time = parse_time(text, self._map.time)
        except ValueError as error:
            raise self.fault(column, str(error)) from None
        if time < 0 and self._map.origin is Origin.ZERO:
            raise self.fault(column, "is before the trace's origin, 0")
        return _Moment(time, self.line, column, text)

    def _end(self, start: _Moment | None) -> _Moment | None:
        column = self._columns.duration
        if column is None:
            assert self._columns.end is not None
            return self._moment(self._columns.end)
        text = self._cells[column]
        if text in self._map.absent:
            return None
        try:
            duration = parse_duration(text, self._map.time)
        except ValueError as error:
            raise self.fault(column, str(error)) from None
        return None if start is None else _Moment(start.time + duration, self.line, column, text)


class _Reader:
    """Rows become jobs, with times in microseconds of the trace's own clock."""

    def __init__(self, path: Path, mapping: TraceMap) -> None:
        self._path, self._map = path, mapping
        self._jobs: list[Job] = []
        self._open: list[_Open] = []
        self._lines: dict[str, int] = {}
        self._consumers: dict[str, str] = {}
        self._first: _Moment | None = None
        self._last: _Moment | None = None
        self._gpu_jobs = 0
        self._nodes = [
            Node(f"{mapping.node_prefix}-{number}", mapping.nodes.gpus, mapping.nodes.model)
            for number in range(mapping.nodes.count)
        ]

    def take(self, row: _Row) -> None:
        """Read a row."""
        columns, prefix = self._map.columns, self._map.prefix
        name = row.name(columns.job, prefix.job)
        if name in self._lines:
            raise row.fault(columns.job, f"is the job of line {self._lines[name]} too")
        self._lines[name] = row.line
        # One text per consumer, however many jobs it has.
        consumer = row.name(columns.consumer, prefix.consumer)
        consumer = self._consumers.setdefault(consumer, consumer)
        gpu_milli = row.gpu_milli()
        submit, start, end = row.times()
        outcome = row.outcome(gpu_milli, start is not None)
        self._see(submit, start, end)
        if end is None:
            self._open.append(_Open(len(self._jobs), gpu_milli, start.time if start else None))
        seconds = _gpu_seconds(gpu_milli, start.time, end.time) if start and end and outcome in RAN else 0
        submitted = _microseconds(submit.time)
        job = Job(
            name=name,
            consumer=consumer,
            node=self._nodes[self._gpu_jobs % len(self._nodes)].name,
            outcome=outcome,
            gpu_seconds=seconds,
            submitted=submitted,
            started=_microseconds(start.time) if start else submitted,
            ended=submitted if end is None or outcome is Outcome.CPU_ONLY else _microseconds(end.time),
        )
        self._jobs.append(job)
        self._gpu_jobs += gpu_milli > 0

    def finish(self) -> Trace:
        """End the open jobs with the trace; give it with its origin."""
        assert self._first is not None
        assert self._last is not None
        first, last = self._first, self._last
        origin = first.time if self._map.origin is Origin.FIRST else Fraction(0)
        days = int(last.time - origin) // 86_400
        if days > TRACE_DAYS_MAX:
            rule = f"is {days} days after the origin, at most {TRACE_DAYS_MAX}; see the map's time and origin"
            raise malformed(self._path, last.line, last.column, last.text, rule)
        for number, gpu_milli, start in self._open:
            job = self._jobs[number]
            if job.outcome is not Outcome.CPU_ONLY:
                seconds = _gpu_seconds(gpu_milli, start, last.time) if start is not None and job.outcome in RAN else 0
                self._jobs[number] = job._replace(gpu_seconds=seconds, ended=_microseconds(last.time))
        return Trace(self._map.source, self._nodes, self._jobs, origin=_microseconds(origin))

    def _see(self, *moments: _Moment | None) -> None:
        for moment in moments:
            if moment is not None:
                if self._first is None or moment.time < self._first.time:
                    self._first = moment
                if self._last is None or moment.time > self._last.time:
                    self._last = moment


def _gpu_seconds(gpu_milli: int, start: Fraction, end: Fraction) -> int:
    return gpu_milli * (end - start) // 1000


def _microseconds(time: Fraction) -> int:
    return time * MICROSECONDS // 1
