"""Many hashes at once, and many lines at once: joined parts, a row each.

    part    bytes that stand in every row · spans of some data · whole numbers · digests, written as hex

Done by `native.c`, or here, row by row.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from events.native import load, pointer

__all__ = [
    "Digests",
    "Lines",
    "Part",
    "Spans",
    "extend_frontier",
    "hash_leaves",
    "hash_parts",
    "join_texts",
    "render_lines",
]

Digests = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
_DIGITS_MAX = 20
# So few rows are hashed here in less time than it takes to call C.
FEW = 8
_HEX_DIGITS = 64
_FRONTIER_MAX = 64
_SPANS, _NUMBERS, _DIGESTS = 0, 1, 2


class Spans(NamedTuple):
    """`data[starts[i]:ends[i]]` in row i."""

    data: bytes
    starts: Integers
    ends: Integers


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
    native = None if plainly else load()
    if native is None:
        return b"".join(text + b"\n" for text in _texts(Spans(data, starts, ends), len(starts)))
    if starts.strides != ends.strides:
        starts, ends = np.ascontiguousarray(starts), np.ascontiguousarray(ends)
    out = np.empty(int((ends - starts).sum()) + len(starts), dtype=np.uint8)
    step, rows = ctypes.c_int64(starts.strides[0] // starts.itemsize), ctypes.c_int64(len(starts))
    native.join_texts(data, pointer(starts), pointer(ends), step, rows, pointer(out))
    return out.tobytes()


def extend_frontier(frontier: list[bytes], size: int, leaves: Digests) -> list[bytes] | None:
    """Extend a Merkle tree's frontier by leaves; None where nothing is faster than doing it one by one."""
    native = load()
    if native is None:
        return None
    nodes = np.zeros((_FRONTIER_MAX, 32), dtype=np.uint8)
    nodes[: len(frontier)] = np.frombuffer(b"".join(frontier), dtype=np.uint8).reshape(-1, 32)
    leaves = np.ascontiguousarray(leaves)
    native.extend_frontier(
        pointer(nodes), ctypes.c_uint64(size), pointer(leaves), ctypes.c_int64(len(leaves)), _plainly(native)
    )
    return [nodes[i].tobytes() for i in range((size + len(leaves)).bit_count())]


class _Part(ctypes.Structure):
    """`part` of `native.c`."""

    _fields_ = (
        ("kind", ctypes.c_int64),
        ("base", ctypes.c_void_p),
        ("starts", ctypes.c_void_p),
        ("ends", ctypes.c_void_p),
        ("step", ctypes.c_int64),
    )


def _prepare(parts: Sequence[Part]) -> tuple[Any, list[Any]]:
    """Return the parts as C takes them, and what they point into."""
    prepared = (_Part * len(parts))()
    kept: list[Any] = []
    for one, part in zip(prepared, parts, strict=True):
        if isinstance(part, bytes):
            span = (ctypes.c_int64 * 2)(0, len(part))
            kept.append(span)
            one.kind, one.base, one.starts = _SPANS, _address_of(part), ctypes.addressof(span)
            one.ends = ctypes.addressof(span) + 8
        elif isinstance(part, Spans):
            starts, ends = part.starts, part.ends
            if starts.strides != ends.strides:
                starts, ends = np.ascontiguousarray(starts), np.ascontiguousarray(ends)
            kept += (starts, ends)
            one.kind, one.base, one.starts, one.ends = _SPANS, _address_of(part.data), pointer(starts), pointer(ends)
            one.step = starts.strides[0] // starts.itemsize
        elif part.dtype == np.int64:
            one.kind, one.starts, one.step = _NUMBERS, pointer(part), part.strides[0] // part.itemsize
        else:
            kept.append(np.ascontiguousarray(part))
            one.kind, one.base = _DIGESTS, pointer(kept[-1])
    return prepared, kept


def _address_of(data: bytes) -> ctypes.c_void_p:
    """Return where bytes lie; whoever hands them to C keeps them."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p)


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
