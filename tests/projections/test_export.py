"""Exports: what other people's tools add up from a journal is what the books hold, to the unit."""

import csv
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
from beancount import loader
from beancount.core import data as bean
from beancount.core.account import is_valid
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from app.books import Books
from app.cli import cli
from app.commands.write import PRESETS
from app.facts import Producer, to_line
from events.codec import decode
from events.event import Decision, Fact
from events.facts import (
    JobCancelled,
    JobCancelledData,
    JobDispatched,
    JobDispatchedData,
    JobSubmitted,
    JobSubmittedData,
    QuorumClaimed,
    QuorumClaimedData,
    Quote,
    Terms,
    UsageMetered,
    UsageMeteredData,
)
from events.instant import DAY, parse_instant
from ledger.parameters import Parameters, parameters_from_toml
from ledger.post import post
from projections.export import TOOLS, beancount_name, export_journal, parse_beancount_name, plain_name
from settlement.lines import Line
from tests.projections.tools import (
    DIGITS,
    Totals,
    beancount_totals,
    books_totals,
    hledger_totals,
    ledger_totals,
    run,
    said,
)

START = parse_instant("2026-10-01T00:00:00.000000Z")
AWKWARD = ["a.b_c-d", "-x", "9", "A", "...", "a", "X-x", "x-x", "_", "--", "-d", "n" * 88]
# The last stands for amounts of 39 digits, the most that an amount may have.
AMOUNTS = [1, 2, 10**9 - 1, 10**9, 2**63 - 1, 2**63, 2**64 + 1, 7 * 10**37 + 3]
UNITS = {"OMNI": 9, "A1": 0, "W3": 18}


def parameters(asset: str, decimals: int) -> Parameters:
    text = (PRESETS / "omnisync.toml").read_text(encoding="utf-8")
    text = text.replace('"OMNI"', f'"{asset}"').replace("decimals = 9", f"decimals = {decimals}")
    text = text.replace('cap = "1000000000000000000"', f'cap = "{"9" * 39}"')
    text = text.replace('amount = "300000000000000000"', f'amount = "{6 * 10**38 + 7}"')
    # Ids of every shape, and as much as may be in one place.
    odd = (("reserve:-", 1), ("reserve:a.b", 2), ("vest:locked:...:-x", 2**63 + 1), ("reserve:9", 10**38))
    for account, amount in odd:
        text = text.replace("[job]", f'[[genesis]]\naccount = "{account}"\namount = "{amount}"\n\n[job]', 1)
    return parameters_from_toml(text)


def facts(asset: str) -> Iterator[Fact]:
    """Deposits, jobs in one fact, a job of three nodes with its verdict, one withdrawn; two days and their closes."""
    source = Producer("test")
    yield source.register(START)
    now = START
    for number, (owner, amount) in enumerate(zip(AWKWARD, [*AMOUNTS, *[10**18] * 8], strict=False)):
        now += 7_000_000
        yield source.deposit(now, owner, asset, amount, f"deposit:{number}")
    for number, (owner, node) in enumerate(zip(AWKWARD, reversed(AWKWARD), strict=True)):
        now += 7_000_000
        terms = Terms(asset=asset, authority="declared", gpu_seconds_max=3600, minimum="0", operator=node, price="1")
        if number % 2:
            terms = Terms(
                asset=asset, authority="declared", gpu_seconds_max=3599, minimum="0", operator=node, price="999983"
            )
        used = UsageMeteredData(attempt=1, consumer=owner, gpu_seconds=3599, node=node, terms=terms)
        yield source.fact(UsageMetered, now, f"job.{number}", f"used:{number}", used)
    now = START + DAY
    yield source.mark(now)
    for job, data in (("...", 3), ("-", 1)):
        submitted = JobSubmittedData(
            asset=asset, authority="declared", consumer="n" * 88, gpu_seconds_max=100, nodes=data
        )
        yield source.fact(JobSubmitted, now + 1, job, f"submit:{job}", submitted)
        quotes = tuple(Quote(node=node, operator=node, price="77777", minimum="0") for node in AWKWARD[:data])
        dispatched = JobDispatchedData(attempt=1, consumer="n" * 88, quotes=quotes)
        yield source.fact(JobDispatched, now + 2, job, f"dispatch:{job}", dispatched)
    cancelled = JobCancelledData(consumer="n" * 88, reason="test")
    yield source.fact(JobCancelled, now + 3, "-", "cancel", cancelled)
    for node in AWKWARD[:3]:
        used = UsageMeteredData(attempt=1, consumer="n" * 88, gpu_seconds=99, node=node)
        yield source.fact(UsageMetered, now + 4, "...", f"part:{node}", used)
    claimed = QuorumClaimedData(agreeing=tuple(AWKWARD[:2]), attempt=1, consumer="n" * 88)
    yield source.fact(QuorumClaimed, now + 5, "...", "claim", claimed)
    yield from source.marks(now, now + 3 * DAY)
    # Late, and on a day that comes before those in the file above it.
    yield source.deposit(START + 1, "late", asset, 12, "deposit:late")


def build(folder: Path, asset: str) -> Books:
    books = Books(folder)
    books.create(parameters(asset, UNITS[asset]))
    lines = [to_line(fact).rstrip(b"\n") for fact in facts(asset)]
    chunk = [Line(number, line, len(line)) for number, line in enumerate(lines, 1)]
    assert not [refused for receipt in books.ingest(iter([chunk]), "test") for refused in receipt.refused]
    with books.settlers() as settlers:
        settlers.run()
    return books


class Case:
    """Books, and what they hold as the tools should see it."""

    def __init__(self, folder: Path, asset: str) -> None:
        self.asset, self.decimals = asset, UNITS[asset]
        self.books = build(folder, asset)
        self.totals: Totals = books_totals(list(self.books.ledgers()), self.decimals)

    def by_plain_name(self) -> dict[str, Decimal]:
        return {plain_name(*account): total for account, total in self.totals.items()}

    def decisions(self) -> list[Decision]:
        found = [
            decode(line)
            for log in self.books.ledgers()
            for record in log.read(0)
            for _, line in record.events()
        ]  # fmt: skip
        return [event for event in found if isinstance(event, Decision)]

    def moving(self) -> list[str]:
        """The ids of the events that move something."""
        return [decision.id for decision in self.decisions() if post(decision) is not None]

    def export(self, tool: str) -> str:
        return "".join(export_journal(tool, self.books.ledgers(), self.asset, self.decimals))


@pytest.fixture(scope="module", params=UNITS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("books"), request.param)


@pytest.fixture(scope="module")
def omni(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("omni"), "OMNI")


def raise_one_unit(text: str, line: str) -> str:
    """Add one unit in the last place of the number that is the group of the only line that matches."""
    (match,) = re.finditer(line, text, re.MULTILINE)
    whole, point, part = match[1].partition(".")
    raised = str(int(whole + part) + 1)
    assert match[1].startswith("-0.")
    return text[: match.start(1)] + f"-0{point}{raised.removeprefix('-'):0>{len(part)}}" + text[match.end(1) :]


def test_the_books_hold_what_is_awkward(omni: Case) -> None:
    kinds = Counter(type(decision).__name__ for decision in omni.decisions())

    assert kinds.keys() >= {
        "GenesisAllocated", "DepositCredited", "EscrowFunded", "JobSettled", "JobRefunded", "FeeAllocated",
    }  # fmt: skip
    assert {plain_name(f"consumer:{owner}", "escrow") for owner in AWKWARD} <= omni.by_plain_name().keys()
    assert Decimal(0) in omni.totals.values()
    assert len(omni.moving()) < sum(kinds.values())


# --- beancount ---


def test_beancount_adds_up_to_the_same(case: Case) -> None:
    assert beancount_totals(case.export("beancount"), case.asset) == case.totals


def test_beancount_names_each_event(case: Case) -> None:
    with localcontext() as context:
        context.prec = DIGITS
        entries, _, _ = loader.load_string(case.export("beancount"))
    found = {entry.meta["event"]: entry for entry in entries if isinstance(entry, bean.Transaction)}

    assert sorted(found) == sorted(case.moving())
    for decision in case.decisions():
        if decision.id in found:
            entry = found[decision.id]
            assert (entry.payee, entry.narration) == (type(decision).__name__, decision.subject)
            assert entry.date == date.fromisoformat(decision.occurred_at[:10])


def test_beancount_is_told_how_many_digits_it_needs(omni: Case, tmp_path: Path) -> None:
    text = omni.export("beancount")
    found = re.search(r"^; Set decimal.getcontext\(\).prec = (\d+) first", text, re.MULTILINE)
    assert found is not None
    with localcontext() as context:
        context.prec = int(found[1])
        assert loader.load_string(text)[1] == []


def test_beancount_needs_nothing_for_the_preset(tmp_path: Path) -> None:
    books = Books(tmp_path / "B")
    books.create(parameters_from_toml((PRESETS / "omnisync.toml").read_text(encoding="utf-8")))
    with books.settlers() as settlers:
        settlers.run()

    text = "".join(export_journal("beancount", books.ledgers(), "OMNI", 9))

    assert "prec" not in text
    assert loader.load_string(text)[1] == []


@pytest.mark.parametrize(
    "line",
    [
        r"^  Liabilities:Escrow:Consumer:Late +(\S+) OMNI$",
        r"^\S+ balance Liabilities:Escrow:Consumer:Late +(\S+) ~ 0 OMNI$",
    ],
)
def test_beancount_sees_one_unit(omni: Case, line: str) -> None:
    with localcontext() as context:
        context.prec = DIGITS
        _, errors, _ = loader.load_string(raise_one_unit(omni.export("beancount"), line))

    assert errors


# --- hledger and ledger ---


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "books.journal"


def test_hledger_adds_up_to_the_same(case: Case, journal: Path) -> None:
    journal.write_text(case.export("hledger"), encoding="utf-8")

    assert hledger_totals(journal) == case.by_plain_name()


def test_ledger_adds_up_to_the_same(case: Case, journal: Path) -> None:
    journal.write_text(case.export("ledger"), encoding="utf-8")

    assert ledger_totals(journal) == case.by_plain_name()


def test_hledger_names_each_event(case: Case, journal: Path) -> None:
    journal.write_text(case.export("hledger"), encoding="utf-8")

    rows = csv.DictReader(said("hledger", journal, "print", "-O", "csv").splitlines())

    assert {row["code"] for row in rows if row["code"]} == set(case.moving())


def test_ledger_names_each_event(case: Case, journal: Path) -> None:
    journal.write_text(case.export("ledger"), encoding="utf-8")

    codes = said("ledger", journal, "register", "--format", "%(code)\n").splitlines()

    assert {code for code in codes if code} == set(case.moving())


@pytest.mark.parametrize("tool", ["hledger", "ledger"])
@pytest.mark.parametrize(
    "line", [r"^    escrow:consumer:late +(\S+) OMNI$", r"^    escrow:consumer:late .*= (\S+) OMNI$"]
)
def test_hledger_and_ledger_see_one_unit(omni: Case, journal: Path, tool: str, line: str) -> None:
    journal.write_text(raise_one_unit(omni.export(tool), line), encoding="utf-8")

    assert run(tool, journal, "balance").returncode != 0


# --- names ---

ACCOUNTS = st.from_regex(r"\A[a-z][A-Za-z0-9._:-]{0,299}\Z")
VAULTS = st.from_regex(r"\A[a-z]{0,20}\Z")
# Few characters, those that the names are escaped with, so that two names come close to one another.
NEAR = st.text("aAxXdu0-._:", max_size=4).map("x".__add__)


@given(ACCOUNTS | NEAR, VAULTS)
def test_beancount_names_are_valid_and_can_be_read_back(account: str, vault: str) -> None:
    name = beancount_name(account, vault)

    assert is_valid(name)
    assert re.fullmatch(r"(Assets|Liabilities)(:[A-Z0-9][A-Za-z0-9-]*){2,}", name)
    assert parse_beancount_name(name) == (account, vault)


@given(NEAR, NEAR, st.sampled_from(["", "x", "no"]), st.sampled_from(["", "x", "no"]))
def test_two_accounts_never_get_one_name(one: str, other: str, vault: str, another: str) -> None:
    same = (one, vault) == (other, another)

    assert (beancount_name(one, vault) == beancount_name(other, another)) is same
    assert (plain_name(one, vault) == plain_name(other, another)) is same


@pytest.mark.parametrize(
    ("account", "vault", "name"),
    [
        ("consumer:alice", "escrow", "Liabilities:Escrow:Consumer:Alice"),
        ("consumer:Alice", "escrow", "Liabilities:Escrow:Consumer:X-xAlice"),
        ("consumer:9", "escrow", "Liabilities:Escrow:Consumer:9"),
        ("consumer:a.b_c-d", "escrow", "Liabilities:Escrow:Consumer:A-db-uc--d"),
        ("consumer:...", "escrow", "Liabilities:Escrow:Consumer:X-x-d-d-d"),
        ("supply:issued", "", "Assets:No--vault:Supply:Issued"),
        ("reserve:", "vesting", "Liabilities:Vesting:Reserve:X-x"),
    ],
)
def test_beancount_names_by_example(account: str, vault: str, name: str) -> None:
    assert beancount_name(account, vault) == name


@pytest.mark.parametrize("name", ["", "Assets", "Liabilities:Escrow", "Assets:Escrow:A", "Liabilities:Escrow:A-b"])
def test_a_name_that_is_not_ours_is_not_read(name: str) -> None:
    with pytest.raises(ValueError, match="names no account"):
        parse_beancount_name(name)


# --- the command ---


@pytest.mark.parametrize("tool", TOOLS)
def test_command_prints_or_writes_the_same_journal(omni: Case, tmp_path: Path, tool: str) -> None:
    data, path = str(omni.books.folder), tmp_path / "out.journal"

    printed = CliRunner().invoke(cli, ["export", tool, "--data", data])
    written = CliRunner().invoke(cli, ["export", tool, "--data", data, "--output", str(path)])

    assert (printed.exit_code, written.exit_code, written.output) == (0, 0, "")
    assert printed.output == path.read_bytes().decode() == omni.export(tool)
    assert printed.output.endswith(f"; end of {len(omni.moving())} entries\n")


@pytest.mark.parametrize("tool", TOOLS)
def test_books_without_entries_are_an_empty_journal(tmp_path: Path, tool: str) -> None:
    Books(tmp_path / "B").create(parameters("OMNI", 9))

    printed = CliRunner().invoke(cli, ["export", tool, "--data", str(tmp_path / "B")])

    assert printed.exit_code == 0
    assert all(line.startswith(";") for line in printed.output.splitlines())


@pytest.mark.slow
def test_a_reader_who_leaves_gets_no_traceback(omni: Case) -> None:
    command = [sys.executable, "-m", "app", "export", "hledger"]
    with subprocess.Popen(
        [*command, "--data", str(omni.books.folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()

        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_what_comes_in_between_the_passes_is_left_out(tmp_path: Path) -> None:
    books = Books(tmp_path / "B")
    books.create(parameters("OMNI", 9))
    with books.settlers() as settlers:
        settlers.run()
        pieces = export_journal("ledger", books.ledgers(), "OMNI", 9)
        head = next(pieces)
        source = Producer("test")
        lines = [
            to_line(fact).rstrip(b"\n") for fact in (source.register(START), source.deposit(START, "a", "OMNI", 1, "k"))
        ]
        list(books.ingest(iter([[Line(n, line, len(line)) for n, line in enumerate(lines, 1)]]), "test"))
        settlers.run()

    assert "consumer:a" not in head + "".join(pieces)
    assert "consumer:a" in "".join(export_journal("ledger", books.ledgers(), "OMNI", 9))
