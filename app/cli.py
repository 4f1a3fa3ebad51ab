"""The command line: `omnisync`. Data on standard output, talk on standard error.

Exit status: 0 done, 1 refused or broken, 2 usage, 3 breaks found.
"""

import sys

import click
from sqlalchemy.exc import DatabaseError

from app.backup import BackupRefused
from app.books import BooksExist, BooksMissing
from app.commands import ask, check, demo, doctor, earnings, export, keep, migrate, seal, statement, trace, write
from app.memory import keep_memory
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

__all__ = ["cli", "main"]

# What a user can cause and mend; anything else is a bug and shows its trace.
EXPECTED = (
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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="omnisync-ledger")
def cli() -> None:
    """Keep the books of a compute network that nobody has to trust.

    \b
    $ omnisync init --preset omnisync --data B
    $ omnisync trace alibaba PODS --nodes NODES --price-per-gpu-hour 0.35 | omnisync ingest - --data B
    $ omnisync run --once --data B
    $ omnisync report jobs --data B
    """


for command in (
    write.init,
    write.ingest,
    trace.trace,
    write.run,
    ask.balance,
    ask.history,
    ask.supply,
    ask.report,
    earnings.epochs,
    earnings.rewards,
    earnings.apy,
    statement.statement,
    check.verify,
    check.rebuild,
    seal.seal,
    seal.replay,
    doctor.doctor,
    keep.backup,
    keep.restore,
    keep.verify_backup,
    export.export,
    migrate.migrate,
    demo.demo,
):
    cli.add_command(command)


def main() -> None:
    """Run a command; name what was refused or broken in one line."""
    keep_memory()
    try:
        cli(prog_name="omnisync")
    except BrokenPipeError:
        # The reader of our output has gone: `omnisync … | head`.
        sys.stderr.close()
        sys.exit(1)
    except DatabaseError as error:
        click.echo(f"omnisync: the projections cannot be used: {error.orig}", err=True)
        click.echo("where they are damaged, `omnisync rebuild` makes them anew", err=True)
        sys.exit(1)
    except EXPECTED as error:
        click.echo(f"omnisync: {error}", err=True)
        sys.exit(1)
