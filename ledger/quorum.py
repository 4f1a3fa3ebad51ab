"""How many operators must agree before payment is released, and which nodes are paid (R9, D18, D19).

    needed(1) = 1        needed(n) = ceil(2n / 3)

One vote and one payment per operator, however many of its nodes ran the job: that of the first, in the order of
dispatch.
"""

from collections.abc import Collection, Mapping

__all__ = ["paid_nodes", "votes_needed"]


def votes_needed(nodes: int) -> int:
    """Return the number of distinct operators that must agree among `nodes` ≥ 1."""
    return -(-2 * nodes // 3)


def paid_nodes(agreeing: Collection[str], operators: Mapping[str, str]) -> tuple[str, ...]:
    """Return the nodes to be paid, one per operator, or none where too few operators agree.

    `operators` names the operator of each dispatched node, in the order of dispatch.
    """
    first: dict[str, str] = {}
    for node, operator in operators.items():
        if node in agreeing:
            first.setdefault(operator, node)
    return tuple(first.values()) if len(first) >= votes_needed(len(operators)) else ()
