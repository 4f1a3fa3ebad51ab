"""Many hashes and lines at once, against `hashlib` and against bytes put together one by one."""

import ctypes
import zlib
from collections.abc import Callable, Sequence
from hashlib import sha256
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import hashing
from events.hashing import (
    Spans,
    extend_crc32,
    extend_frontier,
    hash_leaves,
    hash_parts,
    join_texts,
    number_texts,
    render_lines,
)
from events.merkle import Tree
from events.native import load
from tests.events.naive_merkle import naive_leaf, naive_root

# Where padding begins another block, and around it.
LENGTHS = (0, 1, 54, 55, 56, 57, 63, 64, 65, 118, 119, 120, 127, 128, 129, 300)
PLAINLY = pytest.mark.parametrize("plainly", [False, True])


class WithoutInstructions:
    """The library as it is on a machine without instructions for SHA-256."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Stand before the library."""
        self._library = library

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a function that tells the library to do without."""
        function = getattr(self._library, name)
        return lambda *given: function(*(ctypes.c_int(1) if type(one) is ctypes.c_int else one for one in given))


@pytest.fixture(params=["library", "library without instructions", "no library"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do it in each of the ways in which it may be done."""
    library = load()
    if request.param == "no library":
        library = None
    found = WithoutInstructions(library) if request.param.endswith("instructions") and library else library
    monkeypatch.setattr(hashing, "load", lambda: found)


def spans_of(texts: Sequence[bytes]) -> Spans:
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    return Spans(b"".join(texts), ends - np.array([len(text) for text in texts], dtype=np.int64), ends)


def rows_of(digests: npt.NDArray[np.uint8]) -> list[bytes]:
    return [digest.tobytes() for digest in digests]


@pytest.mark.usefixtures("way")
def test_every_length_around_a_block_is_hashed_as_the_standard_says() -> None:
    texts = [bytes(range(length % 256)) * (1 + length // 256) for length in LENGTHS]

    assert rows_of(hash_leaves(*spans_of(texts))) == [naive_leaf(text) for text in texts]
    for cut in (0, 1, 55, 63, 64, 65):
        parts: list[bytes | Spans] = [
            spans_of([text[:cut] for text in texts]),
            b"",
            b"|",
            spans_of([text[cut:] for text in texts]),
        ]
        whole = [sha256(text[:cut] + b"|" + text[cut:]).digest() for text in texts]
        assert rows_of(hash_parts(parts, len(texts))) == whole


@pytest.mark.usefixtures("way")
def test_published_vectors() -> None:
    """FIPS 180-4, as the standard's own examples have them."""
    texts = [b"abc", b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", b"a" * 1_000_000]

    assert [digest.hex() for digest in rows_of(hash_parts([spans_of(texts)], len(texts)))] == [
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    ]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_without_parts_each_row_is_empty(rows: int) -> None:
    assert rows_of(hash_parts([], rows)) == [sha256(b"").digest()] * rows
    assert rows_of(hash_parts([b""], rows)) == [sha256(b"").digest()] * rows
    assert render_lines([], rows).data == b"\n" * rows
    assert render_lines([], rows).ends.tolist() == list(range(1, rows + 1))


@PLAINLY
@given(rows=st.lists(st.tuples(st.binary(max_size=140), st.binary(max_size=70)), max_size=24), fixed=st.binary())
def test_hashes_are_those_of_the_joined_parts(plainly: bool, rows: list[tuple[bytes, bytes]], fixed: bytes) -> None:
    parts: list[bytes | Spans] = [
        spans_of([first for first, _ in rows]),
        fixed,
        spans_of([second for _, second in rows]),
    ]

    digests = hash_parts(parts, len(rows), plainly=plainly)

    assert rows_of(digests) == [sha256(first + fixed + second).digest() for first, second in rows]


@PLAINLY
def test_messages_of_every_length_are_hashed_beside_others(plainly: bool) -> None:
    # Around a block with its padding, and around the longest message that is put together.
    sizes = [0, 1, 7, 8, 9, 31, 32, 33, 54, 55, 56, 63, 64, 65, 118, 119, 120, *range(4_020, 4_030), 9_000]
    rows = [(bytes([size % 251]) * size, b"%d" % size) for size in sizes + sizes[::-1]]

    digests = hash_parts(
        [spans_of([row[0] for row in rows]), b"|", spans_of([row[1] for row in rows])], len(rows), plainly=plainly
    )

    assert rows_of(digests) == [sha256(b"|".join(row)).digest() for row in rows]


ROWS = st.lists(
    st.tuples(st.binary(max_size=40), st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32)), max_size=8
)


@PLAINLY
@given(rows=ROWS, fixed=st.binary(max_size=9))
def test_lines_are_the_joined_parts(plainly: bool, rows: list[tuple[bytes, int, bytes]], fixed: bytes) -> None:
    texts = spans_of([text for text, _, _ in rows])
    numbers = np.array([number for _, number, _ in rows], dtype=np.int64)
    digests = np.frombuffer(b"".join(digest for _, _, digest in rows), dtype=np.uint8).reshape(-1, 32)

    lines = render_lines([fixed, texts, numbers, b"", digests], len(rows), plainly=plainly)

    expected = [fixed + text + b"%d" % number + digest.hex().encode() + b"\n" for text, number, digest in rows]
    assert lines.data == b"".join(expected)
    assert lines.ends.tolist() == np.cumsum([len(line) for line in expected]).tolist()


@PLAINLY
def test_numbers_are_written_around_each_power_of_ten(plainly: bool) -> None:
    numbers = [0, 2**63 - 1, *(10**digits + more for digits in range(19) for more in (-1, 0, 1))]

    lines = render_lines([np.array(numbers, dtype=np.int64)], len(numbers), plainly=plainly)

    assert lines.data.split() == [b"%d" % number for number in numbers]


@PLAINLY
def test_numbers_and_digests_may_be_views(plainly: bool) -> None:
    numbers = np.arange(12, dtype=np.int64).reshape(3, 4)[:, 1]
    digests = np.arange(192, dtype=np.uint8).reshape(6, 32)[::2]

    lines = render_lines([numbers, b" ", digests], 3, plainly=plainly)

    assert lines.data.split(b"\n")[:-1] == [
        b"%d " % (4 * i + 1) + digests[i].tobytes().hex().encode() for i in range(3)
    ]


@PLAINLY
@given(texts=st.lists(st.text("ab", max_size=9).map(str.encode), max_size=20))
def test_texts_are_joined_from_where_they_stand(plainly: bool, texts: list[bytes]) -> None:
    data, starts, ends = spans_of(texts)
    cells = np.column_stack((starts, ends))
    joined = b"".join(text + b"\n" for text in texts)

    assert join_texts(data, starts, ends, plainly=plainly) == joined
    assert join_texts(data, cells[:, 0], cells[:, 1], plainly=plainly) == joined
    assert join_texts(data, cells[:, 0], ends, plainly=plainly) == joined
    assert join_texts(data, starts[::-1], ends[::-1], plainly=plainly).split(b"\n")[:-1] == texts[::-1]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 7, 8, 9, 31])
def test_a_tree_that_grows_by_many_is_the_tree_that_grows_by_one(size: int) -> None:
    leaves = [naive_leaf(b"%d" % number) for number in range(size + 40)]
    one_by_one = Tree()
    one_by_one.extend(leaves[:size])

    for more in (0, 1, 2, 3, 8, 40):
        added = np.frombuffer(b"".join(leaves[size : size + more]), dtype=np.uint8).reshape(-1, 32)
        grown = one_by_one.copy()
        grown.extend(added)
        assert grown.root() == naive_root(leaves[: size + more])
        extended = extend_frontier(list(one_by_one.frontier()), size, added)
        assert extended is None or tuple(extended) == grown.frontier()


@PLAINLY
@given(
    texts=st.lists(st.binary(max_size=9) | st.sampled_from([b"", b"node-1", b"a consumer's long name"]), max_size=40)
)
def test_equal_texts_have_one_number_in_the_order_of_the_first(plainly: bool, texts: list[bytes]) -> None:
    first: dict[bytes, int] = {}
    for row, text in enumerate(texts):
        first.setdefault(text, row)

    firsts, numbers = number_texts(*spans_of(texts), plainly=plainly)

    assert firsts.tolist() == list(first.values())
    assert [texts[firsts[number]] for number in numbers.tolist()] == texts


@pytest.mark.usefixtures("way")
def test_a_checksum_goes_on_from_another_as_zlib_says() -> None:
    data = Random("crc").randbytes(5_000)

    for length in (0, 1, 1_023, *range(1_024, 1_110), 5_000):
        before = zlib.crc32(data[length:])
        assert extend_crc32(data[:length]) == extend_crc32(data[:length], plainly=True) == zlib.crc32(data[:length])
        assert extend_crc32(data[:length], before) == zlib.crc32(data[:length], before)
