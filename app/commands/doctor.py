"""The command that says what is wrong: doctor."""

from pathlib import Path

import click

from app.books import Books
from app.doctor import FAULT, Site, examine
from app.options import config_option, settings_of
from app.render import Answer, format_options, render

__all__ = ["doctor"]


@click.command()
@config_option
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the embedded books (OMNISYNC_DATA).",
)
@format_options
@click.pass_context
def doctor(context: click.Context, data: Path | None, form: str, as_json: bool) -> None:
    """Say what is wrong, and what to do.

    Looks at locks, the logs' ends, projections, segments, free space, the clock; in a cluster at brokers, topics, the
    database and how far each stage has come. It repairs nothing, and hinders nobody who works on the books. Exit
    status 1 where there is a fault; a note loses nothing.

    \b
    $ omnisync doctor --data B
    check        level  found                                                    do
    books        ok     omnisync in B, lanes: 1
    logs         ok     facts/0 ends at 22675
    …
    """
    settings = settings_of(context)
    folder = data or (None if settings.has_cluster() else settings.data)
    if folder is None and not settings.has_cluster():
        raise click.UsageError("say where the books are: --data DIR or OMNISYNC_DATA, or --config FILE for a cluster's")
    found = list(examine(Site(settings, None if folder is None else Books(folder))))
    is_healthy = all(told.level != FAULT for told in found)
    answer = Answer(
        {"ok": is_healthy, "found": [told._asdict() for told in found]},
        ["check", "level", "found", "do"],
        found,
    )
    render(answer, form, as_json)
    if not is_healthy:
        raise SystemExit(1)
