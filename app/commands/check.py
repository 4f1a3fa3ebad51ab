"""Commands that derive things again: verify, rebuild."""

import click
from sqlalchemy.exc import DatabaseError

from app.anybooks import AnyBooks, BooksMissing
from app.books import Books
from app.options import books_option
from app.render import print_json, progress
from events.log import LogDamaged
from ledger.errors import LedgerInvariantBroken
from projections.database import SchemaOutdated
from projections.position import format_position
from projections.read import balances_digest, read_position
from settlement.routing import HUB_PARTITION
from settlement.verify import fold_books, verify_logs, verify_rows, verify_segments

__all__ = ["rebuild", "verify"]


@click.command()
@books_option
@click.option("--all", "everything", is_flag=True, required=True, help="Check logs, decisions and every stored row.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(books: AnyBooks, everything: bool, as_json: bool) -> None:
    """Derive everything again and name what differs first.

    Checks frames, Merkle roots, each decision by the scalar rules, each row of the projections, each sealed segment.
    Exit status 1 where something differs.

    \b
    $ omnisync verify --all --data B
    verified 370 records, 38760 events, 12481 entries, 52505 rows: nothing differs
    """
    parameters = books.parameters()
    try:
        books.check_ends()
        with progress("decide again") as decided:
            logs = verify_logs(books.partitions(), books.lanes(), books.hub(), decided)
        folded = fold_books(books.ledgers())
        digests = folded.digests(parameters.unit.asset)
        engine = books.engine()
        with progress("project again") as projected:
            rows, lag = verify_rows(engine, books.facts(HUB_PARTITION), books.ledgers(), projected)
        segments = verify_segments(engine, books.ledgers(), books.past()) if isinstance(books, Books) else 0
        with engine.connect() as connection:
            position = format_position(read_position(connection, None))
    except (LogDamaged, LedgerInvariantBroken) as found:
        if as_json:
            print_json({"ok": False, "difference": str(found)})
        else:
            click.echo(f"differs: {found}")
        raise SystemExit(1) from None
    if as_json:
        print_json(
            {
                "ok": True,
                "records": logs.records,
                "events": logs.events,
                "entries": folded.entries(),
                "rows": rows,
                "segments": segments,
                "unsettled": logs.unsettled,
                "unprojected": lag,
                "position": position,
                "digests": digests._asdict(),
            }
        )
        return
    click.echo(
        f"verified {logs.records} records, {logs.events} events, {folded.entries()} entries, {rows} rows: "
        "nothing differs"
    )
    if segments:
        click.echo(f"{segments} segments say what the logs say")
    if logs.unsettled:
        click.echo(f"{logs.unsettled} decisions are still to be settled: `omnisync run --once`")
    if lag:
        click.echo(f"the rows lag {lag} leaves behind the logs: `omnisync run --once`")
    for name, digest in digests._asdict().items():
        click.echo(f"{name:9} {digest}")


@click.command()
@books_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rebuild(books: AnyBooks, as_json: bool) -> None:
    """Project everything again, into a new file.

    Compares the digests and puts the new file in the old one's place.

    \b
    $ omnisync rebuild --data B
    rebuilt at lane-0:14712,hub:372; balances digest unchanged
    """
    before = _digest(books)
    with progress("project") as advance:
        books.rebuild(advance)
    after = _digest(books)
    with books.engine().connect() as connection:
        position = format_position(read_position(connection, None))
    if as_json:
        print_json({"position": position, "before": before, "after": after})
    else:
        said = "unchanged" if before == after else f"was {before or 'unreadable'}, is {after}"
        click.echo(f"rebuilt at {position}; balances digest {said}")


def _digest(books: AnyBooks) -> str | None:
    try:
        with books.engine().connect() as connection:
            return balances_digest(connection)
    except (BooksMissing, DatabaseError, SchemaOutdated):
        # What is not there, or cannot be read, has no digest; that is why it is rebuilt.
        return None
