"""How far books have come, log by log and stage by stage. What a stage lacks of the one before it is its lag.

a partition of facts:  written ≥ settled            settled: what the last commit rests on
a ledger log:          committed ≥ head ≥ history   of which is shown in balances, and in histories
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from sqlalchemy import Engine, select

from app.anybooks import AnyBooks
from projections.position import history_of
from projections.tables import checkpoint, dead_letter, record

__all__ = ["Standing", "Survey", "Surveyor"]


class Standing(NamedTuple):
    """A log's stages in order, each with its position; projections that are not there are left out."""

    log: str
    stages: dict[str, int]

    def lags(self) -> Iterator[tuple[str, int]]:
        """Yield each stage but the first with what it lacks, in leaves."""
        positions = list(self.stages.items())
        for (_, before), (stage, position) in itertools.pairwise(positions):
            yield stage, before - position


class Survey(NamedTuple):
    """Where all logs stand, the network time that projections have come to, if any, and what space is left."""

    logs: list[Standing]
    network_time: str | None
    free_bytes: int | None


class Surveyor:
    """Looks where books stand, again and again, beside those who write them."""

    def __init__(self, books: AnyBooks) -> None:
        """Take the books; nothing is read yet."""
        self._books = books
        self._facts = books.partitions()
        self._ledgers = [*books.lanes(), books.hub()]
        self._written: dict[str, int] = {}
        self._refused: Counter[str] = Counter()
        # Of each log, the sequence from which on refusals were not counted yet.
        self._counted: dict[str, int] = {}

    @cached_property
    def _engine(self) -> Engine:
        return self._books.engine()

    def look(self) -> Survey:
        """Measure; of the facts only what is new is read. Raises: LogDamaged, SchemaOutdated, DatabaseError."""
        # Each stage is read before the one in front of it, which may move on meanwhile.
        shown, network_time = self._read_shown()
        committed = self._books.committed(self._ledgers)
        logs = []
        for log in self._facts:
            settled = committed.get(log.name, 0)
            position = self._written.get(log.name, max(settled - 1, 0))
            for held in log.read(position):
                position = held.end
            self._written[log.name] = position
            logs.append(Standing(log.name, {"written": position, "settled": settled}))
        for name in (log.name for log in self._ledgers):
            stages = {"committed": committed.get(name, 0)}
            if shown is not None:
                stages |= {"head": shown.get(name, 0), "history": shown.get(history_of(name), 0)}
            logs.append(Standing(name, stages))
        return Survey(logs, network_time, self._books.free_bytes())

    def count_refusals(self) -> Mapping[str, int]:
        """Return how many refusals are shown, by reason; only what is new is read. Raises: as `look`."""
        if self._books.is_projected():
            with self._engine.connect() as connection:
                for log in (held.name for held in (*self._facts, *self._ledgers)):
                    new = select(dead_letter.c.sequence, dead_letter.c.reason).where(
                        dead_letter.c.log == log, dead_letter.c.sequence >= self._counted.get(log, 0)
                    )
                    for row in connection.execute(new):
                        self._refused[row.reason] += 1
                        self._counted[log] = max(self._counted.get(log, 0), row.sequence + 1)
        return self._refused

    def _read_shown(self) -> tuple[dict[str, int] | None, str | None]:
        if not self._books.is_projected():
            return None, None
        with self._engine.connect() as connection:
            shown = {row.log: row.position for row in connection.execute(select(checkpoint))}
            last = (
                select(record.c.network_time)
                .where(record.c.log == self._ledgers[-1].name)
                .order_by(record.c.sequence.desc())
                .limit(1)
            )
            return shown, connection.execute(last).scalar()
