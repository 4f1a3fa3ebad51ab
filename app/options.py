"""Options that several commands share."""

import re
from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import Any

import click

from app.anybooks import AnyBooks
from app.books import Books
from app.logs import configure_logs
from app.settings import Settings, read_settings
from events.instant import parse_instant
from events.killpoints import arm

__all__ = [
    "at_option",
    "books_option",
    "cluster_option",
    "config_option",
    "folder_option",
    "instant",
    "log_option",
    "price",
    "settings_of",
]

_DECIMAL = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?")


def books_option(command: Any) -> Any:
    """Give a command `--config`, and the books of `--data` or of the cluster that the settings name."""
    return _data_option(_pick_books, "Folder of embedded books (OMNISYNC_DATA); without it the cluster's.")(
        config_option(command)
    )


def folder_option(command: Any) -> Any:
    """Give a command `--config`, and the embedded books of `--data`."""
    return _data_option(_pick_folder, "Folder of the embedded books (OMNISYNC_DATA).")(config_option(command))


def cluster_option(command: Any) -> Any:
    """Give a command `--config`, and as `books` those of the cluster that it names."""

    def give(context: click.Context, *arguments: Any, **options: Any) -> Any:
        settings = settings_of(context)
        if not settings.has_cluster():
            raise click.UsageError("say where the cluster is: --config FILE with [kafka]")
        return context.invoke(command, *arguments, books=_cluster(context, settings), **options)

    return config_option(click.pass_context(update_wrapper(give, command)))


def _data_option(pick: Callable[..., AnyBooks], told: str) -> Callable[[Any], Any]:
    return click.option("--data", "books", type=click.Path(path_type=Path, file_okay=False), callback=pick, help=told)


def _pick_books(context: click.Context, _parameter: click.Parameter, value: Path | None) -> AnyBooks:
    settings = settings_of(context)
    if value is None and settings.has_cluster():
        return _cluster(context, settings)
    folder = value or settings.data
    if folder is None:
        raise click.UsageError("say where the books are: --data DIR or OMNISYNC_DATA, or --config FILE for a cluster's")
    return Books(folder)


def _pick_folder(context: click.Context, parameter: click.Parameter, value: Path | None) -> Books:
    books = _pick_books(context, parameter, value)
    if not isinstance(books, Books):
        raise click.UsageError(f"{context.info_name} is for embedded books: name them with --data DIR")
    return books


def _cluster(context: click.Context, settings: Settings) -> AnyBooks:
    # Its drivers take a third of a second to load, which embedded books need not wait for.
    from app.cluster import ClusterBooks

    return context.with_resource(ClusterBooks(settings))


def config_option(command: Any) -> Any:
    """Give a command `--config`: settings are read, logs configured and kill points armed before it runs."""

    def begin(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
        settings = context.obj = read_settings(value)
        configure_logs(settings.log.format, settings.log.level)
        if settings.kill_at:
            step, _, times = settings.kill_at.partition(":")
            arm(step, int(times or 1))

    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        is_eager=True,
        expose_value=False,
        callback=begin,
        help="TOML file of settings (OMNISYNC_CONFIG).",
    )(command)


def settings_of(context: click.Context) -> Settings:
    """Return what `--config` and the environment say."""
    settings = context.obj
    assert isinstance(settings, Settings)
    return settings


def log_option(command: Any) -> Any:
    """Give a command that keeps running `--log-format`."""

    def pick(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            configure_logs(value, settings_of(context).log.level)

    return click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        expose_value=False,
        callback=pick,
        help="How to log on standard error (OMNISYNC_LOG_FORMAT).",
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
