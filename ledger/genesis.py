"""The first allocation (D22): the whole genesis supply goes to named accounts, to the unit.

Σ lines = supply ≤ cap
"""

from typing import NamedTuple

from ledger.accounts import kind_of
from ledger.parameters import Parameters

__all__ = ["GenesisLine", "allocate_genesis"]


class GenesisLine(NamedTuple):
    """One allocation: base units of the network's asset, into the account's home vault."""

    account: str
    vault: str
    amount: int


def allocate_genesis(parameters: Parameters) -> tuple[GenesisLine, ...]:
    """Return the lines of the genesis, in the order in which the parameter set names them."""
    return tuple(GenesisLine(line.account, kind_of(line.account).home, int(line.amount)) for line in parameters.genesis)
