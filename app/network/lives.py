"""The participants' lives: they register, stake, leave, come back, change, and order what they may not."""

from random import Random
from typing import Any

from app.facts import Producer
from app.network.actors import HOUR, MINUTE, Cast, Node, Validator
from app.network.desk import Desk
from app.network.reports import Reports
from app.network.stakes import OpenCase, Stakes
from app.network.thread import Shared
from events.instant import DAY, format_instant
from events.orders import PayoutKeyChanged, UnstakeOrdered
from events.participants import (
    NodeRegistered,
    NodeRegisteredData,
    NodeRetired,
    NodeRetiredData,
    NodeUpdated,
    NodeUpdatedData,
    ValidatorExited,
    ValidatorExitedData,
    ValidatorRegistered,
    ValidatorRegisteredData,
)
from ledger.parameters import Parameters

__all__ = ["Lives"]


class Lives:
    """Tells what nodes and validators do besides jobs, in [start, end)."""

    def __init__(
        self, random: Random, parameters: Parameters, shared: Shared, cast: Cast, router: Producer, span: range
    ) -> None:
        """Begin with nobody registered; `span` is the network's time."""
        self._random, self._parameters, self._cast, self._router = random, parameters, cast, router
        self._desk: Desk = shared.desk
        self._reports: Reports = shared.reports
        self._stakes: Stakes = shared.stakes
        self._asset = parameters.unit.asset
        self._start, self._end = span.start, span.stop
        self._coin = 10**parameters.unit.decimals

    def tell(self) -> None:
        """Tell all lives."""
        for node in self._cast.nodes:
            self._join_node(node)
        for validator in self._cast.validators:
            self._join_validator(validator)
        self._churn(self._cast.node("churner"))
        self._run_down(self._cast.node("runner"))
        self._weaken(self._cast.node("weak"))
        self._exit(self._cast.validator("exiting"))
        self._misorder(self._cast.node("churner"), self._cast.node("weak"))

    def _share(self, percent: int) -> int:
        """Return a moment of the span, on a full hour."""
        return self._start + (self._end - self._start) * percent // 100 // HOUR * HOUR

    def _soon(self) -> int:
        return self._start + self._random.randrange(MINUTE, 5 * HOUR)

    # --- joining ---

    def _join_node(self, node: Node) -> None:
        at = self._soon()
        if node.kind == "declared":
            data = self._hardware(node, authority="declared")
            self._reports.tell(self._router.fact(NodeRegistered, at, node.id, f"node:{node.id}", data))
            return
        self._stakes.open("node", node.id, node.owner.key)
        # The stake may come before the registration.
        self._desk.stake(self._soon(), node, node.stake)
        if node.kind == "weak":
            wrong: dict[str, dict[str, Any]] = {
                "hardware_below_minimum": {"vram_mib": 1},
                "owner_missing": {"owner": None},
            }
            for number, (reason, members) in enumerate(wrong.items()):
                data = self._hardware(node, **members)
                fact = self._router.fact(NodeRegistered, self._start + 30 + number, node.id, f"weak:{number}", data)
                self._reports.tell(fact, refused=reason)
        fact = self._router.fact(NodeRegistered, at, node.id, f"node:{node.id}", self._hardware(node))
        self._reports.tell(fact)

    def _hardware(self, node: Node, **members: Any) -> NodeRegisteredData:
        said: dict[str, Any] = {
            "asset": self._asset,
            "authority": "stake",
            "bandwidth_mbps": self._parameters.stake.bandwidth_mbps_minimum,
            "gpu_model": "A100",
            "gpus": 8,
            "minimum_price": str(node.minimum),
            "operator": node.operator,
            "owner": node.owner.key,
            "supplier": node.operator,
            "vram_mib": self._parameters.stake.vram_mib_minimum,
        }
        return NodeRegisteredData(**(said | members))

    def _join_validator(self, validator: Validator) -> None:
        self._stakes.open("validator", validator.id, validator.owner.key)
        joins = validator.serves_from + self._random.randrange(MINUTE, HOUR)
        data = ValidatorRegisteredData(operator=f"of-{validator.id}", owner=validator.owner.key)
        self._reports.tell(
            self._router.fact(ValidatorRegistered, joins, validator.id, f"validator:{validator.id}", data)
        )
        self._desk.stake(joins + self._random.randrange(MINUTE, HOUR), validator, validator.stake)

    # --- leaving and coming back ---

    def _churn(self, node: Node) -> None:
        """Take a part out and back again; then take all out, and come back with more."""
        ticket = self._desk.unstake(self._share(10), node, node.stake // 3)
        self._desk.rebond(self._share(10) + DAY, node, ticket)
        leaves = self._share(30)
        self._desk.unstake(leaves, node, node.stake)
        # The order of coming back arrives two days late.
        returns = leaves + DAY
        self._desk.stake(returns, node, node.stake + self._coin, arrives=returns + 2 * DAY)
        node.away.append((leaves - DAY, returns + 3 * DAY))

    def _run_down(self, node: Node) -> None:
        """Take half of a stake out, so that a slash must count what is on its way."""
        self._desk.unstake(self._share(20), node, node.stake // 2)
        node.away.append((self._share(20), self._end))

    def _weaken(self, node: Node) -> None:
        """Lose memory below the minimum, and get it back."""
        minimum = self._parameters.stake.vram_mib_minimum
        for number, (percent, memory) in enumerate(((40, minimum - 1), (60, minimum * 2))):
            data = NodeUpdatedData(
                bandwidth_mbps=self._parameters.stake.bandwidth_mbps_minimum,
                gpu_model="A100",
                gpus=8,
                minimum_price=str(node.minimum),
                vram_mib=memory,
            )
            self._reports.tell(self._router.fact(NodeUpdated, self._share(percent), node.id, f"update:{number}", data))
        node.away.append((self._share(40), self._share(60)))

    def retire(self, node: Node, at: int) -> None:
        """Retire a node and take out all of its stake."""
        data = NodeRetiredData(reason="sold")
        self._reports.tell(self._router.fact(NodeRetired, at, node.id, f"retired:{node.id}", data))
        self._desk.unstake(at + MINUTE, node, node.stake)
        node.away.append((at, self._end + DAY))

    def _exit(self, validator: Validator) -> None:
        at = validator.serves_until
        data = ValidatorExitedData(reason="done")
        self._reports.tell(self._router.fact(ValidatorExited, at, validator.id, f"exited:{validator.id}", data))
        self._desk.unstake(at + HOUR, validator, validator.stake)

    # --- what is refused, and what moves nothing ---

    def _misorder(self, node: Node, other: Node) -> None:
        """Order wrongly in each way that there is."""
        at = self._share(50) + 7 * MINUTE
        desk, owner = self._desk, node.owner
        said = {"asset": self._asset, "amount": "1", "role": "node"}
        wrong: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("cluster_differs", other.id, {"cluster": "elsewhere"}),
            ("signature_wrong", other.id, {"forged": True}),
            ("order_expired", other.id, {"expires_at": format_instant(at - 1)}),
            ("order_expires_too_late", other.id, {"expires_at": format_instant(at + 40 * DAY)}),
            ("owner_differs", node.id, {}),
            ("stake_insufficient", other.id, {"amount": str(other.stake + 1)}),
            ("amount_is_zero", other.id, {"amount": "0"}),
            ("asset_unknown", other.id, {"asset": "XYZ"}),
            ("participant_unknown", "node-unknown", {}),
        )
        for number, (reason, subject, members) in enumerate(wrong):
            moment = at + number * MINUTE
            desk.order(moment, other.owner, UnstakeOrdered, subject, said | members, refused=reason)
        desk.order(at + HOUR, owner, PayoutKeyChanged, owner.key, {"payout_key": other.owner.key})
        again = {"nonce": owner.nonce, "payout_key": owner.key}
        desk.order(at + 2 * HOUR, owner, PayoutKeyChanged, owner.key, again, refused="nonce_used")

    def misrule(self, case: OpenCase) -> None:
        """Object and rule where that is refused: too few keys, another's owner, twice, too late, a case of nobody."""
        desk, stranger = self._desk, self._cast.node("weak").owner
        accused = {**{n.id: n.owner for n in self._cast.nodes}, **{v.id: v.owner for v in self._cast.validators}}
        after = case.proposed_at + 20 * MINUTE
        desk.rule(after, case.id, "reversed", keys=1, refused="approvals_missing")
        desk.dispute(after + MINUTE, stranger, case.id, refused="owner_differs")
        desk.rule(after + 2 * MINUTE, "0" * 32, "upheld", refused="case_unknown")
        late = case.proposed_at + 20 * DAY
        if late < self._end:
            desk.dispute(late, accused[case.accused], case.id, refused="case_closed")
