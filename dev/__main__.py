"""Starts and stops the servers for a person, or around a command.

python -m dev up --folder F [--nodes 3]     Kafka and PostgreSQL; prints their addresses as settings
python -m dev down --folder F               stops what was started there; the data stays
python -m dev run -- COMMAND ...            starts both, runs the command with their addresses in OMNISYNC_TEST_KAFKA
                                            and OMNISYNC_TEST_POSTGRES, stops them, ends with its status
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from dev.kafka import KafkaCluster
from dev.postgres import Postgres
from dev.process import ServerFault, stop_all

__all__ = ["KAFKA", "POSTGRES", "main"]

KAFKA = "OMNISYNC_TEST_KAFKA"
POSTGRES = "OMNISYNC_TEST_POSTGRES"


def start(folder: Path, nodes: int) -> dict[str, str]:
    """Start both kinds of server in a folder and return their addresses. What came up is stopped if one fails."""
    try:
        cluster = KafkaCluster(folder / "kafka", nodes)
        cluster.start()
        postgres = Postgres(folder / "postgres")
        postgres.start()
    except BaseException:
        stop_all(folder)
        raise
    return {KAFKA: ",".join(cluster.servers), POSTGRES: postgres.url}


def up(folder: Path, nodes: int) -> int:
    """Start the servers and print their addresses as settings."""
    found = start(folder, nodes)
    servers = ", ".join(f'"{server}"' for server in found[KAFKA].split(","))
    print(f'[kafka]\nservers = [{servers}]\n\n[postgres]\nurl = "{found[POSTGRES]}"')
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
        found = start(folder, nodes=1)
        try:
            return subprocess.run(command, env={**os.environ, **found}, check=False).returncode
        finally:
            stop_all(folder)


def main(arguments: list[str]) -> int:
    """Do what the command line says and return the status: 2 for a server that fails, with what to do about it."""
    parser = argparse.ArgumentParser(prog="python -m dev", description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    starting = verbs.add_parser("up", help="start Kafka and PostgreSQL")
    starting.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="Kafka nodes")
    stopping = verbs.add_parser("down", help="stop what was started in a folder")
    for verb in (starting, stopping):
        verb.add_argument("--folder", type=Path, required=True, help="where data, logs and pids are")
    running = verbs.add_parser("run", help="run a command beside servers of its own")
    running.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    try:
        match given.verb:
            case "up":
                return up(given.folder.resolve(), given.nodes)
            case "down":
                return down(given.folder.resolve())
            case _:
                return run(given.command)
    except ServerFault as fault:
        print(f"dev: {fault}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
