"""What a batch of decisions changes in the tables, collected in memory and written at once."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Table, select

from events.decisions import (
    DecisionRefused,
    EscrowFunded,
    FeeAllocated,
    JobRefunded,
    JobSettled,
)
from events.event import Decision
from events.facts import RecordRefused
from events.record import Record
from ledger.accounts import Key, kind_of
from projections import tables
from projections.network import network_rows

__all__ = ["FactRows", "Row", "Rows"]

Row = dict[str, Any]
# What becomes of a job; one that is redistributed waits for its next attempt.
_REFUNDED = {"failed": "refunded", "cancelled": "cancelled", "redistributed": "open"}


class FactRows:
    """The rows of a batch of facts: the lines that were refused."""

    def __init__(self, log: str) -> None:
        """Begin a batch."""
        self.log = log
        self._dead: list[Row] = []

    def add_refused(self, sequence: int, event: RecordRefused) -> None:
        """Keep a refused line."""
        data = event.data
        self._dead.append(
            {
                "log": self.log,
                "sequence": sequence,
                "source": data.source,
                "place": f"line {data.position}",
                "reason": data.reason,
                "detail": data.detail,
                "raw": data.raw,
            }
        )

    def inserts(self) -> Iterator[tuple[Table, list[Row]]]:
        """Yield new rows, table by table."""
        yield tables.dead_letter, self._dead

    def upserts(self) -> Iterator[tuple[Table, list[Row]]]:
        """Yield rows that may be there already."""
        yield from ()

    def touched(self) -> set[int]:
        """Return the accounts that moved."""
        return set()


class Rows:
    """The rows of a batch of one ledger log."""

    def __init__(self, log: str, connection: Connection) -> None:
        """Begin a batch; `connection` reads rows that the batch goes on with."""
        self.log = log
        self._connection = connection
        self._new: dict[Table, list[Row]] = {
            table: [] for table in (tables.account, tables.history, tables.record, tables.dead_letter)
        }
        self._jobs: dict[tuple[str, str], Row] = {}
        self._totals: dict[tuple[int, str], Row] = {}
        self._busy: dict[int, bool] = {}

    # --- accounts ---

    def note(self, account_id: int, busy: bool) -> None:
        """Remember that an account moved, and whether nearly every entry moves it."""
        self._busy[account_id] = busy

    def is_busy(self, account_id: int) -> bool:
        """Tell whether an account gets one history row per record."""
        return self._busy[account_id]

    def add_account(self, account_id: int, key: Key) -> None:
        """Add an account that was never moved before."""
        self._new[tables.account].append(
            {
                "id": account_id,
                "asset": key.asset,
                "account": key.account,
                "vault": key.vault,
                "supply_class": kind_of(key.account).supply.value,
            }
        )

    def add_history(
        self,
        account_id: int,
        sequence: int,
        decision: Decision,
        moved: tuple[int, int],
        running: tuple[int, int],
    ) -> None:
        """Add what one entry did to an account, and where that left it in this log."""
        self._new[tables.history].append(
            {
                "account_id": account_id,
                "log": self.log,
                "sequence": sequence,
                "kind": type(decision).__name__,
                "subject": decision.subject,
                "occurred_at": decision.occurred_at,
                "epoch": decision.epoch,
                "debit": moved[0],
                "credit": moved[1],
                "debits": running[0],
                "credits": running[1],
            }
        )
        self._last = decision

    def add_batch_history(
        self, account_id: int, record: Record, moved: tuple[int, int], running: tuple[int, int]
    ) -> None:
        """Add what one record did to an account."""
        self._new[tables.history].append(
            {
                "account_id": account_id,
                "log": self.log,
                "sequence": record.end - 1,
                "kind": "record",
                "subject": f"{record.header.count} events",
                "occurred_at": self._occurred_at,
                "epoch": self._epoch,
                "debit": moved[0],
                "credit": moved[1],
                "debits": running[0],
                "credits": running[1],
            }
        )

    def add_record(self, record: Record) -> None:
        """Add the record itself: it maps positions and settlement time onto each other."""
        self._new[tables.record].append(
            {
                "log": self.log,
                "sequence": record.sequence,
                "end": record.end,
                "network_time": record.header.network_time,
                "root": record.header.root,
            }
        )

    # --- jobs, epochs, refusals ---

    def take(self, sequence: int, decision: Decision) -> None:
        """Bring the rows of jobs, epochs and refusals up to a decision."""
        self._occurred_at, self._epoch = decision.occurred_at, decision.epoch
        if isinstance(decision, EscrowFunded):
            data = decision.data
            self._jobs[data.consumer, decision.subject] = _open_job(
                decision, data.consumer, data.asset, data.attempt, int(data.amount)
            )
        elif isinstance(decision, JobSettled):
            self._settled(decision)
        elif isinstance(decision, JobRefunded):
            self._refunded(decision)
        elif isinstance(decision, DecisionRefused):
            self._refused(sequence, decision)
        elif isinstance(decision, FeeAllocated):
            total = self._total(decision.epoch, decision.data.asset)
            total["pool"] += int(decision.data.pool)
            total["treasury"] += int(decision.data.treasury)
        else:
            for table, row in network_rows(sequence, decision):
                self._new.setdefault(table, []).append(row)

    def _settled(self, decision: JobSettled) -> None:
        data = decision.data
        # A job that arrives whole, or is withdrawn before any attempt, was never opened.
        row = self._job(data.consumer, decision.subject) if data.funding == "escrow" else None
        row = row or _open_job(decision, data.consumer, data.asset, data.attempt, int(data.escrow))
        # A later settlement of the attempt is about a line that had waited.
        first = row["status"] != "settled"
        sums = {name: sum(int(getattr(line, name)) for line in data.lines) for name in ("gross", "burn", "fee", "net")}
        used = sum(line.gpu_seconds for line in data.lines)
        waiting = sum(int(line.hold) for line in data.waiting) if first else -int(data.escrow)
        changes = sums | {"gpu_seconds": used, "refund": int(data.refund), "waiting": waiting}
        row |= {name: amount if first else row[name] + amount for name, amount in changes.items()}
        row |= {"status": "settled", "epoch": decision.epoch, "late": decision.late}
        self._jobs[data.consumer, decision.subject] = row
        total = self._total(decision.epoch, data.asset)
        total["settled"] += first
        for name, amount in sums.items():
            total[name] += amount

    def _refunded(self, decision: JobRefunded) -> None:
        data = decision.data
        row = self._job(data.consumer, decision.subject) if data.attempt else None
        row = row or _open_job(decision, data.consumer, data.asset, data.attempt, 0)
        row |= {
            "status": _REFUNDED[data.outcome],
            "cause": data.cause,
            "refund": int(data.amount),
            "epoch": decision.epoch,
            "late": decision.late,
        }
        self._jobs[data.consumer, decision.subject] = row

    def _refused(self, sequence: int, decision: DecisionRefused) -> None:
        data = decision.data
        self._new[tables.dead_letter].append(
            {
                "log": self.log,
                "sequence": sequence,
                "source": decision.subject,
                "place": data.position or f"fact {decision.causation_id}",
                "reason": data.reason,
                "detail": data.detail,
                "raw": None,
            }
        )

    def _job(self, consumer: str, job_id: str) -> Row | None:
        if (consumer, job_id) in self._jobs:
            return self._jobs[consumer, job_id]
        column = tables.job.c
        statement = select(tables.job).where(column.consumer == consumer, column.id == job_id)
        found = self._connection.execute(statement).mappings().first()
        return dict(found) if found is not None else None

    def _total(self, epoch: int, asset: str) -> Row:
        key = epoch, asset
        if key not in self._totals:
            column = tables.epoch_total.c
            found = (
                self._connection.execute(select(tables.epoch_total).where(column.epoch == epoch, column.asset == asset))
                .mappings()
                .first()
            )
            self._totals[key] = (
                dict(found)
                if found is not None
                else {
                    "epoch": epoch,
                    "asset": asset,
                    **dict.fromkeys(("settled", "gross", "burn", "fee", "net", "pool", "treasury"), 0),
                }
            )
        return self._totals[key]

    # --- what is written ---

    def inserts(self) -> Iterator[tuple[Table, list[Row]]]:
        """Yield new rows, table by table."""
        yield from self._new.items()

    def upserts(self) -> Iterator[tuple[Table, list[Row]]]:
        """Yield rows that may be there already."""
        yield tables.job, list(self._jobs.values())
        yield tables.epoch_total, list(self._totals.values())

    def touched(self) -> set[int]:
        """Return the accounts that moved."""
        return set(self._busy)


def _open_job(decision: Decision, consumer: str, asset: str, attempt: int, escrow: int) -> Row:
    return {
        "consumer": consumer,
        "id": decision.subject,
        "status": "open",
        "cause": "",
        "attempt": attempt,
        "asset": asset,
        "escrow": escrow,
        "gpu_seconds": 0,
        **dict.fromkeys(("gross", "burn", "fee", "net", "refund", "waiting"), 0),
        "epoch": decision.epoch,
        "late": decision.late,
    }
