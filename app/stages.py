"""The two stages behind ingest, each of which can be a process of its own: settle, and project what was committed.

settled ≥ committed ≥ head ≥ history        in positions of each ledger log
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

from sqlalchemy import Engine

from app.clock import now
from app.synced import Committed, read_synced, write_synced
from events.filelog import FileLog
from events.killpoints import reach
from events.log import Log, LogBusy
from events.record import Record
from projections.past import Past
from projections.project import Projector
from projections.sealing import Sealed
from settlement.commit import find_unfounded
from settlement.output import Output
from settlement.settle import HubSettler, LaneSettler, Settlement

__all__ = ["PROJECT", "SETTLE", "Progress", "Projecting", "Settling", "Stages", "tell_cut"]

_LOG = logging.getLogger(__name__)
SETTLE, PROJECT = "settle", "project"
Progress = Callable[[int], None]


class _Ground:
    """A partition of the facts as it is settled; knows how much of it was read."""

    def __init__(self, log: FileLog) -> None:
        self.name = log.name
        self.end = 0
        self._log = log

    def read(self, position: int = 0) -> Iterator[Record]:
        for record in self._log.read(position):
            self.end = max(self.end, record.end)
            yield record


class Settling:
    """Lanes and hub of one folder, kept open so that each run goes on where the last ended."""

    def __init__(
        self, facts: Sequence[FileLog], lanes: Sequence[FileLog], hub: FileLog, synced: Path, cache: Path
    ) -> None:
        """Take the facts' partitions, the hub's last, and the ledger logs, opened for writing and so checked whole.

        In the folder `cache` settlers keep what is too large for memory, while they run.
        """
        self._facts, self._ledgers, self._synced = facts, [*lanes, hub], synced
        tell_cut(*self._ledgers)
        self._recover()
        self._grounds = [_Ground(log) for log in facts]
        # A settler reads facts, and does nothing else with them.
        *partitions, hubs = [cast(Log, ground) for ground in self._grounds]
        self._settlement = Settlement(
            [
                LaneSettler(number, len(lanes), partition, hub, Output(lane, now), cache / lane.name)
                for number, (partition, lane) in enumerate(zip(partitions, lanes, strict=True))
            ],
            HubSettler(hubs, lanes, Output(hub, now)),
            self._commit,
        )

    def run(self, on_record: Progress | None = None) -> int:
        """Settle and commit all that is there; return how many decisions were taken. Raises: DecisionsDiffer."""
        return self._settlement.run(on_record=on_record)

    def _recover(self) -> None:
        """Cut back what a crash between two commits left without its ground."""
        committed = read_synced(self._synced)
        if committed is None:
            # New books; or such as were made before there were commits, when each record was synced by itself.
            committed = {log.name: log.end() for log in (*self._facts, *self._ledgers)}
            for log in self._facts:
                log.sync()
            write_synced(self._synced, committed)
        cuts = find_unfounded(self._ledgers, self._facts, committed)
        for log in self._ledgers:
            if log.name in cuts:
                _LOG.warning("%s: cut back to %d: what lay behind was never committed", log.name, cuts[log.name])
                log.cut_back(cuts[log.name])
        self._committed = {log.name: committed.get(log.name, 0) for log in (*self._facts, *self._ledgers)}

    def _commit(self) -> None:
        """Make all decisions durable: 1 the facts they rest on, 2 the ledger logs, 3 the mark that says how far."""
        # Started again it reads once more what it had read before the last commit.
        ends = {ground.name: max(ground.end, self._committed[ground.name]) for ground in self._grounds}
        ends |= {log.name: log.end() for log in self._ledgers}
        if ends == self._committed:
            return
        for log in self._facts:
            log.sync()
        reach("commit.1-facts-synced")
        for log in self._ledgers:
            log.sync()
        reach("commit.2-ledgers-synced")
        write_synced(self._synced, ends)
        reach("commit.3-marked")
        self._committed = ends

    def close(self) -> None:
        """Give back the logs."""
        for log in self._ledgers:
            log.close()


class Projecting:
    """The projections of one folder: they follow what is committed, and nothing behind it."""

    def __init__(
        self,
        engine: Engine,
        facts: Committed,
        ledgers: Sequence[Committed],
        synced: Path,
        past: Past,
        seal: Callable[..., Iterator[Sealed]],
    ) -> None:
        """Take up where the tables stand; `facts` is the hub's partition. Raises: LedgerInvariantBroken.

        `past` has what is sealed, and `seal` seals more.
        """
        self._engine, self._logs, self._synced = engine, (facts, *ledgers), synced
        self._past, self._seal = past, seal
        # A projector reads logs, and does nothing else with them.
        self.projector = Projector(engine, cast(Log, facts), [cast(Log, log) for log in ledgers], past)

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

    def seal(self, is_over: Callable[[], bool] = lambda: False, *, one: bool = False) -> bool:
        """Seal the files that have become full, or `one` of them, until `is_over`; tell whether any was sealed.

        Where somebody else seals, that is left to him. Raises: LogDamaged, LedgerInvariantBroken.
        """
        if not self._past.is_behind():
            return False
        made = False
        try:
            for sealed in self._seal(is_over=is_over):
                made = made or bool(sealed.made)
                if made and one:
                    break
        except LogBusy:
            return False
        self._past.refresh()
        return made

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

        Without `history` only the head is projected, and `seal_one` and `catch_up` are left to do.
        """
        decided = 0 if self.settling is None else self.settling.run(on_settled)
        if history and self.projecting is not None:
            self.projecting.seal()
        folded = 0 if self.projecting is None else self.projecting.run(on_projected, history=history)
        return decided, folded

    def seal_one(self, is_over: Callable[[], bool]) -> bool:
        """Seal a file that has become full, unless `is_over` before; tell whether one was.

        Raises: LogDamaged, LedgerInvariantBroken.
        """
        return self.projecting is not None and self.projecting.seal(is_over, one=True)

    def catch_up(self) -> None:
        """Bring history and jobs up to the head."""
        if self.projecting is not None:
            self.projecting.catch_up()


def tell_cut(*logs: FileLog) -> None:
    """Say where a torn tail was cut when a log was opened for writing."""
    for log in logs:
        if log.cut_bytes:
            _LOG.warning("%s: cut %d bytes of a batch that was never acknowledged", log.name, log.cut_bytes)
