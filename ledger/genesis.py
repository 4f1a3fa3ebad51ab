"""The first allocation (D22): the whole genesis supply goes to named accounts, to the unit.

Σ lines = supply ≤ cap
"""

from ledger.accounts import SupplyClass, kind_of
from ledger.parameters import Parameters

__all__ = ["GenesisLine", "allocate_genesis"]

from typing import NamedTuple


class GenesisLine(NamedTuple):
    """One allocation: base units of the network's asset, into the account's home vault."""

    account: str
    vault: str
    amount: int


def allocate_genesis(parameters: Parameters) -> tuple[GenesisLine, ...]:
    """Return the lines of the genesis, in the order in which the parameter set names them."""
    lines = tuple(
        GenesisLine(line.account, kind_of(line.account).home, int(line.amount)) for line in parameters.genesis
    )
    assert all(kind_of(line.account).supply is not SupplyClass.ISSUED for line in lines)
    return lines
