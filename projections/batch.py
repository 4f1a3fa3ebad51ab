"""Some records of a ledger log, read for projection: columns where a type has vector rules, decisions where not.

Lines are numbered from 0 over the whole batch; `sequences` gives the place of each in the log.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from events.codec import decode
from events.columns import Columns, Integers, read_columns
from events.decisions import DecisionRefused
from events.event import Decision, Event
from events.log import Log
from events.record import Record
from events.refusal import Refusal
from ledger.accounts import Key
from ledger.entry import Side
from ledger.errors import LedgerInvariantBroken
from ledger.post import post
from ledger.sums import Limbs, limbs_of
from ledger.vectors import VECTOR_KINDS, Names, Postings, post_columns

__all__ = [
    "EVENTS_MAX",
    "Batch",
    "Moves",
    "Part",
    "cut_parts",
    "cut_records",
    "follow_records",
    "read_batches",
    "read_records",
]

# So many events go into one transaction while catching up.
EVENTS_MAX = 50_000
# And so many are matched at once: what stands in columns is read while it is still near the processor.
_PART_EVENTS = 8_192
# What moves nothing, and of which rows are made from columns.
_ROWS_ALONE = frozenset({DecisionRefused})


class Moves(NamedTuple):
    """The postings of a batch, as columns: line, account number, what it debits and what it credits."""

    lines: Integers
    accounts: Integers
    debits: Limbs
    credits: Limbs


class Part(NamedTuple):
    """Decisions of one type as columns; their lines begin behind `offset`."""

    offset: int
    columns: Columns

    def lines(self) -> Integers:
        """Return the decisions' lines."""
        return self.columns.rows + self.offset


class Batch:
    """Records whose rows are one transaction."""

    def __init__(self, log: str, records: list[Record]) -> None:
        """Take records that follow one another."""
        self.log = log
        self.end = records[-1].end
        self.headers = [record.header for record in records]
        self._records = records
        self.counts = np.array([record.header.count for record in records], dtype=np.int64)
        self.size = int(self.counts.sum())
        self.parts: list[Part] = []
        self.decisions: list[tuple[int, Decision]] = []
        self._moves: Moves | None = None

    @cached_property
    def sequences(self) -> Integers:
        """Each line's place in the log."""
        firsts = np.array([header.sequence + 1 for header in self.headers], dtype=np.int64)
        return np.asarray(np.arange(self.size) + np.repeat(firsts - self.counts.cumsum() + self.counts, self.counts))

    @cached_property
    def last_lines(self) -> Integers:
        """The last line of each line's record."""
        return np.repeat(self.counts.cumsum() - 1, self.counts)

    def moves(self, names: Names) -> Moves:
        """Read and post all lines, once; new accounts are named. Raises: LedgerInvariantBroken."""
        if self._moves is None:
            posted = [self._read_part(offset, records, names) for offset, records in self._split()]
            self.decisions.sort(key=lambda pair: pair[0])
            self._moves = _join([postings for part in posted for postings in part], self._post(names))
            self._records = []
        return self._moves

    def forget(self) -> None:
        """Give back what was read; the next batch is read before this one is let go."""
        self._records, self.parts, self.decisions, self._moves = [], [], [], None

    def _split(self) -> Iterator[tuple[int, list[Record]]]:
        part: list[Record] = []
        offset = count = 0
        for record in self._records:
            part.append(record)
            count += record.header.count
            if count >= _PART_EVENTS:
                yield offset, part
                offset, part, count = offset + count, [], 0
        if part:
            yield offset, part

    def _read_part(self, offset: int, records: list[Record], names: Names) -> list[Moves]:
        data = b"".join([record.data for record in records])
        begins = np.cumsum([0, *(len(record.data) for record in records[:-1])])
        starts, ends = (
            np.concatenate([record.spans[side] + begin for record, begin in zip(records, begins.tolist(), strict=True)])
            for side in range(2)
        )
        moves, rest = [], []
        batch = read_columns(data, starts, ends)
        for kind, columns in batch.columns.items():
            if kind in _ROWS_ALONE:
                self.parts.append(Part(offset, columns))
                continue
            if kind not in VECTOR_KINDS:
                rest.append(columns.rows)
                continue
            postings = post_columns(columns, names)
            rest.append(postings.rest)
            moves.append(_move(postings, offset))
            odd = len(postings.rest) > 0
            self.parts.append(Part(offset, columns.take(~np.isin(columns.rows, postings.rest)) if odd else columns))
        for row in np.concatenate([batch.rest, *rest]).tolist():
            line = offset + row
            self.decisions.append((line, self._decode(line, data[starts[row] : ends[row]])))
        return moves

    def _decode(self, line: int, text: bytes) -> Decision:
        event: Event | Refusal = decode(text)
        if not isinstance(event, Decision):
            sequence = int(self.sequences[line])
            raise LedgerInvariantBroken(f"{self.log}: event {sequence} is no decision: {event!r:.200}")
        return event

    def _post(self, names: Names) -> Moves:
        """Post one by one what has no vector rule, or numbers too large for one."""
        lines, accounts, debits, credits = list[int](), list[int](), list[int](), list[int]()
        for line, decision in self.decisions:
            entry = post(decision)
            for posting in () if entry is None else entry.postings:
                lines.append(line)
                accounts.append(names.number(Key(posting.asset, posting.account, posting.vault)))
                is_credit = posting.side is Side.CREDIT
                debits.append(0 if is_credit else posting.amount)
                credits.append(posting.amount if is_credit else 0)
        numbers = np.array([lines, accounts], dtype=np.int64)
        return Moves(numbers[0], numbers[1], limbs_of(debits), limbs_of(credits))


def read_batches(log: Log, position: int, end: int | None = None, events_max: int | None = None) -> Iterator[Batch]:
    """Yield what a log holds behind a position, up to the end that is given or its own."""
    for records in read_records(log, position, end, events_max):
        yield Batch(log.name, records)


def read_records(
    log: Log, position: int, end: int | None = None, events_max: int | None = None
) -> Iterator[list[Record]]:
    """As `read_batches`, of any log."""
    yield from cut_records(follow_records(log, position, end), events_max)


def follow_records(log: Log, position: int, end: int | None = None) -> Iterator[Record]:
    """Yield the records that a log holds behind a position, up to the end that is given or its own."""
    return takewhile(lambda record: end is None or record.end <= end, log.read(position))


def cut_records(records: Iterable[Record], events_max: int | None = None) -> Iterator[list[Record]]:
    """Part records into what goes into one transaction each."""
    part: list[Record] = []
    count = 0
    for record in records:
        part.append(record)
        count += record.header.count
        if count >= (events_max or EVENTS_MAX):
            yield part
            part, count = [], 0
    if part:
        yield part


def cut_parts(records: Iterable[Record]) -> Iterator[tuple[list[Record], bool]]:
    """Part records into what is matched at once; tell of each part whether a transaction is full with it."""
    count = 0
    for part in cut_records(records, min(_PART_EVENTS, EVENTS_MAX)):
        count += sum(record.header.count for record in part)
        full = count >= EVENTS_MAX
        yield part, full
        if full:
            count = 0


def _move(postings: Postings, offset: int) -> Moves:
    lines, debits, credits = postings.rows + offset, limbs_of(postings.debits), limbs_of(postings.credits)
    return Moves(lines, postings.accounts, debits, credits)


def _join(parts: list[Moves], more: Moves) -> Moves:
    parts = [*parts, more]
    lines, accounts = (np.concatenate([part[place] for part in parts]) for place in range(2))
    debits, credits = (
        Limbs(*(np.concatenate([part[place][limb] for part in parts]) for limb in range(2))) for place in range(2, 4)
    )
    return Moves(lines, accounts, debits, credits)
