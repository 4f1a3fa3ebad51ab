"""The command that moves embedded books into a cluster."""

from pathlib import Path

import click

from app.anybooks import AnyBooks
from app.books import Books
from app.options import cluster_option
from app.render import print_json, progress
from ledger.parameters import parameters_hash, parameters_json

__all__ = ["migrate"]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@cluster_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def migrate(folder: Path, books: AnyBooks, as_json: bool) -> None:
    """Move embedded books into the cluster of --config.

    Every record is copied with its bytes, so that positions, roots and digests stay what they are; then
    `omnisync run --only project` fills the tables. Nothing of FOLDER is changed, and nobody may append to it
    meanwhile. A copy that was broken off goes on where it was.

    \b
    $ omnisync migrate B --config cluster.toml
    copied facts/0:22675, lane-0:14712, hub:372, facts/hub:1371 to omnisync at 127.0.0.1:9092
    """
    from app.cluster import ClusterBooks

    assert isinstance(books, ClusterBooks)
    embedded = Books(folder)
    parameters = embedded.parameters()
    with progress("copy") as advance:
        ends = dict(books.adopt(embedded, advance))
    if as_json:
        print_json({"params_hash": parameters_hash(parameters_json(parameters)), "positions": ends})
    else:
        click.echo(f"copied {', '.join(f'{name}:{end}' for name, end in ends.items())} to {books.place}")
