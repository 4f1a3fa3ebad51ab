"""Balances: the fold of entries, two growing sums per (asset, account, vault).

    fold(a + b) = fold(fold(a), b)        balance = credits − debits
    balance ≥ 0 for every key but those of `supply:issued`

`external` stands for all that is outside; of an asset that we issue it cannot fall below zero either. It is written by
every lane and by the hub, so its floor holds where all of them are summed, which is here.
"""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

from ledger.accounts import SUPPLY_ISSUED, Key
from ledger.entry import Entry, Side
from ledger.errors import LedgerInvariantBroken

__all__ = ["Balances", "digest_of_balances"]

Sums = tuple[int, int]


class Balances:
    """Debits and credits per key, in order of first appearance."""

    __slots__ = ("_sums",)

    def __init__(self, sums: Mapping[Key, Sums] | None = None) -> None:
        """Begin empty, or with sums that were kept."""
        self._sums: dict[Key, Sums] = dict(sums or {})

    def fold(self, entry: Entry) -> None:
        """Add an entry's postings."""
        sums = self._sums
        for posting in entry.postings:
            key = Key(posting.asset, posting.account, posting.vault)
            debits, credits = sums.get(key, (0, 0))
            if posting.side is Side.CREDIT:
                sums[key] = debits, credits + posting.amount
            else:
                sums[key] = debits + posting.amount, credits

    def net(self, key: Key) -> int:
        """Return credits − debits in base units; 0 for a key that never moved."""
        debits, credits = self._sums.get(key, (0, 0))
        return credits - debits

    def items(self) -> Iterator[tuple[Key, Sums]]:
        """Yield each key with its debits and credits."""
        yield from self._sums.items()

    def check(self, keys: Iterable[Key] | None = None) -> None:
        """Assert that nothing but `supply:issued` is below zero. Raises: LedgerInvariantBroken."""
        for key in self._sums if keys is None else keys:
            net = self.net(key)
            if net < 0 and key.account != SUPPLY_ISSUED:
                raise LedgerInvariantBroken(
                    f"{key.account} in {key.vault or 'no vault'} stands at {net} base units of {key.asset}"
                )

    def digest(self) -> str:
        """Return the digest of all balances (see `digest_of_balances`)."""
        return digest_of_balances(self.items())


def digest_of_balances(items: Iterable[tuple[Key, Sums]]) -> str:
    """Hash the sorted lines `asset|account|vault|debits|credits` of the accounts that are not all zero."""
    lines = sorted(
        f"{key.asset}|{key.account}|{key.vault}|{debits}|{credits}\n"
        for key, (debits, credits) in items
        if debits or credits
    )
    return sha256("".join(lines).encode()).hexdigest()
