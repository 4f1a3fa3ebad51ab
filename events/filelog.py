"""The embedded log: a folder of append-only text files, one fsync per batch.

    file   := frame*                      named by the sequence of its first record
    frame  := "record " length(10) " " crc32(8) " " check(8) LF  record       (see `events.record`)

`crc32` is that of the record's bytes, `check` that of the frame line before it, so that a damaged length is seen as
damage and not as the end of the file. Holds:

- acknowledged means: written and synced. After a crash only a last frame that is *short* is cut; it was never
  acknowledged. Whatever else does not check raises LogDamaged with its place, and nothing is cut.
- logs that are made durable together (`sync_each=False`) are synced by `sync`, and cut back by whoever knows how far
  that had come (see `app.synced`).
- a reader beside the writer sees whole frames only, and stops before one that is still being written.
- a record's root is checked against all leaves before it by `root`, and when the log is opened for writing. There a
  kept frontier (see `events.frontier`) stands for what lies before it: of that neither hash nor crc32 is looked at
  again, so that damage before a frontier is named by whoever reads the place, and by `verify`.
"""

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple
from zlib import crc32

import msgspec

from events.frontier import Frontier, keep_frontier, kept_frontier
from events.hashing import Digests, extend_crc32
from events.killpoints import reach
from events.log import LogBusy, LogDamaged, LogFault, LogFull
from events.merkle import Tree
from events.record import Basis, Record, RecordMalformed, build_header, pack_header, unpack_parts

__all__ = ["FRAME_BYTES", "SEGMENT_BYTES_MAX", "FileLog", "hold_lock"]

FRAME_BYTES = len(b"record 0000000000 00000000 00000000\n")
# A new file is begun behind this size, so that old ones can be sealed, copied and checked one by one.
SEGMENT_BYTES_MAX = 256 * 1024 * 1024
# So much of what a writer has appended and not synced itself it still has at hand: its process reads that at once.
RECENT_BYTES_MAX = 8 * 1024 * 1024
# The frontier is kept after so many leaves, about a tenth of a second of hashing; after fewer when the log is closed.
KEPT_AFTER = 200_000
KEPT_AT_CLOSE = 20_000
_DIGIT = "[0-9]"
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class _Cursor(NamedTuple):
    """A place between two records: its position, its file, the byte within the file."""

    position: int
    path: Path | None
    offset: int


class FileLog:
    """A log in a folder. Open it `writable` in one process at a time (see `hold_lock`)."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        writable: bool = False,
        sync_each: bool = True,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        frontier: Path | None = None,
    ) -> None:
        """Open; where writable, check the log and cut a torn tail. Raises: LogDamaged.

        `frontier` is the file in which a writer keeps how far it was checked; without one it is checked whole.
        """
        self.name = name
        self.cut_bytes = 0
        self._folder = folder
        self._segment_bytes_max = segment_bytes_max
        self._tree = Tree()
        self._checked = self._seen = _Cursor(0, None, 0)
        self._file: int | None = None
        self._faulted = False
        self._writable = writable
        self._sync_each = sync_each
        # The last records that were appended, by where they begin, each with the cursor behind it.
        self._recent: dict[int, tuple[Record, _Cursor]] = {}
        self._recent_bytes = 0
        # Where the last record begins that was checked.
        self._last = _Cursor(0, None, 0)
        self._frontier = frontier
        self._kept = 0
        self._take_up()
        if writable:
            folder.mkdir(parents=True, exist_ok=True)
            self._check()
            self._open_tail()

    def append(
        self,
        lines: Sequence[bytes] | bytes,
        recorded_at: str,
        network_time: str | None = None,
        basis: tuple[Basis, ...] = (),
        hashes: Digests | None = None,
    ) -> Record:
        """Make one batch durable (or leave that to `sync`), then return its record. Raises: LogFull, LogFault."""
        if self._faulted or not self._writable:
            raise LogFault(f"{self.name}: closed for writing; open it again")
        count = None if hashes is None else len(hashes)
        record = Record(build_header(self._tree.size, lines, recorded_at, network_time, basis, count), lines, hashes)
        tree = self._tree.copy()
        tree.extend(record.leaves())
        record.header = msgspec.structs.replace(record.header, root=tree.root().hex())
        head = pack_header(record)
        self._write((frame(head, record.data), head, record.data), record.sequence)
        self._tree = tree
        cursor = self._checked
        self._last = cursor
        self._checked = cursor._replace(
            position=record.end, offset=cursor.offset + FRAME_BYTES + len(head) + len(record.data)
        )
        if self._sync_each:
            self._keep(KEPT_AFTER)
        else:
            self._remember(record)
        return record

    def read(self, position: int = 0) -> Iterator[Record]:
        """Yield the records that end behind `position`, up to the last whole one. Raises: LogDamaged."""
        while position in self._recent:
            record, self._seen = self._recent[position]
            yield record
            position = record.end
        if self._recent and position >= self._checked.position:
            return
        known = [cursor for cursor in (self._seen, self._last) if cursor.position <= position]
        cursor = max(known, key=lambda cursor: cursor.position, default=_Cursor(0, None, 0))
        if cursor.path is None:
            cursor = self._segment_before(position)
        for record, after in self._scan(cursor):
            self._seen = after
            if record.end > position:
                yield record

    def end(self) -> int:
        """Return the position behind the last whole record. Raises: LogDamaged."""
        self._look()
        return self._tree.size

    def root(self) -> bytes:
        """Return the tree's root at `end`. Raises: LogDamaged."""
        self._look()
        return self._tree.root()

    def tail(self) -> tuple[str, int]:
        """Return the name and the bytes of the log's last file, whole records or not: so growth is seen unread."""
        for path in reversed(self._segments()):
            # A writer that starts again may just have cut the file off.
            with suppress(FileNotFoundError):
                return path.name, path.stat().st_size
        return "", 0

    def files(self) -> list[Path]:
        """Return the log's files, oldest first; each but the last is full."""
        return self._segments()

    def read_file(self, path: Path) -> Iterator[tuple[Record, int]]:
        """Yield the whole records of one of the log's files, each with the byte behind it. Raises: LogDamaged."""
        for record, after in self._scan(_Cursor(int(path.stem), path, 0)):
            if after.path != path:
                return
            yield record, after.offset

    def seek(self, path: Path, offset: int, position: int) -> None:
        """Say at which byte a position stands, so that reading on from it need not search."""
        self._seen = _Cursor(position, path, offset)

    def read_at(self, path: Path, offset: int, sequence: int) -> Record | None:
        """Return the record that begins at a byte of a file, or None where the file ends. Raises: LogDamaged."""
        with path.open("rb") as file:
            file.seek(offset)
            parts = self._read_frame(file, path, offset, sequence, True)
        return None if parts is None else self._unpack(parts, path, offset, sequence)

    def close(self) -> None:
        """Give back the file."""
        if not self._faulted:
            self._keep(KEPT_AT_CLOSE)
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._faulted = True

    def sync(self) -> None:
        """Make durable what can be read, so that others may build on it. Raises: LogFault."""
        try:
            if self._file is not None:
                os.fsync(self._file)
                self._keep(KEPT_AFTER)
            else:
                # The writer is another process, and may not have synced yet.
                for path in self._segments()[-1:]:
                    _sync_file(path)
        except OSError as error:
            self._faulted = True
            raise LogFault(f"{self.name}: {error.strerror}") from error

    def cut_back(self, position: int) -> None:
        """Forget the records behind `position`, which is a record's end: nobody has built on them."""
        assert self._writable
        place = self._segment_before(position - 1)
        for record, after in self._scan(place):
            if record.end > position:
                break
            place = after
        assert place.position == position
        for path in self._segments():
            if place.path is None or path > place.path:
                path.unlink()
            elif path == place.path:
                os.truncate(path, place.offset)
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._tree = Tree()
        self._recent, self._recent_bytes = {}, 0
        self._checked = self._seen = self._last = _Cursor(0, None, 0)
        self._take_up()
        self._check()
        self._open_tail()

    # --- the frontier ---

    def _keep(self, least: int) -> None:
        """Keep how far the log was checked, where that is so much further than it was."""
        checked, tree = self._checked, self._tree
        if self._frontier is None or not self._writable or tree.size - self._kept < least:
            return
        # At the beginning of a file no record ends.
        if checked.path is None or checked.path != self._last.path:
            return
        self._kept = tree.size
        last = self._last
        keep_frontier(self._frontier, Frontier.of(tree, last.position, checked.path.name, last.offset, checked.offset))

    def _take_up(self) -> None:
        """Know where the log was checked up to, if the record that ends there says the same; a writer stands there.

        A reader who is asked for the root checks the whole log.
        """
        self._kept = 0
        if self._frontier is None:
            return
        kept = kept_frontier(self._frontier)
        tree = None if kept is None else kept.tree()
        if kept is None or tree is None:
            return
        try:
            path = self._folder / kept.file
            record = self.read_at(path, kept.begins, kept.sequence)
        except (OSError, LogDamaged):
            # What is damaged there is named by the check of the whole log.
            return
        if record is not None and (record.end, record.header.root) == (kept.size, tree.root().hex()):
            self._last = _Cursor(kept.sequence, path, kept.begins)
            if self._writable:
                self._tree, self._kept = tree, tree.size
                self._checked = _Cursor(kept.size, path, kept.ends)

    # --- writing ---

    def _remember(self, record: Record) -> None:
        """Keep a record that was appended at hand, and let go of the oldest."""
        self._recent[record.sequence] = record, self._checked
        self._recent_bytes += len(record.data)
        while self._recent_bytes > RECENT_BYTES_MAX:
            oldest, _ = self._recent.pop(next(iter(self._recent)))
            self._recent_bytes -= len(oldest.data)

    def _write(self, parts: tuple[bytes, bytes, bytes], sequence: int) -> None:
        try:
            if self._file is None or self._checked.offset >= self._segment_bytes_max:
                self._begin_segment(sequence)
            assert self._file is not None
            # 1 announce the record, 2 write it, 3 make both durable; the caller acknowledges.
            announced, head, body = parts
            _write_all(self._file, announced)
            reach("append.1-frame-written")
            _write_all(self._file, head)
            _write_all(self._file, body)
            reach("append.2-record-written")
            if self._sync_each:
                os.fsync(self._file)
                reach("append.3-synced")
        except LogFault:
            raise
        except OSError as error:
            self._take_back(error)
        except BaseException:
            # Interrupted: how much was written is not known, so only opening anew can tell.
            self._faulted = True
            raise

    def _take_back(self, error: OSError) -> None:
        """Undo a failed append. After a failed sync nothing is known of the file: write no more."""
        assert self._file is not None
        if error.errno not in _NO_SPACE:
            self._faulted = True
            raise LogFault(f"{self.name}: {error.strerror}") from error
        os.ftruncate(self._file, self._checked.offset)
        os.lseek(self._file, self._checked.offset, os.SEEK_SET)
        raise LogFull(f"{self.name}: {error.strerror}; nothing of the batch was kept") from error

    def _begin_segment(self, sequence: int) -> None:
        path = self._folder / f"{sequence:020d}.log"
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        except OSError as error:
            kind = LogFull if error.errno in _NO_SPACE else LogFault
            raise kind(f"{self.name}: cannot begin {path.name}: {error.strerror}") from error
        if self._file is not None:
            if not self._sync_each:
                os.fsync(self._file)
            os.close(self._file)
        self._file = file
        self._checked = _Cursor(sequence, path, 0)
        # The folder's entry must be durable before anything in the file counts as such.
        _sync_file(self._folder)

    def _open_tail(self) -> None:
        """Cut a short last frame, then stand behind the last whole record."""
        segments = self._segments()
        if not segments:
            return
        path = segments[-1]
        offset = self._checked.offset if self._checked.path == path else 0
        self._file = os.open(path, os.O_WRONLY)
        self.cut_bytes = os.fstat(self._file).st_size - offset
        if self.cut_bytes:
            os.ftruncate(self._file, offset)
        # A writer that was killed may have left a whole record unsynced: from here on others build upon it.
        os.fsync(self._file)
        os.lseek(self._file, offset, os.SEEK_SET)
        self._checked = _Cursor(self._tree.size, path, offset)

    # --- reading ---

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob(f"{_DIGIT * 20}.log"))

    def _segment_before(self, position: int) -> _Cursor:
        """Stand at the last file that begins at or before `position`."""
        before = [path for path in self._segments() if int(path.stem) <= position]
        return _Cursor(int(before[-1].stem), before[-1], 0) if before else _Cursor(0, None, 0)

    def _look(self) -> None:
        """See what another has appended; beside a writer there is none."""
        if self._file is None or self._faulted:
            self._check()

    def _check(self) -> None:
        """Go on with the tree to the last whole record, comparing each root."""
        for record, after in self._scan(self._checked):
            self._tree.extend(record.leaves())
            begins = self._checked.offset if after.path == self._checked.path else 0
            if self._tree.root().hex() != record.header.root:
                assert after.path is not None
                raise LogDamaged(self.name, after.path.name, begins, record.sequence, "root differs")
            self._checked, self._last = after, _Cursor(record.sequence, after.path, begins)

    def _scan(self, cursor: _Cursor) -> Iterator[tuple[Record, _Cursor]]:
        """Yield records from a cursor on, each with the cursor behind it; stop before a short last frame."""
        segments = self._segments()
        if cursor.path is not None:
            segments = [path for path in segments if path >= cursor.path]
        position = cursor.position
        for number, path in enumerate(segments):
            offset = cursor.offset if path == cursor.path else 0
            if offset == 0 and int(path.stem) != position:
                fault = f"file begins at {int(path.stem)}, expected {position}"
                raise LogDamaged(self.name, path.name, 0, position, fault)
            last = number == len(segments) - 1
            with path.open("rb") as file:
                file.seek(offset)
                while (parts := self._read_frame(file, path, offset, position, last)) is not None:
                    record = self._unpack(parts, path, offset, position)
                    offset += FRAME_BYTES + sum(map(len, parts))
                    position = record.end
                    yield record, _Cursor(position, path, offset)

    def _read_frame(
        self, file: IO[bytes], path: Path, offset: int, position: int, last: bool
    ) -> tuple[bytes, bytes] | None:
        """Return the next record's first line and the rest, or None where the file ends.

        A short frame is an end only in the last file.
        """
        head = file.read(FRAME_BYTES)
        if head == b"":
            return None
        fault = None
        if len(head) == FRAME_BYTES:
            length, checksum, fault = _parse_frame(head)
            if fault is None:
                first = file.readline(length)
                rest = file.read(length - len(first))
                if len(first) + len(rest) == length:
                    if extend_crc32(rest, extend_crc32(first)) == checksum:
                        return first, rest
                    fault = "crc32 differs"
        if fault is None:
            if last:
                return None
            fault = "file ends within the record"
        raise LogDamaged(self.name, path.name, offset, position, fault)

    def _unpack(self, parts: tuple[bytes, bytes], path: Path, offset: int, position: int) -> Record:
        try:
            record = unpack_parts(*parts)
        except RecordMalformed as error:
            raise LogDamaged(self.name, path.name, offset, position, str(error)) from error
        if record.sequence != position:
            fault = f"header says sequence {record.sequence}"
            raise LogDamaged(self.name, path.name, offset, position, fault)
        return record


def frame(*parts: bytes) -> bytes:
    """Build the frame line of a record's bytes, in one part or a few."""
    checksum = 0
    for part in parts:
        checksum = extend_crc32(part, checksum)
    head = b"record %010d %08x " % (sum(map(len, parts)), checksum)
    return head + b"%08x\n" % crc32(head)


def _parse_frame(head: bytes) -> tuple[int, int, str | None]:
    """Return length, crc32 and what is wrong, if anything."""
    body, check = head[:-9], head[-9:]
    if b"%08x\n" % crc32(body) != check:
        return 0, 0, "frame line differs from its check"
    _, length, checksum, _ = body.split(b" ")
    return int(length), int(checksum, 16), None


def _sync_file(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file while the block runs. Raises: LogBusy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LogBusy(f"{path.name} is held by another process; wait for it to end") from error
        yield
    finally:
        os.close(file)
