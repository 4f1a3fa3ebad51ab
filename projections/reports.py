"""Reports: sums over the read models, per period. Amounts are added in Python, exactly."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from events.instant import day_of, format_instant, parse_instant, start_of_day
from projections.position import AtRefused
from projections.tables import dead_letter, epoch_total, job

__all__ = ["Report", "quarter_epochs", "read_totals", "report_burns", "report_jobs", "report_refused"]

_QUARTER = re.compile(r"([0-9]{4})Q([1-4])")
_JOB_AMOUNTS = ("gross", "burn", "fee", "net", "refund")
_EPOCH_AMOUNTS = ("gross", "burn", "fee", "net", "pool", "treasury")


@dataclass(frozen=True, slots=True)
class Report:
    """Totals and rows; amounts in base units."""

    totals: dict[str, int]
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    lines: list[dict[str, Any]] = field(default_factory=list)
    amounts: Sequence[str] = ()
    # The columns that fit on a screen, where there are more than that.
    shown: Sequence[str] = ()

    def data(self) -> dict[str, Any]:
        """Return the report for JSON: amounts as text, counts as numbers."""
        totals = {name: str(value) if name in self.amounts else value for name, value in self.totals.items()}
        return {"totals": totals} | ({"lines": self.lines} if self.lines else {})


def quarter_epochs(period: str) -> range:
    """Return the epochs (UTC days since 1970) of a calendar quarter. Raises: AtRefused."""
    match = _QUARTER.fullmatch(period)
    if match is None:
        raise AtRefused(f"period {period!r}: expected a quarter such as 2026Q4")
    year, quarter = int(match[1]), int(match[2])
    first = datetime(year, 3 * quarter - 2, 1, tzinfo=UTC)
    after = datetime(year + quarter // 4, 3 * (quarter % 4) + 1, 1, tzinfo=UTC)
    begin, end = (day_of(parse_instant(day.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))) for day in (first, after))
    return range(begin, end)


def report_jobs(connection: Connection, period: str | None) -> Report:
    """Count jobs by how they ended and add up their money."""
    counts = dict.fromkeys(("jobs", "settled", "refunded", "cancelled", "cpu_only", "open"), 0)
    amounts = dict.fromkeys((*_JOB_AMOUNTS, "waiting"), 0)
    columns = (job.c.status, job.c.cause, *(job.c[name] for name in amounts))
    statement = select(*columns).where(_in_period(job.c.epoch, period)).execution_options(yield_per=10_000)
    for row in connection.execute(statement):
        counts["jobs"] += 1
        counts["cpu_only" if row.cause == "cpu_only" else row.status] += 1
        for name in amounts:
            amounts[name] += getattr(row, name)
    # Told only where there are any.
    for sums, name in ((counts, "open"), (amounts, "waiting")):
        if not sums[name]:
            del sums[name]
    totals = counts | amounts
    rows = [[name, str(value)] for name, value in counts.items()] + [[name, value] for name, value in amounts.items()]
    return Report(totals, ["", "total"], rows, amounts=tuple(amounts))


def report_burns(connection: Connection, period: str | None) -> Report:
    """Show what each epoch burned and charged, and how its fees were shared."""
    totals = dict.fromkeys(("settled", *_EPOCH_AMOUNTS), 0)
    rows, lines = [], []
    for (epoch, _), row in read_totals(connection, _in_period(epoch_total.c.epoch, period)).items():
        date = format_instant(start_of_day(epoch))[:10]
        rows.append([date, str(row["settled"]), *(row[name] for name in _EPOCH_AMOUNTS)])
        lines.append({"epoch": date, "settled": row["settled"], **{name: str(row[name]) for name in _EPOCH_AMOUNTS}})
        for name in totals:
            totals[name] += row[name]
    rows.append(["total", str(totals["settled"]), *(totals[name] for name in _EPOCH_AMOUNTS)])
    return Report(totals, ["epoch", "settled", *_EPOCH_AMOUNTS], rows, lines, _EPOCH_AMOUNTS)


def read_totals(connection: Connection, chosen: ColumnElement[bool]) -> dict[tuple[int, str], dict[str, int]]:
    """Return what epochs came to over all logs, by epoch and asset, in their order."""
    names = ("settled", *_EPOCH_AMOUNTS)
    totals: dict[tuple[int, str], dict[str, int]] = {}
    statement = select(epoch_total).where(chosen).order_by(epoch_total.c.epoch, epoch_total.c.asset)
    for row in connection.execute(statement).mappings():
        total = totals.setdefault((row["epoch"], row["asset"]), dict.fromkeys(names, 0))
        for name in names:
            total[name] += row[name]
    return totals


def report_refused(connection: Connection, _period: str | None) -> Report:
    """List what was refused: lines at intake, facts by the rules."""
    columns = ["log", "position", "source", "place", "reason", "detail"]
    rows = [
        [row.log, str(row.sequence), row.source, row.place, row.reason, row.detail]
        for row in connection.execute(select(dead_letter).order_by(dead_letter.c.log, dead_letter.c.sequence))
    ]
    lines = [dict(zip(columns, row, strict=True)) for row in rows]
    return Report({"refused": len(rows)}, columns, rows, lines)


def _in_period(column: ColumnElement[int], period: str | None) -> ColumnElement[bool]:
    if period is None:
        return column >= 0
    epochs = quarter_epochs(period)
    return column.between(epochs.start, epochs.stop - 1)
