"""A cluster whose servers and processes fail while facts come in: nothing acknowledged is lost, nothing counts twice.

Three brokers, each topic on all of them, one PostgreSQL. At the end of each story all that was told is settled and
shown, every log and row verifies, and digests and balances are those of embedded books.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from dev.kafka import KafkaCluster
from dev.postgres import Postgres
from events.killpoints import KILLPOINTS
from events.log import Log
from events.record import Record, build_header, pack
from projections import tables
from tests.cluster.deployment import deploy
from tests.cluster.load import PROJECTING, Load
from tests.cluster.tally import FAULTS, Tally
from tests.networks import build_network
from tests.servers import make_folder, remove_folder

pytestmark = pytest.mark.slow

NODES = 3
# The longest that is waited before a fault, once a piece was told.
MOMENT_S_MAX = 0.5
STEPS = [name for name in KILLPOINTS if name.startswith("kafka.")]
GARBAGE = (b"no event", b"\xff\x00\xfe", b'{"specversion":"1.0"}', b"[1, 2", b"[17]", b"\n" * 9)
# What PostgreSQL says where a table cannot grow: every other statement that writes balances or history fails so.
FULL = (
    "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF random() < 0.5 THEN "
    "RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END IF; RETURN NULL; END $$",
    "CREATE TRIGGER full_disk BEFORE INSERT ON balance EXECUTE FUNCTION full_disk()",
    "CREATE TRIGGER full_disk BEFORE INSERT ON history EXECUTE FUNCTION full_disk()",
)


@dataclass(frozen=True)
class Servers:
    """Servers that may be killed."""

    kafka: KafkaCluster
    postgres: Postgres


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Start three brokers and a database, for this module alone."""
    folder = make_folder()
    try:
        servers = Servers(KafkaCluster(folder / "kafka", NODES), Postgres(folder / "postgres"))
        servers.kafka.start()
        servers.postgres.start()
        yield servers
    finally:
        remove_folder(folder)


class Story:
    """Faults that befall some books, one after the other, each while facts are told."""

    def __init__(self, servers: Servers, folder: Path, seed: int) -> None:
        name = f"story_{uuid4().hex[:8]}"
        self.servers, self.random, self._folder = servers, Random(seed), folder / name
        self._folder.mkdir()
        database = servers.postgres.create_database(name)
        deployment = deploy(self._folder, servers.kafka.servers, name, database, replication=NODES)
        self.load = Load(deployment, build_network(seed, jobs=60))
        self._told: dict[str, list[bytes]] = {}

    def befall(self, name: str, fault: Callable[[], None]) -> None:
        """Let a fault happen at a random moment under load, and see that the books go on behind it."""
        begun = len(self.load.fed)
        self.load.feed(2)
        time.sleep(self.random.uniform(0, MOMENT_S_MAX))
        fault()
        self.load.wait_for_progress()
        self._told.setdefault(name, []).extend(self.load.fed[begun:])

    def run_beside(self, *command: str) -> None:
        """Run a command to its end while facts are told."""
        load = self.load
        started = load.start(*command)
        load.feed(2)
        load.wait_until(started.has_ended)
        ended = started.end()
        assert ended.status == 0, ended

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
            time.sleep(self.random.uniform(0, MOMENT_S_MAX))
            producer.abort_transaction()

    def put(self, topic: str, partition: int, *messages: bytes) -> int:
        """Put messages into a topic, as somebody who may write to it, and return the offset behind them."""
        topic = f"{self.load.deployment.prefix}.{topic}"
        with KafkaProducer(bootstrap_servers=list(self.servers.kafka.servers), acks="all") as producer:
            sent = [producer.send(topic, message, partition=partition) for message in messages]
            return int(sent[-1].get(timeout=10).offset) + 1

    def taken(self) -> int:
        """Return up to which offset ingest has taken in what is in the inbox."""
        prefix = self.load.deployment.prefix
        servers = list(self.servers.kafka.servers)
        with KafkaConsumer(bootstrap_servers=servers, group_id=f"{prefix}.ingest", enable_auto_commit=False) as group:
            return group.committed(TopicPartition(f"{prefix}.inbox", 0)) or 0

    def refused(self) -> int:
        """Count what is kept of the inbox though it was refused."""
        return sum(row.source.startswith(self.load.deployment.prefix) for row in self.load.rows(tables.dead_letter))

    def sql(self, *statements: str) -> None:
        """Execute statements in the books' tables."""
        engine = self.load.deployment.books().engine(writable=True)
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def finish(self, tell: Callable[[dict[str, Tally]], None]) -> None:
        """Tell what became of all that was acknowledged, and compare the books with those of a quiet place."""
        embedded = self.load.finish(self._folder / "embedded")
        tallies = self.load.tally(embedded, self._told)
        tell(tallies)
        assert all(tally.acknowledged and not (tally.lost or tally.doubled) for tally in tallies.values()), tallies
        self.load.compare(embedded)


def _following(log: Log) -> Record:
    """Return a record that would be taken for a true one behind a log's last."""
    with closing(log):
        last = list(log.read())[-1]
    return Record(build_header(last.end, last.lines, last.header.recorded_at, None, last.header.basis), last.lines)


Tell = Callable[[Callable[[Story], None]], None]


@pytest.fixture
def tell(servers: Servers, tmp_path: Path, kills: int | None, record_property: Callable[[str, object], None]) -> Tell:
    """Tell a story so many times, each with other books, and note what became of them."""

    def told(befall: Callable[[Story], None]) -> None:
        for seed in range(kills or 1):
            story = Story(servers, tmp_path, seed)
            try:
                story.load.begin_all()
                befall(story)
                story.finish(
                    lambda tallies: record_property(FAULTS, {name: [*tally] for name, tally in tallies.items()})
                )
            finally:
                story.load.abandon()

    return told


def test_projecting_processes_die_join_and_leave(tell: Tell) -> None:
    def befall(story: Story) -> None:
        load = story.load

        def kill() -> None:
            role = story.random.choice(PROJECTING)
            load.kill(role)
            load.feed()
            load.begin(role)

        def leave() -> None:
            role = story.random.choice(PROJECTING)
            assert load.end(role).status == 0
            load.feed()
            load.begin(role)

        story.befall("kill -9 of a process that projects", kill)
        story.befall("a process that projects leaves, another joins", leave)
        story.befall("the projections are rebuilt", lambda: story.run_beside("rebuild"))

    tell(befall)


def test_the_settling_process_dies_or_is_replaced(tell: Tell) -> None:
    def befall(story: Story) -> None:
        load = story.load

        def kill() -> None:
            load.kill("settle")
            load.feed()
            load.begin("settle")

        def die_at(step: str) -> None:
            load.kill("settle")
            load.begin("settle", kill_at=step)
            armed = load.processes["settle"]
            load.feed()
            load.wait_until(lambda: load.processes["settle"] is not armed)
            assert load.ended("settle").status == -signal.SIGKILL

        def replace() -> None:
            first = load.processes.pop("settle")
            load.begin("settle")
            # It learns of the other when it commits, so there must be something to decide.
            load.feed(4)
            load.wait_until(first.has_ended)
            ended = first.end()
            assert ended.status == 1
            assert ended.err.splitlines()[-1].startswith(f"omnisync: {load.deployment.prefix}.ledger: another writer")

        story.befall("kill -9 of the process that settles", kill)
        for step in STEPS:
            story.befall(f"the same at {step}", partial(die_at, step))
        story.befall("a second process settles", replace)
        story.befall("a foreign transaction in the ledger is aborted", story.abort_foreign)

    tell(befall)


def test_a_broker_of_three_dies_or_is_cut_off(tell: Tell) -> None:
    def befall(story: Story) -> None:
        kafka, load = story.servers.kafka, story.load

        def kill() -> None:
            node = story.random.randint(1, NODES)
            kafka.kill(node)
            load.feed(2)
            kafka.start_node(node)

        def cut_off() -> None:
            node = story.random.randint(1, NODES)
            kafka.pause(node)
            load.feed(2)
            kafka.resume(node)

        story.befall("kill -9 of one broker of three", kill)
        story.befall("a broker stands still, and goes on", cut_off)

    tell(befall)


def test_the_database_dies_or_is_full(tell: Tell) -> None:
    def befall(story: Story) -> None:
        postgres, load = story.servers.postgres, story.load

        def kill() -> None:
            postgres.kill()
            load.feed(2)
            postgres.start()

        def fill() -> None:
            story.sql(*FULL)
            load.feed(3)
            load.wait_until(lambda: any("No space left" in load.talk(role) for role in PROJECTING))
            story.sql("DROP FUNCTION full_disk CASCADE")

        story.befall("kill -9 of PostgreSQL", kill)
        story.befall("the database's disk is full, now and then", fill)

    tell(befall)


def test_every_fact_is_told_twice(tell: Tell) -> None:
    def befall(story: Story) -> None:
        load = story.load

        def again() -> None:
            load.tell(load.fed[: len(load.fed) // 2])
            load.kill("ingest")
            load.begin("ingest")
            load.tell(load.fed)

        story.befall("every fact is told twice, and ingest is killed", again)

    tell(befall)


def test_garbage_in_the_inbox_is_kept_and_stops_nobody(tell: Tell) -> None:
    def befall(story: Story) -> None:
        load = story.load

        def put_garbage() -> None:
            load.end("ingest")
            load.begin("inbox")
            story.put("inbox", 0, *GARBAGE, b"[" + b",".join(load.take()) + b"]")
            time.sleep(story.random.uniform(0, MOMENT_S_MAX))
            load.kill("inbox")
            load.begin("inbox")
            end = story.put("inbox", 0, *load.take(), *GARBAGE)
            load.wait_until(lambda: story.taken() >= end)
            assert load.end("inbox").status == 1
            load.begin("ingest")
            load.wait_until(lambda: story.refused() >= len(GARBAGE))

        story.befall("garbage in the inbox, and ingest is killed", put_garbage)

    tell(befall)


def test_a_foreign_message_stops_its_lane_and_nothing_else(servers: Servers, tmp_path: Path) -> None:
    story = Story(servers, tmp_path, 7)
    load, deployment = story.load, story.load.deployment

    def ends() -> dict[str, int]:
        with deployment.books() as books:
            return {log.name: log.end() for log in (books.lane(1), books.hub())}

    def stands_still(role: str) -> bool:
        return "lane-0 stands still" in load.talk(role)

    try:
        load.begin_all()
        load.feed(4)
        load.wait_for_progress()
        standing, before = load.committed()["lane-0"], ends()
        damage = f"lane-0: record at sequence {standing} "
        story.put("ledger", 0, b"no record\n")
        load.feed(12)
        load.wait_until(lambda: all(end > before[log] for log, end in ends().items()))
        load.wait_until(lambda: any(map(stands_still, PROJECTING)))
        after = ends()
        load.wait_until(lambda: all(load.shown()[log] >= end for log, end in after.items()))
        assert load.shown()["lane-0"] == standing

        # Whoever is left takes the lane up, and stands there too.
        load.end("project-0")
        load.wait_until(lambda: stands_still("project-1"))
        ended = load.end("project-1")
        assert (ended.status, f"omnisync: {damage}" in ended.err) == (1, True), ended
        assert load.end("settle").status == 0
        for command in (["run", "--once", "--only", "settle"], ["run", "--once", "--only", "project"]):
            refused = deployment.run(*command)
            assert (refused.status, damage in refused.err, "Traceback" in refused.err) == (1, True, False), refused
        assert damage in deployment.do("verify", "--all", status=1)
        assert deployment.run("balance").status == 0
    finally:
        load.abandon()
