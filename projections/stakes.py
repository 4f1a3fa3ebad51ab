"""Participants, unbonding tickets and slash cases as they stood at a position.

A row is known where it lies below the hub's position; what ended a ticket or decided a case is a row of its own. Past
and present are so one query.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, Table, select

from ledger.accounts import SupplyClass, bond, kind_of, slash_pending, unbonding
from ledger.errors import LedgerInvariantBroken
from projections.network import DISPUTED, DISTRIBUTED, REVERSED, UPHELD
from projections.past import Past
from projections.read import read_balances
from projections.reports import Report, quarter_epochs
from projections.tables import participant, slash_case, slash_step, standing, ticket, ticket_end

__all__ = [
    "Case",
    "Participant",
    "Standing",
    "Ticket",
    "case_terms",
    "read_cases",
    "read_participants",
    "read_standings",
    "read_tickets",
    "report_slashing",
    "report_staking",
]

PROPOSED, OPEN, UNREGISTERED = "proposed", "open", "unregistered"


@dataclass(frozen=True, slots=True)
class Standing:
    """From when on a participant was active, or was not and why."""

    active: bool
    cause: str
    occurred_at: str


@dataclass(frozen=True, slots=True)
class Participant:
    """A node or a validator; `cause` says why it is suspended, `since` from when on it stands as it does."""

    role: str
    id: str
    operator: str
    owner: str
    minimum: int
    registered_at: str
    active: bool
    cause: str
    since: str

    @property
    def status(self) -> str:
        """How it stands, in a word or two."""
        return "active" if self.active else f"suspended ({self.cause})"


@dataclass(frozen=True, slots=True)
class Ticket:
    """Stake on its way out: `amount` was ordered, `paid` came back of it; `status` is open, matured or cancelled."""

    id: str
    role: str
    participant: str
    amount: int
    ordered_at: str
    matures_at: str
    status: str
    ended_at: str
    paid: int


@dataclass(frozen=True, slots=True)
class Case:
    """A slash with every term, base units; `status` is proposed, disputed, upheld, reversed or distributed.

    `shares`: what of the accused's rewards had waited for it; `shares_to`: the account that a reversal gave it to.
    """

    id: str
    role: str
    accused: str
    cause: str
    consumer: str
    job: str
    attempt: int
    basis: int
    bps: int
    amount: int
    from_bonded: int
    proposer: str
    bond: int
    reporter: str
    verifiers: tuple[str, ...]
    status: str
    epoch: int
    proposed_at: str
    disputed_at: str
    ends_at: str
    decided_at: str
    decided_epoch: int
    paid: int
    burned: int
    shares: int
    shares_to: str

    @property
    def is_open(self) -> bool:
        """Whether there is no verdict."""
        return self.status in {PROPOSED, DISPUTED}

    @property
    def is_upheld(self) -> bool:
        """Whether it stands."""
        return self.status in {UPHELD, DISTRIBUTED}

    @property
    def receivers(self) -> tuple[str, ...]:
        """Who shares what is paid of it, in equal parts (D11)."""
        return (self.reporter,) if self.reporter else self.verifiers


def read_participants(connection: Connection, position: dict[str, int]) -> list[Participant]:
    """Return who was registered, in order of role and id."""
    latest: dict[tuple[str, str], RowMapping] = {}
    for row in _known(connection, standing, position):
        latest[row["role"], row["id"]] = row
    return [
        Participant(
            role=row["role"],
            id=row["id"],
            operator=row["operator"],
            owner=row["owner"],
            minimum=row["minimum"],
            registered_at=row["registered_at"],
            active=bool(now["active"]),
            cause=now["cause"],
            since=now["occurred_at"],
        )
        for row in sorted(_known(connection, participant, position), key=lambda row: (row["role"], row["id"]))
        for now in (latest[row["role"], row["id"]],)
    ]


def read_standings(connection: Connection, position: dict[str, int], role: str, id: str) -> list[Standing]:
    """Return how a participant has stood since its registration, oldest first."""
    return [
        Standing(bool(row["active"]), row["cause"], row["occurred_at"])
        for row in _known(connection, standing, position)
        if (row["role"], row["id"]) == (role, id)
    ]


def read_tickets(connection: Connection, position: dict[str, int]) -> list[Ticket]:
    """Return all tickets in the order in which they were ordered."""
    ends = {row["ticket"]: row for row in _known(connection, ticket_end, position)}
    return [
        Ticket(
            id=row["id"],
            role=row["role"],
            participant=row["participant"],
            amount=row["amount"],
            ordered_at=row["ordered_at"],
            matures_at=row["matures_at"],
            status=end["outcome"] if end else OPEN,
            ended_at=end["occurred_at"] if end else "",
            paid=end["amount"] if end else 0,
        )
        for row in _known(connection, ticket, position)
        for end in (ends.get(row["id"]),)
    ]


def read_cases(connection: Connection, position: dict[str, int]) -> list[Case]:
    """Return all cases in the order in which they were proposed."""
    steps: dict[str, dict[str, RowMapping]] = {}
    for row in _known(connection, slash_step, position):
        steps.setdefault(row["slash_case"], {})[row["step"]] = row
    return [_case(row, steps.get(row["id"], {})) for row in _known(connection, slash_case, position)]


def _case(row: RowMapping, steps: dict[str, RowMapping]) -> Case:
    disputed, distributed = steps.get(DISPUTED), steps.get(DISTRIBUTED)
    decided = steps.get(UPHELD) or steps.get(REVERSED)
    return Case(
        id=row["id"],
        role=row["role"],
        accused=row["accused"],
        cause=row["cause"],
        consumer=row["consumer"],
        job=row["job"],
        attempt=row["attempt"],
        basis=row["basis"],
        bps=row["bps"],
        amount=row["amount"],
        from_bonded=row["from_bonded"],
        proposer=row["proposer"],
        bond=row["bond"],
        reporter=row["reporter"],
        verifiers=tuple(row["verifiers"].split()),
        status=next(step for step in (DISTRIBUTED, UPHELD, REVERSED, DISPUTED, PROPOSED) if step in {*steps, PROPOSED}),
        epoch=row["epoch"],
        proposed_at=row["proposed_at"],
        disputed_at=disputed["occurred_at"] if disputed else "",
        ends_at=disputed["ends_at"] if disputed else row["ends_at"],
        decided_at=decided["occurred_at"] if decided else "",
        decided_epoch=decided["epoch"] if decided else -1,
        paid=distributed["paid"] if distributed else 0,
        burned=distributed["burned"] if distributed else 0,
        shares=decided["shares"] if decided else 0,
        shares_to=decided["shares_to"] if decided else "",
    )


def _known(connection: Connection, table: Table, position: dict[str, int]) -> Iterator[RowMapping]:
    size = position.get("hub", 0)
    yield from connection.execute(
        select(table).where(table.c.sequence < size).order_by(table.c.sequence, *table.primary_key)
    ).mappings()


# --- reports ---

_STAKE_AMOUNTS = ("bonded", "frozen", "unbonding", "bonds")


def report_staking(connection: Connection, position: dict[str, int], past: Past | None = None) -> Report:
    """Show each participant's stake; the totals are the supply classes `staked` and `unbonding`.

    frozen: in slash cases without distribution, be it from bonded stake or from a ticket. bonds: posted as accuser.
    Raises: LedgerInvariantBroken where they are not, AtRefused.
    """
    held = _stake_accounts(connection, position, past)
    known = {(line.role, line.id): line for line in read_participants(connection, position)}
    stakes: dict[tuple[str, str], dict[str, int]] = {key: dict.fromkeys(_STAKE_AMOUNTS, 0) for key in known}

    def add(role: str, id: str, name: str, account: str) -> None:
        amount = held.pop(account, 0)
        if amount or (role, id) in stakes:
            stakes.setdefault((role, id), dict.fromkeys(_STAKE_AMOUNTS, 0))[name] += amount

    for account in list(held):
        parts = account.split(":")
        if account.startswith("stake:bonded:"):
            add(parts[2], parts[3], "bonded", account)
    for line in read_tickets(connection, position):
        add(line.role, line.participant, "unbonding", unbonding(line.id))
    for case in read_cases(connection, position):
        add(case.role, case.accused, "frozen", slash_pending(case.id))
        add("validator", case.proposer, "bonds", bond(case.id))
    if any(held.values()):
        raise LedgerInvariantBroken(f"stake lies in accounts of nobody: {sorted(held)[:3]}")
    return _staking_report(known, stakes)


def _staking_report(known: dict[tuple[str, str], Participant], stakes: dict[tuple[str, str], dict[str, int]]) -> Report:
    columns = ["role", "id", "owner", "status", "since", *_STAKE_AMOUNTS, "minimum"]
    totals = dict.fromkeys(_STAKE_AMOUNTS, 0)
    rows = []
    for key in sorted(stakes):
        line, amounts = known.get(key), stakes[key]
        for name in totals:
            totals[name] += amounts[name]
        said = (line.owner, line.status, line.since, line.minimum) if line else ("", UNREGISTERED, "", 0)
        rows.append([*key, *said[:3], *amounts.values(), said[3]])
    lines = [
        {name: str(cell) if isinstance(cell, int) else cell for name, cell in zip(columns, row, strict=True)}
        for row in rows
    ]
    rows.append(["total", "", "", "", "", *totals.values(), ""])
    staked = totals["bonded"] + totals["frozen"] + totals["bonds"]
    classes = {"participants": len(lines), "class_staked": staked, "class_unbonding": totals["unbonding"]}
    return Report(totals | classes, columns, rows, lines, (*_STAKE_AMOUNTS, "class_staked", "class_unbonding"))


def _stake_accounts(connection: Connection, position: dict[str, int], past: Past | None) -> dict[str, int]:
    """Return what lies in each account of the classes `staked` and `unbonding`, base units, over all vaults."""
    held: dict[str, int] = {}
    for line in read_balances(connection, position, None, past):
        if kind_of(line.key.account).supply in {SupplyClass.STAKED, SupplyClass.UNBONDING}:
            held[line.key.account] = held.get(line.key.account, 0) + line.net
    return held


_CASE_AMOUNTS = ("basis", "amount", "paid", "burned", "bond", "shares")
_CASE_COLUMNS = (
    "id", "role", "accused", "cause", "consumer", "job", "attempt", "proposer", "reporter", "verifiers", "status",
    "proposed_at", "disputed_at", "ends_at", "decided_at", "bps", *_CASE_AMOUNTS, "shares_to",
)  # fmt: skip
_CASE_SHOWN = (
    "id", "role", "accused", "cause", "job", "proposer", "status", "ends_at", "bps", "basis", "amount", "paid",
    "burned",
)  # fmt: skip


def case_terms(case: Case) -> dict[str, str | int]:
    """Return a case's terms by name: amounts as ints, all else as text."""
    terms = {name: getattr(case, name) for name in _CASE_COLUMNS}
    texts = {"verifiers": " ".join(case.verifiers), "attempt": str(case.attempt), "bps": str(case.bps)}
    return terms | texts


def report_slashing(
    connection: Connection, position: dict[str, int], period: str | None, past: Past | None = None
) -> Report:
    """Show every case with its terms; what is pending, posted and paid is what the accounts say.

    A period picks the cases proposed in it; what ties to accounts is checked over all cases.
    Raises: LedgerInvariantBroken, AtRefused.
    """
    cases = read_cases(connection, position)
    _check_cases(connection, position, cases, past)
    if period is not None:
        epochs = quarter_epochs(period)
        cases = [case for case in cases if case.epoch in epochs]
    totals = {
        "cases": len(cases),
        "open": sum(case.is_open for case in cases),
        "proposed": sum(case.amount for case in cases),
        "pending": sum(case.amount for case in cases if case.is_open or case.status == UPHELD),
        "upheld": sum(case.amount for case in cases if case.is_upheld),
        "reversed": sum(case.amount for case in cases if case.status == REVERSED),
        "paid": sum(case.paid for case in cases),
        "burned": sum(case.burned for case in cases),
        "bonds_posted": sum(case.bond for case in cases),
        "bonds_burned": sum(case.bond for case in cases if case.status == REVERSED),
    }
    lines = [case_terms(case) for case in cases]
    rows = [[line[name] for name in _CASE_COLUMNS] for line in lines]
    data = [{name: str(cell) for name, cell in line.items()} for line in lines]
    return Report(totals, _CASE_COLUMNS, rows, data, tuple(totals)[2:], _CASE_SHOWN)


def _check_cases(connection: Connection, position: dict[str, int], cases: list[Case], past: Past | None) -> None:
    frozen = {case.id: case.amount for case in cases if case.is_open or case.status == UPHELD}
    posted = {case.id: case.bond for case in cases if case.is_open}
    paid, found = 0, {slash_pending(""): dict[str, int](), bond(""): dict[str, int]()}
    for line in read_balances(connection, position, None, past):
        for head, sums in found.items():
            if line.key.account.startswith(head):
                sums[line.key.account.removeprefix(head)] = line.net
        if line.key.account.startswith("payable:reporter:"):
            paid += line.credits
    for head, wanted in ((slash_pending(""), frozen), (bond(""), posted)):
        held = {id: amount for id, amount in found[head].items() if amount}
        if held != {id: amount for id, amount in wanted.items() if amount}:
            raise LedgerInvariantBroken(
                f"the accounts {head}* hold {sum(held.values())} base units, not what cases say"
            )
    if paid != sum(case.paid for case in cases):
        raise LedgerInvariantBroken(f"payable:reporter:* was credited {paid} base units, not what cases say")
