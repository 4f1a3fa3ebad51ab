"""Copies books from one place into another, record by record: the same bytes, positions and roots.

    order: the lanes' facts, the ledger logs, and the hub's facts last

Until the hub's facts have their genesis there are no books in the new place. What was broken off goes on where it was.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from app.stages import Progress
from events.log import Log, LogFault
from events.record import Record

__all__ = ["CopyRefused", "copy_logs"]

# So many bytes are made durable at once.
COMMIT_BYTES = 16 * 1024 * 1024


class CopyRefused(LogFault):
    """The new place holds something else already."""


def copy_logs(
    pairs: Sequence[tuple[Log, Log]], commit: Callable[[], None], on_record: Progress | None = None
) -> Iterator[tuple[str, int]]:
    """Copy logs, in the order that is given; yield each one's name and end once it is durable. Raises: CopyRefused."""
    for source, target in pairs:
        _check_beginning(source, target)
        waiting = 0
        for record in source.read(target.end()):
            header = record.header
            copied = target.append(record.data, header.recorded_at, header.network_time, header.basis)
            if copied.header != header:
                raise CopyRefused(
                    f"{source.name}: record at {record.sequence} became another; nothing of it is committed"
                )
            waiting += len(record.data)
            if waiting >= COMMIT_BYTES:
                commit()
                waiting = 0
            if on_record is not None:
                on_record(header.count)
        commit()
        yield target.name, target.end()


def _check_beginning(source: Log, target: Log) -> None:
    """Assert that what the new place holds is a beginning of what is copied."""
    end = target.end()
    if not end:
        return
    held = _record_ending(source, end)
    if held is None or held.header.root != target.root().hex():
        raise CopyRefused(f"{target.name}: holds other records already; choose an empty place")


def _record_ending(log: Log, position: int) -> Record | None:
    record = next(islice(log.read(position - 1), 1), None)
    return record if record is not None and record.end == position else None
