"""What each decision means in debits and credits. No rule and no parameter: the decision carries its numbers.

This is the only place that knows which accounts an event moves. A posting of zero is left out, and so is an entry
without postings.
"""

from collections.abc import Callable, Iterator
from typing import Any

from events.decisions import (
    DepositCredited,
    EscrowFunded,
    FeeAllocated,
    GenesisAllocated,
    JobRefunded,
    JobSettled,
)
from events.event import Decision
from ledger import accounts
from ledger.entry import Entry, Posting, Side, check_entry
from ledger.errors import LedgerInvariantBroken

__all__ = ["post"]

Leg = tuple[str, str, int, Side]


def post(decision: Decision) -> Entry | None:
    """Return the entry that a decision causes, or None where it moves nothing.

    Raises: LedgerInvariantBroken where the decision's numbers do not balance.
    """
    legs = _LEGS.get(type(decision))
    if legs is None:
        return None
    data: Any = decision.data  # type: ignore[attr-defined]
    postings = tuple(
        Posting(account, amount, data.asset, side, vault) for account, vault, amount, side in legs(decision) if amount
    )
    if not postings:
        return None
    entry = Entry(decision.epoch, decision.id, postings, type(decision) in _CAUSED_BY_CHAIN)
    check_entry(entry)
    return entry


def _genesis(event: GenesisAllocated) -> Iterator[Leg]:
    yield accounts.SUPPLY_ISSUED, "", int(event.data.amount), Side.DEBIT
    for line in event.data.lines:
        yield line.account, line.vault, int(line.amount), Side.CREDIT


def _deposit(event: DepositCredited) -> Iterator[Leg]:
    amount = int(event.data.amount)
    yield accounts.EXTERNAL, "", amount, Side.DEBIT
    yield accounts.consumer(event.subject), event.data.vault, amount, Side.CREDIT


def _escrow_funded(event: EscrowFunded) -> Iterator[Leg]:
    amount = int(event.data.amount)
    _must_equal(event, "amount", amount, "its holds", sum(int(hold.amount) for hold in event.data.holds))
    yield accounts.consumer(event.data.consumer), accounts.VAULT_ESCROW, amount, Side.DEBIT
    yield accounts.escrow(event.subject), accounts.VAULT_ESCROW, amount, Side.CREDIT


def _job_settled(event: JobSettled) -> Iterator[Leg]:
    data, vault = event.data, accounts.VAULT_ESCROW
    owner = accounts.consumer(data.consumer)
    if data.funding == "escrow":
        yield accounts.escrow(event.subject), vault, int(data.escrow), Side.DEBIT
        yield owner, vault, int(data.refund), Side.CREDIT
    else:
        # Hold and release fall together, so only what is spent leaves the consumer.
        yield owner, vault, int(data.escrow) - int(data.refund), Side.DEBIT
    burn = fee = 0
    for line in data.lines:
        parts = int(line.burn) + int(line.fee) + int(line.net)
        _must_equal(event, f"gross of {line.node}", int(line.gross), "burn, fee and net", parts)
        yield accounts.payable_supplier(line.node), vault, int(line.net), Side.CREDIT
        burn += int(line.burn)
        fee += int(line.fee)
    yield accounts.BURN_PENDING, vault, burn, Side.CREDIT
    yield accounts.FEE_ACCRUED, vault, fee, Side.CREDIT


def _job_refunded(event: JobRefunded) -> Iterator[Leg]:
    amount, vault = int(event.data.amount), accounts.VAULT_ESCROW
    yield accounts.escrow(event.subject), vault, amount, Side.DEBIT
    yield accounts.consumer(event.data.consumer), vault, amount, Side.CREDIT


def _fee_allocated(event: FeeAllocated) -> Iterator[Leg]:
    data = event.data
    yield accounts.FEE_ACCRUED, data.vault, int(data.fees), Side.DEBIT
    yield accounts.POOL_CURRENT, data.vault, int(data.pool), Side.CREDIT
    yield accounts.TREASURY, data.vault, int(data.treasury), Side.CREDIT


def _must_equal(event: Decision, name: str, amount: int, of: str, total: int) -> None:
    if amount != total:
        raise LedgerInvariantBroken(f"{event.id}: {name} is {amount} base units, the sum of {of} is {total}")


_LEGS: dict[type[Decision], Callable[[Any], Iterator[Leg]]] = {
    GenesisAllocated: _genesis,
    DepositCredited: _deposit,
    EscrowFunded: _escrow_funded,
    JobSettled: _job_settled,
    JobRefunded: _job_refunded,
    FeeAllocated: _fee_allocated,
}
# Money crosses from one vault to another (or to none) only where a chain fact, or one declared in its place, moved it.
_CAUSED_BY_CHAIN = {GenesisAllocated, DepositCredited}
