"""What a process tells Prometheus: what its stages do, batch by batch; where the books stand, whenever it is asked.

    lag of a stage = position of the stage before it − its own, in leaves of the log

Stages tell counts and times (`app.stages.Watch`); positions, the age of network time and refusals are looked up when
they are asked for, beside the writers. docs/operations.md says what to watch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.clock import now
from app.standing import Surveyor
from events.instant import MICROSECONDS, parse_instant

__all__ = ["Metrics", "serve_metrics"]

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class Metrics:
    """Counts and times of this process's stages, on a registry of their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Begin at 0."""
        self._facts = Counter(
            "omnisync_facts_read", "Facts settled; those of before a restart count again.", registry=registry
        )
        self._decisions = Counter(
            "omnisync_decisions", "Decisions appended, projected, recorded in histories.", ["stage"], registry=registry
        )
        self._batches = Histogram(
            "omnisync_batch_seconds", "Time of a stage's batch.", ["stage"], buckets=_SECONDS, registry=registry
        )
        self._commits = Histogram(
            "omnisync_commit_seconds", "Time to make a batch durable.", buckets=_SECONDS, registry=registry
        )

    def read(self, facts: int) -> None:
        """A record of facts was settled."""
        self._facts.inc(facts)

    def committed(self, decisions: int, batch_seconds: float, commit_seconds: float) -> None:
        """Decisions were taken, and then made durable."""
        self._tell("settle", decisions, batch_seconds)
        self._commits.observe(commit_seconds)

    def projected(self, decisions: int, batch_seconds: float) -> None:
        """Decisions were folded into balances."""
        self._tell("head", decisions, batch_seconds)

    def recorded(self, decisions: int, batch_seconds: float) -> None:
        """Decisions were folded into histories."""
        self._tell("history", decisions, batch_seconds)

    def _tell(self, stage: str, decisions: int, seconds: float) -> None:
        self._decisions.labels(stage).inc(decisions)
        self._batches.labels(stage).observe(seconds)


class _Looked(Collector):
    """Looks up where the books stand when it is asked, one asker at a time."""

    def __init__(self, surveyor: Surveyor) -> None:
        self._surveyor = surveyor
        self._lock = Lock()

    def describe(self) -> list[Metric]:
        """Name nothing beforehand: that would be a look."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Look. Raises: LogDamaged, SchemaOutdated, DatabaseError: then the scrape fails, and shows it."""
        with self._lock:
            survey = self._surveyor.look()
            refusals = dict(self._surveyor.count_refusals())
        position = GaugeMetricFamily("omnisync_position", "How far a stage is in a log.", labels=["log", "stage"])
        lag = GaugeMetricFamily("omnisync_lag", "Leaves that a stage lacks.", labels=["log", "stage"])
        for standing in survey.logs:
            for stage, reached in standing.stages.items():
                position.add_metric([standing.log, stage], reached)
            for stage, lacking in standing.lags():
                lag.add_metric([standing.log, stage], lacking)
        refused = CounterMetricFamily("omnisync_refusals", "Lines and facts that were refused.", labels=["reason"])
        for reason, count in sorted(refusals.items()):
            refused.add_metric([reason], count)
        yield from (position, lag, refused)
        if survey.free_bytes is not None:
            yield GaugeMetricFamily("omnisync_free_bytes", "Space left where the logs are.", value=survey.free_bytes)
        if survey.network_time is not None:
            age = (parse_instant(now()) - parse_instant(survey.network_time)) / MICROSECONDS
            yield GaugeMetricFamily("omnisync_network_time_age_seconds", "Wall clock less network time.", value=age)


@contextmanager
def serve_metrics(surveyor: Surveyor, address: str, port: int, *more: Collector) -> Iterator[tuple[Metrics, int]]:
    """Serve while the block runs; yield what stages tell, and the port, which is a free one for 0.

    `more` is what the process tells besides. Raises: OSError.
    """
    registry = CollectorRegistry()
    for collector in more:
        registry.register(collector)
    ProcessCollector(registry=registry)
    metrics = Metrics(registry)
    registry.register(_Looked(surveyor))
    try:
        server, thread = start_http_server(port, address, registry)
    except OSError as error:
        raise OSError(error.errno, f"metrics on {address}:{port}: {error.strerror}") from error
    try:
        yield metrics, server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
