"""How far a log's tree was checked: a few bytes beside the log, so that opening it hashes only what follows.

    kept := SHA-256 of the text, in hex, LF, text        text: canonical JSON

What is kept is used only where the record that ends at its position names the same root. It is a
cache, and may be deleted at any time.
"""

from hashlib import sha256

import msgspec

from events.codec import encode_json
from events.event import Count, Data, Digest
from events.merkle import Tree

__all__ = ["Frontier", "read_frontier", "write_frontier"]


class Frontier(Data, frozen=True):
    """The tree at a record's end: its frontier; the record's sequence, its file, the bytes where it begins and ends."""

    size: Count
    nodes: tuple[Digest, ...]
    sequence: Count
    file: str
    begins: Count
    ends: Count

    def tree(self) -> Tree | None:
        """Return the tree; None where these are not the nodes of its size."""
        if len(self.nodes) != self.size.bit_count():
            return None
        return Tree(self.size, [bytes.fromhex(node) for node in self.nodes])


_decoder = msgspec.json.Decoder(Frontier)


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
