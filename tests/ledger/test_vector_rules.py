"""The rules for many rows at once say what they say for one, wherever they take a row at all."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ledger.bps import cut, cut_many
from ledger.metering import bound_many, bound_seconds, fits_many, hold_for, hold_many, price_many, price_usage
from ledger.price import keeps_many, quote_price
from ledger.quorum import paid_many, paid_nodes
from ledger.split import split_gross, split_many

INT64_MAX = 2**63 - 1
amounts = st.integers(0, INT64_MAX) | st.integers(0, 100_000) | st.integers(INT64_MAX - 20_000, INT64_MAX)
rows = st.lists(amounts, min_size=1, max_size=20)
rates = st.integers(0, 9_999).flatmap(lambda fee: st.tuples(st.integers(0, 9_999 - fee), st.just(fee)))
seconds = st.integers(0, 2**53 - 1) | st.integers(0, 100_000)


def column(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@given(rows, st.integers(0, 10_000))
def test_basis_points(values: list[int], bps: int) -> None:
    assert cut_many(column(values), bps).tolist() == [cut(value, bps).part for value in values]


@given(rows, rates)
def test_split(values: list[int], at: tuple[int, int]) -> None:
    burn, fee, net = split_many(column(values), *at)

    assert list(zip(burn.tolist(), fee.tolist(), net.tolist(), strict=True)) == [
        split_gross(value, *at) for value in values
    ]


@given(st.lists(st.tuples(amounts, amounts), min_size=1, max_size=20), rates, st.integers(-1, 1))
def test_prices_above_the_minimum(pairs: list[tuple[int, int]], at: tuple[int, int], off: int) -> None:
    # Beside any price, the lowest that is quoted and its neighbours.
    near = [(price, minimum) for _, minimum in pairs if 0 <= (price := quote_price(minimum, *at) + off) <= INT64_MAX]
    pairs = pairs + near

    keeps = keeps_many(column([price for price, _ in pairs]), column([minimum for _, minimum in pairs]), *at)

    assert keeps.tolist() == [price >= quote_price(minimum, *at) for price, minimum in pairs]


@given(st.lists(st.tuples(amounts, seconds, seconds), min_size=1, max_size=20))
def test_holds_and_grosses_of_what_fits(jobs: list[tuple[int, int, int]]) -> None:
    prices, most, metered = (column([job[i] for job in jobs]) for i in range(3))
    fits = fits_many(prices, most) & fits_many(prices, metered)

    holds = hold_many(prices[fits], most[fits])
    gross = price_many(prices[fits], metered[fits], holds)

    taken = [job for job, one in zip(jobs, fits.tolist(), strict=True) if one]
    expected = [hold_for(price, most) for price, most, _ in taken]
    assert holds.tolist() == expected
    assert gross.tolist() == [price_usage(job[0], job[2], hold) for job, hold in zip(taken, expected, strict=True)]


@given(st.integers(0, 10**15), st.integers(0, 10**5))
def test_what_is_usual_fits(price: int, used: int) -> None:
    assert fits_many(column([price]), column([used])).all()


def test_an_amount_that_is_not_known_does_not_fit() -> None:
    assert not fits_many(column([-1]), column([1])).any()


@given(st.lists(st.lists(seconds, min_size=1, max_size=7), min_size=1, max_size=8))
def test_seconds_are_bound_by_the_median_of_their_attempt(attempts: list[list[int]]) -> None:
    starts = np.cumsum([0, *map(len, attempts)])[:-1]

    bound = bound_many(column([one for metered in attempts for one in metered]), starts)

    assert bound.tolist() == [one for metered in attempts for one in bound_seconds(metered)]


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=7), min_size=1, max_size=8))
def test_one_node_of_each_operator_is_paid_where_enough_agree(attempts: list[list[int]]) -> None:
    numbers = np.repeat(np.arange(len(attempts)), [len(operators) for operators in attempts])

    paid = paid_many(numbers, column([one for operators in attempts for one in operators]))

    expected = []
    for operators in attempts:
        names = {f"n{place}": f"o{operator}" for place, operator in enumerate(operators)}
        taken = paid_nodes(names, names)
        expected += [name in taken for name in names]
    assert paid.tolist() == expected
