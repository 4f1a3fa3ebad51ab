"""A quarter worked through, unit by unit: stakes, a job of three nodes, slashes, an epoch's rewards, an unbonding.

K is a consumer; A, B, C are nodes at 10 OMNI per GPU-hour in a quorum of three; C dissents and fails its challenge;
V1, V2, V3 are validators, and V2 attests what C did. The chain's part is declared. Rows are those of docs/rules.md, "A
quarter worked through".
"""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from app.books import Books
from app.commands.write import load_preset
from app.facts import Producer, to_line
from app.orders import sign
from chain.keys import Signer
from events.event import Fact
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
from events.instant import DAY, MICROSECONDS, format_instant, parse_instant
from events.orders import SpendAuthorized, UnstakeOrdered
from events.participants import NodeRegistered, NodeRegisteredData, ValidatorRegistered, ValidatorRegisteredData
from ledger.accounts import Key
from ledger.slash import case_id
from projections.read import read_balances, read_position, read_supply
from settlement.lines import Line
from settlement.verify import fold_books, verify_logs, verify_rows

DAY_0 = parse_instant("2026-10-01T00:00:00.000000Z")
MINUTE = 60 * MICROSECONDS
HOUR = 60 * MINUTE
PRICE = "10000000000"
OMNI = 10**9
CLUSTER = "localnet"
VALIDATORS = {"V1": 10_000 * OMNI, "V2": 20_000 * OMNI, "V3": 33_333 * OMNI}
SIGNERS = {name: Signer(sha256(name.encode()).digest()) for name in ("K", "A", "B", "C", "V1", "V2", "V3")}
K = SIGNERS["K"].key
V3_OWNER = SIGNERS["V3"].key
CASE_C = case_id("node", "C", K, "J", 1, "failed_challenge")
CASE_V2 = case_id("validator", "V2", K, "J", 1, "false_attestation")
CASE_V3 = case_id("validator", "V3", "K2", "J2", 1, "false_attestation")
CASE_Z = case_id("node", "Z", "K2", "J2", 1, "failed_challenge")

router, desk = Producer("router"), Producer("desk")


def at(day: int, hours: int = 0, minutes: int = 0) -> int:
    """Return a time of the story."""
    return DAY_0 + day * DAY + hours * HOUR + minutes * MINUTE


def both(until: int) -> list[Fact]:
    """Mark both streams."""
    return [producer.mark(until) for producer in (router, desk)]


def declare(when: int, key: str, subject: str, **members: Any) -> Fact:
    """Declare a chain fact."""
    return desk.fact(ChainFactDeclared, when, subject, key, ChainFactDeclaredData(asset="OMNI", **members))


def order(when: int, kind: type[Fact], subject: str, owner: str, **members: Any) -> Fact:
    """Have an owner order something; the nonce is the time."""
    data = sign(
        kind,
        subject,
        SIGNERS[owner],
        cluster=CLUSTER,
        expires_at=format_instant(when + DAY),
        nonce=when // MICROSECONDS,
        **members,
    )
    producer = router if kind is SpendAuthorized else desk
    return producer.fact(kind, when, subject, f"order:{owner}:{when}", data)


def of_job(when: int, kind: type[Fact], key: str, data: Any, job: str = "J") -> Fact:
    """Report on a job."""
    return router.fact(kind, when, job, f"{job}:{key}", data)


def attest(when: int, node: str, validator: str, verdict: Any, job: str = "J", **members: Any) -> Fact:
    """Have a validator attest."""
    consumer = K if job == "J" else "K2"
    data = AttestationRecordedData(
        attempt=1, consumer=consumer, node=node, validator=validator, verdict=verdict, **members
    )
    return of_job(when, AttestationRecorded, f"attest:{validator}:{node}", data, job)


def story() -> Iterator[tuple[str, list[Fact]]]:
    """Yield the facts of each row."""
    yield from first_days()
    yield from later_days()


def first_days() -> Iterator[tuple[str, list[Fact]]]:
    """Yield genesis, stakes, the job, the slash of C, and what came of the fees."""
    yield "a1", []
    yield "a5", [router.register(DAY_0), desk.register(DAY_0), *registrations(), *both(at(0, 1))]
    yield "b1", [desk.deposit(at(0, 1), K, "OMNI", 100 * OMNI, "deposit"), *both(at(1))]
    yield "b2", dispatched()
    yield "c1", [*worked(), *both(at(1, 1, 6))]
    payout = tuple(
        DeclaredLine(account=f"payable:supplier:{node}", amount=amount)
        for node, amount in (("A", "9300000000"), ("B", "9297416667"))
    )
    yield (
        "c4",
        [
            declare(at(1, 1, 6), "c4", "escrow", effect="burn", amount="399944444", vault="escrow"),
            declare(at(1, 1, 6), "c6", "escrow", effect="payout", amount="18597416667", vault="escrow", lines=payout),
            *both(at(1, 1, 7)),
        ],
    )
    yield "e2", [attest(at(1, 12), "C", "V2", "passed", reporter="V3"), *both(at(1, 12, 1))]
    yield "e1", both(at(2, 0, 30))
    yield "d2", both(at(2, 1, 6))
    yield (
        "d4",
        [
            declare(at(2, 1, 6), "d4", "stake", effect="burn", amount="12500000000", vault="stake"),
            *both(at(2, 1, 7)),
        ],
    )
    yield "e5", [*swept(), *both(at(2, 2, 1))]
    rewards = tuple(
        DeclaredLine(account=f"payable:validator:{id}", amount=amount)
        for id, amount in (("V1", "15787363"), ("V3", "52624019"))
    )
    yield (
        "e6",
        [
            declare(at(2, 3), "e6", "fees", effect="payout", amount="68411382", vault="fees", lines=rewards),
            *both(at(2, 3, 1)),
        ],
    )


def later_days() -> Iterator[tuple[str, list[Fact]]]:
    """Yield the verdict on V2, and V3's unbonding and slash."""
    yield "e7", both(at(2, 12, 1))
    yield (
        "f5",
        [
            declare(at(2, 13), "f5", "stake", effect="burn", amount=str(1_000 * OMNI), vault="stake"),
            *both(at(2, 13, 1)),
        ],
    )
    yield "day 2 closes", both(at(3, 0, 30))
    yield (
        "g1",
        [
            order(at(3, 10), UnstakeOrdered, "V3", "V3", asset="OMNI", amount=str(13_333 * OMNI), role="validator"),
            *both(at(3, 10, 1)),
        ],
    )
    yield "g2", [*cheated(), *both(at(3, 11, 1))]
    yield (
        "g4",
        [
            *both(at(4, 11, 1)),
            declare(at(4, 12), "g4", "stake", effect="burn", amount="3333300000000", vault="stake"),
            *both(at(4, 12, 1)),
        ],
    )
    withdrawn = (DeclaredLine(account=f"payable:stake:{V3_OWNER}", amount=str(13_333 * OMNI)),)
    yield (
        "g3",
        [
            *both(at(10, 10, 1)),
            declare(
                at(10, 11), "g3", "stake", effect="payout", amount=str(13_333 * OMNI), vault="stake", lines=withdrawn
            ),
            *both(at(10, 11, 1)),
        ],
    )


def registrations() -> Iterator[Fact]:
    """Register three nodes and three validators, with their stakes."""
    for name in "ABC":
        data = NodeRegisteredData(
            asset="OMNI",
            authority="stake",
            bandwidth_mbps=1_000,
            gpu_model="H100",
            gpus=8,
            minimum_price="9300000000",
            operator=f"of-{name}",
            owner=SIGNERS[name].key,
            supplier=name,
            vram_mib=81_920,
        )
        yield desk.fact(NodeRegistered, DAY_0, name, f"node:{name}", data)
        yield declare(DAY_0, f"stake:{name}", name, effect="stake", amount=str(500 * OMNI), role="node", vault="stake")
    for name, stake in VALIDATORS.items():
        registered = ValidatorRegisteredData(operator=f"of-{name}", owner=SIGNERS[name].key)
        yield desk.fact(ValidatorRegistered, DAY_0, name, f"validator:{name}", registered)
        yield declare(DAY_0, f"stake:{name}", name, effect="stake", amount=str(stake), role="validator", vault="stake")


def dispatched() -> list[Fact]:
    """Submit and dispatch the job of three nodes."""
    submitted = JobSubmittedData(asset="OMNI", authority="owner", consumer=K, gpu_seconds_max=3_600, nodes=3)
    quotes = tuple(Quote(node=node, operator=f"of-{node}", price=PRICE, minimum="9300000000") for node in "ABC")
    drawn = DutyAssignedData(attempt=1, consumer=K, seed="5e" * 32, validators=tuple(VALIDATORS))
    return [
        order(at(1), SpendAuthorized, "J", "K", asset="OMNI", maximum=str(30 * OMNI)),
        of_job(at(1), JobSubmitted, "submitted", submitted),
        of_job(at(1), JobDispatched, "1", JobDispatchedData(attempt=1, consumer=K, quotes=quotes)),
        of_job(at(1, 0, 1), DutyAssigned, "duty", drawn),
    ]


def worked() -> Iterator[Fact]:
    """Report results, attestations, challenges, usage and quorum at 01:05."""
    when = at(1, 1, 5)
    for node, byte, seconds in (("A", "aa", 3_600), ("B", "aa", 3_599), ("C", "cc", 3_600)):
        result = ResultSubmittedData(attempt=1, consumer=K, node=node, result=byte * 32)
        yield of_job(when, ResultSubmitted, f"result:{node}", result)
        for validator in ("V1", "V3"):
            yield attest(when, node, validator, "failed" if node == "C" else "passed")
        checked = ChallengeResultRecordedData(attempt=1, consumer=K, node=node, passed=node != "C")
        yield of_job(when, ChallengeResultRecorded, f"challenge:{node}", checked)
        usage = UsageMeteredData(attempt=1, consumer=K, gpu_seconds=seconds, node=node)
        yield of_job(when, UsageMetered, f"usage:{node}", usage)
    yield of_job(when, QuorumClaimed, "quorum", QuorumClaimedData(agreeing=("A", "B"), attempt=1, consumer=K))


def swept() -> list[Fact]:
    """Sweep what lies in the escrow vault to where it belongs."""
    leaves = ((f"payable:validator:{id}", amount) for id, amount in (("V1", "15787363"), ("V3", "52624019")))
    pool = tuple(
        DeclaredLine(account=account, amount=amount)
        for account, amount in (
            *leaves,
            ("validator_pool:carry", "2"),
            (f"validator_pool:withheld:{CASE_V2}", "31574727"),
        )
    )
    treasury = (DeclaredLine(account="treasury:ops", amount="899875000"),)
    return [
        declare(
            at(2, 2), "e5t", "escrow", effect="sweep", amount="899875000", vault="escrow", to="treasury", lines=treasury
        ),
        declare(at(2, 2), "e5p", "escrow", effect="sweep", amount="99986111", vault="escrow", to="fees", lines=pool),
    ]


def cheated() -> Iterator[Fact]:
    """Let V3 attest a job whose challenge then fails, where nobody else looked; the node is declared, without stake."""
    when = at(3, 11)
    job, consumer = "J2", "K2"
    submitted = JobSubmittedData(asset="OMNI", authority="declared", consumer=consumer, gpu_seconds_max=60, nodes=1)
    quotes = (Quote(node="Z", operator="of-Z", price="0", minimum="0"),)
    drawn = DutyAssignedData(attempt=1, consumer=consumer, seed="5f" * 32, validators=("V3",))
    checked = ChallengeResultRecordedData(attempt=1, consumer=consumer, node="Z", passed=False)
    dispatch = JobDispatchedData(attempt=1, consumer=consumer, quotes=quotes)
    yield of_job(when, JobSubmitted, "submitted", submitted, job)
    yield of_job(when, JobDispatched, "1", dispatch, job)
    yield of_job(when, DutyAssigned, "duty", drawn, job)
    yield attest(when, "Z", "V3", "passed", job)
    yield of_job(when, ChallengeResultRecorded, "challenge", checked, job)
    yield of_job(when, JobFailed, "failed", JobFailedData(attempt=1, consumer=consumer, reason="challenge"), job)


# Credits less debits of each (account, vault) that the row leaves other than the row before; base units of OMNI.
EXPECTED: dict[str, dict[tuple[str, str], int]] = {
    "a1": {
        ("supply:issued", ""): -(10**18),
        ("vest:locked:team:foundation", "vesting"): 350 * 10**15,
        ("treasury:ops", "treasury"): 200 * 10**15,
        ("fund:ecosystem", "fund"): 150 * 10**15,
        ("external", ""): 300 * 10**15,
    },
    "a5": {
        ("external", ""): 300 * 10**15 - 64_833 * OMNI,
        **{(f"stake:bonded:node:{name}", "stake"): 500 * OMNI for name in "ABC"},
        **{(f"stake:bonded:validator:{name}", "stake"): stake for name, stake in VALIDATORS.items()},
    },
    "b1": {("external", ""): 300 * 10**15 - 64_833 * OMNI - 100 * OMNI, (f"consumer:{K}", "escrow"): 100 * OMNI},
    "b2": {(f"consumer:{K}", "escrow"): 70 * OMNI, (f"escrow:{K}:J", "escrow"): 30 * OMNI},
    # c1, c2 and d1, which fall together
    "c1": {
        (f"escrow:{K}:J", "escrow"): 0,
        ("payable:supplier:A", "escrow"): 9_300_000_000,
        ("payable:supplier:B", "escrow"): 9_297_416_667,
        ("burn:pending", "escrow"): 399_944_444,
        ("fee:accrued", "escrow"): 999_861_111,
        (f"consumer:{K}", "escrow"): 80_002_777_778,
        ("stake:bonded:node:C", "stake"): 475 * OMNI,
        (f"slash:pending:{CASE_C}", "stake"): 25 * OMNI,
    },
    # c4 and c6
    "c4": {
        ("burn:pending", "escrow"): 0,
        ("supply:burned", ""): 399_944_444,
        ("payable:supplier:A", "escrow"): 0,
        ("payable:supplier:B", "escrow"): 0,
        ("external", ""): 300 * 10**15 - 64_933 * OMNI + 18_597_416_667,
    },
    "e2": {
        ("stake:bonded:validator:V2", "stake"): 18_000 * OMNI,
        (f"slash:pending:{CASE_V2}", "stake"): 2_000 * OMNI,
    },
    # e1 and e3
    "e1": {
        ("fee:accrued", "escrow"): 0,
        ("treasury:ops", "escrow"): 899_875_000,
        ("validator_pool:current", "escrow"): 0,
        ("payable:validator:V1", "escrow"): 15_787_363,
        ("payable:validator:V3", "escrow"): 52_624_019,
        (f"validator_pool:withheld:{CASE_V2}", "escrow"): 31_574_727,
        ("validator_pool:carry", "escrow"): 2,
    },
    "d2": {
        (f"slash:pending:{CASE_C}", "stake"): 0,
        ("payable:reporter:V1", "stake"): 6_250_000_000,
        ("payable:reporter:V3", "stake"): 6_250_000_000,
        ("burn:pending", "stake"): 12_500_000_000,
    },
    "d4": {("burn:pending", "stake"): 0, ("supply:burned", ""): 399_944_444 + 12_500_000_000},
    "e5": {
        ("treasury:ops", "escrow"): 0,
        ("treasury:ops", "treasury"): 200_000_000_899_875_000,
        ("payable:validator:V1", "escrow"): 0,
        ("payable:validator:V3", "escrow"): 0,
        (f"validator_pool:withheld:{CASE_V2}", "escrow"): 0,
        ("validator_pool:carry", "escrow"): 0,
        ("payable:validator:V1", "fees"): 15_787_363,
        ("payable:validator:V3", "fees"): 52_624_019,
        (f"validator_pool:withheld:{CASE_V2}", "fees"): 31_574_727,
        ("validator_pool:carry", "fees"): 2,
    },
    "e6": {
        ("payable:validator:V1", "fees"): 0,
        ("payable:validator:V3", "fees"): 0,
        ("external", ""): 300 * 10**15 - 64_933 * OMNI + 18_597_416_667 + 68_411_382,
    },
    # e8 and e7
    "e7": {
        (f"validator_pool:withheld:{CASE_V2}", "fees"): 0,
        ("validator_pool:carry", "fees"): 31_574_729,
        (f"slash:pending:{CASE_V2}", "stake"): 0,
        ("payable:reporter:V3", "stake"): 1_006_250_000_000,
        ("burn:pending", "stake"): 1_000 * OMNI,
    },
    # the part of f5 that burns what e7 left
    "f5": {("burn:pending", "stake"): 0, ("supply:burned", ""): 399_944_444 + 1_012_500_000_000},
    # What was carried is shared at the next close, V2 left out: floor(31,574,729 × 10,000 / 43,333), and so on.
    "day 2 closes": {
        ("payable:validator:V1", "fees"): 7_286_531,
        ("payable:validator:V3", "fees"): 24_288_197,
        ("validator_pool:carry", "fees"): 1,
    },
    "g1": {
        ("stake:bonded:validator:V3", "stake"): 20_000 * OMNI,
        ("stake:unbonding:t1", "stake"): 13_333 * OMNI,
    },
    "g2": {
        ("stake:bonded:validator:V3", "stake"): 16_666_700_000_000,
        (f"slash:pending:{CASE_V3}", "stake"): 3_333_300_000_000,
    },
    "g4": {
        (f"slash:pending:{CASE_V3}", "stake"): 0,
        ("burn:pending", "stake"): 0,
        ("supply:burned", ""): 399_944_444 + 1_012_500_000_000 + 3_333_300_000_000,
    },
    "g3": {
        ("stake:unbonding:t1", "stake"): 0,
        ("external", ""): 300 * 10**15 - 64_933 * OMNI + 18_597_416_667 + 68_411_382 + 13_333 * OMNI,
    },
}
# What lies in a vault after a row, as the walkthrough's column says.
VAULTS = {
    "a5": {"stake": 64_833_000_000_000},
    "b1": {"escrow": 100_000_000_000},
    "c4": {"escrow": 81_002_638_889},
    "d4": {"stake": 64_820_500_000_000},
    "e5": {"escrow": 80_002_777_778, "fees": 99_986_111, "treasury": 200_000_000_899_875_000},
    "e6": {"fees": 31_574_729},
    "f5": {"stake": 63_820_500_000_000},
    "g4": {"stake": 60_487_200_000_000},
    "g3": {"stake": 47_154_200_000_000},
}


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """Give empty books of the shipped parameter set."""
    books = Books(tmp_path)
    books.create(load_preset("omnisync"))
    return books


def settle(books: Books, facts: list[Fact]) -> None:
    """Take facts in and settle them."""
    lines = [Line(number, to_line(fact).rstrip(), 1) for number, fact in enumerate(facts, 1)]
    for receipt in books.ingest(iter([lines]), "quarter"):
        assert not receipt.refused, receipt.refused
    with books.settlers() as settlers:
        settlers.run()


def balances(books: Books) -> dict[tuple[str, str], int]:
    """Return the net of each account and vault; the one ticket is called t1."""
    with books.engine().connect() as connection:
        found = read_balances(connection, read_position(connection, None))
    assert {line.key.asset for line in found} == {"OMNI"}
    return {
        (
            "stake:unbonding:t1" if line.key.account.startswith("stake:unbonding:") else line.key.account,
            line.key.vault,
        ): (line.net)
        for line in found
    }


def without_zeros(amounts: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Leave out what stands at nothing, moved or not."""
    return {key: amount for key, amount in amounts.items() if amount}


def test_each_row_of_the_quarter_leaves_the_balances_that_the_walkthrough_states(books: Books) -> None:
    expected: dict[tuple[str, str], int] = {}
    for row, facts in story():
        settle(books, facts)

        expected |= EXPECTED[row]
        found = balances(books)
        assert without_zeros(found) == without_zeros(expected), row
        for vault, amount in VAULTS.get(row, {}).items():
            assert sum(net for (_, where), net in found.items() if where == vault) == amount, (row, vault)


def test_the_quarter_ends_with_the_supply_classes_of_the_walkthrough(books: Books) -> None:
    for _, facts in story():
        settle(books, facts)

    with books.engine().connect() as connection:
        supply = read_supply(connection, read_position(connection, None), "OMNI")

    assert supply.issued == 10**18
    assert supply.burned == 4_346_199_944_444
    assert supply.total == 10**18 - 4_346_199_944_444
    assert supply.staked == 3 * 500 * OMNI - 25 * OMNI + (10_000 + 18_000) * OMNI + 16_666_700_000_000
    assert supply.unbonding == supply.pending_burn == supply.sunk == 0
    assert supply.escrowed == 80_002_777_778
    assert supply.owed == 6_250_000_000 + 1_006_250_000_000 + 7_286_531 + 24_288_197
    assert supply.held == 350 * 10**15 + 899_875_000 + 1
    assert supply.circulating == supply.staked + supply.escrowed + supply.owed + supply.outside


@pytest.mark.slow
def test_what_was_settled_can_be_derived_again(books: Books) -> None:
    for _, facts in story():
        settle(books, facts)

    assert verify_logs(books.partitions(), books.lanes(), books.hub()).unsettled == 0
    rows, lag = verify_rows(books.engine(), books.facts("facts/hub"), books.ledgers())
    assert rows > 0
    assert lag == 0
    folded = fold_books(books.ledgers())
    assert folded.balances.net(Key("OMNI", "payable:reporter:V3", "stake")) == 1_006_250_000_000
