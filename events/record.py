"""A record: one batch of events as bytes, the unit of durability and of a Kafka message.

    record := header line, LF, then per event: its line, LF

The header is canonical JSON. Its leaf is the header *without* `root`, the leaves of the events follow; `sequence`
is the index of the header's leaf in the log's tree and `root` the tree's root at the record's end. Holds:

    next record's sequence = sequence + 1 + count        (a position is a tree size)
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby

import msgspec
import numpy as np

from events.codec import encode_json
from events.columns import Batch, Integers, count_lines, read_columns, split_lines
from events.event import Count, Data, Digest, Instant, Key
from events.hashing import Digests, Spans, hash_leaves, join_texts
from events.merkle import leaf_hash

__all__ = [
    "RECORD_BYTES_MAX",
    "Basis",
    "Bodies",
    "Header",
    "Record",
    "RecordMalformed",
    "build_header",
    "pack",
    "pack_header",
    "part_lines",
    "unpack",
    "unpack_parts",
]


# What one Kafka message may hold by default, counted before compression; the file log keeps to it too.
RECORD_BYTES_MAX = 1_048_576
# A header with a basis of some hundred logs: the hub of the most lanes names less.
HEADER_BYTES_MAX = 16_384
_BODY_BYTES_MAX = RECORD_BYTES_MAX - HEADER_BYTES_MAX


class RecordMalformed(ValueError):
    """The bytes are no record; the message says what is wrong."""


class Basis(Data, frozen=True):
    """The part [start, end) of another log that the record rests on, and that log's root at `end`."""

    log: Key
    start: Count
    end: Count
    root: Digest


class Header(Data, frozen=True):
    """What a record says of itself. `recorded_at` is evidence only.

    `network_time` (ledger logs) is the settlement time at which the record's decisions were taken.
    """

    sequence: Count
    count: Count
    recorded_at: Instant
    network_time: Instant | None = None
    basis: tuple[Basis, ...] = ()
    root: Digest | None = None


class Record:
    """A header and the lines of its events: `data`, of which `data[starts[i]:ends[i]]` is line i without its LF."""

    def __init__(self, header: Header, lines: Sequence[bytes] | bytes, hashes: Digests | None = None) -> None:
        """Take lines, or their bytes, each line with its LF; `hashes`: their leaf hashes, where they are known."""
        self.header = header
        self._hashes = hashes
        self.data = lines if isinstance(lines, bytes) else b"".join([line + b"\n" for line in lines])
        assert isinstance(lines, bytes) or count_lines(self.data) == len(lines), "a line holds a line end"

    def __eq__(self, other: object) -> bool:
        """Compare what is written of two records."""
        return isinstance(other, Record) and (self.header, self.data) == (other.header, other.data)

    def __hash__(self) -> int:
        """Hash the header, which binds the rest."""
        return hash(self.header)

    @cached_property
    def spans(self) -> tuple[Integers, Integers]:
        """Where each line starts and ends within `data`."""
        return split_lines(self.data)

    @cached_property
    def lines(self) -> tuple[bytes, ...]:
        """The events' lines."""
        return tuple(self.data.split(b"\n")[:-1])

    def line(self, number: int) -> bytes:
        """Return one of the lines, without taking all apart."""
        starts, ends = self.spans
        return self.data[int(starts[number]) : int(ends[number])]

    @cached_property
    def batch(self) -> Batch:
        """The events as columns."""
        return read_columns(self.data, *self.spans)

    @property
    def sequence(self) -> int:
        """The index of the header's leaf: where the record begins."""
        return self.header.sequence

    @property
    def end(self) -> int:
        """The position behind the record."""
        return self.header.sequence + 1 + self.header.count

    def leaves(self) -> Digests:
        """Return the leaf hashes, 32 bytes a row: the header's, then one per event."""
        header = leaf_hash(encode_json(msgspec.structs.replace(self.header, root=None)))
        hashes = hash_leaves(self.data, *self.spans) if self._hashes is None else self._hashes
        return np.concatenate((np.frombuffer(header, dtype=np.uint8)[None], hashes))

    def events(self) -> Iterator[tuple[int, bytes]]:
        """Yield each event's sequence and line."""
        return enumerate(self.lines, self.header.sequence + 1)


class Bodies:
    """Lines distributed over records of at most `RECORD_BYTES_MAX`, and the position that each will have in the log.

    position of a line = where the next record begins + 1 for each header + the lines before it
    """

    def __init__(self, position: int) -> None:
        """Begin where the log's next record will."""
        self._position = position
        # Many lines of some bytes, or a line by itself.
        self._parts: list[list[Spans | bytes]] = []
        self._left = 0

    def __len__(self) -> int:
        """Count the records."""
        return len(self._parts)

    def add(self, line: bytes) -> int:
        """Take a line without its end; return its position."""
        size = len(line) + 1
        if size > self._left:
            self._begin()
        self._put(line, 1, size)
        return self._position - 1

    def add_many(self, data: bytes, starts: Integers, ends: Integers) -> Integers:
        """Take lines `data[starts[i]:ends[i]]`, without their ends; return their positions."""
        positions = np.empty(len(ends), dtype=np.int64)
        # Where each will end among these, its LF included.
        sums = np.cumsum(ends - starts + 1)
        first = before = 0
        while first < len(ends):
            last = int(sums.searchsorted(before + self._left, side="right"))
            if last == first:
                self._begin()
                last = max(first + 1, int(sums.searchsorted(before + self._left, side="right")))
            positions[first:last] = np.arange(self._position, self._position + last - first)
            behind = int(sums[last - 1])
            self._put(Spans(data, starts[first:last], ends[first:last]), last - first, behind - before)
            first, before = last, behind
        return positions

    def join(self) -> Iterator[bytes]:
        """Yield each record's body, in order."""
        for parts in self._parts:
            yield b"".join([join_texts(*part) for part in _merge(parts)])

    def hashes(self) -> Iterator[Digests]:
        """Yield the leaf hashes of each record's lines, in order."""
        for parts in self._parts:
            yield np.concatenate([hash_leaves(*part) for part in _merge(parts)])

    def _begin(self) -> None:
        """Begin another record, whose header takes a position too."""
        self._parts.append([])
        self._left = _BODY_BYTES_MAX
        self._position += 1

    def _put(self, part: Spans | bytes, count: int, size: int) -> None:
        self._parts[-1].append(part)
        self._left -= size
        self._position += count


def _merge(parts: list[Spans | bytes]) -> Iterator[Spans]:
    """Make one part of those that stand side by side and are of the same data, or lines by themselves."""
    for data, alike in groupby(parts, key=lambda part: id(part.data) if isinstance(part, Spans) else None):
        if data is None:
            yield Spans.of([part for part in alike if isinstance(part, bytes)])
        else:
            same = [part for part in alike if isinstance(part, Spans)]
            yield Spans(same[0].data, *(np.concatenate([part[side] for part in same]) for side in (1, 2)))


def part_lines(data: bytes) -> list[bytes]:
    """Part lines into the bodies of as few records as hold them."""
    bodies, start = [], 0
    while len(data) - start > _BODY_BYTES_MAX:
        end = data.rfind(b"\n", start, start + _BODY_BYTES_MAX) + 1
        assert end > start, f"a line of more than {_BODY_BYTES_MAX} bytes"
        bodies.append(data[start:end])
        start = end
    return [*bodies, data[start:]]


def build_header(
    sequence: int,
    lines: Sequence[bytes] | bytes,
    recorded_at: str,
    network_time: str | None = None,
    basis: tuple[Basis, ...] = (),
    count: int | None = None,
) -> Header:
    """Build the header of a batch, still without its root; `count` of its lines, where that is known."""
    if count is None:
        count = count_lines(lines) if isinstance(lines, bytes) else len(lines)
    return Header(
        sequence=sequence,
        count=count,
        recorded_at=recorded_at,
        network_time=network_time,
        basis=basis,
    )


_header_decoder = msgspec.json.Decoder(Header)


def pack_header(record: Record) -> bytes:
    """Write what stands before the lines of a record; both are at most `RECORD_BYTES_MAX`."""
    head = encode_json(record.header) + b"\n"
    size = len(head) + len(record.data)
    assert size <= RECORD_BYTES_MAX, f"record of {size} bytes"
    return head


def pack(record: Record) -> bytes:
    """Write a record as bytes, at most `RECORD_BYTES_MAX`."""
    return pack_header(record) + record.data


def unpack(data: bytes) -> Record:
    """Read a record from its bytes. Raises: RecordMalformed."""
    first, end, rest = data.partition(b"\n")
    return unpack_parts(first + end, rest)


def unpack_parts(head: bytes, rest: bytes) -> Record:
    """As `unpack`, of bytes that were cut behind the first LF: what is large is not copied. Raises: RecordMalformed."""
    if not (rest or head).endswith(b"\n"):
        raise RecordMalformed("the last line does not end")
    first = head[:-1]
    try:
        header = _header_decoder.decode(first)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordMalformed(f"header: {error}") from error
    if encode_json(header) != first:
        raise RecordMalformed("header is not canonical")
    record = Record(header, rest)
    count = len(record.spans[0])
    if header.count != count:
        raise RecordMalformed(f"header counts {header.count} events, found {count}")
    return record
