"""A statement: everything that the books hold of one party, for a quarter or for all time.

    opening + credits − debits = closing        per account; over all time, closing is the balance

The party is an id (a consumer, a node, a validator) or the public key that owns participants: then these are part of
it. Its accounts are those that bear one of these ids, and those of its jobs, tickets and cases. A movement falls in the
quarter of its epoch.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, select

from events.instant import day_of, parse_instant
from ledger import accounts
from projections.movements import AS_OCCURRED, Moved, read_movements
from projections.past import Past
from projections.read import AccountUnknown
from projections.reports import quarter_epochs
from projections.rewards import RewardTerms, read_rewards
from projections.stakes import Case, Participant, Ticket, read_cases, read_participants, read_tickets
from projections.tables import account, job

__all__ = ["JOBS", "AccountStatement", "KindSum", "Statement", "read_statement"]

# The escrows of a consumer's jobs stand in one line.
JOBS = "escrow:*"
# So many names are asked for at once; databases bound the parameters of a statement.
_NAMES_MAX = 500


@dataclass(slots=True)
class KindSum:
    """What one kind of event did to an account, base units."""

    count: int = 0
    debit: int = 0
    credit: int = 0


@dataclass(slots=True)
class AccountStatement:
    """One account in one vault, base units; kinds of movements in the order of their first."""

    account: str
    vault: str
    asset: str
    opening: int = 0
    movements: dict[str, KindSum] = field(default_factory=dict)

    @property
    def closing(self) -> int:
        """Where the movements lead from the opening."""
        return self.opening + sum(kind.credit - kind.debit for kind in self.movements.values())


@dataclass(frozen=True, slots=True)
class Statement:
    """All that concerns a party; `jobs` counts a consumer's jobs and their money by status, as they stand now."""

    accounts: list[AccountStatement]
    jobs: dict[str, dict[str, int]]
    participants: list[Participant]
    tickets: list[Ticket]
    cases: list[Case]
    rewards: list[RewardTerms]


def read_statement(
    connection: Connection,
    position: dict[str, int],
    asset: str,
    owner: str,
    period: str | None,
    past: Past | None = None,
) -> Statement:
    """Return a party's statement. Raises: AccountUnknown where nothing has ever concerned it, AtRefused."""
    epochs = range(2**31) if period is None else quarter_epochs(period)
    mine = [line for line in read_participants(connection, position) if owner in {line.id, line.owner}]
    ids = {owner, *(line.id for line in mine)}
    tickets = [line for line in read_tickets(connection, position) if line.participant in ids]
    cases = [case for case in read_cases(connection, position) if _concerns(case, ids)]
    sums = list(_accounts(connection, position, _names(ids, tickets, cases), owner, epochs, past))
    if not sums and not mine:
        raise AccountUnknown(f"no account, node or validator of {owner}")
    return Statement(
        accounts=sums,
        jobs=_jobs(connection, owner, epochs),
        participants=mine,
        tickets=[line for line in tickets if _overlaps(epochs, line.ordered_at, line.ended_at)],
        cases=[case for case in cases if _overlaps(epochs, case.proposed_at, case.decided_at)],
        rewards=[line for line in read_rewards(connection, position, asset, ids) if line.epoch in epochs],
    )


def _concerns(case: Case, ids: set[str]) -> bool:
    return bool(ids & {case.accused, case.proposer, *case.receivers})


def _overlaps(epochs: range, begun_at: str, ended_at: str) -> bool:
    begins_before = day_of(parse_instant(begun_at)) < epochs.stop
    return begins_before and (not ended_at or day_of(parse_instant(ended_at)) >= epochs.start)


# --- accounts ---


def _names(ids: set[str], tickets: list[Ticket], cases: list[Case]) -> Iterator[str]:
    """Yield the names of all accounts that a party can have, but escrows and vesting."""
    for id in sorted(ids):
        yield accounts.consumer(id)
        yield from (accounts.payable(kind, id) for kind in ("supplier", "withdrawal", "validator", "stake", "reporter"))
        yield from (accounts.bonded(role, id) for role in ("node", "validator"))
    yield from (accounts.unbonding(line.id) for line in tickets)
    for case in cases:
        if case.accused in ids:
            yield accounts.slash_pending(case.id)
            yield accounts.withheld(case.id)
        if case.proposer in ids:
            yield accounts.bond(case.id)


def _accounts(
    connection: Connection,
    position: dict[str, int],
    names: Iterable[str],
    owner: str,
    epochs: range,
    past: Past | None,
) -> Iterator[AccountStatement]:
    found: dict[tuple[str, str, str], AccountStatement] = {}
    all_names = list(names)
    conditions: list[ColumnElement[bool]] = [
        account.c.account.in_(all_names[start : start + _NAMES_MAX]) for start in range(0, len(all_names), _NAMES_MAX)
    ]
    conditions.append(account.c.account.like(f"vest:locked:%:{owner}"))
    names_of_jobs = select(accounts.escrow(owner, "") + job.c.id).where(job.c.consumer == owner)
    conditions.append(account.c.account.in_(names_of_jobs))
    for condition in conditions:
        for moved in read_movements(connection, position, condition, AS_OCCURRED, past):
            # SQL's LIKE takes `_` for any letter, and in SQLite no notice of case.
            name = moved.key.account
            if name.startswith("vest:") and name.split(":")[3] != owner:
                continue
            if moved.epoch < epochs.stop:
                _add(found, moved, epochs)
    yield from (found[key] for key in sorted(found))


def _add(found: dict[tuple[str, str, str], AccountStatement], moved: Moved, epochs: range) -> None:
    name = JOBS if moved.key.account.startswith("escrow:") else moved.key.account
    key = name, moved.key.vault, moved.key.asset
    line = found.setdefault(key, AccountStatement(*key))
    if moved.epoch < epochs.start:
        line.opening += moved.credit - moved.debit
        return
    kind = line.movements.setdefault(moved.kind, KindSum())
    kind.count += 1
    kind.debit += moved.debit
    kind.credit += moved.credit


def _jobs(connection: Connection, owner: str, epochs: range) -> dict[str, dict[str, int]]:
    sums: dict[str, dict[str, int]] = {}
    names = ("gross", "refund", "waiting")
    for row in connection.execute(select(job).where(job.c.consumer == owner)).mappings():
        if row["epoch"] in epochs:
            line = sums.setdefault(row["status"], dict.fromkeys(("jobs", *names), 0))
            line["jobs"] += 1
            for name in names:
                line[name] += row[name]
    return dict(sorted(sums.items()))
