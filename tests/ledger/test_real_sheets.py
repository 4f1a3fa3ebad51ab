"""Others' published sheets, recomputed from their own inputs: which rounding they used, and how many rows it explains.

The sheets lie beside this checkout and are not part of it. Their JSON is read as decimals, never as floats.
"""

import csv
import gzip
import json
from collections import Counter
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ledger.bps import cut
from ledger.rewards import Rounding, allocate, divide, share_pool
from ledger.yields import YEAR_SECONDS, EpochYield, Measure, Window, measure_apr, measure_apy, show_rate

DATA = Path(__file__).parents[3] / "shared" / "data"
BONDS, SNAPSHOT, FEES = "reward_marinade_bonds_601", "reward_validators_snapshot", "reward_doublezero_fees"
LAMPORTS = 10**9


def sheet(folder: str, name: str) -> Path:
    """Return the path of a sheet, or skip."""
    path = DATA / folder / name
    if not path.exists():
        pytest.skip(f"the sheet is not beside this checkout (shared/data/{folder}/{name})")
    return path


@cache
def read_json(path: Path) -> Any:
    """Read gzipped JSON, its fractions as they are written."""
    return json.loads(gzip.decompress(path.read_bytes()), parse_float=Decimal)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a gzipped CSV."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


# --- Marinade: compensation for low credits, epoch 601 ---


def settlements() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_json(sheet(BONDS, "601_settlements.even.json.gz"))["settlements"]
    return found


def rates_of(settlement: dict[str, Any]) -> tuple[Fraction, Fraction]:
    """Return the expected and the actual reward per lamport of stake."""
    event = settlement["reason"]["ProtectedEvent"]["LowCredits"]
    return Fraction(event["expected_epr"]), Fraction(event["actual_epr"])


def claims_at(settlement: dict[str, Any], rate: Fraction, rounding: Rounding) -> list[int]:
    """Compute every claim of a settlement at a rate per lamport of stake."""
    stakes = [claim["active_stake"] for claim in settlement["claims"]]
    return [divide(stake * rate.numerator, rate.denominator, rounding) for stake in stakes]


def matches(settlement: dict[str, Any], amounts: list[int]) -> int:
    claims = settlement["claims"]
    return sum(claim["claim_amount"] == amount for claim, amount in zip(claims, amounts, strict=True))


def test_marinade_headers_are_the_sums_of_their_claims() -> None:
    assert [settlement["claims_count"] for settlement in settlements()] == [415, 629, 3_435, 1_346, 983]

    for settlement in settlements():
        claims = settlement["claims"]
        assert len(claims) == settlement["claims_count"]
        assert sum(claim["claim_amount"] for claim in claims) == settlement["claims_amount"]
        assert all(sum(claim["stake_accounts"].values()) == claim["active_stake"] for claim in claims)


@pytest.mark.parametrize("rounding", [Rounding.HALF_UP, Rounding.HALF_EVEN])
def test_marinade_all_6808_claims_are_stake_times_a_loss_of_at_most_a_fifth_rounded_to_nearest(
    rounding: Rounding,
) -> None:
    # No claim is a tie, so the sheet does not tell which of the two roundings was meant. The fifth is read off it.
    matched = 0
    for settlement in settlements():
        expected, actual = rates_of(settlement)
        rate = min(expected - actual, expected * Fraction(2_000, 10_000))
        matched += matches(settlement, claims_at(settlement, rate, rounding))

    assert matched == 6_808


def test_marinade_without_the_fifth_four_settlements_match_whole_and_the_fifth_one_not_at_all() -> None:
    matched = []
    for settlement in settlements():
        expected, actual = rates_of(settlement)
        matched.append(matches(settlement, claims_at(settlement, expected - actual, Rounding.HALF_UP)))

    assert matched == [415, 629, 3_435, 0, 983]


def test_marinade_floored_as_we_do_3301_claims_are_the_same_and_the_others_a_lamport_less() -> None:
    less: Counter[int] = Counter()
    for settlement in settlements():
        expected, actual = rates_of(settlement)
        ours = claims_at(settlement, min(expected - actual, expected * Fraction(1, 5)), Rounding.FLOOR)
        less.update(claim["claim_amount"] - own for claim, own in zip(settlement["claims"], ours, strict=True))

    assert less == {0: 3_301, 1: 3_507}


def test_marinade_headers_split_again_by_stake_are_6707_of_the_claims_and_miss_the_headers_on_both_sides() -> None:
    # A header is the sum of claims that were each rounded: to split it again is another rule. Rounded to nearest, three
    # settlements would pay out more than the header, two less; floored, never more.
    same, beyond = 0, []
    for settlement in settlements():
        header = settlement["claims_amount"]
        stakes = {f"{n:04}": claim["active_stake"] for n, claim in enumerate(settlement["claims"])}
        rounded = allocate(header, stakes, Rounding.HALF_UP)
        same += matches(settlement, [amount for _, amount in rounded.shares])
        beyond.append(rounded.overdrawn - rounded.carry)

        floored = allocate(header, stakes, Rounding.FLOOR)
        assert sum(amount for _, amount in floored.shares) + floored.carry == header
        assert 0 <= floored.carry < len(stakes)

    assert same == 6_707
    assert beyond == [2, 20, -83, 65, -40]


# --- Solana: the validators' pool of epoch 650 ---


def snapshot() -> dict[str, Any]:
    found: dict[str, Any] = read_json(sheet(SNAPSHOT, "650_validators.json.gz"))
    return found


def test_solana_pool_is_a_binary_product_and_its_exact_floor_is_a_lamport_less() -> None:
    # Exactly, the product ends in ….9934: floored it is one lamport less, rounded to nearest it is the sheet's. The
    # sheet's own way is three 53-bit factors, cut to a whole number; each order of multiplying gives the same.
    published = snapshot()
    factors = published["capitalization"], published["validator_rate"], published["epoch_duration_in_years"]
    exact = Fraction(factors[0]) * Fraction(factors[1]) * Fraction(factors[2])

    capitalization, rate, years = map(float, factors)

    assert published["validator_rewards"] == 163_056_097_565_475
    assert exact // 1 == 163_056_097_565_474
    assert divide(exact.numerator, exact.denominator, Rounding.HALF_UP) == 163_056_097_565_475
    assert int(rate * capitalization * years) == int(capitalization * years * rate) == 163_056_097_565_475


def test_solana_pool_split_by_stake_is_whole_and_each_share_within_a_lamport_of_its_due() -> None:
    # No sheet gives what each of the 6,279 was paid (that rests on credits and commission): the split is our own.
    published = snapshot()
    pool = published["validator_rewards"]
    stakes = {meta["vote_account"]: meta["stake"] for meta in published["validator_metas"]}

    shares, withheld, carry = share_pool(pool, stakes, {})

    assert (len(stakes), sum(map(bool, stakes.values()))) == (6_279, 1_584)
    assert sum(stakes.values()) == 379_907_716_727_527_964
    assert sum(share.amount for share in shares) + carry == pool
    assert (withheld, carry) == ((), 804)
    assert all(0 <= pool * stakes[id] - amount * sum(stakes.values()) < sum(stakes.values()) for id, amount in shares)


def test_solana_pool_rounded_to_nearest_leaves_a_lamport() -> None:
    published = snapshot()
    stakes = {meta["vote_account"]: meta["stake"] for meta in published["validator_metas"]}

    allocation = allocate(published["validator_rewards"], stakes, Rounding.HALF_UP)

    assert (allocation.carry, allocation.overdrawn) == (1, 0)


def test_solana_apr_over_stake_is_the_published_rate_over_capitalisation_but_for_the_year() -> None:
    # An epoch is 432,000 slots of 0.4 s. The sheet's year has 31,556,925.9936 s, ours 31,557,600.
    published = snapshot()
    stake = sum(meta["stake"] for meta in published["validator_metas"])
    epoch = EpochYield(published["validator_rewards"], 0, stake, 172_800)

    apr = measure_apr([epoch], Window.LIFETIME, Measure.GROSS).value
    apy = measure_apy([epoch], Window.LIFETIME, Measure.GROSS).value

    assert apr is not None
    assert apy is not None
    theirs = Fraction(published["validator_rate"]) * published["capitalization"] / stake
    assert abs(apr * Fraction("31556925.9936") / YEAR_SECONDS - theirs) < Fraction(1, 10**14)
    assert (show_rate(theirs), show_rate(apr), show_rate(apy)) == ("0.078381", "0.078383", "0.081518")


# --- DoubleZero: a fee of 5 % of block rewards ---


def lamports(sol: str) -> Fraction:
    return Fraction(Decimal(sol)) * LAMPORTS


def printed(sol: Fraction) -> Decimal:
    """Write as the sheet does: 15 significant digits, half-even."""
    context = Context(prec=15, rounding=ROUND_HALF_EVEN)
    return context.divide(Decimal(sol.numerator), Decimal(sol.denominator))


def test_doublezero_842_fee_is_an_unrounded_twentieth_on_981_of_986_rows() -> None:
    # The sheet keeps fractions of a lamport and 15 digits. In five rows the last digits are noise of a binary sum,
    # at most 1/100,000 lamport; one of them is thereby a lamport less when floored.
    rows = read_rows(sheet(FEES, "earnings_epoch842.csv.gz"))
    bases = [round(lamports(row["block_rewards"])) for row in rows]
    fees = [lamports(row["dz_fee"]) for row in rows]
    dues = [Fraction(base, 20) for base in bases]

    pairs = list(zip(dues, fees, strict=True))
    assert len(rows) == 986
    assert all(
        abs(lamports(row["block_rewards"]) - base) <= Fraction(1, 1_000) for row, base in zip(rows, bases, strict=True)
    )
    assert sum(due == fee for due, fee in pairs) == 981
    assert sum(printed(due / LAMPORTS) == Decimal(row["dz_fee"]) for due, row in zip(dues, rows, strict=True)) == 981
    assert all(abs(due - fee) <= Fraction(1, 100_000) for due, fee in pairs)


def test_doublezero_842_floored_as_we_do_985_rows_are_the_sheets_whole_lamports() -> None:
    rows = read_rows(sheet(FEES, "earnings_epoch842.csv.gz"))
    bases = [round(lamports(row["block_rewards"])) for row in rows]
    ours = [cut(base, 500).part for base in bases]
    theirs = [lamports(row["dz_fee"]) for row in rows]

    assert sum(own == fee // 1 for own, fee in zip(ours, theirs, strict=True)) == 985
    assert (sum(bases), sum(ours), cut(sum(bases), 500).part) == (10_067_148_218_875, 503_357_410_499, 503_357_410_943)


def test_doublezero_mean_over_29_epochs_leaves_out_the_epochs_without_rewards() -> None:
    # 830 to 858: the mean is over the epochs in which a validator has a figure. To the whole lamport all rows match;
    # to the sheet's 15 digits, 1,098 means and 1,088 fees.
    rows = read_rows(sheet(FEES, "block_rewards_data.csv.gz"))
    same: Counter[str] = Counter()
    for row in rows:
        figures = [round(lamports(row[str(epoch)])) for epoch in range(830, 859) if row[str(epoch)] != "NA"]
        mean = Fraction(sum(figures), len(figures))
        same["mean, whole"] += mean // 1 == lamports(row["average_rewards"]) // 1
        same["fee, whole"] += mean / 20 // 1 == lamports(row["dz_fee"]) // 1
        same["mean, printed"] += printed(mean / LAMPORTS) == Decimal(row["average_rewards"])
        same["fee, printed"] += printed(mean / 20 / LAMPORTS) == Decimal(row["dz_fee"])

    assert len(rows) == 1_119
    assert same == {"mean, whole": 1_119, "fee, whole": 1_119, "mean, printed": 1_098, "fee, printed": 1_088}


def charged(epoch: int) -> dict[str, int]:
    rows = read_rows(sheet(FEES, f"fees_{epoch}.csv.gz"))
    fees = {row["pubkey"]: int(row["dz_fee_lamports"]) for row in rows}
    assert len(fees) == len(rows), "a validator is charged once"
    return fees


def test_doublezero_40_charged_epochs_are_whole_lamports_and_split_back_from_their_totals() -> None:
    # Each file gives a fee in whole lamports and not what it is 5 % of (the last base known is epoch 858's), so how
    # it was rounded cannot be told. What can be: 16,136 rows and their total, and that a total split by its own parts
    # returns each of them, without dust, under every rounding.
    epochs = [charged(epoch) for epoch in range(859, 938, 2)]

    assert (len(epochs), sum(map(len, epochs))) == (40, 16_136)
    assert sum(sum(fees.values()) for fees in epochs) == 7_923_152_451_659
    for fees in epochs:
        for rounding in Rounding:
            shares, carry, overdrawn = allocate(sum(fees.values()), fees, rounding)
            assert dict(shares) == fees
            assert (carry, overdrawn) == (0, 0)


def test_doublezero_each_charged_fee_is_the_floored_part_of_exactly_twenty_bases() -> None:
    for fee in {fee for epoch in range(859, 938, 2) for fee in charged(epoch).values()}:
        assert cut(20 * fee, 500).part == cut(20 * fee + 19, 500).part == fee
        assert cut(20 * fee + 20, 500).part == fee + 1
