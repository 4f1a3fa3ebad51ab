"""Account names: whose the money is. A balance is keyed by (asset, account, vault): the vault says where it lies.

    account := head (":" part)*         heads and fixed names are listed in `_CHART`

Each account has a home vault (`""`: none) and a supply class; the classes of all accounts sum to the total supply
(`ledger.supply`). Money may lie away from its home vault until it is swept.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

__all__ = [
    "BURN_PENDING",
    "EXTERNAL",
    "FEE_ACCRUED",
    "POOL_CURRENT",
    "SUPPLY_ISSUED",
    "TREASURY",
    "VAULT_ESCROW",
    "AccountKind",
    "Key",
    "SupplyClass",
    "consumer",
    "escrow",
    "kind_of",
    "payable_supplier",
]

VAULT_ESCROW = "escrow"
SUPPLY_ISSUED = "supply:issued"
EXTERNAL = "external"
FEE_ACCRUED = "fee:accrued"
BURN_PENDING = "burn:pending"
POOL_CURRENT = "validator_pool:current"
TREASURY = "treasury:ops"


class Key(NamedTuple):
    """What a balance is keyed by; `vault` is `""` for accounts that lie in none."""

    asset: str
    account: str
    vault: str


class SupplyClass(StrEnum):
    """Where a token counts in the supply; ISSUED and BURNED are the two sides of the total, not parts of it."""

    ISSUED = "issued"
    BURNED = "burned"
    LOCKED = "locked"
    HELD = "held"
    PENDING_BURN = "pending_burn"
    ESCROWED = "escrowed"
    OWED = "owed"
    OUTSIDE = "outside"


class AccountKind(NamedTuple):
    """What the chart of accounts says of a name."""

    home: str
    supply: SupplyClass
    # How many ids follow the head: `consumer:{owner}` has one, `burn:pending` none.
    ids: int = 0
    # Touched by nearly every entry: its history has one row per record instead of one per entry.
    busy: bool = False


_CHART = {
    "supply:issued": AccountKind("", SupplyClass.ISSUED, busy=True),
    "supply:burned": AccountKind("", SupplyClass.BURNED, busy=True),
    "external": AccountKind("", SupplyClass.OUTSIDE, busy=True),
    "consumer": AccountKind(VAULT_ESCROW, SupplyClass.ESCROWED, ids=1),
    "escrow": AccountKind(VAULT_ESCROW, SupplyClass.ESCROWED, ids=1),
    "payable:supplier": AccountKind(VAULT_ESCROW, SupplyClass.OWED, ids=1),
    "fee:accrued": AccountKind("fees", SupplyClass.HELD, busy=True),
    "validator_pool": AccountKind("fees", SupplyClass.HELD, ids=1, busy=True),
    "burn:pending": AccountKind("", SupplyClass.PENDING_BURN, busy=True),
    "treasury:ops": AccountKind("treasury", SupplyClass.HELD, busy=True),
    "fund:ecosystem": AccountKind("fund", SupplyClass.HELD, busy=True),
    "reserve": AccountKind("vesting", SupplyClass.LOCKED, ids=1, busy=True),
    "vest:locked": AccountKind("vesting", SupplyClass.LOCKED, ids=2),
}


def consumer(owner: str) -> str:
    """Name the account of a consumer's own money."""
    return f"consumer:{owner}"


def escrow(job: str) -> str:
    """Name the account of what is held for a job."""
    return f"escrow:{job}"


def payable_supplier(node: str) -> str:
    """Name the account of what a node has earned and not been paid."""
    return f"payable:supplier:{node}"


@lru_cache(maxsize=65_536)
def kind_of(account: str) -> AccountKind:
    """Look an account up in the chart. Raises: KeyError for a name that the chart does not allow."""
    parts = account.split(":")
    for heads in (1, 2):
        kind = _CHART.get(":".join(parts[:heads]))
        if kind is not None and len(parts) == heads + kind.ids and all(map(_ID.fullmatch, parts[heads:])):
            return kind
    raise KeyError(f"account {account!r} is not in the chart of accounts")


_ID = re.compile(r"[A-Za-z0-9._-]{1,88}")
