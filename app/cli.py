"""The command line: `omnisync`. Data on standard output, talk on standard error.

Exit status: 0 done, 1 refused or broken, 2 usage, 3 breaks found.
"""

import sys
from importlib import import_module

import click

from app.memory import keep_memory

__all__ = ["COMMANDS", "cli", "main"]

# Each with the module that has it, which is imported when the command is asked for: hardly any needs all of them.
COMMANDS = {
    "init": "write",
    "ingest": "write",
    "trace": "trace",
    "run": "write",
    "balance": "ask",
    "history": "ask",
    "supply": "ask",
    "report": "ask",
    "epochs": "earnings",
    "rewards": "earnings",
    "apy": "earnings",
    "statement": "statement",
    "verify": "check",
    "rebuild": "check",
    "seal": "seal",
    "replay": "seal",
    "doctor": "doctor",
    "backup": "keep",
    "restore": "keep",
    "verify-backup": "keep",
    "export": "export",
    "migrate": "migrate",
    "demo": "demo",
}


class _Commands(click.Group):
    """Commands by their names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"app.commands.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="omnisync-ledger")
def cli() -> None:
    """Keep the books of a compute network that nobody has to trust.

    \b
    $ omnisync init --preset omnisync --data B
    $ omnisync trace alibaba PODS --nodes NODES --price-per-gpu-hour 0.35 | omnisync ingest - --data B
    $ omnisync run --once --data B
    $ omnisync report jobs --data B
    """


def main() -> None:
    """Run a command; name what was refused or broken in one line."""
    keep_memory()
    try:
        cli(prog_name="omnisync")
    except BrokenPipeError:
        # The reader of our output has gone: `omnisync … | head`.
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        said = _explain(error)
        if not said:
            raise
        for line in said:
            click.echo(line, err=True)
        sys.exit(1)


def _explain(error: Exception) -> list[str]:
    """Return what a user is told of an error that he can have caused and can mend; of a bug nothing."""
    from sqlalchemy.exc import DatabaseError

    from app.backup import BackupRefused
    from app.books import BooksExist, BooksMissing
    from app.settings import SettingsInvalid
    from app.traces.alibaba import TraceMalformed
    from events.log import LogFault
    from ledger.errors import LedgerInvariantBroken, ParametersInvalid
    from projections.database import DatabaseUnreachable, SchemaOutdated
    from projections.position import AtRefused
    from projections.project import ProjectionMoved
    from projections.read import AccountUnknown
    from projections.rebuild import RebuildRefused
    from projections.segments import SegmentUnusable

    if isinstance(error, DatabaseError):
        return [
            f"omnisync: the projections cannot be used: {error.orig}",
            "where they are damaged, `omnisync rebuild` makes them anew",
        ]
    expected = (
        AccountUnknown,
        AtRefused,
        BackupRefused,
        BooksExist,
        BooksMissing,
        DatabaseUnreachable,
        LedgerInvariantBroken,
        LogFault,
        ParametersInvalid,
        ProjectionMoved,
        RebuildRefused,
        SchemaOutdated,
        SegmentUnusable,
        SettingsInvalid,
        TraceMalformed,
        OSError,
    )
    return [f"omnisync: {error}"] if isinstance(error, expected) else []
