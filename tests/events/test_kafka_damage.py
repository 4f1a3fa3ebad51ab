"""Logs on Kafka that are not as a writer left them: foreign messages, deleted ones, other roots, old frontiers."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from events.frontier import Frontier, keep_frontier, kept_frontier
from events.kafka import Brokers, KafkaLog, KafkaWriter
from events.log import LogDamaged, LogFault
from events.merkle import Tree
from events.record import Record, build_header, pack
from events.topics import create_topics
from tests.events.log_contract import NOON

pytestmark = pytest.mark.slow

Put = Callable[[bytes | None], None]


def build_record(tree: Tree, lines: list[bytes], root: str | None = None) -> Record:
    """Build the next record of a tree, and extend the tree; with another root where one is given."""
    record = Record(build_header(tree.size, lines, NOON), lines)
    tree.extend(record.leaves())
    record.header = msgspec.structs.replace(record.header, root=root or tree.root().hex())
    return record


@pytest.fixture
def put(brokers: Brokers, topic: str) -> Iterator[Put]:
    """Put a message into partition 0, as somebody who is no writer of ours."""
    producer = KafkaProducer(bootstrap_servers=list(brokers.servers), metrics_enabled=False)
    yield lambda value: producer.send(topic, value, key=b"k", partition=0).get(10)
    producer.close()


def read(brokers: Brokers, topic: str, position: int = 0) -> list[Record]:
    with closing(KafkaLog(brokers, topic, 0, "facts")) as reader:
        return list(reader.read(position))


def open_for_writing(brokers: Brokers, topic: str, cache: Path | None = None) -> int:
    """Open the log for writing; return where it ends."""
    with (
        closing(KafkaWriter(brokers, topic)) as writer,
        closing(KafkaLog(brokers, topic, 0, "facts", writer, cache=cache)) as log,
    ):
        return log.end()


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (b"hello", "the last line does not end"),
        (b"hello\n", "header: "),
        (None, "the last line does not end"),
        (pack(build_record(Tree(), [b"{}"])), "header says sequence 0"),
        (pack(build_record(Tree(4, (b"\0" * 32,)), [b"{}"])), "header says sequence 4"),
    ],
)
def test_a_message_that_is_not_the_next_record_is_named(
    value: bytes | None, fault: str, brokers: Brokers, topic: str, put: Put
) -> None:
    put(pack(build_record(Tree(), [b"{}"])))
    put(value)

    for check in (read, open_for_writing):
        with pytest.raises(LogDamaged, match=fault) as damage:
            check(brokers, topic)
        assert (damage.value.place, damage.value.sequence) == (f"{topic}-0@1", 2)
    with closing(KafkaLog(brokers, topic, 0, "facts")) as reader, pytest.raises(LogDamaged, match=fault):
        reader.end()


def test_a_root_that_differs_is_seen_by_writers_and_by_root(brokers: Brokers, topic: str, put: Put) -> None:
    tree = Tree()
    put(pack(build_record(tree, [b"{}"])))
    put(pack(build_record(tree, [b"{}"], root="ab" * 32)))

    with pytest.raises(LogDamaged, match="root differs") as damage:
        open_for_writing(brokers, topic)
    assert (damage.value.place, damage.value.sequence) == (f"{topic}-0@1", 2)
    with closing(KafkaLog(brokers, topic, 0, "facts")) as reader, pytest.raises(LogDamaged, match="root differs"):
        reader.root()


def keep(folder: Path, topic: str, tree: Tree, offset: int) -> Path:
    """Keep a frontier behind the record at an offset."""
    path, name = folder / f"{topic}-0.frontier", f"{topic}-0"
    keep_frontier(path, Frontier.of(tree, tree.size - 2, name, offset, offset + 1))
    return path


def test_deleted_records_are_missed(brokers: Brokers, topic: str, put: Put, tmp_path: Path) -> None:
    tree = Tree()
    for _ in range(3):
        put(pack(build_record(tree, [b"{}"])))
    keep(tmp_path, topic, tree, 2)
    with closing(KafkaAdminClient(bootstrap_servers=list(brokers.servers))) as admin:
        admin.delete_records({TopicPartition(topic, 0): 2})

    with pytest.raises(LogDamaged, match="OffsetOutOfRange"):
        read(brokers, topic)
    with pytest.raises(LogDamaged, match="OffsetOutOfRange"):
        open_for_writing(brokers, topic, tmp_path)


def test_what_stands_before_the_kept_frontier_is_not_read_again(
    brokers: Brokers, topic: str, put: Put, tmp_path: Path
) -> None:
    tree = Tree()
    # Whoever reads this one stumbles over its root.
    put(pack(build_record(tree, [b"{}"], root="ab" * 32)))
    put(pack(build_record(tree, [b"{}"])))
    keep(tmp_path, topic, tree, 1)
    put(pack(build_record(tree, [b"{}", b"{}"])))

    assert open_for_writing(brokers, topic, tmp_path) == tree.size == 7

    with closing(KafkaLog(brokers, topic, 0, "facts", cache=tmp_path)) as reader:
        assert (reader.end(), reader.root()) == (7, tree.root())


def test_a_frontier_that_is_not_this_logs_is_not_used(brokers: Brokers, topic: str, put: Put, tmp_path: Path) -> None:
    tree, other = Tree(), Tree()
    for _ in range(2):
        put(pack(build_record(tree, [b"{}"])))
        build_record(other, [b"[]"])
    kept = keep(tmp_path, topic, tree, 1)
    good = kept.read_bytes()

    damaged = [keep(tmp_path, topic, other, 1).read_bytes(), b"", good[:-9], good.replace(b'"size":4', b'"size":7')]
    damaged += [keep(tmp_path, topic, tree, offset).read_bytes() for offset in (0, 2, 999)]

    for data in damaged:
        assert data != good
        kept.write_bytes(data)
        assert open_for_writing(brokers, topic, tmp_path) == tree.size
        assert kept.read_bytes() == good


def test_the_frontier_is_kept_at_what_is_committed(brokers: Brokers, topic: str, tmp_path: Path) -> None:
    kept = tmp_path / "new" / f"{topic}-0.frontier"
    writer = KafkaWriter(brokers, topic)
    log = KafkaLog(brokers, topic, 0, "facts", writer, sync_each=False, cache=kept.parent)
    log.append([b"{}"], NOON)
    log.close()
    writer.close()
    assert not kept.exists()

    writer = KafkaWriter(brokers, topic)
    log = KafkaLog(brokers, topic, 0, "facts", writer, cache=kept.parent)
    record = log.append([b"{}"], NOON)
    log.close()
    writer.close()

    tree = Tree()
    tree.extend(record.leaves())
    frontier = kept_frontier(kept)
    assert frontier is not None
    kept_tree = frontier.tree()
    assert kept_tree is not None
    assert (frontier.size, kept_tree.root()) == (record.end, tree.root())


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    transactions=st.lists(st.tuples(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.booleans()), max_size=25),
    choose=st.randoms(use_true_random=False),
)
def test_any_position_is_found_among_gaps(
    transactions: list[tuple[list[int], bool]], choose: Any, brokers: Brokers, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}.{choose.getrandbits(60)}"
    create_topics(brokers, {topic: 1}, 1)
    records: list[Record] = []
    tree = Tree()
    with closing(KafkaWriter(brokers, topic)) as writer:
        for counts, committed in transactions:
            attempt, appended = tree.copy(), []
            for count in counts:
                appended.append(build_record(attempt, [b"{}"] * count))
                writer.send(topic, 0, pack(appended[-1]))
            writer._end_transaction("commit" if committed else "abort")
            writer._sent = []
            if committed:
                records, tree = records + appended, attempt

    with closing(KafkaLog(brokers, topic, 0, "facts")) as reader:
        positions = [tree.size, *choose.sample(range(tree.size), min(20, tree.size))]
        for position in positions:
            assert list(reader.read(position)) == [record for record in records if record.end > position]
        assert reader.end() == tree.size


def test_a_topic_that_is_not_there_is_named(brokers: Brokers, topic: str) -> None:
    for name, partition in (f"{topic}-no", 0), (topic, 2):
        with pytest.raises(LogFault, match=f"{name}-{partition}: there is no such topic or partition"):
            KafkaLog(brokers, name, partition, "facts")
