"""A job is its consumer's: two consumers may use one id, be they in one lane or in two."""

from typing import Any

import pytest
from sqlalchemy import select

from app.facts import Producer
from app.orders import sign
from events.codec import encode
from events.decisions import DecisionRefused, EpochClosed, LaneEpochClosed, SlashEvidenced
from events.event import Fact
from events.facts import (
    ChainFactDeclared,
    ChainFactDeclaredData,
    ChallengeResultRecorded,
    ChallengeResultRecordedData,
    JobDispatched,
    JobDispatchedData,
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
from events.instant import format_instant
from events.orders import SlashReportFiled, SpendAuthorized
from events.participants import NodeRegistered, NodeRegisteredData, ValidatorRegistered, ValidatorRegisteredData
from events.refusal import Reason
from events.stakes import SlashDistributed, SlashProposed
from projections.stakes import read_cases
from projections.statement import read_statement
from projections.tables import job
from settlement.routing import lane_of
from tests.settlement.desk import Desk, day, tables_of
from tests.worlds import ASSET, CLUSTER, parameter_set, signer_of

LANES = (1, 3, 8)
P = Producer("p")
FUNDS, NODES = 100_000, ("n0", "n1", "n2")
FIRST, SECOND = signer_of("consumer 0"), signer_of("consumer 2")
# What a second costs in units, and which node fails its challenge: by consumer.
TERMS = {FIRST.key: (1, "n2"), SECOND.key: (2, "n2")}
MINUTE = 60_000_000


def node(id: str) -> list[Fact]:
    data = NodeRegisteredData(
        asset=ASSET, authority="stake", gpu_model="g", gpus=1, minimum_price="0", operator=id, supplier="s",
        bandwidth_mbps=100, owner=signer_of(id).key, vram_mib=8192,
    )  # fmt: skip
    stake = ChainFactDeclaredData(effect="stake", asset=ASSET, amount="10000", vault="stake", role="node")
    return [
        P.fact(NodeRegistered, day(0), id, f"node:{id}", data),
        P.fact(ChainFactDeclared, day(0), id, f"stake:{id}", stake),
    ]


def life(number: int, consumer: str, price: int, liar: str) -> list[Fact]:
    """Tell a consumer's job `j`; what is told of the other's comes in between, half a minute later."""
    signer, said = (FIRST, SECOND)[number], list[Fact]()

    def say(kind: type[Fact], minute: int, key: str, data: object) -> None:
        time = day(0, 1) + minute * MINUTE + number * MINUTE // 2
        said.append(P.fact(kind, time, "j", f"{number}:{key}", data))  # type: ignore[arg-type]

    word: dict[str, Any] = {
        "cluster": CLUSTER,
        "expires_at": format_instant(day(2)),
        "nonce": 1,
        "asset": ASSET,
        "maximum": "99999",
    }
    say(SpendAuthorized, 0, "word", sign(SpendAuthorized, "j", signer, **word))
    submitted = JobSubmittedData(asset=ASSET, authority="owner", consumer=consumer, gpu_seconds_max=1_000, nodes=3)
    say(JobSubmitted, 1, "submitted", submitted)
    quotes = tuple(Quote(node=node, operator=node, price=str(price * 3_600), minimum="0") for node in NODES)
    say(JobDispatched, 2, "dispatched", JobDispatchedData(attempt=1, consumer=consumer, quotes=quotes))
    for id in NODES:
        result = ResultSubmittedData(attempt=1, consumer=consumer, node=id, result="a" * 64)
        say(ResultSubmitted, 3, f"result:{id}", result)
    say(QuorumClaimed, 4, "claim", QuorumClaimedData(agreeing=NODES, attempt=1, consumer=consumer))
    for id in NODES:
        checked = ChallengeResultRecordedData(attempt=1, consumer=consumer, node=id, passed=id != liar)
        say(ChallengeResultRecorded, 5, f"challenge:{id}", checked)
        used = UsageMeteredData(attempt=1, consumer=consumer, gpu_seconds=600, node=id)
        say(UsageMetered, 6, f"usage:{id}", used)
    return said


def run(lanes: int) -> Desk:
    facts: list[Fact] = [P.register(day(0))]
    facts += [fact for id in NODES for fact in node(id)]
    lives = [life(number, consumer, *terms) for number, (consumer, terms) in enumerate(TERMS.items())]
    facts += [P.deposit(day(0), consumer, ASSET, FUNDS, f"funds:{consumer}") for consumer in TERMS]
    facts += sorted((fact for life in lives for fact in life), key=lambda fact: fact.occurred_at)
    desk = Desk(parameter_set(), lanes)
    desk.ingest([*facts, P.mark(day(1, 12)), P.mark(day(3, 12))])
    desk.settle()
    assert desk.verify().unsettled == 0
    return desk


def lines_of(desk: Desk) -> list[bytes]:
    """Return all decisions in the order of their ids, but those that name lanes."""
    decisions = [d for d in desk.decisions() if not isinstance(d, LaneEpochClosed | EpochClosed)]
    return [encode(decision) for decision in sorted(decisions, key=lambda decision: decision.id)]


@pytest.fixture(scope="module")
def desks() -> list[Desk]:
    assert all(lane_of(FIRST.key, lanes) != lane_of(SECOND.key, lanes) for lanes in LANES[1:])
    return [run(lanes) for lanes in LANES]


def test_lanes_change_no_digest_and_no_decision(desks: list[Desk]) -> None:
    plain, *others = desks
    ids = [decision.id for decision in plain.decisions()]

    assert len(set(ids)) == len(ids)
    assert not [d for d in plain.decisions() if isinstance(d, DecisionRefused)]
    for other in others:
        assert other.digests() == plain.digests()
        assert lines_of(other) == lines_of(plain)


@pytest.mark.parametrize("number", range(len(LANES)))
def test_both_are_paid_and_each_fault_costs(number: int, desks: list[Desk]) -> None:
    """600 s at 1 and at 2 a second by each of two nodes: 2 % burned, 5 % fee; what waited goes back once upheld."""
    desk, money = desks[number], desks[number].money()

    assert money[f"consumer:{FIRST.key}", "escrow"] == FUNDS - 2 * 600
    assert money[f"consumer:{SECOND.key}", "escrow"] == FUNDS - 2 * 1_200
    assert [money[f"payable:supplier:{id}", "escrow"] for id in NODES[:2]] == [558 + 1_116] * 2
    assert not [account for account, _ in money if account.startswith(("escrow:", "payable:supplier:n2"))]

    evidence = [d for d in desk.decisions() if isinstance(d, SlashEvidenced)]
    proposed = [d for d in desk.decisions() if isinstance(d, SlashProposed)]
    assert {d.data.consumer for d in evidence} == {d.data.consumer for d in proposed} == TERMS.keys()
    assert len({d.data.case for d in proposed}) == len(proposed) == len(evidence) == 2
    assert sum(isinstance(d, SlashDistributed) for d in desk.decisions()) == 2
    assert money["stake:bonded:node:n2", "stake"] == 10_000 - 2 * 500, "one cut, one basis"


@pytest.mark.parametrize("number", range(len(LANES)))
def test_each_has_a_row_of_its_own(number: int, desks: list[Desk]) -> None:
    with tables_of(desks[number]).connect() as connection:
        rows = connection.execute(select(job.c.consumer, job.c.id, job.c.status, job.c.escrow, job.c.gross)).all()
        position = {log.name: log.end() for log in desks[number].ledgers}
        cases = read_cases(connection, position)
        statement = read_statement(connection, position, ASSET, FIRST.key, None)

    assert sorted(map(tuple, rows), key=lambda row: row[3]) == [
        (FIRST.key, "j", "settled", 3_000, 1_200),
        (SECOND.key, "j", "settled", 6_000, 2_400),
    ]
    assert {(case.consumer, case.job) for case in cases} == {(consumer, "j") for consumer in TERMS}
    assert statement.jobs["settled"]["jobs"] == 1
    (escrow,) = (line for line in statement.accounts if line.account == "escrow:*")
    assert sum(kind.credit for kind in escrow.movements.values()) == 3_000


def test_a_strangers_facts_are_about_a_job_that_is_not_known(desks: list[Desk]) -> None:
    used = UsageMeteredData(attempt=1, consumer="stranger", gpu_seconds=1, node="n0")
    for lanes in LANES:
        desk = Desk(parameter_set(), lanes)
        told = life(0, FIRST.key, *TERMS[FIRST.key])[:3]
        funds = P.deposit(day(0), FIRST.key, ASSET, FUNDS, "funds")
        late = P.fact(UsageMetered, day(0, 2), "j", "stray", used)
        desk.ingest([P.register(day(0)), funds, *told, late])
        desk.settle()
        (refused,) = (d for d in desk.decisions() if isinstance(d, DecisionRefused))
        assert (refused.causation_id, refused.data.reason) == (late.id, Reason.JOB_UNKNOWN)


@pytest.mark.parametrize("lanes", LANES)
def test_an_accusation_is_about_one_consumers_job(lanes: int) -> None:
    """Of three reports the second is about the same deed as the first, the third about another consumer's job."""
    facts: list[Fact] = [P.register(day(0)), *node("n0")]
    registered = ValidatorRegisteredData(operator="v", owner=signer_of("v").key)
    stake = ChainFactDeclaredData(effect="stake", asset=ASSET, amount="20000", vault="stake", role="validator")
    facts.append(P.fact(ValidatorRegistered, day(0), "v", "v", registered))
    facts.append(P.fact(ChainFactDeclared, day(0), "v", "stake:v", stake))
    reports = []
    for nonce, consumer in enumerate((FIRST.key, FIRST.key, SECOND.key)):
        order: dict[str, Any] = {
            "cluster": CLUSTER,
            "expires_at": format_instant(day(2)),
            "nonce": nonce,
            "consumer": consumer,
        }
        terms: dict[str, Any] = {
            "accused": "n0",
            "attempt": 1,
            "cause": "failed_challenge",
            "evidence": "e" * 64,
            "job": "j",
        }
        data = sign(SlashReportFiled, "v", signer_of("v"), role="node", **order, **terms)
        reports.append(P.fact(SlashReportFiled, day(0, 1 + nonce), "v", f"report:{nonce}", data))
    desk = Desk(parameter_set(), lanes)
    desk.ingest([*facts, *reports, P.mark(day(1, 12))])
    desk.settle()

    (refused,) = (d for d in desk.decisions() if isinstance(d, DecisionRefused))
    assert (refused.causation_id, refused.data.reason) == (reports[1].id, Reason.CASE_EXISTS)
    assert [d.data.consumer for d in desk.decisions() if isinstance(d, SlashProposed)] == [FIRST.key, SECOND.key]
