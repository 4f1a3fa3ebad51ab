"""The log on Kafka: a record is a message's value, a log one partition, and one transaction what is durable together.

    message := value: one record (`events.record`); key none; offset, headers and time mean nothing

Holds:

- acknowledged means: committed. What a writer appended and did not commit nobody else ever sees.
- a log has one writer: the newer of two takes over, and the older fails with LogFenced.
- whatever else fails in a writer leaves unknown what became of the transaction. The writer is then closed for good, and
  only opening anew tells: nothing is sent again from memory.
- a record's root is checked against all leaves before it when the log is opened for writing, and by a reader's `root`;
  with a `cache`, from the frontier that was kept (`events.frontier`).
"""

import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zstandard
from kafka import KafkaProducer
from kafka.record import default_records

from events.brokers import Brokers, connect, kafka_faults
from events.frontier import Frontier, keep_frontier, kept_frontier
from events.hashing import Digests
from events.killpoints import reach
from events.log import LogDamaged, LogFault
from events.merkle import Tree
from events.partition import MessageLost, Partition
from events.record import RECORD_BYTES_MAX, Basis, Record, RecordMalformed, build_header, pack, unpack

__all__ = ["Brokers", "KafkaLog", "KafkaWriter"]

# Kafka counts a message with its frame, and what zstd makes of a record that it cannot make smaller.
REQUEST_BYTES_MAX = 2 * RECORD_BYTES_MAX
COMMIT_MS_MAX = 30_000
# What fills no batch goes out behind this, or with the commit: a request costs what compressing half a batch does.
LINGER_MS = 100
# Of a ledger's record zstd's own choice, 3, makes no less than this, in 1.7 times the time.
ZSTD_LEVEL = 1
# Behind this, the brokers end the transaction of a writer that is gone, and whoever reads can go on.
TRANSACTION_MS_MAX = 60_000
# So much of what a writer has appended it still has at hand, for readers in the same process.
RECENT_BYTES_MAX = 32 * 1024 * 1024
# The frontier is kept each time that so much was committed behind it.
KEEP_BYTES = 64 * 1024 * 1024
# So few messages are read one after the other, rather than searched.
NEAR = 16


def _compress(batch: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(batch)


# The client has no setting for the level.
default_records.zstd_encode = _compress


class KafkaWriter:
    """A transactional producer that several logs share: what they append between two commits is one transaction."""

    def __init__(self, brokers: Brokers, transactional_id: str, *, commit_ms_max: int = COMMIT_MS_MAX) -> None:
        """Take over from whoever held the id, ending its transaction. Raises: LogFault."""
        self.name = transactional_id
        self.closed = False
        self._commit_ms_max = commit_ms_max
        self._logs: list[KafkaLog] = []
        self._sent: list[Any] = []
        self._producer: Any = connect(
            KafkaProducer,
            brokers,
            transactional_id=transactional_id,
            acks="all",
            compression_type="zstd",
            linger_ms=LINGER_MS,
            batch_size=RECORD_BYTES_MAX,
            max_request_size=REQUEST_BYTES_MAX,
            max_block_ms=10_000,
            request_timeout_ms=10_000,
            delivery_timeout_ms=commit_ms_max,
            transaction_timeout_ms=TRANSACTION_MS_MAX,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        with self._closing_on_fault():
            self._producer.init_transactions()

    def join(self, log: "KafkaLog") -> None:
        """Tell a log, from now on, of each commit."""
        self._logs.append(log)

    def send(self, topic: str, partition: int, data: bytes) -> None:
        """Put a message into the transaction, and begin one where there is none. Raises: LogFenced, LogFault."""
        with self._closing_on_fault():
            if not self._sent:
                self._producer.begin_transaction()
            self._sent.append(self._producer.send(topic, data, partition=partition))
            reach("kafka.1-sent")

    def commit(self) -> None:
        """Make durable and visible, all or nothing, what was appended since the last commit.

        Raises: LogFenced, LogFault; then nobody knows whether it is.
        """
        with self._closing_on_fault():
            if not self._sent:
                return
            # 1 send, 2 every message is acknowledged, 3 the transaction is committed; the caller acknowledges.
            self._producer.flush(self._commit_ms_max // 1_000)
            offsets = {message.topic_partition: message.offset for message in self._acknowledged()}
            reach("kafka.2-acknowledged")
            self._end_transaction("commit")
            self._sent = []
            reach("kafka.3-committed")
            for log in self._logs:
                log.note_commit(offsets)

    def close(self) -> None:
        """Give back the connection; what was not committed is not kept."""
        if not self.closed:
            # Where the abort fails too, the brokers do it in their time.
            with suppress(LogFault), self._closing_on_fault():
                if self._sent:
                    self._end_transaction("abort")
            self._drop()

    def _acknowledged(self) -> list[Any]:
        return [future.get(timeout=0) for future in self._sent]

    def _end_transaction(self, how: str) -> None:
        """Do what the producer's `commit_transaction` or `abort_transaction` does, but not wait for ever."""
        transactions = self._producer._transaction_manager
        result = transactions.begin_commit() if how == "commit" else transactions.begin_abort()
        self._producer._sender.wakeup()
        if not result.wait(timeout_ms=self._commit_ms_max):
            raise LogFault(f"{self.name}: no answer to a {how} in {self._commit_ms_max} ms")

    @contextmanager
    def _closing_on_fault(self) -> Iterator[None]:
        """Whatever fails, the state of the transaction is unknown from then on."""
        if self.closed:
            raise LogFault(f"{self.name}: closed for writing; open it again")
        try:
            with kafka_faults(self.name):
                yield
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        """End the producer's thread, waiting for nobody: what is still on its way gets lost."""
        if self.closed:
            return
        self.closed = True
        self._producer._sender.force_close()
        self._producer._sender.join(timeout=5)
        self._producer.close(timeout=0)


class _Cursor(NamedTuple):
    """A place between two records: its position, and an offset behind the one record and not behind the other."""

    position: int
    offset: int


class KafkaLog:
    """A log that is one partition of a topic. With a `writer` it can be appended to, by this process alone."""

    def __init__(
        self,
        brokers: Brokers,
        topic: str,
        partition: int,
        name: str,
        writer: KafkaWriter | None = None,
        *,
        sync_each: bool = True,
        cache: Path | None = None,
    ) -> None:
        """Open; with a writer, check the whole log, or what is behind the frontier in the folder `cache`.

        `sync_each`: each append is committed at once; else by `sync`, together with the writer's other logs.
        Raises: LogDamaged, LogFault.
        """
        self.name = name
        self._topic, self._number = topic, partition
        self._writer = writer
        self._sync_each = sync_each
        self._tree = Tree()
        self._checked = self._seen = _Cursor(0, 0)
        # Where the last record begins that was checked or committed.
        self._last = 0
        # The last records that were appended, among them all that are not committed yet.
        self._recent: list[Record] = []
        self._recent_bytes = self._behind_kept = 0
        self._closed = False
        self._partition = Partition(brokers, topic, partition)
        self._kept = None if cache is None else cache / f"{self._partition.name}.frontier"
        try:
            self._restore()
            if writer is not None:
                self._partition.wait_until_stable()
                self._check()
                writer.join(self)
        except BaseException:
            self._partition.close()
            raise

    def append(
        self,
        lines: Sequence[bytes] | bytes,
        recorded_at: str,
        network_time: str | None = None,
        basis: tuple[Basis, ...] = (),
        hashes: Digests | None = None,
    ) -> Record:
        """Make one batch durable (or leave that to `sync`), then return its record. Raises: LogFenced, LogFault."""
        if self._writer is None or self._closed:
            raise LogFault(f"{self.name}: closed for writing; open it again")
        record = Record(build_header(self._tree.size, lines, recorded_at, network_time, basis), lines, hashes)
        tree = self._tree.copy()
        tree.extend(record.leaves())
        record.header = msgspec.structs.replace(record.header, root=tree.root().hex())
        data = pack(record)
        self._writer.send(self._topic, self._number, data)
        self._tree = tree
        self._recent.append(record)
        self._recent_bytes += len(record.data)
        self._behind_kept += len(record.data)
        if self._sync_each:
            self._writer.commit()
        return record

    def read(self, position: int = 0) -> Iterator[Record]:
        """Yield the records that end behind `position`, to a writer its uncommitted ones too. Raises: LogDamaged."""
        self._refuse_after_fault()
        if self._writer is None or not self._recent or position < self._recent[0].sequence:
            for record, _ in self._scan(self._find(position)):
                if record.end > position:
                    yield record
                    position = record.end
                    if self._recent and position >= self._recent[0].sequence:
                        break
        while (number := bisect_right(self._recent, position, key=lambda record: record.sequence)) > 0:
            record = self._recent[number - 1]
            if record.end <= position:
                return
            yield record
            position = record.end

    def end(self) -> int:
        """Return the position behind the last record, to a writer committed or not. Raises: LogDamaged."""
        self._refuse_after_fault()
        if self._writer is not None:
            return self._tree.size
        for _ in self._scan(self._find(sys.maxsize)):
            pass
        return self._seen.position

    def offset(self, position: int) -> int:
        """Return a message's offset from which on all that lies behind `position` can be read. Raises: LogDamaged."""
        return self._find(position).offset

    def root(self) -> bytes:
        """Return the tree's root at `end`. Raises: LogDamaged."""
        self._refuse_after_fault()
        if self._writer is None:
            self._check()
        return self._tree.root()

    def sync(self) -> None:
        """Commit what the writer's logs have appended; to a reader all is committed. Raises: LogFenced, LogFault."""
        if self._writer is not None:
            self._writer.commit()

    def note_commit(self, offsets: dict[Any, int]) -> None:
        """Wait until all readers see what was committed; `offsets`: of each partition's last message."""
        offset = offsets.get((self._topic, self._number))
        if self._closed or offset is None:
            return
        self._partition.wait_until_committed(offset + 1)
        self._checked, self._last = _Cursor(self._tree.size, offset + 1), self._recent[-1].sequence
        if self._behind_kept >= KEEP_BYTES:
            self._keep()
        if self._recent_bytes > RECENT_BYTES_MAX:
            self._forget()

    def close(self) -> None:
        """Give back the connection; the writer is its owner's to close."""
        if not self._closed:
            self._closed = True
            self._partition.close()
            self._keep()

    # --- writing ---

    def _refuse_after_fault(self) -> None:
        """What a faulted writer holds may never have been committed."""
        if self._writer is not None and self._writer.closed and not self._closed:
            raise LogFault(f"{self.name}: its writer is closed; open it again")

    def _forget(self) -> None:
        """Let go of the older half of what is at hand, all of it committed."""
        dropped = 0
        while self._recent_bytes > RECENT_BYTES_MAX // 2:
            self._recent_bytes -= len(self._recent[dropped].data)
            dropped += 1
        del self._recent[:dropped]

    def _restore(self) -> None:
        """Go on from the frontier that was kept, if it is this log's."""
        frontier = None if self._kept is None else kept_frontier(self._kept)
        tree = None if frontier is None else frontier.tree()
        if frontier is None or tree is None:
            return
        if self._partition.begin() > 0 or frontier.begins >= self._partition.end():
            return
        messages, _ = self._partition.fetch(frontier.begins, 1)
        for offset, value in messages:
            record = self._unpack(value, offset, None)
            if (record.end, record.header.root) == (tree.size, tree.root().hex()):
                self._tree = tree
                self._checked = self._seen = _Cursor(tree.size, offset + 1)
                self._last = record.sequence

    def _keep(self) -> None:
        """Keep the frontier at the last record that was checked or committed."""
        if self._kept is not None and self._writer is not None and self._checked.position == self._tree.size > 0:
            offset = self._checked.offset
            keep_frontier(self._kept, Frontier.of(self._tree, self._last, self._partition.name, offset - 1, offset))
            self._behind_kept = 0

    # --- reading ---

    def _check(self) -> None:
        """Go on with the tree to the last record, comparing each root."""
        for record, after in self._scan(self._checked):
            self._tree.extend(record.leaves())
            if self._tree.root().hex() != record.header.root:
                raise self._damaged(after.offset - 1, record.sequence, "root differs")
            self._checked, self._last = after, record.sequence

    def _find(self, position: int) -> _Cursor:
        """Stand at a record that begins at or before `position`, and not far before it."""
        low = self._seen if self._seen.position <= position else _Cursor(0, 0)
        if low.position == position:
            return low
        start, end = low.offset, self._partition.end()
        while end - start > NEAR:
            middle = (start + end) // 2
            found = self._first(middle, end)
            if found is None or found[0].sequence > position:
                end = middle
            else:
                low = _Cursor(found[0].sequence, found[1])
                start = found[1] + 1
        return low

    def _first(self, offset: int, end: int) -> tuple[Record, int] | None:
        """Return the first record at or behind an offset, and its own; None where there is none before `end`."""
        while offset < end:
            messages, after = self._fetch(offset, 0, 1)
            for at, value in messages:
                return (self._unpack(value, at, None), at) if at < end else None
            offset = after
        return None

    def _scan(self, cursor: _Cursor) -> Iterator[tuple[Record, _Cursor]]:
        """Yield records from a cursor on, each with the cursor behind it, to the present end at least."""
        end = self._partition.end()
        while cursor.offset < end:
            messages, after = self._fetch(cursor.offset, cursor.position)
            for offset, value in messages:
                record = self._unpack(value, offset, cursor.position)
                cursor = self._seen = _Cursor(record.end, offset + 1)
                yield record, cursor
            cursor = self._seen = cursor._replace(offset=after)

    def _fetch(self, offset: int, position: int, count: int = 500) -> tuple[list[tuple[int, bytes | None]], int]:
        try:
            return self._partition.fetch(offset, count)
        except MessageLost as lost:
            raise self._damaged(offset, position, str(lost)) from lost

    def _unpack(self, value: bytes | None, offset: int, position: int | None) -> Record:
        """Read the record of a message, which begins at `position` where that is known."""
        try:
            record = unpack(value or b"")
        except RecordMalformed as error:
            raise self._damaged(offset, position or 0, str(error)) from error
        if position is not None and record.sequence != position:
            raise self._damaged(offset, position, f"header says sequence {record.sequence}")
        return record

    def _damaged(self, offset: int, position: int, fault: str) -> LogDamaged:
        return LogDamaged(self.name, f"{self._partition.name}@{offset}", 0, position, fault)
