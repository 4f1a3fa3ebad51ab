"""Commits of embedded books: what settlers append becomes durable together, and what a crash left is cut back."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.synced import read_synced, write_synced
from events.filelog import FileLog
from events.killpoints import reach
from settlement.commit import find_unfounded

__all__ = ["Commits", "tell_cut"]

_LOG = logging.getLogger(__name__)


class Commits:
    """The commits of one folder. `committed` says how far each log is durable."""

    def __init__(self, facts: Sequence[FileLog], ledgers: Sequence[FileLog], synced: Path) -> None:
        """Cut back what a crash between two commits left in the ledger logs without its ground."""
        self._facts, self._ledgers, self._synced = facts, ledgers, synced
        tell_cut(*ledgers)
        committed = read_synced(synced)
        if committed is None:
            # New books; or such as were made before there were commits, when each record was synced by itself.
            committed = {log.name: log.end() for log in (*facts, *ledgers)}
            for log in facts:
                log.sync()
            write_synced(synced, committed)
        cuts = find_unfounded(ledgers, facts, committed)
        for log in ledgers:
            if log.name in cuts:
                _LOG.warning(
                    "%s: cut back to %d: what lay behind was never committed",
                    log.name,
                    cuts[log.name],
                    extra={"fields": {"log": log.name, "position": cuts[log.name]}},
                )
                log.cut_back(cuts[log.name])
        self.committed = {log.name: committed.get(log.name, 0) for log in (*facts, *ledgers)}

    def commit(self, grounds: Mapping[str, int]) -> None:
        """Make all decisions durable: 1 the facts they rest on, 2 the ledger logs, 3 the mark that says how far."""
        # Started again a settler reads once more what it had read before the last commit.
        ends = {name: max(end, self.committed[name]) for name, end in grounds.items()}
        ends |= {log.name: log.end() for log in self._ledgers}
        if ends == self.committed:
            return
        for log in self._facts:
            log.sync()
        reach("commit.1-facts-synced")
        for log in self._ledgers:
            log.sync()
        reach("commit.2-ledgers-synced")
        write_synced(self._synced, ends)
        reach("commit.3-marked")
        self.committed = ends


def tell_cut(*logs: FileLog) -> None:
    """Say where a torn tail was cut when a log was opened for writing."""
    for log in logs:
        if log.cut_bytes:
            _LOG.warning(
                "%s: cut %d bytes of a batch that was never acknowledged",
                log.name,
                log.cut_bytes,
                extra={"fields": {"log": log.name, "bytes": log.cut_bytes}},
            )
