"""Rows of a trace's file: CSV, gzipped or not, with a header; every fault is named by file, line and column."""

import csv
import gzip
import zlib
from collections.abc import Collection, Iterator
from io import TextIOWrapper
from pathlib import Path

__all__ = ["TraceMalformed", "malformed", "read_rows"]


class TraceMalformed(ValueError):
    """A trace cannot be read; the message names file, line and, where one is at fault, column."""


def malformed(path: Path, line: int, column: str, text: str, rule: str) -> TraceMalformed:
    """Name a cell and the rule that it breaks."""
    return TraceMalformed(f"{path.name}: line {line}: column {column}: {text!r:.40} {rule}")


def read_rows(path: Path, columns: Collection[str], delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of a CSV file that has at least these columns, and one row. Raises: TraceMalformed."""
    reader = None
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            # A spreadsheet may have put a byte order mark before the header.
            reader = csv.DictReader(TextIOWrapper(file, "utf-8-sig", newline=""), delimiter=delimiter, strict=True)
            _check_header(path, list(reader.fieldnames or ()), columns)
            yield from _whole_rows(path, reader)
    except (UnicodeDecodeError, csv.Error, EOFError, zlib.error) as error:
        # Its inner reader has counted the line at fault; the outer one counts whole rows only.
        line = reader.reader.line_num if reader is not None else 0
        raise TraceMalformed(f"{path.name}: behind line {line}: no CSV in UTF-8: {error}") from error


def _check_header(path: Path, header: list[str], columns: Collection[str]) -> None:
    missing = [column for column in columns if column not in header]
    if missing:
        raise TraceMalformed(f"{path.name}: line 1: expected columns {', '.join(missing)}")
    twice = [column for column in columns if header.count(column) > 1]
    if twice:
        raise TraceMalformed(f"{path.name}: line 1: columns that stand there twice: {', '.join(twice)}")


def _whole_rows(path: Path, reader: "csv.DictReader[str]") -> Iterator[tuple[int, dict[str, str]]]:
    cells, empty = len(reader.fieldnames or ()), True
    for row in reader:
        empty = False
        if None in row or None in row.values():
            raise TraceMalformed(f"{path.name}: line {reader.line_num}: expected {cells} cells")
        yield reader.line_num, row
    if empty:
        raise TraceMalformed(f"{path.name}: line {reader.line_num}: expected rows below the header")
