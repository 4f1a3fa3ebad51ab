"""Intake: may this fact enter, once, from a known stream, at a believable time?

One function for all entrances: before the append by `ingest`, and again by `settle` where a log's producers may have
bypassed the first. It depends on the facts before it in the same partition and on nothing else. The order of the
checks is fixed:

    readable → reportable → source → id → times → seen before? → genesis → stream → not too far ahead

Same key, same type, subject and data: a duplicate, which changes nothing. Same key, other content: `key_conflict`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from events.codec import encode_json
from events.event import Event, Fact, fact_id
from events.facts import GenesisDeclared, RecordRefused, StreamMarked, StreamRegistered
from events.instant import DAY, MICROSECONDS, parse_instant
from events.refusal import Reason, Refusal
from ledger.bps import Integers
from ledger.errors import ParametersInvalid
from ledger.parameters import Parameters, parameters_from_json, parameters_hash
from settlement.heads import INTAKE, Heads
from settlement.keys import Found, KeyIndex, Seen
from settlement.timekeeper import BEFORE_TIME, Timekeeper

__all__ = ["INTAKE", "SINCE_DAYS_MAX", "Accepted", "Duplicate", "Intake", "Known", "Run", "Verdict"]

# A stream may begin at most this far behind network time or the launch: each day in between is an epoch to close.
SINCE_DAYS_MAX = 3_660
# Shorter runs are judged one by one.
RUN_MIN = 8


class Accepted(NamedTuple):
    """The fact enters; `late` says that it came behind its stream's mark."""

    fact: Fact
    occurred_at: int
    late: bool


class Duplicate(NamedTuple):
    """The fact was reported before, at `position` in its partition; nothing happens."""

    position: int


class Run(NamedTuple):
    """The lines [start, end) of a batch, all accepted; `late` says which came behind their stream's mark."""

    start: int
    end: int
    late: npt.NDArray[np.bool_]


Verdict = Accepted | Duplicate | Refusal
Known = dict[bytes, Seen]


class Intake:
    """The state that intake depends on: keys, marks and the parameter set of one partition."""

    def __init__(self, keys: KeyIndex | None = None, *, judged: bool = False) -> None:
        """Begin before the first fact, unless with what is known of some.

        `judged`: all that comes was accepted before, and comes once. No keys are kept then, and of what can be read
        nothing is asked again.
        """
        self.keys = KeyIndex() if keys is None else keys
        self.judged = judged
        self.time = Timekeeper()
        self.parameters: Parameters | None = None
        self.params_hash = ""

    def admit(self, event: Event | Refusal, position: int, known: Known) -> Verdict:
        """Judge one event of a batch (or pass on the refusal of decoding); take it in at its position if accepted."""
        if isinstance(event, Refusal):
            return event
        key = key_of(event)
        verdict = self.judge(event, None if self.judged else known.get(key))
        if isinstance(verdict, Accepted):
            known[key] = self.take_in(verdict.fact, key, position)
        return verdict

    def runs(self, heads: Heads, known: Known, start: int = 0) -> Iterator[Run | int]:
        """Part a batch into runs of lines that are accepted, to be taken in, and lines that must be judged one by one.

        `known` gets what those need to know. It goes on only when what it has yielded was taken in, since marks count
        for what follows them. Where the lines before `start` were taken in before, the last of them alone, the rest
        is parted as if they had just been: a key that stands twice in a batch is judged alone each time.
        """
        if self.judged:
            alone = ~heads.plain
        else:
            found = self.keys.find_many(heads.keys)
            seen = found.at >= 0
            known.update(seen_before(heads, found, seen))
            alone = heads.alone() | seen
        for part in _parts(alone, partial(self._reach, heads), start):
            yield part if isinstance(part, int) else Run(part.start, part.stop, self._late(heads, part))

    def take_in_many(self, heads: Heads, start: int, end: int, positions: Integers) -> None:
        """Take in a run, each fact at its position."""
        if not self.judged:
            self.keys.add_many(heads.keys[start:end], heads.contents[start:end], positions)

    def are_barred(self, heads: Heads, lines: Integers | slice) -> npt.NDArray[np.bool_]:
        """Tell of which lines the stream is not registered, or they are too far ahead; of all before the genesis."""
        occurred_at = heads.occurred_at[lines]
        if self.parameters is None:
            return np.ones(len(occurred_at), dtype=np.bool_)
        marks, horizon = self.time.marks, self.parameters.epoch.horizon_seconds * MICROSECONDS
        latest = np.array([marks[name] + horizon if name in marks else BEFORE_TIME for name in heads.names])
        barred: npt.NDArray[np.bool_] = occurred_at > latest[heads.streams[lines]]
        return barred

    def _reach(self, heads: Heads, start: int, stop: int) -> int:
        """Tell how far from a line on none is barred."""
        if self.judged:
            return stop
        barred = self.are_barred(heads, slice(start, stop))
        return start + int(barred.argmax()) if barred.any() else stop

    def _late(self, heads: Heads, run: range) -> npt.NDArray[np.bool_]:
        marks = np.array([self.time.marks.get(name, BEFORE_TIME) for name in heads.names])
        lines = slice(run.start, run.stop)
        late: npt.NDArray[np.bool_] = heads.occurred_at[lines] < marks[heads.streams[lines]]
        return late

    def judge(self, event: Event, seen: Seen | None) -> Verdict:
        """Judge one event, of whose key this was `seen` before; take nothing in."""
        if not isinstance(event, Fact):
            return Refusal(Reason.TYPE_NOT_REPORTABLE, f"{type(event).__name__} is a decision")
        if (event.source == INTAKE) != isinstance(event, RecordRefused):
            return Refusal(Reason.SOURCE_RESERVED, f"source {INTAKE} and RecordRefused belong together")
        if event.id != fact_id(event.source, event.key):
            return Refusal(Reason.ID_MISMATCH, "id must be SHA-256(source|key)")
        try:
            occurred_at, reach = _times(event)
        except ValueError as error:
            return Refusal(Reason.TIME_MALFORMED, str(error))
        if seen is not None:
            if seen.content == content_digest(event):
                return Duplicate(seen.position)
            return Refusal(Reason.KEY_CONFLICT, f"key {event.key} said something else at {seen.position}")
        if isinstance(event, RecordRefused):
            return Accepted(event, occurred_at, False)
        refusal = self._judge_genesis(event) or self._judge_stream(event, reach)
        return refusal or Accepted(event, occurred_at, self.time.is_late(event.stream, occurred_at))

    def _judge_genesis(self, event: Fact) -> Refusal | None:
        if not isinstance(event, GenesisDeclared):
            if self.parameters is None:
                return Refusal(Reason.GENESIS_MISSING, "the books have no genesis yet")
            return None
        if self.parameters is not None:
            return Refusal(Reason.GENESIS_EXISTS, "the books have their genesis")
        if parameters_hash(event.data.parameters) != event.data.params_hash:
            return Refusal(Reason.PARAMETERS_INVALID, "params_hash is not that of the parameters")
        try:
            parameters_from_json(event.data.parameters)
        except ParametersInvalid as error:
            return Refusal(Reason.PARAMETERS_INVALID, str(error)[:300])
        return None

    def _judge_stream(self, event: Fact, reach: int) -> Refusal | None:
        marks = self.time.marks
        if isinstance(event, GenesisDeclared):
            return None
        assert self.parameters is not None
        if isinstance(event, StreamRegistered):
            if event.stream in marks:
                return Refusal(Reason.STREAM_EXISTS, f"stream {event.stream} is registered")
            launched_at = parse_instant(self.parameters.launched_at)
            latest = max(self.time.network_time, launched_at) + SINCE_DAYS_MAX * DAY
        else:
            if event.stream not in marks:
                return Refusal(Reason.STREAM_UNREGISTERED, f"stream {event.stream} is not registered")
            if isinstance(event, StreamMarked) and reach < marks[event.stream]:
                return Refusal(Reason.MARK_GOES_BACK, f"stream {event.stream} has passed {event.data.until}")
            latest = marks[event.stream] + self.parameters.epoch.horizon_seconds * MICROSECONDS
        if reach > latest:
            return Refusal(
                Reason.OCCURRED_TOO_FAR_AHEAD,
                f"{(reach - latest) // MICROSECONDS} s beyond what stream {event.stream} may reach",
            )
        return None

    def take_in(self, fact: Fact, key: bytes, position: int) -> Seen:
        """Take in a fact that was accepted; return what is now known of its key."""
        seen = Seen(position, content_digest(fact))
        if not self.judged:
            self.keys.add(key, seen)
        if isinstance(fact, StreamRegistered):
            self.time.mark(fact.stream, parse_instant(fact.data.since))
        elif isinstance(fact, StreamMarked):
            self.time.mark(fact.stream, parse_instant(fact.data.until))
        elif isinstance(fact, GenesisDeclared):
            self.parameters = parameters_from_json(fact.data.parameters)
            self.params_hash = fact.data.params_hash
        return seen


def _parts(alone: npt.NDArray[np.bool_], reach: Callable[[int, int], int], start: int = 0) -> Iterator[range | int]:
    """Part lines from `start` on into runs, none of them alone, and lines that are judged one by one.

    `reach` tells how far a run goes from a line on, given where it must end; it is asked when the run begins.
    """
    at, count = start, len(alone)
    for stop in [*(np.flatnonzero(alone[start:]) + start).tolist(), count]:
        while at < stop:
            end = reach(at, stop)
            if end - at < RUN_MIN:
                end = max(end, at + 1)
                yield from range(at, end)
            else:
                yield range(at, end)
            at = end
        if stop < count:
            yield stop
        at = stop + 1


def seen_before(heads: Heads, found: Found, wanted: npt.NDArray[np.bool_]) -> Known:
    """Return what was found of the keys of those lines of a batch that are wanted."""
    return {
        heads.keys[line].tobytes(): Seen(int(found.at[line]), found.content[line].tobytes())
        for line in np.flatnonzero(wanted & (found.at >= 0)).tolist()
    }


def key_of(event: Event) -> bytes:
    """Return the 16 bytes under which an event's key is kept."""
    return bytes.fromhex(event.id)[:16]


def content_digest(fact: Fact) -> bytes:
    """Return 16 bytes that stand for type, subject and data: what a key must always say alike."""
    data = encode_json(fact.data)  # type: ignore[attr-defined]
    return sha256(f"{type(fact).__name__}|{fact.subject}|".encode() + data).digest()[:16]


def _times(event: Fact) -> tuple[int, int]:
    """Return when the fact occurred, and how far ahead it reaches. Raises: ValueError."""
    occurred_at = parse_instant(event.occurred_at)
    if isinstance(event, StreamMarked):
        return occurred_at, parse_instant(event.data.until)
    if isinstance(event, StreamRegistered):
        return occurred_at, parse_instant(event.data.since)
    return occurred_at, occurred_at
