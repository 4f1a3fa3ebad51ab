"""The hub: the one writer of every account that no lane owns.

It debits only at cuts (see `settlement.cuts`), when every lane has passed them; so what the hub decides does not depend
on how lanes interleave. A cut first adds what lanes have credited, as sums. Then it does what waits for it, in the
order of (rank, time, id):

    0 registrations             4 new slashes                  8 payout keys
    1 stakes that arrived       5 tickets that mature          9 payouts
    2 disputes and rulings      6 tickets taken back          10 burns
    3 windows that end          7 stake on its way out        11 sweeps

and then closes the epoch that closes at its time. A window or a ticket whose time comes at the cut that opened it, when
its rank is over, waits for the next.
"""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np

from events.columns import Columns
from events.decisions import (
    AllocatedLine,
    GenesisAllocated,
    GenesisAllocatedData,
    JobSettled,
    LaneEpochClosed,
    SlashEvidenced,
    WithdrawalAccepted,
)
from events.event import Decision, Event, Fact
from events.facts import ChainFactDeclared, GenesisDeclared
from events.instant import day_of, parse_instant
from events.orders import PayoutKeyChanged, RebondOrdered, SlashDisputeFiled, SlashReportFiled, UnstakeOrdered
from events.participants import (
    NodeRegistered,
    NodeRetired,
    NodeUpdated,
    SlashRuled,
    ValidatorExited,
    ValidatorRegistered,
)
from events.refusal import Refusal
from ledger.accounts import payable
from ledger.epoch import closes_at
from ledger.genesis import allocate_genesis
from ledger.parameters import Parameters
from settlement.cases import Cases
from settlement.closing import Closed, Closing
from settlement.cuts import cut_behind, cuts_behind
from settlement.declared import Declared
from settlement.hub_writer import Cause, HubWriter
from settlement.intake import Accepted
from settlement.orders import OrderBook
from settlement.output import Decided
from settlement.participants import Participants

__all__ = ["HEARD", "Hub"]

WINDOWS, SLASHES, TICKETS = 3, 4, 5


HEARD: tuple[type[Decision], ...] = (WithdrawalAccepted, SlashEvidenced, LaneEpochClosed)
"""The decisions of lanes that the hub hears one by one."""


class _Item(NamedTuple):
    """What waits for a cut: a fact, a lane's evidence, or (without an event) the end of a window or of a ticket."""

    cut: int
    rank: int
    time: int
    id: str
    event: Event | None = None
    effective: int = 0
    late: bool = False


class Hub:
    """The hub's decisions; methods return them in the order of the log."""

    def __init__(self, lanes: int, parameters: Parameters, params_hash: str) -> None:
        """Begin before the genesis, for a fixed number of lanes."""
        self._parameters = parameters
        self._launched_at = parse_instant(parameters.launched_at)
        self._closed: list[deque[Closed]] = [deque() for _ in range(lanes)]
        self._waiting: list[_Item] = []
        self._rank = 0
        self._writer = writer = HubWriter(params_hash, day_of(self._launched_at))
        self._orders = OrderBook(parameters.chain.cluster)
        self._participants = people = Participants(parameters, writer, self._orders, self._await_ticket)
        self._cases = cases = Cases(parameters, writer, people, self._await_window)
        self._closing = Closing(parameters, writer, people, cases)
        declared = Declared(parameters.unit.asset, writer)
        # By type of fact, or by the effect that is declared: its rank, and what decides about it.
        self._handlers: dict[type[Event] | str, tuple[int, Callable[[Any, int], Refusal | None]]] = {
            ValidatorRegistered: (0, people.register_validator),
            NodeRegistered: (0, people.register_node),
            NodeUpdated: (0, people.update_node),
            NodeRetired: (0, people.retire),
            ValidatorExited: (0, people.retire),
            "stake": (1, people.credit),
            SlashDisputeFiled: (2, cases.dispute),
            SlashRuled: (2, cases.rule),
            SlashEvidenced: (SLASHES, cases.take_evidence),
            SlashReportFiled: (SLASHES, cases.report),
            RebondOrdered: (6, people.rebond),
            UnstakeOrdered: (7, people.unstake),
            PayoutKeyChanged: (8, people.change_key),
            "payout": (9, declared.pay),
            "burn": (10, declared.burn),
            "sweep": (11, declared.sweep),
        }
        self._timers: dict[int, Callable[[str], None]] = {WINDOWS: cases.end, TICKETS: people.mature}

    def open_books(self, genesis: GenesisDeclared) -> Decided:
        """Allocate the first supply."""
        asset = self._parameters.unit.asset
        lines = allocate_genesis(self._parameters)
        allocated = GenesisAllocatedData(
            asset=asset,
            amount=str(sum(line.amount for line in lines)),
            lines=tuple(
                AllocatedLine(account=line.account, amount=str(line.amount), vault=line.vault) for line in lines
            ),
        )
        self._writer.because(Cause(self._launched_at, genesis.id))
        self._writer.write(GenesisAllocated, asset, asset, allocated)
        return self._writer.give()

    def take_fact(self, accepted: Accepted, effective: int) -> None:
        """Keep a fact for the first cut behind its effective time; one that no rule is about decides nothing."""
        fact = accepted.fact
        kind = _kind_of(fact)
        if kind in self._handlers:
            rank, _ = self._handlers[kind]
            cut, time = self._cut_for(effective), accepted.occurred_at
            item = _Item(cut, rank, time, fact.id, event=fact, effective=effective, late=accepted.late)
            heappush(self._waiting, item)

    def refuse_unreadable(self, position: str, refusal: Refusal) -> Decided:
        """Answer a line that intake refuses although it stands in the hub's facts; it has no time of its own."""
        self._writer.refuse_unreadable(position, refusal)
        return self._writer.give()

    def take_settled(self, settled: Columns, network_time: int) -> None:
        """Hear what a lane settled, of whose log the record says this network time."""
        times = np.maximum(settled.numbers("occurred_at"), max(network_time, self._launched_at))
        lines = settled.items("data.lines")
        self._writer.credits.add_many(cuts_behind(times, self._parameters)[lines.parents], lines)

    def take_decision(self, decision: Decision, effective: int, size: int) -> None:
        """Hear what a lane decided; `size` is the lane's position behind that event."""
        cut = self._cut_for(effective)
        if isinstance(decision, JobSettled):
            self._writer.credits.add_settled(cut, decision.data)
        elif isinstance(decision, WithdrawalAccepted):
            self._writer.credits.add(cut, payable("withdrawal", decision.subject), int(decision.data.amount))
        elif isinstance(decision, SlashEvidenced):
            time = parse_instant(decision.occurred_at)
            heappush(self._waiting, _Item(cut, SLASHES, time, decision.id, decision, effective))
        else:
            assert isinstance(decision, LaneEpochClosed)
            self._closed[decision.data.lane].append(Closed(decision, size))

    def next_cut(self, limit: int) -> int | None:
        """Return the next cut that has something to do, at most `limit`; credits alone are nothing to do."""
        cut = self._closes_at()
        if self._waiting:
            cut = min(cut, self._waiting[0].cut)
        return cut if cut <= limit else None

    def cut(self, time: int) -> Decided:
        """Decide at a cut that all lanes have passed. Raises: LedgerInvariantBroken."""
        assert time > self._writer.cut
        self._writer.cut = time
        # The cuts in between had nothing else to do.
        self._writer.credits.collect(time)
        self._cases.begin_cut()
        while self._waiting and self._waiting[0].cut <= time:
            item = heappop(self._waiting)
            assert item.cut == time
            self._do(item)
        self._participants.remember()
        if time == self._closes_at():
            self._close()
        self._orders.forget(time)
        return self._writer.give()

    def _do(self, item: _Item) -> None:
        self._rank, event = item.rank, item.event
        if event is None:
            self._writer.because(Cause(self._writer.cut))
            self._timers[item.rank](item.id)
            return
        self._writer.because(Cause(item.time, event.id, item.late))
        _, handler = self._handlers[_kind_of(event)]
        refusal = handler(event, item.effective)
        if refusal is not None:
            assert isinstance(event, Fact)
            self._writer.refuse(event, refusal)

    def _close(self) -> None:
        parts = [queue.popleft() for queue in self._closed]
        assert all(closed.epoch == self._writer.oldest_open for closed, _ in parts)
        self._closing.close(parts)

    def _closes_at(self) -> int:
        return closes_at(self._writer.oldest_open, self._parameters.epoch.grace_seconds)

    def _cut_for(self, effective: int) -> int:
        """Return the cut that takes what is effective at a time."""
        return cut_behind(max(effective, self._launched_at), self._parameters)

    def _await_window(self, ends_at: int, case: str) -> None:
        self._await(WINDOWS, ends_at, case)

    def _await_ticket(self, matures_at: int, ticket: str) -> None:
        self._await(TICKETS, matures_at, ticket)

    def _await(self, rank: int, time: int, id: str) -> None:
        """Come back to something at the first cut from a time on whose turn of this rank is not over."""
        cut = self._cut_for(time - 1)
        if (cut, rank) <= (self._writer.cut, self._rank):
            cut = self._cut_for(self._writer.cut)
        heappush(self._waiting, _Item(cut, rank, time, id))


def _kind_of(event: Event) -> type[Event] | str:
    return event.data.effect if isinstance(event, ChainFactDeclared) else type(event)
