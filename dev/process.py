"""A server process with its log and its pid in a folder, so that it may outlive who started it.

`<name>.process` holds the pid, and when that process began: a pid may be given to another one later.
"""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from random import SystemRandom

import psutil

__all__ = ["HOST", "Server", "ServerFault", "free_ports", "servers_in", "stop_all"]

HOST = "127.0.0.1"
PORTS = range(20_000, 32_768)
"""Below the ports that Linux gives to outgoing connections: while a server is down, nobody is given its port."""
POLL_S = 0.02
KILLED_S = 10
TAIL_LINES = 15

_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""Of this process, by pid: whoever finds one ended buries it."""


class ServerFault(Exception):
    """A server does not do what it was started for; the message says which, and what to do."""


def free_ports(count: int) -> list[int]:
    """Return `count` different ports on loopback that nobody listens on."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            probe = held.enter_context(socket.socket())
            port = SystemRandom().choice(PORTS)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            ports.append(port)
        return ports


class Server:
    """One server process, known by its name in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._pid = folder / f"{name}.process"
        self._before = 0

    def start(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, user: str | None = None
    ) -> None:
        """Start the command in a session of its own, what it says appended to the log.

        Raises ServerFault if the server runs already.
        """
        if self.running():
            raise ServerFault(f"{self.name} runs already, see {self._pid}")
        self._before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                user=user,
                extra_groups=None if user is None else [],
                start_new_session=True,
            )
        _CHILDREN[child.pid] = child
        self._pid.write_text(f"{child.pid} {psutil.Process(child.pid).create_time()!r}\n", "utf-8")

    def running(self) -> bool:
        """Tell whether the process is there; a paused one is."""
        return self._process() is not None

    def said(self) -> str:
        """Return what the server has logged since it was started here."""
        with self.log.open("rb") as log:
            log.seek(self._before)
            return log.read().decode("utf-8", "replace")

    def wait_for(self, text: str, seconds: float) -> None:
        """Wait until the server has logged a text. Raises ServerFault with its last lines if it ends or never does."""
        if not wait_until(lambda: text in self.said() or not self.running(), seconds):
            raise ServerFault(f"{self.name} was not ready within {seconds} s:\n{self.tail()}")
        if text not in self.said():
            raise ServerFault(f"{self.name} ended as it started:\n{self.tail()}")

    def tail(self) -> str:
        """Return where the log is and its last lines."""
        return "\n".join([f"{self.log}:", *self.said().splitlines()[-TAIL_LINES:]])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process is there."""
        process = self._process()
        if process is not None:
            process.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Wait until the process is gone, and tell whether it is."""
        return wait_until(lambda: not self.running(), seconds)

    def kill(self) -> None:
        """End the process and those that it started at once (SIGKILL), and wait until they are gone."""
        process = self._process()
        if process is None:
            return
        killed = [process, *process.children(recursive=True)]
        for one in killed:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        if not wait_until(lambda: not self.running() and not any(alive(one) for one in killed), KILLED_S):
            raise ServerFault(f"{self.name} survives SIGKILL, see {self._pid}")

    def pids(self) -> list[int]:
        """Return the process's id, before those of the processes that it started; none if it is not there."""
        process = self._process()
        return [] if process is None else [process.pid, *(one.pid for one in process.children(recursive=True))]

    def _process(self) -> psutil.Process | None:
        try:
            pid, began = self._pid.read_text("utf-8").split()
            process = psutil.Process(int(pid))
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None
        if process.create_time() != float(began):
            return None
        if alive(process):
            return process
        if int(pid) in _CHILDREN:
            _CHILDREN.pop(int(pid)).wait()
        return None


def alive(process: psutil.Process) -> bool:
    """Tell whether a process is there and has not ended."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is true, and tell whether it became so in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def servers_in(folder: Path) -> list[Server]:
    """Return every server that was started in or below a folder and still runs."""
    known = [Server(path.parent, path.stem) for path in sorted(folder.rglob("*.process"))]
    return [server for server in known if server.running()]


def stop_all(folder: Path, number: signal.Signals = signal.SIGTERM, seconds: float = 10) -> None:
    """Stop every server that was started in or below a folder: by a signal, after `seconds` by SIGKILL."""
    servers = servers_in(folder)
    for server in servers:
        server.signal(number)
        server.signal(signal.SIGCONT)
    for server in servers:
        if not server.wait(seconds):
            server.kill()
