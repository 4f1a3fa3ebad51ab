"""The demo."""

import tempfile
from contextlib import nullcontext
from pathlib import Path

import click

__all__ = ["demo"]


@click.command()
@click.option("--jobs", default=1_000, show_default=True, type=click.IntRange(1, 1_000_000), help="How many jobs.")
@click.option("--seed", default=1, show_default=True, help="Another seed, another quarter.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Keep the books in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print only the totals, as JSON.")
def demo(jobs: int, seed: int, data: Path | None, as_json: bool) -> None:
    """Run a network's seeded quarter through the books and tie it out.

    Nodes and validators stake, work, cheat, are slashed, dispute, leave; consumers pay and overdraw; reports come late,
    twice and broken. What was planted is held against what the books found. Exit status 1 where they differ, or where
    an identity does not hold.

    \b
    $ omnisync demo --jobs 1000 --seed 1
    """
    from app.demo import tell_quarter

    with nullcontext(data) if data is not None else tempfile.TemporaryDirectory() as folder:
        held = tell_quarter(Path(folder), jobs, seed, quiet=as_json)
    if not held:
        raise SystemExit(1)
