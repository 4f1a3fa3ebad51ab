"""The identities that books must satisfy, with both sides written out.

Each is asserted where it is made; here they are measured again over the whole of the books, so that a reader sees the
figures and not only that nothing was raised. What came in and went out is summed over the decisions' own numbers; what
still lies in an account is the fold of their entries, a second way to the same figure.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from events.codec import decode
from events.decisions import (
    BurnFinalized,
    DepositCredited,
    EscrowFunded,
    FeeAllocated,
    JobRefunded,
    JobSettled,
    LaneEpochClosed,
    PayoutFinalized,
    WithdrawalAccepted,
)
from events.event import Decision
from events.log import Log
from events.stakes import (
    SlashDistributed,
    SlashProposed,
    SlashReversed,
    SlashUpheld,
    UnbondingMatured,
    ValidatorRewardsAllocated,
)
from ledger.accounts import SUPPLY_ISSUED
from ledger.entry import Side
from ledger.fold import Books
from ledger.post import post

__all__ = ["Identity", "measure_identities"]

Sums = Mapping[str, int]


class Identity(NamedTuple):
    """`left` and `right` must be equal; base units or counts."""

    name: str
    left: int
    right: int

    @property
    def holds(self) -> bool:
        """Tell whether it holds."""
        return self.left == self.right


def measure_identities(asset: str, ledgers: Sequence[Log]) -> list[Identity]:
    """Measure the identities over all decisions, one asset's money. Raises: LedgerInvariantBroken."""
    books, told = Books(), _Told()
    for record in (record for log in ledgers for record in log.read(0)):
        decisions = [event for line in record.lines if isinstance(event := decode(line), Decision)]
        books.fold(decisions)
        told.include(decisions)
    left = _lying(asset, books)
    return [
        *_of_balances(asset, books),
        *_of_jobs(told.sums, left),
        *_of_stakes(told.sums, left),
        *_of_what_leaves(told.sums, left),
        Identity("within each vault, entries without a chain fact: net", told.sums["astray"], 0),
    ]


def _lying(asset: str, books: Books) -> Sums:
    """Sum the balances of an asset by the first word of their accounts, and by the first two."""
    sums: defaultdict[str, int] = defaultdict(int)
    for key, (debits, credits) in books.balances.items():
        if key.asset == asset:
            words = key.account.split(":")
            for name in {words[0], ":".join(words[:2])}:
                sums[name] += credits - debits
    return sums


def _of_balances(asset: str, books: Books) -> Iterable[Identity]:
    items = [(key, sums) for key, sums in books.balances.items() if key.asset == asset]
    debits, credits = (sum(sums[side] for _, sums in items) for side in (0, 1))
    yield Identity("Σ debits = Σ credits", debits, credits)
    supply = books.supply(asset)
    held = supply.locked + supply.held + supply.pending_burn
    classes = held + supply.disclosed + supply.sunk + supply.circulating
    yield Identity("issued − burned = Σ supply classes", supply.total, classes)
    below = sum(credit < debit for key, (debit, credit) in items if key.account != SUPPLY_ISSUED)
    yield Identity("accounts below zero, but supply:issued", below, 0)


def _of_jobs(told: Sums, left: Sums) -> Iterable[Identity]:
    yield Identity("per line: gross = burn + fee + net", told["gross"], told["burn"] + told["fee"] + told["net"])
    yield Identity(
        "escrow = gross + refund + what is open or waits", told["held"], told["gross"] + told["refund"] + left["escrow"]
    )
    yield Identity(
        "deposits = gross + withdrawn + own money + escrow",
        told["deposited"],
        told["gross"] + told["withdrawn"] + left["consumer"] + left["escrow"],
    )
    yield Identity("fees of closed epochs = pool + treasury", told["closed fee"], told["pool"] + told["treasury"])
    yield Identity("fees = pool + treasury + accrued", told["fee"], told["pool"] + told["treasury"] + left["fee"])


def _of_stakes(told: Sums, left: Sums) -> Iterable[Identity]:
    yield Identity(
        "staked = bonded + unbonding + frozen + bonds + released + slashed",
        told["staked"],
        left["stake"] + left["slash"] + left["bond"] + told["matured"] + told["given back"] + told["slashed"]
        + told["bonds lost"],
    )  # fmt: skip
    yield Identity(
        "frozen by slashes = distributed + returned + pending",
        told["frozen"],
        told["slashed"] + told["returned"] + left["slash"],
    )
    yield Identity("upheld = distributed", told["upheld"], told["slashed"])
    yield Identity(
        "bonds posted = given back + lost + open",
        told["bonds"],
        told["bonds back"] + told["bonds lost"] + left["bond"],
    )
    yield Identity(
        "per epoch: shares + withheld + carry = pool",
        told["shares"] + told["withheld"] + told["carry"],
        told["shared pool"],
    )
    yield Identity(
        "validators' part of fees = shares + released + pool",
        told["pool"],
        told["shares"] + told["released"] + left["validator_pool"],
    )
    yield Identity(
        "withheld = released + upheld + waiting",
        told["withheld"],
        told["released"] + told["forfeited"] + left["validator_pool:withheld"],
    )


def _of_what_leaves(told: Sums, left: Sums) -> Iterable[Identity]:
    owed = told["net"] + told["withdrawn"] + told["matured"] + told["given back"] + told["rewarded"]
    owed += told["shares"] + told["released"]
    yield Identity("owed at any time = paid + still owed", owed, told["paid"] + left["payable"])
    burnt = told["burn"] + told["slash burn"] + told["bonds lost"]
    yield Identity("to be burned = burned + pending", burnt, told["burned"] + left["burn"])


class _Told:
    """Sums over the numbers that decisions tell."""

    def __init__(self) -> None:
        self.sums: defaultdict[str, int] = defaultdict(int)
        self._by_type: dict[type[Decision], Callable[[Any], None]] = {
            DepositCredited: self._deposit,
            EscrowFunded: lambda data: self._add(held=data.amount),
            JobSettled: self._settled,
            JobRefunded: lambda data: self._add(refund=data.amount),
            WithdrawalAccepted: lambda data: self._add(withdrawn=data.amount),
            LaneEpochClosed: self._lane_closed,
            FeeAllocated: lambda data: self._add(pool=data.pool, treasury=data.treasury),
            UnbondingMatured: lambda data: self._add(matured=data.amount),
            SlashProposed: lambda data: self._add(frozen=data.amount, bonds=data.bond),
            SlashUpheld: self._upheld,
            SlashReversed: self._reversed,
            SlashDistributed: self._distributed,
            ValidatorRewardsAllocated: self._rewards,
            PayoutFinalized: lambda data: self._add(paid=data.amount),
            BurnFinalized: lambda data: self._add(burned=data.amount),
        }

    def include(self, decisions: Iterable[Decision]) -> None:
        """Add what decisions tell."""
        for decision in decisions:
            include = self._by_type.get(type(decision))
            if include is not None:
                include(decision.data)  # type: ignore[attr-defined]
            self._astray(decision)

    def _deposit(self, data: Any) -> None:
        self.sums["deposited" if data.role is None else "staked"] += int(data.amount)

    def _settled(self, data: Any) -> None:
        for line in data.lines:
            self._add(gross=line.gross, burn=line.burn, fee=line.fee, net=line.net)
        self._add(refund=data.refund)
        if data.funding == "consumer":
            self._add(held=data.escrow)

    def _lane_closed(self, data: Any) -> None:
        for line in data.totals:
            self.sums["closed fee"] += int(line.fee)

    def _upheld(self, data: Any) -> None:
        self._add(upheld=data.amount)
        self.sums["bonds back"] += int(data.bond)
        self.sums["forfeited"] += sum(int(line.amount) for line in data.withheld)

    def _reversed(self, data: Any) -> None:
        self._add(returned=data.amount)
        self.sums["bonds lost"] += int(data.bond)
        for line in data.returned:
            if line.account.startswith("payable:"):
                self.sums["given back"] += int(line.amount)
        for line in data.released:
            # What another case still holds back goes on waiting.
            if line.account.startswith("payable:"):
                self.sums["released"] += int(line.amount)

    def _distributed(self, data: Any) -> None:
        self._add(slashed=data.amount, rewarded=str(sum(int(line.amount) for line in data.paid)))
        self.sums["slash burn"] += int(data.burned)

    def _rewards(self, data: Any) -> None:
        self._add(carry=data.carry)
        self.sums["shared pool"] += int(data.pool)
        self.sums["shares"] += sum(int(line.amount) for line in data.lines)
        self.sums["withheld"] += sum(int(line.amount) for line in data.withheld)

    def _astray(self, decision: Decision) -> None:
        """Add up, vault by vault, what entries moved between vaults without a chain fact: nothing."""
        entry = post(decision)
        if entry is None or entry.crosses_vaults:
            return
        net: defaultdict[str, int] = defaultdict(int)
        for posting in entry.postings:
            net[posting.vault] += posting.amount if posting.side is Side.CREDIT else -posting.amount
        self.sums["astray"] += sum(map(abs, net.values()))

    def _add(self, **amounts: str) -> None:
        for name, amount in amounts.items():
            self.sums[name] += int(amount)
