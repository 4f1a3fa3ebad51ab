"""Seals full files of a ledger log: checks their bytes against the log's roots, and writes them as segments.

    segment = f(bytes of the file, segments before it)       the same bytes, whenever it is made

Files are sealed in order, since each segment begins with the tree and with the sums of the one before it.
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from events.columns import Integers
from events.filelog import FileLog
from events.instant import parse_instant
from events.log import LogDamaged
from events.merkle import Tree
from events.record import Record
from ledger.sums import Limbs
from ledger.vectors import Names
from projections.batch import Batch
from projections.segments import (
    REACHED_ROWS,
    SUM_BYTES,
    Header,
    Segment,
    SegmentUnusable,
    hash_name,
    join_key,
    write_segment,
)

__all__ = ["Sealed", "find_differing", "find_segments", "open_segment", "seal", "segment_path", "sums_before"]

_LIMB = 31
_LOW = 2**_LIMB - 1
# The high limb of 2^63.
_HIGH_END = 2**32
_EVENTS_END = 2**32
# So many events are held as columns at once.
_BATCH_EVENTS = 8_192
_READ_BYTES = 1_048_576
NO_TIME = -1


class Sealed(NamedTuple):
    """A segment as it is now; `made` says why it was made, and is empty where it was there and is sound.

    `differed`: it seemed sound, and said something else than its log.
    """

    path: Path
    start: int
    end: int
    made: str
    differed: bool = False


class _Rows(NamedTuple):
    """Postings by side and event, keyed side × 2^32 + event; what is 2^63 or more is 0 in `amounts`."""

    keys: Integers
    amounts: Integers
    large: dict[int, int]


def segment_path(folder: Path, log: str, file: Path) -> Path:
    """Return where the segment of a log's file is kept."""
    return folder / log / f"{file.stem}.seg"


def seal(
    log: FileLog,
    folder: Path,
    *,
    unfinished: bool = False,
    anew: bool = False,
    is_over: Callable[[], bool] = lambda: False,
) -> Iterator[Sealed]:
    """Seal a log's full files; yield each segment. `unfinished`: the last file too, as far as it goes.

    What is there and sound is kept; with `anew` it is derived again and compared. Where `is_over`, which is asked after
    each batch, the segment at hand is given up and no more are made. Raises: LogDamaged, LedgerInvariantBroken.
    """
    files = log.files() if unfinished else log.files()[:-1]
    before: list[Segment] = []
    for file in files:
        path = segment_path(folder, log.name, file)
        fault = _find_fault(log, file, path, before)
        former = path.read_bytes() if anew and not fault else None
        if (anew or fault) and not _build(log, file, path, before, is_over):
            break
        before.append(open_segment(log, file, path, before))
        differed = former is not None and former != path.read_bytes()
        yield Sealed(path, before[-1].start, before[-1].end, "differed from its log" if differed else fault, differed)
    known = {segment_path(folder, log.name, file) for file in log.files()}
    for path in sorted((folder / log.name).glob("*.seg")):
        if path not in known:
            path.unlink()


def find_differing(log: FileLog, segments: Iterable[Segment], folder: Path) -> Iterator[Segment]:
    """Derive segments again, in another folder; yield those that the log does not lead to. Raises: LogDamaged."""
    before: list[Segment] = []
    for segment, file in zip(segments, log.files(), strict=False):
        path = segment_path(folder, log.name, file)
        _build(log, file, path, before, end=segment.end)
        if path.read_bytes() != segment.path.read_bytes():
            yield segment
        before.append(Segment(path))


def find_segments(log: FileLog, folder: Path) -> tuple[list[Segment], list[str]]:
    """Open the sound segments from the log's beginning on; name what breaks off their row."""
    found: list[Segment] = []
    files = log.files()
    paths = [segment_path(folder, log.name, file) for file in files]
    faults = [
        f"segment {log.name}/{path.name}: the log has no such file"
        for path in sorted((folder / log.name).glob("*.seg"))
        if path not in paths
    ]
    for number, (file, path) in enumerate(zip(files, paths, strict=True)):
        try:
            found.append(open_segment(log, file, path, found))
        except SegmentUnusable as unusable:
            if path.exists() or any(later.exists() for later in paths[number:]):
                faults.append(str(unusable))
            break
        if found[-1].header.source_bytes < file.stat().st_size:
            break
    return found, faults


def open_segment(log: FileLog, file: Path, path: Path, before: list[Segment]) -> Segment:
    """Open a segment; hold it against the one before it and the log's record at its end. Raises: SegmentUnusable."""
    segment = Segment(path)
    header = segment.header
    start, root = (before[-1].end, before[-1].header.end_root) if before else (0, Tree().root().hex())
    if (header.log, header.start, header.start_root) != (log.name, start, root):
        raise SegmentUnusable(path, f"does not go on from {log.name}:{start}")
    sequences, offsets = segment.array("record_ends"), segment.array("record_offsets")
    last = int(sequences[-2]) if len(sequences) > 1 else start
    try:
        record = log.read_at(file, int(offsets[-1]), last)
    except LogDamaged:
        record = None
    if record is None or (record.end, record.header.root) != (header.end, header.end_root):
        raise SegmentUnusable(path, f"the log holds something else before {log.name}:{header.end}")
    return segment


def _find_fault(log: FileLog, file: Path, path: Path, before: list[Segment]) -> str:
    """Say why the segment of a file must be made; empty where it is there and sound."""
    try:
        segment = open_segment(log, file, path, before)
        segment.check()
    except SegmentUnusable as unusable:
        return unusable.fault
    grown = segment.header.source_bytes < file.stat().st_size and _grown(log, file, segment)
    return "its file has grown" if grown else ""


def _grown(log: FileLog, file: Path, segment: Segment) -> bool:
    """Tell whether a whole record lies behind the segment."""
    return log.read_at(file, segment.header.source_bytes, segment.end) is not None


# --- building ---


def _build(
    log: FileLog,
    file: Path,
    path: Path,
    before: list[Segment],
    is_over: Callable[[], bool] = lambda: False,
    end: int | None = None,
) -> bool:
    """Write the segment of a file, up to `end`; False where the file holds no whole record, or it was given up."""
    start = before[-1].end if before else 0
    tree = Tree(start, [bytes.fromhex(node) for node in before[-1].header.frontier]) if before else Tree()
    start_root = tree.root().hex()
    assert not before or start_root == before[-1].header.end_root
    names, parts = Names(), list[_Rows]()
    ends, offsets, times = [], [0], []
    for records in _read_checked(log, file, tree, offsets, end):
        if is_over():
            return False
        batch = Batch(log.name, records)
        parts.append(_rows(batch, names, start))
        ends += [record.end for record in records]
        times += [_time(record) for record in records]
    if not ends:
        return False
    assert tree.size - start < _EVENTS_END
    rows, keys = _merge(parts, [join_key(key) for key in names])
    columns = {
        **_row_columns(rows, len(keys)),
        **_name_columns(keys, sums_before(before, keys)),
        "record_ends": np.array(ends, dtype=np.int64),
        "record_offsets": np.array(offsets[:-1], dtype=np.int64),
        "record_times": np.array(times, dtype=np.int64),
    }
    header = Header(
        log=log.name,
        start=start,
        end=tree.size,
        start_root=start_root,
        end_root=tree.root().hex(),
        frontier=tuple(node.hex() for node in tree.frontier()),
        source_bytes=offsets[-1],
        source_sha256=_digest_of(file, offsets[-1]),
        events=tree.size - start - len(ends),
        reached_rows=REACHED_ROWS,
        blocks={},
        body_bytes=0,
    )
    write_segment(path, header, columns)
    return True


def _read_checked(log: FileLog, file: Path, tree: Tree, offsets: list[int], end: int | None) -> Iterator[list[Record]]:
    """Yield a file's records up to `end` some at a time, each root compared; `offsets` gets the byte behind each."""
    records: list[Record] = []
    count = 0
    for record, behind in log.read_file(file):
        if end is not None and record.end > end:
            break
        tree.extend(record.leaves())
        if tree.root().hex() != record.header.root:
            raise LogDamaged(log.name, file.name, offsets[-1], record.sequence, "root differs")
        offsets.append(behind)
        records.append(record)
        count += record.header.count
        if count >= _BATCH_EVENTS:
            yield records
            records, count = [], 0
    if records:
        yield records


def _rows(batch: Batch, names: Names, start: int) -> _Rows:
    """Return a batch's postings in the order of their keys; those of the same key are added up."""
    moves = batch.moves(names)
    credited, debited = (limbs.low + limbs.high > 0 for limbs in (moves.credits, moves.debits))
    assert (credited != debited).all()
    keys = (moves.accounts * 2 + credited) * _EVENTS_END + batch.sequences[moves.lines] - start
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    keys = keys[order][starts]
    amounts = Limbs(*(np.where(credited, *pair) for pair in zip(moves.credits, moves.debits, strict=True)))
    low, high = amounts.pick(order).sum_groups(starts)
    large = np.flatnonzero(high >= _HIGH_END)
    above = dict(zip(keys[large].tolist(), Limbs(low[large], high[large]).ints(), strict=True))
    low[large] = high[large] = 0
    return _Rows(keys, (high.astype(np.int64) << _LIMB) + low.astype(np.int64), above)


def _merge(parts: list[_Rows], names: list[bytes]) -> tuple[_Rows, list[bytes]]:
    """Join the rows of all batches; number the accounts by their first event, and by name where that is the same."""
    keys = np.concatenate([part.keys for part in parts])
    accounts, events = keys // (2 * _EVENTS_END), keys % _EVENTS_END
    first = np.full(len(names), _EVENTS_END, dtype=np.int64)
    np.minimum.at(first, accounts, events)
    appeared = sorted(range(len(names)), key=lambda account: (first[account], names[account]))
    number = np.empty(len(names), dtype=np.int64)
    number[appeared] = np.arange(len(names))

    def renumber(keys: Integers) -> Integers:
        return keys + (number[keys // (2 * _EVENTS_END)] - keys // (2 * _EVENTS_END)) * (2 * _EVENTS_END)

    large = [pair for part in parts for pair in part.large.items()]
    numbered = renumber(np.array([key for key, _ in large], dtype=np.int64)).tolist()
    keys = renumber(keys)
    order = np.argsort(keys, kind="stable")
    amounts = np.concatenate([part.amounts for part in parts])[order]
    above = {key: amount for key, (_, amount) in zip(numbered, large, strict=True)}
    return _Rows(keys[order], amounts, above), [names[account] for account in appeared]


def _row_columns(rows: _Rows, accounts: int) -> dict[str, npt.NDArray[Any]]:
    sides = np.searchsorted(rows.keys, np.arange(2 * accounts + 1) * _EVENTS_END)
    low = _reached(rows.amounts & _LOW, rows.keys, sides)
    high = _reached(rows.amounts >> _LIMB, rows.keys, sides)
    places = np.searchsorted(rows.keys, np.array(sorted(rows.large), dtype=np.int64)).tolist()
    text = "".join(f"{row} {rows.large[key]}\n" for row, key in zip(places, sorted(rows.large), strict=True))
    return {
        "sides": sides,
        "events": (rows.keys % _EVENTS_END).astype(np.uint32),
        "amounts": rows.amounts,
        "reached_low": low & _LOW,
        "reached_high": high + (low >> _LIMB),
        "large": np.frombuffer(text.encode(), dtype=np.uint8),
    }


def _reached(limb: Integers, keys: Integers, sides: Integers) -> Integers:
    """Return the sum of a side before each row that is a multiple of `REACHED_ROWS`."""
    before = np.concatenate(([0], np.cumsum(limb)))
    rows = np.arange(0, len(limb), REACHED_ROWS)
    return np.asarray(before[rows] - before[sides[keys[rows] // _EVENTS_END]])


def _name_columns(keys: list[bytes], before: list[int]) -> dict[str, npt.NDArray[Any]]:
    hashes = np.array([hash_name(key) for key in keys], dtype=np.uint64)
    order = np.argsort(hashes, kind="stable")
    sums = b"".join(total.to_bytes(SUM_BYTES, "little") for total in before)
    return {
        "names": np.frombuffer(b"".join(key + b"\n" for key in keys), dtype=np.uint8),
        "name_ends": np.cumsum([len(key) + 1 for key in keys], dtype=np.int64),
        "hashes": hashes[order],
        "hashed": order,
        "before": np.frombuffer(sums, dtype=np.uint8),
    }


def sums_before(before: list[Segment], keys: list[bytes]) -> list[int]:
    """Return the sum of each side at the end of some segments: that of the last one which moves its account.

    Raises: SegmentUnusable.
    """
    sums = [0] * (2 * len(keys))
    hashes = np.array([hash_name(key) for key in keys], dtype=np.uint64)
    open_places = np.arange(len(keys))
    for segment in reversed(before):
        if not len(open_places):
            break
        found = segment.find_all([keys[place] for place in open_places.tolist()], hashes[open_places])
        here = found >= 0
        for place, number in zip(open_places[here].tolist(), found[here].tolist(), strict=True):
            sums[2 * place : 2 * place + 2] = segment.sums_at(number, segment.end)
        open_places = open_places[~here]
    return sums


def _time(record: Record) -> int:
    text = record.header.network_time
    return NO_TIME if text is None else parse_instant(text)


def _digest_of(file: Path, length: int) -> str:
    """Hash the first bytes of a file."""
    digest, rest = sha256(), length
    with file.open("rb") as source:
        while rest:
            part = source.read(min(rest, _READ_BYTES))
            assert part
            digest.update(part)
            rest -= len(part)
    return digest.hexdigest()
