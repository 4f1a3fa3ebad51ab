"""The page that works a record out in hex: every value on it is computed anew from the values before it."""

import re
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import pytest

from events.codec import decode, encode
from events.event import Event, fact_id
from events.filelog import FRAME_BYTES, FileLog
from events.record import unpack
from tests.events.naive_merkle import naive_leaf, naive_root

PAGE = (Path(__file__).parents[2] / "docs" / "record-format.md").read_text("utf-8")
BLOCKS: dict[tuple[str, str], str] = {
    (kind, name): body for kind, name, body in re.findall(r"```(\w+) ([\w-]+)\n(.*?)\n```", PAGE, re.DOTALL)
}
LINES = ("event-1", "event-2", "bare-header", "header", "frame")


def text(name: str) -> bytes:
    return BLOCKS["text", name].encode()


def said_hash(name: str) -> bytes:
    return bytes.fromhex(BLOCKS["hash", name])


def record() -> bytes:
    return b"".join(text(name) + b"\n" for name in ("header", "event-1", "event-2"))


def test_every_block_of_the_page_is_looked_at() -> None:
    hashes = {("hash", name) for name in ("leaf-0", "leaf-1", "leaf-2", "node", "root", "file")}

    assert BLOCKS.keys() == {(kind, name) for kind in ("text", "hex") for name in LINES} | hashes


@pytest.mark.parametrize("name", LINES)
def test_hex_is_that_of_the_text(name: str) -> None:
    line_end = b"\n" if name == "frame" else b""

    assert bytes.fromhex(BLOCKS["hex", name]) == text(name) + line_end


@pytest.mark.parametrize("name", ["event-1", "event-2"])
def test_events_of_the_page_are_canonical_and_have_their_ids(name: str) -> None:
    event = decode(text(name))

    assert isinstance(event, Event)
    assert encode(event) == text(name)
    assert event.id == fact_id(event.source, event.key) == sha256(f"{event.source}|{event.key}".encode()).hexdigest()
    assert f"`{event.source}|{event.key}`" in PAGE


def test_leaves_are_those_of_the_lines() -> None:
    for number, name in enumerate(("bare-header", "event-1", "event-2")):
        assert said_hash(f"leaf-{number}") == naive_leaf(text(name))


def test_root_is_that_of_the_leaves_and_stands_in_the_header() -> None:
    leaves = [said_hash(f"leaf-{number}") for number in range(3)]
    root = said_hash("root")

    assert said_hash("node") == naive_root(leaves[:2])
    assert root == naive_root(leaves) == sha256(b"\x01" + said_hash("node") + leaves[2]).digest()
    assert text("header") == text("bare-header").replace(b'"sequence"', b'"root":"%b","sequence"' % root.hex().encode())


def test_frame_line_holds_length_sum_and_check() -> None:
    word, length, checksum, check = text("frame").split(b" ")
    before_check = text("frame")[:27]

    assert word == b"record"
    assert int(length) == len(record())
    assert int(checksum, 16) == crc32(record())
    assert int(check, 16) == crc32(before_check)
    assert len(text("frame")) + 1 == FRAME_BYTES == 36
    assert f"(`{before_check.decode()}`" in PAGE


def test_lengths_are_those_of_the_bytes() -> None:
    sizes = [len(text(name)) for name in ("header", "event-1", "event-2")]

    assert f"In hex, {sizes[1]} and {sizes[2]} bytes" in PAGE
    assert f"{sizes[0]} + 1 + {sizes[1]} + 1 + {sizes[2]} + 1 = {len(record())} bytes" in PAGE
    assert f"36 + {len(record())} = {36 + len(record())} bytes" in PAGE


def test_positions_follow_from_the_header() -> None:
    found = unpack(record())
    named = dict(re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE))

    assert f"= {found.sequence} + 1 + {found.header.count} = {found.end}:" in PAGE
    assert named == {
        str(found.sequence): "header of this record",
        **{str(sequence): f"event {number}" for number, (sequence, _) in enumerate(found.events(), 1)},
        str(found.end): "header of the next record",
    }
    assert f"the tree of size {found.end}" in PAGE


def test_file_log_writes_the_bytes_of_the_page(tmp_path: Path) -> None:
    log = FileLog(tmp_path, "facts", writable=True)

    log.append([text("event-1"), text("event-2")], unpack(record()).header.recorded_at)

    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == text("frame") + b"\n" + record()
    assert sha256(path.read_bytes()).digest() == said_hash("file")
    assert f"`{path.name}`" in PAGE
    assert log.root() == said_hash("root")
    log.close()
