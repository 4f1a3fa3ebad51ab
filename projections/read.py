"""Questions to the read models. Each answer names the position that it stands on.

A past position is answered from history: each account's running sums are one row per log. A time is settlement
time: it stands for the position at which network time first reached it, so that it holds whatever came in before,
and no more. What the books have not reached yet is refused, never answered with less.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, select

from events.instant import format_instant, parse_instant
from ledger.accounts import Key
from ledger.balances import digest_of_balances
from ledger.supply import Supply, measure_supply
from projections.movements import AS_SETTLED, check_rows, read_movements, unsealed
from projections.past import Past
from projections.position import AtRefused, format_position, history_of, parse_position
from projections.segments import SegmentUnusable
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


def read_position(connection: Connection, at: str | None, *, history: bool = False) -> dict[str, int]:
    """Resolve a token, a time or (None) the head to positions at records' ends; with `history`, the head of history.

    Raises: AtRefused, also for a past position that history, which follows the head, has not reached.
    """
    ends = {row.log: row.position for row in connection.execute(select(checkpoint))}
    head = {log: end for log, end in ends.items() if "/" not in log}
    told = {log: ends.get(history_of(log), 0) for log in head}
    if at is None:
        return told if history else head
    instant = _parse_time(at)
    if instant is not None:
        position = _position_at_time(connection, head, instant)
    else:
        sizes = dict.fromkeys(head, 0) | parse_position(at)
        for log, size in sizes.items():
            if log not in head or size > head[log]:
                raise AtRefused(f"{log}:{size} is not reached; the books stand at {log}:{head.get(log, 0)}")
        position = {log: _record_end(connection, log, size) for log, size in sizes.items()}
    for log, size in position.items():
        if size > told[log] and (history or position != head):
            raise AtRefused(f"{log}:{size} is not reached by history, which follows; it stands at {log}:{told[log]}")
    return position


def read_balances(
    connection: Connection, position: dict[str, int], name: str | None = None, past: Past | None = None
) -> list[Balance]:
    """Return balances at a position in order of account, asset, vault; `name` picks an account or a `prefix:`.

    Where `past` has a log sealed, no rows of history are needed. Raises: AccountUnknown where `name` picks nothing,
    AtRefused where history is neither in segments nor in rows.
    """
    sums: dict[Key, list[int]] | None = None
    while sums is None:
        try:
            sums = _add_up(_sums_at(connection, position, name, past))
        except SegmentUnusable:
            # The past has lost it, and ends before it.
            sums = None
    if name is not None and not sums:
        raise AccountUnknown(f"nothing has moved {name} up to {format_position(position)}")
    return [Balance(key, *sums[key]) for key in sorted(sums, key=lambda key: (key.account, key.asset, key.vault))]


def _add_up(sums: Iterable[tuple[Key, int, int]]) -> dict[Key, list[int]]:
    totals: dict[Key, list[int]] = {}
    for key, debits, credits in sums:
        total = totals.setdefault(key, [0, 0])
        total[0] += debits
        total[1] += credits
    return totals


def balances_digest(connection: Connection) -> str:
    """Return the digest of all balances at the head, as `ledger.balances` defines it."""
    balances = read_balances(connection, read_position(connection, None))
    return digest_of_balances((line.key, (line.debits, line.credits)) for line in balances)


def read_supply(connection: Connection, position: dict[str, int], asset: str, past: Past | None = None) -> Supply:
    """Return the supply by class at a position. Raises: LedgerInvariantBroken, AtRefused."""
    balances = read_balances(connection, position, None, past)
    return measure_supply(asset, ((line.key, (line.debits, line.credits)) for line in balances))


def read_history(
    connection: Connection, position: dict[str, int], name: str, past: Past | None = None
) -> Iterator[Movement]:
    """Yield an account's movements up to a position with its running balance, oldest first, lanes before the hub.

    Raises: AtRefused.
    """
    running: dict[Key, int] = {}
    for moved in read_movements(connection, position, account.c.account == name, AS_SETTLED, past):
        key = moved.key
        running[key] = running.get(key, 0) + moved.credit - moved.debit
        yield Movement(*moved[:6], moved.debit, moved.credit, running[key])


def _sums_at(
    connection: Connection, position: dict[str, int], name: str | None, past: Past | None
) -> Iterable[tuple[Key, int, int]]:
    """Select each account's sums per log: from the head where that is asked for, else from the past."""
    columns = (account.c.asset, account.c.account, account.c.vault)
    of_name = _match(name)
    if position == read_position(connection, None):
        for row in connection.execute(
            select(*columns, balance.c.debits, balance.c.credits).join(balance).where(of_name)
        ):
            yield Key(*row[:3]), row.debits, row.credits
        return
    check_rows(connection, position, past)
    keys = {id: Key(*key) for id, *key in connection.execute(select(account.c.id, *columns).where(of_name))}
    for log, size in position.items():
        last = (
            select(history.c.account_id, func.max(history.c.sequence).label("sequence"))
            .join(account, account.c.id == history.c.account_id)
            .where(history.c.log == log, history.c.sequence < size, unsealed(position, past), of_name)
            .group_by(history.c.account_id)
            .subquery()
        )
        at_last = and_(last.c.account_id == history.c.account_id, last.c.sequence == history.c.sequence)
        rest = dict(keys)
        for number, debits, credits in connection.execute(
            select(history.c.account_id, history.c.debits, history.c.credits)
            .join(last, at_last)
            .where(history.c.log == log)
        ):
            yield rest.pop(number), debits, credits
        if past is not None:
            sealed = min(size, past.end(log))
            for key in rest.values():
                debits, credits = past.sums_at(log, key, sealed)
                if debits or credits:
                    yield key, debits, credits


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
    reached = max((_last_time(connection, log) for log in head), default="")
    if reached < text:
        raise AtRefused(f"settlement time {text} is not reached; the books stand at {reached or 'no time yet'}")
    position = {}
    for log, size in head.items():
        first = connection.execute(
            select(func.min(record.c.sequence)).where(record.c.log == log, record.c.network_time >= text)
        ).scalar()
        position[log] = size if first is None else first
    return position


def _last_time(connection: Connection, log: str) -> str:
    """Return the network time that a log has reached; it never goes back, so the last record tells."""
    last = select(record.c.network_time).where(record.c.log == log).order_by(record.c.sequence.desc()).limit(1)
    return connection.execute(last).scalar() or ""


def _record_end(connection: Connection, log: str, size: int) -> int:
    """Step back to the end of a record: between its events, accounts with one row per record have no sums."""
    before = (record.c.log == log, record.c.sequence < size, record.c.end <= size)
    end = connection.execute(select(record.c.end).where(*before).order_by(record.c.sequence.desc()).limit(1)).scalar()
    return end or 0
