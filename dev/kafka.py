"""Apache Kafka on loopback: one or three nodes, each of them broker and controller.

A folder holds a cluster: `cluster.json` (addresses), and for each node its properties, log, process and data.
Nodes are numbered from 1.
"""

import json
import shutil
import signal
import subprocess
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from uuid import uuid4

from kafka import KafkaProducer

from dev.jars import fetch_jars
from dev.process import HOST, Server, ServerFault, free_ports, stop_all
from dev.properties import BROKER, QUICK, replication

__all__ = ["KafkaCluster"]

START_S = 60
HEAP = ("-Xms64m", "-Xmx256m", "-XX:MaxDirectMemorySize=128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
STARTED = "Kafka Server started"
LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.out.ref = OUT
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
"""


class KafkaCluster:
    """A cluster in a folder. An object on the folder of a running cluster speaks of that cluster."""

    def __init__(self, folder: Path, nodes: int = 1) -> None:
        self.folder = folder
        self.nodes = nodes
        self._cluster = folder / "cluster.json"
        self._servers = {node: Server(folder, f"kafka-{node}") for node in self._numbers()}

    @property
    def servers(self) -> tuple[str, ...]:
        """Return each node's address, as clients take it."""
        return tuple(f"{HOST}:{port}" for port in self._ports()["clients"])

    def start(self) -> None:
        """Start all nodes and return when each serves clients, transactions too.

        The first start in a folder chooses ports and formats the nodes; later ones find their data again.
        Raises ServerFault if Java, Maven or a node fails.
        """
        jars = fetch_jars()
        if not self._cluster.exists():
            self._prepare(jars)
        for node in self._numbers():
            self._launch(node, jars)
        for server in self._servers.values():
            server.wait_for(STARTED, START_S)
        self._first_transaction()

    def stop(self) -> None:
        """Stop all nodes; what they hold stays in the folder."""
        stop_all(self.folder)

    def kill(self, node: int) -> None:
        """End a node at once (SIGKILL)."""
        self._servers[node].kill()

    def start_node(self, node: int) -> None:
        """Start a node again, with its data, and return when it serves clients."""
        self._launch(node, fetch_jars())
        self._servers[node].wait_for(STARTED, START_S)

    def pause(self, node: int) -> None:
        """Let a node stand still (SIGSTOP): its connections stay open and nothing answers."""
        self._servers[node].signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Let a paused node go on."""
        self._servers[node].signal(signal.SIGCONT)

    def _numbers(self) -> range:
        return range(1, self.nodes + 1)

    def _ports(self) -> dict[str, list[int]]:
        ports: dict[str, list[int]] = json.loads(self._cluster.read_text("utf-8"))
        return ports

    def _prepare(self, jars: Path) -> None:
        """Choose ports, write each node's properties and format its data, all with one cluster id."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = free_ports(2 * self.nodes)
        clients, controllers = ports[: self.nodes], ports[self.nodes :]
        voters = ",".join(f"{node}@{HOST}:{port}" for node, port in zip(self._numbers(), controllers, strict=True))
        (self.folder / "log4j2.properties").write_text(LOGGING, "utf-8")
        cluster_id = "k" + urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")[1:]
        formatting = []
        for node, client, controller in zip(self._numbers(), clients, controllers, strict=True):
            properties = {
                **BROKER,
                **QUICK,
                **replication(self.nodes),
                "process.roles": "broker,controller",
                "node.id": str(node),
                "listeners": f"CLIENT://{HOST}:{client},CONTROLLER://{HOST}:{controller}",
                "advertised.listeners": f"CLIENT://{HOST}:{client}",
                "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name": "CLIENT",
                "controller.listener.names": "CONTROLLER",
                "controller.quorum.voters": voters,
                "log.dirs": str(self.folder / f"data-{node}"),
            }
            lines = "".join(f"{name}={value}\n" for name, value in properties.items())
            self._properties(node).write_text(lines, "utf-8")
            command = [*self._java(jars), "kafka.tools.StorageTool", "format"]
            command += ["--cluster-id", cluster_id, "--config", str(self._properties(node))]
            formatting.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        said = [process.communicate()[0] for process in formatting]
        if any(process.returncode for process in formatting):
            raise ServerFault("Kafka's storage tool failed:\n" + "\n".join(said))
        self._cluster.write_text(json.dumps({"clients": clients, "controllers": controllers}), "utf-8")

    def _properties(self, node: int) -> Path:
        return self.folder / f"kafka-{node}.properties"

    def _java(self, jars: Path) -> list[str]:
        logging = f"-Dlog4j2.configurationFile=file:{self.folder / 'log4j2.properties'}"
        return [shutil.which("java") or "java", *HEAP, logging, "-cp", f"{jars}/*"]

    def _launch(self, node: int, jars: Path) -> None:
        self._servers[node].start([*self._java(jars), "kafka.Kafka", str(self._properties(node))])

    def _first_transaction(self) -> None:
        """Wait for the topic of transactions, which the first one makes."""
        deadline = time.monotonic() + START_S
        while True:
            producer = KafkaProducer(bootstrap_servers=list(self.servers), transactional_id="dev")
            try:
                producer.init_transactions()
                return
            except Exception as fault:
                if time.monotonic() > deadline:
                    raise ServerFault(f"Kafka in {self.folder} begins no transaction: {fault!r}") from fault
            finally:
                producer.close()
