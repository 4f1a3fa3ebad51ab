"""Random worlds with a whole network's life: participants, proofs, slashes, orders, rewards, what is paid and swept.

The builder lets the naive model run along, so that it can draw amounts that are there, cases that are open and tickets
that can be taken back; and now and then what is none of it.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Literal

from app.facts import Producer
from app.orders import approve, sign
from events.event import Data, Fact, Role, fact_id
from events.facts import (
    AttestationRecorded,
    AttestationRecordedData,
    ChainFactDeclared,
    ChainFactDeclaredData,
    ChallengeResultRecorded,
    ChallengeResultRecordedData,
    DeclaredLine,
    DutyAssigned,
    DutyAssignedData,
    JobDispatched,
    JobDispatchedData,
    JobFailed,
    JobFailedData,
    JobRedistributed,
    JobRedistributedData,
    JobSubmitted,
    JobSubmittedData,
    QuorumClaimed,
    QuorumClaimedData,
    Quote,
    ResultSubmitted,
    ResultSubmittedData,
    UsageMetered,
    UsageMeteredData,
)
from events.instant import DAY, MICROSECONDS, format_instant
from events.orders import (
    PayoutKeyChanged,
    RebondOrdered,
    SlashDisputeFiled,
    SlashReportFiled,
    SpendAuthorized,
    UnstakeOrdered,
    WithdrawalOrdered,
)
from events.participants import (
    NodeRegistered,
    NodeRegisteredData,
    NodeRetired,
    NodeRetiredData,
    NodeUpdated,
    NodeUpdatedData,
    SlashRuled,
    ValidatorExited,
    ValidatorExitedData,
    ValidatorRegistered,
    ValidatorRegisteredData,
)
from ledger.parameters import Parameters
from tests.naive.stakes import home_of
from tests.worlds import (
    AMPLE,
    ASSET,
    CLUSTER,
    FOUNDATION,
    HALF_DAY,
    LAUNCH,
    Builder,
    Naive,
    Period,
    Step,
    World,
    genesis_of,
    lowest,
    merge,
    parameter_set,
    signer_of,
)

__all__ = ["NETWORKS", "build_network", "build_small_network", "network_parameters", "owner_of"]

# Seeds below this are run on every change.
NETWORKS = 200
VALIDATORS = ("v0", "v1", "v2", "v3")
NODES = ("n0", "n1", "n2", "n3")
HASHES = ("a" * 64, "b" * 64)


def build_network(seed: int, *, jobs: int = 24, periods: int = 8, calm: bool = False, late: bool = True) -> World:
    """Make the network of a seed. In a calm one the order of independent threads between two marks decides nothing."""
    return NetworkBuilder(seed, calm, late).build(jobs, periods)


def build_small_network(seed: int) -> World:
    """Make a network of a few days, for tests that look at each step of it."""
    return build_network(seed, jobs=8, periods=4)


def owner_of(participant: str) -> str:
    """Name the owner of a participant: two validators have the same."""
    return "owner v0" if participant == "v1" else f"owner {participant}"


def network_parameters(random: Random) -> Parameters:
    """Draw a parameter set with short windows."""
    hour = 3_600
    return parameter_set(
        random.choice((0, 200, 200, 3_333)),
        random.choice((0, 500, 500, 500, 2_000, 2_000)),
        random.choice((0, 1_000, 1_000, 1_000, 1_000, 9_999)),
        {
            "stake": {"unbonding_seconds": random.choice((0, 12 * hour, 24 * hour, 48 * hour))},
            "slash": {
                "bps": {
                    "failed_challenge": random.choice((0, 500, 500, 10_000)),
                    "false_attestation": random.choice((1, 1_000, 1_000, 1_000, 6_000)),
                    "quorum_dissent": 0,
                    "offline": 0,
                },
                "reward_bps": random.choice((0, 5_000, 5_000, 10_000)),
                "window_seconds": random.choice((0, 6 * hour, 24 * hour, 30 * hour)),
                "ruling_seconds": random.choice((12 * hour, 36 * hour, 60 * hour)),
                "evidence_seconds": random.choice((0, 6 * hour, 48 * hour)),
                "bond": random.choice(("0", "100", "5000")),
            },
            "rewards": {"duty_bps": random.choice((0, 0, 5_000, 9_000))},
            "epoch": {
                "cut_seconds": random.choice((60, 60, 900, 3_600)),
                "return_cuts": random.choice((1, 10)),
                "grace_seconds": random.choice((0, 1_800, 1_800, 2_345)),
            },
        },
    )


class NetworkBuilder(Builder):
    """Draws a network."""

    def __init__(self, seed: int, calm: bool, late: bool) -> None:
        """Draw who there is."""
        super().__init__(seed, calm, late)
        self.random = random = Random(f"network {seed}")
        self.parameters = network_parameters(random)
        self.spenders = [signer_of(f"spender {number}") for number in range(2)]
        self.consumers = [*self.consumers[:2], *(signer.key for signer in self.spenders)]
        self.tickets: list[tuple[Role, str, str]] = []
        self.nonces = 0
        self.forgeries: set[str] = set()
        self.forged: set[str] = set()
        self.naive = Naive(self.parameters, self.forged)
        self.threads = 0
        # In a crowded network much falls into the same cut.
        self.crowded = random.random() < 0.4

    def build(self, jobs: int, periods: int) -> World:
        """Draw period after period, and let the naive model follow."""
        streams = [self.bank, *self.routers]
        opening = [producer.register(LAUNCH) for producer in streams]
        for consumer in self.consumers:
            amount = AMPLE if self.calm else self.random.choice((10**10, AMPLE, AMPLE, AMPLE))
            opening.append(self.bank.deposit(LAUNCH, consumer, ASSET, amount, f"first:{consumer}"))
        opening += self._join()
        self.naive.run([genesis_of(self.parameters), *opening])
        made: list[Period] = []
        order = Random(self.seed)
        for number in range(periods):
            drawn = [self._thread() for _ in range(jobs // periods)]
            drawn += [self._act() for _ in range(self.random.randint(*((8, 16) if self.crowded else (3, 7))))]
            threads = [self._date(*thread, 0) for thread in drawn]
            self.forged |= {fact.id for thread in threads for fact in thread if self._is_forged(fact)}
            self.start += HALF_DAY
            # A stream that skips a mark holds network time back; in the end all have passed all.
            last = number == periods - 1
            marked = [producer for producer in streams if last or self.random.random() < 0.9]
            until = self.start + (3 * DAY if last else 0)
            made.append(Period(tuple(threads), tuple(producer.mark(until) for producer in marked)))
            # As `World.facts` lets them arrive.
            self.naive.run([*merge(made[-1].threads, order), *made[-1].marks])
        return World(self.seed, self.parameters, tuple(opening), tuple(made), frozenset(self.forged))

    def _time(self) -> int:
        time = super()._time()
        return time - time % (HALF_DAY // 3) + time % MICROSECONDS if self.crowded else time

    def _is_forged(self, fact: Any) -> bool:
        said = [getattr(fact.data, "signature", "")]
        said += [approval.signature for approval in getattr(fact.data, "approvals", ())]
        return any(signature in self.forgeries for signature in said)

    def _join(self) -> list[Fact]:
        facts = []
        for number, (role, id) in enumerate(self._everyone()):
            if self.random.random() < 0.95:
                facts.append(self.bank.fact(*self._registration(LAUNCH, role, id)))
            least = 10_000 if role == "validator" else 500
            if self.random.random() < 0.95:
                amount = self.random.choice((least - 1, 2 * least, 20_000, 33_333, 33_334, 10**9 + 7))
                facts.append(self.bank.fact(*self._stake_fact(LAUNCH, role, id, amount, f"stake:{number}")))
        return facts

    def _everyone(self) -> list[tuple[Role, str]]:
        return [*(("validator", id) for id in VALIDATORS), *(("node", id) for id in NODES)]

    def _registration(self, time: int, role: Role, id: str) -> tuple[type[Fact], int, str, str, Data]:
        owner = signer_of(owner_of(id)).key
        key = f"registration:{role}:{id}"
        if role == "validator":
            return ValidatorRegistered, time, id, key, ValidatorRegisteredData(operator=f"o{id}", owner=owner)
        return NodeRegistered, time, id, key, self._node(id, owner)

    def _node(self, id: str, owner: str) -> NodeRegisteredData:
        declared = id == "n3"
        return NodeRegisteredData(
            asset=ASSET,
            authority="declared" if declared else "stake",
            gpu_model="g",
            gpus=1,
            minimum_price="0",
            operator="o",
            supplier="s",
            bandwidth_mbps=100,
            owner=None if declared or self.random.random() < 0.05 else owner,
            vram_mib=8191 if self.random.random() < 0.05 else 8192,
        )

    def _stake_fact(
        self, time: int, role: Role, id: str, amount: int, key: str
    ) -> tuple[type[Fact], int, str, str, Data]:
        data = ChainFactDeclaredData(effect="stake", asset=ASSET, amount=str(amount), vault="stake", role=role)
        return ChainFactDeclared, time, id, key, data

    # --- orders ---

    def _order(self, kind: type[Fact], subject: str, owner: str, **members: Any) -> Step:
        """Sign when the time is known; now and then with a flaw."""
        flaw = self.random.choice(("forged", "cluster", "expired", "late", "nonce", "stranger", *[""] * 44))
        if self.calm and flaw == "nonce":
            flaw = ""
        self.nonces += 1
        nonce = max(1, self.nonces - 1) if flaw == "nonce" else self.nonces
        signer = signer_of("stranger" if flaw == "stranger" else owner)

        def draw(time: int) -> Data:
            expires_at = time + {"expired": -1, "late": 40 * DAY}.get(flaw, 20 * DAY)
            said: dict[str, Any] = {"cluster": "mainnet" if flaw == "cluster" else CLUSTER, "nonce": nonce} | members
            order = sign(kind, subject, signer, expires_at=format_instant(expires_at), **said)
            if flaw == "forged":
                forgery = signer.sign(f"{self.seed} {nonce}".encode())
                self.forgeries.add(forgery)
                order = type(order)(
                    **{name: getattr(order, name) for name in order.__struct_fields__} | {"signature": forgery}
                )
            return order

        return kind, draw

    # --- jobs of owners ---

    def _quote(self, node: int) -> Quote:
        quote = super()._quote(node)
        if self.random.random() < 0.05:
            return quote
        least = lowest(350_000_000, self.parameters)
        return Quote(node=quote.node, operator=quote.operator, price=str(least + 1), minimum="350000000")

    def _seconds(self) -> int:
        return super()._seconds() if self.random.random() < 0.3 else self.random.randrange(3_600, 200_000)

    def _thread(self) -> tuple[Producer, str, list[Step]]:
        if self.random.random() < 0.35:
            return super()._thread()
        self.jobs += 1
        signer = self.random.randrange(len(self.spenders))
        router, name = self._name(self.spenders[signer].key)
        return router, name, self._owned(name, f"spender {signer}")

    def _owned(self, name: str, spender: str) -> list[Step]:
        consumer, nodes = signer_of(spender).key, self.random.choice((1, 1, 3, 3, 4))
        seconds = self._seconds()
        submitted = JobSubmittedData(
            asset=ASSET, authority=self.random.choice(("owner",) * 4 + ("declared",)), consumer=consumer,
            gpu_seconds_max=seconds, nodes=nodes,
        )  # fmt: skip
        maximum = self.random.choice((0, 10**9, *[10**17] * 20))
        steps: list[Step] = [(JobSubmitted, submitted)]
        if self.random.random() < 0.95:
            order = self._order(SpendAuthorized, name, spender, asset=ASSET, maximum=str(maximum))
            steps.insert(self.random.randint(0, 1), order)
        for attempt in range(1, self.random.choice((2, 2, 2, 3, 4, 5))):
            if attempt > 1:
                again = JobRedistributedData(attempt=attempt - 1, consumer=consumer, reason="wrong")
                steps.append((JobRedistributed, again))
            steps += self._attempt(attempt, consumer, nodes, last=False)
        if self.random.random() < 0.2:
            steps.append((JobFailed, JobFailedData(attempt=1, consumer=consumer, reason="lost")))
        return steps

    def _attempt(self, attempt: int, consumer: str, nodes: int, last: bool) -> list[Step]:
        random = self.random
        picked = random.sample(NODES, nodes)
        quotes = tuple(self._quote(int(node[1])) for node in picked)
        if random.random() < 0.02:
            quotes += quotes[:1]
        begun: list[Step] = [(JobDispatched, JobDispatchedData(attempt=attempt, consumer=consumer, quotes=quotes))]
        of: dict[str, Any] = {"attempt": attempt, "consumer": consumer}
        if random.random() < 0.9:
            drawn = tuple(random.sample(VALIDATORS, random.randint(1, 3)))
            begun.append((DutyAssigned, DutyAssignedData(seed="0" * 64, validators=drawn, **of)))
        else:
            drawn = ("v0",)
        agree = random.random() < 0.8
        for node in picked:
            result = HASHES[0 if agree else random.randrange(2)]
            if random.random() < 0.97:
                begun.append((ResultSubmitted, ResultSubmittedData(node=node, result=result, **of)))
        proofs: list[Step] = []
        for node in picked:
            right = random.random() < 0.7
            reporter = random.choice((None, None, None, "v3", "somebody"))
            if random.random() < 0.95:
                said = ChallengeResultRecordedData(node=node, passed=right, reporter=reporter, **of)
                proofs.append((ChallengeResultRecorded, said))
            proofs += [self._attestation(node, validator, right, of) for validator in drawn if random.random() < 0.95]
            if random.random() < 0.95:
                used = UsageMeteredData(node=node, gpu_seconds=self._seconds(), **of)
                proofs.append((UsageMetered, used))
        if random.random() < 0.2:
            # Somebody says a second time what was said, under another key.
            proofs += random.sample(begun + proofs, 2)
        random.shuffle(proofs)
        for _ in range(random.choice((0, 1, 1, 2)) if nodes > 1 else 0):
            least = min(nodes, random.choice((nodes, nodes, 2)))
            claim = QuorumClaimedData(agreeing=tuple(random.sample(picked, least)), **of)
            proofs.insert(random.randint(0, len(proofs)), (QuorumClaimed, claim))
        return begun + proofs

    def _attestation(self, node: str, validator: str, right: bool, of: dict[str, Any]) -> Step:
        told = right if self.random.random() < 0.8 else not right
        reporter = self.random.choice((None, None, "v2"))
        verdict: Literal["passed", "failed"] = "passed" if told else "failed"
        return AttestationRecorded, AttestationRecordedData(
            node=node, validator=validator, verdict=verdict, reporter=reporter, **of
        )

    # --- what else is done in a period ---

    def _act(self) -> tuple[Producer, str, list[Step]]:
        """Draw one act: who relays it, its subject, what it says. Each has a source of its own."""
        self.threads += 1
        relay = Producer(f"relay-{self.threads}", self.random.choice(self.routers).stream)
        subject, step = self.random.choice(_ACTS)(self, relay)
        return relay, subject, [step]

    def _unstake(self, relay: Producer) -> tuple[str, Step]:
        role, id = self.random.choice(self._everyone())
        bonded = self.naive.money[f"stake:bonded:{role}:{id}", "stake"]
        amount = self.random.choice((1, bonded // 3, bonded // 2, bonded, bonded + 1, 0, 3_333))
        order = self._order(UnstakeOrdered, id, owner_of(id), asset=ASSET, amount=str(amount), role=role)
        self.tickets.append((role, id, fact_id(relay.source, f"{id}:0")[:32]))
        return id, order

    def _rebond(self, relay: Producer) -> tuple[str, Step]:
        if not self.tickets:
            return self._unstake(relay)
        role, id, ticket = self.random.choice(self.tickets)
        return id, self._order(RebondOrdered, id, owner_of(id), role=role, ticket=ticket)

    def _dispute(self, relay: Producer) -> tuple[str, Step]:
        cases = [case for case in self.naive.stakes.cases.values() if case.open or self.random.random() < 0.2]
        if not cases:
            return "0" * 32, self._order(SlashDisputeFiled, "0" * 32, "owner v0")
        case = self.random.choice(cases)
        return case.id, self._order(SlashDisputeFiled, case.id, owner_of(case.who[1]))

    def _rule(self, relay: Producer) -> tuple[str, Step]:
        cases = [case.id for case in self.naive.stakes.cases.values() if case.open or self.random.random() < 0.2]
        case = self.random.choice(cases or ["0" * 32])
        signers = self.random.sample(FOUNDATION, self.random.choice((2, 2, 2, 2, 3, 1)))
        cluster = CLUSTER if self.random.random() < 0.95 else "mainnet"
        verdict = self.random.choice(("upheld", "reversed"))
        signed_for = case
        ruling = approve(signed_for, verdict, cluster, signers)  # type: ignore[arg-type]
        if self.random.random() < 0.05:
            ruling = approve("another", verdict, cluster, signers)  # type: ignore[arg-type]
            self.forgeries.update(approval.signature for approval in ruling.approvals)
        return case, (SlashRuled, ruling)

    def _report(self, relay: Producer) -> tuple[str, Step]:
        reporter = self.random.choice(VALIDATORS)
        others = [(role, id) for role, id in self._everyone() if id != reporter]
        role, accused = self.random.choice([*others[:3], *others, ("node", "nobody")])
        cause = self.random.choice(("failed_challenge", "false_attestation", "false_attestation", "offline", "rude"))
        job = f"j{self.random.randint(max(1, self.jobs - 5), self.jobs + 2)}"
        consumer = self.random.choice(self.named.get(job, self.consumers))
        order = self._order(
            SlashReportFiled, reporter, owner_of(reporter), accused=accused, attempt=1, cause=cause,
            consumer=consumer, evidence=HASHES[0], job=job, role=role,
        )  # fmt: skip
        return reporter, order

    def _stake_more(self, relay: Producer) -> tuple[str, Step]:
        role, id = self.random.choice(self._everyone())
        kind, _, subject, _, data = self._stake_fact(0, role, id, self.random.choice((0, 1, 500, 10_000)), "")
        return subject, (kind, data)

    def _register_again(self, relay: Producer) -> tuple[str, Step]:
        role, id = self.random.choice(self._everyone())
        kind, _, subject, _, data = self._registration(0, role, id)
        return subject, (kind, data)

    def _leave(self, relay: Producer) -> tuple[str, Step]:
        if self.random.random() < 0.4:
            return "v3", (ValidatorExited, ValidatorExitedData(reason="tired"))
        return "n2", (NodeRetired, NodeRetiredData(reason="old"))

    def _update(self, relay: Producer) -> tuple[str, Step]:
        data = NodeUpdatedData(
            bandwidth_mbps=self.random.choice((99, 100, 100)), gpu_model="g", gpus=1, minimum_price="1", vram_mib=8192
        )
        return self.random.choice(NODES[:3]), (NodeUpdated, data)

    def _withdraw(self, relay: Producer) -> tuple[str, Step]:
        number = self.random.randrange(len(self.spenders))
        key = self.spenders[number].key
        held = self.naive.money[f"consumer:{key}", "escrow"]
        amounts = (1, 0, held // 1_000, held // 7) if self.calm else (1, 0, held // 3, held, held + 1)
        order = self._order(
            WithdrawalOrdered, key, f"spender {number}", asset=ASSET, amount=str(self.random.choice(amounts))
        )
        return key, order

    def _change_key(self, relay: Producer) -> tuple[str, Step]:
        signer = signer_of("owner v0")
        return signer.key, self._order(PayoutKeyChanged, signer.key, "owner v0", payout_key=signer_of("new").key)

    # --- declared in place of a chain ---

    def _held(self, wanted: Callable[[str, str], bool]) -> dict[str, list[tuple[str, int]]]:
        held: dict[str, list[tuple[str, int]]] = {}
        for (account, vault), amount in sorted(self.naive.money.items()):
            if amount > 0 and wanted(account, vault):
                held.setdefault(vault, []).append((account, amount))
        return held

    def _lines(self, held: dict[str, list[tuple[str, int]]]) -> tuple[str, list[DeclaredLine]]:
        vault = self.random.choice(sorted(held) or ["escrow"])
        of = held.get(vault) or [("payable:supplier:n0", 5)]
        lines = []
        for account, amount in self.random.sample(of, min(len(of), self.random.randint(1, 3))):
            part = self.random.choice(
                (amount, amount, amount // 2, 1, amount + 1 if self.random.random() < 0.2 else amount)
            )
            lines.append(DeclaredLine(account=account, amount=str(part)))
        if self.random.random() < 0.1:
            lines.append(lines[0])
        return vault, lines

    def _declare(self, effect: Any, vault: str, lines: list[DeclaredLine], to: str | None = None) -> tuple[str, Step]:
        amount = sum(int(line.amount) for line in lines) + (self.random.random() < 0.05)
        data = ChainFactDeclaredData(
            effect=effect, asset=ASSET, amount=str(amount), vault=vault, lines=tuple(lines), to=to
        )
        return vault, (ChainFactDeclared, data)

    def _payout(self, relay: Producer) -> tuple[str, Step]:
        any_account = self.random.random() < 0.1
        held = self._held(lambda account, vault: any_account or account.startswith("payable:"))
        return self._declare("payout", *self._lines({vault: lines for vault, lines in held.items() if vault}))

    def _burn(self, relay: Producer) -> tuple[str, Step]:
        vault, lines = self._lines(self._held(lambda account, vault: account == "burn:pending"))
        data = ChainFactDeclaredData(effect="burn", asset=ASSET, amount=lines[0].amount, vault=vault)
        return vault, (ChainFactDeclared, data)

    def _sweep(self, relay: Producer) -> tuple[str, Step]:
        homes = {
            (account, vault): home_of(account)
            for account, vault in self.naive.money
            if vault and home_of(account) not in (None, vault)
        }
        to = self.random.choice(sorted({home for home in homes.values() if home}) or ["treasury"])
        strict = self.random.random() < 0.9
        held = self._held(lambda account, vault: homes.get((account, vault)) == to or (not strict and vault != ""))
        return self._declare("sweep", *self._lines(held), to)


_ACTS: tuple[Callable[[NetworkBuilder, Producer], tuple[str, Step]], ...] = (
    *[NetworkBuilder._unstake] * 4,
    *[NetworkBuilder._rebond] * 3,
    *[NetworkBuilder._dispute] * 5,
    *[NetworkBuilder._rule] * 3,
    *[NetworkBuilder._report] * 5,
    *[NetworkBuilder._stake_more] * 2,
    *[NetworkBuilder._register_again] * 1,
    *[NetworkBuilder._leave] * 1,
    *[NetworkBuilder._update] * 1,
    *[NetworkBuilder._withdraw] * 2,
    *[NetworkBuilder._change_key] * 1,
    *[NetworkBuilder._payout] * 2,
    *[NetworkBuilder._burn] * 1,
    *[NetworkBuilder._sweep] * 2,
)
