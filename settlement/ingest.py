"""Ingest: lines → intake → one durable batch → acknowledgement.

    each line of a batch is accepted, a duplicate, or refused; what is refused is kept as `RecordRefused`

Effects, per batch: 1 judge all lines   1b append to each partition in turn, the lanes first and the hub last, synced
2 all appended   3 acknowledge

Between two partitions' appends a batch is there in part. Whoever sends it again, since nothing was acknowledged,
completes it: what a partition has is a duplicate there, what it has not is accepted.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from events.codec import decode, encode
from events.columns import Integers
from events.event import Event, Fact, fact_id
from events.facts import RecordRefused, RecordRefusedData
from events.killpoints import reach
from events.log import Log
from events.record import Bodies, Record
from events.refusal import Reason, Refusal
from settlement.heads import Heads
from settlement.intake import (
    INTAKE,
    Accepted,
    Duplicate,
    Intake,
    Known,
    Run,
    Verdict,
    content_digest,
    key_of,
    seen_before,
)
from settlement.keys import KeyIndex, Seen
from settlement.lines import Chunk, Line
from settlement.remembered import open_intake, seal_intake
from settlement.routing import HUB, HUB_PARTITION, partitions_of, route
from settlement.sorting import Bits, Read, Sorted

__all__ = ["RAW_BYTES_MAX", "Partitions", "Receipt", "RefusedLine", "ingest", "ingest_whole"]

# Of a refused line this much is kept; a longer one is told by its length and digest.
RAW_BYTES_MAX = 49_152
# In place of a position that nobody asks for.
_UNASKED = -1
Now = Callable[[], str]
Positions = tuple[tuple[str, int], ...]


class RefusedLine(NamedTuple):
    """A line that did not enter: where it stood, and why."""

    number: int
    refusal: Refusal


class Receipt(NamedTuple):
    """The acknowledgement of a batch: durable up to `positions`, one per partition."""

    lines: int
    accepted: int
    duplicates: int
    refused: tuple[RefusedLine, ...]
    positions: Positions

    @property
    def position(self) -> str:
        """The positions as one token, such as `facts/0:12,facts/hub:3`."""
        return ",".join(f"{log}:{size}" for log, size in self.positions)


class Partitions:
    """All partitions of the facts, open for ingest, each with the intake that has seen it whole."""

    def __init__(
        self, logs: Sequence[Log], cache: Path | None = None, commit: Callable[[], None] | None = None
    ) -> None:
        """Take the lanes' partitions in order, then the hub's; read what a cache does not tell. Raises: OSError.

        `commit` makes durable what was appended to all of them, where each append does not do so by itself.
        """
        self.lanes = len(logs) - 1
        self.commit = commit
        self.logs = {log.name: log for log in logs}
        assert tuple(self.logs) == partitions_of(self.lanes)
        # As `place_many` numbers them.
        self.numbers = {name: HUB if name == HUB_PARTITION else number for number, name in enumerate(self.logs)}
        self.intakes = {name: open_intake(cache and cache / name, log) for name, log in self.logs.items()}
        for name, log in self.logs.items():
            _catch_up(self.intakes[name], log)

    def seal(self) -> None:
        """Let a later session go on from here. Everything that was taken in is in the logs. Raises: OSError."""
        for name, log in self.logs.items():
            seal_intake(self.intakes[name], log)

    def positions(self) -> Positions:
        """Return how much of each partition there is."""
        return tuple((name, log.end()) for name, log in self.logs.items())

    def marks(self) -> dict[str, int]:
        """Return how far each stream is that all partitions know."""
        marks = [intake.time.marks for intake in self.intakes.values()]
        known = set.intersection(*(set(one) for one in marks))
        return {stream: max(one[stream] for one in marks) for stream in known}


def _catch_up(intake: Intake, facts: Log) -> None:
    for record in facts.read(intake.keys.position):
        heads = Heads.of(record.batch, record.header.count, partial(_decode_line, record))
        known: Known = {}
        for part in intake.runs(heads, known):
            if isinstance(part, Run):
                positions = np.arange(part.start, part.end, dtype=np.int64) + record.sequence + 1
                intake.take_in_many(heads, part.start, part.end, positions)
            else:
                event = heads.others.get(part) or _decode_line(record, part)
                intake.admit(event, record.sequence + 1 + part, known)


def _decode_line(record: Record, line: int) -> Event | Refusal:
    return decode(record.lines[line])


def ingest(chunks: Iterable[Sequence[Line]], source: str, partitions: Partitions, now: Now) -> Iterator[Receipt]:
    """Append the facts that a source's lines hold, a batch at a time; yield each batch's receipt once it is durable."""
    for chunk in chunks:
        batch = _Batch(partitions)
        batch.take(Chunk.of(chunk), source, now)
        reach("ingest.1-checked")
        batch.append(now)
        reach("ingest.2-appended")
        yield batch.receipt()
        reach("ingest.3-acknowledged")
    partitions.seal()


def ingest_whole(chunks: Iterable[Sequence[Line]], source: str, partitions: Partitions, now: Now) -> Receipt:
    """Append all lines, once all are judged; where any is refused, none of them."""
    batch = _Batch(partitions)
    for chunk in chunks:
        batch.take(Chunk.of(chunk), source, now)
    if batch.refused:
        return batch.receipt()._replace(accepted=0, duplicates=0)
    batch.append(now)
    partitions.seal()
    return batch.receipt()


class _Entering:
    """What enters a partition unjudged: put into its body no sooner than something must stand behind it there."""

    def __init__(self, read: Read, lines: Sorted, number: int, bodies: Bodies) -> None:
        """Begin before a chunk's first line; `number`: the partition's."""
        self._read, self._sorted, self._number, self._bodies = read, lines, number, bodies
        # Of those that were put.
        self._positions, self._count = np.zeros(len(read), dtype=np.int64), 0
        self.look()

    def look(self) -> None:
        """See which lines enter: behind what was put there may be others than before."""
        self._lines = np.flatnonzero(self._sorted.enters & (self._read.places == self._number))
        self._spans = self._read.spans(self._lines)

    def put(self, line: int) -> Bodies:
        """Put what enters before a line into the body; return that."""
        data, starts, ends = self._spans
        start, stop = self._count, int(self._lines.searchsorted(line))
        if start < stop:
            self._positions[start:stop] = self._bodies.add_many(data, starts[start:stop], ends[start:stop])
            self._count = stop
        return self._bodies

    def position(self, line: int) -> int:
        """Return the position of a line that enters, and is put by now."""
        self.put(line + 1)
        return int(self._positions[self._lines.searchsorted(line)])

    def take(self, keys: KeyIndex) -> None:
        """Put what is left, and keep the keys of all that entered: each stands there once."""
        self.put(len(self._read))
        if len(self._lines):
            heads = self._read.heads
            keys.add_many(heads.keys[self._lines], heads.contents[self._lines], self._positions[: self._count])


class _Batch:
    """A batch: judged chunk by chunk, then appended."""

    def __init__(self, partitions: Partitions) -> None:
        self.refused: list[RefusedLine] = []
        self._partitions = partitions
        self._bodies = {name: Bodies(log.end()) for name, log in partitions.logs.items()}
        self._entering: dict[str, _Entering] = {}
        self._known: dict[str, Known] = {}
        self._lines = self._duplicates = 0

    def take(self, chunk: Chunk, source: str, now: Now) -> None:
        """Judge lines; keep what is accepted, and a record of each that is refused, for `append`."""
        read = Read(chunk, self._partitions.lanes)
        lines = self._sort(read)
        self._entering = {
            name: _Entering(read, lines, number, self._bodies[name]) for name, number, _ in self._intakes()
        }
        self._at, judged_at = -1, ""
        while (at := lines.next_alone(self._at + 1)) is not None:
            self._at = at
            event, data = read.event(at)
            if isinstance(event, Refusal):
                verdict: Verdict = event
            else:
                self._learn(read, lines.entered_as(at), event)
                verdict = self._admit(event, data)
            if isinstance(verdict, Duplicate):
                self._duplicates += 1
            elif isinstance(verdict, Refusal):
                line = chunk[at]
                self.refused.append(RefusedLine(line.number, verdict))
                # Lines of a chunk are judged at once.
                judged_at = judged_at or now()
                self._keep(_refusal_fact(line, source, verdict, judged_at))
            elif lines.look_ahead(at + 1):
                for entering in self._entering.values():
                    entering.look()
        for name, _, intake in self._intakes():
            self._entering[name].take(intake.keys)
        # What enters knows the lines, and the lines ask the batch: apart they go at once, not when the collector comes.
        self._entering = {}
        self._lines += len(chunk)
        self._duplicates += lines.count_again()

    def _learn(self, read: Read, line: int | None, event: Event) -> None:
        """Learn what a line said that entered before the present one under the same key.

        Where that stands is asked only of what says something else.
        """
        if line is not None:
            name = next(name for name, number, _ in self._intakes() if number == read.places[line])
            key, content = read.heads.keys[line].tobytes(), read.heads.contents[line].tobytes()
            again = isinstance(event, Fact) and content_digest(event) == content
            position = _UNASKED if again else self._entering[name].position(line)
            self._known[name][key] = Seen(position, content)

    def _sort(self, read: Read) -> Sorted:
        """Find what was seen before; tell which lines enter, and which must be judged one by one."""
        heads = read.heads
        seen, said = np.zeros((2, len(read)), dtype=np.bool_)
        found_in = {}
        for name, place, intake in self._intakes():
            found = found_in[name] = intake.keys.find_many(heads.keys)
            seen |= found.at >= 0
            here = heads.plain & (found.at >= 0) & (read.places == place)
            said[here] = (found.content[here] == heads.contents[here]).all(axis=1)
        self._known = {name: seen_before(heads, found, ~said) for name, found in found_in.items()}
        return Sorted(read, seen, said, partial(self._are_barred, read))

    def _are_barred(self, read: Read, lines: Integers) -> Bits:
        """Tell of which lines the stream is not registered in their partition, or not yet so far."""
        barred = np.zeros(len(lines), dtype=np.bool_)
        places = read.places[lines]
        for _, place, intake in self._intakes():
            mine = np.flatnonzero(places == place)
            if len(mine):
                barred[mine] = intake.are_barred(read.heads, lines[mine])
        return barred

    def _intakes(self) -> Iterator[tuple[str, int, Intake]]:
        """Yield each partition's name, its number as `place_many` gives it, and its intake."""
        for name, intake in self._partitions.intakes.items():
            yield name, self._partitions.numbers[name], intake

    def append(self, now: Now) -> None:
        """Append to each partition what is for it."""
        waiting = [name for name, bodies in self._bodies.items() if len(bodies)]
        for number, name in enumerate(waiting):
            if number:
                reach("ingest.1b-partition-appended")
            log, bodies = self._partitions.logs[name], self._bodies[name]
            for body, hashes in zip(bodies.join(), bodies.hashes(), strict=True):
                log.append(body, now(), hashes=hashes)
        if self._partitions.commit is not None:
            self._partitions.commit()

    def receipt(self) -> Receipt:
        """Return the acknowledgement."""
        accepted = self._lines - self._duplicates - len(self.refused)
        return Receipt(self._lines, accepted, self._duplicates, tuple(self.refused), self._partitions.positions())

    def _admit(self, event: Event, data: bytes) -> Verdict:
        """Let each partition that a fact goes to judge it; take it in where it is new, unless one refuses it."""
        key = key_of(event)
        names = route(event, self._partitions.lanes) if isinstance(event, Fact) else (HUB_PARTITION,)
        if len(names) > 1:
            return self._admit_to_all(event, key, data)
        verdict = self._judge(names[0], event, key)
        if isinstance(verdict, Accepted):
            for name, known in self._known.items():
                if key in known and name != names[0]:
                    # The content differs: the same would have gone where this goes.
                    return Refusal(
                        Reason.KEY_CONFLICT, f"key {event.key} said something else at {name}:{known[key].position}"
                    )
            self._accept(names[0], verdict.fact, key, data)
        return verdict

    def _admit_to_all(self, event: Event, key: bytes, data: bytes) -> Verdict:
        """Let all partitions judge; after a crash between their appends some may know the fact already."""
        verdicts = {name: self._judge(name, event, key) for name in self._known}
        for verdict in verdicts.values():
            if isinstance(verdict, Refusal):
                return verdict
        new = {name: verdict for name, verdict in verdicts.items() if isinstance(verdict, Accepted)}
        for name, verdict in new.items():
            self._accept(name, verdict.fact, key, data)
        return next(iter((new or verdicts).values()))

    def _judge(self, name: str, event: Event, key: bytes) -> Verdict:
        return self._partitions.intakes[name].judge(event, self._known[name].get(key))

    def _accept(self, name: str, fact: Fact, key: bytes, data: bytes) -> None:
        position = self._entering[name].put(self._at).add(data)
        self._known[name][key] = self._partitions.intakes[name].take_in(fact, key, position)

    def _keep(self, kept: RecordRefused) -> None:
        """Keep a refused line once, however often it comes; there is nothing to judge."""
        key = key_of(kept)
        keys = self._partitions.intakes[HUB_PARTITION].keys
        if key not in self._known[HUB_PARTITION] and not keys.find([key]):
            self._accept(HUB_PARTITION, kept, key, encode(kept))


def _refusal_fact(line: Line, source: str, refusal: Refusal, now: str) -> RecordRefused:
    digest = line.sha256 or sha256(line.data).hexdigest()
    return RecordRefused(
        id=fact_id(INTAKE, digest),
        source=INTAKE,
        stream=INTAKE,
        subject=INTAKE,
        occurred_at=now,
        key=digest,
        schema_version=1,
        data=RecordRefusedData(
            source=source[:300],
            position=line.number,
            reason=refusal.reason.value,
            detail=_printable(refusal.detail),
            raw=b64encode(line.data[:RAW_BYTES_MAX]).decode(),
            length=line.length,
            sha256=digest,
        ),
    )


def _printable(text: str) -> str:
    """Keep a detail that may quote a sender's bytes encodable."""
    return text[:300].encode("utf-8", "replace").decode()
