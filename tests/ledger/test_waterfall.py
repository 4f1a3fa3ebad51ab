"""R3, D5: an epoch's fees are shared once, on their sum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.waterfall import share_fees
from tests.strategies import integers


@pytest.mark.parametrize(
    ("fees", "pool", "treasury"),
    [(0, 0, 0), (1, 0, 1), (9, 0, 9), (10, 1, 9), (999_861_111, 99_986_111, 899_875_000)],
)
def test_worked_examples_at_1000_bps(fees: int, pool: int, treasury: int) -> None:
    assert share_fees(fees, 1_000) == (pool, treasury)


@given(integers(0, 2**128), st.integers(0, 10_000))
def test_pool_and_treasury_are_the_fees(fees: int, validator_bps: int) -> None:
    pool, treasury = share_fees(fees, validator_bps)

    assert pool + treasury == fees
    assert pool == fees * validator_bps // 10_000


def test_shared_line_by_line_the_pool_would_lose_a_unit_per_job() -> None:
    fees = [19, 19, 19]

    per_epoch = share_fees(sum(fees), 1_000)
    per_line = sum(share_fees(fee, 1_000).pool for fee in fees)

    assert per_epoch == (5, 52)
    assert per_line == 3


@given(st.lists(integers(0, 2**64), max_size=30), st.integers(0, 10_000))
def test_the_pool_of_the_sum_is_never_below_the_sum_of_pools(fees: list[int], validator_bps: int) -> None:
    lost = share_fees(sum(fees), validator_bps).pool - sum(share_fees(fee, validator_bps).pool for fee in fees)

    assert 0 <= lost <= max(0, len(fees) - 1)
