"""Who loads a file or projects gives way to who settles; nobody else does."""

import os
import time
from pathlib import Path

import pytest

from app.books import Books
from app.commands.write import load_preset
from app.facts import Producer, to_line
from app.precedence import GIVES_WAY
from events.instant import parse_instant
from tests.faults.process import start

NOON = parse_instant("2026-10-01T12:00:00.000000Z")


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """Give new books, and beside them a file of one fact."""
    books = Books(tmp_path / "books")
    books.create(load_preset("omnisync"))
    (tmp_path / "facts.jsonl").write_bytes(to_line(Producer("nodes").register(NOON)))
    return books


@pytest.mark.parametrize(
    ("command", "gives_way"),
    [
        (("ingest", "facts.jsonl"), True),
        (("run", "--once", "--only", "project"), True),
        (("run", "--once", "--only", "settle"), False),
        (("run", "--once"), False),
    ],
)
def test_only_what_can_be_done_behind_settling_gives_way_to_it(
    books: Books, command: tuple[str, ...], gives_way: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(books.folder.parent)
    mine = os.getpriority(os.PRIO_PROCESS, 0)

    process = start(*command, "--data", books.folder)
    while not process.has_ended():
        time.sleep(0.01)
    nice = os.getpriority(os.PRIO_PROCESS, process.pid)

    assert process.end().status == 0
    assert nice == (max(mine, GIVES_WAY) if gives_way else mine)
