"""Options that several commands share."""

import re
from pathlib import Path
from typing import Any

import click

from app.books import Books
from events.instant import parse_instant

__all__ = ["at_option", "books_option", "instant", "price"]

_DECIMAL = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?")


def books_option(command: Any) -> Any:
    """Give a command the books of `--data`."""

    def pick(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Books:
        if value is None:
            raise click.UsageError("say where the books are: --data DIR or OMNISYNC_DATA")
        return Books(value)

    return click.option(
        "--data",
        "books",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="OMNISYNC_DATA",
        callback=pick,
        help="Folder of the embedded books (OMNISYNC_DATA).",
    )(command)


def at_option(command: Any) -> Any:
    """Give a command `--at`."""
    return click.option(
        "--at",
        metavar="POSITION|TIME",
        help="Answer for a past position (lane-0:10,hub:4) or settlement time (2026-10-02T00:00:00Z).",
    )(command)


def instant(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """Read an option as an instant, with or without decimals."""
    if value is None:
        return None
    try:
        return parse_instant(value if "." in value else value.replace("Z", ".000000Z"))
    except ValueError as error:
        raise click.BadParameter(f"{error}; for example 2026-10-01T00:00:00Z") from None


def price(text: str, decimals: int) -> int:
    """Read a price as decimal text of the asset; return base units. Raises: click.BadParameter."""
    match = _DECIMAL.fullmatch(text)
    if match is None or len(match[2] or "") > decimals:
        raise click.BadParameter(f"{text!r}: expected a decimal of at most {decimals} places, such as 0.35")
    return int(match[1] + (match[2] or "").ljust(decimals, "0"))
