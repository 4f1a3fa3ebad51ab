"""The growing tree against RFC 6962 as it is written there: recursive, over all leaves, slow."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.merkle import EMPTY_ROOT, Tree, leaf_hash
from tests.events.naive_merkle import naive_root

# The inputs of the certificate transparency project's own tests, and the roots of their first n.
INPUTS = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
NUMBERED = [leaf_hash(str(number).encode()) for number in range(201)]


def grown(leaves: list[bytes]) -> Tree:
    tree = Tree()
    tree.extend(leaves)
    return tree


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_published_vectors(size: int) -> None:
    leaves = [leaf_hash(bytes.fromhex(text)) for text in INPUTS[:size]]

    assert grown(leaves).root().hex() == ROOTS[size - 1]
    assert naive_root(leaves).hex() == ROOTS[size - 1]


def test_empty_tree_has_the_hash_of_nothing() -> None:
    assert Tree().root() == EMPTY_ROOT == sha256(b"").digest()


def test_leaf_and_node_are_hashed_apart() -> None:
    left, right = leaf_hash(b"l"), leaf_hash(b"r")

    assert grown([left, right]).root() != leaf_hash(left + right)


def test_every_size_has_the_root_of_the_recursive_definition() -> None:
    tree = Tree()
    for size in range(201):
        assert tree.size == size
        assert tree.root() == naive_root(NUMBERED[:size])
        tree.extend(NUMBERED[size : size + 1])


@given(st.lists(st.integers(0, 40), max_size=8))
def test_leaves_may_come_in_any_portions(portions: list[int]) -> None:
    tree, taken = Tree(), 0
    for portion in portions:
        tree.extend(NUMBERED[taken : taken + portion])
        taken = min(taken + portion, len(NUMBERED))

    assert tree.size == taken
    assert tree.root() == naive_root(NUMBERED[:taken])


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_tree_goes_on_from_its_frontier(size: int, end: int) -> None:
    kept = grown(NUMBERED[:size])

    resumed = Tree(kept.size, kept.frontier())
    resumed.extend(NUMBERED[size:end])

    assert resumed.root() == naive_root(NUMBERED[: max(size, end)])


@given(st.integers(0, 200))
def test_frontier_holds_a_subtree_for_each_set_bit_of_the_size(size: int) -> None:
    frontier, start = grown(NUMBERED[:size]).frontier(), 0
    widths = [1 << bit for bit in range(8, -1, -1) if size & 1 << bit]

    assert len(frontier) == len(widths)
    for width, node in zip(widths, frontier, strict=True):
        assert node == naive_root(NUMBERED[start : start + width])
        start += width


def test_a_copy_grows_on_its_own() -> None:
    tree = grown(NUMBERED[:5])
    before = tree.root()

    tree.copy().extend(NUMBERED[5:9])

    assert (tree.size, tree.root()) == (5, before)


def test_a_frontier_that_does_not_fit_its_size_is_refused() -> None:
    with pytest.raises(AssertionError):
        Tree(3, [EMPTY_ROOT])
