"""All that the read models are asked, as values that two databases can be held against each other by."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, select

from events.log import Log
from projections.digest import digest_of_tables
from projections.lookup import BalanceReader
from projections.past import Past
from projections.position import AtRefused, format_position
from projections.rates import read_rates
from projections.read import AccountUnknown, balances_digest, read_balances, read_history, read_position, read_supply
from projections.reports import report_burns, report_jobs, report_refused
from projections.rewards import read_epochs, read_rewards
from projections.stakes import (
    read_cases,
    read_participants,
    read_standings,
    read_tickets,
    report_slashing,
    report_staking,
)
from projections.statement import read_statement
from projections.tables import account, job, participant

__all__ = ["answers_of"]

_ASSET = "OMNI"
# Of the accounts and parties, so many are asked for.
_SOME = 12


def answers_of(engine: Engine, past: Past, ledgers: list[Log]) -> dict[str, Any]:
    """Ask everything, now and at some past positions."""
    said: dict[str, Any] = {}
    with engine.connect() as connection:
        said["tables"], said["digest"] = digest_of_tables(connection), balances_digest(connection)
        for period in (None, "2026Q4", "2027Q1"):
            for report in (report_jobs, report_burns, report_refused):
                said[f"{report.__name__} {period}"] = report(connection, period)
        names = sorted(connection.execute(select(account.c.account)).scalars().unique())
        owners = sorted({*connection.execute(select(job.c.consumer)).scalars(), *_owners(connection)})
        for token in _tokens(ledgers):
            try:
                position = read_position(connection, token)
            except AtRefused as refused:
                said[f"{token}"] = str(refused)
                continue
            said |= {f"{token} {what}": answer for what, answer in _at(connection, position, names, owners)}
    reader = BalanceReader(engine, past)
    for name in _some(names):
        said[f"now {name}"] = reader.now(name)
        for token in _tokens(ledgers)[1:]:
            said[f"{token} lookup {name}"] = _try(reader.at, name, dict(_sizes(token, ledgers)))
    reader.close()
    return said


def _at(
    connection: Connection, position: dict[str, int], names: list[str], owners: list[str]
) -> Iterator[tuple[str, Any]]:
    yield "position", format_position(position)
    for what in (None, "consumer:", "payable:", "nobody:"):
        yield f"balances {what}", _try(read_balances, connection, position, what)
    yield "supply", read_supply(connection, position, _ASSET)
    for name in _some(names):
        yield f"history {name}", list(read_history(connection, position, name))
    for read in (read_participants, read_tickets, read_cases, report_staking):
        yield read.__name__, read(connection, position)
    yield "slashing", report_slashing(connection, position, None)
    yield "epochs", read_epochs(connection, position, _ASSET)
    yield "rewards", read_rewards(connection, position, _ASSET)
    yield "rates", read_rates(connection, position, _ASSET)
    for owner in _some(owners):
        yield f"standings {owner}", read_standings(connection, position, "validator", owner)
        for period in (None, "2026Q4"):
            yield f"statement {owner} {period}", _try(read_statement, connection, position, _ASSET, owner, period)


def _tokens(ledgers: list[Log]) -> list[str | None]:
    """Name the head, a position in the middle of each log, and some times."""
    middle = {log.name: log.end() // 2 for log in ledgers}
    return [None, format_position(middle), format_position({log.name: log.end() for log in ledgers})]


def _sizes(token: str | None, ledgers: list[Log]) -> Iterator[tuple[str, int]]:
    for log in ledgers:
        ends = [0, *(record.end for record in log.read(0))]
        yield log.name, ends[-1] if token == _tokens(ledgers)[2] else ends[len(ends) // 2]


def _owners(connection: Connection) -> set[str]:
    return {name for row in connection.execute(select(participant.c.id, participant.c.owner)) for name in row}


def _some(values: list[str]) -> list[str]:
    return list(islice(values, 0, None, max(1, len(values) // _SOME)))


def _try(read: Any, *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except (AccountUnknown, AtRefused) as refused:
        return str(refused)
