"""Builds the decisions about stakes, slashes, rewards and chain facts: by hand, and whole random books of them.

In random books nobody spends what is not there, each case ends once, and every epoch's pool is shared to the unit.
"""

from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st

from events.decisions import (
    AllocatedLine,
    BurnFinalized,
    BurnFinalizedData,
    JobSettled,
    JobSettledData,
    LaneEpochClosed,
    LaneEpochClosedData,
    LaneTotal,
    PayoutFinalized,
    PayoutFinalizedData,
    SweepFinalized,
    SweepFinalizedData,
    WaitingLine,
    WithdrawalAccepted,
    WithdrawalAcceptedData,
)
from events.event import Decision
from events.stakes import (
    RewardLine,
    SlashDistributed,
    SlashDistributedData,
    SlashPayment,
    SlashProposed,
    SlashProposedData,
    SlashReversed,
    SlashReversedData,
    SlashUpheld,
    SlashUpheldData,
    TicketPart,
    UnbondingCancelled,
    UnbondingCancelledData,
    UnbondingMatured,
    UnbondingMaturedData,
    UnstakeRequested,
    UnstakeRequestedData,
    ValidatorRewardsAllocated,
    ValidatorRewardsAllocatedData,
    WithheldLine,
)
from ledger import accounts
from ledger.balances import Balances
from ledger.post import post
from ledger.rewards import share_pool
from ledger.slash import distribute
from tests.ledger.random_books import decide, deposit, fees, fund, genesis, lines, settle

__all__ = ["OWNER", "Split", "Where", "burn", "distributed", "matured", "network_decisions", "payout", "proposed"]
__all__ += ["rebonded", "reversed_", "rewards", "settle_waiting", "sweep", "unstaked", "upheld", "withdrawal"]

OWNER = "4Nd1mBQtrMJVYVfKf2PJy9NZUZdTAsp7D4xWLs4gDB4T"
LATER = "2026-10-08T00:00:00.000000Z"
STAKERS = (("node", "A"), ("validator", "V1"), ("validator", "V2"), ("validator", "V3"))

Where = tuple[str, str]
Split = dict[Where, int]


def _lines(split: Split) -> tuple[AllocatedLine, ...]:
    return tuple(AllocatedLine(account=a, amount=str(n), vault=v) for (a, v), n in split.items())


def settle_waiting(
    owner: str, job: str, paid: tuple[int, ...], waiting: int, refund: int, attempt: int = 1
) -> JobSettled:
    """Settle a job of which one node's hold waits for a case."""
    agreed = lines(*paid)
    waits = (WaitingLine(node="C", case="case", hold=str(waiting)),) if waiting else ()
    escrow = str(sum(paid) + waiting + refund)
    data = JobSettledData(
        asset="OMNI", attempt=1, consumer=owner, escrow=escrow, funding="escrow", lines=agreed, refund=str(refund),
        waiting=waits,
    )  # fmt: skip
    event: JobSettled = decide(JobSettled, job, f"waiting:{attempt}", data)
    return event


def lane_closed(fee: int, key: object = 0) -> LaneEpochClosed:
    """Say what a lane took in fees."""
    total = LaneTotal(asset="OMNI", vault="escrow", fee=str(fee), burn="0")
    data = LaneEpochClosedData(digest="ab" * 32, events=1, lane=0, totals=(total,))
    event: LaneEpochClosed = decide(LaneEpochClosed, "lane-0", key, data)
    return event


def withdrawal(owner: str, amount: int, key: object = 0) -> WithdrawalAccepted:
    """Owe a consumer its own money."""
    event: WithdrawalAccepted = decide(
        WithdrawalAccepted, owner, key, WithdrawalAcceptedData(asset="OMNI", amount=str(amount))
    )
    return event


def payout(vault: str, split: Split, key: object = 0) -> PayoutFinalized:
    """Pay what is owed."""
    data = PayoutFinalizedData(asset="OMNI", amount=str(sum(split.values())), lines=_lines(split), proof="declared")
    event: PayoutFinalized = decide(PayoutFinalized, vault, key, data)
    return event


def burn(vault: str, amount: int, key: object = 0) -> BurnFinalized:
    """Burn what is due."""
    data = BurnFinalizedData(asset="OMNI", amount=str(amount), proof="declared", vault=vault)
    event: BurnFinalized = decide(BurnFinalized, vault, key, data)
    return event


def sweep(vault: str, split: Split, to: str, key: object = 0) -> SweepFinalized:
    """Move money to another vault."""
    total = str(sum(split.values()))
    data = SweepFinalizedData(asset="OMNI", amount=total, lines=_lines(split), proof="declared", to=to)
    event: SweepFinalized = decide(SweepFinalized, vault, key, data)
    return event


def unstaked(role: Any, id: str, amount: int, ticket: str = "t1") -> UnstakeRequested:
    """Put bonded stake on its way out."""
    data = UnstakeRequestedData(asset="OMNI", amount=str(amount), matures_at=LATER, role=role, ticket=ticket)
    event: UnstakeRequested = decide(UnstakeRequested, id, ticket, data)
    return event


def rebonded(role: Any, id: str, amount: int, ticket: str = "t1") -> UnbondingCancelled:
    """Bond a ticket's stake again."""
    data = UnbondingCancelledData(asset="OMNI", amount=str(amount), role=role, ticket=ticket)
    event: UnbondingCancelled = decide(UnbondingCancelled, id, ticket, data)
    return event


def matured(role: Any, id: str, amount: int, ticket: str = "t1") -> UnbondingMatured:
    """Owe a ticket's stake to its owner."""
    data = UnbondingMaturedData(asset="OMNI", amount=str(amount), owner=OWNER, role=role, ticket=ticket)
    event: UnbondingMatured = decide(UnbondingMatured, id, ticket, data)
    return event


def proposed(
    role: Any,
    id: str,
    from_bonded: int,
    from_tickets: dict[str, int] | None = None,
    case: str = "c1",
    bond: int = 0,
    proposer: str = "protocol",
) -> SlashProposed:
    """Freeze stake on a case."""
    parts = tuple(TicketPart(ticket=ticket, amount=str(amount)) for ticket, amount in (from_tickets or {}).items())
    total = from_bonded + sum((from_tickets or {}).values())
    data = SlashProposedData(
        amount=str(total), asset="OMNI", attempt=1, basis=str(total * 10), bond=str(bond), bps=1_000, case=case,
        cause="failed_challenge", consumer="K", ends_at=LATER, from_bonded=str(from_bonded), from_tickets=parts,
        job="J", proposer=proposer, role=role, verifiers=(),
    )  # fmt: skip
    event: SlashProposed = decide(SlashProposed, id, case, data)
    return event


def upheld(
    role: Any, id: str, amount: int, withheld: dict[str, int], case: str = "c1", bond: int = 0, proposer: str = "V9"
) -> SlashUpheld:
    """Let a case stand; `withheld` by vault."""
    waiting = _lines({(accounts.withheld(case), vault): part for vault, part in withheld.items()})
    data = SlashUpheldData(
        amount=str(amount), asset="OMNI", bond=str(bond), case=case, proposer=proposer, role=role, withheld=waiting
    )
    event: SlashUpheld = decide(SlashUpheld, id, case, data)
    return event


def reversed_(role: Any, id: str, returned: Split, released: Split, case: str = "c1", bond: int = 0) -> SlashReversed:
    """Let a case fall."""
    data = SlashReversedData(
        amount=str(sum(returned.values())), asset="OMNI", bond=str(bond), case=case, released=_lines(released),
        returned=_lines(returned), role=role,
    )  # fmt: skip
    event: SlashReversed = decide(SlashReversed, id, case, data)
    return event


def distributed(id: str, paid: dict[str, int], burned: int, case: str = "c1") -> SlashDistributed:
    """Give an upheld slash to whom it belongs."""
    parts = tuple(SlashPayment(id=receiver, amount=str(amount)) for receiver, amount in paid.items())
    total = str(sum(paid.values()) + burned)
    data = SlashDistributedData(amount=total, asset="OMNI", burned=str(burned), case=case, paid=parts)
    event: SlashDistributed = decide(SlashDistributed, id, case, data)
    return event


def _fill(vaults: Iterable[str], drawn: Split, wanted: list[tuple[str, int]]) -> Split:
    """Serve what is wanted, in order, vault by vault."""
    credited: Split = {}
    left = {vault: sum(amount for (_, lies), amount in drawn.items() if lies == vault) for vault in vaults}
    for account, amount in wanted:
        missing = amount
        for vault, there in left.items():
            part = min(missing, there)
            missing, left[vault] = missing - part, there - part
            credited[account, vault] = part
    return credited


def rewards(
    lying: dict[str, dict[str, int]], weights: dict[str, int], open_cases: dict[str, str], key: object = 0
) -> ValidatorRewardsAllocated:
    """Share the pool that lies, by vault, in `carry` and `current`: drawn in that order, filled in order of id."""
    drawn = {(f"validator_pool:{part}", vault): lying[vault][part] for vault in lying for part in ("carry", "current")}
    pool, carry_in = sum(drawn.values()), sum(parts["carry"] for parts in lying.values())
    shared = share_pool(pool, weights, open_cases)
    due = {id: (accounts.payable("validator", id), amount) for id, amount in shared.shares}
    due |= {id: (accounts.withheld(case), amount) for case, id, amount in shared.withheld}
    wanted = [due[id] for id in sorted(due)] + [(accounts.POOL_CARRY, shared.carry)]
    credited = _fill(lying, drawn, wanted)
    for where in drawn.keys() & credited.keys():
        both = min(drawn[where], credited[where])
        drawn[where], credited[where] = drawn[where] - both, credited[where] - both
    common = {"answered": 1, "assigned": 1}
    data = ValidatorRewardsAllocatedData(
        asset="OMNI", carry=str(shared.carry), carry_in=str(carry_in), excluded=(), pool=str(pool), snapshot="ab" * 32,
        credited=_lines({where: amount for where, amount in credited.items() if amount}),
        drawn=_lines({where: amount for where, amount in drawn.items() if amount}),
        lines=tuple(
            RewardLine(amount=str(n), validator=id, weight=str(weights[id]), **common) for id, n in shared.shares
        ),
        weight=str(sum(weights.values())),
        withheld=tuple(
            WithheldLine(amount=str(n), case=case, validator=id, weight=str(weights[id]), **common)
            for case, id, n in shared.withheld
        ),
    )  # fmt: skip
    event: ValidatorRewardsAllocated = decide(ValidatorRewardsAllocated, "2026-10-01", key, data)
    return event


class _Network:
    """Random books: each step draws its numbers within what the books hold at that moment."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.made: list[Decision] = []
        self.cases: dict[str, SlashProposed] = {}
        self.tickets: dict[str, tuple[str, str]] = {}
        self._draw = draw
        self._balances = Balances()

    def decide(self, decision: Decision) -> None:
        """Append a decision and fold it."""
        self.made.append(decision)
        entry = post(decision)
        if entry is not None:
            self._balances.fold(entry)
            self._balances.check()

    def has(self, account: str, vault: str) -> int:
        """Return what lies there."""
        return self._balances.net(accounts.Key("OMNI", account, vault))

    def vaults(self, account: str) -> list[str]:
        """Return the vaults in which something of an account lies."""
        return sorted(
            key.vault for key, _ in self._balances.items() if key.account == account and self._balances.net(key)
        )

    def some(self, account: str, vault: str) -> int:
        """Draw a part of what lies there."""
        return self._draw(st.integers(0, self.has(account, vault)))

    def number(self) -> int:
        """Return a number that was not used for a key yet."""
        return len(self.made)

    # --- steps ---

    def stake(self) -> None:
        role, id = self._draw(st.sampled_from(STAKERS))
        self.decide(deposit(id, self.some("external", ""), self.number(), role=role))

    def job(self) -> None:
        """Settle a job with a line that waits, and then that line, paid or refunded."""
        job = f"J{self.number()}"
        self.decide(deposit("K", self.some("external", ""), self.number()))
        held = self.some("consumer:K", "escrow")
        first, waiting = sorted(self._draw(st.tuples(st.integers(0, held), st.integers(0, held))))
        paid, waiting = first, waiting - first
        self.decide(fund("K", job, held))
        if self._draw(st.booleans()):
            self.decide(settle("K", job, held, lines(paid)))
            return
        self.decide(settle_waiting("K", job, (paid,), waiting, held - paid - waiting))
        later = self._draw(st.integers(0, waiting))
        self.decide(settle_waiting("K", job, (later,) if later else (), 0, waiting - later, attempt=2))

    def withdraw(self) -> None:
        self.decide(withdrawal("K", self.some("consumer:K", "escrow"), self.number()))

    def unstake(self) -> None:
        role, id = self._draw(st.sampled_from(STAKERS))
        ticket = f"t{self.number()}"
        self.decide(unstaked(role, id, self.some(accounts.bonded(role, id), "stake"), ticket))
        self.tickets[ticket] = role, id

    def end_ticket(self) -> None:
        if not self.tickets:
            return
        ticket = self._draw(st.sampled_from(sorted(self.tickets)))
        role, id = self.tickets.pop(ticket)
        ends = self._draw(st.sampled_from([rebonded, matured]))
        self.decide(ends(role, id, self.has(accounts.unbonding(ticket), "stake"), ticket))

    def accuse(self) -> None:
        role, id = self._draw(st.sampled_from(STAKERS))
        case = f"c{self.number()}"
        tickets = [ticket for ticket, whose in self.tickets.items() if whose == (role, id)]
        parts = {ticket: self.some(accounts.unbonding(ticket), "stake") for ticket in tickets}
        frozen = self.some(accounts.bonded(role, id), "stake")
        proposer = self._draw(st.sampled_from(["protocol", "V1", "V2"]))
        bond = 0
        if proposer not in {"protocol", id}:
            bond = self.some(accounts.bonded("validator", proposer), "stake")
        made = proposed(role, id, frozen, parts, case, bond, proposer if bond else "protocol")
        self.decide(made)
        self.cases[case] = made

    def end_case(self) -> None:
        if not self.cases:
            return
        case = self._draw(st.sampled_from(sorted(self.cases)))
        event = self.cases.pop(case)
        waiting = {vault: self.has(accounts.withheld(case), vault) for vault in self.vaults(accounts.withheld(case))}
        data, bond = event.data, int(event.data.bond)
        if self._draw(st.booleans()):
            self.decide(upheld(data.role, event.subject, int(data.amount), waiting, case, bond, data.proposer))
            split = distribute(int(data.amount), 5_000, None, self._draw(st.sets(st.sampled_from(["V1", "V3"]))))
            self.decide(distributed(event.subject, dict(split.paid), split.burned, case))
            return
        back: Split = {(accounts.bonded(data.role, event.subject), "stake"): int(data.from_bonded)}
        for part in data.from_tickets:
            open_ticket = part.ticket in self.tickets
            where = accounts.unbonding(part.ticket) if open_ticket else accounts.payable("stake", OWNER)
            back[where, "stake"] = back.get((where, "stake"), 0) + int(part.amount)
        receiver = accounts.payable("validator", event.subject)
        freed = {(receiver, vault): amount for vault, amount in waiting.items()}
        self.decide(reversed_(data.role, event.subject, back, freed, case, bond))

    def close(self) -> None:
        """Share an epoch's fees, and then the pool wherever it lies."""
        accrued = self.has("fee:accrued", "escrow")
        self.decide(lane_closed(accrued, self.number()))
        self.decide(fees(accrued, self.number()))
        lying = {
            vault: {part: self.has(f"validator_pool:{part}", vault) for part in ("carry", "current")}
            for vault in ("fees", "escrow")
        }
        weights = {id: self._draw(st.integers(0, 9)) for role, id in STAKERS if role == "validator"}
        oldest = {event.subject: case for case, event in reversed(self.cases.items()) if event.data.role == "validator"}
        self.decide(rewards(lying, weights, {id: case for id, case in oldest.items() if id in weights}, self.number()))

    def pay(self) -> None:
        vault = self._draw(st.sampled_from(["escrow", "fees", "stake"]))
        owed = [key for key, _ in self._balances.items() if key.account.startswith("payable:") and key.vault == vault]
        chosen = self._draw(st.lists(st.sampled_from(owed), unique=True)) if owed else []
        self.decide(
            payout(vault, {(key.account, vault): self.some(key.account, vault) for key in chosen}, self.number())
        )

    def burn(self) -> None:
        vault = self._draw(st.sampled_from(["escrow", "stake"]))
        self.decide(burn(vault, self.some("burn:pending", vault), self.number()))

    def sweep(self) -> None:
        names = ("validator_pool:carry", "payable:validator:V1", "payable:validator:V2")
        pooled: Split = {(name, "escrow"): self.some(name, "escrow") for name in names}
        self.decide(sweep("escrow", pooled, "fees", self.number()))
        owned = {("treasury:ops", "escrow"): self.some("treasury:ops", "escrow")}
        self.decide(sweep("escrow", owned, "treasury", self.number()))

    def steps(self) -> list[Callable[[], None]]:
        """Name what may happen, in no order."""
        return [
            self.stake, self.job, self.withdraw, self.unstake, self.end_ticket, self.accuse, self.end_case,
            self.end_case, self.close, self.close, self.pay, self.burn, self.sweep,
        ]  # fmt: skip


@st.composite
def network_decisions(draw: st.DrawFn, most: int = 25) -> tuple[Decision, ...]:
    """Draw books of at most so many steps after genesis and stakes, each step within what is there."""
    network = _Network(draw)
    outside = draw(st.sampled_from([10**6, 2**64, 10**30]))
    network.decide(genesis({("external", ""): outside, ("treasury:ops", "treasury"): 9}))
    for role, id in STAKERS:
        network.decide(deposit(id, draw(st.integers(0, outside // 10)), network.number(), role=role))
    for step in draw(st.lists(st.sampled_from(network.steps()), max_size=most)):
        step()
    return tuple(network.made)
