"""The snapshot of an epoch: what each validator's share rested on, as one Merkle root (D15, D16).

    leaf i = canonical JSON of the i-th line, in the order of validators        root as RFC 6962, as in every log

So a validator can be shown its own line, and that it was one of those which the pool was shared by.
"""

from collections.abc import Iterable
from typing import NamedTuple

from events.codec import encode_json
from events.merkle import Tree, leaf_hash

__all__ = ["SnapshotLine", "line_bytes", "snapshot_root"]


class SnapshotLine(NamedTuple):
    """A validator at an epoch's close: weight in base units, duties, why it has no share, on which case it waits."""

    validator: str
    weight: int
    assigned: int
    answered: int
    reason: str | None
    case: str | None


def line_bytes(line: SnapshotLine) -> bytes:
    """Write a line canonically: the weight as decimal text, null for what there is none of."""
    return encode_json(line._asdict() | {"weight": str(line.weight)})


def snapshot_root(lines: Iterable[SnapshotLine]) -> str:
    """Return the Merkle root over the lines, in hex; the order in which they come is nothing."""
    tree = Tree()
    tree.extend(leaf_hash(line_bytes(line)) for line in sorted(lines, key=lambda line: line.validator))
    return tree.root().hex()
