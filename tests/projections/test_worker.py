"""Workers on a real broker and PostgreSQL: what they leave in the tables is what one SQLite projection leaves.

The records are those of embedded books; the workers are processes, and die as such.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import ProgrammingError

from app.books import MIGRATIONS
from app.facts import to_line
from benchmarks.stream import PARAMETERS, usage_stream
from dev.access import admin_options
from dev.kafka import KafkaCluster
from dev.postgres import Postgres
from events.kafka import Brokers, KafkaWriter
from events.log import LogDamaged, LogFault
from events.record import Record, build_header, pack
from events.topics import create_topics
from ledger.errors import LedgerInvariantBroken
from ledger.parameters import parameters_from_toml
from projections import tables
from projections.database import migrate, open_postgres
from projections.position import history_of
from projections.worker import run_worker
from tests.settlement.desk import Desk, tables_of

pytestmark = [pytest.mark.slow]

ROOT = Path(__file__).parents[2]
LANES = 8
SETTLEMENTS = 4_000
REFUSED = 50
HUB = LANES
LOGS = [*(f"lane-{number}" for number in range(LANES)), "hub"]
# What is compared with SQLite's: all but ids, which each database gives its own way.
KEYED = ("balance", "history")
PLAIN = ("record", "job", "epoch", "epoch_total", "dead_letter", "reward", "reward_epoch", "participant")
WAIT_S = 60
# So many messages of each log go into one transaction.
STEP = 4

Rows = dict[str, set[tuple[Any, ...]]]


@dataclass(frozen=True)
class Scene:
    """Books as they were settled, and what one projector makes of them."""

    logs: dict[str, list[Record]]
    facts: list[Record]
    rows: Rows = field(repr=False)

    def ends(self) -> dict[str, int]:
        """Return where each checkpoint stands when all is projected."""
        ends = {name: records[-1].end for name, records in self.logs.items()}
        return ends | {history_of(name): end for name, end in ends.items()} | {"facts/hub": self.facts[-1].end}


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Settle a stream on eight lanes, with some lines that are refused, and project it into SQLite."""
    desk = Desk(parameters_from_toml(PARAMETERS.read_text("utf-8")), LANES)
    lines = [*map(to_line, usage_stream(SETTLEMENTS)), *(b"no event %d" % number for number in range(REFUSED))]
    desk.ingest(lines, chunk=1_000)
    desk.settle()
    engine = tables_of(desk)
    rows = read_rows(engine)
    engine.dispose()
    return Scene({log.name: log.records for log in (*desk.lanes, desk.hub)}, desk.partitions[-1].records, rows)


@dataclass(frozen=True)
class Worker:
    """A worker's process, and where it says what it does."""

    process: subprocess.Popen[str]
    log: Path

    def said(self) -> str:
        """Return all that it has said."""
        return self.log.read_text("utf-8")

    def end(self) -> None:
        """Ask it to stop, and see that it stops well."""
        self.process.terminate()
        try:
            assert self.process.wait(WAIT_S) == 0, self.said()
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGUSR1)
            wait_until(lambda: "Current thread" in self.said())
            pytest.fail(self.said())


class Cluster:
    """Topics of a test's own, its database, and its workers."""

    def __init__(self, servers: Sequence[str], url: str, prefix: str, folder: Path) -> None:
        self.folder = folder
        self.brokers, self.url, self.prefix = Brokers(tuple(servers)), url, prefix
        self.engine = open_postgres(url, writable=True)
        migrate(self.engine, MIGRATIONS)
        create_topics(self.brokers, {f"{prefix}.ledger": LANES + 1, f"{prefix}.facts": LANES + 1}, 1)
        self.producer = KafkaProducer(
            bootstrap_servers=list(servers), transactional_id=prefix, retry_backoff_ms=2, max_request_size=2 << 20
        )
        self.producer.init_transactions()
        self.workers: list[Worker] = []

    def put(self, kind: str, messages: Iterable[tuple[int, bytes]], *, commit: bool = True) -> None:
        """Put messages into partitions of a topic, in one transaction."""
        self.producer.begin_transaction()
        for partition, value in messages:
            self.producer.send(f"{self.prefix}.{kind}", value, partition=partition)
        if commit:
            self.producer.commit_transaction()
        else:
            self.producer.flush()
            self.producer.abort_transaction()

    def put_all(self, scene: Scene, heed: Callable[[int], None] = lambda step: None) -> None:
        """Put all records, some of each log at a time; before some of them such as are aborted."""
        self.put("facts", [(HUB, pack(record)) for record in scene.facts])
        steps = max(len(records) for records in scene.logs.values()) // STEP + 1
        for step in range(steps):
            heed(step)
            some = [
                (LOGS.index(name), record)
                for name, records in scene.logs.items()
                for record in records[step * STEP : (step + 1) * STEP]
            ]
            if step % 5 == 0:
                self.put("ledger", [(partition, pack(forged(record))) for partition, record in some], commit=False)
            self.put("ledger", [(partition, pack(record)) for partition, record in some])

    def work(self, kill_at: str | None = None) -> "Worker":
        """Start a worker."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)} | ({"OMNISYNC_KILL_AT": kill_at} if kill_at else {})
        command = [sys.executable, "-m", "tests.projections.work", ",".join(self.brokers.servers), self.url]
        log = self.folder / f"worker-{len(self.workers)}.log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [*command, self.prefix, str(LANES)], cwd=ROOT, env=environment, stderr=stderr, text=True
            )
        self.workers.append(Worker(process, log))
        return self.workers[-1]

    def positions(self) -> dict[str, int]:
        """Return where the checkpoints stand."""
        with self.engine.connect() as connection:
            return {row.log: row.position for row in connection.execute(select(tables.checkpoint))}

    def wait_for(self, ends: dict[str, int]) -> None:
        """Wait until so much of each log is projected."""
        wait_until(lambda: all(self.positions().get(log, 0) >= end for log, end in ends.items()))

    def close(self) -> None:
        """End what runs."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()
        self.producer.close()
        self.engine.dispose()


@pytest.fixture
def cluster(kafka: tuple[str, ...], database: str, topic_prefix: str, tmp_path: Path) -> Iterator[Cluster]:
    """Topics and tables with nothing in them."""
    cluster = Cluster(kafka, database, topic_prefix, tmp_path)
    yield cluster
    cluster.close()


def test_one_worker_projects_all_there_is_and_ends(scene: Scene, cluster: Cluster) -> None:
    cluster.put_all(scene)

    run_worker(cluster.brokers, cluster.engine, cluster.prefix, LANES, lambda: False, once=True)

    assert cluster.positions() == scene.ends()
    assert read_rows(cluster.engine) == scene.rows
    assert len(scene.rows["dead_letter"]) == REFUSED


def test_workers_join_leave_and_die_and_nothing_is_lost_or_doubled(scene: Scene, cluster: Cluster) -> None:
    first, second = cluster.work(), cluster.work()

    def disturb(step: int) -> None:
        # Each of them works on some logs when the next thing happens.
        if step == 10:
            cluster.wait_for({"lane-0": scene.logs["lane-0"][4 * STEP].end})
            cluster.work()
        elif step == 20:
            first.process.kill()
            cluster.work()
        elif step == 30:
            wait_until(lambda: "taken up" in second.said())
            second.end()

    cluster.put_all(scene, disturb)
    cluster.wait_for(scene.ends())

    assert read_rows(cluster.engine) == scene.rows
    for worker in cluster.workers[2:]:
        worker.end()


def test_history_has_its_turns_though_something_is_always_new_for_the_head(scene: Scene, cluster: Cluster) -> None:
    cluster.work()

    for records in zip(scene.logs["lane-0"], scene.logs["lane-1"], strict=False):
        cluster.put("ledger", [(lane, pack(record)) for lane, record in enumerate(records)])
        cluster.wait_for({f"lane-{lane}": record.end for lane, record in enumerate(records)})
        if {history_of("lane-0"), history_of("lane-1")} <= cluster.positions().keys():
            break

    assert records[0].end < scene.logs["lane-0"][-1].end


def test_a_worker_that_stood_still_cannot_write_what_another_has_taken_over(scene: Scene, cluster: Cluster) -> None:
    first = cluster.work()
    half = {name: records[len(records) // 2] for name, records in scene.logs.items()}

    def disturb(step: int) -> None:
        if step == 15:
            cluster.wait_for({name: records[STEP].end for name, records in scene.logs.items()})
            first.process.send_signal(signal.SIGSTOP)
            cluster.work()

    cluster.put_all(scene, disturb)
    cluster.wait_for({name: record.end for name, record in half.items()})
    first.process.send_signal(signal.SIGCONT)
    cluster.wait_for(scene.ends())

    assert read_rows(cluster.engine) == scene.rows
    assert first.process.poll() is None, first.said()


def test_a_worker_that_others_keep_from_joining_stops_all_the_same(scene: Scene, cluster: Cluster) -> None:
    first = cluster.work()
    wait_until(lambda: "taken up" in first.said())

    with cluster.engine.begin() as connection:
        connection.execute(text("LOCK TABLE checkpoint IN EXCLUSIVE MODE"))
        cluster.put_all(scene)
        second = cluster.work()
        wait_until(lambda: "joining" in second.said())
        second.end()

    assert "will miss this worker" in second.said()


@pytest.mark.parametrize("step", ["project.1-rows-written", "project.3-history-written"])
def test_a_worker_killed_between_write_and_commit_leaves_nothing_of_its_batch(
    scene: Scene, cluster: Cluster, step: str
) -> None:
    cluster.put_all(scene)

    killed = cluster.work(kill_at=f"{step}:5")
    assert killed.process.wait(WAIT_S) == -signal.SIGKILL, killed.said()
    run_worker(cluster.brokers, cluster.engine, cluster.prefix, LANES, lambda: False, once=True)

    assert read_rows(cluster.engine) == scene.rows


def test_a_database_that_is_killed_and_comes_back_is_waited_for(
    scene: Scene, kafka: tuple[str, ...], topic_prefix: str, server_folder: Path, tmp_path: Path
) -> None:
    server = Postgres(server_folder / "postgres")
    server.start()
    cluster = Cluster(kafka, server.create_database("books"), topic_prefix, tmp_path)
    worker = cluster.work()

    def disturb(step: int) -> None:
        if step in {10, 20}:
            cluster.wait_for({"lane-0": scene.logs["lane-0"][(step - 5) * STEP].end})
            server.kill()
        elif step in {12, 22}:
            server.start()

    cluster.put_all(scene, disturb)
    cluster.wait_for(scene.ends())

    assert read_rows(cluster.engine) == scene.rows
    assert worker.process.poll() is None, worker.said()
    cluster.close()


def test_a_damaged_message_stops_its_log_and_no_other(scene: Scene, cluster: Cluster) -> None:
    good = scene.logs["lane-3"][:10]
    logs = {**scene.logs, "lane-3": good}
    cluster.put_all(Scene(logs, scene.facts, scene.rows))
    cluster.put("ledger", [(3, b"no record\n")])
    cluster.put("ledger", [(3, pack(record)) for record in scene.logs["lane-3"][10:]])

    with pytest.raises(LogDamaged, match=r"lane-3: record at sequence \d+ .*ledger-3@\d+.* header"):
        run_worker(cluster.brokers, cluster.engine, cluster.prefix, LANES, lambda: False, once=True)

    positions = cluster.positions()
    assert positions["lane-3"] == good[-1].end
    assert {name: positions[name] for name in LOGS if name != "lane-3"} == {
        name: records[-1].end for name, records in logs.items() if name != "lane-3"
    }


def test_a_record_that_does_not_follow_stops_its_log(scene: Scene, cluster: Cluster) -> None:
    first, _, third, *_ = scene.logs["lane-1"]
    cluster.put("ledger", [(1, pack(first)), (1, pack(third))])

    with pytest.raises(
        LedgerInvariantBroken, match=rf"lane-1: a record at {third.sequence} does not follow {first.end}"
    ):
        run_worker(cluster.brokers, cluster.engine, cluster.prefix, LANES, lambda: False, once=True)

    assert cluster.positions().get("lane-1", 0) in {0, first.end}


def test_a_broker_that_is_not_there_is_said_at_once(database: str) -> None:
    engine = open_postgres(database, writable=True)
    migrate(engine, MIGRATIONS)

    with pytest.raises(LogFault, match=r"127\.0\.0\.1:1\b"):
        run_worker(Brokers(("127.0.0.1:1",)), engine, "nobody", LANES, lambda: False)
    engine.dispose()


def test_tables_that_are_not_what_they_should_be_end_the_process(scene: Scene, cluster: Cluster) -> None:
    cluster.put_all(scene)
    with cluster.engine.begin() as connection:
        connection.execute(text("DROP TABLE balance CASCADE"))

    with pytest.raises(ProgrammingError, match="balance"):
        run_worker(cluster.brokers, cluster.engine, cluster.prefix, LANES, lambda: False)


def test_a_worker_shows_who_it_is(scene: Scene, database: str, server_folder: Path) -> None:
    servers = KafkaCluster(server_folder / "kafka", secure=True)
    servers.start()
    administrator = Brokers(servers.administration, admin_options(servers.secrets))
    create_topics(administrator, dict.fromkeys(("omnisync.ledger", "omnisync.facts"), LANES + 1), 1)
    writer = KafkaWriter(Brokers(servers.servers, servers.options("settle")), "omnisync.ledger")
    for record in scene.logs["hub"]:
        writer.send("omnisync.ledger", HUB, pack(record))
    writer.commit()
    writer.close()
    engine = open_postgres(database, writable=True)
    migrate(engine, MIGRATIONS)

    run_worker(
        Brokers(servers.servers, servers.options("project")), engine, "omnisync", LANES, lambda: False, once=True
    )

    with engine.connect() as connection:
        end = connection.execute(select(tables.checkpoint.c.position).where(tables.checkpoint.c.log == "hub")).scalar()
    engine.dispose()
    assert end == scene.logs["hub"][-1].end


def forged(record: Record) -> Record:
    """Return a record that would be taken for the true one, had it been committed."""
    header = record.header
    lines = [line.replace(b'"amount":"', b'"amount":"9') for line in record.lines]
    return Record(build_header(header.sequence, lines, header.recorded_at, header.network_time, header.basis), lines)


def wait_until(done: Callable[[], bool]) -> None:
    """Wait until something holds that no signal tells."""
    for _ in range(WAIT_S * 20):
        if done():
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"not within {WAIT_S} s")


def read_rows(engine: Engine) -> Rows:
    """Read what the tables say, with accounts by their names."""
    account = tables.account
    keys = [account.c.asset, account.c.account, account.c.vault]
    rows: Rows = {}
    with engine.connect() as connection:
        for name in KEYED:
            table = tables.METADATA.tables[name]
            columns = [column for column in table.c if column.name != "account_id"]
            query = select(*keys, *columns).join(account, account.c.id == table.c.account_id)
            rows[name] = {tuple(row) for row in connection.execute(query)}
        for name in PLAIN:
            rows[name] = {tuple(row) for row in connection.execute(select(tables.METADATA.tables[name]))}
    return rows
