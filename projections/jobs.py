"""What becomes of jobs, and what epochs settled: the rows that a batch of decisions changes.

    a job's row = what its last attempt came to      + what a later settlement of the attempt pays of lines that waited

Each decision is written as the row of a job that nothing had happened to; where there was a row, a join says what of it
stays. Jobs that begin in a batch, with one decision or two, are joined as columns; others one by one.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, select, tuple_

from events.columns import Columns, Integers, split_lines
from events.decisions import EscrowFunded, FeeAllocated, JobRefunded, JobSettled
from events.event import Decision, Event
from events.hashing import number_texts, render_lines
from ledger.sums import limbs_of
from ledger.vectors import sum_items
from projections import tables
from projections.batch import Batch, Part

__all__ = ["LOOK_UP", "JobRows", "find_jobs"]

# In the order of the columns of `tables.job`.
JobRow = tuple[Any, ...]
JobColumns = list[npt.NDArray[Any]]
Key = tuple[str, str]
_NAMES = [column.name for column in tables.job.c]
_ID, _STATUS, _CAUSE, _ASSET, _ESCROW, _GPU_SECONDS, _REFUND, _WAITING, _EPOCH = map(
    _NAMES.index, ("id", "status", "cause", "asset", "escrow", "gpu_seconds", "refund", "waiting", "epoch")
)
_AMOUNTS = {_ESCROW, *range(_GPU_SECONDS + 1, _EPOCH)}
_SUMS = ("gross", "burn", "fee", "net")
_TOTALS = ("settled", *_SUMS, "pool", "treasury")
# What becomes of a job; one that is redistributed waits for its next attempt.
_REFUNDED = {"failed": "refunded", "cancelled": "cancelled", "redistributed": "open"}
_INT64_END = 2**63
# So many decisions a job has that begins and ends.
_BEGUN_AND_ENDED = 2
# So many keys are asked for at once; databases bound the parameters of a statement.
_KEYS_MAX = 400
# For a list of pairs SQLite would read the whole table; rows of values it looks up one after another. It is one text,
# so that it is read once; a pair that is not wanted is null.
LOOK_UP = (
    f"SELECT {', '.join(f'job.{name}' for name in _NAMES)} FROM (VALUES {', '.join(['(?, ?)'] * _KEYS_MAX)}) AS wanted "
    "CROSS JOIN job WHERE job.consumer = wanted.column1 AND job.id = wanted.column2"
)


# The decision's line, the row that it alone leads to, and how that joins one that is there; None: it takes its place.
Join = Callable[[JobRow, JobRow], JobRow] | None
Step = tuple[int, JobRow, Join]


class JobRows:
    """The rows of jobs and of epochs' totals that a batch leaves."""

    def __init__(self, batch: Batch) -> None:
        """Take a batch, which was read."""
        self._log = batch.log
        self._rows: dict[Key, JobRow] = {}
        self._whole: JobColumns = []
        # What was not built from columns may hold amounts of 2^63 and more.
        self._unbounded = set[Key]()
        self._totals: dict[tuple[int, str], Counter[str]] = {}
        self._steps = list[Step]()
        for line, decision in batch.decisions:
            self._take_alone(line, decision)
        parts = [part for part in batch.parts if part.columns.kind in _COLUMNS and len(part.columns)]
        if parts:
            self._take_columns(parts)
        self._steps.sort(key=itemgetter(0))

    def _take_columns(self, parts: list[Part]) -> None:
        built = [_COLUMNS[part.columns.kind](part.columns) for part in parts]
        for part in parts:
            if part.columns.kind is JobSettled:
                self._add_sums(part.columns)
        lines, joins = (
            np.concatenate(found) for found in ([part.lines() for part in parts], [how for _, how in built])
        )
        columns = [np.concatenate(column) for column in zip(*(columns for columns, _ in built), strict=True)]
        firsts, jobs = self._number(parts)
        jobs, alone = jobs[: len(lines)], jobs[len(lines) :]
        if not joins.any() and len(firsts) == len(lines) + len(alone):
            # Each job comes once, and whole.
            self._whole = columns
            return
        order = np.lexsort((lines, jobs))
        starts = np.flatnonzero(np.diff(jobs[order], prepend=-1))
        counts = np.diff(starts, append=len(order))
        firsts, lasts = order[starts], order[starts + counts - 1]
        # Begun and, at most, ended within the batch: no row that is there says anything of it.
        ended = (counts == _BEGUN_AND_ENDED) & (joins[lasts] != _WHOLE)
        whole = (joins[firsts] == _WHOLE) & (ended | (counts == 1))
        whole[alone[alone < len(whole)]] = False
        self._whole = _join_columns(columns, firsts[whole], lasts[whole], joins[lasts[whole]])
        rest = np.flatnonzero(~whole[jobs])
        rows = zip(*(column[rest].tolist() for column in columns), strict=True)
        self._steps += zip(lines[rest].tolist(), rows, map(_JOINS.__getitem__, joins[rest].tolist()), strict=True)

    def _number(self, parts: list[Part]) -> tuple[Integers, Integers]:
        """Number the jobs of all parts, and behind them those of what was taken alone, as `number_texts`."""
        more = [f"{row[0]}:{row[_ID]}\n".encode() for _, row, _ in self._steps]
        data = b"".join([*(_names(part.columns) for part in parts), *more])
        return number_texts(data, *split_lines(data))

    def join(self, connection: Connection) -> None:
        """Join what the tables hold, as the batches before have left it."""
        self._load(connection)
        for _, row, join in self._steps:
            self._rows[row[0], row[1]] = row if join is None else self._join(row, join)
        self._load_totals(connection)

    def _take_alone(self, line: int, decision: Decision) -> None:
        if isinstance(decision, FeeAllocated):
            fees = decision.data
            self._total(decision.epoch, fees.asset).update(pool=int(fees.pool), treasury=int(fees.treasury))
        build = _ROWS.get(type(decision))
        if build is None:
            return
        row, join = build(decision)
        self._steps.append((line, row, join))
        self._unbounded.add((row[0], row[1]))
        if isinstance(decision, JobSettled):
            sums = dict(zip(_SUMS, row[_GPU_SECONDS + 1 : _REFUND], strict=True))
            self._total(decision.epoch, decision.data.asset).update(sums, settled=1)

    def _add_sums(self, events: Columns) -> None:
        """Add settlements to the totals of their epochs."""
        lines, assets = events.items("data.lines"), events.bytes("data.asset")
        for asset in sorted(set(assets)):
            mine = np.fromiter(map(asset.__eq__, assets), dtype=bool, count=len(assets))
            epochs = events.numbers("epoch")[mine]
            order = np.argsort(epochs, kind="stable")
            starts = np.flatnonzero(np.diff(epochs[order], prepend=-1))
            counts = np.diff(starts, append=len(order)).tolist()
            sums = [
                limbs_of(sum_items(events, lines, lines.amounts(name))[mine][order]).sum_groups(starts).ints()
                for name in _SUMS
            ]
            for epoch, count, *amounts in zip(epochs[order][starts].tolist(), counts, *sums, strict=True):
                self._total(epoch, asset.decode()).update(dict(zip(_SUMS, amounts, strict=True)), settled=count)

    def _join(self, row: JobRow, join: Callable[[JobRow, JobRow], JobRow]) -> JobRow:
        before = self._rows.get((row[0], row[1]))
        if before is None:
            return row
        self._unbounded.add((row[0], row[1]))
        if join is _settled and before[_STATUS] == "settled":
            # A job that was settled before counts once.
            self._total(row[_EPOCH], row[_ASSET])["settled"] -= 1
        return join(before, row)

    def _load(self, connection: Connection) -> None:
        """Read the rows of jobs that the batch finds begun."""
        begun, made = dict[Key, None](), set[Key]()
        for _, row, join in self._steps:
            key = row[0], row[1]
            if join is None:
                made.add(key)
            elif key not in made:
                begun[key] = None
        self._rows |= {(row[0], row[_ID]): row for row in find_jobs(connection, list(begun))}

    def _total(self, epoch: int, asset: str) -> Counter[str]:
        key = epoch, asset
        total = self._totals.get(key)
        if total is None:
            total = self._totals[key] = Counter(dict.fromkeys(_TOTALS, 0))
        return total

    def _load_totals(self, connection: Connection) -> None:
        """Add what the epochs' totals came to before."""
        epochs, column = [epoch for epoch, _ in self._totals], tables.epoch_total.c
        of_epochs = column.epoch.between(min(epochs, default=0), max(epochs, default=0))
        chosen = select(tables.epoch_total).where(of_epochs, column.log == self._log)
        for found in connection.execute(chosen).mappings():
            total = self._totals.get((found["epoch"], found["asset"]))
            if total is not None:
                total.update({name: found[name] for name in _TOTALS})

    # --- what is written ---

    def jobs(self) -> list[list[Any]]:
        """Return the rows of jobs, column by column, consumer by consumer."""
        rows = []
        for key, row in self._rows.items():
            if key in self._unbounded and max(row[_ESCROW:_EPOCH]) >= _INT64_END:
                rows.append(tuple(str(n) if place in _AMOUNTS else n for place, n in enumerate(row)))
            else:
                rows.append(row)
        columns = [list(column) for column in zip(*sorted(rows, key=itemgetter(0, 1)), strict=True)]
        if not self._whole:
            return columns or [[]]
        # Ordered before they are Python's numbers, which then lie in memory as they are read.
        consumers = self._whole[0].tolist()
        ranks = {consumer: rank for rank, consumer in enumerate(sorted(set(consumers)))}
        order = np.argsort(np.fromiter(map(ranks.__getitem__, consumers), np.int64, len(consumers)), kind="stable")
        ordered: list[list[Any]] = [column[order].tolist() for column in self._whole]
        return [one + more for one, more in zip(ordered, columns, strict=True)] if columns else ordered

    def totals(self) -> list[dict[str, Any]]:
        """Return the rows of epochs' totals."""
        totals = sorted(self._totals.items())
        return [{"epoch": epoch, "asset": asset, "log": self._log, **total} for (epoch, asset), total in totals]


def find_jobs(connection: Connection, keys: Sequence[Key]) -> Iterator[JobRow]:
    """Yield the rows of those jobs that are there, by consumer and id."""
    for start in range(0, len(keys), _KEYS_MAX):
        some = keys[start : start + _KEYS_MAX]
        if connection.dialect.name == "sqlite":
            wanted = [*chain.from_iterable(some), *[None] * 2 * (_KEYS_MAX - len(some))]
            for row in connection.exec_driver_sql(LOOK_UP, tuple(wanted)):
                yield (*row[:_ESCROW], *map(int, row[_ESCROW:_EPOCH]), *row[_EPOCH:])
        else:
            pair = tuple_(tables.job.c.consumer, tables.job.c.id)
            yield from map(tuple, connection.execute(select(tables.job).where(pair.in_(some))))


# --- what stays of a row ---


def _settled(before: JobRow, row: JobRow) -> JobRow:
    if before[_STATUS] != "settled":
        # The attempt's escrow is what was held for it.
        return (*before[:_STATUS], row[_STATUS], *before[_STATUS + 1 : _GPU_SECONDS], *row[_GPU_SECONDS:])
    sums = (one + more for one, more in zip(before[_GPU_SECONDS:_WAITING], row[_GPU_SECONDS:_WAITING], strict=True))
    return (*before[:_GPU_SECONDS], *sums, before[_WAITING] - row[_ESCROW], *row[_EPOCH:])


def _refunded(before: JobRow, row: JobRow) -> JobRow:
    begin, end = _STATUS + 2, _REFUND
    return (*before[:_STATUS], *row[_STATUS:begin], *before[begin:end], row[_REFUND], before[_WAITING], *row[_EPOCH:])


# --- decisions as rows, one by one ---

Built = tuple[JobRow, Join]


def _funded_row(event: EscrowFunded) -> Built:
    data = event.data
    return _row(event, ("open", "", data.attempt, data.asset, int(data.amount)), (0,) * 7), None


def _settled_row(event: JobSettled) -> Built:
    data = event.data
    used = sum(line.gpu_seconds for line in data.lines)
    sums = (sum(int(getattr(line, name)) for line in data.lines) for name in _SUMS)
    amounts = (used, *sums, int(data.refund), sum(int(line.hold) for line in data.waiting))
    row = _row(event, ("settled", "", data.attempt, data.asset, int(data.escrow)), amounts)
    # A job that arrives whole was never opened.
    return row, _settled if data.funding == "escrow" else None


def _refunded_row(event: JobRefunded) -> Built:
    data, amounts = event.data, (0, 0, 0, 0, 0, int(event.data.amount), 0)
    row = _row(event, (_REFUNDED[data.outcome], data.cause, data.attempt, data.asset, 0), amounts)
    # Nor was one that is withdrawn before any attempt.
    return row, _refunded if data.attempt else None


def _row(event: EscrowFunded | JobSettled | JobRefunded, terms: tuple[Any, ...], amounts: Iterable[int]) -> JobRow:
    return (event.data.consumer, event.subject, *terms, *amounts, event.epoch, event.late)


_ROWS: dict[type[Decision], Callable[[Any], Built]] = {
    EscrowFunded: _funded_row,
    JobSettled: _settled_row,
    JobRefunded: _refunded_row,
}


# --- decisions as rows, as columns ---

# How each row joins one that is there: a place in `_JOINS`.
BuiltColumns = tuple[JobColumns, Integers]
_JOINS: tuple[Join, ...] = (None, _settled, _refunded)
_WHOLE, _SETTLED, _REFUNDS = range(3)


def _join_columns(columns: JobColumns, before: Integers, rows: Integers, joins: Integers) -> JobColumns:
    """Join rows at some places to those before them, as `_JOINS` say; `_WHOLE`: both are the same place."""
    settled, refunded = (np.where(joins == join, rows, before) for join in (_SETTLED, _REFUNDS))
    places = [before] * len(columns)
    places[_STATUS], places[_CAUSE] = rows, refunded
    places[_GPU_SECONDS:_REFUND] = [settled] * (_REFUND - _GPU_SECONDS)
    places[_REFUND], places[_WAITING] = rows, settled
    places[_EPOCH:] = [rows] * (len(columns) - _EPOCH)
    return [column[place] for column, place in zip(columns, places, strict=True)]


def _funded_columns(events: Columns) -> BuiltColumns:
    count, none = len(events), np.zeros(len(events), dtype=np.int64)
    return _columns(events, ["open"] * count, [""] * count, events.amounts("data.amount"), [none] * 7), none


def _settled_columns(events: Columns) -> BuiltColumns:
    lines, waiting = events.items("data.lines"), events.items("data.waiting")
    count, amounts = (
        len(events),
        [
            sum_items(events, lines, lines.numbers("gpu_seconds")),
            *(sum_items(events, lines, lines.amounts(name)) for name in _SUMS),
            events.amounts("data.refund"),
            sum_items(events, waiting, waiting.amounts("hold")),
        ],
    )
    columns = _columns(events, ["settled"] * count, [""] * count, events.amounts("data.escrow"), amounts)
    starts, ends = events.span("data.funding")
    return columns, np.where(ends - starts == len("escrow"), _SETTLED, _WHOLE)


def _refunded_columns(events: Columns) -> BuiltColumns:
    none = np.zeros(len(events), dtype=np.int64)
    amounts = [*[none] * 5, events.amounts("data.amount"), none]
    statuses = [_REFUNDED[outcome] for outcome in events.texts("data.outcome")]
    columns = _columns(events, statuses, events.texts("data.cause"), none, amounts)
    return columns, np.where(events.numbers("data.attempt") > 0, _REFUNDS, _WHOLE)


def _names(events: Columns) -> bytes:
    """Return the names of events' jobs, LF behind each; where a consumer's name ends stands the only colon."""
    return render_lines([events.spans("data.consumer"), b":", events.spans("subject")], len(events)).data


def _columns(
    events: Columns, statuses: list[str], causes: list[str], escrow: Integers, amounts: list[Integers]
) -> JobColumns:
    columns = [
        events.texts("data.consumer"),
        events.texts("subject"),
        statuses,
        causes,
        events.numbers("data.attempt"),
        events.texts("data.asset"),
        escrow,
        *amounts,
        events.numbers("epoch"),
        events.numbers("late"),
    ]
    return [column if isinstance(column, np.ndarray) else np.array(column, dtype=object) for column in columns]


_COLUMNS: dict[type[Event], Callable[[Columns], BuiltColumns]] = {
    EscrowFunded: _funded_columns,
    JobSettled: _settled_columns,
    JobRefunded: _refunded_columns,
}
