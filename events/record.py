"""A record: one batch of events as bytes, the unit of durability and of a Kafka message.

    record := header line, LF, then per event: its line, LF

The header is canonical JSON. Its leaf is the header *without* `root`, the leaves of the events follow; `sequence`
is the index of the header's leaf in the log's tree and `root` the tree's root at the record's end. Holds:

    next record's sequence = sequence + 1 + count        (a position is a tree size)
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from events.codec import encode_json
from events.event import Count, Data, Digest, Instant, Key
from events.merkle import leaf_hash

__all__ = [
    "RECORD_BYTES_MAX",
    "Basis",
    "Header",
    "Packer",
    "Record",
    "RecordMalformed",
    "build_header",
    "pack",
    "pack_lines",
    "unpack",
]


# What one Kafka message may hold by default, counted before compression; the file log keeps to it too.
RECORD_BYTES_MAX = 1_048_576
# A header with a basis of some hundred logs: the hub of the most lanes names less.
HEADER_BYTES_MAX = 16_384


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


class Record(NamedTuple):
    """A header and the lines of its events."""

    header: Header
    lines: tuple[bytes, ...]

    @property
    def sequence(self) -> int:
        """The index of the header's leaf: where the record begins."""
        return self.header.sequence

    @property
    def end(self) -> int:
        """The position behind the record."""
        return self.header.sequence + 1 + self.header.count

    def leaves(self) -> Iterator[bytes]:
        """Yield the leaf hashes: the header's, then one per event."""
        yield leaf_hash(encode_json(msgspec.structs.replace(self.header, root=None)))
        for line in self.lines:
            yield leaf_hash(line)

    def events(self) -> Iterator[tuple[int, bytes]]:
        """Yield each event's sequence and line."""
        return enumerate(self.lines, self.header.sequence + 1)


class Packer:
    """Distributes lines over records of at most `RECORD_BYTES_MAX`, and tells each line's position beforehand."""

    def __init__(self, sequence: int) -> None:
        """Begin where the log's next record will."""
        self.batches: list[list[bytes]] = []
        self._position = sequence
        self._bytes = RECORD_BYTES_MAX

    def add(self, line: bytes) -> int:
        """Put a line into the last record, or into a new one; return its position."""
        position = self.next_position(line)
        if self._bytes + len(line) + 1 > RECORD_BYTES_MAX - HEADER_BYTES_MAX:
            self.batches.append([])
            self._bytes = 0
        self.batches[-1].append(line)
        self._bytes += len(line) + 1
        self._position = position + 1
        return position

    def next_position(self, line: bytes) -> int:
        """Return the position that `add` would give to a line."""
        return self._position + (self._bytes + len(line) + 1 > RECORD_BYTES_MAX - HEADER_BYTES_MAX)


def pack_lines(lines: Iterable[bytes]) -> list[list[bytes]]:
    """Distribute lines over records, in order."""
    packer = Packer(0)
    for line in lines:
        packer.add(line)
    return packer.batches


def build_header(
    sequence: int,
    lines: Sequence[bytes],
    recorded_at: str,
    network_time: str | None = None,
    basis: tuple[Basis, ...] = (),
) -> Header:
    """Build the header of a batch, still without its root."""
    return Header(
        sequence=sequence,
        count=len(lines),
        recorded_at=recorded_at,
        network_time=network_time,
        basis=basis,
    )


_header_decoder = msgspec.json.Decoder(Header)


def pack(record: Record) -> bytes:
    """Write a record as bytes, at most `RECORD_BYTES_MAX`."""
    data = b"\n".join((encode_json(record.header), *record.lines, b""))
    assert len(data) <= RECORD_BYTES_MAX, f"record of {len(data)} bytes"
    assert data.count(b"\n") == 1 + len(record.lines), "a line holds a line end"
    return data


def unpack(data: bytes) -> Record:
    """Read a record from its bytes. Raises: RecordMalformed."""
    first, *lines = data.split(b"\n")
    if not lines or lines.pop() != b"":
        raise RecordMalformed("the last line does not end")
    try:
        header = _header_decoder.decode(first)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordMalformed(f"header: {error}") from error
    if encode_json(header) != first:
        raise RecordMalformed("header is not canonical")
    if header.count != len(lines):
        raise RecordMalformed(f"header counts {header.count} events, found {len(lines)}")
    return Record(header, tuple(lines))
