"""Vectorised posting and sums are equal to their scalar twins, at any size and for any fault."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.codec import encode
from events.columns import read_columns
from events.decisions import (
    AgreedLine,
    DepositCredited,
    DepositCreditedData,
    EscrowFunded,
    EscrowFundedData,
    Hold,
    JobRefunded,
    JobRefundedData,
    JobSettled,
    JobSettledData,
    WaitingLine,
    WithdrawalAccepted,
    WithdrawalAcceptedData,
)
from events.event import Decision
from ledger.accounts import Key
from ledger.entry import Side
from ledger.errors import LedgerInvariantBroken
from ledger.post import post
from ledger.sums import LimbSums, limbs_of
from ledger.vectors import VECTOR_KINDS, Names, post_columns
from tests.ledger.random_books import decide

Moved = dict[tuple[int, Key, Side], int]

NAMES = st.sampled_from(["K", "L", "M.1", "N_2"])
ASSETS = st.sampled_from(["OMNI", "USDC"])
EDGES = st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 2**31, 2**63 - 1, 2**63, 10**39 - 1])
AMOUNTS = st.one_of(EDGES, st.integers(0, 2**62), st.integers(0, 1000))
# So rarely is a number changed by one, which must be found.
OFF = st.sampled_from([0] * 30 + [1])


@st.composite
def deposits(draw: Any) -> Decision:
    vault, role = draw(st.sampled_from([("escrow", None), ("fees", None), ("stake", "node")]))
    data = DepositCreditedData(asset=draw(ASSETS), amount=str(draw(AMOUNTS)), proof="declared", vault=vault, role=role)
    event: Decision = decide(DepositCredited, draw(NAMES), draw(st.integers()), data)
    return event


@st.composite
def fundings(draw: Any) -> Decision:
    holds = draw(st.lists(AMOUNTS, max_size=3))
    data = EscrowFundedData(
        asset=draw(ASSETS),
        amount=_text(sum(holds) + draw(OFF)),
        attempt=1,
        consumer=draw(NAMES),
        holds=tuple(Hold(node=draw(NAMES), price="5", amount=str(hold)) for hold in holds),
    )
    event: Decision = decide(EscrowFunded, draw(NAMES), draw(st.integers()), data)
    return event


@st.composite
def settlements(draw: Any) -> Decision:
    lines, spent = [], 0
    for _ in range(draw(st.integers(0, 3))):
        burn, fee, net = draw(AMOUNTS), draw(AMOUNTS), draw(AMOUNTS)
        gross = burn + fee + net + draw(OFF)
        spent += gross
        parts = {"gross": gross, "burn": burn, "fee": fee, "net": net}
        texts = {name: _text(amount) for name, amount in parts.items()}
        lines.append(AgreedLine(node=draw(NAMES), gpu_seconds=draw(st.integers(0, 2**53 - 1)), price="5", **texts))
    held, refund = draw(st.lists(AMOUNTS, max_size=2)), draw(AMOUNTS)
    data = JobSettledData(
        asset=draw(ASSETS),
        attempt=1,
        consumer=draw(NAMES),
        escrow=_text(spent + sum(held) + refund + draw(OFF)),
        funding=draw(st.sampled_from(["escrow", "consumer"])),
        lines=tuple(lines),
        refund=_text(refund),
        waiting=tuple(WaitingLine(node=draw(NAMES), case="c", hold=str(hold)) for hold in held),
    )
    event: Decision = decide(JobSettled, draw(NAMES), draw(st.integers()), data)
    return event


@st.composite
def refunds(draw: Any) -> Decision:
    data = JobRefundedData(
        asset=draw(ASSETS), amount=str(draw(AMOUNTS)), attempt=1, cause="x", consumer=draw(NAMES), outcome="failed"
    )
    event: Decision = decide(JobRefunded, draw(NAMES), draw(st.integers()), data)
    return event


@st.composite
def withdrawals(draw: Any) -> Decision:
    data = WithdrawalAcceptedData(asset=draw(ASSETS), amount=str(draw(AMOUNTS)))
    event: Decision = decide(WithdrawalAccepted, draw(NAMES), draw(st.integers()), data)
    return event


DECISIONS = st.one_of(deposits(), fundings(), settlements(), refunds(), withdrawals())


def _text(amount: int) -> str:
    return str(min(amount, 10**39 - 1))


def post_all(decisions: Sequence[Decision], names: Names) -> tuple[Moved, set[int]]:
    """Post as columns; return what was moved, by line, and the lines that were left."""
    lines = [encode(decision) for decision in decisions]
    ends = np.cumsum([len(line) for line in lines])
    starts = ends - [len(line) for line in lines]
    batch = read_columns(b"".join(lines), starts, ends)
    moved: Moved = defaultdict(int)
    left = set(batch.rest.tolist())
    for kind, columns in batch.columns.items():
        assert kind in VECTOR_KINDS
        postings = post_columns(columns, names)
        left |= set(postings.rest.tolist())
        for row, account, debit, credit in zip(*(part.tolist() for part in postings[:4]), strict=True):
            assert (debit == 0) != (credit == 0)
            side = Side.DEBIT if debit else Side.CREDIT
            moved[row, names.key(account), side] += debit + credit
    return dict(moved), left


def post_alone(line: int, decision: Decision) -> Moved:
    moved: Moved = defaultdict(int)
    entry = post(decision)
    for posting in () if entry is None else entry.postings:
        moved[line, Key(posting.asset, posting.account, posting.vault), posting.side] += posting.amount
    return dict(moved)


@given(st.lists(DECISIONS, max_size=12))
def test_columns_post_what_post_posts_and_leave_what_it_refuses(decisions: list[Decision]) -> None:
    moved, left = post_all(decisions, Names())

    wanted: Moved = {}
    for line, decision in enumerate(decisions):
        try:
            alone = post_alone(line, decision)
        except LedgerInvariantBroken:
            assert line in left
            continue
        if line not in left:
            wanted |= alone
    assert moved == wanted


@given(st.lists(DECISIONS, min_size=1, max_size=12))
def test_only_what_is_large_unsound_or_for_another_rule_is_left(decisions: list[Decision]) -> None:
    _, left = post_all(decisions, Names())

    for line in left:
        try:
            amounts = [amount for *_, amount in ((*key, n) for key, n in post_alone(line, decisions[line]).items())]
        except LedgerInvariantBroken:
            continue
        data: Any = decisions[line].data  # type: ignore[attr-defined]
        large = int(getattr(data, "escrow", None) or data.amount) >= 2**63 - 2**44
        assert large or getattr(data, "role", None) is not None, (decisions[line], amounts)


@given(st.lists(DECISIONS, max_size=12))
def test_only_accounts_that_are_moved_are_named(decisions: list[Decision]) -> None:
    names = Names()

    moved, _ = post_all(decisions, names)

    assert {key for _, key, _ in moved} == set(names)
    assert len(names) == len(list(names)) == len(set(names))


def test_names_are_numbers_in_the_order_of_their_first_appearance() -> None:
    names = Names()

    assert names.number(Key("OMNI", "consumer:K", "escrow")) == 0
    assert names.numbers("OMNI", "escrow", "consumer:", ["L", "K", "L"]).tolist() == [1, 0, 1]
    assert names.numbers("USDC", "escrow", "consumer:", ["K"]).tolist() == [2]
    assert names.number(Key("OMNI", "consumer:L", "escrow")) == 1


# --- sums ---

MOVES = st.lists(st.tuples(st.integers(0, 5), AMOUNTS), max_size=30)


def split(moves: list[tuple[int, int]]) -> Any:
    return np.array([number for number, _ in moves], dtype=np.int64), limbs_of([amount for _, amount in moves])


@given(st.lists(AMOUNTS))
def test_limbs_come_back_as_the_numbers_they_were(amounts: list[int]) -> None:
    limbs = limbs_of(amounts)

    assert limbs.ints() == amounts
    assert [int(text) for text in limbs.texts()] == amounts
    assert all(isinstance(text, str) == (amount >= 2**63) for text, amount in zip(limbs.texts(), amounts, strict=True))
    small = [amount for amount in amounts if amount < 2**63]
    assert limbs_of(np.array(small, dtype=np.int64)).ints() == small


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS)))
def test_limbs_are_compared_as_the_numbers_they_are(pairs: list[tuple[int, int]]) -> None:
    ones, others = (limbs_of([pair[side] for pair in pairs]) for side in range(2))

    assert ones.are_below(others).tolist() == [one < other for one, other in pairs]


@pytest.mark.parametrize("additions_max", [2**30, 3])
@given(batches=st.lists(MOVES, max_size=5), kept=st.dictionaries(st.integers(0, 5), AMOUNTS))
def test_sums_are_exact_at_any_size(
    additions_max: int, batches: list[list[tuple[int, int]]], kept: dict[int, int]
) -> None:
    sums, wanted = LimbSums(), defaultdict(int, kept)
    sums.ADDITIONS_MAX = additions_max
    for number, total in kept.items():
        sums.set(number, total)

    for moves in batches:
        sums.add(*split(moves))
        for number, amount in moves:
            wanted[number] += amount

    assert sums.totals(np.arange(2000)) == [wanted[number] for number in range(2000)]


@given(batches=st.lists(MOVES, max_size=4), kept=st.dictionaries(st.integers(0, 5), AMOUNTS))
def test_running_sums_are_those_after_each_amount(batches: list[list[tuple[int, int]]], kept: dict[int, int]) -> None:
    sums, wanted = LimbSums(), defaultdict(int, kept)
    for number, total in kept.items():
        sums.set(number, total)

    for moves in batches:
        moves.sort(key=lambda move: move[0])
        reached = []
        for number, amount in moves:
            wanted[number] += amount
            reached.append(wanted[number])
        assert sums.running(*split(moves)).ints() == reached

    assert sums.totals(np.arange(6)) == [wanted[number] for number in range(6)]


@given(st.lists(st.lists(AMOUNTS, min_size=1, max_size=5), max_size=6))
def test_groups_are_added_up_exactly(groups: list[list[int]]) -> None:
    starts = np.cumsum([0, *map(len, groups)])[:-1]

    found = limbs_of([amount for group in groups for amount in group]).sum_groups(starts.astype(np.int64))

    assert found.ints() == [sum(group) for group in groups]
