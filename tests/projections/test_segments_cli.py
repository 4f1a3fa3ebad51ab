"""The commands around segments, and the page about them."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from app.books import Books
from app.cli import cli
from app.commands.write import load_preset
from events.filelog import hold_lock
from projections.read import balances_digest
from projections.segments import BLOCKS, Header, Segment, write_segment

PAGE = Path(__file__).parents[2] / "docs" / "segments.md"


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """Give books with their genesis, run."""
    books = Books(tmp_path / "books")
    books.create(load_preset("omnisync"))
    with books.settlers() as settlers:
        settlers.run()
    return books


def omnisync(books: Books, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "--data", str(books.folder)])


def digest_of(books: Books) -> str:
    with books.engine().connect() as connection:
        return balances_digest(connection)


def test_no_file_is_full_in_new_books(books: Books) -> None:
    assert omnisync(books, "seal").stdout == "no file is full yet; --all seals the last ones too\n"
    assert json.loads(omnisync(books, "seal", "--json").stdout) == {"segments": []}


def test_replay_says_what_the_tables_say(books: Books) -> None:
    from_logs = json.loads(omnisync(books, "replay", "--json").stdout)
    sealed = omnisync(books, "seal", "--all")
    from_segments = json.loads(omnisync(books, "replay", "--scalar", "--json").stdout)

    assert "hub/00000000000000000000.seg" in sealed.stdout
    assert "is missing: sealed" in sealed.stdout
    assert from_logs["balances"] == from_segments["balances"] == from_segments["scalar"] == digest_of(books)
    assert from_logs["accounts"] == from_segments["accounts"] > 0
    assert from_logs["tail"] == from_segments["sealed"] > from_segments["tail"] == from_logs["sealed"] == 0
    assert "the scalar fold says the same" in omnisync(books, "replay", "--scalar").stdout
    assert "sound" in omnisync(books, "seal", "--all").stdout


def test_replay_shows_what_accounts_hold(books: Books) -> None:
    held = {
        (line["account"], line["vault"]): line["balance"]
        for line in json.loads(omnisync(books, "balance", "--json").stdout)["balances"]
        if line["balance"] != "0"
    }
    from_logs = json.loads(omnisync(books, "replay", "--net", "--json").stdout)
    omnisync(books, "seal", "--all")
    from_segments = json.loads(omnisync(books, "replay", "--net", "--json").stdout)

    assert from_logs["balances"] == from_segments["balances"]
    assert {(line["account"], line["vault"]): line["balance"] for line in from_logs["balances"]} == held != {}
    assert from_logs["tail"] == from_segments["sealed"] > from_segments["tail"] == from_logs["sealed"] == 0
    assert f"{from_segments['sealed']} events from " in omnisync(books, "replay", "--net").stdout


def test_damage_is_told_and_what_is_told_stays_right(books: Books) -> None:
    omnisync(books, "seal", "--all")
    path = books.segments / "hub" / f"{0:020}.seg"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    path.write_bytes(path.read_bytes()[:-64])

    told = omnisync(books, "replay")

    assert "segment hub/00000000000000000000.seg: has " in told.stderr
    assert "`omnisync seal` makes it anew" in told.stderr
    assert digest_of(books) in told.stdout
    assert "its header says" in omnisync(books, "seal", "--all").stdout
    assert omnisync(books, "replay").stderr == ""


def test_a_segment_that_lies_and_is_sound_is_found_by_deriving_it_again(books: Books) -> None:
    omnisync(books, "seal", "--all")
    path = books.segments / "hub" / f"{0:020}.seg"
    segment = Segment(path)
    columns = {name: segment.array(name) for name in BLOCKS}
    columns["amounts"] = columns["amounts"] + 1
    write_segment(path, segment.header, columns)

    assert omnisync(books, "seal", "--all").exit_code == 0
    lied = omnisync(books, "replay", "--scalar")
    assert (lied.exit_code, "the scalar fold says " in lied.stdout) == (1, True)
    found = omnisync(books, "seal", "--all", "--anew")
    assert found.exit_code == 1
    assert "differed from its log" in found.stdout
    assert omnisync(books, "replay", "--scalar").exit_code == 0
    assert omnisync(books, "seal", "--all", "--anew").exit_code == 0


def test_one_seals_at_a_time(books: Books) -> None:
    with hold_lock(books.folder / "segments.lock"):
        assert omnisync(books, "seal").exit_code == 1


def test_the_source_is_named_by_its_digest(books: Books) -> None:
    omnisync(books, "seal", "--all")
    header = Segment(books.segments / "hub" / f"{0:020}.seg").header
    source = (books.folder / "ledger" / "hub" / f"{0:020}.log").read_bytes()

    assert (header.source_bytes, header.source_sha256) == (len(source), sha256(source).hexdigest())


# --- the page ---


def rows_of_page() -> Iterator[tuple[list[str], str]]:
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.replace("\\|", "¦").strip("|").split("|")]
        if line.startswith("| `"):
            yield cells[0].replace("`", "").split(", "), cells[1]


def test_the_page_lists_every_column_with_its_type() -> None:
    types = {"int64": "<i8", "uint32": "<u4", "uint64": "<u8", "bytes": "|u1", "20 bytes": "|u1", "text": "|u1"}
    listed = {name: types[kind] for names, kind in rows_of_page() if kind in types for name in names}

    assert listed == BLOCKS
    assert np.dtype(BLOCKS["amounts"]).itemsize == 8


def test_the_page_lists_every_member_of_the_header() -> None:
    listed = {name for names, _ in rows_of_page() for name in names}

    assert {field.name for field in msgspec.structs.fields(Header)} <= listed
