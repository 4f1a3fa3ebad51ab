"""What each of the hub's accounts holds: the fold of the hub's own decisions, and of what lanes credited, as sums.

    holds ≥ 0    for every (account, vault), after every decision, but for the two that lanes move as well or that are
                 negative by nature: `external`, whose floor holds over all ledgers, and `supply:issued`

Only what is not zero is kept. What lanes credited is pulled in account by account, as each is asked for.
"""

from collections import defaultdict
from collections.abc import Mapping

from events.event import Decision
from ledger.accounts import EXTERNAL, SUPPLY_ISSUED, VAULT_ESCROW, VAULT_STAKE
from ledger.entry import Side
from ledger.errors import LedgerInvariantBroken
from ledger.post import post
from settlement.credits import Credits

__all__ = ["Holdings"]

_BOTTOMLESS = {EXTERNAL, SUPPLY_ISSUED}


class Holdings:
    """Base units of the network's asset by account and vault."""

    __slots__ = ("_credits", "_held")

    def __init__(self, credits: Credits) -> None:
        """Begin with nothing but what lanes will have credited."""
        self._credits = credits
        self._held: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def fold(self, decision: Decision) -> None:
        """Move what a decision moves. Raises: LedgerInvariantBroken where that was not there."""
        entry = post(decision)
        if entry is None:
            return
        for posting in entry.postings:
            self._pull(posting.account)
            self._add(
                posting.account, posting.vault, posting.amount if posting.side is Side.CREDIT else -posting.amount
            )
        for posting in entry.postings:
            held = self.held(posting.account, posting.vault)
            if held < 0 and posting.account not in _BOTTOMLESS:
                raise LedgerInvariantBroken(
                    f"{posting.account} in {posting.vault or 'no vault'} would stand at {held} base units"
                )

    def held(self, account: str, vault: str = VAULT_STAKE) -> int:
        """Return what an account holds in a vault."""
        self._pull(account)
        held = self._held.get(account)
        return 0 if held is None else held.get(vault, 0)

    def vaults(self, account: str) -> Mapping[str, int]:
        """Return what an account holds, by vault, in the order of vaults."""
        self._pull(account)
        held = self._held.get(account, {})
        return {vault: held[vault] for vault in sorted(held)}

    def _pull(self, account: str) -> None:
        amount = self._credits.pull(account)
        if amount:
            self._add(account, VAULT_ESCROW, amount)

    def _add(self, account: str, vault: str, amount: int) -> None:
        held = self._held[account]
        held[vault] = held.get(vault, 0) + amount
        if not held[vault]:
            del held[vault]
            if not held:
                del self._held[account]
