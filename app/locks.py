"""Locks that say who holds them: while one is held, its file names what its holder does, and as which process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from events.filelog import hold_lock
from events.log import LogBusy

__all__ = ["find_holder", "hold"]


@contextmanager
def hold(path: Path, duty: str) -> Iterator[None]:
    """Hold an exclusive lock while the block runs. Raises: LogBusy, which names the holder."""
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(path))
        except LogBusy as error:
            holder = path.read_text(encoding="utf-8")
            named = f" ({holder})" if holder else ""
            raise LogBusy(f"{path.name} is held by another process{named}; wait for it to end") from error
        path.write_text(f"{duty}, process {os.getpid()}", encoding="utf-8")
        try:
            yield
        finally:
            os.truncate(path, 0)


def find_holder(path: Path) -> str | None:
    """Return what the holder of a lock says of itself; None where nobody holds it.

    Only a lock whose file names a holder is touched: nobody is hindered from taking one that was given back.
    """
    try:
        holder = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    if not holder:
        return None
    file = os.open(path, os.O_RDONLY)
    try:
        # It may have been killed, and named by what it left.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return holder
    finally:
        os.close(file)
    return None
