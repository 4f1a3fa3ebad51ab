"""What every part of the naive network shares: the money, the time, the orders already used, the words for it all."""

from collections import Counter
from collections.abc import Collection
from typing import Any

from events.event import Fact
from events.instant import DAY, MICROSECONDS, parse_instant
from events.refusal import Reason
from ledger.parameters import Parameters

__all__ = ["HOMES", "LONGEST_ORDER", "Place", "Purse", "Refused"]

Place = tuple[str, str]
LONGEST_ORDER = 31 * DAY
HOMES = {"treasury:ops": "treasury", "fund:ecosystem": "fund", "external": "", "vest:locked:team:x": "vesting"}


class Refused(Exception):
    """A fact that the rules do not grant."""

    def __init__(self, reason: Reason) -> None:
        """Name the rule."""
        super().__init__(reason)
        self.reason = reason


class Purse:
    """Money by (account, vault), and what else there is only one of."""

    def __init__(self, parameters: Parameters, forged: Collection[str]) -> None:
        """Begin with nothing."""
        self.rules = parameters
        self.forged = forged
        self.now = -(2**62)
        self.epoch = parse_instant(parameters.launched_at) // DAY
        self.money: Counter[Place] = Counter()
        self.coming: list[tuple[int, Place, int]] = []
        self.closed: dict[int, tuple[int, int]] = {}
        self.decided: list[tuple[Any, ...]] = []
        self.refused: dict[str, Reason] = {}
        self._nonces: dict[tuple[str, str, int], int] = {}

    def move(self, source: Place, target: Place, amount: int) -> None:
        """Move at once."""
        assert amount >= 0
        self.money[source] -= amount
        self.money[target] += amount
        assert self.money[source] >= 0 or source[0] == "supply:issued", (source, self.money[source])

    def send(self, source: str, target: str, amount: int, effective: int) -> None:
        """Move from a lane's account to one of the hub's, both @escrow; the hub sees it at the first cut behind."""
        assert 0 <= amount <= self.money[source, "escrow"]
        self.money[source, "escrow"] -= amount
        self.coming.append((effective, (target, "escrow"), amount))

    def collect(self, time: int) -> None:
        """Let the hub see what lanes have sent before a cut."""
        for effective, place, amount in self.coming:
            if effective < time:
                self.money[place] += amount
        self.coming = [line for line in self.coming if line[0] >= time]

    def check_order(self, desk: str, fact: Fact, data: Any, now: int) -> None:
        """Use an order up, or refuse it; `desk` keeps its own nonces."""
        expires_at = parse_instant(data.expires_at)
        if data.cluster != self.rules.chain.cluster:
            raise Refused(Reason.CLUSTER_DIFFERS)
        if now > expires_at:
            raise Refused(Reason.ORDER_EXPIRED)
        if expires_at > now + LONGEST_ORDER:
            raise Refused(Reason.ORDER_EXPIRES_TOO_LATE)
        if self._nonces.get((desk, data.owner, data.nonce), now - 1) >= now:
            raise Refused(Reason.NONCE_USED)
        if fact.id in self.forged:
            raise Refused(Reason.SIGNATURE_WRONG)
        self._nonces[desk, data.owner, data.nonce] = expires_at

    def say(self, *decision: Any) -> None:
        """Keep a decision: kind, subject, numbers."""
        self.decided.append(decision)

    def closes_at(self, epoch: int) -> int:
        """Tell when an epoch closes."""
        return (epoch + 1) * DAY + self.rules.epoch.grace_seconds * MICROSECONDS
