"""What staking yielded, as a yearly rate (R4): a figure of the past, never a promise.

    APR   = [Σ R_e] ÷ [Σ W_e·s_e ÷ Σ s_e] × 31,557,600 ÷ Σ s_e            an exact fraction: a ratio of sums
    r_e   = R_e ÷ W_e
    APY   = Π (1 + r_e) ^ (31,557,600 ÷ Σ s_e) − 1                       restaked every epoch; 50 digits
    multiple = APR × 10,000² ÷ (fee_bps × validator_bps)                 yearly job volume for each unit of stake

R_e is Σ shares of epoch e's pool (with what was carried into it) that are paid, W_e Σ weights of the same validators,
s_e its seconds. A share that waits for a case is in neither sum; once released it is in the one and its weight in the
other. One that was forfeited goes back to the pool, and counts where it is shared again. For one validator R_e is its
own, W_e its own weight in each epoch in which it was bonded, paid or not. Net of slashing, R_e is less the slashes
upheld in that epoch. An epoch without weight has no rate: it leaves every sum, and is counted. The year is 365.25 days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from enum import StrEnum
from fractions import Fraction
from typing import Generic, NamedTuple, TypeVar

from ledger.bps import BPS

__all__ = [
    "APR",
    "APY",
    "YEAR_SECONDS",
    "EpochYield",
    "Measure",
    "Window",
    "Yield",
    "measure_apr",
    "measure_apy",
    "show_rate",
    "volume_multiple",
]

APR = "apr-1"
APY = "apy-1"
YEAR_SECONDS = 31_557_600
DAY_SECONDS = 86_400
APY_DIGITS = 50
SHOWN_DIGITS = 6

Rate = TypeVar("Rate", Fraction, Decimal)


class Window(StrEnum):
    """Over how much of the past a figure is taken."""

    DAY = "1d"
    WEEK = "7d"
    MONTH = "30d"
    QUARTER = "90d"
    LIFETIME = "lifetime"


WINDOW_DAYS = {Window.DAY: 1, Window.WEEK: 7, Window.MONTH: 30, Window.QUARTER: 90}


class Measure(StrEnum):
    """Whether slashes are taken off."""

    GROSS = "gross"
    NET = "net"


class EpochYield(NamedTuple):
    """What an epoch gave and took, base units: of the network, or of one validator over its own weight."""

    rewards: int
    slashed: int
    weight: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Yield(Generic[Rate]):
    """A rate with all that it needs to be checked; `value` is None where no epoch had weight.

    `denominator` is the mean weight over the epochs that count, by time, base units.
    """

    value: Rate | None
    formula: str
    window: Window
    measure: Measure
    epochs: int
    left_out: int
    denominator: Fraction


def measure_apr(history: Sequence[EpochYield], window: Window, measure: Measure) -> Yield[Fraction]:
    """Return the yearly rate without compounding, over the latest epochs that fit the window."""
    counted, left_out = _select(history, window)
    gained = sum(_gain(epoch, measure) for epoch in counted)
    value = Fraction(gained * YEAR_SECONDS, _weight_seconds(counted)) if counted else None
    return Yield(value, APR, window, measure, len(counted), left_out, _mean_weight(counted))


def measure_apy(history: Sequence[EpochYield], window: Window, measure: Measure) -> Yield[Decimal]:
    """Return the yearly rate with every epoch's reward restaked; an epoch that lost all or more makes it −1."""
    counted, left_out = _select(history, window)
    value = _compound(counted, measure) if counted else None
    return Yield(value, APY, window, measure, len(counted), left_out, _mean_weight(counted))


def show_rate(rate: Fraction | Decimal) -> str:
    """Write a rate to 6 places, half-even: 0.184000 is 18.4 %."""
    scaled = round(Fraction(rate) * 10**SHOWN_DIGITS)
    whole, places = divmod(abs(scaled), 10**SHOWN_DIGITS)
    return f"{'-' if scaled < 0 else ''}{whole}.{places:0{SHOWN_DIGITS}}"


def volume_multiple(apr: Fraction, fee_bps: int, validator_bps: int) -> Fraction | None:
    """Return the yearly job volume, in units of all validator stake, at which an APR holds; None: at no volume."""
    pooled = fee_bps * validator_bps
    return apr * Fraction(BPS * BPS, pooled) if pooled else None


def _select(history: Sequence[EpochYield], window: Window) -> tuple[list[EpochYield], int]:
    """Take the latest epochs that fit the window; return those with weight, and the number of the others."""
    seconds_left = WINDOW_DAYS[window] * DAY_SECONDS if window in WINDOW_DAYS else None
    counted, left_out = [], 0
    for epoch in reversed(history):
        assert epoch.seconds > 0
        if seconds_left is not None:
            seconds_left -= epoch.seconds
            if seconds_left < 0:
                break
        if epoch.weight:
            counted.append(epoch)
        else:
            left_out += 1
    return counted[::-1], left_out


def _gain(epoch: EpochYield, measure: Measure) -> int:
    return epoch.rewards - (epoch.slashed if measure is Measure.NET else 0)


def _weight_seconds(counted: Sequence[EpochYield]) -> int:
    return sum(epoch.weight * epoch.seconds for epoch in counted)


def _mean_weight(counted: Sequence[EpochYield]) -> Fraction:
    return Fraction(_weight_seconds(counted), sum(epoch.seconds for epoch in counted) or 1)


def _compound(counted: Sequence[EpochYield], measure: Measure) -> Decimal:
    # A context of its own: what the process has set for decimals must not change a published figure.
    traps = [DivisionByZero, InvalidOperation, Overflow]
    context = Context(prec=APY_DIGITS, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999, traps=traps)
    growth = Decimal(1)
    for epoch in counted:
        stake_after = max(epoch.weight + _gain(epoch, measure), 0)
        growth = context.multiply(growth, _decimal(Fraction(stake_after, epoch.weight)))
    repeats = _decimal(Fraction(YEAR_SECONDS, sum(epoch.seconds for epoch in counted)))
    return context.subtract(context.power(growth, repeats), Decimal(1))


def _decimal(ratio: Fraction) -> Decimal:
    # No ratio above 0 is below 1 ÷ its denominator, so at least 50 digits are significant.
    places = APY_DIGITS + len(str(ratio.denominator))
    return Decimal(f"{round(ratio * 10**places)}e-{places}")
