"""Verify: derives everything again and names the first thing that differs.

    1 each log: frames, records, Merkle roots        2 what each ledger record rests on
    3 each decision, from the facts, by the scalar rules        4 each row, from the decisions

Nothing is repaired, and nothing that is stored is believed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, Engine, String, Table, cast, delete, insert, select

from events.codec import decode
from events.event import Decision
from events.filelog import FileLog
from events.log import Log
from ledger.errors import LedgerInvariantBroken
from ledger.fold import Books
from projections.database import open_sqlite
from projections.movements import rows_missing
from projections.past import Past
from projections.position import history_of, rows_of
from projections.project import Projector
from projections.sealing import find_differing
from projections.tables import METADATA, BaseUnits, account, checkpoint, history
from settlement.output import Output
from settlement.settle import HubSettler, LaneSettler, Settlement

__all__ = ["Finding", "Progress", "Verdict", "fold_books", "verify_logs", "verify_rows", "verify_segments"]

_ACCOUNT_ID = "account_id"
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was checked, and how much of it is not decided yet."""

    records: int
    events: int
    unsettled: int


class Finding(LedgerInvariantBroken):
    """The first thing that differs from what was derived."""


def verify_logs(facts: Sequence[Log], lanes: Sequence[Log], hub: Log, on_record: Progress | None = None) -> Verdict:
    """Check logs and decisions; tell `on_record` how many facts were decided again.

    `facts` are the lanes' partitions and then the hub's. What is not settled yet is counted as far as it is known:
    nobody decides on what another one has not appended.

    Raises: LogDamaged, Finding, DecisionsDiffer, LedgerInvariantBroken.
    """
    records = events = 0
    roots: dict[str, dict[int, str | None]] = {}
    for log in (*facts, *lanes, hub):
        log.root()
        roots[log.name] = {0: None}
        for record in log.read(0):
            roots[log.name][record.end] = record.header.root
            records += 1
            events += record.header.count
    for log in (*lanes, hub):
        _check_basis(log, roots)
    outputs = [Output(log, _no_clock, writable=False) for log in (*lanes, hub)]
    settlers = [
        LaneSettler(number, len(lanes), partition, hub, output)
        for number, (partition, output) in enumerate(zip(facts[:-1], outputs[:-1], strict=True))
    ]
    Settlement(settlers, HubSettler(facts[-1], lanes, outputs[-1]), _nothing).run(on_record=on_record)
    return Verdict(records, events, sum(output.pending() for output in outputs))


def fold_books(ledgers: Sequence[Log]) -> Books:
    """Fold all ledger logs by the scalar model. Raises: LedgerInvariantBroken."""
    books = Books()
    for log in ledgers:
        for record in log.read(0):
            books.fold(_decision(log.name, sequence, line) for sequence, line in record.events())
    return books


def verify_rows(
    engine: Engine, facts: Log, ledgers: Sequence[Log], on_record: Progress | None = None
) -> tuple[int, int]:
    """Compare each stored row with the one that the logs lead to; `facts` is the hub's partition. Raises: Finding.

    Returns: the number of rows, and by how many leaves of the logs they lag.
    """
    scratch = open_sqlite(None, writable=True)
    METADATA.create_all(scratch)
    with engine.connect() as stored, scratch.connect() as derived:
        positions = {row.log: row.position for row in stored.execute(select(checkpoint))}
        for log in (facts, *ledgers):
            if positions.get(log.name, 0) > log.end():
                where = f"stored {positions[log.name]}, the log ends at {log.end()}"
                raise Finding(f"table {checkpoint.name}, row {log.name}: column position: {where}")
        # Head and history of one log may stand at two positions.
        projector = Projector(scratch, facts, ledgers)
        projector.run(on_record, positions)
        projector.catch_up(ends=positions)
        for log in ledgers:
            if rows_of(log.name) in positions:
                _drop_rows(derived, log.name, positions[rows_of(log.name)])
        rows = sum(_compare(table, stored, derived) for table in METADATA.sorted_tables)
    return rows, sum(log.end() - positions.get(log.name, 0) for log in (facts, *ledgers))


def _drop_rows(derived: Connection, log: str, begin: int) -> None:
    """Let history begin where segments take its place."""
    derived.execute(delete(history).where(history.c.log == log, history.c.sequence < begin))
    derived.execute(insert(checkpoint), {"log": rows_of(log), "position": begin})


def verify_segments(engine: Engine, ledgers: Sequence[FileLog], past: Past) -> int:
    """Hold every segment against the log, derived again; those that rows of history gave way to must be there.

    Returns: how many there are. Raises: Finding, LogDamaged.
    """
    with engine.connect() as stored:
        positions = {row.log: row.position for row in stored.execute(select(checkpoint))}
    past.refresh()
    for fault in past.faults:
        raise Finding(f"{fault}; `omnisync seal --all` makes it anew from the log")
    for log in ledgers:
        begin = min(positions.get(rows_of(log.name), 0), positions.get(history_of(log.name), 0))
        if begin > past.end(log.name):
            raise Finding(str(rows_missing(log.name, begin, past)))
        with TemporaryDirectory() as folder:
            for segment in find_differing(log, past.segments(log.name), Path(folder)):
                place = f"{log.name}/{segment.path.name}"
                raise Finding(f"segment {place}: differs from its log; `omnisync seal --all --anew` makes it anew")
    return sum(len(past.segments(log.name)) for log in ledgers)


def _compare(table: Table, stored: Connection, derived: Connection) -> int:
    """Compare a table row by row in the order of its key; account ids count by the names they stand for."""
    held, wanted = _rows(table, stored), _rows(table, derived)
    for key in sorted(held.keys() | wanted.keys()):
        if held.get(key) != wanted.get(key):
            raise Finding(f"table {table.name}, row {'/'.join(key)}: {_difference(held.get(key), wanted.get(key))}")
    return len(wanted)


def _rows(table: Table, connection: Connection) -> dict[tuple[str, ...], Mapping[str, object]]:
    names = {
        row.id: f"{row.account} {row.asset} {row.vault or '-'}" for row in connection.execute(select(account)).all()
    }
    rows: dict[tuple[str, ...], Mapping[str, object]] = {}
    # Amounts are compared as the text that is stored, so that what is no number at all is named as well.
    columns = [
        cast(column, String).label(column.name) if isinstance(column.type, BaseUnits) else column for column in table.c
    ]
    for row in connection.execute(select(*columns)).mappings():
        members = dict(row)
        if table is account:
            members["id"] = names[members["id"]]
        if _ACCOUNT_ID in members:
            members[_ACCOUNT_ID] = names.get(members[_ACCOUNT_ID], f"account {members[_ACCOUNT_ID]}")
        key = tuple(
            f"{members[column.name]:020d}" if isinstance(members[column.name], int) else str(members[column.name])
            for column in table.primary_key
        )
        rows[key] = members
    return rows


def _difference(held: Mapping[str, object] | None, wanted: Mapping[str, object] | None) -> str:
    if held is None:
        return "is missing"
    if wanted is None:
        return "is not led to by any event"
    column = next(name for name in wanted if held[name] != wanted[name])
    return f"column {column}: stored {held[column]!s:.120}, derived {wanted[column]!s:.120}"


def _check_basis(log: Log, roots: Mapping[str, Mapping[int, str | None]]) -> None:
    for record in log.read(0):
        for basis in record.header.basis:
            if roots.get(basis.log, {}).get(basis.end) != basis.root:
                raise Finding(
                    f"{log.name}: record at {record.sequence} rests on {basis.log} up to {basis.end} "
                    f"with root {basis.root[:16]}…, which that log does not have"
                )


def _decision(log: str, sequence: int, line: bytes) -> Decision:
    event = decode(line)
    if not isinstance(event, Decision):
        raise Finding(f"{log}: event {sequence} is no decision")
    return event


def _no_clock() -> str:
    raise AssertionError("verification appends nothing")


def _nothing() -> None:
    """Verification builds upon nothing."""
