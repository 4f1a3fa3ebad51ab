"""Apache Kafka on loopback: one or three nodes, each of them broker and controller.

A folder holds a cluster: `cluster.json` (its listeners' ports), and for each node its properties, log, process and
data; `secrets` if it is secure. Nodes are numbered from 1.
"""

import json
import shutil
import signal
import subprocess
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from kafka import KafkaProducer

from dev.access import admin_options, grant, make_secrets, user_options
from dev.jars import cache, fetch_jars
from dev.process import HOST, Server, ServerFault, free_ports, stop_all
from dev.properties import BROKER_USER, QUICK, addresses, broker

__all__ = ["PREFIX", "KafkaCluster"]

PREFIX = "omnisync"
LISTENERS = ("CLIENT", "BROKER", "CONTROLLER")
ARCHIVE = "classes.jsa"
START_S = 120
HEAP = ("-Xms64m", "-Xmx256m", "-XX:MaxDirectMemorySize=128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
STARTED = "Kafka Server started"
LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.out.ref = OUT
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
logger.authentication.name = org.apache.kafka.common.network.Selector
logger.authentication.level = info
logger.authorization.name = kafka.authorizer.logger
logger.authorization.level = info
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
"""


class KafkaCluster:
    """A cluster in a folder. An object on the folder of a running cluster speaks of that cluster."""

    def __init__(self, folder: Path, nodes: int = 1, secure: bool = False) -> None:
        self.folder = folder
        self.nodes = nodes
        self.secure = secure
        self.secrets = folder / "secrets"
        self._cluster = folder / "cluster.json"
        self._servers = {node: Server(folder, f"kafka-{node}") for node in self._numbers()}

    @property
    def servers(self) -> tuple[str, ...]:
        """Return each node's address, as clients take it."""
        return self._addresses("CLIENT")

    @property
    def administration(self) -> tuple[str, ...]:
        """Return each node's address for brokers and, with a certificate if it is secure, the administrator."""
        return self._addresses("BROKER")

    def options(self, user: str) -> dict[str, Any]:
        """Return kafka-python's options for a user of a secure cluster (`dev/access.py` names them)."""
        return user_options(self.secrets, user)

    def grant(self, prefix: str) -> None:
        """Let the users of a secure cluster do under a further prefix what they may under `omnisync`."""
        grant(self.administration, self.secrets, prefix)

    def start(self) -> None:
        """Start all nodes and return when each serves clients, transactions too.

        The first start in a folder chooses ports and formats the nodes; later ones find their data again.
        Raises ServerFault if Java, Maven, OpenSSL or a node fails.
        """
        jars = ready_jars()
        if not self._cluster.exists():
            self._prepare(jars)
        for node in self._numbers():
            self._launch(node, jars)
        for server in self._servers.values():
            server.wait_for(STARTED, START_S)
        if self.secure:
            self.grant(PREFIX)
        self._first_transaction()

    def stop(self) -> None:
        """Stop all nodes; what they hold stays in the folder."""
        stop_all(self.folder)

    def kill(self, node: int) -> None:
        """End a node at once (SIGKILL)."""
        self._servers[node].kill()

    def start_node(self, node: int) -> None:
        """Start a node again, with its data, and return when it serves clients."""
        self._launch(node, ready_jars())
        self._servers[node].wait_for(STARTED, START_S)

    def pause(self, node: int) -> None:
        """Let a node stand still (SIGSTOP): its connections stay open and nothing answers."""
        self._servers[node].signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Let a paused node go on."""
        self._servers[node].signal(signal.SIGCONT)

    def _numbers(self) -> range:
        return range(1, self.nodes + 1)

    def _addresses(self, listener: str) -> tuple[str, ...]:
        ports: list[int] = json.loads(self._cluster.read_text("utf-8"))[listener]
        return tuple(f"{HOST}:{port}" for port in ports)

    def _prepare(self, jars: Path) -> None:
        """Choose ports, write each node's properties and format its data, all with one cluster id."""
        self.folder.mkdir(parents=True, exist_ok=True)
        free = iter(free_ports(len(LISTENERS) * self.nodes))
        ports = {listener: [next(free) for _ in self._numbers()] for listener in LISTENERS}
        if self.secure:
            make_secrets(self.secrets, (f"IP:{HOST}",))
        (self.folder / "log4j2.properties").write_text(LOGGING, "utf-8")
        cluster_id = "k" + urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")[1:]
        formatting = []
        for node in self._numbers():
            properties = {
                **broker(self.nodes, self.secure),
                **QUICK,
                **addresses(node, HOST, ports),
                "log.dirs": str(self.folder / f"data-{node}"),
            }
            if self.secure:
                properties["ssl.keystore.location"] = str(self.secrets / f"{BROKER_USER}.pem")
                properties["ssl.truststore.location"] = str(self.secrets / "ca.pem")
            lines = "".join(f"{name}={value}\n" for name, value in properties.items())
            self._properties(node).write_text(lines, "utf-8")
            command = [*self._java(jars), "kafka.tools.StorageTool", "format"]
            command += ["--cluster-id", cluster_id, "--config", str(self._properties(node))]
            formatting.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        said = [process.communicate()[0] for process in formatting]
        if any(process.returncode for process in formatting):
            raise ServerFault("Kafka's storage tool failed:\n" + "\n".join(said))
        self._cluster.write_text(json.dumps(ports), "utf-8")

    def _properties(self, node: int) -> Path:
        return self.folder / f"kafka-{node}.properties"

    def _java(self, jars: Path, archive: str = "-XX:SharedArchiveFile") -> list[str]:
        logging = f"-Dlog4j2.configurationFile=file:{self.folder / 'log4j2.properties'}"
        return [shutil.which("java") or "java", *HEAP, logging, f"{archive}={jars / ARCHIVE}", "-cp", f"{jars}/*"]

    def _launch(self, node: int, jars: Path, *archive: str) -> None:
        self._servers[node].start([*self._java(jars, *archive), "kafka.Kafka", str(self._properties(node))])

    def _first_transaction(self) -> None:
        """Wait for the topic of transactions, which the first one makes."""
        deadline = time.monotonic() + START_S
        options = admin_options(self.secrets) if self.secure else {}
        while True:
            producer = KafkaProducer(bootstrap_servers=list(self.administration), transactional_id="dev", **options)
            try:
                producer.init_transactions()
                return
            except Exception as fault:
                if time.monotonic() > deadline:
                    raise ServerFault(f"Kafka in {self.folder} begins no transaction: {fault!r}") from fault
            finally:
                producer.close()


def ready_jars() -> Path:
    """Return the folder of the jars with their classes archived, which halves the time that a node takes to start.

    Java writes the archive as a first broker ends.
    """
    jars = fetch_jars()
    with cache(), TemporaryDirectory() as folder:
        if not (jars / ARCHIVE).exists():
            first = KafkaCluster(Path(folder))
            first._prepare(jars)
            first._launch(1, jars, "-XX:ArchiveClassesAtExit")
            first._servers[1].wait_for(STARTED, START_S)
            stop_all(first.folder, seconds=START_S)
    return jars
