"""R11, D4: at the quoted price a supplier nets its minimum, for every time."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.metering import hold_for, price_usage
from ledger.price import quote_price
from ledger.split import split_gross
from tests.ledger.test_split import rates
from tests.strategies import integers


def net_of(minimum: int, burn_bps: int, fee_bps: int, seconds: int, seconds_max: int) -> int:
    price = quote_price(minimum, burn_bps, fee_bps)
    gross = price_usage(price, seconds, hold_for(price, seconds_max))
    return split_gross(gross, burn_bps, fee_bps).net


@pytest.mark.parametrize(
    ("minimum", "quoted"),
    [(0, 0), (1, 2), (93, 100), (94, 102), (9_300_000_000, 10_000_000_000), (9_300_000_001, 10_000_000_002)],
)
def test_worked_examples_at_200_and_500_bps(minimum: int, quoted: int) -> None:
    assert quote_price(minimum, 200, 500) == quoted


@given(integers(0, 2**128), rates(), st.integers(0, 10_000_000), st.integers(0, 10_000_000))
@example(1, (200, 500), 3_599, 0)
@example(1, (200, 500), 3_600, 0)
@example(2**64 - 1, (7_999, 2_000), 3_599, 0)
@example(2**64 - 1, (7_999, 2_000), 1, 0)
def test_net_meets_the_minimum_for_every_time(minimum: int, at: tuple[int, int], seconds: int, unused: int) -> None:
    assert net_of(minimum, *at, seconds, seconds + unused) >= minimum * seconds // 3_600


def test_net_meets_the_minimum_for_each_second_of_an_hour() -> None:
    for minimum in (0, 1, 59, 3_599, 3_600, 3_601, 9_300_000_001):
        for seconds in range(3_601):
            assert net_of(minimum, 200, 500, seconds, 3_600) >= minimum * seconds // 3_600


@given(integers(1, 2**128), rates())
def test_one_unit_less_would_not_keep_the_minimum(minimum: int, at: tuple[int, int]) -> None:
    price = quote_price(minimum, *at)

    assert (price - 1) * (10_000 - sum(at)) < minimum * 10_000 <= price * (10_000 - sum(at))


def test_a_price_of_which_nothing_is_kept_is_refused() -> None:
    with pytest.raises(AssertionError):
        quote_price(1, 8_000, 2_000)
