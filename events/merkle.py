"""RFC 6962 Merkle trees, as far as a log's writer and reader need them.

    leaf(b)      = SHA-256(0x00 | b)
    node(l, r)   = SHA-256(0x01 | l | r)
    root of n leaves splits at the largest power of two below n; the root of none is SHA-256("").

A `Tree` keeps only the frontier: the roots of the perfect subtrees whose sizes are the set bits of its size,
largest first. So its memory is the logarithm of the log, and appending costs one node per leaf on average.
"""

from collections.abc import Iterable
from hashlib import sha256

import numpy as np

from events.hashing import Digests, extend_frontier

__all__ = ["EMPTY_ROOT", "Tree", "leaf_hash"]

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Hash one leaf."""
    return sha256(b"\x00" + data).digest()


class Tree:
    """A growing Merkle tree that can name its root at its present size."""

    __slots__ = ("_frontier", "size")

    def __init__(self, size: int = 0, frontier: Iterable[bytes] = ()) -> None:
        """Begin empty, or at a frontier that was kept."""
        self.size = size
        self._frontier = list(frontier)
        assert len(self._frontier) == size.bit_count()

    def extend(self, leaves: Iterable[bytes] | Digests) -> None:
        """Append leaf hashes in order."""
        if isinstance(leaves, np.ndarray):
            extended = extend_frontier(self._frontier, self.size, leaves)
            if extended is not None:
                self._frontier, self.size = extended, self.size + len(leaves)
                return
            leaves = [leaf.tobytes() for leaf in leaves]
        frontier, size = self._frontier, self.size
        for node in leaves:
            carry, bits = node, size
            while bits & 1:
                carry = sha256(b"\x01" + frontier.pop() + carry).digest()
                bits >>= 1
            frontier.append(carry)
            size += 1
        self.size = size

    def root(self) -> bytes:
        """Return the root at the present size."""
        if not self._frontier:
            return EMPTY_ROOT
        node = self._frontier[-1]
        for left in reversed(self._frontier[:-1]):
            node = sha256(b"\x01" + left + node).digest()
        return node

    def frontier(self) -> tuple[bytes, ...]:
        """Return the subtree roots from which a tree of this size can go on."""
        return tuple(self._frontier)

    def copy(self) -> "Tree":
        """Return an independent tree at the same size."""
        return Tree(self.size, self._frontier)
