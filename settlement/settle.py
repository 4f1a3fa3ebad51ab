"""The settlers: one per lane and one for the hub, each a function of its facts and of what the others' logs say.

There is nothing to commit but the decisions themselves: each ledger record's header says on which part of which logs it
rests. A settler that starts again decides again, from the beginning or from a snapshot (see `settlement.snapshot`), and
compares (see `settlement.output`).

A settler pauses where it may go no further (see `settlement.cuts`), even in the middle of a record, and goes on from
there when it is advanced again. What one learns of another is its `Standing` and the log behind it, and nothing else,
so that each may be a process of its own. After a fault a settler is at its end; open a new one.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from events.codec import decode
from events.columns import Batch
from events.decisions import JobSettled
from events.event import Decision, Event, Fact
from events.facts import GenesisDeclared, RecordRefused
from events.instant import MICROSECONDS, parse_instant
from events.log import Log
from events.record import Record
from events.refusal import Reason, Refusal
from events.stakes import SlashReversed, SlashUpheld
from settlement.cuts import effective_time
from settlement.follower import Follower, read_heard
from settlement.heads import Heads
from settlement.hub import HEARD, Hub
from settlement.intake import Accepted, Duplicate, Intake, Known, Run, Verdict
from settlement.keys import KeyIndex, KeySet
from settlement.lane import Lane
from settlement.lane_run import LaneRuns, accept_run
from settlement.output import Decided, Output
from settlement.portion import Portion, read_portions
from settlement.routing import route, stand_in
from settlement.snapshot import WHILE_RUNNING, Mark, Snapshots, State
from settlement.timekeeper import BEFORE_TIME

__all__ = ["BATCHES_PER_COMMIT", "BATCH_DECISIONS", "HubSettler", "LaneSettler", "Settlement", "Standing"]

# While catching up a settler takes so many facts at once, and lets the others follow after so many decisions.
BATCH_DECISIONS = 16_000
# And what all of them have decided is made durable after so many batches.
BATCHES_PER_COMMIT = 1
# `type` is the last member of a canonical line.
_VERDICTS = (b'"type":"SlashUpheld"}', b'"type":"SlashReversed"}')
_decoder = msgspec.json.Decoder[Decision](SlashUpheld | SlashReversed)


class Standing(NamedTuple):
    """How far a settler has come: the network time that it has passed, and how much of its log says so."""

    passed: int
    end: int


class _Settler:
    """What both kinds share: they read a partition of facts, pause, pass time, and say how far they are."""

    # What it is at a pause, beside what it reads and writes.
    _STATE: tuple[str, ...] = ("_position", "_taken", "_until", "_intake", "_passed", "_target")

    def __init__(
        self,
        facts: Log,
        lanes: int,
        output: Output,
        followed: Sequence[Log],
        cache: Path | None,
        state: State | None,
        *,
        judged: bool,
    ) -> None:
        self.output = output
        self._cache = cache
        self._lane_count = lanes
        self.batch = BATCH_DECISIONS
        self.on_record: Callable[[int], None] | None = None
        self._facts = facts
        self._followers = [Follower(log) for log in followed]
        # Where the portion begins that is read next; and how many of its lines were taken before the settler paused in
        # it, and where it ends, if it did.
        self._position = self._taken = 0
        self._until: int | None = None
        self._passed = BEFORE_TIME
        # The network time of the partition while the settler may not pass it yet.
        self._target: int | None = None
        if state is None:
            # What is decided anew begins with no key, whatever the folder holds.
            self._intake = Intake(KeyIndex(cache and cache / "keys", until=0), judged=judged)
        else:
            self._go_on(state)
        self._steps = self._settle()

    def state(self) -> State:
        """Return what it is at a pause: with the same logs and this, another goes on as it would."""
        own = {name: getattr(self, name) for name in self._STATE}
        return own | {"output": self.output.standpoint(), "followers": [each.position for each in self._followers]}

    def _go_on(self, state: State) -> None:
        for name in self._STATE:
            setattr(self, name, state[name])
        self.output.go_on(state["output"])
        for follower, position in zip(self._followers, state["followers"], strict=True):
            follower.position = position

    def reached(self) -> int:
        """Return how much it has read of its facts, and decided."""
        read = self.output.latest.get(self._facts.name)
        return self.output.end + (0 if read is None else read.end)

    def marks(self) -> Iterator[Mark]:
        """Say how far that is in each log, and its root there."""
        if read := self.output.latest.get(self._facts.name):
            yield Mark(log=read.log, end=read.end, root=read.root)
        if self.output.end:
            yield Mark(log=self.output.log.name, end=self.output.end, root=self.output.log.root().hex())

    def standing(self) -> Standing:
        """Return how far it is: all of it is in its log."""
        return Standing(self._passed, self.output.end)

    def quiet_until(self) -> int:
        """Return the network time before which it decides nothing more, unless another one does."""
        if self._target is None or self.output.is_stalled():
            return self._passed
        stop = self._next_stop(self._target)
        return self._target if stop is None else stop

    def _next_stop(self, limit: int) -> int | None:
        raise NotImplementedError

    def _decide(self, position: int, verdict: Verdict) -> None:
        raise NotImplementedError

    def _decide_many(self, portion: Portion, run: Run) -> None:
        raise NotImplementedError

    def _pass(self, target: int) -> Iterator[None]:
        raise NotImplementedError

    def _advance(self) -> bool:
        """Go on to the next pause; append what was decided. Raises: DecisionsDiffer."""
        before = self._position, self.standing()
        next(self._steps)
        self.output.flush()
        return (self._position, self.standing()) != before

    def _settle(self) -> Iterator[None]:
        """Settle each portion of facts; pause at the end of what is there, and go on behind it."""
        while True:
            for portion in read_portions(self._facts, self._position, self._until, self.batch):
                self._until = portion.end
                yield from self._take(portion)
                self._position, self._taken, self._until = portion.end, 0, None
                if self.on_record is not None:
                    for record in portion.records:
                        self.on_record(record.header.count)
                if self.output.pending() >= self.batch:
                    # So that others follow closely, and need not go back for what is no longer at hand.
                    yield
            yield

    def _take(self, portion: Portion) -> Iterator[None]:
        yield from self._pass_target()
        judged = self._intake.judged
        heads = Heads.of(portion.batch, portion.count, lambda line: decode(portion.line(line)), judged=judged)
        if not judged:
            heads.plain &= self._belong(portion.batch, portion.count)
        known: Known = {}
        for part in self._intake.runs(heads, known, self._taken):
            if isinstance(part, Run):
                self._rest_on(portion, part.start, part.end)
                self._intake.take_in_many(heads, part.start, part.end, portion.positions(part.start, part.end))
                self._decide_many(portion, part)
            else:
                self._rest_on(portion, part, part + 1)
                event = heads.others.get(part) or decode(portion.line(part))
                self._taken = part + 1
                yield from self._take_one(portion.position(part), event, known)

    def _rest_on(self, portion: Portion, start: int, end: int) -> None:
        """Let what is decided rest on the records that begin among these lines."""
        for record in portion.beginning(start, end):
            self.output.rest_on(self._facts.name, record)

    def _take_one(self, position: int, event: Event | Refusal, known: Known) -> Iterator[None]:
        time = self._intake.time
        before = time.network_time
        self._decide(position, self._judge(event, position, known))
        if time.network_time != before:
            self._target = time.network_time
            yield from self._pass_target()

    def _pass_target(self) -> Iterator[None]:
        """Pass the network time that was reached, if it was not passed yet."""
        if self._target is not None:
            yield from self._pass(self._target)
            self.output.pass_time(self._target)
            self._target = None

    def _belong(self, batch: Batch, count: int) -> npt.NDArray[np.bool_]:
        """Tell which lines stand in the partition that they belong to: the others are refused one by one."""
        belong = np.zeros(count, dtype=np.bool_)
        for columns in batch.columns.values():
            belong[columns.rows] = stand_in(columns, self._facts.name, self._lane_count)
        return belong

    def _judge(self, event: Event | Refusal, position: int, known: Known) -> Verdict:
        """Judge what stands in the partition: it may have come past `ingest`, and even into the wrong partition."""
        if isinstance(event, Fact) and self._facts.name not in route(event, self._lane_count):
            return Refusal(Reason.FACT_MISROUTED, f"it belongs to {', '.join(route(event, self._lane_count))}")
        return self._intake.admit(event, position, known)

    def _reach(self, time: int) -> None:
        """Have passed a time, unless something before it is decided and cannot be appended."""
        if not self.output.is_stalled():
            self._passed = max(self._passed, time)

    def _stop(self, time: int, decide: Callable[[int], Decided]) -> None:
        """Decide what stands at a time, in a record of its own."""
        self._reach(time - 1)
        self.output.pass_time(time)
        self.output.put(decide(time))
        self._reach(time)


class LaneSettler(_Settler):
    """Settles a lane's partition of facts into the lane's log; hears the hub's verdicts from the hub's log."""

    _STATE = (*_Settler._STATE, "_hub_passed", "_ahead", "_lane", "_runs")

    def __init__(
        self,
        number: int,
        lanes: int,
        facts: Log,
        hub: Log,
        output: Output,
        cache: Path | None = None,
        state: State | None = None,
        *,
        judged: bool = False,
    ) -> None:
        """Begin at the first fact, or at a state; `number` counts from 0 among `lanes`.

        In `cache` large sets of digests are kept. `judged`: nobody but `ingest` can have written the facts.
        """
        self.number = number
        self._hub_passed = BEFORE_TIME
        self._ahead = 0
        self._lane: Lane | None = None
        self._runs: LaneRuns | None = None
        super().__init__(facts, lanes, output, [hub], cache, state, judged=judged)

    def hear(self, hub: Standing) -> None:
        """Take the hub's verdicts in up to where it stands."""
        [verdicts] = self._followers
        for record in verdicts.read(hub.end):
            lines = [line for line in record.lines if line.endswith(_VERDICTS)]
            if lines:
                assert self._lane is not None
                self.output.rest_on(verdicts.name, record)
                for line in lines:
                    # Its bytes were compared, or written, by the settler that stands behind them.
                    self._lane.hear(_decoder.decode(line), _network_time(record) + self._ahead)
        self._hub_passed = hub.passed

    def advance(self, hub: Standing) -> bool:
        """Go on as far as the facts and the hub allow; tell whether that was any further. Raises: DecisionsDiffer."""
        self.hear(hub)
        return self._advance()

    def _decide(self, position: int, verdict: Verdict) -> None:
        if isinstance(verdict, Duplicate):
            return
        if isinstance(verdict, Refusal):
            if self._lane is not None:
                self.output.put(self._lane.refuse_unreadable(f"{self._facts.name}:{position}", verdict))
        elif isinstance(verdict.fact, GenesisDeclared):
            assert self._intake.parameters is not None
            self._ahead = self._intake.parameters.epoch.return_seconds * MICROSECONDS
            closed = KeySet(self._cache and self._cache / "closed", until=0)
            self._lane = Lane(self.number, self._intake.parameters, self._intake.params_hash, closed)
            self._runs = LaneRuns(self._lane, self._intake.parameters, self._intake.params_hash)
        elif self._lane is not None:
            self.output.put(self._lane.take(verdict, self._intake.time.network_time))

    def _decide_many(self, portion: Portion, run: Run) -> None:
        assert self._runs is not None
        self.output.put(self._runs.take(portion.batch, run, self._intake.time.network_time))

    def _next_stop(self, limit: int) -> int | None:
        return None if self._lane is None else self._lane.next_stop(limit)

    def _pass(self, target: int) -> Iterator[None]:
        """Make each stop up to a network time; pause where the hub's verdicts are not known that far."""
        assert self._lane is not None
        while True:
            limit = min(target, self._hub_passed + self._ahead)
            while (stop := self._lane.next_stop(limit)) is not None:
                self._stop(stop, self._lane.stop_at)
            self._reach(limit)
            if limit == target:
                return
            yield


class HubSettler(_Settler):
    """Settles the hub's partition of facts, and what the lanes' logs say, into the hub's log."""

    _STATE = (*_Settler._STATE, "_lanes_passed", "_hub")

    def __init__(
        self,
        facts: Log,
        lanes: Sequence[Log],
        output: Output,
        cache: Path | None = None,
        state: State | None = None,
        *,
        judged: bool = False,
    ) -> None:
        """Begin before the genesis, or at a state; `cache` and `judged` as a lane has them."""
        self._lanes_passed = BEFORE_TIME
        self._hub: Hub | None = None
        super().__init__(facts, len(lanes), output, lanes, cache, state, judged=judged)

    def advance(self, lanes: Sequence[Standing]) -> bool:
        """Go on as far as the facts and the lanes allow; tell whether that was any further. Raises: DecisionsDiffer."""
        opened = self._hub is None and self._advance()
        if self._hub is None:
            return opened
        for follower, lane in zip(self._followers, lanes, strict=True):
            self._hear(self._hub, follower, lane.end)
        self._lanes_passed = min(lane.passed for lane in lanes)
        return self._advance() or opened

    def leap(self, time: int) -> bool:
        """Pass all cuts below a time before which nobody has anything to say, the hub included."""
        before = self._passed
        self._reach(time - 1)
        return self._passed > before

    def _hear(self, hub: Hub, follower: Follower, end: int) -> None:
        for record in follower.read(end):
            self.output.rest_on(follower.name, record)
            lines, batch = read_heard(record, (JobSettled, *HEARD))
            if JobSettled in batch.columns:
                hub.take_settled(batch.columns[JobSettled], _network_time(record))
            heard = [batch.columns[kind].rows for kind in HEARD if kind in batch.columns]
            for line in lines[np.sort(np.concatenate((batch.rest, *heard)))].tolist():
                decision = decode(record.line(line))
                if isinstance(decision, Decision) and type(decision) in {JobSettled, *HEARD}:
                    effective = effective_time(parse_instant(decision.occurred_at), _network_time(record))
                    hub.take_decision(decision, effective, record.sequence + 2 + line)

    def _decide(self, position: int, verdict: Verdict) -> None:
        if isinstance(verdict, Duplicate):
            return
        if isinstance(verdict, Refusal):
            if self._hub is not None:
                self.output.put(self._hub.refuse_unreadable(f"{self._facts.name}:{position}", verdict))
        elif isinstance(verdict.fact, GenesisDeclared):
            self._open_books(verdict.fact)
        elif not isinstance(verdict.fact, RecordRefused):
            self._keep(verdict)

    def _decide_many(self, portion: Portion, run: Run) -> None:
        for accepted in accept_run(portion.batch, run, but=RecordRefused):
            self._keep(accepted)

    def _keep(self, accepted: Accepted) -> None:
        if self._hub is not None:
            self._hub.take_fact(accepted, effective_time(accepted.occurred_at, self._intake.time.network_time))

    def _open_books(self, genesis: GenesisDeclared) -> None:
        parameters = self._intake.parameters
        assert parameters is not None
        self._hub = Hub(self._lane_count, parameters, self._intake.params_hash)
        self.output.put(self._hub.open_books(genesis))
        # There is no cut before the launch.
        self._reach(parse_instant(parameters.launched_at))

    def _next_stop(self, limit: int) -> int | None:
        return None if self._hub is None else self._hub.next_cut(limit)

    def _pass(self, target: int) -> Iterator[None]:
        """Decide at each cut up to a network time; pause where not all lanes have passed it."""
        assert self._hub is not None
        while True:
            limit = min(target, self._lanes_passed)
            while (cut := self._hub.next_cut(limit)) is not None:
                self._stop(cut, self._hub.cut)
            self._reach(limit)
            if limit == target:
                return
            yield


class Settlement:
    """All settlers of some books in one process, run by turns until none can go any further.

    `commit` makes durable what all of them have appended, and what that rests on. Nobody outside may build on a
    decision before. Behind a commit all of them may be written down, in `snapshots`.
    """

    def __init__(
        self,
        lanes: Sequence[LaneSettler],
        hub: HubSettler,
        commit: Callable[[], None],
        snapshots: Snapshots | None = None,
    ) -> None:
        """Take settlers that have not begun, or go on from one snapshot."""
        self._lanes, self._hub, self._commit, self._snapshots = lanes, hub, commit, snapshots
        self._settlers: tuple[_Settler, ...] = (*lanes, hub)

    def run(self, batch: int = BATCH_DECISIONS, on_record: Callable[[int], None] | None = None) -> int:
        """Settle all that is there; return the number of decisions appended. Raises: DecisionsDiffer.

        How far that is depends on the facts that are there, and not on the turns.
        """
        for settler in self._settlers:
            settler.batch, settler.on_record = batch, on_record
        before = committed = self._appended()
        while self._take_turns():
            if self._appended() - committed >= batch * BATCHES_PER_COMMIT:
                self._commit()
                self.snapshot(WHILE_RUNNING)
                committed = self._appended()
        self._commit()
        lacking = [settler.output.log.name for settler in self._settlers if settler.output.is_stalled()]
        for settler in self._settlers:
            settler.output.finish(lacking)
        self.snapshot(WHILE_RUNNING)
        return self._appended() - before

    def snapshot(self, least: int) -> None:
        """Write all settlers down where so much was done since the last time; all that they decided is committed.

        While one of them still compares there is nothing to write: it would be no further than its log.
        """
        reached = sum(settler.reached() for settler in self._settlers)
        if self._snapshots is None or not self._snapshots.is_due(reached, least):
            return
        if all(settler.output.is_level() for settler in self._settlers):
            marks = [mark for settler in self._settlers for mark in settler.marks()]
            self._snapshots.keep(marks, {settler.output.log.name: settler.state() for settler in self._settlers})

    def _take_turns(self) -> bool:
        """Let each settler go on once; tell whether any did."""
        standing = self._hub.standing()
        for lane in self._lanes:
            lane.hear(standing)
        # In small steps they would come to the same, by way of every empty cut.
        leapt = self._hub.leap(min(settler.quiet_until() for settler in self._settlers))
        standing = self._hub.standing()
        moved = [lane.advance(standing) for lane in self._lanes]
        moved.append(self._hub.advance([lane.standing() for lane in self._lanes]))
        return leapt or any(moved)

    def _appended(self) -> int:
        return sum(settler.output.appended for settler in self._settlers)


def _network_time(record: Record) -> int:
    text = record.header.network_time
    return BEFORE_TIME if text is None else parse_instant(text)
