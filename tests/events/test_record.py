"""Records: batches as bytes and back; and the packer, which knows each line's position beforehand."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from events.columns import split_lines
from events.filelog import FileLog
from events.merkle import leaf_hash
from events.record import (
    HEADER_BYTES_MAX,
    RECORD_BYTES_MAX,
    Basis,
    Bodies,
    Header,
    Record,
    RecordMalformed,
    build_header,
    pack,
    unpack,
)
from tests.strategies import instants, integers

NOON = "2026-10-01T12:00:00.000000Z"
ROOM = RECORD_BYTES_MAX - HEADER_BYTES_MAX
GOOD = b'{"count":1,"recorded_at":"2026-10-01T12:00:00.000000Z","sequence":0}\n{}\n'

numbers = integers(0, 2**53 - 1)
digests = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
bases = st.builds(Basis, log=st.sampled_from(["facts", "ledger/lane-0"]), start=numbers, end=numbers, root=digests)
batches = st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=5)


@st.composite
def records(draw: st.DrawFn) -> Record:
    lines = tuple(draw(batches))
    header = Header(
        sequence=draw(numbers),
        count=len(lines),
        recorded_at=draw(instants),
        network_time=draw(st.none() | instants),
        basis=tuple(draw(st.lists(bases, max_size=3))),
        root=draw(st.none() | digests),
    )
    return Record(header, lines)


@given(records())
def test_what_is_packed_is_unpacked_alike(record: Record) -> None:
    assert unpack(pack(record)) == record


@given(records())
def test_a_record_ends_behind_its_header_and_its_events(record: Record) -> None:
    leaves = list(record.leaves())
    sequences = [sequence for sequence, _ in record.events()]

    assert record.end - record.sequence == len(leaves) == 1 + len(record.lines)
    assert sequences == list(range(record.sequence + 1, record.end))


@given(records(), digests)
def test_the_root_enters_no_leaf_and_every_other_member_does(record: Record, other: str) -> None:
    header = record.header
    leaves = [leaf.tobytes() for leaf in record.leaves()]

    renamed = Record(Header(**{name: getattr(header, name) for name in header.__struct_fields__[:-1]}), record.lines)
    later = Record(build_header(header.sequence + 1, record.lines, header.recorded_at), record.lines)

    assert header.__struct_fields__[-1] == "root"
    assert [leaf.tobytes() for leaf in renamed.leaves()] == leaves
    assert later.leaves()[0].tobytes() != leaves[0]
    assert leaves[1:] == [leaf_hash(line) for line in record.lines]


MALFORMED = {
    "nothing": b"",
    "only a line end": b"\n",
    "no last line end": GOOD[:-1],
    "header alone, without its line end": GOOD.split(b"\n")[0],
    "header that is no JSON": b"hello\n",
    "header that is a list": b"[]\n",
    "header in UTF-16": GOOD.split(b"\n")[0].decode().encode("utf-16") + b"\n",
    "header with a stray byte": GOOD.replace(b"count", b"c\xffunt"),
    "one event too few": GOOD[:-3],
    "one event too many": GOOD + b"{}\n",
    "count as text": GOOD.replace(b":1,", b':"1",'),
    "count negative": GOOD.replace(b":1,", b":-1,"),
    "count with a fraction": GOOD.replace(b":1,", b":1.0,"),
    "no sequence": GOOD.replace(b',"sequence":0', b""),
    "sequence negative": GOOD.replace(b'"sequence":0', b'"sequence":-1'),
    "unknown member": GOOD.replace(b'"sequence"', b'"producer":"p","sequence"'),
    "member doubled": GOOD.replace(b'"sequence"', b'"sequence":0,"sequence"'),
    "white space": GOOD.replace(b":1,", b": 1,"),
    "unsorted": b'{"recorded_at":"2026-10-01T12:00:00.000000Z","count":1,"sequence":0}\n{}\n',
    "member that has no value": GOOD.replace(b'"sequence":0', b'"root":null,"sequence":0'),
    "time without decimals": GOOD.replace(b".000000Z", b"Z"),
    "root of other case": GOOD.replace(b'"sequence"', b'"root":"' + b"AA" * 32 + b'","sequence"'),
    "basis of unknown shape": GOOD.replace(b'{"count"', b'{"basis":[{"log":"facts"}],"count"'),
    "basis nested too deep": GOOD.replace(b'{"count"', b'{"basis":' + b"[" * 99_999 + b"]" * 99_999 + b',"count"'),
}


def test_the_record_that_the_malformed_ones_differ_from_is_good() -> None:
    assert unpack(GOOD) == Record(build_header(0, [b"{}"], NOON), (b"{}",))


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_record_is_refused(data: bytes) -> None:
    with pytest.raises(RecordMalformed):
        unpack(data)


@given(st.binary(max_size=120))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        record = unpack(data)
    except RecordMalformed:
        return

    assert pack(record) == data


def test_a_record_beyond_the_limit_is_not_written() -> None:
    line = b"x" * RECORD_BYTES_MAX

    with pytest.raises(AssertionError, match="record of"):
        pack(Record(build_header(0, [line], NOON), (line,)))


# Lengths around the room that a record leaves, so that few lines fill it.
lengths = st.lists(
    st.sampled_from([0, 1, 2, 1_000, ROOM // 3, ROOM // 2 - 1, ROOM // 2, ROOM - 2, ROOM - 1]), max_size=9
)


def bodies_of(lines: list[bytes]) -> list[bytes]:
    bodies = Bodies(0)
    data = b"".join(line + b"\n" for line in lines)
    bodies.add_many(data, *split_lines(data))
    return list(bodies.join())


@settings(max_examples=40)
@given(lengths, numbers)
def test_packed_lines_keep_their_order_and_every_record_its_limit(sizes: list[int], start: int) -> None:
    lines = [b"%d" % (number % 10) * size for number, size in enumerate(sizes)]

    bodies = bodies_of(lines)

    assert b"".join(bodies) == b"".join(line + b"\n" for line in lines)
    for body in bodies:
        assert body
        assert len(pack(Record(build_header(start, body, NOON, NOON), body))) <= RECORD_BYTES_MAX


@settings(max_examples=40)
@given(lengths)
def test_a_record_is_begun_only_where_the_last_has_no_room(sizes: list[int]) -> None:
    for body, following in pairwise(bodies_of([b"x" * size for size in sizes])):
        assert len(body) + following.index(b"\n") + 1 > ROOM


@settings(max_examples=15)
@given(before=st.integers(0, 2), sizes=lengths)
@example(before=0, sizes=[ROOM // 2 - 1, ROOM // 2])  # a byte too much
@example(before=1, sizes=[ROOM // 2 - 1, ROOM // 2 - 1])  # exactly full
def test_the_position_foretold_is_the_position_in_the_log(
    before: int, sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = FileLog(tmp_path_factory.mktemp("log"), "facts", writable=True)
    for _ in range(before):
        log.append([b"{}", b"{}"], NOON)
    bodies = Bodies(log.end())
    lines = [(b"%d" % number).ljust(size, b"x") for number, size in enumerate(sizes)]

    # One by one and many at once.
    foretold = [(bodies.add(line), line) for line in lines[: len(lines) // 2]]
    data = b"".join(line + b"\n" for line in lines[len(lines) // 2 :])
    positions = bodies.add_many(data, *split_lines(data)).tolist()
    foretold += zip(positions, lines[len(lines) // 2 :], strict=True)
    start = log.end()
    for body, hashes in zip(bodies.join(), bodies.hashes(), strict=True):
        assert hashes.tobytes() == b"".join(map(leaf_hash, body.split(b"\n")[:-1]))
        log.append(body, NOON, hashes=hashes)

    assert len(bodies) == len(list(bodies.join()))
    assert [pair for record in log.read(start) for pair in record.events()] == foretold
    log.close()


def test_a_header_with_a_basis_of_twenty_logs_fits_beside_a_full_batch(tmp_path: Path) -> None:
    basis = tuple(Basis(log=f"ledger/lane-{n}", start=2**53 - 1, end=2**53 - 1, root="f" * 64) for n in range(20))
    (batch,) = bodies_of([b"x" * (ROOM - 1)])
    log = FileLog(tmp_path, "hub", writable=True)

    record = log.append(batch, NOON, NOON, basis)

    assert len(pack(record)) <= RECORD_BYTES_MAX
    log.close()
