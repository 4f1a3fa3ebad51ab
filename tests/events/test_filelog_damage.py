"""What a damaged file says, and what is never cut: every byte of a small log is tried."""

from collections.abc import Callable
from pathlib import Path

import pytest

from events.codec import encode_json
from events.filelog import FRAME_BYTES, FileLog, frame
from events.log import LogDamaged
from events.record import Record, pack
from tests.events.log_contract import NOON

BATCHES = [[b'{"n":1}'], [b'{"n":2}', b'{"n":3}'], [b'{"n":4}']]
Written = list[Record]


def write(folder: Path, segment_bytes_max: int = 1 << 30) -> Written:
    """Write a log of three records and close it."""
    log = FileLog(folder, "facts", writable=True, segment_bytes_max=segment_bytes_max)
    records = [log.append(batch, NOON) for batch in BATCHES]
    log.close()
    return records


def starts(records: Written) -> list[int]:
    """Return the byte at which each record begins in a log of one file, and that behind the last."""
    found = [0]
    for record in records:
        found.append(found[-1] + FRAME_BYTES + len(pack(record)))
    return found


def refused(folder: Path) -> LogDamaged:
    """Open for writing; expect to be refused, and that no byte changes by that."""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(LogDamaged) as damaged:
        FileLog(folder, "facts", writable=True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    return damaged.value


@pytest.mark.parametrize("flip", [0x01, 0x80])
def test_a_flip_of_any_byte_is_found_and_cuts_nothing(flip: int, tmp_path: Path) -> None:
    records = write(tmp_path)
    (path,) = tmp_path.iterdir()
    data, bounds = path.read_bytes(), starts(records)

    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
        damaged = refused(tmp_path)
        number = max(n for n in range(3) if bounds[n] <= place)
        assert (damaged.log, damaged.place) == ("facts", path.name)
        assert (damaged.offset, damaged.sequence) == (bounds[number], records[number].sequence), place
        with pytest.raises(LogDamaged):
            list(FileLog(tmp_path, "facts").read())


def test_a_torn_tail_is_cut_exactly_wherever_it_is_torn(tmp_path: Path) -> None:
    records = write(tmp_path)
    (path,) = tmp_path.iterdir()
    data, kept = path.read_bytes(), starts(records)[2]

    for end in range(kept, len(data)):
        path.write_bytes(data[:end])
        assert list(FileLog(tmp_path, "facts").read()) == records[:2]
        assert path.stat().st_size == end

        log = FileLog(tmp_path, "facts", writable=True)
        assert log.cut_bytes == end - kept
        assert path.read_bytes() == data[:kept]
        assert log.append(BATCHES[2], NOON) == records[2]
        log.close()
        assert path.read_bytes() == data


def test_a_torn_first_record_of_a_new_file_is_cut_exactly(tmp_path: Path) -> None:
    records = write(tmp_path, segment_bytes_max=1)
    path = sorted(tmp_path.iterdir())[-1]
    data = path.read_bytes()

    for end in range(len(data)):
        path.write_bytes(data[:end])
        log = FileLog(tmp_path, "facts", writable=True, segment_bytes_max=1)
        assert log.cut_bytes == end
        assert log.append(BATCHES[2], NOON) == records[2]
        log.close()
        assert path.read_bytes() == data


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_file_before_another_is_found(missing: int, tmp_path: Path) -> None:
    records = write(tmp_path, segment_bytes_max=1)
    paths = sorted(tmp_path.iterdir())
    paths[missing].unlink()

    damaged = refused(tmp_path)

    assert (damaged.place, damaged.offset) == (paths[missing + 1].name, 0)
    assert damaged.sequence == records[missing].sequence
    assert "file begins at" in damaged.fault


def test_a_file_before_another_may_end_nowhere_but_behind_its_last_record(tmp_path: Path) -> None:
    write(tmp_path, segment_bytes_max=1)
    _, path, following = sorted(tmp_path.iterdir())
    data = path.read_bytes()

    for end in range(len(data)):
        path.write_bytes(data[:end])
        damaged = refused(tmp_path)
        place = path if end else following
        assert (damaged.place, damaged.offset, damaged.sequence) == (place.name, 0, 2)


@pytest.mark.parametrize("zeros", [FRAME_BYTES, 200, 4_096])
def test_a_tail_of_zeros_is_damage_and_is_not_cut(zeros: int, tmp_path: Path) -> None:
    records = write(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + b"\0" * zeros)

    damaged = refused(tmp_path)

    assert (damaged.offset, damaged.sequence) == (starts(records)[3], records[2].end)


def test_a_tail_of_zeros_shorter_than_a_frame_line_is_a_torn_one(tmp_path: Path) -> None:
    write(tmp_path)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    path.write_bytes(data + b"\0" * (FRAME_BYTES - 1))

    log = FileLog(tmp_path, "facts", writable=True)

    assert (log.cut_bytes, path.read_bytes()) == (FRAME_BYTES - 1, data)
    log.close()


def test_a_record_of_zeros_behind_its_frame_line_is_damage(tmp_path: Path) -> None:
    records = write(tmp_path)
    (path,) = tmp_path.iterdir()
    start = starts(records)[2] + FRAME_BYTES
    path.write_bytes(path.read_bytes()[:start] + b"\0" * len(pack(records[2])))

    assert refused(tmp_path).fault == "crc32 differs"


def _forge(data: bytes) -> bytes:
    """Frame bytes with sums that are right, as one would who knows the format."""
    return frame(data) + data


FORGED: dict[str, Callable[[Written], bytes]] = {
    "an event changed": lambda r: pack(r[1]).replace(b'{"n":2}', b'{"n":9}'),
    "events swapped": lambda r: pack(Record(r[1].header, r[1].lines[::-1])),
    "an event left out": lambda r: pack(Record(r[1].header, r[1].lines[:1])),
    "a header without root": lambda r: pack(r[1]).replace(b'"root":"%b",' % str(r[1].header.root).encode(), b""),
    "a time changed": lambda r: pack(r[1]).replace(NOON.encode(), b"2026-10-01T12:00:00.000001Z"),
    "a record twice": lambda r: pack(r[0]),
    "a record left out": lambda r: pack(r[2]),
    "an empty record": lambda _: b"",
    "a header that is not canonical": lambda r: pack(r[1]).replace(b'"count":', b'"count": '),
    "no header": lambda _: encode_json([1]) + b"\n",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_record_with_right_sums_is_found_by_root_or_sequence(
    forge: Callable[[Written], bytes], tmp_path: Path
) -> None:
    records = write(tmp_path)
    (path,) = tmp_path.iterdir()
    bounds = starts(records)
    data = path.read_bytes()
    path.write_bytes(data[: bounds[1]] + _forge(forge(records)) + data[bounds[2] :])

    damaged = refused(tmp_path)

    assert (damaged.offset, damaged.sequence) == (bounds[1], records[1].sequence)
    with pytest.raises(LogDamaged):
        FileLog(tmp_path, "facts").root()
    with pytest.raises(LogDamaged):
        FileLog(tmp_path, "facts").end()


def test_a_root_that_differs_at_the_start_of_a_file_is_placed_there(tmp_path: Path) -> None:
    records = write(tmp_path, segment_bytes_max=1)
    path = sorted(tmp_path.iterdir())[1]
    path.write_bytes(_forge(FORGED["an event changed"](records)))

    damaged = refused(tmp_path)

    assert damaged.fault == "root differs"
    assert (damaged.place, damaged.offset, damaged.sequence) == (path.name, 0, records[1].sequence)


def test_damage_is_told_in_one_sentence_with_its_place(tmp_path: Path) -> None:
    records = write(tmp_path)
    (path,) = tmp_path.iterdir()
    data, start = path.read_bytes(), starts(records)[1]
    path.write_bytes(data[:-3] + b"?" + data[-2:])

    damaged = refused(tmp_path)

    assert start < damaged.offset == starts(records)[2]
    assert str(damaged) == f"facts: record at sequence 5 ({path.name}, byte {damaged.offset}): crc32 differs"


def test_a_reader_yields_what_stands_before_the_damage(tmp_path: Path) -> None:
    records = write(tmp_path)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    path.write_bytes(data[:-3] + b"?" + data[-2:])
    reading = FileLog(tmp_path, "facts").read()

    assert [next(reading), next(reading)] == records[:2]
    with pytest.raises(LogDamaged):
        next(reading)
