"""R9, D18: two thirds of the nodes, rounded up, counted by distinct operators."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.quorum import Fate, decide_fate, is_backed, is_proven, paid_nodes, votes_needed


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


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=12), st.data())
def test_one_node_is_paid_for_each_operator_that_agrees(owners: list[str], data: st.DataObject) -> None:
    operators = {f"n{number}": owner for number, owner in enumerate(owners)}
    agreeing = data.draw(st.sets(st.sampled_from(sorted(operators))))

    paid = paid_nodes(agreeing, operators)

    agreed = {operators[node] for node in agreeing}
    if len(agreed) < votes_needed(len(owners)):
        assert paid == ()
    else:
        assert [operators[node] for node in paid] == list(dict.fromkeys(operators[n] for n in operators if n in paid))
        assert {operators[node] for node in paid} == agreed
        assert len(paid) == len(agreed)
        assert set(paid) <= agreeing


def test_three_nodes_of_one_operator_are_no_quorum_of_three() -> None:
    assert paid_nodes({"x", "y", "z"}, {"x": "a", "y": "a", "z": "a"}) == ()


def test_of_two_nodes_of_one_operator_the_first_dispatched_is_paid() -> None:
    assert paid_nodes({"z", "y", "x"}, {"x": "a", "y": "a", "z": "b"}) == ("x", "z")
    assert paid_nodes({"y", "z"}, {"x": "a", "y": "a", "z": "b"}) == ("y", "z")


def test_nobody_is_no_quorum() -> None:
    assert paid_nodes((), {"x": "a"}) == ()


# --- D19: released on proof ---


@pytest.mark.parametrize(
    ("agreeing", "results", "backed"),
    [
        ("ab", {"a": "x", "b": "x", "c": "y"}, True),
        ("a", {"a": "x"}, True),
        ("ab", {"a": "x", "b": "y"}, False),
        ("ab", {"a": "x"}, False),
        ("ab", {}, False),
        ("", {"a": "x"}, False),
    ],
)
def test_quorum_is_backed_by_one_result_of_all(agreeing: str, results: dict[str, str], backed: bool) -> None:
    assert is_backed(agreeing, results) is backed


@pytest.mark.parametrize(
    ("challenges", "attested", "proven"),
    [
        ({"a": True}, {"a"}, True),
        ({"a": True, "b": False}, {"a", "b"}, True),
        ({"a": False}, {"a"}, False),
        ({"a": True}, set(), False),
        ({"a": True}, {"b"}, False),
        ({}, {"a"}, False),
    ],
)
def test_one_node_is_proven_by_its_passed_challenge_and_an_attestation(
    challenges: dict[str, bool], attested: set[str], proven: bool
) -> None:
    assert is_proven(1, ("a",), challenges, attested) is proven


@pytest.mark.parametrize(
    ("challenges", "proven"),
    [
        ({"a": True, "b": True}, True),
        ({"a": False, "b": False}, True),
        ({"a": True, "c": True}, False),
        ({"a": True}, False),
        ({}, False),
    ],
)
def test_quorum_is_proven_once_each_paid_nodes_challenge_is_decided(challenges: dict[str, bool], proven: bool) -> None:
    assert is_proven(3, ("a", "b"), challenges, ()) is proven


@pytest.mark.parametrize(
    ("passed", "upheld", "fate"),
    [
        (True, None, Fate.PAID),
        (True, True, Fate.PAID),
        (True, False, Fate.PAID),
        (False, None, Fate.WAITING),
        (False, False, Fate.PAID),
        (False, True, Fate.REFUNDED),
    ],
)
def test_fate_of_a_hold_follows_from_challenge_and_verdict(passed: bool, upheld: bool | None, fate: Fate) -> None:
    assert decide_fate(passed, upheld) is fate
