"""R4: yearly rates are ratios of sums, compounded by the epochs' own lengths, and say what they were made of."""

from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.rewards import Rounding, allocate
from ledger.waterfall import share_fees
from ledger.yields import (
    APR,
    APY,
    YEAR_SECONDS,
    EpochYield,
    Measure,
    Window,
    Yield,
    measure_apr,
    measure_apy,
    show_rate,
    volume_multiple,
)
from tests.strategies import integers

GROSS, NET, LIFETIME = Measure.GROSS, Measure.NET, Window.LIFETIME
DAY = 86_400
MONTH = YEAR_SECONDS // 12
NEARLY = Decimal("1e-40")

epochs = st.builds(
    EpochYield,
    rewards=integers(0, 2**64),
    slashed=integers(0, 2**64),
    weight=integers(0, 2**64),
    seconds=st.just(DAY),
)
histories = st.lists(epochs, max_size=12)


def apr_of(*history: EpochYield, measure: Measure = GROSS) -> Fraction | None:
    return measure_apr(history, LIFETIME, measure).value


def apy_of(*history: EpochYield, measure: Measure = GROSS) -> Decimal:
    value = measure_apy(history, LIFETIME, measure).value
    assert value is not None
    return value


# --- APR ---


def test_a_ratio_of_sums_is_not_a_mean_of_ratios() -> None:
    thin, thick = EpochYield(10, 0, 100, YEAR_SECONDS), EpochYield(10, 0, 900, YEAR_SECONDS)

    assert apr_of(thin) == Fraction(1, 10)
    assert apr_of(thick) == Fraction(1, 90)
    assert apr_of(thin, thick) == Fraction(20, 1_000)


def test_weight_is_weighed_by_time() -> None:
    short, long = EpochYield(0, 0, 400, MONTH), EpochYield(30, 0, 100, 11 * MONTH)

    assert apr_of(short, long) == Fraction(30 * 12, 400 + 11 * 100)


def test_the_first_day_of_the_quarter_worked_through() -> None:
    day = EpochYield(68_411_382 + 31_574_727, 0, 63_333 * 10**9, DAY)

    apr = measure_apr([day], Window.DAY, GROSS)

    assert apr.value == Fraction(99_986_109 * YEAR_SECONDS, 63_333 * 10**9 * DAY)
    assert apr.value is not None
    assert show_rate(apr.value) == "0.000577"


@given(histories)
def test_apr_is_the_formula_of_the_rule(history: list[EpochYield]) -> None:
    counted = [epoch for epoch in history if epoch.weight]
    seconds = sum(epoch.seconds for epoch in counted)

    apr = measure_apr(history, LIFETIME, GROSS)

    if not counted:
        assert apr.value is None
    else:
        weight = Fraction(sum(epoch.weight * epoch.seconds for epoch in counted), seconds)
        assert apr.denominator == weight
        assert apr.value == sum(epoch.rewards for epoch in counted) / weight * YEAR_SECONDS / seconds


@given(histories.filter(bool), st.integers(1, 2**64))
def test_the_unit_of_money_is_nothing(history: list[EpochYield], scale: int) -> None:
    scaled = [EpochYield(e.rewards * scale, e.slashed * scale, e.weight * scale, e.seconds) for e in history]

    assert apr_of(*scaled, measure=NET) == apr_of(*history, measure=NET)


# --- APY ---


@given(integers(0, 2**64), integers(1, 2**64))
def test_a_month_twelve_times_compounded_is_the_exact_power(rewards: int, weight: int) -> None:
    exact = (1 + Fraction(rewards, weight)) ** 12 - 1

    apy = apy_of(EpochYield(rewards, 0, weight, MONTH))

    assert abs(Fraction(apy) - exact) <= (exact + 1) * Fraction(NEARLY)


def test_a_whole_year_is_the_product_of_its_epochs() -> None:
    assert apy_of(*[EpochYield(1, 0, 100, MONTH)] * 12) == Decimal("1.01") ** 12 - 1


def test_over_one_whole_year_apy_is_apr() -> None:
    year = EpochYield(184, 0, 1_000, YEAR_SECONDS)

    assert show_rate(apy_of(year)) == "0.184000"
    assert apr_of(year) == Fraction(184, 1_000)


@given(integers(0, 2**64), integers(1, 2**64), st.integers(1, 30))
def test_restaking_never_yields_less(rewards: int, weight: int, days: int) -> None:
    history = [EpochYield(rewards, 0, weight, DAY)] * days

    apr = apr_of(*history)

    assert apr is not None
    assert Fraction(apy_of(*history)) >= apr * (1 - Fraction(NEARLY)) - Fraction(NEARLY)


def test_the_famous_rate_is_not_the_same_as_apr_and_as_apy() -> None:
    daily = EpochYield(184 * 4, 0, 1_461_000, DAY)

    assert apr_of(daily) == Fraction(184, 1_000)
    assert show_rate(apy_of(daily)) == "0.201960"


def test_apy_does_not_depend_on_the_decimals_of_the_process() -> None:
    history = [EpochYield(7, 0, 1_000, DAY)] * 40

    with localcontext() as context:
        context.prec = 3
        coarse = apy_of(*history)

    assert coarse == apy_of(*history)
    assert len(coarse.as_tuple().digits) >= 49


# --- gross and net, windows, provenance ---


def test_net_of_slashing_can_be_a_loss() -> None:
    year = EpochYield(100, 150, 1_000, YEAR_SECONDS)

    assert apr_of(year, measure=GROSS) == Fraction(1, 10)
    assert apr_of(year, measure=NET) == Fraction(-5, 100)
    assert show_rate(apy_of(year, measure=NET)) == "-0.050000"


@pytest.mark.parametrize("slashed", [100, 101])
def test_who_lost_all_lost_all(slashed: int) -> None:
    assert apy_of(EpochYield(0, slashed, 100, DAY), EpochYield(9, 0, 1, DAY), measure=NET) == -1


@given(histories)
def test_net_is_never_above_gross(history: list[EpochYield]) -> None:
    gross, net = apr_of(*history), apr_of(*history, measure=NET)

    assert gross is None or (net is not None and net <= gross)


@given(histories)
def test_epochs_without_weight_change_no_rate_and_are_counted(history: list[EpochYield]) -> None:
    weighty = [epoch for epoch in history if epoch.weight]

    apr, apy = measure_apr(history, LIFETIME, GROSS), measure_apy(history, LIFETIME, GROSS)

    assert apr.value == apr_of(*weighty)
    assert apy.value == measure_apy(weighty, LIFETIME, GROSS).value
    assert (apr.epochs, apy.epochs) == (len(weighty),) * 2
    assert (apr.left_out, apy.left_out) == (len(history) - len(weighty),) * 2


@pytest.mark.parametrize(
    ("window", "rewarded"),
    [
        (Window.DAY, 1),
        (Window.WEEK, 7),
        (Window.MONTH, 30),
        (Window.QUARTER, 90),
        (Window.LIFETIME, 100),
    ],
)
def test_a_window_takes_the_latest_days(window: Window, rewarded: int) -> None:
    history = [EpochYield(100 - n, 0, 1, DAY) for n in range(100)]

    apr = measure_apr(history, window, GROSS)

    assert (apr.epochs, apr.left_out) == (rewarded, 0)
    assert apr.value == Fraction(sum(range(1, rewarded + 1)) * YEAR_SECONDS, rewarded * DAY)


def test_a_figure_says_what_it_was_made_of() -> None:
    history = [EpochYield(1, 0, 100, DAY), EpochYield(0, 0, 0, DAY), EpochYield(2, 3, 200, DAY)]

    apr, apy = measure_apr(history, Window.WEEK, NET), measure_apy(history[1:2], Window.MONTH, GROSS)

    assert apr == Yield(Fraction(0), APR, Window.WEEK, NET, epochs=2, left_out=1, denominator=Fraction(150))
    nothing: Yield[Decimal] = Yield(None, APY, Window.MONTH, GROSS, epochs=0, left_out=1, denominator=Fraction(0))
    assert apy == nothing


@pytest.mark.parametrize(
    ("rate", "shown"),
    [
        (Fraction(184, 1_000), "0.184000"),
        (Fraction(5, 10_000_000), "0.000000"),
        (Fraction(15, 10_000_000), "0.000002"),
        (Fraction(25, 10_000_000), "0.000002"),
        (Fraction(-4, 10_000_000), "0.000000"),
        (Fraction(-15, 10_000_000), "-0.000002"),
        (Fraction(2**64), "18446744073709551616.000000"),
        (Decimal("1.2345675"), "1.234568"),
        (Decimal("1e60"), "1" + "0" * 60 + ".000000"),
    ],
)
def test_rates_are_shown_half_even_to_six_places(rate: Fraction | Decimal, shown: str) -> None:
    assert show_rate(rate) == shown


# --- the projection ---


def test_the_published_projection_needs_jobs_of_36_8_times_all_stake() -> None:
    assert volume_multiple(Fraction(184, 1_000), fee_bps=500, validator_bps=1_000) == Fraction(368, 10)


@pytest.mark.parametrize(("fee_bps", "validator_bps"), [(0, 1_000), (500, 0)])
def test_without_fees_or_a_share_no_volume_yields_anything(fee_bps: int, validator_bps: int) -> None:
    assert volume_multiple(Fraction(1, 100), fee_bps, validator_bps) is None


def test_a_year_of_that_volume_yields_that_rate() -> None:
    stake, fee_bps, validator_bps = 63_333 * 10**9, 500, 1_000
    volume = stake * 368 // 10

    pool = share_fees(volume * fee_bps // 10_000, validator_bps).pool
    shared = pool - allocate(pool, {"V1": stake}, Rounding.FLOOR).carry

    assert apr_of(EpochYield(shared, 0, stake, YEAR_SECONDS)) == Fraction(184, 1_000)
