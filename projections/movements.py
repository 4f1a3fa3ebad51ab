"""What moved which accounts, oldest first: from sealed segments up to where a log is sealed, behind it from history.

    movements of an account = those sealed + the rows of `history` that are not

A segment keeps numbers only; what an event was about is read from its line in the log.
"""

from collections.abc import Callable, Iterator
from heapq import merge
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, not_, select, true

from ledger.accounts import Key, kind_of
from projections.past import Past
from projections.position import AtRefused, rows_of
from projections.segments import SegmentUnusable
from projections.tables import account, checkpoint, history, record

__all__ = ["AS_OCCURRED", "AS_SETTLED", "Moved", "Order", "check_rows", "read_movements", "rows_missing", "unsealed"]

_RECORD = "record"


class Moved(NamedTuple):
    """A movement with what its event was about; `settled_at` is the network time of its record."""

    key: Key
    log: str
    sequence: int
    kind: str
    subject: str
    occurred_at: str
    epoch: int
    debit: int
    credit: int
    settled_at: str


class Order(NamedTuple):
    """An order of movements: for the database, and for what comes from segments."""

    columns: tuple[ColumnElement[Any], ...]
    key: Callable[[Moved], tuple[Any, ...]]


_SETTLED_AT = func.coalesce(
    select(record.c.network_time)
    .where(record.c.log == history.c.log, record.c.sequence <= history.c.sequence)
    .order_by(record.c.sequence.desc())
    .limit(1)
    .scalar_subquery(),
    "",
).label("settled_at")
# Lanes before the hub, which answers them.
AS_SETTLED = Order(
    (_SETTLED_AT, history.c.log == "hub", history.c.log, history.c.sequence),
    lambda moved: (moved.settled_at, moved.log == "hub", moved.log, moved.sequence),
)
AS_OCCURRED = Order(
    (history.c.occurred_at, history.c.log, history.c.sequence),
    lambda moved: (moved.occurred_at, moved.log, moved.sequence),
)


def read_movements(
    connection: Connection,
    position: dict[str, int],
    of_account: ColumnElement[bool],
    order: Order,
    past: Past | None = None,
) -> Iterator[Moved]:
    """Yield the movements of some accounts up to a position of records' ends. Raises: AtRefused."""
    sealed: list[Moved] | None = None
    while sealed is None:
        check_rows(connection, position, past)
        try:
            sealed = [] if past is None else sorted(_sealed(connection, position, of_account, past), key=order.key)
        except SegmentUnusable:
            # The past has lost it, and ends before it.
            sealed = None
    yield from merge(sealed, _unsealed(connection, position, of_account, order, past), key=order.key)


def check_rows(connection: Connection, position: dict[str, int], past: Past | None) -> None:
    """Assert that history up to a position is in segments or, behind them, in rows. Raises: AtRefused.

    `past` must have been opened when the connection's transaction had begun: rows are dropped behind sealing.
    """
    begins = {row.log: row.position for row in connection.execute(select(checkpoint))}
    for log, size in position.items():
        begin = begins.get(rows_of(log), 0)
        if min(begin, size) > (0 if past is None else past.end(log)):
            raise rows_missing(log, begin, past)


def rows_missing(log: str, begin: int, past: Past | None) -> AtRefused:
    """Say that rows of history which segments took the place of are in none."""
    sealed, faults = (0, []) if past is None else (past.end(log), past.faults)
    said = "".join(f"{fault}; " for fault in faults if fault.startswith(f"segment {log}/"))
    return AtRefused(
        f"{said}the history of {log} is kept in segments up to {log}:{begin} and found up to {log}:{sealed}; "
        "`omnisync seal --all` makes them anew from the log"
    )


def unsealed(position: dict[str, int], past: Past | None) -> ColumnElement[bool]:
    """Choose the rows of history that lie behind what is sealed."""
    ends = {} if past is None else {log: past.end(log) for log in position}
    sealed = [and_(history.c.log == log, history.c.sequence < end) for log, end in ends.items() if end]
    return and_(true(), *map(not_, sealed))


def _sealed(
    connection: Connection, position: dict[str, int], of_account: ColumnElement[bool], past: Past
) -> Iterator[Moved]:
    keys = connection.execute(select(account.c.asset, account.c.account, account.c.vault).where(of_account)).all()
    for key in (Key(*row) for row in keys):
        busy = kind_of(key.account).busy
        for log, size in position.items():
            for sequence, debit, credit in past.movements(log, key, 0, min(size, past.end(log))):
                event, of = past.event(log, sequence)
                about = (_RECORD, f"{of.header.count} events") if busy else (type(event).__name__, event.subject)
                settled_at = of.header.network_time or ""
                yield Moved(
                    key, log, sequence, *about, event.occurred_at, event.epoch, debit, credit, settled_at
                )  # fmt: skip


def _unsealed(
    connection: Connection, position: dict[str, int], of_account: ColumnElement[bool], order: Order, past: Past | None
) -> Iterator[Moved]:
    for row in connection.execute(
        select(account.c.asset, account.c.account, account.c.vault, history, _SETTLED_AT)
        .join(history, history.c.account_id == account.c.id)
        .where(of_account, unsealed(position, past))
        .order_by(*order.columns)
    ):
        if row.sequence < position.get(row.log, 0):
            yield Moved(
                Key(row.asset, row.account, row.vault),
                *(row.log, row.sequence, row.kind, row.subject, row.occurred_at, row.epoch, row.debit, row.credit),
                row.settled_at,
            )
