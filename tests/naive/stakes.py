"""The naive hub: participants, stakes, slashes, declared chain facts and the close of each epoch, cut by cut."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from events.event import Fact
from events.facts import ChainFactDeclared
from events.instant import DAY, MICROSECONDS
from events.orders import PayoutKeyChanged, RebondOrdered, SlashDisputeFiled, SlashReportFiled, UnstakeOrdered
from events.participants import (
    NodeRegistered,
    NodeRetired,
    NodeUpdated,
    SlashRuled,
    ValidatorExited,
    ValidatorRegistered,
)
from events.refusal import Reason
from tests.naive.jobs import Evidence, Jobs, case_of
from tests.naive.purse import Place, Purse, Refused
from tests.naive.rewards import share_epoch

__all__ = ["Case", "Member", "Stakes", "Ticket", "accusation_of", "home_of"]

Who = tuple[str, str]
HUB_HOMES = {
    "fee:accrued": "fees", "validator_pool": "fees", "payable:validator": "fees", "treasury": "treasury",
    "fund": "fund", "payable:supplier": "escrow", "payable:withdrawal": "escrow", "stake": "stake",
    "slash": "stake", "bond": "stake", "payable:stake": "stake", "payable:reporter": "stake", "vest": "vesting",
}  # fmt: skip
CHAIN_RANKS = {"stake": 1, "payout": 9, "burn": 10, "sweep": 11}


@dataclass(slots=True)
class Member:
    """A registered participant; `cause` of its suspension as it was last said."""

    owner: str
    cause: str | None = None
    fit: bool = True
    gone: bool = False


@dataclass(slots=True)
class Ticket:
    """An unbonding."""

    id: str
    who: Who
    owner: str
    matures_at: int
    open: bool = True


@dataclass(slots=True)
class Case:
    """A case and where its money came from."""

    id: str
    who: Who
    proposer: str
    reporter: str | None
    verifiers: tuple[str, ...]
    proposed_at: int
    ends_at: int
    bonded: int
    parts: list[tuple[Ticket, int]]
    bond: int
    evidenced: bool = False
    disputed: bool = False
    open: bool = True
    upheld_at: int | None = None

    @property
    def amount(self) -> int:
        """What it froze."""
        return self.bonded + sum(part for _, part in self.parts)


@dataclass(slots=True)
class Level:
    """What stood behind each validator behind a cut, and whether it was active."""

    time: int
    stake: dict[str, int]
    active: dict[str, bool]


class Stakes:
    """The hub."""

    def __init__(self, purse: Purse, jobs: Jobs) -> None:
        """Begin before the first cut."""
        self.purse = purse
        self.jobs = jobs
        self.waiting: list[tuple[int, int, Fact]] = []
        self.members: dict[Who, Member] = {}
        self.tickets: dict[str, Ticket] = {}
        # In the order in which they were proposed.
        self.cases: dict[str, Case] = {}
        # By the case that evidence of the same would have: the accusation that is open, or was upheld.
        self.accusations: dict[str, str] = {}
        self.levels: list[Level] = []
        self._done = -(2**62)
        self._when: dict[str, int] = {}
        self._basis: dict[Who, int] = {}

    # --- cuts ---

    def next_cut(self) -> int:
        """Return the next cut at which there is something to do, literally the earliest of all."""
        times = [self.purse.closes_at(self.purse.epoch)]
        times += [self._cut_from(effective + 1) for effective, _, _ in self.waiting + self.jobs.evidence]
        times += [self._cut_from(case.ends_at) for case in self.cases.values() if case.open]
        times += [self._cut_from(ticket.matures_at) for ticket in self.tickets.values() if ticket.open]
        return min(times)

    def _cut_from(self, time: int) -> int:
        """Return the first cut at or behind a time: a multiple, or half an hour or so behind the end of a day."""
        rules = self.purse.rules.epoch
        step, grace = rules.cut_seconds * MICROSECONDS, rules.grace_seconds * MICROSECONDS
        after = max(time, self._done + 1)
        return min(-(-after // step) * step, -(-(after - grace) // DAY) * DAY + grace)

    def cut(self, time: int) -> None:
        """Do all that a cut does."""
        self.purse.collect(time)
        todo: list[tuple[int, int, str, Callable[[int], None]]] = []
        accused: set[Who] = set()
        for effective, occurred_at, fact in self.waiting:
            if effective < time:
                rank, handler = _handler_of(fact)
                if isinstance(fact, SlashReportFiled):
                    accused.add((fact.data.role, fact.data.accused))
                todo.append((rank, occurred_at, fact.id, lambda t, h=handler, f=fact: h(self, f, f.data, t)))  # type: ignore[misc]
        for effective, occurred_at, evidence in self.jobs.evidence:
            if effective < time:
                accused.add((evidence.role, evidence.accused))
                todo.append((4, occurred_at, evidence.id, lambda t, e=evidence: self._propose_evidenced(e, t)))  # type: ignore[misc]
        # When each fact is to be judged: its own effective time, not the cut's.
        self._when = {fact.id: effective for effective, _, fact in self.waiting}
        self.waiting = [line for line in self.waiting if line[0] >= time]
        self.jobs.evidence = [line for line in self.jobs.evidence if line[0] >= time]
        todo.sort(key=lambda step: step[:3])
        self._do(todo, time, 0, 2)
        for case in sorted(self.cases.values(), key=lambda case: (case.ends_at, case.id)):
            if case.open and case.ends_at <= time:
                self._decide(case, case.evidenced, time)
        self._basis = {who: self._bonded(who) + self._unbonding(who) for who in accused}
        self._do(todo, time, 4, 4)
        for ticket in self.tickets.values():
            if ticket.open and ticket.matures_at <= time:
                self._mature(ticket)
        self._do(todo, time, 6, 11)
        self._done = time
        self._remember(time)
        if time == self.purse.closes_at(self.purse.epoch):
            self._close(time)

    def _do(self, todo: list[Any], time: int, low: int, high: int) -> None:
        for rank, _, id, step in todo:
            if low <= rank <= high:
                try:
                    step(time)
                except Refused as refused:
                    self.purse.refused[id] = refused.reason

    def _remember(self, time: int) -> None:
        validators = {id: member for (role, id), member in self.members.items() if role == "validator"}
        self.levels.append(
            Level(
                time,
                {id: self.level(("validator", id)) for id in validators},
                {id: member.cause is None for id, member in validators.items()},
            )
        )

    # --- what stands behind a participant ---

    def _place(self, who: Who) -> Place:
        return f"stake:bonded:{who[0]}:{who[1]}", "stake"

    def _bonded(self, who: Who) -> int:
        return self.purse.money[self._place(who)]

    def _left(self, ticket: Ticket) -> int:
        return self.purse.money[f"stake:unbonding:{ticket.id}", "stake"]

    def _unbonding(self, who: Who) -> int:
        return sum(self._left(ticket) for ticket in self.tickets.values() if ticket.open and ticket.who == who)

    def level(self, who: Who) -> int:
        """Bonded, frozen out of what was bonded, and posted as bonds of accusations."""
        frozen = sum(case.bonded for case in self.cases.values() if case.open and case.who == who)
        bonds = sum(case.bond for case in self.cases.values() if case.open and ("validator", case.proposer) == who)
        return self._bonded(who) + frozen + bonds

    def _minimum(self, role: str) -> int:
        stake = self.purse.rules.stake
        return int(stake.node_minimum if role == "node" else stake.validator_minimum)

    def _cause(self, who: Who) -> str | None:
        """Say why a member may not serve: the gravest cause."""
        member = self.members[who]
        if member.gone or not member.fit:
            return "retired" if member.gone else "hardware"
        return "stake" if self.level(who) < self._minimum(who[0]) else None

    def _look(self, who: Who) -> None:
        """Suspend or reinstate, where the cause has changed."""
        if who in self.members and self._cause(who) != self.members[who].cause:
            cause = self.members[who].cause = self._cause(who)
            self.purse.say(*(("ParticipantSuspended", *who, cause) if cause else ("ParticipantReinstated", *who)))

    # --- rank 0, 1: who there is, and with what ---

    def _register_validator(self, fact: Fact, data: Any, time: int) -> None:
        self._register(("validator", fact.subject), data.owner)

    def _register_node(self, fact: Fact, data: Any, time: int) -> None:
        if data.authority == "declared":
            return
        if ("node", fact.subject) in self.members:
            raise Refused(Reason.PARTICIPANT_EXISTS)
        if data.owner is None:
            raise Refused(Reason.OWNER_MISSING)
        if not self._is_fit(data):
            raise Refused(Reason.HARDWARE_BELOW_MINIMUM)
        self._register(("node", fact.subject), data.owner)

    def _register(self, who: Who, owner: str) -> None:
        if who in self.members:
            raise Refused(Reason.PARTICIPANT_EXISTS)
        self.members[who] = Member(owner)
        self.members[who].cause = self._cause(who)
        self.purse.say("ParticipantRegistered", *who, self.members[who].cause is None)

    def _is_fit(self, data: Any) -> bool:
        stake = self.purse.rules.stake
        enough = (data.vram_mib or 0) >= stake.vram_mib_minimum
        return bool(enough and (data.bandwidth_mbps or 0) >= stake.bandwidth_mbps_minimum)

    def _update(self, fact: Fact, data: Any, time: int) -> None:
        who = "node", fact.subject
        self._known(who).fit = self._is_fit(data)
        self._look(who)

    def _retire(self, fact: Fact, data: Any, time: int) -> None:
        who = "node" if isinstance(fact, NodeRetired) else "validator", fact.subject
        self._known(who).gone = True
        self._look(who)

    def _known(self, who: Who) -> Member:
        if who not in self.members:
            raise Refused(Reason.PARTICIPANT_UNKNOWN)
        return self.members[who]

    def _stake(self, fact: Fact, data: Any, time: int) -> None:
        self._check_asset(data)
        if data.role is None or data.vault != "stake" or data.amount == "0":
            raise Refused(Reason.EFFECT_MALFORMED)
        self.purse.move(("external", ""), self._place((data.role, fact.subject)), int(data.amount))
        self.purse.say("StakeCredited", data.role, fact.subject, int(data.amount))
        self._look((data.role, fact.subject))

    # --- rank 2, 3: disputes, rulings, windows ---

    def _case(self, id: str) -> Case:
        if id not in self.cases:
            raise Refused(Reason.CASE_UNKNOWN)
        if not self.cases[id].open:
            raise Refused(Reason.CASE_CLOSED)
        return self.cases[id]

    def _dispute(self, fact: Fact, data: Any, time: int) -> None:
        case = self._case(fact.subject)
        if case.who not in self.members or self.members[case.who].owner != data.owner:
            raise Refused(Reason.OWNER_DIFFERS)
        self.purse.check_order("hub", fact, data, self._when[fact.id])
        if case.disputed or self._when[fact.id] >= case.ends_at:
            raise Refused(Reason.CASE_NOT_DISPUTABLE)
        case.disputed = True
        case.ends_at = time + self.purse.rules.slash.ruling_seconds * MICROSECONDS
        self.purse.say("SlashDisputed", case.id, case.ends_at)

    def _rule(self, fact: Fact, data: Any, time: int) -> None:
        foundation = self.purse.rules.foundation
        if data.cluster != self.purse.rules.chain.cluster:
            raise Refused(Reason.CLUSTER_DIFFERS)
        keys = {approval.key for approval in data.approvals} & set(foundation.keys)
        if fact.id in self.purse.forged and keys:
            raise Refused(Reason.SIGNATURE_WRONG)
        if len(keys) < foundation.approvals:
            raise Refused(Reason.APPROVALS_MISSING)
        self._decide(self._case(fact.subject), data.verdict == "upheld", time)

    def _decide(self, case: Case, upheld: bool, time: int) -> None:
        case.open = False
        self.jobs.returns.append((time + self.purse.rules.epoch.return_seconds * MICROSECONDS, case.id, upheld))
        if upheld:
            self._uphold(case, time)
        else:
            self._reverse(case)
            self.accusations = {deed: id for deed, id in self.accusations.items() if id != case.id}
        self._look(case.who)
        self._look(("validator", case.proposer))

    def _uphold(self, case: Case, time: int) -> None:
        case.upheld_at = time
        self.purse.move((f"bond:{case.id}", "stake"), self._place(("validator", case.proposer)), case.bond)
        for vault, amount in self._withheld(case):
            self.purse.move((f"validator_pool:withheld:{case.id}", vault), ("validator_pool:carry", vault), amount)
        self.purse.say("SlashUpheld", case.id, case.amount)
        receivers = [case.reporter] if case.reporter else sorted(set(case.verifiers))
        rewarded = case.amount * self.purse.rules.slash.reward_bps // 10_000
        each = rewarded // len(receivers) if receivers else 0
        pending = f"slash:pending:{case.id}", "stake"
        for receiver in receivers:
            self.purse.move(pending, (f"payable:reporter:{receiver}", "stake"), each)
        burned = self.purse.money[pending]
        self.purse.move(pending, ("burn:pending", "stake"), burned)
        self.purse.say("SlashDistributed", case.id, burned, each, len(receivers))

    def _reverse(self, case: Case) -> None:
        pending = f"slash:pending:{case.id}", "stake"
        self.purse.move(pending, self._place(case.who), case.bonded)
        for ticket, part in case.parts:
            back = f"stake:unbonding:{ticket.id}" if ticket.open else f"payable:stake:{ticket.owner}"
            self.purse.move(pending, (back, "stake"), part)
        assert self.purse.money[pending] == 0
        self.purse.move((f"bond:{case.id}", "stake"), ("burn:pending", "stake"), case.bond)
        others = [other.id for other in self.cases.values() if other.open and other.who == case.who]
        target = f"validator_pool:withheld:{others[0]}" if others else f"payable:validator:{case.who[1]}"
        for vault, amount in self._withheld(case):
            self.purse.move((f"validator_pool:withheld:{case.id}", vault), (target, vault), amount)
        self.purse.say("SlashReversed", case.id, case.amount)

    def _withheld(self, case: Case) -> list[tuple[str, int]]:
        name = f"validator_pool:withheld:{case.id}"
        return [(vault, amount) for (account, vault), amount in list(self.purse.money.items()) if account == name]

    # --- rank 4: new cases ---

    def _propose_evidenced(self, evidence: Evidence, time: int) -> None:
        accusation = self.accusations.get(evidence.case)
        if accusation is not None:
            # A validator has said it before; that it is so, decides its case if nobody rules on it.
            self.cases[accusation].evidenced = True
        who = evidence.role, evidence.accused
        cost = 0 if accusation is not None else getattr(self.purse.rules.slash.bps, evidence.cause)
        ends_at = time + self.purse.rules.slash.window_seconds * MICROSECONDS
        self._propose(evidence.case, who, (evidence.consumer, evidence.job), cost, "protocol", time, ends_at)
        self.cases[evidence.case].verifiers = evidence.verifiers
        self.cases[evidence.case].reporter = evidence.reporter
        self.cases[evidence.case].evidenced = True

    def _report(self, fact: Fact, data: Any, time: int) -> None:
        me, who = ("validator", fact.subject), (data.role, data.accused)
        member = self._known(me)
        if member.owner != data.owner:
            raise Refused(Reason.OWNER_DIFFERS)
        self.purse.check_order("hub", fact, data, self._when[fact.id])
        if member.cause:
            raise Refused(Reason.PARTICIPANT_SUSPENDED)
        if self._known(who).owner == member.owner:
            raise Refused(Reason.ACCUSER_IS_ACCUSED)
        cost = getattr(self.purse.rules.slash.bps, data.cause, 0)
        if not cost:
            raise Refused(Reason.CAUSE_NOT_SLASHED)
        bond = int(self.purse.rules.slash.bond)
        deed = case_of(data.role, data.accused, data.consumer, data.job, data.attempt, data.cause)
        if deed in self.cases or deed in self.accusations:
            raise Refused(Reason.CASE_EXISTS)
        if bond > self._bonded(me):
            raise Refused(Reason.STAKE_INSUFFICIENT)
        case = self.accusations[deed] = accusation_of(fact.id)
        self.purse.move(self._place(me), (f"bond:{case}", "stake"), bond)
        ends_at = time + self.purse.rules.slash.ruling_seconds * MICROSECONDS
        self._propose(case, who, (data.consumer, data.job), cost, fact.subject, time, ends_at)
        self.cases[case].bond = bond
        self.cases[case].reporter = fact.subject

    def _propose(
        self, id: str, who: Who, job: tuple[str, str], cost: int, proposer: str, time: int, ends_at: int
    ) -> None:
        basis = self._basis.get(who, 0)
        left = self._bonded(who) + self._unbonding(who)
        amount = min(basis * cost // 10_000, left)
        pending = f"slash:pending:{id}", "stake"
        bonded = min(amount, self._bonded(who))
        self.purse.move(self._place(who), pending, bonded)
        owed, parts = amount - bonded, []
        for ticket in reversed(list(self.tickets.values())):
            if ticket.open and ticket.who == who:
                part = min(owed, self._left(ticket))
                owed -= part
                if part:
                    self.purse.move((f"stake:unbonding:{ticket.id}", "stake"), pending, part)
                    parts.append((ticket, part))
        assert owed == 0
        self.cases[id] = Case(id, who, proposer, None, (), time, ends_at, bonded, parts, 0)
        self.purse.say("SlashProposed", id, *job, *who, basis, amount, bonded, ends_at)

    # --- rank 5, 6, 7, 8: tickets, keys ---

    def _mature(self, ticket: Ticket) -> None:
        amount = self._left(ticket)
        self.purse.move((f"stake:unbonding:{ticket.id}", "stake"), (f"payable:stake:{ticket.owner}", "stake"), amount)
        ticket.open = False
        self.purse.say("UnbondingMatured", ticket.id, amount)

    def _rebond(self, fact: Fact, data: Any, time: int) -> None:
        who = data.role, fact.subject
        self._check_owner(fact, data, who)
        ticket = self.tickets.get(data.ticket)
        if ticket is None or not ticket.open or ticket.who != who:
            raise Refused(Reason.TICKET_UNKNOWN)
        amount = self._left(ticket)
        self.purse.move((f"stake:unbonding:{ticket.id}", "stake"), self._place(who), amount)
        ticket.open = False
        self.purse.say("UnbondingCancelled", ticket.id, amount)
        self._look(who)

    def _unstake(self, fact: Fact, data: Any, time: int) -> None:
        who = data.role, fact.subject
        self._check_owner(fact, data, who)
        self._check_asset(data)
        if data.amount == "0":
            raise Refused(Reason.AMOUNT_IS_ZERO)
        if int(data.amount) > self._bonded(who):
            raise Refused(Reason.STAKE_INSUFFICIENT)
        matures_at = time + self.purse.rules.stake.unbonding_seconds * MICROSECONDS
        ticket = Ticket(fact.id[:32], who, data.owner, matures_at)
        self.tickets[ticket.id] = ticket
        self.purse.move(self._place(who), (f"stake:unbonding:{ticket.id}", "stake"), int(data.amount))
        self.purse.say("UnstakeRequested", ticket.id, int(data.amount), matures_at)
        self._look(who)

    def _change_key(self, fact: Fact, data: Any, time: int) -> None:
        if fact.subject != data.owner:
            raise Refused(Reason.OWNER_DIFFERS)
        self.purse.check_order("hub", fact, data, self._when[fact.id])
        self.purse.say("PayoutKeyAccepted", fact.subject, data.payout_key)

    def _check_owner(self, fact: Fact, data: Any, who: Who) -> None:
        if self._known(who).owner != data.owner:
            raise Refused(Reason.OWNER_DIFFERS)
        self.purse.check_order("hub", fact, data, self._when[fact.id])

    # --- rank 9, 10, 11: what is declared in place of a chain ---

    def _check_asset(self, data: Any) -> None:
        if data.asset != self.purse.rules.unit.asset:
            raise Refused(Reason.ASSET_UNKNOWN)

    def _check_lines(self, data: Any) -> None:
        if sum(int(line.amount) for line in data.lines) != int(data.amount):
            raise Refused(Reason.EFFECT_MALFORMED)
        if data.amount == "0":
            raise Refused(Reason.EFFECT_MALFORMED)

    def _check_held(self, data: Any) -> None:
        for account in {line.account for line in data.lines}:
            whole = sum(int(line.amount) for line in data.lines if line.account == account)
            if whole > self.purse.money[account, data.vault] or account.split(":")[0] in {"consumer", "escrow"}:
                raise Refused(Reason.BALANCE_INSUFFICIENT)

    def _payout(self, fact: Fact, data: Any, time: int) -> None:
        self._check_asset(data)
        self._check_lines(data)
        if not all(line.account.startswith("payable:") for line in data.lines):
            raise Refused(Reason.EFFECT_MALFORMED)
        self._check_held(data)
        for line in data.lines:
            self.purse.move((line.account, data.vault), ("external", ""), int(line.amount))
        self.purse.say("PayoutFinalized", data.vault, int(data.amount))

    def _burn(self, fact: Fact, data: Any, time: int) -> None:
        self._check_asset(data)
        if data.amount == "0":
            raise Refused(Reason.EFFECT_MALFORMED)
        if int(data.amount) > self.purse.money["burn:pending", data.vault]:
            raise Refused(Reason.BALANCE_INSUFFICIENT)
        self.purse.move(("burn:pending", data.vault), ("supply:burned", ""), int(data.amount))
        self.purse.say("BurnFinalized", data.vault, int(data.amount))

    def _sweep(self, fact: Fact, data: Any, time: int) -> None:
        self._check_asset(data)
        self._check_lines(data)
        if data.to is None or data.to == data.vault or any(home_of(line.account) != data.to for line in data.lines):
            raise Refused(Reason.EFFECT_MALFORMED)
        # Fees are shared where they arose, and what they became is swept.
        if any(line.account == "fee:accrued" for line in data.lines):
            raise Refused(Reason.EFFECT_MALFORMED)
        self._check_held(data)
        for line in data.lines:
            self.purse.move((line.account, data.vault), (line.account, data.to), int(line.amount))
        self.purse.say("SweepFinalized", data.vault, data.to, int(data.amount))

    # --- the close of an epoch ---

    def _close(self, time: int) -> None:
        epoch = self.purse.epoch
        fees = self.jobs.fees.pop(epoch, 0)
        pool = fees * self.purse.rules.waterfall.validator_bps // 10_000
        self.purse.closed[epoch] = pool, fees - pool
        self.purse.move(("fee:accrued", "escrow"), ("validator_pool:current", "escrow"), pool)
        self.purse.move(("fee:accrued", "escrow"), ("treasury:ops", "escrow"), fees - pool)
        share_epoch(self, epoch, time)
        self.purse.epoch += 1


def accusation_of(report: str) -> str:
    """Name the case that a report opens, by the id of the report."""
    return sha256(f"accusation|{report}".encode()).hexdigest()[:32]


def home_of(account: str) -> str | None:
    """Name the home vault of one of the hub's accounts."""
    heads = [":".join(account.split(":")[:count]) for count in (2, 1)]
    return next((HUB_HOMES[head] for head in heads if head in HUB_HOMES), None)


def _handler_of(fact: Fact) -> tuple[int, Callable[[Stakes, Fact, Any, int], None]]:
    if isinstance(fact, ChainFactDeclared):
        return CHAIN_RANKS[fact.data.effect], _EFFECTS[fact.data.effect]
    return _HANDLERS[type(fact)]


_EFFECTS: dict[str, Callable[[Stakes, Fact, Any, int], None]] = {
    "stake": Stakes._stake,
    "payout": Stakes._payout,
    "burn": Stakes._burn,
    "sweep": Stakes._sweep,
}
_HANDLERS: dict[type[Fact], tuple[int, Callable[[Stakes, Fact, Any, int], None]]] = {
    ValidatorRegistered: (0, Stakes._register_validator),
    NodeRegistered: (0, Stakes._register_node),
    NodeUpdated: (0, Stakes._update),
    NodeRetired: (0, Stakes._retire),
    ValidatorExited: (0, Stakes._retire),
    SlashDisputeFiled: (2, Stakes._dispute),
    SlashRuled: (2, Stakes._rule),
    SlashReportFiled: (4, Stakes._report),
    RebondOrdered: (6, Stakes._rebond),
    UnstakeOrdered: (7, Stakes._unstake),
    PayoutKeyChanged: (8, Stakes._change_key),
}
