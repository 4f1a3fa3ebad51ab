"""Supply, defined.

    total       = issued − burned = locked + held + pending_burn + disclosed + sunk + circulating
    circulating = staked + unbonding + escrowed + owed + outside
    liquid      = owed + outside                                                  exactly, on every fold

`issued` is what was ever minted: the debit balance of `supply:issued`. `max` is the cap. `disclosed` is what the
foundation, insiders and market makers hold outside the vaults: no wallet is disclosed in the books yet, so it is 0, and
what such wallets hold counts as outside. `sunk` was sent where nobody can spend it, which burns nothing.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256

from ledger.accounts import Key, SupplyClass, kind_of
from ledger.errors import LedgerInvariantBroken

__all__ = ["Supply", "measure_supply"]


@dataclass(frozen=True, slots=True)
class Supply:
    """The supply of one asset by class, base units. The parts sum to `total` or it is not constructed."""

    asset: str
    issued: int
    burned: int
    locked: int
    held: int
    pending_burn: int
    staked: int
    unbonding: int
    escrowed: int
    owed: int
    outside: int
    disclosed: int
    sunk: int

    def __post_init__(self) -> None:
        """Assert the identity. Raises: LedgerInvariantBroken."""
        parts = self.locked + self.held + self.pending_burn + self.disclosed + self.sunk + self.circulating
        if parts != self.total:
            raise LedgerInvariantBroken(
                f"supply of {self.asset}: the classes sum to {parts}, issued - burned is {self.total} base units"
            )

    @property
    def total(self) -> int:
        """What exists: issued − burned."""
        return self.issued - self.burned

    @property
    def circulating(self) -> int:
        """What is not held by the protocol, locked, disclosed, sunk or about to be burned."""
        return self.staked + self.unbonding + self.escrowed + self.owed + self.outside

    @property
    def liquid(self) -> int:
        """What its owners can move at once, or as soon as they are paid."""
        return self.owed + self.outside

    def digest(self) -> str:
        """Return SHA-256 over the sorted lines `asset|class|amount`."""
        lines = sorted(f"{self.asset}|{k}|{v}\n" for k, v in asdict(self).items() if k != "asset")
        return sha256("".join(lines).encode()).hexdigest()


def measure_supply(asset: str, balances: Iterable[tuple[Key, tuple[int, int]]]) -> Supply:
    """Sum the balances of an asset by class. Raises: LedgerInvariantBroken where the classes do not make the total."""
    sums = dict.fromkeys(SupplyClass, 0)
    for key, (debits, credits) in balances:
        if key.asset == asset:
            sums[kind_of(key.account).supply] += credits - debits
    sums[SupplyClass.ISSUED] = -sums[SupplyClass.ISSUED]
    return Supply(asset, **{kind.value: amount for kind, amount in sums.items()})
