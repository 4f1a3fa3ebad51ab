"""Each rule that refuses a fact is reached by a smallest case; nothing moves, and the refusal is kept."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from app.facts import Producer, to_line
from app.orders import sign
from events.codec import encode
from events.decisions import DecisionRefused
from events.event import Fact, fact_id
from events.facts import (
    AttestationRecorded,
    AttestationRecordedData,
    ChainFactDeclared,
    ChainFactDeclaredData,
    ChallengeResultRecorded,
    ChallengeResultRecordedData,
    DutyAssigned,
    DutyAssignedData,
    GenesisDeclaredData,
    JobCancelled,
    JobCancelledData,
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
    RecordRefused,
    ResultSubmitted,
    ResultSubmittedData,
    Terms,
    UsageMetered,
    UsageMeteredData,
)
from events.instant import format_instant
from events.orders import SpendAuthorized, WithdrawalOrdered
from events.refusal import Reason
from ledger.parameters import parameters_hash
from tests.settlement.desk import EVIDENCE, Desk, day
from tests.worlds import ASSET, CLUSTER, LAUNCH, genesis_of, parameter_set, signer_of

P = Producer("p")
KEYS = iter(range(10**6))
FUNDS = 1_000_000
OWNER = signer_of("c")
K = OWNER.key


def say(kind: type[Any], subject: str, data: Any) -> Fact:
    return P.fact(kind, day(0, 1), subject, f"k{next(KEYS)}", data)


def deposit(amount: int = FUNDS, asset: str = ASSET) -> Fact:
    return P.deposit(day(0, 1), "c", asset, amount, f"k{next(KEYS)}")


def submit(job: str = "j", nodes: int = 1, asset: str = ASSET) -> Fact:
    data = JobSubmittedData(asset=asset, authority="declared", consumer="c", gpu_seconds_max=3600, nodes=nodes)
    return say(JobSubmitted, job, data)


def quote(node: int, price: int = 100, minimum: int = 0) -> Quote:
    return Quote(node=f"n{node}", operator=f"o{node}", price=str(price), minimum=str(minimum))


def dispatch(*quotes: Quote, attempt: int = 1, consumer: str = "c", params_hash: str | None = None) -> Fact:
    data = JobDispatchedData(attempt=attempt, consumer=consumer, quotes=quotes or (quote(0),), params_hash=params_hash)
    return say(JobDispatched, "j", data)


def usage(node: int = 0, attempt: int = 1, consumer: str = "c") -> Fact:
    data = UsageMeteredData(attempt=attempt, consumer=consumer, gpu_seconds=60, node=f"n{node}")
    return say(UsageMetered, "j", data)


def whole(price: int = 100, minimum: int = 0, asset: str = ASSET, attempt: int = 1) -> Fact:
    terms = Terms(
        asset=asset,
        authority="declared",
        gpu_seconds_max=3600,
        minimum=str(minimum),
        operator="o",
        price=str(price),
    )
    return say(
        UsageMetered, "j", UsageMeteredData(attempt=attempt, consumer="c", gpu_seconds=60, node="n0", terms=terms)
    )


def claim(*nodes: int, attempt: int = 1) -> Fact:
    data = QuorumClaimedData(agreeing=tuple(f"n{node}" for node in nodes), attempt=attempt, consumer="c")
    return say(QuorumClaimed, "j", data)


def fail(attempt: int = 1) -> Fact:
    return say(JobFailed, "j", JobFailedData(attempt=attempt, consumer="c", reason="lost"))


def cancel(consumer: str = "c") -> Fact:
    return say(JobCancelled, "j", JobCancelledData(consumer=consumer, reason="changed"))


def three() -> list[Fact]:
    return [deposit(), submit(nodes=3), dispatch(quote(0), quote(1), quote(2))]


def one() -> list[Fact]:
    return [deposit(), submit(), dispatch()]


def redistribute(attempt: int = 1) -> Fact:
    return say(JobRedistributed, "j", JobRedistributedData(attempt=attempt, consumer="c", reason="wrong"))


def duty(attempt: int = 1) -> Fact:
    data = DutyAssignedData(attempt=attempt, consumer="c", seed="5" * 64, validators=("v",))
    return say(DutyAssigned, "j", data)


def result(node: int = 0, consumer: str = "c", letter: str = "a") -> Fact:
    data = ResultSubmittedData(attempt=1, consumer=consumer, node=f"n{node}", result=letter * 64)
    return say(ResultSubmitted, "j", data)


def challenge(node: int = 0, attempt: int = 1) -> Fact:
    data = ChallengeResultRecordedData(attempt=attempt, consumer="c", node=f"n{node}", passed=True)
    return say(ChallengeResultRecorded, "j", data)


def attest(validator: str = "v", node: int = 0, attempt: int = 1) -> Fact:
    data = AttestationRecordedData(
        attempt=attempt, consumer="c", node=f"n{node}", validator=validator, verdict="passed"
    )
    return say(AttestationRecorded, "j", data)


def order(kind: type[Any], subject: str, hours: int = 24, **terms: Any) -> Fact:
    """An order of K's at the hour of all facts, for some hours."""
    key = next(KEYS)
    until = format_instant(day(0, 1 + hours))
    envelope: dict[str, Any] = {"cluster": CLUSTER, "nonce": key, "expires_at": until}
    return say(kind, subject, sign(kind, subject, OWNER, **(envelope | terms)))


def authorize(maximum: int = FUNDS, **terms: Any) -> Fact:
    return order(SpendAuthorized, "j", **({"asset": ASSET, "maximum": str(maximum)} | terms))


def withdraw(amount: int = 1, subject: str = K, **terms: Any) -> Fact:
    return order(WithdrawalOrdered, subject, **({"asset": ASSET, "amount": str(amount)} | terms))


def forged() -> Fact:
    """A withdrawal whose amount was changed behind its owner's back."""
    fact: Any = withdraw(1)
    return say(WithdrawalOrdered, K, replace(fact.data, amount="2"))


def owned(nodes: int = 1) -> list[Fact]:
    """A job of K's own authority, which has the money for it."""
    data = JobSubmittedData(asset=ASSET, authority="owner", consumer=K, gpu_seconds_max=3600, nodes=nodes)
    return [P.deposit(day(0, 1), K, ASSET, FUNDS, f"k{next(KEYS)}"), say(JobSubmitted, "j", data)]


def backed(*letters: str) -> list[Fact]:
    """Results of n0 and n1, and the claim that they agree."""
    results = [result(node, K, letter) for node, letter in enumerate(letters)]
    claimed = QuorumClaimedData(agreeing=("n0", "n1"), attempt=1, consumer=K)
    return [
        *owned(2),
        authorize(),
        dispatch(quote(0), quote(1), consumer=K),
        *results,
        say(QuorumClaimed, "j", claimed),
    ]


def elsewhere() -> Fact:
    data = ChainFactDeclaredData(effect="deposit", asset=ASSET, amount="1", vault="fees")
    return say(ChainFactDeclared, "c", data)


class Case(NamedTuple):
    """The last of the facts is refused."""

    name: str
    reason: Reason
    facts: list[Fact]


R = Reason
CASES = [
    Case("deposit of a foreign asset", R.ASSET_UNKNOWN, [deposit(asset="DUST")]),
    Case("job in a foreign asset", R.ASSET_UNKNOWN, [submit(asset="DUST")]),
    Case("whole job in a foreign asset", R.ASSET_UNKNOWN, [deposit(), whole(asset="DUST")]),
    Case("deposit of nothing", R.AMOUNT_IS_ZERO, [deposit(0)]),
    Case("deposit of more than there can be", R.AMOUNT_ABOVE_CAP, [deposit(10**39 - 1)]),
    Case("dispatch under other parameters", R.PARAMETERS_DIFFER, [deposit(), submit(), dispatch(params_hash="0" * 64)]),
    Case("job submitted twice", R.JOB_EXISTS, [submit(), submit()]),
    Case("job submitted again after its end", R.JOB_EXISTS, [*one(), usage(), submit()]),
    Case("whole job twice", R.JOB_EXISTS, [deposit(), whole(), whole()]),
    Case("whole job of a submitted id", R.JOB_EXISTS, [deposit(), submit(), whole()]),
    Case("dispatch of no job", R.JOB_UNKNOWN, [deposit(), dispatch()]),
    Case("usage of no job", R.JOB_UNKNOWN, [usage()]),
    Case("verdict on no job", R.JOB_UNKNOWN, [claim(0)]),
    Case("failure of no job", R.JOB_UNKNOWN, [fail()]),
    Case("cancellation of no job", R.JOB_UNKNOWN, [cancel()]),
    Case("usage of a settled job", R.JOB_CLOSED, [*one(), usage(), usage()]),
    Case("failure of a settled job", R.JOB_CLOSED, [*one(), usage(), fail()]),
    Case("usage of a refunded job", R.JOB_CLOSED, [*one(), fail(), usage()]),
    Case("cancellation of a whole job", R.JOB_CLOSED, [deposit(), whole(), cancel()]),
    Case("dispatch by a stranger", R.JOB_UNKNOWN, [deposit(), submit(), dispatch(consumer="d")]),
    Case("usage by a stranger", R.JOB_UNKNOWN, [*one(), usage(consumer="d")]),
    Case("cancellation by a stranger", R.JOB_UNKNOWN, [*one(), cancel("d")]),
    Case("second attempt first", R.ATTEMPT_OUT_OF_ORDER, [deposit(), submit(), dispatch(attempt=2)]),
    Case("dispatch of a running attempt", R.ATTEMPT_OUT_OF_ORDER, [*one(), dispatch(attempt=2)]),
    Case(
        "attempt beyond the last",
        R.ATTEMPT_OUT_OF_ORDER,
        [submit(), *(dispatch(attempt=n) for n in (1, 2, 3)), deposit(), dispatch(attempt=4)],
    ),
    Case("usage before any dispatch", R.ATTEMPT_OUT_OF_ORDER, [submit(), usage()]),
    Case("usage of another attempt", R.ATTEMPT_OUT_OF_ORDER, [*one(), usage(attempt=2)]),
    Case("verdict on another attempt", R.ATTEMPT_OUT_OF_ORDER, [*three(), claim(0, 1, attempt=2)]),
    Case("failure of another attempt", R.ATTEMPT_OUT_OF_ORDER, [*one(), fail(2)]),
    Case("whole job of a second attempt", R.ATTEMPT_OUT_OF_ORDER, [deposit(), whole(attempt=2)]),
    Case("fewer nodes than asked for", R.NODES_DIFFER, [deposit(), submit(nodes=2), dispatch(quote(0))]),
    Case("more nodes than asked for", R.NODES_DIFFER, [deposit(), submit(), dispatch(quote(0), quote(1))]),
    Case("the same node twice", R.NODES_DIFFER, [deposit(), submit(nodes=2), dispatch(quote(0), quote(0))]),
    # 100 × 10,000 / 9,300 = 107.5…: 108 nets the minimum, 107 does not.
    Case("price below the minimum", R.PRICE_BELOW_MINIMUM, [deposit(), submit(), dispatch(quote(0, 107, 100))]),
    Case("whole job below the minimum", R.PRICE_BELOW_MINIMUM, [deposit(), whole(107, 100)]),
    Case("one unit too little", R.FUNDS_INSUFFICIENT, [deposit(99), submit(), dispatch()]),
    Case("no money at all", R.FUNDS_INSUFFICIENT, [submit(), dispatch()]),
    Case("whole job above the funds", R.FUNDS_INSUFFICIENT, [deposit(99), whole()]),
    Case("usage of a node that was not chosen", R.NODE_NOT_DISPATCHED, [*one(), usage(7)]),
    Case("verdict by a node that was not chosen", R.NODE_NOT_DISPATCHED, [*three(), claim(0, 7)]),
    Case("verdict naming a node twice", R.NODE_NOT_DISPATCHED, [*three(), claim(0, 0)]),
    Case("usage of a node twice", R.USAGE_EXISTS, [*three(), usage(0), usage(0)]),
    Case("cancellation of a job that ran", R.USAGE_EXISTS, [*three(), usage(0), cancel()]),
    Case("second verdict", R.QUORUM_EXISTS, [*three(), claim(0, 1), claim(0, 2)]),
    Case("too few votes", R.QUORUM_NOT_REACHED, [*three(), claim(0)]),
    Case("deposit into another vault", R.EFFECT_MALFORMED, [elsewhere()]),
    Case("redistribution of no job", R.JOB_UNKNOWN, [redistribute()]),
    Case("redistribution of a settled job", R.JOB_CLOSED, [*one(), usage(), redistribute()]),
    Case("redistribution before any dispatch", R.ATTEMPT_OUT_OF_ORDER, [deposit(), submit(), redistribute()]),
    Case("usage after a redistribution", R.ATTEMPT_OUT_OF_ORDER, [*one(), redistribute(), usage()]),
    Case("duty on no job", R.JOB_UNKNOWN, [duty()]),
    Case("second duty", R.DUTY_EXISTS, [*one(), duty(), duty()]),
    Case("duty on a settled job", R.JOB_CLOSED, [*one(), duty(), usage(), duty()]),
    Case("second result of a node", R.RESULT_EXISTS, [*one(), result(), result(letter="b")]),
    Case("result of a node that was not chosen", R.NODE_NOT_DISPATCHED, [*one(), result(7)]),
    Case("second challenge of a node", R.CHALLENGE_EXISTS, [*one(), challenge(), challenge()]),
    Case("challenge of a node that was not chosen", R.NODE_NOT_DISPATCHED, [*one(), challenge(7)]),
    Case("challenge of another attempt", R.ATTEMPT_OUT_OF_ORDER, [*one(), challenge(attempt=2)]),
    Case("challenge after a job without proof", R.JOB_CLOSED, [*one(), usage(), challenge()]),
    Case("attestation without a duty", R.DUTY_NOT_ASSIGNED, [*one(), duty(), attest("w")]),
    Case("attestation before its duty", R.DUTY_NOT_ASSIGNED, [*one(), attest()]),
    Case("second attestation of a node", R.ATTESTATION_EXISTS, [*one(), duty(), attest(), attest()]),
    Case("attestation of a node that was not chosen", R.NODE_NOT_DISPATCHED, [*one(), duty(), attest(node=7)]),
    Case("dispatch without its consumer's word", R.SPEND_NOT_AUTHORIZED, [*owned(), dispatch(consumer=K)]),
    Case("dispatch above the word", R.SPEND_ABOVE_MAXIMUM, [*owned(), authorize(99), dispatch(consumer=K)]),
    Case("quorum of different results", R.RESULTS_DIFFER, backed("a", "b")),
    Case("quorum without a result of each", R.RESULTS_DIFFER, backed("a")),
    Case("withdrawal of nothing", R.AMOUNT_IS_ZERO, [*owned(), withdraw(0)]),
    Case("withdrawal of a foreign asset", R.ASSET_UNKNOWN, [*owned(), withdraw(asset="DUST")]),
    Case("withdrawal above the funds", R.FUNDS_INSUFFICIENT, [*owned(), withdraw(FUNDS + 1)]),
    Case("withdrawal from another's account", R.OWNER_DIFFERS, [deposit(), withdraw(subject="c")]),
    Case("order for another cluster", R.CLUSTER_DIFFERS, [*owned(), withdraw(cluster="elsewhere")]),
    Case("order that has expired", R.ORDER_EXPIRED, [*owned(), withdraw(hours=-1)]),
    Case("order for too long", R.ORDER_EXPIRES_TOO_LATE, [*owned(), withdraw(hours=31 * 24 + 1)]),
    Case("order that was used before", R.NONCE_USED, [*owned(), withdraw(nonce=10**6), withdraw(nonce=10**6)]),
    Case("order that its owner did not sign", R.SIGNATURE_WRONG, [*owned(), forged()]),
    Case(
        "two nodes of one operator are one vote",
        R.QUORUM_NOT_REACHED,
        [
            deposit(),
            submit(nodes=3),
            dispatch(quote(0), Quote(node="n1", operator="o0", price="100", minimum="0"), quote(2)),
            claim(0, 1),
        ],
    ),
]


def decide(facts: list[Fact]) -> Desk:
    desk = Desk(parameter_set())
    receipts = desk.ingest([P.register(LAUNCH), *facts])
    assert not any(receipt.refused for receipt in receipts)
    desk.settle()
    return desk


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_refused_fact_moves_nothing_and_its_refusal_is_kept(case: Case) -> None:
    *before, refused = case.facts

    without, desk = decide(before), decide(case.facts)

    last = desk.decisions()[-2]  # the hub's genesis stands behind the lane's decisions
    assert isinstance(last, DecisionRefused)
    assert (last.data.reason, last.causation_id, last.subject) == (case.reason, refused.id, refused.subject)
    assert desk.money() == without.money()
    assert desk.lane.records[0].lines[:-1] == (without.lane.records[0].lines if without.lane.records else ())


def test_every_reason_of_a_decision_has_a_case() -> None:
    """Those of lanes stand above; those of the hub in the tests of the hub."""
    reasons = list(Reason)
    wanted = set(reasons[reasons.index(Reason.ASSET_UNKNOWN) :])
    of_hub = "".join(path.read_text() for path in Path(__file__).parent.glob("test_hub_*.py"))

    assert {reason for reason in wanted if f"Reason.{reason.name}" not in of_hub} <= {case.reason for case in CASES}


def test_refused_dispatch_uses_its_attempt_up_and_the_next_one_may_succeed() -> None:
    desk = decide([deposit(100), submit(), dispatch(quote(0, 107, 100)), dispatch(attempt=2)])

    assert desk.money()["escrow:c:j", "escrow"] == 100


def test_what_bypassed_intake_is_refused_by_the_settler_with_its_position() -> None:
    """A log's producers may append past `ingest`: the settler judges each line again."""
    desk = Desk(parameter_set())
    desk.ingest([P.register(LAUNCH), deposit()])
    stranger = Producer("stranger").deposit(day(0, 1), "c", ASSET, 7, "k")
    forged = P.fact(JobCancelled, day(0, 1), "j", "k", JobCancelledData(consumer="c", reason="x"))
    wrong_id = type(forged)(**{name: getattr(forged, name) for name in forged.__struct_fields__} | {"id": "0" * 64})
    deposits = [encode(fact) for fact in (deposit(), wrong_id, stranger)]
    position = desk.facts.append([b"{", *deposits, encode(deposit(5))], EVIDENCE).sequence

    desk.settle()

    refused = [(d.data.position, d.data.reason) for d in desk.decisions() if isinstance(d, DecisionRefused)]
    assert refused == [
        (f"facts/0:{position + 1}", "not_json"),
        (f"facts/0:{position + 3}", "id_mismatch"),
        (f"facts/0:{position + 4}", "stream_unregistered"),
    ]
    assert desk.money()["consumer:c", "escrow"] == 2 * FUNDS + 5


def test_fact_that_bypassed_intake_twice_counts_once() -> None:
    desk = Desk(parameter_set())
    desk.ingest([P.register(LAUNCH)])
    line = encode(deposit())

    desk.facts.append([line, line], EVIDENCE)
    desk.facts.append([line], EVIDENCE)
    desk.settle()

    assert desk.money()["consumer:c", "escrow"] == FUNDS


def test_keys_are_scoped_by_their_source() -> None:
    other = Producer("q", P.stream)
    mine = P.deposit(day(0, 1), "c", ASSET, 1, "same")

    desk = decide([mine, other.deposit(day(0, 1), "c", ASSET, 2, "same")])

    assert mine.id == fact_id("p", "same")
    assert desk.money()["consumer:c", "escrow"] == 3


def receive(desk: Desk, fact: Fact) -> list[Reason]:
    return [line.refusal.reason for receipt in desk.ingest([fact]) for line in receipt.refused]


def test_books_have_one_genesis_before_all_else_with_parameters_that_hold() -> None:
    parameters = parameter_set()
    opened = Desk(parameters)
    other = replace(genesis_of(parameters), key="genesis:again", id=fact_id("foundation", "genesis:again"))
    assert receive(opened, other) == [R.GENESIS_EXISTS]

    unopened = Desk(parameters, opened=False)
    assert receive(unopened, P.register(LAUNCH)) == [R.GENESIS_MISSING]
    genesis = genesis_of(parameters)
    text = genesis.data.parameters  # type: ignore[attr-defined]
    for changed in (text.replace("200", "201"), text + " ", "{}", text.replace("10000", "99999")):
        lying = GenesisDeclaredData(parameters=changed, params_hash=parameters_hash(text))
        assert receive(unopened, replace(genesis, data=lying)) == [R.PARAMETERS_INVALID]
    for changed in (text + " ", "{}", text.replace('"burn_bps":200', '"burn_bps":9500')):
        data = GenesisDeclaredData(parameters=changed, params_hash=parameters_hash(changed))
        assert receive(unopened, replace(genesis, data=data)) == [R.PARAMETERS_INVALID]
    assert receive(unopened, genesis) == []


def test_line_in_the_facts_log_that_is_not_canonical_is_refused_by_the_settler() -> None:
    desk = Desk(parameter_set())
    desk.facts.append([encode(P.register(LAUNCH)), encode(deposit()).replace(b",", b", ", 1)], EVIDENCE)

    desk.settle()

    (refused,) = [d for d in desk.decisions() if isinstance(d, DecisionRefused)]
    assert (refused.data.reason, refused.data.position) == (R.NOT_CANONICAL, f"facts/0:{desk.facts.end() - 1}")


def test_files_from_outside_are_brought_into_canonical_form() -> None:
    desk = Desk(parameter_set())
    line = to_line(deposit(7)).replace(b",", b" ,  ").replace(b":{", b": {")

    (receipt,) = desk.ingest([to_line(P.register(LAUNCH)), line])
    desk.settle()

    assert receipt.accepted == 2
    assert desk.money()["consumer:c", "escrow"] == 7


def test_refused_line_is_kept_whoever_claimed_the_key_of_its_refusal() -> None:
    """Keys are scoped by their source, and `intake` is a source that no producer may speak for."""
    desk = Desk(parameter_set())
    hostile = b"hello"
    squatter = Producer("intake", P.stream).deposit(day(0, 1), "c", ASSET, 1, sha256(hostile).hexdigest())

    desk.ingest([to_line(P.register(LAUNCH)), to_line(squatter), hostile])

    kept = [event.data.raw for event in desk.kept() if isinstance(event, RecordRefused)]
    assert b64encode(hostile).decode() in kept
