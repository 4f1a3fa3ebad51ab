"""Lines are cut as a naive splitter cuts them, whatever the size of the pieces in which they come."""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settlement.lines import CHUNK_BYTES, LINE_BYTES_MAX, Line, read_chunks

M = LINE_BYTES_MAX


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "lines"


def cut(content: bytes) -> Iterator[Line]:
    """Split at line feeds; drop carriage returns at the end and blank lines; keep the beginning of what is too long."""
    for number, part in enumerate(content.split(b"\n"), 1):
        if len(part) > M:
            yield Line(number, part[:M], len(part), sha256(part).hexdigest())
        elif part.strip():
            yield Line(number, part.rstrip(b"\r"), len(part.rstrip(b"\r")))


def read(content: bytes, place: Path, chunk: int) -> list[Line]:
    place.write_bytes(content)
    file = os.open(place, os.O_RDONLY)
    try:
        return [line for lines in read_chunks(file, chunk) for line in lines]
    finally:
        os.close(file)


parts = st.one_of(
    st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"")),
    st.sampled_from((b"", b" ", b"\r", b" \r", b"\t", b"x\r", b"\r\r", b"x\ry", b"\0")),
    st.builds(lambda byte, size: byte * size, st.sampled_from((b"a", b"\r", b" ")), st.integers(M - 2, M + 2)),
    st.just(b"z" * (3 * M)),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(parts, max_size=6), st.booleans(), st.sampled_from((1_000, M - 1, M, M + 1, 2 * M, CHUNK_BYTES)))
def test_any_content_is_cut_as_the_naive_splitter_cuts_it(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], ends: bool, chunk: int
) -> None:
    content = b"\n".join(parts) + (b"\n" if ends else b"")

    assert read(content, tmp_path_factory.getbasetemp() / "naive", chunk) == list(cut(content))


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from((b"a", b"bb", b"\n", b"\r\n", b" ", b"\r")), max_size=40), st.integers(1, 9))
def test_pieces_of_a_few_bytes_make_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], chunk: int
) -> None:
    content = b"".join(parts)

    assert read(content, tmp_path_factory.getbasetemp() / "small", chunk) == list(cut(content))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n", []),
        (b"\n\n\r\n \n", []),
        (b"a", [Line(1, b"a", 1)]),
        (b"a\n", [Line(1, b"a", 1)]),
        (b"a\r\nb\r\n", [Line(1, b"a", 1), Line(2, b"b", 1)]),
        (b"\n\nc", [Line(3, b"c", 1)]),
        (b" a ", [Line(1, b" a ", 3)]),
    ],
)
def test_line_ends_and_blank_lines(content: bytes, expected: list[Line], place: Path) -> None:
    for chunk in (1, 2, 100):
        assert read(content, place, chunk) == expected


@pytest.mark.parametrize("chunk", [1_000, M, M + 1, CHUNK_BYTES])
def test_over_long_line_is_told_by_its_beginning_length_and_digest(chunk: int, place: Path) -> None:
    long = bytes(range(1, 10)) * 20_000

    first, second, third = read(b"a\n" + long + b"\nb\n", place, chunk)

    assert (first, third) == (Line(1, b"a", 1), Line(3, b"b", 1))
    assert second == Line(2, long[:M], len(long), sha256(long).hexdigest())


def test_over_long_line_at_the_end_needs_no_line_end(place: Path) -> None:
    (line,) = read(b"q" * (M + 1), place, 777)

    assert line == Line(1, b"q" * M, M + 1, sha256(b"q" * (M + 1)).hexdigest())


def test_pipe_is_answered_as_it_speaks() -> None:
    source, sink = os.pipe()
    chunks = read_chunks(source)
    try:
        os.write(sink, b"one\ntw")
        assert list(next(chunks)) == [Line(1, b"one", 3)]
        os.write(sink, b"o\n\nfour")
        assert list(next(chunks)) == [Line(2, b"two", 3)]
        os.close(sink)
        assert list(next(chunks)) == [Line(4, b"four", 4)]
        assert next(chunks, None) is None
    finally:
        os.close(source)
