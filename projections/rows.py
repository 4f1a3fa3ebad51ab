"""What a batch of decisions changes at the head: lines that were refused, records, and what the hub decided."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Table

from events.columns import Columns, Integers
from events.decisions import DecisionRefused
from events.event import Decision
from events.facts import RecordRefused
from events.record import Header
from projections import tables
from projections.network import network_rows
from projections.write import Row

__all__ = ["decision_rows", "record_row", "refused_fact", "refused_facts", "refused_rows"]


def refused_fact(log: str, sequence: int, event: RecordRefused) -> tuple[Any, ...]:
    """Return the row of a line that was refused."""
    data = event.data
    return log, sequence, _show(data.source), f"line {data.position}", data.reason, _show(data.detail), data.raw


def refused_facts(log: str, sequences: Integers, events: Columns) -> Iterator[tuple[Any, ...]]:
    """As `refused_fact`, of many: what stands in columns is ASCII and printable."""
    places = map("line {}".format, events.numbers("data.position").tolist())
    sources, reasons, details, raws = map(events.texts, ("data.source", "data.reason", "data.detail", "data.raw"))
    rows = zip(sequences.tolist(), sources, places, reasons, details, raws, strict=True)
    return ((log, *row) for row in rows)


def record_row(log: str, header: Header) -> tuple[Any, ...]:
    """Return the row of a record, which maps positions and settlement time onto each other."""
    return log, header.sequence, header.sequence + 1 + header.count, header.network_time, header.root


def decision_rows(log: str, sequence: int, decision: Decision) -> Iterator[tuple[Table, Row]]:
    """Yield the rows that a decision adds, each with its table."""
    if isinstance(decision, DecisionRefused):
        data = decision.data
        yield (
            tables.dead_letter,
            {
                "log": log,
                "sequence": sequence,
                "source": decision.subject,
                "place": data.position or f"fact {decision.causation_id}",
                "reason": data.reason,
                "detail": _show(data.detail),
                "raw": None,
            },
        )
    else:
        yield from network_rows(sequence, decision)


def refused_rows(log: str, sequences: Integers, events: Columns) -> Iterator[tuple[Any, ...]]:
    """As `decision_rows`, of many DecisionRefused: what stands in columns is ASCII and printable."""
    positions, facts = events.texts("data.position"), events.texts("causation_id")
    places = (position or f"fact {fact or None}" for position, fact in zip(positions, facts, strict=True))
    texts = map(events.texts, ("subject", "data.reason", "data.detail"))
    for sequence, place, source, reason, detail in zip(sequences.tolist(), places, *texts, strict=True):
        yield log, sequence, source, place, reason, detail, None


def _show(text: str) -> str:
    """Replace what PostgreSQL does not take in text: the character zero."""
    return text.replace("\0", "\ufffd")
