"""A small model of stakes, told in advance what will happen to them: so the network knows what it has planted.

Steps are taken in the order of (cut, rank, when it occurred, id), and each may lead to later ones: a ticket matures, a
window ends. Amounts are base units.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from app.network.reports import Told
from events.event import Role, decision_id
from events.instant import MICROSECONDS
from ledger.parameters import Parameters

__all__ = ["Credit", "OpenCase", "Stakes", "Verdict"]

Verdict = Literal["upheld", "reversed"]

STAKED, DISPUTED, DUE, ACCUSED, MATURES, REBONDED, UNSTAKED = 1, 2, 3, 4, 5, 6, 7


@dataclass(frozen=True, slots=True)
class Credit:
    """What became owed, or due to be burned, at a cut."""

    at: int
    account: str
    amount: int


@dataclass(slots=True)
class OpenCase:
    """A case on its way; `proposer` is the validator that accused, if one did."""

    id: str
    role: Role
    accused: str
    job: str
    attempt: int
    cause: str
    plot: str
    guilty: bool
    verifiers: tuple[str, ...] = ()
    reporter: str | None = None
    proposer: str | None = None
    bps: int = 0
    basis: int = 0
    from_bonded: int = 0
    from_tickets: list[tuple[str, int]] = field(default_factory=list)
    proposed_at: int = 0
    ends_at: int = 0
    decided_at: int = 0
    outcome: Verdict | None = None
    paid: list[tuple[str, int]] = field(default_factory=list)
    suspends: bool = False

    @property
    def amount(self) -> int:
        """What it took."""
        return self.from_bonded + sum(amount for _, amount in self.from_tickets)


@dataclass(slots=True)
class _Stake:
    owner: str
    bonded: int = 0
    tickets: dict[str, int] = field(default_factory=dict)

    @property
    def whole(self) -> int:
        """What can be slashed."""
        return self.bonded + sum(self.tickets.values())


class Stakes:
    """Plan the steps, then `run`."""

    def __init__(self, parameters: Parameters) -> None:
        """Begin without a stake."""
        self._rules = parameters.slash
        minimum = parameters.stake
        self._minimum = {"node": int(minimum.node_minimum), "validator": int(minimum.validator_minimum)}
        self._unbonding = parameters.stake.unbonding_seconds * MICROSECONDS
        self._steps: list[tuple[int, int, int, str, Callable[[int], None]]] = []
        self._stakes: dict[tuple[Role, str], _Stake] = {}
        self._basis_at = 0
        self._basis: dict[tuple[Role, str], int] = {}
        self._open: dict[str, OpenCase] = {}
        self._decided: list[OpenCase] = []
        self.cases: dict[str, OpenCase] = {}
        self.credits: list[Credit] = []

    # --- plans ---

    def open(self, role: Role, id: str, owner: str) -> None:
        """Name a stake and its owner."""
        self._stakes[role, id] = _Stake(owner)

    def deposit(self, told: Told, role: Role, id: str, amount: int) -> None:
        """Plan a stake."""

        def step(_cut: int) -> None:
            self._stakes[role, id].bonded += amount

        self._plan(told, STAKED, step)

    def unstake(self, told: Told, role: Role, id: str, amount: int) -> str:
        """Plan an unstaking; return the ticket."""
        ticket = told.fact.id[:32]

        def step(cut: int) -> None:
            stake = self._stakes[role, id]
            assert 0 < amount <= stake.bonded
            stake.bonded -= amount
            stake.tickets[ticket] = amount
            self._follow(cut + self._unbonding, MATURES, ticket, lambda at: self._mature(at, role, id, ticket))

        self._plan(told, UNSTAKED, step)
        return ticket

    def rebond(self, told: Told, role: Role, id: str, ticket: str) -> None:
        """Plan that a ticket is taken back."""

        def step(_cut: int) -> None:
            stake = self._stakes[role, id]
            stake.bonded += stake.tickets.pop(ticket)

        self._plan(told, REBONDED, step)

    def accuse(self, told: Told, case: OpenCase) -> None:
        """Plan a case, by evidence or by a validator's report."""
        assert case.id not in self.cases
        self.cases[case.id] = case
        case.proposed_at = told.cut
        # Evidence is a lane's decision, and stands in the cut by that decision's id.
        id = told.fact.id if case.proposer is not None else decision_id("SlashEvidenced", case.id)
        self._plan(told, ACCUSED, lambda cut: self._propose(cut, case), id)

    def dispute(self, told: Told, case: str) -> None:
        """Plan a dispute."""

        def step(cut: int) -> None:
            accused = self.cases[case]
            assert accused.outcome is None
            if accused.proposer is None:
                accused.ends_at = cut + self._rules.ruling_seconds * MICROSECONDS
                self._await(accused)

        self._plan(told, DISPUTED, step)

    def rule(self, told: Told, case: str, verdict: Verdict) -> None:
        """Plan a ruling."""
        self._plan(told, DISPUTED, lambda cut: self._decide(cut, self.cases[case], verdict))

    # --- the run ---

    def run(self) -> int:
        """Take all steps; return the cut of the last."""
        heapq.heapify(self._steps)
        cut = 0
        while self._steps:
            cut, _, _, _, step = heapq.heappop(self._steps)
            step(cut)
            if not self._steps or self._steps[0][0] > cut:
                for case in self._decided:
                    case.suspends = self._level(case) < self._minimum[case.role]
                self._decided.clear()
        return cut

    def balances(self) -> dict[tuple[str, str], int]:
        """Return what the stakes' accounts hold in the end, all in the vault of stakes."""
        sums: defaultdict[tuple[str, str], int] = defaultdict(int)
        for (role, id), stake in self._stakes.items():
            sums[f"stake:bonded:{role}:{id}", "stake"] += stake.bonded
            for ticket, amount in stake.tickets.items():
                sums[f"stake:unbonding:{ticket}", "stake"] += amount
        for credit in self.credits:
            sums[credit.account, "stake"] += credit.amount
        return sums

    def _plan(self, told: Told, rank: int, step: Callable[[int], None], id: str | None = None) -> None:
        self._steps.append((told.cut, rank, told.occurred_at, id or told.fact.id, step))

    def _follow(self, cut: int, rank: int, id: str, step: Callable[[int], None]) -> None:
        heapq.heappush(self._steps, (cut, rank, 0, id, step))

    def _credit(self, at: int, account: str, amount: int) -> None:
        if amount:
            self.credits.append(Credit(at, account, amount))

    def _mature(self, cut: int, role: Role, id: str, ticket: str) -> None:
        stake = self._stakes[role, id]
        if ticket in stake.tickets:
            self._credit(cut, f"payable:stake:{stake.owner}", stake.tickets.pop(ticket))

    def _propose(self, cut: int, case: OpenCase) -> None:
        stake = self._stakes.get((case.role, case.accused), _Stake(""))
        self._open[case.id] = case
        case.bps = int(getattr(self._rules.bps, case.cause))
        if cut != self._basis_at:
            # All cases of one cut rest on what there was before the first, and before any bond was posted.
            self._basis_at = cut
            self._basis = {key: held.whole for key, held in self._stakes.items()}
        case.basis = self._basis.get((case.role, case.accused), 0)
        owed = min(case.basis * case.bps // 10_000, stake.whole)
        case.from_bonded = min(owed, stake.bonded)
        stake.bonded -= case.from_bonded
        owed -= case.from_bonded
        for ticket in reversed(list(stake.tickets)):
            part = min(owed, stake.tickets[ticket])
            if part:
                stake.tickets[ticket] -= part
                case.from_tickets.append((ticket, part))
                owed -= part
        window = self._rules.window_seconds
        if case.proposer is not None:
            self._stakes["validator", case.proposer].bonded -= int(self._rules.bond)
            window = self._rules.ruling_seconds
        case.ends_at = cut + window * MICROSECONDS
        self._await(case)

    def _await(self, case: OpenCase) -> None:
        """At the end of a window evidence stands, and an accusation falls."""
        ends_at = case.ends_at
        verdict: Verdict = "upheld" if case.proposer is None else "reversed"

        def step(cut: int) -> None:
            if case.outcome is None and case.ends_at == ends_at:
                self._decide(cut, case, verdict)

        self._follow(ends_at, DUE, case.id, step)

    def _decide(self, cut: int, case: OpenCase, verdict: Verdict) -> None:
        assert case.outcome is None
        case.outcome, case.decided_at = verdict, cut
        self._decided.append(self._open.pop(case.id))
        if verdict == "reversed":
            self._give_back(cut, case)
            return
        receivers = sorted(set(case.verifiers)) if case.reporter is None else [case.reporter]
        rewarded = case.amount * self._rules.reward_bps // 10_000
        each = rewarded // len(receivers) if receivers else 0
        case.paid = [(receiver, each) for receiver in receivers]
        for receiver, amount in case.paid:
            self._credit(cut, f"payable:reporter:{receiver}", amount)
        self._credit(cut, "burn:pending", case.amount - each * len(receivers))
        if case.proposer is not None:
            self._stakes["validator", case.proposer].bonded += int(self._rules.bond)

    def _level(self, case: OpenCase) -> int:
        """Return what keeps the accused in service: bonded, taken from bonded by open cases, or posted on them."""
        who, stake = (case.role, case.accused), self._stakes.get((case.role, case.accused), _Stake(""))
        level = stake.bonded
        for other in self._open.values():
            level += other.from_bonded if (other.role, other.accused) == who else 0
            level += int(self._rules.bond) if ("validator", other.proposer) == who else 0
        return level

    def _give_back(self, cut: int, case: OpenCase) -> None:
        stake = self._stakes.get((case.role, case.accused), _Stake(""))
        stake.bonded += case.from_bonded
        for ticket, amount in case.from_tickets:
            if ticket in stake.tickets:
                stake.tickets[ticket] += amount
            else:
                self._credit(cut, f"payable:stake:{stake.owner}", amount)
        if case.proposer is not None:
            self._credit(cut, "burn:pending", int(self._rules.bond))
