"""The identities that books must satisfy, with both sides written out.

Each is asserted where it is made; here they are measured again over the whole of the books, so that a reader sees the
figures and not only that nothing was raised.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from events.codec import decode
from events.decisions import EscrowFunded, FeeAllocated, JobRefunded, JobSettled, LaneEpochClosed
from events.event import Decision
from events.log import Log
from ledger.accounts import SUPPLY_ISSUED
from ledger.entry import Side
from ledger.fold import Books
from ledger.post import post

__all__ = ["Identity", "measure_identities"]


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
    books, sums = Books(), _Sums()
    for record in (record for log in ledgers for record in log.read(0)):
        decisions = [event for line in record.lines if isinstance(event := decode(line), Decision)]
        books.fold(decisions)
        sums.include(decisions)
    return [*_of_balances(asset, books), *_of_decisions(sums)]


def _of_balances(asset: str, books: Books) -> Iterable[Identity]:
    items = [(key, sums) for key, sums in books.balances.items() if key.asset == asset]
    debits, credits = (sum(sums[side] for _, sums in items) for side in (0, 1))
    yield Identity("Σ debits = Σ credits", debits, credits)
    supply = books.supply(asset)
    classes = supply.locked + supply.held + supply.pending_burn + supply.circulating
    yield Identity("issued − burned = Σ supply classes", supply.total, classes)
    below = sum(credit < debit for key, (debit, credit) in items if key.account != SUPPLY_ISSUED)
    yield Identity("accounts below zero, but supply:issued", below, 0)


def _of_decisions(sums: "_Sums") -> Iterable[Identity]:
    total = sums.total
    yield Identity("per line: gross = burn + fee + net", total["gross"], total["burn"] + total["fee"] + total["net"])
    yield Identity("per job: escrow = gross + refund", total["held"], total["gross"] + total["refund"] + total["open"])
    yield Identity("fees of closed epochs = pool + treasury", total["closed fee"], total["pool"] + total["treasury"])
    yield Identity("within each vault, entries without a chain fact: net", total["astray"], 0)


class _Sums:
    """Sums over decisions."""

    def __init__(self) -> None:
        self.total: defaultdict[str, int] = defaultdict(int)

    def include(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, EscrowFunded):
                self._add(held=decision.data.amount, open=decision.data.amount)
            elif isinstance(decision, JobSettled):
                self._settled(decision)
            elif isinstance(decision, JobRefunded):
                self._add(refund=decision.data.amount)
                self.total["open"] -= int(decision.data.amount)
            elif isinstance(decision, FeeAllocated):
                self._add(pool=decision.data.pool, treasury=decision.data.treasury)
            elif isinstance(decision, LaneEpochClosed):
                for line in decision.data.totals:
                    self.total["closed fee"] += int(line.fee)
            self._astray(decision)

    def _settled(self, decision: JobSettled) -> None:
        data = decision.data
        for line in data.lines:
            self._add(gross=line.gross, burn=line.burn, fee=line.fee, net=line.net)
        self._add(refund=data.refund)
        if data.funding == "escrow":
            self.total["open"] -= int(data.escrow)
        else:
            self._add(held=data.escrow)

    def _astray(self, decision: Decision) -> None:
        """Add up, vault by vault, what entries moved between vaults without a chain fact: nothing."""
        entry = post(decision)
        if entry is None or entry.crosses_vaults:
            return
        net: defaultdict[str, int] = defaultdict(int)
        for posting in entry.postings:
            net[posting.vault] += posting.amount if posting.side is Side.CREDIT else -posting.amount
        self.total["astray"] += sum(map(abs, net.values()))

    def _add(self, **amounts: str) -> None:
        for name, amount in amounts.items():
            self.total[name] += int(amount)
