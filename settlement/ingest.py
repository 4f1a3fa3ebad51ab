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
import numpy.typing as npt

from events.cloudevents import Envelope, open_envelope, unwrap
from events.codec import canonicalise, decode, encode
from events.columns import Integers, read_columns
from events.event import Event, Fact, fact_id
from events.facts import RecordRefused, RecordRefusedData
from events.hashing import join_texts
from events.killpoints import reach
from events.log import Log
from events.record import Bodies, Record
from events.refusal import Reason, Refusal
from settlement.heads import Heads
from settlement.intake import INTAKE, Accepted, Duplicate, Intake, Known, Run, Verdict, key_of, parts, seen_before
from settlement.lines import LINE_BYTES_MAX, Chunk, Line
from settlement.remembered import open_intake, seal_intake
from settlement.routing import HUB, HUB_PARTITION, partitions_of, place_many, route

__all__ = ["RAW_BYTES_MAX", "Partitions", "Receipt", "RefusedLine", "ingest", "ingest_whole"]

# Of a refused line this much is kept; a longer one is told by its length and digest.
RAW_BYTES_MAX = 49_152
# The place of a line that is in no partition: judged alone, or a duplicate.
NOWHERE = -2
Now = Callable[[], str]
Positions = tuple[tuple[str, int], ...]
# By partition, of each run the lines that are for it, and their positions.
Taken = dict[str, list[tuple[Integers, Integers]]]


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


class _Read:
    """A chunk's lines as columns: of each its head, where its event stands, and the number of its partition.

    Lines that are not plain are read one by one, and belong nowhere yet.
    """

    def __init__(self, chunk: Chunk, lanes: int) -> None:
        count = len(chunk)
        self._chunk = chunk
        self._bytes: dict[int, bytes] = {}
        batch = read_columns(chunk.data, chunk.starts, chunk.ends, wrapped=True)
        self.heads = Heads.of(batch, count, self._read_alone)
        self.places = np.full(count, NOWHERE, dtype=np.int64)
        self._starts, self._ends = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        for columns in batch.columns.values():
            rows = columns.rows
            if self.heads.plain[rows].any():
                self.places[rows] = place_many(columns, lanes)
                self._starts[rows], self._ends[rows] = columns.span("")

    def event(self, line: int) -> tuple[Event | Refusal, bytes]:
        """Return a line's event and its canonical bytes."""
        if line in self._bytes:
            return self.heads.others[line], self._bytes[line]
        return _read(self._chunk[line])

    def body(self, lines: Integers) -> tuple[bytes, Integers]:
        """Return the events' bytes of some lines that are plain, each with its LF, and the places behind those."""
        starts, ends = self._starts[lines], self._ends[lines]
        return join_texts(self._chunk.data, starts, ends), np.cumsum(ends - starts + 1)

    def _read_alone(self, line: int) -> Event | Refusal:
        event, self._bytes[line] = _read(self._chunk[line])
        return event


class _Batch:
    """A batch: judged run by run and line by line, then appended."""

    def __init__(self, partitions: Partitions) -> None:
        self.refused: list[RefusedLine] = []
        self._partitions = partitions
        self._bodies = {name: Bodies(log.end()) for name, log in partitions.logs.items()}
        self._known: dict[str, Known] = {}
        self._lines = self._duplicates = 0

    def take(self, chunk: Chunk, source: str, now: Now) -> None:
        """Judge lines; keep what is accepted, and a record of each that is refused, for `append`."""
        read = _Read(chunk, self._partitions.lanes)
        self._lines += len(chunk)
        alone = self._look_up(read)
        taken: Taken = {name: [] for name in self._bodies}
        for part in parts(alone, partial(self._reach, read)):
            if isinstance(part, range):
                self._take_run(read, part, taken)
                continue
            verdict = self._admit(*read.event(part))
            if isinstance(verdict, Duplicate):
                self._duplicates += 1
            elif isinstance(verdict, Refusal):
                line = chunk[part]
                self.refused.append(RefusedLine(line.number, verdict))
                self._keep(_refusal_fact(line, source, verdict, now()))
        self._take_in(read.heads, taken)

    def _look_up(self, read: _Read) -> npt.NDArray[np.bool_]:
        """Find what was seen before; tell which lines must be judged one by one.

        What says the same again stays in its run, and belongs nowhere.
        """
        heads = read.heads
        alone = heads.alone()
        seen, again = np.zeros_like(alone), np.zeros_like(alone)
        for name, place, intake in self._intakes():
            found = intake.keys.find_many(heads.keys)
            self._known[name] = seen_before(heads, found)
            seen |= found.at >= 0
            here = (found.at >= 0) & (read.places == place)
            again[here] = (found.content[here] == heads.contents[here]).all(axis=1)
        read.places[again] = NOWHERE
        return alone | (seen & ~again)

    def _reach(self, read: _Read, start: int, stop: int) -> int:
        """Tell how far from a line on all is accepted."""
        for _, place, intake in self._intakes():
            lines = start + np.flatnonzero(read.places[start:stop] == place)
            reached = intake.reach(read.heads, lines) if len(lines) else 0
            if reached < len(lines):
                stop = int(lines[reached])
        return stop

    def _take_run(self, read: _Read, run: range, taken: Taken) -> None:
        """Take what is accepted, each partition what is for it; count what was seen before."""
        self._duplicates += int(np.count_nonzero(read.places[run.start : run.stop] == NOWHERE))
        for name, place, _ in self._intakes():
            lines = run.start + np.flatnonzero(read.places[run.start : run.stop] == place)
            if len(lines):
                taken[name].append((lines, self._bodies[name].add_many(*read.body(lines))))

    def _take_in(self, heads: Heads, taken: Taken) -> None:
        """Remember the keys of all runs of a chunk: none stands twice in it, so no run asks for another's."""
        for name, parts_of in taken.items():
            if parts_of:
                lines, positions = (np.concatenate(column) for column in zip(*parts_of, strict=True))
                self._partitions.intakes[name].keys.add_many(heads.keys[lines], heads.contents[lines], positions)

    def _intakes(self) -> Iterator[tuple[str, int, Intake]]:
        """Yield each partition's name, its number as `place_many` gives it, and its intake."""
        for number, (name, intake) in enumerate(self._partitions.intakes.items()):
            yield name, HUB if name == HUB_PARTITION else number, intake

    def append(self, now: Now) -> None:
        """Append to each partition what is for it."""
        waiting = [(self._partitions.logs[name], bodies.join()) for name, bodies in self._bodies.items()]
        waiting = [(log, bodies) for log, bodies in waiting if bodies]
        for number, (log, bodies) in enumerate(waiting):
            if number:
                reach("ingest.1b-partition-appended")
            for body in bodies:
                log.append(body, now())
        if self._partitions.commit is not None:
            self._partitions.commit()

    def receipt(self) -> Receipt:
        """Return the acknowledgement."""
        accepted = self._lines - self._duplicates - len(self.refused)
        return Receipt(self._lines, accepted, self._duplicates, tuple(self.refused), self._partitions.positions())

    def _admit(self, event: Event | Refusal, data: bytes) -> Verdict:
        """Let each partition that a fact goes to judge it; take it in where it is new, unless one refuses it."""
        if isinstance(event, Refusal):
            return event
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
        position = self._bodies[name].add(data)
        self._known[name][key] = self._partitions.intakes[name].take_in(fact, key, position)

    def _keep(self, kept: RecordRefused) -> None:
        """Keep a refused line once, however often it comes."""
        key = key_of(kept)
        self._known[HUB_PARTITION] |= self._partitions.intakes[HUB_PARTITION].keys.find([key])
        self._admit(kept, encode(kept))


def _read(line: Line) -> tuple[Event | Refusal, bytes]:
    """Cut the event out of its envelope; bring unsigned JSON into canonical form where it is not."""
    if line.length > LINE_BYTES_MAX:
        return Refusal(Reason.LINE_TOO_LONG, f"{line.length} bytes, at most {LINE_BYTES_MAX}"), b""
    envelope = open_envelope(line.data)
    if isinstance(envelope, Refusal):
        return _name(line.data, envelope), b""
    data = bytes(envelope.data)
    event = decode(data)
    if isinstance(event, Refusal):
        canonical = canonicalise(data)
        if isinstance(canonical, Refusal):
            return canonical, b""
        data = canonical
        event = decode(data)
    return _check(line.data, envelope, event), data


def _check(line: bytes, envelope: Envelope, event: Event | Refusal) -> Event | Refusal:
    if isinstance(event, Refusal):
        return event
    if isinstance(event, RecordRefused):
        return Refusal(Reason.TYPE_NOT_REPORTABLE, "RecordRefused is written by intake alone")
    return unwrap(line, envelope, event) or event


def _name(data: bytes, refusal: Refusal) -> Refusal:
    """Prefer the fault of the bytes themselves to that of the envelope."""
    parsed = canonicalise(data)
    return parsed if isinstance(parsed, Refusal) else refusal


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
