"""How many operators must agree before payment is released, and which nodes are paid (R9, D18, D19).

    needed(1) = 1        needed(n) = ceil(2n / 3)

One vote and one payment per operator, however many of its nodes ran the job: that of the first, in the order of
dispatch. A job of owner authority is released on proof, beyond its usage and its quorum:

    backed    the agreeing nodes have all submitted one and the same result
    proven    one node: its challenge passed and a validator attested it; several: each paid node's challenge is decided

What then becomes of a paid node's hold follows from its challenge and, where that failed, from the verdict on its case:

    challenge passed                paid
    failed, the case is open        waits in escrow
    failed, the case is reversed    paid
    failed, the case is upheld      refunded
"""

from collections.abc import Collection, Mapping
from enum import Enum

import numpy as np
import numpy.typing as npt

from ledger.bps import Integers

__all__ = ["Fate", "decide_fate", "is_backed", "is_proven", "paid_many", "paid_nodes", "votes_needed"]


class Fate(Enum):
    """What becomes of a paid node's hold."""

    PAID = "paid"
    WAITING = "waiting"
    REFUNDED = "refunded"


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


def paid_many(attempts: Integers, operators: Integers) -> npt.NDArray[np.bool_]:
    """Tell which of the nodes of many attempts are paid, as `paid_nodes` does where all of them agree.

    A row per node, each attempt's side by side and in the order of dispatch; both are small numbers.
    """
    order = np.lexsort((operators, attempts))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (np.diff(attempts[order]) != 0) | (np.diff(operators[order]) != 0)
    paid = np.zeros(len(order), dtype=np.bool_)
    # Equal rows keep their order.
    paid[order[first]] = True
    nodes = np.bincount(attempts)
    enough = np.bincount(attempts[paid], minlength=len(nodes)) >= -(-2 * nodes // 3)
    return np.asarray(paid & enough[attempts])


def is_backed(agreeing: Collection[str], results: Mapping[str, str]) -> bool:
    """Tell whether all agreeing nodes have submitted one and the same result; nobody's claim is not backed."""
    submitted = {results.get(node) for node in agreeing}
    return len(submitted) == 1 and None not in submitted


def is_proven(
    dispatched: int, paid: Collection[str], challenges: Mapping[str, bool], attested: Collection[str]
) -> bool:
    """Tell whether a job of owner authority, dispatched to so many nodes, may be released to the paid ones (D19).

    `challenges` says which nodes' challenges are decided, and whether they passed; `attested` names the nodes that a
    validator has attested.
    """
    if dispatched == 1:
        return all(challenges.get(node, False) and node in attested for node in paid)
    return all(node in challenges for node in paid)


def decide_fate(passed: bool, upheld: bool | None) -> Fate:
    """Decide on a paid node's hold; `upheld` is the verdict on its case, None while there is none (D19)."""
    if passed or upheld is False:
        return Fate.PAID
    return Fate.REFUNDED if upheld else Fate.WAITING
