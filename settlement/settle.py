"""The settlers: one reads a facts partition and drives a lane, one reads the lanes and drives the hub.

There is nothing to commit but the decisions themselves: each ledger record's header says on which part of which logs it
rests. A settler that starts again decides again from the beginning and compares (see `settlement.output`).
"""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from events.codec import decode
from events.decisions import LaneEpochClosed
from events.facts import GenesisDeclared
from events.log import Log
from events.record import Record
from events.refusal import Refusal
from settlement.hub import Hub
from settlement.intake import Accepted, Duplicate, Intake, Verdict
from settlement.lane import Lane
from settlement.output import Output

__all__ = ["BATCH_DECISIONS", "HubSettler", "LaneSettler"]

# One sync per so many decisions while catching up, about 1 MB; what is there is settled at once all the same.
BATCH_DECISIONS = 2_000
_LANE_CLOSED = b'"type":"LaneEpochClosed"'


class LaneSettler:
    """Settles one facts partition into one lane's log."""

    def __init__(self, number: int, facts: Log, output: Output, sync_facts: Callable[[], None]) -> None:
        """Begin at the first fact."""
        self.number = number
        self.position = 0
        self._facts = facts
        self._output = output
        self._sync_facts = sync_facts
        self._intake = Intake()
        self._lane: Lane | None = None

    def run(self, batch: int = BATCH_DECISIONS, on_record: Callable[[int], None] | None = None) -> int:
        """Settle all facts that are there; return the number of decisions appended. Raises: DecisionsDiffer."""
        before = self._output.appended
        for record in self._facts.read(self.position):
            self._take(record)
            self.position = record.end
            if self._output.pending() >= batch:
                self._output.flush(self._sync_facts)
            if on_record is not None:
                on_record(record.header.count)
        self._output.flush(self._sync_facts)
        self._output.finish()
        return self._output.appended - before

    def _take(self, record: Record) -> None:
        self._output.rest_on(self._facts.name, record)
        for position, verdict in self._judge(record):
            self._decide(position, verdict)

    def _judge(self, record: Record) -> Iterator[tuple[int, Verdict]]:
        read = [decode(line) for line in record.lines]
        known = self._intake.look_up(read)
        for position, event in enumerate(read, record.sequence + 1):
            yield position, self._intake.admit(event, position, known)

    def _decide(self, position: int, verdict: Verdict) -> None:
        if isinstance(verdict, Duplicate):
            return
        if isinstance(verdict, Refusal):
            if self._lane is not None:
                self._output.put(self._lane.refuse_unreadable(f"{self._facts.name}:{position}", verdict))
        elif isinstance(verdict.fact, GenesisDeclared):
            assert self._intake.parameters is not None
            self._lane = Lane(self.number, self._intake.parameters, self._intake.params_hash)
        elif self._lane is not None:
            self._output.put(self._lane.take(verdict))
            self._pass_time(self._lane)

    def _pass_time(self, lane: Lane) -> None:
        network_time = self._intake.time.network_time
        if network_time != self._output.network_time:
            self._output.pass_time(network_time, self._sync_facts)
            self._output.put(lane.pass_time(network_time))


class HubSettler:
    """Settles the lanes' closed epochs, and the genesis from the facts, into the hub's log."""

    def __init__(self, facts: Log, lanes: Sequence[Log], output: Output, sync_lanes: Callable[[], None]) -> None:
        """Begin before the genesis."""
        self._facts = facts
        self._lanes = lanes
        self._positions = [0] * len(lanes)
        self._output = output
        self._sync_lanes = sync_lanes
        self._hub: Hub | None = None

    def run(self) -> int:
        """Close what can be closed; return the number of decisions appended. Raises: DecisionsDiffer."""
        before = self._output.appended
        if self._hub is None:
            self._open_books()
        if self._hub is not None:
            for number in range(len(self._lanes)):
                self._read_lane(number, self._hub)
            for network_time, lines in self._hub.close_epochs():
                self._output.pass_time(network_time, self._sync_lanes)
                self._output.put(lines)
        self._output.flush(self._sync_lanes)
        self._output.finish()
        return self._output.appended - before

    def _open_books(self) -> None:
        """Find the genesis: the first fact that any partition's intake can accept."""
        intake = Intake()
        for record in self._facts.read(0):
            positions = range(record.sequence + 1, record.end)
            read = [decode(line) for line in record.lines]
            known = intake.look_up(read)
            for event, position in zip(read, positions, strict=True):
                verdict = intake.admit(event, position, known)
                if isinstance(verdict, Accepted) and isinstance(verdict.fact, GenesisDeclared):
                    assert intake.parameters is not None
                    self._hub = Hub(len(self._lanes), intake.parameters, intake.params_hash)
                    self._output.rest_on(self._facts.name, record)
                    self._output.put(self._hub.open_books(verdict.fact))
                    return

    def _read_lane(self, number: int, hub: Hub) -> None:
        log = self._lanes[number]
        for record in log.read(self._positions[number]):
            self._output.rest_on(log.name, record)
            for position, line in record.events():
                if _LANE_CLOSED in line:
                    hub.take(_closed_decoder.decode(line), position + 1)
            self._positions[number] = record.end


_closed_decoder = msgspec.json.Decoder(LaneEpochClosed)
