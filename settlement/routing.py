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
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from events.columns import Columns, Integers
from events.event import Event, Fact
from events.facts import ChainFactDeclared, GenesisDeclared, StreamMarked, StreamRegistered
from events.orders import SlashReportFiled, SpendAuthorized, WithdrawalOrdered

__all__ = ["HUB", "HUB_PARTITION", "LANES_MAX", "lane_of", "partitions_of", "place_many", "route", "stand_in"]

HUB_PARTITION = "facts/hub"
LANES_MAX = 64
HUB = -1
_HUB_ALONE = (HUB_PARTITION,)
_DEPOSIT = "deposit"
_EVERYWHERE = frozenset[type[Event]]((GenesisDeclared, StreamRegistered, StreamMarked))
# Orders that move a consumer's money: their `owner` is that consumer.
_BY_OWNER = frozenset[type[Event]]((SpendAuthorized, WithdrawalOrdered))


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


def stand_in(columns: Columns, partition: str, lanes: int) -> npt.NDArray[np.bool_]:
    """Tell which of some facts go to a partition, as `route` does."""
    if columns.kind in _EVERYWHERE:
        return np.ones(len(columns), dtype=np.bool_)
    numbers = place_many(columns, lanes)
    wanted = HUB if partition == HUB_PARTITION else partitions_of(lanes).index(partition)
    belong: npt.NDArray[np.bool_] = numbers == wanted
    return belong


def place_many(columns: Columns, lanes: int) -> Integers:
    """Return the number of each fact's lane, or `HUB`; the facts are of a type that does not go everywhere."""
    assert columns.kind not in _EVERYWHERE
    member = _consumer_member(columns.kind)
    if member is None:
        return np.full(len(columns), HUB, dtype=np.int64)
    if lanes == 1:
        numbers = np.zeros(len(columns), dtype=np.int64)
    else:
        numbers = np.array([lane_of(consumer, lanes) for consumer in columns.texts(member)], dtype=np.int64)
    if columns.kind is ChainFactDeclared:
        effects, places = columns.numbered("data.effect")
        numbers[np.array([effect != _DEPOSIT for effect in effects], dtype=np.bool_)[places]] = HUB
    return numbers


@lru_cache(maxsize=65_536)
def _partition_of(consumer: str, lanes: int) -> tuple[str, ...]:
    return (f"facts/{lane_of(consumer, lanes)}",)


@lru_cache
def _consumer_by(kind: type[Fact]) -> Callable[[Any], str | None]:
    """Tell how to find the consumer that a fact of this type is about."""
    member = _consumer_member(kind)
    if kind is ChainFactDeclared:
        return _depositor
    return _nobody if member is None else attrgetter(member)


@lru_cache
def _consumer_member(kind: type[Event]) -> str | None:
    """Name the member that says which consumer a fact of this type is about."""
    if kind is ChainFactDeclared:
        return "subject"
    if kind in _BY_OWNER:
        return "data.owner"
    if kind is SlashReportFiled:
        # It names a consumer to tell which job is meant, and is decided by the hub.
        return None
    data = next(field.type for field in msgspec.structs.fields(kind) if field.name == "data")
    return "data.consumer" if "consumer" in getattr(data, "__struct_fields__", ()) else None


def _depositor(fact: ChainFactDeclared) -> str | None:
    return fact.subject if fact.data.effect == _DEPOSIT else None


def _nobody(_fact: Fact) -> str | None:
    return None
