"""Work that is written while the next is worked out: one thread, which is never more than one piece behind.

    put k:      wait for k - 1, which raises what it raised      then k begins, and the caller goes on to k + 1

An error ends both: what was put last is waited for, whatever the caller raises, and nothing is left running.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

__all__ = ["Behind", "open_behind"]


class Behind:
    """Takes pieces of work, one after another."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        """Begin with nothing under way; `pool` has one thread."""
        self._pool = pool
        self._last: Future[None] | None = None

    def put(self, work: Callable[[], None]) -> None:
        """Have this done next. Raises: what the piece before it raised, which then is not begun."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Wait until nothing is under way. Raises: what the last piece raised."""
        last, self._last = self._last, None
        if last is not None:
            last.result()


@contextmanager
def open_behind() -> Iterator[Behind]:
    """Have a thread while the block runs. Raises: what the last piece raised, rather than what the block did."""
    with ThreadPoolExecutor(1) as pool:
        behind = Behind(pool)
        try:
            yield behind
        finally:
            behind.wait()
