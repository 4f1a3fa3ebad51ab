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
    "FUND",
    "POOL_CARRY",
    "POOL_CURRENT",
    "SUPPLY_BURNED",
    "SUPPLY_ISSUED",
    "TREASURY",
    "VAULT_ESCROW",
    "VAULT_FEES",
    "VAULT_STAKE",
    "AccountKind",
    "Key",
    "SupplyClass",
    "bond",
    "bonded",
    "consumer",
    "escrow",
    "head_of",
    "kind_of",
    "payable",
    "payable_supplier",
    "slash_pending",
    "unbonding",
    "withheld",
]

VAULT_ESCROW = "escrow"
VAULT_FEES = "fees"
VAULT_STAKE = "stake"
SUPPLY_ISSUED = "supply:issued"
SUPPLY_BURNED = "supply:burned"
EXTERNAL = "external"
FEE_ACCRUED = "fee:accrued"
BURN_PENDING = "burn:pending"
POOL_CURRENT = "validator_pool:current"
POOL_CARRY = "validator_pool:carry"
TREASURY = "treasury:ops"
FUND = "fund:ecosystem"


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
    STAKED = "staked"
    UNBONDING = "unbonding"
    ESCROWED = "escrowed"
    OWED = "owed"
    OUTSIDE = "outside"
    DISCLOSED = "disclosed"
    SUNK = "sunk"


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
    "supply:sunk": AccountKind("", SupplyClass.SUNK, busy=True),
    "external": AccountKind("", SupplyClass.OUTSIDE, busy=True),
    "consumer": AccountKind(VAULT_ESCROW, SupplyClass.ESCROWED, ids=1),
    "escrow": AccountKind(VAULT_ESCROW, SupplyClass.ESCROWED, ids=2),
    "payable:supplier": AccountKind(VAULT_ESCROW, SupplyClass.OWED, ids=1),
    "payable:withdrawal": AccountKind(VAULT_ESCROW, SupplyClass.OWED, ids=1),
    "payable:validator": AccountKind(VAULT_FEES, SupplyClass.OWED, ids=1),
    "payable:stake": AccountKind(VAULT_STAKE, SupplyClass.OWED, ids=1),
    "payable:reporter": AccountKind(VAULT_STAKE, SupplyClass.OWED, ids=1),
    "stake:bonded": AccountKind(VAULT_STAKE, SupplyClass.STAKED, ids=2),
    "stake:unbonding": AccountKind(VAULT_STAKE, SupplyClass.UNBONDING, ids=1),
    "slash:pending": AccountKind(VAULT_STAKE, SupplyClass.STAKED, ids=1),
    "bond": AccountKind(VAULT_STAKE, SupplyClass.STAKED, ids=1),
    "fee:accrued": AccountKind(VAULT_FEES, SupplyClass.HELD, busy=True),
    "validator_pool:current": AccountKind(VAULT_FEES, SupplyClass.HELD, busy=True),
    "validator_pool:carry": AccountKind(VAULT_FEES, SupplyClass.HELD, busy=True),
    "validator_pool:withheld": AccountKind(VAULT_FEES, SupplyClass.HELD, ids=1),
    "burn:pending": AccountKind("", SupplyClass.PENDING_BURN, busy=True),
    "treasury:ops": AccountKind("treasury", SupplyClass.HELD, busy=True),
    "fund:ecosystem": AccountKind("fund", SupplyClass.HELD, busy=True),
    "reserve": AccountKind("vesting", SupplyClass.LOCKED, ids=1, busy=True),
    "vest:locked": AccountKind("vesting", SupplyClass.LOCKED, ids=2),
}


def consumer(owner: str) -> str:
    """Name the account of a consumer's own money."""
    return f"consumer:{owner}"


def escrow(consumer: str, job: str) -> str:
    """Name the account of what is held for a consumer's job."""
    return f"escrow:{consumer}:{job}"


def payable_supplier(node: str) -> str:
    """Name the account of what a node has earned and not been paid."""
    return f"payable:supplier:{node}"


def payable(kind: str, id: str) -> str:
    """Name the account of what is owed to an id: `kind` is supplier, withdrawal, validator, stake or reporter."""
    return f"payable:{kind}:{id}"


def bonded(role: str, id: str) -> str:
    """Name the account of a participant's bonded stake."""
    return f"stake:bonded:{role}:{id}"


def unbonding(ticket: str) -> str:
    """Name the account of stake on its way out."""
    return f"stake:unbonding:{ticket}"


def slash_pending(case: str) -> str:
    """Name the account of what a case has frozen."""
    return f"slash:pending:{case}"


def bond(case: str) -> str:
    """Name the account of what an accuser has posted on a case."""
    return f"bond:{case}"


def withheld(case: str) -> str:
    """Name the account of validators' shares that wait for a case."""
    return f"validator_pool:withheld:{case}"


def head_of(account: str) -> str:
    """Return what the names of all accounts of a kind begin with. Raises: KeyError for a head not in the chart."""
    first, _, rest = account.partition(":")
    head = first if first in _CHART else f"{first}:{rest.partition(':')[0]}"
    return f"{head}:" if _CHART[head].ids else head


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
