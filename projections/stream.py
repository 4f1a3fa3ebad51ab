"""Ledger logs from Kafka, by partition, to whoever folds them: Faust finds the members of the group and shares out the
partitions; positions are the database's.

    taken up → records, in whole lists, one partition at a time → let go

A partition's records are read from where its stage says, when it takes the partition up, and `read_committed`. Nothing
is handed on before that, and nothing after the partition went to somebody else. What the world interrupted is taken up
anew after a while; a partition whose records do not check, or break an invariant, stops here and the others go on.

This is a consumer of our own within Faust, since Faust's agents cost 58 µs an event, consume what was aborted, and
commit past what they failed to process. What is private in Faust 0.15.3 and used here is held by a test.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import faust
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.app.base import BootStrategy
from faust.tables import TableManager
from faust.transport.drivers import aiokafka as driver
from mode import CrashingSupervisor
from yarl import URL

from events.kafka import Brokers

__all__ = ["Message", "Stage", "build_app"]

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")

# A worker that was killed has its partitions taken over after so long; a heartbeat is a third of it or less.
SESSION_S = 10.0
HEARTBEAT_S = 1.0
# How long the group waits for a worker that is in the middle of a batch.
REBALANCE_S = 60.0
# What is fetched of a partition at once, compressed, is folded at once: the more, the less often an account is written.
FETCH_BYTES = 4 * 1_048_576
# Of one node all partitions are asked for at once, and one that moved waits until the others have answered.
FETCH_WAIT_MS = 50
POLL_S = 0.5
# Where something is always new, what may wait has its first turn after so long, and the next ones after so many times
# as long as the one before took.
FOLD_S, FOLD_SHARE = 1.0, 3
# Group offsets are for tools that show lag; nobody reads from them.
COMMIT_S = 5.0
# A worker that stops in the middle of a rebalance waits no longer for its end, which others may keep it from for
# `REBALANCE_S`; the group misses it after `SESSION_S`.
LEAVE_S = 5.0
# First and longest wait before a partition is taken up anew: longer than a heartbeat, which tells who lost it.
AGAIN_S, AGAIN_S_MAX = 3.0, 30.0


class Message(NamedTuple):
    """A message's place in its partition, and its value."""

    offset: int
    value: bytes


class Stage(Protocol):
    """What is done with partitions; called from one thread at a time."""

    temporary: tuple[type[Exception], ...]
    broken: tuple[type[Exception], ...]

    def take_up(self, partition: int) -> int:
        """Own a partition from now on; return the offset to read from."""
        ...

    def fold(self, partition: int, messages: Sequence[Message]) -> None:
        """Take in messages that follow those before, or some of them again."""
        ...

    def follow(self, partition: int) -> bool:
        """Do a piece of a partition's work that may wait, mostly until nothing is new; return whether there was any."""
        ...

    def let_go(self) -> None:
        """Own no partition any more."""
        ...

    def halt(self, partition: int, fault: Exception) -> None:
        """Raise the alarm: a partition stands still, because of a fault of its own."""
        ...


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's thread that speaks with the brokers."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        known = {TopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
        try:
            await asyncio.wait_for(self._ensure_consumer().commit(known), COMMIT_S)
        except (KafkaError, TimeoutError) as fault:
            _LOG.info("the group's offsets stay as they are: %r", fault)
            return False
        return True

    async def on_thread_stop(self) -> None:
        """Leave the group, if that can be told it now."""
        try:
            await asyncio.wait_for(super().on_thread_stop(), LEAVE_S)
        except TimeoutError:
            _LOG.warning("the group shares partitions out: it will miss this worker in %.0f s", SESSION_S)


class _Consumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, which hands whole lists to a stage in place of single messages to streams."""

    def __init__(self, transport: Any, **options: Any) -> None:
        super().__init__(transport, **options)
        self._stage: Stage = transport.app.stage
        self._one_at_a_time = asyncio.Lock()
        self._waits: dict[Any, tuple[float, float]] = {}
        # The partition that had the last turn of what may wait.
        self._last = -1
        self._begin_anew()

    def _begin_anew(self) -> None:
        # A set of its own for each assignment: whoever holds another one is late.
        self._taken: set[Any] = set()
        self._halted: set[Any] = set()
        self._folded: dict[Any, int] = {}

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Leave positions alone: they are set as each partition is taken up."""

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Watch no streams: there are none."""

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Tell the group how far partitions are folded."""
        offsets, self._folded = self._folded, {}
        try:
            return bool(offsets) and bool(await self._commit(offsets))
        except RuntimeError:
            # The client's loop is closed, as a worker stops: only tools look at these.
            return False

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Let go of all partitions, behind the batch that is being folded: each assignment names all again."""
        self._begin_anew()
        async with self._one_at_a_time:
            await asyncio.to_thread(self._stage.let_go)
        await super().on_partitions_revoked(revoked)

    async def _drain_messages(self, fetcher: Any) -> None:
        followed, turn = False, self.loop.time() + FOLD_S
        while not (self.should_stop or fetcher.should_stop):
            taken = await self._take_up()
            lists, _ = await self._wait_next_records(0 if followed else POLL_S)
            for tp, records in (lists or {}).items():
                if tp in taken:
                    messages = [Message(record.offset, record.value) for record in records]
                    await self._do(taken, tp, self._fold, tp, messages)
            began = self.loop.time()
            if lists and began < turn:
                followed = False
                continue
            followed = await self._follow(taken) and not lists
            ended = self.loop.time()
            turn = ended + (FOLD_SHARE * (ended - began) if lists else FOLD_S)

    async def _take_up(self) -> set[Any]:
        taken = self._taken
        for tp in self.assignment() - taken - self._halted if self.flow_active else ():
            if self.loop.time() < self._waits.get(tp, (0, 0))[0]:
                continue
            offset = await self._do(taken, tp, self._stage.take_up, tp.partition)
            if offset is None or taken is not self._taken:
                continue
            try:
                await self.seek_wait({tp: offset})
            except (IllegalStateError, TimeoutError):
                # It has gone to another worker, or the brokers do not answer.
                continue
            taken.add(tp)
            self.resume_partitions({tp})
        self.pause_partitions(self.assignment() - taken)
        return taken

    def _fold(self, tp: Any, messages: Sequence[Message]) -> None:
        self._stage.fold(tp.partition, messages)
        self._waits.pop(tp, None)
        self._folded[tp] = messages[-1].offset + 1

    async def _follow(self, taken: set[Any]) -> bool:
        for tp in sorted(taken, key=lambda tp: (tp.partition <= self._last, tp.partition)):
            if await self._do(taken, tp, self._stage.follow, tp.partition):
                self._last = tp.partition
                return True
        return False

    async def _do(self, taken: set[Any], tp: Any, step: Callable[..., _T], *arguments: Any) -> _T | None:
        """Do a step in a thread, unless partitions were shared out anew; None if it was not done to its end."""
        async with self._one_at_a_time:
            if taken is not self._taken:
                return None
            try:
                return await asyncio.to_thread(step, *arguments)
            except self._stage.broken as fault:
                self._halted.add(tp)
                self._stage.halt(tp.partition, fault)
            except self._stage.temporary as fault:
                wait = min(2 * self._waits.get(tp, (0, AGAIN_S / 2))[1], AGAIN_S_MAX)
                self._waits[tp] = self.loop.time() + wait, wait
                _LOG.warning("partition %d is taken up again in %.0f s: %s", tp.partition, wait, fault)
            taken.discard(tp)
            return None


class _Transport(driver.Transport):  # type: ignore[misc]
    Consumer = _Consumer


class _Boot(BootStrategy):  # type: ignore[misc]
    enable_kafka_producer = False


class _Tables(TableManager):  # type: ignore[misc]
    """Faust's tables, of which there are none."""

    async def sleep(self, n: Any, *, loop: Any = None) -> None:
        """Wait for no table to be named, as Faust does for a second."""


class _App(faust.App):  # type: ignore[misc]
    BootStrategy = _Boot
    stage: Stage

    async def on_first_start(self) -> None:
        """Make no folders: nothing is kept."""


def build_app(brokers: Brokers, topic: str, group: str, stage: Stage) -> Any:
    """Build the Faust application that shares a topic's partitions with all others of its group.

    To be called within the event loop that will run it.
    """
    urls = [URL(f"aiokafka://{server}") for server in brokers.servers]
    app = _App(
        group,
        broker=urls,
        broker_credentials=_credentials(brokers.options),
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_rebalance_timeout=REBALANCE_S,
        broker_commit_interval=COMMIT_S,
        agent_supervisor=CrashingSupervisor,
        TableManager=_Tables,
    )
    app.stage = stage
    app.transport = _Transport(urls, app)

    async def keep_subscribed(stream: Any) -> None:
        async for _ in stream:
            raise AssertionError("a stream was given a message")

    app.agent(app.topic(topic, value_type=bytes, value_serializer="raw"))(keep_subscribed)
    return app


def _credentials(options: Mapping[str, Any]) -> Any:
    """Say kafka-python's options in Faust's words."""
    protocol = options.get("security_protocol", "PLAINTEXT")
    context = None
    if protocol.endswith("SSL"):
        context = options.get("ssl_context") or ssl.create_default_context(cafile=options.get("ssl_cafile"))
        context.check_hostname = options.get("ssl_check_hostname", True)
        if options.get("ssl_certfile"):
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password"))
    if protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)
