"""Many hashes at once, and many lines at once: joined parts, a row each.

    part    bytes that stand in every row · spans of some data · whole numbers · digests, written as hex

Done by `native.c`, or here, row by row.
"""

import ctypes
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from events.native import address, load, pointer

__all__ = [
    "Digests",
    "Lines",
    "Part",
    "Spans",
    "extend_crc32",
    "extend_frontier",
    "hash_leaves",
    "hash_parts",
    "join_texts",
    "number_texts",
    "render_lines",
]

Digests = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
_DIGITS_MAX = 20
# So few rows are hashed or joined here in less time than it takes to call C.
FEW = 8
_HEX_DIGITS = 64
_CRC_STEP, _CRC_BYTES_MIN = 16, 1_024
_FRONTIER_MAX = 64
_SPANS, _NUMBERS, _DIGESTS = 0, 1, 2


class Spans(NamedTuple):
    """`data[starts[i]:ends[i]]` in row i."""

    data: bytes
    starts: Integers
    ends: Integers

    @staticmethod
    def of(texts: Sequence[bytes]) -> "Spans":
        """Return texts that were made one by one."""
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        return Spans(b"".join(texts), np.append(0, ends)[:-1], ends)


Part = bytes | Spans | Integers | Digests


class Lines(NamedTuple):
    """Lines, each with its LF; `ends[i]` is the place behind that of row i."""

    data: bytes
    ends: Integers


def hash_leaves(data: bytes, starts: Integers, ends: Integers) -> Digests:
    """Return the leaf hash of each line, 32 bytes a row."""
    return hash_parts([b"\x00", Spans(data, starts, ends)], len(starts))


def hash_parts(parts: Sequence[bytes | Spans], rows: int, *, plainly: bool = False) -> Digests:
    """Return the SHA-256 of each row's joined parts, 32 bytes a row."""
    native = None if plainly or rows < FEW else load()
    if native is None:
        digests = [sha256(row).digest() for row in _rows(parts, rows)]
        return np.frombuffer(bytearray().join(digests), dtype=np.uint8).reshape(rows, 32)
    out = np.empty((rows, 32), dtype=np.uint8)
    prepared, _kept = _prepare(parts)
    native.digest_parts(prepared, *_counts(parts, rows), _plainly(native), pointer(out))
    return out


def render_lines(parts: Sequence[Part], rows: int, *, plainly: bool = False) -> Lines:
    """Write each row's joined parts as a line. Numbers are ≥ 0."""
    native = None if plainly else load()
    if native is None:
        lines = [row + b"\n" for row in _rows(parts, rows)]
        return Lines(b"".join(lines), np.cumsum([len(line) for line in lines], dtype=np.int64))
    prepared, _kept = _prepare(parts)
    room = sum(_room(part, rows) for part in parts) + rows
    out, ends = np.empty(room, dtype=np.uint8), np.empty(rows, dtype=np.int64)
    written = native.render_lines(prepared, *_counts(parts, rows), pointer(out), ctypes.c_int64(room), pointer(ends))
    assert 0 <= written <= room
    return Lines(out[:written].tobytes(), ends)


def join_texts(data: bytes, starts: Integers, ends: Integers, *, plainly: bool = False) -> bytes:
    """Return the texts `data[starts[i]:ends[i]]`, LF behind each."""
    native = None if plainly or len(starts) < FEW else load()
    if native is None:
        return b"".join([text + b"\n" for text in _texts(Spans(data, starts, ends), len(starts))])
    if starts.strides != ends.strides:
        starts, ends = np.ascontiguousarray(starts), np.ascontiguousarray(ends)
    out = np.empty(int((ends - starts).sum()) + len(starts), dtype=np.uint8)
    step, rows = ctypes.c_int64(starts.strides[0] // starts.itemsize), ctypes.c_int64(len(starts))
    native.join_texts(data, pointer(starts), pointer(ends), step, rows, pointer(out))
    return out.tobytes()


def number_texts(data: bytes, starts: Integers, ends: Integers, *, plainly: bool = False) -> tuple[Integers, Integers]:
    """Number texts, equal ones alike, in the order in which they first appear.

    Returns where the text of each number stands first, and each text's number.
    """
    native, rows = None if plainly else load(), len(starts)
    if native is None:
        numbers: dict[bytes, int] = {}
        texts = _texts(Spans(data, starts, ends), rows)
        places = np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)
        return np.unique(places, return_index=True)[1], places
    if starts.strides != ends.strides:
        starts, ends = np.ascontiguousarray(starts), np.ascontiguousarray(ends)
    step, size = ctypes.c_int64(starts.strides[0] // 8), 2 << rows.bit_length()
    table = np.full(size, -1, dtype=np.int64)
    firsts, places = np.empty((2, rows), dtype=np.int64)
    arrays = map(pointer, (table, firsts, places))
    count = native.number_texts(
        data, pointer(starts), pointer(ends), step, ctypes.c_int64(rows), ctypes.c_int64(size), *arrays
    )
    return firsts[:count], places


def extend_crc32(data: bytes, before: int = 0, *, plainly: bool = False) -> int:
    """Return the CRC-32 of what `before` is that of, and this data behind it; the same as zlib's."""
    native = None if plainly or len(data) < _CRC_BYTES_MIN else load()
    if native is None or _plainly(native).value:
        return zlib.crc32(data, before)
    whole = len(data) & -_CRC_STEP
    crc: int = native.extend_crc32(ctypes.c_uint32(before), data, ctypes.c_int64(whole))
    return zlib.crc32(memoryview(data)[whole:], crc)


def extend_frontier(frontier: list[bytes], size: int, leaves: Digests) -> list[bytes] | None:
    """Extend a Merkle tree's frontier by leaves; None where nothing is faster than doing it one by one."""
    native = load()
    if native is None:
        return None
    nodes = np.zeros((_FRONTIER_MAX, 32), dtype=np.uint8)
    nodes[: len(frontier)] = np.frombuffer(b"".join(frontier), dtype=np.uint8).reshape(-1, 32)
    below, count = leaves.copy(), ctypes.c_int64(len(leaves))
    native.extend_frontier(pointer(nodes), ctypes.c_uint64(size), pointer(below), count, _plainly(native))
    return [nodes[i].tobytes() for i in range((size + len(leaves)).bit_count())]


def _prepare(parts: Sequence[Part]) -> tuple[ctypes.c_void_p, list[Any]]:
    """Return the parts as C takes them, each a `part` of `native.c`, and what they point into."""
    literals = [part for part in parts if isinstance(part, bytes)]
    pool = b"".join(literals)
    literal_ends = np.array([0, *accumulate(map(len, literals))], dtype=np.int64)
    kept: list[Any] = [pool, literal_ends]
    literal, bases = address(literal_ends), {id(pool): _address_of(pool)}
    rows: list[int] = []
    for part in parts:
        if isinstance(part, bytes):
            rows += (_SPANS, bases[id(pool)], literal, literal + 8, 0)
            literal += 8
        elif isinstance(part, Spans):
            data, starts, ends = part
            if starts.strides != ends.strides:
                starts, ends = np.ascontiguousarray(starts), np.ascontiguousarray(ends)
            kept += (starts, ends)
            base = bases.get(id(data)) or bases.setdefault(id(data), _address_of(data))
            rows += (_SPANS, base, address(starts), address(ends), starts.strides[0] // 8)
        elif part.dtype == np.int64:
            rows += (_NUMBERS, 0, address(part), 0, part.strides[0] // 8)
        else:
            kept.append(np.ascontiguousarray(part))
            rows += (_DIGESTS, address(kept[-1]), 0, 0, 0)
    kept.append(np.array(rows, dtype=np.int64))
    return pointer(kept[-1]), kept


def _address_of(data: bytes) -> int:
    """Return where bytes lie; whoever hands them to C keeps them."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def _room(part: Part, rows: int) -> int:
    """Return how many bytes a part takes at most."""
    if isinstance(part, bytes):
        return len(part) * rows
    if isinstance(part, Spans):
        return int((part.ends - part.starts).sum())
    return rows * (_DIGITS_MAX if part.dtype == np.int64 else _HEX_DIGITS)


def _rows(parts: Sequence[Part], rows: int) -> list[bytes]:
    """Return each row's joined parts."""
    columns = [_texts(part, rows) for part in parts]
    return [b"".join([column[row] for column in columns]) for row in range(rows)]


def _texts(part: Part, rows: int) -> list[bytes]:
    if isinstance(part, bytes):
        return [part] * rows
    if isinstance(part, Spans):
        slices = zip(part.starts.tolist(), part.ends.tolist(), strict=True)
        return [part.data[start:end] for start, end in slices]
    write: Callable[[Any], bytes] = _decimal if part.dtype == np.int64 else _hex
    return [write(one) for one in part]


def _decimal(number: Any) -> bytes:
    return b"%d" % number


def _hex(digest: Any) -> bytes:
    return bytes(digest.tobytes().hex(), "ascii")


@lru_cache
def _plainly(native: ctypes.CDLL) -> ctypes.c_int:
    """Tell the library what it told of the processor: to ask costs as much as a hundred hashes."""
    return ctypes.c_int(native.hashes_plainly())


def _counts(parts: Sequence[Part], rows: int) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    return ctypes.c_int64(len(parts)), ctypes.c_int64(rows)
