"""The command line as a contract: help, formats, exit status."""

import json
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.books import Books
from app.cli import cli
from app.commands.write import load_preset
from app.facts import Producer, to_line
from events.instant import parse_instant
from tests.projections.story import OWNER, told

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def commands(group: click.Group = cli, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(commands())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the books of a small demo."""
    folder = tmp_path_factory.mktemp("books")
    result = CliRunner().invoke(cli, ["demo", "--jobs", "40", "--data", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give books whose projections tell four days of a small network."""
    books = Books(tmp_path_factory.mktemp("network"))
    books.create(load_preset("omnisync"))
    engine = books.engine(writable=True)
    told().project(engine)
    engine.dispose()
    return books.folder


def answer(demo: Path, *words: str) -> dict[str, object]:
    """Return a command's JSON."""
    result = CliRunner().invoke(cli, [*words, "--data", str(demo), "--json"])
    assert result.exit_code == 0, result.output
    data: dict[str, object] = json.loads(result.stdout)
    return data


@pytest.mark.parametrize("name", COMMANDS)
def test_help_begins_with_a_sentence_and_has_an_example(name: str) -> None:
    text = COMMANDS[name].help or ""

    assert text.split("\n")[0].endswith((".", ",")) or "." in text.split("\n\n")[0]
    assert f"$ omnisync {name}" in text


def test_the_reference_in_the_docs_is_what_help_says(update_golden: bool) -> None:
    pages = [f"## omnisync {name}\n\n```\n{help_of(name)}\n```\n" for name in COMMANDS]
    text = "# The command line\n\nWhat `--help` says, command by command.\n\n" + "\n".join(pages)
    if update_golden:
        DOCS.write_text(text)

    assert DOCS.read_text() == text, "docs/cli.md is stale: run this test with --update-golden"


def help_of(name: str) -> str:
    """Return a command's help at a fixed width."""
    result = CliRunner().invoke(cli, [*name.split(), "--help"], prog_name="omnisync", terminal_width=100)
    return "\n".join(line.rstrip() for line in result.stdout.rstrip().splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_answer_can_be_had_as_json(name: str) -> None:
    assert any("--json" in option.opts for option in COMMANDS[name].params)


@pytest.mark.parametrize(
    "words",
    [
        ("balance",),
        ("history", "burn:pending"),
        ("supply",),
        ("report", "jobs"),
        ("report", "burns"),
        ("report", "refused"),
    ],
)
def test_answers_are_the_same_in_each_format(demo: Path, words: tuple[str, ...]) -> None:
    data = answer(demo, *words)
    table = CliRunner().invoke(cli, [*words, "--data", str(demo)])
    lines = CliRunner().invoke(cli, [*words, "--data", str(demo), "--format", "csv"])

    assert str(data["position"]) in table.stdout
    assert table.exit_code == lines.exit_code == 0
    assert len(lines.stdout.splitlines()) > 1


NETWORK = [
    ("epochs",),
    ("rewards", "V2"),
    ("apy",),
    ("apy", "--validator", "V1"),
    ("statement", "K"),
    ("statement", OWNER, "--period", "2026Q4"),
    ("report", "staking"),
    ("report", "slashing"),
    ("report", "slashing", "--period", "2026Q4"),
]


@pytest.mark.parametrize("words", NETWORK)
def test_answers_about_the_network_are_the_same_in_each_format(network: Path, words: tuple[str, ...]) -> None:
    test_answers_are_the_same_in_each_format(network, words)


@pytest.mark.parametrize("words", NETWORK)
def test_answers_about_the_network_name_what_they_rest_on(network: Path, words: tuple[str, ...]) -> None:
    data = answer(network, *words)
    table = CliRunner().invoke(cli, [*words, "--data", str(network)]).stdout

    assert data["assumed"]
    assert "stakes" in str(data["unproven"])
    assert "assumed parameters: " in table
    assert "unproven: " in table


@pytest.mark.parametrize("words", [words for words in NETWORK if "--period" not in words])
def test_answers_about_the_network_at_the_position_of_now_are_those_of_now(
    network: Path, words: tuple[str, ...]
) -> None:
    now = answer(network, *words)
    early = answer(network, *words, "--at", "2026-10-03T12:00:00Z")

    assert answer(network, *words, "--at", str(now["position"])) == now
    assert answer(network, *words, "--at", str(early["position"])) == early
    assert {name for name in now if early[name] != now[name]} > {"position"}


def test_a_validator_is_told_why(network: Path) -> None:
    def why(validator: str, *at: str) -> list[tuple[str, str]]:
        epochs = answer(network, "rewards", validator, *at)["epochs"]
        assert isinstance(epochs, list)
        return [(line["status"], line["why"]) for line in epochs]

    assert why("V1")[3] == ("excluded", "it answered 4 of 5 duties; 90.00 % are needed (rewards.duty_bps)")
    assert why("V1")[:2] == [
        ("excluded", "it was not active all epoch: registered 2026-10-01T01:00:00.000000Z"),
        ("paid", ""),
    ]
    upheld = "the case about job J (false_attestation) was upheld 2026-10-03T12:00:00.000000Z"
    assert why("V2")[1:3] == [
        ("forfeited", f"{upheld}: the share went back to the pool"),
        ("excluded", "a case against it was upheld in the epoch: job J (false_attestation)"),
    ]
    waits = "the share waits for the case about job J (false_attestation), which is proposed"
    assert why("V2", "--at", "2026-10-03T00:31:00Z")[1] == ("withheld", waits)
    assert why("V4")[1][1].endswith("suspended (stake) from 2026-10-03T14:00:00.000000Z on")


def test_what_a_validator_is_owed_is_its_account(network: Path) -> None:
    assert answer(network, "rewards", "V3")["totals"] == {
        "paid": "101325147", "withheld": "0", "released": "24288197", "forfeited": "0", "owed": "125613344",
        "paid_out": "0",
    }  # fmt: skip
    totals = answer(network, "rewards", "V1")["totals"]
    assert isinstance(totals, dict)
    assert (totals["owed"], totals["paid_out"]) == ("7286531", "15787363")


def test_a_yield_carries_all_that_it_needs_to_be_checked(network: Path) -> None:
    data = answer(network, "apy")
    windows = data["windows"]
    assert isinstance(windows, list)
    day = windows[0]

    assert [(line["window"], line["measure"]) for line in windows][:3] == [
        ("1d", "gross"), ("1d", "net"), ("7d", "gross"),
    ]  # fmt: skip
    assert day["apr"] == {"formula": "apr-1", "value": "0.000534", "exact": str(day["apr"]["exact"])}
    assert Fraction(day["apr"]["exact"]) == Fraction(75_000_000 * 31_557_600, 51_333 * 10**9 * 86_400)
    assert (day["apy"]["formula"], day["apy"]["value"], day["epochs"], day["left_out"]) == ("apy-1", "0.000534", 1, 0)
    assert day["denominator"] == "51333000000000"
    assert data["projection"] == {"rate": "0.184000", "exact": "23/125", "multiple": "36.800000"}


def test_a_statement_says_what_was_opened_moved_and_closed(network: Path) -> None:
    lines = CliRunner().invoke(cli, ["statement", "K", "--data", str(network), "--format", "csv"]).stdout.splitlines()

    assert lines[:7] == [
        "account,vault,asset,what,count,debit,credit,balance",
        "consumer:K,escrow,OMNI,opening,,,,0",
        "consumer:K,escrow,OMNI,DepositCredited,1,0,100000000000,",
        "consumer:K,escrow,OMNI,EscrowFunded,3,60000000000,0,",
        "consumer:K,escrow,OMNI,JobSettled,2,0,15002777778,",
        "consumer:K,escrow,OMNI,JobRefunded,1,0,10000000000,",
        "consumer:K,escrow,OMNI,closing,,,,65002777778",
    ]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("rewards", "nobody"), 1),
        (("rewards", "C"), 1),
        (("apy", "--validator", "nobody"), 1),
        (("statement", "nobody"), 1),
        (("statement", "K", "--period", "2026"), 1),
        (("report", "jobs", "--at", "hub:1"), 2),
        (("report", "staking", "--period", "2026Q4"), 2),
    ],
)
def test_what_cannot_be_answered_is_refused(network: Path, words: tuple[str, ...], status: int) -> None:
    result = CliRunner().invoke(cli, [*words, "--data", str(network)])

    assert (result.exit_code, result.stdout) == (status, "")


def test_amounts_in_json_are_text_of_base_units(demo: Path) -> None:
    supply = answer(demo, "supply")

    amounts = {
        name: value
        for name, value in supply.items()
        if name not in {"asset", "decimals", "position", "assumed", "unproven"}
    }
    assert all(isinstance(value, str) and value.isdecimal() for value in amounts.values())
    assert int(str(supply["total"])) == int(str(supply["issued"])) - int(str(supply["burned"]))


def test_answers_at_an_earlier_time_name_an_earlier_position(demo: Path) -> None:
    early = answer(demo, "supply", "--at", "2026-10-10T00:00:00Z")
    again = answer(demo, "supply", "--at", str(early["position"]))
    now = answer(demo, "supply")

    assert early["position"] != now["position"]
    assert int(str(early["owed"])) < int(str(now["owed"]))
    assert again == early


@pytest.mark.parametrize("at", ["2030-01-01T00:00:00Z", "lane-0:999999", "nonsense", "lane-7:1"])
def test_what_the_books_have_not_reached_is_refused_and_not_answered_with_less(demo: Path, at: str) -> None:
    result = CliRunner().invoke(cli, ["supply", "--data", str(demo), "--at", at])

    assert result.exit_code == 1
    assert result.stdout == ""


@pytest.mark.parametrize("words", [("balance", "consumer:nobody"), ("history", "consumer:nobody")])
def test_an_account_that_never_moved_is_refused_and_not_answered_with_nothing(
    demo: Path, words: tuple[str, ...]
) -> None:
    result = CliRunner().invoke(cli, [*words, "--data", str(demo)])

    assert result.exit_code == 1
    assert "nothing has moved consumer:nobody" in str(result.exception)


def test_names_are_printed_as_they_are(tmp_path: Path) -> None:
    """A table makes no picture of `:locked:`, and no style of what stands in brackets."""
    name = "vest:locked:team:foundation"
    runner = CliRunner(env={"OMNISYNC_DATA": str(tmp_path / "books")})
    runner.invoke(cli, ["init"])
    runner.invoke(cli, ["run", "--once"])

    assert name in runner.invoke(cli, ["balance"]).stdout
    assert name in runner.invoke(cli, ["replay", "--net"]).stdout


def test_no_books_is_said_with_the_way_to_make_them(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["balance", "--data", str(tmp_path / "none")])

    assert result.exit_code == 1
    assert "omnisync init" in str(result.exception)
    assert not (tmp_path / "none").exists()


def test_books_are_created_once(tmp_path: Path) -> None:
    first = CliRunner().invoke(cli, ["init", "--data", str(tmp_path)])
    second = CliRunner().invoke(cli, ["init", "--data", str(tmp_path)])

    assert (first.exit_code, second.exit_code) == (0, 1)


def test_a_torn_tail_that_is_cut_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    CliRunner().invoke(cli, ["init", "--data", str(tmp_path)])
    (facts,) = (tmp_path / "facts" / "0").glob("*.log")
    whole = facts.read_bytes()
    facts.write_bytes(whole + b"record 0000")

    (tmp_path / "nothing.jsonl").write_bytes(b"")
    result = CliRunner().invoke(cli, ["ingest", str(tmp_path / "nothing.jsonl"), "--data", str(tmp_path)])

    assert result.exit_code == 0, result.output
    assert facts.read_bytes() == whole
    assert "facts/0: cut 11 bytes" in caplog.text


def test_leaving_out_the_books_is_a_usage_error() -> None:
    assert CliRunner().invoke(cli, ["balance"], env={"OMNISYNC_DATA": None}).exit_code == 2


@pytest.mark.slow
def test_the_demo_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    def digests(seed: int) -> object:
        result = CliRunner().invoke(cli, ["demo", "--jobs", "30", "--seed", str(seed), "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["digests"]

    first = digests(1)
    assert digests(1) == first
    assert digests(2) != first


def test_closing_until_a_time_closes_the_epochs_before_it(tmp_path: Path) -> None:
    runner, data = CliRunner(), str(tmp_path)
    runner.invoke(cli, ["init", "--data", data])
    line = to_line(Producer("router").register(parse_instant("2026-10-01T00:00:00.000000Z")))
    (tmp_path / "facts.jsonl").write_bytes(line)
    runner.invoke(cli, ["ingest", str(tmp_path / "facts.jsonl"), "--data", data])

    result = runner.invoke(cli, ["run", "--once", "--close-until", "2026-10-04T00:30:00Z", "--data", data, "--json"])

    assert result.exit_code == 0, result.output
    # Genesis, and for each of three days the lane's and the hub's close.
    assert json.loads(result.stdout)["decided"] == 1 + 3 * 2


def test_a_start_imports_what_its_command_needs() -> None:
    """`--version` needs none of what takes time."""
    code = "import sys, app.cli; print(*{'sqlalchemy', 'numpy', 'pydantic', 'rich'} & sys.modules.keys())"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_a_word_that_is_no_command_is_refused() -> None:
    result = CliRunner().invoke(cli, ["balnce"])

    assert result.exit_code == 2
    assert "No such command 'balnce'" in result.output
