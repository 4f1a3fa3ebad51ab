"""Exports of books with stakes, slashes, rewards, payouts, burns and sweeps: the tools add up to the same."""

import subprocess
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest
from beancount.core.account import is_valid
from hypothesis import HealthCheck, given, settings

from events.codec import encode
from events.event import Decision
from ledger.post import post
from projections.export import beancount_name, export_journal, parse_beancount_name, plain_name
from tests.ledger.random_books import deposit, fees, fund, genesis
from tests.ledger.random_network import (
    OWNER,
    burn,
    distributed,
    lane_closed,
    matured,
    network_decisions,
    payout,
    proposed,
    rebonded,
    reversed_,
    rewards,
    settle_waiting,
    sweep,
    unstaked,
    upheld,
    withdrawal,
)
from tests.projections.tools import beancount_totals, books_totals, hledger_totals, ledger_totals
from tests.settlement.desk import MemoryLog

# One of each, with cases, tickets and owners as long as they come.
CASE, OTHER, TICKET = "0f" * 16, "f0" * 16, "9a" * 16
LIFE: tuple[Decision, ...] = (
    genesis({("external", ""): 10**18, ("treasury:ops", "treasury"): 7}),
    deposit("K", 100_000, 1),
    deposit("V1", 10**13, 2, role="validator"),
    deposit("A", 5 * 10**11, 3, role="node"),
    fund("K", "J", 30_000),
    settle_waiting("K", "J", (10_000, 9_999), 10_000, 1),
    settle_waiting("K", "J", (9_000,), 0, 1_000, attempt=2),
    withdrawal("K", 7),
    unstaked("validator", "V1", 10**12, TICKET),
    unstaked("node", "A", 10**11, OTHER),
    rebonded("node", "A", 10**11, OTHER),
    proposed("node", "A", 25 * 10**9, {}, CASE, bond=10**11, proposer="V1"),
    proposed("validator", "V1", 10**12, {TICKET: 3}, OTHER),
    lane_closed(1_449),
    fees(1_449),
    rewards({"fees": {"carry": 0, "current": 0}, "escrow": {"carry": 0, "current": 144}}, {"V1": 5}, {"V1": OTHER}),
    matured("validator", "V1", 10**12 - 3, TICKET),
    upheld("node", "A", 25 * 10**9, {}, CASE, bond=10**11, proposer="V1"),
    distributed("A", {"V1": 125 * 10**8}, 125 * 10**8, CASE),
    reversed_(
        "validator",
        "V1",
        {("stake:bonded:validator:V1", "stake"): 10**12, (f"payable:stake:{OWNER}", "stake"): 3},
        {("payable:validator:V1", "escrow"): 144},
        OTHER,
    ),
    sweep("escrow", {("payable:validator:V1", "escrow"): 144}, "fees"),
    sweep("escrow", {("treasury:ops", "escrow"): 1_305}, "treasury", 1),
    payout("fees", {("payable:validator:V1", "fees"): 100}),
    payout("stake", {(f"payable:stake:{OWNER}", "stake"): 10**12, ("payable:reporter:V1", "stake"): 1}, 1),
    burn("stake", 125 * 10**8),
    burn("escrow", 1),
)
NUMBERS = count()


def book(made: Sequence[Decision]) -> MemoryLog:
    log = MemoryLog("hub")
    log.append([encode(decision) for decision in made], "2026-11-01T00:00:00.000000Z")
    return log


def export(tool: str, log: MemoryLog) -> str:
    return "".join(export_journal(tool, [log], "OMNI", 9))


def check_all(made: Sequence[Decision], folder: Path) -> None:
    log = book(made)
    totals = books_totals([log], 9)
    by_name = {plain_name(*account): total for account, total in totals.items()}

    assert beancount_totals(export("beancount", log), "OMNI") == totals
    for tool, add_up in (("hledger", hledger_totals), ("ledger", ledger_totals)):
        journal = folder / f"{next(NUMBERS)}.{tool}"
        journal.write_text(export(tool, log), encoding="utf-8")
        assert add_up(journal) == by_name


def test_all_tools_add_up_books_with_one_of_each(tmp_path: Path) -> None:
    check_all(LIFE, tmp_path)


def test_bean_check_finds_nothing(tmp_path: Path) -> None:
    journal = tmp_path / "books.beancount"
    journal.write_text(export("beancount", book(LIFE)), encoding="utf-8")
    command = [sys.executable, "-m", "beancount.scripts.check", "--no-cache", str(journal)]

    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(network_decisions(most=60))
def test_all_tools_add_up_random_books(tmp_path: Path, made: tuple[Decision, ...]) -> None:
    check_all(made, tmp_path)


@given(network_decisions(most=60))
def test_beancount_adds_up_random_books(made: tuple[Decision, ...]) -> None:
    log = book(made)

    assert beancount_totals(export("beancount", log), "OMNI") == books_totals([log], 9)


@pytest.mark.parametrize("tool", ["hledger", "ledger", "beancount"])
def test_each_entry_is_named_by_its_type_and_event(tool: str) -> None:
    journal = export(tool, book(LIFE))

    for decision in LIFE:
        named = [line for line in journal.splitlines() if decision.id in line]
        assert len(named) == (post(decision) is not None)
        assert (f"{type(decision).__name__} {decision.subject}" in journal.replace('"', "")) == bool(named)
    assert f"; end of {sum(post(decision) is not None for decision in LIFE)} entries\n" in journal


@pytest.mark.parametrize(
    ("account", "vault", "name"),
    [
        ("stake:bonded:validator:V1", "stake", "Liabilities:Stake:Stake:Bonded:Validator:X-xV1"),
        ("stake:bonded:node:alice-gpu.1", "stake", "Liabilities:Stake:Stake:Bonded:Node:Alice--gpu-d1"),
        (f"stake:unbonding:{TICKET}", "stake", f"Liabilities:Stake:Stake:Unbonding:{TICKET}"),
        (f"slash:pending:{CASE}", "stake", f"Liabilities:Stake:Slash:Pending:{CASE}"),
        (f"bond:{OTHER}", "stake", f"Liabilities:Stake:Bond:F{OTHER[1:]}"),
        (f"payable:stake:{OWNER}", "stake", f"Liabilities:Stake:Payable:Stake:{OWNER}"),
        ("payable:reporter:v1", "stake", "Liabilities:Stake:Payable:Reporter:V1"),
        ("payable:validator:v1", "fees", "Liabilities:Fees:Payable:Validator:V1"),
        ("payable:withdrawal:k", "escrow", "Liabilities:Escrow:Payable:Withdrawal:K"),
        (f"validator_pool:withheld:{CASE}", "escrow", f"Liabilities:Escrow:Validator-upool:Withheld:{CASE}"),
        ("validator_pool:carry", "fees", "Liabilities:Fees:Validator-upool:Carry"),
        ("burn:pending", "stake", "Liabilities:Stake:Burn:Pending"),
        ("supply:burned", "", "Liabilities:No--vault:Supply:Burned"),
    ],
)
def test_beancount_names_of_a_network(account: str, vault: str, name: str) -> None:
    assert beancount_name(account, vault) == name
    assert is_valid(name)
    assert parse_beancount_name(name) == (account, vault)
