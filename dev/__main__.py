"""Starts and stops the servers for a person, or around a command.

python -m dev up --folder F [--nodes 3] [--secure]     Kafka and PostgreSQL; prints their addresses as settings
python -m dev down --folder F          stops what was started there; the data stays
python -m dev run -- COMMAND ...       starts both, runs the command with their addresses in TEST_KAFKA
                                       and TEST_POSTGRES, stops them, ends with its status
python -m dev secrets --folder F --host IP:127.0.0.1 [--host DNS:name]     a secure cluster's certificates and passwords
python -m dev grant --folder F --server 127.0.0.1:19092 [--prefix P]          its users, and what each may do
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from dev.access import grant, make_secrets
from dev.kafka import PREFIX, KafkaCluster
from dev.postgres import Postgres
from dev.process import ServerFault, servers_in, stop_all

__all__ = ["KAFKA", "POSTGRES", "main"]

KAFKA = "TEST_KAFKA"
POSTGRES = "TEST_POSTGRES"


def start(folder: Path, nodes: int = 1, secure: bool = False) -> tuple[KafkaCluster, Postgres]:
    """Start both kinds of server in a folder where none runs. What came up is stopped if one fails."""
    if servers_in(folder):
        raise ServerFault(f"servers run already in {folder}: stop them with `down`")
    cluster = KafkaCluster(folder / "kafka", nodes, secure)
    postgres = Postgres(folder / "postgres", cluster.secrets if secure else None)
    try:
        cluster.start()
        postgres.start()
    except BaseException:
        stop_all(folder)
        raise
    return cluster, postgres


def up(folder: Path, nodes: int, secure: bool) -> int:
    """Start the servers and print their addresses as settings."""
    cluster, postgres = start(folder, nodes, secure)
    print(f"[kafka]\nservers = {json.dumps(cluster.servers)}")
    if secure:
        print(f"# users, passwords and certificates: {cluster.secrets}")
    print(f"\n[postgres]\nurl = {json.dumps(postgres.url)}")
    return 0


def down(folder: Path) -> int:
    """Stop the servers that were started in a folder."""
    stop_all(folder)
    return 0


def run(command: list[str]) -> int:
    """Run a command beside servers of its own and return its status."""
    with tempfile.TemporaryDirectory(prefix="omnisync-dev-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL may run as another user, who passes through
        cluster, postgres = start(folder)
        found = {KAFKA: ",".join(cluster.servers), POSTGRES: postgres.url}
        try:
            return subprocess.run(command, env={**os.environ, **found}, check=False).returncode
        finally:
            stop_all(folder)


def main(arguments: list[str]) -> int:
    """Do what the command line says and return the status: 2 for a server that fails, with what to do about it."""
    given = parser().parse_args(arguments)
    try:
        match given.verb:
            case "up":
                return up(given.folder.resolve(), given.nodes, given.secure)
            case "down":
                return down(given.folder.resolve())
            case "secrets":
                make_secrets(given.folder, given.host)
            case "grant":
                grant(given.server, given.folder, given.prefix)
            case _:
                return run(given.command)
    except ServerFault as fault:
        print(f"dev: {fault}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    top = argparse.ArgumentParser(prog="python -m dev", description=__doc__.partition("\n")[0])
    verbs = top.add_subparsers(dest="verb", required=True)
    starting = verbs.add_parser("up", help="start Kafka and PostgreSQL")
    starting.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="Kafka nodes")
    starting.add_argument("--secure", action="store_true", help="passwords and TLS, and rules at Kafka")
    stopping = verbs.add_parser("down", help="stop what was started in a folder")
    making = verbs.add_parser("secrets", help="make a secure cluster's certificates and passwords")
    making.add_argument("--host", action="append", required=True, help="the servers', as IP:... or DNS:...")
    granting = verbs.add_parser("grant", help="let a secure cluster's users do what is theirs")
    granting.add_argument("--server", action="append", required=True, help="the listener BROKER, host:port")
    granting.add_argument("--prefix", default=PREFIX, help="of the topics")
    for verb in (starting, stopping, making, granting):
        verb.add_argument("--folder", type=Path, required=True, help="where the servers, or the secrets, are")
    running = verbs.add_parser("run", help="run a command beside servers of its own")
    running.add_argument("command", nargs="+")
    return top


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
