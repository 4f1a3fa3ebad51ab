"""A ledger log as a settler writes it: compared while behind the log's end, appended to from there on.

Decisions are a function of the facts, so a settler that starts again simply decides again. What the log holds already
must be the same bytes; the first that is not is named and stops it.
"""

from collections.abc import Callable, Sequence

from events.instant import format_instant
from events.killpoints import reach
from events.log import Log
from events.record import Basis, Record, pack_lines
from ledger.errors import LedgerInvariantBroken
from settlement.timekeeper import BEFORE_TIME

__all__ = ["DecisionsDiffer", "Output"]


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
        self._held = (event for record in log.read(0) for event in record.events())
        self._behind = True
        self._pending: list[bytes] = []
        self._basis: dict[str, Basis] = {}
        self._latest: dict[str, Basis] = {}

    def put(self, lines: list[bytes]) -> None:
        """Take decisions. Raises: DecisionsDiffer."""
        for line in lines:
            held = next(self._held, None) if self._behind else None
            if held is None:
                self._leave_behind()
                self._pending.append(line)
            elif held[1] != line:
                raise DecisionsDiffer(self.log.name, held[0], line, held[1])
            else:
                self.end = held[0] + 1

    def rest_on(self, log: str, record: Record) -> None:
        """Widen what the next record rests on by a record of another log."""
        assert record.header.root is not None
        self._latest[log] = Basis(log=log, start=record.sequence, end=record.end, root=record.header.root)
        before = self._basis.get(log)
        start = record.sequence if before is None else before.start
        self._basis[log] = Basis(log=log, start=start, end=record.end, root=record.header.root)

    def pass_time(self, network_time: int) -> None:
        """Begin a new record where network time goes on: the decisions of a record share one."""
        self.flush()
        self.network_time = network_time

    def pending(self) -> int:
        """Count the decisions that wait to be appended."""
        return len(self._pending)

    def is_stalled(self) -> bool:
        """Tell whether decisions wait that may not be appended: nobody may build on what follows."""
        return bool(self._pending) and not self._writable

    def flush(self) -> None:
        """Append what waits, as few records: 1 decided, 2 appended. Durable it is behind the next commit."""
        if not self._pending or not self._writable:
            return
        stands_at = format_instant(self.network_time) if self.network_time > BEFORE_TIME else None
        reach("settle.1-decided")
        for batch in pack_lines(self._pending):
            self.end = self.log.append(batch, self._now(), stands_at, tuple(self._basis.values())).end
            reach("settle.2-appended")
        self.appended += len(self._pending)
        self._pending = []
        # What follows may still rest on the record that was read last, and on nothing before it.
        self._basis = dict(self._latest)

    def finish(self, lacking: Sequence[str] = ()) -> None:
        """Assert that the log holds nothing that no fact led to. Raises: DecisionsDiffer.

        `lacking` names logs that do not hold all that the facts lead to; this one may have built upon what is missing.
        """
        extra = next(self._held, None) if self._behind else None
        if extra is not None:
            raise DecisionsDiffer(self.log.name, extra[0], None, extra[1], lacking)
        self._leave_behind()

    def _leave_behind(self) -> None:
        """Stop comparing: the log's end is reached, and what is decided from here on is new."""
        if self._behind:
            self._behind = False
            self._basis = dict(self._latest)


def _short(line: bytes | None) -> str:
    return "nothing" if line is None else line[:200].decode(errors="replace")
