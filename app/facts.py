"""Builds facts for producers that live in this process: importers and the demo."""

from collections.abc import Iterator
from typing import Any

from events.cloudevents import wrap
from events.codec import encode
from events.event import Data, Fact, fact_id
from events.facts import (
    ChainFactDeclared,
    ChainFactDeclaredData,
    StreamMarked,
    StreamMarkedData,
    StreamRegistered,
    StreamRegisteredData,
)
from events.instant import DAY, format_instant

__all__ = ["Producer", "to_line"]


class Producer:
    """One source with one stream; times are microseconds since 1970."""

    def __init__(self, source: str, stream: str | None = None) -> None:
        """Name the source and, where it differs, the stream."""
        self.source = source
        self.stream = stream or source

    def fact(self, kind: type[Any], occurred_at: int, subject: str, key: str, data: Data) -> Fact:
        """Build a fact in today's version."""
        fact: Fact = kind(
            id=fact_id(self.source, key),
            source=self.source,
            stream=self.stream,
            subject=subject,
            occurred_at=format_instant(occurred_at),
            key=key,
            schema_version=kind.VERSION,
            data=data,
        )
        return fact

    def register(self, since: int) -> Fact:
        """Register the stream."""
        data = StreamRegisteredData(since=format_instant(since))
        return self.fact(StreamRegistered, since, self.stream, f"stream:{self.stream}", data)

    def mark(self, until: int) -> Fact:
        """Promise that the stream has passed `until`."""
        text = format_instant(until)
        return self.fact(StreamMarked, until, self.stream, f"mark:{self.stream}:{text}", StreamMarkedData(until=text))

    def marks(self, after: int, until: int) -> Iterator[Fact]:
        """Mark each midnight in (after, until]."""
        for midnight in range((after // DAY + 1) * DAY, until + 1, DAY):
            yield self.mark(midnight)

    def deposit(self, occurred_at: int, owner: str, asset: str, amount: int, key: str) -> Fact:
        """Declare a deposit, in place of one seen on a chain."""
        data = ChainFactDeclaredData(effect="deposit", asset=asset, amount=str(amount), vault="escrow")
        return self.fact(ChainFactDeclared, occurred_at, owner, key, data)


def to_line(fact: Fact) -> bytes:
    """Write a fact as a CloudEvents line."""
    return wrap(fact, encode(fact)) + b"\n"
