"""The jobs of the made-up network: plain ones, and those in which something goes wrong on purpose.

Each plot is a method that tells one job from its submission to its end. `deal` says how often each comes.
"""

from collections.abc import Callable, Sequence
from random import Random

from app.facts import Producer
from app.network.actors import HOUR, MINUTE, Cast, Node, NodeKind, Owner, Validator
from app.network.stakes import Verdict
from app.network.thread import Outcome, Shared, Thread
from events.instant import DAY, format_instant

__all__ = ["Jobs"]

# How many of a thousand jobs have which plot; the rest are plain. In a small network each comes at least once.
PLOTS = {
    "three nodes": 110,
    "five nodes": 30,
    "declared, one node": 150,
    "declared, three nodes": 40,
    "cancelled": 15,
    "failed": 20,
    "redistributed": 20,
    "late usage": 20,
    "silent node": 12,
    "overdraft": 6,
    "above the authorised maximum": 6,
    "not authorised": 4,
    "authorisation forged": 4,
    "authorisation for another cluster": 4,
    "authorisation expired": 4,
    "price below the minimum": 6,
    "claim too wide": 6,
    "stray reports": 6,
    "failed challenge": 14,
    "failed challenge, three attempts": 4,
    "failed challenge, disputed, upheld": 4,
    "failed challenge, disputed, never ruled": 4,
    "failed challenge, ruled at once": 3,
    "failed challenge after payment": 5,
    "failed challenge of a declared node": 2,
    "wrong result": 12,
    "collusion": 6,
    "false attestation before": 2,
    "false attestation after": 2,
    "wrong challenge, reversed": 4,
    "wrong cases against two, reversed": 4,
    "accused by a validator, upheld": 4,
    "accused by a validator, never ruled": 3,
    "accused by a validator, reversed": 3,
}
QUORUM, CRITICAL = 3, 5
# A job is placed at most so often (D21).
ATTEMPTS = 3
# A stake is filled up so long after a slash.
TOP_UP = 3 * DAY // 2


class Jobs:
    """Makes jobs up, one after another in time."""

    def __init__(self, random: Random, shared: Shared, cast: Cast, routers: Sequence[Producer], coin: int) -> None:
        """Begin without jobs; `coin` is one whole token in base units."""
        self.outcomes: list[Outcome] = []
        self._random, self._shared, self._cast = random, shared, cast
        self._routers, self._coin = routers, coin
        self._plots: dict[str, Callable[[Thread], None]] = {
            "one node": lambda thread: self._good(thread, 1),
            "three nodes": lambda thread: self._good(thread, QUORUM),
            "five nodes": lambda thread: self._good(thread, CRITICAL),
            "declared, one node": lambda thread: self._declared(thread, 1),
            "declared, three nodes": lambda thread: self._declared(thread, QUORUM),
            "cancelled": self._cancelled,
            "failed": self._failed,
            "redistributed": self._redistributed,
            "late usage": lambda thread: self._good(thread, 1, late=True),
            "silent node": self._silent,
            "overdraft": self._overdraft,
            "above the authorised maximum": self._above_maximum,
            "not authorised": lambda thread: self._unauthorized(thread, None),
            "authorisation forged": lambda thread: self._unauthorized(thread, "signature_wrong"),
            "authorisation for another cluster": lambda thread: self._unauthorized(thread, "cluster_differs"),
            "authorisation expired": self._expired,
            "price below the minimum": self._cheap,
            "claim too wide": self._claim_too_wide,
            "stray reports": self._stray,
            "failed challenge": lambda thread: self._lazy(thread, 1),
            "failed challenge, three attempts": lambda thread: self._lazy(thread, ATTEMPTS),
            "failed challenge, disputed, upheld": lambda thread: self._lazy(thread, 1, dispute=True, ruling="upheld"),
            "failed challenge, disputed, never ruled": lambda thread: self._lazy(thread, 1, dispute=True),
            "failed challenge, ruled at once": lambda thread: self._lazy(thread, 1, ruling="upheld"),
            "failed challenge after payment": lambda thread: self._after_payment(thread, self._culprit("lazy")),
            "failed challenge of a declared node": lambda thread: self._after_payment(thread, cast.node("declared")),
            "wrong result": self._wrong,
            "collusion": self._collusion,
            "false attestation before": lambda thread: self._false_word(thread, before=True),
            "false attestation after": lambda thread: self._false_word(thread, before=False),
            "wrong challenge, reversed": lambda thread: self._wronged(thread, with_validator=False),
            "wrong cases against two, reversed": lambda thread: self._wronged(thread, with_validator=True),
            "accused by a validator, upheld": lambda thread: self._accused(thread, "upheld"),
            "accused by a validator, never ruled": lambda thread: self._accused(thread, None),
            "accused by a validator, reversed": lambda thread: self._accused(thread, "reversed"),
        }

    def tell(self, number: int, plot: str, at: int) -> None:
        """Tell one job that begins at a time."""
        declared = plot.startswith("declared") or plot in {
            "overdraft", "failed challenge after payment", "failed challenge of a declared node",
            "accused by a validator, upheld", "accused by a validator, never ruled",
            "accused by a validator, reversed",
        }  # fmt: skip
        consumer = self._random.choice([one for one in self._cast.consumers if (one.owner is None) == declared])
        thread = Thread(self._shared, self._routers[number % len(self._routers)], consumer, number, at, plot)
        self._plots[plot](thread)
        self.outcomes.append(thread.outcome)

    def deal(self, jobs: int) -> list[str]:
        """Say which plots so many jobs have, in their order."""
        planted = [plot for plot, share in PLOTS.items() for _ in range(max(1, jobs * share // 1_000))]
        self._random.shuffle(planted)
        # With few jobs some are left out; a third stays plain.
        planted = planted[: jobs * 9 // 10]
        dealt = planted + ["one node"] * (jobs - len(planted))
        self._random.shuffle(dealt)
        return dealt

    def tell_leaving(self, number: int, node: Node, at: int, retire: Callable[[Node, int], None] | None) -> None:
        """Tell the job of a node that cheats while its stake is on its way out; `retire` takes all of it, once paid."""
        consumer = next(one for one in self._cast.consumers if one.owner is None)
        plot = "failed challenge while unstaking"
        thread = Thread(self._shared, self._routers[0], consumer, number, at, plot)
        self._after_payment(thread, node, retire)
        self.outcomes.append(thread.outcome)

    # --- whom ---

    def _pick(self, count: int, at: int, besides: Sequence[Node] = ()) -> list[Node]:
        """Draw nodes of as many operators, none of those already taken."""
        taken = {node.operator for node in besides}
        by_operator: dict[str, list[Node]] = {}
        for node in self._cast.nodes:
            if node.serves(at) and node.kind != "declared" and node.operator not in taken:
                by_operator.setdefault(node.operator, []).append(node)
        operators = self._random.sample(sorted(by_operator), count)
        return [self._random.choice(by_operator[operator]) for operator in operators]

    def _honest(self, count: int, at: int, besides: Sequence[Node] = ()) -> list[Node]:
        """Draw nodes that never cheat."""
        kinds = {node.operator for node in self._cast.nodes if node.kind != "honest"}
        others = [node for node in self._cast.nodes if node.operator in kinds]
        return self._pick(count, at, [*besides, *others])

    def _culprit(self, kind: NodeKind) -> Node:
        return self._random.choice([node for node in self._cast.nodes if node.kind == kind])

    def _validators(self, count: int, at: int, *, honest: bool = False) -> list[Validator]:
        kinds = {"honest", "joiner", "exiting"} if honest else {"honest", "joiner", "exiting", "idle", "lazy", "liar"}
        able = [one for one in self._cast.validators if one.serves(at) and one.kind in kinds]
        return self._random.sample(able, min(count, len(able)))

    # --- parts of plots ---

    def _begin(self, thread: Thread, nodes: Sequence[Node]) -> None:
        thread.submit(len(nodes), self._random.randrange(1, 20) * 3_600)
        # Enough for any node that takes the job over.
        thread.authorize(thread.escrow_for(nodes) + 1_000 * self._coin)

    def _work(self, thread: Thread) -> None:
        hours = thread.seconds_max // 3_600
        thread.wait(self._random.randrange(HOUR // 2, hours * HOUR))

    def _seconds(self, thread: Thread) -> int:
        return self._random.randrange(thread.seconds_max // 2, thread.seconds_max + 1)

    def _place(
        self, thread: Thread, nodes: Sequence[Node], validators: Sequence[Validator], wrong: Sequence[Node] = ()
    ) -> None:
        """Dispatch, let time pass, let nodes answer, draw validators."""
        thread.dispatch(nodes)
        self._work(thread)
        if thread.consumer.owner is not None or validators:
            for node in nodes:
                thread.result(node, node not in wrong)
        if validators:
            thread.draw(validators)

    def _attest(self, thread: Thread, validators: Sequence[Validator], node: Node, passed: bool) -> None:
        """Let validators say the truth; the idle one is silent every other time."""
        for validator in validators:
            if validator.kind != "idle" or self._random.choice((True, False)):
                thread.attest(validator, node, passed)

    def _finish(self, thread: Thread, nodes: Sequence[Node], *, late: bool = False) -> None:
        """Prove an honest attempt and release it, the usage sometimes before the proof."""
        validators = self._validators(self._random.choice((2, 3)), thread.at)
        one = len(nodes) == 1
        sure = self._validators(1, thread.at, honest=True)
        drawn = [*sure, *(other for other in validators if other not in sure)]
        self._place(thread, nodes, drawn)
        first = not self._random.randrange(5) and not late
        used = [(node, self._seconds(thread)) for node in nodes]
        if first:
            for node, seconds in used:
                thread.usage(node, seconds)
        for node in nodes:
            told = thread.challenge(node, True)
        if one and first:
            told = thread.attest(drawn[0], nodes[0], True)
            thread.release(told, nodes)
            self._attest(thread, drawn[1:], nodes[0], True)
            return
        for number, validator in enumerate(drawn):
            self._attest(thread, [validator], nodes[number % len(nodes)], True)
        if late:
            thread.delay = 2 * DAY
        if not first:
            for node, seconds in used:
                told = thread.usage(node, seconds)
        if not one:
            told = thread.claim(nodes)
        thread.release(told, nodes)

    def _punish(self, thread: Thread, accused: Node | Validator) -> None:
        """Fill a cheat's stake up again, and keep it from duties until then."""
        at = thread.at + thread.delay + TOP_UP
        self._shared.desk.stake(at, accused, (30 if isinstance(accused, Node) else 1_200) * self._coin)
        accused.away.append((thread.at, at))

    def _defend(self, thread: Thread, owner: Owner, case: str, ruling: Verdict | None, dispute: bool = True) -> None:
        """Dispute a case some hours after its evidence, and let the foundation rule."""
        desk, at = self._shared.desk, thread.at + self._random.randrange(2 * HOUR, 6 * HOUR)
        if dispute:
            desk.dispute(at, owner, case)
            if ruling == "upheld":
                desk.dispute(at + HOUR // 2, owner, case, refused="case_not_disputable")
        if ruling is not None:
            desk.rule(at + self._random.randrange(HOUR, 12 * HOUR), case, ruling)

    # --- plots without a cheat ---

    def _good(self, thread: Thread, count: int, late: bool = False) -> None:
        nodes = self._pick(count, thread.at)
        self._begin(thread, nodes)
        self._finish(thread, nodes, late=late)

    def _declared(self, thread: Thread, count: int) -> None:
        nodes = self._pick(count, thread.at)
        self._begin(thread, nodes)
        self._place(thread, nodes, ())
        for node in nodes:
            told = thread.usage(node, self._seconds(thread))
        # One of three dissents; two suffice.
        paid = nodes if count == 1 else nodes[:2]
        if count > 1:
            told = thread.claim(paid)
        thread.release(told, paid)

    def _cancelled(self, thread: Thread) -> None:
        nodes = self._pick(1, thread.at)
        self._begin(thread, nodes)
        if self._random.choice((True, False)):
            thread.dispatch(nodes)
        thread.cancel("consumer_withdrew")

    def _failed(self, thread: Thread) -> None:
        nodes = self._pick(1, thread.at)
        self._begin(thread, nodes)
        thread.dispatch(nodes)
        self._work(thread)
        thread.fail("out_of_memory")

    def _redistributed(self, thread: Thread) -> None:
        nodes = self._pick(1, thread.at)
        self._begin(thread, nodes)
        thread.dispatch(nodes)
        thread.wait(HOUR)
        thread.redistribute("node_silent")
        self._finish(thread, self._pick(1, thread.at, nodes))

    def _silent(self, thread: Thread) -> None:
        """One of three never reports."""
        nodes = self._pick(QUORUM, thread.at)
        self._begin(thread, nodes)
        thread.dispatch(nodes)
        self._work(thread)
        for node in nodes[1:]:
            thread.result(node)
            thread.challenge(node, True)
            thread.usage(node, self._seconds(thread))
        thread.release(thread.claim(nodes[1:]), nodes[1:])

    # --- plots with refusals ---

    def _overdraft(self, thread: Thread) -> None:
        nodes = self._pick(1, thread.at)
        # Beyond all that anybody has.
        thread.submit(1, 10**12)
        thread.dispatch(nodes, refused="funds_insufficient")
        thread.cancel("unfunded")

    def _above_maximum(self, thread: Thread) -> None:
        nodes = self._pick(1, thread.at)
        thread.submit(1, 3_600 * self._random.randrange(1, 9))
        thread.authorize(thread.escrow_for(nodes) - 1)
        thread.dispatch(nodes, refused="spend_above_maximum")
        thread.cancel("price_too_high")

    def _unauthorized(self, thread: Thread, refused: str | None) -> None:
        nodes = self._pick(1, thread.at)
        thread.submit(1, 3_600 * self._random.randrange(1, 9))
        if refused == "signature_wrong":
            thread.authorize(thread.escrow_for(nodes), refused, forged=True)
        elif refused == "cluster_differs":
            thread.authorize(thread.escrow_for(nodes), refused, cluster="elsewhere")
        thread.dispatch(nodes, refused="spend_not_authorized")
        thread.cancel("not_authorized")

    def _expired(self, thread: Thread) -> None:
        nodes = self._pick(1, thread.at)
        thread.submit(1, 3_600)
        thread.authorize(thread.escrow_for(nodes), expires_at=format_instant(thread.at + 10 * MINUTE))
        thread.wait(HOUR)
        thread.dispatch(nodes, refused="order_expired")
        thread.cancel("not_authorized")

    def _cheap(self, thread: Thread) -> None:
        nodes = self._pick(1, thread.at)
        self._begin(thread, nodes)
        thread.dispatch(nodes, refused="price_below_minimum", below=1)
        self._finish(thread, nodes)

    def _claim_too_wide(self, thread: Thread) -> None:
        """The router counts a dissenter among those who agree; its results say otherwise."""
        nodes = self._pick(QUORUM, thread.at)
        self._begin(thread, nodes)
        thread.dispatch(nodes)
        self._work(thread)
        for node in nodes:
            thread.result(node, node is not nodes[0])
            thread.challenge(node, True)
            thread.usage(node, self._seconds(thread))
        thread.claim(nodes, refused="results_differ")
        thread.release(thread.claim(nodes[1:]), nodes[1:])

    def _stray(self, thread: Thread) -> None:
        """Reports that nobody should have made."""
        nodes = self._pick(1, thread.at)
        self._begin(thread, nodes)
        drawn = self._validators(2, thread.at, honest=True)
        self._place(thread, nodes, drawn)
        stranger = next(one for one in self._cast.validators if one not in drawn)
        thread.attest(stranger, nodes[0], True, refused="duty_not_assigned")
        thread.attest(drawn[0], nodes[0], True)
        thread.attest(drawn[0], nodes[0], False, refused="attestation_exists")
        for other in drawn[1:]:
            thread.attest(other, nodes[0], True)
        thread.usage(nodes[0], self._seconds(thread))
        thread.usage(nodes[0], 1, refused="usage_exists")
        thread.release(thread.challenge(nodes[0], True), nodes)
        thread.usage(nodes[0], 2, refused="job_closed")

    # --- plots with a cheat ---

    def _lazy(self, thread: Thread, attempts: int, *, dispute: bool = False, ruling: Verdict | None = None) -> None:
        """A node answers its challenge wrongly; the job goes elsewhere."""
        for number in range(attempts):
            node = self._culprit("lazy") if number == 0 else self._culprit("wrong")
            if number == 0:
                self._begin(thread, [node])
            drawn = self._validators(3, thread.at, honest=True)
            self._place(thread, [node], drawn)
            self._attest(thread, drawn[:-1], node, False)
            reporter = self._random.choice((None, drawn[-1].id))
            thread.challenge(node, False, reporter)
            self._attest(thread, drawn[-1:], node, False)
            self._punish(thread, node)
            if dispute or ruling is not None:
                case = thread.case("node", node.id, "failed_challenge")
                self._defend(thread, node.owner, case, ruling, dispute)
            thread.redistribute("challenge_failed", last=number + 1 == ATTEMPTS)
        if attempts < ATTEMPTS:
            self._finish(thread, self._honest(1, thread.at))

    def _after_payment(self, thread: Thread, node: Node, retire: Callable[[Node, int], None] | None = None) -> None:
        """A declared job is paid on its usage; its challenge fails a day later, and still counts."""
        self._begin(thread, [node])
        drawn = self._validators(2, thread.at, honest=True)
        self._place(thread, [node], drawn)
        self._attest(thread, drawn[:1], node, False)
        thread.release(thread.usage(node, self._seconds(thread)), [node])
        self._attest(thread, drawn[1:], node, False)
        if retire is not None:
            retire(node, thread.at + HOUR)
        thread.wait(18 * HOUR)
        thread.delay = self._random.choice((0, DAY))
        thread.challenge(node, False)
        if node.kind in {"lazy", "wrong"}:
            self._punish(thread, node)

    def _wrong(self, thread: Thread) -> None:
        """One of three computes something else, and fails its challenge."""
        wrong, good = self._culprit("wrong"), self._honest(2, thread.at)
        nodes = [good[0], wrong, good[1]]
        self._begin(thread, nodes)
        drawn = self._validators(3, thread.at, honest=True)
        self._place(thread, nodes, drawn, [wrong])
        for node in nodes:
            self._attest(thread, drawn[:2], node, node is not wrong)
            thread.challenge(node, node is not wrong)
            thread.usage(node, self._seconds(thread))
        self._attest(thread, drawn[2:], wrong, False)
        thread.release(thread.claim(good), good)
        self._punish(thread, wrong)

    def _collusion(self, thread: Thread) -> None:
        """Two operators agree on a wrong result: a quorum, but their challenges fail."""
        colluders = [node for node in self._cast.nodes if node.kind == "colluder"]
        nodes = [*colluders, *self._honest(1, thread.at)]
        self._begin(thread, nodes)
        drawn = self._validators(2, thread.at, honest=True)
        self._place(thread, nodes, drawn, colluders)
        for node in nodes:
            self._attest(thread, drawn, node, node.kind == "honest")
            thread.challenge(node, node.kind == "honest")
            thread.usage(node, self._seconds(thread))
        thread.release(thread.claim(colluders), colluders)
        for node in colluders:
            self._punish(thread, node)

    def _false_word(self, thread: Thread, *, before: bool) -> None:
        """A validator vouches for a node without a look; the node's challenge fails."""
        node, liar = self._culprit("lazy"), self._cast.validator("lazy")
        self._begin(thread, [node])
        drawn = [*self._validators(2, thread.at, honest=True), liar]
        self._place(thread, [node], drawn)
        self._attest(thread, drawn[:1], node, False)
        if before:
            thread.attest(liar, node, True)
        thread.challenge(node, False)
        self._attest(thread, drawn[1:2], node, False)
        if not before:
            thread.attest(liar, node, True, self._random.choice((None, drawn[0].id)))
        self._punish(thread, node)
        self._punish(thread, liar)
        if self._random.choice((True, False)):
            self._defend(thread, liar.owner, thread.case("validator", liar.id, "false_attestation"), "upheld")
        thread.redistribute("challenge_failed")
        self._finish(thread, self._honest(1, thread.at))

    def _wronged(self, thread: Thread, *, with_validator: bool) -> None:
        """A challenge is judged wrongly; the accused dispute, and the foundation reverses."""
        thread.guilty = False
        nodes = self._honest(QUORUM, thread.at)
        self._begin(thread, nodes)
        # None that is about to leave, since it takes out all that it has staked.
        drawn = self._random.sample([one for one in self._cast.validators if one.kind == "honest"], 2)
        self._place(thread, nodes, drawn)
        if with_validator:
            thread.attest(drawn[0], nodes[0], True)
        for node in nodes:
            thread.challenge(node, node is not nodes[0])
            thread.usage(node, self._seconds(thread))
        for validator, node in zip(drawn, nodes[1:], strict=False):
            thread.attest(validator, node, True)
        thread.release(thread.claim(nodes), nodes)
        self._defend(thread, nodes[0].owner, thread.case("node", nodes[0].id, "failed_challenge"), "reversed")
        if with_validator:
            case = thread.case("validator", drawn[0].id, "false_attestation")
            self._defend(thread, drawn[0].owner, case, "reversed")

    def _accused(self, thread: Thread, ruling: Verdict | None) -> None:
        """A validator accuses a node of what the books' own facts do not show: rightly only where upheld."""
        guilty = ruling == "upheld"
        node = self._culprit("wrong") if guilty else self._honest(1, thread.at)[0]
        by = self._cast.validator("honest" if guilty else "liar")
        self._begin(thread, [node])
        self._place(thread, [node], ())
        thread.release(thread.usage(node, self._seconds(thread)), [node])
        thread.wait(HOUR)
        about, plot = (thread.consumer, thread.job), thread.outcome.plot
        case = self._shared.desk.report(thread.at, by, node, about, "failed_challenge", plot=plot, guilty=guilty)
        if ruling is not None:
            self._defend(thread, node.owner, case, ruling, dispute=not guilty)
        if guilty:
            self._punish(thread, node)
