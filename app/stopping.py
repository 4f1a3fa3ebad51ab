"""Being asked to stop: SIGINT and SIGTERM are remembered until the work at hand is done, and end a wait at once."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stopping", "heed_signals"]


class Stopping:
    """Whether this process was asked to stop."""

    def __init__(self, signalled: int) -> None:
        """Take the file on which each signal is heard."""
        self.asked = False
        self._signalled = signalled

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        """Remember a signal."""
        self.asked = True

    def has_asked(self) -> bool:
        """Tell whether it was."""
        return self.asked

    def wait(self, seconds: float) -> None:
        """Wait that long, or until asked to stop."""
        select.select([self._signalled], [], [], seconds)


@contextmanager
def heed_signals() -> Iterator[Stopping]:
    """Remember both signals in place of dying of them while the block runs; in the main thread."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stopping = Stopping(reader)
    handlers = {number: signal.signal(number, stopping.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    before = signal.set_wakeup_fd(writer)
    try:
        yield stopping
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
