"""R1, R2, D1 to D3: burn and fee are floored from the gross, and the supplier has the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.split import split_gross
from tests.strategies import integers


@st.composite
def rates(draw: st.DrawFn) -> tuple[int, int]:
    """Draw burn and fee, together below the whole."""
    fee = draw(st.sampled_from([0, 1, 500, 2_000]) | st.integers(0, 2_000))
    most = 9_999 - fee
    return draw(st.sampled_from([0, 1, 200, most]) | st.integers(0, most)), fee


@pytest.mark.parametrize(
    ("gross", "burn", "fee", "net"),
    [
        (100, 2, 5, 93),
        (0, 0, 0, 0),
        (1, 0, 0, 1),
        (19, 0, 0, 19),
        (20, 0, 1, 19),
        (49, 0, 2, 47),
        (50, 1, 2, 47),
        (10_000_000_000, 200_000_000, 500_000_000, 9_300_000_000),
        (9_997_222_222, 199_944_444, 499_861_111, 9_297_416_667),
    ],
)
def test_worked_examples_at_200_and_500_bps(gross: int, burn: int, fee: int, net: int) -> None:
    assert split_gross(gross, 200, 500) == (burn, fee, net)


@given(integers(0, 2**128), rates())
def test_the_parts_are_the_gross_and_none_is_negative(gross: int, at: tuple[int, int]) -> None:
    burn, fee, net = split_gross(gross, *at)

    assert burn + fee + net == gross
    assert min(burn, fee, net) >= 0


@given(integers(0, 2**128), rates())
def test_both_remainders_are_the_suppliers(gross: int, at: tuple[int, int]) -> None:
    kept_bps = 10_000 - sum(at)

    net = split_gross(gross, *at).net

    assert 0 <= net * 10_000 - gross * kept_bps < 2 * 10_000


@given(integers(1, 2**128), rates())
def test_a_supplier_is_paid_for_any_gross(gross: int, at: tuple[int, int]) -> None:
    assert split_gross(gross, *at).net > 0


@pytest.mark.parametrize(("burn_bps", "fee_bps"), [(10_000, 0), (8_000, 2_000), (-1, 0), (0, -1)])
def test_rates_that_leave_the_supplier_nothing_are_refused(burn_bps: int, fee_bps: int) -> None:
    with pytest.raises(AssertionError):
        split_gross(100, burn_bps, fee_bps)
