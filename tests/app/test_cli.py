"""The command line as a contract: help, formats, exit status."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.cli import cli
from app.facts import Producer, to_line
from events.instant import parse_instant

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def commands(group: click.Group = cli, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its words."""
    for name, command in sorted(group.commands.items()):
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


def test_the_demo_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    def digests(seed: int) -> object:
        result = CliRunner().invoke(cli, ["demo", "--jobs", "30", "--seed", str(seed), "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["digests"]

    assert digests(1) == digests(1)
    assert digests(1) != digests(2)


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
