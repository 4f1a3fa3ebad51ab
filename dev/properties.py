"""The settings of the servers, once: what is started here for tests, and what the compose files give to users.

Three listeners in every cluster: CLIENT for the product, BROKER between brokers and for the administrator,
CONTROLLER for the quorum.
"""

__all__ = [
    "BROKER",
    "BROKER_USER",
    "PLAIN",
    "POSTGRES",
    "POSTGRES_ACCESS",
    "QUICK",
    "SECURE",
    "addresses",
    "broker",
    "postgres",
    "replication",
]

BROKER_USER = "broker"
"""Whom a broker's certificate names."""

BROKER = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "BROKER",
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

PLAIN = {"listener.security.protocol.map": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT"}
"""Of a broker that trusts whoever reaches it."""

SECURE = {
    # Clients: a password over TLS. Brokers, controllers and the administrator: a certificate.
    "listener.security.protocol.map": "CLIENT:SASL_SSL,BROKER:SSL,CONTROLLER:SSL",
    "sasl.enabled.mechanisms": "SCRAM-SHA-512",
    "listener.name.client.scram-sha-512.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
    "listener.name.broker.ssl.client.auth": "required",
    "listener.name.controller.ssl.client.auth": "required",
    "ssl.enabled.protocols": "TLSv1.3",
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    # A certificate's name is its holder's; no other form of name is let in.
    "ssl.principal.mapping.rules": "RULE:^CN=([a-z]+)$/$1/",
    # What no rule allows is denied.
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "false",
    "super.users": f"User:{BROKER_USER};User:admin",
}
"""Of a broker that asks who speaks and what they may do (`dev/access.py`)."""

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

POSTGRES_ACCESS = """\
local    all  all       peer
hostssl  all  all  all  scram-sha-256
"""
"""Who may connect to a secure PostgreSQL (pg_hba.conf): over a network none but by TLS and with a password."""


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


def broker(nodes: int, secure: bool) -> dict[str, str]:
    """Return every setting of a broker but its number, its addresses and its folders."""
    return {**BROKER, **replication(nodes), **(SECURE if secure else PLAIN)}


def postgres(secrets: str | None) -> dict[str, str]:
    """Return every setting of PostgreSQL but its address; a secure one has a folder with secrets of its own."""
    if secrets is None:
        return POSTGRES
    certificate = f"{secrets}/postgres.pem"
    secure = {"ssl": "on", "ssl_min_protocol_version": "TLSv1.3"}
    return {
        **POSTGRES,
        **secure,
        "ssl_cert_file": certificate,
        "ssl_key_file": certificate,
        "hba_file": f"{secrets}/pg_hba.conf",
    }


def addresses(node: int, host: str, ports: dict[str, list[int]]) -> dict[str, str]:
    """Return the number and the addresses of one node, given each listener's ports, of node 1 first."""
    listeners = {name: f"{name}://{host}:{of_nodes[node - 1]}" for name, of_nodes in ports.items()}
    voters = (f"{number}@{host}:{port}" for number, port in enumerate(ports["CONTROLLER"], start=1))
    return {
        "node.id": str(node),
        "listeners": ",".join(listeners.values()),
        "advertised.listeners": ",".join(listeners[name] for name in ("CLIENT", "BROKER")),
        "controller.quorum.voters": ",".join(voters),
    }
