"""What the network's streams say, in the order in which it arrives.

A mark stands at each multiple of `mark` from the start on, on every stream. So network time on a fact's arrival is the
last mark before it, and the fact takes effect at the later of that and its own time.
"""

from typing import NamedTuple

from app.facts import Producer
from events.event import Fact
from events.instant import MICROSECONDS, day_of, parse_instant
from ledger.epoch import closes_at
from ledger.parameters import Parameters

__all__ = ["Reports", "Told"]


class Told(NamedTuple):
    """A fact with its times, microseconds; `cut` is the one that takes it, `epoch` where a decision on it counts."""

    fact: Fact
    occurred_at: int
    arrives: int
    effective: int
    cut: int
    epoch: int


class Reports:
    """Collects facts; each is told once."""

    def __init__(self, parameters: Parameters, start: int, mark: int) -> None:
        """Begin without facts; `mark` microseconds lie between two marks."""
        self._epoch = parameters.epoch
        self._start, self._mark = start, mark
        self._told: list[Told] = []
        self.refused: dict[str, str] = {}

    def tell(self, fact: Fact, arrives: int | None = None, refused: str | None = None) -> Told:
        """Take a fact in; without another word it arrives when it occurs. `refused` names the planted reason."""
        occurred_at = parse_instant(fact.occurred_at)
        arrives = occurred_at if arrives is None else arrives
        assert arrives >= max(self._start, occurred_at)
        network_time = self.network_time(arrives)
        effective = max(occurred_at, network_time)
        told = Told(fact, occurred_at, arrives, effective, self.cut_after(effective), self.epoch(occurred_at, arrives))
        self._told.append(told)
        if refused is not None:
            self.refused[fact.id] = refused
        return told

    def network_time(self, moment: int) -> int:
        """Return the last mark at or before a moment."""
        return self._start + (moment - self._start) // self._mark * self._mark

    def cut_after(self, effective: int) -> int:
        """Return the first cut behind a time; epoch closes are cuts too."""
        step = self._epoch.cut_seconds * MICROSECONDS
        closes = closes_at(day_of(effective - self._epoch.grace_seconds * MICROSECONDS), self._epoch.grace_seconds)
        return min(cut for cut in ((effective // step + 1) * step, closes) if cut > effective)

    def epoch(self, occurred_at: int, arrives: int) -> int:
        """Return the epoch in which a decision on a fact counts: its day while that is open, else the oldest open."""
        oldest_open = day_of(self.network_time(arrives) - self._epoch.grace_seconds * MICROSECONDS)
        return max(day_of(occurred_at), oldest_open, day_of(self._start))

    def in_order(self, producers: list[Producer], end: int) -> list[Fact]:
        """Return the facts as they arrive, with the marks up to `end`."""
        marks = range(self._start + self._mark, end + 1, self._mark)
        timed = [(until, 0, producer.mark(until)) for until in marks for producer in producers]
        timed += [(told.arrives, 1, told.fact) for told in self._told]
        return [fact for _, _, fact in sorted(timed, key=lambda item: item[:2])]

    @property
    def late(self) -> int:
        """Count the facts that arrive behind a mark."""
        return sum(told.occurred_at < self.network_time(told.arrives) for told in self._told)
