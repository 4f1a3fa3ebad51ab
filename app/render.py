"""Renders answers: a table for people, JSON and CSV for programs.

JSON and CSV give amounts as text of base units; tables as decimals of the asset.
"""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

__all__ = ["FORMATS", "Answer", "Section", "decimal_text", "format_options", "print_json", "progress", "render", "say"]

FORMATS = ("table", "json", "csv")
_talk = Console(stderr=True, markup=False, emoji=False)


class Section(NamedTuple):
    """A further table of an answer, under a title; for people alone."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Answer:
    """What a command has to say: `data` for JSON, and the same as a table."""

    def __init__(
        self,
        data: dict[str, Any],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        notes: Sequence[str] = (),
        sections: Sequence[Section] = (),
    ) -> None:
        """`rows` hold ints for amounts (base units) and text for the rest; `notes` stand below the tables."""
        self.data, self.columns, self.rows, self.notes, self.sections = data, columns, rows, notes, sections


def format_options(command: Any) -> Any:
    """Give a command `--format` and `--json`."""
    command = click.option("--json", "as_json", is_flag=True, help="The same as --format json.")(command)
    return click.option("--format", "form", type=click.Choice(FORMATS), default="table", help="How to print.")(command)


def render(answer: Answer, form: str, as_json: bool, decimals: int | None = None) -> None:
    """Print an answer on standard output."""
    if as_json or form == "json":
        print_json(answer.data)
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows(answer.rows)
    else:
        _print_table(answer, decimals)


def decimal_text(amount: int, decimals: int) -> str:
    """Write base units as a decimal of the asset, exactly, with thousands set apart."""
    whole, part = divmod(abs(amount), 10**decimals)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole:,}" + (f".{part:0{decimals}d}" if decimals else "")


def say(text: str) -> None:
    """Talk on standard error."""
    click.echo(text, err=True)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Any]:
    """Show a bar on standard error where a terminal watches; yield a function that moves it on."""
    if not _talk.is_terminal:
        yield lambda _count: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_talk, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def _print_table(answer: Answer, decimals: int | None) -> None:
    _print_rows(answer.columns, answer.rows, decimals)
    for section in answer.sections:
        if section.rows:
            click.echo(f"\n{section.title}")
            _print_rows(section.columns, section.rows, decimals)
    if answer.sections and answer.notes:
        click.echo()
    for note in answer.notes:
        click.echo(note)


def _print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], decimals: int | None) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        is_numeric = any(isinstance(row[number], int) for row in rows)
        table.add_column(column, justify="right" if is_numeric else "left", no_wrap=True, overflow="fold")
    texts = [[_cell(cell, decimals) for cell in row] for row in rows]
    for row in texts:
        table.add_row(*row)
    # As wide as its content: a pipe or a narrow terminal must not lose digits.
    widths = [max([len(column), *(len(row[number]) for row in texts)]) for number, column in enumerate(columns)]
    # Names are as they are: `vest:locked:…` holds no picture of a lock.
    Console(width=max(80, sum(widths) + 3 * len(columns)), markup=False, emoji=False).print(table)


def _cell(cell: Any, decimals: int | None) -> str:
    if isinstance(cell, int) and not isinstance(cell, bool) and decimals is not None:
        return decimal_text(cell, decimals)
    return str(cell)


def print_json(data: dict[str, Any], *, line: bool = False, error: bool = False) -> None:
    """Print JSON: indented or as one line; on standard output, or beside it where that carries something else."""
    click.echo(json.dumps(data, ensure_ascii=False, indent=None if line else 2), err=error)
