"""The two stages behind ingest, each of which can be a process of its own: settle, and project what was committed.

settled ≥ committed ≥ head ≥ history        in positions of each ledger log
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from sqlalchemy import Engine

from app.clock import now
from app.synced import Committed, read_synced
from events.log import Log
from events.record import Record
from projections.project import Projector
from settlement.output import Output
from settlement.settle import HubSettler, LaneSettler, Settlement

__all__ = ["PROJECT", "SETTLE", "Progress", "Projecting", "Settling", "Stages"]

SETTLE, PROJECT = "settle", "project"
Progress = Callable[[int], None]


class _Ground:
    """A partition of the facts as it is settled; knows how much of it was read."""

    def __init__(self, log: Log) -> None:
        self.name = log.name
        self.end = 0
        self._log = log

    def read(self, position: int = 0) -> Iterator[Record]:
        for record in self._log.read(position):
            self.end = max(self.end, record.end)
            yield record


class Settling:
    """All lanes and the hub of some books, kept open so that each run goes on where the last ended."""

    def __init__(
        self,
        facts: Sequence[Log],
        lanes: Sequence[Log],
        hub: Log,
        commit: Callable[[Mapping[str, int]], None],
        cache: Path | None,
    ) -> None:
        """Take the facts' partitions, the hub's last, and the ledger logs, opened for writing and so checked.

        `commit` makes durable what the ledger logs hold, and is told how much of each partition that rests on. In the
        folder `cache` settlers keep what is too large for memory, while they run.
        """
        self._ledgers, self._commit_all = [*lanes, hub], commit
        self._grounds = [_Ground(log) for log in facts]
        # A settler reads facts, and does nothing else with them.
        *partitions, hubs = [cast(Log, ground) for ground in self._grounds]
        self._settlement = Settlement(
            [
                LaneSettler(number, len(lanes), partition, hub, Output(lane, now), cache and cache / lane.name)
                for number, (partition, lane) in enumerate(zip(partitions, lanes, strict=True))
            ],
            HubSettler(hubs, lanes, Output(hub, now)),
            self._commit,
        )

    def run(self, on_record: Progress | None = None) -> int:
        """Settle and commit all that is there; return how many decisions were taken. Raises: DecisionsDiffer."""
        return self._settlement.run(on_record=on_record)

    def _commit(self) -> None:
        self._commit_all({ground.name: ground.end for ground in self._grounds})

    def close(self) -> None:
        """Give back the logs."""
        for log in self._ledgers:
            log.close()


class Projecting:
    """The projections of one folder: they follow what is committed, and nothing behind it."""

    def __init__(self, engine: Engine, facts: Committed, ledgers: Sequence[Committed], synced: Path) -> None:
        """Take up where the tables stand; `facts` is the hub's partition. Raises: LedgerInvariantBroken."""
        self._engine, self._logs, self._synced = engine, (facts, *ledgers), synced
        # A projector reads logs, and does nothing else with them.
        self.projector = Projector(engine, cast(Log, facts), [cast(Log, log) for log in ledgers])

    def run(self, on_record: Progress | None = None, *, history: bool = True) -> int:
        """Project up to the last commit; return how many decisions were folded. Raises: LedgerInvariantBroken.

        Without `history` only the head is projected, and `catch_up` is left to do.
        """
        committed = read_synced(self._synced) or {}
        for log in self._logs:
            log.limit = committed.get(log.name, 0)
        folded = self.projector.run_whole(on_record) if history else self.projector.run(on_record)
        self.projector.check_floors()
        return folded

    def catch_up(self) -> None:
        """Bring history and jobs up to the head."""
        self.projector.catch_up()

    def close(self) -> None:
        """Give back the database."""
        self._engine.dispose()


class Stages:
    """Both stages by turns, or the one that this process has."""

    def __init__(self, settling: Settling | None, projecting: Projecting | None) -> None:
        """Take what is there."""
        self.settling, self.projecting = settling, projecting

    def run(
        self, on_settled: Progress | None = None, on_projected: Progress | None = None, *, history: bool = True
    ) -> tuple[int, int]:
        """Settle and project all that is there; return how many decisions were taken and folded.

        Without `history` only the head is projected, and `catch_up` is left to do.
        """
        decided = 0 if self.settling is None else self.settling.run(on_settled)
        folded = 0 if self.projecting is None else self.projecting.run(on_projected, history=history)
        return decided, folded

    def catch_up(self) -> None:
        """Bring history and jobs up to the head."""
        if self.projecting is not None:
            self.projecting.catch_up()
