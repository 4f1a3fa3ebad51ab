"""Questions to the read models. Each answer names the position that it stands on.

A past position is answered from history: each account's running sums are one row per log. A time is settlement
time: it stands for the position at which network time first reached it, so that it holds whatever came in before,
and no more. What the books have not reached yet is refused, never answered with less.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, select

from events.instant import format_instant, parse_instant
from ledger.accounts import Key
from ledger.balances import digest_of_balances
from ledger.supply import Supply, measure_supply
from projections.position import AtRefused, format_position, parse_position
from projections.tables import account, balance, checkpoint, history, record

__all__ = [
    "AccountUnknown",
    "Balance",
    "Movement",
    "balances_digest",
    "read_balances",
    "read_history",
    "read_position",
    "read_supply",
]


class AccountUnknown(LookupError):
    """Nothing has ever moved an account (or any below a prefix) up to the position."""


class Balance(NamedTuple):
    """A balance, base units; `net` is credits − debits."""

    key: Key
    debits: int
    credits: int

    @property
    def net(self) -> int:
        """What the account holds."""
        return self.credits - self.debits


class Movement(NamedTuple):
    """What one entry (or, for accounts that all entries touch, one record) did to an account; where that left it."""

    key: Key
    log: str
    sequence: int
    kind: str
    subject: str
    occurred_at: str
    debit: int
    credit: int
    balance: int


def read_position(connection: Connection, at: str | None) -> dict[str, int]:
    """Resolve a token, a time or (None) the head to positions at records' ends. Raises: AtRefused."""
    head = {row.log: row.position for row in connection.execute(select(checkpoint)) if not row.log.startswith("facts/")}
    if at is None:
        return head
    instant = _parse_time(at)
    if instant is not None:
        return _position_at_time(connection, head, instant)
    sizes = dict.fromkeys(head, 0) | parse_position(at)
    for log, size in sizes.items():
        if log not in head or size > head[log]:
            raise AtRefused(f"{log}:{size} is not reached; the books stand at {log}:{head.get(log, 0)}")
    return {log: _record_end(connection, log, size) for log, size in sizes.items()}


def read_balances(connection: Connection, position: dict[str, int], name: str | None = None) -> list[Balance]:
    """Return balances at a position in order of account, asset, vault; `name` picks an account or a `prefix:`.

    Raises: AccountUnknown where `name` picks nothing.
    """
    sums: dict[Key, list[int]] = {}
    for row in _sums_at(connection, position, name):
        total = sums.setdefault(Key(row.asset, row.account, row.vault), [0, 0])
        total[0] += row.debits
        total[1] += row.credits
    if name is not None and not sums:
        raise AccountUnknown(f"nothing has moved {name} up to {format_position(position)}")
    return [Balance(key, *sums[key]) for key in sorted(sums, key=lambda key: (key.account, key.asset, key.vault))]


def balances_digest(connection: Connection) -> str:
    """Return the digest of all balances at the head, as `ledger.balances` defines it."""
    balances = read_balances(connection, read_position(connection, None))
    return digest_of_balances((line.key, (line.debits, line.credits)) for line in balances)


def read_supply(connection: Connection, position: dict[str, int], asset: str) -> Supply:
    """Return the supply by class at a position. Raises: LedgerInvariantBroken."""
    balances = read_balances(connection, position)
    return measure_supply(asset, ((line.key, (line.debits, line.credits)) for line in balances))


def read_history(connection: Connection, position: dict[str, int], name: str) -> Iterator[Movement]:
    """Yield an account's movements up to a position with its running balance, oldest first, lanes before the hub."""
    rows = connection.execute(
        select(account.c.asset, account.c.account, account.c.vault, history, record.c.network_time)
        .join(account, account.c.id == history.c.account_id)
        .join(
            record,
            and_(
                record.c.log == history.c.log,
                record.c.sequence <= history.c.sequence,
                record.c.end > history.c.sequence,
            ),
        )
        .where(account.c.account == name)
        .order_by(func.coalesce(record.c.network_time, ""), history.c.log == "hub", history.c.log, history.c.sequence)
    )
    running: dict[Key, int] = {}
    for row in rows:
        if row.sequence >= position.get(row.log, 0):
            continue
        key = Key(row.asset, row.account, row.vault)
        running[key] = running.get(key, 0) + row.credit - row.debit
        yield Movement(
            key, row.log, row.sequence, row.kind, row.subject, row.occurred_at, row.debit, row.credit, running[key]
        )


def _sums_at(connection: Connection, position: dict[str, int], name: str | None) -> Iterable[Any]:
    """Select each account's sums per log: from the head where that is asked for, else from the last row of history."""
    columns = (account.c.asset, account.c.account, account.c.vault)
    of_name = _match(name)
    if position == read_position(connection, None):
        yield from connection.execute(
            select(*columns, balance.c.debits, balance.c.credits).join(balance).where(of_name)
        )
        return
    for log, size in position.items():
        last = (
            select(history.c.account_id, func.max(history.c.sequence).label("sequence"))
            .where(history.c.log == log, history.c.sequence < size)
            .group_by(history.c.account_id)
            .subquery()
        )
        yield from connection.execute(
            select(*columns, history.c.debits, history.c.credits)
            .join(history, history.c.account_id == account.c.id)
            .join(last, and_(last.c.account_id == history.c.account_id, last.c.sequence == history.c.sequence))
            .where(history.c.log == log, of_name)
        )


def _match(name: str | None) -> ColumnElement[bool]:
    if name is None:
        return account.c.id > 0
    if name.endswith(":"):
        return account.c.account.startswith(name, autoescape=True)
    return account.c.account == name


def _parse_time(at: str) -> int | None:
    """Read ISO 8601 with a zone (or a bare UTC date) as an instant; None where it is no time at all."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise AtRefused(f"{at!r} lies outside the years 1 to 9999 of UTC") from None
    return parse_instant(moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z")


def _position_at_time(connection: Connection, head: dict[str, int], instant: int) -> dict[str, int]:
    text = format_instant(instant)
    reached = connection.execute(select(func.max(record.c.network_time))).scalar()
    if reached is None or reached < text:
        raise AtRefused(f"settlement time {text} is not reached; the books stand at {reached or 'no time yet'}")
    position = {}
    for log, size in head.items():
        first = connection.execute(
            select(func.min(record.c.sequence)).where(record.c.log == log, record.c.network_time >= text)
        ).scalar()
        position[log] = size if first is None else first
    return position


def _record_end(connection: Connection, log: str, size: int) -> int:
    """Step back to the end of a record: between its events, accounts with one row per record have no sums."""
    end = connection.execute(select(func.max(record.c.end)).where(record.c.log == log, record.c.end <= size)).scalar()
    return end or 0
