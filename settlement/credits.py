"""What lanes credit in escrow, waiting for the cut that adds it to the hub's accounts: sums, since order cannot matter.

A cut collects; an account's amount is pulled when somebody asks for that account, which of most nobody ever does.

supplier += net     burn:pending += burn     fee:accrued += fee        for each line of each `JobSettled`
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from events.columns import Columns
from events.decisions import JobSettledData
from ledger.accounts import BURN_PENDING, FEE_ACCRUED, payable_supplier
from ledger.bps import Integers
from ledger.sums import Limbs, LimbSums, Numbering, limbs_of

__all__ = ["Credits"]


class _Part(NamedTuple):
    """Amounts that wait, a row each: the cut, the account's number, base units."""

    cuts: Integers
    accounts: Integers
    amounts: Limbs

    def pick(self, rows: npt.NDArray[np.bool_]) -> "_Part":
        places = np.flatnonzero(rows)
        return _Part(self.cuts[places], self.accounts[places], self.amounts.pick(places))


class _Suppliers(dict[str, int]):
    """The numbers of suppliers' accounts, by node."""

    def __init__(self, accounts: Numbering) -> None:
        self._accounts = accounts

    def __missing__(self, node: str) -> int:
        number = self[node] = self._accounts[payable_supplier(node).encode()]
        return number


class Credits:
    """Amounts by cut and account, base units of the network's asset."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._accounts = Numbering()
        self._suppliers = _Suppliers(self._accounts)
        self._parts: list[_Part] = []
        # What was collected and not pulled yet.
        self._sums = LimbSums()

    def add(self, cut: int, account: str, amount: int) -> None:
        """Add an amount."""
        number = self._accounts[account.encode()]
        self._parts.append(_Part(np.array([cut]), np.array([number]), limbs_of([amount])))

    def add_settled(self, cut: int, data: JobSettledData) -> None:
        """Add what a settlement credits."""
        for line in data.lines:
            self.add(cut, payable_supplier(line.node), int(line.net))
            self.add(cut, BURN_PENDING, int(line.burn))
            self.add(cut, FEE_ACCRUED, int(line.fee))

    def add_many(self, cuts: Integers, lines: Columns) -> None:
        """Add what many settlements' lines credit; `cuts` has a row for each of them."""
        accounts, (nodes, places) = self._accounts, lines.numbered("node")
        suppliers = np.fromiter(map(self._suppliers.__getitem__, nodes), np.int64, len(nodes))[places]
        burn, fee = (np.full(len(lines), accounts[account.encode()]) for account in (BURN_PENDING, FEE_ACCRUED))
        for to, member in ((suppliers, "net"), (burn, "burn"), (fee, "fee")):
            amounts: Integers | list[int] = lines.amounts(member)
            if (lines.amounts(member) < 0).any():
                # Beyond 64 bits.
                amounts = list(map(int, lines.bytes(member)))
            self._parts.append(_Part(cuts, to, limbs_of(amounts)))

    def collect(self, time: int) -> None:
        """Let what waits for the cuts up to a time be there to be pulled."""
        waiting = []
        for part in self._parts:
            due = part.cuts <= time
            taken = part if due.all() else part.pick(due)
            self._sums.add(taken.accounts, taken.amounts)
            if not due.all():
                waiting.append(part.pick(~due))
        self._parts = waiting

    def pull(self, account: str) -> int:
        """Hand over what was collected for an account."""
        number = self._accounts.get(account.encode())
        return 0 if number is None else self._sums.take(number)
