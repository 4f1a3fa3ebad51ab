"""A stopwatch with named stages, which can profile each of them on its own."""

import cProfile
import pstats
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

__all__ = ["Watch"]

_ROOT = Path(__file__).resolve().parents[1]


class Watch:
    """Seconds by stage. A stage that begins within another suspends it."""

    def __init__(self, *, profile: bool = False) -> None:
        """Begin; `profile` slows everything down and keeps where the time went."""
        self.seconds: dict[str, float] = {}
        self._profiles: dict[str, cProfile.Profile] | None = {} if profile else None
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block's time to a stage."""
        self._pause()
        self._running.append(name)
        self._go_on()
        try:
            yield
        finally:
            self._pause()
            self._running.pop()
            self._go_on()

    def top(self, stage: str, count: int) -> list[tuple[str, int, float, float]]:
        """Return a stage's costliest functions by own time: name, calls, own seconds, seconds with what they call."""
        assert self._profiles is not None
        rows = []
        # The attribute exists; the published types leave it out.
        stats = pstats.Stats(self._profiles[stage]).stats  # type: ignore[attr-defined]
        for (file, line, function), (_, calls, own, cumulative, _callers) in stats.items():
            rows.append((_name(file, line, function), calls, own, cumulative))
        return sorted(rows, key=lambda row: -row[2])[:count]

    def _pause(self) -> None:
        if self._running:
            if self._profiles is not None:
                self._profiles[self._running[-1]].disable()
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - self._since

    def _go_on(self) -> None:
        if self._running:
            self._since = perf_counter()
            if self._profiles is not None:
                self._profiles.setdefault(self._running[-1], cProfile.Profile()).enable()


def _name(file: str, line: int, function: str) -> str:
    """Name a function by its place in the repository, or by its package."""
    if file == "~":
        return function
    path = Path(file)
    if path.is_relative_to(_ROOT) and ".venv" not in path.parts:
        return f"{path.relative_to(_ROOT)}:{line} {function}"
    return f"{path.parent.name}/{path.name}:{line} {function}"
