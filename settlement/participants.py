"""Participants: who is registered, what stands behind each, what of it is on its way out, and who may serve.

    stake level = bonded + frozen            frozen: what open cases took of bonded stake, and bonds posted on cases
    may serve   = registered, not retired, hardware and stake level at the minimum (R7, D12)

Money may come before its owner is known: it is bonded at once, and counts from the registration on. A declared node
stakes nothing and is no participant. How high each level was is remembered for validators, for as long as an open epoch
may need it (D15).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from events.decisions import (
    DepositCredited,
    DepositCreditedData,
    PayoutKeyAccepted,
    PayoutKeyAcceptedData,
)
from events.event import Role
from events.facts import ChainFactDeclared
from events.instant import MICROSECONDS, format_instant, start_of_day
from events.orders import PayoutKeyChanged, RebondOrdered, UnstakeOrdered
from events.participants import NodeRegistered, NodeRetired, NodeUpdated, ValidatorExited, ValidatorRegistered
from events.refusal import Reason, Refusal
from events.stakes import (
    ParticipantRegistered,
    ParticipantRegisteredData,
    ParticipantReinstated,
    ParticipantReinstatedData,
    ParticipantSuspended,
    ParticipantSuspendedData,
    UnbondingCancelled,
    UnbondingCancelledData,
    UnbondingMatured,
    UnbondingMaturedData,
    UnstakeRequested,
    UnstakeRequestedData,
)
from ledger.accounts import VAULT_STAKE, bonded, unbonding
from ledger.parameters import Parameters
from ledger.rewards import Backing
from ledger.slash import StakeLevels, Ticket, is_suspended
from settlement.hub_writer import HubWriter
from settlement.orders import OrderBook

__all__ = ["Level", "Participant", "Participants"]

# Why a participant may not serve; the first that holds is told.
Suspension = Literal["retired", "hardware", "stake"]


class Level(NamedTuple):
    """What stood behind a validator from a cut on, and whether it could serve."""

    time: int
    backing: Backing
    active: bool


@dataclass(slots=True)
class Participant:
    """A node or a validator, or an id that only money or evidence has named yet: then without an owner.

    `tickets` are open, the earliest first. `frozen` in base units. `suspension` and `changes` are as they were last
    told; `upheld` are the cuts at which cases against it were upheld.
    """

    role: Role
    id: str
    owner: str | None = None
    fit: bool = True
    retired: bool = False
    tickets: list[str] = field(default_factory=list)
    frozen: int = 0
    suspension: Suspension | None = None
    changes: int = 0
    levels: list[Level] = field(default_factory=list)
    upheld: list[int] = field(default_factory=list)


class Participants:
    """All participants, by role and id."""

    def __init__(
        self, parameters: Parameters, writer: HubWriter, orders: OrderBook, schedule: Callable[[int, str], None]
    ) -> None:
        """Begin with nobody; `schedule(time, ticket)` sees to it that `mature` is called when the time has come."""
        self._rules = parameters.stake
        self._unit = parameters.unit
        self._writer = writer
        self._holdings = writer.holdings
        self._orders = orders
        self._schedule = schedule
        self._known: dict[tuple[Role, str], Participant] = {}
        self._tickets: dict[str, Participant] = {}
        # Those whose level may have changed at the present cut.
        self._touched: dict[str, Participant] = {}

    # --- what others ask ---

    def of(self, role: Role, id: str) -> Participant:
        """Return who bears a name, registered or not."""
        return self._known.setdefault((role, id), Participant(role, id))

    def find(self, role: Role, id: str) -> Participant | Refusal:
        """Return a registered participant."""
        who = self._known.get((role, id))
        if who is None or who.owner is None:
            return Refusal(Reason.PARTICIPANT_UNKNOWN, f"{role} {id}")
        return who

    def authorized(self, role: Role, fact: Any, now: int) -> Participant | Refusal:
        """Return the participant that an order's subject names, if it is the owner who orders."""
        who = self.find(role, fact.subject)
        if isinstance(who, Refusal):
            return who
        return self.check_owner(who, fact, now) or who

    def check_owner(self, who: Participant, fact: Any, now: int) -> Refusal | None:
        """Accept an order about a participant from its owner alone."""
        if fact.data.owner != who.owner:
            return Refusal(Reason.OWNER_DIFFERS, f"{fact.data.owner}, of {who.role} {who.id} it is {who.owner}")
        return self._orders.check(fact, now)

    def validators(self) -> list[Participant]:
        """Return all registered validators, in the order of ids."""
        known = (who for who in self._known.values() if who.role == "validator" and who.owner is not None)
        return sorted(known, key=lambda who: who.id)

    def bonded(self, who: Participant) -> int:
        """Return what of a stake is bonded, base units."""
        return self._holdings.held(bonded(who.role, who.id))

    def stake(self, who: Participant) -> StakeLevels:
        """Return what of a stake can be slashed."""
        tickets = (Ticket(id, self._holdings.held(unbonding(id))) for id in who.tickets)
        return StakeLevels(self.bonded(who), tuple(tickets))

    def is_open(self, ticket: str) -> bool:
        """Tell whether stake may still go back to a ticket."""
        return ticket in self._tickets

    def look(self, who: Participant) -> None:
        """Suspend or reinstate a participant, if something about it has changed."""
        if who.owner is None:
            return
        if who.role == "validator":
            self._touched[who.id] = who
        suspension, stake = self._suspension(who), str(self.bonded(who) + who.frozen)
        if suspension == who.suspension:
            return
        who.suspension = suspension
        who.changes += 1
        key, minimum = f"{who.role}:{who.id}:{who.changes}", str(self._minimum(who.role))
        if suspension is None:
            reinstated = ParticipantReinstatedData(minimum=minimum, role=who.role, stake=stake)
            self._writer.write(ParticipantReinstated, key, who.id, reinstated)
        else:
            suspended = ParticipantSuspendedData(cause=suspension, minimum=minimum, role=who.role, stake=stake)
            self._writer.write(ParticipantSuspended, key, who.id, suspended)

    def remember(self) -> None:
        """Keep the level of each validator that the present cut has changed."""
        for who in self._touched.values():
            level = Level(self._writer.cut, Backing(self.bonded(who), who.frozen), who.suspension is None)
            if not who.levels or level[1:] != who.levels[-1][1:]:
                who.levels.append(level)
        self._touched.clear()

    def forget(self, oldest_open: int) -> None:
        """Drop what no epoch from this one on can ask for."""
        start = start_of_day(oldest_open)
        for who in self._known.values():
            while len(who.levels) > 1 and who.levels[1].time <= start:
                del who.levels[0]
            who.upheld = [time for time in who.upheld if time > start]

    # --- handlers: a ladder of refusals, then one decision ---

    def register_validator(self, fact: ValidatorRegistered, _now: int) -> Refusal | None:
        """Let a validator join."""
        if isinstance(self.find("validator", fact.subject), Participant):
            return Refusal(Reason.PARTICIPANT_EXISTS, f"validator {fact.subject}")
        self._register("validator", fact.subject, fact.data.operator, fact.data.owner)
        return None

    def register_node(self, fact: NodeRegistered, _now: int) -> Refusal | None:
        """Let a node join; a declared one is exempt from R7 and needs no leave."""
        data = fact.data
        if data.authority == "declared":
            return None
        if isinstance(self.find("node", fact.subject), Participant):
            return Refusal(Reason.PARTICIPANT_EXISTS, f"node {fact.subject}")
        if data.owner is None:
            return Refusal(Reason.OWNER_MISSING, "a node with a stake has an owner")
        if not self._is_fit(data.vram_mib, data.bandwidth_mbps):
            return Refusal(Reason.HARDWARE_BELOW_MINIMUM, f"{data.vram_mib} MiB, {data.bandwidth_mbps} Mbit/s")
        self._register("node", fact.subject, data.operator, data.owner)
        return None

    def update_node(self, fact: NodeUpdated, _now: int) -> Refusal | None:
        """Take note of a node's hardware."""
        who = self.find("node", fact.subject)
        if isinstance(who, Refusal):
            return who
        who.fit = self._is_fit(fact.data.vram_mib, fact.data.bandwidth_mbps)
        self.look(who)
        return None

    def retire(self, fact: NodeRetired | ValidatorExited, _now: int) -> Refusal | None:
        """Let a participant go, for good; its stake stays until it is unstaked."""
        who = self.find("node" if isinstance(fact, NodeRetired) else "validator", fact.subject)
        if isinstance(who, Refusal):
            return who
        who.retired = True
        self.look(who)
        return None

    def credit(self, fact: ChainFactDeclared, _now: int) -> Refusal | None:
        """Bond a stake that has arrived, whoever it is for."""
        data = fact.data
        if data.asset != self._unit.asset:
            return Refusal(Reason.ASSET_UNKNOWN, data.asset)
        if data.role is None or data.vault != VAULT_STAKE or data.lines or data.to is not None or data.amount == "0":
            return Refusal(Reason.EFFECT_MALFORMED, f"a stake is above zero, has a role and lies in {VAULT_STAKE}")
        if int(data.amount) > int(self._unit.cap):
            return Refusal(Reason.AMOUNT_ABOVE_CAP, f"{data.amount}, there can be {self._unit.cap}")
        credited = DepositCreditedData(
            asset=data.asset, amount=data.amount, proof="declared", vault=data.vault, role=data.role
        )
        self._writer.write(DepositCredited, fact.id, fact.subject, credited)
        self.look(self.of(data.role, fact.subject))
        return None

    def unstake(self, fact: UnstakeOrdered, now: int) -> Refusal | None:
        """Set stake on its way out (D13)."""
        data = fact.data
        who = self.authorized(data.role, fact, now)
        if isinstance(who, Refusal):
            return who
        if data.asset != self._unit.asset:
            return Refusal(Reason.ASSET_UNKNOWN, data.asset)
        if data.amount == "0":
            return Refusal(Reason.AMOUNT_IS_ZERO, "an order takes something out")
        if int(data.amount) > self.bonded(who):
            return Refusal(Reason.STAKE_INSUFFICIENT, f"{data.amount} of {self.bonded(who)} bonded")
        ticket = fact.id[:32]
        matures_at = self._writer.cut + self._rules.unbonding_seconds * MICROSECONDS
        requested = UnstakeRequestedData(
            asset=data.asset,
            amount=data.amount,
            matures_at=format_instant(matures_at),
            role=data.role,
            ticket=ticket,
        )
        self._writer.write(UnstakeRequested, ticket, who.id, requested)
        who.tickets.append(ticket)
        self._tickets[ticket] = who
        self._schedule(matures_at, ticket)
        self.look(who)
        return None

    def rebond(self, fact: RebondOrdered, now: int) -> Refusal | None:
        """Take back what is left of a ticket."""
        data = fact.data
        who = self.authorized(data.role, fact, now)
        if isinstance(who, Refusal):
            return who
        if self._tickets.get(data.ticket) is not who:
            return Refusal(Reason.TICKET_UNKNOWN, data.ticket)
        cancelled = UnbondingCancelledData(
            asset=self._unit.asset,
            amount=str(self._holdings.held(unbonding(data.ticket))),
            role=data.role,
            ticket=data.ticket,
        )
        self._writer.write(UnbondingCancelled, data.ticket, who.id, cancelled)
        self._close_ticket(data.ticket)
        self.look(who)
        return None

    def change_key(self, fact: PayoutKeyChanged, now: int) -> Refusal | None:
        """Let an owner be paid at another key."""
        if fact.data.owner != fact.subject:
            return Refusal(Reason.OWNER_DIFFERS, f"{fact.data.owner} is not {fact.subject}")
        if refusal := self._orders.check(fact, now):
            return refusal
        accepted = PayoutKeyAcceptedData(payout_key=fact.data.payout_key)
        self._writer.write(PayoutKeyAccepted, fact.id, fact.subject, accepted)
        return None

    def mature(self, ticket: str) -> None:
        """Owe what is left of a ticket to its owner, if it was not taken back."""
        who = self._tickets.get(ticket)
        if who is None:
            return
        assert who.owner is not None
        matured = UnbondingMaturedData(
            asset=self._unit.asset,
            amount=str(self._holdings.held(unbonding(ticket))),
            owner=who.owner,
            role=who.role,
            ticket=ticket,
        )
        self._writer.write(UnbondingMatured, ticket, who.id, matured)
        self._close_ticket(ticket)

    def _register(self, role: Role, id: str, operator: str, owner: str) -> None:
        who = self.of(role, id)
        who.owner = owner
        who.suspension = self._suspension(who)
        registered = ParticipantRegisteredData(
            active=who.suspension is None, minimum=str(self._minimum(role)), operator=operator, owner=owner, role=role
        )
        self._writer.write(ParticipantRegistered, f"{role}:{id}", id, registered)
        self.look(who)

    def _close_ticket(self, ticket: str) -> None:
        self._tickets.pop(ticket).tickets.remove(ticket)

    def _minimum(self, role: Role) -> int:
        return int(self._rules.node_minimum if role == "node" else self._rules.validator_minimum)

    def _is_fit(self, vram_mib: int | None, bandwidth_mbps: int | None) -> bool:
        rules = self._rules
        return (vram_mib or 0) >= rules.vram_mib_minimum and (bandwidth_mbps or 0) >= rules.bandwidth_mbps_minimum

    def _suspension(self, who: Participant) -> Suspension | None:
        if who.retired:
            return "retired"
        if not who.fit:
            return "hardware"
        return "stake" if is_suspended(self.bonded(who), who.frozen, self._minimum(who.role)) else None
