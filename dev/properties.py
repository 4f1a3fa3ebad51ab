"""The settings of the servers, once: what is started here for tests, and what the compose files give to users."""

__all__ = ["BROKER", "POSTGRES", "QUICK", "replication"]

BROKER = {
    # A topic is made with its settings by name, never by a client's slip.
    "auto.create.topics.enable": "false",
    # The logs are the record: nothing expires, and no broker that is behind may lead.
    "log.retention.ms": "-1",
    "log.retention.bytes": "-1",
    "unclean.leader.election.enable": "false",
    # The only broker time that a record has; nothing hashed depends on it.
    "log.message.timestamp.type": "LogAppendTime",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    # The default of 128 MiB does not fit into a small heap.
    "log.cleaner.dedupe.buffer.size": "16777216",
}
"""Of each broker."""

QUICK = {
    # A node that was killed joins again when its last session has run out; 9 s by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}
"""Of the brokers that are started here only: tests end them and wait for them."""

POSTGRES = {
    "max_connections": "100",
    "shared_buffers": "128MB",
}
"""Of PostgreSQL; what is durable stays durable: fsync and synchronous_commit keep their defaults."""


def replication(nodes: int) -> dict[str, str]:
    """Return what depends on the number of brokers: with three, each of two has what is acknowledged."""
    copies = str(nodes)
    in_sync = str(nodes // 2 + 1)
    return {
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
    }
