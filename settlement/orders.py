"""Orders: is it the owner who orders, here, now, and for the first time?

The checks come in this order: cluster, expiry, nonce, signature. The signature is last since it costs the most; a nonce
is used only where all held, so that nobody but the owner can use one up. What is accepted here is spent, also where
another rule then refuses it: no relay can bring it again on a day on which that rule would grant it.

Holds: an order is accepted once. Its nonce is kept until no order can be checked at a time before its expiry any more;
from then on the expiry refuses it. So the nonces that are kept are those of about a month of orders, at the most.
"""

from collections.abc import Sequence
from heapq import heappop, heappush

from chain.keys import verify
from events.event import Fact
from events.instant import DAY, format_instant, parse_instant
from events.orders import Order
from events.participants import SlashRuled
from events.refusal import Reason, Refusal
from events.signing import signed_bytes

__all__ = ["LIFETIME_MAX", "OrderBook", "check_approvals"]

LIFETIME_MAX = 31 * DAY
"""An order may not expire later than so long after it is checked, in microseconds."""


class OrderBook:
    """The orders that one partition has accepted. All orders of an owner and a type belong to the same partition."""

    __slots__ = ("_by_expiry", "_cluster", "_used")

    def __init__(self, cluster: str) -> None:
        """Accept orders that name this cluster."""
        self._cluster = cluster
        self._used: set[tuple[str, int]] = set()
        self._by_expiry: list[tuple[int, str, int]] = []

    def __len__(self) -> int:
        """Count the nonces that are kept."""
        return len(self._used)

    def check(self, fact: Fact, now: int) -> Refusal | None:
        """Accept an order and keep its nonce, or say why not; `now` is the fact's effective time in microseconds."""
        order: Order = fact.data  # type: ignore[attr-defined]
        if order.cluster != self._cluster:
            return _other_cluster(order.cluster, self._cluster)
        try:
            expires_at = parse_instant(order.expires_at)
        except ValueError as error:
            return Refusal(Reason.TIME_MALFORMED, str(error))
        if now > expires_at:
            return Refusal(Reason.ORDER_EXPIRED, f"at {order.expires_at}, now {format_instant(now)}")
        if expires_at > now + LIFETIME_MAX:
            latest = format_instant(now + LIFETIME_MAX)
            return Refusal(Reason.ORDER_EXPIRES_TOO_LATE, f"at {order.expires_at}, at most {latest}")
        used = (order.owner, order.nonce)
        if used in self._used:
            return Refusal(Reason.NONCE_USED, f"{order.nonce} of {order.owner}")
        if not verify(order.owner, signed_bytes(fact), order.signature):
            return Refusal(Reason.SIGNATURE_WRONG, f"not by {order.owner}")
        self._used.add(used)
        heappush(self._by_expiry, (expires_at, *used))
        return None

    def forget(self, until: int) -> None:
        """Drop the nonces of orders that expired before `until`; no later `now` may lie before it.

        Network time is such a time, and so is a cut's. An effective time is not: other facts may occur before it.
        """
        while self._by_expiry and self._by_expiry[0][0] < until:
            _, owner, nonce = heappop(self._by_expiry)
            self._used.discard((owner, nonce))


def check_approvals(fact: SlashRuled, keys: Sequence[str], needed: int, cluster: str) -> Refusal | None:
    """Tell why a ruling does not bind: it takes right signatures by `needed` distinct keys out of `keys`.

    Approvals by other keys count neither for nor against it, wrong ones are told only where the right ones are too few.
    A ruling needs no nonce, since a case is ruled upon once.
    """
    if fact.data.cluster != cluster:
        return _other_cluster(fact.data.cluster, cluster)
    message = signed_bytes(fact)
    right, wrong = set[str](), set[str]()
    for approval in fact.data.approvals:
        if approval.key in keys and approval.key not in right:
            (right if verify(approval.key, message, approval.signature) else wrong).add(approval.key)
    if len(right) >= needed:
        return None
    forged = sorted(wrong - right)
    if forged:
        return Refusal(Reason.SIGNATURE_WRONG, f"not by {forged[0]}")
    return Refusal(Reason.APPROVALS_MISSING, f"{len(right)} of {needed}")


def _other_cluster(found: str, expected: str) -> Refusal:
    return Refusal(Reason.CLUSTER_DIFFERS, f"{found}, expected {expected}")
