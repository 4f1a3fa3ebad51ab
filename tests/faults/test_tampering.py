"""Whoever touches a byte of a log or a row of a table is found, and the place is named.

`verify --all` believes nothing that is stored: logs are checked by frames, checksums and roots; ledger logs by what
they rest on and by deciding again; rows by projecting again; ends by what was committed. What it cannot see is a log
whose end was cut off where nothing rests on that end, by somebody who changes the mark of the last commit as well.
"""

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, String

from app.books import Books
from events.log import LogDamaged
from events.record import Record
from ledger.errors import LedgerInvariantBroken
from projections.tables import METADATA, BaseUnits
from settlement.output import DecisionsDiffer
from settlement.verify import Finding, verify_logs, verify_rows
from tests.faults.forgery import FOLDERS, forge, rest_anew
from tests.faults.process import omnisync
from tests.faults.scenes import inspect, logs_of, settled_books
from tests.networks import build_network
from tests.worlds import World, build_world

pytestmark = pytest.mark.slow

FLIPS = 120
FLIPS_SLOW = 6_000


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(56, jobs=16, periods=6)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, world: World) -> Books:
    books = settled_books(tmp_path_factory.mktemp("sound") / "books", world)
    inspect(books)
    return books


@pytest.fixture
def books(tmp_path: Path, sound: Books) -> Books:
    shutil.copytree(sound.folder, tmp_path / "books")
    return Books(tmp_path / "books")


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """Give books with a row in every table."""
    folder = tmp_path_factory.mktemp("lively") / "books"
    books = settled_books(folder, build_network(55, jobs=16, periods=8))
    inspect(books)
    return books


@pytest.fixture
def full_books(tmp_path: Path, lively: Books) -> Books:
    shutil.copytree(lively.folder, tmp_path / "books")
    return Books(tmp_path / "books")


def check_logs(books: Books) -> None:
    verify_logs(books.partitions(), books.lanes(), books.hub())


def flip_and_check(books: Books, flips: int, seed: str) -> None:
    random = Random(seed)
    for _ in range(flips):
        name = random.choice(list(FOLDERS))
        (path,) = (books.folder / FOLDERS[name]).glob("*.log")
        sound = path.read_bytes()
        place = random.randrange(len(sound))
        bit = 1 << random.randrange(8)
        path.write_bytes(sound[:place] + bytes([sound[place] ^ bit]) + sound[place + 1 :])
        with pytest.raises(LogDamaged) as found:
            check_logs(books)
        path.write_bytes(sound)
        where = f"{seed}: {name} byte {place} bit {bit}: {found.value}"
        assert (found.value.log, found.value.place) == (name, path.name), where
        assert found.value.offset <= place, where
    check_logs(books)


def test_flipped_bit_of_any_log_is_found_and_its_record_is_named(books: Books) -> None:
    flip_and_check(books, FLIPS, "flips")


@pytest.mark.parametrize("block", range(4))
def test_many_flipped_bits_are_each_found(books: Books, block: int) -> None:
    flip_and_check(books, FLIPS_SLOW // 4, f"many {block}")


def test_record_cut_out_of_the_middle_is_found(books: Books) -> None:
    for name, folder in FOLDERS.items():
        (path,) = (books.folder / folder).glob("*.log")
        sound = path.read_bytes()
        starts = [place for place in range(len(sound)) if sound.startswith(b"record ", place)]
        for start, end in pairwise(starts):
            path.write_bytes(sound[:start] + sound[end:])
            with pytest.raises(LogDamaged, match=f"^{name}: "):
                check_logs(books)
        path.write_bytes(sound)


# --- rows ---


def changed(column: "Column[object]", value: object) -> object:
    if isinstance(column.type, BaseUnits):
        return str(int(str(value)) + 1)
    if isinstance(column.type, Boolean):
        return 1 - int(value == 1)
    if isinstance(column.type, String):
        return f"{value or ''}x"
    assert isinstance(value, int)
    return value + (10**6 if column.primary_key else 1)


COLUMNS = [(table.name, column.name) for table in METADATA.sorted_tables for column in table.columns]
TABLES = [table.name for table in METADATA.sorted_tables]


def a_third(cases: Sequence[Any]) -> list[Any]:
    """Leave two of three to `make test`."""
    return [pytest.param(case, marks=[pytest.mark.slow] if n % 3 else []) for n, case in enumerate(cases)]


def pick(connection: sqlite3.Connection, table: str, seed: str) -> tuple[str, list[object]]:
    """Return a condition that one row of a table meets, and the values it asks for."""
    keys = [column.name for column in METADATA.tables[table].primary_key]
    rows = connection.execute(f"SELECT {','.join(keys)} FROM {table} ORDER BY {','.join(keys)}").fetchall()
    return " AND ".join(f"{key} = ?" for key in keys), list(Random(seed).choice(rows))


def find(books: Books) -> str:
    with pytest.raises(Finding) as found:
        verify_rows(books.engine(), books.facts("facts/hub"), books.ledgers())
    return str(found.value)


@pytest.mark.parametrize("place_of", a_third(COLUMNS), ids="-".join)
def test_changed_value_of_any_column_is_found(full_books: Books, place_of: tuple[str, str]) -> None:
    table, name = place_of
    column = METADATA.tables[table].c[name]
    with sqlite3.connect(full_books.database) as connection:
        condition, place = pick(connection, table, f"{table} {name}")
        (value,) = connection.execute(f"SELECT {name} FROM {table} WHERE {condition}", place).fetchone()
        connection.execute(f"UPDATE {table} SET {name} = ? WHERE {condition}", (changed(column, value), *place))
    connection.close()

    said = find(full_books)

    # A balance is named by its account: so whoever renames or renumbers an account is found at what refers to it.
    named = {"account", "balance", "history", table} if table == "account" else {table}
    if table == "checkpoint":
        named |= set(TABLES)
    assert said.removeprefix("table ").partition(",")[0] in named, said


@pytest.mark.parametrize("table", a_third(TABLES))
def test_deleted_row_is_found(full_books: Books, table: str) -> None:
    with sqlite3.connect(full_books.database) as connection:
        condition, place = pick(connection, table, table)
        connection.execute(f"DELETE FROM {table} WHERE {condition}", place)
    connection.close()

    said = find(full_books)

    assert table in ("account", "checkpoint") or (said.startswith(f"table {table}, row ") and "is missing" in said)


@pytest.mark.parametrize("table", a_third(TABLES[1:] + TABLES[:1]))
def test_inserted_row_is_found(full_books: Books, table: str) -> None:
    columns = list(METADATA.tables[table].columns)
    with sqlite3.connect(full_books.database) as connection:
        row = list(connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone())
        for number, column in enumerate(columns):
            if column.primary_key or (table == "account" and column.name == "account"):
                row[number] = f"{row[number]}x" if isinstance(row[number], str) else 10**6
        connection.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
    connection.close()

    assert find(full_books).startswith(f"table {table}, row ")


def test_swapped_balances_of_two_accounts_are_found(full_books: Books) -> None:
    with sqlite3.connect(full_books.database) as connection:
        first, second = connection.execute(
            "SELECT id FROM account WHERE account LIKE 'consumer:%' OR account LIKE 'payable:%' LIMIT 2"
        ).fetchall()
        for table in ("balance", "history"):
            for old, new in ((first[0], -1), (second[0], first[0]), (-1, second[0])):
                connection.execute(f"UPDATE {table} SET account_id = ? WHERE account_id = ?", (new, old))
    connection.close()

    assert find(full_books).startswith(("table balance", "table history"))


def test_amount_that_is_no_number_is_found(full_books: Books) -> None:
    with sqlite3.connect(full_books.database) as connection:
        connection.execute("UPDATE balance SET credits = 'much' WHERE account_id = 3")
    connection.close()

    assert find(full_books).startswith("table balance")


# --- forgers, who make the log's own checks pass ---


def edit_line(place: int, old: bytes, new: bytes) -> Callable[[list[Record]], list[Record]]:
    """Replace bytes in the `place`-th of the lines that hold them."""

    def edit(records: list[Record]) -> list[Record]:
        left = place
        edited = []
        for record in records:
            lines = list(record.lines)
            for number, line in enumerate(lines):
                if old in line:
                    if left == 0:
                        lines[number] = line.replace(old, new, 1)
                    left -= 1
            edited.append(Record(record.header, lines))
        assert edited != records
        return edited

    return edit


def test_forged_fact_is_found_by_what_rests_on_it(books: Books) -> None:
    forge(books, "facts/0", edit_line(0, b'"effect":"deposit"', b'"effect":"deposit" '))
    with pytest.raises(Finding, match=r"^lane-0: record at \d+ rests on facts/0 up to \d+ with root"):
        check_logs(books)


def test_forged_amount_of_a_fact_is_found_even_where_all_roots_were_made_anew(books: Books) -> None:
    forge(books, "facts/0", edit_line(1, b'"amount":"', b'"amount":"9'))
    rest_anew(books, "lane-0")
    rest_anew(books, "hub")

    with pytest.raises(DecisionsDiffer, match=r"^lane-0: event \d+: the facts lead to .*the log holds"):
        check_logs(books)


def test_forged_decision_is_named(books: Books) -> None:
    log = books.lane()
    (sequence, *_) = [n for record in log.read() for n, line in record.events() if b'"net":"' in line]
    forge(books, "lane-0", edit_line(0, b'"net":"', b'"net":"1'))
    with pytest.raises(Finding, match=r"^hub: record at \d+ rests on lane-0"):
        check_logs(books)

    rest_anew(books, "hub")

    with pytest.raises(DecisionsDiffer) as found:
        check_logs(books)
    assert (found.value.log, found.value.sequence) == ("lane-0", sequence)


def test_forged_decision_of_the_hub_is_named(books: Books) -> None:
    forge(books, "hub", edit_line(0, b'"treasury":"', b'"treasury":"1'))

    with pytest.raises(DecisionsDiffer, match=r"^hub: event \d+: the facts lead to"):
        check_logs(books)


def test_decision_that_no_fact_led_to_is_named(books: Books) -> None:
    end = books.lane().end()
    lines = [line for record in books.lane().read() for line in record.lines if b'"DepositCredited"' in line]
    forge(books, "lane-0", lambda records: [*records, Record(records[-1].header, (lines[0],))])

    with pytest.raises(DecisionsDiffer, match=f"^lane-0: event {end + 1}: the facts lead to nothing"):
        check_logs(books)


def test_decisions_in_another_order_are_found(books: Books) -> None:
    def swap(records: list[Record]) -> list[Record]:
        record = max(records, key=lambda record: len(record.lines))
        first, second, *rest = record.lines
        number = records.index(record)
        return [*records[:number], Record(record.header, (second, first, *rest)), *records[number + 1 :]]

    forge(books, "lane-0", swap)
    rest_anew(books, "hub")

    with pytest.raises(DecisionsDiffer, match=r"^lane-0: event"):
        check_logs(books)


# --- cut ends ---


def cut_last(books: Books, name: str) -> int:
    before = logs_of(books)[name].end()
    forge(books, name, lambda records: records[:-1])
    return before


@pytest.mark.parametrize("name", FOLDERS)
def test_cleanly_removed_last_record_is_found(books: Books, name: str) -> None:
    cut_last(books, name)

    with pytest.raises((Finding, LogDamaged, DecisionsDiffer), match=name.replace("/", ".")) as found:
        inspect(books)
    assert isinstance(found.value, LedgerInvariantBroken)


@pytest.mark.parametrize("name", ["lane-0", "hub"])
def test_ledger_record_that_was_cut_off_can_be_decided_again(books: Books, name: str) -> None:
    """Decisions are derived: where nothing rests on a cut record, `run` writes the same ones again."""
    before = [line for record in logs_of(books)[name].read() for line in record.lines]
    cut_last(books, name)
    if name == "lane-0" and any(b.log == name for r in books.hub().read() for b in r.header.basis):
        forge(books, "hub", lambda records: records[:1])
    shutil.rmtree(books.database, ignore_errors=True)
    books.database.unlink()

    assert omnisync("run", "--once", "--data", books.folder).status == 0

    assert [line for record in logs_of(books)[name].read() for line in record.lines] == before
    assert inspect(books).unsettled == 0


@pytest.mark.parametrize("name", FOLDERS)
def test_end_that_was_cut_off_is_found_without_the_rows(books: Books, name: str) -> None:
    before = cut_last(books, name)
    books.database.unlink()

    told = omnisync("verify", "--all", "--data", books.folder, "--json")

    assert told.status == 1
    end = logs_of(books)[name].end()
    assert json.loads(told.out)["difference"] == f"{name}: ends at {end}, and was durable up to {before}"


def test_verify_on_the_command_line_names_the_place_and_ends_with_status_1(books: Books) -> None:
    assert omnisync("verify", "--all", "--data", books.folder).status == 0
    with sqlite3.connect(books.database) as connection:
        connection.execute(
            "UPDATE job SET burn = '1' || burn WHERE (consumer, id) IN (SELECT consumer, id FROM job LIMIT 1)"
        )
    connection.close()

    told = omnisync("verify", "--all", "--data", books.folder, "--json")

    assert told.status == 1
    assert json.loads(told.out)["difference"].startswith("table job, row ")
    shown = omnisync("verify", "--all", "--data", books.folder)
    assert shown.status == 1
    assert "column burn: stored 1" in shown.out


def test_damaged_log_stops_every_command_that_writes(books: Books) -> None:
    (path,) = (books.folder / FOLDERS["facts/0"]).glob("*.log")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)

    for command in (["run", "--once"], ["ingest", "-"], ["verify", "--all"]):
        ended = omnisync(*command, "--data", books.folder)
        assert ended.status == 1, command
        assert "facts/0: record at sequence" in ended.err + ended.out, command
        assert "Traceback" not in ended.err
    assert path.read_bytes() == data
