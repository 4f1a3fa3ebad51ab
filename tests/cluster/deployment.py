"""A cluster of a test's own on the shared servers: a prefix of topics, a database, a cache, a file of settings."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cluster import ClusterBooks
from app.settings import read_settings
from tests.faults.process import Ended, Started, omnisync, start

__all__ = ["Deployment", "deploy"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """Books in a cluster, as a user has them: by commands and a file."""

    config: Path
    prefix: str

    def books(self) -> ClusterBooks:
        """Return the books, for use within this process."""
        return ClusterBooks(read_settings(self.config, {}))

    def do(self, *arguments: str | Path, status: int = 0) -> str:
        """Run a command; return what it prints. Its exit status is what is expected."""
        ended = self.run(*arguments)
        assert ended.status == status, ended.err
        return ended.out

    def told(self, *arguments: str | Path, status: int = 0) -> Any:
        """Run a command that prints JSON; return that."""
        return json.loads(self.do(*arguments, "--json", status=status))

    def run(self, *arguments: str | Path, kill_at: str | None = None) -> Ended:
        """Run a command to its end, whatever that is."""
        return omnisync(*arguments, "--config", self.config, kill_at=kill_at)

    def start(self, *arguments: str | Path, kill_at: str | None = None) -> Started:
        """Start a command."""
        return start(*arguments, "--config", self.config, kill_at=kill_at)


def deploy(
    folder: Path,
    servers: tuple[str, ...],
    prefix: str,
    database: str,
    *,
    cache: bool = True,
    replication: int = 1,
) -> Deployment:
    """Write the settings of a cluster."""
    config = folder / f"{prefix}.toml"
    config.write_text(
        (f'cache = "{folder / "cache"}"\n' if cache else "")
        + f'[kafka]\nservers = {json.dumps(servers)}\nprefix = "{prefix}"\nreplication = {replication}\n'
        + f'[postgres]\nurl = "{database}"\n',
        "utf-8",
    )
    return Deployment(config, prefix)
