"""A ledger log as a settler writes it: compared while behind the log's end, appended to from there on.

Decisions are a function of the facts, so a settler that starts again simply decides again. What the log holds already
must be the same bytes; the first that is not is named and stops it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

import numpy as np

from events.columns import count_lines
from events.hashing import Digests
from events.instant import format_instant
from events.killpoints import reach
from events.log import Log
from events.record import Basis, Record, part_lines
from ledger.errors import LedgerInvariantBroken
from settlement.timekeeper import BEFORE_TIME

__all__ = ["Decided", "DecisionsDiffer", "Output", "Standpoint"]


class DecisionsDiffer(LedgerInvariantBroken):
    """A ledger log holds another decision than its facts lead to. `log` and `sequence` say where."""

    def __init__(
        self, log: str, sequence: int, expected: bytes | None, found: bytes | None, lacking: Sequence[str] = ()
    ) -> None:
        """Keep the place as fields and say it as a sentence."""
        super().__init__(
            f"{log}: event {sequence}: the facts lead to {_short(expected)}, the log holds {_short(found)}"
            + (f"; decisions are missing from {', '.join(lacking)}" if lacking else "")
        )
        self.log, self.sequence = log, sequence


class Decided(NamedTuple):
    """Decisions in order: lines, each with its LF, and their leaf hashes where they are known."""

    data: bytes
    hashes: Digests | None = None

    @staticmethod
    def join(parts: Sequence["Decided"]) -> "Decided":
        """Join decisions."""
        if len(parts) == 1:
            return parts[0]
        hashes = [part.hashes for part in parts if part.hashes is not None]
        data = b"".join([part.data for part in parts])
        return Decided(data, np.concatenate(hashes) if hashes and len(hashes) == len(parts) else None)


class Standpoint(NamedTuple):
    """Where an output stands between two turns; `behind` says that its log's end was not met yet."""

    end: int
    network_time: int
    behind: bool
    basis: dict[str, Basis]
    latest: dict[str, Basis]


class Output:
    """Takes decisions in order; `writable` says whether new ones may be appended."""

    def __init__(self, log: Log, now: Callable[[], str], *, writable: bool = True) -> None:
        """Begin at the log's first event. `now` dates the records, which is evidence and enters no decision."""
        self.log = log
        self.appended = 0
        self.network_time = BEFORE_TIME
        # The position behind what is decided and in the log; while behind, that is less than the log's end.
        self.end = 0
        self._now = now
        self._writable = writable
        self._held = log.read(0)
        # Of the record that is compared, and how much of it is.
        self._record: Record | None = None
        self._compared = 0
        self._behind = True
        self._pending: list[Decided] = []
        self._waiting = 0
        self._basis: dict[str, Basis] = {}
        # Of each log that it rests on, the record that was read last.
        self.latest: dict[str, Basis] = {}

    def standpoint(self) -> Standpoint:
        """Say where it stands; nothing waits."""
        assert not self._pending
        return Standpoint(self.end, self.network_time, self._behind, dict(self._basis), dict(self.latest))

    def go_on(self, standpoint: Standpoint) -> None:
        """Begin where one stood; what the log holds behind that is compared."""
        self.end, self.network_time, self._behind = standpoint.end, standpoint.network_time, standpoint.behind
        self._basis, self.latest = dict(standpoint.basis), dict(standpoint.latest)
        self._held = self.log.read(self.end)
        if not self.is_level():
            self._behind = True

    def is_level(self) -> bool:
        """Tell whether all that the log holds was decided again."""
        return self.end == self.log.end()

    def put(self, decided: Decided) -> None:
        """Take decisions. Raises: DecisionsDiffer."""
        data = decided.data
        while data and self._behind:
            data = self._compare(data)
        if data:
            # What the log held already is not told apart among the hashes.
            new = decided if data is decided.data else Decided(data)
            self._pending.append(new)
            self._waiting += count_lines(data) if new.hashes is None else len(new.hashes)

    def _compare(self, data: bytes) -> bytes:
        """Hold decisions against what the log has at this place; return what lies behind its end."""
        record = self._record = self._record or next(self._held, None)
        if record is None:
            self._leave_behind()
            return data
        start = self._compared
        end = min(start + len(data), len(record.data))
        if record.data[start:end] != data[: end - start]:
            self._differ(record, start, data)
        self._compared = end
        if end == len(record.data):
            self._record, self._compared, self.end = None, 0, record.end
        else:
            self.end = record.sequence + 1 + record.data.count(b"\n", 0, end)
        return data[end - start :]

    def _differ(self, record: Record, start: int, data: bytes) -> NoReturn:
        """Name the first event that differs. Raises: DecisionsDiffer."""
        sequence = record.sequence + 1 + record.data.count(b"\n", 0, start)
        pairs = zip(data.split(b"\n"), record.data[start:].split(b"\n"), strict=False)
        for place, (expected, found) in enumerate(pairs):
            if expected != found:
                raise DecisionsDiffer(self.log.name, sequence + place, expected, found)
        raise AssertionError("what differs has a line that differs")

    def rest_on(self, log: str, record: Record) -> None:
        """Widen what the next record rests on by a record of another log."""
        assert record.header.root is not None
        self.latest[log] = Basis(log=log, start=record.sequence, end=record.end, root=record.header.root)
        before = self._basis.get(log)
        start = record.sequence if before is None else before.start
        self._basis[log] = Basis(log=log, start=start, end=record.end, root=record.header.root)

    def pass_time(self, network_time: int) -> None:
        """Begin a new record where network time goes on: the decisions of a record share one."""
        self.flush()
        self.network_time = network_time

    def pending(self) -> int:
        """Count the decisions that wait to be appended."""
        return self._waiting

    def is_stalled(self) -> bool:
        """Tell whether decisions wait that may not be appended: nobody may build on what follows."""
        return bool(self._pending) and not self._writable

    def flush(self) -> None:
        """Append what waits, as few records: 1 decided, 2 appended. Durable it is behind the next commit."""
        if not self._pending or not self._writable:
            return
        stands_at = format_instant(self.network_time) if self.network_time > BEFORE_TIME else None
        reach("settle.1-decided")
        data, hashes = Decided.join(self._pending)
        start = 0
        for body in part_lines(data):
            end = start + (self._waiting if body is data else count_lines(body))
            mine = None if hashes is None else hashes[start:end]
            self.end = self.log.append(body, self._now(), stands_at, tuple(self._basis.values()), mine).end
            start = end
            reach("settle.2-appended")
        self.appended += self._waiting
        self._pending, self._waiting = [], 0
        # What follows may still rest on the record that was read last, and on nothing before it.
        self._basis = dict(self.latest)

    def finish(self, lacking: Sequence[str] = ()) -> None:
        """Assert that the log holds nothing that no fact led to. Raises: DecisionsDiffer.

        `lacking` names logs that do not hold all that the facts lead to; this one may have built upon what is missing.
        """
        record = (self._record or next(self._held, None)) if self._behind else None
        if record is not None:
            place = record.data.count(b"\n", 0, self._compared)
            raise DecisionsDiffer(self.log.name, record.sequence + 1 + place, None, record.lines[place], lacking)
        self._leave_behind()

    def _leave_behind(self) -> None:
        """Stop comparing: the log's end is reached, and what is decided from here on is new."""
        if self._behind:
            self._behind = False
            self._basis = dict(self.latest)


def _short(line: bytes | None) -> str:
    return "nothing" if line is None else line[:200].decode(errors="replace")
