"""The two stages behind ingest, each of which can be a process of its own: settle, and project what was committed.

settled ≥ committed ≥ head ≥ history        in positions of each ledger log
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from sqlalchemy import Engine

from app.clock import elapsed, now
from app.synced import Committed, read_synced
from events.log import Log, LogBusy
from events.record import Record
from projections.past import Past
from projections.project import Projector
from projections.sealing import Sealed
from settlement.output import Output
from settlement.settle import HubSettler, LaneSettler, Settlement
from settlement.snapshot import AT_REST, Snapshots

__all__ = ["PROJECT", "SETTLE", "Progress", "Projecting", "Settling", "Stages", "Watch"]

SETTLE, PROJECT = "settle", "project"
Progress = Callable[[int], None]


class Watch(Protocol):
    """Is told what stages do, batch by batch; times in seconds."""

    def read(self, facts: int) -> None:
        """A record of facts was settled."""

    def committed(self, decisions: int, batch_seconds: float, commit_seconds: float) -> None:
        """Decisions were taken, and then made durable."""

    def projected(self, decisions: int, batch_seconds: float) -> None:
        """Decisions were folded into balances."""

    def recorded(self, decisions: int, batch_seconds: float) -> None:
        """Decisions were folded into histories."""


class _Nobody:
    """Watches nothing."""

    def read(self, facts: int) -> None: ...

    def committed(self, decisions: int, batch_seconds: float, commit_seconds: float) -> None: ...

    def projected(self, decisions: int, batch_seconds: float) -> None: ...

    def recorded(self, decisions: int, batch_seconds: float) -> None: ...


class _Lap:
    """Tells how long each batch of a run took, and whoever shows progress."""

    def __init__(self, told: Callable[[int, float], None], on_record: Progress | None = None) -> None:
        self._told, self._on_record = told, on_record
        self._began = elapsed()

    def __call__(self, count: int) -> None:
        began, self._began = self._began, elapsed()
        self._told(count, self._began - began)
        if self._on_record is not None:
            self._on_record(count)


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
        *,
        from_start: bool = False,
        judged: bool = False,
    ) -> None:
        """Take the facts' partitions, the hub's last, and the ledger logs, opened for writing and so checked.

        `commit` makes durable what the ledger logs hold, and is told how much of each partition that rests on. In the
        folder `cache` settlers keep what is too large for memory, and snapshots: `from_start` throws those away.
        `judged`: nobody but `ingest` can have written the facts.
        """
        self._ledgers, self._commit_all = [*lanes, hub], commit
        self._grounds = [_Ground(log) for log in facts]
        # A settler reads facts, and does nothing else with them.
        *partitions, hubs = [cast(Log, ground) for ground in self._grounds]
        self._outputs = [Output(log, now) for log in self._ledgers]
        snapshots = None if cache is None else Snapshots(cache, [*facts, *self._ledgers])
        if snapshots and from_start:
            snapshots.forget()
        states = snapshots.load() if snapshots else {}
        folders = [cache and cache / log.name for log in self._ledgers]
        self._settlement = Settlement(
            [
                LaneSettler(
                    number, len(lanes), partition, hub, output, folder, states.get(output.log.name), judged=judged
                )
                for number, (partition, output, folder) in enumerate(
                    zip(partitions, self._outputs, folders, strict=False)
                )
            ],
            HubSettler(hubs, lanes, self._outputs[-1], folders[-1], states.get(hub.name), judged=judged),
            self._commit,
            snapshots,
        )
        self.watch: Watch = _Nobody()
        self._appended, self._began = 0, elapsed()

    def run(self, on_record: Progress | None = None) -> int:
        """Settle and commit all that is there; return how many decisions were taken. Raises: DecisionsDiffer."""
        self._began = elapsed()
        return self._settlement.run(on_record=_Lap(lambda facts, _seconds: self.watch.read(facts), on_record))

    def rest(self) -> None:
        """Write a snapshot, where it spares the next start much: all that was run is committed."""
        self._settlement.snapshot(AT_REST)

    def _commit(self) -> None:
        decided = elapsed()
        self._commit_all({ground.name: ground.end for ground in self._grounds})
        appended, began = sum(output.appended for output in self._outputs), self._began
        self._began = elapsed()
        self.watch.committed(appended - self._appended, decided - began, self._began - decided)
        self._appended = appended

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
        self.watch: Watch = _Nobody()
        self._tails: list[tuple[str, int]] = []

    def has_grown(self) -> bool:
        """Tell whether anybody has appended to the logs since this was last asked: a commit will follow."""
        before, self._tails = self._tails, [log.tail() for log in self._logs]
        return self._tails != before

    def run(self, on_record: Progress | None = None, *, history: bool = True) -> int:
        """Project up to the last commit; return how many decisions were folded. Raises: LedgerInvariantBroken.

        Without `history` only the head is projected, and `catch_up` is left to do.
        """
        committed = read_synced(self._synced) or {}
        for log in self._logs:
            log.limit = committed.get(log.name, 0)
        told = _Lap(self.watch.projected, on_record)
        folded = self.projector.run_whole(told) if history else self.projector.run(told)
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

    def catch_up(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Bring history and jobs up to the head, or on until `is_over`."""
        self.projector.catch_up(_Lap(self.watch.recorded), is_over=is_over)

    def close(self) -> None:
        """Give back the database."""
        self._engine.dispose()


class Stages:
    """Both stages by turns, or the one that this process has."""

    def __init__(self, settling: Settling | None, projecting: Projecting | None) -> None:
        """Take what is there."""
        self.settling, self.projecting = settling, projecting

    def tell(self, watch: Watch) -> None:
        """Have both stages watched."""
        for stage in (self.settling, self.projecting):
            if stage is not None:
                stage.watch = watch

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

    def has_more_coming(self) -> bool:
        """Tell whether another process has appended, since this was last asked, what is to be projected here."""
        return self.settling is None and self.projecting is not None and self.projecting.has_grown()

    def seal_one(self, is_over: Callable[[], bool]) -> bool:
        """Seal a file that has become full, unless `is_over` before; tell whether one was.

        Raises: LogDamaged, LedgerInvariantBroken.
        """
        return self.projecting is not None and self.projecting.seal(is_over, one=True)

    def catch_up(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Bring history and jobs up to the head, or on until `is_over`."""
        if self.projecting is not None:
            self.projecting.catch_up(is_over)
