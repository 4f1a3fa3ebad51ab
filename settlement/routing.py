"""Routing: which partitions of the facts a fact goes to.

    facts/0 … facts/N-1    one per lane: the facts about its consumers and their jobs
    facts/hub              all the rest: nodes, the chain's other effects, orders, what was refused

Genesis, registrations and marks go to every partition, so that each knows its rules and its network time by itself.
The hub has a partition of its own since lanes' many facts need not be read twice, and since the order between
partitions does not matter to it: it takes facts at cuts alone, sorted (see `settlement.cuts`).
"""

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Any

import msgspec

from events.event import Fact
from events.facts import ChainFactDeclared, GenesisDeclared, StreamMarked, StreamRegistered
from events.orders import SlashReportFiled, SpendAuthorized, WithdrawalOrdered

__all__ = ["HUB_PARTITION", "LANES_MAX", "lane_of", "partitions_of", "route"]

HUB_PARTITION = "facts/hub"
LANES_MAX = 64
_HUB_ALONE = (HUB_PARTITION,)
_EVERYWHERE = frozenset[type[Fact]]((GenesisDeclared, StreamRegistered, StreamMarked))
# Orders that move a consumer's money: their `owner` is that consumer.
_BY_OWNER = frozenset[type[Fact]]((SpendAuthorized, WithdrawalOrdered))


@lru_cache(maxsize=65_536)
def lane_of(consumer: str, lanes: int) -> int:
    """Return the lane that owns a consumer."""
    return int.from_bytes(sha256(consumer.encode()).digest()[:8], "big") % lanes


@lru_cache
def partitions_of(lanes: int) -> tuple[str, ...]:
    """Name all partitions, the lanes' first and the hub's last: in this order facts are appended."""
    return (*(f"facts/{number}" for number in range(lanes)), HUB_PARTITION)


def route(fact: Fact, lanes: int) -> tuple[str, ...]:
    """Name the partitions that a fact goes to; it depends on the fact's type, subject and data alone."""
    kind = type(fact)
    if kind in _EVERYWHERE:
        return partitions_of(lanes)
    consumer = _consumer_by(kind)(fact)
    return _HUB_ALONE if consumer is None else _partition_of(consumer, lanes)


@lru_cache(maxsize=65_536)
def _partition_of(consumer: str, lanes: int) -> tuple[str, ...]:
    return (f"facts/{lane_of(consumer, lanes)}",)


@lru_cache
def _consumer_by(kind: type[Fact]) -> Callable[[Any], str | None]:
    """Tell how to find the consumer that a fact of this type is about."""
    if kind is ChainFactDeclared:
        return _depositor
    if kind in _BY_OWNER:
        return _owner
    if kind is SlashReportFiled:
        # It names a consumer to tell which job is meant, and is decided by the hub.
        return _nobody
    data = next(field.type for field in msgspec.structs.fields(kind) if field.name == "data")
    return _consumer if "consumer" in getattr(data, "__struct_fields__", ()) else _nobody


def _depositor(fact: ChainFactDeclared) -> str | None:
    return fact.subject if fact.data.effect == "deposit" else None


def _owner(fact: Any) -> str | None:
    owner: str = fact.data.owner
    return owner


def _consumer(fact: Any) -> str | None:
    consumer: str = fact.data.consumer
    return consumer


def _nobody(_fact: Fact) -> str | None:
    return None
