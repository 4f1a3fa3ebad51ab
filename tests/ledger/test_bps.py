"""Basis points are exact: the part is floored and the rest keeps the remainder."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.bps import BPS, cut
from tests.strategies import integers

WIDE = integers(0, 2**128)


@pytest.mark.parametrize(
    ("amount", "bps", "part"),
    [
        *((0, 0, 0), (0, BPS, 0), (1, 9_999, 0), (1, BPS, 1), (9_999, 1, 0), (10_000, 1, 1), (10_001, 1, 1)),
        *((100, 200, 2), (100, 500, 5), (2**64 - 1, 5_000, 2**63 - 1), (10**39 - 1, 1, 10**35 - 1)),
    ],
)
def test_a_part_is_floored(amount: int, bps: int, part: int) -> None:
    assert cut(amount, bps) == (part, amount - part)


@given(WIDE, st.integers(0, BPS))
def test_part_and_rest_are_the_amount(amount: int, bps: int) -> None:
    part, rest = cut(amount, bps)

    assert part + rest == amount
    assert part >= 0 <= rest


@given(WIDE, st.integers(0, BPS))
def test_a_part_is_less_than_a_unit_below_the_exact_share(amount: int, bps: int) -> None:
    assert 0 <= Fraction(amount * bps, BPS) - cut(amount, bps).part < 1


@given(WIDE, WIDE, st.integers(0, BPS))
def test_two_cuts_take_at_most_a_unit_less_than_one(first: int, second: int, bps: int) -> None:
    together = cut(first + second, bps).part

    assert 0 <= together - cut(first, bps).part - cut(second, bps).part <= 1


@pytest.mark.parametrize(("amount", "bps"), [(-1, 0), (1, -1), (1, BPS + 1)])
def test_what_is_no_share_is_refused(amount: int, bps: int) -> None:
    with pytest.raises(AssertionError):
        cut(amount, bps)
