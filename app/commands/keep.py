"""Commands that keep the books elsewhere: backup, restore, verify-backup."""

from pathlib import Path

import click

from app.anybooks import AnyBooks
from app.backup import Backup
from app.books import Books
from app.options import books_option, config_option, folder_option
from app.render import print_json, progress
from events.log import LogDamaged
from ledger.errors import LedgerInvariantBroken
from projections.position import format_position

__all__ = ["backup", "restore", "verify_backup"]

_folder = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@_folder
@books_option
@_json
def backup(folder: Path, books: AnyBooks, as_json: bool) -> None:
    """Keep the books in FOLDER, while others go on writing them.

    Kept are all facts that were acknowledged, and the decisions up to the last commit. Where FOLDER keeps an earlier
    state of the same books, only what is new is copied. A backup that is broken off leaves the one before it whole.
    A cluster's is kept as embedded books: `omnisync restore`, then `omnisync migrate` into new topics.

    \b
    $ omnisync backup K --data B
    kept facts/0:22675,facts/hub:1371,lane-0:14712,hub:372; 17969623 of 17969623 bytes are new
    balances  27283bce…
    """
    made = Backup(folder).make(books)
    kept = sum(file.bytes for file in made.manifest.files)
    if as_json:
        print_json(
            {
                "position": made.manifest.positions,
                "balances": made.manifest.balances,
                "bytes": kept,
                "copied": made.copied,
                "folder": str(folder),
            }
        )
    else:
        click.echo(f"kept {format_position(made.manifest.positions)}; {made.copied} of {kept} bytes are new")
        click.echo(f"balances  {made.manifest.balances}")


@click.command()
@_folder
@folder_option
@_json
def restore(folder: Path, books: Books, as_json: bool) -> None:
    """Put the books that FOLDER keeps into a new folder, `--data`.

    It must not be there, or be empty. What is derived is not kept: `omnisync run --once` makes it anew, and settles
    what was not settled yet.

    \b
    $ omnisync restore K --data NEW
    restored facts/0:22675,facts/hub:1371,lane-0:14712,hub:372 in NEW; now `omnisync run --once --data NEW`
    """
    manifest = Backup(folder).restore(books)
    if as_json:
        print_json({"position": manifest.positions, "balances": manifest.balances, "data": str(books.folder)})
    else:
        click.echo(
            f"restored {format_position(manifest.positions)} in {books.folder}; "
            f"now `omnisync run --once --data {books.folder}`"
        )


@click.command(name="verify-backup")
@_folder
@config_option
@_json
def verify_backup(folder: Path, as_json: bool) -> None:
    """Derive everything that FOLDER keeps again, and compare.

    Checks each file's digest, frames, Merkle roots, each decision by the scalar rules, and the digest of the balances.
    Exit status 1 where something differs.

    \b
    $ omnisync verify-backup K
    verified 370 records, 38760 events: nothing differs
    balances  27283bce…
    """
    try:
        with progress("decide again") as decided:
            found = Backup(folder).verify(decided)
    except (LogDamaged, LedgerInvariantBroken) as difference:
        if as_json:
            print_json({"ok": False, "difference": str(difference)})
        else:
            click.echo(f"differs: {difference}")
        raise SystemExit(1) from None
    if as_json:
        print_json(
            {
                "ok": True,
                "records": found.verdict.records,
                "events": found.verdict.events,
                "unsettled": found.verdict.unsettled,
                "position": found.manifest.positions,
                "balances": found.manifest.balances,
            }
        )
        return
    click.echo(f"verified {found.verdict.records} records, {found.verdict.events} events: nothing differs")
    if found.verdict.unsettled:
        click.echo(f"{found.verdict.unsettled} decisions were still to be settled")
    click.echo(f"balances  {found.manifest.balances}")
