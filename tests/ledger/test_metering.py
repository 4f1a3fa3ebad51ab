"""D20: the hold rounds up and the gross down, so that an escrow always covers what it pays for."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.metering import MEDIAN_MULTIPLE, bound_seconds, hold_for, price_usage
from tests.strategies import integers

times = st.sampled_from([0, 1, 3_599, 3_600, 3_601]) | integers(0, 2**53 - 1)
prices = integers(0, 10**39 - 1)


@pytest.mark.parametrize(
    ("price", "seconds", "hold", "gross"),
    [
        (10_000_000_000, 3_600, 10_000_000_000, 10_000_000_000),
        (10_000_000_000, 3_599, 9_997_222_223, 9_997_222_222),
        (1, 1, 1, 0),
        (1, 3_599, 1, 0),
        (3_600, 1, 1, 1),
        (3_601, 1, 2, 1),
        (0, 3_600, 0, 0),
        (7, 0, 0, 0),
    ],
)
def test_worked_examples(price: int, seconds: int, hold: int, gross: int) -> None:
    assert hold_for(price, seconds) == hold
    assert price_usage(price, seconds, hold) == gross


@given(prices, times)
def test_a_hold_is_the_price_rounded_up(price: int, seconds: int) -> None:
    assert 0 <= hold_for(price, seconds) * 3_600 - price * seconds < 3_600


@given(prices, times, times)
def test_gross_never_passes_the_hold(price: int, held: int, used: int) -> None:
    hold = hold_for(price, held)

    assert 0 <= price_usage(price, used, hold) <= hold


@given(prices, times, times)
def test_the_hold_binds_only_beyond_the_time_held_for(price: int, first: int, second: int) -> None:
    used, held = sorted((first, second))

    assert price_usage(price, used, hold_for(price, held)) == price * used // 3_600


@given(st.lists(st.tuples(prices, times, times), min_size=1, max_size=64))
def test_an_escrow_is_what_is_paid_and_a_refund(lines: list[tuple[int, int, int]]) -> None:
    holds = [hold_for(price, held) for price, held, _ in lines]

    gross = [price_usage(price, used, hold) for (price, _, used), hold in zip(lines, holds, strict=True)]

    refund = sum(holds) - sum(gross)
    assert refund >= 0
    assert refund == sum(hold - paid for hold, paid in zip(holds, gross, strict=True))


@pytest.mark.parametrize(
    ("metered", "bounded"),
    [
        ((3_600,), (3_600,)),
        ((3_600, 3_599), (3_600, 3_599)),
        ((1, 100), (1, 2)),
        ((10, 20, 100), (10, 20, 40)),
        ((10, 20, 100, 1_000), (10, 20, 40, 40)),
        ((1_000, 10, 100, 20), (40, 10, 40, 20)),
        ((0, 0, 5), (0, 0, 0)),
        ((0, 5), (0, 0)),
        ((0, 5, 11), (0, 5, 10)),
        ((2**53 - 1, 2**53 - 1), (2**53 - 1, 2**53 - 1)),
    ],
)
def test_time_is_bound_by_twice_the_lower_median(metered: tuple[int, ...], bounded: tuple[int, ...]) -> None:
    assert bound_seconds(metered) == bounded


@given(st.lists(times, min_size=1, max_size=64))
def test_bounding_lowers_some_and_raises_none(metered: list[int]) -> None:
    lower_median = next(t for t in sorted(metered) if 2 * sum(u <= t for u in metered) >= len(metered))

    bounded = bound_seconds(metered)

    assert bounded == tuple(min(seconds, MEDIAN_MULTIPLE * lower_median) for seconds in metered)
    assert bound_seconds(bounded) == bounded


@given(st.lists(times, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_the_nodes_does_not_matter(metered: list[int], chance: Random) -> None:
    order = list(range(len(metered)))
    chance.shuffle(order)

    shuffled = bound_seconds([metered[place] for place in order])

    assert shuffled == tuple(bound_seconds(metered)[place] for place in order)


def test_the_time_of_nobody_has_no_bound() -> None:
    with pytest.raises(IndexError):
        bound_seconds([])


@given(st.lists(st.tuples(prices, times, times, st.booleans()), min_size=1, max_size=64))
def test_an_escrow_is_what_is_paid_what_waits_and_a_refund(lines: list[tuple[int, int, int, bool]]) -> None:
    holds = [hold_for(price, held) for price, held, _, _ in lines]
    gross = [price_usage(price, used, hold) for (price, _, used, _), hold in zip(lines, holds, strict=True)]
    waits = [wait for _, _, _, wait in lines]

    now = sum(paid for paid, wait in zip(gross, waits, strict=True) if not wait)
    kept = sum(hold for hold, wait in zip(holds, waits, strict=True) if wait)
    later = sum(hold - paid for hold, paid, wait in zip(holds, gross, waits, strict=True) if wait)

    assert sum(holds) - now - kept >= 0
    assert sum(holds) - sum(gross) == (sum(holds) - now - kept) + later
