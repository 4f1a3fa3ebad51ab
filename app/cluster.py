"""The books of a cluster: logs on Kafka, tables in PostgreSQL, each stage a process of its own.

<prefix>.inbox                      what outside producers report; whoever ingests reads it
<prefix>.facts   0 … N-1, N         `facts/0` … `facts/N-1`, `facts/hub`; one writer, `<prefix>.facts`
<prefix>.ledger  0 … N-1, N         `lane-0` … `lane-N-1`, `hub`; one writer, `<prefix>.ledger`
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine

from app.anybooks import AnyBooks, BooksExist, BooksMissing, declare_genesis
from app.books import Books
from app.clock import now
from app.copying import copy_logs
from app.settings import KafkaSettings, PostgresSettings, Settings, SettingsInvalid
from app.stages import SETTLE, Progress, Settling, Stages
from app.stopping import Stopping
from events.codec import encode
from events.inbox import Inbox, Message
from events.kafka import Brokers, KafkaLog, KafkaWriter
from events.log import Log
from events.topics import check_topics, count_partitions, create_topics
from ledger.parameters import Parameters, parameters_hash, parameters_json
from projections.database import migrate, open_postgres
from projections.read import read_position
from projections.rebuild import rebuild_beside
from projections.roles import grant_roles
from settlement.ingest import Partitions, Receipt, ingest
from settlement.lines import CHUNK_BYTES, LINE_BYTES_MAX, Line
from settlement.routing import HUB_PARTITION, partitions_of

__all__ = ["ClusterBooks", "Topics"]

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
INBOX_PARTITIONS = 1
# How long ingest waits for the inbox before it looks whether it is asked to stop.
INBOX_WAIT_MS = 200


class Topics(NamedTuple):
    """The names of the topics of some books."""

    inbox: str
    facts: str
    ledger: str


class ClusterBooks(AnyBooks):
    """The books that some settings name."""

    def __init__(self, settings: Settings) -> None:
        """Take settings with `kafka`, and `postgres` for who asks or projects; nothing is opened yet."""
        assert settings.kafka is not None
        kafka = settings.kafka
        self.brokers = brokers_of(kafka)
        self._prefix = kafka.prefix
        self.topics = Topics(*(f"{kafka.prefix}.{name}" for name in Topics._fields))
        self.place = f"{kafka.prefix} at {','.join(kafka.servers)}"
        self._replication = kafka.replication
        self._postgres = settings.postgres
        self._cache = settings.cache
        self._lanes = 0
        self._opened = ExitStack()

    def close(self) -> None:
        """Close what was opened to be read, and all engines; the books can be used again."""
        self._opened.close()

    # --- logs ---

    def count_lanes(self) -> int:
        """Count the lanes: the facts' partitions but one, for good. Raises: LogFault, BooksMissing."""
        if not self._lanes:
            count = count_partitions(self.brokers, self.topics.facts)
            if count is None:
                raise BooksMissing(f"no books in {self.place}; create them with `omnisync init --preset omnisync`")
            self._lanes = count - 1
        return self._lanes

    def facts(self, name: str, writer: KafkaWriter | None = None) -> KafkaLog:
        """Open a partition of the facts."""
        lanes = self.count_lanes()
        number = lanes if name == HUB_PARTITION else partitions_of(lanes).index(name)
        return self._open(self.topics.facts, number, name, writer)

    def lane(self, number: int = 0, writer: KafkaWriter | None = None) -> KafkaLog:
        """Open a lane's ledger log."""
        return self._open(self.topics.ledger, number, f"lane-{number}", writer)

    def hub(self, writer: KafkaWriter | None = None) -> KafkaLog:
        """Open the hub's ledger log."""
        return self._open(self.topics.ledger, self.count_lanes(), "hub", writer)

    def _open(self, topic: str, number: int, name: str, writer: KafkaWriter | None) -> KafkaLog:
        cache = self._cache and self._cache / "frontiers"
        log = KafkaLog(self.brokers, topic, number, name, writer, sync_each=False, cache=cache)
        if writer is None:
            self._opened.callback(log.close)
        return log

    def check_ends(self) -> None:
        """Assert that the topics are as they were made: nothing of them is ever removed. Raises: TopicsDiffer."""
        self._check_topics(self.topics.facts, self.topics.ledger)

    def _check_topics(self, topic: str, *more: str) -> None:
        check_topics(self.brokers, dict.fromkeys((topic, *more), self.count_lanes() + 1), self._replication)

    def committed(self, ledgers: Sequence[Log]) -> Mapping[str, int]:
        """Read it out of the logs: all that is there is committed, and each record says what it rests on."""
        ends: dict[str, int] = {}
        for log in ledgers:
            ends[log.name] = end = log.end()
            for record in log.read(end - 1) if end else ():
                ends |= {basis.log: basis.end for basis in record.header.basis if basis.log.startswith("facts/")}
        return ends

    def past(self) -> None:
        """Seal nothing: history has all rows."""

    def free_bytes(self) -> None:
        """Tell nothing: the servers' disks are their own."""

    # --- writing ---

    def create(self, parameters: Parameters, lanes: int = 1) -> str:
        """Create topics, tables, and a genesis in each partition. Raises: BooksExist, LogFault, SchemaOutdated.

        The hub's genesis comes with the others' in one transaction: until then there are no books.
        """
        self._prepare(lanes)
        line = encode(declare_genesis(parameters))
        with self._open_facts() as (logs, writer):
            if any(log.end() for log in logs):
                raise BooksExist(f"{self.place} holds books already; choose another prefix")
            for log in logs:
                log.append([line], now())
            writer.commit()
        return parameters_hash(parameters_json(parameters))

    def adopt(self, embedded: Books, on_record: Progress | None = None) -> Iterator[tuple[str, int]]:
        """Copy the logs of embedded books, nothing of which may change meanwhile; yield each one's name and end.

        Raises: LogBusy, CopyRefused, LogFault.
        """
        with embedded.holding_still():
            self._prepare(embedded.count_lanes())
            with self._open_facts() as (facts, facts_writer), self._open_ledgers() as (ledgers, ledger_writer):
                *lanes, hub = zip(embedded.partitions(), facts, strict=True)
                decided = zip([*embedded.lanes(), embedded.hub()], ledgers, strict=True)
                yield from copy_logs(lanes, facts_writer.commit, on_record)
                yield from copy_logs(list(decided), ledger_writer.commit, on_record)
                yield from copy_logs([hub], facts_writer.commit, on_record)

    def _prepare(self, lanes: int) -> None:
        """Create topics and tables where they are missing."""
        engine = self.engine(writable=True)
        if self._database().roles:
            grant_roles(engine)
        engine.dispose()
        both = dict.fromkeys((self.topics.facts, self.topics.ledger), lanes + 1)
        create_topics(self.brokers, {**both, self.topics.inbox: INBOX_PARTITIONS}, self._replication)
        check_topics(self.brokers, both, self._replication)
        self._lanes = lanes

    @contextmanager
    def _open_facts(self) -> Iterator[tuple[list[KafkaLog], KafkaWriter]]:
        """Be the facts' writer while the block runs: whoever was it before is fenced."""
        with ExitStack() as stack:
            writer = stack.enter_context(closing(KafkaWriter(self.brokers, self.topics.facts)))
            names = partitions_of(self.count_lanes())
            yield [stack.enter_context(closing(self.facts(name, writer))) for name in names], writer

    @contextmanager
    def _open_ledgers(self) -> Iterator[tuple[list[KafkaLog], KafkaWriter]]:
        """Be the ledger logs' writer, the hub's last, while the block runs: whoever was it before is fenced."""
        with ExitStack() as stack:
            writer = stack.enter_context(closing(KafkaWriter(self.brokers, self.topics.ledger)))
            logs = [self.lane(number, writer) for number in range(self.count_lanes())]
            for log in (*logs, hub := self.hub(writer)):
                stack.callback(log.close)
            yield [*logs, hub], writer

    @contextmanager
    def open_facts(self) -> Iterator[Partitions]:
        """Be the facts' writer while the block runs: whoever was it before is fenced. Raises: LogFault."""
        # Who ingests need not know that there are ledger logs.
        self._check_topics(self.topics.facts)
        self.parameters()
        with self._open_facts() as (logs, writer):
            yield Partitions(logs, self._cache and self._cache / "facts", writer.commit)

    def ingest_inbox(self, stopping: Stopping, *, once: bool = False) -> Iterator[Receipt]:
        """Append what comes in through the inbox until asked to stop, or all that is there now. Raises: LogFault."""
        with self.open_facts() as partitions, closing(self._open_inbox()) as inbox:
            ends = inbox.ends()
            while not stopping.asked and (not once or inbox.is_behind(ends)):
                for name, messages in groupby(inbox.read(INBOX_WAIT_MS), key=attrgetter("partition")):
                    yield from ingest(_chunks(messages), name, partitions, now)
                inbox.commit()

    def _open_inbox(self) -> Inbox:
        return Inbox(self.brokers, self.topics.inbox, f"{self._prefix}.ingest")

    @contextmanager
    def stages(self, only: str | None = None, *, from_start: bool = False) -> Iterator[Stages]:
        """Be the ledger's writer while the block settles: whoever was it before is fenced. Raises: LogFault."""
        assert only == SETTLE, "projecting is the workers'"
        self.check_ends()
        self.parameters()
        with ExitStack() as stack:
            (*lanes, hub), writer = stack.enter_context(self._open_ledgers())
            facts = [stack.enter_context(closing(log)) for log in self.partitions()]
            cache = self._cache and self._cache / "ledger"
            settling = Settling(facts, lanes, hub, lambda _: writer.commit(), cache, from_start=from_start)
            yield Stages(settling, None)
            settling.rest()

    # --- projections ---

    def project(self, stopping: Stopping, *, once: bool = False) -> Mapping[str, int]:
        """Be one of the workers that project, until asked to stop, or up to what is there now.

        Return how far the tables are then. Raises: BooksMissing, LogFault, DatabaseUnreachable, SchemaOutdated,
        LedgerInvariantBroken.
        """
        from projections.worker import run_worker

        self.check_ends()
        self.parameters()
        engine = self.engine(writable=True)
        try:
            run_worker(self.brokers, engine, self._prefix, self.count_lanes(), lambda: stopping.asked, once=once)
            with engine.connect() as connection:
                return read_position(connection, None)
        finally:
            engine.dispose()

    def is_projected(self) -> bool:
        """Tell whether we know of the tables: there are no books without."""
        return self._postgres is not None

    def _database(self) -> PostgresSettings:
        if self._postgres is None:
            raise SettingsInvalid("postgres.url: is missing; docs/configuration.md lists all keys")
        return self._postgres

    def engine(self, *, writable: bool = False) -> Engine:
        """Open the projections. Raises: SettingsInvalid, SchemaOutdated, DatabaseUnreachable."""
        engine = open_postgres(self._database().url.get_secret_value(), writable=writable)
        self._opened.callback(engine.dispose)
        if writable:
            migrate(engine, MIGRATIONS)
        return engine

    def rebuild(self, on_record: Progress | None = None) -> None:
        """Project everything again beside the tables in use, then take their place; readers and workers go on.

        Raises: RebuildRefused, DatabaseUnreachable, LogFault, LedgerInvariantBroken.
        """
        with ExitStack() as stack:
            ledgers = [stack.enter_context(closing(log)) for log in self.ledgers()]
            facts = stack.enter_context(closing(self.facts(HUB_PARTITION)))
            rebuild_beside(self._database().url.get_secret_value(), MIGRATIONS, facts, ledgers, on_record=on_record)


def _chunks(messages: Iterable[Message]) -> Iterator[list[Line]]:
    """Yield the events of a partition's messages as lines, each with its message's offset for a number."""
    lines: list[Line] = []
    size = 0
    for message in messages:
        for event in message.events:
            kept = event[:LINE_BYTES_MAX]
            lines.append(Line(message.offset, kept, len(event), None if kept is event else sha256(event).hexdigest()))
            size += len(kept)
            if size >= CHUNK_BYTES:
                yield lines
                lines, size = [], 0
    if lines:
        yield lines


def brokers_of(kafka: KafkaSettings) -> Brokers:
    """Say how the brokers are reached, in the words of their client."""
    options: dict[str, object] = {"security_protocol": kafka.security_protocol}
    if kafka.user is not None and kafka.password is not None:
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.user,
            "sasl_plain_password": kafka.password.get_secret_value(),
        }
    if kafka.ca_file is not None:
        options["ssl_cafile"] = str(kafka.ca_file)
    if kafka.cert_file is not None:
        options |= dict.fromkeys(("ssl_certfile", "ssl_keyfile"), str(kafka.cert_file))
    return Brokers(kafka.servers, options)
