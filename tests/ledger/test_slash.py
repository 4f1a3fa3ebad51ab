"""R8, R10, D10 to D12: a slash takes a part of all that is staked, never more than is left, and loses no unit."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.slash import (
    Case,
    Distribution,
    Reward,
    StakeLevels,
    Taken,
    Ticket,
    distribute,
    is_suspended,
    take_case,
)
from tests.strategies import integers

OMNI = 10**9
amounts = integers(0, 2**128)
bps = st.sampled_from([0, 500, 1_000, 10_000]) | st.integers(0, 10_000)


def take(levels: StakeLevels, cases: Sequence[Case]) -> tuple[tuple[Taken, ...], StakeLevels]:
    """Take one cut's cases from a stake, in the cut's order; return what each took, and the stake that is left."""
    left, all_taken = levels, []
    for case in cases:
        taken, left = take_case(left, case, levels.total)
        all_taken.append(taken)
    return tuple(all_taken), left


@st.composite
def stakes(draw: st.DrawFn) -> StakeLevels:
    """Draw a bonded stake with up to four tickets, none of them empty."""
    tickets = draw(st.lists(integers(1, 2**64), max_size=4))
    return StakeLevels(draw(amounts), tuple(Ticket(f"t{n}", amount) for n, amount in enumerate(tickets)))


@st.composite
def cuts(draw: st.DrawFn) -> list[Case]:
    """Draw the cases of a cut."""
    return [Case(f"case-{n}", part) for n, part in enumerate(draw(st.lists(bps, max_size=5)))]


# --- taking ---


@pytest.mark.parametrize(
    ("bonded", "part", "taken"),
    [(500, 500, 25_000_000_000), (20_000, 1_000, 2_000_000_000_000), (500, 0, 0)],
    ids=["d1: C failed a challenge", "e2: V2 attested a false result", "dissent alone"],
)
def test_worked_examples(bonded: int, part: int, taken: int) -> None:
    (only,), left = take(StakeLevels(bonded * OMNI), [Case("c", part)])

    assert only == Taken("c", taken, ())
    assert left == StakeLevels(bonded * OMNI - taken)


def test_the_basis_counts_what_is_unbonding() -> None:
    levels = StakeLevels(20_000 * OMNI, (Ticket("t1", 13_333 * OMNI),))

    (taken,), left = take(levels, [Case("g2", 1_000)])

    assert taken == Taken("g2", 3_333_300_000_000, ())
    assert left == StakeLevels(16_666_700_000_000, (Ticket("t1", 13_333 * OMNI),))


def test_bonded_pays_first_and_then_the_latest_ticket() -> None:
    levels = StakeLevels(10, (Ticket("t1", 40), Ticket("t2", 30), Ticket("t3", 20)))

    (taken,), left = take(levels, [Case("c", 5_000)])

    assert taken == Taken("c", 10, (Ticket("t3", 20), Ticket("t2", 20)))
    assert taken.amount == 50
    assert left == StakeLevels(0, (Ticket("t1", 40), Ticket("t2", 10)))


def test_cases_of_one_cut_have_one_basis_and_the_last_takes_what_is_left() -> None:
    taken, left = take(StakeLevels(60, (Ticket("t1", 40),)), [Case("a", 5_000), Case("b", 4_000), Case("c", 3_000)])

    assert taken == (
        Taken("a", 50, ()),
        Taken("b", 10, (Ticket("t1", 30),)),
        Taken("c", 0, (Ticket("t1", 10),)),
    )
    assert left == StakeLevels(0)


@given(stakes(), cuts())
def test_one_cuts_cases_taken_one_by_one_on_its_basis_are_those_taken_at_once(
    levels: StakeLevels, cases: list[Case]
) -> None:
    left, taken = levels, []
    for case in cases:
        one, left = take_case(left, case, levels.total)
        taken.append(one)

    assert (tuple(taken), left) == take(levels, cases)


def test_a_basis_above_what_is_left_takes_no_more_than_that() -> None:
    taken, left = take_case(StakeLevels(30), Case("c", 5_000), basis=100)

    assert (taken.amount, left.total) == (30, 0)


def test_cases_of_two_cuts_have_each_their_own_basis() -> None:
    (first,), left = take(StakeLevels(100), [Case("a", 5_000)])
    (second,), _ = take(left, [Case("b", 5_000)])

    assert (first.amount, second.amount) == (50, 25)


@given(stakes(), cuts())
def test_what_is_taken_and_what_is_left_are_the_stake(levels: StakeLevels, cases: list[Case]) -> None:
    taken, left = take(levels, cases)

    assert [one.case for one in taken] == [case.id for case in cases]
    assert sum(one.amount for one in taken) + left.total == levels.total


@given(stakes(), cuts())
def test_a_slash_is_its_part_of_the_basis_and_never_above_what_is_left(levels: StakeLevels, cases: list[Case]) -> None:
    remaining = levels.total

    for one, case in zip(take(levels, cases)[0], cases, strict=True):
        assert one.amount == min(levels.total * case.bps // 10_000, remaining)
        remaining -= one.amount

    assert remaining >= 0


@given(stakes(), cuts())
def test_no_ticket_pays_while_stake_is_bonded_nor_before_a_later_one(levels: StakeLevels, cases: list[Case]) -> None:
    _, left = take(levels, cases)

    touched = left.tickets != levels.tickets
    whole = levels.tickets[: max(len(left.tickets) - 1, 0)]

    assert left.bonded == 0 or not touched
    assert left.tickets[: len(whole)] == whole
    assert all(ticket.amount > 0 for ticket in left.tickets)


@given(amounts, st.data(), bps)
def test_to_unstake_and_then_cheat_still_pays_the_same(stake: int, data: st.DataObject, part: int) -> None:
    unstaked = data.draw(st.integers(0, stake))

    (stayed,), _ = take(StakeLevels(stake), [Case("c", part)])
    (fled,), _ = take(StakeLevels(stake - unstaked, (Ticket("t1", unstaked),)), [Case("c", part)])

    assert fled.amount == stayed.amount


@given(stakes(), bps, bps)
def test_a_graver_cause_never_takes_less(levels: StakeLevels, one: int, other: int) -> None:
    lighter, graver = sorted((one, other))

    (less,), _ = take(levels, [Case("c", lighter)])
    (more,), _ = take(levels, [Case("c", graver)])

    assert less.amount <= more.amount


@pytest.mark.parametrize("part", [-1, 10_001])
def test_a_part_that_is_none_is_refused(part: int) -> None:
    with pytest.raises(AssertionError):
        take(StakeLevels(100), [Case("c", part)])


def test_a_stake_below_zero_is_refused() -> None:
    with pytest.raises(AssertionError):
        StakeLevels(-1)


# --- distributing ---


@pytest.mark.parametrize(
    ("amount", "reporter", "verifiers", "paid", "burned"),
    [
        (25 * OMNI, None, ("V3", "V1"), (("V1", 6_250_000_000), ("V3", 6_250_000_000)), 12_500_000_000),
        (2_000 * OMNI, "V3", ("V1", "V2"), (("V3", 1_000 * OMNI),), 1_000 * OMNI),
        (3_333_300_000_000, None, (), (), 3_333_300_000_000),
        (7, "V3", (), (("V3", 3),), 4),
        (15, None, ("a", "b", "c"), (("a", 2), ("b", 2), ("c", 2)), 9),
        (3, None, ("a", "b"), (("a", 0), ("b", 0)), 3),
    ],
    ids=["d2", "e7", "g4", "odd", "dust of the verifiers", "too little for each"],
)
def test_an_upheld_slash_is_halved_and_its_dust_is_burned(
    amount: int, reporter: str | None, verifiers: tuple[str, ...], paid: tuple[tuple[str, int], ...], burned: int
) -> None:
    expected = Distribution(tuple(Reward(*one) for one in paid), burned)

    assert distribute(amount, 5_000, reporter, verifiers) == expected


@given(amounts, bps, st.none() | st.just("R"), st.lists(st.text("abc", min_size=1, max_size=3), max_size=6))
def test_what_is_paid_and_what_is_burned_are_the_slash(
    amount: int, part: int, reporter: str | None, verifiers: list[str]
) -> None:
    paid, burned = distribute(amount, part, reporter, verifiers)

    assert sum(reward.amount for reward in paid) + burned == amount
    assert min([burned, *(reward.amount for reward in paid)]) >= 0
    assert amount - burned <= amount * part // 10_000
    assert len({reward.amount for reward in paid}) <= 1


@given(amounts, st.permutations(["V1", "V2", "V3", "V3"]))
def test_verifiers_are_paid_once_each_and_in_one_order(amount: int, verifiers: list[str]) -> None:
    assert distribute(amount, 5_000, None, verifiers) == distribute(amount, 5_000, None, ["V1", "V2", "V3"])


# --- suspension ---


@pytest.mark.parametrize(
    ("bonded", "frozen", "suspended"),
    [(500, 0, False), (475, 25, False), (475, 0, True), (474, 25, True)],
    ids=["at the minimum", "case open", "case upheld", "below it anyway"],
)
def test_a_node_is_suspended_when_the_case_is_upheld_and_not_before(bonded: int, frozen: int, suspended: bool) -> None:
    assert is_suspended(bonded * OMNI, frozen * OMNI, 500 * OMNI) is suspended
