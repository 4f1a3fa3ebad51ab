"""The command that hands the books to other people's tools: export."""

import sys
from pathlib import Path

import click

from app.anybooks import AnyBooks
from app.options import books_option
from app.render import print_json
from projections.export import TOOLS, export_journal

__all__ = ["export"]


@click.command()
@click.argument("tool", type=click.Choice(TOOLS))
@books_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE",
    help="Write to FILE instead of standard output.",
)
@click.option("--json", "as_json", is_flag=True, help="Say what was written as JSON (beside --output: on stdout).")
def export(tool: str, books: AnyBooks, output: Path | None, as_json: bool) -> None:
    """Write the books as a plain-text journal.

    A tool which is not ours can then add them up again. One transaction per entry, from the ledger logs. A debit is
    positive, a credit negative, so that each total is the negative of our balance; the file ends by asserting them
    all.

    \b
    $ omnisync export hledger --data B --output books.journal
    $ hledger -f books.journal check --strict
    $ hledger -f books.journal balance --flat -N escrow:burn
     -353.741531152 OMNI  escrow:burn:pending
    """
    unit = books.parameters().unit
    pieces = export_journal(tool, books.ledgers(), unit.asset, unit.decimals)
    if output is None:
        sys.stdout.writelines(pieces)
    else:
        with output.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
    if as_json:
        said = {"tool": tool, "asset": unit.asset, "decimals": unit.decimals, "output": str(output or "-")}
        print_json(said, error=output is None)
