"""A tree's frontier, kept in a file, so that a log is not hashed anew at each start. A cache: delete it at will.

What is read here is believed only where its root is that of the record which it says it stands behind.
"""

from pathlib import Path

import msgspec

from events.merkle import Tree

__all__ = ["Frontier", "keep_frontier", "kept_frontier"]


class Frontier(msgspec.Struct, frozen=True):
    """The tree at `position`, which is the end of the record at `offset`."""

    position: int
    offset: int
    hashes: tuple[bytes, ...]

    def tree(self) -> Tree:
        """Return the tree that goes on from here."""
        return Tree(self.position, self.hashes)


_decoder = msgspec.json.Decoder(Frontier)


def keep_frontier(path: Path, tree: Tree, offset: int) -> None:
    """Write a tree's frontier behind the record at an offset."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(Frontier(tree.size, offset, tree.frontier())))
    new.replace(path)


def kept_frontier(path: Path) -> Frontier | None:
    """Read a frontier; None where there is none, or none that could be one."""
    try:
        frontier = _decoder.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None
    whole = frontier.position > 0 and frontier.position.bit_count() == len(frontier.hashes)
    return frontier if whole else None
