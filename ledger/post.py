"""What each decision means in debits and credits. No rule and no parameter: the decision carries its numbers.

This is the only place that knows which accounts an event moves. A posting of zero is left out, and so is an entry
without postings. Numbers that a decision gives twice, as a sum and in its parts, are held against one another.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from events.decisions import (
    AllocatedLine,
    BurnFinalized,
    DepositCredited,
    EscrowFunded,
    FeeAllocated,
    GenesisAllocated,
    JobRefunded,
    JobSettled,
    PayoutFinalized,
    SweepFinalized,
    WithdrawalAccepted,
)
from events.event import Decision
from events.stakes import (
    RewardLine,
    SlashDistributed,
    SlashProposed,
    SlashReversed,
    SlashUpheld,
    UnbondingCancelled,
    UnbondingMatured,
    UnstakeRequested,
    ValidatorRewardsAllocated,
    WithheldLine,
)
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


# --- the chain, and what stands in for it ---


def _genesis(event: GenesisAllocated) -> Iterator[Leg]:
    _must_sum(event, event.data.lines)
    yield accounts.SUPPLY_ISSUED, "", int(event.data.amount), Side.DEBIT
    for line in event.data.lines:
        yield line.account, line.vault, int(line.amount), Side.CREDIT


def _deposit(event: DepositCredited) -> Iterator[Leg]:
    data, amount = event.data, int(event.data.amount)
    yield accounts.EXTERNAL, "", amount, Side.DEBIT
    account = accounts.consumer(event.subject) if data.role is None else accounts.bonded(data.role, event.subject)
    yield account, data.vault, amount, Side.CREDIT


def _payout(event: PayoutFinalized) -> Iterator[Leg]:
    _must_sum(event, event.data.lines)
    for line in event.data.lines:
        if not line.account.startswith("payable:"):
            raise LedgerInvariantBroken(f"{event.id}: a payout leaves {line.account}, which owes nothing")
        yield line.account, line.vault, int(line.amount), Side.DEBIT
    yield accounts.EXTERNAL, "", int(event.data.amount), Side.CREDIT


def _burn(event: BurnFinalized) -> Iterator[Leg]:
    amount = int(event.data.amount)
    yield accounts.BURN_PENDING, event.data.vault, amount, Side.DEBIT
    yield accounts.SUPPLY_BURNED, "", amount, Side.CREDIT


def _sweep(event: SweepFinalized) -> Iterator[Leg]:
    _must_sum(event, event.data.lines)
    for line in event.data.lines:
        yield line.account, line.vault, int(line.amount), Side.DEBIT
        yield line.account, event.data.to, int(line.amount), Side.CREDIT


# --- jobs and fees ---


def _escrow_funded(event: EscrowFunded) -> Iterator[Leg]:
    amount = int(event.data.amount)
    _must_equal(event, "amount", amount, "its holds", sum(int(hold.amount) for hold in event.data.holds))
    yield accounts.consumer(event.data.consumer), accounts.VAULT_ESCROW, amount, Side.DEBIT
    yield accounts.escrow(event.data.consumer, event.subject), accounts.VAULT_ESCROW, amount, Side.CREDIT


def _job_settled(event: JobSettled) -> Iterator[Leg]:
    data, vault = event.data, accounts.VAULT_ESCROW
    owner, refund = accounts.consumer(data.consumer), int(data.refund)
    # What waits for a case stays where it is.
    released = int(data.escrow) - sum(int(line.hold) for line in data.waiting)
    if data.funding == "escrow":
        yield accounts.escrow(data.consumer, event.subject), vault, released, Side.DEBIT
        yield owner, vault, refund, Side.CREDIT
    else:
        # Hold and release fall together: only what is spent leaves the consumer, and nothing is held that could wait.
        _must_equal(event, "escrow", int(data.escrow), "what does not wait", released)
        yield owner, vault, released - refund, Side.DEBIT
    spent = burn = fee = 0
    for line in data.lines:
        parts = int(line.burn) + int(line.fee) + int(line.net)
        _must_equal(event, f"gross of {line.node}", int(line.gross), "burn, fee and net", parts)
        yield accounts.payable_supplier(line.node), vault, int(line.net), Side.CREDIT
        spent += parts
        burn += int(line.burn)
        fee += int(line.fee)
    _must_equal(event, "escrow without what waits", released, "gross and refund", spent + refund)
    yield accounts.BURN_PENDING, vault, burn, Side.CREDIT
    yield accounts.FEE_ACCRUED, vault, fee, Side.CREDIT


def _job_refunded(event: JobRefunded) -> Iterator[Leg]:
    amount, vault = int(event.data.amount), accounts.VAULT_ESCROW
    yield accounts.escrow(event.data.consumer, event.subject), vault, amount, Side.DEBIT
    yield accounts.consumer(event.data.consumer), vault, amount, Side.CREDIT


def _withdrawal(event: WithdrawalAccepted) -> Iterator[Leg]:
    amount, vault = int(event.data.amount), accounts.VAULT_ESCROW
    yield accounts.consumer(event.subject), vault, amount, Side.DEBIT
    yield accounts.payable("withdrawal", event.subject), vault, amount, Side.CREDIT


def _fee_allocated(event: FeeAllocated) -> Iterator[Leg]:
    data = event.data
    yield accounts.FEE_ACCRUED, data.vault, int(data.fees), Side.DEBIT
    yield accounts.POOL_CURRENT, data.vault, int(data.pool), Side.CREDIT
    yield accounts.TREASURY, data.vault, int(data.treasury), Side.CREDIT


# --- stakes ---


def _unstaked(event: UnstakeRequested) -> Iterator[Leg]:
    data, amount = event.data, int(event.data.amount)
    yield accounts.bonded(data.role, event.subject), accounts.VAULT_STAKE, amount, Side.DEBIT
    yield accounts.unbonding(data.ticket), accounts.VAULT_STAKE, amount, Side.CREDIT


def _rebonded(event: UnbondingCancelled) -> Iterator[Leg]:
    data, amount = event.data, int(event.data.amount)
    yield accounts.unbonding(data.ticket), accounts.VAULT_STAKE, amount, Side.DEBIT
    yield accounts.bonded(data.role, event.subject), accounts.VAULT_STAKE, amount, Side.CREDIT


def _matured(event: UnbondingMatured) -> Iterator[Leg]:
    data, amount = event.data, int(event.data.amount)
    yield accounts.unbonding(data.ticket), accounts.VAULT_STAKE, amount, Side.DEBIT
    yield accounts.payable("stake", data.owner), accounts.VAULT_STAKE, amount, Side.CREDIT


# --- slashes ---


def _slash_proposed(event: SlashProposed) -> Iterator[Leg]:
    data, vault = event.data, accounts.VAULT_STAKE
    amount, bond = int(data.amount), int(data.bond)
    taken = int(data.from_bonded) + sum(int(part.amount) for part in data.from_tickets)
    _must_equal(event, "amount", amount, "what was taken from bonded stake and tickets", taken)
    yield accounts.bonded(data.role, event.subject), vault, int(data.from_bonded), Side.DEBIT
    for part in data.from_tickets:
        yield accounts.unbonding(part.ticket), vault, int(part.amount), Side.DEBIT
    yield accounts.slash_pending(data.case), vault, amount, Side.CREDIT
    yield accounts.bonded("validator", data.proposer), vault, bond, Side.DEBIT
    yield accounts.bond(data.case), vault, bond, Side.CREDIT


def _slash_upheld(event: SlashUpheld) -> Iterator[Leg]:
    data, bond = event.data, int(event.data.bond)
    yield accounts.bond(data.case), accounts.VAULT_STAKE, bond, Side.DEBIT
    yield accounts.bonded("validator", data.proposer), accounts.VAULT_STAKE, bond, Side.CREDIT
    for line in data.withheld:
        if line.account != accounts.withheld(data.case):
            raise LedgerInvariantBroken(f"{event.id}: {line.account} does not wait for case {data.case}")
        yield line.account, line.vault, int(line.amount), Side.DEBIT
        yield accounts.POOL_CARRY, line.vault, int(line.amount), Side.CREDIT


def _slash_reversed(event: SlashReversed) -> Iterator[Leg]:
    data, vault, bond = event.data, accounts.VAULT_STAKE, int(event.data.bond)
    _must_sum(event, data.returned)
    yield accounts.slash_pending(data.case), vault, int(data.amount), Side.DEBIT
    for line in data.returned:
        yield line.account, line.vault, int(line.amount), Side.CREDIT
    yield accounts.bond(data.case), vault, bond, Side.DEBIT
    yield accounts.BURN_PENDING, vault, bond, Side.CREDIT
    for line in data.released:
        yield accounts.withheld(data.case), line.vault, int(line.amount), Side.DEBIT
        yield line.account, line.vault, int(line.amount), Side.CREDIT


def _slash_distributed(event: SlashDistributed) -> Iterator[Leg]:
    data, vault = event.data, accounts.VAULT_STAKE
    parts = sum(int(line.amount) for line in data.paid) + int(data.burned)
    _must_equal(event, "amount", int(data.amount), "what is paid and burned", parts)
    yield accounts.slash_pending(data.case), vault, int(data.amount), Side.DEBIT
    for line in data.paid:
        yield accounts.payable("reporter", line.id), vault, int(line.amount), Side.CREDIT
    yield accounts.BURN_PENDING, vault, int(data.burned), Side.CREDIT


# --- rewards ---


def _rewards_allocated(event: ValidatorRewardsAllocated) -> Iterator[Leg]:
    data, pool, carry = event.data, int(event.data.pool), int(event.data.carry)
    shares: tuple[RewardLine | WithheldLine, ...] = (*data.lines, *data.withheld)
    _must_equal(event, "pool", pool, "shares and carry", carry + sum(int(share.amount) for share in shares))
    _must_equal(event, "weight", int(data.weight), "weights", sum(int(share.weight) for share in shares))
    # What each account gains, over all vaults.
    due: defaultdict[str, int] = defaultdict(int)
    due[accounts.POOL_CURRENT] = int(data.carry_in) - pool
    due[accounts.POOL_CARRY] = carry - int(data.carry_in)
    for share in shares:
        if isinstance(share, WithheldLine):
            due[accounts.withheld(share.case)] += int(share.amount)
        else:
            due[accounts.payable("validator", share.validator)] += int(share.amount)
    moved = dict.fromkeys(due, 0)
    for lines, sign in ((data.drawn, -1), (data.credited, 1)):
        for line in lines:
            moved[line.account] = moved.get(line.account, 0) + sign * int(line.amount)
    for account in sorted(moved):
        _must_equal(
            event, f"what {account} is due", due[account], "what it receives less what it gives", moved[account]
        )
    for line in data.drawn:
        yield line.account, line.vault, int(line.amount), Side.DEBIT
    for line in data.credited:
        yield line.account, line.vault, int(line.amount), Side.CREDIT


def _must_sum(event: Any, lines: Iterable[AllocatedLine]) -> None:
    _must_equal(event, "amount", int(event.data.amount), "its lines", sum(int(line.amount) for line in lines))


def _must_equal(event: Decision, name: str, amount: int, of: str, total: int) -> None:
    if amount != total:
        raise LedgerInvariantBroken(f"{event.id}: {name} is {amount} base units, the sum of {of} is {total}")


_LEGS: dict[type[Decision], Callable[[Any], Iterator[Leg]]] = {
    GenesisAllocated: _genesis,
    DepositCredited: _deposit,
    PayoutFinalized: _payout,
    BurnFinalized: _burn,
    SweepFinalized: _sweep,
    EscrowFunded: _escrow_funded,
    JobSettled: _job_settled,
    JobRefunded: _job_refunded,
    WithdrawalAccepted: _withdrawal,
    FeeAllocated: _fee_allocated,
    UnstakeRequested: _unstaked,
    UnbondingCancelled: _rebonded,
    UnbondingMatured: _matured,
    SlashProposed: _slash_proposed,
    SlashUpheld: _slash_upheld,
    SlashReversed: _slash_reversed,
    SlashDistributed: _slash_distributed,
    ValidatorRewardsAllocated: _rewards_allocated,
}
# Money crosses from one vault to another (or to none) only where a chain fact, or one declared in its place, moved it.
_CAUSED_BY_CHAIN = {GenesisAllocated, DepositCredited, PayoutFinalized, BurnFinalized, SweepFinalized}
