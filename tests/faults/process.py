"""Runs `omnisync` in a process of its own that can be killed: a fork of this one, so that it starts at once.

The child enters through `app.cli.main` with its arguments and environment, exactly as the console script does; only the
imports have been done before. The started process is killed by its id and by nothing else.
"""

import faulthandler
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

import click

from app.cli import cli, main

__all__ = ["Ended", "Started", "omnisync", "start"]

# Commands import what they need as they are asked for: here once for all forks.
_CONTEXT = click.Context(cli)
for _name in cli.list_commands(_CONTEXT):
    cli.get_command(_CONTEXT, _name)

SECONDS_MAX = 60


class Ended(NamedTuple):
    """How a process ended; `status` is its exit status, or minus the signal that killed it."""

    status: int
    out: str
    err: str


@dataclass(slots=True)
class Started:
    """A process that runs."""

    pid: int
    out: IO[bytes]
    err: IO[bytes]

    def has_ended(self) -> bool:
        """Tell whether it has ended, without taking its status away."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found is not None and found.si_pid == self.pid

    def said(self) -> bytes:
        """Return its standard output up to now."""
        return os.pread(self.out.fileno(), 10**8, 0)

    def kill(self) -> None:
        """Send SIGKILL; it has no say in it."""
        os.kill(self.pid, signal.SIGKILL)

    def abandon(self) -> None:
        """End it now, unless its end was waited for."""
        with suppress(ChildProcessError):
            if not self.has_ended():
                self.kill()
            self.end()

    def end(self) -> Ended:
        """Wait for its end."""
        give_up = time.monotonic() + SECONDS_MAX
        while not self.has_ended():
            if time.monotonic() > give_up:
                raise TimeoutError(f"no end within {SECONDS_MAX} s; it said, and stands at:\n{self._end_by_force()}")
            time.sleep(0.002)
        _, status = os.waitpid(self.pid, 0)
        with self.out, self.err:
            self.out.seek(0)
            self.err.seek(0)
            return Ended(os.waitstatus_to_exitcode(status), self.out.read().decode(), self.err.read().decode())

    def _end_by_force(self) -> str:
        """Have it say where its threads stand, and kill it; return what it has said."""
        os.kill(self.pid, signal.SIGUSR1)
        time.sleep(1)
        self.kill()
        os.waitpid(self.pid, 0)
        with self.out, self.err:
            self.err.seek(0)
            return self.err.read().decode()


def start(
    *arguments: str | Path, kill_at: str | None = None, stdin: int | None = None, not_his: int | None = None
) -> Started:
    """Start a command; `kill_at` arms a step, `not_his` is a file of ours that it may not hold open."""
    out, err = TemporaryFile(buffering=0), TemporaryFile(buffering=0)  # noqa: SIM115
    pid = os.fork()
    if pid == 0:
        if not_his is not None:
            os.close(not_his)
        _be_the_command([str(argument) for argument in arguments], kill_at, (stdin, out.fileno(), err.fileno()))
    return Started(pid, out, err)


def omnisync(*arguments: str | Path, kill_at: str | None = None) -> Ended:
    """Run a command to its end."""
    return start(*arguments, kill_at=kill_at).end()


def _speaks_tls(arguments: list[str]) -> bool:
    configs = [Path(after) for before, after in pairwise(arguments) if before == "--config"]
    return any("ca_file" in config.read_text("utf-8") for config in configs if config.exists())


def _be_the_command(arguments: list[str], kill_at: str | None, files: tuple[int | None, int, int]) -> None:
    status = 70
    try:
        stdin, out, err = files
        os.dup2(os.open(os.devnull, os.O_RDONLY) if stdin is None else stdin, 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", 1)  # noqa: SIM115
        faulthandler.register(signal.SIGUSR1, sys.stderr)
        os.environ.pop("OMNISYNC_KILL_AT", None)
        if kill_at is not None:
            os.environ["OMNISYNC_KILL_AT"] = kill_at
        if _speaks_tls(arguments):
            # OpenSSL, once used in several threads, may hold a lock for ever in a fork: who speaks TLS begins anew.
            os.execv(sys.executable, [sys.executable, "-m", "app", *arguments])
        sys.argv = ["omnisync", *arguments]
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
