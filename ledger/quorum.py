"""How many operators must agree before payment is released (R9, D18).

    needed(1) = 1        needed(n) = ceil(2n / 3)

One vote per operator, however many of its nodes ran the job.
"""

from collections.abc import Iterable

__all__ = ["is_quorum", "votes_needed"]


def votes_needed(nodes: int) -> int:
    """Return the number of distinct operators that must agree among `nodes` ≥ 1."""
    return -(-2 * nodes // 3)


def is_quorum(agreeing_operators: Iterable[str], nodes: int) -> bool:
    """Tell whether the operators of the agreeing nodes are enough."""
    return len(set(agreeing_operators)) >= votes_needed(nodes)
