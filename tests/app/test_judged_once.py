"""Embedded facts are judged once, by `ingest`: whoever settles trusts the folder, and `verify` trusts nobody."""

from pathlib import Path

import pytest

from app.books import Books
from app.commands.write import load_preset
from app.facts import Producer, to_line
from events.codec import encode
from events.instant import format_instant, parse_instant
from projections.read import read_balances, read_position
from settlement.lines import Line
from settlement.output import DecisionsDiffer
from settlement.verify import verify_logs

NOON = parse_instant("2026-10-01T12:00:00.000000Z")
AMOUNT = 5_000


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """Give books into which a deposit was ingested, and behind that was put once more by hand."""
    books, producer = Books(tmp_path / "books"), Producer("router")
    books.create(load_preset("omnisync"))
    deposit = producer.deposit(NOON, "alice", "OMNI", AMOUNT, "deposit:1")
    lines = [to_line(fact).rstrip(b"\n") for fact in (producer.register(NOON), deposit, deposit)]
    chunk = [Line(number, line, len(line)) for number, line in enumerate(lines, 1)]
    [receipt] = books.ingest(iter([chunk]), "facts")
    assert (receipt.accepted, receipt.duplicates) == (2, 1)
    log = books.facts("facts/0", writable=True)
    log.append([encode(deposit)], format_instant(NOON))
    log.close()
    return books


def test_what_was_put_into_the_folder_by_hand_is_settled_and_named_by_verify(books: Books) -> None:
    with books.stages() as stages:
        stages.run()

    engine = books.engine()
    with engine.connect() as connection:
        [balance] = read_balances(connection, read_position(connection, None), "consumer:alice")
    engine.dispose()
    assert balance.net == 2 * AMOUNT
    with pytest.raises(DecisionsDiffer, match="lane-0: event"):
        verify_logs(books.partitions(), books.lanes(), books.hub())
