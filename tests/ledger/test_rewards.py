"""R3, D15 to D17: the pool is shared by weight among the honest, and open cases keep their share waiting."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.rewards import (
    Backing,
    Conduct,
    Drawn,
    Ineligible,
    Leg,
    Rounding,
    Share,
    Withheld,
    allocate,
    divide,
    draw,
    share_pool,
    weigh,
    why_not,
)
from tests.strategies import integers

ids = st.text("abcV129", min_size=1, max_size=4)
weights_by_id = st.dictionaries(ids, integers(0, 2**128), max_size=12)
pools = integers(0, 2**128)
OMNI = 10**9


# --- weight ---


@pytest.mark.parametrize(
    ("levels", "weight"),
    [
        ([(10_000, 0)], 10_000),
        ([(20_000, 0), (18_000, 2_000)], 20_000),
        ([(18_000, 2_000), (18_000, 0)], 18_000),
        ([(33_333, 0), (20_000, 0), (33_333, 0)], 20_000),
        ([(0, 0), (10_000, 0)], 0),
        ([(10_000, 0), (25_000, 0)], 10_000),
    ],
    ids=["held", "case opened", "case upheld", "unstaked and rebonded", "joined", "topped up"],
)
def test_weight_is_the_least_that_stood_behind_the_validator_all_epoch(
    levels: list[tuple[int, int]], weight: int
) -> None:
    assert weigh([Backing(*level) for level in levels]) == weight


@given(st.lists(st.builds(Backing, integers(0, 2**64), integers(0, 2**64)), min_size=1, max_size=9))
def test_no_later_level_raises_a_weight(levels: list[Backing]) -> None:
    assert all(weigh(levels) <= weigh(levels[:n]) for n in range(1, len(levels)))


def test_a_weight_without_the_level_that_the_epoch_began_with_is_refused() -> None:
    with pytest.raises(AssertionError):
        weigh([])


# --- honest ---


def test_without_weight_there_is_nothing_to_share_by_and_every_other_reason_comes_first() -> None:
    assert why_not(Conduct(True, 0, 0, 0), 0, 9_000) is Ineligible.NO_WEIGHT
    assert why_not(Conduct(True, 0, 0, 1), 0, 9_000) is Ineligible.CASE_UPHELD
    assert list(Ineligible)[-1] is Ineligible.NO_WEIGHT


@pytest.mark.parametrize(
    ("conduct", "reason"),
    [
        (Conduct(True, 0, 0, 0), None),
        (Conduct(True, 10_000, 9_000, 0), None),
        (Conduct(True, 10_000, 8_999, 0), Ineligible.DUTIES_UNANSWERED),
        (Conduct(True, 1, 0, 0), Ineligible.DUTIES_UNANSWERED),
        (Conduct(True, 1, 1, 1), Ineligible.CASE_UPHELD),
        (Conduct(True, 1, 0, 1), Ineligible.DUTIES_UNANSWERED),
        (Conduct(False, 1, 0, 1), Ineligible.NOT_ACTIVE_ALL_EPOCH),
        (Conduct(False, 0, 0, 0), Ineligible.NOT_ACTIVE_ALL_EPOCH),
    ],
)
def test_why_not_is_the_first_reason_of_the_rule(conduct: Conduct, reason: Ineligible | None) -> None:
    assert why_not(conduct, weight=1, duty_bps=9_000) is reason


@given(integers(0, 2**64), integers(0, 2**64), st.integers(0, 10_000))
def test_duties_are_compared_without_rounding(one: int, other: int, duty_bps: int) -> None:
    answered, assigned = sorted((one, other))

    reason = why_not(Conduct(True, assigned, answered, 0), 1, duty_bps)

    assert (reason is None) == (assigned == 0 or Fraction(answered, assigned) >= Fraction(duty_bps, 10_000))


def test_more_duties_answered_than_assigned_are_refused() -> None:
    with pytest.raises(AssertionError):
        Conduct(True, duties_assigned=1, duties_answered=2, cases_upheld=0)


# --- shares ---


def test_the_quarter_worked_through_shares_and_withholds_to_the_unit() -> None:
    weights = {"V1": 10_000 * OMNI, "V2": 20_000 * OMNI, "V3": 33_333 * OMNI}

    rewards = share_pool(99_986_111, weights, {"V2": "case-2"})

    assert rewards.shares == (Share("V1", 15_787_363), Share("V3", 52_624_019))
    assert rewards.withheld == (Withheld("case-2", "V2", 31_574_727),)
    assert rewards.carry == 2
    assert rewards.carry + rewards.withheld[0].amount == 31_574_729, "what carries once the case is upheld"


@pytest.mark.parametrize("weights", [{}, {"V1": 0}, {"V1": 0, "V2": 0}])
def test_with_nobody_to_reward_the_whole_pool_carries(weights: dict[str, int]) -> None:
    rewards = share_pool(100, weights, {})

    assert rewards.carry == 100
    assert all(amount == 0 for _, amount in rewards.shares)


def test_a_case_of_a_validator_without_a_weight_is_refused() -> None:
    with pytest.raises(AssertionError):
        share_pool(100, {"V1": 1}, {"V2": "case-2"})


@given(pools, weights_by_id, st.data())
def test_shares_withheld_and_carry_are_the_pool(pool: int, weights: dict[str, int], data: st.DataObject) -> None:
    accused = data.draw(st.lists(st.sampled_from(sorted(weights)), unique=True) if weights else st.just([]))

    shares, withheld, carry = share_pool(pool, weights, {id: f"case-{id}" for id in accused})

    assert sum(share.amount for share in shares) + sum(one.amount for one in withheld) + carry == pool
    assert min([carry, *(share.amount for share in shares), *(one.amount for one in withheld)]) >= 0
    assert [share.id for share in shares] == sorted(weights.keys() - set(accused))
    assert [one.id for one in withheld] == sorted(accused)


@given(pools, weights_by_id, st.data())
def test_an_open_case_changes_nobody_elses_share(pool: int, weights: dict[str, int], data: st.DataObject) -> None:
    accused = data.draw(st.lists(st.sampled_from(sorted(weights)), unique=True) if weights else st.just([]))

    kept_back = share_pool(pool, weights, dict.fromkeys(accused, "case"))
    paid_out = share_pool(pool, weights, {})

    assert set(kept_back.shares) | {Share(one.id, one.amount) for one in kept_back.withheld} == set(paid_out.shares)
    assert kept_back.carry == paid_out.carry


@given(pools, weights_by_id)
def test_floored_the_carry_is_less_than_a_unit_for_each_share(pool: int, weights: dict[str, int]) -> None:
    allocation = allocate(pool, weights, Rounding.FLOOR)

    assert allocation.overdrawn == 0
    assert (
        allocation.carry == pool if not any(weights.values()) else allocation.carry < sum(map(bool, weights.values()))
    )


@given(pools, weights_by_id, st.sampled_from(Rounding))
def test_shares_and_carry_are_the_pool_and_what_is_overdrawn(
    pool: int, weights: dict[str, int], rounding: Rounding
) -> None:
    shares, carry, overdrawn = allocate(pool, weights, rounding)

    assert sum(amount for _, amount in shares) + carry == pool + overdrawn
    assert min(carry, overdrawn) == 0
    assert 2 * overdrawn <= len(shares), "half a unit a share, at most"


@given(pools, weights_by_id, st.sampled_from(Rounding), st.randoms(use_true_random=False))
def test_the_order_of_weights_is_nothing(
    pool: int, weights: dict[str, int], rounding: Rounding, random: Random
) -> None:
    shuffled = list(weights.items())
    random.shuffle(shuffled)

    assert allocate(pool, dict(shuffled), rounding) == allocate(pool, weights, rounding)


@given(pools, weights_by_id, st.sampled_from(Rounding))
def test_more_weight_is_never_less_share(pool: int, weights: dict[str, int], rounding: Rounding) -> None:
    shares = dict(allocate(pool, weights, rounding).shares)

    ranked = sorted(weights, key=lambda id: weights[id])

    assert all(shares[low] <= shares[high] for low, high in pairwise(ranked))


@given(pools, weights_by_id.filter(bool), integers(0, 2**64), st.sampled_from(Rounding), st.data())
def test_a_top_up_never_lowers_ones_share_or_raises_anothers(
    pool: int, weights: dict[str, int], top_up: int, rounding: Rounding, data: st.DataObject
) -> None:
    # Without weight nothing is shared, so there is no share yet that a top-up could lower.
    mine = data.draw(st.sampled_from(sorted(weights)))

    before = dict(allocate(pool, weights, rounding).shares)
    after = dict(allocate(pool, weights | {mine: weights[mine] + top_up}, rounding).shares)

    assert after[mine] >= before[mine]
    assert all(after[other] <= before[other] for other in weights if other != mine)


@given(pools, weights_by_id, st.integers(1, 2**64))
def test_the_unit_of_weight_is_nothing(pool: int, weights: dict[str, int], scale: int) -> None:
    scaled = {id: weight * scale for id, weight in weights.items()}

    assert allocate(pool, scaled, Rounding.FLOOR) == allocate(pool, weights, Rounding.FLOOR)


# --- vaults ---

CARRY, CURRENT = "validator_pool:carry", "validator_pool:current"
places = st.tuples(st.sampled_from([CARRY, CURRENT]), st.sampled_from(["escrow", "fees", "stake", "treasury"]))
held = st.dictionaries(places, integers(0, 2**64 - 1), max_size=8)


def test_a_pool_is_drawn_from_the_home_vault_first_then_by_name_and_what_was_carried_first() -> None:
    pool = {(CURRENT, "escrow"): 10, (CURRENT, "fees"): 3, (CARRY, "fees"): 2, (CARRY, "stake"): 5}

    drawn, credited = draw(pool, [("a", 4), ("b", 6), ("c", 6), (CARRY, 4)])

    assert drawn == (
        Leg(CARRY, "fees", 2),
        Leg(CARRY, "stake", 1),
        Leg(CURRENT, "escrow", 10),
        Leg(CURRENT, "fees", 3),
    )
    assert credited == (
        Leg("a", "fees", 4),
        Leg("b", "escrow", 5),
        Leg("b", "fees", 1),
        Leg("c", "escrow", 5),
        Leg("c", "stake", 1),
    )


def test_what_carries_where_it_lies_does_not_move() -> None:
    assert draw({(CARRY, "fees"): 7}, [(CARRY, 7)]) == Drawn((), ())
    assert draw({(CURRENT, "fees"): 7, (CARRY, "fees"): 1}, [("a", 3), (CARRY, 5)]) == Drawn(
        (Leg(CURRENT, "fees", 7),), (Leg("a", "fees", 3), Leg(CARRY, "fees", 4))
    )


@pytest.mark.parametrize("lines", [[("a", 6)], [("a", 8)], [("a", 8), ("b", -1)]])
def test_lines_that_are_not_the_pool_are_refused(lines: list[tuple[str, int]]) -> None:
    with pytest.raises(AssertionError):
        draw({(CURRENT, "fees"): 7}, lines)


@given(held, weights_by_id)
def test_every_line_is_filled_and_each_vault_gives_what_it_receives(
    held: dict[tuple[str, str], int], weights: dict[str, int]
) -> None:
    shares, _, carry = share_pool(sum(held.values()), weights, {})

    drawn, credited = draw(held, [*shares, (CARRY, carry)])

    left = Counter(held)
    for account, vault, amount in drawn:
        left[account, vault] -= amount
    for account, vault, amount in credited:
        left[account, vault] += amount
    for vault in {vault for _, vault in held}:
        assert sum(leg.amount for leg in drawn if leg.vault == vault) == sum(
            leg.amount for leg in credited if leg.vault == vault
        )
    for id, share in shares:
        assert sum(amount for (account, _), amount in left.items() if account == id) == share
    assert sum(amount for (account, _), amount in left.items() if account == CARRY) == carry
    assert not any(amount for (account, _), amount in left.items() if account == CURRENT)
    assert not {leg[:2] for leg in drawn} & {leg[:2] for leg in credited}
    assert min([0, *left.values(), *(leg.amount - 1 for leg in (*drawn, *credited))]) == 0


# --- other networks' roundings ---


@pytest.mark.parametrize(
    ("pool", "rounding", "amounts", "carry", "overdrawn"),
    [
        (5, Rounding.FLOOR, (2, 2), 1, 0),
        (5, Rounding.HALF_UP, (3, 3), 0, 1),
        (5, Rounding.HALF_EVEN, (2, 2), 1, 0),
        (7, Rounding.HALF_EVEN, (4, 4), 0, 1),
        (6, Rounding.HALF_UP, (3, 3), 0, 0),
    ],
)
def test_rounded_each_by_itself_shares_can_miss_the_pool_on_either_side(
    pool: int, rounding: Rounding, amounts: tuple[int, int], carry: int, overdrawn: int
) -> None:
    allocation = allocate(pool, {"a": 1, "b": 1}, rounding)

    assert tuple(amount for _, amount in allocation.shares) == amounts
    assert (allocation.carry, allocation.overdrawn) == (carry, overdrawn)


@given(integers(0, 2**200), integers(1, 2**128))
def test_roundings_are_those_of_exact_fractions(dividend: int, divisor: int) -> None:
    exact = Fraction(dividend, divisor)

    assert divide(dividend, divisor, Rounding.FLOOR) == exact // 1
    assert divide(dividend, divisor, Rounding.HALF_UP) == (exact + Fraction(1, 2)) // 1
    assert divide(dividend, divisor, Rounding.HALF_EVEN) == round(exact)


@given(st.integers(0, 50), st.sampled_from([2, 4, 6]))
def test_ties_too_are_rounded_as_named(dividend: int, divisor: int) -> None:
    assert divide(dividend, divisor, Rounding.HALF_EVEN) == round(Fraction(dividend, divisor))
    assert divide(dividend, divisor, Rounding.HALF_UP) == (2 * dividend + divisor) // (2 * divisor)


@pytest.mark.parametrize(("pool", "weight"), [(-1, 1), (1, -1)])
def test_negative_pools_and_weights_are_refused(pool: int, weight: int) -> None:
    with pytest.raises(AssertionError):
        allocate(pool, {"V1": weight}, Rounding.FLOOR)
