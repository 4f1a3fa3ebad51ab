"""Logs: text for people, JSON lines for programs."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import cli
from app.logs import configure_logs
from events.instant import parse_instant

LOG = logging.getLogger("tests.logs")


@pytest.fixture(autouse=True)
def text_afterwards() -> Iterator[None]:
    yield
    configure_logs("text", "warning")


def test_text_is_the_message_alone(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("text", "warning")

    LOG.info("not told")
    LOG.warning("%s: cut", "facts/0", extra={"fields": {"log": "facts/0"}})

    assert capsys.readouterr().err == "facts/0: cut\n"


def test_json_has_time_level_logger_message_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("text", "error")
    configure_logs("json", "info")

    LOG.info("%s: cut\n", "facts/0", extra={"fields": {"log": "facts/0", "bytes": 11, "file": Path("a")}})

    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert parse_instant(told.pop("time"))
    assert told == {
        "level": "info",
        "logger": "tests.logs",
        "message": "facts/0: cut\n",
        "log": "facts/0",
        "bytes": 11,
        "file": "a",
    }


def test_json_keeps_a_fault_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "warning")

    try:
        raise OSError("no space")
    except OSError:
        LOG.exception("stopped")

    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["exception"].endswith("OSError: no space")


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_command_logs_as_it_is_told(tmp_path: Path, how: str) -> None:
    runner = CliRunner()
    runner.invoke(cli, ["init", "--data", str(tmp_path)])
    (facts,) = (tmp_path / "facts" / "0").glob("*.log")
    facts.write_bytes(facts.read_bytes() + b"record 0000")
    (tmp_path / "nothing.jsonl").write_bytes(b"")

    words = ["--log-format", "json"] if how == "option" else []
    told = {"OMNISYNC_LOG_FORMAT": "json"} if how == "variable" else {}
    result = runner.invoke(cli, ["ingest", str(tmp_path / "nothing.jsonl"), "--data", str(tmp_path), *words], env=told)

    (line,) = result.stderr.splitlines()
    assert json.loads(line)["log"] == "facts/0"
    assert json.loads(line)["bytes"] == 11


def test_the_clients_errors_are_heard_by_who_listens_and_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("text", "info")
    heard: list[logging.LogRecord] = []
    listener = logging.Handler()
    listener.emit = heard.append  # type: ignore[assignment, method-assign]
    client = logging.getLogger("kafka.net.transport")
    client.addHandler(listener)

    client.error("connection lost")
    client.critical("at an end")

    client.removeHandler(listener)
    assert [record.getMessage() for record in heard] == ["connection lost", "at an end"]
    assert capsys.readouterr().err == "at an end\n"
