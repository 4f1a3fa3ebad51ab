"""The scalar fold: decisions → entries → balances, one at a time, with nothing clever about it.

This is the oracle that everything faster, and everything in SQL, is held against.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from events.event import Decision
from ledger.balances import Balances
from ledger.entry import canonical_bytes, digest_of_entries
from ledger.post import post
from ledger.supply import Supply, measure_supply

__all__ = ["Books", "Digests"]


class Digests(NamedTuple):
    """What two books that say the same have in common, in hex."""

    balances: str
    entries: str
    supply: str


class Books:
    """Balances and the hashes of the entries that made them."""

    def __init__(self) -> None:
        """Begin empty."""
        self.balances = Balances()
        self._hashes: list[bytes] = []

    def fold(self, decisions: Iterable[Decision]) -> None:
        """Post decisions in the order of their log. Raises: LedgerInvariantBroken."""
        for decision in decisions:
            entry = post(decision)
            if entry is not None:
                self.balances.fold(entry)
                self._hashes.append(sha256(canonical_bytes(entry)).digest())

    def entries(self) -> int:
        """Count the entries."""
        return len(self._hashes)

    def supply(self, asset: str) -> Supply:
        """Return the supply by class. Raises: LedgerInvariantBroken."""
        return measure_supply(asset, self.balances.items())

    def digests(self, asset: str) -> Digests:
        """Return the three digests. Raises: LedgerInvariantBroken."""
        self.balances.check()
        return Digests(self.balances.digest(), digest_of_entries(self._hashes), self.supply(asset).digest())
