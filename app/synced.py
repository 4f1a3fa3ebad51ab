"""How far the logs of embedded books are durable together: one small file beside them, and a log up to there.

position SP log LF, for each log        written anew behind each commit, by renaming
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from events.filelog import FileLog
from events.log import LogFault
from events.record import Record

__all__ = ["Committed", "read_synced", "sync_folder", "write_synced"]


class Committed:
    """A log up to the last commit, for those who build on it.

    It is read at two places, the head and behind it history; each reader stays where it is, so that neither searches.
    """

    def __init__(self, readers: Sequence[FileLog]) -> None:
        """Take the log as often as there are places; nothing of it is committed yet."""
        self.name = readers[0].name
        self.limit = 0
        self._places = [(0, reader) for reader in readers]

    def tail(self) -> tuple[str, int]:
        """As the log's, committed or not."""
        return self._places[0][1].tail()

    def read(self, position: int = 0) -> Iterator[Record]:
        """Yield the records that end behind `position`, up to the limit. Raises: LogDamaged."""
        if position >= self.limit:
            return
        number = max(range(len(self._places)), key=lambda place: _nearness(self._places[place][0], position))
        reader = self._places[number][1]
        for record in reader.read(position):
            if record.end > self.limit:
                return
            self._places[number] = record.end, reader
            yield record
            if record.end == self.limit:
                return


def _nearness(place: int, position: int) -> int:
    """Rank the places before a position, the nearest first, above those behind it."""
    return place if place <= position else -place


def read_synced(path: Path) -> dict[str, int] | None:
    """Return the positions of the last commit; None where there never was one. Raises: LogFault."""
    if not path.exists():
        return None
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return {log: int(position) for position, _, log in (line.partition(" ") for line in lines)}
    except ValueError:
        raise LogFault(f"{path} is damaged: it says no positions") from None


def write_synced(path: Path, positions: Mapping[str, int]) -> None:
    """Put the positions of a commit durably in place of those before."""
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="ascii") as file:
        file.writelines(f"{position} {log}\n" for log, position in positions.items())
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make durable which files a folder has."""
    folder = os.open(path, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
