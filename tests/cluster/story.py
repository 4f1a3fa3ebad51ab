"""A story: faults that befall some books in a cluster, one after the other, each while facts are told."""

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from uuid import uuid4

import psycopg
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from dev.kafka import KafkaCluster
from dev.postgres import Postgres
from events.brokers import Brokers, connect
from events.log import Log
from events.record import Record, build_header, pack
from projections import tables
from tests.cluster.deployment import deploy
from tests.cluster.disk import Disk
from tests.cluster.load import PROJECTING, Load, count_lines
from tests.cluster.tally import Tally
from tests.networks import build_network

__all__ = ["GARBAGE", "NODES", "Servers", "Story", "is_led_by"]

NODES = 3
# The longest that is waited before a fault, once a piece was told.
MOMENT_S_MAX = 0.3
GARBAGE = (b"no event", b"\xff\x00\xfe", b'{"specversion":"1.0"}', b"[1, 2", b"[17]", b"\n" * 9)
FENCED = "another writer took over"


@dataclass(frozen=True)
class Servers:
    """Servers that may be killed; the database's disk may be full."""

    kafka: KafkaCluster
    postgres: Postgres
    disk: Disk


class Story:
    """Some books, and what befalls them."""

    def __init__(self, servers: Servers, folder: Path, seed: int) -> None:
        """Create the books; all that is random comes from the seed."""
        name = f"story_{uuid4().hex[:8]}"
        self.servers, self.random, self._folder, self._seed = servers, Random(seed), folder / name, seed
        self._folder.mkdir()
        database = servers.postgres.create_database(name)
        deployment = deploy(self._folder, servers.kafka.servers, name, database, replication=NODES)
        self.load = Load(deployment, build_network(seed, jobs=200, periods=40))
        self._told: dict[str, list[bytes]] = {}

    def befall_all(self, faults: Mapping[str, Callable[[], None]]) -> None:
        """Let faults happen in a random order, and see in the end that all was shown by those who project."""
        names = list(faults)
        self.random.shuffle(names)
        for name in names:
            self.befall(name, partial(self._see_through, faults[name]))
        self.load.wait_until_shown()

    def befall(self, name: str, fault: Callable[[], None]) -> None:
        """Let a fault happen at a random moment under load."""
        begun = len(self.load.fed)
        self.load.feed(2)
        self.wait_a_moment()
        fault()
        self._told[name] = self.load.fed[begun:]

    def _see_through(self, fault: Callable[[], None]) -> None:
        """Let a fault happen, and see that the books go on behind it."""
        fault()
        self.load.wait_for_decisions()

    def wait_a_moment(self) -> None:
        """Let a random time pass: that is what makes a fault's moment random."""
        time.sleep(self.random.uniform(0, MOMENT_S_MAX))

    def finish(self) -> None:
        """Bring the books to their end, and compare them with those of a quiet place."""
        embedded = self.load.embedded(self._folder / "embedded")
        self.load.finish(embedded)
        self.load.compare(embedded)

    def tallies(self) -> dict[str, Tally]:
        """Tell what became of all that was acknowledged, fault by fault."""
        return self.load.tally(self.load.embedded(self._folder / "facts"), self._told)

    # --- processes ---

    def kill_settle(self) -> None:
        """Kill the process that settles, and start another when more was told."""
        self._kill("settle")

    def kill_a_worker(self) -> None:
        """Kill one of those that project, and start another when more was told."""
        self._kill(self.random.choice(PROJECTING))

    def _kill(self, role: str) -> None:
        self.load.kill(role)
        self.load.feed()
        self.load.begin(role)

    def replace_a_worker(self) -> None:
        """Let one of those that project leave, and another join."""
        role = self.random.choice(PROJECTING)
        assert self.load.end(role).status == 0
        self.load.feed()
        self.load.begin(role)

    def die_at(self, role: str, step: str) -> None:
        """Let a process kill itself at a step."""
        load = self.load
        load.end(role, signal.SIGKILL)
        load.begin(role, kill_at=step)
        armed = load.processes[role]
        load.feed_until(lambda: load.processes[role] is not armed)
        assert load.ended(role).status == -signal.SIGKILL, load.ended(role)

    def replace_settle(self) -> None:
        """Let a second process settle; the first learns of it as it commits."""
        first, _ = self.load.displace("settle")
        self.load.feed_until(first.has_ended)
        ended = first.end()
        assert (ended.status, FENCED in ended.err.splitlines()[-1]) == (1, True), ended

    def replace_ingest(self) -> None:
        """Let a second process take facts in; what the first is told from then on, it does not acknowledge."""
        load = self.load
        first, sink = load.displace("ingest")
        assert sink is not None
        with open(sink, "wb", buffering=0) as pipe:
            load.feed()
            before, piece = count_lines(first.said()), load.take()
            pipe.write(b"".join(piece))
            load.wait_until(first.has_ended)
        ended = first.end()
        assert (ended.status, FENCED in ended.err.splitlines()[-1]) == (1, True), ended
        assert count_lines(ended.out.encode()) == before
        load.tell(piece)

    def rebuild(self) -> None:
        """Rebuild the projections to the end while facts are told."""
        load = self.load
        started = load.start("rebuild")
        load.feed(2)
        load.wait_until(started.has_ended)
        ended = started.end()
        assert ended.status == 0, ended

    # --- what comes in ---

    def tell_twice(self) -> None:
        """Tell again what was told before, to a process and to the one after it."""
        load = self.load
        again = load.fed[-200:]
        load.tell(again[::2])
        load.kill("ingest")
        load.begin("ingest")
        load.tell(again)

    def put_garbage(self) -> None:
        """Put into the inbox what is no event, with facts between it, and kill who takes it in."""
        load = self.load
        load.end("ingest")
        load.begin("inbox")
        self.put("inbox", 0, *GARBAGE, b"[" + b",".join(load.take()) + b"]")
        self.wait_a_moment()
        load.kill("inbox")
        load.begin("inbox")
        end = self.put("inbox", 0, *load.take(), *GARBAGE)
        load.wait_until(lambda: self._taken() >= end)
        assert load.end("inbox").status == 1
        load.begin("ingest")

    def has_kept_garbage(self) -> bool:
        """Tell whether all garbage is kept, as refused."""
        prefix = self.load.deployment.prefix
        kept = [row for row in self.load.rows(tables.dead_letter) if row.source.startswith(prefix)]
        return len(kept) >= len(GARBAGE)

    def put(self, topic: str, partition: int, *messages: bytes) -> int:
        """Put messages into a topic, as somebody who may write to it, and return the offset behind them."""
        topic = f"{self.load.deployment.prefix}.{topic}"
        with KafkaProducer(bootstrap_servers=list(self.servers.kafka.servers), acks="all") as producer:
            sent = [producer.send(topic, message, partition=partition) for message in messages]
            return int(sent[-1].get(timeout=10).offset) + 1

    def _taken(self) -> int:
        """Return up to which offset ingest has taken in what is in the inbox."""
        prefix = self.load.deployment.prefix
        servers = list(self.servers.kafka.servers)
        with KafkaConsumer(bootstrap_servers=servers, group_id=f"{prefix}.ingest", enable_auto_commit=False) as group:
            return group.committed(TopicPartition(f"{prefix}.inbox", 0)) or 0

    def abort_foreign(self) -> None:
        """Put into each ledger log what would follow its last record, and take it back."""
        prefix = self.load.deployment.prefix
        servers = list(self.servers.kafka.servers)
        with self.load.deployment.books() as books:
            hub, *lanes = [pack(_following(log)) for log in books.ledgers()]
        with KafkaProducer(bootstrap_servers=servers, transactional_id=f"{prefix}.foreign") as producer:
            producer.init_transactions()
            producer.begin_transaction()
            for number, value in enumerate([*lanes, hub]):
                producer.send(f"{prefix}.ledger", value, partition=number)
            producer.flush()
            self.wait_a_moment()
            producer.abort_transaction()

    # --- servers ---

    def kill_a_broker(self) -> None:
        """Kill a broker, and start it when more was told."""
        node, kafka = self._node(), self.servers.kafka
        kafka.kill(node)
        try:
            self.load.feed(2)
        finally:
            kafka.start_node(node)

    def cut_a_broker_off(self) -> None:
        """Let a broker stand still until the others lead its partitions, or until more was told without it."""
        node, kafka = self._node(), self.servers.kafka
        kafka.pause(node)
        try:
            self.load.wait_until(
                lambda: not any(is_led_by(self.servers, node, topic) for topic in self.load.deployment.books().topics)
            )
            if self._seed % 2:
                self.load.feed(2)
        finally:
            kafka.resume(node)

    def _node(self) -> int:
        return self.random.randint(1, NODES)

    def kill_the_database(self) -> None:
        """Kill PostgreSQL, and start it when more was told."""
        self.servers.postgres.kill()
        self._feed_and_start_database()

    def fill_the_disk(self) -> None:
        """Leave no room for tables until those that project have complained."""
        with self.servers.disk.full():
            self.load.feed_until(lambda: self.load.times_said("No space left", *PROJECTING) > 0)
        if not self.servers.postgres.running():
            # It ends where its own log is to begin another file.
            self.servers.postgres.start()

    def end_the_database_by_its_disk(self) -> None:
        """Leave no room for PostgreSQL's log until it gives up; where no disk is ours, let it write nothing at all."""
        disk, postgres = self.servers.disk, self.servers.postgres
        with psycopg.connect(postgres.url.replace("+psycopg", ""), autocommit=True) as connection:

            def has_ended() -> bool:
                # Files for its log that are at hand are used up first.
                with suppress(psycopg.Error):
                    connection.execute("SELECT pg_switch_wal()")
                return not postgres.running()

            if disk.refusal:
                postgres.limit_files()
                self.load.feed_until(has_ended)
            else:
                with disk.full():
                    self.load.feed_until(has_ended)
        self._feed_and_start_database()

    def _feed_and_start_database(self) -> None:
        try:
            self.load.feed(2)
        finally:
            self.servers.postgres.start()


def is_led_by(servers: Servers, node: int, topic: str) -> bool:
    """Tell whether a broker leads a partition of a topic, as the next broker knows it."""
    next_one = Brokers((servers.kafka.servers[node % NODES],))
    with closing(connect(KafkaConsumer, next_one, topic)) as consumer:
        leader_of = consumer._client.cluster.leader_for_partition
        partitions = consumer.partitions_for_topic(topic)
        return any(leader_of(TopicPartition(topic, number)) == node for number in partitions)


def _following(log: Log) -> Record:
    """Return a record that would be taken for a true one behind a log's last."""
    last = list(log.read())[-1]
    return Record(build_header(last.end, last.lines, last.header.recorded_at, None, last.header.basis), last.lines)
