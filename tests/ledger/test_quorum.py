"""R9, D18: two thirds of the nodes, rounded up, counted by distinct operators."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.quorum import is_quorum, votes_needed


@pytest.mark.parametrize(
    ("nodes", "votes"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (63, 42), (64, 43)]
)
def test_worked_examples(nodes: int, votes: int) -> None:
    assert votes_needed(nodes) == votes


@pytest.mark.parametrize("nodes", range(1, 65))
def test_votes_are_the_least_number_that_is_two_thirds(nodes: int) -> None:
    votes = votes_needed(nodes)

    assert Fraction(votes, nodes) >= Fraction(2, 3) > Fraction(votes - 1, nodes)
    assert 1 <= votes <= nodes


@pytest.mark.parametrize("nodes", range(1, 65))
def test_two_quorums_share_an_operator(nodes: int) -> None:
    assert 2 * votes_needed(nodes) > nodes


@given(st.lists(st.sampled_from("abcdefgh")), st.integers(1, 64))
def test_an_operator_has_one_vote_however_many_of_its_nodes_agree(operators: list[str], nodes: int) -> None:
    assert (
        is_quorum(operators, nodes) == is_quorum(set(operators), nodes) == (len(set(operators)) >= votes_needed(nodes))
    )


def test_three_nodes_of_one_operator_are_no_quorum_of_three() -> None:
    assert not is_quorum(["a", "a", "a"], 3)
    assert is_quorum(["a", "a", "b"], 3)


def test_nobody_is_no_quorum() -> None:
    assert not is_quorum([], 1)
