"""What staking yielded (R4), from the rewards and slashes in the books; the formulas are `ledger.yields`.

    network       R_e = Σ shares paid or released     slashed = validators' cases upheld in e      W_e = Σ their weights
    validator     R_e = its share, paid or released   slashed = its cases upheld in e              W_e = its weight
    volume        what the jobs' gross was, as a yearly multiple of the mean stake

A share that waits for its case counts, with its weight, once it is released. A forfeited one goes back to the pool and
counts where it is shared again, so nothing counts twice. What a slash takes of nodes is not of this stake.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from sqlalchemy import Connection

from ledger.yields import EpochYield, Measure, Window, Yield, measure_apr, measure_apy
from projections.rewards import read_epochs, read_rewards
from projections.stakes import Case, read_cases

__all__ = ["RateLine", "read_rates"]


@dataclass(frozen=True, slots=True)
class RateLine:
    """The rates of one window, gross or net of slashes; `volume` is the network's, per year and unit of stake."""

    apr: Yield[Fraction]
    apy: Yield[Decimal]
    volume: Fraction | None


def read_rates(
    connection: Connection, position: dict[str, int], asset: str, validator: str | None = None
) -> list[RateLine]:
    """Measure each window, gross and net; of the network or of one validator, over the epochs closed at a position."""
    epochs = {line.epoch: line for line in read_epochs(connection, position, asset)}
    of = None if validator is None else [validator]
    rewards = read_rewards(connection, position, asset, of)
    slashed = _slashed(read_cases(connection, position), validator)
    gained = dict.fromkeys(epochs, 0)
    # A validator has a line, and its weight counts, for each epoch since it registered.
    weights = dict.fromkeys(epochs if validator is None else (line.epoch for line in rewards), 0)
    for line in rewards:
        gained[line.epoch] += line.gained
        if validator is not None or line.is_gained:
            weights[line.epoch] += line.weight
    history = [
        EpochYield(gained[number], slashed.get(number, 0), weight, epochs[number].seconds)
        for number, weight in sorted(weights.items())
    ]
    # Measured as rewards are: Σ gross ÷ mean stake, as a yearly rate.
    volumes = [EpochYield(line.gross, 0, line.weight, line.seconds) for line in epochs.values()]
    return [
        RateLine(
            measure_apr(history, window, measure),
            measure_apy(history, window, measure),
            measure_apr(volumes, window, Measure.GROSS).value if validator is None else None,
        )
        for window in Window
        for measure in Measure
    ]


def _slashed(cases: Sequence[Case], validator: str | None) -> dict[int, int]:
    """Return what was taken from validators for good, by the epoch of the verdict."""
    sums: dict[int, int] = {}
    for case in cases:
        if case.role == "validator" and case.is_upheld and validator in {None, case.accused}:
            sums[case.decided_epoch] = sums.get(case.decided_epoch, 0) + case.amount
    return sums
