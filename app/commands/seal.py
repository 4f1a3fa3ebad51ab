"""Commands around sealed segments: seal, replay."""

import click

from app.books import Books
from app.options import folder_option
from app.render import Answer, print_json, progress, render, say
from projections.past import Past
from projections.replay import add_up
from projections.replay import replay as replay_balances
from settlement.verify import fold_books

__all__ = ["replay", "seal"]


@click.command()
@folder_option
@click.option("--all", "unfinished", is_flag=True, help="Seal the last file of each log too, as far as it goes.")
@click.option("--anew", is_flag=True, help="Derive every segment again; name those that differed from their log.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def seal(books: Books, unfinished: bool, anew: bool, as_json: bool) -> None:
    """Seal the full files of the ledger logs as columns.

    A segment is a cache of its file: it is checked against the log's roots when it is made, and can be made anew. What
    is there and sound is kept; what is damaged, missing or stale is named and made anew. History has rows behind what
    is sealed; `run` drops those that a segment has taken the place of. Exit status 1 where, with --anew, a segment
    differed.

    \b
    $ omnisync seal --all --data B
    hub/00000000000000000000.seg     [0, 372)       is missing: sealed
    lane-0/00000000000000000000.seg  [0, 14712)     is missing: sealed
    """
    found = []
    with progress("seal") as advance:
        for sealed in books.seal(unfinished=unfinished, anew=anew):
            found.append(sealed)
            advance(sealed.end - sealed.start)
    names = [f"{sealed.path.parent.name}/{sealed.path.name}" for sealed in found]
    if as_json:
        told = [
            {"segment": name, "start": sealed.start, "end": sealed.end, "made": sealed.made or None}
            for name, sealed in zip(names, found, strict=True)
        ]
        print_json({"segments": told})
    else:
        for name, sealed in zip(names, found, strict=True):
            said = f"{sealed.made}: sealed" if sealed.made else "sound"
            click.echo(f"{name:32} {f'[{sealed.start}, {sealed.end})':14} {said}")
        if not found:
            click.echo("no file is full yet; --all seals the last ones too")
    if anew and any(sealed.differed for sealed in found):
        raise SystemExit(1)


@click.command()
@folder_option
@click.option(
    "--net", is_flag=True, help="Show what accounts hold, and no digest: quicker, and closed ones cost nothing."
)
@click.option("--scalar", is_flag=True, help="Fold every decision by the scalar rules as well, and compare.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay(books: Books, net: bool, scalar: bool, as_json: bool) -> None:
    """Add all balances up anew, from sealed segments and, behind them, from the logs.

    Each column that is added is checked against its digest; a segment that is unusable is named, and its log is read
    instead. Exit status 1 where --scalar finds other balances.

    \b
    $ omnisync replay --data B
    replayed 14730 events from 2 segments and 0 from the logs: 7425 accounts
    balances  27283bce…
    """
    parameters, past = books.parameters(), books.past()
    if net:
        _show_net(past, as_json, parameters.unit.decimals)
        return
    replayed = replay_balances(past)
    digest = replayed.digest()
    folded = fold_books(books.ledgers()).balances.digest() if scalar else None
    _tell_faults(past)
    if as_json:
        print_json(
            {
                "balances": digest,
                "accounts": len(replayed.sums),
                "segments": replayed.segments,
                "sealed": replayed.sealed,
                "tail": replayed.tail,
                "faults": past.faults,
                "scalar": folded,
            }
        )
    else:
        click.echo(
            f"replayed {replayed.sealed} events from {replayed.segments} segments and {replayed.tail} from the logs: "
            f"{len(replayed.sums)} accounts"
        )
        click.echo(f"balances  {digest}")
        if folded is not None:
            click.echo("the scalar fold says the same" if folded == digest else f"the scalar fold says {folded}")
    if folded not in {None, digest}:
        raise SystemExit(1)


def _show_net(past: Past, as_json: bool, decimals: int) -> None:
    held = add_up(past)
    _tell_faults(past)
    rows = sorted([key.account, key.vault, key.asset, net] for key, net in held.nets.items())
    columns = ["account", "vault", "asset", "balance"]
    data = {
        "balances": [dict(zip(columns, [*row[:3], str(row[3])], strict=True)) for row in rows],
        "segments": held.segments,
        "sealed": held.sealed,
        "tail": held.tail,
        "faults": past.faults,
    }
    source = f"{held.sealed} events from {held.segments} segments and {held.tail} from the logs"
    render(Answer(data, columns, rows, [source]), "table", as_json, decimals)


def _tell_faults(past: Past) -> None:
    for fault in past.faults:
        say(f"{fault}; `omnisync seal` makes it anew")
