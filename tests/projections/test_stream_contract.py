"""What `projections.stream` uses of Faust and aiokafka that they do not promise: an upgrade must show here first."""

import ast
import inspect
from importlib.metadata import version
from pathlib import Path

import faust
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher
from faust.app.base import App, BootStrategy
from faust.tables import TableManager
from faust.transport.consumer import Consumer, ThreadDelegateConsumer
from faust.transport.drivers import aiokafka as driver
from mode import Service
from mode.threads import QueueServiceThread

SIGNATURES = {
    Consumer._drain_messages: "(self, fetcher: faust.types.transports.ServiceT) -> None",
    Consumer._wait_next_records: "(self, timeout: float)",
    Consumer.perform_seek: "(self) -> None",
    Consumer.commit: "(self, topics, start_new_transaction: bool = True) -> bool",
    Consumer.on_partitions_revoked: "(self, revoked) -> None",
    Consumer.pause_partitions: "(self, tps) -> None",
    Consumer.resume_partitions: "(self, tps) -> None",
    ThreadDelegateConsumer.seek_wait: "(self, partitions) -> None",
    ThreadDelegateConsumer.assignment: "(self)",
    ThreadDelegateConsumer._commit: "(self, offsets) -> bool",
    driver.Consumer.verify_event_path: "(self, now: float, tp) -> None",
    driver.Consumer._new_consumer_thread: "(self)",
    driver.AIOKafkaConsumerThread._create_worker_consumer: "(self, transport)",
    driver.AIOKafkaConsumerThread._commit: "(self, offsets) -> bool",
    driver.AIOKafkaConsumerThread._ensure_consumer: "(self)",
    driver.AIOKafkaConsumerThread.on_thread_stop: "(self) -> None",
    App.on_first_start: "(self) -> None",
    Service.crash: "(self, reason) -> None",
    QueueServiceThread.call_thread: "(self, fun, *args, **kwargs)",
}


def test_faust_is_the_version_that_this_was_written_for() -> None:
    assert version("faust-streaming") == faust.__version__ == "0.15.3"


@pytest.mark.parametrize("method", SIGNATURES, ids=lambda method: method.__qualname__)
def test_overridden_and_called_methods_take_what_they_took(method: object) -> None:
    wanted = SIGNATURES[method]

    found = inspect.signature(method)  # type: ignore[arg-type]

    names = [str(parameter).split(":")[0].split("=")[0].strip() for parameter in found.parameters.values()]
    assert names == [part.split(":")[0].split("=")[0].strip() for part in wanted[1 : wanted.rindex(")")].split(",")]


def test_the_consumer_is_still_told_its_isolation_before_it_starts() -> None:
    text = inspect.getsource(AIOKafkaConsumer.start)

    assert "isolation_level=self._isolation_level" in text
    assert "fetch_max_wait_ms=self._fetch_max_wait_ms" in text
    assert {"isolation_level", "fetch_max_wait_ms"} <= set(inspect.signature(Fetcher.__init__).parameters)


def test_tables_are_waited_for_nowhere_but_as_their_manager_starts() -> None:
    assert inspect.getsource(TableManager.on_start).count("self.sleep(1.0)") == 1
    assert inspect.getsource(inspect.getmodule(TableManager)).count("self.sleep(") == 1  # type: ignore[arg-type]


def test_faust_alone_would_read_what_was_aborted() -> None:
    text = inspect.getsource(driver.AIOKafkaConsumerThread._create_worker_consumer)

    assert 'isolation_level: str = "read_uncommitted"' in text


def test_revocation_is_told_before_assignment_and_stops_the_flow() -> None:
    told = inspect.getsource(driver.ConsumerRebalanceListener)
    handled = inspect.getsource(App._on_partitions_revoked)

    assert "thread.on_partitions_revoked(ensure_TPset(revoked))" in told
    assert "self._thread.on_partitions_assigned(ensure_TPset(assigned), generation)" in told
    assert "consumer.stop_flow" in handled


def test_a_fetcher_drains_the_consumer_of_the_app() -> None:
    assert "consumer._drain_messages(self)" in inspect.getsource(driver.base.Transport.Fetcher._fetcher.fun)
    assert {"flow_active", "_drain_messages", "_wait_next_records"} <= set(dir(Consumer))
    assert driver.Transport.Consumer is driver.Consumer
    assert BootStrategy.enable_kafka_producer is None
    assert isinstance(inspect.getattr_static(Service, "should_stop"), property)


def test_nothing_else_that_is_private_is_used() -> None:
    """Each private name that the module reaches for on what is not its own is one of those above."""
    path = Path(__file__).parents[2] / "projections" / "stream.py"
    tree = ast.parse(path.read_text("utf-8"))
    ours = {name.name for name in ast.walk(tree) if isinstance(name, ast.FunctionDef | ast.AsyncFunctionDef)}
    stored = {
        name.attr
        for name in ast.walk(tree)
        if isinstance(name, ast.Attribute) and isinstance(name.ctx, ast.Store) and name.attr.startswith("_")
    }

    used = {
        name.attr
        for name in ast.walk(tree)
        if isinstance(name, ast.Attribute) and name.attr.startswith("_") and not name.attr.startswith("__")
    }

    assert used - ours - stored == {"_wait_next_records", "_ensure_consumer"}
    assert {"_isolation_level", "_fetch_max_wait_ms"} <= stored
