"""How Kafka is reached: clients that are opened whole or not at all, and Kafka's errors as ours."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import (
    InvalidProducerEpochError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFencedError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
)
from kafka.net.compat import KafkaNetClient

from events.log import LogFault, LogFenced

__all__ = ["Brokers", "connect", "kafka_faults"]

CONNECT_MS_MAX = 5_000
# Where there are several servers, each is given this at least: one that stands still takes connections, and no more.
SERVER_MS_MIN = 2_000
# Kafka's own 100 ms are a hundred times what a transaction takes (docs/decisions/0003).
RETRY_MS = 2
# Of some servers, the one that answered last: it is asked first, so that one that stands still is waited for once.
_answered: dict[tuple[str, ...], str] = {}
_SECURITY = ("security_protocol", "sasl_", "ssl_")


@dataclass(frozen=True, slots=True)
class Brokers:
    """Where the cluster is, as `host:port`, and how one shows who one is: kafka-python's names, never shown."""

    servers: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def connect(client: Callable[..., Any], brokers: Brokers, topic: str | None = None, **settings: Any) -> Any:
    """Open one of kafka-python's clients, which knows a topic from the first; nothing is left where that fails.

    Raises: LogFault with the servers and the reason.
    """
    servers = ",".join(brokers.servers)
    if unknown := sorted(name for name in brokers.options if not _is_security(name)):
        raise LogFault(f"kafka at {servers}: unknown options {', '.join(unknown)}")
    reasons, log = _Reasons(), logging.getLogger("kafka.net")
    log.addHandler(reasons)
    answered = _answered.get(brokers.servers)
    fault: BaseException | None = None
    try:
        for server in sorted(brokers.servers, key=lambda server: server != answered):
            try:
                found = _open(client, server, brokers, topic, settings)
            except (KafkaError, OSError, ValueError) as error:
                fault = error
            else:
                _answered[brokers.servers] = server
                return found
    finally:
        log.removeHandler(reasons)
    reason = str(reasons.last or fault)
    if "sasl_mechanism" in brokers.options and any(how in reason for how in ("disconnected", "reset by peer")):
        # The client often loses the broker's answer to a wrong password, as the broker then hangs up.
        reason += "; are user and password right?"
    raise LogFault(f"kafka at {servers}: {reason}") from fault


def _open(
    client: Callable[..., Any], server: str, brokers: Brokers, topic: str | None, settings: Mapping[str, Any]
) -> Any:
    """Open a client that hears of the cluster from one server: of several it would ask any, and wait for that one."""
    opened: list[Any] = []

    def open_net(**configs: Any) -> Any:
        opened.append(_Net(**configs))
        if topic is not None:
            # Asked for with the first metadata, since later ones wait 100 ms. `add_topic` would wait without a limit.
            opened[-1].cluster._topics.add(topic)
        return opened[-1]

    try:
        return client(
            bootstrap_servers=[server],
            bootstrap_timeout_ms=max(SERVER_MS_MIN, CONNECT_MS_MAX // len(brokers.servers)),
            retry_backoff_ms=RETRY_MS,
            reconnect_backoff_max_ms=250,
            kafka_client=open_net,
            **brokers.options,
            **settings,
        )
    except BaseException:
        for one in opened:
            one.close()
        raise


class _Net(KafkaNetClient):  # type: ignore[misc]
    """What a client speaks through."""

    def await_ready(self, node_id: int | str, timeout_ms: int = CONNECT_MS_MAX) -> bool:
        """Wait for a connection; say where there is none. If this raises, a producer forgets what it was to send."""
        try:
            return bool(super().await_ready(node_id, timeout_ms))
        except KafkaConnectionError:
            return False


@contextmanager
def kafka_faults(place: str) -> Iterator[None]:
    """Say Kafka's errors as ours. Raises: LogFenced, LogFault."""
    try:
        yield
    except KafkaError as error:
        # What is done behind the failure of something else names that as an argument.
        if any(isinstance(cause, ProducerFencedError | InvalidProducerEpochError) for cause in (error, *error.args)):
            fault = "another writer took over, or a transaction stood open for too long"
            raise LogFenced(f"{place}: {fault}") from error
        raise LogFault(f"{place}: {error}") from error


def _is_security(name: str) -> bool:
    return name.startswith(_SECURITY) and name in KafkaConsumer.DEFAULT_CONFIG


class _Reasons(logging.Handler):
    """Keeps the error that the client logged and that says most: what it raises says only that its time was up."""

    last: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Look for an exception among what was logged."""
        for said in record.args or ():
            if isinstance(said, Exception) and _tells(said) >= _tells(self.last):
                self.last = said


def _tells(error: BaseException | None) -> int:
    """Rank an error: while one is refused, connections also break and time out, and so do requests."""
    if isinstance(error, SaslAuthenticationFailedError):
        return 3
    if error is None or isinstance(error, KafkaTimeoutError | RequestTimedOutError):
        return 0
    # The client looks at the time before each try: what was refused until then has timed out.
    return 1 if "timed out" in str(error) else 2
