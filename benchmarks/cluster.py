"""A cluster's stages on stream (a), and projecting beside a plain Faust agent that inserts through SQLAlchemy's ORM.

python -m benchmarks.cluster --n 30000 --lanes 8
python -m dev run -- python -m benchmarks.cluster       where no servers run yet

First the product's own path: ingest, then settling with a worker beside it that has started up, from the first fact to
the last balance; and single facts on an idle cluster, until they are acknowledged and until what they lead to is
committed. Then the projecting alone: our records in one topic, each decision as a message of its own in another, since
an agent takes one event at a time; each projects what is there into a database of its own, in a process of its own,
from its first event to its last; then single balances are looked up, now and at past positions. Broker and database run
on the same CPUs. All must end with the same sums of all accounts.
"""

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any, NamedTuple
from uuid import uuid4

from kafka import KafkaProducer
from sqlalchemy import BigInteger, Engine, Numeric, String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from app.books import MIGRATIONS, Books
from app.clock import now
from app.cluster import ClusterBooks
from app.facts import Producer, to_line
from app.settings import Settings
from app.stages import SETTLE, Stages
from benchmarks.segments import measure_lookups
from benchmarks.stream import PARAMETERS, usage_stream, write_lines
from dev.__main__ import KAFKA, POSTGRES
from dev.postgres import create_database, drop_database
from events.codec import decode
from events.event import Decision
from events.kafka import Brokers
from events.log import Log
from events.record import pack
from events.topics import create_topics
from ledger.entry import Side
from ledger.parameters import parameters_from_toml
from ledger.post import post
from projections import tables
from projections.database import migrate, open_postgres
from projections.past import Past
from projections.project import Projector
from projections.worker import run_worker
from settlement.ingest import ingest
from settlement.lines import Line, read_chunks

__all__ = ["Measured", "main", "run"]

TAKEN = 1_000
SINGLE = 200
Sums = dict[str, int]


class Measured(NamedTuple):
    """What a process did from its first event to its last: events, seconds, and its CPU seconds among them."""

    events: int
    seconds: float
    cpu: float

    def say(self, name: str) -> None:
        """Print a line."""
        rate, each = self.events / self.seconds, self.cpu / self.events * 1e6
        print(f"{name:<22}{self.events:>9,} events {rate:>9,.0f}/s {each:>7.1f} µs of its CPU an event")


class Clock:
    """Marks the first moment and the last."""

    def __init__(self) -> None:
        """Begin with no moment."""
        self._first: tuple[float, float] | None = None
        self._last = (0.0, 0.0)

    def mark(self) -> None:
        """Take this moment."""
        self._last = perf_counter(), process_time()
        self._first = self._first or self._last

    def measured(self, events: int) -> Measured:
        """Return what lies between."""
        assert self._first is not None
        return Measured(events, self._last[0] - self._first[0], self._last[1] - self._first[1])


class Base(DeclarativeBase):
    """The tables of the plain agent."""


class Posted(Base):
    """A posting."""

    __tablename__ = "posted"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    subject: Mapped[str] = mapped_column(String(88))
    account: Mapped[str] = mapped_column(String(300))
    amount: Mapped[int] = mapped_column(Numeric(39, 0))


class Held(Base):
    """What an account holds."""

    __tablename__ = "held"
    account: Mapped[str] = mapped_column(String(300), primary_key=True)
    amount: Mapped[int] = mapped_column(Numeric(39, 0))


def settle(n: int, lanes: int, folder: Path) -> list[Log]:
    """Settle stream (a); return the ledger logs in the order of their partitions."""
    write_lines(usage_stream(n), folder / "stream")
    books = Books(folder / "books")
    books.create(parameters_from_toml(PARAMETERS.read_text(encoding="utf-8")), lanes)
    file = os.open(folder / "stream", os.O_RDONLY)
    for _ in books.ingest(read_chunks(file), "stream"):
        pass
    os.close(file)
    with books.stages(SETTLE) as stages:
        stages.run()
    return [*books.lanes(), books.hub()]


def put(brokers: Brokers, topic: str, messages: Iterable[tuple[int, bytes]]) -> int:
    """Put messages into a topic; return how many."""
    producer = KafkaProducer(
        bootstrap_servers=list(brokers.servers), compression_type="zstd", linger_ms=20, max_request_size=2 << 20
    )
    count = 0
    for count, (partition, value) in enumerate(messages, 1):  # noqa: B007
        producer.send(topic, value, partition=partition)
    producer.flush()
    producer.close()
    return count


def project(servers: Sequence[str], url: str, prefix: str, lanes: int, events: int) -> tuple[Measured, Measured]:
    """Project as a worker does; return head and history."""
    engine = open_postgres(url, writable=True)
    head, history = Clock(), Clock()
    fold, fold_history = Projector.fold, Projector.fold_history

    def timed(clock: Clock, step: Callable[..., int]) -> Callable[..., int]:
        def run(*arguments: Any) -> int:
            clock.mark()
            done = step(*arguments)
            clock.mark()
            return done

        return run

    Projector.fold, Projector.fold_history = (  # type: ignore[method-assign]
        timed(head, fold),
        timed(history, fold_history),
    )
    run_worker(Brokers(tuple(servers)), engine, prefix, lanes, lambda: False, once=True)
    engine.dispose()
    return head.measured(events), history.measured(events)


def run_agent(servers: Sequence[str], url: str, topic: str, events: int) -> Measured:
    """Project as the manuals of both have it: an agent, a batch of events, a session, objects."""
    engine, clock = create_engine(url), Clock()
    Base.metadata.create_all(engine)
    asyncio.run(_serve_agent(servers, engine, topic, events, clock))
    engine.dispose()
    return clock.measured(events)


async def _serve_agent(servers: Sequence[str], engine: Engine, topic: str, events: int, clock: Clock) -> None:
    import faust

    app = faust.App(
        topic,
        broker=f"aiokafka://{servers[0]}",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        datadir=tempfile.mkdtemp(),
    )
    done = 0

    async def agent(stream: Any) -> None:
        nonlocal done
        async for lines in stream.take(TAKEN, within=0.1):
            clock.mark()
            await asyncio.to_thread(_insert, engine, lines)
            clock.mark()
            done += len(lines)

    app.agent(app.topic(topic, value_type=bytes, value_serializer="raw"))(agent)
    await app.start()
    while done < events:
        await asyncio.sleep(0.1)
    await app.stop()


def _insert(engine: Engine, lines: Sequence[bytes]) -> None:
    postings = []
    for line in lines:
        decision = decode(line)
        assert isinstance(decision, Decision)
        entry = post(decision)
        postings += [(decision.subject, posting) for posting in ([] if entry is None else entry.postings)]
    with Session(engine) as session, session.begin():
        names = {posting.account for _, posting in postings}
        held = {row.account: row for row in session.scalars(select(Held).where(Held.account.in_(names)))}
        for subject, posting in postings:
            amount = posting.amount if posting.side is Side.CREDIT else -posting.amount
            session.add(Posted(subject=subject, account=posting.account, amount=amount))
            if posting.account not in held:
                held[posting.account] = Held(account=posting.account, amount=0)
                session.add(held[posting.account])
            # Decimals would be rounded to 28 digits.
            held[posting.account].amount = int(held[posting.account].amount) + amount


def our_sums(url: str) -> Sums:
    """Return what accounts hold by our tables."""
    engine = open_postgres(url, writable=True)
    sums: Sums = {}
    query = select(tables.account.c.account, tables.balance.c.debits, tables.balance.c.credits).join(tables.balance)
    with engine.connect() as connection:
        for name, debits, credits in connection.execute(query):
            sums[name] = sums.get(name, 0) + credits - debits
    engine.dispose()
    return sums


def plain_sums(url: str) -> Sums:
    """Return what accounts hold by the agent's tables."""
    engine = create_engine(url)
    with engine.connect() as connection:
        sums = {row.account: int(row.amount) for row in connection.execute(select(Held.account, Held.amount))}
    engine.dispose()
    return sums


def run_stages(servers: Sequence[str], url: str, prefix: str, lanes: int, stream: Path) -> None:
    """Do what the commands do, and say how long each took."""
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as cache:
        settings = Settings.model_validate(
            {
                "cache": cache,
                "kafka": {"servers": servers, "prefix": prefix, "replication": 1},
                "postgres": {"url": url},
            }
        )
        with ClusterBooks(settings) as books:
            _time_stages(books, settings, url, lanes, stream)


def _time_stages(books: ClusterBooks, settings: Settings, url: str, lanes: int, stream: Path) -> None:
    books.create(parameters_from_toml(PARAMETERS.read_text(encoding="utf-8")), lanes)
    ingested, settled = Clock(), Clock()
    file = os.open(stream, os.O_RDONLY)
    ingested.mark()
    facts = sum(receipt.accepted for receipt in books.ingest(read_chunks(file), "stream"))
    ingested.mark()
    os.close(file)
    ingested.measured(facts).say("ingest")
    worker = start_worker(settings, url, lanes)
    with books.stages(SETTLE) as stages:
        settled.mark()
        stages.run()
        settled.mark()
        decided = settled.measured(facts)
        decided.say("settle, worker beside")
        wait_for_head(books, url)
        settled.mark()
        settled.measured(facts)._replace(cpu=decided.cpu).say("… and to the balance")
        say_single(books, stages)
    worker.terminate()
    worker.join()


def start_worker(settings: Settings, url: str, lanes: int) -> Any:
    """Start a worker; once it has taken up all logs, say how long that took, and return its process."""
    context, began = multiprocessing.get_context("spawn"), perf_counter()
    taken = context.Semaphore(0)
    worker = context.Process(target=work, args=(settings.model_dump_json(), url, taken))
    worker.start()
    for _ in range(lanes + 2):
        taken.acquire()
    print(f"{'worker, to its logs':<22}{perf_counter() - began:>6.2f} s")
    return worker


def work(settings: str, url: str, taken: Semaphore) -> None:
    """Be a worker until terminated; tell of each log that is taken up."""
    told = json.loads(settings)["kafka"]
    engine, take_up = open_postgres(url, writable=True), Projector.take_up

    def tell(projector: Projector, log: str) -> int:
        position = take_up(projector, log)
        taken.release()
        return position

    Projector.take_up = tell  # type: ignore[assignment, method-assign]
    with ClusterBooks(Settings.model_validate({"kafka": told, "postgres": {"url": url}})) as books:
        lanes = books.count_lanes()
    run_worker(Brokers(tuple(told["servers"])), engine, told["prefix"], lanes, lambda: False)


def wait_for_head(books: ClusterBooks, url: str) -> None:
    """Wait until the tables hold all that is committed."""
    ends = {log.name: log.end() for log in books.ledgers()}
    engine = open_postgres(url, writable=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        positions: dict[str, int] = {}
        while any(positions.get(log, 0) < end for log, end in ends.items()):
            sleep(0.005)
            positions = {row.log: row.position for row in connection.execute(select(tables.checkpoint))}
    engine.dispose()


def say_single(books: ClusterBooks, stages: Stages) -> None:
    """Say how long a fact takes that comes alone, until it is acknowledged, and until its decision is committed."""
    acknowledged, committed = [], []
    producer = Producer("single", "usage")
    with books.open_facts() as partitions:
        mark = partitions.marks()["usage"]
        for number in range(SINGLE):
            line = to_line(producer.mark(mark + number + 1)).rstrip(b"\n")
            began = perf_counter()
            for receipt in ingest(iter([[Line(1, line, len(line))]]), "single", partitions, now):
                assert receipt.accepted == 1, receipt
            acknowledged.append(perf_counter() - began)
            stages.run()
            committed.append(perf_counter() - began)
    for name, seconds in (("acknowledged", acknowledged), ("decided, committed", committed)):
        ordered = sorted(seconds)
        middle, most = ordered[len(ordered) // 2] * 1e3, ordered[len(ordered) * 99 // 100] * 1e3
        print(f"{name:<22}{middle:>6.1f} ms p50 {most:>6.1f} ms p99, one fact at a time")


def compare(brokers: Brokers, prefix: str, logs: list[Log], databases: tuple[str, str]) -> bool:
    """Measure both on what the logs hold; return whether their sums are the same."""
    topics = {f"{prefix}.{name}": len(logs) for name in ("ledger", "facts", "plain")}
    create_topics(brokers, topics, replication=1)
    records = [(number, record) for number, log in enumerate(logs) for record in log.read()]
    put(brokers, f"{prefix}.ledger", ((number, pack(record)) for number, record in records))
    events = put(brokers, f"{prefix}.plain", ((number, line) for number, record in records for line in record.lines))
    ours, plain = databases
    engine = open_postgres(ours, writable=True)
    migrate(engine, MIGRATIONS)
    engine.dispose()
    head, history = in_process(project, brokers.servers, ours, prefix, len(logs) - 1, events)
    head.say("worker, head")
    history.say("worker, history")
    for name, (middle, most) in measure_lookups(open_postgres(ours, writable=False), Past(Path(), [])).items():
        print(f"{name:<22}{middle:>6.0f} µs p50 {most:>6.0f} µs p99")
    agent = in_process(run_agent, brokers.servers, plain, f"{prefix}.plain", events)
    agent.say("plain agent, ORM")
    exact = our_sums(ours) == plain_sums(plain)
    print(f"{len(records):,} records; the same sums of all accounts: {'yes' if exact else 'NO'}")
    return exact


def run(servers: Sequence[str], postgres: str, n: int, lanes: int = 1) -> bool:
    """Measure all on `n` settlements, in topics and databases made for it; return whether their sums are the same."""
    prefix = f"bench-{uuid4().hex[:8]}"
    databases = [create_database(postgres, f"{prefix}-{name}") for name in ("ours", "plain", "whole")]
    try:
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
            logs = settle(n, lanes, Path(folder))
            print(f"{n:,} settlements, lanes: {lanes}")
            run_stages(servers, databases[2], f"{prefix}-whole", lanes, Path(folder) / "stream")
            exact = compare(Brokers(tuple(servers)), prefix, logs, (databases[0], databases[1]))
            return exact and our_sums(databases[0]) == our_sums(databases[2])
    finally:
        for database in databases:
            drop_database(database)


def in_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure both; return 1 where their sums differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=30_000, metavar="N", help="settlements (default 30,000)")
    parser.add_argument("--lanes", type=int, default=1, metavar="N", help="lanes (default 1)")
    told = parser.parse_args(arguments)
    return 0 if run(os.environ[KAFKA].split(","), os.environ[POSTGRES], told.n, told.lanes) else 1


if __name__ == "__main__":
    sys.exit(main())
