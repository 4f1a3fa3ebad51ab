"""The log on Kafka keeps the contract of logs, and its own promises about transactions and writers."""

from collections.abc import Iterator

import pytest

from events.kafka import Brokers, KafkaLog, KafkaWriter
from events.log import Log
from tests.events.log_contract import LogContract, OpenLog

pytestmark = pytest.mark.slow


class TestKafkaLog(LogContract):
    """Each append is a transaction."""

    @pytest.fixture
    def open_log(self, brokers: Brokers, topic: str) -> Iterator[OpenLog]:
        """Open the log of a partition."""
        opened: list[KafkaLog | KafkaWriter] = []

        def open_log(writable: bool) -> Log:
            writer = KafkaWriter(brokers, f"{topic}.writer") if writable else None
            log = KafkaLog(brokers, topic, 1, "facts", writer)
            opened.extend([log, writer] if writer else [log])
            return log

        yield open_log
        for one in opened:
            one.close()
