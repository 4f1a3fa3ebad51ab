"""Facts as broken or malicious producers send them: again, changed, too early, from nowhere. Seeded."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

import msgspec

from events.event import Fact, fact_id

T = TypeVar("T")

__all__ = ["among", "odd_facts"]


def odd_facts(facts: Sequence[Fact], random: Random, count: int) -> list[Fact]:
    """Return facts that stand in for `count` of those that are given, each wrong in one way, or merely a repetition."""
    return [_odd(random.choice(facts), random) for _ in range(count)]


def among(lines: Sequence[T], odd: Sequence[T], random: Random) -> list[T]:
    """Put odd lines somewhere among the others, which stay in order."""
    mixed = list(lines)
    for line in odd:
        mixed.insert(random.randint(0, len(mixed)), line)
    return mixed


def _odd(fact: Fact, random: Random) -> Fact:
    replace, key = msgspec.structs.replace, f"odd-{random.random()}"
    new = fact_id(fact.source, key)
    return random.choice(
        (
            lambda: fact,
            lambda: replace(fact, subject="another"),
            lambda: replace(fact, occurred_at="2026-10-01T00:00:00.000000Z"),
            lambda: replace(fact, key=key),
            lambda: replace(fact, key=key, id=new),
            lambda: replace(fact, key=key, id=new, stream="nowhere"),
            lambda: replace(fact, key=key, id=new, occurred_at="2099-01-01T00:00:00.000000Z"),
            lambda: replace(fact, key=key, id=fact_id("intake", key), source="intake"),
            lambda: replace(fact, id=fact_id("intake", fact.key), source="intake"),
        )
    )()
