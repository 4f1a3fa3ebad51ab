"""Commit: what the settlers have appended becomes durable together, and after a crash what did not is cut back.

Between two commits records of several logs rest on one another and none of them is synced: the machine may lose some
and keep others. Nobody has built on them. So a record behind the last commit whose ground is missing goes, and with it
what follows and what rests on it; the rest is whole, and what is missing is decided again. Before the last commit
nothing is ever cut: there a missing ground is damage, which the settlers name.
"""

from collections.abc import Iterable, Mapping, Sequence

from events.log import Log
from events.record import Record

__all__ = ["find_unfounded"]


def find_unfounded(ledgers: Sequence[Log], facts: Sequence[Log], committed: Mapping[str, int]) -> dict[str, int]:
    """Return for each ledger log the position behind which its records lost their ground.

    `committed` says how far each log was durable at the last commit; a log that it does not name was at 0.
    """
    tails = {log.name: list(log.read(committed.get(log.name, 0))) for log in ledgers}
    if not any(tails.values()):
        return {}
    grounds = {name: _roots(tail) for name, tail in tails.items()}
    grounds |= {log.name: _roots(log.read(committed.get(log.name, 0))) for log in facts}
    cuts: dict[str, int] = {}
    while (lost := _first_unfounded(tails, grounds, committed)) is not None:
        name, place = lost
        cuts[name] = tails[name][place].sequence
        for record in tails[name][place:]:
            del grounds[name][record.end]
        del tails[name][place:]
    return cuts


def _roots(records: Iterable[Record]) -> dict[int, str | None]:
    return {record.end: record.header.root for record in records}


def _first_unfounded(
    tails: Mapping[str, Sequence[Record]], grounds: Mapping[str, Mapping[int, str | None]], committed: Mapping[str, int]
) -> tuple[str, int] | None:
    """Find a record that rests on what is not there: its log, and its place in the tail."""
    for name, tail in tails.items():
        for place, record in enumerate(tail):
            for basis in record.header.basis:
                before = basis.end <= committed.get(basis.log, 0)
                if not before and grounds.get(basis.log, {}).get(basis.end) != basis.root:
                    return name, place
    return None
