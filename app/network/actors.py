"""Who takes part in the made-up network: owners with keys, nodes, validators, consumers, and the foundation.

Everything follows from the seed, keys too: the same seed, the same network.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from importlib import resources
from random import Random
from typing import Any, Literal

from msgspec.structs import replace

from app.facts import Producer
from app.orders import sign
from chain.keys import Signer
from events.event import Fact, Role
from events.instant import DAY, MICROSECONDS, format_instant
from ledger.parameters import Foundation, Parameters, parameters_from_toml
from ledger.price import quote_price

__all__ = [
    "HOUR",
    "MINUTE",
    "Cast",
    "Consumer",
    "Node",
    "NodeKind",
    "Owner",
    "Validator",
    "ValidatorKind",
    "foundation_signers",
    "gather",
    "parameters_for",
]

MINUTE = 60 * MICROSECONDS
HOUR = 60 * MINUTE
# An order is good for so long.
ORDER_DAYS = 20
# Added to the nonce of a forged order.
FORGED = 10**6
FOUNDATION_KEYS = 3

NodeKind = Literal["honest", "lazy", "wrong", "colluder", "churner", "runner", "leaver", "weak", "declared"]
ValidatorKind = Literal["honest", "lazy", "idle", "exiting", "joiner", "liar"]

# The first of these are in every network, the rest are honest.
NODE_KINDS: tuple[NodeKind, ...] = (
    "lazy", "wrong", "colluder", "colluder", "churner", "runner", "leaver", "weak", "declared",
)  # fmt: skip
VALIDATOR_KINDS: tuple[ValidatorKind, ...] = ("lazy", "idle", "exiting", "joiner", "liar")


@dataclass(slots=True)
class Owner:
    """A key, and the orders it has signed."""

    signer: Signer
    cluster: str
    nonce: int = 0

    @property
    def key(self) -> str:
        """The public key in base58, which is the owner's id."""
        return self.signer.key

    def order(
        self, desk: Producer, kind: type[Fact], occurred_at: int, subject: str, *, forged: bool = False, **members: Any
    ) -> Fact:
        """Build an order under a new nonce and sign it; a forged one says something else than was signed."""
        self.nonce += 1
        said = {"cluster": self.cluster, "expires_at": format_instant(occurred_at + ORDER_DAYS * DAY)}
        data = sign(kind, subject, self.signer, **(said | {"nonce": self.nonce} | members))
        if forged:
            data = replace(data, nonce=self.nonce + FORGED)
        return desk.fact(kind, occurred_at, subject, f"order:{self.key}:{self.nonce}", data)


@dataclass(slots=True)
class Node:
    """A node; routers keep away from it in each [from, until) of `away`."""

    id: str
    operator: str
    kind: NodeKind
    owner: Owner
    stake: int
    minimum: int
    price: int
    away: list[tuple[int, int]] = field(default_factory=list)
    role: Role = "node"

    def serves(self, at: int) -> bool:
        """Tell whether a router would choose it."""
        return not any(since <= at < until for since, until in self.away)


@dataclass(slots=True)
class Validator:
    """A validator, drawn for duties in [serves_from, serves_until)."""

    id: str
    kind: ValidatorKind
    owner: Owner
    stake: int
    serves_from: int
    serves_until: int
    away: list[tuple[int, int]] = field(default_factory=list)
    role: Role = "validator"

    def serves(self, at: int) -> bool:
        """Tell whether it can be drawn."""
        return self.serves_from <= at < self.serves_until and not any(s <= at < u for s, u in self.away)


@dataclass(slots=True)
class Consumer:
    """Who pays for jobs: an owner of a key, or a name whose jobs are declared."""

    id: str
    owner: Owner | None
    # The most that all its jobs can ever hold, and what it brings beyond that.
    need: int = 0
    spare: int = 0


@dataclass(slots=True)
class Cast:
    """All who take part."""

    nodes: list[Node]
    validators: list[Validator]
    consumers: list[Consumer]
    foundation: list[Signer] = field(default_factory=list)

    def node(self, kind: NodeKind) -> Node:
        """Return the first node of a kind."""
        return next(node for node in self.nodes if node.kind == kind)

    def validator(self, kind: ValidatorKind) -> Validator:
        """Return the first validator of a kind."""
        return next(validator for validator in self.validators if validator.kind == kind)


def parameters_for(seed: int, preset: str = "omnisync") -> Parameters:
    """Return a preset whose foundation rules by keys of the seed, two of three."""
    text = resources.files("ledger").joinpath("presets", f"{preset}.toml").read_text(encoding="utf-8")
    keys = tuple(signer.key for signer in foundation_signers(seed))
    return parameters_from_toml(text).model_copy(update={"foundation": Foundation(keys=keys, approvals=2)})


def foundation_signers(seed: int) -> list[Signer]:
    """Derive the foundation's keys."""
    return [_signer(seed, f"foundation-{number}") for number in range(FOUNDATION_KEYS)]


def gather(
    random: Random, parameters: Parameters, seed: int, nodes: int, validators: int, start: int, end: int
) -> Cast:
    """Make up who takes part in [start, end)."""
    coin = 10**parameters.unit.decimals
    cluster = parameters.chain.cluster

    def owner(name: str) -> Owner:
        return Owner(_signer(seed, name), cluster)

    def make_node(number: int) -> Node:
        kind: NodeKind = NODE_KINDS[number] if number < len(NODE_KINDS) else "honest"
        rules = parameters.job
        minimum = random.randrange(500, 40_000) * coin // 10_000 + random.randrange(10_000)
        bad = kind in {"lazy", "wrong", "colluder"}
        above = random.randrange(1, 20) if bad else random.randrange(200, 1_500)
        name = f"node-{number:02d}"
        # The last two nodes have one operator, and one vote.
        operator = f"operator-{min(number, nodes - 2):02d}"
        stake = int(parameters.stake.node_minimum) + above * coin
        price = quote_price(minimum, rules.burn_bps, rules.fee_bps)
        return Node(name, operator, kind, owner(name), stake, minimum, price)

    def make_validator(number: int) -> Validator:
        kind: ValidatorKind = VALIDATOR_KINDS[number] if number < len(VALIDATOR_KINDS) else "honest"
        above = random.randrange(150, 600) if kind in {"lazy", "liar"} else random.randrange(500, 20_000)
        stake = int(parameters.stake.validator_minimum) + above * coin
        joins = start + (end - start) * 2 // 5 if kind == "joiner" else start
        leaves = start + (end - start) * 11 // 20 if kind == "exiting" else end
        name = f"validator-{number}"
        return Validator(name, kind, owner(name), stake, joins, leaves)

    consumers = [Consumer(held.key, held) for held in (owner(f"consumer-{number}") for number in range(4))]
    consumers += [Consumer(name, None) for name in ("atlas-lab", "birch-ai", "cobalt")]
    return Cast(
        [make_node(number) for number in range(nodes)],
        [make_validator(number) for number in range(validators)],
        consumers,
        foundation_signers(seed),
    )


def _signer(seed: int, name: str) -> Signer:
    return Signer(sha256(f"omnisync network {seed} {name}".encode()).digest())
