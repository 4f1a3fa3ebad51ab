"""How far the ledger logs of embedded books are durable together: one small file beside them.

position SP log LF, for each log        written anew behind each commit, by renaming
"""

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["read_synced", "write_synced"]


def read_synced(path: Path) -> dict[str, int] | None:
    """Return the positions of the last commit; None where there never was one."""
    if not path.exists():
        return None
    lines = path.read_text(encoding="ascii").splitlines()
    return {log: int(position) for position, _, log in (line.partition(" ") for line in lines)}


def write_synced(path: Path, positions: Mapping[str, int]) -> None:
    """Put the positions of a commit durably in place of those before."""
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="ascii") as file:
        file.writelines(f"{position} {log}\n" for log, position in positions.items())
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
