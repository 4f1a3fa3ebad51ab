"""RFC 6962 section 2.1, written down as it is defined there; shares nothing with `events.merkle`."""

from collections.abc import Sequence
from hashlib import sha256

__all__ = ["naive_leaf", "naive_root"]


def naive_leaf(data: bytes) -> bytes:
    """Hash one leaf."""
    return sha256(b"\x00" + data).digest()


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes: split at the largest power of two below their number."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()
