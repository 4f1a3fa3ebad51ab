"""How far a log's tree was checked: a few bytes beside the log, so that opening it hashes only what follows.

    kept := SHA-256 of the text, in hex, LF, text        text: canonical JSON

What is kept is used only where the record that ends at its position names the same root. It is a
cache, and may be deleted at any time.
"""

from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from events.codec import encode_json
from events.event import Count, Data, Digest
from events.merkle import Tree

__all__ = ["Frontier", "keep_frontier", "kept_frontier", "read_frontier", "write_frontier"]


class Frontier(Data, frozen=True):
    """The tree at a record's end: its frontier; the record's sequence, its file, the bytes where it begins and ends.

    On Kafka the file is a topic's partition, and bytes are offsets.
    """

    size: Count
    nodes: tuple[Digest, ...]
    sequence: Count
    file: str
    begins: Count
    ends: Count

    @staticmethod
    def of(tree: Tree, sequence: int, file: str, begins: int, ends: int) -> "Frontier":
        """Return what is kept of a tree, at the end of the record that was added last."""
        nodes = tuple(node.hex() for node in tree.frontier())
        return Frontier(size=tree.size, nodes=nodes, sequence=sequence, file=file, begins=begins, ends=ends)

    def tree(self) -> Tree | None:
        """Return the tree; None where these are not the nodes of its size."""
        if len(self.nodes) != self.size.bit_count():
            return None
        return Tree(self.size, [bytes.fromhex(node) for node in self.nodes])


_decoder = msgspec.json.Decoder(Frontier)


def keep_frontier(path: Path, frontier: Frontier) -> None:
    """Put a frontier in place of the one before. Where a cache cannot be written the log is checked whole next time."""
    with suppress(OSError):
        part = path.with_suffix(".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(write_frontier(frontier))
        part.replace(path)


def kept_frontier(path: Path) -> Frontier | None:
    """Return what is kept; None where there is nothing, or it was touched."""
    try:
        return read_frontier(path.read_bytes())
    except OSError:
        return None


def write_frontier(frontier: Frontier) -> bytes:
    """Write a frontier as bytes."""
    text = encode_json(frontier)
    return sha256(text).hexdigest().encode() + b"\n" + text


def read_frontier(data: bytes) -> Frontier | None:
    """Read a frontier from its bytes; None where they were touched."""
    digest, _, text = data.partition(b"\n")
    if digest != sha256(text).hexdigest().encode():
        return None
    try:
        return _decoder.decode(text)
    except msgspec.MsgspecError:
        return None
